/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The condition of a rule (`when`) in words, as `explain` tells it. */
#ifndef SOCKPOL_CONDITION_H
#define SOCKPOL_CONDITION_H

#include "policy/policy.h"

/*
 * All keys that the rule gives but `direction`, which the listing is by: "protocol tcp; remote
 * 10.0.0.0/8, fd00::/8; remote_port 5432".  Of long lists the first few entries.  Empty when there
 * is no such key.  Owned by the caller; NULL: out of memory.
 */
char *condition_text(const struct when *w);
/* One key, by its name in the policy language, whether the rule gives it or not. */
char *condition_key_text(const struct when *w, const char *key);

/* Does it hold for every TCP and UDP socket of its directions? */
bool condition_is_empty(const struct when *w);

/* Equal for conditions that ask for the same (and, as good as always, for these only): in whatever
 * order lists are written. */
uint32_t condition_digest(const struct when *w);

#endif
