/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a rule asks of a connection (`when`), key by key.
 *
 * A key is a row of the table in when.c.  Everything that differs from key to key is said there:
 * parsing, printing, holding, linting, and what the hooks have to look up.
 */
#ifndef SOCKPOL_WHEN_H
#define SOCKPOL_WHEN_H

#include "option/option.h"
#include "policy/address.h"

struct parse;
struct stage;
struct yaml_node;

/* The keys, in the order in which they are listed and checked. */
enum when_key {
	WHEN_DIRECTION,
	WHEN_PROTOCOL,
	WHEN_FAMILY,
	WHEN_REMOTE,
	WHEN_LOCAL,
	WHEN_REMOTE_PORT,
	WHEN_LOCAL_PORT,
	WHEN_KEY_MAX,
};

/* The transports that `when` tells apart. */
enum protocol {
	PROTOCOL_TCP,
	PROTOCOL_UDP,
	PROTOCOL_MAX,
};

/* The words of the language: "tcp", "ipv4". */
extern const char *const protocol_words[PROTOCOL_MAX];
extern const char *const family_words[SP_FAMILY_INDEX_MAX];

/* The conditions of a rule.  All given keys must hold; a list holds when one of its entries
 * does. */
struct when {
	bool has_direction;  /* `direction` was given */
	unsigned directions; /* BIT(enum direction); all of them when not given */
	bool has_protocol;
	unsigned protocols; /* BIT(enum protocol); both when not given */
	bool has_family;
	unsigned families; /* BIT(enum sp_family); IPv4 and IPv6 when not given */
	bool has_remote, has_local, has_remote_port, has_local_port;
	struct ranges remote, local, remote_port, local_port;
};

/* One connection, as rules see it. */
struct connection {
	enum direction direction;
	enum protocol protocol; /* of no meaning where family is not IP's */
	enum sp_family family;
	struct endpoint remote, local;
};

/* Sets what a rule without `when` has: it asks for nothing. */
void when_init(struct when *w);
void when_clear(struct when *w);

/* Parses into a struct when, which is in the state of when_init(): see keys.h. */
int when_parse(struct parse *p, const struct yaml_node *key, const struct yaml_node *map,
	       void *when);

/* Returns the key's name in the policy language. */
const char *when_key_name(enum when_key key);
/* Is the key a property of the peer, which is absent where there is no peer? */
bool when_key_is_remote(enum when_key key);

/*
 * Formats all keys that the rule gives except `direction`: "protocol tcp; remote 10.0.0.0/8,
 * fd00::/8; remote_port 5432".  Long lists are cut after the first few entries.  Empty when there
 * is no such key.  Owned by the caller; NULL: out of memory.
 */
char *when_text(const struct when *w);
/* Formats one key, whether the rule gives it or not. */
char *when_key_text(const struct when *w, enum when_key key);

/* Returns a number that is equal for conditions that ask for the same, in whatever order their
 * lists are written, and different, almost certainly, for others. */
uint32_t when_digest(const struct when *w);

/* Returns the first key that does not hold, or WHEN_KEY_MAX: all do.  This is what the hook does
 * with bit vectors, for `explain`. */
enum when_key when_fails(const struct when *w, const struct connection *c);

/* Returns BIT(enum when_key) of the keys that the rule gives. */
unsigned when_keys(const struct when *w);
/* Does it hold for every TCP and UDP socket of its directions? */
bool when_is_empty(const struct when *w);
/* Returns those of the families (BIT(enum sp_family)) whose sockets come to the stage; AF_UNIX
 * comes to socket(2)'s where this kernel has no hooks for it. */
unsigned when_families_at(unsigned families, const struct stage *s);
/* Can it hold for any socket at this stage? */
bool when_may_hold(const struct when *w, const struct stage *s);
/* Where it can hold: must the hook look at the connection? */
bool when_depends(const struct when *w, const struct stage *s);
/* Does it ask for more than family and protocol? */
bool when_is_open(const struct when *w);
/* Returns what the rule lists for a property that the hooks look up; NULL: it does not ask. */
const struct ranges *when_ranges(const struct when *w, enum sp_property property);

/* Returns the first key whose list has no entry, or WHEN_KEY_MAX. */
enum when_key when_empty_key(const struct when *w);
/* Returns SP_FAMILY_*: the families of IP in which a connection can meet all conditions of a
 * rule. */
unsigned when_ip_families(const struct when *w);
/* Returns why a rule whose lists all have entries can never match: the most common reason that
 * applies. */
const char *when_contradiction(const struct when *w);

#endif
