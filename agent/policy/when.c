// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>

#include "base/digest.h"
#include "host/host.h"
#include "policy/keys.h"
#include "policy/loader.h"
#include "policy/stage.h"
#include "policy/when.h"

#define ENTRIES_MAX 4 /* entries of a list that a text shows */
#define BOTH	    (SP_FAMILY_IPV4 | SP_FAMILY_IPV6)
#define INET	    (BIT(SP_FAMILY_INDEX_IPV4) | BIT(SP_FAMILY_INDEX_IPV6))
#define UNIX	    BIT(SP_FAMILY_INDEX_UNIX)
/* What the hook at socket(2) governs where none comes later. */
#define SOCKET_ONLY (BIT(SP_FAMILY_INDEX_NETLINK) | BIT(SP_FAMILY_INDEX_PACKET))

const char *const protocol_words[] = {
	[PROTOCOL_TCP] = "tcp",
	[PROTOCOL_UDP] = "udp",
};
static_assert(ARRAY_SIZE(protocol_words) == PROTOCOL_MAX, "a word for each protocol");

const char *const family_words[] = {
	[SP_FAMILY_INDEX_IPV4] = "ipv4",     [SP_FAMILY_INDEX_IPV6] = "ipv6",
	[SP_FAMILY_INDEX_UNIX] = "unix",     [SP_FAMILY_INDEX_NETLINK] = "netlink",
	[SP_FAMILY_INDEX_PACKET] = "packet",
};
static_assert(ARRAY_SIZE(family_words) == SP_FAMILY_INDEX_MAX, "a word for each family");

struct row;

/* A kind of value that a key may have. */
struct kind {
	/* Parses one entry of the list.  Returns 0 or -ENOMEM. */
	int (*parse)(struct parse *p, const struct row *row, const struct yaml_node *item,
		     void *value);
	void (*print)(const struct row *row, const void *value, FILE *to);
	bool (*is_empty)(const void *value);
	uint32_t (*digest)(const void *value);
	void (*clear)(void *value); /* NULL: the value owns nothing */
};

enum end {
	NO_END,
	REMOTE,
	LOCAL,
};

struct row {
	const char *name;
	size_t given, value; /* offsets in struct when */
	const struct kind *kind;

	/* For the kind `ranges`: the property, which the hook looks up, of an end of the
	 * connection; and how to parse one of them. */
	enum end end;
	enum sp_property property;
	int (*parse_range)(const char *text, struct range *ret, char **ret_error);

	/* For the kind `words`: their list, whose places are the bits. */
	const char *const *words;
	unsigned n_words;
	unsigned otherwise; /* the value when the key is not given */
	bool looked_up;	    /* by the hook, unless it holds for all that `otherwise` does */
	bool (*holds)(const struct when *w, const struct connection *c);
	/* Can the key hold for some socket at this stage? */
	bool (*may_hold)(const struct when *w, const struct stage *s);

	/* Returns why the key can never hold beside the others, or NULL.  Without it: it always
	 * can. */
	const char *(*contradiction)(const struct when *w);
};

static bool is_given(const struct row *row, const struct when *w)
{
	return *(const bool *)((const char *)w + row->given);
}

static const void *value_of(const struct row *row, const struct when *w)
{
	return (const char *)w + row->value;
}

/* --- words: bits by their place in the row's list --------------------------------------------- */

static int parse_word(struct parse *p, const struct row *row, const struct yaml_node *item,
		      void *value)
{
	unsigned *bits = value;

	for (unsigned i = 0; i < row->n_words; i++) {
		if (streq(row->words[i], item->text)) {
			*bits |= BIT(i);
			return 0;
		}
	}
	report_unknown_word(p, item, row->name, row->words, row->n_words);
	return 0;
}

static void print_words(const struct row *row, const void *value, FILE *to)
{
	unsigned bits = *(const unsigned *)value;
	const char *separator = "";

	for (unsigned i = 0; i < row->n_words; i++) {
		if (!(bits & BIT(i)))
			continue;
		fprintf(to, "%s%s", separator, row->words[i]);
		separator = ", ";
	}
}

static bool no_words(const void *value)
{
	return !*(const unsigned *)value;
}

static uint32_t digest_words(const void *value)
{
	return *(const unsigned *)value;
}

static const struct kind words = {
	.parse = parse_word,
	.print = print_words,
	.is_empty = no_words,
	.digest = digest_words,
};

/* --- ranges ----------------------------------------------------------------------------------- */

static int parse_range(struct parse *p, const struct row *row, const struct yaml_node *item,
		       void *value)
{
	_cleanup_free_ char *error = NULL;
	struct ranges *list = value;
	struct range range;
	int r;

	if (row->parse_range == prefix_parse && p->config->n_prefixes++ >= LOADER_PREFIXES_MAX) {
		if (p->config->n_prefixes == LOADER_PREFIXES_MAX + 1)
			diag_error(p->diags, &item->at, "more than %u prefixes in all",
				   LOADER_PREFIXES_MAX);
		return 0;
	}
	r = row->parse_range(item->text, &range, &error);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		diag_error(p->diags, &item->at, "%s", error);
		return 0;
	}
	return APPEND(list->v, list->n, range);
}

static void print_ranges(const struct row *row, const void *value, FILE *to)
{
	const struct ranges *list = value;
	char text[RANGE_TEXT_SIZE];

	(void)row;
	for (size_t i = 0; i < list->n && i < ENTRIES_MAX; i++)
		fprintf(to, "%s%s", i ? ", " : "", range_format(&list->v[i], text));
	if (list->n > ENTRIES_MAX)
		fprintf(to, " and %zu more", list->n - ENTRIES_MAX);
}

static bool no_ranges(const void *value)
{
	return !((const struct ranges *)value)->n;
}

/* A sum does not depend on the order of the entries. */
static uint32_t digest_ranges(const void *value)
{
	const struct ranges *list = value;
	uint32_t sum = 0;

	for (size_t i = 0; i < list->n; i++) {
		const struct range *range = &list->v[i];
		uint32_t h = digest_number(DIGEST_START, range->kind);

		h = digest_bytes(h, range->first, range_size(range));
		sum += digest_bytes(h, range->last, range_size(range));
	}
	return sum;
}

static void clear_ranges(void *value)
{
	free(((struct ranges *)value)->v);
}

static const struct kind ranges = {
	.parse = parse_range,
	.print = print_ranges,
	.is_empty = no_ranges,
	.digest = digest_ranges,
	.clear = clear_ranges,
};

/* --- direction -------------------------------------------------------------------------------- */

/* At socket(2) it is not known. */
static bool asks_for_direction(const struct when *w)
{
	return w->directions != BIT(DIRECTION_MAX) - 1;
}

static bool direction_holds(const struct when *w, const struct connection *c)
{
	return (BIT(c->family) & SOCKET_ONLY) ? !asks_for_direction(w)
					      : w->directions & BIT(c->direction);
}

static bool direction_may_hold(const struct when *w, const struct stage *s)
{
	return s->transport == TRANSPORT_LOCAL ? !asks_for_direction(w)
					       : w->directions & BIT(s->direction);
}

static const char *direction_contradiction(const struct when *w)
{
	if (!(w->families & ~SOCKET_ONLY) && asks_for_direction(w))
		return "netlink and packet sockets are governed at socket(2), where no direction is known";
	if (w->families == UNIX && !(w->directions & BIT(DIRECTION_CONNECT)))
		return "AF_UNIX sockets are governed when they connect or send";
	if (w->protocols == BIT(PROTOCOL_UDP) && w->directions == BIT(DIRECTION_ACCEPT))
		return "UDP sockets are not accepted";
	return NULL;
}

/* --- protocol: only IP sockets have one, so a rule that asks for both holds for no other ------ */

static bool protocol_holds(const struct when *w, const struct connection *c)
{
	return !w->has_protocol || (BIT(c->family) & INET && w->protocols & BIT(c->protocol));
}

static bool protocol_may_hold(const struct when *w, const struct stage *s)
{
	switch (s->transport) {
	case TRANSPORT_TCP:
		return w->protocols & BIT(PROTOCOL_TCP);
	case TRANSPORT_UDP:
		return w->protocols & BIT(PROTOCOL_UDP);
	default:
		return !w->has_protocol;
	}
}

static const char *protocol_contradiction(const struct when *w)
{
	return (w->families & INET) ? NULL : "only IP sockets have a protocol";
}

/* --- family: others than IP's are governed only by rules that say so -------------------------- */

static bool family_holds(const struct when *w, const struct connection *c)
{
	return w->families & BIT(c->family);
}

unsigned when_families_at(unsigned families, const struct stage *s)
{
	switch (s->transport) {
	case TRANSPORT_UNIX:
		return families & UNIX;
	case TRANSPORT_LOCAL: /* the cheap question first: the other reads the kernel's BTF */
		return families &
		       (families & UNIX && host_has_unix_hooks() == 0 ? UNIX | SOCKET_ONLY
								      : SOCKET_ONLY);
	default:
		return families & INET;
	}
}

static bool family_may_hold(const struct when *w, const struct stage *s)
{
	return when_families_at(w->families, s);
}

/* --- remote, local and their ports ------------------------------------------------------------ */

static const char *remote_contradiction(const struct when *w)
{
	if (w->directions == BIT(DIRECTION_LISTEN))
		return "a socket that listens has no remote";
	return NULL;
}

#define VALUE(flag, member)                                                                        \
	.given = offsetof(struct when, flag), .value = offsetof(struct when, member)
#define WORDS(list)		     .kind = &words, .words = (list), .n_words = ARRAY_SIZE(list)
#define ALL(list)		     (BIT(ARRAY_SIZE(list)) - 1)
#define RANGES(end, property, parse) &ranges, (end), SP_PROPERTY_##property, (parse)

/* clang-format off */
static const struct row rows[] = {
	[WHEN_DIRECTION] = {
		"direction", VALUE(has_direction, directions), WORDS(direction_words),
		.otherwise = ALL(direction_words),
		.holds = direction_holds,
		.may_hold = direction_may_hold,
		.contradiction = direction_contradiction,
	},
	[WHEN_PROTOCOL] = {
		"protocol", VALUE(has_protocol, protocols), WORDS(protocol_words),
		.otherwise = ALL(protocol_words),
		.holds = protocol_holds,
		.may_hold = protocol_may_hold,
		.contradiction = protocol_contradiction,
	},
	[WHEN_FAMILY] = {
		"family", VALUE(has_family, families), WORDS(family_words),
		.otherwise = INET,
		.looked_up = true,
		.holds = family_holds,
		.may_hold = family_may_hold,
	},
	[WHEN_REMOTE] = {
		"remote", VALUE(has_remote, remote), RANGES(REMOTE, REMOTE, prefix_parse),
		.contradiction = remote_contradiction,
	},
	[WHEN_LOCAL] = {
		"local", VALUE(has_local, local), RANGES(LOCAL, LOCAL, prefix_parse),
	},
	[WHEN_REMOTE_PORT] = {
		"remote_port", VALUE(has_remote_port, remote_port), RANGES(REMOTE, REMOTE_PORT, port_range_parse),
		.contradiction = remote_contradiction,
	},
	[WHEN_LOCAL_PORT] = {
		"local_port", VALUE(has_local_port, local_port), RANGES(LOCAL, LOCAL_PORT, port_range_parse),
	},
};
/* clang-format on */
static_assert(ARRAY_SIZE(rows) == WHEN_KEY_MAX, "a row for each key");
static_assert(WHEN_KEY_MAX <= KEYS_MAX, "a mapping has room for all keys");

#define FOR_EACH_ROW(row) for (const struct row *row = rows; row < rows + WHEN_KEY_MAX; row++)

void when_init(struct when *w)
{
	*w = (struct when){ 0 };
	FOR_EACH_ROW (row)
		if (row->words)
			*(unsigned *)((char *)w + row->value) = row->otherwise;
}

void when_clear(struct when *w)
{
	FOR_EACH_ROW (row)
		if (row->kind->clear)
			row->kind->clear((char *)w + row->value);
	*w = (struct when){ 0 };
}

static const struct row *find_row(const struct yaml_node *key)
{
	const struct row *row = rows;

	while (!streq(row->name, key->text)) /* parse_map() has seen to it that there is one */
		row++;
	return row;
}

static int parse_entry(struct parse *p, const struct yaml_node *key, const struct yaml_node *item,
		       void *when)
{
	const struct row *row = find_row(key);

	return row->kind->parse(p, row, item, (char *)when + row->value);
}

static int parse_key(struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
		     void *when)
{
	const struct row *row = find_row(key);

	*(bool *)((char *)when + row->given) = true;
	if (row->words) /* replaces what holds when the key is not given */
		*(unsigned *)(void *)((char *)when + row->value) = 0;
	return parse_each_scalar(p, key, value, parse_entry, when);
}

int when_parse(struct parse *p, const struct yaml_node *key, const struct yaml_node *map,
	       void *when)
{
	struct key keys[WHEN_KEY_MAX];

	(void)key;
	if (yaml_is_null(map))
		return 0;
	for (int k = 0; k < WHEN_KEY_MAX; k++)
		keys[k] = (struct key){ .name = rows[k].name, .parse = parse_key };
	return parse_map(p, map, "'when'", keys, ARRAY_SIZE(keys), when);
}

const char *when_key_name(enum when_key key)
{
	return rows[key].name;
}

bool when_key_is_remote(enum when_key key)
{
	return rows[key].end == REMOTE;
}

/* Prints the given keys.  keys: BIT(enum when_key) */
static char *print_keys(const struct when *w, unsigned keys)
{
	const char *separator = "";
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return NULL;
	FOR_EACH_ROW (row) {
		if (!(keys & BIT(row - rows)))
			continue;
		fprintf(to, "%s%s ", separator, row->name);
		row->kind->print(row, value_of(row, w), to);
		separator = "; ";
	}
	if (fclose(to) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

char *when_text(const struct when *w)
{
	return print_keys(w, when_keys(w) & ~BIT(WHEN_DIRECTION));
}

char *when_key_text(const struct when *w, enum when_key key)
{
	return print_keys(w, BIT(key));
}

/* Given keys count beside their values: a rule that says `listen` gives a listener more than one
 * without a direction, and an empty list holds for nothing. */
uint32_t when_digest(const struct when *w)
{
	uint32_t h = DIGEST_START;

	FOR_EACH_ROW (row) {
		h = digest_number(h, is_given(row, w));
		if (is_given(row, w))
			h = digest_number(h, row->kind->digest(value_of(row, w)));
	}
	return h;
}

static bool key_holds(const struct row *row, const struct when *w, const struct connection *c)
{
	if (!row->end)
		return row->holds(w, c);
	return !is_given(row, w) ||
	       ranges_hold(value_of(row, w), row->end == REMOTE ? &c->remote : &c->local);
}

enum when_key when_fails(const struct when *w, const struct connection *c)
{
	FOR_EACH_ROW (row)
		if (!key_holds(row, w, c))
			return (enum when_key)(row - rows);
	return WHEN_KEY_MAX;
}

/* Does the key hold for everything for which it holds when it is not given? */
static bool is_open(const struct row *row, const struct when *w)
{
	if (row->words)
		return !(row->otherwise & ~*(const unsigned *)value_of(row, w));
	return !is_given(row, w);
}

unsigned when_keys(const struct when *w)
{
	unsigned keys = 0;

	FOR_EACH_ROW (row)
		if (is_given(row, w))
			keys |= BIT(row - rows);
	return keys;
}

bool when_is_empty(const struct when *w)
{
	FOR_EACH_ROW (row)
		if (row != &rows[WHEN_DIRECTION] && !is_open(row, w))
			return false;
	return true;
}

static bool key_may_hold(const struct row *row, const struct when *w, const struct stage *s)
{
	if (!row->end)
		return row->may_hold(w, s);
	return !is_given(row, w) || (row->end == REMOTE ? s->has_remote : s->has_local);
}

bool when_is_open(const struct when *w)
{
	FOR_EACH_ROW (row)
		if ((row->end || row == &rows[WHEN_DIRECTION]) && !is_open(row, w))
			return true;
	return false;
}

bool when_may_hold(const struct when *w, const struct stage *s)
{
	if (s->is_socket && when_is_open(w))
		return false; /* see stage_rule_may_hold() */
	FOR_EACH_ROW (row)
		if (!key_may_hold(row, w, s))
			return false;
	return true;
}

bool when_depends(const struct when *w, const struct stage *s)
{
	if (s->transport == TRANSPORT_UNIX) /* these have nothing to look up */
		return false;
	if (s->transport == TRANSPORT_LOCAL)
		return (UNIX | SOCKET_ONLY) & ~w->families;
	if (s->is_socket) /* an IPv6 socket may have an IPv4 peer */
		return when_is_open(w) ? !(when_ip_families(w) & SP_FAMILY_IPV4)
				       : !is_open(&rows[WHEN_FAMILY], w);
	FOR_EACH_ROW (row)
		if ((row->end || row->looked_up) && !is_open(row, w))
			return true;
	return false;
}

const struct ranges *when_ranges(const struct when *w, enum sp_property property)
{
	FOR_EACH_ROW (row)
		if (row->end && row->property == property)
			return is_given(row, w) ? value_of(row, w) : NULL;
	return NULL;
}

enum when_key when_empty_key(const struct when *w)
{
	FOR_EACH_ROW (row)
		if ((is_given(row, w) || row->words) && row->kind->is_empty(value_of(row, w)))
			return (enum when_key)(row - rows);
	return WHEN_KEY_MAX;
}

static unsigned families_of(const struct ranges *list)
{
	unsigned families = 0;

	for (size_t i = 0; i < list->n && families != BOTH; i++)
		families |= list->v[i].kind == RANGE_IPV4   ? SP_FAMILY_IPV4
			    : list->v[i].kind == RANGE_IPV6 ? SP_FAMILY_IPV6
							    : BOTH;
	return families;
}

unsigned when_ip_families(const struct when *w)
{
	unsigned families = 0;

	if (w->families & BIT(SP_FAMILY_INDEX_IPV4))
		families |= SP_FAMILY_IPV4;
	if (w->families & BIT(SP_FAMILY_INDEX_IPV6))
		families |= SP_FAMILY_IPV6;
	FOR_EACH_ROW (row)
		if (row->end && is_given(row, w))
			families &= families_of(value_of(row, w));
	return families;
}

const char *when_contradiction(const struct when *w)
{
	FOR_EACH_ROW (row) {
		const char *why = NULL;

		if (row->end && is_given(row, w) && !(w->families & INET))
			return "only IP sockets have addresses and ports";
		if (row->contradiction && is_given(row, w))
			why = row->contradiction(w);
		if (why)
			return why;
	}
	if (!when_ip_families(w))
		return "its 'family', 'remote' and 'local' have no family in common";
	return "no socket is all that its 'when' asks for";
}
