/* SPDX-License-Identifier: MIT */
/*
 * Encryption of images. Control thread, but for the calls of librbd.
 */
#include "drivers/rbd/encryption.h"

#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "block/secret.h"

struct encryption *encryption_new(struct graph *g, enum rbd_image_encryption_format format,
				  const char *id, struct error **errp)
{
	const struct secret *s = secret_find(g, id, errp);
	if (!s)
		return NULL;
	struct encryption *e = NEW(struct encryption);
	*e = (struct encryption){
		.format = format,
		.passphrase = xalloc(1, s->bytes + 1),
		.bytes = s->bytes,
	};
	memcpy(e->passphrase, s->data, s->bytes);
	return e;
}

void encryption_free(struct encryption *e)
{
	if (!e)
		return;
	explicit_bzero(e->passphrase, e->bytes);
	free(e->passphrase);
	free(e);
}

/* One of librbd's calls that take a format and a structure that belongs to it. */
typedef int encryption_call(rbd_image_t image, rbd_encryption_format_t format,
			    rbd_encryption_options_t options, size_t bytes);

static int call(const struct encryption *e, rbd_image_t image, encryption_call *fn)
{
	rbd_encryption_algorithm_t cipher = e->cipher == Q_CRYPTO_CIPHER_ALGORITHM_AES_128
						    ? RBD_ENCRYPTION_ALGORITHM_AES128
						    : RBD_ENCRYPTION_ALGORITHM_AES256;
	rbd_encryption_luks1_format_options_t luks = {
		.alg = cipher,
		.passphrase = e->passphrase,
		.passphrase_size = e->bytes,
	};
	rbd_encryption_luks2_format_options_t luks2 = {
		.alg = cipher,
		.passphrase = e->passphrase,
		.passphrase_size = e->bytes,
	};
	if (e->format == RBD_IMAGE_ENCRYPTION_FORMAT_LUKS)
		return fn(image, RBD_ENCRYPTION_FORMAT_LUKS1, &luks, sizeof(luks));
	return fn(image, RBD_ENCRYPTION_FORMAT_LUKS2, &luks2, sizeof(luks2));
}

int encryption_load(const struct encryption *e, rbd_image_t image, const char *name,
		    struct error **errp)
{
	int r = call(e, image, rbd_encryption_load);
	/* librbd tells some of these apart, for some formats. */
	if (r == -EINVAL || r == -EPERM)
		return error_set(errp, r, "encryption load fail: image %s is not encrypted with %s, "
				 "or the passphrase is wrong: %s", name,
				 rbd_image_encryption_format_name(e->format), strerror(-r));
	return r < 0 ? error_set_errno(errp, r, "encryption load fail") : 0;
}

bool encryption_detect(rbd_image_t image, enum rbd_image_encryption_format *ret)
{
	/* A version of two bytes, the high one first, follows. */
	static const char magic[] = {'L', 'U', 'K', 'S', '\xba', '\xbe', 0};
	char start[sizeof(magic) + 1];
	if (rbd_read(image, 0, sizeof(start), start) != (ssize_t)sizeof(start) ||
	    memcmp(start, magic, sizeof(magic)) != 0)
		return false;
	char version = start[sizeof(magic)];
	*ret = version == 1 ? RBD_IMAGE_ENCRYPTION_FORMAT_LUKS : RBD_IMAGE_ENCRYPTION_FORMAT_LUKS2;
	return version == 1 || version == 2;
}

int encryption_format(const struct encryption *e, rbd_image_t image, struct error **errp)
{
	int r = call(e, image, rbd_encryption_format);
	return r < 0 ? error_set_errno(errp, r, "encryption format fail") : 0;
}
