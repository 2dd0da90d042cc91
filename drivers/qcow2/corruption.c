/* SPDX-License-Identifier: MIT */
/*
 * What happens when the tables turn out to be damaged. The request that finds it can
 * only answer -EIO, so here is the one place to say why. Node's loop.
 */
#include "block/graph.h"
#include "drivers/qcow2/header.h"
#include "drivers/qcow2/image.h"

static void tell(struct qcow2 *q, struct image_damage damage)
{
	struct graph *g = q->node->graph;

	damage.message = q->corruption_message;
	if (g->observer->image_damaged)
		g->observer->image_damaged(q->node, &damage);
}

int qcow2_signal_damage(struct qcow2 *q, const char *format, ...)
{
	va_list args;

	/* Only the first sentence of all is kept. */
	if (q->corruption_message)
		return -EIO;
	va_start(args, format);
	q->corruption_message = xvasprintf(format, args);
	va_end(args);
	tell(q, (struct image_damage){0});
	return -EIO;
}

static int co_fn signal_fatal(struct qcow2 *q, struct image_damage damage, const char *format,
			      va_list args)
{
	/* What was found while nobody could write has stopped nothing yet. */
	bool is_done = q->corruption_signalled && (q->node->corrupt || !q->writable);

	if (is_done)
		return -EIO;
	q->corruption_signalled = true;
	free(q->corruption_message);
	q->corruption_message = xvasprintf(format, args);
	damage.is_fatal = q->writable;
	tell(q, damage);
	if (!q->writable)
		return -EIO;
	q->node->corrupt = true;
	/* The bit is advice to later openers; that it cannot be written changes nothing for us. */
	(void)qcow2_header_set_incompatible(q, INCOMPATIBLE_CORRUPT, 0);
	return -EIO;
}

int co_fn qcow2_signal_corruption(struct qcow2 *q, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int r = signal_fatal(q, (struct image_damage){0}, format, args);

	va_end(args);
	return r;
}

int co_fn qcow2_signal_bad_write(struct qcow2 *q, uint64_t offset, uint64_t bytes,
				 const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int r = signal_fatal(
		q, (struct image_damage){.has_range = true, .offset = offset, .bytes = bytes}, format,
		args);

	va_end(args);
	return r;
}
