/* SPDX-License-Identifier: MIT */
/*
 * File names of drivers with names of their own: whatever is understood gives
 * options that decode, and the name printed from them means the same.
 */
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/util.h"
#include "drivers/gluster/name.h"
#include "drivers/nbd/name.h"
#include "schema/schema.h"
#include "tests/fuzz/fuzz.h"

typedef int parse_fn(const char *name, char **ret, struct error **errp);

static struct blockdev_options *decode(char *text)
{
	void *options = NULL;
	/* A name may hold bytes that no text of the schema may. */
	schema_decode_keyval(&blockdev_options_type, text, "driver", &options, NULL);
	free(text);
	return options;
}

static char *print(const struct blockdev_options *o)
{
	return o->driver == BLOCKDEV_DRIVER_GLUSTER ? gluster_name_print(&o->u.gluster)
						    : nbd_name_print(&o->u.nbd);
}

static void try_name(parse_fn *parse, const char *prefix, const char *rest)
{
	char *name = xasprintf("%s%s", prefix, rest), *text = NULL;
	struct error *error = NULL;
	int r = parse(name, &text, &error);
	free(name);
	FUZZ_CHECK((r < 0) == (error != NULL) && (r < 0) == (text == NULL));
	error_free(error);
	struct blockdev_options *o = text ? decode(text) : NULL;
	if (!o)
		return;
	name = print(o);
	if (!string_starts_with(name, "json:")) {
		FUZZ_CHECK(parse(name, &text, NULL) == 0);
		struct blockdev_options *again = decode(text);
		FUZZ_CHECK(schema_equal(&blockdev_options_type, o, again));
		blockdev_options_free(again);
	}
	free(name);
	blockdev_options_free(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = xalloc(size + 1, 1);
	memcpy(text, data, size);
	log_set_level(LOG_LEVEL_ERROR);
	try_name(gluster_name_parse, "gluster:", text);
	try_name(gluster_name_parse, "gluster+", text);
	try_name(nbd_name_parse, "nbd:", text);
	try_name(nbd_name_parse, "nbd+", text);
	free(text);
	return 0;
}
