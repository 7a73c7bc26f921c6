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

/* Parses the value of a key.  Returns 0 or -ENOMEM. */
typedef int parse_value_fn(struct parse *p, const struct yaml_node *key,
			   const struct yaml_node *value, void *target);

/* A key that a mapping may have. */
struct key {
	const char *name;
	parse_value_fn *parse;
	size_t offset; /* of the target in what the mapping describes */
	bool is_required;
};

/* Hands each value of a mapping to its key's parser.  what: names the mapping in messages, "a
 * policy". */
int parse_map(struct parse *p, const struct yaml_node *map, const char *what,
	      const struct key *keys, size_t n, void *of);

/* Is it a list of such things?  Reports what is neither that nor null. */
bool parse_is_list(const struct parse *p, const struct yaml_node *key,
		   const struct yaml_node *value, const char *what);

/* Returns the text of a scalar of any kind; reports anything else and returns NULL. */
const char *parse_scalar(const struct parse *p, const struct yaml_node *key,
			 const struct yaml_node *value);

/* Returns which of the words a key has; reports any other value and returns -EINVAL. */
int parse_choice(const struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
		 const char *const *words, size_t n);

/* Calls `one` for each text of a single value or a list of values. */
int parse_each_scalar(struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
		      parse_value_fn *one, void *target);

/* Reports a word that is none of the known ones. */
void report_unknown_word(const struct parse *p, const struct yaml_node *item, const char *what,
			 const char *const *words, size_t n);

#endif
