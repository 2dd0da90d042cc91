/* SPDX-License-Identifier: MIT */
/*
 * A chain of real qcow2 images on disks in memory, with jobs over it: for the
 * tests of what works on whole chains. Each I/O request on any disk is an event;
 * one can be made to fail, and at one the state of all disks can be kept that a
 * power failure might leave.
 */
#ifndef TESTS_UNIT_CHAIN_FIXTURE_H
#define TESTS_UNIT_CHAIN_FIXTURE_H

#include "base/loop.h"
#include "block/consumer.h"
#include "block/graph.h"
#include "block/io.h"
#include "block/open.h"
#include "blockjobs/job.h"
#include "tests/unit/unit.h"

#define CHAIN_DISK_MAX ((size_t)4 << 20)
#define CHAIN_SIZE ((uint64_t)1 << 20) /* of an image, unless said otherwise */
#define CHAIN_CLUSTER 4096

struct chain_disk {
	struct list link;
	char name[32];
	uint8_t *data, *durable, *crashed; /* CHAIN_DISK_MAX each */
	uint64_t size, crashed_size;
	uint64_t used; /* beyond, all three are zero: nobody need copy that, which would take long */
};

struct chain {
	struct loop *loop;
	struct graph *graph;
	struct job_table jobs;
	struct list disks;

	uint64_t delay_ns; /* of each request, at most; its length is drawn */
	const char *slow_disk; /* whose requests hang until it is another one; NULL for none */
	uint64_t events;   /* counted from 1 */
	uint64_t fail_at;  /* event that fails with fail_error; 0 for none */
	bool fails_on;     /* and so do all that follow */
	int fail_error;
	const char *fail_disk; /* only there; NULL for all */
	const char *unflushable; /* disk whose flushes fail; NULL for none */
	bool is_closing;   /* far storage is; see chain_make_far() */
	bool may_close;    /* and shall be done with it */
	uint64_t crash_at; /* event at which the state is kept; 0 for none */
	bool crashed;
	void (*on_crash)(struct chain *c); /* optional; must not wait */

	char log[8192]; /* what the jobs announced: words with a blank behind each */
	uint8_t *model; /* CHAIN_DISK_MAX: what the users' image shows */
};

/* Run @fn on a fresh graph and no disk; everything must be gone afterwards. */
void chain_run(uint64_t seed, void co_fn (*fn)(struct chain *c));

#define CHAIN_TEST(fn)                                                                             \
	static void co_fn fn(struct chain *c);                                                     \
	START_TEST(test_##fn)                                                                      \
	{                                                                                          \
		chain_run(1, fn);                                                                  \
	}                                                                                          \
	END_TEST                                                                                   \
	static void co_fn fn(struct chain *c)
#define CHAIN_ROW(fn) {#fn, &test_##fn, 0}

/* Make an empty image called @name over @backing, which may be NULL. */
void co_fn chain_make(struct chain *c, const char *name, uint64_t size, const char *backing);
/*
 * Make images names[0] (the base) to names[count - 1], CHAIN_SIZE long, with
 * random clusters of data and of zeroes; c->model is what the last one shows.
 */
void co_fn chain_make_all(struct chain *c, const char *const *names, unsigned count);
/* Open the image called @name, as a node of that name, with what is below it. */
struct node *co_fn chain_open(struct chain *c, const char *name);
/* The same above the node called @backing. */
struct node *co_fn chain_open_above(struct chain *c, const char *name, const char *backing);
/* Open the images of chain_make_all() as nodes of their names that know each other; owned by the monitor. */
void co_fn chain_open_all(struct chain *c, const char *const *names, unsigned count);
void co_fn chain_close_all(struct chain *c);
/* Open what key=value text describes. */
int co_fn chain_open_text(struct chain *c, const char *text, struct node **ret,
			  struct error **errp);

/* The node called @name, which must be there. */
struct node *chain_find(struct chain *c, const char *name);
/* The name of the backing file's node of the node called @name; "" for none. */
const char *chain_below(struct chain *c, const char *name);

/* Fail the test unless @n shows the model. */
void co_fn chain_expect(struct chain *c, struct node *n);
/* The same for the image called @name, opened for it. */
void co_fn chain_expect_image(struct chain *c, const char *name);
/* Keep the state of all disks now. */
void chain_crash(struct chain *c);
/* Give the disks the state that was kept. */
void chain_reboot(struct chain *c);
/* The same for what an image shows after the crash. Nothing may be open. */
void co_fn chain_expect_after_crash(struct chain *c, const char *name);

/* A user who writes random data to a node until told to stop, keeping c->model in step. */
struct chain_user {
	struct consumer consumer;
	struct edge *edge;
	struct chain *chain;
	uint64_t pause_ns; /* between writes, at most */
	unsigned writes;
	bool stop, ended;
};

/* Attach, without sharing resize. Writes nothing yet. */
void co_fn chain_user_init(struct chain_user *u, struct chain *c, struct node *n);
/* Begin to write. */
void chain_user_start(struct chain_user *u);
/* Stop writing, if begun, and detach. */
void co_fn chain_user_finish(struct chain_user *u);

/* block-commit with these arguments as key=value text; the job is called "j" unless said. */
int co_fn chain_commit(struct chain *c, const char *text, struct error **errp);
/* The same; fails the test on an error. */
struct job *co_fn chain_commit_ok(struct chain *c, const char *text);
/* The same with blockdev-mirror. */
int co_fn chain_mirror(struct chain *c, const char *text, struct error **errp);
struct job *co_fn chain_mirror_ok(struct chain *c, const char *text);
/* And both for block-stream. */
int co_fn chain_stream(struct chain *c, const char *text, struct error **errp);
struct job *co_fn chain_stream_ok(struct chain *c, const char *text);
/*
 * Finalize @j, which is pending, and insist that who waits for the change lock does not
 * find its node @filter any more.
 */
void co_fn chain_expect_to_leave_at_once(struct chain *c, struct job *j, const char *filter);
/* Let the storage of the image of @n be remote, and not answer when it is closed. */
void chain_make_far(struct node *n);
/*
 * Wait until it is being closed, insist that the graph may be changed meanwhile and that the job
 * is not over, and have the storage answer.
 */
void co_fn chain_expect_to_close_apart(struct chain *c);
/* Wait until the log has the word @word, which it must get. */
void co_fn chain_wait_for(struct chain *c, const char *word);
bool chain_log_has(const struct chain *c, const char *word);
void chain_expect_log(struct chain *c, const char *expected);
void chain_expect_error(struct error **error, const char *message);

#endif
