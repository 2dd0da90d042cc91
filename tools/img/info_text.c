/* SPDX-License-Identifier: MIT */
/*
 * Images for people: the lines of "info" and the table of "snapshot -l".
 */
#include "tools/img/info_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "schema/json.h"
#include "schema/schema.h"
#include "tools/img/img.h"

static void print_snapshot(const struct snapshot_info *s, unsigned indent)
{
	char size[IMG_SIZE_CHARS], date[32] = "", clock[48], icount[24] = "";
	time_t seconds = s->date_sec;
	struct tm local;

	if (localtime_r(&seconds, &local))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &local);
	snprintf(clock, sizeof(clock), "%04" PRId64 ":%02d:%02d.%03d", s->vm_clock_sec / 3600,
		 (int)(s->vm_clock_sec / 60 % 60), (int)(s->vm_clock_sec % 60),
		 (int)(s->vm_clock_nsec / 1000000));
	if (s->has_icount)
		snprintf(icount, sizeof(icount), "%" PRId64, s->icount);
	printf("%*s%-7s %-16s %8s %19s %15s %10s\n", indent, "", s->id, s->name,
	       img_human_size(s->vm_state_size, size), date, clock, icount);
}

void info_print_snapshots(const struct snapshot_info_list *list, unsigned indent)
{
	printf("%*sSnapshot list:\n", indent, "");
	printf("%*s%-7s %-16s %8s %19s %15s %10s\n", indent, "", "ID", "TAG", "VM_SIZE", "DATE",
	       "VM_CLOCK", "ICOUNT");
	for (size_t i = 0; i < list->count; i++)
		print_snapshot(list->items[i], indent);
}

static void print_value(json_t *value, unsigned indent);

static void print_object(json_t *object, unsigned indent)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value) {
		printf("%*s", indent, "");
		for (const char *p = key; *p; p++)
			putchar(*p == '-' ? ' ' : *p);
		putchar(':');
		print_value(value, indent);
	}
}

static void print_list(json_t *list, unsigned indent)
{
	size_t i;
	json_t *value;

	json_array_foreach(list, i, value) {
		printf("%*s[%zu]:", indent, "", i);
		print_value(value, indent);
	}
}

/* After a colon: on the same line, or indented below. What a schema describes is not deep. */
static void print_value(json_t *value, unsigned indent)
{
	if (json_is_object(value) || json_is_array(value)) {
		putchar('\n');
		(json_is_object(value) ? print_object : print_list)(value, indent + 4);
	} else if (json_is_string(value)) {
		printf(" %s\n", json_string_value(value));
	} else if (json_is_integer(value)) {
		printf(" %" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
	} else {
		printf(" %s\n", json_is_true(value) ? "true" : "false");
	}
}

static void print_specific(const struct image_info_specific *specific, unsigned indent)
{
	json_t *json = schema_encode(&image_info_specific_type, specific);
	json_t *data = json_object_get(json, "data");

	if (json_object_size(data) > 0) {
		printf("%*sFormat specific information:\n", indent, "");
		print_object(data, indent + 4);
	}
	json_release(json);
}

static void print_backing(const struct image_info *info, unsigned indent)
{
	const char *full = info->full_backing_filename;

	printf("%*sbacking file: %s", indent, "", info->backing_filename);
	if (!full)
		printf(" (cannot determine actual path)");
	else if (strcmp(full, info->backing_filename) != 0)
		printf(" (actual path: %s)", full);
	putchar('\n');
	if (info->backing_filename_format)
		printf("%*sbacking file format: %s\n", indent, "", info->backing_filename_format);
}

void info_print(const struct image_info *info, unsigned indent, bool is_storage)
{
	char size[IMG_SIZE_CHARS], disk_size[IMG_SIZE_CHARS] = "unavailable";

	if (info->has_actual_size)
		img_human_size(info->actual_size, disk_size);
	printf("%*s%s: %s\n", indent, "", is_storage ? "filename" : "image", info->filename);
	printf("%*s%s: %s\n", indent, "", is_storage ? "protocol type" : "file format",
	       info->format);
	printf("%*s%s: %s (%" PRId64 " bytes)\n", indent, "",
	       is_storage ? "file length" : "virtual size",
	       img_human_size(info->virtual_size, size), info->virtual_size);
	printf("%*sdisk size: %s\n", indent, "", disk_size);
	if (info->has_cluster_size)
		printf("%*scluster_size: %" PRId64 "\n", indent, "", info->cluster_size);
	if (info->has_dirty_flag && info->dirty_flag)
		printf("%*scleanly shut down: no\n", indent, "");
	if (info->backing_filename)
		print_backing(info, indent);
	if (info->has_snapshots)
		info_print_snapshots(&info->snapshots, indent);
	if (info->format_specific)
		print_specific(info->format_specific, indent);
}
