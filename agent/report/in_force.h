/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Compares what the kernel does for a cgroup with what the files say. */
#ifndef SOCKPOL_IN_FORCE_H
#define SOCKPOL_IN_FORCE_H

#include "base/names.h"
#include "policy/stage.h"
#include "report/contest.h"

/* What one side says about an option at a stage, for every socket or by a rule where it holds. */
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
	char *why; /* owned: the reason if not known */
	struct in_force_difference *v;
	size_t n;
	struct names come, go; /* policies that apply by the files only, and in force only */
	bool other_order;      /* the policies that apply by both come in another order */
};

/* Compares two generations for a cgroup to which these policies apply.  Returns 0, -ENOMEM, or
 * -EPROTO: the maps make no sense. */
int in_force_compare(struct generation_view *kernel, const struct glob_list *in_force,
		     struct generation_view *files, const struct glob_list *by_files,
		     struct in_force *ret);
bool in_force_differs(const struct in_force *f);
/* Records in *ret that the comparison is not known, and why.  Returns 0 or -ENOMEM. */
int in_force_unknown(const char *why, struct in_force *ret);
void in_force_clear(struct in_force *f);

#endif
