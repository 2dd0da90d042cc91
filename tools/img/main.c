/* SPDX-License-Identifier: MIT */
/*
 * cairn-img: from the arguments to the subcommand and its exit code.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/detached.h"
#include "base/log.h"
#include "base/util.h"
#include "block/graph.h"
#include "drivers/table.h"
#include "tools/img/img.h"

struct run {
	const struct img_command *command;
	int argc;
	char **argv;
	int status;
};

static void co_fn run_command(void *arg)
{
	struct run *run = arg;

	run->status = run->command->run(run->argc, run->argv);
}

/* Whoever started us without standard streams must not find its messages in an image. */
static void open_standard_streams(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

static void on_store_failed(const struct error *error)
{
	img_warn("%s", error->message);
}

static const struct graph_observer observer = {.store_failed = on_store_failed};

static int start(void)
{
	_cleanup_error_ struct error *error = NULL;

	the_img.loop = loop_new_uv(&error);
	if (!the_img.loop)
		return img_error("%s", error->message);
	the_img.graph = graph_new(the_img.loop, driver_table);
	the_img.graph->observer = &observer;
	return 0;
}

static void stop(void)
{
	img_objects_delete();
	graph_free(the_img.graph);
	loop_free(the_img.loop);
}

static int run_named(const char *name, int argc, char **argv)
{
	struct run run = {.argc = argc, .argv = argv};

	for (const struct img_command *c = img_commands; c->name; c++) {
		if (strcmp(c->name, name) == 0)
			run.command = c;
	}
	if (!run.command)
		return img_misuse("Command not found: %s", name);
	loop_run_coroutine(the_img.loop, run_command, &run);
	return run.status;
}

static int run(int argc, char **argv);

static bool is_trace_option(const char *word)
{
	return strncmp(word, "-T", 2) == 0 || strcmp(word, "--trace") == 0 ||
	       strncmp(word, "--trace=", strlen("--trace=")) == 0;
}

/* There are no trace points; who asks for one is told, and gets the rest of what is asked for. */
static int run_traced(int argc, char **argv)
{
	char *word = argv[1];
	bool is_joined = strchr(word, '=') || (word[1] == 'T' && word[2]);
	int taken = is_joined ? 1 : 2;

	if (argc < 1 + taken)
		return img_misuse("missing argument for option '%s'", word);
	img_warn("this program has no trace points; '%s' has no effect", argv[taken]);
	argv[taken] = argv[0];
	return run(argc - taken, argv + taken);
}

static int run(int argc, char **argv)
{
	if (argc < 2)
		return img_misuse("Not enough arguments");
	const char *word = argv[1];

	if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0)
		img_help();
	else if (strcmp(word, "-V") == 0 || strcmp(word, "--version") == 0)
		img_version();
	else if (is_trace_option(word))
		return run_traced(argc, argv);
	else if (word[0] == '-')
		return img_misuse("unrecognized option '%s'", word);
	else
		return run_named(word, argc - 1, argv + 1);
	return 0;
}

/* What could not be printed is a failure, too. */
static int close_output(int status)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		return status ? status : img_error("Could not write to standard output");
	return status;
}

int main(int argc, char **argv)
{
	log_set_program("cairn-img");
	signal(SIGPIPE, SIG_IGN);
	open_standard_streams();
	int status = start();

	if (status != 0)
		return status;
	status = close_output(run(argc, argv));
	stop();
	detached_exit(status);
}
