/* SPDX-License-Identifier: MIT */
/*
 * The table of subcommands, which --help shows.
 */
#include "tools/img/img.h"

struct img the_img;

#define COMMON "[--image-opts] [-f FORMAT] "

const struct img_command img_commands[] = {
	{"convert", img_convert,
	 "[--image-opts] [-f FORMAT] [-U] [-T CACHE] [-l SNAPSHOT] [--salvage]\n"
	 "    [--target-image-opts] [-O FORMAT] [-t CACHE] [-n [--target-is-zero]] [-o OPTIONS] [-c]\n"
	 "    [-B BACKING_FILE [-F FORMAT]] [-S SPARSE_SIZE] [-r RATE] [-m COROUTINES] [-W] [-C]\n"
	 "    [-p] [-q] FILE [FILE2...] TARGET"},
	{"create", img_create,
	 "[-q] [-f FORMAT] [-b BACKING_FILE [-F FORMAT]] [-u] [-o OPTIONS] FILE [SIZE]"},
	{"info", img_info, COMMON "[--output=human|json] [--backing-chain] [-U] FILE"},
	{"resize", img_resize,
	 COMMON "[--preallocation=off|metadata|falloc|full] [-q] [--shrink] FILE [+|-]SIZE"},
	{"snapshot", img_snapshot,
	 COMMON "[-U] [-q] [-l | -a SNAPSHOT | -c SNAPSHOT | -d SNAPSHOT] FILE"},
	{0},
};
