/* SPDX-License-Identifier: MIT */
/*
 * What the graph tells the drains in force. Only block/ includes it; the drain
 * itself is in graph.h.
 */
#ifndef BLOCK_DRAIN_H
#define BLOCK_DRAIN_H

struct consumer;
struct node;

/* @c has got an edge to @child: drains of what @child leads to hold it from now on. */
void drain_consumer_attached(struct consumer *c, struct node *child);
/* @c or @n goes away. */
void drain_forget_consumer(struct consumer *c);
void drain_forget_node(struct node *n);

#endif
