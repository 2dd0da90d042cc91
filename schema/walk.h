/* SPDX-License-Identifier: MIT */
/*
 * Internal to schema/: stepping over the members of an object, and a list of
 * work that takes the place of recursion.
 */
#ifndef SCHEMA_WALK_H
#define SCHEMA_WALK_H

#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "schema/schema.h"

/* Position among the members of one struct, union (with its branch) or alternate. */
struct schema_cursor {
	const struct schema_type *type;
	const char *base; /* what the members' offsets count from */
	unsigned index;
};

static inline struct schema_cursor schema_cursor_at(const struct schema_type *t, const void *object)
{
	return (struct schema_cursor){.type = t, .base = object};
}

/* The type of the branch that the union at @base has chosen, or NULL. */
static inline const struct schema_type *schema_branch(const struct schema_type *t, const char *base)
{
	const struct schema_member *tag = &t->members[t->tag];
	int value;

	memcpy(&value, base + tag->offset, sizeof(value));
	return t->branches[value];
}

/*
 * The next member, or NULL after the last; *ret_slot is the place of its value.
 * Of an alternate, the one branch that is in use is the only member.
 */
static inline const struct schema_member *schema_cursor_next(struct schema_cursor *c,
							     char **ret_slot)
{
	const struct schema_member *m;

	while (c->type && c->index == c->type->count && c->type->kind == SCHEMA_UNION) {
		const struct schema_type *branch = schema_branch(c->type, c->base);

		c->base += c->type->branch_offset;
		c->type = branch;
		c->index = 0;
	}
	if (!c->type || c->index >= c->type->count)
		return NULL;
	if (c->type->kind == SCHEMA_ALTERNATE) {
		int kind;

		memcpy(&kind, c->base, sizeof(kind));
		m = &c->type->members[kind];
		c->index = c->type->count;
	} else {
		m = &c->type->members[c->index++];
	}
	*ret_slot = (char *)c->base + m->offset;
	return m;
}

/* How many members the struct or union at @object has, those of its branch included. */
static inline unsigned schema_member_count(const struct schema_type *t, const void *object)
{
	const struct schema_type *branch = t->kind == SCHEMA_UNION ? schema_branch(t, object) : NULL;

	return t->count + (branch ? branch->count : 0);
}

/* The member that is written at @position, below schema_member_count(); *ret_slot is its value. */
static inline const struct schema_member *schema_written_member(const struct schema_type *t,
								const void *object,
								unsigned position, char **ret_slot)
{
	const char *base = object;
	int tag = 0;

	if (t->kind == SCHEMA_UNION)
		memcpy(&tag, base + t->members[t->tag].offset, sizeof(tag));
	unsigned index = t->orders[tag][position];
	if (index >= t->count) {
		index -= t->count;
		base += t->branch_offset;
		t = t->branches[tag];
	}
	*ret_slot = (char *)base + t->members[index].offset;
	return &t->members[index];
}

/* True for what is held by pointer and has members of its own. */
static inline bool schema_is_compound(const struct schema_type *t)
{
	return t->kind >= SCHEMA_STRUCT;
}

/* True for what is held by pointer, so that NULL tells absence. */
static inline bool schema_is_pointer(const struct schema_type *t)
{
	return t->kind == SCHEMA_STR || t->kind == SCHEMA_ANY || schema_is_compound(t);
}

/* Bytes that a value of type @t takes up as an item of a list. */
static inline size_t schema_item_size(const struct schema_type *t)
{
	return schema_is_pointer(t) ? sizeof(void *) : t->size;
}

/* Whether @m, whose value is at @slot, is there. */
static inline bool schema_member_is_present(const struct schema_member *m, const char *slot)
{
	if (m->type->kind == SCHEMA_NULL)
		return true;
	if (schema_is_pointer(m->type))
		return *(void *const *)slot != NULL;
	return m->has_offset < 0 || *(const bool *)(slot - m->offset + m->has_offset);
}

static inline bool *schema_member_flag(const struct schema_member *m, char *slot)
{
	return (bool *)(slot - m->offset + m->has_offset);
}

/* Integers of any width. Unsigned ones come back as the same 64 bits. */
int64_t schema_load_int(const struct schema_type *t, const void *slot);
void schema_store_int(const struct schema_type *t, void *slot, int64_t value);

/*
 * Zeroed memory for a list of @count items, at least 1. All lists have room for
 * the next power of two, so that schema_list_grow() needs no capacity kept.
 */
void *schema_list_room(size_t count, size_t item_size);

/* Things to do, of @item_size bytes each, the first few in the owner's memory. */
struct worklist {
	char *items;
	size_t count, capacity, item_size;
	char *heap; /* what to free */
};

#define WORKLIST(storage)                                                                          \
	{                                                                                          \
		.items = (char *)(storage), .capacity = ARRAY_SIZE(storage),                       \
		.item_size = sizeof((storage)[0])                                                  \
	}

/* Room for one more item; earlier items may move. */
static inline void *worklist_push(struct worklist *l)
{
	if (l->count == l->capacity) {
		char *bigger = xrealloc(l->heap, l->capacity * 2, l->item_size);

		if (!l->heap)
			memcpy(bigger, l->items, l->count * l->item_size);
		l->items = l->heap = bigger;
		l->capacity *= 2;
	}
	return l->items + l->count++ * l->item_size;
}

/* The last item, taken away; NULL when there is none. Valid until the next push. */
static inline void *worklist_pop(struct worklist *l)
{
	return l->count == 0 ? NULL : l->items + --l->count * l->item_size;
}

static inline void worklist_finish(struct worklist *l)
{
	free(l->heap);
}

#endif
