/* SPDX-License-Identifier: MIT */
/*
 * JSON values from a stream of bytes that is cut anywhere.
 *
 * A state machine without I/O: bytes go in, values and errors come out. Values
 * need no separator between them, except that numbers and words do. Beyond RFC
 * 8259, strings may stand in single quotes and \' is an escape, as QMP clients
 * write them. The sequence \u0000 becomes the two bytes C0 80, so that strings
 * never hold a NUL; json_writer turns them back.
 *
 * After a byte that belongs to no JSON, whatever is under way is dropped and
 * bytes are skipped up to one of {}[],: or the end of the line; a value whose
 * brackets match but whose grammar is wrong is dropped whole. Either gives one
 * error, and the session goes on.
 *
 * Belongs to one thread at a time.
 */
#ifndef SCHEMA_JSON_STREAM_H
#define SCHEMA_JSON_STREAM_H

#include <stdbool.h>
#include <stddef.h>

struct json_t;

#define JSON_DEPTH_MAX 1024                      /* brackets within brackets */
#define JSON_SIZE_MAX ((size_t)64 << 20)         /* bytes of tokens in one value */
#define JSON_TOKEN_COUNT_MAX ((size_t)2 << 20)   /* tokens in one value */

/*
 * Takes a value, whose reference passes to it, or NULL and an error's text, valid
 * during the call. Returns true to go on. Must not feed or free the stream.
 */
typedef bool json_stream_fn(void *arg, struct json_t *value, const char *error);

struct json_stream;

struct json_stream *json_stream_new(json_stream_fn *fn, void *arg);
/* Drops what is under way. NULL is allowed. */
void json_stream_free(struct json_stream *s);

/*
 * Take in @n bytes and call fn for each value or error that they complete.
 * Returns how many were used: less than @n only after fn returned false, and
 * then the rest must be fed again later.
 */
size_t json_stream_feed(struct json_stream *s, const char *bytes, size_t n);

/*
 * Tell that no more bytes come: completes a number or word that waited for its
 * end, and reports a value that is cut short. The stream is then as new.
 */
void json_stream_end(struct json_stream *s);

/* True when nothing is under way: all bytes so far formed complete values. */
bool json_stream_is_idle(const struct json_stream *s);

#endif
