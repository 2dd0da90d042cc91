/* SPDX-License-Identifier: MIT */
/*
 * The NBD server: starting and stopping; see server.h. The loop's thread.
 */
#include "protocol/nbd/server.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "protocol/nbd/internal.h"

/* Connections that the kernel keeps for us until we accept them. */
#define BACKLOG 128

struct nbd_server *nbd_server_create(struct loop *loop, struct graph *graph,
				     struct export_registry *exports)
{
	struct nbd_server *s = NEW(struct nbd_server);
	s->loop = loop;
	s->graph = graph;
	s->registry = exports;
	list_init(&s->exports);
	list_init(&s->connections);
	list_init(&s->pool);
	co_queue_init(&s->connections_gone);
	export_registry_add_type(exports, &nbd_export_type, s);
	return s;
}

void nbd_server_free(struct nbd_server *s)
{
	if (!s)
		return;
	assert(!s->listener && s->connection_count == 0 && list_is_empty(&s->exports));
	nbd_transaction_pool_clear(s);
	free(s);
}

bool nbd_server_is_running(const struct nbd_server *s)
{
	return s->listener && !s->stopping;
}

static void on_accept(void *arg, int fd)
{
	nbd_connection_start(arg, fd);
}

static void tear_down_tls(struct nbd_server *s)
{
	tls_identity_destroy(TAKE(s->tls));
	tls_creds_release(TAKE(s->creds));
	free(TAKE(s->authz));
}

/* On failure whatever was done is left to tear_down_tls(). */
static int co_fn set_up_tls(struct nbd_server *s, const struct nbd_server_config *config,
			    struct error **errp)
{
	if (config->tls_authz && !config->tls_creds)
		return error_set(errp, -EINVAL, "'tls-authz' needs 'tls-creds'");
	if (!config->tls_creds)
		return 0;
	s->creds = tls_creds_hold(s->graph, config->tls_creds, true, errp);
	if (!s->creds)
		return -EINVAL;
	/* Else everybody would come in unasked, or nobody could. */
	if (config->tls_authz && (s->creds->kind != TLS_CREDS_X509 || !s->creds->verify_peer))
		return error_set(errp, -EINVAL,
				 "'tls-authz' needs certificates of clients, which '%s' does not "
				 "ask for", config->tls_creds);
	s->authz = config->tls_authz ? xstrdup(config->tls_authz) : NULL;
	return tls_identity_create(s->creds, &s->tls, errp);
}

int nbd_server_start(struct nbd_server *s, const struct nbd_server_config *config,
		     struct error **errp)
{
	/* Finding the address may wait, so that two starts could meet. */
	if (s->listener || s->stopping || s->starting)
		return error_set(errp, -EBUSY, "NBD server already running");

	s->max_connections = config->max_connections;
	s->handshake_max_s = config->handshake_max_s;
	s->starting = true;
	int r = set_up_tls(s, config, errp);
	if (r >= 0)
		r = socket_listen(s->loop, &config->address, BACKLOG, on_accept, s, &s->listener,
				  errp);
	if (r < 0)
		tear_down_tls(s);
	s->starting = false;
	return r;
}

int nbd_server_stop(struct nbd_server *s, struct error **errp)
{
	if (!nbd_server_is_running(s))
		return error_set(errp, -ENOTCONN, "NBD server not running");

	s->stopping = true;
	socket_listener_free(TAKE(s->listener));
	struct nbd_connection *c;
	list_for_each(c, &s->connections, link)
		nbd_connection_disconnect(c);
	export_del_type(s->registry, BLOCK_EXPORT_TYPE_NBD);
	while (s->connection_count > 0 && !s->is_abandoned)
		co_queue_wait(&s->connections_gone);
	if (s->is_abandoned)
		return 0; /* the connections use the rest */
	nbd_transaction_pool_clear(s);
	tear_down_tls(s);
	s->stopping = false;
	return 0;
}

void nbd_server_close_listener(struct nbd_server *s)
{
	socket_listener_free(TAKE(s->listener));
}

bool nbd_server_abandon(struct nbd_server *s)
{
	if (s->is_abandoned || co_queue_is_empty(&s->connections_gone))
		return false;
	s->is_abandoned = true;
	co_queue_wake_all(&s->connections_gone);
	return true;
}
