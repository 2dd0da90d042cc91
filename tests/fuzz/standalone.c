/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target without libFuzzer: each file of a directory as it is, and
 * then random variations of them, reproducible by their seed.
 *
 * Usage: fuzz_NAME [-s SEED] [-n COUNT] FILE-OR-DIRECTORY...
 *
 * When the target dies, the input is in the file fuzz-NAME.crash of the current
 * directory, which can be given as the only FILE with -n 0.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_MAX 65536

struct input {
	uint8_t *bytes;
	size_t size;
};

static struct input *inputs;
static size_t input_count;
static uint64_t state;
static struct input current;
static char crash_path[256];

static uint64_t next_random(void)
{
	uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static size_t below(size_t n)
{
	return n ? next_random() % n : 0;
}

static void keep_input(int signal_number)
{
	int fd = open(crash_path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd >= 0 && write(fd, current.bytes, current.size) == (ssize_t)current.size)
		close(fd);
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

static void run(struct input in)
{
	/* A copy of its own, so that reading past the end is seen. */
	uint8_t *bytes = xmemdup(in.bytes, in.size ? in.size : 1);

	current = in;
	LLVMFuzzerTestOneInput(bytes, in.size);
	free(bytes);
}

static void add_file(const char *path)
{
	uint8_t *bytes = xalloc(1, INPUT_MAX);
	FILE *f = fopen(path, "rb");

	if (!f) {
		perror(path);
		exit(2);
	}
	inputs = xrealloc(inputs, input_count + 1, sizeof(inputs[0]));
	inputs[input_count++] = (struct input){bytes, fread(bytes, 1, INPUT_MAX, f)};
	fclose(f);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void add_path(const char *path)
{
	struct dirent **names;
	int n = scandir(path, &names, NULL, by_name);

	if (n < 0) {
		add_file(path);
		return;
	}
	for (int i = 0; i < n; i++) {
		char *file = xasprintf("%s/%s", path, names[i]->d_name);

		if (names[i]->d_name[0] != '.')
			add_file(file);
		free(file);
		free(names[i]);
	}
	free(names);
}

/* Replace @removed bytes at @at by @size bytes; what does not fit is left out. */
static void substitute(struct input *in, size_t at, size_t removed, const uint8_t *bytes, size_t size)
{
	removed = MIN(removed, in->size - at);
	if (in->size - removed + size > INPUT_MAX)
		return;
	memmove(in->bytes + at + size, in->bytes + at + removed, in->size - at - removed);
	memcpy(in->bytes + at, bytes, size);
	in->size += size - removed;
}

static void mutate(struct input *in)
{
	const struct input *other = &inputs[below(input_count)];
	size_t at = below(in->size + 1);
	uint8_t piece[64];
	size_t from, n;

	switch (below(6)) {
	case 0:
		piece[0] = (uint8_t)next_random();
		substitute(in, at, 1, piece, 1);
		break;
	case 1:
		piece[0] = (uint8_t)next_random();
		substitute(in, at, 0, piece, 1);
		break;
	case 2:
		substitute(in, at, below(16), piece, 0);
		break;
	case 3:
		if (at < in->size)
			in->bytes[at] ^= (uint8_t)(1u << below(8));
		break;
	case 4: /* repeat a piece of its own */
		n = MIN(below(sizeof(piece)), in->size - at);
		memcpy(piece, in->bytes + at, n);
		substitute(in, below(in->size + 1), 0, piece, n);
		break;
	default: /* a piece of another */
		from = below(other->size + 1);
		substitute(in, at, below(8), other->bytes + from,
		       MIN(below(64), other->size - from));
	}
}

static void run_variations(unsigned long count)
{
	struct input in = {xalloc(1, INPUT_MAX), 0};

	for (unsigned long i = 0; i < count; i++) {
		const struct input *origin = &inputs[below(input_count)];

		memcpy(in.bytes, origin->bytes, origin->size);
		in.size = origin->size;
		for (size_t steps = 1 + below(8); steps > 0; steps--)
			mutate(&in);
		run(in);
	}
	free(in.bytes);
}

int main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/');
	unsigned long count = 0;
	int option;

	while ((option = getopt(argc, argv, "s:n:")) != -1) {
		if (option == 's')
			state = strtoull(optarg, NULL, 0);
		else if (option == 'n')
			count = strtoul(optarg, NULL, 0);
		else
			return 2;
	}
	snprintf(crash_path, sizeof(crash_path), "%s.crash", name ? name + 1 : argv[0]);
	for (int i = optind; i < argc; i++)
		add_path(argv[i]);
	if (input_count == 0) {
		fprintf(stderr, "no inputs\n");
		return 2;
	}
	signal(SIGABRT, keep_input);
	signal(SIGSEGV, keep_input);
	for (size_t i = 0; i < input_count; i++)
		run(inputs[i]);
	run_variations(count);
	for (size_t i = 0; i < input_count; i++)
		free(inputs[i].bytes);
	free(inputs);
	return 0;
}
