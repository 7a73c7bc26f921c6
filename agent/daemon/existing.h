/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* `existing: apply`: what a load changed is set on open sockets of the agent's own network
 * namespace, in a thread of its own. */
#ifndef SOCKPOL_EXISTING_H
#define SOCKPOL_EXISTING_H

struct existing; /* NULL: nothing runs */

/* Begins with what is in force now, beside the generation before; says in the log what comes of it.
 * Errors are logged; NULL then. */
struct existing *existing_start(const char *pin_dir);
/* Waits until it is done, and frees it.  NULL is nothing. */
void existing_finish(struct existing *e);

#endif
