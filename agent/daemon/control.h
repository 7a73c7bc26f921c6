/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The control socket, RUNTIME-DIR/control: one JSON object on one line asks, one on one line
 * answers.  {"command": "reload"} -> {"ok": bool, "message": "...", ...}.  Mode 0600.
 */
#ifndef SOCKPOL_CONTROL_H
#define SOCKPOL_CONTROL_H

#include <jansson.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "base/util.h"

#define CONTROL_REQUEST_MAX 4096u /* bytes */
#define CONTROL_CLIENTS_MAX 16u

struct control;

/* Answers a request; returns a new reference, NULL when memory is out. */
typedef json_t *control_fn(const char *command, void *userdata);

/*
 * Makes the runtime directory if it is not there, locks it, and listens.  Refuses a directory that
 * others can write (-EPERM) or that another agent has (-EBUSY).  Errors are logged.  The name is
 * borrowed.
 */
int control_new(const char *runtime_dir, sd_event *event, control_fn *fn, void *userdata,
		struct control **ret);
/* Makes the socket again if someone has removed it, or its directory.  Errors are logged. */
void control_renew(struct control *c);
void control_free(struct control *c); /* removes the socket */
DEFINE_CLEANUP(struct control *, control_free)

#endif
