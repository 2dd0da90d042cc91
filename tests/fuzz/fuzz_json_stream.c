/* SPDX-License-Identifier: MIT */
/*
 * schema/json_stream: however the bytes are cut, the same comes out; and what
 * comes out as a value is the same when it is written and read again.
 */
#include <string.h>

#include "base/util.h"
#include "schema/json.h"
#include "schema/json_stream.h"
#include "tests/fuzz/fuzz.h"

/* Write and read; the new value. */
static json_t *round_trip(json_t *value, struct json_writer *w)
{
	json_t *copy;

	json_writer_json(w, value);
	FUZZ_CHECK(json_text_parse(w->text, w->length, &copy, NULL) == 0);
	return copy;
}

/* Once written, a value stays as it is. The first time, -0.0 may become -0, which is 0. */
static void check_round(json_t *value)
{
	struct json_writer w[3] = {{0}};
	json_t *first = round_trip(value, &w[0]);
	json_t *second = round_trip(first, &w[1]);

	json_release(round_trip(second, &w[2]));
	FUZZ_CHECK(w[1].length == w[2].length && memcmp(w[1].text, w[2].text, w[1].length) == 0);
	json_release(first);
	json_release(second);
	for (int i = 0; i < 3; i++)
		json_writer_finish(&w[i]);
}

static bool record(void *arg, json_t *value, const char *error)
{
	struct json_writer *w = arg;

	if (error) {
		json_writer_raw(w, error, strlen(error));
	} else {
		check_round(value);
		json_writer_json(w, value);
		json_release(value);
	}
	json_writer_raw(w, "\n", 1);
	return true;
}

/* Feed with cuts that @seed decides; 0 for none. */
static struct json_writer feed(const char *bytes, size_t size, uint32_t seed)
{
	struct json_writer w = {0};
	struct json_stream *s = json_stream_new(record, &w);

	for (size_t at = 0, n; at < size; at += n) {
		seed = seed * 1664525 + 1013904223 * (seed != 0);
		n = seed ? MIN(1 + (seed >> 16) % 13, size - at) : size;
		FUZZ_CHECK(json_stream_feed(s, bytes + at, n) == n);
	}
	json_stream_end(s);
	FUZZ_CHECK(json_stream_is_idle(s));
	json_stream_free(s);
	return w;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_writer whole = feed((const char *)data, size, 0);
	struct json_writer cut = feed((const char *)data, size, (uint32_t)size + 1);

	FUZZ_CHECK(whole.length == cut.length);
	FUZZ_CHECK(whole.length == 0 || memcmp(whole.text, cut.text, whole.length) == 0);
	json_writer_finish(&whole);
	json_writer_finish(&cut);
	return 0;
}
