/* SPDX-License-Identifier: MIT */
/*
 * Drivers that need a heavy library are loadable modules, cairn-block-NAME.so. The
 * table of drivers has a row for each with its name and how it reads file names;
 * the rest is loaded when the first node of the driver is asked for, and stays.
 *
 * A module is looked for in the folder that the environment variable CAIRN_MODULES
 * names; without it, in the build tree by programs that were not installed, and
 * else where it is installed. It calls functions of the program that loads it, and
 * belongs to its very version.
 */
#ifndef DRIVERS_MODULE_H
#define DRIVERS_MODULE_H

#include "block/driver.h"
#include "block/node.h"

/* What each module exports as cairn_module. The sizes tell other layouts of one version. */
struct module {
	const char *version;
	size_t driver_size, node_size;
	const struct driver *driver;
};

#define MODULE_SYMBOL "cairn_module"

/* In a module: this is its driver. */
#define MODULE_DEFINE(d)                                                                           \
	extern const struct module cairn_module;                                                   \
	const struct module cairn_module = {                                                       \
		.version = CAIRN_VERSION,                                                          \
		.driver_size = sizeof(struct driver),                                              \
		.node_size = sizeof(struct node),                                                  \
		.driver = &(d),                                                                    \
	}

/*
 * The whole driver @name, whose module needs the Debian package @package. NULL with a
 * sentence in *errp when the module or the library is missing or unfit; the
 * next call looks again. Loads off the loop. Control thread, in a coroutine.
 */
const struct driver *co_fn driver_module_load(const char *name, const char *package, struct error **errp);

#endif
