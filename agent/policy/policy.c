// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>

#include "policy/policy.h"

const char *const application_words[] = {
	[APPLICATION_UNSAID] = "",   [APPLICATION_OVERRIDE] = "override",
	[APPLICATION_HOLD] = "hold", [APPLICATION_RESPECT] = "respect",
	[APPLICATION_DENY] = "deny",
};
static_assert(ARRAY_SIZE(application_words) == APPLICATION_MAX, "a word for each");

const char *const on_failure_words[] = {
	[ON_FAILURE_UNSAID] = "",
	[ON_FAILURE_CONTINUE] = "continue",
	[ON_FAILURE_REFUSE] = "refuse",
};
static_assert(ARRAY_SIZE(on_failure_words) == ON_FAILURE_MAX, "a word for each");

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

bool setting_may_have(const struct setting *s, enum application a)
{
	switch (a) {
	case APPLICATION_HOLD:
		return option_can_be_held(s->option) && !s->range.is_given;
	case APPLICATION_RESPECT:
		return option_can_be_held(s->option);
	case APPLICATION_DENY:
		return s->option->deniable && !s->range.is_given;
	default:
		return true;
	}
}

/* of_rule, on_failure: what the block's own rule says, if it is one. */
static void settings_resolve(struct settings *settings, const struct policy *p,
			     enum application of_rule, enum on_failure on_failure)
{
	if (on_failure == ON_FAILURE_UNSAID)
		on_failure = p->on_failure;
	for (size_t i = 0; i < settings->n; i++) {
		struct setting *s = &settings->v[i];
		const enum application said[] = { s->said, of_rule, p->application };

		s->application = APPLICATION_OVERRIDE;
		if (s->unset)
			continue;
		for (size_t j = ARRAY_SIZE(said); j--;)
			if (said[j] != APPLICATION_UNSAID && setting_may_have(s, said[j]))
				s->application = said[j];
		s->refuse = on_failure == ON_FAILURE_REFUSE;
		s->apply = p->apply_existing;
	}
}

void policy_resolve(struct policy *p)
{
	settings_resolve(&p->base, p, APPLICATION_UNSAID, ON_FAILURE_UNSAID);
	for (size_t i = 0; i < p->n_rules; i++) {
		struct rule *r = &p->rules[i];

		settings_resolve(&r->options, p, r->application, r->on_failure);
	}
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
