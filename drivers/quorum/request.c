/* SPDX-License-Identifier: MIT */
/*
 * Requests that go to all children at the same time, and what is told of them.
 * Node's loop.
 */
#include <stdlib.h>

#include "base/loop.h"
#include "block/graph.h"
#include "drivers/quorum/quorum.h"

static bool has_to_wait(const struct quorum *q, const struct quorum_turn *t)
{
	const struct quorum_turn *other;
	list_for_each (other, &q->turns, link) {
		if (other == t)
			return false;
		if ((other->writes || t->writes) && other->offset < t->end &&
		    t->offset < other->end)
			return true;
	}
	return false;
}

void co_fn quorum_turn_begin(struct quorum *q, struct quorum_turn *t, uint64_t offset,
			     uint64_t bytes, bool writes)
{
	*t = (struct quorum_turn){.offset = offset, .end = offset + bytes, .writes = writes};
	list_add_tail(&q->turns, &t->link);
	while (has_to_wait(q, t))
		co_queue_wait(&q->waiters);
}

void quorum_turn_end(struct quorum *q, struct quorum_turn *t)
{
	list_del_init(&t->link);
	co_queue_wake_all(&q->waiters);
}

struct quorum_part *quorum_parts_new(const struct quorum *q)
{
	struct quorum_part *parts = xalloc(q->count, sizeof(parts[0]));
	for (unsigned i = 0; i < q->count; i++)
		parts[i].child = q->children[i];
	return parts;
}

static void co_fn part_main(void *arg)
{
	struct quorum_part *part = arg;
	part->result = part->run(part, part->arg);
	co_group_done(part->group);
}

void co_fn quorum_run(struct node *n, struct quorum_part *parts, unsigned count,
		      int co_fn (*run)(struct quorum_part *part, void *arg), void *arg)
{
	struct co_group group;
	co_group_init(&group);
	for (unsigned i = 0; i < count; i++) {
		parts[i].run = run;
		parts[i].arg = arg;
		parts[i].group = &group;
		co_group_add(&group);
		co_start(n->loop, part_main, &parts[i]);
	}
	co_group_wait(&group);
}

void quorum_report_bad(const struct node *n, const struct node *child, enum quorum_op_type op,
		       int error, uint64_t offset, uint64_t bytes)
{
	if (n->graph->observer->child_bad)
		n->graph->observer->child_bad(child, op, error, offset, bytes);
}

void quorum_report_failure(const struct node *n, uint64_t offset, uint64_t bytes)
{
	if (n->graph->observer->vote_failed)
		n->graph->observer->vote_failed(n, offset, bytes);
}

/* Of those that come up equally often, the last. */
static int most_frequent_error(const struct quorum_part *parts, unsigned count)
{
	int winner = -EIO;
	unsigned most = 0;
	for (unsigned i = 0; i < count; i++) {
		unsigned same = 0;
		for (unsigned j = 0; j < count; j++)
			same += parts[j].result == parts[i].result;
		if (parts[i].result < 0 && same >= most) {
			most = same;
			winner = parts[i].result;
		}
	}
	return winner;
}

int quorum_judge(struct node *n, const struct quorum_part *parts, unsigned count,
		 enum quorum_op_type op, uint64_t offset, uint64_t bytes)
{
	const struct quorum *q = n->state;
	unsigned succeeded = 0;
	for (unsigned i = 0; i < count; i++) {
		if (parts[i].result < 0)
			quorum_report_bad(n, parts[i].child->child, op, parts[i].result, offset,
					  bytes);
		else
			succeeded++;
	}
	if (succeeded >= q->threshold)
		return 0;
	if (op != QUORUM_OP_TYPE_FLUSH)
		quorum_report_failure(n, offset, bytes);
	return most_frequent_error(parts, count);
}
