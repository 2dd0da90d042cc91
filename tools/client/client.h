/* SPDX-License-Identifier: MIT */
/*
 * cairn, a person's client of a daemon: what its files share. One thread; calls block.
 *
 * It knows the daemon by its answers only: commands and their arguments from
 * query-qmp-schema, so that it serves any daemon that speaks QMP.
 */
#ifndef TOOLS_CLIENT_CLIENT_H
#define TOOLS_CLIENT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/util.h"
#include "schema/json.h"

static inline void cleanup_json(json_t **json)
{
	json_release(*json);
}
#define _cleanup_json_ __attribute__((cleanup(cleanup_json)))

/* --- session.c: a connection to a monitor ------------------------------------------------ */

struct session;

/*
 * Connect to the UNIX socket @path and negotiate. Errors: those of connect(2); -ETIMEDOUT
 * when nobody greets, as where the monitor is busy with another client; -EPROTO.
 */
int session_open(const char *path, struct session **ret, struct error **errp);
/* NULL is allowed. */
void session_close(struct session *s);
/*
 * Run @command and wait for its end. @arguments is taken, and may be NULL. *ret is the caller's.
 * Returns 0; -EREMOTEIO with the daemon's sentence when the command failed; -ECONNRESET or -EPROTO.
 */
int session_execute(struct session *s, const char *command, json_t *arguments, json_t **ret,
		    struct error **errp);
/*
 * Wait @timeout_ms milliseconds for an event, for ever when that is negative. Returns 1 with the
 * event in *ret, which is the caller's; 0 when the time is over; or as session_execute().
 */
int session_wait(struct session *s, int timeout_ms, json_t **ret, struct error **errp);

/* --- schema.c: what the daemon takes ------------------------------------------------------ */

/* The answer to query-qmp-schema, with an index. */
struct schema {
	json_t *entities; /* the answer itself */
	json_t *by_name;  /* object: name to entity */
};

int schema_get(struct session *s, struct schema *ret, struct error **errp);
void schema_finish(struct schema *schema);
/* The entity called @name, which exists if another one mentions it; else NULL. Borrowed. */
json_t *schema_find(const struct schema *schema, const char *name);
/* The object type of the arguments of @command; NULL when there is no such command. */
json_t *schema_arguments(const struct schema *schema, const char *command);
/* The string member @key of an entity or of what is in one; NULL when it has none. */
const char *schema_text(const json_t *json, const char *key);
/* The entity of @member's type. */
json_t *schema_type_of(const struct schema *schema, const json_t *member);

/*
 * Call @fn for the members of object type @type, those included that the value of its tag in
 * @values brings, until it returns false. @values may be NULL.
 */
void schema_each_member(const struct schema *schema, const json_t *type, const json_t *values,
			bool (*fn)(void *arg, const json_t *member), void *arg);
/* Its member called by the first @length bytes of @key; NULL when there is none. */
const json_t *schema_member(const struct schema *schema, const json_t *type, const json_t *values,
			    const char *key, size_t length);
/*
 * Call @fn for each word that a value of @type may be, and with NULL when others may be, too.
 */
void schema_each_word(const struct schema *schema, const json_t *type,
		      void (*fn)(void *arg, const char *word), void *arg);

/* --- words.c: from the command line to arguments ------------------------------------------- */

/*
 * Put together the arguments of @command from @count words key=value. A key goes into objects and
 * lists with dots ("file.driver", "server.0.host"); numbers may have a suffix k, M, G, T; a value
 * of any other kind is JSON. Or else the one word is a JSON object. Returns 0 or -EINVAL.
 */
int words_to_arguments(const struct schema *schema, const char *command, char *const *words,
		       int count, json_t **ret, struct error **errp);

/*
 * From the words that can be understood: the object of which "a.b." in the key @key is a prefix.
 * *ret_type is its type, NULL when it is none; *ret_values what it has so far, maybe NULL. Both are
 * borrowed, from @schema and @arguments.
 */
void words_find_object(const struct schema *schema, const char *command, const json_t *arguments,
		       const char *key, const json_t **ret_type, const json_t **ret_values);
/* As words_to_arguments(), but leaving out what cannot be understood. */
json_t *words_to_partial(const struct schema *schema, const char *command, char *const *words,
			 int count);

/* --- text.c ------------------------------------------------------------------------------ */

/* Whether the terminal shows more than ASCII. */
bool text_is_utf8(void);
/* "64 MiB" of @bytes; free with free(). */
char *text_size(uint64_t bytes);
/* A bar of @width characters, filled to @percent; free with free(). */
char *text_bar(unsigned percent, unsigned width);
/* @json in one line, or in several. Free with free(). */
char *text_json(json_t *json, bool pretty);

/* --- The commands of our own: each returns an exit code or a negative errno with *errp ------ */

int client_complete(struct session *s, int argc, char **argv, struct error **errp);
int client_commands(struct session *s, int argc, char **argv, struct error **errp);
int client_events(struct session *s, int argc, char **argv, struct error **errp);
int client_graph(struct session *s, int argc, char **argv, struct error **errp);
int client_jobs(struct session *s, int argc, char **argv, struct error **errp);

/* How much of what @job, of query-jobs, has to do is done. */
unsigned client_job_percent(const json_t *job);

/* Those commands, in order; the last one's name is NULL. */
struct client_verb {
	const char *name, *usage, *summary;
	int (*run)(struct session *s, int argc, char **argv, struct error **errp);
};
extern const struct client_verb client_verbs[];

#endif
