/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What `when` asks for: from its nodes to the struct; also addresses and ports on their own. */
#ifndef SOCKPOL_WHEN_PARSE_H
#define SOCKPOL_WHEN_PARSE_H

#include "policy/keys.h"

/* Into `when`, which is as when_init() has it.  Returns 0 or -ENOMEM. */
int when_parse(struct parse *p, const struct yaml_node *map, struct when *when);

/*
 * An address or a prefix, without its place (.at).  Returns 0, -EINVAL or -ENOMEM; then *ret is
 * untouched and *ret_error is an owned sentence that names the offending text (NULL with -ENOMEM).
 */
int prefix_parse(const char *text, struct prefix *ret, char **ret_error);
/* A port or A-B, likewise. */
int port_range_parse(const char *text, struct port_range *ret, char **ret_error);

/* As one would write it: "10.0.0.0/8", "fd00::1" (full length). */
#define PREFIX_TEXT_SIZE sizeof("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128")
const char *prefix_format(const struct prefix *p, char buf[static PREFIX_TEXT_SIZE]);

#endif
