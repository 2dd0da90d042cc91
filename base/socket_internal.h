/* SPDX-License-Identifier: MIT */
/*
 * What the files of socket.h share. Only base/ includes it.
 */
#ifndef BASE_SOCKET_INTERNAL_H
#define BASE_SOCKET_INTERNAL_H

#include <sys/socket.h>
#include <sys/un.h>

#include "base/socket.h"

#endif
