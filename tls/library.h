/* SPDX-License-Identifier: MIT */
/*
 * What the module cairn-tls.so does: either end of TLS, over memory. It alone
 * knows the library; the program does without until TLS is asked for.
 */
#ifndef TLS_LIBRARY_H
#define TLS_LIBRARY_H

#include <stddef.h>
#include <stdint.h>

#include "base/coroutine.h"
#include "block/tls_creds.h"

/* Credentials that were read, for any number of sessions. */
struct tls_context;
/* One connection. At any time one call is under way, by any thread. */
struct tls_session;

/* The session's way to the peer, both without waiting. */
struct tls_transport {
	/* Up to @bytes of what has come: their number, 0 at the end, or -EAGAIN. */
	int64_t (*pull)(void *arg, void *p, size_t bytes);
	/* Keep a copy, to be sent. */
	void (*push)(void *arg, const void *p, size_t bytes);
	void *arg;
};

struct tls_library {
	const char *version; /* of the program that it belongs to */

	/*
	 * Whether what @c describes can be read, and if it is to be checked, would be taken
	 * by a peer. Reads files; a worker's thread.
	 */
	int (*check)(const struct tls_creds *c, struct error **errp);
	/* Read what @c describes, of which nothing is kept. Reads files; a worker's thread. */
	int (*context_create)(const struct tls_creds *c, struct tls_context **ret,
			      struct error **errp);
	/* No session is left. NULL is allowed. */
	void (*context_destroy)(struct tls_context *c);

	/*
	 * @server_name is a client's: the name or address that the server's certificate must
	 * be of, if the credentials say that it is to be checked. Both are copied.
	 */
	struct tls_session *(*session_create)(struct tls_context *c, const char *server_name,
					      const struct tls_transport *transport);
	void (*session_destroy)(struct tls_session *s);
	/*
	 * Go on with the handshake: 0 when it has ended well, -EAGAIN when more must come
	 * from the peer first, or another errno. May read files, takes some milliseconds
	 * and more stack than a coroutine has: a worker's thread.
	 */
	int (*handshake)(struct tls_session *s, struct error **errp);
	/* After the handshake: the peer's distinguished name, or NULL when it has shown none. */
	const char *(*peer_name)(const struct tls_session *s);
	/*
	 * Up to @bytes from the peer: their number, 0 at the end, -EAGAIN, -EACCES when the
	 * peer has ended it by an alert, or another errno.
	 */
	int64_t (*receive)(struct tls_session *s, void *p, size_t bytes);
	/* Push up to @bytes, not 0, for the peer: their number or a negative errno. */
	int64_t (*send)(struct tls_session *s, const void *p, size_t bytes);
	/* Tell the peer that nothing more comes. */
	void (*say_goodbye)(struct tls_session *s);
};

/* What the module exports. */
#define TLS_LIBRARY_SYMBOL "cairn_tls_library"

/*
 * The module; NULL and a sentence that names the missing package when it cannot be had.
 * Loads off the loop; it stays. Control thread.
 */
const struct tls_library *co_fn tls_library_load(struct error **errp);

#endif
