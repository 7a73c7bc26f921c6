// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "policy/condition.h"
#include "policy/when_parse.h"

#define ENTRIES_MAX 4 /* that are told of one list */
#define INET	    (BIT(SP_FAMILY_INDEX_IPV4) | BIT(SP_FAMILY_INDEX_IPV6))

static void print_words(unsigned bits, const char *const *names, size_t n, FILE *to)
{
	const char *separator = "";

	for (size_t i = 0; i < n; i++) {
		if (!(bits & BIT(i)))
			continue;
		fprintf(to, "%s%s", separator, names[i]);
		separator = ", ";
	}
}

static void print_directions(const struct when *w, FILE *to)
{
	const char *names[DIRECTION_MAX];

	for (int d = 0; d < DIRECTION_MAX; d++)
		names[d] = direction_name((enum direction)d);
	print_words(w->directions, names, DIRECTION_MAX, to);
}

static void print_protocols(const struct when *w, FILE *to)
{
	const char *names[PROTOCOL_MAX];

	for (int i = 0; i < PROTOCOL_MAX; i++)
		names[i] = protocol_word((enum protocol)i);
	print_words(w->protocols, names, PROTOCOL_MAX, to);
}

static void print_families(const struct when *w, FILE *to)
{
	const char *names[SP_FAMILY_INDEX_MAX];

	for (int i = 0; i < SP_FAMILY_INDEX_MAX; i++)
		names[i] = family_word((enum sp_family)i);
	print_words(w->families, names, SP_FAMILY_INDEX_MAX, to);
}

static void print_rest(size_t n, FILE *to)
{
	if (n > ENTRIES_MAX)
		fprintf(to, " and %zu more", n - ENTRIES_MAX);
}

static void print_prefixes(const struct prefixes *list, FILE *to)
{
	for (size_t i = 0; i < list->n && i < ENTRIES_MAX; i++) {
		char text[PREFIX_TEXT_SIZE];

		fprintf(to, "%s%s", i ? ", " : "", prefix_format(&list->v[i], text));
	}
	print_rest(list->n, to);
}

static void print_ports(const struct port_ranges *list, FILE *to)
{
	for (size_t i = 0; i < list->n && i < ENTRIES_MAX; i++) {
		const struct port_range *range = &list->v[i];

		fprintf(to, "%s%u", i ? ", " : "", range->first);
		if (range->last != range->first)
			fprintf(to, "-%u", range->last);
	}
	print_rest(list->n, to);
}

static void print_remote(const struct when *w, FILE *to)
{
	print_prefixes(&w->remote, to);
}

static void print_local(const struct when *w, FILE *to)
{
	print_prefixes(&w->local, to);
}

static void print_remote_ports(const struct when *w, FILE *to)
{
	print_ports(&w->remote_port, to);
}

static void print_local_ports(const struct when *w, FILE *to)
{
	print_ports(&w->local_port, to);
}

static const struct condition_key {
	const char *name;
	size_t given; /* offset of the flag in struct when */
	void (*print)(const struct when *w, FILE *to);
} condition_keys[] = {
	{ "direction", offsetof(struct when, has_direction), print_directions },
	{ "protocol", offsetof(struct when, has_protocol), print_protocols },
	{ "family", offsetof(struct when, has_family), print_families },
	{ "remote", offsetof(struct when, has_remote), print_remote },
	{ "remote_port", offsetof(struct when, has_remote_port), print_remote_ports },
	{ "local", offsetof(struct when, has_local), print_local },
	{ "local_port", offsetof(struct when, has_local_port), print_local_ports },
};

static bool is_given(const struct when *w, const struct condition_key *key)
{
	return *(const bool *)((const char *)w + key->given);
}

/* The keys for which wanted() says so. */
static char *print_keys(const struct when *w,
			bool (*wanted)(const struct when *w, const struct condition_key *key,
				       const char *name),
			const char *name)
{
	const char *separator = "";
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(condition_keys); i++) {
		if (!wanted(w, &condition_keys[i], name))
			continue;
		fprintf(to, "%s%s ", separator, condition_keys[i].name);
		condition_keys[i].print(w, to);
		separator = "; ";
	}
	if (fclose(to) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

static bool is_given_but(const struct when *w, const struct condition_key *key, const char *name)
{
	return is_given(w, key) && !streq(key->name, name);
}

static bool is_named(const struct when *w, const struct condition_key *key, const char *name)
{
	(void)w;
	return streq(key->name, name);
}

char *condition_text(const struct when *w)
{
	return print_keys(w, is_given_but, "direction");
}

char *condition_key_text(const struct when *w, const char *key)
{
	return print_keys(w, is_named, key);
}

bool condition_is_empty(const struct when *w)
{
	return (w->families & INET) == INET && w->protocols == BIT(PROTOCOL_MAX) - 1 &&
	       !w->has_remote && !w->has_local && !w->has_remote_port && !w->has_local_port;
}

#define HASH_START 2166136261u

/* FNV-1a */
static uint32_t hash_byte(uint32_t h, unsigned char byte)
{
	return (h ^ byte) * 16777619u;
}

static uint32_t hash_number(uint32_t h, uint32_t n)
{
	for (unsigned shift = 0; shift < 32; shift += 8)
		h = hash_byte(h, (unsigned char)(n >> shift));
	return h;
}

/* The sum is the same in whatever order the entries come. */
static uint32_t digest_prefixes(bool given, const struct prefixes *list)
{
	uint32_t sum = given ? 1 : 0;

	for (size_t i = 0; i < list->n; i++) {
		const struct prefix *p = &list->v[i];
		uint32_t h = hash_number(HASH_START, (p->v4 ? 256 : 0) + p->length);

		for (size_t byte = 0; byte < (p->v4 ? 4 : sizeof(p->address)); byte++)
			h = hash_byte(h, p->address[byte]);
		sum += h;
	}
	return sum;
}

static uint32_t digest_ports(bool given, const struct port_ranges *list)
{
	uint32_t sum = given ? 1 : 0;

	for (size_t i = 0; i < list->n; i++)
		sum += hash_number(HASH_START, (uint32_t)list->v[i].first << 16 | list->v[i].last);
	return sum;
}

uint32_t condition_digest(const struct when *w)
{
	uint32_t h = HASH_START;

	/* A rule that says `listen` gives a listener more than one that says nothing. */
	h = hash_number(h, w->has_direction ? w->directions : 0);
	h = hash_number(h, w->has_protocol ? w->protocols : 0);
	h = hash_number(h, w->families);
	h = hash_number(h, digest_prefixes(w->has_remote, &w->remote));
	h = hash_number(h, digest_prefixes(w->has_local, &w->local));
	h = hash_number(h, digest_ports(w->has_remote_port, &w->remote_port));
	return hash_number(h, digest_ports(w->has_local_port, &w->local_port));
}
