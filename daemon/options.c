/* SPDX-License-Identifier: MIT */
/*
 * The command line. Control thread; main's coroutine.
 */
#include "daemon/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "daemon/chardev.h"
#include "daemon/daemon.h"
#include "daemon/monitor.h"
#include "daemon/nbd.h"
#include "daemon/object.h"
#include "schema/commands.h"
#include "schema/option_help.h"

/* Codes of the options that are seen to while reading; the others are OPTION_ROWS + index. */
enum { OPTION_LOG_LEVEL = 256, OPTION_DAEMONIZE, OPTION_PIDFILE, OPTION_ROWS };

/* An option that is applied in its place. */
struct option_row {
	const char *name;
	int co_fn (*apply)(const struct option_row *row, const char *text, struct error **errp);
	/* What the text is decoded to, unless it is just a text. */
	const struct schema_type *type;
	const char *implied_key; /* of a first value without one; or NULL */
	const char *heading;     /* of the help on it */
	int co_fn (*use)(const void *options, struct error **errp);
};

static int co_fn decode_and_use(const struct option_row *row, const char *text, struct error **errp)
{
	void *options;
	int r = schema_decode_keyval(row->type, text, row->implied_key, &options, errp);
	if (r < 0)
		return r;
	r = row->use(options, errp);
	schema_free(row->type, options);
	return r;
}

static int co_fn apply_chardev(const struct option_row *row, const char *text, struct error **errp)
{
	_cleanup_free_ char *expanded = chardev_expand_short_forms(text);
	return decode_and_use(row, expanded, errp);
}

static int co_fn use_blockdev(const void *options, struct error **errp)
{
	return qmp_blockdev_add(options, errp);
}

static int co_fn use_chardev(const void *options, struct error **errp)
{
	return chardev_open(options, errp);
}

static int co_fn use_export(const void *options, struct error **errp)
{
	return qmp_block_export_add(options, errp);
}

static int co_fn use_monitor(const void *options, struct error **errp)
{
	return monitor_open(options, errp);
}

static int co_fn use_nbd_server(const void *options, struct error **errp)
{
	return nbd_option_start(options, errp);
}

static int co_fn use_object(const void *options, struct error **errp)
{
	return object_create(options, errp);
}

static int co_fn apply_trace(const struct option_row *row, const char *text, struct error **errp)
{
	/* Who asks for one for the sake of debugging shall get the rest of what is asked for. */
	log_warning("--trace %s: this program has no trace points; see --log-level", text);
	return 0;
}

static const struct option_row rows[] = {
	{"blockdev", decode_and_use, &blockdev_options_type, "driver", "Drivers:", use_blockdev},
	/* The blank at the end of the line is what scripts know. */
	{"chardev", apply_chardev, &chardev_options_type, "backend",
	 "Available chardev backend types: ", use_chardev},
	{"export", decode_and_use, &block_export_options_type, "type", "Types of exports:", use_export},
	{"monitor", decode_and_use, &monitor_options_type, "chardev", "monitor", use_monitor},
	{"nbd-server", decode_and_use, &nbd_server_options_type, NULL, "nbd-server", use_nbd_server},
	{"object", decode_and_use, &object_options_type, "qom-type",
	 "List of user creatable objects:", use_object},
	{"trace", apply_trace, NULL, NULL, NULL, NULL},
};

/* With what getopt_long(3) wants to know. @ret has room for all rows and ten more. */
static void fill_getopt_table(struct option *ret)
{
	static const struct option early[] = {
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{"daemonize", no_argument, NULL, OPTION_DAEMONIZE},
		{"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
		{"pidfile", required_argument, NULL, OPTION_PIDFILE},
	};
	memcpy(ret, early, sizeof(early));
	ret += ARRAY_SIZE(early);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		*ret++ = (struct option){.name = rows[i].name,
					 .has_arg = required_argument,
					 .val = OPTION_ROWS + (int)i};
	*ret = (struct option){0};
}

static void add_use(struct options *o, const struct option_row *row, const char *text)
{
	o->uses = xrealloc(o->uses, o->count + 1, sizeof(*o->uses));
	o->uses[o->count++] = (struct option_use){.row = row, .text = text};
}

static int set_log_level(const char *name)
{
	enum log_level level;
	int r = log_level_from_name(name, &level);
	if (r < 0)
		log_error("--log-level %s: expects 'error', 'warning', 'info' or 'debug'", name);
	else
		log_set_level(level);
	return r;
}

/* What getopt_long() did not like about the argument before optind. */
static int refuse(int code, char **argv)
{
	const char *word = argv[optind - 1];
	bool is_long = string_starts_with(word, "--");

	if (code == ':')
		log_error("option '%s' requires an argument", word);
	else if (is_long)
		log_error("unrecognized option '%s'", word);
	else
		log_error("invalid option -- '%c'", optopt);
	return -EINVAL;
}

static int take(struct options *o, int code, char **argv)
{
	switch (code) {
	case 'h':
		o->wants_help = true;
		return 0;
	case 'V':
		o->wants_version = true;
		return 0;
	case 'T':
		add_use(o, &rows[ARRAY_SIZE(rows) - 1], optarg);
		return 0;
	case OPTION_DAEMONIZE:
		o->daemonize = true;
		return 0;
	case OPTION_PIDFILE:
		o->pidfile = optarg;
		return 0;
	case OPTION_LOG_LEVEL:
		return set_log_level(optarg);
	case 1:
		add_use(o, NULL, optarg);
		return 0;
	case '?':
	case ':':
		return refuse(code, argv);
	default:
		add_use(o, &rows[code - OPTION_ROWS], optarg ? optarg : "");
		return 0;
	}
}

int options_read(int argc, char **argv, struct options *ret)
{
	struct option table[ARRAY_SIZE(rows) + 10];
	int code, r = 0;

	*ret = (struct options){0};
	fill_getopt_table(table);
	opterr = 0;
	/* '-': other arguments come in their place as well, with code 1. ':': tell what is missing. */
	while (r == 0 && !ret->wants_help && !ret->wants_version &&
	       (code = getopt_long(argc, argv, "-:hVT:", table, NULL)) >= 0)
		r = take(ret, code, argv);
	/* What follows "--". */
	for (int i = optind; r == 0 && i < argc && code < 0; i++)
		add_use(ret, NULL, argv[i]);
	return r;
}

static void log_failure(const struct option_use *use, const struct error *error)
{
	log_error("--%s %s: %s", use->row->name, use->text, error->message);
	if (error->hint)
		fputs(error->hint, stderr);
}

/* Print help on an option if @use asks for that. */
static bool give_help(const struct option_use *use)
{
	const struct option_row *row = use->row;

	if (!row->type || !option_wants_help(use->text))
		return false;
	_cleanup_free_ char *help = option_help(row->type, use->text, row->implied_key, row->heading);
	fputs(help, stdout);
	fflush(stdout);
	return true;
}

int co_fn options_apply(const struct options *o)
{
	for (unsigned i = 0; i < o->count; i++) {
		const struct option_use *use = &o->uses[i];
		_cleanup_error_ struct error *error = NULL;

		if (the_daemon.stop_requested)
			return -ECANCELED;
		if (!use->row) {
			log_error("%s: Unexpected argument", use->text);
			return -EINVAL;
		}
		if (give_help(use)) {
			daemon_stop();
			return -ECANCELED;
		}
		int r = use->row->apply(use->row, use->text, &error);
		if (r < 0) {
			if (!the_daemon.stop_requested)
				log_failure(use, error);
			return r;
		}
	}
	return 0;
}

void options_finish(struct options *o)
{
	free(o->uses);
	*o = (struct options){0};
}
