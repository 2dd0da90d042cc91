/* SPDX-License-Identifier: MIT */
/*
 * Reading: the children vote about the data, or are asked one after the other.
 * Node's loop.
 *
 * 1. A child that cannot be read has no vote.
 * 2. The content that most children show wins; in case of a tie that which comes up last,
 *    in the children's order. It must have as many votes as the threshold says.
 * 3. Who is outvoted so is told of, and, if wanted, written to before the read ends, so
 *    that a later write cannot be overwritten.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "drivers/quorum/quorum.h"

struct read {
	struct node *node;
	uint64_t offset, bytes;
	struct quorum_part *parts;
	unsigned count;
};

static int co_fn read_part(struct quorum_part *part, void *arg)
{
	const struct read *r = arg;
	return edge_read(part->child, r->offset, r->bytes, part->data, 0);
}

/* Whether two parts that could be read show the same. */
static bool agree(const struct read *r, const struct quorum_part *a, const struct quorum_part *b)
{
	return a == b || memcmp(a->data, b->data, r->bytes) == 0;
}

/* Whether a child before the one of number @i shows what that shows. */
static bool has_come_up(const struct read *r, unsigned i)
{
	for (unsigned j = 0; j < i; j++) {
		if (r->parts[j].result >= 0 && agree(r, &r->parts[i], &r->parts[j]))
			return true;
	}
	return false;
}

/* The winner of the vote; *ret_votes says how many it has. NULL when none could be read. */
static struct quorum_part *find_winner(const struct read *r, unsigned *ret_votes)
{
	struct quorum_part *winner = NULL;
	*ret_votes = 0;
	for (unsigned i = 0; i < r->count; i++) {
		unsigned votes = 0;
		if (r->parts[i].result < 0 || has_come_up(r, i))
			continue;
		for (unsigned j = i; j < r->count; j++)
			votes += r->parts[j].result >= 0 && agree(r, &r->parts[i], &r->parts[j]);
		if (votes >= *ret_votes) {
			*ret_votes = votes;
			winner = &r->parts[i];
		}
		/* Usually all agree, and one pass is enough. */
		if (votes > r->count / 2)
			break;
	}
	return winner;
}

struct rewrite {
	const struct read *read;
	const uint8_t *data;
};

static int co_fn rewrite_part(struct quorum_part *part, void *arg)
{
	const struct rewrite *w = arg;
	const struct read *r = w->read;
	if (part->result < 0 || memcmp(part->data, w->data, r->bytes) == 0)
		return part->result;
	return edge_write(part->child, r->offset, r->bytes, w->data, 0);
}

static int co_fn vote(struct read *r)
{
	const struct quorum *q = r->node->state;
	unsigned votes;
	struct quorum_part *winner = find_winner(r, &votes);
	bool is_disputed = false, is_decided = votes >= q->threshold;
	for (unsigned i = 0; i < r->count; i++) {
		if (r->parts[i].result < 0 || agree(r, winner, &r->parts[i]))
			continue;
		is_disputed = true;
		if (is_decided && !q->is_verify)
			quorum_report_bad(r->node, r->parts[i].child->child, QUORUM_OP_TYPE_READ, 0,
					  r->offset, r->bytes);
	}
	if (!is_decided || (is_disputed && q->is_verify)) {
		quorum_report_failure(r->node, r->offset, r->bytes);
		return -EIO;
	}
	if (is_disputed && q->rewrites && !r->node->read_only) {
		struct rewrite w = {.read = r, .data = winner->data};
		/* That it cannot be mended is not the reader's problem: it will be told of again. */
		quorum_run(r->node, r->parts, r->count, rewrite_part, &w);
	}
	return 0;
}

static int co_fn read_and_vote(struct read *r, struct vec v)
{
	quorum_run(r->node, r->parts, r->count, read_part, r);
	int result = quorum_judge(r->node, r->parts, r->count, QUORUM_OP_TYPE_READ, r->offset,
				  r->bytes);
	if (result < 0)
		return result;
	unsigned votes;
	const uint8_t *data = find_winner(r, &votes)->data;
	result = vote(r);
	if (result >= 0)
		vec_from_buffer(v, data, r->bytes);
	return result;
}

static int co_fn read_quorum(struct node *n, uint64_t offset, uint64_t bytes, struct vec v)
{
	struct quorum *q = n->state;
	struct read r = {n, offset, bytes, quorum_parts_new(q), q->count};
	struct quorum_turn turn;
	int result = 0;
	for (unsigned i = 0; i < r.count; i++) {
		r.parts[i].data = buffer_get(n->loop, bytes);
		if (!r.parts[i].data)
			result = -ENOMEM;
	}
	quorum_turn_begin(q, &turn, offset, bytes, q->rewrites);
	if (result >= 0)
		result = read_and_vote(&r, v);
	quorum_turn_end(q, &turn);
	for (unsigned i = 0; i < r.count; i++) {
		if (r.parts[i].data)
			buffer_put(n->loop, r.parts[i].data, bytes);
	}
	free(r.parts);
	return result;
}

static int co_fn read_fifo(struct node *n, uint64_t offset, uint64_t bytes, struct vec v)
{
	const struct quorum *q = n->state;
	int r = -EIO;
	for (unsigned i = 0; i < q->count && r < 0; i++) {
		r = edge_readv(q->children[i], offset, bytes, v, 0);
		if (r < 0)
			quorum_report_bad(n, q->children[i]->child, QUORUM_OP_TYPE_READ, r, offset,
					  bytes);
	}
	return r;
}

int co_fn quorum_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
		      unsigned flags)
{
	const struct quorum *q = n->state;
	return q->is_fifo ? read_fifo(n, offset, bytes, v) : read_quorum(n, offset, bytes, v);
}
