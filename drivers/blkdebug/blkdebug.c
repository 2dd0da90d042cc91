/* SPDX-License-Identifier: MIT */
/*
 * The driver blkdebug: a filter that lets requests fail or take time, by rules.
 * Node's loop.
 */
#include "drivers/blkdebug/blkdebug.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "drivers/blkdebug/rules.h"

/* Longest configuration file. */
#define CONFIG_BYTES_MAX (1 << 20)

struct blkdebug {
	struct rules rules;
	struct node_limits limits; /* those that the options ask for; 0 for others */
	unsigned taken, unshared;  /* permissions */
};

/* --- Opening ---------------------------------------------------------------------- */

struct config_file {
	const char *path;
	char *text;
};

/* On a worker thread. */
static int read_config(void *arg)
{
	struct config_file *c = arg;
	FILE *f = fopen(c->path, "re");
	if (!f)
		return -errno;
	c->text = xalloc(1, CONFIG_BYTES_MAX + 1);
	size_t bytes = fread(c->text, 1, CONFIG_BYTES_MAX, f);
	int r = ferror(f) ? -errno : bytes == CONFIG_BYTES_MAX ? -EFBIG : 0;
	fclose(f);
	return r;
}

static int co_fn load_config(struct blkdebug *b, const char *path, struct error **errp)
{
	struct config_file c = {.path = path};
	int r = co_blocking(read_config, &c);
	if (r < 0)
		error_set_errno(errp, r, "Could not read blkdebug config file");
	else
		r = rules_parse(&b->rules, c.text, path, errp);
	free(c.text);
	return r;
}

static int add_rules(struct blkdebug *b, const struct blockdev_options_blkdebug *o,
		     struct error **errp)
{
	for (size_t i = 0; i < o->inject_error.count; i++) {
		int r = rules_add_error(&b->rules, o->inject_error.items[i], errp);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < o->set_state.count; i++)
		rules_add_state(&b->rules, o->set_state.items[i]);
	return 0;
}

static unsigned permissions_of(const struct block_permission_list *list)
{
	static const unsigned bits[] = {
		[BLOCK_PERMISSION_CONSISTENT_READ] = PERM_CONSISTENT_READ,
		[BLOCK_PERMISSION_WRITE] = PERM_WRITE,
		[BLOCK_PERMISSION_WRITE_UNCHANGED] = PERM_WRITE_UNCHANGED,
		[BLOCK_PERMISSION_RESIZE] = PERM_RESIZE,
	};
	unsigned result = 0;
	for (size_t i = 0; i < list->count; i++)
		result |= bits[list->items[i]];
	return result;
}

/* @value fits an int and is a multiple of @unit; 0 always does. */
static int check_limit(const char *name, int64_t value, uint64_t unit, struct error **errp)
{
	if (value < 0)
		return error_set(errp, -EINVAL,
				 "Parameter '%s' expects a non-negative number below 2^64", name);
	if (value <= INT32_MAX && (uint64_t)value % MAX(unit, 1) == 0)
		return 0;
	return error_set(errp, -EINVAL, "Cannot meet constraints with %s %" PRIu64, name,
			 (uint64_t)value);
}

static int set_limits(struct blkdebug *b, const struct blockdev_options_blkdebug *o,
		      struct error **errp)
{
	uint64_t align = (uint64_t)o->align;
	int r = check_limit("align", o->align, 1, errp);
	if (r >= 0 && align != 0 && !is_power_of_2(align))
		r = error_set(errp, -EINVAL, "Cannot meet constraints with align %" PRIu64, align);
	if (r >= 0)
		r = check_limit("max-transfer", o->max_transfer, align, errp);
	if (r >= 0)
		r = check_limit("opt-write-zero", o->opt_write_zero, align, errp);
	if (r >= 0)
		r = check_limit("max-write-zero", o->max_write_zero,
				MAX(align, (uint64_t)o->opt_write_zero), errp);
	if (r >= 0)
		r = check_limit("opt-discard", o->opt_discard, align, errp);
	if (r >= 0)
		r = check_limit("max-discard", o->max_discard, MAX(align, (uint64_t)o->opt_discard),
				errp);
	if (r < 0)
		return r;
	b->limits = (struct node_limits){
		.request_alignment = (uint32_t)align,
		.max_transfer = (uint64_t)o->max_transfer,
		.zero_alignment = (uint64_t)o->opt_write_zero,
		.max_zero = (uint64_t)o->max_write_zero,
		.discard_alignment = (uint64_t)o->opt_discard,
		.max_discard = (uint64_t)o->max_discard,
	};
	return 0;
}

static int co_fn open_rules(struct node *n, const struct blockdev_options_blkdebug *o,
			    struct error **errp)
{
	struct blkdebug *b = n->state;
	int r = o->config ? load_config(b, o->config, errp) : 0;
	if (r >= 0)
		r = add_rules(b, o, errp);
	b->taken = permissions_of(&o->take_child_perms);
	b->unshared = permissions_of(&o->unshare_child_perms);
	if (r >= 0)
		r = node_open_child(n, o->image, "image", EDGE_FILTERED | EDGE_PRIMARY, NULL, errp);
	return r < 0 ? r : set_limits(b, o, errp);
}

static int co_fn blkdebug_open(struct node *n, const struct blockdev_options *options, void *arg,
			       struct error **errp)
{
	struct blkdebug *b = n->state;
	rules_init(&b->rules);
	int r = open_rules(n, &options->u.blkdebug, errp);
	if (r < 0) {
		rules_finish(&b->rules);
		return r;
	}
	n->size = n->file->child->size;
	rules_happen(&b->rules, BLKDEBUG_EVENT_NONE);
	return 0;
}

static void co_fn blkdebug_close(struct node *n)
{
	struct blkdebug *b = n->state;
	rules_finish(&b->rules);
}

/* --- Requests --------------------------------------------------------------------- */

static void blkdebug_event(struct node *n, enum blkdebug_event event)
{
	struct blkdebug *b = n->state;
	rules_happen(&b->rules, event);
}

/* What the rules make of a request: 0 lets it go on. */
static int co_fn judge(struct node *n, enum blkdebug_io_type type, uint64_t offset, uint64_t bytes)
{
	struct blkdebug *b = n->state;
	struct fault fault;
	if (!rules_match(&b->rules, type, offset, bytes, &fault))
		return 0;
	if (fault.delay_ns > 0)
		co_sleep_ns(fault.delay_ns);
	else if (fault.error < 0 && !fault.immediately)
		co_reschedule();
	return fault.error;
}

static int co_fn blkdebug_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			       unsigned flags)
{
	int r = judge(n, BLKDEBUG_IO_TYPE_READ, offset, bytes);
	return r < 0 ? r : edge_readv(n->file, offset, bytes, v, flags);
}

static int co_fn blkdebug_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
				unsigned flags)
{
	int r = judge(n, BLKDEBUG_IO_TYPE_WRITE, offset, bytes);
	return r < 0 ? r : edge_writev(n->file, offset, bytes, v, flags);
}

static int co_fn blkdebug_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	/* Pieces that are too small for the options' alignment are written as data. */
	if (bytes < n->limits.zero_alignment)
		return -ENOTSUP;
	int r = judge(n, BLKDEBUG_IO_TYPE_WRITE_ZEROES, offset, bytes);
	return r < 0 ? r : edge_zero(n->file, offset, bytes, flags);
}

static int co_fn blkdebug_discard(struct node *n, uint64_t offset, uint64_t bytes)
{
	if (bytes < n->limits.discard_alignment)
		return -ENOTSUP;
	int r = judge(n, BLKDEBUG_IO_TYPE_DISCARD, offset, bytes);
	return r < 0 ? r : edge_discard(n->file, offset, MIN(bytes, n->size - offset));
}

static int co_fn blkdebug_flush(struct node *n)
{
	return judge(n, BLKDEBUG_IO_TYPE_FLUSH, 0, 0);
}

static int co_fn blkdebug_status(struct node *n, uint64_t offset, struct extent *ret)
{
	int r = judge(n, BLKDEBUG_IO_TYPE_BLOCK_STATUS, offset, ret->bytes);
	return r < 0 ? r : STATUS_FROM_BACKING;
}

/* --- The rest --------------------------------------------------------------------- */

static void blkdebug_permissions(struct node *n, const char *name, unsigned role,
				 unsigned permissions, unsigned shared, unsigned *ret_permissions,
				 unsigned *ret_shared)
{
	struct blkdebug *b = n->state;
	permission_for_child(n, role, permissions, shared, ret_permissions, ret_shared);
	*ret_permissions |= b->taken;
	*ret_shared &= ~b->unshared;
}

static void blkdebug_limits(struct node *n)
{
	struct blkdebug *b = n->state;
	const struct node_limits *below = &n->file->child->limits;
	struct node_limits *l = &n->limits;
	l->request_alignment = b->limits.request_alignment;
	l->memory_alignment = below->memory_alignment;
	if (b->limits.max_transfer != 0)
		l->max_transfer = b->limits.max_transfer;
	l->zero_alignment = b->limits.zero_alignment;
	l->max_zero = b->limits.max_zero;
	l->discard_alignment = b->limits.discard_alignment;
	l->max_discard = b->limits.max_discard;
}

static char *blkdebug_plain_name(const struct node *n)
{
	const char *config = n->options->u.blkdebug.config;
	return xasprintf("blkdebug:%s:%s", config ? config : "", n->file->child->filename);
}

static const char *const strong_options[] = {
	"config", "align", "max-transfer", "opt-write-zero", "max-write-zero",
	"opt-discard", "max-discard", "inject-error", "set-state", "take-child-perms",
	"unshare-child-perms", NULL,
};

const struct driver blkdebug_driver = {
	.name = "blkdebug",
	.protocol = "blkdebug",
	.wrapped_child = "image",
	.wrapped_option = "config",
	.plain_name = blkdebug_plain_name,
	.state_size = sizeof(struct blkdebug),
	.is_filter = true,
	.supports_fua = true,
	.strong_options = strong_options,
	.open = blkdebug_open,
	.close = blkdebug_close,
	.debug_event = blkdebug_event,
	.read = blkdebug_read,
	.write = blkdebug_write,
	.zero = blkdebug_zero,
	.discard = blkdebug_discard,
	.flush = blkdebug_flush,
	.status = blkdebug_status,
	.child_permissions = blkdebug_permissions,
	.limits = blkdebug_limits,
};
