/* SPDX-License-Identifier: MIT */
/*
 * From words key=value to a command's arguments, as the daemon's schema has them.
 *
 * What a union takes follows from the value of its tag, which may be said later: words that fit
 * nothing are tried again when others have been understood.
 */
#include <string.h>

#include "tools/client/client.h"

/* Of object and list types within each other, which may be recursive. */
#define DEPTH_MAX 32

struct target {
	const struct schema *schema;
	const char *word; /* all of it, for messages */
	const char *value;
};

static bool is_meta(const json_t *type, const char *meta)
{
	return string_equal(schema_text(type, "meta-type"), meta);
}

static const json_t *element_type(const struct schema *schema, const json_t *type)
{
	return schema_find(schema, schema_text(type, "element-type"));
}

/* --- Values -------------------------------------------------------------------------------- */

/* *value times @factor. */
static bool scale(long long *value, long long factor)
{
	return !mul_overflows(*value, factor, value);
}

static bool parse_integer(const char *text, long long *ret)
{
	static const char suffixes[] = "kmgtpe";
	char *end;
	errno = 0;
	*ret = strtoll(text, &end, 0);
	if (end == text || errno != 0)
		return false;
	if (*end == '\0')
		return true;
	/* A letter's place tells its power of 1024; capitals are lower case with a bit less. */
	const char *suffix = strchr(suffixes, *end | 0x20);
	if (!suffix || end[1] != '\0')
		return false;
	return scale(ret, 1LL << 10 * (suffix - suffixes + 1));
}

static json_t *make_integer(const char *text)
{
	long long n;
	return parse_integer(text, &n) ? json_integer(n) : NULL;
}

static json_t *make_number(const char *text)
{
	char *end;
	double n = strtod(text, &end);
	return end != text && *end == '\0' ? json_real(n) : NULL;
}

static json_t *make_boolean(const char *text)
{
	static const char *const words[][2] = {{"off", "on"}, {"false", "true"}, {"no", "yes"}};
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(text, words[i][0]) == 0 || strcmp(text, words[i][1]) == 0)
			return json_boolean(strcmp(text, words[i][1]) == 0);
	}
	return NULL;
}

static json_t *make_json(const char *text, char first)
{
	json_t *json;
	if (first && *text != first)
		return NULL;
	return json_text_parse(text, strlen(text), &json, NULL) < 0 ? NULL : json;
}

static json_t *make_builtin(const char *kind, const char *text)
{
	if (string_equal(kind, "string"))
		return json_string(text);
	if (string_equal(kind, "int"))
		return make_integer(text);
	if (string_equal(kind, "number"))
		return make_number(text);
	if (string_equal(kind, "boolean"))
		return make_boolean(text);
	if (string_equal(kind, "null"))
		return strcmp(text, "null") == 0 ? json_null() : NULL;
	json_t *json = make_json(text, 0);
	return json ? json : json_string(text);
}

struct word_search {
	const char *word;
	bool is_found;
};

static void compare_word(void *arg, const char *word)
{
	struct word_search *s = arg;
	s->is_found |= string_equal(word, s->word);
}

/* Any name will do for a plain enumeration: the daemon knows better what is wrong with it. */
static json_t *make_name(const struct schema *schema, const json_t *type, const char *text,
			 bool is_one_of_several)
{
	struct word_search s = {.word = text};
	schema_each_word(schema, type, compare_word, &s);
	return s.is_found || !is_one_of_several ? json_string(text) : NULL;
}

static json_t *make_value(const struct schema *schema, const json_t *type, const char *text,
			  bool is_one_of_several);

/* The first member that @text can be, strings last: they take anything. */
static json_t *make_alternate(const struct schema *schema, const json_t *type, const char *text)
{
	for (unsigned strings = 0; strings < 2; strings++) {
		size_t i;
		json_t *member;
		json_array_foreach (json_object_get(type, "members"), i, member) {
			const json_t *t = schema_type_of(schema, member);
			bool is_string = string_equal(schema_text(t, "json-type"), "string") &&
					 is_meta(t, "builtin");
			json_t *value = is_string == strings ? make_value(schema, t, text, true) : NULL;
			if (value)
				return value;
		}
	}
	return NULL;
}

/* NULL when @text is no value of @type. */
static json_t *make_value(const struct schema *schema, const json_t *type, const char *text,
			  bool is_one_of_several)
{
	if (is_meta(type, "enum"))
		return make_name(schema, type, text, is_one_of_several);
	if (is_meta(type, "alternate"))
		return make_alternate(schema, type, text);
	if (is_meta(type, "array"))
		return make_json(text, '[');
	if (is_meta(type, "object"))
		return make_json(text, '{');
	return make_builtin(schema_text(type, "json-type"), text);
}

static const char *describe(const json_t *type)
{
	if (is_meta(type, "array"))
		return "a list: JSON in brackets, or keys with .0, .1 and so on";
	if (is_meta(type, "object"))
		return "an object: JSON in braces, or keys with the names of its members";
	if (is_meta(type, "builtin") && string_equal(schema_text(type, "json-type"), "boolean"))
		return "on or off";
	return "a number, maybe with a suffix k, M, G, T";
}

/* --- Places -------------------------------------------------------------------------------- */

static int put(const struct target *t, const json_t *type, const char *key, json_t **slot,
	       unsigned depth, struct error **errp);

static int put_value(const struct target *t, const json_t *type, json_t **slot,
		     struct error **errp)
{
	if (*slot)
		return error_set(errp, -EINVAL, "'%s' says once more what has been said", t->word);
	*slot = make_value(t->schema, type, t->value, false);
	if (!*slot)
		return error_set(errp, -EINVAL, "'%s' wants %s", t->word, describe(type));
	return 0;
}

static size_t segment_length(const char *key)
{
	return strcspn(key, ".");
}

/* What follows the first segment of @key; NULL for nothing. */
static const char *rest_of(const char *key)
{
	const char *end = key + segment_length(key);
	return *end == '.' ? end + 1 : NULL;
}

static int put_member(const struct target *t, const json_t *type, const char *key, json_t *object,
		      unsigned depth, struct error **errp)
{
	size_t length = segment_length(key);
	const json_t *member = schema_member(t->schema, type, object, key, length);
	if (!member)
		return error_set(errp, -ENOENT, "'%s': there is no '%.*s'", t->word, (int)length, key);
	const char *name = schema_text(member, "name");
	json_t *value = json_incref(json_object_get(object, name));
	int r = put(t, schema_type_of(t->schema, member), rest_of(key), &value, depth, errp);
	if (r >= 0)
		json_object_set(object, name, value);
	json_release(value);
	return r;
}

static int put_element(const struct target *t, const json_t *type, const char *key, json_t *list,
		       unsigned depth, struct error **errp)
{
	char *end;
	size_t index = strtoul(key, &end, 10), count = json_array_size(list);
	if (end == key || (*end && *end != '.') || *key == '-')
		return error_set(errp, -EINVAL, "'%s' wants a number in the place of '%.*s'", t->word,
				 (int)segment_length(key), key);
	if (index > count)
		return error_set(errp, -ENOENT, "'%s' leaves out number %zu of the list", t->word, count);
	json_t *value = index < count ? json_incref(json_array_get(list, index)) : NULL;
	int r = put(t, element_type(t->schema, type), rest_of(key), &value, depth, errp);
	if (r >= 0)
		index < count ? json_array_set(list, index, value) : json_array_append(list, value);
	json_release(value);
	return r;
}

/* Of an alternate, what goes on with @key. */
static const json_t *choose_branch(const struct schema *schema, const json_t *type, const char *key)
{
	bool is_index = *key >= '0' && *key <= '9';
	size_t i;
	json_t *member;
	json_array_foreach (json_object_get(type, "members"), i, member) {
		const json_t *t = schema_type_of(schema, member);
		if (is_meta(t, is_index ? "array" : "object"))
			return t;
	}
	return NULL;
}

/* Put the value to where @key leads from *slot, which is of @type; NULL leads nowhere further. */
static int put(const struct target *t, const json_t *type, const char *key, json_t **slot,
	       unsigned depth, struct error **errp)
{
	if (!key)
		return put_value(t, type, slot, errp);
	if (is_meta(type, "alternate"))
		type = choose_branch(t->schema, type, key);
	bool is_list = is_meta(type, "array");
	if (depth > DEPTH_MAX || (!is_list && !is_meta(type, "object")))
		return error_set(errp, -EINVAL, "'%s': nothing is in what stands before '%s'", t->word,
				 key);
	if (!*slot)
		*slot = is_list ? json_array() : json_object();
	if (is_list ? !json_is_array(*slot) : !json_is_object(*slot))
		return error_set(errp, -EINVAL, "'%s' says once more what has been said", t->word);
	return is_list ? put_element(t, type, key, *slot, depth + 1, errp)
		       : put_member(t, type, key, *slot, depth + 1, errp);
}

/* --- All words ----------------------------------------------------------------------------- */

static int put_word(const struct schema *schema, const json_t *type, const char *word, json_t *into,
		    struct error **errp)
{
	const char *equal = strchr(word, '=');
	if (!equal || equal == word)
		return error_set(errp, -EINVAL, "'%s' is not of the form key=value", word);
	char *key _cleanup_free_ = xasprintf("%.*s", (int)(equal - word), word);
	const struct target t = {schema, word, equal + 1};
	json_t *slot = json_incref(into);
	int r = put(&t, type, key, &slot, 0, errp);
	json_release(slot);
	return r;
}

/*
 * Put all words into @into that can be put there, as often as that makes others possible. The
 * first error that is left, or with @is_partial none.
 */
static int put_words(const struct schema *schema, const json_t *type, char *const *words, int count,
		     bool is_partial, json_t *into, struct error **errp)
{
	bool *is_done _cleanup_free_ = xalloc((size_t)MAX(count, 1), sizeof(*is_done));
	bool goes_on = true;
	int r = 0;
	while (goes_on) {
		struct error *first _cleanup_error_ = NULL;
		goes_on = false;
		for (int i = 0; i < count; i++) {
			struct error *error _cleanup_error_ = NULL;
			if (is_done[i])
				continue;
			r = put_word(schema, type, words[i], into, &error);
			is_done[i] = r >= 0;
			goes_on |= r >= 0;
			if (r < 0 && r != -ENOENT && !is_partial)
				return error_move(errp, TAKE(error));
			if (r < 0 && !first)
				first = TAKE(error);
		}
		if (!goes_on && first && !is_partial)
			return error_move(errp, TAKE(first));
	}
	return 0;
}

int words_to_arguments(const struct schema *schema, const char *command, char *const *words,
		       int count, json_t **ret, struct error **errp)
{
	if (count == 1 && *words[0] == '{')
		return json_text_parse(words[0], strlen(words[0]), ret, errp);
	json_t *arguments _cleanup_json_ = json_object();
	int r = put_words(schema, schema_arguments(schema, command), words, count, false, arguments,
			  errp);
	if (r >= 0)
		*ret = TAKE(arguments);
	return r < 0 ? -EINVAL : 0;
}

json_t *words_to_partial(const struct schema *schema, const char *command, char *const *words,
			 int count)
{
	json_t *arguments = json_object();
	put_words(schema, schema_arguments(schema, command), words, count, true, arguments, NULL);
	return arguments;
}

void words_find_object(const struct schema *schema, const char *command, const json_t *arguments,
		       const char *key, const json_t **ret_type, const json_t **ret_values)
{
	const json_t *type = schema_arguments(schema, command), *values = arguments;
	const char *rest;
	while (type && (rest = rest_of(key))) {
		if (is_meta(type, "array")) {
			type = element_type(schema, type);
			values = json_array_get(values, strtoul(key, NULL, 10));
		} else {
			const json_t *m = schema_member(schema, type, values, key, segment_length(key));
			type = m ? schema_type_of(schema, m) : NULL;
			values = m ? json_object_get(values, schema_text(m, "name")) : NULL;
		}
		if (is_meta(type, "alternate"))
			type = choose_branch(schema, type, rest);
		key = rest;
	}
	*ret_type = type;
	*ret_values = values;
}
