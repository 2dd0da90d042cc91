/* SPDX-License-Identifier: MIT */
/*
 * Messages, sizes and help.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "block/driver.h"
#include "block/graph.h"
#include "schema/json.h"
#include "tools/img/img.h"

static void say(const char *kind, const char *format, va_list args)
{
	fflush(stdout); /* what was printed before stands before */
	fprintf(stderr, "cairn-img: %s", kind);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

int img_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say("", format, args);
	va_end(args);
	return 1;
}

int img_error_about(struct error *error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	char *what _cleanup_free_ = xvasprintf(format, args);
	va_end(args);
	char *text _cleanup_free_ = error_text(error);

	img_error("%s: %s", what, text);
	error_free(error);
	return 1;
}

int img_report(struct error *error)
{
	char *text _cleanup_free_ = error_text(error);

	img_error("%s", text);
	error_free(error);
	return 1;
}

int img_misuse(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say("", format, args);
	va_end(args);
	fputs("Try 'cairn-img --help' for more information\n", stderr);
	return 1;
}

void img_warn(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say("warning: ", format, args);
	va_end(args);
}

const char *img_human_size(uint64_t bytes, char ret[IMG_SIZE_CHARS])
{
	static const char *const units[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
	unsigned unit = 0;
	double n = bytes;

	/* 1000 of a unit would take a fourth digit. */
	while (n >= 1000 && unit < ARRAY_SIZE(units) - 1) {
		n /= 1024;
		unit++;
	}
	snprintf(ret, IMG_SIZE_CHARS, "%0.3g %sB", n, units[unit]);
	return ret;
}

void img_print_json(struct json_writer *w)
{
	char *text _cleanup_free_ = json_writer_take(w);

	puts(text);
}

void img_version(void)
{
	puts("cairn-img version " CAIRN_VERSION);
}

void img_command_help(const struct img_command *command)
{
	printf("usage: cairn-img %s %s\n", command->name, command->usage);
}

static void print_formats(void)
{
	fputs("\nSupported formats:", stdout);
	for (const struct driver *const *d = the_img.graph->drivers; *d; d++)
		printf(" %s", (*d)->name);
	putchar('\n');
}

void img_help(void)
{
	img_version();
	puts("usage: cairn-img [-h | --help | -V | --version] command [command options]\n"
	     "Create, convert, examine and change disk images.\n"
	     "\n"
	     "Commands:");
	for (const struct img_command *c = img_commands; c->name; c++)
		printf("  %s %s\n", c->name, c->usage);
	puts("\n"
	     "  FILE, NAME      a file, or a name such as nbd://host/export or json:{...}\n"
	     "  FORMAT          a driver, as listed below; found out by the content if not given\n"
	     "  CACHE           none, writeback, writethrough, directsync or unsafe\n"
	     "  SIZE            bytes, or with a suffix k, M, G, T, P or E, powers of 1024\n"
	     "  -o OPTIONS      name=value,... of the format; '-o help' lists them\n"
	     "  --image-opts    FILE is a description driver=...,key=value,... of a node\n"
	     "  --object TYPE,id=ID,...   with any command: make a secret, tls-creds-x509, tls-creds-psk\n"
	     "                  or throttle-group that images refer to\n"
	     "  -U              share the image with processes that write to it\n"
	     "  -p, -q          show progress; print nothing but errors\n"
	     "  --output=json   for programs\n"
	     "\n"
	     "The manual page cairn-img(1) says what they do.");
	print_formats();
}
