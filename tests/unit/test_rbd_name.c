/* SPDX-License-Identifier: MIT */
/* File names of Ceph's images: what they mean, and how images are called. */
#include "drivers/rbd/name.h"

#include "base/cleanup.h"
#include "base/util.h"
#include "schema/schema.h"
#include "tests/unit/unit.h"

static const struct {
	const char *name, *options;
} meanings[] = {
	{"rbd:p/i", "pool=p,image=i"},
	{"rbd:p/i@s", "pool=p,image=i,snapshot=s"},
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

static void check_meaning(size_t i)
{
	char *text _cleanup_free_ = NULL;
	_cleanup_error_ struct error *error = NULL;
	int r = rbd_name_parse(meanings[i].name, &text, &error);
	ck_assert_msg(r == 0, "%s: %s", meanings[i].name, error ? error->message : "?");
	char *expected _cleanup_free_ = xasprintf("driver=rbd,%s", meanings[i].options);
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
	{"rbd:", "Pool name is required"},
	{"rbd:foo", "Pool name is required"},
	{"rbd:/i", "Pool name is required"},
	{"rbd:p:a=b/c", "Pool name is required"},
	{"rbd:p/", "image's name is missing"},
	{"rbd:p/n/", "image's name is missing"},
	{"rbd:p/@s", "image's name is missing"},
	{"rbd:p/:id=me", "image's name is missing"},
	{"rbd:p/i@", "snapshot's name is missing"},
	{"rbd:p/i:", "conf option  has no value"},
	{"rbd:p/i:a", "conf option a has no value"},
	{"rbd:p/i:a:b=c", "conf option a has no value"},
	{"rbd:p/i:=b", "conf option  has no value"},
	{"rbd+x://p/i", "Unknown protocol 'rbd+x'"},
};

static void check_refusal(size_t i)
{
	char *text = NULL;
	struct error *error = NULL;
	int r = rbd_name_parse(refusals[i].name, &text, &error);
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
	{"pool=p,image=i", "rbd:p/i"},
	{"pool=p,namespace=n,image=i,snapshot=s", "rbd:p/n/i@s"},
	{"pool=p,image=a/b,snapshot=c:d@e\\f", "rbd:p/a\\/b@c\\:d\\@e\\\\f"},
	{"pool=p,image=i,user=me,conf=/etc/c:d", "rbd:p/i:id=me:conf=/etc/c\\:d"},
	{"pool=p,image=i,settings.0.name=a=b,settings.0.value=c=,,@", "rbd:p/i:a\\=b=c=,\\@"},
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
	char *given _cleanup_free_ = xasprintf("driver=rbd,%s", printed[i].options);
	struct blockdev_options *o = decode(given);
	char *name _cleanup_free_ = rbd_name_print(&o->u.rbd);
	ck_assert_str_eq(name, printed[i].name);

	char *text _cleanup_free_ = NULL;
	ck_assert_int_eq(rbd_name_parse(name, &text, NULL), 0);
	struct blockdev_options *again = decode(text);
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

START_TEST(timeouts_are_settings_of_the_name)
{
	struct blockdev_options *o =
		decode("driver=rbd,pool=p,image=i,connect-timeout=5,request-timeout=0");
	char *name _cleanup_free_ = rbd_name_print(&o->u.rbd);
	ck_assert_str_eq(name, "rbd:p/i:client_mount_timeout=5:rados_osd_op_timeout=0");
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
		struct blockdev_options *o = decode(unprintable[i]);
		ck_assert_ptr_null(rbd_name_print(&o->u.rbd));
		blockdev_options_free(o);
	}
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(names_mean_options),
	UNIT_TEST(bad_names_are_refused),
	UNIT_TEST(printed_names_open_the_same),
	UNIT_TEST(timeouts_are_settings_of_the_name),
	UNIT_TEST(other_images_have_no_name),
};

UNIT_MAIN("rbd_name", tests)
