/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Policies as written: what the loader makes of the files. */
#ifndef SOCKPOL_POLICY_H
#define SOCKPOL_POLICY_H

#include <stdint.h>

#include "base/diag.h"
#include "policy/glob.h"
#include "option/option.h"
#include "option/sockopt.h"
#include "policy/when.h"

/* Who has the last word about an option. */
enum application {
	APPLICATION_UNSAID,
	APPLICATION_OVERRIDE,
	APPLICATION_HOLD,
	APPLICATION_RESPECT,
	APPLICATION_DENY,
	APPLICATION_MAX,
};
extern const char *const application_words[APPLICATION_MAX]; /* "", "override", ... */

enum on_failure {
	ON_FAILURE_UNSAID,
	ON_FAILURE_CONTINUE,
	ON_FAILURE_REFUSE,
	ON_FAILURE_MAX,
};
extern const char *const on_failure_words[ON_FAILURE_MAX];

/* What the application sets is brought between min and max: numbers as setsockopt(2) takes them. */
struct value_range {
	bool is_given;
	uint32_t min, max; /* 0, UINT32_MAX: not given */
};

/* One option of a block: a value, a range, both, or "leave it alone". */
struct setting {
	const struct option *option;
	bool unset;
	bool is_range_alone;  /* there is no value */
	struct sockopt value; /* owned; not initialised when unset; of a range alone its max */
	struct value_range range;
	enum application said; /* at the option itself */
	enum application
		application;   /* what counts: said here, or by the rule, or the policy, where
				  the option can; never APPLICATION_UNSAID once parsed */
	bool refuse;	       /* on_failure of the rule, or the policy */
	bool apply;	       /* existing: apply */
	struct position at;    /* of the option's name */
	const char *shorthand; /* the shorthand it came from ("DSCP"), or NULL */
};

/* Settings, at most one an option, in option table order. */
struct settings {
	struct setting *v;
	size_t n;
};

struct rule {
	char *name;
	struct when when;
	struct settings options;
	enum application application;
	enum on_failure on_failure;
	uint32_t condition; /* when_digest() of `when` */
	struct position at; /* of its name */
};

struct pattern {
	struct glob *glob;
	struct position at;
};

/* Patterns, of which one must match. */
struct patterns {
	struct pattern *v;
	size_t n;
};

struct policy {
	char *name;
	char *description; /* or NULL */
	struct patterns match, exclude;
	bool refuse_unsupported;
	enum application application;
	enum on_failure on_failure;
	bool apply_existing;
	struct settings base;
	struct rule *rules;
	size_t n_rules;
	struct position at; /* of its name */
};

/* Something that a block asks for and that the running kernel lacks (agent/kernel/support.h). */
struct unsupported {
	const char *policy, *rule; /* names; rule NULL: the base options */
	char *what;	   /* an option's name, which hooks, or which congestion control; owned */
	const char *since; /* the first kernel that has it; NULL: it is a module */
	bool is_refused;   /* on_failure: refuse: calls that need it fail; else it is left out */
};

struct config_file {
	char *path; /* owned; positions point here */
	char *text; /* as it was read, owned; NULL after config_drop_texts() */
	size_t size;
};

/* A whole configuration, its policies in order of precedence (files, then position in the file). */
struct config {
	struct policy *policies;
	size_t n_policies;
	struct unsupported *unsupported; /* by policy and rule; found by support_apply() */
	size_t n_unsupported;
	size_t n_prefixes;	   /* entries of `remote` and `local`, of all rules */
	struct config_file *files; /* every one that was read, in order */
	size_t n_files;
};

const struct setting *settings_find(const struct settings *s, const struct option *o);
/* Returns a setting of the same option, perhaps in its other spelling, or NULL. */
const struct setting *settings_find_rival(const struct settings *s, const struct option *o);
/* Returns the first of the patterns that matches, or NULL. */
const struct pattern *patterns_match(const struct patterns *p, const char *path);

/* Is there a value, that a socket may be given? */
static inline bool setting_has_value(const struct setting *s)
{
	return !s->unset && !s->is_range_alone;
}

/* Can this be who has the last word about the setting? */
bool setting_may_have(const struct setting *s, enum application a);
/* Finds what counts for each setting of what the policy, its rules and the options say. */
void policy_resolve(struct policy *p);

void settings_clear(struct settings *s);
void policy_clear(struct policy *p);
struct config *config_new(void);
/* For when nobody needs the files' texts any more. */
void config_drop_texts(struct config *c);
void config_free(struct config *c);
DEFINE_CLEANUP(struct config *, config_free)

#endif
