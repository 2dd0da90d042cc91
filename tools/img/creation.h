/* SPDX-License-Identifier: MIT */
/*
 * An image that is to be made: what the arguments say about it, and making it.
 */
#ifndef TOOLS_IMG_CREATION_H
#define TOOLS_IMG_CREATION_H

#include "base/coroutine.h"
#include "base/error.h"

struct driver;

struct creation {
	const char *filename;
	const struct driver *format;  /* on top; a protocol where the image is bare storage */
	const struct driver *storage; /* below */
	char *options; /* key=value text without the following; "" for none */
	char *backing; /* NULL for none */
	char *backing_format;
	bool has_size;
	uint64_t size;
};

/*
 * Take @text, the options as given (NULL for none), for a new image called @filename of
 * @format. Unknown names are errors. creation_finish() is due in any case.
 */
int co_fn creation_parse(struct creation *c, const char *filename, const char *format,
			 const char *text, struct error **errp);
void creation_finish(struct creation *c);
/* Tell what is going to be made, on one line. */
void creation_print(const struct creation *c);
/* Make it. The size and the backing file's format are known by now. */
int co_fn creation_run(const struct creation *c, struct error **errp);
/*
 * How to open the new image, as for --image-opts, where its name does not say enough. NULL where
 * it does. Free with free().
 */
char *co_fn creation_description(const struct creation *c);
/* What the new image is sure to show before anything is written to it: zeroes. */
bool creation_gives_zeroes(const struct creation *c);

/* Print the list for @format and, unless NULL, @filename. Returns an exit code. */
int co_fn creation_help(const char *filename, const char *format);
/* Print, sorted, those options of images of @format that @names has, which ends with NULL. */
void creation_help_some(const struct driver *format, const char *const *names);

#endif
