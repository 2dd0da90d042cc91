/* SPDX-License-Identifier: MIT */
/*
 * Connected stream sockets and connecting. The loop's thread.
 */
#include "base/socket.h"

#include <assert.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/vm_sockets.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/socket.h"

/*
 * A batch of replies should leave in one call. The kernel doubles the value for
 * its bookkeeping and cuts it to net.core.wmem_max. TCP grows by itself.
 */
#define UNIX_SEND_BUFFER_BYTES (1 << 20)

/* A UNIX server whose backlog is full: how often and how long to wait for it. */
#define CONNECT_RETRIES 500
#define CONNECT_RETRY_NS UINT64_C(20000000)

/* The kernel's upper limit of iovecs in one call. */
#define IOV_PER_CALL_MAX 1024u

struct socket_stream {
	struct loop *loop;
	int fd;
	struct loop_fd *watch;
	unsigned wanted; /* LOOP_FD_*: somebody waits for it */
	struct coroutine *reader, *writer;
	struct socket_filter *filter; /* NULL: none */
	bool shut_down;
	bool drained; /* the last read took all that there was, and no event has come since */
};

/* Wake who waits for @events. */
static void on_ready(void *arg, unsigned events)
{
	struct socket_stream *s = arg;

	if (events & LOOP_FD_READ)
		s->drained = false;
	s->wanted &= ~events;
	loop_fd_set_events(s->watch, s->wanted);
	if (events & LOOP_FD_READ && s->reader)
		co_wake(TAKE(s->reader));
	if (events & LOOP_FD_WRITE && s->writer)
		co_wake(TAKE(s->writer));
}

struct socket_stream *socket_stream_new(struct loop *loop, int fd)
{
	int r = socket_adopt(fd, NULL);
	assert(r == 0);

	int domain = 0;
	socklen_t length = sizeof(domain);
	(void)getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length);
	if (domain == AF_UNIX) {
		int bytes = UNIX_SEND_BUFFER_BYTES;
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	}

	struct socket_stream *s = NEW(struct socket_stream);
	s->loop = loop;
	s->fd = fd;
	s->watch = loop_fd_new(loop, fd, on_ready, s);
	loop_fd_look_for(s->watch, UINT64_MAX);
	return s;
}

void socket_stream_free(struct socket_stream *s)
{
	if (!s)
		return;
	assert(!s->reader && !s->writer);
	if (s->filter)
		s->filter->finish(s->filter);
	loop_fd_free(s->watch);
	close(s->fd);
	free(s);
}

void socket_stream_set_filter(struct socket_stream *s, struct socket_filter *f)
{
	assert(!s->filter);
	s->filter = f;
	s->drained = false; /* it was said of the socket */
}

void socket_stream_look_for(struct socket_stream *s, uint64_t most_ns)
{
	loop_fd_look_for(s->watch, most_ns);
}

int socket_stream_fd(const struct socket_stream *s)
{
	return s->fd;
}

int64_t socket_try_read(struct socket_stream *s, void *p, size_t bytes)
{
	if (s->shut_down)
		return -ECANCELED;
	if (s->filter)
		return s->filter->try_readv(s->filter, &(struct iovec){p, bytes}, 1);
	for (;;) {
		ssize_t n = recv(s->fd, p, bytes, MSG_DONTWAIT);
		s->drained = n < (ssize_t)bytes;
		if (n >= 0)
			return n;
		if (errno != EINTR)
			return -errno;
	}
}

int64_t socket_try_readv(struct socket_stream *s, const struct iovec *iov, unsigned count)
{
	if (s->shut_down)
		return -ECANCELED;
	if (s->filter)
		return s->filter->try_readv(s->filter, iov, count);
	for (;;) {
		struct msghdr message = {
			.msg_iov = (struct iovec *)iov,
			.msg_iovlen = MIN(count, IOV_PER_CALL_MAX),
		};
		ssize_t n = recvmsg(s->fd, &message, MSG_DONTWAIT);
		if (n >= 0)
			return n;
		if (errno != EINTR)
			return -errno;
	}
}

int64_t socket_try_writev(struct socket_stream *s, const struct iovec *iov, unsigned count)
{
	if (s->shut_down)
		return -ECANCELED;
	if (s->filter)
		return s->filter->try_writev(s->filter, iov, count);
	for (;;) {
		struct msghdr message = {
			.msg_iov = (struct iovec *)iov,
			.msg_iovlen = MIN(count, IOV_PER_CALL_MAX),
		};
		ssize_t n = sendmsg(s->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n >= 0)
			return n;
		if (errno != EINTR)
			return -errno;
	}
}

int socket_wait(struct socket_stream *s, unsigned event)
{
	struct coroutine **waiter = event == LOOP_FD_READ ? &s->reader : &s->writer;
	assert(event == LOOP_FD_READ || event == LOOP_FD_WRITE);
	assert(!*waiter); /* one of each at most */

	if (s->shut_down)
		return -ECANCELED;
	if (event == LOOP_FD_READ && s->filter && s->filter->has_input(s->filter))
		return 0;
	*waiter = co_self();
	s->wanted |= event;
	loop_fd_set_events(s->watch, s->wanted);
	co_yield();
	return s->shut_down ? -ECANCELED : 0;
}

int64_t socket_read(struct socket_stream *s, void *p, size_t bytes)
{
	for (;;) {
		/* After a short read the next would mostly find nothing: save the call. */
		int64_t n = s->drained ? -EAGAIN : socket_try_read(s, p, bytes);
		if (n != -EAGAIN)
			return n;
		int r = socket_wait(s, LOOP_FD_READ);
		if (r < 0)
			return r;
	}
}

int socket_writev(struct socket_stream *s, struct iovec *iov, unsigned count)
{
	for (;;) {
		/* Pass over what is sent or was empty from the start. */
		while (count > 0 && iov->iov_len == 0) {
			iov++;
			count--;
		}
		if (count == 0)
			return 0;

		int64_t n = socket_try_writev(s, iov, count);
		if (n == -EAGAIN)
			n = socket_wait(s, LOOP_FD_WRITE);
		if (n < 0)
			return n;
		for (struct iovec *sent = iov; n > 0; sent++) {
			size_t part = MIN((size_t)n, sent->iov_len);
			sent->iov_base = (char *)sent->iov_base + part;
			sent->iov_len -= part;
			n -= part;
		}
	}
}

void socket_stream_shutdown(struct socket_stream *s)
{
	if (s->shut_down)
		return;
	s->shut_down = true;
	(void)shutdown(s->fd, SHUT_RDWR);
	on_ready(s, LOOP_FD_READ | LOOP_FD_WRITE);
}

struct connecting {
	struct coroutine *co;
	struct loop_fd *watch;
};

static void on_connected(void *arg, unsigned events)
{
	struct connecting *c = arg;
	/* Once only: more events may come before the coroutine has run. */
	loop_fd_set_events(c->watch, 0);
	if (c->co)
		co_wake(TAKE(c->co));
}

/* connect() with the waiting done here. 0 or a negative errno. */
static int co_fn connect_fd(struct loop *loop, int fd, const struct sockaddr *sa, socklen_t length)
{
	for (unsigned retries = 0;; retries++) {
		if (connect(fd, sa, length) == 0)
			return 0;
		if (errno == EINPROGRESS)
			break;
		/* EAGAIN is a UNIX server's full backlog, which no event reports. */
		if (errno != EAGAIN || retries == CONNECT_RETRIES)
			return -errno;
		co_sleep_ns(CONNECT_RETRY_NS);
	}

	struct connecting c = {.co = co_self()};
	c.watch = loop_fd_new(loop, fd, on_connected, &c);
	loop_fd_set_events(c.watch, LOOP_FD_WRITE);
	co_yield();
	loop_fd_free(c.watch);

	int error = 0;
	socklen_t error_length = sizeof(error);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_length) < 0)
		return -errno;
	return -error;
}

static int co_fn connect_unix(struct loop *loop, const struct socket_endpoint *address, int *ret_fd,
			      struct error **errp)
{
	struct sockaddr_un un;
	int length = socket_unix_address(address, &un, errp);
	if (length < 0)
		return length;
	_cleanup_close_ int fd = socket_open(AF_UNIX, false, errp);
	if (fd < 0)
		return fd;
	int r = connect_fd(loop, fd, (struct sockaddr *)&un, length);
	if (r < 0)
		return error_set_errno(errp, r, "Failed to connect to '%s'", address->path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int co_fn connect_vsock(struct loop *loop, const struct socket_endpoint *address,
			       int *ret_fd, struct error **errp)
{
	const struct sockaddr_vm vm = {
		.svm_family = AF_VSOCK,
		.svm_cid = address->cid,
		.svm_port = address->vsock_port,
	};
	_cleanup_close_ int fd = socket_open(AF_VSOCK, false, errp);
	if (fd < 0)
		return fd;
	int r = connect_fd(loop, fd, (const struct sockaddr *)&vm, sizeof(vm));
	if (r < 0)
		return error_set_errno(errp, r, "Failed to connect to '%u:%u'", address->cid,
				       address->vsock_port);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int co_fn connect_inet(struct loop *loop, const struct socket_endpoint *address, int *ret_fd,
			      struct error **errp)
{
	struct addrinfo *found;
	int r = socket_look_up(address, false, &found, errp);
	if (r < 0)
		return r;

	struct error *error = NULL;
	for (struct addrinfo *info = found; info; info = info->ai_next) {
		error_free(error);
		error = NULL;
		_cleanup_close_ int fd = socket_open(info->ai_family, address->mptcp, &error);
		if (fd < 0) {
			r = fd;
			continue;
		}
		r = connect_fd(loop, fd, info->ai_addr, info->ai_addrlen);
		if (r == 0) {
			socket_tune(fd);
			r = socket_set_keep_alive(fd, &address->keep_alive, &error);
			if (r == 0)
				*ret_fd = TAKE_FD(fd);
			break;
		}
		error_set_errno(&error, r, "Failed to connect to '%s:%s'", address->host,
				address->port);
	}
	freeaddrinfo(found);
	return r < 0 ? error_move(errp, error) : 0;
}

int socket_connect(struct loop *loop, const struct socket_endpoint *address, int *ret_fd,
		   struct error **errp)
{
	int r;
	switch (address->family) {
	case SOCKET_UNIX:
		return connect_unix(loop, address, ret_fd, errp);
	case SOCKET_INET:
		return connect_inet(loop, address, ret_fd, errp);
	case SOCKET_VSOCK:
		return connect_vsock(loop, address, ret_fd, errp);
	case SOCKET_FD:
		r = socket_adopt(address->fd, errp);
		if (r == 0)
			*ret_fd = address->fd;
		return r;
	}
	assert(false);
	return -EINVAL;
}
