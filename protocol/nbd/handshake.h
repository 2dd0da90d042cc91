/* SPDX-License-Identifier: MIT */
/*
 * The server's side of the negotiation, as a state machine over bytes.
 *
 * It does no I/O: the owner feeds what has arrived, sends what the machine
 * wants to say, and looks at the state. So a test can feed it one byte at a
 * time. No thread of its own; it never waits.
 */
#ifndef PROTOCOL_NBD_HANDSHAKE_H
#define PROTOCOL_NBD_HANDSHAKE_H

#include "protocol/nbd/wire.h"

/* Contexts of one export at most: a selection is a mask. */
#define NBD_CONTEXTS_MAX 32

struct nbd_context;

/* What a client is told of an export. The strings belong to the exporter. */
struct nbd_export_info {
	const char *name;
	const char *description; /* NULL without one */
	uint64_t size;
	uint16_t flags; /* enum nbd_transmission_flags, without SEND_DF */
	uint32_t minimum_block; /* for clients that ask; others count on 1 */
	uint32_t preferred_block;
	uint32_t maximum_block;
	const struct nbd_context *contexts; /* their place is their ID on the wire */
	unsigned context_count;
	void *export; /* the owner's; handed back in the result */
	uint64_t serial; /* another one for each export, also of a name that was there before */
};

/* Where the exports are found. Both calls must not wait. */
struct nbd_directory {
	/* False when there is no export called @name. */
	bool (*find)(void *arg, const char *name, struct nbd_export_info *ret);
	/* Call @fn for each export, in the order in which clients see them. */
	void (*for_each)(void *arg, void (*fn)(void *fn_arg, const struct nbd_export_info *info),
			 void *fn_arg);
};

enum nbd_handshake_state {
	NBD_HANDSHAKE_CLIENT_FLAGS,  /* the greeting is out; the client's flags come */
	NBD_HANDSHAKE_OPTION,        /* an option's header comes */
	NBD_HANDSHAKE_OPTION_DATA,   /* its data comes, and is kept */
	NBD_HANDSHAKE_OPTION_SKIP,   /* its data comes, and is dropped; then the refusal goes out */
	NBD_HANDSHAKE_TLS,           /* TLS begins after the output: see nbd_handshake_tls_begun() */
	NBD_HANDSHAKE_DONE,          /* transmission begins after the output */
	NBD_HANDSHAKE_CLOSE,         /* the connection ends after the output */
};

enum nbd_handshake_tls {
	NBD_TLS_REFUSED,  /* the client may ask for it in vain */
	NBD_TLS_REQUIRED, /* without it the client gets nothing; it has not begun */
	NBD_TLS_BEGUN,    /* all that comes is protected */
};

struct nbd_handshake {
	enum nbd_handshake_state state;
	const struct nbd_directory *directory;
	void *directory_arg;
	bool fixed;      /* the client knows fixed newstyle */
	bool no_zeroes;
	enum nbd_handshake_tls tls;
	bool structured; /* structured replies are agreed on */

	/* In state DONE: what the client chose. */
	struct nbd_export_info chosen;
	uint32_t contexts; /* mask over chosen.contexts */

	/* The selection of SET_META_CONTEXT, good for this export alone. */
	char *selected_export;
	uint64_t selected_serial;
	uint32_t selected;

	/* The option that is coming in, and why it is refused in state OPTION_SKIP. */
	uint8_t header[NBD_OPTION_BYTES];
	struct nbd_option_header option;
	uint32_t received; /* bytes of the header or of the data */
	uint8_t *data;
	uint32_t data_capacity;
	uint32_t refusal; /* NBD_REP_ERR_* */

	uint8_t *output;
	size_t output_bytes, output_capacity;
	/* Why state is CLOSE; NULL when the client asked for it. */
	const char *reason;
};

/* Begin; the greeting is in the output at once. */
void nbd_handshake_init(struct nbd_handshake *h, const struct nbd_directory *directory,
			void *directory_arg);
/* Before the first byte is fed: tell the client nothing before it has begun TLS. */
void nbd_handshake_require_tls(struct nbd_handshake *h);
/* In state TLS: from here on what is fed was protected. */
void nbd_handshake_tls_begun(struct nbd_handshake *h);
void nbd_handshake_finish(struct nbd_handshake *h);

/*
 * Take in at most @bytes at @p and return how many were used. Stops after each
 * option, so that its answer can be sent before the next one is looked at, and
 * uses nothing in the states TLS, DONE and CLOSE.
 */
size_t nbd_handshake_feed(struct nbd_handshake *h, const uint8_t *p, size_t bytes);
/* The output up to now has been sent. */
void nbd_handshake_sent(struct nbd_handshake *h);

#endif
