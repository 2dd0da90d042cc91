/* SPDX-License-Identifier: MIT */
/* base/workers.c: jobs run on threads, in bounded number, and end on the loop. */
#include "base/workers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/unit/unit.h"

#define JOBS 200

struct counted_job {
	struct worker_job job;
	struct pool_test *test;
	bool ran;
};

struct pool_test {
	struct loop *loop;
	pthread_t loop_thread;
	atomic_uint running, most;
	unsigned done;
	struct counted_job jobs[JOBS];
};

static void run_job(struct worker_job *job)
{
	struct counted_job *c = container_of(job, struct counted_job, job);
	struct pool_test *t = c->test;
	unsigned now = atomic_fetch_add(&t->running, 1) + 1;
	unsigned most = atomic_load(&t->most);
	while (now > most && !atomic_compare_exchange_weak(&t->most, &most, now))
		;
	usleep(200);
	c->ran = true;
	atomic_fetch_sub(&t->running, 1);
}

static void job_done(struct worker_job *job)
{
	struct counted_job *c = container_of(job, struct counted_job, job);
	ck_assert(c->ran);
	ck_assert(pthread_equal(pthread_self(), c->test->loop_thread));
	if (++c->test->done == JOBS)
		loop_stop(c->test->loop);
}

static void run_pool(unsigned max_threads, bool all_at_once)
{
	static struct pool_test t;
	t = (struct pool_test){.loop = loop_new_uv(NULL), .loop_thread = pthread_self()};
	struct workers *w = workers_create(t.loop, max_threads);
	struct list jobs = LIST_INIT(jobs);

	for (unsigned i = 0; i < JOBS; i++) {
		t.jobs[i] = (struct counted_job){
			.job = {.run = run_job, .done = job_done}, .test = &t};
		if (all_at_once)
			list_add_tail(&jobs, &t.jobs[i].job.link);
		else
			workers_submit(w, &t.jobs[i].job);
	}
	workers_submit_all(w, &jobs);
	ck_assert(list_is_empty(&jobs));
	loop_run(t.loop);

	ck_assert_uint_eq(t.done, JOBS);
	ck_assert_uint_ge(atomic_load(&t.most), 1);
	ck_assert_uint_le(atomic_load(&t.most), max_threads);
	workers_destroy(w);
	loop_free(t.loop);
}

START_TEST(a_single_thread_serves_all)
{
	run_pool(1, false);
}
END_TEST

START_TEST(the_limit_of_threads_holds)
{
	run_pool(8, false);
}
END_TEST

START_TEST(a_list_of_jobs_is_taken_at_once)
{
	run_pool(8, true);
}
END_TEST

START_TEST(a_pool_that_was_never_used_goes_away)
{
	struct loop *loop = loop_new_uv(NULL);
	workers_destroy(workers_create(loop, 4));
	workers_destroy(NULL);
	loop_free(loop);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(a_single_thread_serves_all),
	UNIT_TEST(the_limit_of_threads_holds),
	UNIT_TEST(a_list_of_jobs_is_taken_at_once),
	UNIT_TEST(a_pool_that_was_never_used_goes_away),
};

UNIT_MAIN("workers", tests)
