/* SPDX-License-Identifier: MIT */
/*
 * cairn-img bench: how long do so many requests take?
 */
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "tools/img/image.h"

struct request {
	struct image_wish wish;
	int64_t count, depth, size, step, offset, flush_interval, pattern;
	bool writes, goes_on, is_native;
	bool is_quiet; /* accepted; what it measures is told in any case */
	const char *aio;
};

/* The requests that are still to be sent, by several coroutines. */
struct work {
	const struct request *rq;
	struct image *image;
	uint64_t next;  /* offset */
	uint64_t sent, ended;
	struct co_group group;
	struct co_rwlock lock; /* a flush that drains holds up requests */
	int result;
};

static uint64_t take_offset(struct work *w)
{
	uint64_t offset = w->next, limit = w->image->node->size - w->rq->size;

	w->next += w->rq->step;
	if (w->next > limit)
		w->next = limit > 0 ? w->next % limit : 0;
	return MIN(offset, limit);
}

static int co_fn flush(struct work *w)
{
	if (w->rq->goes_on)
		return edge_flush(w->image->edge);
	co_rwlock_write(&w->lock);
	int r = edge_flush(w->image->edge);

	co_rwlock_write_unlock(&w->lock);
	return r;
}

static int co_fn send(struct work *w, void *data)
{
	const struct request *rq = w->rq;
	struct edge *e = w->image->edge;
	uint64_t offset = take_offset(w);

	w->sent++;
	co_rwlock_read(&w->lock);
	int r = rq->writes ? edge_write(e, offset, rq->size, data, w->image->write_flags)
			   : edge_read(e, offset, rq->size, data, 0);

	co_rwlock_read_unlock(&w->lock);
	w->ended++;
	if (r >= 0 && rq->flush_interval > 0 && w->ended % rq->flush_interval == 0)
		r = flush(w);
	return r;
}

static void co_fn worker(void *arg)
{
	struct work *w = arg;
	void *data = buffer_get(the_img.loop, w->rq->size);

	if (data)
		memset(data, (int)w->rq->pattern, w->rq->size);
	while (w->result == 0 && w->sent < (uint64_t)w->rq->count) {
		int r = data ? send(w, data) : -ENOMEM;

		if (r < 0)
			w->result = r;
	}
	if (data)
		buffer_put(the_img.loop, data, w->rq->size);
	co_group_done(&w->group);
}

static int co_fn bench(const struct request *rq, struct image *image)
{
	struct work w = {.rq = rq, .image = image, .next = rq->offset};

	if (image->node->size < (uint64_t)rq->size)
		return img_error("'%s' is smaller than a request", image->name);
	printf("Sending %lld %s requests, %lld bytes each, %lld in parallel (starting at offset "
	       "%lld, step size %lld)\n", (long long)rq->count, rq->writes ? "write" : "read",
	       (long long)rq->size, (long long)rq->depth, (long long)rq->offset,
	       (long long)rq->step);
	if (rq->flush_interval > 0)
		printf("Sending flush every %lld requests\n", (long long)rq->flush_interval);
	fflush(stdout);
	uint64_t begin_ns = loop_now_ns(the_img.loop);

	co_group_init(&w.group);
	co_rwlock_init(&w.lock);
	for (int64_t i = 0; i < rq->depth; i++) {
		co_group_add(&w.group);
		co_start(the_img.loop, worker, &w);
	}
	co_group_wait(&w.group);
	if (w.result < 0)
		return img_error("Failed request: %s", strerror(-w.result));
	printf("Run completed in %3.3f seconds.\n",
	       (double)(loop_now_ns(the_img.loop) - begin_ns) / 1e9);
	return 0;
}

static int check(struct request *rq)
{
	if (rq->depth < 1)
		return img_error("Invalid queue depth specified");
	if (rq->size < 1 || rq->size > INT32_MAX)
		return img_error("Invalid buffer size specified");
	if (rq->pattern < 0 || rq->pattern > 0xff)
		return img_error("Invalid pattern byte specified");
	if (!rq->writes && rq->flush_interval > 0)
		return img_error("--flush-interval is only available in write tests");
	if (rq->flush_interval > 0 && rq->flush_interval < rq->depth)
		return img_error("Flush interval can't be smaller than depth");
	if (rq->aio && strcmp(rq->aio, "threads") != 0 && strcmp(rq->aio, "native") != 0 &&
	    strcmp(rq->aio, "io_uring") != 0)
		return img_error("Invalid aio option: %s", rq->aio);
	if ((rq->is_native || (rq->aio && strcmp(rq->aio, "native") == 0)) && !rq->wish.cache.direct)
		return img_error("aio=native was specified, but it requires cache.direct=on, which "
				 "was not specified.");
	if (rq->step == 0)
		rq->step = rq->size;
	return 0;
}

int co_fn img_bench(int argc, char **argv)
{
	struct request rq = {.count = 75000, .depth = 64, .size = 4096};
	const struct img_argument table[] = {
		IMG_TEXT("format", 'f', &rq.wish.format),
		IMG_COUNT("count", 'c', &rq.count, "request count"),
		IMG_COUNT("depth", 'd', &rq.depth, "queue depth"),
		IMG_SIZE("buffer-size", 's', &rq.size, "buffer size"),
		IMG_SIZE("step-size", 'S', &rq.step, "step_size"),
		IMG_SIZE("offset", 'o', &rq.offset, "offset"),
		IMG_FLAG("write", 'w', &rq.writes),
		IMG_COUNT("pattern", 0, &rq.pattern, "pattern byte"),
		IMG_COUNT("flush-interval", 0, &rq.flush_interval, "flush interval"),
		IMG_FLAG("no-drain", 0, &rq.goes_on),
		IMG_FLAG("native", 'n', &rq.is_native),
		IMG_TEXT("aio", 'i', &rq.aio),
		IMG_CACHE("cache", 't', &rq.wish.cache, "cache mode"),
		IMG_FLAG("quiet", 'q', &rq.is_quiet),
		IMG_FLAG("image-opts", 0, &rq.wish.is_description),
		IMG_FLAG("force-share", 'U', &rq.wish.shares),
		IMG_ARGUMENTS_END,
	};
	struct image image;
	char **words;
	int count, r = img_arguments(argc, argv, table, false, &words, &count);

	if (r != 0)
		return r > 0;
	if (image_take_name(&rq.wish, words, count) != 0)
		return 1;
	if (check(&rq) != 0)
		return 1;
	rq.wish.writable = rq.writes;
	if (image_open(&image, &rq.wish) < 0)
		return 1;
	int status = bench(&rq, &image);

	image_close(&image);
	return status;
}
