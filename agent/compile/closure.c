// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "compile/closure.h"
#include "base/pair_set.h"
#include "compile/reach.h"

/* Bounds on the time and memory that it takes, -EXFULL beyond them; see also STEPS_MAX. */
#define PAIRS_MAX    ((size_t)4 * STEPS_MAX)
#define CHILDREN_MAX ((size_t)64 * STEPS_MAX)

/* A kind of cgroup whose children are to be looked at. */
struct kind {
	uint32_t state;
	const struct cgroup_class *class;
};

struct closure {
	struct machine *machine;
	struct cascade *cascade;
	struct policy_maps *policies;
	struct steps *steps;
	struct pair_set seen; /* future of the state, class */
	struct kind *queue;
	size_t n, next;
	size_t n_steps, n_children;
	struct kernel_sizes living; /* what the maps hold for those that were placed first */
	bool started, cut;
	struct reach beyond; /* where it was cut */
};

int closure_new(struct machine *m, struct cascade *c, struct policy_maps *policies,
		struct steps *steps, struct closure **ret)
{
	struct closure *closure = calloc(1, sizeof(*closure));

	if (!closure)
		return -ENOMEM;
	closure->machine = m;
	closure->cascade = c;
	closure->policies = policies;
	closure->steps = steps;
	closure->beyond.machine = m;
	*ret = closure;
	return 0;
}

void closure_free(struct closure *c)
{
	pair_set_clear(&c->seen);
	reach_clear(&c->beyond);
	free(c->queue);
	free(c);
}

int closure_add(struct closure *c, uint32_t state, const struct cgroup_class *k)
{
	uint32_t future = machine_future(c->machine, state),
		 class = (uint32_t)cascade_class_index(k) + 1;
	int r;

	if (c->cut || c->seen.n >= PAIRS_MAX) {
		c->cut = true;
		return pair_set_has(&c->seen, future, class) ? 0 : reach_below(&c->beyond, state);
	}
	r = pair_set_add(&c->seen, future, class);
	if (r <= 0)
		return r;
	if (GROW(c->queue, c->n) < 0)
		return -ENOMEM;
	c->queue[c->n++] = (struct kind){ state, k };
	return 0;
}

static int resolve(struct closure *c, const struct cgroup_class *parent, uint32_t matches,
		   const struct cgroup_class **ret)
{
	struct matched matched = machine_matched(c->machine, matches);

	return cascade_apply(c->cascade, parent, &matched, ret);
}

/* Is what was written beyond the living more than it is worth? (Some 10 MB in a half.) */
static bool is_much(const struct closure *c)
{
	struct kernel_sizes now = { 0 };
	const struct kernel_sizes *living = &c->living;

	policy_maps_needed(c->policies, &now);
	return now.policies - living->policies > STEPS_MAX / 2 ||
	       now.ops - living->ops > 4 * STEPS_MAX ||
	       now.credits - living->credits > 4 * STEPS_MAX ||
	       now.tests - living->tests > 2 * STEPS_MAX ||
	       now.vectors - living->vectors > 8 * STEPS_MAX;
}

static int write_step(struct closure *c, const struct cgroup_class *parent, uint32_t matches,
		      const struct cgroup_class *k, const char **ret_what)
{
	uint32_t policy;
	int r;

	if (steps_has(c->steps, parent, matches))
		return 0;
	r = policy_maps_index(c->policies, cascade_effective(k), &policy, ret_what);
	return r < 0 ? r : steps_add(c->steps, parent, matches, k, policy, ret_what);
}

int closure_step(struct closure *c, const struct cgroup_class *parent, uint32_t matches,
		 const char **ret_what)
{
	const struct cgroup_class *k;
	int r = resolve(c, parent, matches, &k);

	return r < 0 ? r : write_step(c, parent, matches, k, ret_what);
}

static int follow(struct closure *c, const struct kind *from, const struct machine_child *child,
		  const char **ret_what)
{
	const struct cgroup_class *k = from->class;
	int r = 0;

	if (child->matches) {
		/* The same comes from many kinds: it counts once. */
		if (!steps_has(c->steps, from->class, child->matches) &&
		    (c->n_steps++ == STEPS_MAX || is_much(c)))
			return -EXFULL;
		r = resolve(c, from->class, child->matches, &k);
		if (r == 0)
			r = write_step(c, from->class, child->matches, k, ret_what);
		if (r == -E2BIG) /* too many rules: said when such a cgroup comes */
			return 0;
	}
	return r < 0 ? r : closure_add(c, child->state, k);
}

static int follow_all(struct closure *c, const struct kind *from, const char **ret_what)
{
	const struct machine_child *children;
	size_t n;
	int r = machine_children(c->machine, from->state, &children, &n);

	if (r == -ENOSPC)
		return -EXFULL;
	for (size_t i = 0; i < n && r == 0; i++) {
		if (c->n_children++ == CHILDREN_MAX)
			return -EXFULL;
		r = follow(c, from, &children[i], ret_what);
	}
	return r;
}

/* Of a kind of which some children were followed and some not. */
static int cut_within(struct closure *c, const struct kind *from)
{
	const struct machine_child *children;
	size_t n;
	int r = machine_children(c->machine, from->state, &children, &n);

	if (r == -ENOSPC)
		return reach_below(&c->beyond, from->state);
	for (size_t i = 0; i < n && r == 0; i++) {
		if (!steps_has(c->steps, from->class, children[i].matches))
			r = reach_matches(&c->beyond, children[i].matches);
		if (r == 0)
			r = reach_below(&c->beyond, children[i].state);
	}
	return r;
}

/* What is still queued is not followed. */
static int cut_queue(struct closure *c)
{
	int r = 0;

	for (; c->next < c->n && r == 0; c->next++)
		r = reach_below(&c->beyond, c->queue[c->next].state);
	return r;
}

int closure_run(struct closure *c, const char **ret_what)
{
	int r = 0;

	*ret_what = "memory";
	if (!c->started)
		policy_maps_needed(c->policies, &c->living);
	c->started = true;
	while (c->next < c->n && !c->cut && r == 0) {
		struct kind from = c->queue[c->next];

		r = follow_all(c, &from, ret_what);
		c->next += r == 0 || r == -EXFULL;
		if (r == -EXFULL) {
			c->cut = true;
			r = cut_within(c, &from);
		}
	}
	if (r == 0 && c->cut)
		r = cut_queue(c);
	if (r == 0) {
		free(c->queue);
		c->queue = NULL;
		c->n = c->next = 0;
	}
	return r;
}

bool closure_is_cut(const struct closure *c)
{
	return c->cut;
}

bool closure_cuts(const struct closure *c, size_t policy)
{
	return reach_has(&c->beyond, policy);
}

size_t closure_n_cut(const struct closure *c)
{
	return reach_n(&c->beyond);
}
