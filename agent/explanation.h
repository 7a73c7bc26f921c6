/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* All that can be said of one cgroup: which policies apply, which options they set, and why. */
#ifndef SOCKPOL_EXPLANATION_H
#define SOCKPOL_EXPLANATION_H

#include <jansson.h>

#include "cascade.h"
#include "in_force.h"
#include "value.h"

/* Somebody else who sets the option in this direction, and lost. */
struct explained_loser {
	const struct block *block;
	const struct setting *setting;
	char *value; /* owned; "unset" where it is */
};

/* One option in one direction. */
struct explained_option {
	enum direction direction;
	const struct winner *winner;
	char *value;			/* owned; "unset" where it is */
	struct value_result result;	/* owned text; empty when unset */
	unsigned stages;		/* BIT(enum sp_stage): where it is set; 0: nowhere */
	struct explained_loser *losers; /* the strongest first */
	size_t n_losers;
};

/* Where and why a policy applies. */
struct explained_policy {
	const struct policy *policy;
	char *cgroup; /* owned: the shallowest cgroup that matches */
	size_t depth; /* of that: 0 is the root */
	const struct pattern *pattern;
};

struct explanation {
	char *cgroup;			   /* owned */
	struct explained_policy *policies; /* weakest first */
	size_t n_policies;
	struct explained_option *options; /* by direction, then in option table order */
	size_t n_options;
	struct in_force in_force; /* filled in by the caller */
};

/* directions: BIT(enum direction).  The cascade must outlive *ret.  Returns 0 or -ENOMEM. */
int explanation_make(struct cascade *c, const struct host *host, const char *cgroup,
		     unsigned directions, struct explanation *ret);
void explanation_clear(struct explanation *e);

void explanation_print(const struct explanation *e, FILE *to);
/* A new reference, or NULL when memory is out. */
json_t *explanation_json(const struct explanation *e);

#endif
