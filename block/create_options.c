/* SPDX-License-Identifier: MIT */
/*
 * Options of creating an image. Free of state.
 */
#include "block/create_options.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "block/text.h"
#include "schema/keyval.h"

const struct schema_type *create_options_branch(const struct driver *d)
{
	enum blockdev_driver driver = 0;
	if (!d || !d->create || blockdev_driver_from_name(d->name, &driver) < 0)
		return NULL;
	return blockdev_create_options_type.branches[driver];
}

static const struct schema_member *find(const struct schema_type *t, const char *name)
{
	for (unsigned i = 0; t && i < t->count; i++) {
		if (strcmp(t->members[i].name, name) == 0)
			return &t->members[i];
	}
	return NULL;
}

/* The name in the schema of what users call @name. */
static char *schema_name(const char *name)
{
	if (strcmp(name, "compat") == 0)
		return xstrdup("version");
	if (strcmp(name, "compat6") == 0)
		return xstrdup("hwversion");
	if (strcmp(name, "password-secret") == 0)
		return xstrdup("key-secret");
	char *s = xstrdup(name);
	for (char *p = s; *p && *p != '.'; p++)
		if (*p == '_')
			*p = '-';
	return s;
}

/* What belongs to the place of an image, but is asked for among the options of making it. */
static const struct schema_member *find_of_place(const struct driver *d, const char *name)
{
	const struct schema_member *place = find(create_options_branch(d), "location");
	bool is_one = strcmp(name, "debug") == 0 || strcmp(name, "logfile") == 0 ||
		      strcmp(name, "key-secret") == 0;
	return place && is_one ? find(place->type, name) : NULL;
}

const struct schema_member *create_option_find(const struct driver *d, const char *name)
{
	static const char *const others[] = {"file", "filename", "location", "size", "extents"};
	char *wanted _cleanup_free_ = schema_name(name);
	char *dot = strchr(wanted, '.');
	if (dot)
		*dot = '\0';
	for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
		if (strcmp(wanted, others[i]) == 0)
			return NULL;
	}
	const struct schema_member *m = find(create_options_branch(d), wanted);
	return m ? m : find_of_place(d, wanted);
}

char *create_options_place(const struct driver *storage, const char *protocol)
{
	if (!find(create_options_branch(storage), "location"))
		return xstrdup(protocol);
	/* The location is of one driver only, which it need not name. */
	char *text _cleanup_free_ = text_without_key(protocol, "driver");
	char *inner _cleanup_free_ = text_prefix_keys(text, "location.");
	return xasprintf("driver=%s,%s", storage->name, inner);
}

static void add(char **text, const char *pair)
{
	char *longer = xasprintf("%s%s%s", *text, **text ? "," : "", pair);
	free(*text);
	*text = longer;
}

/* @key and @value as the schema has them; an option without a value is switched on. */
static char *schema_pair(const char *key, const char *value)
{
	char *name _cleanup_free_ = schema_name(key);
	if (strcmp(key, "compat") == 0 && strcmp(value, "0.10") == 0)
		value = "v2";
	else if (strcmp(key, "compat") == 0 && strcmp(value, "1.1") == 0)
		value = "v3";
	if (strcmp(key, "compat6") == 0) {
		bool on;
		/* What is no word for a switch is refused by check_value(). */
		return keyval_parse_bool(value, &on) == 0 && on ? xstrdup("hwversion=6") : NULL;
	}
	return xasprintf("%s=%s", name, value);
}

int create_options_bad_size(const char *key, struct error **errp)
{
	error_set(errp, -EINVAL, "Parameter '%s' expects a non-negative number below 2^64", key);
	error_hint(errp, "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-");
	error_hint(errp, "and exabytes, respectively.");
	return -EINVAL;
}

/* A value's faults are told by the name that the user knows. */
static int check_value(const struct schema_member *m, const char *key, const char *value,
		       struct error **errp)
{
	uint64_t size;
	int64_t number;
	bool on;

	if ((m->type->kind == SCHEMA_BOOL || strcmp(key, "compat6") == 0) && keyval_parse_bool(value, &on) < 0)
		return error_set(errp, -EINVAL, "Parameter '%s' expects 'on' or 'off'", key);
	if (m->type->kind == SCHEMA_INT && keyval_parse_int(value, &number) < 0)
		return error_set(errp, -EINVAL, "Parameter '%s' expects a number", key);
	if (m->type->kind != SCHEMA_SIZE || keyval_parse_size(value, &size) == 0)
		return 0;
	return create_options_bad_size(key, errp);
}

static int add_pair(const char *pair, const struct driver *format, const struct driver *storage,
		    char **for_format, char **for_storage, struct error **errp)
{
	const char *equals = strchr(pair, '=');
	char *key _cleanup_free_ =
		xasprintf("%.*s", (int)(equals ? equals - pair : (ptrdiff_t)strlen(pair)), pair);
	const char *value = equals ? equals + 1 : "on";
	char *name _cleanup_free_ = schema_name(key);
	char *converted _cleanup_free_ = schema_pair(key, value);
	const struct schema_member *of_format = create_option_find(format, key);
	const struct schema_member *m = of_format ? of_format : create_option_find(storage, key);
	if (!m)
		return error_set(errp, -EINVAL, "Invalid parameter '%s'", key);
	if (converted && m == find_of_place(storage, name)) {
		char *placed _cleanup_free_ = xasprintf("location.%s", converted);
		add(for_storage, placed);
	} else if (converted) {
		add(of_format ? for_format : for_storage, converted);
	}
	/* What is nested is not checked here. */
	return strchr(key, '.') ? 0 : check_value(m, key, value, errp);
}

/* Two options for one thing. */
static int check_compat6(const char *text, struct error **errp)
{
	char *compat6 _cleanup_free_ = text_value(text, "compat6");
	char *version _cleanup_free_ = text_value(text, "hwversion");
	bool on = text_has_word(text, "compat6") ||
		  (compat6 && (keyval_parse_bool(compat6, &on) < 0 || on));
	return on && version
		       ? error_set(errp, -EINVAL, "compat6 cannot be enabled with hwversion set")
		       : 0;
}

int create_options_split(const char *text, const struct driver *format,
			 const struct driver *storage, char **ret_format, char **ret_storage,
			 struct error **errp)
{
	char *for_format _cleanup_free_ = xstrdup(""), *for_storage _cleanup_free_ = xstrdup("");
	int r = check_compat6(text ? text : "", errp);
	if (r < 0)
		return r;
	for (const char *at = text ? text : ""; *at;) {
		const char *end = text_pair_end(at);
		char *pair _cleanup_free_ = xasprintf("%.*s", (int)(end - at), at);
		r = *pair ? add_pair(pair, format, storage, &for_format, &for_storage, errp) : 0;
		if (r < 0)
			return r;
		at = *end ? end + 1 : end;
	}
	*ret_format = TAKE(for_format);
	*ret_storage = TAKE(for_storage);
	return 0;
}
