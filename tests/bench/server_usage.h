/* SPDX-License-Identifier: MIT */
/*
 * What another process has used, as /proc tells.
 */
#ifndef TESTS_BENCH_SERVER_USAGE_H
#define TESTS_BENCH_SERVER_USAGE_H

/* CPU time of all threads of @pid since its start, in seconds. Ends the process on failure. */
double server_cpu_s(int pid);
/* Resident memory of @pid in KiB. Ends the process on failure. */
unsigned long server_rss_kib(int pid);

#endif
