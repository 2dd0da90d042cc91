/* SPDX-License-Identifier: MIT */
/*
 * The deterministic simulation of qcow2: the driver, unchanged, on simulated
 * disks, with crashes.
 *
 *	sim_qcow2 [--seed N] [--runs N] [--seconds N] [--crashes N] [--qemu-img N]
 *	          [--no-faults] [--trace]
 *
 * Runs seeds from N (1) on, until so many runs (unlimited with --seconds, else
 * 100) or seconds are over, or one fails. --crashes is how many points of each
 * life are tried (30; 0: all of them). --qemu-img has qemu-img check one in so
 * many remains (0: none). --trace prints every request and event. A failure
 * prints its seed: sim_qcow2 --seed SEED --runs 1 --trace shows it again, with
 * the same other options.
 */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/trial.h"

struct command_line {
	uint64_t seed, runs, seconds;
	struct trial_options trial;
};

static void usage(void)
{
	fprintf(stderr, "usage: sim_qcow2 [--seed N] [--runs N] [--seconds N] [--crashes N] "
			"[--qemu-img N] [--no-faults] [--trace]\n");
	exit(2);
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 0);
	if (end == text || *end)
		usage();
	return n;
}

static struct command_line parse(int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", required_argument, NULL, 's'},    {"runs", required_argument, NULL, 'r'},
		{"seconds", required_argument, NULL, 't'}, {"crashes", required_argument, NULL, 'c'},
		{"qemu-img", required_argument, NULL, 'q'},{"no-faults", no_argument, NULL, 'n'},
		{"trace", no_argument, NULL, 'v'},         {0},
	};
	struct command_line c = {
		.seed = 1,
		.trial = {.crashes = 30, .faults_allowed = true},
	};
	int o;
	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 's': c.seed = number(optarg); break;
		case 'r': c.runs = number(optarg); break;
		case 't': c.seconds = number(optarg); break;
		case 'c': c.trial.crashes = number(optarg); break;
		case 'q': c.trial.qemu_img_each = number(optarg); break;
		case 'n': c.trial.faults_allowed = false; break;
		case 'v': c.trial.tells = true; break;
		default: usage();
		}
	}
	if (optind != argc)
		usage();
	if (c.runs == 0)
		c.runs = c.seconds == 0 ? 100 : UINT64_MAX;
	return c;
}

static uint64_t current_seed;

/* An assertion or a wild pointer: tell which seed it was. */
static void die(int signal_number)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "\nsignal %d in seed %" PRIu64 "\n", signal_number,
			 current_seed);
	if (write(STDERR_FILENO, text, (size_t)n) < 0)
		_exit(1);
	raise(signal_number); /* SA_RESETHAND: ends the program */
}

static void catch_signals(void)
{
	static char stack[65536]; /* a coroutine's may be what overflowed */
	stack_t alternative = {.ss_sp = stack, .ss_size = sizeof(stack)};
	sigaltstack(&alternative, NULL);
	struct sigaction action = {.sa_handler = die, .sa_flags = SA_ONSTACK | SA_RESETHAND};
	static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE};
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
}

static uint64_t now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec;
}

int main(int argc, char **argv)
{
	struct command_line c = parse(argc, argv);
	struct trial_stats stats = {0};
	catch_signals();
	uint64_t begin_s = now_s(), runs = 0;
	bool good = true;
	while (good && runs < c.runs && (c.seconds == 0 || now_s() - begin_s < c.seconds)) {
		current_seed = c.seed + runs;
		good = trial_run(current_seed, &c.trial, &stats);
		runs++;
	}
	printf("%" PRIu64 " seeds, %" PRIu64 " requests, %" PRIu64 " snapshots, %" PRIu64
	       " commits, %" PRIu64 " streams, %" PRIu64 " mirrors, %" PRIu64 " backups\n",
	       runs, stats.requests, stats.snapshots, stats.commits, stats.streams, stats.mirrors,
	       stats.backups);
	printf("%" PRIu64 " events, %" PRIu64 " crashes, %" PRIu64 " bitmaps, %" PRIu64 " backups and %"
	       PRIu64 " internal snapshots right after them, %" PRIu64 " checks by qemu-img, %" PRIu64
	       " clusters leaked\n",
	       stats.events, stats.crashes, stats.bitmaps_right, stats.backups_right, stats.kept_right,
	       stats.qemu_img_checks, stats.leaks);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
