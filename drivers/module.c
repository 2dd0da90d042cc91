/* SPDX-License-Identifier: MIT */
/*
 * Loading drivers from modules. Control thread, but for load(), which reads files
 * and runs the constructors of libraries, and therefore is a worker's.
 *
 * Modules in use are never unloaded: their libraries leave threads and other traces.
 */
#include "drivers/module.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/module.h"

/* What has been loaded, for ever. */
struct loaded {
	struct list link;
	const struct module *module;
};

static struct list all_loaded = LIST_INIT(all_loaded);

struct attempt {
	const char *name, *package;
	const struct module *module; /* the result */
	struct error *error;
};

static char *find(const char *name)
{
	char *file _cleanup_free_ = xasprintf("cairn-block-%s.so", name);
	return module_path(file, "drivers");
}

static int load(void *arg)
{
	struct attempt *a = arg;
	char *path _cleanup_free_ = find(a->name);
	if (access(path, F_OK) < 0)
		return error_set_errno(&a->error, -errno,
				       "The driver '%s', which needs the package %s, is not installed: "
				       "'%s'", a->name, a->package, path);
	/* The module's own symbols are bound now; those of the libraries when they are used. */
	void *handle = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
	if (!handle)
		return error_set(&a->error, -ENOTSUP,
				 "The driver '%s' cannot be loaded; is the package %s installed? %s",
				 a->name, a->package, dlerror());
	const struct module *m = dlsym(handle, MODULE_SYMBOL);
	if (!m || strcmp(m->version, CAIRN_VERSION) != 0 ||
	    m->driver_size != sizeof(struct driver) || m->node_size != sizeof(struct node) ||
	    strcmp(m->driver->name, a->name) != 0) {
		/* Else a fit one in its place would not be looked at. */
		dlclose(handle);
		return error_set(&a->error, -ENOTSUP,
				 "The driver '%s' cannot be loaded: '%s' belongs to another version "
				 "of the program", a->name, path);
	}
	a->module = m;
	return 0;
}

static const struct module *find_loaded(const char *name)
{
	struct loaded *l;
	list_for_each (l, &all_loaded, link) {
		if (strcmp(l->module->driver->name, name) == 0)
			return l->module;
	}
	return NULL;
}

const struct driver *co_fn driver_module_load(const char *name, const char *package, struct error **errp)
{
	const struct module *m = find_loaded(name);
	if (m)
		return m->driver;
	struct attempt a = {.name = name, .package = package};
	if (co_blocking(load, &a) < 0) {
		error_move(errp, a.error);
		return NULL;
	}
	/* Somebody else may have loaded it meanwhile, which gives the same. */
	if (!find_loaded(name)) {
		struct loaded *l = NEW(struct loaded);
		l->module = a.module;
		list_add_tail(&all_loaded, &l->link);
	}
	return a.module->driver;
}
