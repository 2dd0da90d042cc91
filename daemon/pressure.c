/* SPDX-License-Identifier: MIT */
/*
 * Memory pressure, as a service manager or the kernel announces it. Control thread.
 *
 * MEMORY_PRESSURE_WATCH names what to watch: a pressure file of the kernel, to which
 * the decoded MEMORY_PRESSURE_WRITE is written first, a FIFO, or /dev/null for
 * nothing. Without it, the kernel's own file for the whole machine is watched.
 */
#include "daemon/pressure.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "block/graph.h"
#include "daemon/daemon.h"

/* Some task stood still for 200 ms of two seconds. */
#define KERNEL_FILE "/proc/pressure/memory"
#define KERNEL_TRIGGER "some 200000 2000000"

static uv_poll_t watch;
static int watched = -1;

static void on_pressure(uv_poll_t *poll, int status, int events)
{
	if (status < 0) {
		pressure_forget();
		return;
	}
	/* What a FIFO brings means nothing by itself. */
	char ignored[64];
	if ((events & UV_READABLE) && read(watched, ignored, sizeof(ignored)) <= 0)
		pressure_forget();
	size_t bytes = graph_drop_caches(the_daemon.graph);
	if (bytes > 0)
		log_info("memory is short: gave back %zu KiB", bytes / 1024);
}

/* Tell the kernel what counts as pressure. */
static bool set_trigger(int fd, const char *path)
{
	const char *encoded = getenv("MEMORY_PRESSURE_WRITE");
	if (!encoded || strcmp(path, KERNEL_FILE) == 0)
		return write(fd, KERNEL_TRIGGER, sizeof(KERNEL_TRIGGER)) > 0;
	size_t size;
	uint8_t *trigger _cleanup_free_ = NULL;
	return base64_decode(encoded, &trigger, &size, NULL) >= 0 &&
	       write(fd, trigger, size) == (ssize_t)size;
}

void pressure_watch(void)
{
	const char *path = getenv("MEMORY_PRESSURE_WATCH");
	if (!path)
		path = KERNEL_FILE;
	if (strcmp(path, "/dev/null") == 0)
		return;
	int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	if (fd < 0)
		return;
	bool is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	if ((is_file && !set_trigger(fd, path)) ||
	    uv_poll_init(loop_uv(the_daemon.loop), &watch, fd) < 0) {
		close(fd);
		return;
	}
	watched = fd;
	uv_poll_start(&watch, is_file ? UV_PRIORITIZED : UV_READABLE, on_pressure);
}

void pressure_forget(void)
{
	if (watched < 0)
		return;
	uv_poll_stop(&watch);
	uv_close((uv_handle_t *)&watch, NULL);
	close(watched);
	watched = -1;
}
