/* SPDX-License-Identifier: MIT */
/*
 * Where the program's loadable modules are: in the folder that the environment
 * variable CAIRN_MODULES names; without it, in the build tree for programs that were
 * not installed, and else where modules are installed. Any thread.
 */
#ifndef BASE_MODULE_H
#define BASE_MODULE_H

/*
 * The path of the module @file, which a build leaves in @build_folder of its tree;
 * whether it is there is another question. Free with free(). Reads a link.
 */
char *module_path(const char *file, const char *build_folder);

#endif
