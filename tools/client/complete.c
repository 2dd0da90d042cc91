/* SPDX-License-Identifier: MIT */
/*
 * "complete": for a shell, what the last word of a command line may become.
 */
#include <stdio.h>
#include <string.h>

#include "tools/client/client.h"

struct completion {
	struct session *session;
	struct schema schema;
	const char *command;
	const char *word;    /* that is completed */
	size_t prefix;       /* of it: what stands before a member's name, or a value */
	bool takes_any;      /* the value may be anything */
};

/* What may stand where a text of the caller's choice is wanted: things that are there. */
struct source {
	const char *member; /* of the arguments */
	const char *within; /* the commands' names: only where this is in them; NULL for all */
	const char *query, *key;
};

static const struct source sources[] = {
	{"id", "job-", "query-jobs", "id"},
	{"device", "block-job-", "query-jobs", "id"},
	{"id", "block-export-", "query-block-exports", "id"},
	{"device", NULL, "query-named-block-nodes", "node-name"},
	{"node", NULL, "query-named-block-nodes", "node-name"},
	{"node-name", NULL, "query-named-block-nodes", "node-name"},
	{"target", NULL, "query-named-block-nodes", "node-name"},
	{"overlay", NULL, "query-named-block-nodes", "node-name"},
	{"top-node", NULL, "query-named-block-nodes", "node-name"},
	{"base-node", NULL, "query-named-block-nodes", "node-name"},
	{"bottom", NULL, "query-named-block-nodes", "node-name"},
	{"replaces", NULL, "query-named-block-nodes", "node-name"},
	{"parent", NULL, "query-named-block-nodes", "node-name"},
	{"file", NULL, "query-named-block-nodes", "node-name"},
	{"backing", NULL, "query-named-block-nodes", "node-name"},
};

/* Print what the word becomes with @text, and @end, behind its prefix. */
static void offer(const struct completion *c, const char *text, const char *end)
{
	char *line _cleanup_free_ = xasprintf("%.*s%s%s", (int)c->prefix, c->word, text, end);
	if (string_starts_with(line, c->word))
		puts(line);
}

static void offer_word(void *arg, const char *word)
{
	struct completion *c = arg;
	if (word)
		offer(c, word, "");
	else
		c->takes_any = true;
}

static void offer_from(struct completion *c, const struct source *source)
{
	json_t *list _cleanup_json_ = NULL;
	if (session_execute(c->session, source->query, NULL, &list, NULL) < 0)
		return;
	size_t i;
	json_t *item;
	json_array_foreach (list, i, item) {
		const char *name = schema_text(item, source->key);
		/* '#' is for names that the daemon has made up; most shells need it quoted. */
		if (name && *name != '#')
			offer(c, name, "");
	}
}

static void offer_values(struct completion *c, const json_t *member)
{
	const char *name = schema_text(member, "name");
	schema_each_word(&c->schema, schema_type_of(&c->schema, member), offer_word, c);
	for (size_t i = 0; c->takes_any && i < ARRAY_SIZE(sources); i++) {
		const struct source *s = &sources[i];
		if (!string_equal(s->member, name) || (s->within && !strstr(c->command, s->within)))
			continue;
		offer_from(c, s);
		return;
	}
}

static bool offer_key(void *arg, const json_t *member)
{
	const struct completion *c = arg;
	const char *meta = schema_text(schema_type_of(&c->schema, member), "meta-type");
	bool is_open = string_equal(meta, "object") || string_equal(meta, "alternate");
	if (!string_equal(meta, "object"))
		offer(c, schema_text(member, "name"), "=");
	if (is_open)
		offer(c, schema_text(member, "name"), ".");
	return true;
}

static void offer_arguments(struct completion *c, char **words, int count)
{
	json_t *arguments _cleanup_json_ = words_to_partial(&c->schema, c->command, words, count);
	char *key _cleanup_free_ = xasprintf("%.*s", (int)strcspn(c->word, "="), c->word);
	const json_t *type, *values;
	words_find_object(&c->schema, c->command, arguments, key, &type, &values);
	const char *dot = strrchr(key, '.'), *name = dot ? dot + 1 : key;
	bool is_value = strchr(c->word, '=');
	c->prefix = is_value ? strlen(key) + 1 : (size_t)(name - key);
	if (!is_value) {
		schema_each_member(&c->schema, type, values, offer_key, c);
		return;
	}
	const json_t *member = schema_member(&c->schema, type, values, name, strlen(name));
	if (member)
		offer_values(c, member);
}

static void offer_commands(struct completion *c)
{
	for (const struct client_verb *v = client_verbs; v->name; v++) {
		if (v->summary)
			offer(c, v->name, "");
	}
	size_t i;
	json_t *entity;
	json_array_foreach (c->schema.entities, i, entity) {
		const char *name = schema_text(entity, "name");
		if (schema_arguments(&c->schema, name))
			offer(c, name, "");
	}
}

int client_complete(struct session *s, int argc, char **argv, struct error **errp)
{
	if (argc < 1)
		return error_set(errp, -EINVAL, "'complete' wants the words of a command line");
	struct completion c = {.session = s, .command = argv[0], .word = argv[argc - 1]};
	int r = schema_get(s, &c.schema, errp);
	if (r >= 0 && argc == 1)
		offer_commands(&c);
	else if (r >= 0)
		offer_arguments(&c, argv + 1, argc - 2);
	schema_finish(&c.schema);
	return r;
}
