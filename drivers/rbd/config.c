/* SPDX-License-Identifier: MIT */
#include "drivers/rbd/config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

void image_config_get(struct image_config *ret, rbd_image_t handle)
{
	int count = 0, r;
	rbd_config_option_t *options = NULL;
	/* librbd says how many there are when there is no room for them. */
	do {
		options = xrealloc(options, (size_t)count + 1, sizeof(options[0]));
		r = rbd_config_image_list(handle, options, &count);
	} while (r == -ERANGE);
	*ret = (struct image_config){.options = options, .count = r < 0 ? r : count};
}

const char *image_config_find(const struct image_config *c, const char *name, const char *missing)
{
	for (int i = 0; i < c->count; i++) {
		if (string_equal(c->options[i].name, name))
			return c->options[i].value;
	}
	return missing;
}

void image_config_put(struct image_config *c)
{
	if (c->count >= 0)
		rbd_config_image_list_cleanup(c->options, c->count);
	free(c->options);
}
