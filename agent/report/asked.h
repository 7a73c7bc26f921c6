/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The connection that `explain` is asked about, as far as it is known. */
#ifndef SOCKPOL_ASKED_H
#define SOCKPOL_ASKED_H

#include <jansson.h>

#include "policy/stage.h"
#include "policy/when.h"

/* What the command line gives; 0 and NULL: not given. */
struct asked_words {
	unsigned directions;	    /* BIT(enum direction): one */
	unsigned protocols;	    /* BIT(enum protocol): one */
	unsigned families;	    /* BIT(enum sp_family): one */
	const char *remote, *local; /* as endpoint_parse() takes them */
};

struct asked {
	bool connection;     /* false: only about directions, for every connection */
	unsigned directions; /* BIT(enum direction); one of them for a connection */
	unsigned protocols;  /* BIT(enum protocol): what it may be; none for AF_UNIX */
	unsigned families;   /* BIT(enum sp_family): what it may be */
	struct endpoint remote, local;
};

/*
 * Parses what was given.  Returns 0; -EINVAL when it makes no sense or contradicts itself:
 * *ret_error is then an owned sentence; or -ENOMEM.
 */
int asked_parse(const struct asked_words *words, struct asked *ret, char **ret_error);

/*
 * Returns the first key of a rule's `when` that does not hold for the connection, or WHEN_KEY_MAX:
 * all do.  A key whose property was not given does not hold.
 */
enum when_key asked_fails(const struct asked *a, const struct when *w);
/* Was the protocol left open, and does the condition hold for one but not for the other? */
bool asked_hangs_on_protocol(const struct asked *a, const struct when *w);
/* Was the property that the key of `when` looks at left open? */
bool asked_is_unknown(const struct asked *a, enum when_key key);

/* Does such a socket pass this stage? */
bool asked_passes(const struct asked *a, enum sp_stage s);
/* Returns SP_FAMILY_*: the families whose options such a socket takes. */
unsigned asked_speaks(const struct asked *a);

/* Both return a new reference; JSON's null when the question is not about one connection; NULL when
 * memory is out.  In words: "connect tcp ipv4, remote 10.1.2.3:5432; not given: local". */
json_t *asked_text(const struct asked *a);
json_t *asked_json(const struct asked *a);

#endif
