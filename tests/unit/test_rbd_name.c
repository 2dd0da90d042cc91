/* SPDX-License-Identifier: MIT */
/* File names of Ceph's images: what they mean, and how images are called. */
#include "drivers/rbd/name.h"

#include "base/cleanup.h"
#include "base/util.h"
#include "schema/json_name.h"
#include "schema/schema.h"
#include "tests/unit/name_fixture.h"
#include "tests/unit/unit.h"

static char *print(const struct blockdev_options *o)
{
	return rbd_name_print(&o->u.rbd);
}

static const struct name_format format = {"rbd", rbd_name_parse, print};

static const struct name_case meanings[] = {
	{"rbd:p/i", "pool=p,image=i"},
	{"rbd:p/i@s", "pool=p,image=i,snapshot=s"},
	{"rbd:p/i@", "pool=p,image=i"},
	{"rbd:p/n/i@s", "pool=p,namespace=n,image=i,snapshot=s"},
	{"rbd:p//i", "pool=p,image=i"},
	{"rbd:p/n/a/b", "pool=p,namespace=n,image=a/b"},
	{"rbd:p/i@s/t", "pool=p,image=i,snapshot=s/t"},
	{"rbd:p/i@s@t", "pool=p,image=i,snapshot=s@t"},
	{"rbd:p/i:id=me:conf=/c", "pool=p,image=i,user=me,conf=/c"},
	{"rbd:p/i:a=b@c=d", "pool=p,image=i,settings.0.name=a,settings.0.value=b@c=d"},
	{"rbd:p/i:a=:b=1",
	 "pool=p,image=i,settings.0.name=a,settings.0.value=,settings.1.name=b,settings.1.value=1"},
	{"rbd:\\p\\/q\\:/i\\@j\\\\@s\\:", "pool=p/q:,image=i@j\\,snapshot=s:"},
	{"rbd:p/i:mon_host=[v2\\:h\\:3300,v1\\:h\\:6789]",
	 "pool=p,image=i,settings.0.name=mon_host,settings.0.value=[v2:h:3300,,v1:h:6789]"},
	{"rbd:p,q/i,j", "pool=p,,q,image=i,,j"},
	{"rbd:p/i\\", "pool=p,image=i\\"},
};

START_TEST(names_mean_options)
{
	names_mean(&format, meanings, ARRAY_SIZE(meanings));
}
END_TEST

static const struct name_case refusals[] = {
	{"rbd:", "Pool name is required"},
	{"rbd:foo", "Pool name is required"},
	{"rbd:/i", "Pool name is required"},
	{"rbd:p:a=b/c", "Pool name is required"},
	{"rbd:p/", "image's name is missing"},
	{"rbd:p/n/", "image's name is missing"},
	{"rbd:p/@s", "image's name is missing"},
	{"rbd:p/:id=me", "image's name is missing"},
	{"rbd:p/i:", "conf option  has no value"},
	{"rbd:p/i:a", "conf option a has no value"},
	{"rbd:p/i:a:b=c", "conf option a has no value"},
	{"rbd:p/i:=b", "conf option  has no value"},
	{"rbd+x://p/i", "Unknown protocol 'rbd+x'"},
};

START_TEST(bad_names_are_refused)
{
	names_are_refused(&format, refusals, ARRAY_SIZE(refusals));
}
END_TEST

/* What is printed, and opens the same again. */
static const struct name_case printed[] = {
	{"pool=p,image=i", "rbd:p/i"},
	{"pool=p,namespace=n,image=i,snapshot=s", "rbd:p/n/i@s"},
	{"pool=p,image=a/b,snapshot=c:d@e\\f", "rbd:p/a\\/b@c\\:d\\@e\\\\f"},
	{"pool=p,image=i,user=me,conf=/etc/c:d", "rbd:p/i:id=me:conf=/etc/c\\:d"},
	{"pool=p,image=i,settings.0.name=a=b,settings.0.value=c=,,@", "rbd:p/i:a\\=b=c=,\\@"},
};

START_TEST(printed_names_open_the_same)
{
	names_are_printed(&format, printed, ARRAY_SIZE(printed));
}
END_TEST

START_TEST(timeouts_are_settings_of_the_name)
{
	struct blockdev_options *o =
		name_options("driver=rbd,pool=p,image=i,connect-timeout=5,request-timeout=0");
	char *name _cleanup_free_ = rbd_name_print(&o->u.rbd);
	ck_assert_str_eq(name, "rbd:p/i:client_mount_timeout=5:rados_osd_op_timeout=0");
	blockdev_options_free(o);
}
END_TEST

/* Names that the reference program writes have one. */
START_TEST(an_empty_namespace_is_none)
{
	struct blockdev_options *o = name_options("driver=rbd,pool=p,namespace=,image=i");
	ck_assert_ptr_null(rbd_namespace(&o->u.rbd));
	char *name _cleanup_free_ = rbd_name_print(&o->u.rbd);
	ck_assert_str_eq(name, "rbd:p/i");
	blockdev_options_free(o);
}
END_TEST

static const char *const unprintable[] = {
	"driver=rbd,pool=p,image=i,server.0.host=h,server.0.port=6789",
	"driver=rbd,pool=p,image=i,auth-client-required.0=cephx",
	"driver=rbd,pool=p,image=i,key-secret=s",
};

START_TEST(other_images_have_no_name)
{
	for (size_t i = 0; i < ARRAY_SIZE(unprintable); i++) {
		struct blockdev_options *o = name_options(unprintable[i]);
		ck_assert_ptr_null(rbd_name_print(&o->u.rbd));
		blockdev_options_free(o);
	}
}
END_TEST

static int read_filename(const struct json_name_drivers *drivers, const char *driver,
			 const char *filename, char **ret, struct error **errp)
{
	*ret = NULL;
	return strcmp(driver, "rbd") == 0 ? rbd_name_parse(filename, ret, errp) : 0;
}

static char *print_filename(const struct json_name_drivers *drivers,
			    const struct blockdev_options *options)
{
	return rbd_name_print_part(options);
}

static const struct json_name_drivers drivers = {read_filename, print_filename};

/* As written by older versions. */
static const struct {
	const char *name, *means; /* what is refused: NULL */
} older[] = {
	{"json:{\"driver\": \"rbd\", \"filename\": \"rbd:p/n/i@s:id=me:a=b\"}",
	 "driver=rbd,pool=p,namespace=n,image=i,snapshot=s,user=me,settings.0.name=a,"
	 "settings.0.value=b"},
	{"json:{\"driver\": \"raw\", \"file.driver\": \"rbd\", \"file.filename\": \"rbd:p/i\", "
	 "\"file.conf\": \"/c\", \"file.pool\": \"p\"}",
	 "driver=raw,file.driver=rbd,file.pool=p,file.image=i,file.conf=/c"},
	{"json:{\"driver\": \"quorum\", \"vote-threshold\": 1, \"children\": [{\"driver\": \"rbd\", "
	 "\"filename\": \"rbd:p/i\"}]}",
	 "driver=quorum,vote-threshold=1,children.0.driver=rbd,children.0.pool=p,"
	 "children.0.image=i"},
	{"json:{\"driver\": \"rbd\", \"pool\": \"p\", \"image\": \"i\", \"password-secret\": \"k\"}",
	 "driver=rbd,pool=p,image=i,key-secret=k"},
	{"json:{\"driver\": \"rbd\", \"pool\": \"p\", \"image\": \"i\", \"password-secret\": \"k\", "
	 "\"key-secret\": \"k\"}", NULL},
	{"json:{\"driver\": \"rbd\", \"filename\": \"rbd:p/i\", \"image\": \"j\"}", NULL},
	{"json:{\"driver\": \"rbd\", \"filename\": \"rbd:p\"}", NULL},
	{"json:{\"driver\": \"rbd\", \"filename\": 5}", NULL},
};

START_TEST(older_json_names_are_understood)
{
	for (size_t i = 0; i < ARRAY_SIZE(older); i++) {
		struct blockdev_options *o = NULL;
		int r = json_name_decode(older[i].name, NULL, &drivers, &o, NULL);
		ck_assert_msg((r == 0) == (older[i].means != NULL), "%s", older[i].name);
		if (r < 0)
			continue;
		struct blockdev_options *expected = name_options(older[i].means);
		ck_assert_msg(schema_equal(&blockdev_options_type, o, expected), "%s",
			      older[i].name);
		blockdev_options_free(o);
		blockdev_options_free(expected);
	}
}
END_TEST

/* The reference program knows no other way to say settings. */
START_TEST(settings_stand_in_a_filename)
{
	struct blockdev_options *o = name_options(
		"driver=raw,file.driver=rbd,file.pool=p,file.image=i,file.key-secret=k,"
		"file.settings.0.name=mon_host,file.settings.0.value=h:1");
	char *name _cleanup_free_ = json_name_encode_readable(o, &drivers);
	ck_assert_str_eq(name, "json:{\"driver\": \"raw\", \"file\": {\"driver\": \"rbd\", "
			       "\"key-secret\": \"k\", "
			       "\"filename\": \"rbd:p/i:mon_host=h\\\\:1\"}}");
	struct blockdev_options *again = NULL;
	ck_assert_int_eq(json_name_decode(name, NULL, &drivers, &again, NULL), 0);
	ck_assert(schema_equal(&blockdev_options_type, o, again));
	blockdev_options_free(o);
	blockdev_options_free(again);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(names_mean_options),
	UNIT_TEST(bad_names_are_refused),
	UNIT_TEST(printed_names_open_the_same),
	UNIT_TEST(timeouts_are_settings_of_the_name),
	UNIT_TEST(an_empty_namespace_is_none),
	UNIT_TEST(other_images_have_no_name),
	UNIT_TEST(older_json_names_are_understood),
	UNIT_TEST(settings_stand_in_a_filename),
};

UNIT_MAIN("rbd_name", tests)
