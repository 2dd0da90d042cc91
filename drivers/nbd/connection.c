/* SPDX-License-Identifier: MIT */
/*
 * One connection to an NBD server. Node's loop.
 *
 * libnbd calls on_done() and on_extent() from inside its own calls, where the
 * handle must not be touched: they only note the outcome and wake the command's
 * coroutine. The state is looked at after each call, in look_after().
 */
#include "drivers/nbd/connection.h"

#include <assert.h>
#include <fcntl.h>
#include <libnbd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/socket.h"
#include "drivers/nbd/tunnel.h"

_Static_assert((int)LOOP_FD_READ == LIBNBD_AIO_DIRECTION_READ &&
	       (int)LOOP_FD_WRITE == LIBNBD_AIO_DIRECTION_WRITE, "events and directions are alike");

/* A UNIX server whose backlog is full reports it at once: how long to wait for the next try. */
#define BACKLOG_RETRY_NS UINT64_C(20000000)

static void wake_waiter(struct nbd_connection *c)
{
	if (c->waiter)
		co_wake(TAKE(c->waiter));
}

static void on_timer(struct loop_timer *t)
{
	wake_waiter(container_of(t, struct nbd_connection, timer));
}

void connection_init(struct nbd_connection *c, struct loop *loop,
		     void (*on_lost)(struct nbd_connection *c), void *owner)
{
	*c = (struct nbd_connection){.loop = loop, .on_lost = on_lost, .owner = owner, .fd = -1};
	list_init(&c->commands);
	co_group_init(&c->running);
	loop_timer_init(loop, &c->timer, on_timer);
}

void connection_finish(struct nbd_connection *c)
{
	assert(!c->handle && list_is_empty(&c->commands) && !c->waiter && c->running.count == 0);
	free(TAKE(c->failure_text));
}

/* Wait for an event of the handle, or until @deadline_ns. */
static void co_fn wait_event(struct nbd_connection *c, uint64_t deadline_ns)
{
	assert(!c->waiter);
	loop_timer_set(&c->timer, deadline_ns);
	c->waiter = co_self();
	co_yield();
	loop_timer_cancel(&c->timer);
}

static void command_done(struct nbd_command *cmd, int result)
{
	if (cmd->is_done)
		return;
	list_del_init(&cmd->link);
	cmd->connection->in_flight--;
	cmd->is_done = true;
	cmd->result = result;
	/* A server that is going away has done nothing. */
	if (result != NBD_LOST && result != -ESHUTDOWN)
		cmd->connection->has_served = true;
	if (cmd->waiter)
		co_wake(TAKE(cmd->waiter));
}

/* The answer to a command has come, or never will. */
static int on_done(void *arg, int *error)
{
	struct nbd_command *cmd = arg;
	bool lacks_data = *error == 0 && cmd->op == NBD_READ && cmd->read_bytes != cmd->bytes;
	command_done(cmd, *error == ENOTCONN ? NBD_LOST : lacks_data ? -EIO : -*error);
	return 1; /* libnbd forgets the command */
}

/* A part of what was read. libnbd does not mind when some are missing, which would read as zeroes. */
static int on_chunk(void *arg, const void *data, size_t bytes, uint64_t offset, unsigned status,
		    int *error)
{
	struct nbd_command *cmd = arg;
	if (status != LIBNBD_READ_ERROR)
		cmd->read_bytes += bytes;
	return 0;
}

static int on_extent(void *arg, const char *context, uint64_t offset, uint32_t *entries,
		     size_t count, int *error)
{
	struct nbd_command *cmd = arg;
	if (count >= 2 && offset == cmd->offset && cmd->status_bytes == 0) {
		cmd->status_bytes = entries[0];
		cmd->status = entries[1];
	}
	return 0;
}

/* Remember why a call of libnbd has failed. */
static void note_failure(struct nbd_connection *c)
{
	int code = nbd_get_errno();
	const char *text = nbd_get_error();
	/* The sentence begins with the name of the function. */
	const char *colon = text ? strstr(text, ": ") : NULL;
	c->failure = code > 0 ? -code : -EIO;
	free(c->failure_text);
	c->failure_text = xstrdup(colon ? colon + 2 : text ? text : strerror(-c->failure));
}

/* libnbd sees no more than an end; the tunnel may know why. */
static void note_tunnel_failure(struct nbd_connection *c)
{
	int code = tunnel_failure(c->tunnel);
	if (code == 0)
		return;
	c->failure = code;
	free(c->failure_text);
	c->failure_text = xstrdup(
		code == -EACCES ? "The server has ended TLS; it may want another certificate"
		: code == -ECONNRESET || code == -EPIPE ? "The server has closed the connection"
							: strerror(-code));
}

/* Let go of the handle; commands in flight are lost. */
static void drop_handle(struct nbd_connection *c)
{
	loop_fd_free(TAKE(c->watch));
	if (c->fd >= 0)
		close(TAKE_FD(c->fd));
	nbd_close(TAKE(c->handle));
	if (c->tunnel)
		note_tunnel_failure(c);
	tunnel_close(TAKE(c->tunnel));
	while (!list_is_empty(&c->commands))
		command_done(list_first(&c->commands, struct nbd_command, link), NBD_LOST);
	wake_waiter(c);
	if (c->is_up) {
		c->is_up = false;
		c->on_lost(c);
	}
}

/* After a call into libnbd: what it waits for now, and whether it is still alive. */
static void look_after(struct nbd_connection *c)
{
	if (!c->handle)
		return;
	if (nbd_aio_is_dead(c->handle) || nbd_aio_is_closed(c->handle)) {
		drop_handle(c);
		return;
	}
	if (c->watch)
		loop_fd_set_events(c->watch, nbd_aio_get_direction(c->handle));
	if (c->waiter && nbd_aio_is_ready(c->handle))
		wake_waiter(c);
}

static void on_socket(void *arg, unsigned events)
{
	struct nbd_connection *c = arg;
	unsigned wanted = nbd_aio_get_direction(c->handle);
	int r = 0;
	if (events & wanted & LOOP_FD_READ)
		r = nbd_aio_notify_read(c->handle);
	else if (events & wanted & LOOP_FD_WRITE)
		r = nbd_aio_notify_write(c->handle);
	if (r < 0)
		note_failure(c);
	look_after(c);
}

/* Have the handle speak TLS, and nothing else. */
static int set_tls(struct nbd_handle *h, const struct tls_creds *tls)
{
	if (nbd_set_tls(h, LIBNBD_TLS_REQUIRE) < 0 ||
	    nbd_set_tls_verify_peer(h, tls->verify_peer) < 0)
		return -1;
	if (tls->kind == TLS_CREDS_X509)
		return nbd_set_tls_certificates(h, tls->dir);
	char *keys _cleanup_free_ = xasprintf("%s/keys.psk", tls->dir);
	return nbd_set_tls_psk_file(h, keys) < 0 ? -1 : nbd_set_tls_username(h, tls->username);
}

/*
 * A certificate is one of a name, which libnbd cannot be told, nor ciphers, nor the password of
 * a key: TLS is spoken in front of it then. Everything else, which costs less so, it does itself.
 */
static bool goes_through_tunnel(const struct nbd_goal *goal)
{
	const struct tls_creds *tls = goal->tls;
	return tls && ((tls->kind == TLS_CREDS_X509 && tls->verify_peer) || tls->priority ||
		       tls->password);
}

/* A handle that asks for the export. */
static int make_handle(struct nbd_connection *c, const struct nbd_goal *goal, struct error **errp)
{
	c->handle = nbd_create();
	if (!c->handle)
		return error_set(errp, -ENOMEM, "libnbd: %s", nbd_get_error());
	c->generation++;
	c->failure = 0;
	if (nbd_set_export_name(c->handle, goal->name) < 0 ||
	    nbd_add_meta_context(c->handle, goal->context) < 0 ||
	    (goal->tls && !goes_through_tunnel(goal) && set_tls(c->handle, goal->tls) < 0)) {
		int code = nbd_get_errno();
		error_set(errp, -code, "libnbd: %s", nbd_get_error());
		drop_handle(c);
		return -code;
	}
	return 0;
}

/* Follow libnbd's socket. */
static int start_watch(struct nbd_connection *c)
{
	int fd = nbd_aio_get_fd(c->handle);
	c->fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (c->fd < 0)
		return fd < 0 ? -ENOTCONN : -errno;
	c->watch = loop_fd_new(c->loop, c->fd, on_socket, c);
	loop_fd_look_for(c->watch, UINT64_MAX);
	return 0;
}

/* Have libnbd begin at @fd, which becomes its own. */
static int begin(struct nbd_connection *c, int fd)
{
	if (nbd_aio_connect_socket(c->handle, fd) < 0) {
		note_failure(c);
		return -1;
	}
	if (nbd_aio_is_dead(c->handle))
		return -1;
	int r = start_watch(c);
	if (r < 0) {
		c->failure = r;
		free(c->failure_text);
		c->failure_text = xstrdup(strerror(-r));
		return -1;
	}
	return 0;
}

/* The sentence for a connection that did not come about. */
static int report(struct nbd_connection *c, const struct nbd_goal *goal, struct error **errp)
{
	int code = c->failure < 0 ? c->failure : -ECONNRESET;
	if (code == -ENOENT)
		return error_set(errp, code, "Requested export not available");
	/* libnbd has no other reason to speak of it then. */
	if (!goal->tls && c->failure_text && strstr(c->failure_text, "TLS")) {
		error_set(errp, code, "Failed to negotiate with the NBD server at '%s': "
				      "TLS negotiation required", goal->address->text);
		error_hint(errp, "Did you forget a valid tls-creds?");
		return code;
	}
	return error_set(errp, code, "Failed to negotiate with the NBD server at '%s': %s",
			 goal->address->text,
			 c->failure_text ? c->failure_text : strerror(-code));
}

static uint64_t block_size(const struct nbd_connection *c, int which)
{
	int64_t size = nbd_get_block_size(c->handle, which);
	return size > 0 ? (uint64_t)size : 0;
}

static int read_export(struct nbd_connection *c, const char *context, struct error **errp)
{
	int64_t size = nbd_get_size(c->handle);
	if (size < 0)
		return error_set(errp, -EFBIG, "The size of the export is invalid: %s",
				 nbd_get_error());
	c->export = (struct nbd_export){
		.size = (uint64_t)size,
		.min_block = (uint32_t)block_size(c, LIBNBD_SIZE_MINIMUM),
		.preferred_block = block_size(c, LIBNBD_SIZE_PREFERRED),
		.max_block = block_size(c, LIBNBD_SIZE_MAXIMUM),
		.read_only = nbd_is_read_only(c->handle) > 0,
		.can_flush = nbd_can_flush(c->handle) > 0,
		.can_fua = nbd_can_fua(c->handle) > 0,
		.can_trim = nbd_can_trim(c->handle) > 0,
		.can_zero = nbd_can_zero(c->handle) > 0,
		.can_fast_zero = nbd_can_fast_zero(c->handle) > 0,
		.can_status = nbd_can_meta_context(c->handle, context) > 0,
		.can_multi_conn = nbd_can_multi_conn(c->handle) > 0,
	};
	return 0;
}

/* Connecting. */

struct dialling {
	struct nbd_connection *connection;
	bool is_over;
};

static void on_dialled(void *arg, unsigned events)
{
	struct dialling *d = arg;
	d->is_over = true;
	loop_fd_set_events(d->connection->watch, 0);
	wake_waiter(d->connection);
}

/* Wait until connect() on @fd has succeeded or failed: 0 or its negative errno. */
static int co_fn wait_dialled(struct nbd_connection *c, int fd, uint64_t deadline_ns)
{
	struct dialling d = {.connection = c};
	c->watch = loop_fd_new(c->loop, fd, on_dialled, &d);
	loop_fd_set_events(c->watch, LOOP_FD_WRITE);
	wait_event(c, deadline_ns);
	loop_fd_free(TAKE(c->watch));
	if (c->is_cancelled || !d.is_over)
		return c->is_cancelled ? -ECANCELED : -ETIMEDOUT;
	int code = 0;
	socklen_t length = sizeof(code);
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length) < 0 ? -errno : -code;
}

static const struct inet_socket_address *inet_of(const struct nbd_goal *goal)
{
	const struct socket_address *options = goal->address->options;
	return options->type == SOCKET_ADDRESS_TYPE_INET ? &options->u.inet : NULL;
}

static int set_keep_alive(int fd, const struct inet_socket_address *inet, struct error **errp)
{
	return socket_set_keep_alive(fd, &(struct socket_keep_alive){
		.on = inet->keep_alive,
		.count = inet->keep_alive_count,
		.idle_s = inet->keep_alive_idle,
		.interval_s = inet->keep_alive_interval,
	}, errp);
}

/* A socket that is connected to @target, as the options want it. Returns it or a negative errno. */
static int co_fn dial(struct nbd_connection *c, const struct nbd_goal *goal,
		      const struct nbd_target *target, uint64_t deadline_ns, struct error **errp)
{
	const struct inet_socket_address *inet = inet_of(goal);
	_cleanup_close_ int fd =
		socket_open(target->address.ss_family, inet && inet->mptcp, errp);
	if (fd < 0)
		return fd;
	int r = connect(fd, (const struct sockaddr *)&target->address, target->length);
	r = r < 0 ? -errno : 0;
	if (r == -EINPROGRESS)
		r = wait_dialled(c, fd, deadline_ns);
	if (r < 0)
		return error_set_errno(errp, r, "Failed to connect to '%s'", goal->address->text);
	if (inet) {
		socket_tune(fd);
		r = set_keep_alive(fd, inet, errp);
	}
	return r < 0 ? r : TAKE_FD(fd);
}

/* Put TLS in front of @fd, which it owns. Returns the socket for libnbd or a negative errno. */
static int co_fn dig(struct nbd_connection *c, const struct nbd_goal *goal, int fd,
		     uint64_t deadline_ns, struct error **errp)
{
	int inner;
	c->tunnel = tunnel_new(c->loop, fd, &c->running);
	int r = tunnel_open(c->tunnel, goal->tls, goal->tls_hostname, deadline_ns, &inner, errp);
	if (r < 0) {
		error_prefix(errp, "Failed to negotiate with the NBD server at '%s': ",
			     goal->address->text);
		tunnel_close(TAKE(c->tunnel));
		return r;
	}
	return inner;
}

/* Have libnbd negotiate, over @fd, which it owns. */
static int co_fn negotiate(struct nbd_connection *c, const struct nbd_goal *goal, int fd,
			   uint64_t deadline_ns, struct error **errp)
{
	int r = make_handle(c, goal, errp);
	if (r < 0) {
		close(fd);
		tunnel_close(TAKE(c->tunnel));
		return r;
	}
	if (begin(c, fd) < 0) {
		drop_handle(c);
		return report(c, goal, errp);
	}
	look_after(c);
	while (c->handle && !nbd_aio_is_ready(c->handle)) {
		if (c->is_cancelled || loop_now_ns(c->loop) >= deadline_ns) {
			drop_handle(c);
			return error_set_errno(errp, c->is_cancelled ? -ECANCELED : -ETIMEDOUT,
					       "No answer from the NBD server at '%s'",
					       goal->address->text);
		}
		wait_event(c, deadline_ns);
	}
	if (!c->handle)
		return report(c, goal, errp);
	r = read_export(c, goal->context, errp);
	if (r < 0)
		drop_handle(c);
	return r;
}

/* One attempt on one address. */
static int co_fn try_target(struct nbd_connection *c, const struct nbd_goal *goal,
			    const struct nbd_target *target, uint64_t deadline_ns,
			    struct error **errp)
{
	int fd = target ? dial(c, goal, target, deadline_ns, errp) : TAKE_FD(goal->address->fd);
	if (fd >= 0 && goes_through_tunnel(goal))
		fd = dig(c, goal, fd, deadline_ns, errp);
	return fd < 0 ? fd : negotiate(c, goal, fd, deadline_ns, errp);
}

/* The same, and again while a UNIX server's backlog is full. */
static int co_fn try_patiently(struct nbd_connection *c, const struct nbd_goal *goal,
			       const struct nbd_target *target, uint64_t deadline_ns,
			       struct error **errp)
{
	for (;;) {
		struct error *error = NULL;
		int r = try_target(c, goal, target, deadline_ns, &error);
		uint64_t now_ns = loop_now_ns(c->loop);
		if (r != -EAGAIN || c->is_cancelled || now_ns >= deadline_ns)
			return error ? error_move(errp, error) : r;
		error_free(error);
		wait_event(c, now_ns + BACKLOG_RETRY_NS);
	}
}

int co_fn connection_open(struct nbd_connection *c, const struct nbd_goal *goal,
			  uint64_t deadline_ns, struct error **errp)
{
	struct nbd_address *address = goal->address;
	assert(!c->handle);
	c->is_cancelled = false;
	int r, count = 0;
	struct nbd_target *targets _cleanup_free_ = NULL;
	bool is_socket = address->options->type == SOCKET_ADDRESS_TYPE_FD;
	if (is_socket && address->fd < 0)
		return error_set(errp, -ENOTCONN, "The socket of %s cannot be connected again",
				 address->text);
	if (!is_socket) {
		targets = xalloc(NBD_TARGETS_MAX, sizeof(targets[0]));
		count = nbd_address_look_up(address, targets, errp);
		if (count < 0)
			return count;
	}
	/* Looking up a name is waited for, and whoever cancels wakes nobody then. */
	if (c->is_cancelled)
		return error_set_errno(errp, -ECANCELED, "Failed to connect to '%s'", address->text);

	struct error *error = NULL;
	int i = 0;
	do {
		error_free(error);
		error = NULL;
		r = try_patiently(c, goal, count > 0 ? &targets[i] : NULL, deadline_ns, &error);
	} while (r < 0 && ++i < count && !c->is_cancelled && loop_now_ns(c->loop) < deadline_ns);
	if (r < 0)
		return error_move(errp, error);
	c->is_up = true;
	c->has_served = false;
	c->up_since_ns = loop_now_ns(c->loop);
	return 0;
}

void connection_cancel(struct nbd_connection *c)
{
	c->is_cancelled = true;
	if (c->tunnel)
		tunnel_cancel(c->tunnel);
	wake_waiter(c);
}

void co_fn connection_close(struct nbd_connection *c, uint64_t deadline_ns)
{
	c->is_up = false;
	if (c->handle) {
		(void)nbd_aio_disconnect(c->handle, 0);
		look_after(c);
	}
	while (c->handle && loop_now_ns(c->loop) < deadline_ns)
		wait_event(c, deadline_ns);
	if (c->handle)
		drop_handle(c);
	co_group_wait(&c->running);
}

static int64_t issue(struct nbd_connection *c, struct nbd_command *cmd)
{
	struct nbd_handle *h = c->handle;
	nbd_completion_callback done = {.callback = on_done, .user_data = cmd};
	nbd_chunk_callback chunk = {.callback = on_chunk, .user_data = cmd};
	nbd_extent_callback extent = {.callback = on_extent, .user_data = cmd};
	switch (cmd->op) {
	case NBD_READ:
		return nbd_aio_pread_structured(h, cmd->buffer, cmd->bytes, cmd->offset, chunk, done,
						cmd->flags);
	case NBD_WRITE:
		return nbd_aio_pwrite(h, cmd->buffer, cmd->bytes, cmd->offset, done, cmd->flags);
	case NBD_FLUSH:
		return nbd_aio_flush(h, done, cmd->flags);
	case NBD_TRIM:
		return nbd_aio_trim(h, cmd->bytes, cmd->offset, done, cmd->flags);
	case NBD_ZERO:
		return nbd_aio_zero(h, cmd->bytes, cmd->offset, done, cmd->flags);
	case NBD_STATUS:
		return nbd_aio_block_status(h, cmd->bytes, cmd->offset, extent, done, cmd->flags);
	}
	assert(false);
	return -1;
}

int co_fn connection_run(struct nbd_connection *c, struct nbd_command *cmd)
{
	assert(c->is_up);
	cmd->connection = c;
	cmd->is_done = false;
	cmd->waiter = NULL;
	cmd->status_bytes = 0;
	cmd->read_bytes = 0;
	list_add_tail(&c->commands, &cmd->link);
	c->in_flight++;

	uint64_t generation = c->generation;
	if (issue(c, cmd) < 0) {
		int code = nbd_get_errno();
		bool is_alive = nbd_aio_is_ready(c->handle) || nbd_aio_is_processing(c->handle);
		command_done(cmd, is_alive && code > 0 ? -code : NBD_LOST);
	}
	look_after(c);
	if (!cmd->is_done) {
		cmd->waiter = co_self();
		co_yield();
	}
	if (cmd->result != -ESHUTDOWN)
		return cmd->result;
	/* The server is going away and has done nothing: the next one shall. */
	if (c->handle && c->generation == generation)
		drop_handle(c);
	return NBD_LOST;
}
