/* SPDX-License-Identifier: MIT */
/*
 * How fast the loop's engine moves 4 KiB blocks of a file, without any block
 * layer above it.
 *
 *	bench_aio FILE [read|write] [direct|cached] [DEPTH] [SECONDS]
 *
 * prints I/O operations per second, CPU time per operation (all threads) and
 * the median and 99th percentile of the latency. FILE is made 1 GiB long if it
 * is shorter. CAIRN_AIO_ENGINE=threads measures the other engine.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/aio.h"
#include "base/buffer.h"
#include "base/loop.h"

#define BLOCK ((size_t)4096)
#define FILE_BYTES GiB

/* Latencies are counted in classes of 1/16 of a power of two. */
#define LATENCY_CLASSES 1024

struct bench {
	struct loop *loop;
	int fd;
	bool writes, direct;
	uint64_t blocks;
	uint64_t deadline_ns;
	uint64_t done;
	uint64_t latencies[LATENCY_CLASSES];
	struct co_group workers;
};

static unsigned latency_class(uint64_t ns)
{
	if (ns < 16)
		return (unsigned)ns;
	unsigned bits = 63 - (unsigned)__builtin_clzll(ns);
	return (bits - 3) * 16 + (unsigned)(ns >> (bits - 4) & 15);
}

static double class_us(unsigned class)
{
	if (class < 16)
		return class / 1e3;
	return (double)((16 + class % 16) * (UINT64_C(1) << (class / 16 - 1))) / 1e3;
}

static double percentile_us(const struct bench *b, double share)
{
	uint64_t wanted = (uint64_t)((double)b->done * share), seen = 0;
	for (unsigned i = 0; i < LATENCY_CLASSES; i++) {
		seen += b->latencies[i];
		if (seen > wanted)
			return class_us(i);
	}
	return 0;
}

static void co_fn work(void *arg)
{
	struct bench *b = arg;
	void *p = buffer_get(b->loop, BLOCK);
	memset(p, 0x5a, BLOCK);
	struct iovec iov;
	struct vec v = vec_flat(&iov, p, BLOCK);
	uint64_t begin_ns = loop_now_ns(b->loop);
	while (begin_ns < b->deadline_ns) {
		uint64_t offset = loop_random(b->loop) % b->blocks * BLOCK;
		int64_t r = b->writes ? aio_write(b->loop, b->fd, offset, BLOCK, v,
						  b->direct ? 0 : AIO_WRITE_CACHED)
				      : aio_read(b->loop, b->fd, offset, BLOCK, v) - (int64_t)BLOCK;
		if (r != 0) {
			fprintf(stderr, "I/O failed: %s\n", strerror((int)-r));
			exit(1);
		}
		uint64_t end_ns = loop_now_ns(b->loop);
		b->latencies[latency_class(end_ns - begin_ns)]++;
		b->done++;
		begin_ns = end_ns;
	}
	buffer_put(b->loop, p, BLOCK);
	co_group_done(&b->workers);
}

static unsigned depth = 64;

static void co_fn run(void *arg)
{
	struct bench *b = arg;
	co_group_init(&b->workers);
	for (unsigned i = 0; i < depth; i++) {
		co_group_add(&b->workers);
		co_start(b->loop, work, b);
	}
	co_group_wait(&b->workers);
}

static double cpu_seconds(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Full of data, so that no read meets a hole and no write allocates. */
static int prepare_file(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return -1;
	struct stat st;
	fstat(fd, &st);
	void *p = malloc(MiB);
	memset(p, 0xa5, MiB);
	for (uint64_t at = (uint64_t)st.st_size; at < FILE_BYTES; at += MiB) {
		if (pwrite(fd, p, MiB, (off_t)at) != (ssize_t)MiB) {
			free(p);
			close(fd);
			return -1;
		}
	}
	free(p);
	fsync(fd);
	return fd;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: bench_aio FILE [read|write] [direct|cached] [DEPTH] [SECONDS]\n");
		return 2;
	}
	bool direct = argc > 3 && strcmp(argv[3], "direct") == 0;
	depth = argc > 4 ? (unsigned)atoi(argv[4]) : depth;
	unsigned seconds = argc > 5 ? (unsigned)atoi(argv[5]) : 3;

	struct bench b = {.writes = argc > 2 && strcmp(argv[2], "write") == 0};
	b.direct = direct;
	b.fd = prepare_file(argv[1]);
	if (b.fd < 0 || (direct && fcntl(b.fd, F_SETFL, O_RDWR | O_DIRECT) < 0)) {
		perror(argv[1]);
		return 1;
	}
	if (!direct && !b.writes) { /* bring it into the page cache */
		static char p[MiB];
		for (uint64_t at = 0; pread(b.fd, p, sizeof(p), (off_t)at) > 0; at += sizeof(p))
			;
	}
	b.blocks = FILE_BYTES / BLOCK;
	struct error *error = NULL;
	b.loop = loop_new_uv(&error);
	if (!b.loop) {
		fprintf(stderr, "%s\n", error->message);
		return 1;
	}
	double cpu = cpu_seconds();
	b.deadline_ns = loop_now_ns(b.loop) + seconds * UINT64_C(1000000000);
	loop_run_coroutine(b.loop, run, &b);
	cpu = cpu_seconds() - cpu;
	printf("%-8s %-5s %-6s depth %-3u %8.0f IOPS %6.2f us CPU/IO  p50 %7.1f us  p99 %7.1f us\n",
	       aio_engine_name(b.loop), b.writes ? "write" : "read", direct ? "direct" : "cached",
	       depth, (double)b.done / seconds, cpu / (double)b.done * 1e6, percentile_us(&b, 0.5),
	       percentile_us(&b, 0.99));
	loop_free(b.loop);
	close(b.fd);
	return 0;
}
