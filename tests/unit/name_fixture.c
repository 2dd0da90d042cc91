/* SPDX-License-Identifier: MIT */
#include "tests/unit/name_fixture.h"

#include <check.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "schema/schema.h"

struct blockdev_options *name_options(const char *text)
{
	void *options = NULL;
	_cleanup_error_ struct error *error = NULL;
	int r = schema_decode_keyval(&blockdev_options_type, text, "driver", &options, &error);
	ck_assert_msg(r == 0, "%s: %s", text, error ? error->message : "?");
	return options;
}

static struct blockdev_options *options_of(const struct name_format *f, const char *rest)
{
	char *text _cleanup_free_ = xasprintf("driver=%s,%s", f->driver, rest);
	return name_options(text);
}

static void check_meaning(const struct name_format *f, const struct name_case *c)
{
	char *text _cleanup_free_ = NULL;
	_cleanup_error_ struct error *error = NULL;
	int r = f->parse(c->given, &text, &error);
	ck_assert_msg(r == 0, "%s: %s", c->given, error ? error->message : "?");
	char *expected _cleanup_free_ = xasprintf("driver=%s,%s", f->driver, c->expected);
	ck_assert_str_eq(text, expected);
}

void names_mean(const struct name_format *f, const struct name_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check_meaning(f, &cases[i]);
}

static void check_refusal(const struct name_format *f, const struct name_case *c)
{
	char *text = NULL;
	_cleanup_error_ struct error *error = NULL;
	int r = f->parse(c->given, &text, &error);
	ck_assert_msg(r < 0, "%s", c->given);
	ck_assert_ptr_nonnull(error);
	ck_assert_msg(strstr(error->message, c->expected), "%s: %s", c->given, error->message);
}

void names_are_refused(const struct name_format *f, const struct name_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check_refusal(f, &cases[i]);
}

static void check_print(const struct name_format *f, const struct name_case *c)
{
	struct blockdev_options *o = options_of(f, c->given);
	char *name _cleanup_free_ = f->print(o);
	ck_assert_str_eq(name, c->expected);

	char *text _cleanup_free_ = NULL;
	ck_assert_int_eq(f->parse(name, &text, NULL), 0);
	struct blockdev_options *again = name_options(text);
	ck_assert_msg(schema_equal(&blockdev_options_type, o, again), "%s", c->given);
	blockdev_options_free(o);
	blockdev_options_free(again);
}

void names_are_printed(const struct name_format *f, const struct name_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check_print(f, &cases[i]);
}

static void check_json(const struct name_format *f, const char *options)
{
	struct blockdev_options *o = options_of(f, options);
	char *name _cleanup_free_ = f->print(o);
	ck_assert_msg(string_starts_with(name, "json:"), "%s", name);
	void *again = NULL;
	ck_assert_int_eq(schema_decode_json_text(&blockdev_options_type, name + strlen("json:"),
						 &again, NULL), 0);
	ck_assert_msg(schema_equal(&blockdev_options_type, o, again), "%s", options);
	blockdev_options_free(o);
	blockdev_options_free(again);
}

void names_are_json(const struct name_format *f, const char *const *options, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check_json(f, options[i]);
}
