/* SPDX-License-Identifier: MIT */
/*
 * Character devices: where a monitor's bytes come from and go to. Control
 * thread.
 */
#include "daemon/chardev.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/socket.h"
#include "base/util.h"
#include "block/text.h"
#include "daemon/background.h"
#include "daemon/daemon.h"
#include "daemon/systemd.h"

#define CHARDEV_BACKLOG 16

struct chardev {
	struct list link;
	char *id;
	bool is_stdio;
	struct socket_listener *listener; /* NULL unless it listens */
	int waiting_fd;                   /* a client that came before a user did; -1 for none */
	void (*on_stream)(void *arg, struct chardev_stream *stream);
	void *arg;
};

static struct list chardevs = LIST_INIT(chardevs);

/* The standard streams as they were found, to be left like that. */
static struct {
	bool in_use;
	int flags[2]; /* fcntl(2) of descriptors 0 and 1 */
	bool has_terminal;
	struct termios terminal;
} stdio;

static void stdio_restore(void)
{
	for (int fd = 0; fd <= 1; fd++)
		fcntl(fd, F_SETFL, stdio.flags[fd]);
	if (stdio.has_terminal)
		tcsetattr(STDIN_FILENO, TCSANOW, &stdio.terminal);
	stdio.in_use = false;
}

static int stdio_open(const struct chardev_stdio_options *options, struct error **errp)
{
	if (background_is_starting())
		return error_set(errp, -EINVAL, "cannot use stdio with --daemonize");
	if (stdio.in_use)
		return error_set(errp, -EBUSY, "cannot use stdio by multiple character devices");

	for (int fd = 0; fd <= 1; fd++) {
		stdio.flags[fd] = fcntl(fd, F_GETFL);
		if (stdio.flags[fd] < 0)
			return error_set_errno(errp, -errno, "cannot use file descriptor %d", fd);
	}
	stdio.in_use = true;
	for (int fd = 0; fd <= 1; fd++)
		fcntl(fd, F_SETFL, stdio.flags[fd] | O_NONBLOCK);
	stdio.has_terminal = !options->signal && tcgetattr(STDIN_FILENO, &stdio.terminal) == 0;
	if (stdio.has_terminal) {
		struct termios quiet = stdio.terminal;
		quiet.c_lflag &= ~(tcflag_t)ISIG;
		tcsetattr(STDIN_FILENO, TCSANOW, &quiet);
	}
	return 0;
}

static void hand_over(struct chardev *c, int fd_in, int fd_out)
{
	struct chardev_stream *stream = NEW(struct chardev_stream);
	*stream = (struct chardev_stream){.fd_in = fd_in, .fd_out = fd_out};
	c->on_stream(c->arg, stream);
}

static void on_accept(void *arg, int fd)
{
	struct chardev *c = arg;
	if (c->on_stream) {
		hand_over(c, fd, fd);
		return;
	}
	/* Nobody to serve it yet: keep this one, leave the others in the backlog. */
	c->waiting_fd = fd;
	socket_listener_set_accepting(c->listener, false);
	co_queue_wake_all(&the_daemon.changed);
}

/* Which socket the options mean. */
static int address_of(const struct chardev_socket_options *o, struct socket_endpoint *ret,
		      struct error **errp)
{
	if (!!o->path + !!o->fd + !!o->host > 1)
		return error_set(errp, -EINVAL, "only one of 'path', 'fd' and 'host' is possible");
	if (!o->path && !o->fd && !o->host && !o->port)
		return error_set(errp, -EINVAL, "one of 'path', 'fd' and 'host' is needed");

	*ret = (struct socket_endpoint){.fd = -1};
	if (o->path) {
		ret->family = SOCKET_UNIX;
		ret->path = o->path;
		ret->abstract = o->abstract;
		ret->tight = o->tight;
		return 0;
	}
	if (o->fd) {
		ret->family = SOCKET_FD;
		ret->fd = systemd_find_fd(o->fd, errp);
		return ret->fd < 0 ? ret->fd : 0;
	}
	if (!o->port)
		return error_set(errp, -EINVAL, "no port given for host '%s'", o->host);
	ret->family = SOCKET_INET;
	ret->host = o->host ? o->host : "";
	ret->port = o->port;
	ret->port_last = o->to;
	ret->ipv4 = o->has_ipv4 ? o->ipv4 : -1;
	ret->ipv6 = o->has_ipv6 ? o->ipv6 : -1;
	return 0;
}

/* Wait until a client has connected to @c, or the daemon is asked to stop. */
static int co_fn wait_for_client(struct chardev *c, struct error **errp)
{
	_cleanup_free_ char *where = socket_listener_describe(c->listener);
	fprintf(stderr, "cairnd: chardev '%s' waits for a connection on %s\n", c->id, where);
	while (c->waiting_fd < 0) {
		if (the_daemon.stop_requested)
			return error_set(errp, -ECANCELED, "stopped while waiting for a client");
		co_queue_wait(&the_daemon.changed);
	}
	return 0;
}

static int co_fn open_socket(struct chardev *c, const struct chardev_socket_options *o,
			     struct error **errp)
{
	struct socket_endpoint address;

	if (!o->server && o->has_wait)
		return error_set(errp, -EINVAL, "'wait' option is incompatible with socket in "
				 "client connect mode");
	int r = address_of(o, &address, errp);
	if (r < 0)
		return r;
	if (!o->server)
		return socket_connect(the_daemon.loop, &address, &c->waiting_fd, errp);

	r = socket_listen(the_daemon.loop, &address, CHARDEV_BACKLOG, on_accept, c, &c->listener,
			  errp);
	if (r < 0)
		return r;
	if (o->wait)
		return wait_for_client(c, errp);
	return 0;
}

static void chardev_free(struct chardev *c)
{
	list_del_init(&c->link);
	socket_listener_free(c->listener);
	if (c->is_stdio && !c->on_stream)
		stdio_restore();
	if (c->waiting_fd >= 0)
		close(c->waiting_fd);
	free(c->id);
	free(c);
}

static struct chardev *find(const char *id)
{
	struct chardev *c;
	list_for_each(c, &chardevs, link)
		if (strcmp(c->id, id) == 0)
			return c;
	return NULL;
}

int co_fn chardev_open(const struct chardev_options *options, struct error **errp)
{
	if (!text_is_identifier(options->id))
		return error_set(errp, -EINVAL, "Parameter 'id' expects an identifier: a letter, then "
				 "letters, digits, '-', '.' and '_'");
	if (find(options->id))
		return error_set(errp, -EEXIST, "Duplicate ID '%s' for chardev", options->id);

	struct chardev *c = NEW(struct chardev);
	c->id = xstrdup(options->id);
	c->waiting_fd = -1;
	list_add_tail(&chardevs, &c->link);

	int r;
	if (options->backend == CHARDEV_BACKEND_KIND_STDIO) {
		r = stdio_open(&options->u.stdio, errp);
		c->is_stdio = r == 0;
	} else {
		r = open_socket(c, &options->u.socket, errp);
	}
	if (r < 0)
		chardev_free(c);
	return r;
}

struct chardev *chardev_find(const char *id, struct error **errp)
{
	struct chardev *c = find(id);
	if (!c)
		error_set(errp, -ENOENT, "chardev \"%s\" not found", id);
	return c;
}

int chardev_attach(struct chardev *c, void (*on_stream)(void *arg, struct chardev_stream *stream),
		   void *arg, struct error **errp)
{
	if (c->on_stream)
		return error_set(errp, -EBUSY, "Device '%s' is in use", c->id);
	c->on_stream = on_stream;
	c->arg = arg;
	if (c->is_stdio)
		hand_over(c, STDIN_FILENO, STDOUT_FILENO);
	if (c->waiting_fd >= 0) {
		int fd = TAKE_FD(c->waiting_fd);
		hand_over(c, fd, fd);
	}
	if (c->listener)
		socket_listener_set_accepting(c->listener, true);
	return 0;
}

void chardev_stream_close(struct chardev_stream *stream)
{
	if (stream->fd_in == STDIN_FILENO && stream->fd_out == STDOUT_FILENO)
		stdio_restore();
	else
		close(stream->fd_in);
	free(stream);
}

void chardev_close_all(void)
{
	struct chardev *c;
	while ((c = list_first(&chardevs, struct chardev, link)))
		chardev_free(c);
}

/* Append one word of the options, given its short form or not. */
static void expand_word(FILE *out, const char *word, size_t length, bool is_first)
{
	bool has_value = memchr(word, '=', length) != NULL;

	if (has_value || is_first || length == 0) {
		fwrite(word, 1, length, out);
	} else if (length > 2 && memcmp(word, "no", 2) == 0 && strncmp(word, "nodelay", length) != 0) {
		fwrite(word + 2, 1, length - 2, out);
		fputs("=off", out);
	} else {
		fwrite(word, 1, length, out);
		fputs("=on", out);
	}
}

char *chardev_expand_short_forms(const char *text)
{
	char *expanded;
	size_t size;
	FILE *out = open_memstream(&expanded, &size);

	for (const char *word = text;;) {
		/* A doubled comma belongs to the word. */
		const char *end = word;
		while (*end && (*end != ',' || end[1] == ','))
			end += *end == ',' ? 2 : 1;
		expand_word(out, word, (size_t)(end - word), word == text);
		if (!*end)
			break;
		fputc(',', out);
		word = end + 1;
	}
	fclose(out);
	return expanded;
}
