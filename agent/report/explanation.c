// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "report/explanation.h"

static const struct pattern *matching_pattern(const struct patterns *p, const char *path)
{
	for (size_t i = 0; i < p->n; i++)
		if (glob_match(p->v[i].glob, path))
			return &p->v[i];
	return NULL;
}

/* Explains a policy that applies, so the root, a cgroup above `cgroup` or `cgroup` itself
 * matches. */
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

static int explain_policies(struct explanation *e)
{
	const struct effective *effective = &e->effective;

	e->policies = calloc(effective->n_policies + 1, sizeof(*e->policies));
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

static int explain_options(const struct host *host, struct explanation *e)
{
	for (int d = 0; d < DIRECTION_MAX; d++) {
		for (size_t id = 0; id < OPTION_MAX; id++) {
			int r;

			if (!(e->asked.directions & BIT(d)) ||
			    is_second_spelling((enum option_id)id))
				continue;
			r = explanation_add_option(e, host, (enum direction)d, &option_table[id]);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int explain_rules(struct explanation *e)
{
	const struct effective *effective = &e->effective;

	for (size_t i = 0; i < effective->n_blocks && e->asked.connection; i++) {
		const struct block *b = &effective->blocks[i];
		const enum when_key key =
			b->rule ? asked_fails(&e->asked, &b->rule->when) : WHEN_KEY_MAX;
		struct explained_rule *rule;

		if (key == WHEN_KEY_MAX)
			continue;
		if (GROW(e->not_holding, e->n_not_holding) < 0)
			return -ENOMEM;
		rule = &e->not_holding[e->n_not_holding++];
		*rule = (struct explained_rule){
			.block = b,
			.key = when_key_name(key),
			.when = when_key_text(&b->rule->when, key),
			.unknown = asked_is_unknown(&e->asked, key),
		};
		if (!rule->when)
			return -ENOMEM;
	}
	return 0;
}

int explanation_make(const struct config *c, const struct host *host, const char *cgroup,
		     const struct asked *asked, struct explanation *ret)
{
	struct explanation e = { .cgroup = strdup(cgroup), .asked = *asked };
	int r = e.cgroup ? cascade_walk(c, cgroup, &e.effective) : -ENOMEM;

	if (r == 0)
		r = explain_policies(&e);
	if (r == 0)
		r = explain_options(host, &e);
	if (r == 0)
		r = explain_rules(&e);
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
	for (size_t i = 0; i < e->n_options; i++)
		explained_option_clear(&e->options[i]);
	for (size_t i = 0; i < e->n_not_holding; i++)
		free(e->not_holding[i].when);
	free(e->not_holding);
	free(e->policies);
	free(e->options);
	free(e->cgroup);
	in_force_clear(&e->in_force);
	effective_clear(&e->effective);
	*e = (struct explanation){ 0 };
}
