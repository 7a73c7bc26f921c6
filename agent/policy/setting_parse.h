/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A block of options: names, values, ranges, who has the last word, and what excludes what. */
#ifndef SOCKPOL_SETTING_PARSE_H
#define SOCKPOL_SETTING_PARSE_H

#include "policy/keys.h"

/* Parses the key `options`; target: struct settings. */
int settings_parse(struct parse *p, const struct yaml_node *key, const struct yaml_node *map,
		   void *target);
/* Parses the key `application`; target: enum application. */
int application_parse(struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
		      void *target);

#endif
