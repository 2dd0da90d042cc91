/* SPDX-License-Identifier: MIT */
/*
 * Changing an open image's options. Node's loop; the node is drained.
 *
 * 1. Prepare leaves everything as it was, but clean: tables in the file, the
 *    dirty bit cleared, the bitmaps stored before nobody may write. That is as good
 *    for who stays as for who changes.
 * 2. An image that becomes writable is made fit for that with its first write:
 *    before the commit its file is still read-only, and a commit cannot wait.
 */
#include "drivers/qcow2/bitmap.h"
#include "drivers/qcow2/check.h"
#include "drivers/qcow2/header.h"
#include "drivers/qcow2/image.h"

const char *const qcow2_reopen_options[] = {
	"lazy-refcounts",	"pass-discard-request", "pass-discard-snapshot",
	"pass-discard-other",	"discard-no-unref",	"overlap-check",
	"cache-size",		"l2-cache-size",	"l2-cache-entry-size",
	"refcount-cache-size",	"cache-clean-interval", NULL,
};

/* Everything is in the file, and the bitmaps as well if nobody may write any more. */
static int co_fn leave_clean(struct qcow2 *q, bool read_only, struct error **errp)
{
	/* What fails most likely comes first, while the bitmaps are still marked as in use. */
	int r = qcow2_settle(q);

	if (r == 0 && read_only) {
		r = qcow2_bitmaps_store(q, errp);
		if (r < 0)
			return r;
	}
	if (r == 0)
		r = qcow2_end_writing(q);
	if (r == 0)
		return 0;
	/* It goes on being written: then stored bitmaps must not look as if they knew all. */
	if (qcow2_bitmaps_mark(q, NULL) < 0)
		qcow2_header_lost(q, r);
	return error_set_errno(errp, r, "Could not write the tables of node '%s'", q->node->name);
}

int co_fn qcow2_reopen_prepare(struct reopen *reopen, struct error **errp)
{
	struct qcow2 *q = reopen->node->state;
	struct qcow2_settings *settings = NEW(struct qcow2_settings);
	int r = qcow2_settings_init(settings, q, reopen->options, errp);

	if (r == 0 && !reopen->read_only && (q->header.incompatible & INCOMPATIBLE_CORRUPT))
		r = error_set(errp, -EACCES,
			      "qcow2: Image is corrupt; cannot be opened read/write");
	if (r == 0 && q->writable)
		r = leave_clean(q, reopen->read_only, errp);
	if (r < 0) {
		free(settings);
		return r;
	}
	reopen->state = settings;
	return 0;
}

void qcow2_reopen_commit(struct reopen *reopen)
{
	struct qcow2 *q = reopen->node->state;
	struct qcow2_settings *settings = reopen->state;

	q->writable = !reopen->read_only;
	if (!reopen->node->active)
		q->writing = false; /* whoever writes next has its own idea of what is free */
	qcow2_bitmaps_set_writable(q, q->writable);
	qcow2_cache_finish(&q->l2_cache);
	qcow2_cache_finish(&q->refcount_cache);
	q->settings = *settings;
	free(settings);
	qcow2_caches_init(q);
	loop_timer_cancel(&q->clean_timer);
}

void qcow2_reopen_abort(struct reopen *reopen)
{
	free(reopen->state);
}
