/* SPDX-License-Identifier: MIT */
/*
 * AES-256, decryption, after FIPS 197. The state is 16 bytes, column by column. The
 * substitution table follows from its definition: the inverse in the field of 256
 * elements modulo x^8 + x^4 + x^3 + x + 1, and an affine map.
 */
#include "base/aes256.h"

#include <string.h>

#define ROUNDS 14
#define KEY_WORDS 8

struct schedule {
	uint8_t round_keys[ROUNDS + 1][AES256_BLOCK_BYTES];
	uint8_t inverse_box[256];
};

static uint8_t multiply(uint8_t a, uint8_t b)
{
	uint8_t product = 0;
	for (; b; b >>= 1) {
		if (b & 1)
			product ^= a;
		a = (uint8_t)(a << 1 ^ (a & 0x80 ? 0x1b : 0));
	}
	return product;
}

static uint8_t rotate(uint8_t byte, unsigned by)
{
	return (uint8_t)(byte << by | byte >> (8 - by));
}

/* The table for encryption, which the key schedule needs, and its inverse. */
static void make_boxes(uint8_t box[256], uint8_t inverse_box[256])
{
	/* 3 generates the field's group, 0xf6 is its inverse. */
	uint8_t p = 1, q = 1;
	do {
		p = multiply(p, 3);
		q = multiply(q, 0xf6);
		box[p] = (uint8_t)(q ^ rotate(q, 1) ^ rotate(q, 2) ^ rotate(q, 3) ^ rotate(q, 4) ^
				   0x63);
	} while (p != 1);
	box[0] = 0x63;
	for (unsigned i = 0; i < 256; i++)
		inverse_box[box[i]] = (uint8_t)i;
}

static void expand_key(struct schedule *s, const uint8_t key[AES256_KEY_BYTES])
{
	uint8_t box[256], *words = s->round_keys[0], constant = 1;
	make_boxes(box, s->inverse_box);
	memcpy(words, key, AES256_KEY_BYTES);
	for (unsigned i = KEY_WORDS; i < 4 * (ROUNDS + 1); i++) {
		uint8_t t[4];
		memcpy(t, words + 4 * (i - 1), 4);
		if (i % KEY_WORDS == 0) {
			uint8_t first = t[0];
			t[0] = box[t[1]] ^ constant;
			t[1] = box[t[2]];
			t[2] = box[t[3]];
			t[3] = box[first];
			constant = multiply(constant, 2);
		} else if (i % KEY_WORDS == 4) {
			for (unsigned j = 0; j < 4; j++)
				t[j] = box[t[j]];
		}
		for (unsigned j = 0; j < 4; j++)
			words[4 * i + j] = words[4 * (i - KEY_WORDS) + j] ^ t[j];
	}
}

static void xor_block(uint8_t *to, const uint8_t *with)
{
	for (unsigned i = 0; i < AES256_BLOCK_BYTES; i++)
		to[i] ^= with[i];
}

/* Row r moves r places to the right, and every byte goes back through the table. */
static void unshift_and_unbox(const struct schedule *s, uint8_t *state)
{
	uint8_t old[AES256_BLOCK_BYTES];
	memcpy(old, state, sizeof(old));
	for (unsigned column = 0; column < 4; column++) {
		for (unsigned row = 0; row < 4; row++)
			state[4 * ((column + row) % 4) + row] =
				s->inverse_box[old[4 * column + row]];
	}
}

static void unmix_columns(uint8_t *state)
{
	static const uint8_t factors[4] = {14, 11, 13, 9};
	for (unsigned column = 0; column < 4; column++) {
		uint8_t old[4];
		memcpy(old, state + 4 * column, 4);
		for (unsigned row = 0; row < 4; row++) {
			uint8_t sum = 0;
			for (unsigned i = 0; i < 4; i++)
				sum ^= multiply(old[(row + i) % 4], factors[i]);
			state[4 * column + row] = sum;
		}
	}
}

static void decrypt_block(const struct schedule *s, uint8_t *state)
{
	xor_block(state, s->round_keys[ROUNDS]);
	for (unsigned round = ROUNDS - 1; round > 0; round--) {
		unshift_and_unbox(s, state);
		xor_block(state, s->round_keys[round]);
		unmix_columns(state);
	}
	unshift_and_unbox(s, state);
	xor_block(state, s->round_keys[0]);
}

void aes256_cbc_decrypt(const uint8_t key[AES256_KEY_BYTES], const uint8_t iv[AES256_BLOCK_BYTES],
			uint8_t *data, size_t bytes)
{
	struct schedule s;
	uint8_t previous[AES256_BLOCK_BYTES], current[AES256_BLOCK_BYTES];
	expand_key(&s, key);
	memcpy(previous, iv, sizeof(previous));
	for (size_t at = 0; at < bytes; at += AES256_BLOCK_BYTES) {
		memcpy(current, data + at, sizeof(current));
		decrypt_block(&s, data + at);
		xor_block(data + at, previous);
		memcpy(previous, current, sizeof(previous));
	}
	explicit_bzero(&s, sizeof(s));
}
