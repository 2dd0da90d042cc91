/* SPDX-License-Identifier: MIT */
/*
 * New images, from -o text to the image.
 */
#include "tools/img/creation.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/create_options.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/open.h"
#include "block/text.h"
#include "schema/keyval.h"
#include "tools/img/img.h"

/* Move the value of @key, if it is there, out of the text. */
static char *take_value(char **text, const char *key)
{
	char *value _cleanup_free_ = text_value(*text, key);

	if (!value)
		return NULL;
	char *rest = text_without_key(*text, key);

	free(*text);
	*text = rest;
	return text_unescape(value);
}

static int co_fn find_drivers(struct creation *c, const char *format, const char *protocol,
			      struct error **errp)
{
	char *name _cleanup_free_ = text_value(protocol, "driver");

	if (!graph_find_driver(the_img.graph, format))
		return error_set(errp, -ENOENT, "Unknown file format '%s'", format);
	c->format = graph_load_driver(the_img.graph, format, errp);
	c->storage = c->format ? graph_load_driver(the_img.graph, name, errp) : NULL;
	if (!c->storage)
		return -ENOENT;
	if (strcmp(format, "raw") != 0 && !c->format->create && !c->format->is_preexisting)
		return error_set(errp, -ENOTSUP,
				 "Format driver '%s' does not support image creation", format);
	if (!c->storage->create && !c->storage->is_preexisting)
		return error_set(errp, -ENOTSUP,
				 "Protocol driver '%s' does not support image creation", name);
	return 0;
}

/* The driver whose options come with the format's own: none for bare storage. */
static const struct driver *format_with_options(const struct creation *c)
{
	return c->format->is_format ? c->format : NULL;
}

static int take_size(struct creation *c, struct error **errp)
{
	char *text _cleanup_free_ = take_value(&c->options, "size");

	if (!text)
		return 0;
	if (keyval_parse_size(text, &c->size) < 0)
		return create_options_bad_size("size", errp);
	c->has_size = true;
	return 0;
}

int co_fn creation_parse(struct creation *c, const char *filename, const char *format,
			 const char *text, struct error **errp)
{
	char *protocol _cleanup_free_ = NULL, *one _cleanup_free_ = NULL,
	     *other _cleanup_free_ = NULL;

	*c = (struct creation){.filename = filename, .options = xstrdup(text ? text : "")};
	int r = text_from_filename(the_img.graph, filename, &protocol, errp);

	if (r >= 0)
		r = find_drivers(c, format, protocol, errp);
	if (r >= 0)
		r = take_size(c, errp);
	if (r < 0)
		return r;
	c->backing = take_value(&c->options, "backing_file");
	c->backing_format = take_value(&c->options, "backing_fmt");
	r = create_options_split(c->options, format_with_options(c), c->storage, &one, &other, errp);
	/* The format would be written to the bare storage. */
	if (r >= 0 && c->format->is_format && c->format->create && strstr(other, "encrypt."))
		r = error_set(errp, -EINVAL, "Invalid parameter 'encrypt'");
	return r;
}

void creation_finish(struct creation *c)
{
	free(c->options);
	free(c->backing);
	free(c->backing_format);
}

/* --- Telling ---------------------------------------------------------------------- */

/* The name of a member as users know it. Free with free(). */
static char *user_name(const struct schema_member *m)
{
	if (strcmp(m->name, "version") == 0)
		return xstrdup("compat");
	char *name = xstrdup(m->name);

	for (char *p = name; *p; p++)
		if (*p == '-')
			*p = '_';
	return name;
}

/* The value as given, with sizes in bytes and switches as words; NULL when it is not given. */
static char *given_value(const struct creation *c, const char *name, const struct schema_member *m)
{
	char *value = text_value(c->options, name);
	uint64_t size;
	bool on;

	if (!value && text_has_word(c->options, name))
		return xstrdup("on");
	if (value && m->type->kind == SCHEMA_SIZE && keyval_parse_size(value, &size) == 0) {
		free(value);
		return xasprintf("%" PRIu64, size);
	}
	if (value && m->type->kind == SCHEMA_BOOL && keyval_parse_bool(value, &on) == 0) {
		free(value);
		return xstrdup(on ? "on" : "off");
	}
	return value;
}

/* The options inside of @name, such as "encrypt.format", as they are given. */
static void print_inner(const struct creation *c, const char *name)
{
	char *prefix _cleanup_free_ = xasprintf("%s.", name);

	for (const char *at = c->options; *at;) {
		const char *end = text_pair_end(at);

		if (string_starts_with(at, prefix))
			printf(" %.*s", (int)(end - at), at);
		at = *end ? end + 1 : end;
	}
}

/* What holds when nothing is given, where that is worth telling; else NULL. */
static char *default_value(const struct schema_member *m)
{
	if (!m->has_initial)
		return NULL;
	if (m->type->kind == SCHEMA_BOOL)
		return xstrdup(m->initial ? "on" : "off");
	if (m->type->kind == SCHEMA_ENUM)
		return xstrdup(schema_enum_name(m->type, (int)m->initial));
	return xasprintf("%" PRId64, m->initial);
}

static void print_option(const struct creation *c, const struct driver *d, const char *name,
			 bool with_default)
{
	const struct schema_member *m = create_option_find(d, name);

	if (!m)
		return;
	if (m->type->kind == SCHEMA_UNION) {
		print_inner(c, name);
		return;
	}
	char *value _cleanup_free_ = given_value(c, name, m);

	if (!value && with_default)
		value = default_value(m);
	if (value)
		printf(" %s=%s", name, value);
}

/* In the customary order: some before the size, some behind it, with defaults or without. */
static const struct {
	const char *name;
	bool with_default;
} before_size[] = {{"cluster_size", true}, {"extended_l2", true}, {"preallocation", false},
		   {"compression_type", true}},
  behind_size[] = {{"lazy_refcounts", true}, {"refcount_bits", true}},
  before_backing[] = {{"adapter_type", false}};

/* Of the place of an image, where its driver has them. */
static const char *const of_place[] = {"debug", "logfile", "password-secret"};

static bool is_customary(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(before_size); i++)
		if (strcmp(name, before_size[i].name) == 0)
			return true;
	for (unsigned i = 0; i < ARRAY_SIZE(behind_size); i++)
		if (strcmp(name, behind_size[i].name) == 0)
			return true;
	return strcmp(name, "compat") == 0 || strcmp(name, "adapter_type") == 0 ||
	       strcmp(name, "hwversion") == 0 || string_starts_with(name, "backing_");
}

/* The version of virtual hardware, for which there are two options. */
static void print_hardware_version(const struct creation *c, const struct driver *d)
{
	if (!create_option_find(d, "hwversion"))
		return;
	char *version _cleanup_free_ = text_value(c->options, "hwversion");
	char *compat6 _cleanup_free_ = text_value(c->options, "compat6");
	bool on = text_has_word(c->options, "compat6");

	if (compat6)
		(void)keyval_parse_bool(compat6, &on);
	printf(" compat6=%s hwversion=%s", on ? "on" : "off", version ? version : "undefined");
}

/* Those that no custom places. */
static void print_others(const struct creation *c, const struct driver *d)
{
	const struct schema_type *t = create_options_branch(d);

	for (unsigned i = 0; t && i < t->count; i++) {
		char *name _cleanup_free_ = user_name(&t->members[i]);

		if (d == c->storage && create_option_find(format_with_options(c), name))
			continue;
		if (!is_customary(name) || d == c->storage)
			print_option(c, d, name, false);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(of_place); i++)
		print_option(c, d, of_place[i], false);
}

void creation_print(const struct creation *c)
{
	const struct driver *format = format_with_options(c);

	printf("Formatting '%s', fmt=%s", c->filename, c->format->name);
	for (unsigned i = 0; i < ARRAY_SIZE(before_size); i++)
		print_option(c, format, before_size[i].name, before_size[i].with_default);
	printf(" size=%" PRIu64, c->size);
	print_option(c, format, "compat", false);
	for (unsigned i = 0; i < ARRAY_SIZE(before_backing); i++)
		print_option(c, format, before_backing[i].name, before_backing[i].with_default);
	if (c->backing) {
		char *escaped _cleanup_free_ = text_escape(c->backing);

		printf(" backing_file=%s", escaped);
	}
	if (c->backing_format)
		printf(" backing_fmt=%s", c->backing_format);
	print_hardware_version(c, format);
	for (unsigned i = 0; i < ARRAY_SIZE(behind_size); i++)
		print_option(c, format, behind_size[i].name, behind_size[i].with_default);
	if (format)
		print_others(c, format);
	print_others(c, c->storage);
	putchar('\n');
}

/* --- Making ----------------------------------------------------------------------- */

int co_fn creation_run(const struct creation *c, struct error **errp)
{
	struct image_spec spec = {
		.filename = c->filename,
		.format = c->format->name,
		.size = c->size,
		.backing_name = c->backing,
		.backing_format = c->backing_format,
		.options = c->options,
	};

	graph_change_begin(the_img.graph);
	int r = image_create(the_img.graph, &spec, NULL, errp);

	graph_change_end(the_img.graph);
	return r;
}

char *co_fn creation_description(const struct creation *c)
{
	char *encryption _cleanup_free_ = text_value(c->options, "encrypt.format");
	char *secret _cleanup_free_ = text_value(c->options, "encrypt.key-secret");
	char *protocol _cleanup_free_ = NULL;

	if (!encryption || !secret ||
	    text_from_filename(the_img.graph, c->filename, &protocol, NULL) < 0)
		return NULL;
	char *escaped _cleanup_free_ = text_escape(secret);
	char *opened _cleanup_free_ = xasprintf("%s,encrypt.format=%s,encrypt.key-secret=%s", protocol,
						encryption, escaped);

	if (!c->format->is_format)
		return TAKE(opened);
	char *inner _cleanup_free_ = text_prefix_keys(opened, "file.");

	return xasprintf("driver=%s,%s", c->format->name, inner);
}

bool creation_gives_zeroes(const struct creation *c)
{
	/* A format's tables say so. */
	if (c->format->create && c->format->is_format)
		return !c->backing;
	/* Storage that has just been made is empty; what is encrypted shows noise then. */
	char *encryption _cleanup_free_ = text_value(c->options, "encrypt.format");

	return c->storage->create && !encryption;
}

/* --- Help ------------------------------------------------------------------------- */

static const char *type_word(const struct schema_type *t)
{
	switch (t->kind) {
	case SCHEMA_BOOL:
		return "bool (on/off)";
	case SCHEMA_SIZE:
		return "size";
	case SCHEMA_INT:
	case SCHEMA_NUMBER:
		return "num";
	default:
		return "str";
	}
}

/* What options are for; the order is that of the help. */
static const struct {
	const char *name, *purpose;
} purposes[] = {
	{"adapter_type", "The adapter that the image is made for"},
	{"backing_file", "The image below this one"},
	{"backing_fmt", "The format of the image below"},
	{"cluster_size", "Bytes of a cluster"},
	{"compat", "Version of the format: v2 (also called 0.10) or v3 (1.1)"},
	{"compat6", "The same as hwversion=6"},
	{"compression_type", "How clusters are compressed"},
	{"debug", "How much the library logs, from 0 to 9"},
	{"encrypt.cipher-alg", "How content is encrypted"},
	{"encrypt.format", "Encrypt the image"},
	{"encrypt.key-secret", "ID of the secret that holds the passphrase"},
	{"extended_l2", "Tables tell of parts of clusters"},
	{"extent_size_hint", "Bytes that the file system allocates at a time, 0 for no hint"},
	{"hwversion", "Version of the virtual hardware, 4 if not given"},
	{"lazy_refcounts", "Reference counts are written late"},
	{"logfile", "Where the library logs to"},
	{"nocow", "No copy-on-write by the file system (btrfs)"},
	{"password-secret", "ID of the secret that holds the user's key"},
	{"preallocation", "What is allocated from the start"},
	{"refcount_bits", "Bits of a reference count"},
	{"size", "Virtual size of the disk"},
	{"subformat", "The files that the image consists of"},
	{"toolsversion", "Version of the guest tools"},
	{"zeroed_grain", "Zeroes take no room"},
};

static const char *purpose_of(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(purposes); i++) {
		if (strcmp(purposes[i].name, name) == 0)
			return purposes[i].purpose;
	}
	return "";
}

struct option_help {
	char *name;
	const struct schema_type *type; /* NULL: a size */
	bool is_of_storage;
};

/* What holds a format has no metadata that could be allocated. */
static bool is_allowed(const struct option_help *o, const char *value)
{
	return !o->is_of_storage || strcmp(o->name, "preallocation") != 0 ||
	       strcmp(value, "metadata") != 0;
}

/* One line. */
static void print_option_help(const struct option_help *o)
{
	const char *name = o->name, *mark = " (allowed values: ";
	const struct schema_type *type = o->type;
	char *text _cleanup_free_ = xasprintf("%s=<%s>", name, type ? type_word(type) : "size");

	printf("  %-22s - %s", text, purpose_of(name));
	if (type && type->kind == SCHEMA_ENUM && strcmp(name, "compat") != 0) {
		for (unsigned i = 0; i < type->count; i++) {
			if (!is_allowed(o, type->values[i]))
				continue;
			printf("%s%s", mark, type->values[i]);
			mark = ", ";
		}
		putchar(')');
	}
	putchar('\n');
}

struct option_helps {
	struct option_help items[64];
	unsigned count;
	bool of_storage; /* what is added now */
};

static void add_option_help(struct option_helps *h, const char *name, const struct schema_type *type)
{
	for (unsigned i = 0; i < h->count; i++)
		if (strcmp(h->items[i].name, name) == 0)
			return;
	if (h->count < ARRAY_SIZE(h->items))
		h->items[h->count++] = (struct option_help){xstrdup(name), type, h->of_storage};
}

static void add_inner(struct option_helps *h, const char *outer, const struct schema_type *t)
{
	for (unsigned i = 0; t && i < t->count; i++) {
		char *name _cleanup_free_ = xasprintf("%s.%s", outer, t->members[i].name);

		add_option_help(h, name, t->members[i].type);
	}
}

/* The options that @name of type @t consists of. */
static void add_member(struct option_helps *h, const char *name, const struct schema_type *t)
{
	if (t->kind != SCHEMA_UNION) {
		add_option_help(h, name, t);
		return;
	}
	add_inner(h, name, t);
	for (unsigned i = 0; i < t->members[t->tag].type->count; i++)
		add_inner(h, name, t->branches[i]);
}

static void add_members(struct option_helps *h, const struct driver *d)
{
	const struct schema_type *t = create_options_branch(d);

	for (unsigned i = 0; t && i < t->count; i++) {
		char *name _cleanup_free_ = user_name(&t->members[i]);

		if (create_option_find(d, name))
			add_member(h, name, t->members[i].type);
	}
	/* What is no member of its own: which format is below is known, and an alias. */
	const struct schema_member *backing = create_option_find(d, "backing_file");
	const struct schema_member *zeroed = create_option_find(d, "zeroed_grain");

	for (unsigned i = 0; i < ARRAY_SIZE(of_place); i++) {
		const struct schema_member *m = create_option_find(d, of_place[i]);

		if (m)
			add_option_help(h, of_place[i], m->type);
	}
	if (backing)
		add_option_help(h, "backing_fmt", backing->type);
	if (zeroed)
		add_option_help(h, "compat6", zeroed->type);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct option_help *)a)->name, ((const struct option_help *)b)->name);
}

/* @only is a list of names that ends with NULL, or NULL for all. */
static bool is_listed(const char *name, const char *const *only)
{
	while (only && *only && strcmp(*only, name) != 0)
		only++;
	return !only || *only;
}

static void print_options(const struct driver *format, const struct driver *storage,
			  const char *const *only)
{
	struct option_helps h = {0};

	add_option_help(&h, "size", NULL);
	h.of_storage = !format->is_format;
	add_members(&h, format);
	h.of_storage = true;
	add_members(&h, storage);
	qsort(h.items, h.count, sizeof(h.items[0]), by_name);
	for (unsigned i = 0; i < h.count; i++) {
		if (is_listed(h.items[i].name, only))
			print_option_help(&h.items[i]);
		free(h.items[i].name);
	}
}

void creation_help_some(const struct driver *format, const char *const *names)
{
	print_options(format, NULL, names);
}

int co_fn creation_help(const char *filename, const char *format)
{
	struct creation c = {0};
	struct error *error = NULL;

	if (!graph_find_driver(the_img.graph, format))
		return img_error("Unknown file format '%s'", format);
	const struct driver *d = graph_load_driver(the_img.graph, format, &error);

	if (!d)
		return img_error_about(error, "Format '%s'", format);
	if (filename && creation_parse(&c, filename, format, NULL, &error) < 0) {
		creation_finish(&c);
		return img_error_about(error, "%s", filename);
	}
	if (filename)
		puts("Supported options:");
	else
		printf("Supported %s options:\n", format);
	print_options(d, filename && c.storage != d ? c.storage : NULL, NULL);
	if (!filename)
		puts("\nThe protocol level may support further options.\n"
		     "Specify the target filename to include those options.");
	creation_finish(&c);
	return 0;
}
