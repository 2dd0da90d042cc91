/* SPDX-License-Identifier: MIT */
/* Descriptors and headers of vmdk images: what they mean, what is refused, and any bytes at all. */
#include "drivers/vmdk/descriptor.h"

#include <errno.h>

#include "base/cleanup.h"
#include "drivers/vmdk/format.h"
#include "drivers/vmdk/header.h"
#include "tests/unit/unit.h"

#define HEAD "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"

static int parse(const char *text, struct vmdk_descriptor *ret, struct error **errp)
{
	return vmdk_descriptor_parse(text, strlen(text), true, ret, errp);
}

START_TEST(lines_mean_extents)
{
	struct vmdk_descriptor d;
	int r = parse(HEAD "createType = \"vmfs\"\r\nparentFileNameHint=\"a b.vmdk\"\n"
			   "RW 8 FLAT \"a b.raw\" 3\r\n  RDONLY 1 SPARSE \"c\"\nRW 2 ZERO\n"
			   "RW 5 VMFS \"/x/y\"\nddb.x = \"RW\"\nRWX 5 ZERO\n",
		      &d, NULL);

	ck_assert_int_eq(r, 0);
	ck_assert_uint_eq(d.cid, 0x12345678);
	ck_assert_uint_eq(d.parent_cid, VMDK_NO_CID);
	ck_assert_str_eq(d.create_type, "vmfs");
	ck_assert_str_eq(d.parent_name, "a b.vmdk");
	ck_assert_uint_eq(d.count, 4);
	ck_assert_str_eq(d.lines[0].name, "a b.raw");
	ck_assert_uint_eq(d.lines[0].bytes, 8 * 512);
	ck_assert_uint_eq(d.lines[0].offset, 3 * 512);
	ck_assert(!d.lines[0].read_only);
	ck_assert_int_eq(d.lines[1].type, VMDK_SPARSE);
	ck_assert(d.lines[1].read_only);
	ck_assert_int_eq(d.lines[2].type, VMDK_ZERO);
	ck_assert_str_eq(d.lines[3].name, "/x/y");
	vmdk_descriptor_finish(&d);
}
END_TEST

START_TEST(bad_descriptors_are_refused)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{"", "invalid VMDK image descriptor"},
		{"CID=1\n", "invalid VMDK image descriptor"},
		{"CID=1 2\nparentCID=1\n", "Invalid content ID: CID=1 2"},
		{"CID=123456789\nparentCID=1\n", "Invalid content ID: CID=123456789"},
		{"parentCID=\n", "Invalid content ID: parentCID="},
		{HEAD "RW 8 FLAT \"a\"", "Invalid extent line: RW 8 FLAT \"a\""},
		{HEAD "RW 8 FLAT \"a\" -1", "Invalid extent line: RW 8 FLAT \"a\" -1"},
		{HEAD "RW 8 VMFS \"a\" 0", "Invalid extent line: RW 8 VMFS \"a\" 0"},
		{HEAD "RW 8 FLAT \"\" 0", "Invalid extent line: RW 8 FLAT \"\" 0"},
		{HEAD "RW 8 FLAT \"a 0", "Invalid extent line: RW 8 FLAT \"a 0"},
		{HEAD "RW 0 ZERO", "Invalid extent line: RW 0 ZERO"},
		{HEAD "RW 18014398509481984 ZERO", "Invalid extent line: RW 18014398509481984 ZERO"},
		{HEAD "RW 99999999999999999999 ZERO", "Invalid extent line: RW 99999999999999999999 ZERO"},
		{HEAD "RW", "Invalid extent line: RW"},
		{HEAD "NOACCESS 8 ZERO", "Extent is not accessible: NOACCESS 8 ZERO"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct error *error = NULL;
		struct vmdk_descriptor d;

		ck_assert_int_lt(parse(cases[i].text, &d, &error), 0);
		ck_assert_str_eq(error->message, cases[i].error);
		vmdk_descriptor_finish(&d);
	}
}
END_TEST

START_TEST(extents_have_a_limit)
{
	size_t length = strlen(HEAD);
	char *text = xalloc(length + (VMDK_EXTENTS_MAX + 1) * 10 + 1, 1);
	struct vmdk_descriptor d;

	strcpy(text, HEAD);
	for (unsigned i = 0; i < VMDK_EXTENTS_MAX; i++)
		memcpy(text + length + i * 10, "RW 1 ZERO\n", 10);
	ck_assert_int_eq(parse(text, &d, NULL), 0);
	ck_assert_uint_eq(d.count, VMDK_EXTENTS_MAX);
	vmdk_descriptor_finish(&d);
	memcpy(text + length + VMDK_EXTENTS_MAX * 10, "RW 1 ZERO\n", 10);
	ck_assert_int_eq(parse(text, &d, NULL), -EFBIG);
	vmdk_descriptor_finish(&d);
	free(text);
}
END_TEST

START_TEST(beginnings_are_known)
{
	static const struct {
		const char *text;
		bool is_descriptor;
	} cases[] = {
		{HEAD, true},
		{"version=3\r\n", true},
		{"# a\n\n   \nversion=2\n", true},
		{"version=1", false},
		{"version=4\n", false},
		{"version=11\n", false},
		{" # a\nversion=1\n", false},
		{"encoding=\"UTF-8\"\nversion=1\n", false},
		{"", false},
		{"\nVERSION=1\n", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		ck_assert_msg(vmdk_descriptor_probe(cases[i].text, strlen(cases[i].text)) ==
			      cases[i].is_descriptor, "%s", cases[i].text);
}
END_TEST

START_TEST(what_is_composed_is_understood)
{
	struct vmdk_description description = {
		.create_type = "monolithicFlat",
		.cid = 0xab,
		.parent_cid = 0xfffffffe,
		.parent_name = "b.vmdk",
		.extent_lines = "RW 2048 FLAT \"x\" 0\n",
		.hardware_version = "4",
		.adapter_type = "lsilogic",
		.tools_version = "7",
		.size = 1 * MiB,
	};
	char *text _cleanup_free_ = vmdk_descriptor_compose(&description);
	struct vmdk_descriptor d;
	size_t offset, length;

	ck_assert(vmdk_descriptor_probe(text, strlen(text)));
	ck_assert_int_eq(parse(text, &d, NULL), 0);
	ck_assert_uint_eq(d.cid, 0xab);
	ck_assert_uint_eq(d.parent_cid, 0xfffffffe);
	ck_assert_str_eq(d.parent_name, "b.vmdk");
	ck_assert_uint_eq(d.count, 1);
	ck_assert(vmdk_descriptor_find_cid(text, strlen(text), &offset, &length));
	ck_assert_uint_eq(length, 8);
	ck_assert_int_eq(strncmp(text + offset, "000000ab\n", 9), 0);
	vmdk_descriptor_finish(&d);
}
END_TEST

static uint64_t draw(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

/* Whatever is changed in a text, parsing it ends, inside its memory. */
START_TEST(any_text_is_survived)
{
	static const char good[] = HEAD "createType=\"vmfs\"\nparentFileNameHint=\"p\"\n"
					"RW 8 FLAT \"a b\" 3\nRDONLY 1 SPARSE \"c\"\nRW 2 ZERO\n";
	static const char pieces[][12] = {"RW ", "\"", "\n", "=", "CID=", "NOACCESS ", "\0", "999999999",
					  "FLAT ", " ", "\r", "parentCID", "createType"};
	uint64_t state = 1;

	for (unsigned n = 0; n < 20000; n++) {
		/* Exactly as long as it is, so that reading behind it is noticed. */
		size_t bytes = sizeof(good) - draw(&state) % 2 * (draw(&state) % sizeof(good));
		char *text = xmemdup(good, MAX(bytes, 1));
		struct vmdk_descriptor d;
		size_t offset, length;

		for (unsigned k = draw(&state) % 4; k > 0 && bytes > 0; k--) {
			const char *piece = pieces[draw(&state) % ARRAY_SIZE(pieces)];
			size_t at = draw(&state) % bytes;

			memcpy(text + at, piece, MIN(bytes - at, strnlen(piece, 12) + !*piece));
		}
		int r = vmdk_descriptor_parse(text, bytes, draw(&state) % 2, &d, NULL);

		for (unsigned k = 0; r == 0 && k < d.count; k++)
			ck_assert(d.lines[k].bytes > 0 && d.lines[k].bytes <= INT64_MAX);
		vmdk_descriptor_finish(&d);
		(void)vmdk_descriptor_probe(text, bytes);
		if (vmdk_descriptor_find_cid(text, bytes, &offset, &length))
			ck_assert_uint_le(offset + length, bytes);
		free(text);
	}
}
END_TEST

static void make_header(uint8_t *data)
{
	struct vmdk_header h = {
		.version = 1, .flags = 3, .capacity = 131072, .grain = 128, .descriptor = 1,
		.descriptor_size = 20, .table_entries = 512, .redundant = 21, .directory = 30,
		.overhead = 128,
	};

	vmdk_header_encode(&h, data);
}

static int check(const uint8_t *data, struct vmdk_header *h, struct error **errp)
{
	int r = vmdk_header_decode(data, h, errp);

	return r < 0 ? r : vmdk_header_check(h, 1 * MiB, errp);
}

START_TEST(headers_are_judged)
{
	static const struct {
		unsigned offset, bytes;
		uint64_t value;
		const char *error;
	} cases[] = {
		{0, 4, 0, "Image not in VMDK format"},
		{4, 4, 4, "Unsupported VMDK version 4"},
		{12, 8, UINT64_MAX, "The image size is too large"},
		{12, 8, UINT64_C(1) << 50, "L1 size too big"},
		{20, 8, 0, "L1 entry size is invalid"},
		{20, 8, 127, "Invalid granularity, image may be corrupt"},
		{20, 8, 1 << 22, "Invalid granularity, image may be corrupt"},
		{44, 4, 0, "L1 entry size is invalid"},
		{44, 4, 513, "L2 table size too big"},
		{56, 8, 2048, "The grain directory lies beyond the end of the file"},
		{56, 8, UINT64_MAX - 1, "The grain directory lies beyond the end of the file"},
		{64, 8, 2049, "File truncated, expecting at least 1049088 bytes"},
		{77, 2, 2, "Unsupported compression method 2"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct error *error = NULL;
		uint8_t data[VMDK_HEADER_BYTES], value[8];
		struct vmdk_header h;

		make_header(data);
		ck_assert_int_eq(check(data, &h, NULL), 0);
		ck_assert_uint_eq(h.directory_entries, 2);
		store_le64(value, cases[i].value);
		memcpy(data + cases[i].offset, value, cases[i].bytes);
		ck_assert_int_lt(check(data, &h, &error), 0);
		ck_assert_str_eq(error->message, cases[i].error);
	}
}
END_TEST

/* What passes the check leads to no place outside of numbers and of the file. */
START_TEST(any_header_is_survived)
{
	uint64_t state = 2;

	for (unsigned n = 0; n < 200000; n++) {
		uint8_t data[VMDK_HEADER_BYTES];
		struct vmdk_header h;

		make_header(data);
		if (draw(&state) % 4 == 0)
			memcpy(data, "COWD", 4);
		for (unsigned k = draw(&state) % 4; k > 0; k--)
			store_le32(data + 4 + draw(&state) % 70,
				   (uint32_t)draw(&state) >> draw(&state) % 32);
		if (check(data, &h, NULL) < 0)
			continue;
		ck_assert_uint_le(h.capacity, INT64_MAX / 512);
		ck_assert_uint_le(h.directory * 512 + h.directory_entries * 4, 1 * MiB);
		ck_assert_uint_le(h.capacity, h.directory_entries * h.table_entries * h.grain);
	}
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(lines_mean_extents),
	UNIT_TEST(bad_descriptors_are_refused),
	UNIT_TEST(extents_have_a_limit),
	UNIT_TEST(beginnings_are_known),
	UNIT_TEST(what_is_composed_is_understood),
	UNIT_TEST(any_text_is_survived),
	UNIT_TEST(headers_are_judged),
	UNIT_TEST(any_header_is_survived),
};

UNIT_MAIN("vmdk_descriptor", tests)
