// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "report/in_force.h"

/* What the documents are made of; NULL when memory was out. */
struct comparison {
	json_t *differences, *come, *go;
	bool other_order; /* the policies that apply by both come in another order */
};

json_t *in_force_unknown(const char *why)
{
	return json_pack("{s:b, s:b, s:[], s:[], s:[], s:b, s:s}", "known", 0, "differs", 0,
			 "differences", "come", "go", "other_order", 0, "why", why);
}

static json_t *side_json(const struct contestant *c)
{
	if (!c->present)
		return json_null();
	return contestant_add(json_pack("{s:s, s:s?}", "policy", c->who->policy, "rule",
					c->who->rule[0] ? c->who->rule : NULL),
			      c);
}

static bool same_name(const struct contestant *a, const struct contestant *b)
{
	return streq(a->who->policy, b->who->policy) && streq(a->who->rule, b->who->rule);
}

static bool same_op(const struct contestant *a, const struct contestant *b)
{
	struct sp_op x, y;

	if (!a->op || !b->op)
		return a->op == b->op;
	x = *a->op;
	y = *b->op;
	x.counter = y.counter = 0; /* its name is compared */
	/* when it is set, other policies decide */
	x.flags &= (__u8)~SP_OP_CARE;
	y.flags &= (__u8)~SP_OP_CARE;
	/* what a new socket has is the host's affair, not the files' */
	if (a->option->type != OPTION_STRING && x.flags & (SP_OP_RANGE | SP_OP_RESPECT))
		x.bounds.fresh = y.bounds.fresh = 0;
	return memcmp(&x, &y, sizeof(x)) == 0;
}

static bool same(const struct contestant *a, const struct contestant *b)
{
	if (!a->present || !b->present)
		return a->present == b->present;
	return same_name(a, b) && same_op(a, b) && a->condition == b->condition;
}

static void add_difference(enum sp_stage s, const struct contestant *kernel,
			   const struct contestant *files, const char *also, struct comparison *c)
{
	const struct option *o = files->present ? files->option : kernel->option;

	c->differences = document_append(
		c->differences,
		json_pack("{s:s, s:s, s:o, s:o, s:s?}", "option", o->name, "stage", stage_name(s),
			  "in_force", side_json(kernel), "files", side_json(files), "also", also));
}

/* Returns what differs where two that differ say the same. */
static const char *what_differs(const struct contestant *kernel, const struct contestant *files)
{
	const unsigned flags = kernel->op && files->op ? kernel->op->flags ^ files->op->flags : 0;

	if (kernel->condition != files->condition)
		return "condition";
	return flags & SP_OP_REFUSE ? "on_failure" : flags & SP_OP_APPLY ? "existing" : "condition";
}

static void compare_contestants(enum sp_stage s, const struct contestant *kernel,
				const struct contestant *files, struct comparison *c)
{
	bool as_said;

	if (same(kernel, files))
		return;
	as_said = kernel->present && files->present && same_name(kernel, files) &&
		  contestants_say_same(kernel, files);
	add_difference(s, kernel, files, as_said ? what_differs(kernel, files) : NULL, c);
}

/* Returns the kernel's rule of this name that has no partner yet, or NULL. */
static struct contestant *find_partner(struct contest *kernel, const struct contestant *rule)
{
	for (size_t i = 0; i < kernel->n_rules; i++)
		if (kernel->rules[i].present && same_name(&kernel->rules[i], rule))
			return &kernel->rules[i];
	return NULL;
}

/* Compares rules by name; those that found a partner are no longer present. */
static void compare_rules(enum sp_stage s, struct contest *kernel, const struct contest *files,
			  struct comparison *c)
{
	const struct contestant nothing = { 0 }, *last = NULL;

	for (size_t i = 0; i < files->n_rules; i++) {
		const struct contestant *rule = &files->rules[i];
		struct contestant *partner = find_partner(kernel, rule);

		compare_contestants(s, partner ? partner : &nothing, rule, c);
		if (!partner)
			continue;
		if (last && partner < last)
			add_difference(s, partner, rule, "order", c);
		partner->present = false;
		last = partner;
	}
	for (size_t i = 0; i < kernel->n_rules; i++)
		if (kernel->rules[i].present)
			add_difference(s, &kernel->rules[i], &nothing, NULL, c);
}

static int compare_stage(struct generation_view *kernel, const struct glob_list *in_force,
			 struct generation_view *files, const struct glob_list *by_files,
			 enum sp_stage s, struct comparison *c)
{
	struct contests now = { 0 }, then = { 0 };
	int r = contests_read(kernel, in_force, s, &now);

	if (r == 0)
		r = contests_read(files, by_files, s, &then);
	for (size_t id = 0; id < OPTION_MAX && r == 0; id++) {
		compare_contestants(s, &now.v[id].base, &then.v[id].base, c);
		compare_rules(s, &now.v[id], &then.v[id], c);
	}
	contests_clear(&now);
	contests_clear(&then);
	return r;
}

/* Returns the place of the policy with this name, from `from` on, or list->n. */
static uint32_t find(const struct generation_view *v, const struct glob_list *list, uint32_t from,
		     const char *name)
{
	while (from < list->n && !streq(generation_view_policy_name(v, list->number[from]), name))
		from++;
	return from;
}

static void compare_lists(const struct generation_view *kernel, const struct glob_list *in_force,
			  const struct generation_view *files, const struct glob_list *by_files,
			  struct comparison *c)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < by_files->n; i++) {
		const char *name = generation_view_policy_name(files, by_files->number[i]);
		uint32_t place = find(kernel, in_force, at, name);

		if (place < in_force->n)
			at = place + 1;
		else if (find(kernel, in_force, 0, name) < in_force->n)
			c->other_order = true;
		else
			c->come = document_append(c->come, json_string(name));
	}
	for (uint32_t i = 0; i < in_force->n; i++) {
		const char *name = generation_view_policy_name(kernel, in_force->number[i]);

		if (find(files, by_files, 0, name) == by_files->n)
			c->go = document_append(c->go, json_string(name));
	}
}

int in_force_compare(struct generation_view *kernel, const struct glob_list *in_force,
		     struct generation_view *files, const struct glob_list *by_files, json_t **ret)
{
	struct comparison c = { json_array(), json_array(), json_array() };
	json_t *f;
	int r = 0;

	compare_lists(kernel, in_force, files, by_files, &c);
	for (enum sp_stage s = 0; s < SP_STAGE_MAX && r == 0; s++)
		r = compare_stage(kernel, in_force, files, by_files, s, &c);
	f = json_pack("{s:b, s:b, s:o, s:o, s:o, s:b, s:n}", "known", 1, "differs",
		      json_array_size(c.differences) || json_array_size(c.come) ||
			      json_array_size(c.go) || c.other_order,
		      "differences", c.differences, "come", c.come, "go", c.go, "other_order",
		      c.other_order, "why");
	if (r == 0 && !f)
		r = -ENOMEM;
	if (r < 0)
		json_decref(f);
	else
		*ret = f;
	return r;
}

/* --- changes ---------------------------------------------------------------------------------- */

static const char *const transport_names[] = {
	[TRANSPORT_TCP] = "tcp",
	[TRANSPORT_UDP] = "udp",
	[TRANSPORT_UNIX] = "unix",
	[TRANSPORT_LOCAL] = "local",
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

/* Do both sides speak for the same rule, or both for base options, of whichever policy? */
static bool same_speaker(const json_t *a, const json_t *b)
{
	return document_same(a, b, "rule") && document_is_unset(a) == document_is_unset(b) &&
	       (!document_text(a, "rule") || document_same(a, b, "policy"));
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

static int add_change(struct changes *all, const json_t *difference)
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
		return APPEND(all->v, all->n, c);
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
	       (a->also && b->also ? streq(a->also, b->also) : a->also == b->also);
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
	static const char *const keys[] = {
		"policy", "rule", "value", "application", "min", "max"
	};
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
		for (size_t t = 0; t < ARRAY_SIZE(transport_names); t++)
			if (c->where[d] & BIT(t))
				where = document_append(where,
							json_pack("{s:s, s:s}", "direction",
								  direction_words[d], "transport",
								  transport_names[t]));
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

json_t *in_force_changes(const json_t *in_force)
{
	struct changes all = { 0 };
	json_t *set = NULL;
	const json_t *difference;
	size_t i;

	json_array_foreach (json_object_get(in_force, "differences"), i, difference)
		if (add_change(&all, difference) < 0)
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

/* Prints "4 by web, rule out", or "not set". */
static void print_side(const json_t *side, FILE *to)
{
	const char *rule = document_text(side, "rule");
	const bool is_set = json_is_object(side);

	fputs(!is_set ? "not set"
	      : document_is_unset(side)
		      ? "left alone"
		      : document_value_and_word(side, (char[DOCUMENT_VALUE_SIZE]){ 0 }),
	      to);
	if (is_set)
		fprintf(to, " by %s", document_text(side, "policy"));
	if (rule)
		fprintf(to, ", rule %s", rule);
}

static void print_change(const json_t *c, FILE *to)
{
	const json_t *from = json_object_get(c, "from"), *after = json_object_get(c, "to");
	const char *also = document_text(c, "also");

	fprintf(to, "    %s: ", document_text(c, "option"));
	print_side(from, to);
	if (!json_equal(from, after)) {
		fputs(" -> ", to);
		print_side(after, to);
	}
	print_where(json_object_get(c, "where"), to);
	if (also)
		fprintf(to, ", with another %s", also);
	fputc('\n', to);
}

void in_force_print_changes(const json_t *set, FILE *to)
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

void in_force_print(const json_t *f, FILE *to)
{
	_cleanup_(json_decref) json_t *changes = NULL;

	if (!document_is(f, "known")) {
		fprintf(to, "  in force: %s\n", document_text(f, "why"));
	} else if (!document_is(f, "differs")) {
		fprintf(to, "  in force for new sockets: same as the files\n");
	} else {
		fprintf(to,
			"  in force for new sockets: not what the files say; a reload would change:\n");
		changes = in_force_changes(f);
		in_force_print_changes(changes, to);
	}
}
