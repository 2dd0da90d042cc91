/* SPDX-License-Identifier: MIT */
/*
 * "events": a line for each, as they come.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tools/client/client.h"

static bool is_wanted(const char *name, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (string_equal(name, argv[i]))
			return true;
	}
	return argc == 0;
}

static void print_event(const json_t *event)
{
	const json_t *stamp = json_object_get(event, "timestamp");
	time_t seconds = (time_t)json_integer_value(json_object_get(stamp, "seconds"));
	int milliseconds = (int)(json_integer_value(json_object_get(stamp, "microseconds")) / 1000);
	json_t *data = json_object_get(event, "data");
	char *text _cleanup_free_ = data ? text_json(data, false) : NULL;
	char clock[16] = "";
	struct tm tm;
	if (localtime_r(&seconds, &tm))
		strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	printf("%s.%03d %s%s%s\n", clock, milliseconds, schema_text(event, "event"), text ? " " : "",
	       text ? text : "");
	fflush(stdout);
}

int client_events(struct session *s, int argc, char **argv, struct error **errp)
{
	for (;;) {
		json_t *event _cleanup_json_ = NULL;
		int r = session_wait(s, -1, &event, errp);
		if (r < 0)
			return r;
		if (is_wanted(schema_text(event, "event"), argc, argv))
			print_event(event);
	}
}
