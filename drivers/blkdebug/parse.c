/* SPDX-License-Identifier: MIT */
/*
 * Rules from a configuration file: each section becomes key=value text, which the
 * schema decodes as it does the same options elsewhere. Nothing here waits.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "drivers/blkdebug/rules.h"
#include "schema/schema.h"

/* Where we are in the file. */
struct parse {
	struct rules *rules;
	const char *name;
	unsigned line;
	char *section; /* "inject-error" or "set-state"; NULL before the first one */
	char *options; /* its lines so far, as key=value text */
};

static int bad_line(const struct parse *p, const char *problem, struct error **errp)
{
	return error_set(errp, -EINVAL, "Could not parse blkdebug config file: %s:%u: %s", p->name,
			 p->line, problem);
}

/* Other than elsewhere, a state that a file does not tell is 0. */
static void add_default(struct parse *p)
{
	if (strncmp(p->options, "new_state=", strlen("new_state=")) == 0 ||
	    strstr(p->options, ",new_state="))
		return;
	char *longer = xasprintf("%s%snew_state=0", p->options, *p->options ? "," : "");
	free(p->options);
	p->options = longer;
}

/* Make the rule of the section that ends here. */
static int end_section(struct parse *p, struct error **errp)
{
	if (!p->section)
		return 0;
	bool is_error = strcmp(p->section, "inject-error") == 0;
	const struct schema_type *type = is_error ? &blkdebug_inject_error_options_type
						  : &blkdebug_set_state_options_type;
	if (!is_error)
		add_default(p);
	void *object;
	int r = schema_decode_keyval(type, p->options, NULL, &object, errp);
	if (r < 0)
		return r;
	if (is_error)
		r = rules_add_error(p->rules, object, errp);
	else
		rules_add_state(p->rules, object);
	schema_free(type, object);
	free(TAKE(p->section));
	free(TAKE(p->options));
	return r;
}

/* @line is what stands between the brackets. */
static int begin_section(struct parse *p, const char *line, struct error **errp)
{
	size_t length = strcspn(line, " \t");
	const char *rest = line + length + strspn(line + length, " \t");
	bool is_known = (length == strlen("inject-error") &&
			 strncmp(line, "inject-error", length) == 0) ||
			(length == strlen("set-state") && strncmp(line, "set-state", length) == 0);
	if (!is_known)
		return bad_line(p, "unknown section", errp);
	if (*rest && (rest[0] != '"' || strlen(rest) < 2 || rest[strlen(rest) - 1] != '"'))
		return bad_line(p, "a section's name must stand in quotes", errp);
	int r = end_section(p, errp);
	if (r < 0)
		return r;
	p->section = xasprintf("%.*s", (int)length, line);
	p->options = xstrdup("");
	return 0;
}

/* Take the spaces from the end of @s. */
static void strip(char *s)
{
	size_t length = strlen(s);
	while (length > 0 && isspace((unsigned char)s[length - 1]))
		s[--length] = '\0';
}

static int add_option(struct parse *p, char *line, struct error **errp)
{
	char *equals = strchr(line, '=');
	if (!equals || !p->section)
		return bad_line(p, p->section ? "neither a section nor 'key = \"value\"'"
					      : "no section has begun", errp);
	*equals = '\0';
	strip(line);
	char *value = equals + 1 + strspn(equals + 1, " \t");
	size_t length = strlen(value);
	if (length >= 2 && value[0] == '"' && value[length - 1] == '"') {
		value[length - 1] = '\0';
		value++;
	}
	/* None of the values that the schema accepts has one. */
	if (strpbrk(line, ",\"") || strpbrk(value, ",\""))
		return bad_line(p, "a comma or quote inside a value", errp);
	char *longer = xasprintf("%s%s%s=%s", p->options, *p->options ? "," : "", line, value);
	free(p->options);
	p->options = longer;
	return 0;
}

static int parse_line(struct parse *p, char *line, struct error **errp)
{
	line += strspn(line, " \t");
	strip(line);
	if (*line == '\0' || *line == '#')
		return 0;
	if (*line != '[')
		return add_option(p, line, errp);
	size_t length = strlen(line);
	if (line[length - 1] != ']')
		return bad_line(p, "a bracket is open", errp);
	line[length - 1] = '\0';
	return begin_section(p, line + 1, errp);
}

int rules_parse(struct rules *r, const char *text, const char *name, struct error **errp)
{
	struct parse p = {.rules = r, .name = name};
	int result = 0;
	for (const char *end; *text && result >= 0; text = *end ? end + 1 : end) {
		end = strchrnul(text, '\n');
		char *line _cleanup_free_ = xasprintf("%.*s", (int)(end - text), text);
		p.line++;
		result = parse_line(&p, line, errp);
	}
	if (result >= 0)
		result = end_section(&p, errp);
	free(p.section);
	free(p.options);
	return result;
}
