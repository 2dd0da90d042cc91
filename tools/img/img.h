/* SPDX-License-Identifier: MIT */
/*
 * cairn-img: what its subcommands share.
 *
 * The program is one coroutine on one loop, which ends when the subcommand has
 * returned. Each subcommand is a file img_NOUN.c.
 */
#ifndef TOOLS_IMG_IMG_H
#define TOOLS_IMG_IMG_H

#include "base/error.h"
#include "base/loop.h"
#include "block/consumer.h"
#include "block/node.h"

struct graph;
struct json_writer;

/* The world in which the subcommand works. */
struct img {
	struct loop *loop;
	struct graph *graph;
};
extern struct img the_img;

/* A subcommand: its arguments begin with its name; returns the exit code. */
struct img_command {
	const char *name;
	int co_fn (*run)(int argc, char **argv);
	const char *usage; /* its options and operands, as --help shows them */
};
/* All of them, ending with a name that is NULL. */
extern const struct img_command img_commands[];

int co_fn img_amend(int argc, char **argv);
int co_fn img_bench(int argc, char **argv);
int co_fn img_bitmap(int argc, char **argv);
int co_fn img_check(int argc, char **argv);
int co_fn img_commit(int argc, char **argv);
int co_fn img_compare(int argc, char **argv);
int co_fn img_convert(int argc, char **argv);
int co_fn img_create(int argc, char **argv);
int co_fn img_dd(int argc, char **argv);
int co_fn img_info(int argc, char **argv);
int co_fn img_map(int argc, char **argv);
int co_fn img_measure(int argc, char **argv);
int co_fn img_rebase(int argc, char **argv);
int co_fn img_resize(int argc, char **argv);
int co_fn img_snapshot(int argc, char **argv);

/* ---- objects.c: secrets, credentials and throttle groups ---- */

/* Make the object that @text describes: 0, or 1 after saying what is wrong. Waits for files. */
int co_fn img_object_add(const char *text);
/* Forget all of them. No node is left. */
void img_objects_delete(void);

/* ---- say.c: what people read ---- */

/* One line on standard error, after the program's name. Always returns 1, an exit code. */
int img_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, before what @error says, which is freed. */
int img_error_about(struct error *error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* What @error says, which is freed. Returns 1. */
int img_report(struct error *error);
/* A mistake in the arguments: the line, and where help is. Returns 1. */
int img_misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
void img_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Bytes for people: "64 MiB", "1.5 GiB", three digits. In memory of the caller. */
#define IMG_SIZE_CHARS 32
const char *img_human_size(uint64_t bytes, char ret[IMG_SIZE_CHARS]);
/* Print a value as indented JSON, with a newline, and empty the writer. */
void img_print_json(struct json_writer *w);
void img_help(void);
/* Print how @command is used. */
void img_command_help(const struct img_command *command);
void img_version(void);

/* ---- progress.c ---- */

/* Show progress as it comes, or else when SIGUSR1 asks for it. Standard output. */
void img_progress_begin(bool shows);
/* So much of all is done. */
void img_progress(uint64_t done, uint64_t all);
/* The last word: everything is done unless @failed. */
void img_progress_end(bool failed);

#endif
