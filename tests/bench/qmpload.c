/* SPDX-License-Identifier: MIT */
/*
 * qmpload: sends one QMP command over and over and prints what came of it as
 * JSON.
 *
 * It keeps --depth commands unanswered over one connection: 1 measures round
 * trips, more measures pipelining. Answers are told apart by their newlines.
 */
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "histogram.h"
#include "server_usage.h"

#define DEPTH_MAX 1000
#define COMMAND_MAX 1024
#define NS_PER_S UINT64_C(1000000000)

static struct {
	const char *path, *command;
	unsigned depth;
	double seconds;
	int server_pid;
} options = {.command = "query-version", .depth = 1, .seconds = 2};

static int fd;
static uint64_t sent_at[DEPTH_MAX]; /* a ring: answers come in order */
static uint64_t sent, answered, errors;
static struct histogram latency;

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void connect_to_monitor(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	if (strlen(options.path) >= sizeof(un.sun_path))
		errx(1, "path is too long: %s", options.path);
	strcpy(un.sun_path, options.path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
		err(1, "connect to %s", options.path);
}

static void send_all(const char *p, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = send(fd, p, bytes, MSG_NOSIGNAL);
		if (n < 0)
			err(1, "send");
		p += n;
		bytes -= (size_t)n;
	}
}

/* Receive at least one byte and return how many lines ended; errors among them are counted. */
static unsigned receive_lines(void)
{
	static char buffer[256 << 10];
	ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
	if (n <= 0)
		errx(1, "the daemon closed the monitor");
	unsigned lines = 0;
	for (char *p = buffer; (p = memchr(p, '\n', (size_t)(buffer + n - p))); p++)
		lines++;
	if (memmem(buffer, (size_t)n, "\"error\"", 7))
		errors++;
	return lines;
}

static void wait_lines(unsigned lines)
{
	while (lines > 0) {
		unsigned n = receive_lines();
		lines -= n < lines ? n : lines;
	}
}

static void negotiate(void)
{
	static const char capabilities[] = "{\"execute\": \"qmp_capabilities\"}\n";
	wait_lines(1);
	send_all(capabilities, strlen(capabilities));
	wait_lines(1);
}

/* Send so many commands at once. */
static void send_commands(const char *one, unsigned count)
{
	static char batch[DEPTH_MAX * COMMAND_MAX];
	size_t length = strlen(one), bytes = 0;
	uint64_t now = now_ns();
	for (unsigned i = 0; i < count; i++) {
		memcpy(batch + bytes, one, length);
		bytes += length;
		sent_at[sent++ % DEPTH_MAX] = now;
	}
	send_all(batch, bytes);
}

/* Keep the daemon busy until @end_ns. */
static void run_until(const char *one, uint64_t end_ns)
{
	uint64_t now;
	do {
		if (sent - answered < options.depth)
			send_commands(one, options.depth - (unsigned)(sent - answered));
		/* Whole batches: a hundred pipelined commands are a hundred commands at once. */
		while (answered < sent) {
			unsigned lines = receive_lines();
			now = now_ns();
			for (; lines > 0; lines--)
				histogram_add(&latency, now - sent_at[answered++ % DEPTH_MAX]);
		}
		now = now_ns();
	} while (now < end_ns);
}

static void usage(void)
{
	fputs("usage: qmpload [--command NAME] [--depth N] [--seconds S] [--server-pid PID] SOCKET\n",
	      stderr);
	exit(2);
}

static void parse_options(int argc, char **argv)
{
	static const struct option names[] = {
		{"command", 1, NULL, 'c'}, {"depth", 1, NULL, 'd'}, {"seconds", 1, NULL, 's'},
		{"server-pid", 1, NULL, 'p'}, {0},
	};
	int c;
	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (c) {
		case 'c': options.command = optarg; break;
		case 'd': options.depth = (unsigned)atoi(optarg); break;
		case 's': options.seconds = atof(optarg); break;
		case 'p': options.server_pid = atoi(optarg); break;
		default: usage();
		}
	}
	if (optind + 1 != argc)
		usage();
	if (options.depth < 1 || options.depth > DEPTH_MAX || strlen(options.command) > 900)
		errx(2, "bad depth or command");
	options.path = argv[optind];
}

int main(int argc, char **argv)
{
	char one[COMMAND_MAX];

	parse_options(argc, argv);
	snprintf(one, sizeof(one), "{\"execute\": \"%s\"}\n", options.command);
	connect_to_monitor();
	negotiate();
	run_until(one, now_ns() + NS_PER_S / 5); /* warm up */

	memset(&latency, 0, sizeof(latency));
	double cpu_s = options.server_pid ? server_cpu_s(options.server_pid) : 0;
	uint64_t begin = now_ns(), before = answered;
	run_until(one, begin + (uint64_t)(options.seconds * 1e9));
	double seconds = (double)(now_ns() - begin) / 1e9, commands = (double)(answered - before);

	printf("{\"command\": \"%s\", \"depth\": %u, \"seconds\": %.3f, \"commands_per_s\": %.0f, "
	       "\"errors\": %" PRIu64 ", \"p50_us\": %.1f, \"p99_us\": %.1f",
	       options.command, options.depth, seconds, commands / seconds, errors,
	       (double)histogram_percentile(&latency, 0.5) / 1e3,
	       (double)histogram_percentile(&latency, 0.99) / 1e3);
	if (options.server_pid) {
		cpu_s = server_cpu_s(options.server_pid) - cpu_s;
		printf(", \"server_cpu_us_per_command\": %.3f, \"server_rss_kib\": %lu",
		       cpu_s * 1e6 / commands, server_rss_kib(options.server_pid));
	}
	puts("}");
	return errors ? 1 : 0;
}
