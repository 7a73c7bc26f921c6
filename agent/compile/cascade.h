/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What wins (POLICY.md): from a cgroup's path to its effective policy.
 *
 * A cgroup is in a class: which policies apply to it or are excluded, and from which depth on.  The
 * class of a child follows from its parent's and its own path.  Many cgroups share a class, and
 * many classes an effective policy: both are interned, so pointers can be compared.
 */
#ifndef SOCKPOL_CASCADE_H
#define SOCKPOL_CASCADE_H

#include <stdint.h>

#include "policy/policy.h"

/* A block of options: a policy's base (rule NULL) or one of its rules. */
struct block {
	const struct policy *policy;
	const struct rule *rule;
	const struct settings *options;
};

struct effective {
	size_t index; /* 0-based, in the order of their making: stable for the cascade's life */
	/* The policies that apply, weakest first (walk order). */
	const struct policy **policies;
	size_t n_policies;
	/* Their blocks in walk order: weakest first. */
	struct block *blocks;
	size_t n_blocks;
};

struct cgroup_class; /* opaque */
struct cascade;

/* Which policies a cgroup's path matches: places in the configuration, ascending. */
struct matched {
	const uint32_t *match; /* their `match` (less nothing: `exclude` is beside it) */
	size_t n_match;
	const uint32_t *exclude; /* their `exclude` */
	size_t n_exclude;
};

/* The configuration must outlive the cascade. Returns 0 or -ENOMEM. */
int cascade_new(const struct config *c, struct cascade **ret);
void cascade_free(struct cascade *c);
DEFINE_CLEANUP(struct cascade *, cascade_free)

/*
 * The class of the cgroup at `path` (as glob_match() wants it), the child of a cgroup of class
 * `parent`; parent NULL: path is "/".  Owned by the cascade.  Returns 0 or -ENOMEM.
 */
int cascade_step(struct cascade *c, const struct cgroup_class *parent, const char *path,
		 const struct cgroup_class **ret);
/* The same where it is known what the path matches (machine.h). */
int cascade_apply(struct cascade *c, const struct cgroup_class *parent, const struct matched *m,
		  const struct cgroup_class **ret);
/*
 * The class of a cgroup of which no more is known than the policies that applied to it, by name and
 * in walk order: those of them that the configuration (still) has.
 */
int cascade_by_names(struct cascade *c, const char *const *names, size_t n,
		     const struct cgroup_class **ret);
/* The same for a path whose parents' classes are not known: walks down from the root. */
int cascade_walk(struct cascade *c, const char *path, const struct cgroup_class **ret);

/* NULL when no policy applies.  Owned by the cascade. */
const struct effective *cascade_effective(const struct cgroup_class *k);

/* 0-based, in the order of their making: stable for the cascade's life. */
size_t cascade_class_index(const struct cgroup_class *k);

/* The same option, perhaps in its two spellings (SO_BINDTODEVICE, SO_BINDTOIFINDEX): the later one
 * to set either wins. */
bool options_rival(const struct option *a, const struct option *b);
/* Of the two spellings of an option the first row stands for both. */
bool is_second_spelling(enum option_id id);
/* What the block says of the option, in either of its spellings; NULL: nothing. */
const struct setting *block_setting(const struct block *b, const struct option *option);

#endif
