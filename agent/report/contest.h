/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The policies and rules that may win an option, read from a generation's maps: the image of the
 * files, or what is in force.  Reads as the hooks do (bpf/apply.h) and drops the indices of a
 * generation, so that contests of two generations can be compared.
 */
#ifndef SOCKPOL_CONTEST_H
#define SOCKPOL_CONTEST_H

#include "compile/glob_walk.h"
#include "option/option.h"
#include "report/document.h"
#include "report/generations.h"

struct contestant {
	bool present;
	const struct option *option;  /* in its own spelling */
	const struct sp_op *op;	      /* NULL: leaves the option alone */
	const struct sp_counter *who; /* the policy or rule that says so */
	uint64_t condition;	      /* a rule's; equal numbers are equal conditions */
};

/* The contest for one option at one stage. */
struct contest {
	struct contestant base;	  /* the winner where none of the rules holds */
	struct contestant *rules; /* owned; weakest first */
	size_t n_rules;
};

/* The contests for all options of a stage, by enum option_id: of two spellings the first. */
struct contests {
	struct contest v[OPTION_MAX];
};

/* Reads a stage for a cgroup with these policies.  Returns 0, -ENOMEM, or -EPROTO: the maps make no
 * sense. */
int contests_read(struct generation_view *v, const struct glob_list *list, enum sp_stage s,
		  struct contests *ret);
void contests_clear(struct contests *c);

/* Adds what the operation says, see report/said.h: its value in the words of the option table, or
 * "unset".  NULL when memory is out. */
json_t *contestant_add(json_t *to, const struct contestant *c);
/* Do both operations say the same, whoever says it? */
bool contestants_say_same(const struct contestant *a, const struct contestant *b);

#endif
