// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What is in force against the files: two images, one of them as if it were read from the maps. */
#include <errno.h>

#include "fake_pinned.h"
#include "report/in_force.h"

struct side {
	struct config *config;
	struct generation_view view;
};

static struct counters *counters;

static struct side side_new(const struct fixture_policy *policies, size_t n)
{
	struct side s = { .config = fixture_config(policies, n) };
	struct position at;
	char *error;

	assert_int_equal(image_new(s.config, counters_index, counters, &s.view.image, &error, &at),
			 0);
	assert_int_equal(generation_view_init(&s.view, counters), 0);
	return s;
}

static void side_free(struct side *s)
{
	generation_view_clear(&s->view);
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

static size_t count(const json_t *f, const char *key)
{
	return json_array_size(json_object_get(f, key));
}

static const char *name(const json_t *f, const char *key)
{
	return json_string_value(json_array_get(json_object_get(f, key), 0));
}

static const json_t *difference(const json_t *f, size_t i)
{
	return json_array_get(json_object_get(f, "differences"), i);
}

static const char *side_text(const json_t *f, size_t i, const char *side, const char *key)
{
	return document_text(json_object_get(difference(f, i), side), key);
}

static const struct glob_list none, first = { .number = { 1 }, .n = 1 };

/* One policy on either side, for cgroups to which both apply. */
static json_t *compare(const struct fixture_policy *kernel, const struct fixture_policy *files)
{
	struct side now = side_new(kernel, 1), then = side_new(files, 1);
	json_t *result;

	assert_int_equal(in_force_compare(&now.view, &first, &then.view, &first, &result), 0);
	assert_true(document_is(result, "known"));
	side_free(&now);
	side_free(&then);
	return result;
}

static const struct fixture_policy iw20 = {
	"p", { "/a" }, .base = { { OPTION_TCP_BPF_IW, 20 }, { OPTION_TCP_SAVE_SYN, 1 } }
};

static void test_same(void **state)
{
	json_t *result = compare(&iw20, &iw20);

	(void)state;
	assert_int_equal(count(result, "differences"), 0);
	assert_false(document_is(result, "differs"));
	json_decref(result);
}

static void test_other_value(void **state)
{
	static const struct fixture_policy iw30 = {
		"p", { "/a" }, .base = { { OPTION_TCP_BPF_IW, 30 }, { OPTION_TCP_SAVE_SYN, 1 } }
	};
	json_t *result = compare(&iw20, &iw30);

	(void)state;
	assert_true(document_is(result, "differs"));
	assert_int_equal(count(result, "differences"), 2);
	assert_string_equal(document_text(difference(result, 0), "stage"),
			    stage_name(SP_STAGE_TCP_ACTIVE_EST));
	assert_string_equal(document_text(difference(result, 1), "stage"),
			    stage_name(SP_STAGE_TCP_PASSIVE_EST));
	for (size_t i = 0; i < count(result, "differences"); i++) {
		assert_string_equal(document_text(difference(result, i), "option"),
				    option_table[OPTION_TCP_BPF_IW].name);
		assert_string_equal(side_text(result, i, "in_force", "value"), "20");
		assert_string_equal(side_text(result, i, "files", "value"), "30");
		assert_string_equal(side_text(result, i, "in_force", "policy"), "p");
		assert_null(side_text(result, i, "in_force", "rule"));
	}
	json_decref(result);
}

/* Equal values that are set by different policies differ. */
/* Who has the last word, and which range: what differs beside the value. */
static void test_other_word(void **state)
{
#define ONE(...)                                                                                   \
	{                                                                                          \
		"p", { "/a" }, .base = { { __VA_ARGS__ } }                                         \
	}
	static const struct {
		struct fixture_policy kernel, files;
		const char *key, *in_force, *files_say,
			*also; /* key NULL: there is no difference */
	} cases[] = {
		{ ONE(OPTION_TCP_NODELAY, 1),
		  ONE(OPTION_TCP_NODELAY, 1, .application = APPLICATION_HOLD), "application",
		  "override", "hold", NULL },
		{ ONE(OPTION_SO_MARK, 1, .application = APPLICATION_DENY),
		  ONE(OPTION_SO_MARK, 1, .application = APPLICATION_RESPECT), "application", "deny",
		  "respect", NULL },
		{ ONE(OPTION_TCP_SYNCNT, .range = { true, 3, 5 }),
		  ONE(OPTION_TCP_SYNCNT, .range = { true, 4, 5 }), "min", "3", "4", NULL },
		{ ONE(OPTION_TCP_SYNCNT, .range = { true, 3, 5 }),
		  ONE(OPTION_TCP_SYNCNT, 5, .range = { true, 3, 5 }), "value", NULL, "5", NULL },
		{ ONE(OPTION_TCP_SYNCNT, 5, .range = { true, 0, 5 }), ONE(OPTION_TCP_SYNCNT, 5),
		  "max", "5", NULL, NULL },
		{ ONE(OPTION_TCP_SYNCNT, 5, .range = { true, 3, 5 }),
		  ONE(OPTION_TCP_SYNCNT, 5, .range = { true, 3, 5 }), NULL, NULL, NULL, NULL },
		{ ONE(OPTION_SO_BINDTODEVICE, .text = "lo"),
		  ONE(OPTION_SO_BINDTODEVICE, .text = "lo", .refuse = true), "value", "lo", "lo",
		  "on_failure" },
		{ ONE(OPTION_SO_MARK, 1), ONE(OPTION_SO_MARK, 1, .apply = true), "value", "1", "1",
		  "existing" },
	};
#undef ONE

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		json_t *result = compare(&cases[i].kernel, &cases[i].files);

		print_message("%zu\n", i);
		assert_int_equal(count(result, "differences") != 0, cases[i].key != NULL);
		for (size_t k = 0; k < count(result, "differences"); k++) {
			const char *sides[] = { side_text(result, k, "in_force", cases[i].key),
						side_text(result, k, "files", cases[i].key) };
			const char *expected[] = { cases[i].in_force, cases[i].files_say };
			const char *also = document_text(difference(result, k), "also");

			for (int s = 0; s < 2; s++)
				assert_true(sides[s] && expected[s] ? streq(sides[s], expected[s])
								    : sides[s] == expected[s]);
			assert_true(also && cases[i].also ? streq(also, cases[i].also)
							  : also == cases[i].also);
		}
		json_decref(result);
	}
}

/* Another host's default is no change of the files. */
static void test_other_fresh_value(void **state)
{
	static const struct fixture_policy respects = {
		"p",
		{ "/a" },
		.base = { { OPTION_TCP_SYNCNT, 5, .application = APPLICATION_RESPECT } }
	};
	struct side now = side_new(&respects, 1), then = side_new(&respects, 1);
	struct sp_op_cell *cells = now.view.image->of[MAP_ID_ops].values;
	json_t *result;

	(void)state;
	for (size_t i = 0; i < now.view.image->of[MAP_ID_ops].n; i++)
		for (size_t k = 0; k < SP_OPS_CELL; k++)
			cells[i].op[k].bounds.fresh++;
	assert_int_equal(in_force_compare(&now.view, &first, &then.view, &first, &result), 0);
	assert_int_equal(count(result, "differences"), 0);
	json_decref(result);
	side_free(&now);
	side_free(&then);
}

static void test_other_policy(void **state)
{
	static const struct fixture_policy q = { "q",
						 { "/a" },
						 .base = { { OPTION_TCP_SAVE_SYN, 1 } } };
	static const struct fixture_policy p = { "p",
						 { "/a" },
						 .base = { { OPTION_TCP_SAVE_SYN, 1 } } };
	json_t *result = compare(&p, &q);

	(void)state;
	assert_int_equal(count(result, "differences"), 1);
	assert_string_equal(side_text(result, 0, "in_force", "policy"), "p");
	assert_string_equal(side_text(result, 0, "files", "policy"), "q");
	assert_int_equal(count(result, "come"), 1);
	assert_string_equal(name(result, "come"), "q");
	assert_int_equal(count(result, "go"), 1);
	assert_string_equal(name(result, "go"), "p");
	assert_false(document_is(result, "other_order"));
	json_decref(result);
}

static void test_only_one_side(void **state)
{
	struct side s = side_new(&iw20, 1);
	struct generation_view nothing = { 0 };
	json_t *result;

	(void)state;
	/* governed, though by the files nothing applies (any more) */
	assert_int_equal(in_force_compare(&s.view, &first, &s.view, &none, &result), 0);
	assert_int_equal(count(result, "differences"), 3);
	assert_non_null(side_text(result, 0, "in_force", "value"));
	assert_null(side_text(result, 0, "files", "value"));
	assert_int_equal(count(result, "go"), 1);
	json_decref(result);
	/* not governed, as nothing is in force, though the files say so */
	assert_int_equal(generation_view_init(&nothing, counters), 0);
	assert_int_equal(in_force_compare(&nothing, &none, &s.view, &first, &result), 0);
	assert_int_equal(count(result, "differences"), 3);
	assert_null(side_text(result, 0, "in_force", "value"));
	assert_string_equal(side_text(result, 0, "files", "value"), "20");
	assert_int_equal(count(result, "come"), 1);
	json_decref(result);
	/* neither */
	assert_int_equal(in_force_compare(&nothing, &none, &s.view, &none, &result), 0);
	assert_false(document_is(result, "differs"));
	json_decref(result);
	generation_view_clear(&nothing);
	side_free(&s);
}

/* An option that this build does not know: pinned by another one. */
static void test_unknown_option(void **state)
{
	struct side now = side_new(&iw20, 1), then = side_new(&iw20, 1);
	struct sp_op_cell *cells = now.view.image->of[MAP_ID_ops].values;
	json_t *result = NULL;

	(void)state;
	for (uint32_t i = 0; i < now.view.image->of[MAP_ID_ops].n; i++)
		cells[i].op[0].option = OPTION_MAX;
	assert_int_equal(in_force_compare(&now.view, &first, &then.view, &first, &result), -EPROTO);
	assert_null(result);
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
static json_t *one_difference(const struct fixture_policy *files)
{
	json_t *result = compare(&with_rules, files);

	assert_int_equal(count(result, "differences"), 1);
	assert_string_equal(document_text(difference(result, 0), "stage"),
			    stage_name(SP_STAGE_TCP_ACTIVE_EST));
	assert_string_equal(document_text(difference(result, 0), "option"),
			    option_table[OPTION_TCP_BPF_IW].name);
	return result;
}

static void test_same_rules(void **state)
{
	json_t *result = compare(&with_rules, &with_rules);

	(void)state;
	assert_int_equal(count(result, "differences"), 0);
	json_decref(result);
}

static void test_other_value_in_rule(void **state)
{
	struct fixture_policy files = with_rules;
	json_t *result;

	(void)state;
	files.rules[1].options[0].value = 41;
	result = one_difference(&files);
	assert_string_equal(side_text(result, 0, "in_force", "value"), "40");
	assert_string_equal(side_text(result, 0, "files", "value"), "41");
	assert_string_equal(side_text(result, 0, "in_force", "rule"), "two");
	assert_string_equal(side_text(result, 0, "files", "rule"), "two");
	assert_null(document_text(difference(result, 0), "also"));
	json_decref(result);
}

/* A rule that is new, or gone, does not make the others differ, whatever their bits are then. */
static void test_rule_on_one_side(void **state)
{
	struct fixture_policy files = with_rules;
	json_t *result;

	(void)state;
	files.rules[0] = with_rules.rules[1];
	files.rules[1] = with_rules.rules[2];
	files.rules[2] = (struct fixture_rule){ 0 };
	result = one_difference(&files);
	assert_string_equal(side_text(result, 0, "in_force", "rule"), "one");
	assert_string_equal(side_text(result, 0, "in_force", "value"), "30");
	assert_null(side_text(result, 0, "files", "value"));
	json_decref(result);

	result = compare(&files, &with_rules);
	assert_int_equal(count(result, "differences"), 1);
	assert_null(side_text(result, 0, "in_force", "value"));
	assert_string_equal(side_text(result, 0, "files", "rule"), "one");
	json_decref(result);
}

/* `unset` in a rule has no operation in the maps, but is there. */
static void test_unset_rule_gone(void **state)
{
	struct fixture_policy files = with_rules;
	json_t *result;

	(void)state;
	files.rules[2] = (struct fixture_rule){ 0 };
	result = one_difference(&files);
	assert_string_equal(side_text(result, 0, "in_force", "value"), "unset");
	assert_string_equal(side_text(result, 0, "in_force", "rule"), "three");
	assert_null(side_text(result, 0, "files", "value"));
	json_decref(result);
}

static void test_other_order(void **state)
{
	struct fixture_policy files = with_rules;
	json_t *result;

	(void)state;
	files.rules[0] = with_rules.rules[1];
	files.rules[1] = with_rules.rules[0];
	result = one_difference(&files);
	assert_string_equal(document_text(difference(result, 0), "also"), "order");
	json_decref(result);
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
	json_t *result;

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
	assert_int_equal(count(result, "differences"), 0);
	json_decref(result);
	/* one address less */
	rule->remote[0] = "2001:db8::2/128";
	result = compare(&p, &files);
	assert_int_equal(count(result, "differences"), 2); /* whether it connects or accepts */
	assert_string_equal(document_text(difference(result, 0), "also"), "condition");
	assert_string_equal(side_text(result, 0, "in_force", "value"), "30");
	assert_string_equal(side_text(result, 0, "files", "value"), "30");
	json_decref(result);
	/* one port more */
	rule->remote[0] = "2001:db8::1/128";
	rule->remote_port[1].last = 100;
	result = compare(&p, &files);
	assert_int_equal(count(result, "differences"), 2);
	json_decref(result);
	/* one family only */
	rule->remote_port[1].last = 99;
	rule->families = BIT(SP_FAMILY_INDEX_IPV6);
	result = compare(&p, &files);
	assert_int_equal(count(result, "differences"), 2);
	json_decref(result);
}

/* What the maps say beside values, and no list of rules shows. */
static void test_other_families(void **state)
{
	struct side now = side_new(&with_rules, 1), then = side_new(&with_rules, 1);
	struct sp_op_cell *cells = now.view.image->of[MAP_ID_ops].values;
	const struct sp_policy *p = now.view.image->of[MAP_ID_policies].values;
	const struct sp_block *blocks = now.view.image->of[MAP_ID_blocks].values;
	json_t *result;

	(void)state;
	cells[blocks[p[1].stage[SP_STAGE_TCP_ACTIVE_EST].first_block].first_cell].op[0].families ^=
		SP_FAMILY_IPV4;
	assert_int_equal(in_force_compare(&now.view, &first, &then.view, &first, &result), 0);
	assert_int_equal(count(result, "differences"), 1);
	assert_string_equal(document_text(difference(result, 0), "also"), "condition");
	assert_string_equal(side_text(result, 0, "in_force", "value"), "30");
	json_decref(result);
	side_free(&now);
	side_free(&then);
}

/* A rule that the hook does not look at is as good as none. */
static void test_not_looked_at(void **state)
{
	struct side now = side_new(&with_rules, 1), then = side_new(&with_rules, 1);
	struct sp_policy *p = now.view.image->of[MAP_ID_policies].values;
	json_t *result;

	(void)state;
	p[1].stage[SP_STAGE_TCP_ACTIVE_EST].rules &= ~1ull;
	assert_int_equal(in_force_compare(&now.view, &first, &then.view, &first, &result), 0);
	assert_int_equal(count(result, "differences"), 1);
	assert_null(side_text(result, 0, "in_force", "value"));
	assert_string_equal(side_text(result, 0, "files", "rule"), "one");
	json_decref(result);
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
	json_t *result;
	bool seen = false;

	(void)state;
	assert_int_equal(in_force_compare(&s.view, &ab, &s.view, &ab, &result), 0);
	assert_false(document_is(result, "differs"));
	json_decref(result);
	/* in the other order a's base and rule beat b's */
	assert_int_equal(in_force_compare(&s.view, &ab, &s.view, &ba, &result), 0);
	assert_true(document_is(result, "other_order"));
	assert_int_equal(count(result, "come") + count(result, "go"), 0);
	for (size_t i = 0; i < count(result, "differences"); i++) {
		const char *stage = document_text(difference(result, i), "stage");

		assert_string_equal(document_text(difference(result, i), "option"), "SO_MARK");
		/* a's rule leaves it to a later stage, if that may hold for the socket at all */
		if (streq(stage, "tcp-socket") || streq(stage, "udp-socket")) {
			assert_string_equal(side_text(result, i, "in_force", "policy"), "b");
			assert_null(side_text(result, i, "files", "policy"));
			continue;
		}
		assert_string_equal(side_text(result, i, "files", "policy"), "a");
		if (side_text(result, i, "files", "rule")) {
			assert_null(side_text(result, i, "in_force", "value"));
			seen = true;
		} else {
			assert_string_equal(side_text(result, i, "in_force", "policy"), "b");
		}
	}
	assert_true(seen);
	json_decref(result);
	/* b alone; with a before it there is TCP_SYNCNT, and no mark of a's */
	assert_int_equal(in_force_compare(&s.view, &ab, &s.view,
					  &(struct glob_list){ .number = { 2 }, .n = 1 }, &result),
			 0);
	assert_true(count(result, "differences") > 0);
	for (size_t i = 0; i < count(result, "differences"); i++)
		assert_string_equal(document_text(difference(result, i), "option"),
				    option_table[OPTION_TCP_SYNCNT].name);
	assert_string_equal(name(result, "go"), "a");
	json_decref(result);
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

/* --- from differences at hooks to changes in words -------------------------------------------- */

struct row {
	enum sp_stage stage;
	enum option_id option;
	/* value, policy, rule; of what is in force, and of the files */
	const char *kernel[3], *files[3];
	const char *also;
};

static json_t *side_of(const char *const v[3])
{
	if (!v[0])
		return json_null();
	return json_pack("{s:s, s:s?, s:s?}", "value", v[0], "policy", v[1], "rule", v[2]);
}

/* A comparison as in_force_compare() gives it. */
static json_t *in_force(const struct row *rows, size_t n, const char *come)
{
	json_t *differences = json_array(), *comes = json_array();

	for (size_t i = 0; i < n; i++)
		differences = document_append(
			differences,
			json_pack("{s:s, s:s, s:o, s:o, s:s?}", "option",
				  option_table[rows[i].option].name, "stage",
				  stage_name(rows[i].stage), "in_force", side_of(rows[i].kernel),
				  "files", side_of(rows[i].files), "also", rows[i].also));
	if (come)
		comes = document_append(comes, json_string(come));
	return json_pack("{s:o, s:o, s:[], s:b}", "differences", differences, "come", comes, "go",
			 "other_order", 0);
}

static json_t *change_set(const struct row *rows, size_t n, const char *come)
{
	_cleanup_(json_decref) json_t *f = in_force(rows, n, come);
	json_t *set;

	assert_non_null(f);
	set = in_force_changes(f);
	assert_non_null(set);
	return set;
}

static void expect(const struct row *rows, size_t n, const char *come, const char *expected)
{
	_cleanup_(json_decref) json_t *set = change_set(rows, n, come);
	size_t size;
	char *text;
	FILE *to = open_memstream(&text, &size);

	assert_non_null(to);
	in_force_print_changes(set, to);
	assert_int_equal(fclose(to), 0);
	assert_string_equal(text, expected);
	free(text);
}
#define EXPECT(rows, expected) expect(rows, ARRAY_SIZE(rows), NULL, expected)

#define PRIORITY OPTION_SO_PRIORITY
#define NODELAY	 OPTION_TCP_NODELAY
#define NOTHING                                                                                    \
	{                                                                                          \
		NULL                                                                               \
	}

static void test_changes_empty(void **state)
{
	(void)state;
	expect(NULL, 0, NULL, "");
	expect(NULL, 0, "web", "    policies that come: web\n");
}

static void test_changes_directions_join(void **state)
{
	const struct row rows[] = {
		{ SP_STAGE_TCP_CONNECT, PRIORITY, { "4", "a" }, { "5", "a" } },
		{ SP_STAGE_TCP_PASSIVE_EST, PRIORITY, { "4", "a" }, { "5", "a" } },
		{ SP_STAGE_UDP_BIND, PRIORITY, { "4", "a" }, { "5", "a" } },
		{ SP_STAGE_UDP_CONNECT, PRIORITY, { "4", "a" }, { "5", "a" } },
	};

	(void)state;
	EXPECT(rows, "    SO_PRIORITY: 4 by a -> 5 by a at connect, accept, listen of udp\n");
}

static void test_changes_directions_that_differ(void **state)
{
	const struct row rows[] = {
		{ SP_STAGE_TCP_CONNECT, NODELAY, NOTHING, { "on", "a", "out" } },
		{ SP_STAGE_TCP_CONNECT, PRIORITY, { "4", "a" }, { "5", "a" } },
		{ SP_STAGE_TCP_PASSIVE_EST, PRIORITY, { "4", "a" }, { "6", "b" } },
		{ SP_STAGE_UNIX, PRIORITY, { "4", "a" }, NOTHING },
	};

	(void)state;
	EXPECT(rows, "    TCP_NODELAY: not set -> on by a, rule out at connect\n"
		     "    SO_PRIORITY: 4 by a -> not set at connect of unix\n"
		     "    SO_PRIORITY: 4 by a -> 5 by a at connect\n"
		     "    SO_PRIORITY: 4 by a -> 6 by b at accept\n");
}

/* Set later than before: a difference at either hook, and one change. */
static void test_changes_another_hook(void **state)
{
	const struct row same[] = {
		{ SP_STAGE_TCP_CONNECT, PRIORITY, { "4", "a" }, NOTHING },
		{ SP_STAGE_TCP_SYN, PRIORITY, NOTHING, { "4", "a" } },
	};
	const struct row other[] = {
		{ SP_STAGE_TCP_CONNECT, PRIORITY, { "4", "a" }, NOTHING },
		{ SP_STAGE_TCP_SYN, PRIORITY, NOTHING, { "5", "b" } },
	};

	(void)state;
	EXPECT(same, "    SO_PRIORITY: 4 by a at connect, with another hook\n");
	EXPECT(other, "    SO_PRIORITY: 4 by a -> 5 by b at connect\n");
}

static void test_changes_rules(void **state)
{
	const struct row rows[] = {
		{ SP_STAGE_TCP_CONNECT, PRIORITY, { "4", "a", "r" }, { "5", "a", "r" } },
		{ SP_STAGE_TCP_CONNECT, PRIORITY, { "4", "a", "gone" }, NOTHING },
		{ SP_STAGE_TCP_CONNECT, PRIORITY, NOTHING, { "7", "a", "new" } },
		{ SP_STAGE_TCP_CONNECT,
		  PRIORITY,
		  { "8", "a", "c" },
		  { "8", "a", "c" },
		  "condition" },
		{ SP_STAGE_TCP_CONNECT, PRIORITY, NOTHING, { "unset", "a", "n" } },
	};

	(void)state;
	EXPECT(rows, "    SO_PRIORITY: 4 by a, rule gone -> not set at connect\n"
		     "    SO_PRIORITY: 8 by a, rule c at connect, with another condition\n"
		     "    SO_PRIORITY: not set -> left alone by a, rule n at connect\n"
		     "    SO_PRIORITY: not set -> 7 by a, rule new at connect\n"
		     "    SO_PRIORITY: 4 by a, rule r -> 5 by a, rule r at connect\n");
}

/* Whatever order differences come in, cgroups that change alike are told alike. */
static void test_changes_order(void **state)
{
	struct row rows[] = {
		{ SP_STAGE_TCP_CONNECT, PRIORITY, { "4", "a" }, { "5", "a" } },
		{ SP_STAGE_TCP_CONNECT, PRIORITY, NOTHING, { "6", "a", "x" } },
		{ SP_STAGE_TCP_CONNECT, PRIORITY, NOTHING, { "7", "a", "y" } },
		{ SP_STAGE_TCP_CONNECT, NODELAY, { "on", "a" }, NOTHING },
	};
	const char *expected = "    TCP_NODELAY: on by a -> not set at connect\n"
			       "    SO_PRIORITY: 4 by a -> 5 by a at connect\n"
			       "    SO_PRIORITY: not set -> 6 by a, rule x at connect\n"
			       "    SO_PRIORITY: not set -> 7 by a, rule y at connect\n";

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct row moved = rows[0];

		EXPECT(rows, expected);
		memmove(&rows[0], &rows[1], sizeof(rows) - sizeof(rows[0]));
		rows[ARRAY_SIZE(rows) - 1] = moved;
	}
}

static void test_changes_json(void **state)
{
	const struct row rows[] = {
		{ SP_STAGE_TCP_CONNECT, PRIORITY, NOTHING, { "5", "a", "r" } },
		{ SP_STAGE_UDP_CONNECT, PRIORITY, NOTHING, { "5", "a", "r" } },
	};
	_cleanup_(json_decref) json_t *set = change_set(rows, ARRAY_SIZE(rows), NULL);
	_cleanup_free_ char *text = json_dumps(set, JSON_COMPACT | JSON_SORT_KEYS);

	(void)state;
	assert_string_equal(
		text,
		"{\"changes\":[{\"also\":null,\"from\":null,\"option\":\"SO_PRIORITY\",\"to\":"
		"{\"policy\":\"a\",\"rule\":\"r\",\"value\":\"5\"},\"where\":["
		"{\"direction\":\"connect\",\"transport\":\"tcp\"},"
		"{\"direction\":\"connect\",\"transport\":\"udp\"}]}],\"come\":[],\"go\":[],"
		"\"other_order\":false}");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_other_value),
		cmocka_unit_test(test_other_word),
		cmocka_unit_test(test_other_fresh_value),
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
		cmocka_unit_test(test_changes_empty),
		cmocka_unit_test(test_changes_directions_join),
		cmocka_unit_test(test_changes_directions_that_differ),
		cmocka_unit_test(test_changes_another_hook),
		cmocka_unit_test(test_changes_rules),
		cmocka_unit_test(test_changes_order),
		cmocka_unit_test(test_changes_json),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
