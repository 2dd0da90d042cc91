/* SPDX-License-Identifier: MIT */
/*
 * Arguments of subcommands. Main thread, before anything waits.
 */
#include "tools/img/arguments.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "schema/keyval.h"
#include "tools/img/img.h"

/* Codes of options without a letter follow the letters. */
enum { CODE_HELP = 'h', CODE_OBJECT = 255, CODE_FIRST_LONG = 256, ARGUMENTS_MAX = 32 };

int img_cache_parse(const char *text, struct img_cache *ret)
{
	static const struct {
		const char *name;
		struct img_cache cache;
	} modes[] = {
		{"writeback", {0}},
		{"none", {.direct = true}},
		{"off", {.direct = true}},
		{"writethrough", {.writethrough = true}},
		{"directsync", {.direct = true, .writethrough = true}},
		{"unsafe", {.no_flush = true}},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		if (strcmp(text, modes[i].name) == 0) {
			*ret = modes[i].cache;
			return 0;
		}
	}
	return -EINVAL;
}

int img_size_parse(const char *what, const char *text, int64_t *ret)
{
	uint64_t size;
	int r = text[0] == '-' ? -EINVAL : keyval_parse_size(text, &size);

	if (r == -ERANGE || (r == 0 && size > INT64_MAX))
		return img_error("Invalid %s specified. Must be between 0 and %lld.", what,
				 (long long)INT64_MAX);
	if (r < 0) {
		img_error("Invalid %s specified. You may use k, M, G, T, P or E suffixes for", what);
		return img_error("kilobytes, megabytes, gigabytes, terabytes, petabytes and "
				 "exabytes.");
	}
	*ret = size;
	return 0;
}

static int take_count(const struct img_argument *a, const char *text)
{
	int64_t n;

	if (keyval_parse_int(text, &n) < 0 || n < 0 || n > INT32_MAX) {
		if (a->what)
			return img_error("Invalid %s specified", a->what);
		n = -1;
	}
	*(int64_t *)a->to = n;
	return 0;
}

/* An escaped comma at the end belongs to a value. */
static bool is_option_list(const char *text)
{
	size_t length = strlen(text), commas = 0;

	while (commas < length && text[length - 1 - commas] == ',')
		commas++;
	return *text && *text != ',' && commas % 2 == 0;
}

static int take_words(char **to, const char *text)
{
	if (!is_option_list(text))
		return img_error("Invalid option list: %s", text);
	char *joined = *to ? xasprintf("%s,%s", *to, text) : xstrdup(text);

	free(*to);
	*to = joined;
	return 0;
}

static int take_step(const struct img_argument *a, const char *value)
{
	struct img_steps *steps = a->to;

	if (steps->count == IMG_STEPS_MAX)
		return img_error("More than %d actions", IMG_STEPS_MAX);
	steps->items[steps->count++] = (struct img_step){a->what, value};
	return 0;
}

static int take(const struct img_argument *a, const char *text)
{
	switch (a->kind) {
	case ARGUMENT_FLAG:
		*(bool *)a->to = true;
		return 0;
	case ARGUMENT_TEXT:
		*(const char **)a->to = text;
		return 0;
	case ARGUMENT_WORDS:
		return take_words(a->to, text);
	case ARGUMENT_SIZE:
		return img_size_parse(a->what, text, a->to);
	case ARGUMENT_CACHE:
		if (img_cache_parse(text, a->to) < 0)
			return img_error("Invalid %s option: %s", a->what, text);
		return 0;
	case ARGUMENT_OUTPUT:
		if (strcmp(text, "json") != 0 && strcmp(text, "human") != 0)
			return img_error("--output must be used with human or json as argument.");
		*(bool *)a->to = strcmp(text, "json") == 0;
		return 0;
	case ARGUMENT_STEP:
	case ARGUMENT_STEP_ON:
		return take_step(a, text);
	default:
		return take_count(a, text);
	}
}

static bool is_bare(const struct img_argument *a)
{
	return a->kind == ARGUMENT_FLAG || a->kind == ARGUMENT_STEP;
}

/* The table as getopt_long(3) wants it. */
static unsigned fill(const struct img_argument *table, struct option *ret_long, char *ret_short)
{
	unsigned count = 0;
	struct option *o = ret_long;

	*o++ = (struct option){.name = "help", .val = CODE_HELP};
	*o++ = (struct option){
		.name = "object", .has_arg = required_argument, .val = CODE_OBJECT};
	*ret_short++ = ':';
	*ret_short++ = 'h';
	for (; table[count].name || table[count].letter; count++) {
		const struct img_argument *a = &table[count];

		if (a->name)
			*o++ = (struct option){
				.name = a->name,
				.has_arg = is_bare(a) ? no_argument : required_argument,
				.val = CODE_FIRST_LONG + (int)count,
			};
		if (!a->letter)
			continue;
		*ret_short++ = a->letter;
		if (!is_bare(a))
			*ret_short++ = ':';
	}
	*ret_short = '\0';
	*o = (struct option){0};
	return count;
}

static const struct img_argument *find(const struct img_argument *table, int code)
{
	if (code >= CODE_FIRST_LONG)
		return &table[code - CODE_FIRST_LONG];
	while (table->letter != code)
		table++;
	return table;
}

static int help(const char *name)
{
	for (const struct img_command *c = img_commands; c->name; c++) {
		if (strcmp(c->name, name) == 0)
			img_command_help(c);
	}
	return -1;
}

int co_fn img_arguments(int argc, char **argv, const struct img_argument *table, bool last_is_word,
			char ***ret_words, int *ret_count)
{
	struct option longs[ARGUMENTS_MAX + 3];
	char shorts[2 * ARGUMENTS_MAX + 4];
	bool takes_last = last_is_word && argc > 2 && argv[argc - 1][0] == '-';
	int code, r = 0, readable = takes_last ? argc - 1 : argc;

	fill(table, longs, shorts);
	opterr = 0;
	optind = 0;
	while (r == 0 && (code = getopt_long(readable, argv, shorts, longs, NULL)) >= 0) {
		if (code == CODE_HELP)
			return help(argv[0]);
		else if (code == CODE_OBJECT)
			r = img_object_add(optarg);
		else if (code == ':')
			r = img_misuse("missing argument for option '%s'", argv[optind - 1]);
		else if (code == '?')
			r = img_misuse("unrecognized option '%s'", argv[optind - 1]);
		else
			r = take(find(table, code), optarg);
	}
	if (r == 0) {
		*ret_words = argv + optind;
		*ret_count = argc - optind;
	}
	return r;
}
