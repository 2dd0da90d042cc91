/* SPDX-License-Identifier: MIT */
/*
 * Connections to GlusterFS volumes.
 *
 * glfs_init() has no time limit, and glfs_fini() takes up to eleven seconds: both
 * run on threads that nobody waits for. An unused connection is kept for
 * LINGER_S, because who opens an image often opens it twice, to look what it is
 * and then to use it.
 *
 * The lock guards the list and the counts. The rest of a volume is written
 * on the control thread before anybody else can see it.
 */
#include "drivers/gluster/volume.h"

#include <glusterfs/api/glfs.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/detached.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/util.h"
#include "drivers/gluster/name.h"
#include "schema/schema.h"

#define NS_PER_S UINT64_C(1000000000)
#define LINGER_S 2

#define DEBUG_MAX 9
#define DEFAULT_LOGFILE "-" /* standard error */

struct gluster_volume {
	struct list link; /* in volumes; not when connecting has failed */
	char *key;        /* the options that make it what it is */
	struct glfs *fs;  /* NULL while connecting, and when that has failed */
	unsigned users;
	uint64_t idle_count; /* how often users has become zero */
	_Atomic(uint64_t) silent_until_ns; /* any thread */

	/* Control thread. */
	bool is_connecting;
	struct list joiners;
	int failure; /* why connecting has failed: negative errno, */
	char *failure_text;
};

/* A coroutine that waits for what another one connects, and no longer than its own options say. */
struct joiner {
	struct list link; /* in joiners, until it is woken */
	struct coroutine *waiter;
	struct loop_timer limit;
};

static struct list volumes = LIST_INIT(volumes);
static mtx_t lock;
static once_flag lock_once = ONCE_FLAG_INIT;

static void init_lock(void)
{
	mtx_init(&lock, mtx_plain);
}

static void volumes_lock(void)
{
	call_once(&lock_once, init_lock);
	mtx_lock(&lock);
}

static void volumes_unlock(void)
{
	mtx_unlock(&lock);
}

static void fini(void *arg)
{
	glfs_fini(arg);
}

static void volume_free(struct gluster_volume *v)
{
	free(v->key);
	free(v->failure_text);
	free(v);
}

/* One wait for the end of an unused connection. */
struct linger {
	struct gluster_volume *volume;
	uint64_t idle_count;
};

/* On a thread of its own: close the volume, unless somebody has used it meanwhile. */
static void linger_and_close(void *arg)
{
	struct linger l = *(struct linger *)arg;
	free(arg);
	thrd_sleep(&(struct timespec){.tv_sec = LINGER_S}, NULL);
	/* Who has used it has left a younger thread that looks after it. */
	volumes_lock();
	bool is_last = false;
	struct gluster_volume *v;
	list_for_each (v, &volumes, link) {
		if (v == l.volume && v->users == 0 && v->idle_count == l.idle_count)
			is_last = true;
	}
	if (is_last)
		list_del_init(&l.volume->link);
	volumes_unlock();
	if (!is_last)
		return;
	glfs_fini(l.volume->fs);
	volume_free(l.volume);
}

struct glfs *gluster_volume_fs(struct gluster_volume *v)
{
	return v->fs;
}

struct gluster_volume *gluster_volume_hold(struct gluster_volume *v)
{
	volumes_lock();
	v->users++;
	volumes_unlock();
	return v;
}

void gluster_volume_note_silence(struct gluster_volume *v, uint64_t until_ns)
{
	atomic_store(&v->silent_until_ns, until_ns);
}

bool gluster_volume_is_silent(struct gluster_volume *v, uint64_t now_ns)
{
	return now_ns < atomic_load(&v->silent_until_ns);
}

void gluster_volume_put(struct gluster_volume *v)
{
	if (!v)
		return;
	volumes_lock();
	bool is_unused = --v->users == 0, is_alive = list_is_linked(&v->link);
	struct linger l = {.volume = v, .idle_count = is_unused ? ++v->idle_count : 0};
	volumes_unlock();
	if (!is_unused)
		return;
	if (!is_alive) {
		volume_free(v);
		return;
	}
	/* Without a thread it stays for the next user. */
	struct linger *arg = xmemdup(&l, sizeof(l));
	if (detached_start(linger_and_close, arg) < 0)
		free(arg);
}

/* Connecting. */

static int check_server(const struct socket_address *a, struct error **errp)
{
	if (a->type == SOCKET_ADDRESS_TYPE_UNIX) {
		if (a->u.unix_.abstract)
			return error_set(errp, -EINVAL, "Parameter 'abstract' not supported");
		return 0;
	}
	if (a->type != SOCKET_ADDRESS_TYPE_INET)
		return error_set(errp, -EINVAL, "Parameter 'type' may be 'inet' or 'unix'");
	const struct inet_socket_address *inet = &a->u.inet;
	if (inet->has_to)
		return error_set(errp, -EINVAL, "Parameter 'to' not supported");
	if (inet->has_ipv4 || inet->has_ipv6)
		return error_set(errp, -EINVAL, "Parameters 'ipv4/ipv6' not supported");
	if (inet->mptcp)
		return error_set(errp, -EINVAL, "Parameter 'mptcp' not supported");
	if (strspn(inet->port, "0123456789") != strlen(inet->port) || strlen(inet->port) > 5 ||
	    atoi(inet->port) > UINT16_MAX)
		return error_set(errp, -EINVAL, "'%s' is not a valid port number", inet->port);
	return 0;
}

static int check_options(const struct blockdev_options_gluster *o, struct error **errp)
{
	if (o->server.count == 0)
		return error_set(errp, -EINVAL, "Parameter 'server' is missing");
	for (size_t i = 0; i < o->server.count; i++) {
		int r = check_server(o->server.items[i], errp);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What must be equal for two nodes to share a connection. */
static char *make_key(const struct blockdev_options_gluster *o)
{
	struct blockdev_options_gluster shared = *o;
	shared.path = (char *)"";
	shared.connect_timeout = 0;
	return schema_encode_json_text(&blockdev_options_gluster_type, &shared);
}

/*
 * Layers that serve many small files and cost a disk image time, by a fifth to a
 * half of the processor's. Without them a write that is acknowledged has also
 * reached the brick, so that an error belongs to its own request, and questions
 * about holes see all that was written.
 */
static const char *const bypassed_layers[] = {
	"*-io-cache", "*-io-threads", "*-md-cache", "*-open-behind", "*-quick-read", "*-read-ahead",
};

/* Set the layers' options. A volume may lack some of the layers, and old ones options. */
static int set_layers(struct glfs *fs, const struct blockdev_options_gluster *o)
{
	int r = 0;
	for (unsigned i = 0; r >= 0 && i < ARRAY_SIZE(bypassed_layers); i++)
		r = glfs_set_xlator_option(fs, bypassed_layers[i], "pass-through", "on");
	if (r >= 0)
		r = glfs_set_xlator_option(fs, "*-write-behind", "pass-through",
					   o->write_behind ? "off" : "on");
	/* Where writes are cached: what a flush could not write is kept, */
	if (r >= 0)
		r = glfs_set_xlator_option(fs, "*-write-behind", "resync-failed-syncs-after-fsync",
					   "on");
	/* and closing a file waits for its writes, because the process may end afterwards. */
	if (r >= 0)
		r = glfs_set_xlator_option(fs, "*-write-behind", "flush-behind", "off");
	char *seconds _cleanup_free_ = xasprintf("%" PRIu32, o->ping_timeout);
	if (r >= 0 && o->has_ping_timeout)
		r = glfs_set_xlator_option(fs, "*-client-*", "ping-timeout", seconds);
	return r;
}

/*
 * A handle with everything set, to be connected by way of the servers of one @type:
 * the library goes from one to the next by itself. NULL and errno on failure.
 */
static struct glfs *make_handle(const struct blockdev_options_gluster *o,
				enum socket_address_type type)
{
	struct glfs *fs = glfs_new(o->volume);
	if (!fs)
		return NULL;
	int r = set_layers(fs, o);
	for (size_t i = 0; r >= 0 && i < o->server.count; i++) {
		const struct socket_address *a = o->server.items[i];
		if (a->type != type)
			continue;
		int port = type == SOCKET_ADDRESS_TYPE_INET ? atoi(a->u.inet.port) : 0;
		if (type == SOCKET_ADDRESS_TYPE_UNIX)
			r = glfs_set_volfile_server(fs, "unix", a->u.unix_.path, 0);
		else
			r = glfs_set_volfile_server(fs, "tcp", a->u.inet.host,
						    port != 0 ? port : GLUSTER_DEFAULT_PORT);
	}
	int64_t level = MAX(0, MIN(o->debug, DEBUG_MAX));
	if (r >= 0)
		r = glfs_set_logging(fs, o->logfile ? o->logfile : DEFAULT_LOGFILE, (int)level);
	if (r >= 0)
		return fs;
	int code = errno;
	detached_start(fini, fs);
	errno = code;
	return NULL;
}

static int connect_blocking(void *arg)
{
	errno = 0;
	if (glfs_init(arg) == 0)
		return 0;
	/* It does not always tell why. */
	return errno != 0 ? -errno : -ENOTCONN;
}

static int fail(struct gluster_volume *v, int r, char *text)
{
	v->failure = r;
	free(v->failure_text);
	v->failure_text = text;
	return r;
}

static char *no_answer(const struct blockdev_options_gluster *o)
{
	return xasprintf("no answer within %" PRIu32 " seconds", o->connect_timeout);
}

/* By way of the servers of one type. */
static int co_fn connect_by(struct gluster_volume *v, const struct blockdev_options_gluster *o,
			    enum socket_address_type type, uint64_t limit_ns)
{
	struct glfs *fs = make_handle(o, type);
	if (!fs)
		return fail(v, -errno, xstrdup(strerror(errno)));
	int r = co_detached(connect_blocking, fs, fini, limit_ns);
	if (r == DETACHED_ABANDONED)
		return fail(v, -ETIMEDOUT, no_answer(o));
	if (r < 0) {
		detached_start(fini, fs);
		return fail(v, r, xstrdup(strerror(-r)));
	}
	v->fs = fs;
	return 0;
}

static int co_fn connect_volume(struct gluster_volume *v, const struct blockdev_options_gluster *o)
{
	/* The library does not go from one type to the other. */
	enum socket_address_type first = o->server.items[0]->type;
	bool is_mixed = false;
	for (size_t i = 1; i < o->server.count; i++)
		is_mixed |= o->server.items[i]->type != first;
	uint64_t limit_ns = o->connect_timeout * NS_PER_S / (is_mixed ? 2 : 1);
	int r = connect_by(v, o, first, limit_ns);
	if (r < 0 && is_mixed)
		r = connect_by(v, o, first == SOCKET_ADDRESS_TYPE_INET ? SOCKET_ADDRESS_TYPE_UNIX
								      : SOCKET_ADDRESS_TYPE_INET,
			       limit_ns);
	return r;
}

/* The volume of that key, with one more user; NULL when there is none. */
static struct gluster_volume *join(const char *key)
{
	volumes_lock();
	struct gluster_volume *v, *found = NULL;
	list_for_each (v, &volumes, link) {
		if (strcmp(v->key, key) == 0)
			found = v;
	}
	if (found)
		found->users++;
	volumes_unlock();
	return found;
}

static struct gluster_volume *volume_new(char *key)
{
	struct gluster_volume *v = NEW(struct gluster_volume);
	*v = (struct gluster_volume){.key = key, .users = 1, .is_connecting = true};
	list_init(&v->joiners);
	volumes_lock();
	list_add_tail(&volumes, &v->link);
	volumes_unlock();
	return v;
}

static void name_servers(const struct blockdev_options_gluster *o, struct error **errp)
{
	for (size_t i = 0; i < o->server.count; i++) {
		const struct socket_address *a = o->server.items[i];
		if (a->type == SOCKET_ADDRESS_TYPE_UNIX) {
			error_hint(errp, "hint: failed on socket %s", a->u.unix_.path);
			continue;
		}
		int port = atoi(a->u.inet.port);
		error_hint(errp, "hint: failed on host %s and port %d", a->u.inet.host,
			   port != 0 ? port : GLUSTER_DEFAULT_PORT);
	}
}

static void joiner_wake(struct joiner *j)
{
	loop_timer_cancel(&j->limit);
	list_del_init(&j->link);
	co_wake(j->waiter);
}

static void on_limit(struct loop_timer *t)
{
	joiner_wake(container_of(t, struct joiner, limit));
}

/* Wait until somebody else has connected @v; for @seconds at most, unless they are 0. */
static void co_fn wait_connected(struct gluster_volume *v, uint32_t seconds)
{
	struct joiner j = {.waiter = co_self()};
	loop_timer_init(loop_current(), &j.limit, on_limit);
	if (seconds != 0)
		loop_timer_set(&j.limit, loop_now_ns(loop_current()) + seconds * NS_PER_S);
	list_add_tail(&v->joiners, &j.link);
	co_yield();
}

static void wake_joiners(struct gluster_volume *v)
{
	while (!list_is_empty(&v->joiners))
		joiner_wake(list_first(&v->joiners, struct joiner, link));
}

int co_fn gluster_volume_get(const struct blockdev_options_gluster *o,
			     struct gluster_volume **ret, struct error **errp)
{
	int r = check_options(o, errp);
	if (r < 0)
		return r;
	char *key _cleanup_free_ = make_key(o);
	struct gluster_volume *v = join(key);
	if (v) {
		if (v->is_connecting)
			wait_connected(v, o->connect_timeout);
	} else {
		v = volume_new(TAKE(key));
		if (connect_volume(v, o) < 0) {
			volumes_lock();
			list_del_init(&v->link);
			volumes_unlock();
		}
		v->is_connecting = false;
		wake_joiners(v);
	}
	if (v->fs) {
		*ret = v;
		return 0;
	}
	char *too_late _cleanup_free_ = v->is_connecting ? no_answer(o) : NULL;
	r = error_set(errp, too_late ? -ETIMEDOUT : v->failure,
		      "Gluster connection for volume %s, path %s failed to connect: %s", o->volume,
		      o->path, too_late ? too_late : v->failure_text);
	name_servers(o, errp);
	gluster_volume_put(v);
	return r;
}
