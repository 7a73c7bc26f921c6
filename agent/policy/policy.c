// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "policy/policy.h"

const struct setting *settings_find(const struct settings *s, const struct option *o)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].option == o)
			return &s->v[i];
	return NULL;
}

const struct setting *settings_find_rival(const struct settings *s, const struct option *o)
{
	for (size_t i = 0; i < s->n; i++)
		if (options_rival(s->v[i].option, o))
			return &s->v[i];
	return NULL;
}

const struct pattern *patterns_match(const struct patterns *p, const char *path)
{
	for (size_t i = 0; i < p->n; i++)
		if (glob_match(p->v[i].glob, path))
			return &p->v[i];
	return NULL;
}

void settings_clear(struct settings *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (!s->v[i].unset)
			sockopt_destroy(&s->v[i].value);
	free(s->v);
	*s = (struct settings){ 0 };
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

void config_drop_texts(struct config *c)
{
	for (size_t i = 0; i < c->n_files; i++) {
		free(c->files[i].text);
		c->files[i].text = NULL;
	}
}

void config_free(struct config *c)
{
	if (!c)
		return;
	config_drop_texts(c);
	for (size_t i = 0; i < c->n_policies; i++)
		policy_clear(&c->policies[i]);
	free(c->policies);
	for (size_t i = 0; i < c->n_files; i++)
		free(c->files[i].path);
	free(c->files);
	for (size_t i = 0; i < c->n_unsupported; i++)
		free(c->unsupported[i].what);
	free(c->unsupported);
	free(c);
}
