/* SPDX-License-Identifier: MIT */
/*
 * The descriptor: the text that says what an image consists of. Pure functions of
 * memory; whatever the text is, they end with an answer or an error.
 */
#ifndef DRIVERS_VMDK_DESCRIPTOR_H
#define DRIVERS_VMDK_DESCRIPTOR_H

#include "base/error.h"
#include "base/util.h"

/* Longest text that is read, in bytes, and most extents of one image. */
#define VMDK_DESCRIPTOR_BYTES_MAX (1 * MiB)
#define VMDK_EXTENTS_MAX 4096
/* Longest name of a file in it. */
#define VMDK_NAME_MAX 1023
#define VMDK_NO_CID UINT32_C(0xffffffff)

enum vmdk_extent_type {
	VMDK_FLAT,
	VMDK_VMFS,       /* flat, on an ESX server */
	VMDK_SPARSE,
	VMDK_VMFSSPARSE, /* COWD */
	VMDK_SESPARSE,
	VMDK_ZERO,
};

/* One line about an extent. */
struct vmdk_line {
	enum vmdk_extent_type type;
	bool read_only;
	uint64_t bytes;  /* of the disk */
	char *name;      /* NULL for VMDK_ZERO */
	uint64_t offset; /* bytes, in a flat file */
};

struct vmdk_descriptor {
	uint32_t cid, parent_cid; /* VMDK_NO_CID for none */
	char *create_type;        /* NULL for none */
	char *parent_name;        /* parentFileNameHint; NULL for none */
	struct vmdk_line *lines;
	unsigned count;
};

/*
 * Parse @bytes of text, which end early at a NUL. -EINVAL when the content IDs are no
 * numbers, the parent's is missing, or a line about an extent is malformed; -EFBIG for
 * too many extents. Lines about extents count only with @has_lines. vmdk_descriptor_finish() is due in any case.
 */
int vmdk_descriptor_parse(const char *text, size_t bytes, bool has_lines,
			  struct vmdk_descriptor *ret, struct error **errp);
void vmdk_descriptor_finish(struct vmdk_descriptor *d);

/* The name of a type as the text has it. */
const char *vmdk_extent_type_name(enum vmdk_extent_type type);

/* Whether the text begins as a descriptor does: comments, and then a version that is known. */
bool vmdk_descriptor_probe(const char *text, size_t bytes);

/* Where the digits of the image's own content ID are. False when there are none. */
bool vmdk_descriptor_find_cid(const char *text, size_t bytes, size_t *ret_offset,
			      size_t *ret_length);

/* What a new descriptor says. */
struct vmdk_description {
	const char *create_type;
	uint32_t cid, parent_cid;
	const char *parent_name;   /* NULL for none */
	const char *extent_lines;  /* each with its newline */
	const char *hardware_version, *adapter_type, *tools_version;
	uint64_t size; /* bytes */
};

/* The text. Free with free(). */
char *vmdk_descriptor_compose(const struct vmdk_description *d);

#endif
