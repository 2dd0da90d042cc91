/* SPDX-License-Identifier: MIT */
/*
 * Stream sockets for servers and clients: listening, accepting, and reading and
 * writing from coroutines.
 *
 * All sockets are non-blocking and close-on-exec. Everything runs on the loop's
 * thread; name look-ups go through co_blocking().
 */
#ifndef BASE_SOCKET_H
#define BASE_SOCKET_H

#include <sys/uio.h>

#include "base/loop.h"

enum socket_family { SOCKET_UNIX, SOCKET_INET, SOCKET_VSOCK, SOCKET_FD };

/* When a silent TCP connection is given up. Numbers of 0 are left to the system. */
struct socket_keep_alive {
	bool on;
	uint32_t count;      /* of unanswered probes */
	uint32_t idle_s;     /* seconds without traffic before the first */
	uint32_t interval_s; /* seconds between two */
};

/* Where to listen or connect. Strings belong to the caller. */
struct socket_endpoint {
	enum socket_family family;
	const char *path;    /* unix: path, or name without the leading NUL when abstract */
	bool abstract;       /* unix: Linux abstract namespace */
	bool tight;          /* unix: an abstract name ends with its last character */
	const char *host;    /* inet: "" is any address */
	const char *port;    /* inet: number or service name; "0" lets the kernel choose */
	uint16_t port_last;  /* inet: try ports up to this one; 0 for just @port */
	int ipv4, ipv6;      /* inet: 1 wanted, 0 not wanted, -1 either */
	bool numeric;        /* inet: host and port are no names */
	struct socket_keep_alive keep_alive; /* inet */
	bool mptcp;          /* inet: over several paths, if the peer can */
	uint32_t cid;        /* vsock: the machine's number; UINT32_MAX: any, when listening */
	uint32_t vsock_port; /* vsock */
	int fd;              /* fd: an open socket; ownership passes on success */
};

struct socket_listener;

/*
 * Listen at @address; @on_accept runs outside any coroutine for each new
 * connection and owns the non-blocking @fd. A stale UNIX socket file is
 * replaced; the file is removed by socket_listener_free(). Must be called from
 * a coroutine.
 */
int co_fn socket_listen(struct loop *loop, const struct socket_endpoint *address, int backlog,
			void (*on_accept)(void *arg, int fd), void *arg,
			struct socket_listener **ret, struct error **errp);
/* Stop or continue accepting; connections wait in the backlog meanwhile. */
void socket_listener_set_accepting(struct socket_listener *l, bool accepting);
/* The bound address: the port chosen by the kernel, for instance. Free with free(). */
char *socket_listener_describe(const struct socket_listener *l);
/* Close; removes the file of a UNIX socket. NULL is allowed. */
void socket_listener_free(struct socket_listener *l);

/* Connect; *ret_fd is the caller's. */
int co_fn socket_connect(struct loop *loop, const struct socket_endpoint *address, int *ret_fd,
			 struct error **errp);

/* For users of libraries that connect and do their I/O by themselves. */
struct addrinfo;
struct sockaddr_un;

/* Fill @ret from a unix @address. Returns the length for bind(2), or a negative errno. */
int socket_unix_address(const struct socket_endpoint *address, struct sockaddr_un *ret,
			struct error **errp);
/*
 * Look up an inet @address on a worker thread; @passive for listening. *ret is
 * freed with freeaddrinfo().
 */
int co_fn socket_look_up(const struct socket_endpoint *address, bool passive,
			 struct addrinfo **ret, struct error **errp);
/*
 * Open a non-blocking, close-on-exec stream socket; with @mptcp one of MPTCP, which the
 * kernel may lack. Returns the fd or a negative errno.
 */
int socket_open(int family, bool mptcp, struct error **errp);
/* Check that @fd is a stream socket and make it non-blocking and close-on-exec. 0 or error. */
int socket_adopt(int fd, struct error **errp);
/* What a TCP connection wants: no delay. Other families: nothing. */
void socket_tune(int fd);
/*
 * Set up probes of an inet socket; what a listening one accepts has them too. 0, or
 * a negative errno: -EINVAL for what the kernel does not take.
 */
int socket_set_keep_alive(int fd, const struct socket_keep_alive *k, struct error **errp);

/*
 * What stands between the callers of a stream and its socket, such as TLS. The two
 * calls do what those of the stream of the same names do, with the socket itself and
 * without waiting. After a write that was short or returned -EAGAIN, the next one
 * begins with the same bytes.
 */
struct socket_filter {
	int64_t (*try_readv)(struct socket_filter *f, const struct iovec *iov, unsigned count);
	int64_t (*try_writev)(struct socket_filter *f, const struct iovec *iov, unsigned count);
	/* Whether a read would find something without the socket. */
	bool (*has_input)(const struct socket_filter *f);
	/* The stream is about to be freed: say goodbye if that can be done at once, and free it. */
	void (*finish)(struct socket_filter *f);
};

/* One connected stream with a place to wait. One reader and one writer coroutine at most. */
struct socket_stream;

/* Takes ownership of @fd, makes it non-blocking. */
struct socket_stream *socket_stream_new(struct loop *loop, int fd);
void socket_stream_free(struct socket_stream *s);
/* From now on read and write through @f, which belongs to the stream then. Once only. */
void socket_stream_set_filter(struct socket_stream *s, struct socket_filter *f);
/* See loop_fd_look_for(); nothing bounds it in a new stream. */
void socket_stream_look_for(struct socket_stream *s, uint64_t most_ns);
int socket_stream_fd(const struct socket_stream *s);
/*
 * Receive at least 1 and at most @bytes. Tries the socket first and suspends
 * only when it is empty. Returns the count, 0 at the end of the stream, or a
 * negative errno: -ECANCELED after socket_stream_shutdown().
 */
int64_t co_fn socket_read(struct socket_stream *s, void *p, size_t bytes);
/* The same without waiting: -EAGAIN when nothing is there. */
int64_t socket_try_read(struct socket_stream *s, void *p, size_t bytes);
int64_t socket_try_readv(struct socket_stream *s, const struct iovec *iov, unsigned count);
/* Send all of the iovecs, which are modified on the way. Returns 0 or a negative errno. */
int co_fn socket_writev(struct socket_stream *s, struct iovec *iov, unsigned count);
/* One sendmsg() without waiting: bytes sent, or -EAGAIN. */
int64_t socket_try_writev(struct socket_stream *s, const struct iovec *iov, unsigned count);
/* Wait until the socket can be read or written (LOOP_FD_READ, LOOP_FD_WRITE). 0 or -ECANCELED. */
int co_fn socket_wait(struct socket_stream *s, unsigned event);
/* Close both directions: whoever waits in the calls above gets -ECANCELED. */
void socket_stream_shutdown(struct socket_stream *s);

#endif
