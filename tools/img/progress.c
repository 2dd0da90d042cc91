/* SPDX-License-Identifier: MIT */
/*
 * Progress on standard output, in percent. One task at a time.
 */
#include <signal.h>
#include <stdio.h>

#include "tools/img/img.h"

/* Smaller steps are not worth a line. */
#define STEP_PERCENT 1.0f

static bool shows_all;
static float shown;
static volatile sig_atomic_t wanted;

static void on_signal(int number)
{
	wanted = 1;
}

static void show(float percent)
{
	printf("    (%3.2f/100%%)\r", percent);
	fflush(stdout);
	shown = percent;
	wanted = 0;
}

void img_progress_begin(bool shows)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	shows_all = shows;
	sigaction(SIGUSR1, &action, NULL);
	if (shows)
		show(0);
}

void img_progress(uint64_t done, uint64_t all)
{
	float percent = all > 0 ? 100.0f * ((float)done / (float)all) : 100.0f;

	if (wanted || (shows_all && (percent >= shown + STEP_PERCENT ||
				     (percent >= 100.0f && shown < 100.0f))))
		show(percent);
}

void img_progress_end(bool failed)
{
	if (!shows_all)
		return;
	if (!failed)
		show(100);
	putchar('\n');
}
