/* SPDX-License-Identifier: MIT */
/*
 * File names of NBD exports, both ways. Any thread.
 */
#include "drivers/nbd/name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "drivers/uri.h"
#include "schema/json_name.h"

#define DEFAULT_PORT "10809"
#define EXPORT_MARK ":exportname="

static int invalid_uri(struct error **errp, const char *reason)
{
	return error_set(errp, -EINVAL, "No valid URL specified: %s", reason);
}

/* The first @length characters at @s with each %XX as its byte, fit to be a value. */
static int percent_decode(const char *s, size_t length, char **ret, struct error **errp)
{
	char *decoded _cleanup_free_ = NULL;
	if (uri_decode(s, length, &decoded) < 0)
		return invalid_uri(errp, "after '%' two digits must follow, not 00");
	*ret = uri_value(decoded);
	return 0;
}

/* ",export=..." and the like: nothing for an empty export, which is the default. */
static char *export_option(const char *escaped)
{
	return *escaped ? xasprintf(",export=%s", escaped) : xstrdup("");
}

/* The path without its first slash. */
static int decode_export(const struct uri *u, char **ret, struct error **errp)
{
	size_t slash = u->path_length > 0;
	return percent_decode(u->path + slash, u->path_length - slash, ret, errp);
}

static int parse_unix_uri(const char *rest, char **ret, struct error **errp)
{
	struct uri uri;
	const char *path;
	uri_take_apart(rest, &uri);
	if (uri.host_length > 0)
		return invalid_uri(errp, "a URL of a UNIX socket has no host");
	size_t length = uri_query_socket(&uri, &path);
	if (!path)
		return invalid_uri(errp, "it must end with '?socket=' and a path, and no more");
	if (length == 0)
		return invalid_uri(errp, "the path of the socket is empty");

	char *socket _cleanup_free_ = NULL, *name _cleanup_free_ = NULL;
	int r = percent_decode(path, length, &socket, errp);
	if (r >= 0)
		r = decode_export(&uri, &name, errp);
	if (r < 0)
		return r;
	char *option _cleanup_free_ = export_option(name);
	*ret = xasprintf("driver=nbd,server.type=unix,server.path=%s%s", socket, option);
	return 0;
}

/* Split "HOST", "HOST:PORT", "[IPV6]" or "[IPV6]:PORT" of @length; *ret_port may be empty. */
static int split_authority(const char *s, size_t length, char **ret_host, char **ret_port,
			   struct error **errp)
{
	const char *end = s + length, *host_end;
	if (*s == '[') {
		s++;
		host_end = memchr(s, ']', (size_t)(end - s));
		if (!host_end)
			return invalid_uri(errp, "']' is missing");
	} else {
		host_end = memchr(s, ':', length);
	}
	const char *host_stop = host_end ? host_end : end;
	const char *port = host_end && *host_end == ']' ? host_end + 1 : host_stop;
	if (port < end && *port != ':')
		return invalid_uri(errp, "after the host a port must follow, or nothing");
	if (port < end)
		port++;
	if (host_stop == s)
		return invalid_uri(errp, "the host is missing");
	size_t digits = strspn(port, "0123456789");
	if (port < end && (digits != (size_t)(end - port) || digits > 5 ||
			   atoi(port) > UINT16_MAX))
		return invalid_uri(errp, "the port is no number up to 65535");
	/* Nobody listens at port 0, which so means that none is said. */
	*ret_port = xasprintf("%.*s", port < end && atoi(port) > 0 ? (int)(end - port) : 0, port);
	return percent_decode(s, (size_t)(host_stop - s), ret_host, errp);
}

static int parse_inet_uri(const char *rest, char **ret, struct error **errp)
{
	struct uri uri;
	uri_take_apart(rest, &uri);
	if (!uri_query_is_empty(&uri))
		return invalid_uri(errp, "a TCP address has no query");
	char *host _cleanup_free_ = NULL, *port _cleanup_free_ = NULL, *name _cleanup_free_ = NULL;
	int r = split_authority(uri.host, uri.host_length, &host, &port, errp);
	if (r >= 0)
		r = decode_export(&uri, &name, errp);
	if (r < 0)
		return r;
	char *option _cleanup_free_ = export_option(name);
	*ret = xasprintf("driver=nbd,server.type=inet,server.host=%s,server.port=%s%s", host,
			 *port ? port : DEFAULT_PORT, option);
	return 0;
}

/* What follows "nbd:" in the older form. */
static int parse_plain(const char *rest, char **ret, struct error **errp)
{
	const char *mark = strstr(rest, EXPORT_MARK);
	size_t length = mark ? (size_t)(mark - rest) : strlen(rest);
	char *name _cleanup_free_ =
		uri_value(mark ? mark + strlen(EXPORT_MARK) : "");
	if (length == 0)
		return error_set(errp, -EINVAL, "NBD server address missing");
	if (mark && !*name)
		return error_set(errp, -EINVAL, "The export's name is missing after '%s'",
				 EXPORT_MARK);
	char *option _cleanup_free_ = export_option(name);
	char *address _cleanup_free_ = xasprintf("%.*s", (int)length, rest);
	if (string_starts_with(address, "unix:")) {
		char *path _cleanup_free_ = uri_value(address + strlen("unix:"));
		if (!*path)
			return error_set(errp, -EINVAL, "NBD server address missing");
		*ret = xasprintf("driver=nbd,server.type=unix,server.path=%s%s", path, option);
		return 0;
	}

	/* The port follows the first colon, or the bracket of an IPv6 address. */
	char *host = address, *port;
	if (*address == '[') {
		host++;
		port = strchr(host, ']');
		if (port)
			*port++ = '\0';
	} else {
		port = strchr(address, ':');
	}
	if (!port || *port != ':' || port == host || !*host || !port[1])
		return error_set(errp, -EINVAL, "error parsing address '%.*s'", (int)length, rest);
	*port++ = '\0';
	char *escaped_host _cleanup_free_ = uri_value(host);
	char *escaped_port _cleanup_free_ = uri_value(port);
	*ret = xasprintf("driver=nbd,server.type=inet,server.host=%s,server.port=%s%s",
			 escaped_host, escaped_port, option);
	return 0;
}

int nbd_name_parse(const char *name, char **ret, struct error **errp)
{
	static const char tcp[] = "nbd+tcp://", inet[] = "nbd://", unix_socket[] = "nbd+unix://";
	if (string_starts_with(name, tcp) || string_starts_with(name, inet))
		return parse_inet_uri(strchr(name, ':') + 1, ret, errp);
	if (string_starts_with(name, unix_socket))
		return parse_unix_uri(strchr(name, ':') + 1, ret, errp);
	if (string_starts_with(name, "nbd:"))
		return parse_plain(name + strlen("nbd:"), ret, errp);
	if (string_starts_with(name, "nbd+tcp:") || string_starts_with(name, "nbd+unix:"))
		return error_set(errp, -EINVAL, "File name string for NBD must start with 'nbd:'");
	return error_set(errp, -ENOENT, "Unknown protocol '%.*s'", (int)strcspn(name, ":"), name);
}

static char *print_json(const struct blockdev_options_nbd *o)
{
	return json_name_encode(&(struct blockdev_options){
		.driver = BLOCKDEV_DRIVER_NBD,
		.u.nbd = {
			.server = o->server,
			.export = o->export,
			.tls_creds = o->tls_creds,
			.tls_hostname = o->tls_hostname,
		},
	});
}

static char *print_unix(const struct blockdev_options_nbd *o)
{
	const struct unix_socket_address *address = &o->server->u.unix_;
	if (address->abstract || !*address->path)
		return print_json(o);
	char *path _cleanup_free_ = uri_encode(address->path, "&#");
	char *name _cleanup_free_ = uri_encode(o->export ? o->export : "", "?#");
	/* As the rival: an export that is not named has no slash. */
	return xasprintf("nbd+unix://%s%s?socket=%s", o->export ? "/" : "", name, path);
}

static char *print_inet(const struct blockdev_options_nbd *o)
{
	const struct inet_socket_address *address = &o->server->u.inet;
	size_t digits = strspn(address->port, "0123456789");
	bool is_number = digits > 0 && digits <= 5 && !address->port[digits] &&
			 atoi(address->port) > 0 && atoi(address->port) <= UINT16_MAX;
	if (address->has_to || address->has_ipv4 || address->has_ipv6 || address->keep_alive ||
	    address->mptcp || address->numeric || !*address->host || !is_number)
		return print_json(o);
	char *host _cleanup_free_ = uri_encode(address->host, "/?#@[]");
	char *name _cleanup_free_ = uri_encode(o->export ? o->export : "", "?#");
	bool is_ipv6 = strchr(host, ':');
	return xasprintf("nbd://%s%s%s:%s%s%s", is_ipv6 ? "[" : "", host, is_ipv6 ? "]" : "",
			 address->port, o->export ? "/" : "", name);
}

char *nbd_name_print(const struct blockdev_options_nbd *o)
{
	/* No name tells of credentials. */
	if (o->tls_creds)
		return print_json(o);
	switch (o->server->type) {
	case SOCKET_ADDRESS_TYPE_INET:
		return print_inet(o);
	case SOCKET_ADDRESS_TYPE_UNIX:
		return print_unix(o);
	default:
		return print_json(o);
	}
}
