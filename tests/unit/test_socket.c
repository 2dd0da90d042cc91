/* SPDX-License-Identifier: MIT */
/* base/socket*.c: listening and connecting in every family, streams, and what goes wrong. */
#include "base/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/unit/unit.h"

static char dir[] = "/tmp/cairn-test-socket-XXXXXX";
static char path[128];

/* Run @entry on a new loop with a new directory for sockets. */
static void run(co_entry *entry)
{
	strcpy(strstr(dir, "socket-") + 7, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	struct loop *loop = loop_new_uv(NULL);
	ck_assert_ptr_nonnull(loop);
	loop_run_coroutine(loop, entry, NULL);
	loop_free(loop);
	unlink(path);
	ck_assert_int_eq(rmdir(dir), 0); /* nothing is left behind */
}

static struct socket_endpoint unix_address(const char *p)
{
	return (struct socket_endpoint){.family = SOCKET_UNIX, .path = p};
}

static struct socket_endpoint inet_address(const char *host, const char *port)
{
	return (struct socket_endpoint){
		.family = SOCKET_INET, .host = host, .port = port, .ipv4 = -1, .ipv6 = -1};
}

/* Accepted connections, in the order in which they came. */
struct accepted {
	int fds[64];
	unsigned count;
	struct socket_listener *listener;
	bool free_listener;
};

static void accept_one(void *arg, int fd)
{
	struct accepted *a = arg;
	ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	a->fds[a->count++] = fd;
	if (a->free_listener)
		socket_listener_free(TAKE(a->listener));
}

static void co_fn listen_at(const struct socket_endpoint *address, struct accepted *a)
{
	_cleanup_error_ struct error *error = NULL;
	int r = socket_listen(loop_current(), address, 100, accept_one, a, &a->listener, &error);
	ck_assert_msg(r == 0, "%s", error ? error->message : "no message");
}

static void co_fn listen_fails(const struct socket_endpoint *address, int code, const char *message)
{
	_cleanup_error_ struct error *error = NULL;
	struct socket_listener *l = NULL;
	int r = socket_listen(loop_current(), address, 100, accept_one, NULL, &l, &error);
	ck_assert_ptr_null(l);
	ck_assert_ptr_nonnull(error);
	ck_assert_str_eq(error->message, message);
	ck_assert_int_eq(r, code);
}

static void co_fn connect_fails(const struct socket_endpoint *address, int code,
				const char *message)
{
	_cleanup_error_ struct error *error = NULL;
	int fd = -1;
	int r = socket_connect(loop_current(), address, &fd, &error);
	ck_assert_int_eq(fd, -1);
	ck_assert_ptr_nonnull(error);
	ck_assert_str_eq(error->message, message);
	ck_assert_int_eq(r, code);
}

static void co_fn wait_until_accepted(struct accepted *a, unsigned count)
{
	for (unsigned i = 0; a->count < count; i++) {
		ck_assert_uint_lt(i, 5000);
		co_sleep_ns(1000000);
	}
}

/* Connect, send a word each way, hang up. */
static void co_fn talk(const struct socket_endpoint *address, struct accepted *a)
{
	struct loop *loop = loop_current();
	int fd;
	unsigned before = a->count;
	ck_assert_int_eq(socket_connect(loop, address, &fd, NULL), 0);
	wait_until_accepted(a, before + 1);
	struct socket_stream *client = socket_stream_new(loop, fd);
	struct socket_stream *server = socket_stream_new(loop, a->fds[before]);

	char buffer[16];
	ck_assert_int_eq(socket_try_read(server, buffer, sizeof(buffer)), -EAGAIN);
	struct iovec ping = {"ping", 4}, pong = {"pong!", 5};
	ck_assert_int_eq(socket_writev(client, &ping, 1), 0);
	ck_assert_int_eq(socket_read(server, buffer, sizeof(buffer)), 4);
	ck_assert_int_eq(socket_writev(server, &pong, 1), 0);
	ck_assert_int_eq(socket_read(client, buffer, 2), 2);
	ck_assert_int_eq(socket_read(client, buffer + 2, sizeof(buffer)), 3);
	ck_assert_mem_eq(buffer, "pong!", 5);
	socket_stream_free(client);
	ck_assert_int_eq(socket_read(server, buffer, sizeof(buffer)), 0);
	socket_stream_free(server);
}

static void co_fn unix_path(void *arg)
{
	struct socket_endpoint address = unix_address(path);
	struct accepted a = {0};
	listen_at(&address, &a);
	_cleanup_free_ char *description = socket_listener_describe(a.listener);
	ck_assert_str_eq(description, path);
	talk(&address, &a);
	talk(&address, &a);
	socket_listener_free(a.listener);
	ck_assert_int_eq(access(path, F_OK), -1);
	socket_listener_free(NULL);
}

START_TEST(unix_socket_by_path)
{
	run(unix_path);
}
END_TEST

static void co_fn unix_abstract(void *arg)
{
	for (int tight = 0; tight < 2; tight++) {
		struct socket_endpoint address = unix_address(path);
		address.abstract = true;
		address.tight = tight;
		struct accepted a = {0};
		listen_at(&address, &a);
		talk(&address, &a);
		ck_assert_int_eq(access(path, F_OK), -1);

		/* The two kinds of names differ. */
		address.tight = !tight;
		int fd = -1;
		ck_assert_int_eq(socket_connect(loop_current(), &address, &fd, NULL),
				 -ECONNREFUSED);
		socket_listener_free(a.listener);
	}
}

START_TEST(unix_socket_by_abstract_name)
{
	run(unix_abstract);
}
END_TEST

static void make_stale_socket(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	strcpy(un.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd);
}

static void co_fn replace_stale(void *arg)
{
	struct socket_endpoint address = unix_address(path);
	make_stale_socket();
	struct accepted a = {0};
	listen_at(&address, &a);
	talk(&address, &a);
	socket_listener_free(a.listener);

	/* What mktemp(1) leaves. */
	close(open(path, O_CREAT | O_WRONLY, 0600));
	listen_at(&address, &a);
	socket_listener_free(a.listener);
}

START_TEST(a_stale_socket_file_is_replaced)
{
	run(replace_stale);
}
END_TEST

static void co_fn keep_others(void *arg)
{
	struct socket_endpoint address = unix_address(path);
	struct accepted a = {0};
	char message[256];
	snprintf(message, sizeof(message), "Failed to bind socket to %s: Address already in use",
		 path);

	listen_at(&address, &a);
	listen_fails(&address, -EADDRINUSE, message);
	wait_until_accepted(&a, 1); /* the question whether somebody is there */
	close(a.fds[0]);
	talk(&address, &a);
	socket_listener_free(a.listener);

	/* A file with data is no socket. */
	int fd = open(path, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_eq(write(fd, "data", 4), 4);
	close(fd);
	listen_fails(&address, -EADDRINUSE, message);
	ck_assert_int_eq(unlink(path), 0);

	ck_assert_int_eq(symlink("nowhere", path), 0);
	listen_fails(&address, -EADDRINUSE, message);
	ck_assert_int_eq(unlink(path), 0);

	ck_assert_int_eq(mkdir(path, 0700), 0);
	listen_fails(&address, -EADDRINUSE, message);
	ck_assert_int_eq(rmdir(path), 0);
}

START_TEST(a_live_socket_and_other_files_are_left_alone)
{
	run(keep_others);
}
END_TEST

static void co_fn replaced_by_other(void *arg)
{
	struct socket_endpoint address = unix_address(path);
	struct accepted a = {0};
	listen_at(&address, &a);
	ck_assert_int_eq(unlink(path), 0);
	make_stale_socket();
	socket_listener_free(a.listener);
	ck_assert_int_eq(access(path, F_OK), 0);
}

START_TEST(the_end_does_not_remove_anothers_file)
{
	run(replaced_by_other);
}
END_TEST

static void co_fn change_directory(void *arg)
{
	_cleanup_close_ int old = open(".", O_RDONLY | O_DIRECTORY);
	ck_assert_int_eq(chdir(dir), 0);
	struct socket_endpoint address = unix_address("s");
	struct accepted a = {0};
	listen_at(&address, &a);
	ck_assert_int_eq(fchdir(old), 0);
	ck_assert_int_eq(access(path, F_OK), 0);
	socket_listener_free(a.listener);
	ck_assert_int_eq(access(path, F_OK), -1);
}

START_TEST(a_relative_path_is_removed_from_another_directory)
{
	run(change_directory);
}
END_TEST

static void co_fn bad_unix(void *arg)
{
	struct socket_endpoint address = unix_address("/nonexistent/x");
	listen_fails(&address, -ENOENT,
		     "Failed to bind socket to /nonexistent/x: No such file or directory");
	connect_fails(&address, -ENOENT,
		      "Failed to connect to '/nonexistent/x': No such file or directory");

	address.path = "";
	listen_fails(&address, -EINVAL, "UNIX socket path is empty");

	char name[200], message[400];
	memset(name, 'a', sizeof(name));
	name[108] = '\0';
	address.path = name;
	snprintf(message, sizeof(message),
		 "UNIX socket path '%s' is too long: it must be less than 108 bytes", name);
	listen_fails(&address, -ENAMETOOLONG, message);
	connect_fails(&address, -ENAMETOOLONG, message);
	name[107] = '\0'; /* fits exactly */
	address.abstract = address.tight = true;
	struct accepted a = {0};
	listen_at(&address, &a);
	talk(&address, &a);
	socket_listener_free(a.listener);
}

START_TEST(bad_unix_paths_are_refused)
{
	run(bad_unix);
}
END_TEST

static void split_port(const char *description, char *port, size_t size)
{
	snprintf(port, size, "%s", strrchr(description, ':') + 1);
}

static void co_fn inet_families(void *arg)
{
	const char *const hosts[] = {"127.0.0.1", "::1", "localhost", ""};
	for (unsigned i = 0; i < ARRAY_SIZE(hosts); i++) {
		struct socket_endpoint address = inet_address(hosts[i], "0");
		address.numeric = i < 2;
		address.keep_alive = (struct socket_keep_alive){true, 3, 10, 0};
		struct accepted a = {0};
		struct socket_listener *l;
		int r = socket_listen(loop_current(), &address, 10, accept_one, &a, &l, NULL);
		if (r == -EADDRNOTAVAIL || r == -EAFNOSUPPORT)
			continue; /* no IPv6 here */
		ck_assert_int_eq(r, 0);
		_cleanup_free_ char *description = socket_listener_describe(l);
		char port[16];
		split_port(description, port, sizeof(port));
		ck_assert_str_ne(port, "0");
		address.port = port;
		talk(&address, &a);
		socket_listener_free(l);
	}
}

START_TEST(inet_with_a_port_of_the_kernels_choice)
{
	run(inet_families);
}
END_TEST

static bool is_mptcp(int fd)
{
	int protocol = 0;
	socklen_t length = sizeof(protocol);
	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length), 0);
	return protocol == IPPROTO_MPTCP;
}

static void co_fn several_paths(void *arg)
{
	bool is_there;
	{
		_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
		is_there = fd >= 0;
	}
	/* Either end by itself, and both. */
	for (unsigned who = 0; who < 4; who++) {
		struct socket_endpoint address = inet_address("127.0.0.1", "0");
		address.mptcp = who & 1;
		struct accepted a = {0};
		struct socket_listener *l = NULL;
		struct error *error = NULL;
		int r = socket_listen(loop_current(), &address, 10, accept_one, &a, &l, &error);
		if (address.mptcp && !is_there) {
			ck_assert_int_lt(r, 0);
			ck_assert(string_starts_with(error->message,
						     "Failed to create an MPTCP socket: "));
			error_free(error);
			continue;
		}
		ck_assert_int_eq(r, 0);
		_cleanup_free_ char *description = socket_listener_describe(l);
		char port[16];
		split_port(description, port, sizeof(port));
		address.port = port;
		address.mptcp = who & 2;
		int fd = -1;
		r = socket_connect(loop_current(), &address, &fd, NULL);
		ck_assert_int_eq(r == 0, is_there || !address.mptcp);
		if (r == 0) {
			ck_assert_int_eq(is_mptcp(fd), address.mptcp);
			wait_until_accepted(&a, 1);
			close(fd);
			close(a.fds[0]);
			talk(&address, &a);
		}
		socket_listener_free(l);
	}
}

START_TEST(inet_over_several_paths_if_the_kernel_can)
{
	run(several_paths);
}
END_TEST

static void co_fn port_range(void *arg)
{
	struct socket_endpoint address = inet_address("127.0.0.1", "0");
	struct accepted first = {0}, second = {0};
	listen_at(&address, &first);
	_cleanup_free_ char *description = socket_listener_describe(first.listener);
	char port[16];
	split_port(description, port, sizeof(port));

	address.port = port;
	listen_fails(&address, -EADDRINUSE,
		     "Failed to find an available port: Address already in use");
	unsigned number = strtoul(port, NULL, 10);
	if (number < 65500) {
		address.port_last = number + 20;
		listen_at(&address, &second);
		_cleanup_free_ char *other = socket_listener_describe(second.listener);
		ck_assert_str_ne(description, other);
		socket_listener_free(second.listener);

		char message[100];
		address.port_last = number - 1;
		snprintf(message, sizeof(message), "Range of ports from %u to %u is empty", number,
			 number - 1);
		listen_fails(&address, -EINVAL, message);
	}
	socket_listener_free(first.listener);
}

START_TEST(a_range_of_ports_is_searched)
{
	run(port_range);
}
END_TEST

static void co_fn bad_inet(void *arg)
{
	struct socket_endpoint address = inet_address("127.0.0.1", "99999");
	listen_fails(&address, -EINVAL, "Port '99999' is above 65535");
	address.port = "";
	listen_fails(&address, -EINVAL, "Port is empty");
	address.port = "no-such-service";
	listen_fails(&address, -EADDRNOTAVAIL,
		     "address resolution failed for 127.0.0.1:no-such-service: "
		     "Servname not supported for ai_socktype");
	address.port = "0";
	address.ipv4 = address.ipv6 = 0;
	listen_fails(&address, -EINVAL, "Cannot disable IPv4 and IPv6 at same time");
	address.ipv6 = 1;
	listen_fails(&address, -EADDRNOTAVAIL,
		     "address resolution failed for 127.0.0.1:0: "
		     "Address family for hostname not supported");

	address = inet_address("192.0.2.1", "0"); /* TEST-NET: nobody's */
	listen_fails(&address, -EADDRNOTAVAIL,
		     "Failed to bind socket: Cannot assign requested address");
	address = inet_address("127.0.0.1", "1");
	connect_fails(&address, -ECONNREFUSED,
		      "Failed to connect to '127.0.0.1:1': Connection refused");
}

START_TEST(bad_inet_addresses_are_refused)
{
	run(bad_inet);
}
END_TEST

static void co_fn passed_fds(void *arg)
{
	/* Bound to a port by somebody else; listening or not yet. */
	for (int listening = 0; listening < 2; listening++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		struct sockaddr_in in = {
			.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		ck_assert_int_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
		if (listening)
			ck_assert_int_eq(listen(fd, 5), 0);
		struct socket_endpoint passed = {.family = SOCKET_FD, .fd = fd};
		struct accepted a = {0};
		listen_at(&passed, &a);
		_cleanup_free_ char *description = socket_listener_describe(a.listener);
		char port[16];
		split_port(description, port, sizeof(port));
		struct socket_endpoint address = inet_address("127.0.0.1", port);
		talk(&address, &a);
		socket_listener_free(a.listener);
		ck_assert_int_eq(fcntl(fd, F_GETFD), -1); /* it was ours */
	}

	int fds[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	struct socket_endpoint address = {.family = SOCKET_FD, .fd = fds[0]};
	int connected = -1;
	ck_assert_int_eq(socket_connect(loop_current(), &address, &connected, NULL), 0);
	ck_assert_int_eq(connected, fds[0]);
	close(fds[0]);
	close(fds[1]);
}

START_TEST(a_passed_file_descriptor_is_taken_over)
{
	run(passed_fds);
}
END_TEST

static void co_fn bad_fds(void *arg)
{
	struct socket_endpoint address = {.family = SOCKET_FD, .fd = 999};
	listen_fails(&address, -ENOTSOCK, "File descriptor '999' is not a socket");
	connect_fails(&address, -ENOTSOCK, "File descriptor '999' is not a socket");

	_cleanup_close_ int file = open("/dev/null", O_RDONLY);
	char message[100];
	address.fd = file;
	snprintf(message, sizeof(message), "File descriptor '%d' is not a socket", file);
	listen_fails(&address, -ENOTSOCK, message);
	ck_assert_int_ge(fcntl(file, F_GETFD), 0); /* still the caller's */

	_cleanup_close_ int datagram = socket(AF_UNIX, SOCK_DGRAM, 0);
	address.fd = datagram;
	snprintf(message, sizeof(message), "File descriptor '%d' is not a stream socket", datagram);
	listen_fails(&address, -EPROTOTYPE, message);
}

START_TEST(a_passed_file_descriptor_is_checked)
{
	run(bad_fds);
}
END_TEST

static void co_fn pause_accepting(void *arg)
{
	struct socket_endpoint address = unix_address(path);
	struct accepted a = {0};
	listen_at(&address, &a);
	socket_listener_set_accepting(a.listener, false);
	int fd;
	ck_assert_int_eq(socket_connect(loop_current(), &address, &fd, NULL), 0);
	co_sleep_ns(5000000);
	ck_assert_uint_eq(a.count, 0);
	socket_listener_set_accepting(a.listener, true);
	wait_until_accepted(&a, 1);
	close(a.fds[0]);
	close(fd);
	socket_listener_free(a.listener);
}

START_TEST(connections_wait_while_not_accepting)
{
	run(pause_accepting);
}
END_TEST

static void co_fn free_in_accept(void *arg)
{
	struct socket_endpoint address = unix_address(path);
	struct accepted a = {.free_listener = true};
	listen_at(&address, &a);
	int fds[2];
	ck_assert_int_eq(socket_connect(loop_current(), &address, &fds[0], NULL), 0);
	ck_assert_int_eq(socket_connect(loop_current(), &address, &fds[1], NULL), 0);
	wait_until_accepted(&a, 1);
	co_sleep_ns(2000000);
	ck_assert_uint_eq(a.count, 1);
	close(a.fds[0]);
	close(fds[0]);
	close(fds[1]);
}

START_TEST(a_listener_may_be_freed_while_it_accepts)
{
	run(free_in_accept);
}
END_TEST

static void co_fn run_out_of_fds(void *arg)
{
	struct socket_endpoint address = unix_address(path);
	struct accepted a = {0};
	listen_at(&address, &a);
	socket_listener_set_accepting(a.listener, false);
	int fd;
	ck_assert_int_eq(socket_connect(loop_current(), &address, &fd, NULL), 0);

	struct rlimit old, none;
	getrlimit(RLIMIT_NOFILE, &old);
	none = old;
	none.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &none);
	socket_listener_set_accepting(a.listener, true);
	clock_t begin = clock();
	co_sleep_ns(50000000);
	ck_assert_int_lt(clock() - begin, CLOCKS_PER_SEC / 40); /* no busy loop */
	ck_assert_uint_eq(a.count, 0);
	setrlimit(RLIMIT_NOFILE, &old);
	wait_until_accepted(&a, 1);
	close(a.fds[0]);
	close(fd);
	socket_listener_free(a.listener);
}

START_TEST(without_file_descriptors_it_pauses)
{
	run(run_out_of_fds);
}
END_TEST

/* A pair of streams, small buffers on the way from a to b. */
static void make_pair(struct socket_stream **a, struct socket_stream **b)
{
	int fds[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	*a = socket_stream_new(loop_current(), fds[0]);
	*b = socket_stream_new(loop_current(), fds[1]);
}

#define BULK_BYTES (8u << 20)

struct bulk {
	struct socket_stream *from;
	unsigned char *data;
	struct co_group group;
};

static void co_fn send_bulk(void *arg)
{
	struct bulk *b = arg;
	/* More iovecs than one call takes, and empty ones. */
	enum { COUNT = 4096 };
	struct iovec *iov = xalloc(COUNT, sizeof(*iov));
	size_t at = 0;
	for (unsigned i = 0; i < COUNT; i++) {
		size_t bytes = i == COUNT - 1 ? BULK_BYTES - at : i % 7 == 0 ? 0 : 2000;
		iov[i] = (struct iovec){b->data + at, bytes};
		at += bytes;
	}
	ck_assert_int_eq(socket_writev(b->from, iov, COUNT), 0);
	free(iov);
	co_group_done(&b->group);
}

static void co_fn transfer(void *arg)
{
	struct socket_stream *to;
	struct bulk b;
	make_pair(&b.from, &to);
	b.data = xalloc(1, BULK_BYTES);
	for (size_t i = 0; i < BULK_BYTES; i++)
		b.data[i] = i * 2654435761u >> 24;
	co_group_init(&b.group);
	co_group_add(&b.group);
	co_start(loop_current(), send_bulk, &b);

	_cleanup_free_ unsigned char *received = xalloc(1, BULK_BYTES);
	for (size_t at = 0; at < BULK_BYTES;) {
		int64_t n = socket_read(to, received + at, 100000);
		ck_assert_int_gt(n, 0);
		at += n;
	}
	ck_assert(memcmp(received, b.data, BULK_BYTES) == 0);
	co_group_wait(&b.group);
	free(b.data);
	socket_stream_free(b.from);
	socket_stream_free(to);
}

START_TEST(bulk_data_arrives_whole)
{
	run(transfer);
}
END_TEST

static void co_fn send_in_parts(void *arg)
{
	struct socket_stream *a, *b;
	make_pair(&a, &b);
	struct iovec out[3] = {{"ab", 2}, {"", 0}, {"cde", 3}};
	ck_assert_int_eq(socket_try_writev(a, out, 3), 5);
	char x[2], y[8];
	struct iovec in[2] = {{x, 2}, {y, 8}};
	ck_assert_int_eq(socket_try_readv(b, in, 2), 5);
	ck_assert_mem_eq(x, "ab", 2);
	ck_assert_mem_eq(y, "cde", 3);
	ck_assert_int_eq(socket_try_readv(b, in, 2), -EAGAIN);
	socket_stream_free(a);
	socket_stream_free(b);
}

START_TEST(scattered_reads_and_writes_without_waiting)
{
	run(send_in_parts);
}
END_TEST

struct waiting {
	struct socket_stream *stream;
	struct co_group group;
};

static void co_fn read_until_cancelled(void *arg)
{
	struct waiting *w = arg;
	char c;
	ck_assert_int_eq(socket_read(w->stream, &c, 1), -ECANCELED);
	ck_assert_int_eq(socket_read(w->stream, &c, 1), -ECANCELED);
	co_group_done(&w->group);
}

static void co_fn write_until_cancelled(void *arg)
{
	struct waiting *w = arg;
	static char bytes[65536];
	int r = 0;
	while (r == 0) {
		struct iovec iov = {bytes, sizeof(bytes)};
		r = socket_writev(w->stream, &iov, 1);
	}
	ck_assert_int_eq(r, -ECANCELED);
	co_group_done(&w->group);
}

static void co_fn shut_down(void *arg)
{
	struct socket_stream *a, *b;
	make_pair(&a, &b);
	struct waiting w = {.stream = a};
	co_group_init(&w.group);
	co_group_add(&w.group);
	co_group_add(&w.group);
	co_start(loop_current(), read_until_cancelled, &w);
	co_start(loop_current(), write_until_cancelled, &w);
	co_sleep_ns(5000000);
	socket_stream_shutdown(a);
	socket_stream_shutdown(a);
	co_group_wait(&w.group);
	ck_assert_int_eq(socket_wait(a, LOOP_FD_READ), -ECANCELED);
	struct iovec iov = {"x", 1};
	ck_assert_int_eq(socket_try_writev(a, &iov, 1), -ECANCELED);
	socket_stream_free(a);
	socket_stream_free(b);
	socket_stream_free(NULL);
}

START_TEST(shutdown_ends_all_waiting)
{
	run(shut_down);
}
END_TEST

static void co_fn peer_vanishes(void *arg)
{
	struct socket_stream *a, *b;
	make_pair(&a, &b);
	socket_stream_free(b);
	struct iovec iov = {"x", 1};
	ck_assert_int_eq(socket_writev(a, &iov, 1), -EPIPE); /* and no SIGPIPE */
	char c;
	ck_assert_int_eq(socket_read(a, &c, 1), 0);
	socket_stream_free(a);
}

START_TEST(a_vanished_peer_is_an_error_not_a_signal)
{
	run(peer_vanishes);
}
END_TEST

struct backlog {
	int server, accepted;
	struct co_group group;
};

static void co_fn accept_later(void *arg)
{
	struct backlog *b = arg;
	co_sleep_ns(50000000);
	b->accepted = accept(b->server, NULL, NULL);
	co_group_done(&b->group);
}

static void co_fn full_backlog(void *arg)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	strcpy(un.sun_path, path);
	struct backlog b = {.server = socket(AF_UNIX, SOCK_STREAM, 0)};
	ck_assert_int_eq(bind(b.server, (struct sockaddr *)&un, sizeof(un)), 0);
	ck_assert_int_eq(listen(b.server, 0), 0);
	int first = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(first, (struct sockaddr *)&un, sizeof(un)), 0);

	co_group_init(&b.group);
	co_group_add(&b.group);
	co_start(loop_current(), accept_later, &b);
	struct socket_endpoint address = unix_address(path);
	int fd = -1;
	uint64_t begin_ns = loop_now_ns(loop_current());
	ck_assert_int_eq(socket_connect(loop_current(), &address, &fd, NULL), 0);
	ck_assert_uint_ge(loop_now_ns(loop_current()) - begin_ns, 50000000);
	co_group_wait(&b.group);
	close(fd);
	close(first);
	close(b.accepted);
	close(b.server);
	unlink(path);
}

START_TEST(connecting_waits_for_a_full_backlog)
{
	run(full_backlog);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(unix_socket_by_path),
	UNIT_TEST(unix_socket_by_abstract_name),
	UNIT_TEST(a_stale_socket_file_is_replaced),
	UNIT_TEST(a_live_socket_and_other_files_are_left_alone),
	UNIT_TEST(the_end_does_not_remove_anothers_file),
	UNIT_TEST(a_relative_path_is_removed_from_another_directory),
	UNIT_TEST(bad_unix_paths_are_refused),
	UNIT_TEST(inet_with_a_port_of_the_kernels_choice),
	UNIT_TEST(inet_over_several_paths_if_the_kernel_can),
	UNIT_TEST(a_range_of_ports_is_searched),
	UNIT_TEST(bad_inet_addresses_are_refused),
	UNIT_TEST(a_passed_file_descriptor_is_taken_over),
	UNIT_TEST(a_passed_file_descriptor_is_checked),
	UNIT_TEST(connections_wait_while_not_accepting),
	UNIT_TEST(a_listener_may_be_freed_while_it_accepts),
	UNIT_TEST(without_file_descriptors_it_pauses),
	UNIT_TEST(bulk_data_arrives_whole),
	UNIT_TEST(scattered_reads_and_writes_without_waiting),
	UNIT_TEST(shutdown_ends_all_waiting),
	UNIT_TEST(a_vanished_peer_is_an_error_not_a_signal),
	UNIT_TEST(connecting_waits_for_a_full_backlog),
};

UNIT_MAIN("socket", tests)
