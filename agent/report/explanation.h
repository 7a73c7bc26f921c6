/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Everything to be said about one cgroup: which policies apply, which options they set, and why;
 * for one connection or for any. */
#ifndef SOCKPOL_EXPLANATION_H
#define SOCKPOL_EXPLANATION_H

#include <jansson.h>

#include "report/asked.h"
#include "compile/cascade.h"
#include "report/in_force.h"
#include "option/value.h"

/* The outcome of one block for an option. */
struct explained_choice {
	const struct block *block; /* NULL: nobody */
	const struct setting *setting;
	char *value;		    /* owned; "unset" where it is */
	struct value_result result; /* owned text; empty when unset */
	unsigned stages;	    /* BIT(enum sp_stage): where it is set; 0: nowhere ... */
	const char *why_nowhere;    /* ... because; NULL also when unset */
	char *when;		    /* owned; NULL: it holds whatever the connection */
};

/* A block that sets the option in this direction, and loses. */
struct explained_loser {
	const struct block *block;
	const struct setting *setting;
	char *value; /* owned; "unset" where it is */
};

/* An option in one direction. */
struct explained_option {
	enum direction direction;
	const struct option *option;	/* in the winner's spelling */
	struct explained_choice *rules; /* the strongest first: each wins where it holds */
	size_t n_rules;			/* 0 when asked about one connection */
	struct explained_choice winner; /* where none of these holds */
	struct explained_loser *losers; /* that the winner beats, the strongest first */
	size_t n_losers;
};

/* Where and why a policy applies. */
struct explained_policy {
	const struct policy *policy;
	char *cgroup; /* owned: the shallowest cgroup that matches */
	size_t depth; /* depth of that cgroup; 0 is the root */
	const struct pattern *pattern;
};

/* A rule that does not hold for the connection. */
struct explained_rule {
	const struct block *block;
	const char *key; /* the first of `when` that does not */
	char *when;	 /* owned: the condition of that key */
	bool unknown;	 /* the question left that key open */
};

struct explanation {
	char *cgroup; /* owned */
	struct asked asked;
	struct effective effective;
	struct explained_policy *policies; /* weakest first */
	size_t n_policies;
	struct explained_option *options; /* by direction, then in option table order */
	size_t n_options;
	struct explained_rule
		*not_holding; /* empty unless asked about a connection; weakest first */
	size_t n_not_holding;
	struct in_force in_force; /* filled in by the caller */
};

/* Explains a cgroup.  The configuration must outlive *ret.  Returns 0 or -ENOMEM. */
int explanation_make(const struct config *c, const struct host *host, const char *cgroup,
		     const struct asked *asked, struct explanation *ret);
void explanation_clear(struct explanation *e);

/* Adds one option to e->options, unless no block has a say in it.  Returns 0 or -ENOMEM. */
int explanation_add_option(struct explanation *e, const struct host *host, enum direction d,
			   const struct option *option);
void explained_option_clear(struct explained_option *o);

void explanation_print(const struct explanation *e, FILE *to);
/* Returns a new reference, or NULL when memory is out. */
json_t *explanation_json(const struct explanation *e);

#endif
