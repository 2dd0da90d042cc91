/* SPDX-License-Identifier: MIT */
/*
 * nbdload: puts load on an NBD export and prints what came of it as JSON.
 *
 * One thread per connection. Each keeps --depth requests in flight; all that
 * one receive has answered are replaced by one send, so that the generator is
 * not what is being measured.
 */
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "histogram.h"
#include "nbd_client.h"
#include "server_usage.h"

#define DEPTH_MAX 1024
#define RECEIVE_BYTES (256 << 10)
#define NS_PER_S UINT64_C(1000000000)

enum op { OP_READ, OP_WRITE, OP_RANDREAD, OP_RANDWRITE, OP_ZERO, OP_TRIM, OP_FLUSH, OP_MIXED,
	  OP_FILL, OP_COUNT };

static const char *const op_names[OP_COUNT] = {"read", "write", "randread", "randwrite", "zero",
					       "trim", "flush", "mixed", "fill"};

static struct {
	const char *address, *export;
	enum op op;
	unsigned depth, connections;
	uint32_t block;
	uint64_t size; /* of the part of the export that is used */
	double seconds, warm_up;
	bool simple, verify, fua;
	uint64_t seed;
	int server_pid;
} options = {
	.export = "", .op = OP_RANDREAD, .depth = 64, .connections = 1, .block = 4096,
	.seconds = 3, .warm_up = 0.3, .seed = 1,
};

/* One request in flight; its place is its cookie. */
struct slot {
	uint64_t started_ns;
	uint64_t offset;
	uint32_t missing; /* bytes of a read that have not come */
	uint16_t type;
	uint8_t header[NBD_REQUEST_BYTES];
	uint8_t *pattern; /* what a verified write sends */
};

struct worker {
	pthread_t thread;
	struct nbd_client client;
	struct slot slots[DEPTH_MAX];
	uint64_t random, next_offset, end_offset;
	unsigned in_flight;
	bool ending;

	struct iovec out[2 * DEPTH_MAX]; /* not sent yet: out[out_begin..out_end] */
	unsigned out_begin, out_end;

	uint8_t *in;
	size_t in_begin, in_end;
	/* Of the chunk whose payload is coming in. */
	struct slot *reading;
	uint64_t read_offset;
	uint32_t read_left; /* bytes of data to pass over */
	bool read_is_last;

	bool measuring;
	uint64_t done, errors;
	struct histogram latency;
};

static volatile bool measure, stop;
static uint8_t *write_data;

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static uint64_t next_random(struct worker *w)
{
	return mix(w->random += UINT64_C(0x9e3779b97f4a7c15));
}

/* The byte that belongs at @offset of a verified export. */
static uint8_t pattern_byte(uint64_t offset)
{
	return mix((offset >> 3) + options.seed) >> (8 * (offset & 7));
}

static void check_pattern(const struct worker *w, const uint8_t *p, uint64_t offset, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++)
		if (p[i] != pattern_byte(offset + i))
			errx(1, "wrong byte at %" PRIu64 ": 0x%02x instead of 0x%02x", offset + i,
			     p[i], pattern_byte(offset + i));
}

static uint64_t choose_offset(struct worker *w)
{
	if (options.op == OP_READ || options.op == OP_WRITE || options.op == OP_FILL) {
		uint64_t offset = w->next_offset;
		w->next_offset += options.block;
		if (w->next_offset + options.block > w->end_offset && options.op != OP_FILL)
			w->next_offset = 0;
		return offset;
	}
	return next_random(w) % (options.size / options.block) * options.block;
}

static uint16_t choose_type(struct worker *w)
{
	switch (options.op) {
	case OP_WRITE:
	case OP_RANDWRITE:
	case OP_FILL:
		return NBD_CMD_WRITE;
	case OP_ZERO:
		return NBD_CMD_WRITE_ZEROES;
	case OP_TRIM:
		return NBD_CMD_TRIM;
	case OP_FLUSH:
		return NBD_CMD_FLUSH;
	case OP_MIXED:
		return next_random(w) & 1 ? NBD_CMD_READ : NBD_CMD_WRITE;
	default:
		return NBD_CMD_READ;
	}
}

static void queue_request(struct worker *w, struct slot *s, uint64_t now)
{
	bool is_flush = options.op == OP_FLUSH;
	s->type = choose_type(w);
	s->offset = is_flush ? 0 : choose_offset(w);
	s->missing = s->type == NBD_CMD_READ ? options.block : 0;
	s->started_ns = now;
	uint16_t flags = options.fua && s->type != NBD_CMD_READ ? NBD_CMD_FLAG_FUA : 0;
	nbd_put_request(s->header, &(struct nbd_request){
		.type = s->type,
		.flags = flags,
		.cookie = s - w->slots,
		.offset = s->offset,
		.length = is_flush ? 0 : options.block,
	});
	w->out[w->out_end++] = (struct iovec){s->header, NBD_REQUEST_BYTES};
	if (s->type == NBD_CMD_WRITE) {
		uint8_t *data = write_data;
		if (options.verify) {
			data = s->pattern;
			for (uint32_t i = 0; i < options.block; i++)
				data[i] = pattern_byte(s->offset + i);
		}
		w->out[w->out_end++] = (struct iovec){data, options.block};
	}
	w->in_flight++;
}

/* What could not be sent goes to the front, so that there is always room for all slots. */
static void compact_queue(struct worker *w)
{
	memmove(w->out, w->out + w->out_begin, (w->out_end - w->out_begin) * sizeof(*w->out));
	w->out_end -= w->out_begin;
	w->out_begin = 0;
}

/* Send what is queued, as far as the socket takes it. */
static void send_queued(struct worker *w)
{
	while (w->out_begin < w->out_end) {
		struct msghdr m = {.msg_iov = w->out + w->out_begin,
				   .msg_iovlen = MIN(w->out_end - w->out_begin, 1024u)};
		ssize_t n = sendmsg(w->client.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			compact_queue(w);
			return;
		}
		if (n < 0)
			err(1, "send");
		while (n > 0) {
			struct iovec *iov = &w->out[w->out_begin];
			size_t part = MIN((size_t)n, iov->iov_len);
			iov->iov_base = (char *)iov->iov_base + part;
			iov->iov_len -= part;
			n -= part;
			if (iov->iov_len == 0)
				w->out_begin++;
		}
	}
	w->out_begin = w->out_end = 0;
}

static void finish(struct worker *w, struct slot *s, uint32_t error, uint64_t now)
{
	if (error || s->missing != 0) {
		w->errors++;
		if (error == 0)
			errx(1, "a read at %" PRIu64 " lacks %u bytes", s->offset, s->missing);
	}
	w->in_flight--;
	if (w->measuring) {
		w->done++;
		histogram_add(&w->latency, now - s->started_ns);
	}
	if (options.op == OP_FILL && w->next_offset >= w->end_offset)
		w->ending = true;
	if (!w->ending)
		queue_request(w, s, now);
}

static struct slot *slot_of(struct worker *w, uint64_t cookie)
{
	if (cookie >= options.depth)
		errx(1, "a reply with an unknown cookie");
	return &w->slots[cookie];
}

/* Take the data of the chunk that is coming in. False: more must come. */
static bool take_data(struct worker *w, uint64_t now)
{
	size_t n = MIN(w->in_end - w->in_begin, w->read_left);
	if (options.verify)
		check_pattern(w, w->in + w->in_begin, w->read_offset, n);
	w->in_begin += n;
	w->read_offset += n;
	w->read_left -= n;
	if (w->read_left > 0)
		return false;
	struct slot *s = w->reading;
	w->reading = NULL;
	if (w->read_is_last)
		finish(w, s, 0, now);
	return true;
}

static void begin_data(struct worker *w, struct slot *s, uint64_t offset, uint32_t bytes,
		       bool is_last)
{
	if (bytes > s->missing)
		errx(1, "more data than was asked for");
	s->missing -= bytes;
	w->reading = s;
	w->read_offset = offset;
	w->read_left = bytes;
	w->read_is_last = is_last;
}

/* A structured chunk at @p, all of it but data. False: more must come. */
static bool take_chunk(struct worker *w, const uint8_t *p, size_t available, uint64_t now)
{
	struct nbd_chunk chunk;
	if (available < NBD_CHUNK_BYTES)
		return false;
	if (nbd_get_chunk(p, &chunk) < 0)
		errx(1, "bad magic in a reply");
	bool has_data = chunk.type == NBD_REPLY_TYPE_OFFSET_DATA;
	size_t fixed = NBD_CHUNK_BYTES + (has_data ? NBD_OFFSET_BYTES : chunk.length);
	if (available < fixed)
		return false;
	w->in_begin += fixed;

	struct slot *s = slot_of(w, chunk.cookie);
	bool is_last = chunk.flags & NBD_REPLY_FLAG_DONE;
	const uint8_t *payload = p + NBD_CHUNK_BYTES;
	uint32_t error = 0;
	if (has_data) {
		begin_data(w, s, nbd_get64(payload), chunk.length - NBD_OFFSET_BYTES, is_last);
		return true;
	}
	if (chunk.type == NBD_REPLY_TYPE_OFFSET_HOLE) {
		s->missing -= nbd_get32(payload + 8);
		if (options.verify)
			errx(1, "a hole where there is a pattern");
	} else if (chunk.type & 1 << 15) {
		error = nbd_get32(payload);
	}
	if (is_last)
		finish(w, s, error, now);
	return true;
}

/* One reply, as far as it is there. False: more must come. */
static bool take_reply(struct worker *w, uint64_t now)
{
	if (w->reading)
		return take_data(w, now);
	const uint8_t *p = w->in + w->in_begin;
	size_t available = w->in_end - w->in_begin;
	if (available < NBD_SIMPLE_REPLY_BYTES)
		return false;
	struct nbd_simple_reply reply;
	if (nbd_get_simple_reply(p, &reply) < 0)
		return take_chunk(w, p, available, now);

	w->in_begin += NBD_SIMPLE_REPLY_BYTES;
	struct slot *s = slot_of(w, reply.cookie);
	if (s->type == NBD_CMD_READ && reply.error == 0)
		begin_data(w, s, s->offset, options.block, true);
	else
		finish(w, s, reply.error, now);
	return true;
}

static void receive(struct worker *w)
{
	if (w->in_begin > 0) {
		memmove(w->in, w->in + w->in_begin, w->in_end - w->in_begin);
		w->in_end -= w->in_begin;
		w->in_begin = 0;
	}
	bool is_blocked = w->out_begin < w->out_end;
	if (is_blocked) {
		struct pollfd p = {.fd = w->client.fd, .events = POLLIN | POLLOUT};
		poll(&p, 1, -1);
	}
	ssize_t n = recv(w->client.fd, w->in + w->in_end, RECEIVE_BYTES - w->in_end,
			 is_blocked ? MSG_DONTWAIT : 0);
	if (n == 0)
		errx(1, "the server closed the connection");
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		err(1, "receive");
	w->in_end += MAX(n, 0);
}

static void *run_worker(void *arg)
{
	struct worker *w = arg;
	uint64_t now = now_ns();

	for (unsigned i = 0; i < options.depth && w->next_offset < w->end_offset; i++)
		queue_request(w, &w->slots[i], now);
	while (w->in_flight > 0) {
		send_queued(w);
		receive(w);
		now = now_ns();
		w->measuring = measure;
		if (stop)
			w->ending = true;
		while (w->in_begin < w->in_end && take_reply(w, now))
			;
	}
	uint8_t request[NBD_REQUEST_BYTES];
	nbd_put_request(request, &(struct nbd_request){.type = NBD_CMD_DISC});
	(void)!write(w->client.fd, request, sizeof(request));
	close(w->client.fd);
	return NULL;
}

static uint64_t parse_size(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 0);
	const char *units = "KMGT";
	const char *unit = *end ? strchr(units, *end) : NULL;
	if (end == text || (*end && (!unit || end[1])))
		errx(2, "not a size: %s", text);
	return unit ? n << (10 * (unit - units + 1)) : n;
}

static enum op parse_op(const char *text)
{
	for (unsigned i = 0; i < OP_COUNT; i++)
		if (!strcmp(text, op_names[i]))
			return i;
	errx(2, "no such operation: %s", text);
}

static void usage(void)
{
	fputs("usage: nbdload [options] unix:PATH|tcp:HOST:PORT\n"
	      "  --export NAME        export to use (default: the one without a name)\n"
	      "  --op OP              read, write (sequential), randread, randwrite, zero, trim,\n"
	      "                       flush, mixed, or fill (write everything once)\n"
	      "  --bs BYTES           length of a request (default 4K)\n"
	      "  --depth N            requests in flight per connection (default 64)\n"
	      "  --connections N      (default 1)\n"
	      "  --size BYTES         use only the beginning of the export\n"
	      "  --seconds S          how long to measure (default 3)\n"
	      "  --warm-up S          not measured, before that (default 0.3)\n"
	      "  --simple             without structured replies\n"
	      "  --fua                with the flag FUA\n"
	      "  --verify             write a pattern that follows from the offset; check reads\n"
	      "  --seed N             of the offsets and of the pattern\n"
	      "  --server-pid PID     print the CPU time and the memory of that process, too\n",
	      stderr);
	exit(2);
}

enum { OPT_FIRST = 256, OPT_EXPORT = OPT_FIRST, OPT_OP, OPT_BS, OPT_DEPTH, OPT_CONNECTIONS,
       OPT_SIZE, OPT_SECONDS, OPT_WARM_UP, OPT_SIMPLE, OPT_FUA, OPT_VERIFY, OPT_SEED,
       OPT_SERVER_PID };

static void parse_option(int c)
{
	switch (c) {
	case OPT_EXPORT: options.export = optarg; break;
	case OPT_OP: options.op = parse_op(optarg); break;
	case OPT_BS: options.block = parse_size(optarg); break;
	case OPT_DEPTH: options.depth = atoi(optarg); break;
	case OPT_CONNECTIONS: options.connections = atoi(optarg); break;
	case OPT_SIZE: options.size = parse_size(optarg); break;
	case OPT_SECONDS: options.seconds = atof(optarg); break;
	case OPT_WARM_UP: options.warm_up = atof(optarg); break;
	case OPT_SIMPLE: options.simple = true; break;
	case OPT_FUA: options.fua = true; break;
	case OPT_VERIFY: options.verify = true; break;
	case OPT_SEED: options.seed = strtoull(optarg, NULL, 0); break;
	case OPT_SERVER_PID: options.server_pid = atoi(optarg); break;
	default: usage();
	}
}

static void parse_options(int argc, char **argv)
{
	static const struct option names[] = {
		{"export", 1, NULL, OPT_EXPORT}, {"op", 1, NULL, OPT_OP},
		{"bs", 1, NULL, OPT_BS}, {"depth", 1, NULL, OPT_DEPTH},
		{"connections", 1, NULL, OPT_CONNECTIONS}, {"size", 1, NULL, OPT_SIZE},
		{"seconds", 1, NULL, OPT_SECONDS}, {"warm-up", 1, NULL, OPT_WARM_UP},
		{"simple", 0, NULL, OPT_SIMPLE}, {"fua", 0, NULL, OPT_FUA},
		{"verify", 0, NULL, OPT_VERIFY}, {"seed", 1, NULL, OPT_SEED},
		{"server-pid", 1, NULL, OPT_SERVER_PID}, {0},
	};
	int c;
	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1)
		parse_option(c);
	if (optind + 1 != argc)
		usage();
	options.address = argv[optind];
	if (options.depth < 1 || options.depth > DEPTH_MAX)
		errx(2, "the depth is 1 to %d", DEPTH_MAX);
	if (options.connections < 1 || options.block < 1 || options.block > NBD_DATA_MAX)
		errx(2, "bad number of connections or bytes");
}

/* Divide the export between the connections of a sequential operation. */
static void prepare_worker(struct worker *w, unsigned number)
{
	nbd_client_connect(&w->client, options.address, options.export, !options.simple);
	if (options.size == 0 || options.size > w->client.size)
		options.size = w->client.size;
	if (options.size < options.block)
		errx(1, "the export is smaller than a request");
	uint64_t blocks = options.size / options.block;
	w->next_offset = blocks * number / options.connections * options.block;
	w->end_offset = options.op == OP_FILL
				? blocks * (number + 1) / options.connections * options.block
				: blocks * options.block;
	w->random = mix(options.seed + number * 77);
	w->in = malloc(RECEIVE_BYTES);
	for (unsigned i = 0; options.verify && i < options.depth; i++)
		w->slots[i].pattern = malloc(options.block);
}

static void sleep_s(double s)
{
	struct timespec t = {.tv_sec = (time_t)s, .tv_nsec = (long)((s - (time_t)s) * 1e9)};
	nanosleep(&t, NULL);
}

static void print_result(const struct worker *workers, double seconds, double cpu_s)
{
	static struct histogram all;
	uint64_t done = 0, errors = 0;
	for (unsigned i = 0; i < options.connections; i++) {
		histogram_merge(&all, &workers[i].latency);
		done += workers[i].done;
		errors += workers[i].errors;
	}
	printf("{\"op\": \"%s\", \"bs\": %u, \"depth\": %u, \"connections\": %u, "
	       "\"seconds\": %.3f, \"ios\": %" PRIu64 ", \"errors\": %" PRIu64 ", "
	       "\"iops\": %.0f, \"mib_per_s\": %.1f, "
	       "\"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f",
	       op_names[options.op], options.block, options.depth, options.connections, seconds,
	       done, errors, (double)done / seconds,
	       (double)done * options.block / seconds / MiB,
	       (double)histogram_percentile(&all, 0.5) / 1e3,
	       (double)histogram_percentile(&all, 0.99) / 1e3,
	       (double)histogram_percentile(&all, 0.999) / 1e3, (double)all.max_ns / 1e3);
	if (options.server_pid)
		printf(", \"server_cpu_us_per_io\": %.3f, \"server_rss_kib\": %lu",
		       done ? cpu_s * 1e6 / (double)done : 0.0,
		       server_rss_kib(options.server_pid));
	puts("}");
	if (errors)
		exit(1);
}

int main(int argc, char **argv)
{
	parse_options(argc, argv);
	struct worker *workers = calloc(options.connections, sizeof(*workers));
	write_data = malloc(options.block);
	if (!workers || !write_data)
		errx(1, "no memory");
	for (uint32_t i = 0; i < options.block; i++)
		write_data[i] = mix(i);
	for (unsigned i = 0; i < options.connections; i++)
		prepare_worker(&workers[i], i);

	bool is_fill = options.op == OP_FILL;
	measure = is_fill;
	uint64_t begin = now_ns();
	double cpu_s = options.server_pid ? server_cpu_s(options.server_pid) : 0;
	for (unsigned i = 0; i < options.connections; i++)
		pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]);
	if (!is_fill) {
		sleep_s(options.warm_up);
		cpu_s = options.server_pid ? server_cpu_s(options.server_pid) : 0;
		begin = now_ns();
		measure = true;
		sleep_s(options.seconds);
		measure = false;
	}
	uint64_t end = now_ns();
	if (options.server_pid && !is_fill)
		cpu_s = server_cpu_s(options.server_pid) - cpu_s;
	stop = !is_fill;
	for (unsigned i = 0; i < options.connections; i++)
		pthread_join(workers[i].thread, NULL);
	if (is_fill) {
		end = now_ns();
		cpu_s = options.server_pid ? server_cpu_s(options.server_pid) - cpu_s : 0;
	}
	print_result(workers, (double)(end - begin) / 1e9, cpu_s);
	return 0;
}
