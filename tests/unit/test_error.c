/* SPDX-License-Identifier: MIT */
/* base/error.c: who sets, moves and frees an error, and what its sentence says. */
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit.h"

START_TEST(set_returns_the_code_and_formats)
{
	struct error *error = NULL;
	ck_assert_int_eq(error_set(&error, -EINVAL, "Value %d of '%s'", 7, "x"), -EINVAL);
	ck_assert_int_eq(error->code, -EINVAL);
	ck_assert_int_eq(error->class, ERROR_GENERIC);
	ck_assert_str_eq(error->message, "Value 7 of 'x'");
	error_free(error);
}
END_TEST

START_TEST(nobody_who_asks_gets_the_code_alone)
{
	ck_assert_int_eq(error_set(NULL, -EIO, "%s", "lost"), -EIO);
	ck_assert_int_eq(error_set_errno(NULL, -EIO, "%s", "lost"), -EIO);
	ck_assert_int_eq(error_set_class(NULL, ERROR_DEVICE_NOT_FOUND, -ENODEV, "lost"), -ENODEV);
	error_prefix(NULL, "nothing: ");
}
END_TEST

START_TEST(set_errno_appends_the_reason)
{
	struct error *error = NULL;
	ck_assert_int_eq(error_set_errno(&error, -ENOENT, "Could not open '%s'", "a"), -ENOENT);
	ck_assert_str_eq(error->message, "Could not open 'a': No such file or directory");
	error_free(error);
}
END_TEST

START_TEST(class_has_its_name_on_the_wire)
{
	_cleanup_error_ struct error *error = NULL;
	error_set_class(&error, ERROR_DEVICE_NOT_ACTIVE, -ENODEV, "Job 'j' not found");
	ck_assert_str_eq(error_class_name(error->class), "DeviceNotActive");
	ck_assert_str_eq(error_class_name(ERROR_GENERIC), "GenericError");
	ck_assert_str_eq(error_class_name(ERROR_COMMAND_NOT_FOUND), "CommandNotFound");
	ck_assert_str_eq(error_class_name(ERROR_DEVICE_NOT_FOUND), "DeviceNotFound");
}
END_TEST

START_TEST(prefix_goes_before_the_sentence)
{
	_cleanup_error_ struct error *error = NULL;
	error_prefix(&error, "unset: ");
	ck_assert_ptr_null(error);
	error_set(&error, -EIO, "it broke");
	error_prefix(&error, "Node '%s': ", "n");
	ck_assert_str_eq(error->message, "Node 'n': it broke");
	ck_assert_int_eq(error->code, -EIO);
}
END_TEST

START_TEST(hints_follow_the_sentence_on_lines_of_their_own)
{
	_cleanup_error_ struct error *error = NULL;
	error_hint(NULL, "nothing");
	error_hint(&error, "unset");
	ck_assert_ptr_null(error);
	error_set(&error, -EIO, "it broke");
	char *text = error_text(error);
	ck_assert_str_eq(text, "it broke");
	free(text);
	error_hint(&error, "Is it [%s]?", "a\nb");
	error_hint(&error, "It is");
	error_prefix(&error, "Node: ");
	text = error_text(error);
	ck_assert_str_eq(text, "Node: it broke\nIs it [a b]?\nIt is");
	free(text);
	ck_assert_str_eq(error->message, "Node: it broke");
}
END_TEST

START_TEST(move_passes_ownership_or_frees)
{
	struct error *source = NULL;
	_cleanup_error_ struct error *target = NULL;
	error_set(&source, -EBUSY, "busy");
	ck_assert_int_eq(error_move(&target, source), -EBUSY);
	ck_assert_ptr_eq(target, source);

	struct error *unwanted = NULL;
	error_set(&unwanted, -EPERM, "no");
	ck_assert_int_eq(error_move(NULL, unwanted), -EPERM);
	error_free(NULL);
}
END_TEST

START_TEST(overwriting_an_error_aborts)
{
	struct error *error = NULL;
	error_set(&error, -EIO, "first");
	error_set(&error, -EIO, "second");
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(set_returns_the_code_and_formats),
	UNIT_TEST(nobody_who_asks_gets_the_code_alone),
	UNIT_TEST(set_errno_appends_the_reason),
	UNIT_TEST(class_has_its_name_on_the_wire),
	UNIT_TEST(prefix_goes_before_the_sentence),
	UNIT_TEST(hints_follow_the_sentence_on_lines_of_their_own),
	UNIT_TEST(move_passes_ownership_or_frees),
	UNIT_TEST_ABORTS(overwriting_an_error_aborts),
};

UNIT_MAIN("error", tests)
