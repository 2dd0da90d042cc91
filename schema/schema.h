/* SPDX-License-Identifier: MIT */
/*
 * The walker over the generated tables: it decodes, encodes, frees, copies and
 * compares every C object that the IDL describes.
 *
 * Nothing here recurses, so the depth of what arrives from outside costs heap
 * and never stack. All functions are pure: they may be called from any thread,
 * on objects that no other thread uses at the time.
 *
 * In C, a member that is itself a struct, union or alternate is a pointer; a
 * string is an owned char *; a list is an embedded struct schema_list under a
 * typed name; the branch of a union is embedded by value in its member u.
 */
#ifndef SCHEMA_SCHEMA_H
#define SCHEMA_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct json_t;
struct json_writer;

enum schema_kind {
	SCHEMA_NULL,      /* JSON null; no storage; only as a branch of an alternate */
	SCHEMA_BOOL,      /* bool */
	SCHEMA_INT,       /* int8_t to int64_t, uint8_t to uint64_t, by size and is_signed */
	SCHEMA_SIZE,      /* uint64_t in bytes; text may carry a suffix k, M, G, T, P, E */
	SCHEMA_NUMBER,    /* double */
	SCHEMA_STR,       /* char *, owned */
	SCHEMA_ANY,       /* struct json_t *, one reference */
	SCHEMA_ENUM,      /* a C enum, counted from 0 */
	SCHEMA_LIST,      /* struct schema_list by value */
	SCHEMA_STRUCT,    /* pointer */
	SCHEMA_UNION,     /* pointer; common members, a tag, branches by value */
	SCHEMA_ALTERNATE, /* pointer; told apart by the JSON type */
};

/* One member of a struct or union, or one branch of an alternate. */
struct schema_member {
	const char *name;
	const struct schema_type *type;
	const char *const *features; /* up to a NULL; NULL for none */
	int64_t initial;             /* the default of an absent scalar */
	uint16_t offset;             /* of the value */
	int16_t has_offset;          /* of the bool has_NAME, or -1 */
	bool optional;
	bool has_initial;
};

struct schema_type {
	const char *name;
	uint8_t kind;     /* enum schema_kind */
	bool is_signed;   /* integers */
	bool is_internal; /* the arguments of a command or event: without a name of its own */
	uint16_t id;      /* counts the generated types from 1; 0 for builtin ones */
	uint16_t count;   /* of members, or of the values of an enum */
	uint16_t tag;     /* union: which member */
	uint16_t branch_offset;              /* union: of u */
	uint32_t size;                       /* of the C object */
	const struct schema_member *members; /* struct, union, alternate */
	const char *const *values;           /* enum */
	const char *const *const *value_features; /* enum: by value, or NULL */
	const struct schema_type *const *branches; /* union: by tag value, each may be NULL */
	/* Struct: one row; union: one by tag value. Members, then the branch's, as they are written. */
	const uint8_t *const *orders;
	const struct schema_type *element;   /* list */
	const char *const *features;         /* up to a NULL; NULL for none */
};

/* What every generated list looks like. */
struct schema_list {
	size_t count;
	void *items;
};

struct schema_command {
	const char *name;
	const struct schema_type *args; /* NULL: takes none */
	const struct schema_type *ret;  /* NULL: returns the empty object */
	bool oob;                       /* may be executed out of band */
	bool instant;                   /* never waits: need not wait for others' commands either */
	bool concurrent;                /* may wait, and lets other clients' commands go on then */
	const char *const *features;
};

struct schema_event_info {
	const char *name;
	const struct schema_type *type; /* NULL: without data */
	const char *const *features;
};

/* The builtin types. */
extern const struct schema_type null_type, bool_type, int_type, int8_type, int16_type, int32_type,
	int64_type, uint8_type, uint16_type, uint32_type, uint64_type, size_type, number_type,
	str_type, any_type;

/* The deepest nesting of objects that is decoded: that of the JSON parser. */
#define SCHEMA_DEPTH_MAX 1024

/* How scalars are written in the input. */
enum schema_input {
	SCHEMA_INPUT_STRICT, /* as JSON has them: QMP */
	SCHEMA_INPUT_TEXT,   /* as text: key=value options */
	SCHEMA_INPUT_EITHER, /* either of both: json: file names */
};

/*
 * Make an object of type @t from @json, which stays the caller's.
 *
 * Unknown members, missing members, wrong types and values out of range are
 * errors. @what names the root in messages, NULL for none: members are then
 * called 'file.filename' or 'actions[0].type'. On success *ret is the object
 * (for a list: a malloc'ed struct schema_list; for a scalar: malloc'ed storage),
 * freed with schema_free(). Returns 0, -EINVAL, or -ERANGE for numbers.
 */
int schema_decode(const struct schema_type *t, struct json_t *json, const char *what, void **ret,
		  struct error **errp);

/* schema_decode() with another form of scalars. */
int schema_decode_input(const struct schema_type *t, struct json_t *json, enum schema_input input,
			const char *what, void **ret, struct error **errp);

/*
 * Make an object from the text of an option: "driver=file,filename=a,,b" (see
 * schema/keyval.h), or JSON when it starts with '{'. @implied_key is the name of
 * a first value without a key, or NULL. Errors as schema_decode(), and those of
 * the syntax.
 */
int schema_decode_keyval(const struct schema_type *t, const char *text, const char *implied_key,
			 void **ret, struct error **errp);

/*
 * Make an object from JSON text such as follows "json:" in a file name (see
 * schema/json_name.h). Members may be written with dotted keys, and scalars as
 * strings.
 */
int schema_decode_json_text(const struct schema_type *t, const char *text, void **ret,
			    struct error **errp);

/* The object as a new json_t reference. Asserts that required pointers are set. */
struct json_t *schema_encode(const struct schema_type *t, const void *object);

/* Append the object to @w as a value. */
void schema_write(struct json_writer *w, const struct schema_type *t, const void *object);

/* The object as JSON text on one line; free with free(). */
char *schema_encode_json_text(const struct schema_type *t, const void *object);

/* Free @object, which may be NULL or half built, and everything below it. */
void schema_free(const struct schema_type *t, void *object);

/* Free what is below @object and clear it; its own memory is the caller's. */
void schema_finish(const struct schema_type *t, void *object);

/* A deep copy, freed with schema_free(). NULL gives NULL. */
void *schema_clone(const struct schema_type *t, const void *object);

/* True when both are NULL or hold the same values. */
bool schema_equal(const struct schema_type *t, const void *a, const void *b);

/* The text of an enum's value, which must be in range. */
const char *schema_enum_name(const struct schema_type *t, int value);

/* The value with that text. Returns 0, or -EINVAL. */
int schema_enum_from_name(const struct schema_type *t, const char *name, int *ret);

/* Zeroed room for one more item of @item_size bytes at the end of a generated list. */
void *schema_list_grow(void *list, size_t item_size);

#endif
