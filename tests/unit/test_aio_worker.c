/* SPDX-License-Identifier: MIT */
/*
 * The cases of aio_cases.h on worker threads.
 */
#include "tests/unit/aio_cases.h"

static void set_up(void)
{
	open_file("threads");
	ck_assert_str_eq(aio_engine_name(loop), "threads");
}

int main(void)
{
	return run_cases("threads", set_up);
}
