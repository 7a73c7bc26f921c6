// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "compile.h"
#include "explanation.h"

static char *format_setting(const struct setting *s)
{
	return s->unset ? strdup("unset") : value_format(s->option, &s->value);
}

static const struct pattern *matching_pattern(const struct patterns *p, const char *path)
{
	for (size_t i = 0; i < p->n; i++)
		if (glob_match(p->v[i].glob, path))
			return &p->v[i];
	return NULL;
}

/* It applies, so that the root or a cgroup above `cgroup` or itself matches. */
static int explain_policy(const struct policy *p, const char *cgroup, struct explained_policy *ret)
{
	_cleanup_free_ char *path = strdup(cgroup);
	const struct pattern *pattern = matching_pattern(&p->match, "/");
	size_t depth = 0, at = 1;

	if (!path)
		return -ENOMEM;
	path[1] = '\0';
	while (!pattern && cgroup[at]) {
		size_t end = at + strcspn(cgroup + at, "/");

		memcpy(path, cgroup, end);
		path[end] = '\0';
		depth++;
		pattern = matching_pattern(&p->match, path);
		at = cgroup[end] ? end + 1 : end;
	}
	*ret = (struct explained_policy){
		.policy = p,
		.cgroup = TAKE_PTR(path),
		.depth = depth,
		.pattern = pattern,
	};
	return 0;
}

static int explain_policies(const struct effective *effective, struct explanation *e)
{
	e->policies = calloc(effective->n_policies, sizeof(*e->policies));
	if (!e->policies)
		return -ENOMEM;
	for (size_t i = 0; i < effective->n_policies; i++) {
		int r = explain_policy(effective->policies[i], e->cgroup, &e->policies[i]);

		if (r < 0)
			return r;
		e->n_policies++;
	}
	return 0;
}

/* Those of block `b` that wanted the option, in either spelling, and did not get it. */
static int add_losers(const struct block *b, struct explained_option *o)
{
	for (size_t i = 0; i < b->options->n; i++) {
		const struct setting *s = &b->options->v[i];
		struct explained_loser *loser;

		if (s == o->winner->setting ||
		    !options_rival(s->option, o->winner->setting->option))
			continue;
		if (GROW(o->losers, o->n_losers) < 0)
			return -ENOMEM;
		loser = &o->losers[o->n_losers++];
		*loser = (struct explained_loser){
			.block = b,
			.setting = s,
			.value = format_setting(s),
		};
		if (!loser->value)
			return -ENOMEM;
	}
	return 0;
}

static int explain_option(const struct effective *effective, const struct host *host,
			  struct explained_option *o)
{
	const struct setting *s = o->winner->setting;

	o->value = format_setting(s);
	if (!o->value)
		return -ENOMEM;
	if (!s->unset) {
		int r = value_result(s->option, &s->value, host, &o->result);

		if (r < 0)
			return r;
		o->stages = setting_stages(o->winner->block, s->option, o->direction);
	}
	for (size_t i = effective->n_blocks; i-- > 0;) {
		const struct block *b = &effective->blocks[i];

		if (block_holds(b, o->direction) && add_losers(b, o) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int explain_direction(const struct effective *effective, const struct host *host,
			     enum direction d, struct explanation *e)
{
	for (int id = 0; id < OPTION_MAX; id++) {
		const struct winner *w = &effective->winners[d][id];
		struct explained_option *o;
		int r;

		if (!w->block)
			continue;
		if (GROW(e->options, e->n_options) < 0)
			return -ENOMEM;
		o = &e->options[e->n_options++];
		*o = (struct explained_option){ .direction = d, .winner = w };
		r = explain_option(effective, host, o);
		if (r < 0)
			return r;
	}
	return 0;
}

static int fill(const struct effective *effective, const struct host *host, unsigned directions,
		struct explanation *e)
{
	int r = explain_policies(effective, e);

	for (int d = 0; d < DIRECTION_MAX && r == 0; d++)
		if (directions & BIT(d))
			r = explain_direction(effective, host, (enum direction)d, e);
	return r;
}

int explanation_make(struct cascade *c, const struct host *host, const char *cgroup,
		     unsigned directions, struct explanation *ret)
{
	struct explanation e = { .cgroup = strdup(cgroup) };
	const struct cgroup_class *k;
	int r = e.cgroup ? cascade_walk(c, cgroup, &k) : -ENOMEM;

	if (r == 0 && cascade_effective(k))
		r = fill(cascade_effective(k), host, directions, &e);
	if (r < 0) {
		explanation_clear(&e);
		return r;
	}
	*ret = e;
	return 0;
}

void explanation_clear(struct explanation *e)
{
	for (size_t i = 0; i < e->n_policies; i++)
		free(e->policies[i].cgroup);
	for (size_t i = 0; i < e->n_options; i++) {
		struct explained_option *o = &e->options[i];

		for (size_t l = 0; l < o->n_losers; l++)
			free(o->losers[l].value);
		free(o->losers);
		free(o->value);
		free(o->result.text);
	}
	free(e->policies);
	free(e->options);
	free(e->cgroup);
	in_force_clear(&e->in_force);
	*e = (struct explanation){ 0 };
}
