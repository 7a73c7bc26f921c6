/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Policies as they were written: what the loader makes of the files. */
#ifndef SOCKPOL_POLICY_H
#define SOCKPOL_POLICY_H

#include <stdint.h>

#include "base/diag.h"
#include "policy/glob.h"
#include "option/option.h"
#include "option/sockopt.h"

/* One option of a block: a value, or "leave it alone". */
struct setting {
	const struct option *option;
	bool unset;
	struct sockopt value;  /* owned; not initialised when unset */
	struct position at;    /* of the option's name */
	const char *shorthand; /* the shorthand it came from ("DSCP"), or NULL */
};

/* At most one setting an option; in option table order. */
struct settings {
	struct setting *v;
	size_t n;
};

/* What `when` asks of the transport. */
enum protocol {
	PROTOCOL_TCP,
	PROTOCOL_UDP,
	PROTOCOL_MAX,
};

/* An entry of `remote` or `local`: an address is a prefix of full length. */
struct prefix {
	bool v4;		   /* a v4-mapped prefix (::ffff:a.b.c.d/96+n) is IPv4 */
	unsigned char address[16]; /* network byte order, no bits below the length; IPv4: first 4 */
	unsigned length;	   /* bits: 0-32 or 0-128 */
	struct position at;
};

struct prefixes {
	struct prefix *v;
	size_t n;
};

/* An entry of `remote_port` or `local_port`: host byte order, 1 <= first <= last. */
struct port_range {
	uint16_t first, last;
	struct position at;
};

struct port_ranges {
	struct port_range *v;
	size_t n;
};

/* All given keys must hold; a list holds when one of its entries does. */
struct when {
	bool has_direction;  /* `direction` was given */
	unsigned directions; /* BIT(enum direction); all of them when not given */
	bool has_protocol;
	unsigned protocols; /* BIT(enum protocol); both when not given */
	bool has_family;
	unsigned families; /* BIT(enum sp_family); IPv4 and IPv6 when not given */
	bool has_remote, has_local, has_remote_port, has_local_port;
	struct prefixes remote, local;
	struct port_ranges remote_port, local_port;
};

struct rule {
	char *name;
	struct when when;
	struct settings options;
	uint32_t condition; /* condition_digest() of `when` */
	struct position at; /* of its name */
};

struct pattern {
	struct glob *glob;
	struct position at;
};

/* Alternatives: matches when one of them does. */
struct patterns {
	struct pattern *v;
	size_t n;
};

struct policy {
	char *name;
	char *description; /* or NULL */
	struct patterns match, exclude;
	bool refuse_unsupported;
	struct settings base;
	struct rule *rules;
	size_t n_rules;
	struct position at; /* of its name */
};

/* Something that a block asks for and the running kernel lacks (agent/kernel/support.h). */
struct unsupported {
	const char *policy, *rule; /* names; rule NULL: the base options */
	const char *what;	   /* an option's name, or which hooks */
	const char *since;	   /* the kernel that first has it */
};

/* A whole configuration, policies in their order of precedence (files, then place in the file). */
struct config {
	struct policy *policies;
	size_t n_policies;
	struct unsupported *unsupported; /* by policy and rule; found by support_apply() */
	size_t n_unsupported;
	size_t n_prefixes; /* entries of `remote` and `local`, of all rules */
	char **files;	   /* every file read, in order; positions point here */
	size_t n_files;
	unsigned n_others; /* who hold it, beside one */
};

const struct setting *settings_find(const struct settings *s, const struct option *o);
/* Does one of the patterns match? */
bool patterns_match(const struct patterns *p, const char *path);

/* "tcp", "ipv4": as `when` has them. */
const char *protocol_word(enum protocol p);
const char *family_word(enum sp_family f);

/* What a rule without `when` asks: nothing. */
void when_init(struct when *w);
void when_clear(struct when *w);
void settings_clear(struct settings *s);
void policy_clear(struct policy *p);
struct config *config_new(void);
/* For one more holder; each frees it. */
struct config *config_ref(const struct config *c);
void config_free(struct config *c);
DEFINE_CLEANUP(struct config *, config_free)

#endif
