/* SPDX-License-Identifier: MIT */
/*
 * Sizes, bars and JSON for people.
 */
#include <langinfo.h>
#include <stdio.h>
#include <string.h>

#include "tools/client/client.h"

bool text_is_utf8(void)
{
	return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

char *text_size(uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	unsigned unit = 0;
	double n = (double)bytes;
	/* 1000 of a unit would take a fourth digit. */
	while (n >= 1000 && unit < ARRAY_SIZE(units) - 1) {
		n /= 1024;
		unit++;
	}
	return xasprintf("%.3g %s", n, units[unit]);
}

char *text_bar(unsigned percent, unsigned width)
{
	const char *full = text_is_utf8() ? "█" : "#", *empty = text_is_utf8() ? "░" : ".";
	char *bar = xalloc(width + 1, strlen(full));
	for (unsigned i = 0; i < width; i++)
		strcat(bar, i < percent * width / 100 ? full : empty);
	return bar;
}

char *text_json(json_t *json, bool pretty)
{
	struct json_writer w = {.pretty = pretty};
	json_writer_json(&w, json);
	return json_writer_take(&w);
}
