/* SPDX-License-Identifier: MIT */
/*
 * Addresses: from words to what the kernel takes. The loop's thread; the look-up
 * of names runs on a worker thread.
 */
#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/socket.h"

int socket_unix_address(const struct socket_endpoint *address, struct sockaddr_un *ret,
			struct error **errp)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	size_t length = strlen(address->path);
	size_t start = address->abstract ? 1 : 0;

	/* A path ends with a NUL; an abstract name begins with one. */
	if (length >= sizeof(ret->sun_path))
		return error_set(errp, -ENAMETOOLONG,
				 "UNIX socket path '%s' is too long: "
				 "it must be less than %zu bytes",
				 address->path, sizeof(ret->sun_path));
	if (length == 0 && !address->abstract)
		return error_set(errp, -EINVAL, "UNIX socket path is empty");
	memcpy(ret->sun_path + start, address->path, length);

	if (address->abstract && address->tight)
		return offsetof(struct sockaddr_un, sun_path) + start + length;
	return sizeof(*ret);
}

struct look_up {
	const char *host, *port;
	struct addrinfo hints;
	struct addrinfo *found;
	int saved_errno;
};

static int run_look_up(void *arg)
{
	struct look_up *l = arg;
	int r = getaddrinfo(l->host, l->port, &l->hints, &l->found);
	l->saved_errno = errno;
	return r;
}

/* The address family that the switches leave, or a negative errno. */
static int chosen_family(const struct socket_endpoint *address, struct error **errp)
{
	if (address->ipv4 == 0 && address->ipv6 == 0)
		return error_set(errp, -EINVAL, "Cannot disable IPv4 and IPv6 at same time");
	if (address->ipv4 > 0 && address->ipv6 > 0)
		return AF_UNSPEC;
	if (address->ipv4 > 0 || address->ipv6 == 0)
		return AF_INET;
	if (address->ipv6 > 0 || address->ipv4 == 0)
		return AF_INET6;
	return AF_UNSPEC;
}

/* getaddrinfo() silently cuts numbers to 16 bits. */
static int check_port(const char *port, struct error **errp)
{
	if (!*port)
		return error_set(errp, -EINVAL, "Port is empty");
	if (strspn(port, "0123456789") != strlen(port))
		return 0; /* a service's name */
	const char *digits = port + strspn(port, "0");
	if (strlen(digits) > 5 || atol(digits) > UINT16_MAX)
		return error_set(errp, -EINVAL, "Port '%s' is above %u", port, UINT16_MAX);
	return 0;
}

static int look_up_errno(int gai_error, int saved_errno)
{
	switch (gai_error) {
	case EAI_SYSTEM:
		return saved_errno ? -saved_errno : -EIO;
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_AGAIN:
		return -EAGAIN;
	default:
		return -EADDRNOTAVAIL;
	}
}

int socket_look_up(const struct socket_endpoint *address, bool passive, struct addrinfo **ret,
		   struct error **errp)
{
	int family = chosen_family(address, errp);
	if (family < 0)
		return family;
	int r = check_port(address->port, errp);
	if (r < 0)
		return r;

	struct look_up l = {
		.host = *address->host ? address->host : NULL,
		.port = address->port,
		.hints = {
			.ai_family = family,
			.ai_socktype = SOCK_STREAM,
			.ai_flags = (passive ? AI_PASSIVE : 0) |
				    (address->numeric ? AI_NUMERICHOST | AI_NUMERICSERV : 0),
		},
	};
	r = co_blocking(run_look_up, &l);
	if (r == 0) {
		*ret = l.found;
		return 0;
	}
	int code = look_up_errno(r, l.saved_errno);
	return error_set(errp, code, "address resolution failed for %s:%s: %s", address->host,
			 address->port, gai_strerror(r));
}

int socket_open(int family, bool mptcp, struct error **errp)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			mptcp ? IPPROTO_MPTCP : 0);
	if (fd < 0 && mptcp)
		return error_set_errno(errp, -errno, "Failed to create an MPTCP socket");
	if (fd < 0)
		return error_set_errno(errp, -errno, "Failed to create a socket");
	return fd;
}

int socket_adopt(int fd, struct error **errp)
{
	int type;
	socklen_t length = sizeof(type);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0)
		return error_set(errp, -ENOTSOCK, "File descriptor '%d' is not a socket", fd);
	if (type != SOCK_STREAM)
		return error_set(errp, -EPROTOTYPE, "File descriptor '%d' is not a stream socket",
				 fd);

	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return error_set_errno(errp, -errno, "Failed to prepare file descriptor '%d'", fd);
	return 0;
}

void socket_tune(int fd)
{
	/* It fails on what is not TCP, and matters to speed only. */
	int on = 1;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static int set_probes(int fd, int option, uint32_t value, const char *what, struct error **errp)
{
	if (value == 0)
		return 0;
	int number = (int)MIN(value, (uint32_t)INT_MAX);
	if (setsockopt(fd, IPPROTO_TCP, option, &number, sizeof(number)) < 0)
		return error_set_errno(errp, -errno, "Unable to set %s to %" PRIu32, what, value);
	return 0;
}

int socket_set_keep_alive(int fd, const struct socket_keep_alive *k, struct error **errp)
{
	if (!k->on)
		return 0;
	int on = 1;
	if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0)
		return error_set_errno(errp, -errno, "Unable to set keep-alive");
	int r = set_probes(fd, TCP_KEEPCNT, k->count, "keep-alive-count", errp);
	if (r >= 0)
		r = set_probes(fd, TCP_KEEPIDLE, k->idle_s, "keep-alive-idle", errp);
	if (r >= 0)
		r = set_probes(fd, TCP_KEEPINTVL, k->interval_s, "keep-alive-interval", errp);
	return r;
}
