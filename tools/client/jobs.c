/* SPDX-License-Identifier: MIT */
/*
 * "jobs": a table, or with --watch one that follows the jobs to their ends.
 *
 * On a terminal the table is drawn again in its place; elsewhere a line is printed for each job
 * when its status changes or another tenth is done.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/client/client.h"

#define BAR_WIDTH 30
#define REFRESH_MS 500

struct watch {
	struct session *session;
	char *const *ids; /* of the jobs that are wanted */
	int count;        /* of them; 0 for all */
	json_t *jobs;     /* what query-jobs has said last, of those that are wanted */
	json_t *seen;     /* object: ID to what was printed of it last */
	json_t *failed;   /* object: ID to why */
	unsigned lines;   /* of the table that stands on the terminal */
	bool is_terminal;
};

static uint64_t number(const json_t *json, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(json, key));
}

static const char *text(const json_t *json, const char *key)
{
	const char *s = schema_text(json, key);
	return s ? s : "?";
}

static bool is_wanted(const struct watch *w, const char *id)
{
	for (int i = 0; i < w->count; i++) {
		if (string_equal(w->ids[i], id))
			return true;
	}
	return w->count == 0;
}

static bool has_status(const json_t *job, const char *status)
{
	return string_equal(schema_text(job, "status"), status);
}

unsigned client_job_percent(const json_t *job)
{
	uint64_t done = number(job, "current-progress"), all = number(job, "total-progress");
	/* One without anything to do is all done when it has found that out. */
	if (all == 0)
		return has_status(job, "ready") || has_status(job, "pending") ? 100 : 0;
	return (unsigned)(100 * MIN((double)done / (double)all, 1));
}

/* What a person may do about it. */
static const char *advice(const json_t *job)
{
	if (has_status(job, "ready"))
		return "  (job-complete ends it)";
	if (has_status(job, "pending"))
		return "  (job-finalize ends it)";
	if (has_status(job, "concluded"))
		return "  (job-dismiss removes it)";
	return "";
}

static void print_job(const json_t *job)
{
	char *bar _cleanup_free_ = text_bar(client_job_percent(job), BAR_WIDTH);
	char *done _cleanup_free_ = text_size(number(job, "current-progress"));
	char *all _cleanup_free_ = text_size(number(job, "total-progress"));
	const char *error = schema_text(job, "error");
	printf("%-16s %-8s %-10s %s %3u%%  %s of %s%s%s%s", text(job, "id"), text(job, "type"),
	       text(job, "status"), bar, client_job_percent(job), done, all, advice(job),
	       error ? ": " : "", error ? error : "");
}

/* --- Watching ------------------------------------------------------------------------------ */

static int look(struct watch *w, struct error **errp)
{
	json_t *all _cleanup_json_ = NULL;
	int r = session_execute(w->session, "query-jobs", NULL, &all, errp);
	if (r < 0)
		return r;
	json_release(w->jobs);
	w->jobs = json_array();
	size_t i;
	json_t *job;
	json_array_foreach (all, i, job) {
		if (is_wanted(w, schema_text(job, "id")))
			json_array_append(w->jobs, job);
	}
	return 0;
}

/* What is there on the terminal is replaced. */
static void draw_table(struct watch *w)
{
	if (w->lines > 0)
		printf("\033[%uA", w->lines);
	size_t i;
	json_t *job;
	json_array_foreach (w->jobs, i, job) {
		print_job(job);
		puts("\033[K");
	}
	fputs("\033[J", stdout);
	w->lines = (unsigned)json_array_size(w->jobs);
}

static void print_changes(struct watch *w)
{
	size_t i;
	json_t *job;
	json_array_foreach (w->jobs, i, job) {
		char *state _cleanup_free_ = xasprintf("%s %u", text(job, "status"),
							client_job_percent(job) / 10);
		const char *id = text(job, "id");
		if (string_equal(schema_text(w->seen, id), state))
			continue;
		json_object_set_new(w->seen, id, json_string(state));
		print_job(job);
		putchar('\n');
	}
}

/* Why a job has failed may be told by an event only: it is gone then. */
static void note_event(struct watch *w, const json_t *event)
{
	const char *name = schema_text(event, "event");
	const json_t *data = json_object_get(event, "data");
	const char *id = schema_text(data, "device"), *error = schema_text(data, "error");
	if (!id || !is_wanted(w, id))
		return;
	if (string_equal(name, "BLOCK_JOB_CANCELLED"))
		error = "cancelled";
	if (error && (string_equal(name, "BLOCK_JOB_COMPLETED") ||
		      string_equal(name, "BLOCK_JOB_CANCELLED")))
		json_object_set_new(w->failed, id, json_string(error));
}

/* Take in what has happened, and wait for something to happen first. */
static int wait_a_moment(struct watch *w, int timeout_ms, struct error **errp)
{
	for (;;) {
		json_t *event _cleanup_json_ = NULL;
		int r = session_wait(w->session, timeout_ms, &event, errp);
		if (r <= 0)
			return r;
		note_event(w, event);
		timeout_ms = 0;
	}
}

/* Whether a job goes on; those that have failed and are kept are noted. */
static bool is_any_alive(struct watch *w)
{
	bool is_alive = false;
	size_t i;
	json_t *job;
	json_array_foreach (w->jobs, i, job) {
		bool has_ended = has_status(job, "concluded") || has_status(job, "null");
		const char *error = schema_text(job, "error");
		if (has_ended && error)
			json_object_set_new(w->failed, text(job, "id"), json_string(error));
		is_alive |= !has_ended;
	}
	return is_alive;
}

static int tell_failures(const struct watch *w)
{
	const char *id;
	json_t *error;
	fflush(stdout);
	json_object_foreach (w->failed, id, error)
		fprintf(stderr, "cairn: job '%s': %s\n", id, json_string_value(error));
	return json_object_size(w->failed) > 0 ? 1 : 0;
}

static void show(struct watch *w)
{
	if (w->is_terminal)
		draw_table(w);
	else
		print_changes(w);
	fflush(stdout);
}

static int follow(struct watch *w, struct error **errp)
{
	int r = 0;
	show(w);
	while (r >= 0 && is_any_alive(w)) {
		r = wait_a_moment(w, REFRESH_MS, errp);
		if (r >= 0)
			r = look(w, errp);
		if (r >= 0)
			show(w);
	}
	/* The last event may stand behind the last answer. */
	if (r >= 0)
		r = wait_a_moment(w, 0, errp);
	return r < 0 ? r : tell_failures(w);
}

static int check_all_there(const struct watch *w, struct error **errp)
{
	for (int i = 0; i < w->count; i++) {
		bool is_there = false;
		size_t k;
		json_t *job;
		json_array_foreach (w->jobs, k, job)
			is_there |= string_equal(schema_text(job, "id"), w->ids[i]);
		if (!is_there)
			return error_set(errp, -ENOENT, "There is no job '%s'", w->ids[i]);
	}
	return 0;
}

int client_jobs(struct session *s, int argc, char **argv, struct error **errp)
{
	bool watches = argc > 0 && (strcmp(argv[0], "--watch") == 0 || strcmp(argv[0], "-w") == 0);
	struct watch w = {
		.session = s,
		.ids = argv + watches,
		.count = argc - watches,
		.seen = json_object(),
		.failed = json_object(),
		.is_terminal = isatty(STDOUT_FILENO),
	};
	int r = look(&w, errp);
	if (r >= 0)
		r = check_all_there(&w, errp);
	if (r >= 0 && watches) {
		r = follow(&w, errp);
	} else if (r >= 0) {
		w.is_terminal = false;
		print_changes(&w);
	}
	json_release(w.jobs);
	json_release(w.seen);
	json_release(w.failed);
	return r;
}
