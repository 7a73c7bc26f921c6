// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Do names keep their ids?  The maps are fake_maps.h's. */
#include "fake_maps.h"
#include "policy_fixture.h"
#include "kernel/sources.h"

static const struct fixture_policy policies[] = {
	{ "a", .rules = { { "one" }, { "two" } } },
	{ "b", .rules = { { "one" } } },
	{ "c", .rules = { { "one" } } },
};

static struct sources *new_sources(void)
{
	struct sources *s;

	assert_int_equal(sources_new(NULL, &s), 0);
	return s;
}

static uint32_t id_of(const struct sources *s, const struct config *c, size_t policy)
{
	return sources_id(s, &c->policies[policy], NULL);
}

static uint32_t id_of_rule(const struct sources *s, const struct config *c, size_t policy,
			   size_t rule)
{
	return sources_id(s, &c->policies[policy], &c->policies[policy].rules[rule]);
}

static const struct sp_source *written(uint32_t id)
{
	return fake_array_at(KERNEL_MAP_SOURCES, id);
}

static void expect_written(uint32_t id, const char *policy, const char *rule)
{
	assert_string_equal(written(id)->policy, policy);
	assert_string_equal(written(id)->rule, rule);
}

static void names_keep_their_ids(void **state)
{
	struct config *all = fixture_config(policies, 3), *fewer = fixture_config(policies, 2);
	struct sources *s;
	uint32_t a, one, c;

	(void)state;
	fake_reset();
	fake.sizes.sources = sources_needed(all);
	assert_int_equal(fake.sizes.sources, 8);
	s = new_sources();
	assert_int_equal(sources_add_config(s, all), 0);
	a = id_of(s, all, 0);
	one = id_of_rule(s, all, 1, 0);
	c = id_of(s, all, 2);
	expect_written(a, "a", "");
	expect_written(one, "b", "one");
	expect_written(c, "c", "");
	fake.n_counters = 0;
	sources_keep_only(s, fewer);
	assert_int_equal(fake.n_counters, 2); /* begin anew with whoever gets the ids */
	assert_int_equal(id_of(s, fewer, 0), a);
	assert_int_equal(id_of_rule(s, fewer, 1, 0), one);
	assert_int_equal(id_of(s, all, 2), 0);
	expect_written(c, "", "");
	assert_int_equal(sources_add_config(s, all), 0);
	assert_int_not_equal(id_of(s, all, 2), 0);
	sources_keep_only(s, NULL);
	assert_int_equal(id_of(s, all, 0), 0);
	sources_free(s);
	config_free(all);
	config_free(fewer);
	fake_reset();
}

/* What a configuration that is given up added goes; what an earlier agent gave stays. */
static void an_earlier_agents_ids(void **state)
{
	struct config *all = fixture_config(policies, 3), *two = fixture_config(policies, 2),
		      *last = fixture_config(policies + 2, 1);
	struct sources *earlier, *s;

	(void)state;
	fake_reset();
	fake.sizes.sources = 16;
	earlier = new_sources();
	assert_int_equal(sources_add_config(earlier, last), 0);
	assert_int_equal(sources_add_config(earlier, two), 0);
	sources_set_flags(earlier, &two->policies[1], SP_SOURCE_BY_EVENTS);
	s = new_sources();
	assert_int_equal(sources_read(s), 0);
	assert_int_equal(sources_add_config(s, all), 0);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(id_of(s, all, i), id_of(earlier, two, i));
	assert_int_equal(id_of_rule(s, all, 2, 0), id_of_rule(earlier, last, 0, 0));
	sources_keep_only(s, NULL);
	assert_int_equal(id_of(s, all, 1), id_of(earlier, two, 1));
	assert_int_equal(id_of(s, all, 2), id_of(earlier, last, 0));
	assert_int_equal(written(id_of(s, all, 1))->flags, SP_SOURCE_BY_EVENTS);
	sources_set_flags(s, &all->policies[1], 0);
	assert_int_equal(written(id_of(s, all, 1))->flags, 0);
	expect_written(id_of(s, all, 1), "b", "");
	sources_keep_only(s, two);
	assert_int_equal(id_of(s, all, 1), id_of(earlier, two, 1));
	assert_int_equal(id_of(s, all, 2), 0);
	sources_free(s);
	sources_free(earlier);
	config_free(all);
	config_free(two);
	config_free(last);
	fake_reset();
}

static void want_of_room(void **state)
{
	struct config *all = fixture_config(policies, 3), *two = fixture_config(policies, 2);
	struct sources *s;

	(void)state;
	fake_reset();
	fake.sizes.sources = sources_needed(two);
	s = new_sources();
	assert_int_equal(sources_add_config(s, two), 0);
	assert_int_equal(sources_add_config(s, all), -ENOSPC);
	sources_keep_only(s, two);
	assert_int_not_equal(id_of(s, two, 1), 0);
	assert_int_equal(sources_add_config(s, two), 0);
	sources_free(s);
	config_free(all);
	config_free(two);
	fake_reset();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_keep_their_ids),
		cmocka_unit_test(an_earlier_agents_ids),
		cmocka_unit_test(want_of_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
