/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets. The loop's thread.
 *
 * One address may mean several sockets: a host name or "" stands for IPv4 and
 * IPv6, each with a socket of its own on the same port.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <linux/vm_sockets.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/socket.h"

#define SOCKETS_MAX 16

/* Connections taken in one go, before others get their turn. */
#define ACCEPTS_MAX 16

/* How long to leave the backlog alone when there are no file descriptors left. */
#define PAUSE_NS UINT64_C(100000000)

struct listening {
	struct socket_listener *listener;
	int fd;
	struct loop_fd *watch;
};

struct socket_listener {
	struct loop *loop;
	void (*on_accept)(void *arg, int fd);
	void *arg;
	bool accepting;
	bool *freed; /* set while on_accept runs: tells its caller */
	struct loop_timer pause;
	char *path; /* of our UNIX socket's file; NULL: none to remove */
	dev_t path_dev;
	ino_t path_ino;
	unsigned count;
	struct listening sockets[SOCKETS_MAX];
};

static void update_watches(struct socket_listener *l)
{
	bool on = l->accepting && !loop_timer_is_set(&l->pause);
	for (unsigned i = 0; i < l->count; i++)
		loop_fd_set_events(l->sockets[i].watch, on ? LOOP_FD_READ : 0);
}

static void on_pause_over(struct loop_timer *pause)
{
	update_watches(container_of(pause, struct socket_listener, pause));
}

static bool out_of_resources(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void on_connections(void *arg, unsigned events)
{
	struct listening *s = arg;
	struct socket_listener *l = s->listener;
	bool freed = false;

	l->freed = &freed;
	for (unsigned n = 0; n < ACCEPTS_MAX && l->accepting; n++) {
		int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			socket_tune(fd);
			l->on_accept(l->arg, fd);
			if (freed)
				return;
			continue;
		}
		int error = errno;
		if (out_of_resources(error)) {
			/* The connection stays in the backlog and would be reported for ever. */
			loop_timer_set(&l->pause, loop_now_ns(l->loop) + PAUSE_NS);
			update_watches(l);
		}
		/* Errors of the connection itself, as ECONNABORTED, concern its client only. */
		if (error != EINTR && error != ECONNABORTED)
			break;
	}
	l->freed = NULL;
}

/* Take ownership of @fd. */
static void add_socket(struct socket_listener *l, int fd)
{
	assert(l->count < SOCKETS_MAX);
	struct listening *s = &l->sockets[l->count++];
	*s = (struct listening){
		.listener = l,
		.fd = fd,
		.watch = loop_fd_new(l->loop, fd, on_connections, s),
	};
}

/* True when a server answers at @un. */
static bool somebody_listens(const struct sockaddr_un *un, socklen_t length)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return true; /* cannot tell: leave it alone */
	return connect(fd, (const struct sockaddr *)un, length) == 0 || errno != ECONNREFUSED;
}

/*
 * Make way for a socket at @path: remove a socket that nobody listens on, and
 * the empty file that mktemp(1) leaves. Anything else stays; bind() reports it.
 */
static void remove_stale(const char *path, const struct sockaddr_un *un, socklen_t length)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return;
	bool stale_socket = S_ISSOCK(st.st_mode) && !somebody_listens(un, length);
	bool placeholder = S_ISREG(st.st_mode) && st.st_size == 0;
	if (stale_socket || placeholder)
		(void)unlink(path);
}

static int listen_unix(struct socket_listener *l, const struct socket_endpoint *address,
		       int backlog, struct error **errp)
{
	struct sockaddr_un un;
	int length = socket_unix_address(address, &un, errp);
	if (length < 0)
		return length;
	_cleanup_close_ int fd = socket_open(AF_UNIX, false, errp);
	if (fd < 0)
		return fd;

	if (!address->abstract)
		remove_stale(address->path, &un, length);
	if (bind(fd, (struct sockaddr *)&un, length) < 0)
		return error_set_errno(errp, -errno, "Failed to bind socket to %s", address->path);
	if (!address->abstract) {
		/* Which file is ours: by the end another server may have put its own there. */
		struct stat st = {0};
		(void)lstat(address->path, &st);
		l->path = realpath(address->path, NULL); /* the daemon may change its directory */
		l->path_dev = st.st_dev;
		l->path_ino = st.st_ino;
	}
	if (listen(fd, backlog) < 0)
		return error_set_errno(errp, -errno, "Failed to listen on socket %s",
				       address->path);
	add_socket(l, TAKE_FD(fd));
	return 0;
}

static int listen_vsock(struct socket_listener *l, const struct socket_endpoint *address,
			int backlog, struct error **errp)
{
	const struct sockaddr_vm vm = {
		.svm_family = AF_VSOCK,
		.svm_cid = address->cid,
		.svm_port = address->vsock_port,
	};
	_cleanup_close_ int fd = socket_open(AF_VSOCK, false, errp);
	if (fd < 0)
		return fd;
	if (bind(fd, (const struct sockaddr *)&vm, sizeof(vm)) < 0 || listen(fd, backlog) < 0)
		return error_set_errno(errp, -errno, "Failed to bind socket to %u:%u",
				       address->cid, address->vsock_port);
	add_socket(l, TAKE_FD(fd));
	return 0;
}

static void set_port(struct sockaddr *sa, unsigned port)
{
	if (sa->sa_family == AF_INET)
		((struct sockaddr_in *)sa)->sin_port = htons(port);
	else
		((struct sockaddr_in6 *)sa)->sin6_port = htons(port);
}

static unsigned get_port(const struct sockaddr *sa)
{
	return ntohs(sa->sa_family == AF_INET ? ((const struct sockaddr_in *)sa)->sin_port
					      : ((const struct sockaddr_in6 *)sa)->sin6_port);
}

static int refuse_port(int error, const char *what, struct error **errp)
{
	if (error == EADDRINUSE)
		what = "Failed to find an available port";
	return error_set_errno(errp, -error, "%s", what);
}

/* Open, bind and listen at @info. Returns the fd or a negative errno. */
static int open_inet(const struct addrinfo *info, const struct socket_endpoint *address, int backlog,
		     struct error **errp)
{
	_cleanup_close_ int fd = socket_open(info->ai_family, address->mptcp, errp);
	if (fd < 0)
		return fd;

	int on = 1;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* IPv4 has a socket of its own. */
	if (info->ai_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	int r = socket_set_keep_alive(fd, &address->keep_alive, errp);
	if (r < 0)
		return r;
	if (bind(fd, info->ai_addr, info->ai_addrlen) < 0)
		return refuse_port(errno, "Failed to bind socket", errp);
	if (listen(fd, backlog) < 0)
		return refuse_port(errno, "Failed to listen on socket", errp);
	return TAKE_FD(fd);
}

static void close_sockets(struct socket_listener *l)
{
	while (l->count > 0) {
		struct listening *s = &l->sockets[--l->count];
		loop_fd_free(s->watch);
		close(s->fd);
	}
}

/*
 * Listen on all of @addresses at @port; 0 lets the first socket choose for all.
 * An address whose family the kernel lacks is passed over if another works.
 */
static int listen_at_port(struct socket_listener *l, const struct addrinfo *addresses,
			  const struct socket_endpoint *address, unsigned port, int backlog,
			  struct error **errp)
{
	struct error *last_error = NULL;

	const struct addrinfo *info;
	for (info = addresses; info && l->count < SOCKETS_MAX; info = info->ai_next) {
		if (info->ai_family != AF_INET && info->ai_family != AF_INET6)
			continue;
		set_port(info->ai_addr, port);
		error_free(last_error);
		last_error = NULL;
		int fd = open_inet(info, address, backlog, &last_error);
		if (fd == -EADDRINUSE) {
			close_sockets(l);
			return error_move(errp, last_error);
		}
		if (fd < 0)
			continue;
		add_socket(l, fd);

		struct sockaddr_storage bound;
		socklen_t length = sizeof(bound);
		if (port == 0 && getsockname(fd, (struct sockaddr *)&bound, &length) == 0)
			port = get_port((struct sockaddr *)&bound);
	}
	if (l->count == 0 && last_error)
		return error_move(errp, last_error);
	error_free(last_error);
	if (l->count == 0)
		return error_set(errp, -EAFNOSUPPORT, "No address to listen at");
	return 0;
}

static int co_fn listen_inet(struct socket_listener *l, const struct socket_endpoint *address,
			     int backlog, struct error **errp)
{
	struct addrinfo *addresses;
	int r = socket_look_up(address, true, &addresses, errp);
	if (r < 0)
		return r;

	unsigned port = get_port(addresses->ai_addr);
	unsigned last = address->port_last ? address->port_last : port;
	struct error *error = NULL;
	if (last < port)
		r = error_set(&error, -EINVAL, "Range of ports from %u to %u is empty", port, last);
	for (; port <= last; port++) {
		error_free(error);
		error = NULL;
		r = listen_at_port(l, addresses, address, port, backlog, &error);
		if (r != -EADDRINUSE)
			break;
	}
	freeaddrinfo(addresses);
	return r < 0 ? error_move(errp, error) : 0;
}

/* A socket that somebody else has bound, and perhaps listens on already. */
static int listen_fd(struct socket_listener *l, const struct socket_endpoint *address, int backlog,
		     struct error **errp)
{
	int fd = address->fd;
	int r = socket_adopt(fd, errp);
	if (r < 0)
		return r;

	int listens = 0;
	socklen_t length = sizeof(listens);
	(void)getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length);
	if (!listens && listen(fd, backlog) < 0)
		return error_set_errno(errp, -errno, "Failed to listen on file descriptor '%d'",
				       fd);
	add_socket(l, fd);
	return 0;
}

int socket_listen(struct loop *loop, const struct socket_endpoint *address, int backlog,
		  void (*on_accept)(void *arg, int fd), void *arg, struct socket_listener **ret,
		  struct error **errp)
{
	struct socket_listener *l = NEW(struct socket_listener);
	l->loop = loop;
	l->on_accept = on_accept;
	l->arg = arg;
	l->accepting = true;
	loop_timer_init(loop, &l->pause, on_pause_over);

	int r;
	switch (address->family) {
	case SOCKET_UNIX:
		r = listen_unix(l, address, backlog, errp);
		break;
	case SOCKET_INET:
		r = listen_inet(l, address, backlog, errp);
		break;
	case SOCKET_VSOCK:
		r = listen_vsock(l, address, backlog, errp);
		break;
	case SOCKET_FD:
		r = listen_fd(l, address, backlog, errp);
		break;
	default:
		assert(false);
		r = -EINVAL;
	}
	if (r < 0) {
		socket_listener_free(l);
		return r;
	}
	update_watches(l);
	*ret = l;
	return 0;
}

void socket_listener_set_accepting(struct socket_listener *l, bool accepting)
{
	l->accepting = accepting;
	update_watches(l);
}

static char *describe_inet(const struct sockaddr *sa, socklen_t length)
{
	char host[NI_MAXHOST], port[NI_MAXSERV];
	if (getnameinfo(sa, length, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return xstrdup("?");
	return xasprintf(sa->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

char *socket_listener_describe(const struct socket_listener *l)
{
	struct sockaddr_storage bound = {0};
	socklen_t length = sizeof(bound);
	if (getsockname(l->sockets[0].fd, (struct sockaddr *)&bound, &length) < 0)
		return xstrdup("?");
	if (bound.ss_family == AF_VSOCK) {
		const struct sockaddr_vm *vm = (struct sockaddr_vm *)&bound;
		return xasprintf("vsock:%u:%u", vm->svm_cid, vm->svm_port);
	}
	if (bound.ss_family != AF_UNIX)
		return describe_inet((struct sockaddr *)&bound, length);

	const struct sockaddr_un *un = (struct sockaddr_un *)&bound;
	int n = (int)length - (int)offsetof(struct sockaddr_un, sun_path);
	if (n <= 0)
		return xstrdup("unnamed");
	if (un->sun_path[0] == '\0')
		return xasprintf("@%.*s", n - 1, un->sun_path + 1);
	return xasprintf("%.*s", n, un->sun_path);
}

static void remove_own_file(struct socket_listener *l)
{
	struct stat st;
	if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->path_dev &&
	    st.st_ino == l->path_ino)
		(void)unlink(l->path);
}

void socket_listener_free(struct socket_listener *l)
{
	if (!l)
		return;
	if (l->freed)
		*l->freed = true;
	loop_timer_cancel(&l->pause);
	/* While the socket is still open its inode cannot be another's. */
	remove_own_file(l);
	close_sockets(l);
	free(l->path);
	free(l);
}
