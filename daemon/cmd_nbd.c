/* SPDX-License-Identifier: MIT */
/*
 * Commands of the NBD server. Control thread.
 */
#include "block/node.h"
#include "daemon/daemon.h"
#include "daemon/nbd.h"
#include "daemon/systemd.h"
#include "protocol/nbd/server.h"
#include "schema/commands.h"
#include "schema/keyval.h"

static void set_inet(struct socket_endpoint *ret, const struct inet_socket_address *inet)
{
	ret->family = SOCKET_INET;
	ret->host = inet->host;
	ret->port = inet->port;
	ret->port_last = inet->to;
	ret->ipv4 = inet->has_ipv4 ? inet->ipv4 : -1;
	ret->ipv6 = inet->has_ipv6 ? inet->ipv6 : -1;
	ret->numeric = inet->numeric;
	ret->mptcp = inet->mptcp;
	ret->keep_alive = (struct socket_keep_alive){
		.on = inet->keep_alive,
		.count = inet->keep_alive_count,
		.idle_s = inet->keep_alive_idle,
		.interval_s = inet->keep_alive_interval,
	};
}

static void set_unix(struct socket_endpoint *ret, const struct unix_socket_address *address)
{
	ret->family = SOCKET_UNIX;
	ret->path = address->path;
	ret->abstract = address->abstract;
	ret->tight = address->tight;
}

/* A decimal number of 32 bits. */
static int parse_number(const char *text, const char *what, uint32_t *ret, struct error **errp)
{
	int64_t n;
	if (keyval_parse_int(text, &n) < 0 || n < 0 || n > UINT32_MAX)
		return error_set(errp, -EINVAL, "Failed to parse %s '%s'", what, text);
	*ret = (uint32_t)n;
	return 0;
}

static int set_vsock(struct socket_endpoint *ret, const struct vsock_socket_address *address,
		     struct error **errp)
{
	ret->family = SOCKET_VSOCK;
	int r = parse_number(address->cid, "cid", &ret->cid, errp);
	return r < 0 ? r : parse_number(address->port, "port", &ret->vsock_port, errp);
}

static int set_fd(struct socket_endpoint *ret, const struct fd_socket_address *address,
		  struct error **errp)
{
	ret->family = SOCKET_FD;
	ret->fd = systemd_find_fd(address->str, errp);
	return ret->fd < 0 ? ret->fd : 0;
}

int nbd_option_start(const struct nbd_server_options *options, struct error **errp)
{
	struct nbd_server_config config = {
		.address.fd = -1,
		.max_connections = options->max_connections,
		.handshake_max_s = options->handshake_max_seconds,
		.tls_creds = options->tls_creds,
		.tls_authz = options->tls_authz,
	};
	int r = 0;
	switch (options->addr->type) {
	case SOCKET_ADDRESS_TYPE_INET:
		set_inet(&config.address, &options->addr->u.inet);
		break;
	case SOCKET_ADDRESS_TYPE_UNIX:
		set_unix(&config.address, &options->addr->u.unix_);
		break;
	case SOCKET_ADDRESS_TYPE_VSOCK:
		r = set_vsock(&config.address, &options->addr->u.vsock, errp);
		break;
	default:
		r = set_fd(&config.address, &options->addr->u.fd, errp);
		break;
	}
	return r < 0 ? r : nbd_server_start(the_daemon.nbd, &config, errp);
}

int qmp_nbd_server_start(const struct nbd_server_options_legacy *args, struct error **errp)
{
	/* The same without the envelopes. */
	struct socket_address address = {.type = args->addr->type};
	switch (address.type) {
	case SOCKET_ADDRESS_TYPE_INET:
		address.u.inet = *args->addr->u.inet.data;
		break;
	case SOCKET_ADDRESS_TYPE_UNIX:
		address.u.unix_ = *args->addr->u.unix_.data;
		break;
	case SOCKET_ADDRESS_TYPE_VSOCK:
		address.u.vsock = *args->addr->u.vsock.data;
		break;
	default:
		address.u.fd = *args->addr->u.fd.data;
		break;
	}
	return nbd_option_start(&(struct nbd_server_options){
		.max_connections = args->max_connections,
		.handshake_max_seconds = args->handshake_max_seconds,
		.tls_creds = args->tls_creds,
		.tls_authz = args->tls_authz,
		.addr = &address,
	}, errp);
}

int qmp_nbd_server_stop(struct error **errp)
{
	return nbd_server_stop(the_daemon.nbd, errp);
}

int qmp_nbd_server_add(const struct nbd_server_add_options *args, struct error **errp)
{
	struct node *n = node_find_error(the_daemon.graph, args->device, errp);
	if (!n)
		return -ENOENT;
	char *name = args->name ? args->name : args->device;
	struct block_dirty_bitmap_or_str bitmap = {
		.kind = BLOCK_DIRTY_BITMAP_OR_STR_LOCAL,
		.u.local = args->bitmap,
	};
	return export_add(the_daemon.exports, &(struct block_export_options){
		.type = BLOCK_EXPORT_TYPE_NBD,
		.id = name,
		.node_name = args->device,
		/* In this old command a wish rather than a condition. */
		.writable = args->writable && !n->read_only,
		.u.nbd = {
			.name = name,
			.description = args->description,
			.has_bitmaps = args->bitmap,
			.bitmaps = {
				.items = (struct block_dirty_bitmap_or_str *[]){&bitmap},
				.count = args->bitmap ? 1 : 0,
			},
		},
	}, errp);
}

int qmp_nbd_server_remove(const struct nbd_server_remove_args *args, struct error **errp)
{
	struct export *e = export_find(the_daemon.exports, args->name, errp);
	if (!e)
		return -ENOENT;
	if (e->type->type != BLOCK_EXPORT_TYPE_NBD)
		return error_set(errp, -EINVAL, "Block export '%s' is not an NBD export",
				 args->name);
	return export_del(the_daemon.exports, e, args->mode, errp);
}
