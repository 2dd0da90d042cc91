/* SPDX-License-Identifier: MIT */
/*
 * What is known of an image, as text for people.
 */
#ifndef TOOLS_IMG_INFO_TEXT_H
#define TOOLS_IMG_INFO_TEXT_H

#include <stdbool.h>

#include "schema/types.h"

/* Print it, indented by @indent; @is_storage: in the words for files and the like. */
void info_print(const struct image_info *info, unsigned indent, bool is_storage);
/* Print the table of snapshots, with its title. */
void info_print_snapshots(const struct snapshot_info_list *list, unsigned indent);

#endif
