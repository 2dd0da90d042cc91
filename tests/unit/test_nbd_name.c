/* SPDX-License-Identifier: MIT */
/* File names of NBD exports: what they mean, and how exports are called. */
#include "drivers/nbd/name.h"

#include "base/cleanup.h"
#include "base/util.h"
#include "schema/json_name.h"
#include "tests/unit/name_fixture.h"
#include "tests/unit/unit.h"

static char *print(const struct blockdev_options *o)
{
	return nbd_name_print(&o->u.nbd);
}

static const struct name_format format = {"nbd", nbd_name_parse, print};

static const struct name_case meanings[] = {
	{"nbd://h", "server.type=inet,server.host=h,server.port=10809"},
	{"nbd://h/", "server.type=inet,server.host=h,server.port=10809"},
	{"nbd+tcp://h:5/e", "server.type=inet,server.host=h,server.port=5,export=e"},
	{"nbd://[::1]:5/a/b", "server.type=inet,server.host=::1,server.port=5,export=a/b"},
	{"nbd://[fe80::1%25eth0]/", "server.type=inet,server.host=fe80::1%eth0,server.port=10809"},
	{"nbd://h:5/a%20b,c%2F", "server.type=inet,server.host=h,server.port=5,export=a b,,c/"},
	{"nbd://h:0", "server.type=inet,server.host=h,server.port=10809"},
	{"nbd://h:/?", "server.type=inet,server.host=h,server.port=10809"},
	{"nbd://h/e?&#/x", "server.type=inet,server.host=h,server.port=10809,export=e"},
	{"nbd://h#e", "server.type=inet,server.host=h,server.port=10809"},
	{"nbd+tcp://u:p@h:5/a@b", "server.type=inet,server.host=h,server.port=5,export=a@b"},
	{"nbd+unix://u@/e?&socket=/s&#x", "server.type=unix,server.path=/s,export=e"},
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

START_TEST(names_mean_options)
{
	names_mean(&format, meanings, ARRAY_SIZE(meanings));
}
END_TEST

static const struct name_case refusals[] = {
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
	{"nbd://h:65536/", "port"},
	{"nbd://h:1234567890123/", "port"},
	{"nbd://h:x/", "port"},
	{"nbd://h/e?socket=/s", "query"},
	{"nbd://u@/e", "host is missing"},
	{"nbd+unix:///e#?socket=/s", "?socket="},
	{"nbd+unix:///e?socket=/s&socket=/s", "no more"},
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

START_TEST(bad_names_are_refused)
{
	names_are_refused(&format, refusals, ARRAY_SIZE(refusals));
}
END_TEST

/* What is printed, and opens the same again. */
static const struct name_case printed[] = {
	{"server.type=unix,server.path=/s", "nbd+unix://?socket=/s"},
	{"server.type=unix,server.path=/s&,export=a b?", "nbd+unix:///a%20b%3F?socket=/s%26"},
	{"server.type=inet,server.host=h,server.port=10", "nbd://h:10"},
	{"server.type=inet,server.host=h,server.port=10,export=a/%", "nbd://h:10/a/%25"},
	{"server.type=inet,server.host=::1,server.port=10", "nbd://[::1]:10"},
};

START_TEST(printed_names_open_the_same)
{
	names_are_printed(&format, printed, ARRAY_SIZE(printed));
}
END_TEST

START_TEST(an_empty_export_is_none)
{
	struct blockdev_options *o =
		name_options("driver=nbd,server.type=unix,server.path=/s,export=");
	char *name _cleanup_free_ = nbd_name_print(&o->u.nbd);
	ck_assert_str_eq(name, "nbd+unix:///?socket=/s");
	blockdev_options_free(o);
}
END_TEST

static const char *const unprintable[] = {
	"server.type=unix,server.path=s,server.abstract=on",
	"server.type=inet,server.host=h,server.port=1,server.mptcp=on",
	"server.type=unix,server.path=s,tls-creds=c,tls-hostname=h",
	"server.type=inet,server.host=h,server.port=10,server.ipv4=on",
	"server.type=inet,server.host=h,server.port=nbd",
	"server.type=inet,server.host=h,server.port=65536",
	"server.type=vsock,server.cid=2,server.port=10809",
	"server.type=fd,server.str=3",
};

START_TEST(other_exports_have_json_names)
{
	names_are_json(&format, unprintable, ARRAY_SIZE(unprintable));
}
END_TEST

/* As written by older versions. */
static const struct {
	const char *name, *means; /* NULL: nothing */
} older[] = {
	{"json:{\"driver\": \"nbd\", \"host\": \"h\", \"export\": \"e\"}",
	 "driver=nbd,server.type=inet,server.host=h,server.port=10809,export=e"},
	{"json:{\"driver\": \"raw\", \"file.driver\": \"nbd\", \"file.host\": \"h\", \"file.port\": 5}",
	 "driver=raw,file.driver=nbd,file.server.type=inet,file.server.host=h,file.server.port=5"},
	{"json:{\"driver\": \"nbd\", \"path\": \"/s\"}", "driver=nbd,server.type=unix,server.path=/s"},
	{"json:{\"driver\": \"nbd\", \"path\": \"/s\", \"host\": \"h\"}", NULL},
	{"json:{\"driver\": \"nbd\", \"path\": \"/s\", \"port\": \"5\"}", NULL},
	{"json:{\"driver\": \"nbd\", \"port\": \"5\"}", NULL},
	{"json:{\"driver\": \"nbd\", \"host\": \"h\", \"server.type\": \"unix\", "
	 "\"server.path\": \"/s\"}", NULL},
};

START_TEST(older_json_names_are_understood)
{
	for (size_t i = 0; i < ARRAY_SIZE(older); i++) {
		struct blockdev_options *o = NULL;
		int r = json_name_decode(older[i].name, NULL, NULL, &o, NULL);
		ck_assert_int_eq(r == 0, older[i].means != NULL);
		if (r < 0)
			continue;
		struct blockdev_options *expected = name_options(older[i].means);
		ck_assert(schema_equal(&blockdev_options_type, o, expected));
		blockdev_options_free(o);
		blockdev_options_free(expected);
	}
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(names_mean_options),
	UNIT_TEST(bad_names_are_refused),
	UNIT_TEST(printed_names_open_the_same),
	UNIT_TEST(an_empty_export_is_none),
	UNIT_TEST(other_exports_have_json_names),
	UNIT_TEST(older_json_names_are_understood),
};

UNIT_MAIN("nbd_name", tests)
