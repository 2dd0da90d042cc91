/* SPDX-License-Identifier: MIT */
/*
 * Flushes that follow the writes to an image; see follow.h. The loop's thread, but for
 * what says otherwise.
 *
 * Two groups take turns, so that who waits for one does not wait for what is sent
 * meanwhile. The one that is not current is empty unless somebody waits for it.
 */
#include "drivers/rbd/follow.h"

#include "base/cleanup.h"
#include "base/util.h"
#include "drivers/rbd/guard.h"

/* One of @g has ended. Any thread. */
static void end_one(struct follow_group *g, int r)
{
	struct follow *f = g->owner;
	guard_lock(&f->guard);
	if (r < 0 && f->error == 0)
		f->error = r;
	g->count--;
	if (g->count == 0 && f->awaited == g) {
		f->awaited = NULL;
		loop_post(f->loop, &f->post);
	}
	guard_unlock(&f->guard); /* the image may be gone from here on */
}

/* On a thread of librbd. */
static void on_followed(rbd_completion_t completion, void *arg)
{
	int64_t result = rbd_aio_get_return_value(completion);
	rbd_aio_release(completion);
	end_one(arg, (int)MIN(result, 0));
}

static void send_flush(struct loop_deferred *d)
{
	struct follow *f = container_of(d, struct follow, send);
	struct follow_group *g = &f->groups[f->current];
	guard_lock(&f->guard);
	g->count++;
	guard_unlock(&f->guard);
	rbd_completion_t completion;
	int r = rbd_aio_create_completion(g, on_followed, &completion);
	if (r >= 0) {
		r = rbd_aio_flush(f->handle, completion);
		if (r < 0)
			rbd_aio_release(completion);
	}
	/* Nobody would tell what becomes of the writes. */
	if (r < 0)
		end_one(g, r);
}

static void on_group_over(struct loop_post *post)
{
	co_wake(TAKE(container_of(post, struct follow, post)->waiter));
}

void follow_init(struct follow *f, struct loop *loop)
{
	*f = (struct follow){.loop = loop, .guard = ATOMIC_FLAG_INIT,
			     .post = {.fn = on_group_over}};
	loop_deferred_init(&f->send, send_flush);
	co_mutex_init(&f->lock);
	for (unsigned i = 0; i < ARRAY_SIZE(f->groups); i++)
		f->groups[i].owner = f;
}

void follow_detect(struct follow *f, rbd_image_t handle, const struct image_config *c)
{
	f->handle = handle;
	f->is_needed = string_equal(image_config_find(c, "rbd_cache", "true"), "true") &&
		       string_equal(image_config_find(c, "rbd_cache_policy", "writearound"),
				    "writearound");
	f->is_active |= !string_equal(
		image_config_find(c, "rbd_cache_writethrough_until_flush", "true"), "true");
}

void follow_note_flush(struct follow *f)
{
	f->is_active = true;
}

void follow_note_change(struct follow *f)
{
	if (follow_is_on(f))
		loop_defer(f->loop, &f->send);
}

void follow_send_now(struct follow *f)
{
	if (!list_is_linked(&f->send.link))
		return;
	loop_deferred_cancel(&f->send);
	send_flush(&f->send);
}

int co_fn follow_wait(struct follow *f)
{
	co_mutex_lock(&f->lock);
	struct follow_group *g = &f->groups[f->current];
	f->current ^= 1;
	guard_lock(&f->guard);
	bool is_over = g->count == 0;
	f->awaited = is_over ? NULL : g;
	if (!is_over)
		f->waiter = co_self();
	guard_unlock(&f->guard);
	if (!is_over)
		co_yield();
	guard_lock(&f->guard);
	int r = f->error;
	guard_unlock(&f->guard);
	co_mutex_unlock(&f->lock);
	return r;
}

void follow_end(struct follow *f)
{
	loop_deferred_cancel(&f->send);
}

bool follow_is_busy(struct follow *f)
{
	guard_lock(&f->guard);
	bool is_busy = f->groups[0].count > 0 || f->groups[1].count > 0;
	guard_unlock(&f->guard);
	return is_busy;
}
