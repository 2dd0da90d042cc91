/* SPDX-License-Identifier: MIT */
/*
 * Trials. The guest's life is simulated once; crashes are cut from its record.
 */
#include "tests/sim/trial.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "block/driver.h"
#include "tests/sim/image_check.h"
#include "tests/sim/world.h"

/* Events before a crash that are printed with its fault. */
#define TRACE_EVENTS 40

struct trial {
	struct plan plan;
	const struct trial_options *options;
	struct trial_stats *stats;
	struct sim_store *store; /* of the present life */
	struct oracle *oracle;
	uint64_t sectors, found_sectors; /* the image's size in this life at first; after the crash */
	uint64_t *initial; /* numbers, by sector, with which the present life began */
	uint64_t *found;   /* and those that the last crash left */
	uint64_t position; /* of the crash that is judged */
	struct top *tops;  /* of the present life: which disk was the active image when */
	size_t top_count;
	struct backup_copy *backups; /* of the present life */
	size_t backup_count;
	struct kept_snapshot *kept; /* of the present life */
	size_t kept_count;
	char top[32];      /* with which the present life began */
	unsigned life;
	char *fault;
};

/* More than the image ever has. */
static uint64_t sector_count(const struct trial *t)
{
	return t->plan.size_max / SIM_SECTOR;
}

/* What a new image shows: its backing file, and zeroes beyond. */
static void set_first_content(struct trial *t)
{
	t->sectors = t->plan.size / SIM_SECTOR;
	for (uint64_t s = 0; s < t->sectors; s++)
		t->initial[s] = s < t->plan.backing_size / SIM_SECTOR ? world_backing_number
								       : ORACLE_ZERO;
}

static void make_image(struct trial *t)
{
	struct world w;
	world_init(&w, &t->plan, t->store, t->plan.seed);
	world_run(&w, world_create_image);
	world_finish(&w);
	t->fault = w.fault;
	sim_store_settle(t->store);
}

/* A life and its world. */
struct life {
	struct world world;
	const char *top;
	struct co_group manager;
};

static void co_fn manage(void *arg)
{
	struct life *life = arg;
	manager_live(&life->world);
	co_group_done(&life->manager);
}

static void co_fn keep(void *arg)
{
	struct life *life = arg;
	keeper_live(&life->world);
	co_group_done(&life->manager);
}

static void co_fn live(struct world *w)
{
	struct life *life = container_of(w, struct life, world);
	if (world_open(w, life->top) < 0)
		return;
	if (w->plan->has_bitmap)
		bitmaps_begin(w);
	co_group_init(&life->manager);
	if (w->plan->is_managed) {
		co_group_add(&life->manager);
		co_start(w->loop, manage, life);
	}
	if (w->plan->is_kept) {
		co_group_add(&life->manager);
		co_start(w->loop, keep, life);
	}
	guest_live(w);
	co_group_wait(&life->manager);
	world_close(w);
}

static void live_once(struct trial *t, uint64_t seed)
{
	struct sim_disk *disk = sim_store_find(t->store, t->top);
	struct life life = {.top = t->top};
	struct world *w = &life.world;
	world_init(w, &t->plan, t->store, seed);
	snprintf(w->bitmap_name, sizeof(w->bitmap_name), "life%u", t->life);
	w->oracle = t->oracle;
	w->tells = t->options->tells;
	if (t->plan.has_fault)
		sim_disk_add_fault(disk, &t->plan.fault);
	sim_disk_limit(disk, t->plan.limit);
	w->requests_left = t->plan.requests;
	world_run(w, live);
	t->tops = w->tops;
	t->top_count = w->top_count;
	w->tops = NULL;
	t->backups = w->backups;
	t->backup_count = w->backup_count;
	w->backups = NULL;
	t->kept = w->kept;
	t->kept_count = w->kept_count;
	w->kept = NULL;
	world_finish(w);
	/* With a disk that fails opening may fail. */
	bool opened = w->requests_left < t->plan.requests;
	if (w->fault && !opened && (t->plan.has_fault || t->plan.limit != SIM_DISK_MAX)) {
		free(w->fault);
		w->fault = NULL;
	}
	t->fault = w->fault;
	t->stats->requests += t->plan.requests - w->requests_left;
	t->stats->snapshots += w->snapshots;
	t->stats->commits += w->commits;
	t->stats->streams += w->streams;
	t->stats->mirrors += w->mirrors;
	t->stats->backups += w->backup_count;
	t->stats->events += sim_store_position(t->store);
}

/* The disk that holds the active image after the crash that is judged. */
static const char *top_after_crash(const struct trial *t)
{
	return t->top_count ? world_top_at(t->tops, t->top_count, t->position) : t->top;
}

/* The judgement of the remains by the driver itself. */

struct judge {
	struct world world;
	struct trial *trial;
};

static void judge_sector(struct judge *j, uint64_t sector, const uint8_t *p)
{
	struct trial *t = j->trial;
	uint64_t number;
	char *reason;
	if (!oracle_decode(sector, p, &number)) {
		world_fault(&j->world, xasprintf("sector %" PRIu64 " shows no write's data: %#"
						 PRIx64, sector, number));
		return;
	}
	t->found[sector] = number;
	if (!oracle_check_crash(t->oracle, t->position, sector, number, &reason))
		world_fault(&j->world, reason);
}

static void co_fn read_all(struct judge *j)
{
	struct world *w = &j->world;
	const uint64_t step = 256;
	uint64_t sectors = w->sectors;
	uint8_t *p = buffer_get(w->loop, step * SIM_SECTOR);
	for (uint64_t at = 0; at < sectors && !w->fault; at += step) {
		uint64_t count = MIN(step, sectors - at);
		int r = edge_read(w->edge, at * SIM_SECTOR, count * SIM_SECTOR, p, 0);
		if (r < 0)
			world_fault(w, xasprintf("sector %" PRIu64 " cannot be read: %s", at,
						 strerrorname_np(-r)));
		for (uint64_t i = 0; r >= 0 && i < count; i++)
			judge_sector(j, at + i, p + i * SIM_SECTOR);
	}
	buffer_put(w->loop, p, step * SIM_SECTOR);
}

static void note_finding(void *arg, const char *finding)
{
	struct world *w = arg;
	/* Leaks are no fault, and the judge of the disk knows which flags must be right. */
	if (w->plan->is_kept && (!strstr(finding, "ERROR") || strstr(finding, "OFLAG_COPIED")))
		return;
	world_fault(w, xasprintf("the driver's own check: %s", finding));
}

static void co_fn check_by_driver(struct world *w)
{
	struct image_check check = {0};
	struct error *error = NULL;
	int r = w->node->driver->check(w->node, 0, &check, &error);
	if (r < 0) {
		world_fault(w, xasprintf("the driver's own check failed: %s", error->message));
		error_free(error);
	} else if (check.corruptions || check.errors) {
		/* Once more, for the sentence. */
		check = (struct image_check){.report = note_finding, .report_arg = w};
		w->node->driver->check(w->node, 0, &check, NULL);
		if (!w->plan->is_kept || check.errors)
			world_fault(w, xstrdup("the driver's own check"));
	}
}

/* The size must be one that was asked for, and what lies beyond it must not be missing. */
static void judge_size(struct judge *j)
{
	struct trial *t = j->trial;
	struct world *w = &j->world;
	char *reason;
	if (!oracle_check_size(t->oracle, t->position, t->sectors, w->sectors, &reason))
		world_fault(w, reason);
	static const uint8_t zeroes[SIM_SECTOR];
	for (uint64_t s = w->sectors; s < sector_count(t) && !w->fault; s++)
		judge_sector(j, s, zeroes);
	t->found_sectors = w->sectors;
}

static void co_fn judge_open(struct world *w)
{
	struct judge *j = container_of(w, struct judge, world);
	if (world_open(w, top_after_crash(j->trial)) < 0)
		return;
	consumer_enter(&w->consumer);
	judge_size(j);
	read_all(j);
	if (!w->fault)
		check_by_driver(w);
	consumer_leave(&w->consumer);
	uint64_t right = 0;
	if (!w->fault && w->plan->has_bitmap) {
		char name[16];
		snprintf(name, sizeof(name), "life%u", j->trial->life);
		bitmaps_judge(w, name, j->trial->initial, &right);
	}
	j->trial->stats->bitmaps_right += right;
	world_close(w);
}

/* The backup shows the disk as it was at its moment. */
static void co_fn judge_backup(struct world *w)
{
	struct judge *j = container_of(w, struct judge, world);
	const struct trial *t = j->trial;
	const struct backup_copy *b = &t->backups[t->backup_count - 1];
	if (world_open(w, b->name) < 0)
		return;
	uint8_t *p = buffer_get(w->loop, SIM_SECTOR);
	consumer_enter(&w->consumer);
	for (uint64_t s = 0; s < w->sectors && !w->fault; s++) {
		uint64_t number;
		char *reason = NULL;
		int r = edge_read(w->edge, s * SIM_SECTOR, SIM_SECTOR, p, 0);
		if (r < 0 || !oracle_decode(s, p, &number))
			world_fault(w, xasprintf("sector %" PRIu64 " of the backup shows no "
						 "write's data", s));
		else if (!oracle_check_moment(t->oracle, b->from, b->until, s, number, &reason))
			world_fault(w, xasprintf("in the backup %s: %s", b->name, reason));
		free(reason);
	}
	consumer_leave(&w->consumer);
	buffer_put(w->loop, p, SIM_SECTOR);
	world_close(w);
}

/* NULL, or what is wrong with the youngest backup, if it was made before the crash. */
static char *judge_backups(struct trial *t, struct sim_store *remains)
{
	if (t->backup_count == 0 || t->backups[t->backup_count - 1].position > t->position)
		return NULL;
	struct judge j = {.trial = t};
	world_init(&j.world, &t->plan, remains, t->position);
	world_run(&j.world, judge_backup);
	world_finish(&j.world);
	t->stats->backups_right++;
	return j.world.fault;
}

/* Internal snapshots, by their moments. */
static void co_fn judge_kept(struct world *w)
{
	struct judge *j = container_of(w, struct judge, world);
	struct trial *t = j->trial;
	uint64_t right;
	keeper_judge(w, t->oracle, t->kept, t->kept_count, t->position, top_after_crash(t), &right);
	t->stats->kept_right += right;
}

static char *judge_snapshots(struct trial *t, struct sim_store *remains)
{
	struct judge j = {.trial = t};
	world_init(&j.world, &t->plan, remains, t->position);
	world_run(&j.world, judge_kept);
	world_finish(&j.world);
	return j.world.fault;
}

static char *judge_by_driver(struct trial *t, struct sim_store *remains)
{
	struct judge j = {.trial = t};
	world_init(&j.world, &t->plan, remains, t->position);
	world_run(&j.world, judge_open);
	world_finish(&j.world);
	return j.world.fault;
}

/* A fault in any image of the chain from @top down; NULL when all are good. */
static char *check_chain(struct sim_store *remains, const char *top, bool has_snapshots,
			 uint64_t *ret_leaks)
{
	char *fault = NULL, *name = xstrdup(top);
	*ret_leaks = 0;
	/* A chain is no longer than there are disks: that ends a loop. */
	struct sim_disk *any = NULL;
	while (!fault && name && (any = sim_store_next(remains, any))) {
		uint64_t leaks = 0;
		const struct sim_disk *disk = sim_store_find(remains, name);
		char *below = NULL;
		if (!disk) {
			fault = xasprintf("there is no disk %s", name);
		} else if (!string_equal(name, BACKING_NAME)) {
			char *sentence = image_check(disk, has_snapshots, &leaks);
			if (sentence)
				fault = xasprintf("%s: %s", name, sentence);
			else
				below = image_backing_name(disk);
			free(sentence);
		}
		*ret_leaks += leaks;
		free(name);
		name = below;
	}
	if (name && !fault)
		fault = xstrdup("the chain has a loop");
	free(name);
	return fault;
}

static bool write_out(const struct sim_disk *disk, const char *path)
{
	FILE *file = fopen(path, "w");
	if (!file)
		return false;
	uint64_t size = sim_disk_size(disk);
	char p[4096];
	bool good = true;
	for (uint64_t at = 0; good && at < size; at += sizeof(p)) {
		uint64_t bytes = MIN(sizeof(p), size - at);
		sim_disk_peek(disk, at, p, bytes);
		good = fwrite(p, bytes, 1, file) == 1;
	}
	return fclose(file) == 0 && good;
}

/* The code of qemu-img check of @top among the disks, written to @directory; -1: no answer. */
static int run_qemu_img(struct sim_store *remains, const char *top, const char *directory)
{
	struct sim_disk *disk = NULL;
	while ((disk = sim_store_next(remains, disk))) {
		_cleanup_free_ char *path = xasprintf("%s/%s", directory, sim_disk_name(disk));
		if (!write_out(disk, path))
			return -1;
	}
	_cleanup_free_ char *command =
		xasprintf("cd %s && qemu-img check -f qcow2 %s >log 2>&1", directory, top);
	int status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* NULL, or what qemu-img says against the image. */
static char *judge_by_qemu_img(struct trial *t, struct sim_store *remains)
{
	char directory[] = "/tmp/sim-qcow2-XXXXXX";
	if (!mkdtemp(directory))
		return xstrdup("no temporary directory for qemu-img");
	int code = run_qemu_img(remains, top_after_crash(t), directory);
	/* 0: good; 3: leaks, which a crash may leave; 127: not installed. */
	if (code != 0 && code != 3 && code != 127)
		return xasprintf("qemu-img check ends with code %d: see %s", code, directory);
	t->stats->qemu_img_checks += code != 127;
	_cleanup_free_ char *command = xasprintf("rm -r %s", directory);
	return system(command) == 0 ? NULL : xasprintf("could not remove %s", directory);
}

static char *judge(struct trial *t, struct sim_store *remains)
{
	uint64_t leaks;
	const char *top = top_after_crash(t);
	char *fault = check_chain(remains, top, t->plan.is_kept, &leaks);
	t->stats->leaks += leaks;
	t->stats->crashes++;
	/* A crash while a snapshot is taken leaves flags that qemu-img finds fault with. */
	bool sampled = t->options->qemu_img_each != 0 && !t->plan.is_kept &&
		       t->stats->crashes % t->options->qemu_img_each == 0;
	if (!fault && sampled && !image_is_dirty(sim_store_find(remains, top)))
		fault = judge_by_qemu_img(t, remains);
	if (!fault)
		fault = judge_by_driver(t, remains);
	if (!fault)
		fault = judge_backups(t, remains);
	if (!fault && t->kept_count > 0)
		fault = judge_snapshots(t, remains);
	/* Opening may have repaired, and must not have made anything worse. */
	if (!fault)
		fault = check_chain(remains, top, t->plan.is_kept, &leaks);
	if (!fault && image_is_dirty(sim_store_find(remains, top)))
		fault = xstrdup("still dirty after it was closed");
	return fault;
}

static void print_trace(const struct trial *t)
{
	uint64_t from = t->position > TRACE_EVENTS ? t->position - TRACE_EVENTS : 0;
	if (t->options->tells)
		from = 0;
	for (uint64_t i = from; i < MIN(t->position, sim_store_position(t->store)); i++) {
		char text[200];
		sim_store_describe(t->store, i, text, sizeof(text));
		printf("  event %" PRIu64 ": %s\n", i, text);
	}
}

/* Cut the record at many points, in order; keep the last remains for the next life. */
static struct sim_store *crash_often(struct trial *t, uint64_t *random)
{
	uint64_t events = sim_store_position(t->store);
	uint64_t crashes = t->options->crashes != 0 ? MIN(t->options->crashes, events + 1)
						    : events + 1;
	struct sim_store *remains = NULL;
	struct sim_replay *replay = sim_replay_create(t->store);
	for (uint64_t i = 0; i < crashes && !t->fault; i++) {
		/* One point in each of equal parts; the end is the last. */
		uint64_t begin = i * (events + 1) / crashes, end = (i + 1) * (events + 1) / crashes;
		t->position = i + 1 == crashes ? events
					       : begin + choose(random, MAX(end - begin, 1));
		sim_replay_to(replay, t->position);
		sim_store_destroy(remains);
		uint64_t fate = sim_random(random);
		remains = sim_replay_crash(replay, fate);
		t->fault = judge(t, remains);
		if (t->fault)
			printf("crash before event %" PRIu64 " of %" PRIu64 ", fate %#" PRIx64 "\n",
			       t->position, events, fate);
	}
	sim_replay_destroy(replay);
	/* The end of a life is no surprise: go on from somewhere inside it. */
	if (!t->fault && choose(random, 2)) {
		sim_store_destroy(remains);
		t->position = choose(random, events + 1);
		replay = sim_replay_create(t->store);
		sim_replay_to(replay, t->position);
		remains = sim_replay_crash(replay, sim_random(random));
		sim_replay_destroy(replay);
		t->fault = judge(t, remains);
	}
	return remains;
}

static void one_life(struct trial *t, unsigned life, uint64_t *random)
{
	t->life = life;
	t->oracle = oracle_create(t->store, sector_count(t));
	for (uint64_t s = 0; s < sector_count(t); s++)
		oracle_set_initial(t->oracle, s, t->initial[s]);
	live_once(t, t->plan.seed * 10 + life);
	t->position = sim_store_position(t->store);
	struct sim_store *remains = t->fault ? NULL : crash_often(t, random);
	if (t->fault)
		print_trace(t);
	oracle_destroy(t->oracle);
	free(t->backups);
	t->backups = NULL;
	t->backup_count = 0;
	free(t->kept);
	t->kept = NULL;
	t->kept_count = 0;
	if (t->fault) {
		free(t->tops);
		sim_store_destroy(remains);
		return;
	}
	const char *top = top_after_crash(t);
	if (top != t->top)
		snprintf(t->top, sizeof(t->top), "%s", top);
	free(t->tops);
	t->tops = NULL;
	t->top_count = 0;
	sim_store_destroy(t->store);
	t->store = remains;
	sim_store_settle(t->store);
	t->sectors = t->found_sectors;
	memcpy(t->initial, t->found, sector_count(t) * sizeof(*t->initial));
}

bool trial_run(uint64_t seed, const struct trial_options *options, struct trial_stats *stats)
{
	struct trial t = {
		.plan = plan_make(seed, options->faults_allowed),
		.options = options,
		.stats = stats,
		.store = sim_store_create(),
		.top = IMAGE_NAME,
	};
	uint64_t random = seed ^ UINT64_C(0xc4a5);
	t.initial = xalloc(sector_count(&t), sizeof(*t.initial));
	t.found = xalloc(sector_count(&t), sizeof(*t.found));
	set_first_content(&t);
	if (options->tells)
		plan_print(&t.plan);
	make_image(&t);
	unsigned life = 0;
	for (; life < t.plan.lives && !t.fault; life++)
		one_life(&t, life, &random);
	if (t.fault) {
		plan_print(&t.plan);
		printf("FAULT in life %u of seed %" PRIu64 ": %s\n", life, seed, t.fault);
	}
	bool good = !t.fault;
	free(t.fault);
	free(t.initial);
	free(t.found);
	sim_store_destroy(t.store);
	return good;
}
