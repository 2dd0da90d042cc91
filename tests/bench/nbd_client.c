/* SPDX-License-Identifier: MIT */
/*
 * A small blocking NBD client: connecting and negotiating. Any thread, one
 * client each.
 */
#include "nbd_client.h"

#include <err.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_BUFFER_BYTES (4 << 20)

static void read_all(int fd, void *p, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = read(fd, p, bytes);
		if (n <= 0)
			errx(1, "the server closed the connection");
		p = (char *)p + n;
		bytes -= n;
	}
}

static void write_all(int fd, const void *p, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = send(fd, p, bytes, MSG_NOSIGNAL);
		if (n < 0)
			err(1, "send");
		p = (const char *)p + n;
		bytes -= n;
	}
}

static int connect_unix(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(un.sun_path))
		errx(1, "path is too long: %s", path);
	strcpy(un.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
		err(1, "connect to %s", path);
	return fd;
}

static int connect_tcp(char *host)
{
	char *port = strrchr(host, ':');
	if (!port)
		errx(1, "no port in %s", host);
	*port++ = '\0';
	struct addrinfo *ai, hints = {.ai_socktype = SOCK_STREAM};
	int r = getaddrinfo(host, port, &hints, &ai);
	if (r != 0)
		errx(1, "%s: %s", host, gai_strerror(r));
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, ai->ai_addr, ai->ai_addrlen) < 0)
		err(1, "connect to %s:%s", host, port);
	freeaddrinfo(ai);
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static int connect_to(const char *address)
{
	if (!strncmp(address, "tcp:", 4)) {
		char *host = strdup(address + 4);
		int fd = connect_tcp(host);
		free(host);
		return fd;
	}
	return connect_unix(strncmp(address, "unix:", 5) ? address : address + 5);
}

/* Read one reply's header; the payload goes to @payload, cut to @room. */
static struct nbd_option_reply read_reply(int fd, uint8_t *payload, size_t room)
{
	uint8_t header[NBD_OPTION_REPLY_BYTES];
	struct nbd_option_reply reply;
	read_all(fd, header, sizeof(header));
	if (nbd_get_option_reply(header, &reply) < 0)
		errx(1, "bad magic in an option reply");
	for (uint32_t i = 0; i < reply.length; i++) {
		uint8_t byte;
		read_all(fd, &byte, 1);
		if (i < room)
			payload[i] = byte;
	}
	return reply;
}

static bool ask_structured(int fd)
{
	uint8_t option[NBD_OPTION_BYTES];
	nbd_put_option(option, &(struct nbd_option_header){NBD_OPT_STRUCTURED_REPLY, 0});
	write_all(fd, option, sizeof(option));
	return read_reply(fd, NULL, 0).type == NBD_REP_ACK;
}

static void choose(struct nbd_client *c, const char *export)
{
	size_t length = strlen(export);
	uint8_t header[NBD_OPTION_BYTES + 4], count[2] = {0, 0};
	uint8_t *p = nbd_put_option(header, &(struct nbd_option_header){NBD_OPT_GO,
									4 + length + 2});
	nbd_put32(p, length);
	write_all(c->fd, header, sizeof(header));
	write_all(c->fd, export, length);
	write_all(c->fd, count, sizeof(count));

	for (;;) {
		uint8_t payload[256];
		struct nbd_option_reply reply = read_reply(c->fd, payload, sizeof(payload) - 1);
		if (reply.type == NBD_REP_ACK)
			return;
		if (reply.type != NBD_REP_INFO) {
			payload[MIN(reply.length, sizeof(payload) - 1)] = '\0';
			errx(1, "export '%s' refused: %s", export, (char *)payload);
		}
		if (reply.length == 12 && nbd_get16(payload) == NBD_INFO_EXPORT) {
			c->size = nbd_get64(payload + 2);
			c->flags = nbd_get16(payload + 10);
		}
	}
}

void nbd_client_connect(struct nbd_client *c, const char *address, const char *export,
			bool want_structured)
{
	*c = (struct nbd_client){.fd = connect_to(address)};
	int bytes = SOCKET_BUFFER_BYTES;
	setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));

	uint8_t greeting[NBD_GREETING_BYTES], flags[NBD_CLIENT_FLAGS_BYTES];
	read_all(c->fd, greeting, sizeof(greeting));
	if (nbd_get64(greeting) != NBD_MAGIC || nbd_get64(greeting + 8) != NBD_OPTION_MAGIC)
		errx(1, "no NBD server at %s", address);
	nbd_put32(flags, NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES);
	write_all(c->fd, flags, sizeof(flags));

	c->structured = want_structured && ask_structured(c->fd);
	choose(c, export);
}
