/* SPDX-License-Identifier: MIT */
/* base/sha256.c: the standard's examples, and each way to pad the last block. */
#include "base/sha256.h"

#include "base/util.h"
#include "tests/unit/unit.h"

static void expect(const void *data, size_t size, const char *hash)
{
	char ret[2 * SHA256_BYTES + 1];
	sha256_hex(data, size, ret);
	ck_assert_str_eq(ret, hash);
}

START_TEST(examples_of_the_standard)
{
	expect("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	expect("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	expect("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
	       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}
END_TEST

START_TEST(a_million_letters)
{
	char *data = xalloc(1000000, 1);
	memset(data, 'a', 1000000);
	expect(data, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	free(data);
}
END_TEST

START_TEST(last_blocks_of_each_kind)
{
	static const char zeroes[64];
	expect(zeroes, 8, "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc");
	expect(zeroes, 55, "02779466cdec163811d078815c633f21901413081449002f24aa3e80f0b88ef7");
	expect(zeroes, 64, "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b");
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(examples_of_the_standard),
	UNIT_TEST(a_million_letters),
	UNIT_TEST(last_blocks_of_each_kind),
};

UNIT_MAIN("sha256", tests)
