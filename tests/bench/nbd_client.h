/* SPDX-License-Identifier: MIT */
/*
 * A small blocking NBD client: connecting and negotiating, for test programs.
 */
#ifndef TESTS_BENCH_NBD_CLIENT_H
#define TESTS_BENCH_NBD_CLIENT_H

#include "protocol/nbd/wire.h"

struct nbd_client {
	int fd;
	uint64_t size;
	uint16_t flags;  /* enum nbd_transmission_flags */
	bool structured; /* agreed on */
};

/*
 * Connect to @address, "unix:PATH" or "tcp:HOST:PORT", and choose @export. Ends
 * the process with a message on failure.
 */
void nbd_client_connect(struct nbd_client *c, const char *address, const char *export,
			bool want_structured);

#endif
