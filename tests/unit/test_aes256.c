/* SPDX-License-Identifier: MIT */
/* base/aes256.c: the examples of FIPS 197 and of NIST SP 800-38A. */
#include "base/aes256.h"

#include "tests/unit/unit.h"

static size_t from_hex(const char *text, uint8_t *ret)
{
	size_t n = strlen(text) / 2;
	for (size_t i = 0; i < n; i++) {
		char pair[3] = {text[2 * i], text[2 * i + 1], 0};
		ret[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return n;
}

static void decrypts(const char *key_text, const char *iv_text, const char *from, const char *to)
{
	uint8_t key[AES256_KEY_BYTES], iv[AES256_BLOCK_BYTES], data[64], expected[64];
	ck_assert_uint_eq(from_hex(key_text, key), sizeof(key));
	ck_assert_uint_eq(from_hex(iv_text, iv), sizeof(iv));
	size_t bytes = from_hex(from, data);
	ck_assert_uint_eq(from_hex(to, expected), bytes);
	aes256_cbc_decrypt(key, iv, data, bytes);
	ck_assert_mem_eq(data, expected, bytes);
}

START_TEST(one_block)
{
	decrypts("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		 "00000000000000000000000000000000", "8ea2b7ca516745bfeafc49904b496089",
		 "00112233445566778899aabbccddeeff");
}
END_TEST

START_TEST(a_chain_of_blocks)
{
	decrypts("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
		 "000102030405060708090a0b0c0d0e0f",
		 "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d"
		 "39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b",
		 "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
		 "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710");
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(one_block),
	UNIT_TEST(a_chain_of_blocks),
};
UNIT_MAIN("aes256", tests)
