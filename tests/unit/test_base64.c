/* SPDX-License-Identifier: MIT */
/* base/base64.c: what can be decoded, and what is refused. */
#include "base/base64.h"

#include "tests/unit/unit.h"

static void decodes(const char *text, const char *expected, size_t length)
{
	uint8_t *data;
	size_t bytes;
	ck_assert_int_eq(base64_decode(text, &data, &bytes, NULL), 0);
	ck_assert_uint_eq(bytes, length);
	ck_assert_mem_eq(data, expected, length + 1);
	free(data);
}

START_TEST(every_length_of_padding_is_decoded)
{
	decodes("", "", 0);
	decodes("Zg==", "f", 1);
	decodes("Zm8=", "fo", 2);
	decodes("Zm9v", "foo", 3);
	decodes("Zm9vYg==", "foob", 4);
	decodes("AP+/+w==", "\x00\xff\xbf\xfb", 4);
}
END_TEST

START_TEST(padding_may_be_missing_and_space_is_skipped)
{
	decodes("Zm8", "fo", 2);
	decodes(" Zm\n9v Yg =\n=", "foob", 4);
}
END_TEST

START_TEST(other_characters_are_refused)
{
	static const char *const texts[] = {"Zm9*", "Z", "Zm=v", "=Zm9", "Zm9v\x80"};
	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		uint8_t *data;
		size_t bytes;
		struct error *error = NULL;
		ck_assert_int_eq(base64_decode(texts[i], &data, &bytes, &error), -EINVAL);
		ck_assert_str_eq(error->message, "Base64 data contains invalid characters");
		error_free(error);
	}
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(every_length_of_padding_is_decoded),
	UNIT_TEST(padding_may_be_missing_and_space_is_skipped),
	UNIT_TEST(other_characters_are_refused),
};
UNIT_MAIN("base64", tests)
