/* SPDX-License-Identifier: MIT */
/*
 * Parts of one request under way at the same time, each in its coroutine.
 */
#include "drivers/qcow2/parallel.h"

#include <stdlib.h>

void qcow2_parallel_init(struct parallel *p, struct loop *loop, unsigned limit)
{
	*p = (struct parallel){.loop = loop, .limit = limit};
	co_queue_init(&p->changed);
}

static void co_fn part_entry(void *arg)
{
	struct parallel_part *part = arg;
	struct parallel *p = part->parallel;
	int r = part->run(part);

	free(part);
	if (r < 0 && p->error == 0)
		p->error = r;
	p->running--;
	co_queue_wake_all(&p->changed);
}

void co_fn qcow2_parallel_start(struct parallel *p, struct parallel_part *part)
{
	while (p->running >= p->limit)
		co_queue_wait(&p->changed);
	part->parallel = p;
	p->running++;
	co_start(p->loop, part_entry, part);
}

int co_fn qcow2_parallel_wait(struct parallel *p)
{
	while (p->running > 0)
		co_queue_wait(&p->changed);
	return p->error;
}
