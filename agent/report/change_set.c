// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "report/change_set.h"
#include "policy/stage.h"

#define TRANSPORT_MAX (TRANSPORT_UNIX + 1)

static const char *const transport_names[] = {
	[TRANSPORT_TCP] = "tcp",
	[TRANSPORT_UDP] = "udp",
	[TRANSPORT_UNIX] = "unix",
};

/* One option that changes in the same way for all sockets in `where`. */
struct change {
	const struct option *option;
	unsigned where[DIRECTION_MAX]; /* BIT(enum transport) */
	const json_t *from, *to;       /* sides of the comparison's */
	const char *also; /* what changes beside the two sides: "condition", "order", "hook" (when
			     it is set); or NULL */
};

struct changes {
	struct change *v;
	size_t n;
};

static bool same_text(const char *a, const char *b)
{
	return a && b ? streq(a, b) : a == b;
}

static bool same_member(const json_t *a, const json_t *b, const char *key)
{
	return same_text(document_text(a, key), document_text(b, key));
}

static bool is_unset(const json_t *side)
{
	const char *value = document_text(side, "value");

	return value && streq(value, "unset");
}

/* Do both sides speak for the same rule, or both for base options, of whichever policy? */
static bool same_speaker(const json_t *a, const json_t *b)
{
	return same_member(a, b, "rule") && is_unset(a) == is_unset(b) &&
	       (!document_text(a, "rule") || same_member(a, b, "policy"));
}

static const json_t *speaker(const struct change *c)
{
	return json_is_null(c->to) ? c->from : c->to;
}

/* Finds the other half of a move: an option that is decided at another hook than before is one
 * difference at the old hook and one at the new. */
static struct change *find_other_half(struct changes *all, const struct change *c)
{
	for (size_t i = 0; i < all->n; i++) {
		struct change *other = &all->v[i];

		if (other->option == c->option &&
		    memcmp(other->where, c->where, sizeof(c->where)) == 0 &&
		    same_speaker(speaker(other), speaker(c)))
			return other;
	}
	return NULL;
}

static int add_difference(struct changes *all, const json_t *difference)
{
	const struct stage *s = &stage_table[stage_find(document_text(difference, "stage"))];
	struct change *other, c = {
		.option = option_find(document_text(difference, "option")),
		.from = json_object_get(difference, "in_force"),
		.to = json_object_get(difference, "files"),
		.also = document_text(difference, "also"),
	};

	c.where[s->direction] = BIT(s->transport);
	other = find_other_half(all, &c);
	if (!other) {
		if (GROW(all->v, all->n) < 0)
			return -ENOMEM;
		all->v[all->n++] = c;
		return 0;
	}
	if (json_is_null(other->from))
		other->from = c.from;
	if (json_is_null(other->to))
		other->to = c.to;
	if (!other->also)
		other->also = c.also;
	return 0;
}

static bool same_change(const struct change *a, const struct change *b)
{
	return a->option == b->option && json_equal(a->from, b->from) && json_equal(a->to, b->to) &&
	       same_text(a->also, b->also);
}

/* Joins changes that differ only in where they apply. */
static void join_directions(struct changes *all)
{
	size_t n = 0;

	for (size_t i = 0; i < all->n; i++) {
		struct change *to = all->v;

		while (to < all->v + n && !same_change(to, &all->v[i]))
			to++;
		if (to == all->v + n) {
			all->v[n++] = all->v[i];
			continue;
		}
		for (int d = 0; d < DIRECTION_MAX; d++)
			to->where[d] |= all->v[i].where[d];
	}
	all->n = n;
}

static int compare_sides(const json_t *a, const json_t *b)
{
	static const char *const keys[] = { "policy", "rule", "value" };
	int order = 0;

	for (size_t i = 0; i < ARRAY_SIZE(keys) && order == 0; i++) {
		const char *x = document_text(a, keys[i]), *y = document_text(b, keys[i]);

		order = x && y ? strcmp(x, y) : (x != NULL) - (y != NULL);
	}
	return order;
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

static json_t *where_json(const struct change *c)
{
	json_t *where = json_array();

	for (int d = 0; d < DIRECTION_MAX; d++)
		for (int t = 0; t < TRANSPORT_MAX; t++)
			if (c->where[d] & BIT(t))
				where = document_append(where,
							json_pack("{s:s, s:s}", "direction",
								  direction_name((enum direction)d),
								  "transport", transport_names[t]));
	return where;
}

static json_t *changes_json(const struct changes *all)
{
	json_t *changes = json_array();

	for (size_t i = 0; i < all->n; i++) {
		const struct change *c = &all->v[i];

		changes = document_append(changes,
					  json_pack("{s:s, s:O, s:O, s:o, s:s?}", "option",
						    c->option->name, "from", c->from, "to", c->to,
						    "where", where_json(c), "also", c->also));
	}
	return changes;
}

json_t *change_set_new(const json_t *in_force)
{
	struct changes all = { 0 };
	json_t *set = NULL;
	const json_t *difference;
	size_t i;

	json_array_foreach (json_object_get(in_force, "differences"), i, difference)
		if (add_difference(&all, difference) < 0)
			goto out;
	for (i = 0; i < all.n; i++)
		if (!all.v[i].also && json_equal(all.v[i].from, all.v[i].to))
			all.v[i].also = "hook";
	join_directions(&all);
	if (all.n)
		qsort(all.v, all.n, sizeof(*all.v), compare_changes);
	set = json_pack("{s:O, s:O, s:O, s:o}", "come", json_object_get(in_force, "come"), "go",
			json_object_get(in_force, "go"), "other_order",
			json_object_get(in_force, "other_order"), "changes", changes_json(&all));
out:
	free(all.v);
	return set;
}

/* Prints the directions; the transports are named unless TCP is among them. */
static void print_where(const json_t *where, FILE *to)
{
	const char *separator = " at ", *last = "", *comma = "";
	bool of_tcp = false;
	const json_t *one;
	size_t i;

	json_array_foreach (where, i, one) {
		const char *direction = document_text(one, "direction"),
			   *transport = document_text(one, "transport");

		if (!streq(direction, last)) {
			fprintf(to, "%s%s", separator, direction);
			of_tcp = streq(transport, transport_names[TRANSPORT_TCP]);
			separator = ", ";
			comma = " of ";
			last = direction;
		}
		if (!of_tcp)
			fprintf(to, "%s%s", comma, transport);
		comma = " and ";
	}
}

static void print_change(const json_t *c, FILE *to)
{
	const json_t *from = json_object_get(c, "from"), *after = json_object_get(c, "to");
	const char *also = document_text(c, "also");

	fprintf(to, "    %s: ", document_text(c, "option"));
	in_force_print_side(from, "left alone", to);
	if (!json_equal(from, after)) {
		fputs(" -> ", to);
		in_force_print_side(after, "left alone", to);
	}
	print_where(json_object_get(c, "where"), to);
	if (also)
		fprintf(to, ", with another %s", also);
	fputc('\n', to);
}

void change_set_print(const json_t *set, FILE *to)
{
	const json_t *change;
	size_t i;

	document_print_names(json_object_get(set, "come"), "    policies that come:", to);
	document_print_names(json_object_get(set, "go"), "    policies that go:", to);
	if (document_is(set, "other_order"))
		fputs("    policies in another order\n", to);
	json_array_foreach (json_object_get(set, "changes"), i, change)
		print_change(change, to);
}
