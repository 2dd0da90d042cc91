/* SPDX-License-Identifier: MIT */
/*
 * Where modules are. Any thread.
 */
#include "base/module.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

#define ENVIRONMENT "CAIRN_MODULES"

/* Whether the running program has not been installed. */
static bool is_in_build_tree(void)
{
	char *path _cleanup_free_ = xalloc(1, PATH_MAX);
	ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
	return length > 0 && string_starts_with(path, CAIRN_BUILD_DIR "/");
}

char *module_path(const char *file, const char *build_folder)
{
	const char *chosen = secure_getenv(ENVIRONMENT);
	if (chosen && *chosen)
		return xasprintf("%s/%s", chosen, file);
	if (is_in_build_tree())
		return xasprintf("%s/%s/%s", CAIRN_BUILD_DIR, build_folder, file);
	return xasprintf("%s/%s", CAIRN_MODULE_DIR, file);
}
