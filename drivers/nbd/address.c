/* SPDX-License-Identifier: MIT */
/*
 * Where an NBD server is. Node's loop.
 */
#include "drivers/nbd/address.h"

#include <linux/vm_sockets.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/socket.h"

/* A decimal number up to @max. */
static int parse_number(const char *text, uint32_t max, uint32_t *ret)
{
	if (!*text || strspn(text, "0123456789") != strlen(text))
		return -EINVAL;
	errno = 0;
	unsigned long long n = strtoull(text, NULL, 10);
	if (errno != 0 || n > max)
		return -ERANGE;
	*ret = (uint32_t)n;
	return 0;
}

static int init_vsock(const struct vsock_socket_address *o, struct sockaddr_vm *ret,
		      struct error **errp)
{
	*ret = (struct sockaddr_vm){.svm_family = AF_VSOCK};
	if (parse_number(o->cid, UINT32_MAX, &ret->svm_cid) < 0)
		return error_set(errp, -EINVAL, "Failed to parse cid '%s'", o->cid);
	if (parse_number(o->port, UINT32_MAX, &ret->svm_port) < 0)
		return error_set(errp, -EINVAL, "Failed to parse port '%s'", o->port);
	return 0;
}

static int init_fd(struct nbd_address *a, const struct fd_socket_address *o, struct error **errp)
{
	uint32_t fd;
	if (parse_number(o->str, INT32_MAX, &fd) < 0)
		return error_set(errp, -EINVAL, "Unable to parse FD number %s", o->str);
	int r = socket_adopt((int)fd, errp);
	if (r < 0)
		return r;
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	if (getpeername((int)fd, (struct sockaddr *)&peer, &length) < 0)
		return error_set(errp, -errno, "File descriptor '%u' is not a connected socket",
				 fd);
	a->fd = (int)fd;
	return 0;
}

int nbd_address_init(struct nbd_address *ret, const struct socket_address *options,
		     struct error **errp)
{
	*ret = (struct nbd_address){.options = options, .fd = -1};
	struct sockaddr_vm vm;
	int r = 0;
	switch (options->type) {
	case SOCKET_ADDRESS_TYPE_INET:
		ret->text = xasprintf("%s:%s", options->u.inet.host, options->u.inet.port);
		break;
	case SOCKET_ADDRESS_TYPE_UNIX:
		ret->text = xstrdup(options->u.unix_.path);
		break;
	case SOCKET_ADDRESS_TYPE_VSOCK:
		ret->text = xasprintf("%s:%s", options->u.vsock.cid, options->u.vsock.port);
		r = init_vsock(&options->u.vsock, &vm, errp);
		break;
	default:
		ret->text = xasprintf("fd %s", options->u.fd.str);
		r = init_fd(ret, &options->u.fd, errp);
		break;
	}
	return r;
}

void nbd_address_finish(struct nbd_address *a)
{
	if (a->fd >= 0)
		close(a->fd);
	free(a->text);
	*a = (struct nbd_address){.fd = -1};
}

static int co_fn look_up_inet(const struct inet_socket_address *o,
			      struct nbd_target ret[NBD_TARGETS_MAX], struct error **errp)
{
	const struct socket_endpoint endpoint = {
		.family = SOCKET_INET,
		.host = o->host,
		.port = o->port,
		.ipv4 = o->has_ipv4 ? o->ipv4 : -1,
		.ipv6 = o->has_ipv6 ? o->ipv6 : -1,
		.numeric = o->numeric,
	};
	struct addrinfo *found;
	int r = socket_look_up(&endpoint, false, &found, errp);
	if (r < 0)
		return r;
	int count = 0;
	for (const struct addrinfo *ai = found; ai && count < NBD_TARGETS_MAX; ai = ai->ai_next) {
		if (ai->ai_addrlen > sizeof(ret[count].address))
			continue;
		memcpy(&ret[count].address, ai->ai_addr, ai->ai_addrlen);
		ret[count++].length = ai->ai_addrlen;
	}
	freeaddrinfo(found);
	if (count == 0)
		return error_set(errp, -EADDRNOTAVAIL, "No address found for '%s'", o->host);
	return count;
}

static int look_up_unix(const struct unix_socket_address *o, struct nbd_target *ret,
			struct error **errp)
{
	const struct socket_endpoint endpoint = {
		.family = SOCKET_UNIX,
		.path = o->path,
		.abstract = o->abstract,
		.tight = o->tight,
	};
	int length = socket_unix_address(&endpoint, (struct sockaddr_un *)&ret->address, errp);
	if (length < 0)
		return length;
	ret->length = (socklen_t)length;
	return 1;
}

int co_fn nbd_address_look_up(const struct nbd_address *a, struct nbd_target ret[NBD_TARGETS_MAX],
			      struct error **errp)
{
	int r;
	switch (a->options->type) {
	case SOCKET_ADDRESS_TYPE_INET:
		return look_up_inet(&a->options->u.inet, ret, errp);
	case SOCKET_ADDRESS_TYPE_UNIX:
		return look_up_unix(&a->options->u.unix_, ret, errp);
	case SOCKET_ADDRESS_TYPE_VSOCK:
		r = init_vsock(&a->options->u.vsock, (struct sockaddr_vm *)&ret->address, errp);
		ret->length = sizeof(struct sockaddr_vm);
		return r < 0 ? r : 1;
	default:
		return error_set(errp, -EINVAL, "A file descriptor is no address");
	}
}
