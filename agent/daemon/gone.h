/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Cgroups whose directory was gone before this agent came, while sockets still hold them: without a
 * path, all that is known of one is which policies applied to it, by their names.
 */
#ifndef SOCKPOL_GONE_H
#define SOCKPOL_GONE_H

#include <stdint.h>

#include "base/util.h"

struct gone; /* many of them; NULL: none */

/* Descriptors of the maps that tell the names: an agent's own, or an earlier one's. */
struct gone_maps {
	int policies, credits, sources;
};

struct gone_names {
	char **v; /* in walk order */
	size_t n;
};

/* Remembers the members of what `policy` is in the map `policies` (0: none).  Returns 0, -ENOMEM,
 * or a negative errno of the look-ups. */
int gone_add(struct gone **gone, uint64_t cgroup_id, const struct gone_maps *maps, uint32_t policy);
/* Empty for one that is not there.  Valid until it is removed. */
struct gone_names gone_names(const struct gone *gone, uint64_t cgroup_id);
void gone_remove(struct gone **gone, uint64_t cgroup_id);
void gone_clear(struct gone **gone);

#endif
