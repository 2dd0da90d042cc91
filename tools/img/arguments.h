/* SPDX-License-Identifier: MIT */
/*
 * Reading the arguments of a subcommand: a table of its options says where their
 * values go.
 */
#ifndef TOOLS_IMG_ARGUMENTS_H
#define TOOLS_IMG_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/coroutine.h"

enum img_argument_kind {
	ARGUMENT_FLAG,   /* bool: given */
	ARGUMENT_TEXT,   /* const char *: the last one given */
	ARGUMENT_WORDS,  /* char *: all that were given, joined by commas; free with free() */
	ARGUMENT_SIZE,   /* int64_t: bytes, with a suffix */
	ARGUMENT_CACHE,  /* struct img_cache */
	ARGUMENT_OUTPUT, /* bool: true for json, false for human */
	ARGUMENT_STEP,   /* struct img_steps: one more step, called @what */
	ARGUMENT_STEP_ON,/* the same with a value */
	ARGUMENT_COUNT,  /* int64_t from 0 to 2^31 - 1; without @what -1 for anything else */
};

/* How the host's page cache is used, and whether writes go through it. */
struct img_cache {
	bool direct, no_flush, writethrough;
};

/* What is to be done, in the order of the arguments. */
#define IMG_STEPS_MAX 64
struct img_steps {
	unsigned count;
	struct img_step {
		const char *name, *value; /* value NULL for none */
	} items[IMG_STEPS_MAX];
};

struct img_argument {
	const char *name; /* long; NULL for none */
	char letter;      /* 0 for none */
	unsigned char kind;
	void *to;         /* unchanged when the option is not given */
	const char *what; /* what messages call the value */
};

/* The rows of a table, which ends with the last. */
#define IMG_FLAG(name, letter, to) {name, letter, ARGUMENT_FLAG, to, NULL}
#define IMG_TEXT(name, letter, to) {name, letter, ARGUMENT_TEXT, to, NULL}
#define IMG_WORDS(name, letter, to) {name, letter, ARGUMENT_WORDS, to, NULL}
#define IMG_OUTPUT(name, letter, to) {name, letter, ARGUMENT_OUTPUT, to, NULL}
#define IMG_SIZE(name, letter, to, what) {name, letter, ARGUMENT_SIZE, to, what}
#define IMG_CACHE(name, letter, to, what) {name, letter, ARGUMENT_CACHE, to, what}
#define IMG_COUNT(name, letter, to, what) {name, letter, ARGUMENT_COUNT, to, what}
#define IMG_STEP(name, to) {name, 0, ARGUMENT_STEP, to, name}
#define IMG_STEP_ON(name, to) {name, 0, ARGUMENT_STEP_ON, to, name}
#define IMG_ARGUMENTS_END {0}

/*
 * Read the options of argv[0], a subcommand. *ret_words is what is no option.
 * Objects are made on the way (--object), which waits for their files.
 * Returns 0; 1 after saying what is wrong; -1 when help was wanted and given. With
 * @last_is_word the last argument is none, even when it looks like one (-1M).
 */
int co_fn img_arguments(int argc, char **argv, const struct img_argument *table, bool last_is_word,
			char ***ret_words, int *ret_count);

/* "none", "writeback", "writethrough", "directsync", "unsafe". Returns 0 or -EINVAL. */
int img_cache_parse(const char *text, struct img_cache *ret);

/* Bytes of at most INT64_MAX, after saying what is wrong otherwise: 0, or 1. */
int img_size_parse(const char *what, const char *text, int64_t *ret);

#endif
