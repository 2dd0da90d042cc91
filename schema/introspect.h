/* SPDX-License-Identifier: MIT */
/*
 * The interface's description of itself. Any thread.
 */
#ifndef SCHEMA_INTROSPECT_H
#define SCHEMA_INTROSPECT_H

#include "schema/types.h"

/*
 * Describe all commands and events and what they reach, as query-qmp-schema
 * answers: in order of first mention, types under numbers. Nothing is kept; the
 * list is the caller's, who frees its content with schema_finish().
 */
void schema_introspect(struct schema_info_list *ret);

#endif
