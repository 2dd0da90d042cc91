/* SPDX-License-Identifier: MIT */
/*
 * Loading the module for TLS. Control thread, but for load().
 */
#include "tls/library.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/module.h"
#include "base/util.h"

#define FILE_NAME "cairn-tls.so"
#define PACKAGE "libgnutls30"

struct attempt {
	const struct tls_library *library; /* the result */
	struct error *error;
};

static int load(void *arg)
{
	struct attempt *a = arg;
	char *path _cleanup_free_ = module_path(FILE_NAME, "tls");
	if (access(path, F_OK) < 0)
		return error_set_errno(&a->error, -errno,
				       "TLS, which needs the package %s, is not installed: '%s'",
				       PACKAGE, path);
	void *handle = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
	if (!handle)
		return error_set(&a->error, -ENOTSUP,
				 "TLS cannot be loaded; is the package %s installed? %s", PACKAGE,
				 dlerror());
	a->library = dlsym(handle, TLS_LIBRARY_SYMBOL);
	if (!a->library || strcmp(a->library->version, CAIRN_VERSION) != 0) {
		dlclose(handle);
		return error_set(&a->error, -ENOTSUP,
				 "TLS cannot be loaded: '%s' belongs to another version of the "
				 "program", path);
	}
	return 0;
}

const struct tls_library *co_fn tls_library_load(struct error **errp)
{
	static const struct tls_library *loaded;
	if (loaded)
		return loaded;
	struct attempt a = {0};
	if (co_blocking(load, &a) < 0) {
		error_move(errp, a.error);
		return NULL;
	}
	return loaded = a.library;
}
