/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who may win an option, by what a generation's maps have: the files' image, or what is in force.
 * Read as the hooks read it (bpf/apply.h), and without the indices that a generation numbers as it
 * comes, so that contests of two generations compare.
 */
#ifndef SOCKPOL_CONTEST_H
#define SOCKPOL_CONTEST_H

#include "compile/glob_walk.h"
#include "option/option.h"
#include "report/generations.h"

struct contestant {
	bool present;
	const struct option *option;  /* in its own spelling */
	const struct sp_op *op;	      /* NULL: leaves the option alone */
	const struct sp_counter *who; /* that says so */
	uint64_t condition;	      /* of a rule: the same number for the same condition */
};

/* One option at one stage. */
struct contest {
	struct contestant base;	  /* wins where none of the rules holds */
	struct contestant *rules; /* owned; weakest first */
	size_t n_rules;
};

/* All options of a stage, by enum option_id: of two spellings the first. */
struct contests {
	struct contest v[OPTION_MAX];
};

/* The stage in a cgroup with these policies.  Returns 0, -ENOMEM, or -EPROTO: the maps make no
 * sense. */
int contests_read(struct generation_view *v, const struct glob_list *list, enum sp_stage s,
		  struct contests *ret);
void contests_clear(struct contests *c);

/* The operation's value in the words of the option table; owned. */
int contestant_value(const struct contestant *c, char **ret);

#endif
