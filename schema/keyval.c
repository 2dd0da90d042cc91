/* SPDX-License-Identifier: MIT */
/*
 * From "a=1,b.c=2" to a tree. Any thread.
 *
 * The pairs are put into one flat object under their dotted keys, where a later
 * one replaces an earlier one; then dotted keys are expanded in place, level by
 * level, as they are for json: file names.
 */
#include "schema/keyval.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "schema/json.h"
#include "schema/walk.h"

#define KEY_PART_MAX 127
#define KEY_PARTS_MAX 64
#define LIST_INDEX_MAX 1000

static int fail_key(struct error **errp, const char *key, size_t length)
{
	return error_set(errp, -EINVAL, "Invalid parameter '%.*s'", (int)MIN(length, 1000), key);
}

static bool is_key_char(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '-';
}

/* Whether @key is a sequence of well-formed parts with dots between. */
static bool key_is_valid(const char *key, size_t length)
{
	size_t part = 0, parts = 1;

	for (size_t i = 0; i < length; i++) {
		if (key[i] == '.') {
			if (part == 0 || ++parts > KEY_PARTS_MAX)
				return false;
			part = 0;
		} else if (!is_key_char(key[i]) || ++part > KEY_PART_MAX || (part == 1 && key[i] == '-')) {
			return false;
		}
	}
	return part > 0;
}

/* Copy a value up to a single comma or the end, halving double commas. Returns where it ended. */
static const char *take_value(const char *from, char **ret)
{
	size_t length = 0;
	const char *end = from;

	while (*end && !(end[0] == ',' && end[1] != ',')) {
		end += end[0] == ',' ? 2 : 1;
		length++;
	}
	*ret = xalloc(length + 1, 1);
	for (size_t i = 0; i < length; i++) {
		(*ret)[i] = *from;
		from += *from == ',' ? 2 : 1;
	}
	return end;
}

/* Decodes one pair at @text into @flat. Returns where it ended, or NULL with an error. */
static const char *take_pair(const char *text, const char *implied_key, json_t *flat,
			     struct error **errp)
{
	size_t length = strcspn(text, "=,");
	_cleanup_free_ char *key = NULL;
	_cleanup_free_ char *value = NULL;
	const char *end = text + length;

	if (implied_key && length > 0 && *end != '=') {
		key = xstrdup(implied_key);
		end = take_value(text, &value);
	} else if (!key_is_valid(text, length)) {
		fail_key(errp, text, length);
		return NULL;
	} else if (*end == '=') {
		key = xasprintf("%.*s", (int)length, text);
		end = take_value(end + 1, &value);
	} else {
		error_set(errp, -EINVAL, "Expected '=' after parameter '%.*s'", (int)length, text);
		return NULL;
	}
	json_object_set_new_nocheck(flat, key, json_string_nocheck(value));
	return end;
}

int keyval_parse(const char *text, const char *implied_key, struct json_t **ret,
		 struct error **errp)
{
	json_t *flat = json_object();
	int r;

	while (text && *text) {
		text = take_pair(text, implied_key, flat, errp);
		implied_key = NULL;
		if (text && *text == ',')
			text++;
	}
	r = text ? keyval_expand(&flat, errp) : -EINVAL;
	if (r < 0)
		json_release(flat);
	else
		*ret = flat;
	return r;
}

/*
 * A container on the way to its final form, and the place in its parent that it
 * occupies: needed when it turns out to be a list.
 */
struct expand_entry {
	json_t *json;   /* borrowed: the tree holds it */
	json_t *parent; /* borrowed; NULL for the root */
	size_t index;   /* in a parent that is a list */
	char *key;      /* in a parent that is an object */
	size_t above;   /* index of the parent's entry */
};

#define NO_ENTRY ((size_t)-1)

static struct expand_entry *expand_at(const struct worklist *l, size_t i)
{
	return (struct expand_entry *)l->items + i;
}

/* "file.server" for the entry and @part below it; free with free(). */
static char *expand_path(const struct worklist *l, size_t at, const char *part)
{
	char *path = xstrdup(part);

	for (; at != NO_ENTRY; at = expand_at(l, at)->above) {
		const struct expand_entry *e = expand_at(l, at);
		_cleanup_free_ char *tail = path;
		const char *dot = *tail ? "." : "";

		if (e->key)
			path = xasprintf("%s%s%s", e->key, dot, tail);
		else if (e->parent)
			path = xasprintf("%zu%s%s", e->index, dot, tail);
		else
			return TAKE(tail);
	}
	return path;
}

static int fail_mixed(const struct worklist *l, size_t at, const char *part, struct error **errp)
{
	_cleanup_free_ char *path = expand_path(l, at, part);

	return error_set(errp, -EINVAL, "Parameters '%s%s*' used inconsistently", path,
			 *path ? "." : "");
}

/* Move @value, a borrowed reference, to @tail of the object at @head of @into. */
static int move_below(json_t *into, const char *head, const char *tail, json_t *value)
{
	json_t *object = json_object_get(into, head);

	if (!object) {
		object = json_object();
		json_object_set_new_nocheck(into, head, object);
	}
	if (!json_is_object(object) || json_object_get(object, tail))
		return -EINVAL;
	json_object_set_nocheck(object, tail, value);
	return 0;
}

/* Split each key of the object at its first dot; what follows is the next level's business. */
static int split_keys(struct worklist *l, size_t at, struct error **errp)
{
	json_t *object = expand_at(l, at)->json;
	json_t *dotted, *value;
	const char *key;
	void *next;
	int r = 0;

	dotted = json_object();
	json_object_foreach_safe(object, next, key, value) {
		if (!strchr(key, '.'))
			continue;
		json_object_set_nocheck(dotted, key, value);
		json_object_del(object, key);
	}
	json_object_foreach(dotted, key, value) {
		_cleanup_free_ char *head = xstrdup(key);
		char *dot = strchr(head, '.');

		*dot = '\0';
		if (r == 0 && (dot == head || dot[1] == '\0'))
			r = fail_key(errp, key, strlen(key));
		if (r == 0 && move_below(object, head, dot + 1, value) < 0)
			r = fail_mixed(l, at, head, errp);
	}
	json_release(dotted);
	return r;
}

/* The list index that a key is, or -1. */
static int list_index(const char *key)
{
	char *end;
	long i;

	if (!isdigit((unsigned char)key[0]) || (key[0] == '0' && key[1]))
		return -1;
	i = strtol(key, &end, 10);
	return *end || i >= LIST_INDEX_MAX ? -1 : (int)i;
}

/* How many keys are list indices. */
static size_t count_indices(json_t *object)
{
	const char *key;
	json_t *value;
	size_t count = 0;

	json_object_foreach(object, key, value)
		count += list_index(key) >= 0;
	return count;
}

/* Put @list in the place of the object of entry @at. */
static void replace(struct worklist *l, size_t at, json_t *list, json_t **root)
{
	struct expand_entry *e = expand_at(l, at);

	e->json = list;
	if (!e->parent) {
		json_decref(*root);
		*root = list;
	} else if (e->key) {
		json_object_set_new_nocheck(e->parent, e->key, list);
	} else {
		json_array_set_new(e->parent, e->index, list);
	}
}

/* An object all of whose keys are indices becomes a list. */
static int make_list(struct worklist *l, size_t at, json_t **root, struct error **errp)
{
	json_t *object = expand_at(l, at)->json;
	size_t count = count_indices(object);
	json_t *list;

	if (count == 0)
		return 0;
	if (count != json_object_size(object))
		return fail_mixed(l, at, "", errp);
	list = json_array();
	for (size_t i = 0; i < count; i++) {
		_cleanup_free_ char *key = xasprintf("%zu", i);
		json_t *item = json_object_get(object, key);

		if (!item) {
			_cleanup_free_ char *path = expand_path(l, at, key);

			json_release(list);
			return error_set(errp, -EINVAL, "Parameter '%s' missing", path);
		}
		json_array_append(list, item);
	}
	replace(l, at, list, root);
	return 0;
}

static void expand_later(struct worklist *l, json_t *json, json_t *parent, const char *key,
			 size_t index, size_t above)
{
	struct expand_entry *e;

	if (!json_is_object(json) && !json_is_array(json))
		return;
	e = worklist_push(l);
	*e = (struct expand_entry){json, parent, index, xstrdup(key), above};
}

static void expand_children(struct worklist *l, size_t at)
{
	json_t *parent = expand_at(l, at)->json;
	const char *key;
	json_t *child;
	size_t i;

	if (json_is_array(parent))
		json_array_foreach(parent, i, child)
			expand_later(l, child, parent, NULL, i, at);
	else
		json_object_foreach(parent, key, child)
			expand_later(l, child, parent, key, 0, at);
}

int keyval_expand(struct json_t **json, struct error **errp)
{
	struct expand_entry storage[8];
	struct worklist l = WORKLIST(storage);
	int r = 0;

	expand_later(&l, *json, NULL, NULL, 0, NO_ENTRY);
	for (size_t i = 0; r == 0 && i < l.count; i++) {
		if (json_is_object(expand_at(&l, i)->json)) {
			r = split_keys(&l, i, errp);
			if (r == 0)
				r = make_list(&l, i, json, errp);
		}
		if (r == 0)
			expand_children(&l, i);
	}
	for (size_t i = 0; i < l.count; i++)
		free(expand_at(&l, i)->key);
	worklist_finish(&l);
	return r;
}

int keyval_parse_bool(const char *text, bool *ret)
{
	static const char *const words[] = {"off", "on", "no", "yes", "false", "true", "n", "y"};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(text, words[i]) == 0) {
			*ret = i % 2;
			return 0;
		}
	}
	return -EINVAL;
}

int keyval_parse_int(const char *text, int64_t *ret)
{
	char *end;
	long long value;

	errno = 0;
	value = strtoll(text, &end, 0);
	if (end == text || *end || isspace((unsigned char)*text))
		return -EINVAL;
	if (errno)
		return -ERANGE;
	*ret = value;
	return 0;
}

/* The power of two that a size's suffix stands for, or -1. */
static int suffix_bits(const char *suffix)
{
	static const char letters[] = "BKMGTPE";
	const char *letter;

	if (!*suffix)
		return 0;
	letter = strchr(letters, toupper((unsigned char)*suffix));
	return letter && !suffix[1] ? 10 * (int)(letter - letters) : -1;
}

/* "1.5" of units of 2^@bits bytes. */
static int parse_fraction(const char *text, const char *end, int bits, uint64_t *ret)
{
	char *stop;
	double value = strtod(text, &stop);

	if (stop != end || bits <= 0 || !isfinite(value))
		return -EINVAL;
	value *= (double)(UINT64_C(1) << bits);
	if (value >= 18446744073709551616.0)
		return -ERANGE;
	*ret = (uint64_t)value;
	return 0;
}

int keyval_parse_size(const char *text, uint64_t *ret)
{
	char *end;
	uint64_t value;
	int bits;

	text += strspn(text, " \f\n\r\t\v");
	text += *text == '+';
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	if (!hex && text[strspn(text, "0123456789")] == '.') {
		const char *suffix = strchr(text, '.') + 1;

		suffix += strspn(suffix, "0123456789");
		return parse_fraction(text, suffix, suffix_bits(suffix), ret);
	}
	errno = 0;
	value = strtoull(text, &end, hex ? 16 : 10);
	if (errno)
		return -ERANGE;
	bits = hex && *end ? -1 : suffix_bits(end);
	if (bits < 0)
		return -EINVAL;
	if (bits && value >> (64 - bits))
		return -ERANGE;
	*ret = value << bits;
	return 0;
}

int keyval_parse_number(const char *text, double *ret)
{
	char *end;
	double value;

	if (!*text || isspace((unsigned char)*text))
		return -EINVAL;
	value = strtod(text, &end);
	if (*end || !isfinite(value))
		return -EINVAL;
	*ret = value;
	return 0;
}
