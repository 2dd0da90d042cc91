/* SPDX-License-Identifier: MIT */
/*
 * Intrusive doubly linked lists with a head, in no thread's care but the owner's.
 *
 * An unlinked item points at itself, so list_del_init() may be repeated and
 * list_is_linked() can be asked.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include "base/util.h"

struct list {
	struct list *next, *prev;
};

#define LIST_INIT(name) {&(name), &(name)}

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_is_empty(const struct list *head)
{
	return head->next == head;
}

static inline bool list_is_linked(const struct list *item)
{
	return item->next != item;
}

static inline void list_insert_between(struct list *item, struct list *prev, struct list *next)
{
	item->prev = prev;
	item->next = next;
	prev->next = item;
	next->prev = item;
}

static inline void list_add_tail(struct list *head, struct list *item)
{
	list_insert_between(item, head->prev, head);
}

static inline void list_add_head(struct list *head, struct list *item)
{
	list_insert_between(item, head, head->next);
}

static inline void list_del_init(struct list *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	list_init(item);
}

/* Move everything from @from to the end of @to. */
static inline void list_splice_tail(struct list *to, struct list *from)
{
	if (list_is_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define list_first(head, type, member)                                                             \
	(list_is_empty(head) ? NULL : container_of((head)->next, type, member))
#define list_last(head, type, member)                                                              \
	(list_is_empty(head) ? NULL : container_of((head)->prev, type, member))

/* @item is declared by the caller. The body must not unlink @item. */
#define list_for_each(item, head, member)                                                          \
	for (item = container_of((head)->next, __typeof__(*item), member);                         \
	     &item->member != (head);                                                              \
	     item = container_of(item->member.next, __typeof__(*item), member))

/* The body may unlink or free @item, but not @following. */
#define list_for_each_safe(item, following, head, member)                                          \
	for (item = container_of((head)->next, __typeof__(*item), member),                         \
	    following = container_of(item->member.next, __typeof__(*item), member);                \
	     &item->member != (head); item = following,                                            \
	    following = container_of(item->member.next, __typeof__(*item), member))

#endif
