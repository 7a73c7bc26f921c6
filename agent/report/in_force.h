/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Is what the kernel does for a cgroup what the files say? */
#ifndef SOCKPOL_IN_FORCE_H
#define SOCKPOL_IN_FORCE_H

#include "base/names.h"
#include "policy/stage.h"
#include "report/contest.h"

/* What one side says of an option at a stage, in any case or by a rule where it holds. */
struct in_force_side {
	char *value;  /* owned; "unset"; NULL: it has no say */
	char *policy; /* owned; NULL where it has no say */
	char *rule;   /* owned; NULL: base options */
};

struct in_force_difference {
	enum sp_stage stage;
	const struct option *option;
	struct in_force_side kernel, files;
	const char *also; /* what differs beside the two sides: "condition", "order"; or NULL */
};

struct in_force {
	bool known;
	char *why; /* owned: why it is not known */
	struct in_force_difference *v;
	size_t n;
	struct names come, go; /* policies that apply by the files only, and in force only */
	bool other_order;      /* of those that apply by both */
};

/* Compares two generations in a cgroup to which these policies apply.  Returns 0, -ENOMEM, or
 * -EPROTO: the maps make no sense. */
int in_force_compare(struct generation_view *kernel, const struct glob_list *in_force,
		     struct generation_view *files, const struct glob_list *by_files,
		     struct in_force *ret);
bool in_force_differs(const struct in_force *f);
/* Makes *ret say that it is not known.  Returns 0 or -ENOMEM. */
int in_force_unknown(const char *why, struct in_force *ret);
void in_force_clear(struct in_force *f);

#endif
