/* SPDX-License-Identifier: MIT */
/*
 * The cases of aio_cases.h on io_uring. Skipped where the kernel refuses it.
 */
#include "tests/unit/aio_cases.h"

static void set_up(void)
{
	open_file("io_uring");
}

int main(void)
{
	loop = loop_new_uv(NULL);
	bool refused = strcmp(aio_engine_name(loop), "io_uring") != 0;
	loop_free(loop);
	if (refused) {
		puts("io_uring is not available here");
		return 77;
	}
	return run_cases("io_uring", set_up);
}
