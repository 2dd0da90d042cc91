/* SPDX-License-Identifier: MIT */
/*
 * cairn: from the arguments to a command, of the daemon's or of our own.
 */
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "tools/client/client.h"

#define DEFAULT_SOCKET "/run/cairn/monitor.sock"

/* What has no summary is not for people. */
const struct client_verb client_verbs[] = {
	{"commands", "[TEXT]", "list the daemon's commands with TEXT in their names, or one's arguments",
	 client_commands},
	{"complete", "WORD...", NULL, client_complete},
	{"events", "[NAME...]", "print events as they come", client_events},
	{"graph", "[--dot]", "draw the nodes and who uses them", client_graph},
	{"jobs", "[-w | --watch] [ID...]", "show jobs, and watch them until they end", client_jobs},
	{NULL, NULL, NULL, NULL},
};

static void print_help(void)
{
	puts("usage: cairn [-s SOCKET] COMMAND [ARGUMENT...]\n"
	     "Run a command of a storage daemon, and show what it does.\n"
	     "\n"
	     "Commands of cairn's own:");
	for (const struct client_verb *v = client_verbs; v->name; v++) {
		if (v->summary)
			printf("  %-8s %-22s %s\n", v->name, v->usage, v->summary);
	}
	puts("\n"
	     "Any other COMMAND is one of the daemon's. Its arguments are written key=value, with dots\n"
	     "into objects and lists, or as one JSON object:\n"
	     "  cairn blockdev-add driver=qcow2 node-name=disk file.driver=file file.filename=a.qcow2\n"
	     "\n"
	     "  -s, --socket SOCKET   the daemon's monitor; else $CAIRN_SOCKET, else\n"
	     "                        " DEFAULT_SOCKET "\n"
	     "  -h, --help            print this\n"
	     "  -V, --version         print the version\n"
	     "\n"
	     "The manual page cairn(1) says more.");
}

static int misuse(const char *what, const char *word)
{
	fprintf(stderr, "cairn: %s%s\nTry 'cairn --help' for more information\n", what, word);
	return 1;
}

/* Run a command of the daemon's and print what it returns, if that is something. */
static int run_daemons(struct session *s, const char *command, int argc, char **argv,
		       struct error **errp)
{
	struct schema schema;
	json_t *arguments = NULL, *result _cleanup_json_ = NULL;
	int r = schema_get(s, &schema, errp);
	if (r >= 0 && !schema_arguments(&schema, command)) {
		r = error_set(errp, -ENOENT, "The daemon has no command '%s'", command);
		error_hint(errp, "'cairn commands' lists what it has.");
	}
	if (r >= 0)
		r = words_to_arguments(&schema, command, argv, argc, &arguments, errp);
	schema_finish(&schema);
	if (r >= 0)
		r = session_execute(s, command, arguments, &result, errp);
	bool is_nothing = json_is_object(result) && json_object_size(result) == 0;
	if (r >= 0 && !is_nothing) {
		char *text _cleanup_free_ = text_json(result, true);
		puts(text);
	}
	return r;
}

static int run_command(struct session *s, int argc, char **argv, struct error **errp)
{
	for (const struct client_verb *v = client_verbs; v->name; v++) {
		if (strcmp(argv[0], v->name) == 0)
			return v->run(s, argc - 1, argv + 1, errp);
	}
	return run_daemons(s, argv[0], argc - 1, argv + 1, errp);
}

static int run(const char *path, int argc, char **argv)
{
	struct session *s = NULL;
	struct error *error _cleanup_error_ = NULL;
	int r = session_open(path, &s, &error);
	if (r >= 0)
		r = run_command(s, argc, argv, &error);
	session_close(s);
	if (r >= 0)
		return r;
	char *text _cleanup_free_ = error_text(error);
	fflush(stdout);
	fprintf(stderr, "cairn: %s\n", text);
	return 1;
}

int main(int argc, char **argv)
{
	const char *path = getenv("CAIRN_SOCKET");
	int i = 1;
	setlocale(LC_ALL, "");
	for (; i < argc && *argv[i] == '-'; i++) {
		const char *word = argv[i];
		if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) {
			print_help();
			return 0;
		}
		if (strcmp(word, "-V") == 0 || strcmp(word, "--version") == 0) {
			puts("cairn version " CAIRN_VERSION);
			return 0;
		}
		if (string_starts_with(word, "--socket=")) {
			path = word + strlen("--socket=");
		} else if (strcmp(word, "-s") != 0 && strcmp(word, "--socket") != 0) {
			return misuse("unknown option ", word);
		} else if (++i == argc) {
			return misuse("an argument is missing for ", word);
		} else {
			path = argv[i];
		}
	}
	if (i == argc)
		return misuse("a command is missing", "");
	return run(path && *path ? path : DEFAULT_SOCKET, argc - i, argv + i);
}
