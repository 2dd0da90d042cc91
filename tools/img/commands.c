/* SPDX-License-Identifier: MIT */
/*
 * The table of subcommands, which --help shows.
 */
#include "tools/img/img.h"

struct img the_img;

#define COMMON "[--image-opts] [-f FORMAT] "

const struct img_command img_commands[] = {
	{"amend", img_amend, COMMON "[-t CACHE] [-p] [-q] [--force] -o OPTIONS FILE"},
	{"bench", img_bench,
	 COMMON "[-c COUNT] [-d DEPTH] [-s SIZE] [-S STEP] [-o OFFSET] [-w] [--pattern=BYTE]\n"
	 "    [--flush-interval=COUNT] [--no-drain] [-n] [-i AIO] [-t CACHE] [-q] [-U] FILE"},
	{"bitmap", img_bitmap,
	 "(--add | --remove | --clear | --enable | --disable | --merge=BITMAP)...\n"
	 "    [-g GRANULARITY] [-b SOURCE_FILE [-F FORMAT]] [--image-opts] [-f FORMAT] FILE BITMAP"},
	{"check", img_check,
	 COMMON "[--output=human|json] [-r leaks|all] [-T CACHE] [-U] [-q] FILE"},
	{"commit", img_commit,
	 COMMON "[-t CACHE] [-b BASE_FILE] [-d] [-r RATE] [-p] [-q] FILE"},
	{"compare", img_compare,
	 COMMON "[-F FORMAT] [-T CACHE] [-s] [-U] [-p] [-q] FILE1 FILE2"},
	{"convert", img_convert,
	 "[--image-opts] [-f FORMAT] [-U] [-T CACHE] [-l SNAPSHOT] [--salvage]\n"
	 "    [--target-image-opts] [-O FORMAT] [-t CACHE] [-n [--target-is-zero]] [-o OPTIONS] [-c]\n"
	 "    [-B BACKING_FILE [-F FORMAT]] [-S SPARSE_SIZE] [-r RATE] [-m COROUTINES] [-W] [-C]\n"
	 "    [--bitmaps [--skip-broken-bitmaps]] [-p] [-q] FILE [FILE2...] TARGET"},
	{"create", img_create,
	 "[-q] [-f FORMAT] [-b BACKING_FILE [-F FORMAT]] [-u] [-o OPTIONS] FILE [SIZE]"},
	{"dd", img_dd,
	 COMMON "[-U] [-O FORMAT] [bs=SIZE] [count=BLOCKS] [skip=BLOCKS] if=FILE of=TARGET"},
	{"info", img_info, COMMON "[--output=human|json] [--backing-chain] [--limits] [-U] FILE"},
	{"map", img_map,
	 COMMON "[--output=human|json] [--start-offset=SIZE] [--max-length=SIZE] [-U] FILE"},
	{"measure", img_measure,
	 "[--output=human|json] [-O FORMAT] [-o OPTIONS]\n"
	 "    (--size=SIZE | [--image-opts] [-f FORMAT] [-l SNAPSHOT] [-U] FILE)"},
	{"rebase", img_rebase,
	 COMMON "[-t CACHE] [-T CACHE] [-u] [-c] [-p] [-q] [-U] -b BACKING_FILE [-F FORMAT] FILE"},
	{"resize", img_resize,
	 COMMON "[--preallocation=off|metadata|falloc|full] [-q] [--shrink] FILE [+|-]SIZE"},
	{"snapshot", img_snapshot,
	 COMMON "[-U] [-q] [-l | -a SNAPSHOT | -c SNAPSHOT | -d SNAPSHOT] FILE"},
	{0},
};
