/* SPDX-License-Identifier: MIT */
/*
 * Jobs: long-running work with a state that clients see and verbs that steer it.
 *
 * A job is one coroutine that reads top to bottom: its type's run() does the
 * work, then the engine takes it through waiting, pending and concluded. What
 * clients want (pause, cancel, another speed) is looked at only at pause points.
 * Everything happens on the control thread.
 *
 * An object of a type embeds struct job first. It belongs to its table from
 * job_create() until it is dismissed.
 */
#ifndef BLOCKJOBS_JOB_H
#define BLOCKJOBS_JOB_H

#include "base/loop.h"
#include "block/blocker.h"
#include "block/consumer.h"
#include "blockjobs/ratelimit.h"
#include "schema/types.h"

struct job;
struct job_tx;

/* What a job type consists of. */
struct job_driver {
	enum job_type type;
	bool is_block; /* the verbs block-job-* apply */
	bool knows_ready; /* may become ready, and then needs `complete` */
	size_t size; /* of the type's object */

	/* The work. An error ends the job; -ECANCELED after job_is_cancelled(). Required. */
	int co_fn (*run)(struct job *j, struct error **errp);
	/* Make the result take effect, after waiting and pending. An error ends the job. Optional. */
	int co_fn (*prepare)(struct job *j, struct error **errp);
	/*
	 * Let go of nodes and leave the graph in order. Called once for every job that
	 * was started, whatever came of it; when prepare() has not succeeded, or another
	 * job of the transaction has failed, as if the job had never been. Required.
	 */
	void co_fn (*finish)(struct job *j, bool succeeded);
	/* Change the job at work. Must not wait. Optional. */
	int (*change)(struct job *j, const struct block_job_change_options *options,
		      struct error **errp);
	/* Free what the type's object owns; not the object. Optional. */
	void (*release)(struct job *j);
};

struct job {
	const struct job_driver *driver;
	struct job_table *table;
	struct list link; /* in the table */
	char *id;
	enum job_status status;

	struct consumer consumer; /* the user of nodes on the job's behalf */
	struct list blockers;     /* struct job_blocker.link */

	bool auto_finalize, auto_dismiss;
	bool cancelled;    /* to end without success, as soon as possible */
	bool completing;   /* ready, and told to complete */
	bool leaving;      /* ready, and told to end well without its final step */
	bool user_paused;  /* by a verb or an error; one of the pauses */
	unsigned pauses;   /* reasons to stand still at the next pause point; drains, too */
	bool idle;         /* its coroutine waits for time or a client */
	bool was_ready;    /* has announced BLOCK_JOB_READY */
	bool has_reported; /* an error that ends it; those of requests beside it are not told */
	bool has_failed;   /* is about to end: no rate keeps it from that */

	uint64_t progress_done, progress_total; /* bytes; total is at least done */
	uint64_t speed;                         /* bytes per second; 0 for no limit */
	bool has_bad_speed;                     /* to be refused */
	struct ratelimit ratelimit;
	enum block_device_io_status io_status;

	int result;          /* 0, or why it failed; set before aborting */
	struct error *error; /* with the result */

	struct job_tx *tx;
	struct list tx_link;
	unsigned tx_stage;

	struct co_queue kicked;  /* its coroutine, waiting */
	struct loop_timer timer; /* ends that wait */
	uint64_t gave_way_ns;    /* when it last let the rest of the daemon run */
};

/* What others want to know of jobs; each is called at the moment it happens, and must not wait. */
struct job_observer {
	void (*status_changed)(const struct job *j);
	void (*ready)(const struct job *j);
	void (*pending)(const struct job *j);   /* waits for `finalize` */
	void (*completed)(const struct job *j); /* with or without j->error */
	void (*cancelled)(const struct job *j);
	void (*failed)(const struct job *j, enum io_operation_type operation,
		       enum block_error_action action);
};

/* All jobs. */
struct job_table {
	struct graph *graph;
	const struct job_observer *observer; /* members may be NULL */
	struct list jobs;                    /* struct job.link, the newest first, as clients see them */
	struct co_queue ended;               /* waiting until a job has ended or gone */
	bool closing;                        /* takes no new jobs */
	bool is_abandoned;                   /* nobody waits for the rest */
};

/* @observer must stay valid. */
void job_table_init(struct job_table *t, struct graph *g, const struct job_observer *observer);
/* No job is left. */
void job_table_finish(struct job_table *t);
/* The job called @id, or NULL. With @block_only, only one of a type with is_block. */
struct job *job_find(struct job_table *t, const char *id, bool block_only);
/*
 * Announce that all jobs that have nothing in flight stand still, and that those that are
 * not paused go on: clients know that from the reference program, for the beginning of
 * each transaction. In between they may find that they need not wait.
 */
void job_table_stand_still(struct job_table *t);
void job_table_go_on(struct job_table *t);
/* Cancel all jobs, dismiss those concluded, and wait until none is left. Takes no new ones. */
void co_fn job_cancel_all_and_wait(struct job_table *t);
/* Whether somebody waits in job_cancel_all_and_wait(). */
bool job_table_is_awaited(const struct job_table *t);
/*
 * Have a job_cancel_all_and_wait() that waits return, with jobs left. Only before the end
 * of the process. False when none waits.
 */
bool job_table_abandon(struct job_table *t);

/* --- Life ------------------------------------------------------------------ */

struct job_options {
	const char *id; /* NULL or unfit: refused with the rival's sentence */
	int64_t speed; /* job_announce() refuses a negative one */
	bool auto_finalize, auto_dismiss;
	struct job_tx *tx; /* NULL: one of its own */
};

/*
 * Make a job that has not started; *ret is the type's object, zeroed behind
 * struct job. -EINVAL for a bad ID, -EEXIST for one in use.
 */
int job_create(struct job_table *t, const struct job_driver *driver,
	       const struct job_options *options, struct job **ret, struct error **errp);
/*
 * Tell clients that the job has been created, which goes before its first part in the
 * graph. -EINVAL for a negative speed: it is to be discarded then.
 */
int job_announce(struct job *j, struct error **errp);
/* Undo job_create(), when setting up the rest has failed; there are no edges. */
void job_discard(struct job *j);
/*
 * The same where the job was set up, and what others do in the same transaction has
 * failed: clients see it come, abort and end.
 */
void job_withdraw(struct job *j);
/*
 * Announce the job, unless that is done, and let it run. Where its nodes are drained, it
 * is paused until they are not.
 */
void job_start(struct job *j);

/*
 * Several jobs that complete together or not at all: none goes beyond waiting
 * before all have come there, and when one fails all are cancelled.
 */
struct job_tx *job_tx_new(void);
/* Give up the caller's hold; jobs keep it as long as they need it. */
void job_tx_unref(struct job_tx *tx);

/*
 * Forbid all operations on @n to others while the job exists, with the sentence
 * "block device is in use by block job: TYPE". @except: enum block_operation.
 */
void job_block(struct job *j, struct node *n, unsigned except);
/* The same, told of as @manner says (enum blocker_manner). */
void job_block_as(struct job *j, struct node *n, unsigned except, unsigned manner);
/* Lift all of that. */
void job_unblock_all(struct job *j);

/* --- For run(), in the job's coroutine and outside its operations ------------ */

/*
 * Stand still while paused, and give way to the rest of the daemon now and then.
 * 0, or -ECANCELED when the job is to end.
 */
int co_fn job_pause_point(struct job *j);
/* True when job_pause_point() would wait or fail: time to let work in flight end. */
bool job_must_pause(const struct job *j);
/* Wait for the rate limit and pauses, then take @bytes from the limit. 0 or -ECANCELED. */
int co_fn job_throttle(struct job *j, uint64_t bytes);
/* It is about to end, and shall not wait for its rate before. From any coroutine. */
void job_hasten(struct job *j);
/* Wait @ns nanoseconds, or less when anything was told to the job. */
void co_fn job_sleep_ns(struct job *j, uint64_t ns);
/* Wait until something is told to the job, or job_kick(). */
void co_fn job_wait(struct job *j);
/* Let job_wait() return. Any coroutine or callback of the control thread. */
void job_kick(struct job *j);

bool job_is_cancelled(const struct job *j);
/* Announce that everything is in step, and that the job can complete. */
void job_set_ready(struct job *j);

/* Progress never runs backwards: what is left moves the total. */
void job_progress_add(struct job *j, uint64_t bytes);
void job_progress_set_left(struct job *j, uint64_t bytes);

/*
 * What to do about a failed request under @policy; announces it, unless an error has been
 * reported before, which is about to end the job. STOP also pauses the job for its user, and
 * notes the error in its io-status.
 */
enum block_error_action job_request_failed(struct job *j, enum blockdev_on_error policy,
					   enum io_operation_type operation, int error);

/* --- Verbs, each 0 or a negative errno ------------------------------------------ */

int job_verb_pause(struct job *j, struct error **errp);
int job_verb_resume(struct job *j, struct error **errp);
/* @force false: a ready job ends well, without its final step; a paused one is refused. */
int job_verb_cancel(struct job *j, bool force, struct error **errp);
/*
 * True when a cancelled @j should end without delay, so that clients may wait for that:
 * nothing of it is in flight, and it does not bring its nodes in step first.
 */
bool job_can_end_at_once(const struct job *j);
int job_verb_complete(struct job *j, struct error **errp);
int job_verb_set_speed(struct job *j, int64_t speed, struct error **errp);
int job_verb_finalize(struct job *j, struct error **errp);
/*
 * Wait until @j and all of its transaction have concluded, for @timeout_ns at most if that
 * is not 0; they may be gone then.
 */
void co_fn job_wait_concluded(struct job *j, uint64_t timeout_ns);
/* @options are for a job of the type that they say. */
int job_verb_change(struct job *j, const struct block_job_change_options *options,
		    struct error **errp);
/* @j is gone afterwards. */
int job_verb_dismiss(struct job *j, struct error **errp);

/* --- The state machine, for tests -------------------------------------------- */

bool job_may_move(enum job_status from, enum job_status to);
bool job_may_verb(enum job_status status, enum job_verb verb);

#endif
