/* SPDX-License-Identifier: MIT */
/*
 * What the command line needs of the NBD server's handlers. Control thread.
 */
#ifndef DAEMON_NBD_H
#define DAEMON_NBD_H

#include "base/coroutine.h"
#include "base/error.h"
#include "schema/types.h"

/* Start the NBD server, as --nbd-server does. Errors as nbd-server-start. */
int co_fn nbd_option_start(const struct nbd_server_options *options, struct error **errp);

#endif
