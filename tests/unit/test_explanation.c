// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "explanation.h"
#include "policy_fixture.h"

struct fixture {
	struct config *config;
	struct cascade *cascade;
	struct explanation e;
};

/* A host that is known to double SO_SNDBUF up to 1 MiB. */
static const struct host host = {
	.rmem_max = 1 << 20, .wmem_max = 1 << 20, .tcp_rmem_max = 6 << 20, .tick_usec = 4000
};

static const struct fixture_policy policies[] = {
	{ "first", .unit = { "a" },
	  .base = { { OPTION_SO_SNDBUF, 4096 }, { OPTION_SO_REUSEPORT, 1 }, { OPTION_SO_MARK, 1 } },
	  .rules = { { "out", BIT(DIRECTION_CONNECT), { { OPTION_SO_MARK, 2 } } },
		     { "in", BIT(DIRECTION_ACCEPT), { { OPTION_SO_MARK, 3 } } } } },
	{ "second",
	  { "/a/b", "/**/c" },
	  .base = { { OPTION_SO_MARK, 4 },
		    { OPTION_SO_SNDBUF, UNSET },
		    { OPTION_SO_BINDTODEVICE, .text = "eth0" } } },
	{ "third", { "/a/b/c" }, .base = { { OPTION_SO_BINDTOIFINDEX, 7 } } },
};

static struct fixture fixture_new(const char *cgroup, unsigned directions)
{
	struct fixture f = { .config = fixture_config(policies, ARRAY_SIZE(policies)) };

	/* The fixture's policies have no files: say where they stand, as JSON must have text. */
	for (size_t i = 0; i < f.config->n_policies; i++) {
		struct policy *p = &f.config->policies[i];

		p->at = (struct position){ "test.yaml", (unsigned)i + 1, 1 };
		for (size_t o = 0; o < p->base.n; o++)
			p->base.v[o].at = p->at;
		for (size_t r = 0; r < p->n_rules; r++)
			for (size_t o = 0; o < p->rules[r].options.n; o++)
				p->rules[r].options.v[o].at = p->at;
	}
	assert_int_equal(cascade_new(f.config, &f.cascade), 0);
	assert_int_equal(explanation_make(f.cascade, &host, cgroup, directions, &f.e), 0);
	assert_string_equal(f.e.cgroup, cgroup);
	return f;
}

static void fixture_free(struct fixture *f)
{
	explanation_clear(&f->e);
	cascade_free(f->cascade);
	config_free(f->config);
}

static const struct explained_option *find(const struct fixture *f, enum direction d,
					   enum option_id id)
{
	for (size_t i = 0; i < f->e.n_options; i++) {
		const struct explained_option *o = &f->e.options[i];

		if (o->direction == d && option_id(o->winner->setting->option) == id)
			return o;
	}
	return NULL;
}

static void test_policies(void **state)
{
	struct fixture f = fixture_new("/a/b/c", BIT(DIRECTION_CONNECT));
	static const struct {
		const char *name, *cgroup, *pattern;
		size_t depth;
	} expected[] = {
		{ "first", "/a", "a", 1 },
		{ "second", "/a/b", "/a/b", 2 },
		{ "third", "/a/b/c", "/a/b/c", 3 },
	};

	(void)state;
	assert_int_equal(f.e.n_policies, ARRAY_SIZE(expected));
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		const struct explained_policy *p = &f.e.policies[i];

		assert_string_equal(p->policy->name, expected[i].name);
		assert_string_equal(p->cgroup, expected[i].cgroup);
		assert_string_equal(glob_pattern(p->pattern->glob), expected[i].pattern);
		assert_int_equal(p->depth, expected[i].depth);
	}
	fixture_free(&f);
}

/* What it beat: the strongest first, in the same direction only, in either spelling. */
static void test_losers(void **state)
{
	struct fixture f = fixture_new("/a/b/c", BIT(DIRECTION_CONNECT));
	const struct explained_option *o = find(&f, DIRECTION_CONNECT, OPTION_SO_MARK);

	(void)state;
	assert_non_null(o);
	assert_string_equal(o->value, "4");
	assert_string_equal(o->winner->block->policy->name, "second");
	assert_int_equal(o->n_losers, 2);
	assert_string_equal(o->losers[0].block->rule->name, "out");
	assert_string_equal(o->losers[0].value, "2");
	assert_null(o->losers[1].block->rule);
	assert_string_equal(o->losers[1].value, "1");

	assert_null(find(&f, DIRECTION_CONNECT, OPTION_SO_BINDTODEVICE));
	o = find(&f, DIRECTION_CONNECT, OPTION_SO_BINDTOIFINDEX);
	assert_non_null(o);
	assert_int_equal(o->n_losers, 1);
	assert_string_equal(o->losers[0].setting->option->name, "SO_BINDTODEVICE");
	assert_string_equal(o->losers[0].value, "eth0");
	fixture_free(&f);
}

static void test_values(void **state)
{
	struct fixture f = fixture_new("/a", BIT(DIRECTION_CONNECT) | BIT(DIRECTION_LISTEN));
	struct fixture deeper = fixture_new("/a/b", BIT(DIRECTION_CONNECT));
	const struct explained_option *o;

	(void)state;
	o = find(&f, DIRECTION_CONNECT, OPTION_SO_SNDBUF);
	assert_non_null(o);
	assert_string_equal(o->value, "4K");
	assert_string_equal(o->result.text, "8192 bytes");
	assert_int_equal(o->stages, BIT(SP_STAGE_TCP_CONNECT) | BIT(SP_STAGE_UDP_CONNECT));

	/* wins, but no hook makes it effective there */
	o = find(&f, DIRECTION_CONNECT, OPTION_SO_REUSEPORT);
	assert_non_null(o);
	assert_int_equal(o->stages, 0);
	o = find(&f, DIRECTION_LISTEN, OPTION_SO_REUSEPORT);
	assert_non_null(o);
	assert_int_equal(o->stages, BIT(SP_STAGE_TCP_BIND) | BIT(SP_STAGE_UDP_BIND));
	assert_null(find(&f, DIRECTION_ACCEPT, OPTION_SO_REUSEPORT)); /* not asked for */

	o = find(&deeper, DIRECTION_CONNECT, OPTION_SO_SNDBUF);
	assert_non_null(o);
	assert_string_equal(o->value, "unset");
	assert_int_equal(o->stages, 0);
	assert_int_equal(o->n_losers, 1);
	assert_string_equal(o->losers[0].value, "4K");
	fixture_free(&f);
	fixture_free(&deeper);
}

static void test_nothing_applies(void **state)
{
	struct fixture f = fixture_new("/", BIT(DIRECTION_MAX) - 1);

	(void)state;
	assert_int_equal(f.e.n_policies, 0);
	assert_int_equal(f.e.n_options, 0);
	fixture_free(&f);
}

static void test_json(void **state)
{
	struct fixture f = fixture_new("/a/b", BIT(DIRECTION_CONNECT));
	static const char expected[] =
		"{'cgroup': '/a/b', 'policies': ["
		" {'name': 'first', 'file': 'test.yaml', 'line': 1, 'cgroup': '/a', 'depth': 1,"
		"  'match': 'unit', 'pattern': 'a'},"
		" {'name': 'second', 'file': 'test.yaml', 'line': 2, 'cgroup': '/a/b', 'depth': 2,"
		"  'match': 'cgroup', 'pattern': '/a/b'}],"
		"'options': ["
		" {'option': 'SO_REUSEPORT', 'direction': 'connect', 'value': 'on', 'number': 1,"
		"  'kernel': null, 'hooks': [], 'stages': [], 'policy': 'first', 'rule': null,"
		"  'file': 'test.yaml', 'line': 1, 'beats': []},"
		" {'option': 'SO_BINDTODEVICE', 'direction': 'connect', 'value': 'eth0',"
		"  'number': null, 'kernel': 'eth0', 'hooks': ['connect4', 'connect6'],"
		"  'stages': ['tcp-connect', 'udp-connect'], 'policy': 'second', 'rule': null,"
		"  'file': 'test.yaml', 'line': 2, 'beats': []},"
		" {'option': 'SO_MARK', 'direction': 'connect', 'value': '4', 'number': 4,"
		"  'kernel': '4', 'hooks': ['connect4', 'connect6'],"
		"  'stages': ['tcp-connect', 'udp-connect'], 'policy': 'second', 'rule': null,"
		"  'file': 'test.yaml', 'line': 2, 'beats': ["
		"   {'option': 'SO_MARK', 'policy': 'first', 'rule': 'out', 'file': 'test.yaml',"
		"    'line': 1, 'value': '2'},"
		"   {'option': 'SO_MARK', 'policy': 'first', 'rule': null, 'file': 'test.yaml',"
		"    'line': 1, 'value': '1'}]},"
		" {'option': 'SO_SNDBUF', 'direction': 'connect', 'value': 'unset', 'number': null,"
		"  'kernel': null, 'hooks': [], 'stages': [], 'policy': 'second', 'rule': null,"
		"  'file': 'test.yaml', 'line': 2, 'beats': ["
		"   {'option': 'SO_SNDBUF', 'policy': 'first', 'rule': null, 'file': 'test.yaml',"
		"    'line': 1, 'value': '4K'}]}],"
		"'in_force': {'known': false, 'differs': false, 'differences': [],"
		"  'why': 'not known (because)'}}";
	char text[sizeof(expected)];
	json_error_t error;
	json_t *wanted, *has;

	(void)state;
	memcpy(text, expected, sizeof(text));
	for (char *quote = text; (quote = strchr(quote, '\''));)
		*quote = '"';
	wanted = json_loads(text, 0, &error);
	if (!wanted)
		fail_msg("%s", error.text);
	assert_int_equal(in_force_unknown("not known (because)", &f.e.in_force), 0);
	has = explanation_json(&f.e);
	assert_non_null(has);
	if (!json_equal(has, wanted)) {
		json_dumpf(has, stdout, JSON_INDENT(1));
		fail_msg("not the JSON that was expected");
	}
	json_decref(has);
	json_decref(wanted);
	fixture_free(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_policies), cmocka_unit_test(test_losers),
		cmocka_unit_test(test_values),	 cmocka_unit_test(test_nothing_applies),
		cmocka_unit_test(test_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
