/* SPDX-License-Identifier: MIT */
/*
 * What another process has used, as /proc tells. Any thread.
 */
#include "server_usage.h"

#include <err.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

double server_cpu_s(int pid)
{
	char path[64], text[1024];
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *f = fopen(path, "r");
	if (!f)
		err(1, "%s", path);
	size_t n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';

	unsigned long user, system;
	char *p = strrchr(text, ')'); /* the name before it may hold anything */
	if (!p || sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
			 &system) != 2)
		errx(1, "cannot understand %s", path);
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

unsigned long server_rss_kib(int pid)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	FILE *f = fopen(path, "r");
	unsigned long pages = 0;
	if (!f || fscanf(f, "%*u %lu", &pages) != 1)
		err(1, "%s", path);
	fclose(f);
	return pages * ((unsigned long)sysconf(_SC_PAGESIZE) / 1024);
}
