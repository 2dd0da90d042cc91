/* SPDX-License-Identifier: MIT */
/*
 * What happens when the tables turn out to be damaged. Node's loop.
 */
#include "base/log.h"
#include "drivers/qcow2/header.h"
#include "drivers/qcow2/image.h"

/* Keep the first sentence of all; true when this is it. */
static bool keep_message(struct qcow2 *q, const char *format, va_list args)
{
	if (q->corruption_message)
		return false;
	q->corruption_message = xvasprintf(format, args);
	return true;
}

int qcow2_signal_damage(struct qcow2 *q, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	/* The request that found it can only answer -EIO, so here is the one place to say why. */
	if (keep_message(q, format, args))
		log_error("qcow2: node '%s': Image is corrupt: %s; further non-fatal corruption "
			  "events will be suppressed", q->node->name, q->corruption_message);
	va_end(args);
	return -EIO;
}

int co_fn qcow2_signal_corruption(struct qcow2 *q, const char *format, ...)
{
	va_list args;

	if (q->corruption_signalled)
		return -EIO;
	q->corruption_signalled = true;
	free(q->corruption_message);
	va_start(args, format);
	q->corruption_message = xvasprintf(format, args);
	va_end(args);
	log_error("qcow2: node '%s': %s: %s; further corruption events will be suppressed",
		  q->node->name, q->writable ? "Marking image as corrupt" : "Image is corrupt",
		  q->corruption_message);
	if (!q->writable)
		return -EIO;
	q->node->corrupt = true;
	/* The bit is advice to later openers; that it cannot be written changes nothing for us. */
	(void)qcow2_header_set_incompatible(q, INCOMPATIBLE_CORRUPT, 0);
	return -EIO;
}
