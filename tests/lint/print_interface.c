/* SPDX-License-Identifier: MIT */
/*
 * Prints what query-qmp-schema answers, without a daemon.
 */
#include <stdio.h>

#include "schema/introspect.h"
#include "schema/json.h"

int main(void)
{
	struct schema_info_list list;
	struct json_writer w = {.pretty = true};

	schema_introspect(&list);
	schema_write(&w, &schema_info_list_type, &list);
	json_writer_raw(&w, "\n", 1);
	fwrite(w.text, 1, w.length, stdout);
	json_writer_finish(&w);
	schema_finish(&schema_info_list_type, &list);
	return 0;
}
