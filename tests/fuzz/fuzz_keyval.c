/* SPDX-License-Identifier: MIT */
/*
 * schema/keyval and json: names: whatever is accepted decodes to an object that
 * survives being written as JSON and decoded again; scalars of text never crash.
 */
#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "schema/json_name.h"
#include "schema/keyval.h"
#include "schema/tables.h"
#include "tests/fuzz/fuzz.h"

/* Exactly one of object and error is there. */
static void finish(const struct schema_type *t, int r, void *object, struct error *error)
{
	FUZZ_CHECK((r < 0) == (error != NULL) && (r < 0) == (object == NULL));
	if (object) {
		char *text = schema_encode_json_text(t, object);
		void *again = NULL;

		FUZZ_CHECK(schema_decode_keyval(t, text, NULL, &again, NULL) == 0);
		/* Bytes that are not UTF-8 cannot be written. */
		FUZZ_CHECK(strstr(text, "\\uFFFD") || schema_equal(t, object, again));
		schema_free(t, again);
		free(text);
	}
	schema_free(t, object);
	error_free(error);
}

static void try_options(const struct schema_type *t, const char *text, const char *implied_key)
{
	struct error *error = NULL;
	void *object = NULL;
	int r = schema_decode_keyval(t, text, implied_key, &object, &error);

	finish(t, r, object, error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = xalloc(size + 1, 1);
	struct blockdev_options *options = NULL;
	struct error *error = NULL;
	char *name;
	uint64_t number;
	double real;
	bool truth;
	int r;

	memcpy(text, data, size);
	try_options(&blockdev_options_type, text, "driver");
	try_options(&blockdev_create_options_type, text, "driver");
	try_options(&block_export_options_type, text, "type");
	try_options(&nbd_server_options_type, text, NULL);
	try_options(&chardev_options_type, text, "backend");
	keyval_parse_bool(text, &truth);
	keyval_parse_int(text, (int64_t *)&number);
	keyval_parse_size(text, &number);
	keyval_parse_number(text, &real);

	name = xasprintf("json:%s", text);
	r = json_name_decode(name, "raw", NULL, &options, &error);
	finish(&blockdev_options_type, r, options, error);
	free(name);
	free(text);
	return 0;
}
