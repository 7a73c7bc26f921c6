// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "report/change_set.h"
#include "policy/stage.h"

static bool same_text(const char *a, const char *b)
{
	return a && b ? streq(a, b) : a == b;
}

static bool same_side(const struct in_force_side *a, const struct in_force_side *b)
{
	return same_text(a->value, b->value) && same_text(a->policy, b->policy) &&
	       same_text(a->rule, b->rule);
}

static bool is_unset(const struct in_force_side *s)
{
	return s->value && streq(s->value, "unset");
}

/* Do both sides speak for the same rule, or both for base options, of whichever policy? */
static bool same_speaker(const struct in_force_side *a, const struct in_force_side *b)
{
	return same_text(a->rule, b->rule) && is_unset(a) == is_unset(b) &&
	       (!a->rule || streq(a->policy, b->policy));
}

static const struct in_force_side *speaker(const struct change *c)
{
	return c->to->value ? c->to : c->from;
}

static bool same_where(const struct change *a, const struct change *b)
{
	return memcmp(a->where, b->where, sizeof(a->where)) == 0;
}

/* Finds the other half of a move: an option that is decided at another hook than before is one
 * difference at the old hook and one at the new. */
static struct change *find_other_half(struct change_set *set, const struct change *c)
{
	for (size_t i = 0; i < set->n; i++) {
		struct change *other = &set->v[i];

		if (other->option == c->option && same_where(other, c) &&
		    same_speaker(speaker(other), speaker(c)))
			return other;
	}
	return NULL;
}

static int add_difference(struct change_set *set, const struct in_force_difference *d)
{
	const struct stage *s = &stage_table[d->stage];
	struct change c = { .option = d->option, .from = &d->kernel, .to = &d->files };
	struct change *other;

	c.also = d->also;
	c.where[s->direction] = BIT(s->transport);
	other = find_other_half(set, &c);
	if (!other) {
		if (GROW(set->v, set->n) < 0)
			return -ENOMEM;
		set->v[set->n++] = c;
		return 0;
	}
	if (!other->from->value)
		other->from = c.from;
	if (!other->to->value)
		other->to = c.to;
	if (!other->also)
		other->also = c.also;
	return 0;
}

static bool same_change(const struct change *a, const struct change *b)
{
	return a->option == b->option && same_side(a->from, b->from) && same_side(a->to, b->to) &&
	       same_text(a->also, b->also);
}

/* Joins changes that differ only in where they apply. */
static void join_directions(struct change_set *set)
{
	size_t n = 0;

	for (size_t i = 0; i < set->n; i++) {
		struct change *to = set->v;

		while (to < set->v + n && !same_change(to, &set->v[i]))
			to++;
		if (to == set->v + n) {
			set->v[n++] = set->v[i];
			continue;
		}
		for (int d = 0; d < DIRECTION_MAX; d++)
			to->where[d] |= set->v[i].where[d];
	}
	set->n = n;
}

static int compare_texts(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) : (a != NULL) - (b != NULL);
}

static int compare_sides(const struct in_force_side *a, const struct in_force_side *b)
{
	int order = compare_texts(a->policy, b->policy);

	if (order == 0)
		order = compare_texts(a->rule, b->rule);
	return order ? order : compare_texts(a->value, b->value);
}

/* A total order, so that equal sets list their changes in the same order. */
static int compare_changes(const void *a, const void *b)
{
	const struct change *x = a, *y = b;
	int order = (x->option > y->option) - (x->option < y->option);

	if (order == 0)
		order = compare_sides(x->to, y->to);
	if (order == 0)
		order = compare_sides(x->from, y->from);
	return order ? order : memcmp(x->where, y->where, sizeof(x->where));
}

int change_set_make(struct in_force *f, struct change_set *ret)
{
	struct change_set set = { .in_force = *f };

	*f = (struct in_force){ 0 };
	for (size_t i = 0; i < set.in_force.n; i++) {
		if (add_difference(&set, &set.in_force.v[i]) < 0) {
			change_set_clear(&set);
			return -ENOMEM;
		}
	}
	for (size_t i = 0; i < set.n; i++)
		if (!set.v[i].also && same_side(set.v[i].from, set.v[i].to))
			set.v[i].also = "hook";
	join_directions(&set);
	if (set.n)
		qsort(set.v, set.n, sizeof(*set.v), compare_changes);
	*ret = set;
	return 0;
}

bool change_set_is_empty(const struct change_set *c)
{
	return !in_force_differs(&c->in_force);
}

void change_set_clear(struct change_set *c)
{
	in_force_clear(&c->in_force);
	free(c->v);
	*c = (struct change_set){ 0 };
}

static const char *transport_name(int t)
{
	static const char *const names[] = {
		[TRANSPORT_TCP] = "tcp",
		[TRANSPORT_UDP] = "udp",
		[TRANSPORT_UNIX] = "unix",
	};

	return names[t];
}

#define TRANSPORT_MAX (TRANSPORT_UNIX + 1)

static void print_side(const struct in_force_side *s, FILE *to)
{
	if (is_unset(s))
		fputs("left alone", to);
	else
		fputs(s->value ? s->value : "not set", to);
	if (s->policy)
		fprintf(to, " by %s", s->policy);
	if (s->rule)
		fprintf(to, ", rule %s", s->rule);
}

/* Prints the directions; the transports are named unless TCP is among them. */
static void print_where(const struct change *c, FILE *to)
{
	const char *separator = " at ";

	for (int d = 0; d < DIRECTION_MAX; d++) {
		const char *comma = " of ";

		if (!c->where[d])
			continue;
		fprintf(to, "%s%s", separator, direction_name((enum direction)d));
		separator = ", ";
		for (int t = 0; t < TRANSPORT_MAX && !(c->where[d] & BIT(TRANSPORT_TCP)); t++) {
			if (!(c->where[d] & BIT(t)))
				continue;
			fprintf(to, "%s%s", comma, transport_name(t));
			comma = " and ";
		}
	}
}

static void print_change(const struct change *c, FILE *to)
{
	fprintf(to, "    %s: ", c->option->name);
	print_side(c->from, to);
	if (!same_side(c->from, c->to)) {
		fputs(" -> ", to);
		print_side(c->to, to);
	}
	print_where(c, to);
	if (c->also)
		fprintf(to, ", with another %s", c->also);
	fputc('\n', to);
}

void change_set_print(const struct change_set *c, FILE *to)
{
	names_print(&c->in_force.come, "    policies that come:", to);
	names_print(&c->in_force.go, "    policies that go:", to);
	if (c->in_force.other_order)
		fputs("    policies in another order\n", to);
	for (size_t i = 0; i < c->n; i++)
		print_change(&c->v[i], to);
}

static json_t *side_json(const struct in_force_side *s)
{
	if (!s->value)
		return json_null();
	return json_pack("{s:s, s:s?, s:s?}", "value", s->value, "policy", s->policy, "rule",
			 s->rule);
}

static json_t *where_json(const struct change *c)
{
	json_t *where = json_array();

	for (int d = 0; d < DIRECTION_MAX; d++)
		for (int t = 0; t < TRANSPORT_MAX; t++)
			if (c->where[d] & BIT(t))
				json_array_append_new(where,
						      json_pack("{s:s, s:s}", "direction",
								direction_name((enum direction)d),
								"transport", transport_name(t)));
	return where;
}

json_t *change_set_json(const struct change_set *c)
{
	json_t *changes = json_array();

	for (size_t i = 0; i < c->n; i++) {
		const struct change *one = &c->v[i];

		json_array_append_new(changes,
				      json_pack("{s:s, s:o, s:o, s:o, s:s?}", "option",
						one->option->name, "from", side_json(one->from),
						"to", side_json(one->to), "where", where_json(one),
						"also", one->also));
	}
	return json_pack("{s:o, s:o, s:b, s:o}", "come", names_json(&c->in_force.come), "go",
			 names_json(&c->in_force.go), "other_order", c->in_force.other_order,
			 "changes", changes);
}
