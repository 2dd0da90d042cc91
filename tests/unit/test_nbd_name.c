/* SPDX-License-Identifier: MIT */
/* File names of NBD exports: what they mean, and how exports are called. */
#include "drivers/nbd/name.h"

#include "base/cleanup.h"
#include "base/util.h"
#include "schema/schema.h"
#include "tests/unit/unit.h"

static const struct {
	const char *name, *options;
} meanings[] = {
	{"nbd://h", "server.type=inet,server.host=h,server.port=10809"},
	{"nbd://h/", "server.type=inet,server.host=h,server.port=10809"},
	{"nbd+tcp://h:5/e", "server.type=inet,server.host=h,server.port=5,export=e"},
	{"nbd://[::1]:5/a/b", "server.type=inet,server.host=::1,server.port=5,export=a/b"},
	{"nbd://[fe80::1%25eth0]/", "server.type=inet,server.host=fe80::1%eth0,server.port=10809"},
	{"nbd://h:5/a%20b,c%2F", "server.type=inet,server.host=h,server.port=5,export=a b,,c/"},
	{"nbd+unix:///e?socket=/s", "server.type=unix,server.path=/s,export=e"},
	{"nbd+unix:///?socket=/s", "server.type=unix,server.path=/s"},
	{"nbd+unix://?socket=/s%3f,", "server.type=unix,server.path=/s?,,"},
	{"nbd:h:10", "server.type=inet,server.host=h,server.port=10"},
	{"nbd:h:10:exportname=a:b", "server.type=inet,server.host=h,server.port=10,export=a:b"},
	{"nbd:[::1]:10", "server.type=inet,server.host=::1,server.port=10"},
	{"nbd:unix:/s", "server.type=unix,server.path=/s"},
	{"nbd:unix:/s,t:exportname=e%20", "server.type=unix,server.path=/s,,t,export=e%20"},
	{"nbd:unix:/s:exportname", "server.type=unix,server.path=/s:exportname"},
};

static void check_meaning(size_t i)
{
	char *text _cleanup_free_ = NULL;
	_cleanup_error_ struct error *error = NULL;
	int r = nbd_name_parse(meanings[i].name, &text, &error);
	ck_assert_msg(r == 0, "%s: %s", meanings[i].name, error ? error->message : "?");
	char *expected _cleanup_free_ = xasprintf("driver=nbd,%s", meanings[i].options);
	ck_assert_str_eq(text, expected);
}

START_TEST(names_mean_options)
{
	for (size_t i = 0; i < ARRAY_SIZE(meanings); i++)
		check_meaning(i);
}
END_TEST

static const struct {
	const char *name, *part;
} refusals[] = {
	{"nbd:", "address missing"},
	{"nbd:unix:", "address missing"},
	{"nbd:foo", "error parsing address 'foo'"},
	{"nbd:foo:", "error parsing address"},
	{"nbd::5", "error parsing address"},
	{"nbd:[::1:5", "error parsing address"},
	{"nbd:[::1]", "error parsing address"},
	{"nbd:h:5:exportname=", "name"},
	{"nbd://", "host is missing"},
	{"nbd:///e", "host is missing"},
	{"nbd://[]/e", "host is missing"},
	{"nbd://[::1/e", "']' is missing"},
	{"nbd://[::1]x/e", "port"},
	{"nbd://u@h/e", "user name"},
	{"nbd://h:0/", "port"},
	{"nbd://h:65536/", "port"},
	{"nbd://h:1234567890123/", "port"},
	{"nbd://h:x/", "port"},
	{"nbd://h/e?socket=/s", "query"},
	{"nbd://h/%", "'%'"},
	{"nbd://h/%1", "'%'"},
	{"nbd://h/%1x", "'%'"},
	{"nbd://h/%00", "'%'"},
	{"nbd+unix:///e", "?socket="},
	{"nbd+unix:///e?socket=", "empty"},
	{"nbd+unix:///e?sock=/s", "?socket="},
	{"nbd+unix:///e?socket=/s&x=y", "no more"},
	{"nbd+unix://h/e?socket=/s", "no host"},
	{"nbd+unix:/e?socket=/s", "must start with 'nbd:'"},
	{"nbd+foo://h", "Unknown protocol 'nbd+foo'"},
};

static void check_refusal(size_t i)
{
	char *text = NULL;
	struct error *error = NULL;
	int r = nbd_name_parse(refusals[i].name, &text, &error);
	ck_assert_msg(r < 0, "%s", refusals[i].name);
	ck_assert_ptr_nonnull(error);
	ck_assert_msg(strstr(error->message, refusals[i].part), "%s: %s", refusals[i].name,
		      error->message);
	error_free(error);
}

START_TEST(bad_names_are_refused)
{
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++)
		check_refusal(i);
}
END_TEST

/* What is printed, and opens the same again. */
static const struct {
	const char *options, *name;
} printed[] = {
	{"server.type=unix,server.path=/s", "nbd+unix://?socket=/s"},
	{"server.type=unix,server.path=/s,export=", "nbd+unix:///?socket=/s"},
	{"server.type=unix,server.path=/s&,export=a b?", "nbd+unix:///a%20b%3F?socket=/s%26"},
	{"server.type=inet,server.host=h,server.port=10", "nbd://h:10"},
	{"server.type=inet,server.host=h,server.port=10,export=a/%", "nbd://h:10/a/%25"},
	{"server.type=inet,server.host=::1,server.port=10", "nbd://[::1]:10"},
};

static struct blockdev_options *decode(const char *text)
{
	void *options = NULL;
	struct error *error = NULL;
	int r = schema_decode_keyval(&blockdev_options_type, text, "driver", &options, &error);
	ck_assert_msg(r == 0, "%s: %s", text, error ? error->message : "?");
	return options;
}

static void check_print(size_t i)
{
	char *given _cleanup_free_ = xasprintf("driver=nbd,%s", printed[i].options);
	struct blockdev_options *o = decode(given);
	char *name _cleanup_free_ = nbd_name_print(&o->u.nbd);
	ck_assert_str_eq(name, printed[i].name);

	char *text _cleanup_free_ = NULL;
	ck_assert_int_eq(nbd_name_parse(name, &text, NULL), 0);
	struct blockdev_options *again = decode(text);
	/* An empty export's name is that of none. */
	if (o->u.nbd.export && !*o->u.nbd.export) {
		free(o->u.nbd.export);
		o->u.nbd.export = NULL;
	}
	ck_assert(schema_equal(&blockdev_options_type, o, again));
	blockdev_options_free(o);
	blockdev_options_free(again);
}

START_TEST(printed_names_open_the_same)
{
	for (size_t i = 0; i < ARRAY_SIZE(printed); i++)
		check_print(i);
}
END_TEST

static const char *const unprintable[] = {
	"server.type=unix,server.path=s,server.abstract=on",
	"server.type=inet,server.host=h,server.port=10,server.ipv4=on",
	"server.type=inet,server.host=h,server.port=nbd",
	"server.type=inet,server.host=h,server.port=65536",
	"server.type=vsock,server.cid=2,server.port=10809",
	"server.type=fd,server.str=3",
};

static void check_json(size_t i)
{
	char *given _cleanup_free_ = xasprintf("driver=nbd,export=e,%s", unprintable[i]);
	struct blockdev_options *o = decode(given);
	char *name _cleanup_free_ = nbd_name_print(&o->u.nbd);
	ck_assert_msg(string_starts_with(name, "json:"), "%s", name);
	void *again = NULL;
	ck_assert_int_eq(schema_decode_json_text(&blockdev_options_type, name + strlen("json:"),
						 &again, NULL), 0);
	ck_assert(schema_equal(&blockdev_options_type, o, again));
	blockdev_options_free(o);
	blockdev_options_free(again);
}

START_TEST(other_exports_have_json_names)
{
	for (size_t i = 0; i < ARRAY_SIZE(unprintable); i++)
		check_json(i);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(names_mean_options),
	UNIT_TEST(bad_names_are_refused),
	UNIT_TEST(printed_names_open_the_same),
	UNIT_TEST(other_exports_have_json_names),
};

UNIT_MAIN("nbd_name", tests)
