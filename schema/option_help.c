/* SPDX-License-Identifier: MIT */
/*
 * Help on options. The words and their order are those of other programs that
 * have these options: scripts ask what a version knows. Any thread.
 */
#include "schema/option_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "schema/schema.h"

/* Lines to be sorted. */
struct lines {
	char **items;
	size_t count;
};

/* The next word at *@at, which moves behind it: its length, or -1 at the end. */
static int next_word(const char **at, const char **ret)
{
	const char *end = *at;

	if (!*end)
		return -1;
	/* A doubled comma belongs to a value. */
	while (*end && (*end != ',' || end[1] == ','))
		end += *end == ',' ? 2 : 1;
	*ret = *at;
	*at = end + (*end == ',');
	return (int)(end - *ret);
}

static bool is_word(const char *word, int length, const char *expected)
{
	return (size_t)length == strlen(expected) && memcmp(word, expected, (size_t)length) == 0;
}

bool option_wants_help(const char *text)
{
	const char *word;
	int length;

	if (text && *text == '{')
		return false; /* JSON */
	while (text && (length = next_word(&text, &word)) >= 0) {
		if (is_word(word, length, "help") || is_word(word, length, "?"))
			return true;
	}
	return false;
}

/* The value of the tag @key that @text gives, or -1. */
static int find_tag(const struct schema_type *t, const char *key, const char *text, bool is_implied)
{
	const char *word;
	int length, value = -1;
	size_t skip = strlen(key) + 1;

	for (bool is_first = true; (length = next_word(&text, &word)) >= 0; is_first = false) {
		_cleanup_free_ char *w = xasprintf("%.*s", length, word);

		if (is_first && is_implied)
			schema_enum_from_name(t, w, &value);
		if (string_starts_with(w, key) && w[skip - 1] == '=')
			schema_enum_from_name(t, w + skip, &value);
	}
	return value;
}

static const char *type_name(const struct schema_type *t)
{
	switch (t->kind) {
	case SCHEMA_LIST:
		return type_name(t->element);
	case SCHEMA_STR:
		return "string";
	case SCHEMA_INT:
	case SCHEMA_SIZE:
		return "int";
	default:
		return t->name;
	}
}

static void add_line(struct lines *l, const struct schema_member *m)
{
	l->items = xrealloc(l->items, l->count + 1, sizeof(*l->items));
	l->items[l->count++] = xasprintf("  %s=<%s>\n", m->name, type_name(m->type));
}

static void add_members(struct lines *l, const struct schema_type *t)
{
	for (unsigned i = 0; t && i < t->count; i++) {
		bool is_tag = t->kind == SCHEMA_UNION && i == t->tag;

		if (!is_tag && strcmp(t->members[i].name, "id") != 0)
			add_line(l, &t->members[i]);
	}
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void print_members(FILE *out, const char *name, struct lines *l)
{
	qsort(l->items, l->count, sizeof(*l->items), by_text);
	fprintf(out, l->count ? "%s options:\n" : "There are no options for %s.\n", name);
	for (size_t i = 0; i < l->count; i++) {
		fputs(l->items[i], out);
		free(l->items[i]);
	}
	free(l->items);
}

char *option_help(const struct schema_type *t, const char *text, bool is_implied,
		  const char *heading)
{
	const struct schema_member *tag = t->kind == SCHEMA_UNION ? &t->members[t->tag] : NULL;
	int value = tag ? find_tag(tag->type, tag->name, text, is_implied) : -1;
	struct lines lines = {0};
	char *ret;
	size_t size;
	FILE *out = open_memstream(&ret, &size);

	if (tag && value < 0) {
		fprintf(out, "%s\n", heading);
		for (unsigned i = 0; i < tag->type->count; i++)
			fprintf(out, "  %s\n", tag->type->values[i]);
	} else {
		add_members(&lines, t);
		add_members(&lines, tag ? t->branches[value] : NULL);
		print_members(out, tag ? tag->type->values[value] : heading, &lines);
	}
	fclose(out);
	return ret;
}
