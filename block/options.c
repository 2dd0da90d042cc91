/* SPDX-License-Identifier: MIT */
/*
 * Options by the schema's tables. Free of state.
 */
#include "block/options.h"

#include <string.h>

#include "base/util.h"

const struct schema_type *options_branch(const struct blockdev_options *o)
{
	return blockdev_options_type.branches[o->driver];
}

void *options_slot(const struct blockdev_options *o, const struct schema_member *m)
{
	return (char *)o + blockdev_options_type.branch_offset + m->offset;
}

const struct schema_member *options_find(const struct blockdev_options *o, const char *name)
{
	const struct schema_type *branch = options_branch(o);
	for (unsigned i = 0; branch && i < branch->count; i++) {
		if (strcmp(branch->members[i].name, name) == 0)
			return &branch->members[i];
	}
	return NULL;
}

/* Held by pointer, so that NULL tells absence. */
static bool is_pointer(const struct schema_type *t)
{
	return t->kind == SCHEMA_STR || t->kind == SCHEMA_ANY || t->kind >= SCHEMA_STRUCT;
}

bool options_has(const struct blockdev_options *o, const struct schema_member *m)
{
	if (is_pointer(m->type))
		return *(void **)options_slot(o, m);
	if (m->has_offset < 0)
		return true;
	return *((bool *)o + blockdev_options_type.branch_offset + m->has_offset);
}

bool options_member_equal(const struct blockdev_options *a, const struct blockdev_options *b,
			  const struct schema_member *m)
{
	const void *slot_a = options_slot(a, m), *slot_b = options_slot(b, m);
	if (m->type->kind == SCHEMA_STR)
		return string_equal(*(char *const *)slot_a, *(char *const *)slot_b);
	if (is_pointer(m->type))
		return schema_equal(m->type, *(void *const *)slot_a, *(void *const *)slot_b);
	/* Absence is a value of its own where there is no default to compare. */
	if (!m->has_initial && options_has(a, m) != options_has(b, m))
		return false;
	return schema_equal(m->type, slot_a, slot_b);
}

bool options_is_child(const struct schema_member *m)
{
	return m->type == &blockdev_ref_type || m->type == &blockdev_ref_or_null_type;
}

bool options_child(const struct blockdev_options *o, const struct schema_member *m,
		   struct child_ref *ret)
{
	*ret = (struct child_ref){0};
	if (!options_is_child(m) || !options_has(o, m))
		return false;
	if (m->type == &blockdev_ref_type) {
		const struct blockdev_ref *ref = *(struct blockdev_ref **)options_slot(o, m);
		if (ref->kind == BLOCKDEV_REF_DEFINITION)
			ret->definition = ref->u.definition;
		else
			ret->reference = ref->u.reference;
		return true;
	}
	const struct blockdev_ref_or_null *ref = *(struct blockdev_ref_or_null **)options_slot(o, m);
	if (ref->kind == BLOCKDEV_REF_OR_NULL_DEFINITION)
		ret->definition = ref->u.definition;
	else if (ref->kind == BLOCKDEV_REF_OR_NULL_REFERENCE)
		ret->reference = ref->u.reference;
	else
		ret->is_null = true;
	return true;
}

bool options_child_named(const struct blockdev_options *o, const char *name,
			 struct child_ref *ret)
{
	const struct schema_member *m = o ? options_find(o, name) : NULL;
	return m && options_child(o, m, ret);
}
