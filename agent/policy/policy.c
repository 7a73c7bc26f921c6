// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>

#include "policy/policy.h"

const struct setting *settings_find(const struct settings *s, const struct option *o)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].option == o)
			return &s->v[i];
	return NULL;
}

bool patterns_match(const struct patterns *p, const char *path)
{
	for (size_t i = 0; i < p->n; i++)
		if (glob_match(p->v[i].glob, path))
			return true;
	return false;
}

void settings_clear(struct settings *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (!s->v[i].unset)
			sockopt_destroy(&s->v[i].value);
	free(s->v);
	*s = (struct settings){ 0 };
}

static const char *const protocol_words[] = {
	[PROTOCOL_TCP] = "tcp",
	[PROTOCOL_UDP] = "udp",
};
static_assert(ARRAY_SIZE(protocol_words) == PROTOCOL_MAX, "a word for each protocol");

const char *protocol_word(enum protocol p)
{
	return protocol_words[p];
}

static const char *const family_words[] = {
	[SP_FAMILY_INDEX_IPV4] = "ipv4",
	[SP_FAMILY_INDEX_IPV6] = "ipv6",
	[SP_FAMILY_INDEX_UNIX] = "unix",
};
static_assert(ARRAY_SIZE(family_words) == SP_FAMILY_INDEX_MAX, "a word for each family");

const char *family_word(enum sp_family f)
{
	return family_words[f];
}

void when_init(struct when *w)
{
	*w = (struct when){
		.directions = BIT(DIRECTION_MAX) - 1,
		.protocols = BIT(PROTOCOL_MAX) - 1,
		/* AF_UNIX sockets are governed only by rules that say so. */
		.families = BIT(SP_FAMILY_INDEX_IPV4) | BIT(SP_FAMILY_INDEX_IPV6),
	};
}

void when_clear(struct when *w)
{
	free(w->remote.v);
	free(w->local.v);
	free(w->remote_port.v);
	free(w->local_port.v);
	*w = (struct when){ 0 };
}

static void patterns_clear(struct patterns *p)
{
	for (size_t i = 0; i < p->n; i++)
		glob_free(p->v[i].glob);
	free(p->v);
	*p = (struct patterns){ 0 };
}

void policy_clear(struct policy *p)
{
	for (size_t i = 0; i < p->n_rules; i++) {
		free(p->rules[i].name);
		when_clear(&p->rules[i].when);
		settings_clear(&p->rules[i].options);
	}
	free(p->rules);
	free(p->name);
	free(p->description);
	patterns_clear(&p->match);
	patterns_clear(&p->exclude);
	settings_clear(&p->base);
	*p = (struct policy){ 0 };
}

struct config *config_new(void)
{
	return calloc(1, sizeof(struct config));
}

struct config *config_ref(const struct config *c)
{
	struct config *own = (struct config *)(uintptr_t)c;

	own->n_others++;
	return own;
}

void config_free(struct config *c)
{
	if (!c)
		return;
	if (c->n_others) {
		c->n_others--;
		return;
	}
	for (size_t i = 0; i < c->n_policies; i++)
		policy_clear(&c->policies[i]);
	free(c->policies);
	for (size_t i = 0; i < c->n_files; i++)
		free(c->files[i]);
	free(c->files);
	free(c->unsupported);
	free(c);
}
