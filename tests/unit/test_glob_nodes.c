// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <time.h>

#include "random_globs.h"

#include "compile/glob_walk.h"

static int tables_of(const struct config *c, struct glob_tables *ret)
{
	struct position at;
	char *error;

	return glob_tables_new(c, ret, &error, &at);
}

/* The globs' numbers behind a node. */
struct interval {
	unsigned first, last;
};

static void cover(struct interval *i, unsigned first, unsigned last)
{
	if (first < i->first)
		i->first = first;
	if (last > i->last)
		i->last = last;
}

/* What a table's elements say: each node is led to with one interval, which has its globs. */
static void check_intervals(struct seeded *s, const struct glob_table *t)
{
	struct interval *has = calloc(SP_GLOB_NODES, sizeof(*has));
	struct interval *tells = calloc(SP_GLOB_NODES, sizeof(*tells));

	for (size_t i = 0; i < SP_GLOB_NODES; i++)
		has[i] = tells[i] = (struct interval){ UINT16_MAX, 0 };
	for (uint32_t i = 0; i < t->n_nodes; i++) {
		const struct sp_glob_node *e = &t->nodes[i];

		if (e->to)
			cover(&tells[e->to], e->first, e->last);
		for (uint16_t k = i && e->from ? e->more : 0; k; k = t->links[k].next)
			cover(&tells[t->links[k].what], t->links[k].first, t->links[k].last);
		for (uint16_t k = e->says; k; k = t->links[k].next)
			cover(&has[e->from], t->links[k].first, t->links[k].first);
	}
	for (uint32_t i = 1; i < t->n_nodes; i++) {
		const struct sp_glob_node *e = &t->nodes[i];

		if (!e->to || tells[e->from].first > tells[e->from].last)
			continue; /* active from the beginning */
		if (e->first < tells[e->from].first || e->last > tells[e->from].last)
			SEEDED_FAIL(s, "node %u leads to globs %u to %u", e->from, e->first,
				    e->last);
		if (has[e->from].first <= has[e->from].last &&
		    (has[e->from].first < tells[e->from].first ||
		     has[e->from].last > tells[e->from].last))
			SEEDED_FAIL(s, "in node %u ends glob %u", e->from, has[e->from].first);
	}
	free(has);
	free(tells);
}

static void random_intervals(struct seeded *s)
{
	struct random_globs g = random_globs(s, ARRAY_SIZE(pieces));
	struct glob_tables t;

	assert_int_equal(tables_of(g.config, &t), 0);
	assert_int_equal(t.n_match, 1);
	for (uint32_t i = 0; i < t.n_match + t.n_exclude; i++) {
		assert_true(t.v[i].n_globs > 0);
		assert_int_equal(t.v[i].nodes[0].last, t.v[i].n_globs - 1);
		check_intervals(s, &t.v[i]);
	}
	glob_tables_clear(&t);
	random_globs_free(&g);
}

static void what_is_behind_a_node_follows_each_other(void **state)
{
	(void)state;
	for_seeds(300, random_intervals);
}

static struct config *many_units(unsigned n, void (*name)(char *to, unsigned i))
{
	struct config *c = config_new();

	for (unsigned i = 0; i < n; i++) {
		char text[64];
		const struct fixture_policy p = { .name = "p", .unit = { text } };

		name(text, i);
		fixture_add(c, &p);
	}
	return c;
}

static void job_name(char *to, unsigned i)
{
	sprintf(to, "job-%u-a.service", i);
}

/* Twenty bytes, of which hardly two begin alike in more than three. */
static void unlike_name(char *to, unsigned i)
{
	struct seeded s = { .state = i };

	for (unsigned k = 0; k < 20; k++)
		to[k] = (char)('a' + random_below(&s, 26));
	to[20] = '\0';
}

static void more_globs_than_a_table_holds(void **state)
{
	struct config *c = many_units(12000, unlike_name);
	struct glob_tables t;
	uint32_t n = 0;

	(void)state;
	assert_int_equal(tables_of(c, &t), 0);
	assert_true(t.n_match > 1);
	assert_true(t.n_match <= SP_GLOB_TABLES_MAX / 2);
	assert_int_equal(t.n_exclude, 0);
	for (uint32_t i = 0; i < t.n_match; i++)
		n += t.v[i].n_globs;
	assert_int_equal(n, 12000);
	for (unsigned i = 0; i < 12000; i += 1999) {
		char path[64] = "/";
		struct glob_list list;

		unlike_name(path + 1, i);
		assert_int_equal(glob_walk(&t, path, &list), 0);
		assert_int_equal(list.n, 1);
		assert_int_equal(list.number[0], i + 1);
	}
	glob_tables_clear(&t);
	config_free(c);
}

static void ten_thousand_units_take_little_time(void **state)
{
	struct config *c = many_units(10000, job_name);
	struct timespec begin, end;
	struct glob_tables t;

	(void)state;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	assert_int_equal(tables_of(c, &t), 0);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	assert_true(end.tv_sec - begin.tv_sec < 4); /* generous: sanitizers */
	glob_tables_clear(&t);
	config_free(c);
}

static void refused(const char *unit, const char *why)
{
	struct fixture_policy v[] = { { .name = "fine", .unit = { "*a*.service" } },
				      { .name = "p", .unit = { unit } } };
	struct config *c = fixture_config(v, ARRAY_SIZE(v));
	struct position at = { 0 };
	struct glob_tables t;
	char *error = NULL;

	c->policies[1].match.v[0].at = (struct position){ .file = "f", .line = 7 };
	assert_int_equal(glob_tables_new(c, &t, &error, &at), -E2BIG);
	assert_non_null(error);
	assert_non_null(strstr(error, why));
	assert_int_equal(at.line, 7);
	free(error);
	config_free(c);
}

static void a_walk_could_not_follow(void **state)
{
	(void)state;
	refused("*-*-*-*-*-*-*-*-*-*-*-*-*-*-*", "too many ways at once");
	refused("*????????????????????????????????????????????????????????.service",
		"too many ways at once");
	refused("[[=a=]].service", "bracket expression");
}

static void too_many_to_fit(void **state)
{
	struct config *c = many_units(70000, unlike_name);
	struct position at = { 0 };
	struct glob_tables t;
	char *error = NULL;

	(void)state;
	/* As many policies have no numbers; as many globs of one have. */
	for (size_t i = 1; i < c->n_policies; i++) {
		struct patterns *to = &c->policies[0].match, *from = &c->policies[i].match;

		assert_int_equal(GROW(to->v, to->n), 0);
		to->v[to->n++] = from->v[0];
		from->n = 0;
	}
	assert_int_equal(glob_tables_new(c, &t, &error, &at), -E2BIG);
	assert_non_null(strstr(error, "tables are full"));
	free(error);
	config_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_behind_a_node_follows_each_other),
		cmocka_unit_test(more_globs_than_a_table_holds),
		cmocka_unit_test(ten_thousand_units_take_little_time),
		cmocka_unit_test(a_walk_could_not_follow),
		cmocka_unit_test(too_many_to_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
