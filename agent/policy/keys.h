/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Mappings with known keys: what the parsers of policies and of `when` share. */
#ifndef SOCKPOL_KEYS_H
#define SOCKPOL_KEYS_H

#include "policy/policy.h"
#include "policy/yaml_doc.h"

struct parse {
	struct config *config;
	struct diags *diags;
};

#define KEYS_MAX 32 /* keys of one mapping */

/* A key that a mapping may have. */
struct key {
	const char *name;
	int (*parse)(struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
		     void *target);
};

/* Hands each value of a mapping to its key's parser.  what: names the mapping in messages, "a
 * policy". */
int parse_map(struct parse *p, const struct yaml_node *map, const char *what,
	      const struct key *keys, size_t n, void *target);

/* Reports a mapping that lacks the key. */
void require_key(const struct parse *p, const struct yaml_node *map, const char *what,
		 const char *name);

/* Returns the text of a scalar of any kind; reports anything else and returns NULL. */
const char *parse_scalar(const struct parse *p, const struct yaml_node *key,
			 const struct yaml_node *value);

/* Calls `one` for each text of a single value or a list of values. */
int parse_each_scalar(struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
		      int (*one)(struct parse *p, const struct yaml_node *item, void *target),
		      void *target);

/* Reports a word that is none of the known ones. */
void report_unknown_word(const struct parse *p, const struct yaml_node *item, const char *what,
			 const char *const *words, size_t n);

#endif
