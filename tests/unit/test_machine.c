// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The machine against glob_match(), which it must equal, and its tables as the kernel reads them.
 */
#include <malloc.h>
#include <time.h>

#include "compile/machine.h"
#include "random_globs.h"

static struct machine *machine_of(const struct config *c)
{
	struct machine *m;

	assert_int_equal(machine_new(c, &m), 0);
	return m;
}

/* What bpf/classify.h does. */
static uint32_t kernel_step(const struct machine_tables *t, uint32_t state, const char *name)
{
	const unsigned char *at = (const unsigned char *)name;

	for (unsigned byte = '/'; byte; byte = *at++) {
		const struct sp_glob_state *s = &t->states[state];
		const struct sp_glob_edge *e;

		assert_true(state > 0 && state < t->n_states);
		assert_true(s->first_edge + byte < t->n_edges);
		e = &t->edges[s->first_edge + byte];
		state = e->from == state ? e->to : s->otherwise;
	}
	return state;
}

static bool is_among(uint32_t policy, const uint32_t *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (v[i] == policy)
			return true;
	return false;
}

/* Does the state after the path say of every policy in the machine what glob_match() says? */
static size_t expect_same(struct seeded *s, const struct config *c, const struct machine *m,
			  const char *path, uint32_t state)
{
	const struct matched has = machine_matched(m, machine_matches(m, state));

	for (uint32_t i = 0; i < c->n_policies; i++) {
		const struct policy *p = &c->policies[i];
		bool match = is_among(i, has.match, has.n_match);
		bool exclude = is_among(i, has.exclude, has.n_exclude);

		if (!machine_has(m, i)) {
			assert_false(match || exclude);
			continue;
		}
		if (match != patterns_match(&p->match, path))
			SEEDED_FAIL(s, "%s: the machine says %d of match of %s", path, match,
				    p->name);
		if (exclude != patterns_match(&p->exclude, path))
			SEEDED_FAIL(s, "%s: the machine says %d of exclude of %s", path, exclude,
				    p->name);
	}
	for (size_t i = 1; i < has.n_match; i++)
		assert_true(has.match[i - 1] < has.match[i]);
	for (size_t i = 1; i < has.n_exclude; i++)
		assert_true(has.exclude[i - 1] < has.exclude[i]);
	return has.n_match + has.n_exclude;
}

/* Each cgroup from the root down to the path. */
static size_t walk_and_expect_same(struct seeded *s, const struct config *c,
				   const struct machine *m, char *path)
{
	const struct machine_tables t = machine_tables(m);
	uint32_t state = machine_root(m);
	size_t matches = expect_same(s, c, m, "/", state);
	char *at = path;

	while (at && at[1]) {
		char *end = strchr(at + 1, '/');
		uint32_t next;

		if (end)
			*end = '\0';
		next = machine_step(m, state, at + 1);
		assert_int_equal(next, kernel_step(&t, state, at + 1));
		assert_int_equal(next, machine_walk(m, path));
		matches += expect_same(s, c, m, path, next);
		state = next;
		if (end)
			*end = '/';
		at = end;
	}
	assert_int_equal(state, machine_walk(m, path));
	return matches;
}

static size_t n_matches, n_paths;

static void same_as_glob_match(struct seeded *s)
{
	struct random_globs g = random_globs(s, ARRAY_SIZE(pieces));
	struct machine *m = machine_of(g.config);

	assert_int_equal(machine_n_left_out(m), 0);
	for (size_t i = 0; i < g.n_paths; i++)
		n_matches += walk_and_expect_same(s, g.config, m, g.paths[i]);
	for (int i = 0; i < 20; i++) {
		char path[RANDOM_PATH_SIZE] = "";

		random_path(s, path);
		n_matches += walk_and_expect_same(s, g.config, m, path);
	}
	n_paths += g.n_paths + 20;
	machine_free(m);
	random_globs_free(&g);
}

static void test_same_as_glob_match(void **state)
{
	(void)state;
	for_seeds(3000, same_as_glob_match);
	print_message("%zu paths, %zu matches\n", n_paths, n_matches);
	assert_true(n_matches > n_paths);
}

/* What the tables promise: see struct machine_tables. */
static void expect_sound(const struct machine *m)
{
	const struct machine_tables t = machine_tables(m);

	for (uint32_t i = 1; i < t.n_states; i++) {
		assert_true(t.states[i].first_edge + 255 < t.n_edges);
		assert_in_range(t.states[i].otherwise, 1, t.n_states - 1);
		(void)machine_matched(
			m, t.states[i].matches); /* a wrong number reads beyond the end */
	}
	for (uint32_t i = 0; i < t.n_edges; i++) {
		assert_in_range(t.edges[i].from, 0, t.n_states - 1);
		if (t.edges[i].from)
			assert_in_range(t.edges[i].to, 1, t.n_states - 1);
	}
}

static void sound(struct seeded *s)
{
	struct random_globs g = random_globs(s, ARRAY_SIZE(pieces));
	struct machine *m = machine_of(g.config);

	expect_sound(m);
	machine_free(m);
	random_globs_free(&g);
}

static void test_tables(void **state)
{
	(void)state;
	for_seeds(300, sound);
}

/* The pieces that children_equal() writes names with; 'x' stands for all other bytes. */
#define N_LETTERS	5
#define NAME_LENGTH_MAX 5 /* letters */
static const char *const letters[N_LETTERS] = { "a", "b", "_", ".slice", "x" };

struct kinds {
	uint64_t *v; /* matches, future */
	size_t n;
};

static void add_kind(struct kinds *k, const struct machine *m, uint32_t state)
{
	uint64_t kind = (uint64_t)machine_matches(m, state) << 32 | machine_future(m, state);

	for (size_t i = 0; i < k->n; i++)
		if (k->v[i] == kind)
			return;
	assert_int_equal(GROW(k->v, k->n), 0);
	k->v[k->n++] = kind;
}

static bool has_kind(const struct kinds *k, uint64_t kind)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->v[i] == kind)
			return true;
	return false;
}

static void add_all_names(struct kinds *k, const struct machine *m, uint32_t state)
{
	unsigned n = N_LETTERS;

	for (unsigned length = 1; length <= NAME_LENGTH_MAX; length++, n *= N_LETTERS) {
		for (unsigned word = 0; word < n; word++) {
			char name[64] = "";

			for (unsigned i = 0, rest = word; i < length; i++, rest /= N_LETTERS)
				strcat(name, letters[rest % N_LETTERS]);
			add_kind(k, m, machine_step(m, state, name));
		}
	}
}

static void expect_children(struct seeded *s, struct machine *m, uint32_t state, const char *path)
{
	const struct machine_child *v, *again;
	struct kinds by_name = { 0 }, said = { 0 };
	size_t n;

	add_all_names(&by_name, m, state);
	assert_int_equal(machine_children(m, state, &v, &n), 0);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(v[i].matches, machine_matches(m, v[i].state));
		add_kind(&said, m, v[i].state);
		assert_int_equal(said.n, i + 1); /* none twice */
	}
	for (size_t i = 0; i < by_name.n; i++)
		if (!has_kind(&said, by_name.v[i]))
			SEEDED_FAIL(s, "%s has a child that is not among the %zu", path, n);
	if (by_name.n != n)
		SEEDED_FAIL(s, "%s has %zu kinds of children, not %zu", path, by_name.n, n);
	assert_int_equal(machine_children(m, state, &again, &n), 0);
	assert_ptr_equal(v, again);
	free(by_name.v);
	free(said.v);
}

/* Only with the first pieces: of what these can tell apart, short names find every kind. */
static void children_equal(struct seeded *s)
{
	struct random_globs g = random_globs(s, 7);
	struct machine *m = machine_of(g.config);

	expect_children(s, m, machine_root(m), "/");
	for (size_t i = 0; i < g.n_paths && i < 4; i++)
		expect_children(s, m, machine_walk(m, g.paths[i]), g.paths[i]);
	machine_free(m);
	random_globs_free(&g);
}

static void test_children(void **state)
{
	(void)state;
	for_seeds(200, children_equal);
}

/* Every byte has its own way: no child is made up of the bytes that have none. */
static void test_children_of_all_bytes(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "low", { "/[\x01-\x55]*" } },
		{ "middle", { "/[\x56-\xaa]*" } },
		{ "high", { "/[\xab-\xff]*" } },
	};
	struct config *c = fixture_config(policies, ARRAY_SIZE(policies));
	struct machine *m = machine_of(c);
	const struct machine_child *v;
	size_t n;

	(void)state;
	assert_int_equal(machine_children(m, machine_root(m), &v, &n), 0);
	assert_int_equal(n, 3);
	for (size_t i = 0; i < n; i++)
		assert_int_not_equal(v[i].matches, 0);
	machine_free(m);
	config_free(c);
}

static double ms_since(const struct timespec *begin)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	return (double)(end.tv_sec - begin->tv_sec) * 1e3 +
	       (double)(end.tv_nsec - begin->tv_nsec) / 1e6;
}

static bool path_matches(const struct machine *m, const char *path, uint32_t policy)
{
	const struct matched has = machine_matched(m, machine_matches(m, machine_walk(m, path)));

	return is_among(policy, has.match, has.n_match);
}

/* Brackets of which only fnmatch(3) knows where they end are left to it. */
static void test_strange_brackets(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "fine", { "/[[:digit:]x]", "/[a[:upper:]-]", "/[!]a]" } },
		{ "no-class", { "/a[[:alpha]b:]]" } },
		{ "collates", .unit = { "x[[.hyphen.]]" } },
		{ "equals", { "/**/[[=a=]]" } },
		{ "ranges", { "/b" }, .exclude = { "/[a-[:digit:]]" } },
	};
	struct config *c = fixture_config(policies, ARRAY_SIZE(policies));
	struct machine *m = machine_of(c);

	(void)state;
	assert_int_equal(machine_n_left_out(m), 4);
	assert_true(machine_has(m, 0));
	for (size_t i = 1; i < ARRAY_SIZE(policies); i++)
		assert_false(machine_has(m, i));
	assert_true(path_matches(m, "/7", 0) && path_matches(m, "/B", 0) &&
		    path_matches(m, "/b", 0));
	assert_false(path_matches(m, "/]", 0));
	machine_free(m);
	config_free(c);
}

static void test_empty(void **state)
{
	struct config *c = fixture_config(NULL, 0);
	struct machine *m = machine_of(c);
	const struct machine_child *v;
	size_t n;

	(void)state;
	expect_sound(m);
	assert_int_equal(machine_matches(m, machine_walk(m, "/a/b")), 0);
	assert_int_equal(machine_matched(m, 0).n_match, 0);
	assert_int_equal(machine_children(m, machine_root(m), &v, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(v[0].matches, 0);
	machine_free(m);
	config_free(c);
}

static void add_policy(struct config *c, const char *cgroup, const char *unit)
{
	char name[32];
	struct fixture_policy p = { .name = name, .cgroup = { cgroup }, .unit = { unit } };

	snprintf(name, sizeof(name), "p%zu", c->n_policies);
	fixture_add(c, &p);
}

static size_t allocated(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static struct machine *timed_machine_of(const struct config *c, const char *what)
{
	struct timespec begin;
	size_t before = allocated();
	struct machine *m;
	double ms;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	m = machine_of(c);
	ms = ms_since(&begin);
	print_message("%s: %zu policies, %zu left out, %u states, %u edges, %.0f ms, "
		      "%zu kB\n",
		      what, c->n_policies, machine_n_left_out(m), machine_tables(m).n_states,
		      machine_tables(m).n_edges, ms, (allocated() - before) / 1024);
	assert_true(ms < 20000); /* generous: sanitizers, a busy machine */
	expect_sound(m);
	return m;
}

/* Two that multiply, each for itself, among many that do not. */
static void test_blow_up(void **state)
{
	struct config *c = config_new();
	struct machine *m;

	(void)state;
	assert_non_null(c);
	for (int i = 0; i < 200; i++) {
		char unit[32];

		snprintf(unit, sizeof(unit), "svc-%d@*.service", i);
		add_policy(c, NULL, unit);
		if (i == 100)
			add_policy(c, "/**/*a??????????????????????b", NULL);
		if (i == 150)
			add_policy(c, "/x/**/b/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/c", NULL);
	}
	m = timed_machine_of(c, "blow-up");
	assert_int_equal(machine_n_left_out(m), 2);
	for (uint32_t i = 0; i < c->n_policies; i++)
		assert_int_equal(machine_has(m, i), i != 101 && i != 152);
	assert_true(path_matches(m, "/system.slice/svc-150@1.service", 151));
	machine_free(m);
	config_free(c);
}

/* All of them can match in any combination: 2^n states and outcomes.  Those that are in are right.
 */
static void test_combinations(void **state)
{
	struct config *c = config_new();
	struct seeded none = { 0 };
	struct machine *m;
	char path[] = "/a.slice/x-w03-w17-w31-w00-w59.service";

	(void)state;
	assert_non_null(c);
	for (int i = 0; i < 60; i++) {
		char unit[32];

		snprintf(unit, sizeof(unit), "*w%02d*", i);
		add_policy(c, NULL, unit);
	}
	m = timed_machine_of(c, "combinations");
	assert_in_range(machine_n_left_out(m), 1, 54);
	walk_and_expect_same(&none, c, m, path);
	machine_free(m);
	config_free(c);
}

/* None of them fits, and there are many. */
static void test_all_blow_up(void **state)
{
	struct config *c = config_new();
	struct machine *m;

	(void)state;
	assert_non_null(c);
	for (int i = 0; i < 1000; i++) {
		char cgroup[64];

		snprintf(cgroup, sizeof(cgroup), "/**/*%c?????????????????????????%d", 'a' + i % 26,
			 i);
		add_policy(c, cgroup, NULL);
	}
	m = timed_machine_of(c, "all blow up");
	assert_int_equal(machine_n_left_out(m), c->n_policies);
	machine_free(m);
	config_free(c);
}

static struct config *big_config(void)
{
	struct config *c = config_new();

	assert_non_null(c);
	for (int i = 0; i < 1000; i++) {
		char name[32], a[64], b[64], d[64], cri[64], path[64];
		struct fixture_policy p = { .name = name };

		snprintf(name, sizeof(name), "p%d", i);
		snprintf(a, sizeof(a), "svc-%04d.service", i);
		snprintf(b, sizeof(b), "worker-%04d@*.service", i);
		snprintf(d, sizeof(d), "db%04d.socket", i);
		snprintf(path, sizeof(path), "/system.slice/app-%04d.service/payload", i);
		snprintf(cri, sizeof(cri), "/kubepods.slice/**/cri-%04d-*.scope", i);
		p.unit[0] = a;
		p.unit[1] = i % 5 > 0 ? b : NULL;
		p.unit[2] = i % 5 > 1 ? d : NULL;
		p.cgroup[0] = i % 5 > 2 ? path : NULL;
		p.cgroup[1] = i % 5 > 3 ? cri : NULL;
		fixture_add(c, &p);
	}
	return c;
}

/* 1,000 policies of one to five globs; 10,000 names. */
static void test_scale(void **state)
{
	struct config *c = big_config();
	struct machine *m = timed_machine_of(c, "big");
	const struct machine_child *v;
	struct timespec begin;
	size_t bytes = 0, n;
	uint32_t slice;

	(void)state;
	assert_int_equal(machine_n_left_out(m), 0);
	assert_true(path_matches(m, "/kubepods.slice/a.slice/cri-0004-x.scope", 4));
	assert_true(path_matches(m, "/kubepods.slice/a.slice/svc-0004.service", 4));
	assert_true(path_matches(m, "/system.slice/app-0999.service/payload", 999));
	slice = machine_walk(m, "/system.slice");
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (int i = 0; i < 10000; i++) {
		char name[64];
		uint32_t at;

		bytes +=
			(size_t)snprintf(name, sizeof(name), "worker-%04d@%d.service", i % 1000, i);
		at = machine_step(m, slice, name);
		assert_int_equal(machine_matches(m, at) != 0, i % 5 > 0);
	}
	print_message("10,000 names, %zu bytes: %.1f ms\n", bytes, ms_since(&begin));
	clock_gettime(CLOCK_MONOTONIC, &begin);
	assert_int_equal(machine_children(m, slice, &v, &n), 0);
	print_message("%zu kinds of children of a slice: %.1f ms\n", n, ms_since(&begin));
	clock_gettime(CLOCK_MONOTONIC, &begin);
	assert_int_equal(machine_children(m, machine_root(m), &v, &n), 0);
	print_message("%zu of the root: %.1f ms\n", n, ms_since(&begin));
	machine_free(m);
	config_free(c);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_as_glob_match),
		cmocka_unit_test(test_strange_brackets),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_children),
		cmocka_unit_test(test_children_of_all_bytes),
		cmocka_unit_test(test_blow_up),
		cmocka_unit_test(test_combinations),
		cmocka_unit_test(test_all_blow_up),
		cmocka_unit_test(test_scale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
