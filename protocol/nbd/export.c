/* SPDX-License-Identifier: MIT */
/*
 * Exports of type nbd: their names, what clients are told of them, and their
 * metadata contexts. The loop's thread.
 */
#include <stdlib.h>

#include "block/io.h"
#include "protocol/nbd/internal.h"
#include "protocol/nbd/server.h"

#define PREFERRED_BLOCK_MIN 4096u

static uint16_t flags_of(const struct nbd_export *x)
{
	uint16_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA |
			 NBD_FLAG_SEND_CACHE;
	if (x->export->writable)
		flags |= NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
	else
		flags |= NBD_FLAG_READ_ONLY;
	/* All connections share the node and its caches: a flush on one covers all. */
	if (x->server->max_connections != 1)
		flags |= NBD_FLAG_CAN_MULTI_CONN;
	return flags;
}

static void describe_export(struct nbd_export *x, struct nbd_export_info *ret)
{
	const struct node *n = x->export->edge->child;
	uint32_t minimum = MAX(n->limits.request_alignment, 1u);
	uint64_t preferred = MAX(n->limits.optimal_transfer, MAX(PREFERRED_BLOCK_MIN, minimum));

	*ret = (struct nbd_export_info){
		.name = x->name,
		.description = x->description,
		.size = n->size,
		.flags = flags_of(x),
		.minimum_block = minimum,
		.preferred_block = is_power_of_2(preferred) ? MIN(preferred, NBD_DATA_MAX)
							    : PREFERRED_BLOCK_MIN,
		.maximum_block = NBD_DATA_MAX,
		.contexts = x->contexts,
		.context_count = x->context_count,
		.export = x,
		.serial = x->serial,
	};
}

static struct nbd_export *find(struct nbd_server *s, const char *name)
{
	struct nbd_export *x;
	list_for_each(x, &s->exports, link)
		if (string_equal(x->name, name))
			return x;
	return NULL;
}

static bool directory_find(void *arg, const char *name, struct nbd_export_info *ret)
{
	struct nbd_export *x = find(arg, name);
	if (x)
		describe_export(x, ret);
	return x;
}

static void directory_for_each(void *arg,
			       void (*fn)(void *fn_arg, const struct nbd_export_info *info),
			       void *fn_arg)
{
	struct nbd_server *s = arg;
	struct nbd_export *x;
	list_for_each(x, &s->exports, link) {
		struct nbd_export_info info;
		describe_export(x, &info);
		fn(fn_arg, &info);
	}
}

const struct nbd_directory nbd_server_directory = {
	.find = directory_find,
	.for_each = directory_for_each,
};

static void co_fn export_free(struct nbd_export *x)
{
	nbd_contexts_end(x->contexts, x->context_count);
	free(x->name);
	free(x->description);
	free(x);
}

static int check_options(struct nbd_server *s, const char *name, const char *description,
			 struct error **errp)
{
	if (!nbd_server_is_running(s))
		return error_set(errp, -ENOTCONN, "NBD server not running");
	if (strlen(name) > NBD_STRING_MAX)
		return error_set(errp, -EINVAL, "export name '%.80s...' too long", name);
	if (description && strlen(description) > NBD_STRING_MAX)
		return error_set(errp, -EINVAL, "description '%.80s...' too long", description);
	if (find(s, name))
		return error_set(errp, -EEXIST, "NBD server already has export named '%s'", name);
	return 0;
}

static int add_contexts(struct nbd_export *x, const struct block_export_options_nbd *options,
			struct error **errp)
{
	x->contexts[x->context_count++] = nbd_context_allocation();
	if (options->allocation_depth)
		x->contexts[x->context_count++] = nbd_context_depth();
	for (size_t i = 0; i < options->bitmaps.count; i++) {
		if (x->context_count == NBD_CONTEXTS_MAX)
			return error_set(errp, -E2BIG, "More than %u bitmaps cannot be exported",
					 (unsigned)i);
		int r = nbd_context_bitmap(x->export->edge->child, options->bitmaps.items[i],
					   x->export->writable, &x->contexts[x->context_count], errp);
		if (r < 0)
			return r;
		x->context_count++;
	}
	return 0;
}

static int co_fn start(struct export *e, const struct block_export_options *options, void *arg,
		       struct error **errp)
{
	struct nbd_server *s = arg;
	const struct block_export_options_nbd *nbd = &options->u.nbd;
	const char *name = nbd->name ? nbd->name : edge_shown_child(e->edge)->name;

	int r = check_options(s, name, nbd->description, errp);
	if (r < 0)
		return r;

	struct nbd_export *x = NEW(struct nbd_export);
	x->server = s;
	x->serial = ++s->last_serial;
	x->export = e;
	x->name = xstrdup(name);
	x->description = xstrdup(nbd->description);
	list_init(&x->connections);
	r = add_contexts(x, nbd, errp);
	if (r < 0) {
		export_free(x);
		return r;
	}
	nbd_contexts_begin(x->contexts, x->context_count);
	list_add_tail(&s->exports, &x->link);
	e->state = x;
	return 0;
}

static void disconnect(struct export *e)
{
	struct nbd_export *x = e->state;
	struct nbd_connection *c;

	list_del_init(&x->link);
	list_for_each(c, &x->connections, export_link)
		nbd_connection_disconnect(c);
}

static void co_fn finish(struct export *e)
{
	export_free(e->state);
}

const struct export_type nbd_export_type = {
	.type = BLOCK_EXPORT_TYPE_NBD,
	.bears_inactive = true,
	.start = start,
	.disconnect = disconnect,
	.finish = finish,
};
