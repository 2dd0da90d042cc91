/* SPDX-License-Identifier: MIT */
/*
 * AES with keys of 256 bits, as far as it is needed: decrypting in CBC mode what is a
 * few blocks long. Any thread. Not hardened against who measures its time.
 */
#ifndef BASE_AES256_H
#define BASE_AES256_H

#include <stddef.h>
#include <stdint.h>

#define AES256_KEY_BYTES 32
#define AES256_BLOCK_BYTES 16

/* Decrypt @bytes, a multiple of the block, in place. @iv stays as it is. */
void aes256_cbc_decrypt(const uint8_t key[AES256_KEY_BYTES], const uint8_t iv[AES256_BLOCK_BYTES],
			uint8_t *data, size_t bytes);

#endif
