/* SPDX-License-Identifier: MIT */
/*
 * The driver file: opening and its errors, I/O, locks, auto-read-only, sizes,
 * holes, creating. On real files in /var/tmp; how locks stand towards other
 * programs is tested in tests/interop.
 */
#include <sys/file.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "drivers/file.h"
#include "tests/unit/driver_fixture.h"

#define READ_WRITE (PERM_CONSISTENT_READ | PERM_WRITE)

static void co_fn bad_names(void *arg)
{
	mkfifo("fifo", 0600);
	mkdir("dir", 0700);
	ck_assert_int_eq(symlink("loop", "loop"), 0);
	open_fails("file,filename=", "The 'file' block driver requires a file name");
	open_fails("file,filename=nosuch", "Could not open 'nosuch': No such file or directory");
	open_fails("file,filename=dir", "Could not open 'dir': Is a directory");
	open_fails("file,filename=dir,read-only=on", "Could not open 'dir': Is a directory");
	open_fails("file,filename=fifo", "'file' driver requires 'fifo' to be a regular file");
	open_fails("file,filename=fifo,read-only=on",
		   "'file' driver requires 'fifo' to be a regular file");
	open_fails("file,filename=/dev/null",
		   "'file' driver requires '/dev/null' to be a regular file");
	open_fails("file,filename=loop", "Could not open 'loop': Too many levels of symbolic links");
	make_file("a", 512, 'a');
	open_fails("host_device,filename=a",
		   "'host_device' driver requires 'a' to be either a character or block device");
	open_fails("file,filename=a,aio=native",
		   "aio=native was specified, but it requires cache.direct=on, which was not "
		   "specified.");
	open_fails("file,filename=a,aio-max-batch=-1", "aio-max-batch must not be negative");
}

START_TEST(what_is_no_regular_file_is_refused_without_waiting)
{
	run(bad_names);
}
END_TEST

static void co_fn transfers(const char *options)
{
	make_file("a", 1000000, 'a');
	struct node *n = open_ok(options);
	/* Counted in sectors, as guests see it. */
	ck_assert_uint_eq(n->size, 1000448);
	struct user u;
	user_begin_ok(&u, n, READ_WRITE, PERM_ALL);
	static char p[100000];
	ck_assert_int_eq(edge_read(u.edge, 999000, 1448, p, 0), 0);
	ck_assert_int_eq(p[999], 'a');
	ck_assert_int_eq(p[1000], 0);
	ck_assert_int_eq(p[1447], 0);
	memset(p, 'b', sizeof(p));
	ck_assert_int_eq(edge_write(u.edge, 12345, 54321, p, 0), 0);
	ck_assert_int_eq(edge_write(u.edge, 3, 1, "c", REQUEST_FUA), 0);
	ck_assert_int_eq(edge_flush(u.edge), 0);
	ck_assert_int_eq(edge_read(u.edge, 0, sizeof(p), p, 0), 0);
	ck_assert_int_eq(p[2], 'a');
	ck_assert_int_eq(p[3], 'c');
	ck_assert_int_eq(p[12344], 'a');
	ck_assert_int_eq(p[12345], 'b');
	ck_assert_int_eq(p[12345 + 54320], 'b');
	ck_assert_int_eq(p[12345 + 54321], 'a');
	/* Nothing is beyond the end. */
	ck_assert_int_eq(edge_read(u.edge, n->size, 1, p, 0), -EIO);
	ck_assert_int_eq(edge_write(u.edge, n->size, 1, p, 0), -EIO);
	user_end(&u);
	node_put(n);
	ck_assert_int_eq(byte_of("a", 3), 'c');
	ck_assert_int_eq(byte_of("a", 12345), 'b');
}

static void co_fn transfers_cached(void *arg)
{
	transfers("file,filename=a");
}

static void co_fn transfers_direct(void *arg)
{
	transfers("file,filename=a,cache.direct=on");
}

START_TEST(what_is_written_is_read)
{
	run(transfers_cached);
}
END_TEST

START_TEST(direct_io_is_aligned_by_the_core)
{
	run(transfers_direct);
}
END_TEST

static void co_fn read_only(void *arg)
{
	make_file("a", 512, 'a');
	struct node *n = open_ok("file,filename=a,read-only=on");
	struct user u;
	struct error *error = NULL;
	ck_assert_int_lt(user_begin(&u, n, READ_WRITE, PERM_ALL, &error), 0);
	error_free(error);
	user_begin_ok(&u, n, PERM_CONSISTENT_READ, PERM_ALL);
	char c;
	ck_assert_int_eq(edge_read(u.edge, 0, 1, &c, 0), 0);
	ck_assert_int_eq(c, 'a');
	user_end(&u);
	node_put(n);
}

START_TEST(a_read_only_node_refuses_writers)
{
	run(read_only);
}
END_TEST

/* How the file called @name is open in this process: O_RDONLY, O_RDWR, or -1. */
static int open_mode(const char *name)
{
	struct stat want, have;
	ck_assert_int_eq(stat(name, &want), 0);
	for (int fd = 3; fd < 200; fd++) {
		if (fstat(fd, &have) == 0 && have.st_ino == want.st_ino &&
		    have.st_dev == want.st_dev)
			return fcntl(fd, F_GETFL) & O_ACCMODE;
	}
	return -1;
}

static void co_fn auto_read_only(void *arg)
{
	make_file("a", 4096, 'a');
	struct node *n = open_ok("file,filename=a,auto-read-only=on");
	ck_assert_int_eq(open_mode("a"), O_RDONLY);
	struct user reader, writer;
	user_begin_ok(&reader, n, PERM_CONSISTENT_READ, PERM_ALL);
	ck_assert_int_eq(open_mode("a"), O_RDONLY);
	/* The name may mean another file by now. */
	ck_assert_int_eq(rename("a", "b"), 0);
	make_file("a", 512, 'x');
	consumer_leave(&reader.consumer);
	user_begin_ok(&writer, n, READ_WRITE, PERM_ALL);
	consumer_enter(&reader.consumer);
	ck_assert_int_eq(open_mode("b"), O_RDWR);
	ck_assert_int_eq(edge_write(writer.edge, 0, 1, "w", 0), 0);
	user_end(&writer);
	ck_assert_int_eq(open_mode("b"), O_RDONLY);
	char c;
	ck_assert_int_eq(edge_read(reader.edge, 0, 1, &c, 0), 0);
	ck_assert_int_eq(c, 'w');
	ck_assert_int_eq(byte_of("b", 0), 'w');
	user_end(&reader);
	node_put(n);
}

START_TEST(auto_read_only_opens_for_writing_when_needed)
{
	run(auto_read_only);
}
END_TEST

static int try_range(const char *name, short type, int byte)
{
	int fd = open(name, O_RDWR);
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	ck_assert_int_eq(fcntl(fd, F_OFD_GETLK, &l), 0);
	close(fd);
	return l.l_type != F_UNLCK;
}

/* The bytes from 100 and from 200 that are locked, as masks. */
static void expect_locks(const char *name, unsigned held, unsigned unshared)
{
	for (int bit = 0; bit < 8; bit++) {
		ck_assert_int_eq(try_range(name, F_WRLCK, 100 + bit), held >> bit & 1);
		ck_assert_int_eq(try_range(name, F_WRLCK, 200 + bit), unshared >> bit & 1);
		/* Shared locks: another reader of the byte is welcome. */
		ck_assert_int_eq(try_range(name, F_RDLCK, 100 + bit), 0);
	}
}

static void co_fn lock_bytes(void *arg)
{
	make_file("a", 4096, 'a');
	struct node *n = open_ok("file,filename=a");
	expect_locks("a", 0, 0);
	struct user u, v;
	user_begin_ok(&u, n, PERM_CONSISTENT_READ, PERM_ALL & ~PERM_RESIZE);
	expect_locks("a", 1, 8);
	consumer_leave(&u.consumer);
	user_begin_ok(&v, n, READ_WRITE, PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED);
	expect_locks("a", 3, 10);
	user_end(&v);
	expect_locks("a", 1, 8);
	consumer_enter(&u.consumer);
	user_end(&u);
	expect_locks("a", 0, 0);
	node_put(n);

	n = open_ok("file,filename=a,locking=off");
	user_begin_ok(&u, n, READ_WRITE, 0);
	expect_locks("a", 0, 0);
	user_end(&u);
	node_put(n);

	n = open_ok("file,filename=a,locking=on,auto-read-only=on");
	user_begin_ok(&u, n, READ_WRITE, PERM_CONSISTENT_READ);
	expect_locks("a", 3, 14);
	user_end(&u);
	expect_locks("a", 0, 0);
	node_put(n);
}

START_TEST(locks_are_bytes_of_permissions_held_and_not_shared)
{
	run(lock_bytes);
}
END_TEST

/* Another process that holds @byte until it is killed. */
static pid_t hold_byte(const char *name, int byte)
{
	int ready[2];
	ck_assert_int_eq(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		int fd = open(name, O_RDWR);
		struct flock l = {.l_type = F_RDLCK, .l_start = byte, .l_len = 1};
		char c = fcntl(fd, F_OFD_SETLK, &l) == 0;
		if (write(ready[1], &c, 1) == 1)
			pause();
		_exit(0);
	}
	char c = 0;
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	ck_assert_int_eq(c, 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void co_fn refused_by(int byte, unsigned permissions, unsigned shared, const char *what)
{
	pid_t pid = hold_byte("a", byte);
	struct node *n = open_ok("file,filename=a");
	struct user u;
	struct error *error = NULL;
	ck_assert_int_eq(user_begin(&u, n, permissions, shared, &error), -EAGAIN);
	char text[256];
	snprintf(text, sizeof(text),
		 "Failed to get %s lock\nIs another process using the image [a]?\n"
		 "It is locked by process %d (test_file)", what, pid);
	_cleanup_free_ char *told = error_text(error);
	ck_assert_str_eq(told, text);
	error_free(error);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	/* Nothing was left behind, and now it works. */
	expect_locks("a", 0, 0);
	user_begin_ok(&u, n, permissions, shared);
	user_end(&u);
	node_put(n);
}

static void co_fn conflicts(void *arg)
{
	make_file("a", 4096, 'a');
	refused_by(201, READ_WRITE, PERM_ALL, "\"write\"");
	refused_by(101, PERM_CONSISTENT_READ, PERM_ALL & ~PERM_WRITE, "shared \"write\"");
	refused_by(203, PERM_CONSISTENT_READ | PERM_RESIZE, PERM_ALL, "\"resize\"");
	refused_by(200, PERM_CONSISTENT_READ, PERM_ALL, "\"consistent read\"");
	/* What does not conflict is no obstacle. */
	pid_t pid = hold_byte("a", 101);
	struct node *n = open_ok("file,filename=a");
	struct user u;
	user_begin_ok(&u, n, READ_WRITE, PERM_ALL);
	user_end(&u);
	node_put(n);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

START_TEST(a_refusal_names_the_lock_and_its_holder)
{
	run(conflicts);
}
END_TEST

static void co_fn two_nodes(void *arg)
{
	make_file("a", 4096, 'a');
	struct node *n = open_ok("file,filename=a"), *m = open_ok("file,filename=a");
	struct user u, v;
	user_begin_ok(&u, n, READ_WRITE, PERM_CONSISTENT_READ);
	struct error *error = NULL;
	ck_assert_int_eq(user_begin(&v, m, READ_WRITE, PERM_ALL, &error), -EAGAIN);
	char own[64];
	snprintf(own, sizeof(own), "process %d", getpid());
	ck_assert_ptr_nonnull(strstr(error->hint, own));
	error_free(error);
	user_end(&u);
	user_begin_ok(&v, m, READ_WRITE, PERM_ALL);
	user_end(&v);
	node_put(n);
	node_put(m);
}

START_TEST(two_nodes_on_one_file_respect_each_other)
{
	run(two_nodes);
}
END_TEST

static void co_fn zeroing(void *arg)
{
	make_file("a", 1 << 20, 'a');
	struct node *n = open_ok("file,filename=a,discard=unmap");
	struct user u;
	user_begin_ok(&u, n, READ_WRITE, PERM_ALL);
	ck_assert_int_eq(edge_zero(u.edge, 4096, 65536, 0), 0);
	ck_assert_int_eq(edge_zero(u.edge, 524288, 65536, REQUEST_MAY_UNMAP), 0);
	ck_assert_int_eq(edge_zero(u.edge, 1000, 100, REQUEST_FUA), 0);
	ck_assert_int_eq(edge_discard(u.edge, 786432, 131072), 0);
	char p[200];
	ck_assert_int_eq(edge_read(u.edge, 950, 200, p, 0), 0);
	ck_assert_int_eq(p[49], 'a');
	ck_assert_int_eq(p[50], 0);
	ck_assert_int_eq(p[149], 0);
	ck_assert_int_eq(p[150], 'a');
	static const uint64_t zero_at[] = {4096, 69631, 524288, 589823, 786432, 917503};
	static const uint64_t data_at[] = {4095, 69632, 524287, 589824, 786431, 917504};
	for (size_t i = 0; i < ARRAY_SIZE(zero_at); i++) {
		ck_assert_int_eq(byte_of("a", zero_at[i]), 0);
		ck_assert_int_eq(byte_of("a", data_at[i]), 'a');
	}
	struct extent x;
	ck_assert_int_eq(node_status(n, 524288, 1 << 20, &x), 0);
	ck_assert(x.flags & EXTENT_ZERO);
	ck_assert_uint_eq(x.bytes, 65536);
	ck_assert_int_eq(node_status(n, 589824, 1 << 20, &x), 0);
	ck_assert(x.flags & EXTENT_DATA);
	ck_assert_uint_eq(x.bytes, 786432 - 589824);
	ck_assert(x.flags & EXTENT_OFFSET_VALID);
	ck_assert_uint_eq(x.offset, 589824);
	/* The answer about data is kept, but not beyond a discard. */
	ck_assert_int_eq(edge_discard(u.edge, 589824, 65536), 0);
	ck_assert_int_eq(node_status(n, 589824, 1 << 20, &x), 0);
	ck_assert(x.flags & EXTENT_ZERO);
	/* A write turns a hole into data. */
	ck_assert_int_eq(edge_write(u.edge, 589824, 4, "data", 0), 0);
	ck_assert_int_eq(node_status(n, 589824, 1 << 20, &x), 0);
	ck_assert(x.flags & EXTENT_DATA);

	struct block_stats_specific *stats = n->driver->specific_stats(n);
	ck_assert_uint_eq(stats->u.file.discard_nb_ok, 2);
	ck_assert_uint_eq(stats->u.file.discard_nb_failed, 0);
	ck_assert_uint_eq(stats->u.file.discard_bytes_ok, 131072 + 65536);
	schema_free(&block_stats_specific_type, stats);
	user_end(&u);
	node_put(n);
}

START_TEST(zeroes_discards_and_holes)
{
	run(zeroing);
}
END_TEST

/* One parent of both nodes. */
static int co_fn copy_between(const char *from, const char *to, uint64_t offset, uint64_t bytes)
{
	struct node *source = open_ok(from), *target = open_ok(to);
	struct user u, w;
	user_begin_ok(&u, source, PERM_CONSISTENT_READ, PERM_ALL);
	user_begin_ok(&w, target, READ_WRITE, PERM_ALL);
	int r = edge_copy(u.edge, w.edge, offset, bytes);
	user_end(&u);
	user_end(&w);
	node_put(source);
	node_put(target);
	return r;
}

static void co_fn copying(void *arg)
{
	make_file("a", 1 << 20, 'a');
	make_file("b", 1 << 20, 'b');
	make_file("odd", 65536 + 100, 'o');
	ck_assert_int_eq(copy_between("file,filename=a", "file,filename=b", 4096, 65536), 0);
	ck_assert_int_eq(byte_of("b", 4095), 'b');
	ck_assert_int_eq(byte_of("b", 4096), 'a');
	ck_assert_int_eq(byte_of("b", 69631), 'a');
	ck_assert_int_eq(byte_of("b", 69632), 'b');
	/* Windows, of which each begins elsewhere. */
	ck_assert_int_eq(copy_between("raw,file.driver=file,file.filename=b,offset=4096",
				      "raw,file.driver=file,file.filename=a,offset=524288", 65024,
				      1024), 0);
	ck_assert_int_eq(byte_of("a", 524288 + 65024 + 511), 'a');
	ck_assert_int_eq(byte_of("a", 524288 + 65024 + 512), 'b');
	/* Around the page cache, in looking for zeroes, beyond the end of the file. */
	ck_assert_int_eq(copy_between("file,filename=a", "file,filename=b,cache.direct=on", 0, 65536),
			 -ENOTSUP);
	ck_assert_int_eq(copy_between("file,filename=a,cache.direct=on", "file,filename=b", 0, 65536),
			 -ENOTSUP);
	ck_assert_int_eq(copy_between("file,filename=a", "file,filename=b,detect-zeroes=on", 0,
				      65536), -ENOTSUP);
	ck_assert_int_eq(copy_between("file,filename=odd", "file,filename=b", 65536, 512), -ENOTSUP);
	/* No file on the other side. */
	ck_assert_int_lt(copy_between("file,filename=a", "null-co,size=1048576", 0, 512), 0);
}

START_TEST(the_kernel_copies_between_files)
{
	run(copying);
}
END_TEST

static void co_fn no_discard(void *arg)
{
	make_file("a", 1 << 20, 'a');
	struct node *n = open_ok("file,filename=a");
	struct user u;
	user_begin_ok(&u, n, READ_WRITE, PERM_ALL);
	int64_t before = n->driver->allocated_bytes(n);
	ck_assert_int_ge(before, 1 << 20);
	ck_assert_int_eq(edge_discard(u.edge, 0, 1 << 20), 0);
	ck_assert_int_eq(byte_of("a", 0), 'a');
	ck_assert_int_eq(edge_zero(u.edge, 0, 1 << 20, REQUEST_MAY_UNMAP), 0);
	ck_assert_int_eq(byte_of("a", 0), 0);
	ck_assert_int_ge(n->driver->allocated_bytes(n), 1 << 20);
	user_end(&u);
	node_put(n);
}

START_TEST(without_discard_unmap_nothing_is_given_back)
{
	run(no_discard);
}
END_TEST

static void co_fn resize(void *arg)
{
	make_file("a", 4096, 'a');
	struct node *n = open_ok("file,filename=a");
	struct user u;
	user_begin_ok(&u, n, READ_WRITE | PERM_RESIZE, PERM_ALL);
	struct error *error = NULL;
	ck_assert_int_eq(edge_truncate(u.edge, 8192, PREALLOCATION_OFF, &error), 0);
	ck_assert_uint_eq(file_size("a"), 8192);
	ck_assert_uint_eq(n->size, 8192);
	ck_assert_int_eq(edge_truncate(u.edge, 1 << 20, PREALLOCATION_FALLOC, &error), 0);
	ck_assert_int_ge(n->driver->allocated_bytes(n), (1 << 20) - 8192);
	ck_assert_int_eq(edge_truncate(u.edge, 3 << 20, PREALLOCATION_FULL, &error), 0);
	ck_assert_int_eq(edge_flush(u.edge), 0);
	ck_assert_int_ge(n->driver->allocated_bytes(n), (3 << 20) - 8192);
	ck_assert_int_eq(byte_of("a", (3 << 20) - 1), 0);
	ck_assert_int_eq(edge_truncate(u.edge, 1 << 20, PREALLOCATION_FULL, &error), -ENOTSUP);
	ck_assert_str_eq(error->message, "Preallocation can't be used for shrinking files");
	error_free(error);
	error = NULL;
	ck_assert_int_eq(edge_truncate(u.edge, 4 << 20, PREALLOCATION_METADATA, &error), -ENOTSUP);
	ck_assert_str_eq(error->message, "Unsupported preallocation mode: metadata");
	error_free(error);
	error = NULL;
	ck_assert_int_eq(edge_truncate(u.edge, INT64_MAX - 4095, PREALLOCATION_OFF, &error), -EFBIG);
	error_free(error);
	error = NULL;
	ck_assert_int_eq(edge_truncate(u.edge, 512, PREALLOCATION_OFF, &error), 0);
	ck_assert_uint_eq(file_size("a"), 512);
	ck_assert_int_eq(byte_of("a", 511), 'a');
	user_end(&u);
	node_put(n);
}

START_TEST(size_changes_with_and_without_preallocation)
{
	run(resize);
}
END_TEST

static void co_fn create(const char *json, int expected, const char *sentence)
{
	void *options;
	struct error *error = NULL;
	int r = schema_decode_json_text(&blockdev_create_options_type, json, &options, &error);
	ck_assert_msg(r == 0, "%s", error ? error->message : "");
	r = file_driver.create(graph, options, &error);
	ck_assert_msg(r == expected, "%s: %d %s", json, r, error ? error->message : "");
	if (sentence)
		ck_assert_str_eq(error->message, sentence);
	error_free(error);
	blockdev_create_options_free(options);
}

static void co_fn creating(void *arg)
{
	create("{\"driver\":\"file\",\"filename\":\"new\",\"size\":1048576}", 0, NULL);
	ck_assert_uint_eq(file_size("new"), 1 << 20);
	make_file("old", 8192, 'o');
	create("{\"driver\":\"file\",\"filename\":\"old\",\"size\":4096}", 0, NULL);
	ck_assert_uint_eq(file_size("old"), 4096);
	ck_assert_int_eq(byte_of("old", 0), 0);
	struct stat st;
	create("{\"driver\":\"file\",\"filename\":\"full\",\"size\":1048576,"
	       "\"preallocation\":\"full\",\"nocow\":true}", 0, NULL);
	stat("full", &st);
	ck_assert_int_ge(st.st_blocks * 512, 1 << 20);
	create("{\"driver\":\"file\",\"filename\":\"falloc\",\"size\":1048576,"
	       "\"preallocation\":\"falloc\"}", 0, NULL);
	stat("falloc", &st);
	ck_assert_int_ge(st.st_blocks * 512, 1 << 20);
	create("{\"driver\":\"file\",\"filename\":\"x\",\"size\":1,\"preallocation\":\"metadata\"}",
	       -ENOTSUP, "Unsupported preallocation mode: metadata");
	create("{\"driver\":\"file\",\"filename\":\"no/x\",\"size\":1}", -ENOENT,
	       "Could not create 'no/x': No such file or directory");
	create("{\"driver\":\"file\",\"filename\":\".\",\"size\":1}", -EISDIR,
	       "Could not create '.': Is a directory");
	/* An image that somebody uses is not emptied. */
	make_file("used", 4096, 'u');
	pid_t pid = hold_byte("used", 203);
	create("{\"driver\":\"file\",\"filename\":\"used\",\"size\":0}", -EAGAIN, NULL);
	ck_assert_int_eq(byte_of("used", 4095), 'u');
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

START_TEST(files_are_made_and_emptied_under_locks)
{
	run(creating);
}
END_TEST

/* A descriptor that cannot be synchronised stands in for a disk that fails. */
static void co_fn flush_fails(void *arg)
{
	make_file("a", 4096, 'a');
	struct node *n = open_ok("file,filename=a");
	struct user u;
	user_begin_ok(&u, n, READ_WRITE, PERM_ALL);
	ck_assert_int_eq(edge_write(u.edge, 0, 1, "x", 0), 0);
	ck_assert_int_eq(edge_flush(u.edge), 0);

	struct file *f = n->state;
	int good = dup(f->current->fd), ends[2];
	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(edge_write(u.edge, 1, 1, "y", 0), 0);
	ck_assert_int_eq(dup2(ends[0], f->current->fd), f->current->fd);
	ck_assert_int_eq(edge_flush(u.edge), -EINVAL);
	/* The disk is well again, and what was lost is lost. */
	ck_assert_int_eq(dup2(good, f->current->fd), f->current->fd);
	ck_assert_int_eq(edge_flush(u.edge), -EINVAL);
	ck_assert_int_eq(edge_write(u.edge, 2, 1, "z", REQUEST_FUA), -EINVAL);
	ck_assert_int_eq(edge_write(u.edge, 2, 1, "z", 0), 0);
	ck_assert_int_eq(edge_flush(u.edge), -EINVAL);
	close(good);
	close(ends[0]);
	close(ends[1]);
	user_end(&u);
	node_put(n);

	n = open_ok("file,filename=a");
	user_begin_ok(&u, n, READ_WRITE, PERM_ALL);
	ck_assert_int_eq(edge_write(u.edge, 2, 1, "z", REQUEST_FUA), 0);
	ck_assert_int_eq(edge_flush(u.edge), 0);
	user_end(&u);
	node_put(n);
}

START_TEST(after_a_failed_flush_none_succeeds)
{
	run(flush_fails);
}
END_TEST

/* Many requests while the descriptor changes under them. */
static struct user busy_user;
static struct co_group busy;
static unsigned busy_failures;
static bool busy_stop;

static void co_fn busy_reader(void *arg)
{
	char *p = buffer_get(loop, 4096);
	while (!busy_stop) {
		consumer_enter(&busy_user.consumer);
		if (edge_read(busy_user.edge, loop_random(loop) % 255 * 4096, 4096, p, 0) != 0 ||
		    p[0] != 'a')
			busy_failures++;
		consumer_leave(&busy_user.consumer);
	}
	buffer_put(loop, p, 4096);
	co_group_done(&busy);
}

static void co_fn descriptor_changes(void *arg)
{
	make_file("a", 1 << 20, 'a');
	struct node *n = open_ok("file,filename=a,auto-read-only=on");
	user_begin_ok(&busy_user, n, PERM_CONSISTENT_READ, PERM_ALL);
	consumer_leave(&busy_user.consumer);
	co_group_init(&busy);
	for (int i = 0; i < 16; i++) {
		co_group_add(&busy);
		co_start(loop, busy_reader, NULL);
	}
	for (int i = 0; i < 50; i++) {
		struct user w;
		user_begin_ok(&w, n, READ_WRITE, PERM_ALL);
		ck_assert_int_eq(edge_write(w.edge, 0, 4, "aaaa", 0), 0);
		user_end(&w);
		co_sleep_ns(200000);
	}
	busy_stop = true;
	co_group_wait(&busy);
	ck_assert_uint_eq(busy_failures, 0);
	consumer_enter(&busy_user.consumer);
	user_end(&busy_user);
	node_put(n);
}

START_TEST(requests_survive_a_change_of_descriptor)
{
	run(descriptor_changes);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(what_is_no_regular_file_is_refused_without_waiting),
	UNIT_TEST(what_is_written_is_read),
	UNIT_TEST(direct_io_is_aligned_by_the_core),
	UNIT_TEST(a_read_only_node_refuses_writers),
	UNIT_TEST(auto_read_only_opens_for_writing_when_needed),
	UNIT_TEST(locks_are_bytes_of_permissions_held_and_not_shared),
	UNIT_TEST(a_refusal_names_the_lock_and_its_holder),
	UNIT_TEST(two_nodes_on_one_file_respect_each_other),
	UNIT_TEST(zeroes_discards_and_holes),
	UNIT_TEST(the_kernel_copies_between_files),
	UNIT_TEST(without_discard_unmap_nothing_is_given_back),
	UNIT_TEST(size_changes_with_and_without_preallocation),
	UNIT_TEST(files_are_made_and_emptied_under_locks),
	UNIT_TEST(after_a_failed_flush_none_succeeds),
	UNIT_TEST(requests_survive_a_change_of_descriptor),
};

UNIT_MAIN("file", tests)
