// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Does the kernel, which has a generation's maps only, make of a new cgroup what the agent makes of
 * it?  The maps are fake_maps.h's; what bpf/classify.h does with them is done here in a plainer
 * way.
 */
#include "fake_maps.h"
#include "compile/generation.h"
#include "random_globs.h"

static const struct kernel_sizes sizes = {
	.glob_states = 20000,
	.glob_edges = 200000,
	.steps = 20000,
	.policies = 10000,
	.ops = 1000,
	.credits = 100000,
	.tests = 10,
	.vectors = 10,
	.range_nodes = 10,
	.sources = 256,
};

struct world {
	struct seeded *random;
	struct sources *sources;
	struct generation *generation;
	unsigned half;
};

/* Takes the configuration. */
static void world_new(struct world *w, struct config *c, unsigned half,
		      const struct kernel_sizes *room)
{
	fake_reset();
	fake.sizes = *room;
	*w = (struct world){ .half = half };
	assert_int_equal(sources_new(NULL, &w->sources), 0);
	assert_int_equal(sources_add_config(w->sources, c), 0);
	assert_int_equal(generation_new(NULL, w->sources, c, half, &w->generation), 0);
}

static void world_free(struct world *w)
{
	(void)generation_erase(w->generation);
	assert_int_equal(HASH_COUNT(fake.steps), 0);
	generation_free(w->generation);
	sources_free(w->sources);
	fake_reset();
}

static void place(const struct world *w, struct node *n)
{
	const char *what;

	assert_int_equal(generation_place(w->generation, n, &n->places[w->half], &what), 0);
}

static void write_steps(const struct world *w)
{
	const char *what;

	assert_int_equal(generation_write_steps(w->generation, &what), 0);
}

static void flush(const struct world *w)
{
	const char *what;

	assert_int_equal(generation_flush(w->generation, &what), 0);
}

static const struct sp_glob_state *state_at(uint32_t glob)
{
	const struct sp_glob_state *state = fake_array_at(KERNEL_MAP_GLOB_STATES, glob);

	assert_non_null(state);
	return state;
}

static uint32_t step_byte(uint32_t glob, unsigned char byte)
{
	const struct sp_glob_state *state = state_at(glob);
	const struct sp_glob_edge *edge =
		fake_array_at(KERNEL_MAP_GLOB_EDGES, state->first_edge + byte);

	return edge && edge->from == glob ? edge->to : state->otherwise;
}

/* As the program in cgroup_mkdir.  Returns whether the class is known. */
static bool kernel_places(const struct place *parent, const char *name, struct place *ret)
{
	struct sp_step_key key = { .class = parent->class_number };
	const struct fake_step *found;

	*ret = *parent;
	ret->glob = step_byte(parent->glob, '/');
	for (; *name; name++)
		ret->glob = step_byte(ret->glob, (unsigned char)*name);
	key.matches = state_at(ret->glob)->matches;
	if (!key.class || !key.matches)
		return key.class != 0;
	found = fake_find_step(&key);
	ret->class_number = found ? found->step.class : 0;
	if (found)
		ret->policy = found->step.policy;
	return found;
}

static bool same_place(const struct place *a, const struct place *b)
{
	return a->policy == b->policy && a->class_number == b->class_number && a->glob == b->glob;
}

static size_t n_cgroups, n_governed;

/* Each cgroup on the way is new to the kernel, which must know it all the same. */
static void make_one_by_one(const struct world *w, const struct node *root, char *path)
{
	struct node nodes[2] = { *root };
	unsigned at = 0;

	for (char *name = path + 1, *end; *name; name = *end ? end + 1 : end) {
		struct node *parent = &nodes[at], *child = &nodes[!at];
		struct place by_kernel;
		char after;

		end = name + strcspn(name, "/");
		after = *end;
		*end = '\0';
		*child = (struct node){ .parent = parent, .path = path, .name = name };
		place(w, child);
		if (!kernel_places(&parent->places[w->half], name, &by_kernel))
			SEEDED_FAIL(w->random, "%s is not known", path);
		if (!same_place(&by_kernel, &child->places[w->half]))
			SEEDED_FAIL(w->random, "%s: policy %u, class %#x, not %u, %#x", path,
				    by_kernel.policy, by_kernel.class_number,
				    child->places[w->half].policy,
				    child->places[w->half].class_number);
		n_cgroups++;
		n_governed += by_kernel.policy != 0;
		*end = after;
		at = !at;
	}
}

static void run_random(struct seeded *r)
{
	struct random_globs globs = random_globs(r, ARRAY_SIZE(pieces));
	struct node root = { .path = "/", .name = "" };
	struct world w;

	world_new(&w, globs.config, (unsigned)(r->seed & 1), &sizes);
	w.random = r;
	globs.config = config_new();
	place(&w, &root);
	write_steps(&w);
	assert_false(generation_steps_cut(w.generation));
	for (size_t i = 0; i < globs.n_paths; i++)
		if (globs.paths[i][1])
			make_one_by_one(&w, &root, globs.paths[i]);
	world_free(&w);
	random_globs_free(&globs);
}

static void the_kernel_knows_what_comes(void **state)
{
	(void)state;
	n_cgroups = n_governed = 0;
	for_seeds(300, run_random);
	print_message("%zu cgroups, %zu of them governed\n", n_cgroups, n_governed);
	assert_true(getenv("SOCKPOL_TEST_SEED") || (n_cgroups > 5000 && n_governed > 1000));
}

#define BLOWS_UP "/**/*a??????????????????????b"
#define MATCHES	 "a0123456789012345678901b"

static const struct fixture_policy left_out[] = {
	{ "late", { BLOWS_UP } },
	{ "m", { "/**/m" } },
};

/* What the agent alone can match: it says so, and the kernel goes on from there. */
static void the_kernel_learns(void **state)
{
	struct node root = { .path = "/", .name = "" },
		    child = { .parent = &root, .path = "/" MATCHES, .name = MATCHES },
		    m = { .parent = &child, .path = "/" MATCHES "/m", .name = "m" };
	struct place by_kernel;
	struct world w;
	const struct config *c;

	(void)state;
	world_new(&w, fixture_config(left_out, ARRAY_SIZE(left_out)), 1, &sizes);
	c = generation_config(w.generation);
	assert_true(generation_by_events(w.generation, &c->policies[0]));
	assert_false(generation_by_events(w.generation, &c->policies[1]));
	place(&w, &root);
	write_steps(&w);
	assert_true(kernel_places(&root.places[1], MATCHES, &by_kernel));
	assert_int_equal(by_kernel.policy, 0);
	place(&w, &child);
	assert_int_not_equal(child.places[1].policy, 0);
	flush(&w);
	assert_true(kernel_places(&child.places[1], "m", &by_kernel));
	place(&w, &m);
	assert_true(same_place(&by_kernel, &m.places[1]));
	assert_int_not_equal(m.places[1].policy, child.places[1].policy);
	world_free(&w);
}

static void the_root_may_be_anywhere(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "above", { "/a" } },
		{ "late", { BLOWS_UP } },
		{ "no", { "/a/*" }, .exclude = { "/a/" MATCHES "/x" } },
	};
	struct node root = { .path = "/a/" MATCHES "/b", .name = "b" },
		    other = { .path = "/b", .name = "b" };
	static const char *const names[] = { "above", "late", "no" };
	const struct effective *e;
	struct world w;

	(void)state;
	world_new(&w, fixture_config(policies, ARRAY_SIZE(policies)), 0, &sizes);
	place(&w, &root);
	place(&w, &other);
	e = cascade_effective(root.places[0].class);
	assert_non_null(e);
	assert_int_equal(e->n_policies, ARRAY_SIZE(names));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_string_equal(e->policies[i]->name, names[i]);
	assert_null(cascade_effective(other.places[0].class));
	assert_int_equal(other.places[0].policy, 0);
	assert_int_not_equal(other.places[0].class_number, 0);
	world_free(&w);
}

static void what_is_gone_goes_by_names(void **state)
{
	static const char *const names[] = { "m", "unknown" };
	struct node root = { .path = "/m", .name = "m" };
	struct place gone;
	const char *what;
	struct world w;

	(void)state;
	world_new(&w, fixture_config(left_out, ARRAY_SIZE(left_out)), 0, &sizes);
	place(&w, &root);
	assert_int_equal(generation_place_by_names(w.generation, names, 2, &gone, &what), 0);
	assert_int_equal(gone.policy, root.places[0].policy);
	assert_int_not_equal(gone.policy, 0);
	assert_int_equal(generation_place_by_names(w.generation, names + 1, 1, &gone, &what), 0);
	assert_int_equal(gone.policy, 0);
	world_free(&w);
}

static void write_too_much(const struct kernel_sizes *room, const char *expected_what,
			   struct kernel_sizes *ret_needed)
{
	struct node root = { .path = "/", .name = "" };
	const char *what = "";
	struct world w;

	world_new(&w, fixture_config(left_out, ARRAY_SIZE(left_out)), 1, room);
	place(&w, &root);
	assert_int_equal(generation_write_steps(w.generation, &what), -ENOSPC);
	assert_string_equal(what, expected_what);
	generation_needed(w.generation, ret_needed);
	world_free(&w);
}

/* What is too small is named, and with what is needed it works. */
static void want_of_room_is_measured(void **state)
{
	struct kernel_sizes small = sizes, needed;
	struct node root = { .path = "/", .name = "" };
	struct world w;

	(void)state;
	small.steps = 0;
	write_too_much(&small, "steps", &needed);
	small.credits = 0;
	write_too_much(&small, "credits", &needed);
	small.policies = 0;
	write_too_much(&small, "credits", &needed);
	small = sizes;
	small.glob_edges = 1;
	write_too_much(&small, "glob_edges", &needed);
	small.glob_edges = sizes.glob_edges;
	small.glob_states = 1;
	write_too_much(&small, "glob_states", &needed);
	assert_int_equal(needed.steps, 2); /* "m" makes no difference below "m" */
	assert_int_equal(needed.policies, 1);
	assert_int_equal(needed.credits, 1);
	needed.sources = 9;
	world_new(&w, fixture_config(left_out, ARRAY_SIZE(left_out)), 1, &needed);
	place(&w, &root);
	write_steps(&w);
	assert_int_equal(HASH_COUNT(fake.steps), 2);
	world_free(&w);
}

/* In force, want of room is found at once, and what was begun is taken back. */
static void no_room_for_one_more(void **state)
{
	struct node root = { .path = "/", .name = "" },
		    child = { .parent = &root, .path = "/" MATCHES, .name = MATCHES },
		    m = { .parent = &root, .path = "/m", .name = "m" };
	struct kernel_sizes room = sizes;
	const char *what;
	struct world w;

	(void)state;
	room.credits = 1;
	world_new(&w, fixture_config(left_out, ARRAY_SIZE(left_out)), 0, &room);
	place(&w, &root);
	write_steps(&w);
	assert_int_equal(generation_place(w.generation, &child, &child.places[0], &what), -ENOSPC);
	assert_string_equal(what, "credits");
	place(&w, &m);
	flush(&w);
	assert_int_not_equal(m.places[0].policy, 0);
	world_free(&w);
}

/* In force, what the kernel is to learn may find no room either: that is not a cut. */
static void no_room_to_learn(void **state)
{
	struct node root = { .path = "/", .name = "" },
		    child = { .parent = &root, .path = "/" MATCHES, .name = MATCHES };
	struct kernel_sizes room = sizes;
	const char *what = "";
	struct world w;

	(void)state;
	room.steps = 2;
	world_new(&w, fixture_config(left_out, ARRAY_SIZE(left_out)), 0, &room);
	place(&w, &root);
	write_steps(&w);
	assert_false(generation_wants_room(w.generation, &what));
	place(&w, &child);
	assert_int_not_equal(child.places[0].policy, 0);
	assert_true(generation_wants_room(w.generation, &what));
	assert_string_equal(what, "steps");
	assert_false(generation_steps_cut(w.generation));
	world_free(&w);
}

static void add_any_depth(struct config *c, const char *above, int n)
{
	for (int i = 0; i < n; i++) {
		char name[16], glob[32];
		struct fixture_policy p = { .name = name, .cgroup = { glob } };

		snprintf(name, sizeof(name), "p%d", i);
		snprintf(glob, sizeof(glob), "%s/**/%c", above, 'a' + i);
		fixture_add(c, &p);
	}
}

static void fill_with_leftovers(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct sp_step_key key = { .class = UINT32_MAX, .matches = i };
		struct sp_step step = { 0 };

		assert_int_equal(fake_update_step(&key, &step), 0);
	}
}

static void remove_leftovers(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct sp_step_key key = { .class = UINT32_MAX, .matches = i };

		assert_int_equal(fake_delete_step(&key), 0);
	}
}

/* Does the kernel know the third of three letters?  If not, the agent teaches it. */
static bool was_known(const struct world *w, struct node *root, unsigned number)
{
	char names[3][2] = { 0 }, paths[3][8] = { 0 };
	struct node nodes[3];
	struct place by_kernel;
	bool known = true;

	for (size_t i = 0; i < 3; i++, number /= 6) {
		names[i][0] = (char)('a' + number % 6);
		memcpy(paths[i], paths[i ? i - 1 : 0], 2 * i);
		paths[i][2 * i] = '/';
		paths[i][2 * i + 1] = names[i][0];
		nodes[i] = (struct node){ .parent = i ? &nodes[i - 1] : root,
					  .path = paths[i],
					  .name = names[i] };
		if (i == 2)
			known = kernel_places(&nodes[1].places[0], names[2], &by_kernel);
		place(w, &nodes[i]);
		flush(w);
	}
	assert_true(kernel_places(&nodes[1].places[0], names[2], &by_kernel));
	assert_true(same_place(&by_kernel, &nodes[2].places[0]));
	return known;
}

/* The map holds what nobody knows of, so it is full before its time: nothing gets lost silently. */
static void leftovers_are_noticed(void **state)
{
	const uint32_t n_leftovers = 2 * sizes.steps - 100;
	struct config *c = config_new();
	struct node root = { .path = "/", .name = "" };
	const char *what = "";
	unsigned n_lost = 0;
	struct world w;

	(void)state;
	assert_non_null(c);
	add_any_depth(c, "", 6);
	world_new(&w, c, 0, &sizes);
	place(&w, &root);
	fill_with_leftovers(n_leftovers);
	assert_int_equal(generation_write_steps(w.generation, &what), -ENOSPC);
	assert_string_equal(what, "steps");
	/* and what did not get there is not taken for known */
	remove_leftovers(n_leftovers);
	write_steps(&w);
	assert_false(generation_steps_cut(w.generation));
	for (unsigned number = 0; number < 6 * 6 * 6; number++)
		n_lost += !was_known(&w, &root, number);
	assert_int_not_equal(n_lost, 0);
	world_free(&w);
}

/* Which policies match where it was cut, and which do not. */
static void the_cut_names_policies(void **state)
{
	static const struct fixture_policy apart = { "apart", { "/fixed/*" } };
	struct config *c = config_new();
	struct node root = { .path = "/", .name = "" };
	struct kernel_sizes room = sizes;
	struct world w;

	(void)state;
	assert_non_null(c);
	add_any_depth(c, "/many", 20);
	fixture_add(c, &apart);
	room.credits = 1000000;
	world_new(&w, c, 0, &room);
	place(&w, &root);
	write_steps(&w);
	assert_true(generation_steps_cut(w.generation));
	for (size_t i = 0; i < 20; i++)
		assert_true(generation_cuts(w.generation, &c->policies[i]));
	assert_false(generation_cuts(w.generation, &c->policies[20]));
	assert_int_equal(generation_n_cut(w.generation), 20);
	world_free(&w);
}

/* Every combination of many policies: there are too many, and the bounds hold. */
static void too_many_are_cut(void **state)
{
	struct config *c = config_new();
	struct node root = { .path = "/", .name = "" };
	struct kernel_sizes room = sizes;
	struct place by_kernel;
	struct world w;

	(void)state;
	assert_non_null(c);
	add_any_depth(c, "", 20);
	room.credits = 1000000;
	world_new(&w, c, 0, &room);
	place(&w, &root);
	write_steps(&w);
	assert_true(generation_steps_cut(w.generation));
	assert_in_range(HASH_COUNT(fake.steps), 1000, 16384);
	/* the nearer ones are among them */
	assert_true(kernel_places(&root.places[0], "t", &by_kernel));
	assert_true(kernel_places(&by_kernel, "a", &by_kernel));
	world_free(&w);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_kernel_knows_what_comes),
		cmocka_unit_test(the_kernel_learns),
		cmocka_unit_test(the_root_may_be_anywhere),
		cmocka_unit_test(what_is_gone_goes_by_names),
		cmocka_unit_test(want_of_room_is_measured),
		cmocka_unit_test(no_room_for_one_more),
		cmocka_unit_test(no_room_to_learn),
		cmocka_unit_test(leftovers_are_noticed),
		cmocka_unit_test(the_cut_names_policies),
		cmocka_unit_test(too_many_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
