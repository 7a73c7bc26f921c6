// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What is in force against the files: two images, one of them as if it were read from the maps. */
#include <errno.h>

#include "fake_pinned.h"
#include "report/in_force.h"

struct side {
	struct config *config;
	struct image *image;
	struct generation_view view;
};

static struct counters *counters;

static struct side side_new(const struct fixture_policy *policies, size_t n)
{
	struct side s = { .config = fixture_config(policies, n) };
	struct position at;
	char *error;

	assert_int_equal(image_new(s.config, counters_index, counters, &s.image, &error, &at), 0);
	assert_int_equal(generation_view_init(&s.view, s.image, counters), 0);
	return s;
}

static void side_free(struct side *s)
{
	generation_view_clear(&s->view);
	image_free(s->image);
	config_free(s->config);
}

static int setup(void **state)
{
	(void)state;
	return counters_read(NULL, &counters);
}

static int teardown(void **state)
{
	(void)state;
	counters_free(counters);
	return 0;
}

static const struct glob_list none, first = { .number = { 1 }, .n = 1 };

/* One policy on either side, for cgroups to which both apply. */
static struct in_force compare(const struct fixture_policy *kernel,
			       const struct fixture_policy *files)
{
	struct side now = side_new(kernel, 1), then = side_new(files, 1);
	struct in_force result;

	assert_int_equal(in_force_compare(&now.view, &first, &then.view, &first, &result), 0);
	assert_true(result.known);
	side_free(&now);
	side_free(&then);
	return result;
}

static const struct fixture_policy iw20 = {
	"p", { "/a" }, .base = { { OPTION_TCP_BPF_IW, 20 }, { OPTION_TCP_SAVE_SYN, 1 } }
};

static void test_same(void **state)
{
	struct in_force result = compare(&iw20, &iw20);

	(void)state;
	assert_int_equal(result.n, 0);
	assert_false(in_force_differs(&result));
	in_force_clear(&result);
}

static void test_other_value(void **state)
{
	static const struct fixture_policy iw30 = {
		"p", { "/a" }, .base = { { OPTION_TCP_BPF_IW, 30 }, { OPTION_TCP_SAVE_SYN, 1 } }
	};
	struct in_force result = compare(&iw20, &iw30);

	(void)state;
	assert_true(in_force_differs(&result));
	assert_int_equal(result.n, 2);
	assert_int_equal(result.v[0].stage, SP_STAGE_TCP_ACTIVE_EST);
	assert_int_equal(result.v[1].stage, SP_STAGE_TCP_PASSIVE_EST);
	for (size_t i = 0; i < result.n; i++) {
		assert_ptr_equal(result.v[i].option, &option_table[OPTION_TCP_BPF_IW]);
		assert_string_equal(result.v[i].kernel.value, "20");
		assert_string_equal(result.v[i].files.value, "30");
		assert_string_equal(result.v[i].kernel.policy, "p");
		assert_null(result.v[i].kernel.rule);
	}
	in_force_clear(&result);
}

/* Equal values that are set by different policies differ. */
static void test_other_policy(void **state)
{
	static const struct fixture_policy q = { "q",
						 { "/a" },
						 .base = { { OPTION_TCP_SAVE_SYN, 1 } } };
	static const struct fixture_policy p = { "p",
						 { "/a" },
						 .base = { { OPTION_TCP_SAVE_SYN, 1 } } };
	struct in_force result = compare(&p, &q);

	(void)state;
	assert_int_equal(result.n, 1);
	assert_string_equal(result.v[0].kernel.policy, "p");
	assert_string_equal(result.v[0].files.policy, "q");
	assert_int_equal(result.come.n, 1);
	assert_string_equal(result.come.v[0], "q");
	assert_int_equal(result.go.n, 1);
	assert_string_equal(result.go.v[0], "p");
	assert_false(result.other_order);
	in_force_clear(&result);
}

static void test_only_one_side(void **state)
{
	struct side s = side_new(&iw20, 1);
	struct generation_view nothing;
	struct in_force result;

	(void)state;
	/* governed, though by the files nothing applies (any more) */
	assert_int_equal(in_force_compare(&s.view, &first, &s.view, &none, &result), 0);
	assert_int_equal(result.n, 3);
	assert_non_null(result.v[0].kernel.value);
	assert_null(result.v[0].files.value);
	assert_int_equal(result.go.n, 1);
	in_force_clear(&result);
	/* not governed, as nothing is in force, though the files say so */
	assert_int_equal(generation_view_init(&nothing, NULL, counters), 0);
	assert_int_equal(in_force_compare(&nothing, &none, &s.view, &first, &result), 0);
	assert_int_equal(result.n, 3);
	assert_null(result.v[0].kernel.value);
	assert_string_equal(result.v[0].files.value, "20");
	assert_int_equal(result.come.n, 1);
	in_force_clear(&result);
	/* neither */
	assert_int_equal(in_force_compare(&nothing, &none, &s.view, &none, &result), 0);
	assert_false(in_force_differs(&result));
	generation_view_clear(&nothing);
	side_free(&s);
}

/* An option that this build does not know: pinned by another one. */
static void test_unknown_option(void **state)
{
	struct side now = side_new(&iw20, 1), then = side_new(&iw20, 1);
	struct sp_op_cell *cells = now.image->of[MAP_ID_ops].values;
	struct in_force result = { 0 };

	(void)state;
	for (uint32_t i = 0; i < now.image->of[MAP_ID_ops].n; i++)
		cells[i].op[0].option = OPTION_MAX;
	assert_int_equal(in_force_compare(&now.view, &first, &then.view, &first, &result), -EPROTO);
	assert_false(result.known);
	side_free(&now);
	side_free(&then);
}

static const struct fixture_policy with_rules = {
	"p",
	{ "/a" },
	.base = { { OPTION_TCP_BPF_IW, 20 } },
	.rules = { { "one", BIT(DIRECTION_CONNECT), .remote = { "10.0.0.0/8" },
		     .options = { { OPTION_TCP_BPF_IW, 30 } } },
		   { "two", BIT(DIRECTION_CONNECT), .remote_port = { { 80 } },
		     .options = { { OPTION_TCP_BPF_IW, 40 } } },
		   { "three", BIT(DIRECTION_CONNECT), .remote_port = { { 90 } },
		     .options = { { OPTION_TCP_BPF_IW, UNSET } } } },
};

/* The only difference between with_rules, in force, and the files' version of it. */
static struct in_force one_difference(const struct fixture_policy *files)
{
	struct in_force result = compare(&with_rules, files);

	assert_int_equal(result.n, 1);
	assert_int_equal(result.v[0].stage, SP_STAGE_TCP_ACTIVE_EST);
	assert_ptr_equal(result.v[0].option, &option_table[OPTION_TCP_BPF_IW]);
	return result;
}

static void test_same_rules(void **state)
{
	struct in_force result = compare(&with_rules, &with_rules);

	(void)state;
	assert_int_equal(result.n, 0);
	in_force_clear(&result);
}

static void test_other_value_in_rule(void **state)
{
	struct fixture_policy files = with_rules;
	struct in_force result;

	(void)state;
	files.rules[1].options[0].value = 41;
	result = one_difference(&files);
	assert_string_equal(result.v[0].kernel.value, "40");
	assert_string_equal(result.v[0].files.value, "41");
	assert_string_equal(result.v[0].kernel.rule, "two");
	assert_string_equal(result.v[0].files.rule, "two");
	assert_null(result.v[0].also);
	in_force_clear(&result);
}

/* A rule that is new, or gone, does not make the others differ, whatever their bits are then. */
static void test_rule_on_one_side(void **state)
{
	struct fixture_policy files = with_rules;
	struct in_force result;

	(void)state;
	files.rules[0] = with_rules.rules[1];
	files.rules[1] = with_rules.rules[2];
	files.rules[2] = (struct fixture_rule){ 0 };
	result = one_difference(&files);
	assert_string_equal(result.v[0].kernel.rule, "one");
	assert_string_equal(result.v[0].kernel.value, "30");
	assert_null(result.v[0].files.value);
	in_force_clear(&result);

	result = compare(&files, &with_rules);
	assert_int_equal(result.n, 1);
	assert_null(result.v[0].kernel.value);
	assert_string_equal(result.v[0].files.rule, "one");
	in_force_clear(&result);
}

/* `unset` in a rule has no operation in the maps, but is there. */
static void test_unset_rule_gone(void **state)
{
	struct fixture_policy files = with_rules;
	struct in_force result;

	(void)state;
	files.rules[2] = (struct fixture_rule){ 0 };
	result = one_difference(&files);
	assert_string_equal(result.v[0].kernel.value, "unset");
	assert_string_equal(result.v[0].kernel.rule, "three");
	assert_null(result.v[0].files.value);
	in_force_clear(&result);
}

static void test_other_order(void **state)
{
	struct fixture_policy files = with_rules;
	struct in_force result;

	(void)state;
	files.rules[0] = with_rules.rules[1];
	files.rules[1] = with_rules.rules[0];
	result = one_difference(&files);
	assert_string_equal(result.v[0].also, "order");
	in_force_clear(&result);
}

/* Which connections a rule is about is seen, in whatever order its lists are written. */
static void test_other_condition(void **state)
{
	static const struct fixture_rule lists = {
		"lists",
		.remote = { "10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "fd00::/8",
			    "2001:db8::1/128" },
		.remote_port = { { 80 }, { 90, 99 } },
		.options = { { OPTION_TCP_BPF_IW, 30 } },
	};
	const struct fixture_policy p = { "p", { "/a" }, .rules = { lists } };
	struct fixture_policy files = p;
	struct fixture_rule *rule = &files.rules[0];
	struct in_force result;

	(void)state;
	/* the same: 10.1.0.0/16 lies within, the others are in another order, ports as two */
	rule->remote[0] = "2001:db8::1/128";
	rule->remote[1] = "fd00::/8";
	rule->remote[2] = "10.0.0.0/8";
	rule->remote[3] = "192.0.2.0/24";
	rule->remote[4] = NULL;
	rule->remote_port[0] = (struct fixture_ports){ 90, 93 };
	rule->remote_port[1] = (struct fixture_ports){ 94, 99 };
	rule->remote_port[2] = (struct fixture_ports){ 80 };
	result = compare(&p, &files);
	assert_int_equal(result.n, 0);
	in_force_clear(&result);
	/* one address less */
	rule->remote[0] = "2001:db8::2/128";
	result = compare(&p, &files);
	assert_int_equal(result.n, 2); /* whether it connects or accepts */
	assert_string_equal(result.v[0].also, "condition");
	assert_string_equal(result.v[0].kernel.value, "30");
	assert_string_equal(result.v[0].files.value, "30");
	in_force_clear(&result);
	/* one port more */
	rule->remote[0] = "2001:db8::1/128";
	rule->remote_port[1].last = 100;
	result = compare(&p, &files);
	assert_int_equal(result.n, 2);
	in_force_clear(&result);
	/* one family only */
	rule->remote_port[1].last = 99;
	rule->families = BIT(SP_FAMILY_INDEX_IPV6);
	result = compare(&p, &files);
	assert_int_equal(result.n, 2);
	in_force_clear(&result);
}

/* What the maps say beside values, and no list of rules shows. */
static void test_other_families(void **state)
{
	struct side now = side_new(&with_rules, 1), then = side_new(&with_rules, 1);
	struct sp_op_cell *cells = now.image->of[MAP_ID_ops].values;
	const struct sp_policy *p = now.image->of[MAP_ID_policies].values;
	const struct sp_block *blocks = now.image->of[MAP_ID_blocks].values;
	struct in_force result;

	(void)state;
	cells[blocks[p[1].stage[SP_STAGE_TCP_ACTIVE_EST].first_block].first_cell].op[0].families ^=
		SP_FAMILY_IPV4;
	assert_int_equal(in_force_compare(&now.view, &first, &then.view, &first, &result), 0);
	assert_int_equal(result.n, 1);
	assert_string_equal(result.v[0].also, "condition");
	assert_string_equal(result.v[0].kernel.value, "30");
	in_force_clear(&result);
	side_free(&now);
	side_free(&then);
}

/* A rule that the hook does not look at is as good as none. */
static void test_not_looked_at(void **state)
{
	struct side now = side_new(&with_rules, 1), then = side_new(&with_rules, 1);
	struct sp_policy *p = now.image->of[MAP_ID_policies].values;
	struct in_force result;

	(void)state;
	p[1].stage[SP_STAGE_TCP_ACTIVE_EST].rules &= ~1ull;
	assert_int_equal(in_force_compare(&now.view, &first, &then.view, &first, &result), 0);
	assert_int_equal(result.n, 1);
	assert_null(result.v[0].kernel.value);
	assert_string_equal(result.v[0].files.rule, "one");
	in_force_clear(&result);
	side_free(&now);
	side_free(&then);
}

static const struct fixture_policy two[] = {
	{ "a",
	  { "/a" },
	  .base = { { OPTION_SO_MARK, 1 }, { OPTION_TCP_SYNCNT, 1 } },
	  .rules = { { "r", BIT(DIRECTION_CONNECT), .remote_port = { { 80 } },
		       .options = { { OPTION_SO_MARK, 2 }, { OPTION_TCP_KEEPCNT, UNSET } } } } },
	{ "b", { "/a" }, .base = { { OPTION_SO_MARK, 3 } } },
};

/* Only the winners among several policies are compared: losers make no difference. */
static void test_lists(void **state)
{
	struct side s = side_new(two, 2);
	const struct glob_list ab = { .number = { 1, 2 }, .n = 2 },
			       ba = { .number = { 2, 1 }, .n = 2 };
	struct in_force result;
	bool seen = false;

	(void)state;
	assert_int_equal(in_force_compare(&s.view, &ab, &s.view, &ab, &result), 0);
	assert_false(in_force_differs(&result));
	/* in the other order a's base and rule beat b's */
	assert_int_equal(in_force_compare(&s.view, &ab, &s.view, &ba, &result), 0);
	assert_true(result.other_order);
	assert_int_equal(result.come.n + result.go.n, 0);
	for (size_t i = 0; i < result.n; i++) {
		const struct in_force_difference *d = &result.v[i];

		assert_ptr_equal(d->option, &option_table[OPTION_SO_MARK]);
		/* a's rule leaves it to a later stage, if that may hold for the socket at all */
		if (d->stage == SP_STAGE_TCP_SOCKET || d->stage == SP_STAGE_UDP_SOCKET) {
			assert_string_equal(d->kernel.policy, "b");
			assert_null(d->files.policy);
			continue;
		}
		assert_string_equal(d->files.policy, "a");
		if (d->files.rule) {
			assert_null(d->kernel.value);
			seen = true;
		} else {
			assert_string_equal(d->kernel.policy, "b");
		}
	}
	assert_true(seen);
	in_force_clear(&result);
	/* b alone; with a before it there is TCP_SYNCNT, and no mark of a's */
	assert_int_equal(in_force_compare(&s.view, &ab, &s.view,
					  &(struct glob_list){ .number = { 2 }, .n = 1 }, &result),
			 0);
	assert_true(result.n > 0);
	for (size_t i = 0; i < result.n; i++)
		assert_ptr_equal(result.v[i].option, &option_table[OPTION_TCP_SYNCNT]);
	assert_string_equal(result.go.v[0], "a");
	in_force_clear(&result);
	side_free(&s);
}

/* Where one policy's rule asks for `local`, the others' say comes as late. */
static void test_decided_late(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "a", { "/a" }, .base = { { OPTION_SO_MAX_PACING_RATE, 10000 } } },
		{ "b",
		  { "/a" },
		  .rules = { { "r", BIT(DIRECTION_CONNECT), .local = { "10.0.0.0/8" },
			       .options = { { OPTION_SO_MAX_PACING_RATE, 20000 } } } } },
	};
	struct side s = side_new(policies, 2);
	const struct glob_list both = { .number = { 1, 2 }, .n = 2 };
	const struct option *option = &option_table[OPTION_SO_MAX_PACING_RATE];
	struct contests c;

	(void)state;
	assert_int_equal(contests_read(&s.view, &both, SP_STAGE_TCP_CONNECT, &c), 0);
	assert_false(c.v[option_id(option)].base.present);
	contests_clear(&c);
	assert_int_equal(contests_read(&s.view, &both, SP_STAGE_TCP_SYN, &c), 0);
	assert_string_equal(c.v[option_id(option)].base.who->policy, "a");
	assert_int_equal(c.v[option_id(option)].n_rules, 1);
	assert_string_equal(c.v[option_id(option)].rules[0].who->rule, "r");
	contests_clear(&c);
	assert_int_equal(contests_read(&s.view, &first, SP_STAGE_TCP_CONNECT, &c), 0);
	assert_true(c.v[option_id(option)].base.present);
	contests_clear(&c);
	side_free(&s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_other_value),
		cmocka_unit_test(test_other_policy),
		cmocka_unit_test(test_only_one_side),
		cmocka_unit_test(test_unknown_option),
		cmocka_unit_test(test_same_rules),
		cmocka_unit_test(test_other_value_in_rule),
		cmocka_unit_test(test_rule_on_one_side),
		cmocka_unit_test(test_unset_rule_gone),
		cmocka_unit_test(test_other_order),
		cmocka_unit_test(test_other_condition),
		cmocka_unit_test(test_other_families),
		cmocka_unit_test(test_not_looked_at),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_decided_late),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
