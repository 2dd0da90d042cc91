/* SPDX-License-Identifier: MIT */
/*
 * drivers/rbd/name: what is accepted decodes to options, and the name printed for
 * them means the same options.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "drivers/rbd/name.h"
#include "schema/schema.h"
#include "tests/fuzz/fuzz.h"

static struct blockdev_options *parse(const char *name)
{
	char *text = NULL;
	struct error *error = NULL;
	int r = rbd_name_parse(name, &text, &error);
	FUZZ_CHECK((r < 0) == (error != NULL) && (r < 0) == (text == NULL));
	error_free(error);
	void *options = NULL;
	/* Text that is not UTF-8 is not decoded. */
	if (text)
		(void)schema_decode_keyval(&blockdev_options_type, text, NULL, &options, NULL);
	free(text);
	return options;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *input = xalloc(size + 1, 1);
	memcpy(input, data, size);
	char *name = xasprintf("rbd:%s", input);
	struct blockdev_options *options = parse(name);
	if (options) {
		char *printed = rbd_name_print(&options->u.rbd);
		struct blockdev_options *again = parse(printed);
		FUZZ_CHECK(schema_equal(&blockdev_options_type, options, again));
		blockdev_options_free(again);
		free(printed);
	}
	blockdev_options_free(options);
	free(name);
	free(input);
	return 0;
}
