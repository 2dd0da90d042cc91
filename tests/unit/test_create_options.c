/* SPDX-License-Identifier: MIT */
/* block/create_options.c and text.c: options of creation, divided and renamed. */
#include "tests/unit/unit.h"

#include "base/cleanup.h"
#include "block/create_options.h"
#include "block/driver.h"
#include "block/text.h"
#include "drivers/table.h"

static const struct driver *driver(const char *name)
{
	for (const struct driver *const *d = driver_table; *d; d++) {
		if (strcmp((*d)->name, name) == 0)
			return *d;
	}
	ck_abort_msg("no driver %s", name);
}

START_TEST(options_go_to_whom_they_belong)
{
	static const struct {
		const char *text, *format, *for_format, *for_storage;
	} cases[] = {
		{NULL, "qcow2", "", ""},
		{"cluster_size=4k,nocow=on", "qcow2", "cluster-size=4k", "nocow=on"},
		{"lazy_refcounts,compat=1.1", "qcow2", "lazy-refcounts=on,version=v3", ""},
		{"compat=0.10", "qcow2", "version=v2", ""},
		{"compat=v2", "qcow2", "version=v2", ""},
		{"preallocation=full", "qcow2", "preallocation=full", ""},
		{"preallocation=full,extent_size_hint=1M", NULL, "",
		 "preallocation=full,extent-size-hint=1M"},
		{"backing_file=a,,b", "qcow2", "backing-file=a,,b", ""},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *format _cleanup_free_ = NULL, *storage _cleanup_free_ = NULL;
		const struct driver *d = cases[i].format ? driver(cases[i].format) : NULL;
		ck_assert_int_eq(create_options_split(cases[i].text, d, driver("file"), &format,
						      &storage, NULL), 0);
		ck_assert_str_eq(format, cases[i].for_format);
		ck_assert_str_eq(storage, cases[i].for_storage);
	}
}
END_TEST

START_TEST(unknown_options_and_places_are_refused)
{
	static const char *const cases[] = {"foo=1", "file=x", "filename=x", "size=1", "cluster_size=1",
					    "location.x=1"};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *format = NULL, *storage = NULL;
		struct error *error = NULL;
		ck_assert_int_eq(create_options_split(cases[i], NULL, driver("file"), &format,
						      &storage, &error), -EINVAL);
		ck_assert_msg(string_starts_with(error->message, "Invalid parameter '"), "%s",
			      error->message);
		ck_assert_ptr_null(format);
		error_free(error);
	}
}
END_TEST

START_TEST(text_is_taken_apart)
{
	char *rest _cleanup_free_ = text_without_key("a=1,b=x,,y,a=2,ab=3", "a");
	ck_assert_str_eq(rest, "b=x,,y,ab=3");
	char *nothing _cleanup_free_ = text_without_key("a=1", "a");
	ck_assert_str_eq(nothing, "");
	char *plain _cleanup_free_ = text_unescape("x,,y,,,,z");
	ck_assert_str_eq(plain, "x,y,,z");
	char *last _cleanup_free_ = text_value("a=1,b=x,a=2,ab=3", "a");
	ck_assert_str_eq(last, "2");
	ck_assert(text_has_word("a=1,b,c=2", "b"));
	ck_assert(!text_has_word("a=1,bb,c=b", "b"));
	ck_assert(!text_has_word("", "b"));
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(options_go_to_whom_they_belong),
	UNIT_TEST(unknown_options_and_places_are_refused),
	UNIT_TEST(text_is_taken_apart),
};

UNIT_MAIN("create_options", tests)
