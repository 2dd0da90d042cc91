/* SPDX-License-Identifier: MIT */
/*
 * Connections to Ceph clusters. Control thread, but for configure(), which reads
 * files, connect_cluster() and disconnect(), which may hang with the cluster.
 *
 * What wins, from the first to the last: options and settings of the node; the
 * configuration file and the cluster's own configuration; our defaults; Ceph's.
 * Ceph's own levels see to that: "--default-NAME" sets the value that holds unless
 * somebody says otherwise.
 */
#include "drivers/rbd/cluster.h"

#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/detached.h"
#include "base/util.h"
#include "block/secret.h"
#include "schema/schema.h"

#define NS_PER_S UINT64_C(1000000000)

/* Seconds, unless options or the configuration say otherwise. */
#define CONNECT_TIMEOUT "30"
#define REQUEST_TIMEOUT "60"
/* librados gives up by itself; somewhat later we do. */
#define GRACE_NS (2 * NS_PER_S)
/* How long disconnecting may take. */
#define DISCONNECT_NS (3 * NS_PER_S)

static struct list clusters = LIST_INIT(clusters);

struct configuring {
	const struct blockdev_options_rbd *options;
	bool is_cached;
	const char *key; /* in base64; NULL for none */
	rados_t rados;   /* the result */
	struct error *error;
};

static int set(struct configuring *c, const char *name, const char *value)
{
	int r = rados_conf_set(c->rados, name, value);
	if (r < 0)
		return error_set_errno(&c->error, r, "invalid conf option %s = '%s'", name, value);
	return 0;
}

static int set_number(struct configuring *c, const char *name, uint32_t value)
{
	char *text _cleanup_free_ = xasprintf("%" PRIu32, value);
	return set(c, name, text);
}

/*
 * Two threads hand the work of one request to each other, and so sleep and wake for each, which
 * costs more than a second one brings where there is hardly a processor for it.
 */
static const char *thread_default(void)
{
	cpu_set_t processors;
	bool are_few = sched_getaffinity(0, sizeof(processors), &processors) == 0 &&
		       CPU_COUNT(&processors) <= 2;
	return are_few ? "--default-librados_thread_count=1" : "--default-librados_thread_count=2";
}

static void set_defaults(struct configuring *c)
{
	const char *cache = c->is_cached ? "--default-rbd_cache=true" : "--default-rbd_cache=false";
	const char *arguments[] = {
		"", cache,
		"--default-client_mount_timeout=" CONNECT_TIMEOUT,
		"--default-rados_mon_op_timeout=" CONNECT_TIMEOUT,
		"--default-rados_osd_op_timeout=" REQUEST_TIMEOUT,
		thread_default(),
	};
	rados_conf_parse_argv(c->rados, ARRAY_SIZE(arguments), arguments);
}

static int read_file(struct configuring *c)
{
	const char *path = c->options->conf;
	if (path && access(path, R_OK) < 0)
		return error_set_errno(&c->error, -errno, "error reading conf file %s", path);
	int r = rados_conf_read_file(c->rados, path);
	/* Without one in the usual places, options may say enough. */
	if (r < 0 && (path || r != -ENOENT))
		return error_set_errno(&c->error, r, "error reading conf file %s",
				       path ? path : "of Ceph");
	return 0;
}

/* "host:port;..." of the monitors. */
static int set_monitors(struct configuring *c)
{
	const struct rbd_monitor_list *l = &c->options->server;
	char *all = xstrdup("");
	for (size_t i = 0; i < l->count; i++) {
		const char *host = l->items[i]->host;
		bool is_ipv6 = strchr(host, ':') && host[0] != '[';
		char *longer = xasprintf("%s%s%s%s%s:%s", all, i > 0 ? ";" : "", is_ipv6 ? "[" : "",
					 host, is_ipv6 ? "]" : "", l->items[i]->port);
		free(all);
		all = longer;
	}
	int r = l->count > 0 ? set(c, "mon_host", all) : 0;
	free(all);
	return r;
}

static int set_authentication(struct configuring *c)
{
	const struct rbd_auth_mode_list *l = &c->options->auth_client_required;
	char *all = xstrdup("");
	for (size_t i = 0; i < l->count; i++) {
		char *longer = xasprintf("%s%s%s", all, i > 0 ? ";" : "",
					 rbd_auth_mode_name(l->items[i]));
		free(all);
		all = longer;
	}
	int r = l->count > 0 ? set(c, "auth_client_required", all) : 0;
	free(all);
	return r;
}

static int set_options(struct configuring *c)
{
	const struct blockdev_options_rbd *o = c->options;
	int r = 0;
	for (size_t i = 0; r >= 0 && i < o->settings.count; i++)
		r = set(c, o->settings.items[i]->name, o->settings.items[i]->value);
	if (r >= 0)
		r = set_monitors(c);
	if (r >= 0)
		r = set_authentication(c);
	if (r >= 0 && c->key)
		r = set(c, "key", c->key);
	if (r >= 0 && o->has_connect_timeout)
		r = set_number(c, "client_mount_timeout", o->connect_timeout);
	if (r >= 0 && o->has_connect_timeout)
		r = set_number(c, "rados_mon_op_timeout", o->connect_timeout);
	if (r >= 0 && o->has_request_timeout)
		r = set_number(c, "rados_osd_op_timeout", o->request_timeout);
	return r;
}

/* Make a handle that knows all of its configuration. */
static int configure(void *arg)
{
	struct configuring *c = arg;
	int r = rados_create(&c->rados, c->options->user);
	if (r < 0)
		return error_set_errno(&c->error, r, "error initializing the client of Ceph");
	set_defaults(c);
	r = read_file(c);
	if (r >= 0)
		r = set_options(c);
	if (r < 0)
		rados_shutdown(c->rados);
	return r;
}

static uint64_t setting_seconds(rados_t rados, const char *name)
{
	char text[64];
	if (rados_conf_get(rados, name, text, sizeof(text)) < 0)
		return 0;
	double value = strtod(text, NULL);
	return value > 0 && value < UINT32_MAX ? (uint64_t)(value + 0.999) : 0;
}

/*
 * Have librbd answer changes when they are stored, which its cache "writeback" alone does better:
 * early.h does the rest. Images ask for their settings when they are opened.
 */
static uint64_t take_early_answers(rados_t rados)
{
	char policy[32] = "", limit[64] = "";
	if (rados_conf_get(rados, "rbd_cache_policy", policy, sizeof(policy)) < 0 ||
	    rados_conf_get(rados, "rbd_cache_max_dirty", limit, sizeof(limit)) < 0 ||
	    strcmp(policy, "writearound") != 0 ||
	    rados_conf_set(rados, "rbd_cache_max_dirty", "0") < 0)
		return 0;
	return strtoull(limit, NULL, 10);
}

static int connect_cluster(void *rados)
{
	return rados_connect(rados);
}

static void disconnect(void *rados)
{
	rados_shutdown(rados);
}

static int disconnect_blocking(void *rados)
{
	disconnect(rados);
	return 0;
}

static void release_nothing(void *rados)
{
}

static int explain(const struct blockdev_options_rbd *o, uint64_t seconds, int r,
		   struct error **errp)
{
	const char *user = o->user ? o->user : "admin";
	switch (r) {
	case -ETIMEDOUT:
		return error_set(errp, r, "error connecting to the Ceph cluster: no monitor has "
					  "answered for %" PRIu64 " seconds", seconds);
	case -ENOENT:
		return error_set(errp, r, "error connecting to the Ceph cluster: no monitor, or no "
					  "key of user '%s', is configured", user);
	case -EINVAL:
		return error_set_errno(errp, r, "error connecting to the Ceph cluster: the monitors' "
						"addresses or other settings are not valid");
	case -EACCES:
	case -EPERM:
		return error_set(errp, r, "error connecting to the Ceph cluster: it refuses user "
					  "'%s' and its key", user);
	default:
		return error_set_errno(errp, r, "error connecting to the Ceph cluster");
	}
}

static char *base64_encode(const uint8_t *data, size_t bytes)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *text = xalloc(1, bytes / 3 * 4 + 5), *out = text;
	for (size_t i = 0; i < bytes; i += 3) {
		size_t left = bytes - i;
		uint32_t group = (uint32_t)data[i] << 16 |
				 (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
				 (left > 2 ? data[i + 2] : 0);
		*out++ = digits[group >> 18];
		*out++ = digits[group >> 12 & 63];
		*out++ = left > 1 ? digits[group >> 6 & 63] : '=';
		*out++ = left > 2 ? digits[group & 63] : '=';
	}
	return text;
}

/* The key that the options name, in base64; NULL when they name none. */
static int find_key(struct graph *g, const struct blockdev_options_rbd *o, char **ret,
		    struct error **errp)
{
	*ret = NULL;
	if (!o->key_secret)
		return 0;
	const struct secret *s = secret_find(g, o->key_secret, errp);
	if (!s)
		return -ENOENT;
	*ret = base64_encode(s->data, s->bytes);
	return 0;
}

/* Fill in @c, whose lock is held. */
static int co_fn cluster_open(struct cluster *c, const struct blockdev_options_rbd *o,
			      bool is_cached, const char *key, struct error **errp)
{
	struct configuring conf = {.options = o, .is_cached = is_cached, .key = key};
	int r = co_blocking(configure, &conf);
	if (r < 0)
		return error_move(errp, conf.error);
	uint64_t seconds = setting_seconds(conf.rados, "client_mount_timeout");
	c->patience_ns = seconds != 0 ? seconds * NS_PER_S + GRACE_NS : 0;
	r = co_detached(connect_cluster, conf.rados, disconnect, c->patience_ns);
	if (r == DETACHED_ABANDONED)
		return explain(o, seconds, -ETIMEDOUT, errp);
	if (r < 0) {
		co_detached(disconnect_blocking, conf.rados, release_nothing, DISCONNECT_NS);
		return explain(o, seconds, r, errp);
	}
	c->rados = conf.rados;
	c->max_early_bytes = take_early_answers(c->rados);
	c->is_connected = true;
	return 0;
}

/* All that makes a difference for the connection. */
static char *make_key(const struct blockdev_options_rbd *o, bool is_cached)
{
	struct blockdev_options_rbd cut = *o;
	cut.pool = cut.image = (char *)"";
	cut.namespace = cut.snapshot = NULL;
	cut.encrypt = NULL;
	char *text _cleanup_free_ = schema_encode_json_text(&blockdev_options_rbd_type, &cut);
	return xasprintf("%s %s", is_cached ? "cached" : "uncached", text);
}

/* A connection that is there or being made, or a new one that is not connected. */
static struct cluster *find_or_add(const struct blockdev_options_rbd *o, bool is_cached)
{
	char *key _cleanup_free_ = make_key(o, is_cached);
	struct cluster *c;
	list_for_each (c, &clusters, link) {
		if (!c->is_shut_out && strcmp(c->key, key) == 0) {
			c->references++;
			return c;
		}
	}
	c = NEW(struct cluster);
	c->references = 1;
	c->key = TAKE(key);
	co_mutex_init(&c->lock);
	list_add_tail(&clusters, &c->link);
	return c;
}

int co_fn cluster_get(struct graph *g, const struct blockdev_options_rbd *o, bool is_cached,
		      struct cluster **ret, struct error **errp)
{
	char *key _cleanup_free_ = NULL;
	int r = find_key(g, o, &key, errp);
	if (r < 0)
		return r;
	struct cluster *c = find_or_add(o, is_cached);
	co_mutex_lock(&c->lock);
	/* After somebody else's failure the next one tries for itself. */
	r = c->is_connected ? 0 : cluster_open(c, o, is_cached, key, errp);
	co_mutex_unlock(&c->lock);
	if (r < 0) {
		cluster_put(c);
		return r;
	}
	*ret = c;
	return 0;
}

void co_fn cluster_put(struct cluster *c)
{
	if (!c || --c->references > 0)
		return;
	list_del_init(&c->link);
	if (c->is_connected)
		co_detached(disconnect_blocking, c->rados, release_nothing, DISCONNECT_NS);
	free(c->key);
	free(c);
}
