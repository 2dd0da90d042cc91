/* SPDX-License-Identifier: MIT */
/*
 * A block node by hand: opens what a text describes, does what it is told, and
 * says what went wrong. For test scripts; the commands look like qemu-io's.
 *
 *   blockio [-r] [-C CREATE]... [-c COMMAND]... [OPTIONS]
 *
 * OPTIONS is what --blockdev takes, as key=value text or JSON; CREATE is what
 * blockdev-create takes. Without -c, commands come from standard input, one to a
 * line. The exit code is 1 when anything failed.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/loop.h"
#include "block/consumer.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/open.h"
#include "drivers/table.h"
#include "schema/schema.h"

#define ARGUMENTS_MAX 16
#define COMMANDS_MAX 1024

static struct {
	struct loop *loop;
	struct graph *graph;
	struct node *node;
	struct edge *edge;
	struct consumer consumer;
	struct co_group background;
	bool read_only, failed;
	const char *options;
	const char *creations[16], *commands[COMMANDS_MAX];
	unsigned creation_count, command_count;
} io;

static int fail(const char *what, int r, struct error *error)
{
	printf("%s failed: %s\n", what, error ? error->message : strerror(-r));
	error_free(error);
	io.failed = true;
	return r;
}

/* One command: its letters, a pattern, and what follows. */
struct command {
	unsigned letters; /* bit per letter a-z that was given as an option */
	bool has_pattern;
	int pattern;
	char *text, *arguments[ARGUMENTS_MAX];
	unsigned count;
};

static bool has_letter(const struct command *c, char letter)
{
	return c->letters >> (letter - 'a') & 1;
}

static uint64_t parse_size(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 0);

	switch (*end) {
	case 'k':
	case 'K':
		return n << 10;
	case 'M':
		return n << 20;
	case 'G':
		return n << 30;
	case 'T':
		return n << 40;
	default:
		return n;
	}
}

static uint64_t argument_size(const struct command *c, unsigned i)
{
	return i < c->count ? parse_size(c->arguments[i]) : 0;
}

static struct command *parse(const char *line)
{
	struct command *c = NEW(struct command);
	char *save = NULL;

	c->text = xstrdup(line);
	for (char *word = strtok_r(c->text, " \t\n", &save); word && c->count < ARGUMENTS_MAX;
	     word = strtok_r(NULL, " \t\n", &save)) {
		if (word[0] != '-' || c->count != 1) {
			c->arguments[c->count++] = word;
			continue;
		}
		for (const char *letter = word + 1; *letter; letter++) {
			if (*letter >= 'a' && *letter <= 'z')
				c->letters |= 1u << (*letter - 'a');
			if (*letter != 'P')
				continue;
			word = strtok_r(NULL, " \t\n", &save);
			c->has_pattern = true;
			c->pattern = word ? strtol(word, NULL, 0) : 0;
			break;
		}
	}
	return c;
}

static void command_free(struct command *c)
{
	free(c->text);
	free(c);
}

static unsigned request_flags(const struct command *c)
{
	unsigned flags = 0;

	if (has_letter(c, 'f'))
		flags |= REQUEST_FUA;
	if (has_letter(c, 'u'))
		flags |= REQUEST_MAY_UNMAP;
	if (has_letter(c, 'n'))
		flags |= REQUEST_NO_FALLBACK;
	if (has_letter(c, 'c'))
		flags |= REQUEST_COMPRESSED;
	return flags;
}

static int co_fn do_write(const struct command *c)
{
	uint64_t offset = argument_size(c, 1), bytes = argument_size(c, 2);

	if (has_letter(c, 'z'))
		return edge_zero(io.edge, offset, bytes, request_flags(c));
	void *p = buffer_get(io.loop, MAX(bytes, 1));

	memset(p, c->has_pattern ? c->pattern : 0xcd, bytes);
	int r = edge_write(io.edge, offset, bytes, p, request_flags(c));

	buffer_put(io.loop, p, MAX(bytes, 1));
	return r;
}

static int verify(const struct command *c, const uint8_t *p, uint64_t offset, uint64_t bytes)
{
	for (uint64_t i = 0; c->has_pattern && i < bytes; i++) {
		if (p[i] == (uint8_t)c->pattern)
			continue;
		printf("Pattern verification failed at offset %" PRIu64 ": 0x%02x\n", offset + i,
		       p[i]);
		return -EILSEQ;
	}
	return 0;
}

static int co_fn do_read(const struct command *c)
{
	uint64_t offset = argument_size(c, 1), bytes = argument_size(c, 2);
	void *p = buffer_get(io.loop, MAX(bytes, 1));
	int r = edge_read(io.edge, offset, bytes, p, 0);

	if (r == 0)
		r = verify(c, p, offset, bytes);
	buffer_put(io.loop, p, MAX(bytes, 1));
	return r;
}

static int co_fn do_discard(const struct command *c)
{
	return edge_discard(io.edge, argument_size(c, 1), argument_size(c, 2));
}

static int co_fn do_flush(const struct command *c)
{
	return edge_flush(io.edge);
}

static int co_fn do_truncate(const struct command *c)
{
	static const char *const names[] = {"off", "metadata", "falloc", "full"};
	enum preallocation preallocation = PREALLOCATION_OFF;
	struct error *error = NULL;

	for (unsigned i = 0; c->count > 2 && i < ARRAY_SIZE(names); i++) {
		if (strcmp(c->arguments[2], names[i]) == 0)
			preallocation = i;
	}
	int r = edge_truncate(io.edge, argument_size(c, 1), preallocation, &error);

	if (r < 0)
		fail("truncate", r, error);
	return 0;
}

static int co_fn do_map(const struct command *c)
{
	for (uint64_t offset = 0; offset < io.node->size;) {
		struct extent x;
		unsigned depth;
		int r = node_status_above(io.node, NULL, offset, io.node->size - offset, &x, &depth);

		if (r < 0)
			return r;
		printf("%" PRIu64 " %" PRIu64 " depth=%u%s%s\n", offset, x.bytes, depth,
		       x.flags & EXTENT_DATA ? " data" : "", x.flags & EXTENT_ZERO ? " zero" : "");
		offset += x.bytes;
	}
	return 0;
}

static void print_finding(void *arg, const char *finding)
{
	printf("%s\n", finding);
}

static int co_fn do_check(const struct command *c)
{
	struct image_check result = {.report = print_finding};
	struct error *error = NULL;
	unsigned fix = 0;

	if (!io.node->driver->check)
		return -ENOTSUP;
	if (c->count > 1)
		fix = strcmp(c->arguments[1], "all") == 0 ? IMAGE_FIX_LEAKS | IMAGE_FIX_ERRORS
							  : IMAGE_FIX_LEAKS;
	int r = io.node->driver->check(io.node, fix, &result, &error);

	if (r < 0) {
		fail("check", r, error);
		return 0;
	}
	printf("corruptions=%" PRIu64 " leaks=%" PRIu64 " errors=%" PRIu64 " corruptions-fixed=%"
	       PRIu64 " leaks-fixed=%" PRIu64 " allocated=%" PRIu64 "/%" PRIu64 " compressed=%"
	       PRIu64 "\n", result.corruptions, result.leaks, result.errors,
	       result.corruptions_fixed, result.leaks_fixed, result.allocated_clusters,
	       result.total_clusters, result.compressed_clusters);
	if (result.corruptions + result.leaks + result.errors > 0)
		io.failed = true;
	return 0;
}

/* Write the content to a plain file. */
static int co_fn do_dump(const struct command *c)
{
	enum { PART = 1 << 20 };
	FILE *f = c->count > 1 ? fopen(c->arguments[1], "wb") : NULL;

	if (!f)
		return -EINVAL;
	void *p = buffer_get(io.loop, PART);
	int r = 0;

	for (uint64_t offset = 0; r == 0 && offset < io.node->size; offset += PART) {
		size_t bytes = MIN(PART, io.node->size - offset);

		r = edge_read(io.edge, offset, bytes, p, 0);
		if (r == 0 && fwrite(p, 1, bytes, f) != bytes)
			r = -EIO;
	}
	buffer_put(io.loop, p, PART);
	if (fclose(f) != 0 && r == 0)
		r = -EIO;
	return r;
}

static int co_fn do_backing(const struct command *c)
{
	struct error *error = NULL;

	if (!io.node->driver->change_backing)
		return -ENOTSUP;
	int r = io.node->driver->change_backing(io.node, c->count > 1 ? c->arguments[1] : NULL,
						c->count > 2 ? c->arguments[2] : NULL, &error);

	if (r < 0)
		fail("backing", r, error);
	return 0;
}

static int co_fn do_info(const struct command *c)
{
	struct driver_info info = {0};

	if (io.node->driver->info)
		io.node->driver->info(io.node, &info);
	printf("size=%" PRIu64 " cluster=%" PRIu64 " dirty=%d snapshots=%d backing=%s,%s\n",
	       io.node->size, info.cluster_size, info.is_dirty, info.has_snapshots,
	       io.node->backing_name ? io.node->backing_name : "",
	       io.node->backing_format ? io.node->backing_format : "");
	return 0;
}

static int co_fn do_wait(const struct command *c)
{
	co_group_wait(&io.background);
	return 0;
}

static int co_fn do_sleep(const struct command *c)
{
	co_sleep_ns(argument_size(c, 1) * 1000000);
	return 0;
}

static const struct {
	const char *name;
	int co_fn (*run)(const struct command *c);
	bool background;
} verbs[] = {
	{"write", do_write, false},       {"read", do_read, false},
	{"aio_write", do_write, true},    {"aio_read", do_read, true},
	{"discard", do_discard, false},   {"aio_discard", do_discard, true},
	{"flush", do_flush, false},       {"aio_flush", do_flush, true},
	{"truncate", do_truncate, false}, {"map", do_map, false},
	{"check", do_check, false},       {"dump", do_dump, false},
	{"backing", do_backing, false},   {"info", do_info, false},
	{"wait", do_wait, false},         {"sleep", do_sleep, false},
};

struct execution {
	struct command *command;
	int co_fn (*run)(const struct command *c);
};

static void co_fn execute(struct execution *e)
{
	int r = e->run(e->command);

	if (r < 0)
		fail(e->command->arguments[0], r, NULL);
	command_free(e->command);
	free(e);
}

static void co_fn execute_in_background(void *arg)
{
	execute(arg);
	co_group_done(&io.background);
}

static void co_fn run_line(const char *line)
{
	struct command *c = parse(line);

	for (unsigned i = 0; c->count > 0 && i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(c->arguments[0], verbs[i].name) != 0)
			continue;
		struct execution *e = NEW(struct execution);

		*e = (struct execution){c, verbs[i].run};
		if (!verbs[i].background) {
			execute(e);
			return;
		}
		co_group_add(&io.background);
		co_start(io.loop, execute_in_background, e);
		return;
	}
	if (c->count > 0)
		fail(c->arguments[0], -ENOSYS, NULL);
	command_free(c);
}

static int co_fn create(const char *text)
{
	struct error *error = NULL;
	void *options;
	int r = schema_decode_keyval(&blockdev_create_options_type, text, "driver", &options, &error);

	if (r < 0)
		return fail("create", r, error);
	const struct blockdev_create_options *o = options;
	const struct driver *d = graph_find_driver(io.graph, blockdev_driver_name(o->driver));

	r = d && d->create ? d->create(io.graph, o, &error) : -ENOTSUP;
	schema_free(&blockdev_create_options_type, options);
	return r < 0 ? fail("create", r, error) : 0;
}

static char *describe(const struct consumer *c)
{
	return xstrdup("blockio");
}

static const struct consumer_ops consumer_ops = {.describe = describe};

static int co_fn attach(struct error **errp)
{
	unsigned permissions = PERM_CONSISTENT_READ;

	if (!io.node->read_only)
		permissions |= PERM_WRITE | PERM_RESIZE;
	consumer_init(&io.consumer, io.graph, &consumer_ops);
	return edge_attach_consumer(&io.consumer, "root", io.node, permissions, PERM_ALL, &io.edge,
				    errp);
}

static int co_fn open_node(void)
{
	struct error *error = NULL;
	void *options;
	int r = schema_decode_keyval(&blockdev_options_type, io.options, "driver", &options, &error);

	if (r < 0)
		return fail("open", r, error);
	if (io.read_only) {
		((struct blockdev_options *)options)->has_read_only = true;
		((struct blockdev_options *)options)->read_only = true;
	}
	graph_change_begin(io.graph);
	r = node_open(io.graph, options, &io.node, &error);
	blockdev_options_free(options);
	if (r == 0)
		r = attach(&error);
	graph_change_end(io.graph);
	return r < 0 ? fail("open", r, error) : 0;
}

static void co_fn run_commands(void)
{
	char *line = NULL;
	size_t capacity = 0;

	consumer_enter(&io.consumer);
	for (unsigned i = 0; i < io.command_count; i++)
		run_line(io.commands[i]);
	while (io.command_count == 0 && getline(&line, &capacity, stdin) >= 0) {
		run_line(line);
		fflush(stdout);
	}
	free(line);
	co_group_wait(&io.background);
	consumer_leave(&io.consumer);
}

static void co_fn run(void *arg)
{
	for (unsigned i = 0; i < io.creation_count; i++) {
		if (create(io.creations[i]) < 0)
			return;
	}
	if (!io.options)
		return;
	if (open_node() == 0)
		run_commands();
	graph_change_begin(io.graph);
	if (io.edge) {
		edge_detach(io.edge);
		consumer_finish(&io.consumer);
	}
	node_unref(io.node);
	graph_change_end(io.graph);
}

int main(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "rC:c:")) != -1) {
		if (option == 'r')
			io.read_only = true;
		else if (option == 'C' && io.creation_count < ARRAY_SIZE(io.creations))
			io.creations[io.creation_count++] = optarg;
		else if (option == 'c' && io.command_count < COMMANDS_MAX)
			io.commands[io.command_count++] = optarg;
		else
			return 2;
	}
	io.options = argv[optind];
	io.loop = loop_new_uv(NULL);
	if (!io.loop)
		return 2;
	io.graph = graph_new(io.loop, driver_table);
	co_group_init(&io.background);
	loop_run_coroutine(io.loop, run, NULL);
	graph_free(io.graph);
	loop_free(io.loop);
	return io.failed;
}
