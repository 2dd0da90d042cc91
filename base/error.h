/* SPDX-License-Identifier: MIT */
/*
 * Errors: a negative errno for the program and a sentence for the person.
 *
 * A function whose failure a person will read takes `struct error **errp` as
 * its last parameter. It sets *errp exactly when it returns an error, and
 * never looks at it. errp may be NULL. *errp must be NULL on entry. The
 * sentence has no full stop, no newline and no function name. Advice for a person
 * at a terminal goes into lines of its own, most of which QMP does not transmit.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <errno.h>
#include <stdarg.h>

/* The error classes of QMP. Everything that needs no special handling is generic. */
enum error_class {
	ERROR_GENERIC,
	ERROR_COMMAND_NOT_FOUND,
	ERROR_DEVICE_NOT_ACTIVE,
	ERROR_DEVICE_NOT_FOUND,
};

struct error {
	int code;              /* a negative errno */
	enum error_class class;
	char *message;
	char *hint;            /* lines of advice, each ended by a newline; NULL for none */
	char *detail;          /* one of these lines that QMP transmits, too; NULL for none */
};

/* Set *errp to the formatted sentence and return @code, a negative errno. */
int error_set(struct error **errp, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* As error_set(), with an error class other than generic. */
int error_set_class(struct error **errp, enum error_class class, int code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* As error_set(), appending ": " and the text of strerror(-code). */
int error_set_errno(struct error **errp, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Put the formatted text before the sentence of *errp, which may be NULL or unset. */
void error_prefix(struct error **errp, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Add the formatted text as a line of advice to *errp, which may be NULL or unset. */
void error_hint(struct error **errp, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The same for what programs should know as well: QMP adds it to the sentence. At most once. */
void error_detail(struct error **errp, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* What a terminal shows: the sentence, and the lines of advice below. Free with free(). */
char *error_text(const struct error *error);

/* Move @src to *errp (freeing it when errp is NULL). Returns src->code. */
int error_move(struct error **errp, struct error *src);

/* Free @error, which may be NULL. */
void error_free(struct error *error);

/* The class's name on the wire, such as "GenericError". */
const char *error_class_name(enum error_class class);

static inline void error_cleanup(struct error **error)
{
	error_free(*error);
}
#define _cleanup_error_ __attribute__((cleanup(error_cleanup)))

#endif
