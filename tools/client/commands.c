/* SPDX-License-Identifier: MIT */
/*
 * "commands": what the daemon knows.
 */
#include <stdio.h>
#include <string.h>

#include "tools/client/client.h"

/* A type in a few words: what may stand behind the equals sign. */
static void print_type(const struct schema *schema, const json_t *type);

struct words {
	bool is_first, is_open;
};

static void print_word(void *arg, const char *word)
{
	struct words *w = arg;
	if (!word) {
		w->is_open = true;
		return;
	}
	printf("%s%s", w->is_first ? "" : "|", word);
	w->is_first = false;
}

static void print_type(const struct schema *schema, const json_t *type)
{
	const char *meta = schema_text(type, "meta-type"), *kind = schema_text(type, "json-type");
	struct words w = {.is_first = true};
	if (string_equal(meta, "array")) {
		fputs("[...]", stdout);
	} else if (string_equal(meta, "object")) {
		fputs("{...}", stdout);
	} else if (string_equal(meta, "builtin") && !string_equal(kind, "boolean")) {
		fputs(kind ? kind : "any", stdout);
	} else {
		schema_each_word(schema, type, print_word, &w);
		if (w.is_open)
			printf("%s...", w.is_first ? "" : "|");
	}
}

static bool print_member(void *arg, const json_t *member)
{
	const struct schema *schema = arg;
	bool is_optional = json_object_get(member, "default");
	printf("    %s=", schema_text(member, "name"));
	print_type(schema, schema_type_of(schema, member));
	puts(is_optional ? "  (optional)" : "");
	return true;
}

static void print_command(const struct schema *schema, const char *name)
{
	const json_t *type = schema_arguments(schema, name);
	puts(name);
	schema_each_member(schema, type, NULL, print_member, (void *)schema);
	const char *tag = schema_text(type, "tag");
	if (tag)
		printf("    ... and more, as '%s' says\n", tag);
}

int client_commands(struct session *s, int argc, char **argv, struct error **errp)
{
	struct schema schema;
	if (argc > 1)
		return error_set(errp, -EINVAL, "'commands' takes one argument at most");
	int r = schema_get(s, &schema, errp);
	bool is_exact = r >= 0 && argc == 1 && schema_arguments(&schema, argv[0]);
	size_t i, found = 0;
	json_t *entity;
	json_array_foreach (schema.entities, i, entity) {
		const char *name = schema_text(entity, "name");
		if (!schema_arguments(&schema, name) || (argc == 1 && !strstr(name, argv[0])) ||
		    (is_exact && strcmp(name, argv[0]) != 0))
			continue;
		found++;
		if (is_exact)
			print_command(&schema, name);
		else
			puts(name);
	}
	schema_finish(&schema);
	if (r < 0)
		return r;
	return found > 0 ? 0 : error_set(errp, -ENOENT, "No command has '%s' in its name", argv[0]);
}
