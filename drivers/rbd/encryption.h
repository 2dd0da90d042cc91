/* SPDX-License-Identifier: MIT */
/*
 * Encryption of images, which librbd does: what is needed for it, with a life of its
 * own, since threads that nobody waits for any more may still use it.
 */
#ifndef DRIVERS_RBD_ENCRYPTION_H
#define DRIVERS_RBD_ENCRYPTION_H

#include <rbd/librbd.h>

#include "base/error.h"
#include "schema/types.h"

struct graph;

/* A passphrase is made a key by computing for seconds on purpose: allow for a busy machine. */
#define ENCRYPTION_PATIENCE_NS (UINT64_C(120) * 1000000000)

struct encryption {
	enum rbd_image_encryption_format format;
	enum q_crypto_cipher_algorithm cipher; /* of new images */
	char *passphrase;
	size_t bytes;
};

/*
 * Encryption in @format with the passphrase that secret @id of @g holds. Control
 * thread. NULL and -ENOENT without such a secret.
 */
struct encryption *encryption_new(struct graph *g, enum rbd_image_encryption_format format,
				  const char *id, struct error **errp);
/* Overwrite the passphrase and free it all. NULL is allowed. Any thread. */
void encryption_free(struct encryption *e);

/*
 * Have the open @image, whose name is for the error, show its content. Its size
 * becomes that of the content. Waits for the cluster. -EINVAL or -EPERM when the
 * image is not so encrypted, or the passphrase is wrong.
 */
int encryption_load(const struct encryption *e, rbd_image_t image, const char *name,
		    struct error **errp);
/* Whether what the open @image shows begins like an encrypted one. Waits for the cluster. */
bool encryption_detect(rbd_image_t image, enum rbd_image_encryption_format *ret);
/* Encrypt the open, empty @image, as by encryption_load() afterwards. Waits, and computes for seconds. */
int encryption_format(const struct encryption *e, rbd_image_t image, struct error **errp);

#endif
