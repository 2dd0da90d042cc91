/* SPDX-License-Identifier: MIT */
/*
 * A graph with the real drivers on a real loop, in a fresh directory; for the
 * tests of drivers/.
 */
#ifndef TESTS_UNIT_DRIVER_FIXTURE_H
#define TESTS_UNIT_DRIVER_FIXTURE_H

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/loop.h"
#include "block/consumer.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/io.h"
#include "block/node.h"
#include "block/open.h"
#include "drivers/table.h"
#include "schema/schema.h"
#include "tests/unit/unit.h"

static struct loop *loop;
static struct graph *graph;
static char directory[64];

/* Run @fn in a coroutine with a fresh graph, in a fresh directory. */
static inline void run(co_entry *fn)
{
	strcpy(directory, "/var/tmp/test-driver-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	ck_assert_int_eq(chdir(directory), 0);
	loop = loop_new_uv(NULL);
	graph = graph_new(loop, driver_table);
	loop_run_coroutine(loop, fn, NULL);
	graph_free(graph);
	loop_free(loop);
	char command[128];
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	ck_assert_int_eq(system(command), 0);
}

/* A file of @bytes that repeat @letter; 0: a hole. */
static inline void make_file(const char *name, size_t bytes, char letter)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
	char block[512];
	memset(block, letter, sizeof(block));
	for (size_t at = 0; letter && at < bytes; at += sizeof(block)) {
		size_t n = MIN(sizeof(block), bytes - at);
		ck_assert_int_eq(pwrite(fd, block, n, (off_t)at), n);
	}
	close(fd);
}

static inline uint64_t file_size(const char *name)
{
	struct stat st;
	ck_assert_int_eq(stat(name, &st), 0);
	return (uint64_t)st.st_size;
}

static inline char byte_of(const char *name, uint64_t offset)
{
	char c = '?';
	int fd = open(name, O_RDONLY);
	ck_assert_int_eq(pread(fd, &c, 1, (off_t)offset), 1);
	close(fd);
	return c;
}

/* Open what key=value text or JSON describes. */
static inline int co_fn open_text(const char *text, struct node **ret, struct error **errp)
{
	void *options;
	int r = schema_decode_keyval(&blockdev_options_type, text, "driver", &options, errp);
	if (r < 0)
		return r;
	graph_change_begin(graph);
	r = node_open(graph, options, ret, errp);
	graph_change_end(graph);
	blockdev_options_free(options);
	return r;
}

static inline struct node *co_fn open_ok(const char *text)
{
	struct node *n = NULL;
	struct error *error = NULL;
	int r = open_text(text, &n, &error);
	ck_assert_msg(r == 0, "%s: %s", text, error ? error->message : "no sentence");
	return n;
}

/* Opening must fail with just this sentence. */
static inline void co_fn open_fails(const char *text, const char *sentence)
{
	struct node *n = NULL;
	struct error *error = NULL;
	ck_assert_int_lt(open_text(text, &n, &error), 0);
	ck_assert_ptr_nonnull(error);
	ck_assert_str_eq(error->message, sentence);
	error_free(error);
}

struct user {
	struct consumer consumer;
	struct edge *edge;
};

static inline char *describe_user(const struct consumer *c)
{
	return xstrdup("a user");
}

static const struct consumer_ops user_ops = {.describe = describe_user};

static inline int co_fn user_begin(struct user *u, struct node *n, unsigned permissions,
				   unsigned shared, struct error **errp)
{
	consumer_init(&u->consumer, graph, &user_ops);
	graph_change_begin(graph);
	int r = edge_attach_consumer(&u->consumer, "root", n, permissions, shared, &u->edge, errp);
	graph_change_end(graph);
	if (r < 0)
		consumer_finish(&u->consumer);
	else
		consumer_enter(&u->consumer);
	return r;
}

static inline void co_fn user_begin_ok(struct user *u, struct node *n, unsigned permissions,
				       unsigned shared)
{
	struct error *error = NULL;
	int r = user_begin(u, n, permissions, shared, &error);
	ck_assert_msg(r == 0, "%s", error ? error->message : "no sentence");
}

static inline void co_fn user_end(struct user *u)
{
	consumer_leave(&u->consumer);
	graph_change_begin(graph);
	edge_detach(u->edge);
	graph_change_end(graph);
	consumer_finish(&u->consumer);
}

static inline void co_fn node_put(struct node *n)
{
	graph_change_begin(graph);
	node_unref(n);
	graph_change_end(graph);
}

#endif
