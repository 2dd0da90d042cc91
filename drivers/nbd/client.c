/* SPDX-License-Identifier: MIT */
/*
 * Connections of one NBD client, and how they come back. Node's loop.
 *
 * Invariant: while fewer connections are up than wanted, the background
 * coroutine is there, unless the server's address was a socket that cannot be
 * connected again.
 */
#include "drivers/nbd/client.h"

#include <assert.h>
#include <inttypes.h>

#include "base/cleanup.h"
#include "base/log.h"

#define NS_PER_S UINT64_C(1000000000)

/* A server that accepts and says nothing is given up after this. */
#define HANDSHAKE_NS (30 * NS_PER_S)
/* The same for connections beyond the first, which a busy server may leave waiting. */
#define EXTRA_HANDSHAKE_NS (5 * NS_PER_S)
/* How long the server may take to close a connection after our goodbye. */
#define GOODBYE_NS (2 * NS_PER_S)
/* Pauses between attempts. */
#define FIRST_PAUSE_NS (NS_PER_S / 50)
#define LONGEST_PAUSE_NS NS_PER_S

static void start_connecting(struct nbd_client *client);

static void on_nap_over(struct loop_timer *t)
{
	struct nbd_client *client = container_of(t, struct nbd_client, nap);
	if (client->sleeper)
		co_wake(TAKE(client->sleeper));
}

/* Sleep, unless the client is closed. */
static void co_fn nap(struct nbd_client *client, uint64_t ns)
{
	if (client->is_closing)
		return;
	loop_timer_set(&client->nap, loop_now_ns(client->loop) + ns);
	client->sleeper = co_self();
	co_yield();
	loop_timer_cancel(&client->nap);
}

static void on_delay_over(struct loop_timer *t)
{
	struct nbd_client *client = container_of(t, struct nbd_client, delay_over);
	client->may_wait = false;
	co_queue_wake_all(&client->waiters);
}

/* The pause after one of @pause_ns that was of no use. */
static uint64_t next_pause(uint64_t pause_ns, uint64_t longest_ns)
{
	return pause_ns == 0 ? FIRST_PAUSE_NS : MIN(2 * pause_ns, MAX(longest_ns, FIRST_PAUSE_NS));
}

/*
 * How long to wait now that @c broke. Not at all after a connection that was of use; longer
 * and longer after those that were not, as of a server that hangs up at once. Requests that
 * wait, and give up after the delay, must see some more attempts.
 */
static void set_pause(struct nbd_client *client, const struct nbd_connection *c)
{
	if (c->has_served || loop_now_ns(client->loop) - c->up_since_ns >= LONGEST_PAUSE_NS) {
		client->pause_ns = 0;
		if (client->sleeper)
			co_wake(TAKE(client->sleeper));
		return;
	}
	uint64_t delay_ns = client->config.reconnect_delay_ns;
	client->pause_ns = next_pause(client->pause_ns, delay_ns == 0 ? LONGEST_PAUSE_NS
						: MIN(delay_ns / 8, LONGEST_PAUSE_NS));
	/* More would have been faster; those that are left are enough. */
	if (client->up > 0)
		client->wanted = client->up;
}

static void on_lost(struct nbd_connection *c)
{
	struct nbd_client *client = c->owner;
	client->up--;
	if (client->is_closing)
		return;
	log_debug("nbd: the connection to '%s' broke", client->address.text);
	set_pause(client, c);
	if (client->up == 0) {
		client->breaks++;
		client->wanted = client->export.can_multi_conn ? NBD_CONNECTIONS_MAX : 1;
		client->may_wait = client->config.reconnect_delay_ns > 0 &&
				   client->config.server->type != SOCKET_ADDRESS_TYPE_FD;
		if (client->may_wait)
			loop_timer_set(&client->delay_over,
				       loop_now_ns(client->loop) +
					       client->config.reconnect_delay_ns);
		/* An additional connection under way may hang; the first one is urgent now. */
		if (client->attempt)
			connection_cancel(client->attempt);
	}
	start_connecting(client);
}

/* The server that answers again must serve what the old one did. */
static int check_export(const struct nbd_client *client, const struct nbd_export *now,
			struct error **errp)
{
	const struct nbd_export *was = &client->export;
	if (now->size != was->size)
		return error_set(errp, -EINVAL,
				 "The export has %" PRIu64 " bytes now, and had %" PRIu64,
				 now->size, was->size);
	if (client->must_write && now->read_only)
		return error_set(errp, -EROFS, "The export has become read-only");
	if ((was->can_flush && !now->can_flush) || (was->can_fua && !now->can_fua))
		return error_set(errp, -EINVAL, "The server does not make writes durable any more");
	if (MAX(now->min_block, 1u) > MAX(was->min_block, 1u) ||
	    (now->max_block != 0 && (was->max_block == 0 || now->max_block < was->max_block)))
		return error_set(errp, -EINVAL, "The export's block sizes have changed");
	if (client->config.needs_context && !now->can_status)
		return error_set(errp, -EINVAL, "The export has no context '%s' any more",
				 client->config.context);
	return 0;
}

/* Take @c, which is up, into service. */
static void accept_connection(struct nbd_client *client, struct nbd_connection *c)
{
	client->up++;
	client->may_wait = true;
	client->has_warned = false;
	loop_timer_cancel(&client->delay_over);
	/* What only the old server could do is not asked of the new one. */
	struct nbd_export *e = &client->export;
	e->can_trim &= c->export.can_trim;
	e->can_zero &= c->export.can_zero;
	e->can_fast_zero &= c->export.can_fast_zero;
	e->can_status &= c->export.can_status;
	e->can_multi_conn &= c->export.can_multi_conn;
	e->read_only = c->export.read_only;
	co_queue_wake_all(&client->waiters);
}

static int co_fn connect_one(struct nbd_client *client, struct nbd_connection *c,
			     uint64_t deadline_ns, struct error **errp)
{
	client->attempt = c;
	int r = connection_open(c, &(struct nbd_goal){
		.address = &client->address,
		.name = client->config.export_name,
		.context = client->config.context,
		.tls = client->config.tls,
		.tls_hostname = client->config.tls_hostname,
	}, deadline_ns, errp);
	client->attempt = NULL;
	return r;
}

/* Without a word in the log nobody would know why a server that is there is of no use. */
static void warn_of_refusal(struct nbd_client *client, const struct error *error)
{
	if (client->up > 0 || client->has_warned)
		return;
	client->has_warned = true;
	log_warning("nbd: the server at '%s' is back, and not used: %s", client->address.text,
		    error->message);
}

static struct nbd_connection *find_idle(struct nbd_client *client)
{
	for (unsigned i = 0; i < NBD_CONNECTIONS_MAX; i++) {
		if (!client->connections[i].handle)
			return &client->connections[i];
	}
	return NULL;
}

/* One more connection. */
static int co_fn add_connection(struct nbd_client *client, bool is_extra, struct error **errp)
{
	struct nbd_connection *c = find_idle(client);
	assert(c);
	uint64_t patience_ns = is_extra ? EXTRA_HANDSHAKE_NS : HANDSHAKE_NS;
	int r = connect_one(client, c, loop_now_ns(client->loop) + patience_ns, errp);
	if (r < 0)
		return r;
	struct error *error = NULL;
	r = check_export(client, &c->export, &error);
	if (r < 0) {
		warn_of_refusal(client, error);
		error_move(errp, error);
	}
	/*
	 * The server may be another one than before. Without the promise a flush on one
	 * connection would not cover what was written on the others.
	 */
	if (r >= 0 && client->up > 0 && !(client->export.can_multi_conn && c->export.can_multi_conn))
		r = error_set(errp, -ENOTSUP, "The server does not take several connections any more");
	if (r < 0) {
		connection_close(c, loop_now_ns(client->loop) + GOODBYE_NS);
		return r;
	}
	accept_connection(client, c);
	if (!client->export.can_multi_conn)
		client->wanted = 1;
	return 0;
}

static void co_fn connect_in_background(void *arg)
{
	struct nbd_client *client = arg;
	while (!client->is_closing && client->up < client->wanted) {
		if (client->pause_ns > 0)
			nap(client, client->pause_ns);
		if (client->is_closing || client->up >= client->wanted)
			break;
		bool is_extra = client->up > 0;
		struct error *error = NULL;
		int r = add_connection(client, is_extra, &error);
		if (r >= 0)
			continue;
		log_debug("nbd: '%s': %s", client->address.text, error->message);
		error_free(error);
		if (client->up > 0) {
			/* More would have been faster; one is enough. */
			client->wanted = client->up;
		} else if (r != -ECANCELED) {
			client->pause_ns = next_pause(client->pause_ns, LONGEST_PAUSE_NS);
		}
	}
	client->is_connecting = false;
	co_group_done(&client->background);
}

static void start_connecting(struct nbd_client *client)
{
	if (client->is_connecting || client->is_closing || client->up >= client->wanted ||
	    client->config.server->type == SOCKET_ADDRESS_TYPE_FD)
		return;
	client->is_connecting = true;
	co_group_add(&client->background);
	co_start(client->loop, connect_in_background, client);
}

/* The first connection: once, or again and again until the time is over. */
static int co_fn connect_first(struct nbd_client *client, struct error **errp)
{
	uint64_t start_ns = loop_now_ns(client->loop);
	uint64_t end_ns = start_ns + client->config.open_timeout_ns;
	uint64_t pause_ns = FIRST_PAUSE_NS;
	for (;;) {
		uint64_t now_ns = loop_now_ns(client->loop);
		uint64_t deadline_ns = now_ns + HANDSHAKE_NS;
		if (end_ns > start_ns)
			deadline_ns = MIN(deadline_ns, MAX(end_ns, now_ns + FIRST_PAUSE_NS));
		struct error *error = NULL;
		int r = connect_one(client, &client->connections[0], deadline_ns, &error);
		if (r >= 0)
			return 0;
		now_ns = loop_now_ns(client->loop);
		if (now_ns >= end_ns || client->config.server->type == SOCKET_ADDRESS_TYPE_FD)
			return error_move(errp, error);
		error_free(error);
		nap(client, MIN(pause_ns, end_ns - now_ns));
		pause_ns = MIN(2 * pause_ns, LONGEST_PAUSE_NS);
	}
}

int co_fn nbd_client_open(struct nbd_client *client, struct loop *loop,
			  const struct nbd_client_config *config, struct error **errp)
{
	*client = (struct nbd_client){.loop = loop, .config = *config, .wanted = 1};
	loop_timer_init(loop, &client->delay_over, on_delay_over);
	loop_timer_init(loop, &client->nap, on_nap_over);
	co_queue_init(&client->waiters);
	co_group_init(&client->background);
	for (unsigned i = 0; i < NBD_CONNECTIONS_MAX; i++)
		connection_init(&client->connections[i], loop, on_lost, client);

	int r = nbd_address_init(&client->address, config->server, errp);
	if (r >= 0)
		r = connect_first(client, errp);
	if (r < 0) {
		nbd_client_close(client);
		return r;
	}
	client->export = client->connections[0].export;
	accept_connection(client, &client->connections[0]);
	if (client->export.can_multi_conn)
		client->wanted = NBD_CONNECTIONS_MAX;
	start_connecting(client);
	return 0;
}

void co_fn nbd_client_close(struct nbd_client *client)
{
	client->is_closing = true;
	client->may_wait = false;
	loop_timer_cancel(&client->delay_over);
	co_queue_wake_all(&client->waiters);
	if (client->attempt)
		connection_cancel(client->attempt);
	if (client->sleeper)
		co_wake(TAKE(client->sleeper));
	co_group_wait(&client->background);

	uint64_t deadline_ns = loop_now_ns(client->loop) + GOODBYE_NS;
	for (unsigned i = 0; i < NBD_CONNECTIONS_MAX; i++) {
		connection_close(&client->connections[i], deadline_ns);
		connection_finish(&client->connections[i]);
	}
	nbd_address_finish(&client->address);
}

/* The connection with the least to do; NULL when none is up. */
static struct nbd_connection *choose(struct nbd_client *client)
{
	struct nbd_connection *best = NULL;
	for (unsigned i = 0; i < NBD_CONNECTIONS_MAX; i++) {
		struct nbd_connection *c = &client->connections[i];
		if (c->is_up && (!best || c->in_flight < best->in_flight))
			best = c;
	}
	return best;
}

int co_fn nbd_client_run(struct nbd_client *client, struct nbd_command *cmd)
{
	uint64_t give_up_ns = 0;
	for (;;) {
		struct nbd_connection *c = choose(client);
		if (!c) {
			if (!client->may_wait || client->is_closing)
				return -EIO;
			co_queue_wait(&client->waiters);
			continue;
		}
		/* An answer that comes at all comes before this connection breaks. */
		cmd->breaks = client->breaks;
		int r = connection_run(c, cmd);
		cmd->is_answered = r != NBD_LOST;
		if (cmd->is_answered)
			return r;
		/* A server that breaks over this very command must not have it for ever. */
		uint64_t now_ns = loop_now_ns(client->loop);
		if (give_up_ns == 0)
			give_up_ns = now_ns + client->config.reconnect_delay_ns;
		else if (now_ns >= give_up_ns)
			return -EIO;
	}
}
