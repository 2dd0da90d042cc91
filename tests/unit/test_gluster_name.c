/* SPDX-License-Identifier: MIT */
/* File names of images on GlusterFS volumes: what they mean, and how images are called. */
#include "drivers/gluster/name.h"

#include "base/util.h"
#include "schema/json_name.h"
#include "schema/schema.h"
#include "tests/unit/name_fixture.h"
#include "tests/unit/unit.h"

#define INET(host, port) "server.0.type=inet,server.0.host=" host ",server.0.port=" port
#define UNIX(path) "server.0.type=unix,server.0.path=" path

static char *print(const struct blockdev_options *o)
{
	return gluster_name_print(&o->u.gluster);
}

static const struct name_format format = {"gluster", gluster_name_parse, print};

static const struct name_case meanings[] = {
	{"gluster://h/v/i", "volume=v,path=i," INET("h", "24007")},
	{"gluster+tcp://h:0/v/i", "volume=v,path=i," INET("h", "24007")},
	{"gluster+rdma://h:5/v/i", "volume=v,path=i," INET("h", "5")},
	{"gluster:///v/i", "volume=v,path=i," INET("localhost", "24007")},
	{"gluster://:7/v/i", "volume=v,path=i," INET("localhost", "7")},
	{"gluster://h:/v/i", "volume=v,path=i," INET("h", "24007")},
	{"gluster://u@h:8/v/i#part", "volume=v,path=i," INET("h", "8")},
	{"gluster://[fe80::1%25eth0]:65535/v/a/b", "volume=v,path=a/b,"
						   INET("fe80::1%eth0", "65535")},
	{"gluster://[::1]/v/i", "volume=v,path=i," INET("::1", "24007")},
	{"gluster://h//v///d//i", "volume=v,path=d//i," INET("h", "24007")},
	{"gluster://h/v%20w/a%2Cb,c%3F%23", "volume=v w,path=a,,b,,c?#," INET("h", "24007")},
	{"gluster://h/v/i?", "volume=v,path=i," INET("h", "24007")},
	{"gluster://a@b@h/v/i?&&#x", "volume=v,path=i," INET("h", "24007")},
	{"gluster:/v/i", "volume=v,path=i," INET("localhost", "24007")},
	{"gluster+tcp:v/i/j", "volume=v,path=i/j," INET("localhost", "24007")},
	{"gluster+unix:///v/i?socket=/s", "volume=v,path=i," UNIX("/s")},
	{"gluster+unix:/v/i?&socket=/s&", "volume=v,path=i," UNIX("/s")},
	{"gluster+unix://u@/v/i?socket=/s", "volume=v,path=i," UNIX("/s")},
	{"gluster+unix:///v/a/b?socket=/s%3f,#x", "volume=v,path=a/b," UNIX("/s?,,")},
};

START_TEST(names_mean_options)
{
	names_mean(&format, meanings, ARRAY_SIZE(meanings));
}
END_TEST

static const struct name_case refusals[] = {
	{"gluster", "volume"},
	{"gluster:", "volume"},
	{"gluster:a", "path"},
	{"gluster://h", "volume"},
	{"gluster://h/", "volume"},
	{"gluster://h/v", "path"},
	{"gluster://h/v//", "path"},
	{"gluster://h/%/i", "'%'"},
	{"gluster://h/v/i%0", "'%'"},
	{"gluster://h/v/i%00", "'%'"},
	{"gluster://h%zz/v/i", "'%'"},
	{"gluster://h:65536/v/i", "port"},
	{"gluster://h:4294967297/v/i", "port"},
	{"gluster://h:x/v/i", "port"},
	{"gluster://h:-1/v/i", "port"},
	{"gluster://[::1/v/i", "']'"},
	{"gluster://[::1]5/v/i", "port"},
	{"gluster://h/v/i?socket=/s", "query"},
	{"gluster://h/v/i?&x", "query"},
	{"gluster+unix:///v/i?", "socket"},
	{"gluster+unix:///v/i?x&socket=/s", "socket"},
	{"gluster+unix:///v/i#?socket=/s", "socket"},
	{"gluster+unix:///v/i", "socket"},
	{"gluster+unix:///v/i?socket=", "socket"},
	{"gluster+unix:///v/i?sock=/s", "socket"},
	{"gluster+unix:///v/i?socket=/s&x=1", "no more"},
	{"gluster+unix:///v/i?socket=/s%", "'%'"},
	{"gluster+unix://h/v/i?socket=/s", "no host"},
	{"gluster+ib://h/v/i", "Unknown protocol 'gluster+ib'"},
	{"gluster+://h/v/i", "Unknown protocol 'gluster+'"},
};

START_TEST(bad_names_are_refused)
{
	names_are_refused(&format, refusals, ARRAY_SIZE(refusals));
}
END_TEST

/* What is printed, and opens the same again. */
static const struct name_case printed[] = {
	{"volume=v,path=i," INET("h", "24007"), "gluster://h/v/i"},
	{"volume=v,path=i," INET("h", "5"), "gluster://h:5/v/i"},
	{"volume=v w,path=a?b#c%d/e," INET("::1", "24007"),
	 "gluster://[::1]/v%20w/a%3Fb%23c%25d/e"},
	{"volume=v,path=i," UNIX("/s#&t"), "gluster+unix:///v/i?socket=/s%23%26t"},
};

START_TEST(printed_names_open_the_same)
{
	names_are_printed(&format, printed, ARRAY_SIZE(printed));
}
END_TEST

static const char *const unprintable[] = {
	"volume=v/w,path=i," INET("h", "1"),
	"volume=,path=i," INET("h", "1"),
	"volume=v,path=/," INET("h", "1"),
	"volume=v,path=i," INET("h", "nbd"),
	"volume=v,path=i," INET("", "1"),
	"volume=v,path=i," INET("h", "1") ",server.0.ipv6=on",
	"volume=v,path=i," INET("h", "1") ",server.1.type=unix,server.1.path=/s",
	"volume=v,path=i," UNIX("s") ",server.0.abstract=on",
};

START_TEST(other_images_have_json_names)
{
	names_are_json(&format, unprintable, ARRAY_SIZE(unprintable));
}
END_TEST

/* As documented for, and written by, older versions. */
START_TEST(older_json_names_are_understood)
{
	static const char tcp[] = "json:{\"driver\": \"gluster\", \"volume\": \"v\", \"path\": "
		"\"i\", \"server\": [{\"type\": \"tcp\", \"host\": \"h\", \"port\": \"5\"}, "
		"{\"type\": \"unix\", \"socket\": \"/s\"}]}";
	static const char dotted[] = "json:{\"driver\": \"raw\", \"file\": {\"driver\": \"gluster\", "
		"\"volume\": \"v\", \"path\": \"i\", \"server.0.type\": \"unix\", "
		"\"server.0.socket\": \"/s\"}}";
	struct blockdev_options *o = NULL, *expected = name_options("driver=gluster,volume=v,path=i,"
		INET("h", "5") ",server.1.type=unix,server.1.path=/s");
	ck_assert_int_eq(json_name_decode(tcp, NULL, NULL, &o, NULL), 0);
	ck_assert(schema_equal(&blockdev_options_type, o, expected));
	blockdev_options_free(o);
	blockdev_options_free(expected);

	ck_assert_int_eq(json_name_decode(dotted, NULL, NULL, &o, NULL), 0);
	expected = name_options("driver=raw,file.driver=gluster,file.volume=v,file.path=i,"
			  "file.server.0.type=unix,file.server.0.path=/s");
	ck_assert(schema_equal(&blockdev_options_type, o, expected));
	blockdev_options_free(o);
	blockdev_options_free(expected);
	ck_assert_int_lt(json_name_decode("json:{\"driver\": \"gluster\", \"volume\": \"v\", "
					  "\"path\": \"i\", \"server\": [{\"type\": \"unix\", "
					  "\"socket\": \"/s\", \"path\": \"/s\"}]}", NULL,
					  NULL, &o, NULL), 0);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(names_mean_options),
	UNIT_TEST(bad_names_are_refused),
	UNIT_TEST(printed_names_open_the_same),
	UNIT_TEST(other_images_have_json_names),
	UNIT_TEST(older_json_names_are_understood),
};

UNIT_MAIN("gluster_name", tests)
