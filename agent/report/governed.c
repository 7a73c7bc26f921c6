// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "report/governed.h"

/* The options of a policy, BIT(enum option_id), by stage. */
struct sets {
	uint64_t any[SP_STAGE_MAX];    /* decided by its base or by a rule */
	uint64_t always[SP_STAGE_MAX]; /* decided for every socket */
};

struct count {
	const struct generations *generations;
	struct sets *sets; /* by the policy's number */
	struct governed result;
};

static void read_sets(const struct generation_view *v, uint32_t number, struct sets *ret)
{
	const struct sp_policy *p = generation_view_at(v, MAP_ID_policies, number);

	for (int s = 0; s < SP_STAGE_MAX; s++) {
		const struct sp_stage_of *stage = &p->stage[s];
		uint64_t any = stage->options;

		for (uint32_t i = 0; i < (uint32_t)__builtin_popcountll(stage->acting); i++) {
			const struct sp_block *b =
				generation_view_at(v, MAP_ID_blocks, stage->first_block + i);

			any |= b ? b->options : 0;
		}
		ret->any[s] = any;
		ret->always[s] = stage->options;
	}
}

/* Goes from the strongest policy down: does anything remain for the next to decide? */
static void judge(struct count *c, const struct glob_list *list)
{
	uint64_t decided[SP_STAGE_MAX] = { 0 };

	for (uint32_t i = list->n; i-- > 0;) {
		struct governed_policy *p = &c->result.v[list->number[i]];
		const struct sets *sets = &c->sets[list->number[i]];

		p->n_cgroups++;
		for (int s = 0; s < SP_STAGE_MAX; s++) {
			p->is_effective |= (sets->any[s] & ~decided[s]) != 0;
			p->sets_something |= sets->any[s] != 0;
			decided[s] |= sets->always[s];
		}
	}
}

static int count_cgroup(const char *path, uint64_t id, void *userdata)
{
	struct count *c = userdata;
	struct glob_list list;
	int r = generations_list_in_force(c->generations, path, &list);

	(void)id;
	for (uint32_t i = 0; i < list.n && r == 0; i++)
		if (list.number[i] >= c->result.n)
			r = -EPROTO;
	if (r < 0)
		return r;
	c->result.n_cgroups++;
	c->result.n_governed += list.n != 0;
	judge(c, &list);
	return 0;
}

int governed_read(const struct generations *g, struct governed *ret)
{
	const uint32_t n = generation_view_n_policies(&g->in_force);
	_cleanup_free_ struct sets *sets = calloc(n + 1, sizeof(*sets));
	struct count c = { g, sets, { .v = calloc(n + 1, sizeof(*c.result.v)), .n = n } };
	int r = sets && c.result.v ? 0 : -ENOMEM;

	for (uint32_t i = 1; i < n && r == 0; i++)
		read_sets(&g->in_force, i, &sets[i]);
	if (r == 0 && g->root)
		r = living_each(g->mount, g->root, count_cgroup, &c);
	if (r < 0)
		governed_clear(&c.result);
	else
		*ret = c.result;
	return r;
}

void governed_clear(struct governed *g)
{
	free(g->v);
	*g = (struct governed){ 0 };
}

bool governed_is_overridden(const struct governed_policy *p)
{
	return p->sets_something && !p->is_effective;
}

static bool is_within(const struct sets *sets, const uint64_t once[], const uint64_t twice[])
{
	uint64_t any = 0;

	for (int s = 0; s < SP_STAGE_MAX; s++) {
		uint64_t others = twice[s] | (once[s] & ~sets->always[s]);

		any |= sets->any[s];
		if (sets->any[s] & ~others)
			return false;
	}
	return any;
}

bool governed_may_be_overridden(const struct generations *g)
{
	const uint32_t n = generation_view_n_policies(&g->in_force);
	uint64_t once[SP_STAGE_MAX] = { 0 },
		 twice[SP_STAGE_MAX] = { 0 }; /* by a policy; by several */
	struct sets sets;

	for (uint32_t i = 1; i < n; i++) {
		read_sets(&g->in_force, i, &sets);
		for (int s = 0; s < SP_STAGE_MAX; s++) {
			twice[s] |= once[s] & sets.always[s];
			once[s] |= sets.always[s];
		}
	}
	for (uint32_t i = 1; i < n; i++) {
		read_sets(&g->in_force, i, &sets);
		if (is_within(&sets, once, twice))
			return true;
	}
	return false;
}

struct search {
	const struct generations *generations;
	uint32_t number;
	living_fn *fn;
	void *userdata;
};

static int find_policy(const char *path, uint64_t id, void *userdata)
{
	const struct search *s = userdata;
	struct glob_list list;
	int r = generations_list_in_force(s->generations, path, &list);

	for (uint32_t i = 0; i < list.n && r == 0; i++)
		if (list.number[i] == s->number)
			return s->fn(path, id, s->userdata);
	return r;
}

int governed_each(const struct generations *g, uint32_t number, living_fn *fn, void *userdata)
{
	struct search s = { g, number, fn, userdata };

	return g->root ? living_each(g->mount, g->root, find_policy, &s) : 0;
}
