/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The client's side of the control socket (daemon/control.h). */
#ifndef SOCKPOL_CONTROL_CALL_H
#define SOCKPOL_CONTROL_CALL_H

#include <jansson.h>
#include <sys/types.h>
#include <sys/un.h>

#include "base/util.h"

/* Sets the address at which an agent with this runtime directory listens.  Returns 0 or
 * -ENAMETOOLONG. */
int control_address(const char *runtime_dir, struct sockaddr_un *ret);

/*
 * Sends the command and waits for the answer.  Returns 0; -ENOENT or -ECONNREFUSED: no agent is
 * there; -ETIMEDOUT: it has not answered within `seconds`; or another negative errno.  ret_pid (may
 * be NULL) is set as soon as there is a connection, even if no answer follows.
 */
int control_call(const char *runtime_dir, const char *command, unsigned seconds, json_t **ret,
		 pid_t *ret_pid);

#endif
