/* SPDX-License-Identifier: MIT */
/*
 * Help on options of the command line, out of the tables that decode them:
 * "help" instead of a value names the kinds there are, "KIND,help" the members
 * of one. Pure functions; any thread.
 */
#ifndef SCHEMA_OPTION_HELP_H
#define SCHEMA_OPTION_HELP_H

#include <stdbool.h>

struct schema_type;

/* Whether one of the words of @text, which may be NULL, is "help" or "?" without a value. */
bool option_wants_help(const char *text);

/*
 * What to print for @text, which wants help on an option of the struct or union
 * @t: lines below @heading with the values of a union's tag, unless @text has a
 * valid one, @is_implied being true if a first word without a key is that; else
 * lines "  NAME=<TYPE>", sorted, with all members but the tag and "id". Free
 * with free().
 */
char *option_help(const struct schema_type *t, const char *text, bool is_implied,
		  const char *heading);

#endif
