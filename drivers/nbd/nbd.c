/* SPDX-License-Identifier: MIT */
/*
 * The driver nbd: requests to an export of an NBD server. Node's loop.
 *
 * Invariant: after the server has answered a flush with an error, none succeeds. What
 * it could not store it may have dropped, and few servers remember that.
 *
 * Nor does a flush say anything of what a server had answered that is not there any more: it may
 * have been in its memory. That is told in the log, or, where the user wants it, by the flush.
 */
#include <inttypes.h>
#include <libnbd.h>
#include <string.h>

#include "base/buffer.h"
#include "base/log.h"
#include "drivers/module.h"
#include "drivers/nbd/client.h"
#include "drivers/nbd/name.h"

#define NS_PER_S UINT64_C(1000000000)
#define SECTOR_BYTES 512
/* The longest name that the protocol carries. */
#define NAME_MAX_BYTES 4096

/* What a server must take when it does not tell. */
#define TRANSFER_MAX (32 * MiB)
/* The longest command that moves no data; lengths have 32 bits. */
#define RANGE_MAX (1 * GiB)

#define STATE_HOLE 1 /* base:allocation */
#define STATE_ZERO 2

struct nbd {
	struct nbd_client client;
	struct blockdev_options *options; /* the client's: reopening exchanges the node's */
	struct tls_creds *tls; /* held; NULL without */
	int flush_error;       /* of the first flush that failed for good */
	uint64_t changes;      /* that were answered, and are not durable by themselves */
	uint64_t flushed;      /* of them, made durable */
	uint64_t breaks;       /* client.breaks when the first of those that are not was answered */
};

static int check_options(const struct blockdev_options_nbd *o, struct error **errp)
{
	if (o->export && strlen(o->export) > NAME_MAX_BYTES)
		return error_set(errp, -EINVAL, "export name too long to send to server");
	if (o->x_dirty_bitmap && strlen(o->x_dirty_bitmap) > NAME_MAX_BYTES)
		return error_set(errp, -EINVAL, "x-dirty-bitmap query too long to send to server");
	return 0;
}

/* Whom the server's certificate must be of; NULL when nothing says. */
static const char *server_name(const struct blockdev_options_nbd *o)
{
	if (o->tls_hostname)
		return o->tls_hostname;
	return o->server->type == SOCKET_ADDRESS_TYPE_INET ? o->server->u.inet.host : NULL;
}

/* The credentials that @o names, held; NULL when it names none. */
static int find_credentials(struct node *n, const struct blockdev_options_nbd *o,
			    struct tls_creds **ret, struct error **errp)
{
	*ret = NULL;
	if (!o->tls_creds)
		return 0;
	struct tls_creds *c = tls_creds_hold(n->graph, o->tls_creds, false, errp);
	if (!c)
		return -EINVAL;
	if (c->kind == TLS_CREDS_X509 && c->verify_peer && !server_name(o)) {
		tls_creds_release(c);
		return error_set(errp, -EINVAL, "No hostname for certificate validation");
	}
	*ret = c;
	return 0;
}

/* What the server offers must be of use. */
static int check_export(struct node *n, const struct blockdev_options_nbd *o,
			struct error **errp)
{
	struct nbd *nbd = n->state;
	const struct nbd_export *e = &nbd->client.export;
	if (e->size > INT64_MAX - SECTOR_BYTES)
		return error_set(errp, -EFBIG, "The export is too large: %" PRIu64 " bytes",
				 e->size);
	if (e->min_block != 0 && (!is_power_of_2(e->min_block) ||
				  !is_aligned(e->size, e->min_block)))
		return error_set(errp, -EINVAL,
				 "export length %" PRIu64 " is not multiple of minimum block size "
				 "%" PRIu32, e->size, e->min_block);
	if (e->max_block != 0 && e->max_block < MAX(e->min_block, SECTOR_BYTES))
		return error_set(errp, -EINVAL, "The server's maximum block size is invalid");
	if (o->x_dirty_bitmap && !e->can_status)
		return error_set(errp, -EINVAL, "requested x-dirty-bitmap %s not found",
				 o->x_dirty_bitmap);
	if (e->read_only)
		return node_apply_auto_read_only(n, "Could not open image: Permission denied: "
						    "the export is read-only", errp);
	return 0;
}

static int co_fn remote_open(struct node *n, const struct blockdev_options *options, void *arg,
			  struct error **errp)
{
	struct nbd *nbd = n->state;
	const struct blockdev_options_nbd *o = &options->u.nbd;
	int r = check_options(o, errp);
	if (r >= 0)
		r = find_credentials(n, o, &nbd->tls, errp);
	if (r < 0)
		return r;
	nbd->options = blockdev_options_clone(options);
	o = &nbd->options->u.nbd;
	r = nbd_client_open(&nbd->client, n->loop, &(struct nbd_client_config){
		.server = o->server,
		.export_name = o->export ? o->export : "",
		.context = o->x_dirty_bitmap ? o->x_dirty_bitmap : LIBNBD_CONTEXT_BASE_ALLOCATION,
		.needs_context = o->x_dirty_bitmap,
		.tls = nbd->tls,
		.tls_hostname = server_name(o),
		.open_timeout_ns = o->open_timeout * NS_PER_S,
		.reconnect_delay_ns = o->reconnect_delay * NS_PER_S,
	}, errp);
	if (r >= 0 && (r = check_export(n, o, errp)) < 0)
		nbd_client_close(&nbd->client);
	if (r < 0) {
		tls_creds_release(nbd->tls);
		blockdev_options_free(nbd->options);
		return r;
	}
	nbd->client.must_write = !n->read_only;
	/* Guests count in sectors; the rest of the last one reads as zeroes. */
	n->size = align_up(nbd->client.export.size, SECTOR_BYTES);
	n->filename = nbd_name_print(o);
	return 0;
}

static void co_fn remote_close(struct node *n)
{
	struct nbd *nbd = n->state;
	nbd_client_close(&nbd->client);
	tls_creds_release(nbd->tls);
	blockdev_options_free(nbd->options);
}

/* How much of the range is within the export. */
static uint64_t clip(const struct nbd *nbd, uint64_t offset, uint64_t bytes)
{
	uint64_t size = nbd->client.export.size;
	return offset >= size ? 0 : MIN(bytes, size - offset);
}

static int co_fn remote_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			  unsigned flags)
{
	struct nbd *nbd = n->state;
	uint64_t part = clip(nbd, offset, bytes);
	if (part < bytes)
		vec_fill(vec_advance(v, part), 0, bytes - part);
	if (part == 0)
		return 0;

	void *p = vec_contiguous(v, part);
	void *bounce = p ? NULL : buffer_get(n->loop, part);
	if (!p && !bounce)
		return -ENOMEM;
	int r = nbd_client_run(&nbd->client, &(struct nbd_command){
		.op = NBD_READ,
		.offset = offset,
		.bytes = part,
		.buffer = p ? p : bounce,
	});
	if (bounce) {
		if (r >= 0)
			vec_from_buffer(v, bounce, part);
		buffer_put(n->loop, bounce, part);
	}
	return r;
}

static void note_change(struct nbd *nbd, const struct nbd_command *cmd)
{
	nbd->breaks = nbd->changes == nbd->flushed ? cmd->breaks : MIN(nbd->breaks, cmd->breaks);
	nbd->changes++;
}

/* A flush has succeeded that covers the first @changes: whether that is to be relied on. */
static int judge_flush(struct node *n, const struct nbd_command *cmd, uint64_t changes)
{
	struct nbd *nbd = n->state;
	bool is_other_server = nbd->changes > nbd->flushed && nbd->breaks < cmd->breaks;
	nbd->flushed = MAX(nbd->flushed, changes);
	nbd->breaks = cmd->breaks;
	if (!is_other_server)
		return 0;
	log_warning("nbd: the connection to '%s', of node '%s', broke before what had been written was "
		    "made durable: it is lost if the server had it in its memory only and has not "
		    "survived", nbd->client.address.text, n->name);
	return nbd->options->u.nbd.reconnect_strict ? -EIO : 0;
}

static int co_fn remote_flush(struct node *n)
{
	struct nbd *nbd = n->state;
	if (!nbd->client.export.can_flush)
		return 0;
	if (nbd->flush_error < 0)
		return nbd->flush_error;
	struct nbd_command cmd = {.op = NBD_FLUSH};
	uint64_t changes = nbd->changes;
	int r = nbd_client_run(&nbd->client, &cmd);
	if (r >= 0)
		r = judge_flush(n, &cmd, changes);
	/* A server that could not be reached has lost nothing by that. */
	if (r < 0 && cmd.is_answered)
		nbd->flush_error = r;
	return r;
}

/* Run a command that changes the export, durably if @flags ask for it. */
static int co_fn run_change(struct node *n, struct nbd_command *cmd, unsigned flags)
{
	struct nbd *nbd = n->state;
	bool is_durable = flags & REQUEST_FUA;
	/* Whether the server takes the flag may change while the command waits for another. */
	bool has_fua = is_durable && nbd->client.export.can_fua;
	if (has_fua)
		cmd->flags |= LIBNBD_CMD_FLAG_FUA;
	int r = nbd_client_run(&nbd->client, cmd);
	if (r >= 0 && !has_fua)
		note_change(nbd, cmd);
	return r >= 0 && is_durable && !has_fua ? remote_flush(n) : r;
}

static int co_fn remote_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			   unsigned flags)
{
	struct nbd *nbd = n->state;
	uint64_t part = clip(nbd, offset, bytes);
	/* The rest of the last sector is zero, and has no room for anything else. */
	if (part < bytes && !vec_is_zero(vec_advance(v, part), bytes - part))
		return -ENOSPC;
	if (part == 0)
		return 0;

	void *p = vec_contiguous(v, part);
	void *bounce = p ? NULL : buffer_get(n->loop, part);
	if (!p && !bounce)
		return -ENOMEM;
	if (bounce)
		vec_to_buffer(v, bounce, part);
	int r = run_change(n, &(struct nbd_command){
		.op = NBD_WRITE,
		.offset = offset,
		.bytes = part,
		.buffer = p ? p : bounce,
	}, flags);
	buffer_put(n->loop, bounce, part);
	return r;
}

static int co_fn remote_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	struct nbd *nbd = n->state;
	const struct nbd_export *e = &nbd->client.export;
	if (!e->can_zero || ((flags & REQUEST_NO_FALLBACK) && !e->can_fast_zero))
		return -ENOTSUP;
	uint64_t part = clip(nbd, offset, bytes);
	if (part == 0)
		return 0;
	struct nbd_command cmd = {.op = NBD_ZERO, .offset = offset, .bytes = part};
	if (!(flags & REQUEST_MAY_UNMAP))
		cmd.flags |= LIBNBD_CMD_FLAG_NO_HOLE;
	if (flags & REQUEST_NO_FALLBACK)
		cmd.flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
	int r = run_change(n, &cmd, flags);
	/* Some servers offer it and then refuse it, all or certain ranges: write instead. */
	return r == -EINVAL ? -ENOTSUP : r;
}

static int co_fn remote_discard(struct node *n, uint64_t offset, uint64_t bytes)
{
	struct nbd *nbd = n->state;
	if (!nbd->client.export.can_trim)
		return -ENOTSUP;
	uint64_t part = clip(nbd, offset, bytes);
	if (part == 0)
		return 0;
	return nbd_client_run(&nbd->client, &(struct nbd_command){
		.op = NBD_TRIM,
		.offset = offset,
		.bytes = part,
	});
}

static int co_fn remote_status(struct node *n, uint64_t offset, struct extent *ret)
{
	struct nbd *nbd = n->state;
	uint64_t part = clip(nbd, offset, MIN(ret->bytes, RANGE_MAX));
	*ret = (struct extent){
		.flags = EXTENT_ALLOCATED | EXTENT_OFFSET_VALID,
		.bytes = part != 0 ? part : ret->bytes,
		.node = n,
		.offset = offset,
	};
	if (part == 0) {
		ret->flags |= EXTENT_ZERO;
		return 0;
	}
	if (!nbd->client.export.can_status) {
		ret->flags |= EXTENT_DATA;
		return 0;
	}
	struct nbd_command cmd = {
		.op = NBD_STATUS,
		.offset = offset,
		.bytes = part,
		.flags = LIBNBD_CMD_FLAG_REQ_ONE,
	};
	int r = nbd_client_run(&nbd->client, &cmd);
	if (r < 0)
		return r;
	/* Servers are to answer in whole blocks; what is less counts as data. */
	uint64_t known = MIN(part, cmd.status_bytes);
	if (offset + known < nbd->client.export.size)
		known = align_down(known, n->limits.request_alignment);
	if (known == 0) {
		/* Or as dirty, which shows as a hole. */
		ret->flags |= nbd->client.config.needs_context ? 0 : EXTENT_DATA;
		ret->bytes = MIN(part, n->limits.request_alignment);
		return 0;
	}
	ret->bytes = known;
	ret->flags |= cmd.status & STATE_HOLE ? 0 : EXTENT_DATA;
	ret->flags |= cmd.status & STATE_ZERO ? EXTENT_ZERO : 0;
	return 0;
}

static int co_fn remote_truncate(struct node *n, uint64_t size, enum preallocation preallocation,
			      struct error **errp)
{
	return error_set(errp, -ENOTSUP, "Cannot %s NBD nodes", size > n->size ? "grow" : "shrink");
}

static void remote_limits(struct node *n)
{
	struct nbd *nbd = n->state;
	const struct nbd_export *e = &nbd->client.export;
	uint32_t align = e->min_block;
	if (align == 0)
		align = is_aligned(e->size, SECTOR_BYTES) ? SECTOR_BYTES : 1;
	uint64_t transfer = e->max_block != 0 ? MIN(e->max_block, TRANSFER_MAX) : TRANSFER_MAX;
	n->limits.request_alignment = align;
	n->limits.max_transfer = n->limits.max_zero = align_down(transfer, align);
	n->limits.max_discard = align_down(RANGE_MAX, align);
	n->limits.optimal_transfer = e->preferred_block;
}

static int co_fn remote_reopen_prepare(struct reopen *r, struct error **errp)
{
	struct nbd *nbd = r->node->state;
	if (!r->read_only && nbd->client.export.read_only)
		return error_set(errp, -EACCES, "Cannot write to a read-only NBD export");
	return 0;
}

static void remote_reopen_commit(struct reopen *r)
{
	struct nbd *nbd = r->node->state;
	nbd->client.must_write = !r->read_only;
}

static const struct driver nbd_driver = {
	.name = "nbd",
	.protocol = "nbd",
	.can_be_inactive = true,
	.is_remote = true,
	.parse_name = nbd_name_parse,
	.is_preexisting = true,
	.state_size = sizeof(struct nbd),
	.supports_fua = true,
	.status_is_costly = true,
	.open = remote_open,
	.close = remote_close,
	.read = remote_read,
	.write = remote_write,
	.zero = remote_zero,
	.discard = remote_discard,
	.flush = remote_flush,
	.status = remote_status,
	.truncate = remote_truncate,
	.limits = remote_limits,
	.reopen_prepare = remote_reopen_prepare,
	.reopen_commit = remote_reopen_commit,
};

MODULE_DEFINE(nbd_driver);
