/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The service manager: what systemd knows of its units.  Asked over D-Bus, which needs no
 * privilege. */
#ifndef SOCKPOL_MANAGER_H
#define SOCKPOL_MANAGER_H

#include "base/names.h"

struct unit_facts {
	char *name;	       /* its own: what was asked for may be an alias */
	char *slice;	       /* "system.slice"; "": a unit of this type has no cgroup */
	bool exists;	       /* it has a file, or runs */
	struct names triggers; /* units that start it, such as its .socket */
};

/* Asks about a unit by its whole name.  Returns 0 or a negative errno: no systemd answers, or it is
 * no name of a unit. */
int manager_ask(const char *name, struct unit_facts *ret);
/* Does systemd know a unit, or have a unit's file, that a glob matches?  False also where no
 * systemd answers. */
bool manager_has_units(const char *glob);
void unit_facts_clear(struct unit_facts *f);

#endif
