/* SPDX-License-Identifier: MIT */
/*
 * File names of images on GlusterFS volumes, both ways. Any thread.
 */
#include "drivers/gluster/name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "drivers/uri.h"
#include "schema/json_name.h"

#define PORT_DIGITS_MAX 5

static int invalid(const char *name, const char *reason, struct error **errp)
{
	return error_set(errp, -EINVAL, "invalid URI %s: %s", name, reason);
}

/* A piece of a URI as a value of key=value text. */
static int decode_value(const char *name, const char *s, size_t length, char **ret,
			struct error **errp)
{
	char *decoded _cleanup_free_ = NULL;
	if (uri_decode(s, length, &decoded) < 0)
		return invalid(name, "after '%' two digits must follow, not 00", errp);
	*ret = uri_value(decoded);
	return 0;
}

/* "volume=...,path=..." */
static int parse_path(const char *name, const struct uri *p, char **ret, struct error **errp)
{
	char *path _cleanup_free_ = NULL;
	int r = decode_value(name, p->path, p->path_length, &path, errp);
	if (r < 0)
		return r;
	const char *volume = path + strspn(path, "/");
	size_t length = strcspn(volume, "/");
	const char *image = volume + length + strspn(volume + length, "/");
	if (length == 0)
		return invalid(name, "the volume is missing", errp);
	if (!*image)
		return invalid(name, "the image's path is missing", errp);
	*ret = xasprintf("volume=%.*s,path=%s", (int)length, volume, image);
	return 0;
}

static int parse_port(const char *name, const char *digits, size_t length, unsigned *ret,
		      struct error **errp)
{
	unsigned port = 0;
	for (size_t i = 0; i < length; i++) {
		if (digits[i] < '0' || digits[i] > '9' || i >= PORT_DIGITS_MAX)
			return invalid(name, "the port is no number up to 65535", errp);
		port = 10 * port + (unsigned)(digits[i] - '0');
	}
	if (port > UINT16_MAX)
		return invalid(name, "the port is no number up to 65535", errp);
	*ret = port != 0 ? port : GLUSTER_DEFAULT_PORT;
	return 0;
}

/* "type=inet,..." of HOST, HOST:PORT, [IPV6] or [IPV6]:PORT. */
static int parse_inet(const char *name, const struct uri *p, char **ret, struct error **errp)
{
	if (!uri_query_is_empty(p))
		return invalid(name, "a TCP address has no query", errp);
	const char *host = p->host, *end = p->host + p->host_length;
	const char *host_end, *rest;
	if (host < end && *host == '[') {
		host++;
		host_end = memchr(host, ']', (size_t)(end - host));
		if (!host_end)
			return invalid(name, "']' is missing", errp);
		rest = host_end + 1;
	} else {
		host_end = memchr(host, ':', (size_t)(end - host));
		rest = host_end = host_end ? host_end : end;
	}
	if (rest < end && *rest != ':')
		return invalid(name, "after the host a port must follow, or nothing", errp);
	unsigned port = 0;
	rest += rest < end; /* the colon */
	int r = parse_port(name, rest, (size_t)(end - rest), &port, errp);
	char *host_value _cleanup_free_ = NULL;
	if (r >= 0)
		r = decode_value(name, host, (size_t)(host_end - host), &host_value, errp);
	if (r < 0)
		return r;
	*ret = xasprintf("server.0.type=inet,server.0.host=%s,server.0.port=%u",
			 *host_value ? host_value : "localhost", port);
	return 0;
}

static int parse_unix(const char *name, const struct uri *p, char **ret, struct error **errp)
{
	const char *path;
	if (p->host_length > 0)
		return invalid(name, "a UNIX socket has no host", errp);
	size_t length = uri_query_socket(p, &path);
	if (length == 0)
		return invalid(name, "it must end with '?socket=' and a path, and no more", errp);
	char *socket _cleanup_free_ = NULL;
	int r = decode_value(name, path, length, &socket, errp);
	if (r < 0)
		return r;
	*ret = xasprintf("server.0.type=unix,server.0.path=%s", socket);
	return 0;
}

int gluster_name_parse(const char *name, char **ret, struct error **errp)
{
	const char *transport = name + strlen("gluster");
	size_t length = strcspn(transport, ":");
	static const char *const transports[] = {"", "+tcp", "+unix", "+rdma"};
	unsigned which = 0;
	while (which < ARRAY_SIZE(transports) && (strlen(transports[which]) != length ||
						  memcmp(transport, transports[which], length) != 0))
		which++;
	if (which == ARRAY_SIZE(transports))
		return error_set(errp, -ENOENT, "Unknown protocol '%.*s'",
				 (int)strcspn(name, ":"), name);
	if (!transport[length])
		return invalid(name, "the volume is missing", errp);

	struct uri p;
	uri_take_apart(transport + length + 1, &p);
	char *image _cleanup_free_ = NULL, *server _cleanup_free_ = NULL;
	int r = parse_path(name, &p, &image, errp);
	if (r >= 0)
		r = (which == 2 ? parse_unix : parse_inet)(name, &p, &server, errp);
	if (r < 0)
		return r;
	/* Nobody is there to whom an error that is none could be returned. */
	if (which == 3)
		log_warning("%s: RDMA is not supported, TCP is used instead", name);
	*ret = xasprintf("driver=gluster,%s,%s", image, server);
	return 0;
}

static char *print_json(const struct blockdev_options_gluster *o)
{
	return json_name_encode(&(struct blockdev_options){
		.driver = BLOCKDEV_DRIVER_GLUSTER,
		.u.gluster = {.volume = o->volume, .path = o->path, .server = o->server},
	});
}

/* True when @port says a number, which it returns. */
static bool is_number(const char *port, unsigned *ret)
{
	size_t digits = strspn(port, "0123456789");
	if (digits == 0 || port[digits] || digits > PORT_DIGITS_MAX)
		return false;
	*ret = (unsigned)atoi(port);
	return *ret <= UINT16_MAX;
}

char *gluster_name_print(const struct blockdev_options_gluster *o)
{
	const char *image_path = o->path + strspn(o->path, "/");
	if (o->server.count != 1 || !*o->volume || strchr(o->volume, '/') || !*image_path)
		return print_json(o);
	char *volume _cleanup_free_ = uri_encode(o->volume, "?#");
	char *path _cleanup_free_ = uri_encode(image_path, "?#");
	const struct socket_address *server = o->server.items[0];
	if (server->type == SOCKET_ADDRESS_TYPE_UNIX) {
		const struct unix_socket_address *unix_socket = &server->u.unix_;
		if (unix_socket->abstract || !*unix_socket->path)
			return print_json(o);
		char *socket _cleanup_free_ = uri_encode(unix_socket->path, "&#");
		return xasprintf("gluster+unix:///%s/%s?socket=%s", volume, path, socket);
	}
	const struct inet_socket_address *inet = &server->u.inet;
	unsigned port = 0;
	if (server->type != SOCKET_ADDRESS_TYPE_INET || inet->has_to || inet->has_ipv4 ||
	    inet->has_ipv6 || inet->keep_alive || inet->mptcp || inet->numeric || !*inet->host ||
	    !is_number(inet->port, &port))
		return print_json(o);
	char *host _cleanup_free_ = uri_encode(inet->host, "/?#@[]");
	bool is_ipv6 = strchr(host, ':');
	char *port_text _cleanup_free_ =
		port == 0 || port == GLUSTER_DEFAULT_PORT ? xstrdup("") : xasprintf(":%u", port);
	return xasprintf("gluster://%s%s%s%s/%s/%s", is_ipv6 ? "[" : "", host, is_ipv6 ? "]" : "",
			 port_text, volume, path);
}
