/* SPDX-License-Identifier: MIT */
/*
 * The pool of threads for blocking calls.
 *
 * workers_*() run on the loop's thread; worker_main() on the pool's. The lock
 * guards jobs, the counters and ending, and is held for a few instructions only.
 */
#include "base/workers.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A thread without work ends after this long. */
#define IDLE_SECONDS 10

struct workers {
	struct loop *loop;
	unsigned max_threads;

	pthread_mutex_t lock;
	pthread_cond_t work;  /* there are jobs, or the pool ends */
	pthread_cond_t ended; /* a thread has left an ending pool */
	struct list jobs;
	unsigned queued;  /* length of jobs */
	unsigned threads; /* alive */
	unsigned idle;    /* waiting for work */
	bool ending;
};

static void job_is_done(struct loop_post *post)
{
	struct worker_job *job = container_of(post, struct worker_job, post);
	job->done(job);
}

/* Wait for a job with the lock held; NULL when the thread shall end. */
static struct worker_job *next_job(struct workers *w)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_SECONDS;

	for (bool timed_out = false; list_is_empty(&w->jobs);) {
		if (w->ending || timed_out)
			return NULL;
		w->idle++;
		timed_out = pthread_cond_timedwait(&w->work, &w->lock, &until) == ETIMEDOUT;
		w->idle--;
	}
	struct worker_job *job = list_first(&w->jobs, struct worker_job, link);
	list_del_init(&job->link);
	w->queued--;
	return job;
}

static void *worker_main(void *arg)
{
	struct workers *w = arg;
	struct worker_job *job;

	pthread_mutex_lock(&w->lock);
	while ((job = next_job(w))) {
		pthread_mutex_unlock(&w->lock);
		job->run(job);
		loop_post(w->loop, &job->post); /* the job may be gone from here on */
		pthread_mutex_lock(&w->lock);
	}
	w->threads--;
	pthread_cond_signal(&w->ended);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/*
 * Start one more thread, with the lock held. Signals are for the main thread,
 * so all are blocked here. Without memory for it the threads that exist must do.
 */
static void start_thread(struct workers *w)
{
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);

	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_t thread;
	int r = pthread_create(&thread, &attr, worker_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);

	if (r == 0) {
		(void)pthread_setname_np(thread, "worker");
		w->threads++;
	} else if (w->threads == 0) {
		fprintf(stderr, "cannot start a worker thread: %s\n", strerror(r));
		abort();
	}
}

struct workers *workers_create(struct loop *loop, unsigned max_threads)
{
	assert(max_threads > 0);
	struct workers *w = NEW(struct workers);
	w->loop = loop;
	w->max_threads = max_threads;
	list_init(&w->jobs);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->ended, NULL);

	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->work, &attr);
	pthread_condattr_destroy(&attr);
	return w;
}

/* Let somebody take the newest job, with the lock held. */
static void call_worker(struct workers *w)
{
	if (w->queued > w->idle && w->threads < w->max_threads)
		start_thread(w);
	else
		pthread_cond_signal(&w->work);
}

void workers_submit(struct workers *w, struct worker_job *job)
{
	job->post.fn = job_is_done;
	pthread_mutex_lock(&w->lock);
	assert(!w->ending);
	list_add_tail(&w->jobs, &job->link);
	w->queued++;
	call_worker(w);
	pthread_mutex_unlock(&w->lock);
}

void workers_submit_all(struct workers *w, struct list *jobs)
{
	if (list_is_empty(jobs))
		return;

	unsigned n = 0;
	struct worker_job *job;
	list_for_each(job, jobs, link) {
		job->post.fn = job_is_done;
		n++;
	}
	pthread_mutex_lock(&w->lock);
	assert(!w->ending);
	list_splice_tail(&w->jobs, jobs);
	for (; n > 0; n--) {
		w->queued++;
		call_worker(w);
	}
	pthread_mutex_unlock(&w->lock);
}

void workers_destroy(struct workers *w)
{
	if (!w)
		return;

	pthread_mutex_lock(&w->lock);
	assert(list_is_empty(&w->jobs));
	w->ending = true;
	pthread_cond_broadcast(&w->work);
	while (w->threads > 0)
		pthread_cond_wait(&w->ended, &w->lock);
	pthread_mutex_unlock(&w->lock);

	pthread_cond_destroy(&w->work);
	pthread_cond_destroy(&w->ended);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
