// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * From policies to options set and sockets counted, end to end: an image of the maps, read by the
 * hooks' own code, against what sockpol.policy(5) says in so many words.
 */
#include <net/if.h>

#include "host/host.h"
#include "rules_model.h"

/* The stages that a socket passes in one direction, and the one that is counted at the last. */
static const struct way {
	enum sp_stage stages[3];
	size_t n;
	enum sp_stage other; /* that is not counted by itself; else the last one again */
} ways[] = {
	{ { SP_STAGE_TCP_CONNECT, SP_STAGE_TCP_SYN, SP_STAGE_TCP_ACTIVE_EST },
	  3,
	  SP_STAGE_REPLY_ACTIVE },
	{ { SP_STAGE_TCP_PASSIVE_EST }, 1, SP_STAGE_REPLY_PASSIVE },
	{ { SP_STAGE_TCP_LISTEN }, 1, SP_STAGE_TCP_BIND },
	{ { SP_STAGE_UDP_BIND }, 1, SP_STAGE_UDP_BIND },
	{ { SP_STAGE_UDP_CONNECT }, 1, SP_STAGE_UDP_CONNECT },
	{ { SP_STAGE_UDP_SEND }, 1, SP_STAGE_UDP_SEND },
	{ { SP_STAGE_UNIX }, 1, SP_STAGE_UNIX },
	{ { SP_STAGE_LOCAL_SOCKET }, 1, SP_STAGE_LOCAL_SOCKET },
};

static size_t n_implied, n_given;
static size_t n_compared, n_by_rules; /* settings; of them those that a rule made */

static void expect_same(const struct world *w, enum sp_stage s, const struct sp_op *op,
			const struct winner *winner)
{
	const struct option *o = winner->setting->option;
	const struct sockopt *value = &winner->setting->value;
	unsigned char expected[SP_VALUE_SIZE] = { 0 };
	uint32_t counter =
		counter_of(winner->policy, winner->rule ? winner->rule->name : "", w->config);

	n_compared++;
	n_by_rules += winner->rule != NULL;
	assert_int_equal(sockopt_get(value, expected, value->size), 0);
	if (op->option != option_id(o) || op->counter != counter || op->optlen != value->size ||
	    op->level != o->level || op->optname != o->optname ||
	    memcmp(op->value, expected, sizeof(expected)) != 0)
		SEEDED_FAIL(w->random,
			    "stage %d sets %s (counter %u), not what %s/%s says (counter %u)", s,
			    o->name, op->counter, winner->policy->name,
			    winner->rule ? winner->rule->name : "", counter);
}

/* What one or two stages set, by option. */
struct done {
	const struct sp_op *of[OPTION_MAX];
	struct sp_op ops[OPTION_MAX];
	size_t n;
	struct sp_op implied; /* the SO_PRIORITY that IP_TOS implies */
};

static void note_done(const struct world *w, struct done *to)
{
	for (size_t i = 0; i < twin.n_set; i++) {
		const struct sp_op *op = &twin.set[i];

		/* "IP_TOS changes SO_PRIORITY ... and on accepted sockets alike" */
		if (op->option == OPTION_IP_TOS && op->optname == SO_PRIORITY) {
			to->implied = *op;
			continue;
		}
		if (to->of[op->option] || to->n == OPTION_MAX)
			SEEDED_FAIL(w->random, "%s is set twice", option_table[op->option].name);
		if (op->option == OPTION_IP_TOS && to->of[OPTION_SO_PRIORITY])
			SEEDED_FAIL(w->random, "IP_TOS comes after %s", "SO_PRIORITY");
		if (!(op->families & SP_FAMILY_IPV4) != !(op->families & SP_FAMILY_IPV6) &&
		    option_families(&option_table[op->option]) != op->families)
			SEEDED_FAIL(w->random, "%s is for others", option_table[op->option].name);
		to->ops[to->n] = *op;
		to->of[op->option] = &to->ops[to->n++];
	}
}

/* "Sends do without" what the socket has from socket(2).  "SO_PRIORITY is given again after each
 * IP_TOS of ours", and a device by name is not given in every network namespace. */
static bool has_from_socket(const struct world *w, const struct option *o,
			    const struct winner *winner, const struct connection *c,
			    const struct done *done)
{
	enum sp_family family = w->also & SP_FAMILY_IPV6 ? SP_FAMILY_INDEX_IPV6 : c->family;

	return walk_at_socket(w, o, SP_STAGE_UDP_SOCKET, family).setting == winner->setting &&
	       o != &option_table[OPTION_SO_BINDTODEVICE] &&
	       !(o == &option_table[OPTION_SO_PRIORITY] && done->of[OPTION_IP_TOS]);
}

/* The kernel's ip_tos2prio, by the four bits of the old type of service. */
static uint32_t priority_of(uint32_t tos)
{
	static const char by_bits[] = "0000222266664444";

	return (uint32_t)(by_bits[tos >> 1 & 15] - '0');
}

/* An accepted socket has the SO_PRIORITY of its IP_TOS, unless a policy sets that. */
static void compare_implied(const struct world *w, enum sp_stage s, const struct done *done)
{
	const struct sp_op *tos = done->of[OPTION_IP_TOS];
	uint32_t value, n;

	if (!tos || s != SP_STAGE_TCP_PASSIVE_EST) {
		assert_int_equal(done->implied.optlen, 0);
		return;
	}
	memcpy(&n, tos->value, sizeof(n));
	memcpy(&value, done->implied.value, sizeof(value));
	if (done->implied.optlen != sizeof(value) || value != priority_of(n) ||
	    done->implied.families != SP_FAMILY_IPV4)
		SEEDED_FAIL(w->random, "IP_TOS %u implies a priority of %u", n, value);
	n_implied++;
}

/* All that the walk says, and nothing else. */
static void compare_done(const struct world *w, enum sp_stage s, const struct connection *c,
			 const struct done *done)
{
	for (int id = 0; id < OPTION_MAX; id++) {
		const struct option *o = &option_table[id];
		struct winner winner = walk(w, o, s, c);
		const struct setting *setting = due(&winner, o, s, c, w->also);

		if (s == SP_STAGE_UDP_SEND && setting && !done->of[id] &&
		    has_from_socket(w, o, &winner, c, done))
			continue;
		if ((setting != NULL) != (done->of[id] != NULL))
			SEEDED_FAIL(w->random, "stage %d %s %s", s,
				    setting ? "does not set" : "sets", o->name);
		if (setting)
			expect_same(w, s, done->of[id], &winner);
	}
}

/*
 * What is due before the SYN is set at connect(2), or, where a rule that asks for `local` may win,
 * when the kernel has chosen that: once.
 */
static void compare_stage(const struct world *w, enum sp_stage s, const struct connection *c)
{
	struct connection known = known_at(s, c);
	struct done done = { 0 };

	run_at(w, s, c, 0);
	note_done(w, &done);
	if (s == SP_STAGE_TCP_CONNECT) {
		run_at(w, SP_STAGE_TCP_SYN, c, 0);
		note_done(w, &done);
		known = known_at(SP_STAGE_TCP_SYN, c);
	}
	compare_done(w, s, &known, &done);
	compare_implied(w, s, &done);
}

static uint32_t integer_of(const struct setting *setting)
{
	uint32_t value = 0;

	if (setting->option->type == OPTION_STRING) {
		char name[SP_VALUE_SIZE] = { 0 };

		assert_int_equal(sockopt_get(&setting->value, name, setting->value.size), 0);
		return if_nametoindex(name);
	}
	assert_int_equal(sockopt_get(&setting->value, &value, sizeof(value)), 0);
	return value;
}

static void expect_given(const struct world *w, enum sp_stage s, const struct connection *c,
			 const struct option *o, bool has, uint32_t value)
{
	struct winner winner = walk_at_socket(w, o, s, c->family);

	if (has != (winner.setting != NULL) || (has && value != integer_of(winner.setting)))
		SEEDED_FAIL(w->random, "stage %d gives %s %s (%u)", s, has ? "a" : "no", o->name,
			    value);
	if (winner.setting && names_device(o))
		assert_int_equal(twin_given.is_by_name,
				 winner.setting->option->type == OPTION_STRING);
	n_given += has;
}

/* "what socket(2) gives is counted apart, once a socket" */
static void expect_counted_at_socket(const struct world *w, enum sp_stage s,
				     const struct connection *c)
{
	uint64_t expected[TWIN_COUNTERS] = { 0 };

	for (uint32_t i = 0; i < w->n; i++) {
		const struct policy *p = policy_at(w, i);

		for (size_t k = 0; k <= p->n_rules; k++) {
			const struct rule *r = k ? &p->rules[k - 1] : NULL;
			const struct settings *settings = r ? &r->options : &p->base;

			if (at_socket(r, s, c->family) != HOLDS)
				continue;
			for (size_t n = 0; n < settings->n; n++)
				if (is_given_at_socket(settings->v[n].option) &&
				    !settings->v[n].unset)
					expected[counter_of(p, SP_COUNTER_AT_SOCKET, w->config)] =
						1;
		}
	}
	for (unsigned i = 0; i < TWIN_COUNTERS; i++)
		if (twin.applied[i] != expected[i])
			SEEDED_FAIL(w->random, "stage %d counts %llu sockets, not %llu (%u)", s,
				    (unsigned long long)twin.applied[i],
				    (unsigned long long)expected[i], i);
}

static void compare_socket(const struct world *w, enum sp_stage s, const struct connection *c)
{
	run_at(w, s, c, 0);
	assert_int_equal(twin.n_set, 0);
	expect_given(w, s, c, &option_table[OPTION_SO_MARK], twin_given.has_mark, twin_given.mark);
	expect_given(w, s, c, &option_table[OPTION_SO_PRIORITY], twin_given.has_priority,
		     twin_given.priority);
	expect_given(w, s, c, &option_table[OPTION_SO_BINDTODEVICE], twin_given.has_device,
		     twin_given.device);
	expect_counted_at_socket(w, s, c);
}

/* For each reply that the kernel asks for: the winner's value, or none. */
static void compare_replies(const struct world *w, enum sp_stage s, const struct connection *c)
{
	for (int id = 0; id < OPTION_MAX; id++) {
		const struct option *o = &option_table[id];
		struct winner winner = walk(w, o, s, c);
		const struct setting *setting = due(&winner, o, s, c, w->also);
		int value = 0;

		if (o->level != SP_LEVEL_REPLY)
			continue;
		run_at(w, s, c, (enum option_id)id);
		if (twin.n_set)
			SEEDED_FAIL(w->random, "stage %d sets something", s);
		if (setting)
			assert_int_equal(sockopt_getint(&setting->value, &value), 0);
		if (id == OPTION_TIMEOUT_INIT)
			value = host_jiffies(value * 1000LL);
		if (twin.replied != (setting != NULL) || (setting && twin.reply != (uint32_t)value))
			SEEDED_FAIL(w->random, "stage %d replies %u for %s", s, twin.reply,
				    o->name);
		n_compared += setting != NULL;
		for (unsigned i = 0; i < TWIN_COUNTERS; i++)
			assert_true(!twin.applied[i]);
	}
}

/* Has the block something due at a stage of this way, up to the n-th?  sends: also what a send may
 * do without. */
static bool has_due(const struct policy *p, const struct rule *r, const struct way *way, size_t n,
		    const struct connection *c, bool sends)
{
	const struct settings *settings = r ? &r->options : &p->base;

	for (size_t i = 0; i < n; i++) {
		const struct connection known = known_at(way->stages[i], c);

		for (size_t k = 0; holds(r, &known) && k < settings->n; k++) {
			if (way->stages[i] == SP_STAGE_UDP_SEND && !sends &&
			    is_given_at_socket(settings->v[k].option))
				continue;
			if (is_set_at(r, &settings->v[k], way->stages[i]) ||
			    (i + 1 == way->n && is_set_at(r, &settings->v[k], way->other)))
				return true;
		}
	}
	return false;
}

static void expect_count(const struct world *w, const struct policy *p, const struct rule *r,
			 const uint64_t *counted, bool expected, bool may_be, enum sp_stage s)
{
	uint64_t count = counted[counter_of(p, r ? r->name : "", w->config)];

	if (count != expected && count != may_be)
		SEEDED_FAIL(w->random, "after stage %d %s/%s is counted %llu times, not %d", s,
			    p->name, r ? r->name : "", (unsigned long long)count, expected);
}

static size_t n_counted;

/*
 * A socket is counted for a policy at the first stage of a direction where it has something due,
 * and for a rule likewise, whichever policy wins; and not again.
 */
static void compare_counters(const struct world *w, const struct way *way,
			     const struct connection *c)
{
	uint64_t counted[TWIN_COUNTERS] = { 0 };

	for (size_t i = 0; i < way->n; i++) {
		run_at(w, way->stages[i], c, 0);
		for (unsigned k = 0; k < TWIN_COUNTERS; k++)
			counted[k] += twin.applied[k];
		for (uint32_t k = 0; k < w->n; k++) {
			const struct policy *p = policy_at(w, k);
			bool any = has_due(p, NULL, way, i + 1, c, false);
			bool may = has_due(p, NULL, way, i + 1, c, true);

			for (size_t n = 0; n < p->n_rules; n++) {
				const struct rule *r = &p->rules[n];
				bool of_rule = has_due(p, r, way, i + 1, c, false);
				bool may_rule = has_due(p, r, way, i + 1, c, true);

				expect_count(w, p, r, counted, of_rule, may_rule, way->stages[i]);
				any |= of_rule;
				may |= may_rule;
			}
			expect_count(w, p, NULL, counted, any, may, way->stages[i]);
			n_counted += any;
		}
	}
}

static bool is_reply(enum sp_stage s)
{
	return s == SP_STAGE_REPLY_ACTIVE || s == SP_STAGE_REPLY_PASSIVE;
}

/* A stage at which nobody has something due is none that a hook would run for. */
static void expect_used(const struct world *w, enum sp_stage s)
{
	if (w->image->generation.stages & BIT(s))
		return;
	for (unsigned i = 0; i < TWIN_COUNTERS; i++)
		if (twin.applied[i])
			SEEDED_FAIL(w->random, "stage %d is not said to be used", s);
	if (twin.n_set || twin.replied || twin_given.has_mark || twin_given.has_priority ||
	    twin_given.has_device)
		SEEDED_FAIL(w->random, "stage %d is not said to be used", s);
}

static void run_random(struct seeded *r)
{
	struct world w;

	world_new(&w, random_config(r));
	w.random = r;
	for (size_t i = 0; i < w.config->n_policies; i++)
		if (random_below(r, 4))
			apply_policy(&w, &w.config->policies[i]);
	for (int i = 0; w.n && i < 100; i++) {
		enum sp_stage s = random_below(r, SP_STAGE_MAX);
		const struct way *way = &random_of(r, ways);
		struct connection c =
			random_connection(r, s == SP_STAGE_TCP_CONNECT ? SP_STAGE_TCP_SYN : s);

		w.also = random_below(r, 2) ? SP_FAMILY_UNBOUND : 0;
		if (s == SP_STAGE_UDP_SEND && random_below(r, 2))
			w.also |= SP_FAMILY_IPV4 | SP_FAMILY_IPV6; /* of an IPv6 socket */
		run_at(&w, s, &c, OPTION_RWND_INIT);
		expect_used(&w, s);
		if (is_reply(s))
			compare_replies(&w, s, &c);
		else if (stages[s].is_socket)
			compare_socket(&w, s, &c);
		else if (s != SP_STAGE_TCP_SYN) /* comes with SP_STAGE_TCP_CONNECT */
			compare_stage(&w, s, &c);
		c = random_connection(r, way->stages[way->n - 1]);
		compare_counters(&w, way, &c);
	}
	world_free(&w);
}

static void test_random(void **state)
{
	(void)state;
	n_compared = n_by_rules = n_counted = n_implied = n_given = 0;
	for_seeds(300, run_random);
	/* that there was something to compare */
	print_message("%zu settings compared, %zu of them by rules; %zu counted; %zu given at "
		      "socket(2), %zu implied\n",
		      n_compared, n_by_rules, n_counted, n_given, n_implied);
	assert_true(getenv("SOCKPOL_TEST_SEED") ||
		    (n_compared > 10000 && n_by_rules > 3000 && n_counted > 10000 &&
		     n_given > 1000 && n_implied > 100));
}

static struct connection connect_to(const char *address, uint16_t port)
{
	struct connection c = {
		.direction = DIRECTION_CONNECT,
		.protocol = PROTOCOL_TCP,
		.family = SP_FAMILY_INDEX_IPV4,
		.remote = { .known = true, .v4 = true, .port = port },
	};

	assert_int_equal(inet_pton(AF_INET, address, c.remote.address), 1);
	return c;
}

/* Writes which policies and rules are counted: "policy policy/rule ...". */
static void expect_applied(const struct world *w, const char *expected)
{
	char who[256] = "";

	for (size_t i = 0; i < w->config->n_policies; i++) {
		const struct policy *p = &w->config->policies[i];

		if (twin.applied[counter_of(p, "", w->config)])
			strcat(strcat(who, *who ? " " : ""), p->name);
		for (size_t n = 0; n < p->n_rules; n++)
			if (twin.applied[counter_of(p, p->rules[n].name, w->config)])
				strcat(strcat(strcat(strcat(who, *who ? " " : ""), p->name), "/"),
				       p->rules[n].name);
	}
	assert_string_equal(who, expected);
}

static void test_counters(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "base", { "/a" }, .base = { { OPTION_TCP_NODELAY, 1 } } },
		{ "rules",
		  { "/a" },
		  .rules = { { "near", 0, { { OPTION_SO_MARK, 2 } }, .remote = { "10.0.0.0/8" } },
			     { "web", 0, { { OPTION_TCP_NODELAY, 2 } }, .remote_port = { { 80 } } },
			     { "off",
			       0,
			       { { OPTION_SO_MARK, UNSET } },
			       .remote = { "10.9.0.0/16" } } } },
		{ "reply",
		  { "/a" },
		  .rules = { { "wide",
			       0,
			       { { OPTION_RWND_INIT, 9 } },
			       .remote = { "11.0.0.0/8" } } } },
	};
	static const struct {
		enum sp_stage stage;
		const char *remote;
		uint16_t port;
		const char *applied;
	} cases[] = {
		{ SP_STAGE_TCP_CONNECT, "9.0.0.1", 81, "base" },
		/* whichever policy wins TCP_NODELAY */
		{ SP_STAGE_TCP_CONNECT, "9.0.0.1", 80, "base rules rules/web" },
		{ SP_STAGE_TCP_CONNECT, "10.0.0.1", 81, "base rules rules/near" },
		/* `near` holds, if only to lose to `off`, which does nothing */
		{ SP_STAGE_TCP_CONNECT, "10.9.0.1", 81, "base rules rules/near" },
		/* replies alone are counted when the connection is established */
		{ SP_STAGE_TCP_CONNECT, "11.0.0.1", 81, "base" },
		{ SP_STAGE_TCP_ACTIVE_EST, "11.0.0.1", 81, "reply reply/wide" },
		{ SP_STAGE_TCP_ACTIVE_EST, "10.0.0.1", 80, "" },
	};
	struct world w;

	(void)state;
	world_new(&w, fixture_config(policies, 3));
	for (size_t i = 0; i < 3; i++)
		apply_policy(&w, &w.config->policies[i]);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct connection c = connect_to(cases[i].remote, cases[i].port);

		run_at(&w, cases[i].stage, &c, 0);
		expect_applied(&w, cases[i].applied);
	}
	world_free(&w);
}

/* What a stronger policy leaves alone no weaker one sets: `unset`, and on a listener what its base
 * names and a listener does not carry. */
static void test_shadows(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "weak",
		  { "/a" },
		  .base = { { OPTION_SO_MARK, 1 } },
		  .rules = { { "ear", BIT(DIRECTION_LISTEN), { { OPTION_TCP_NODELAY, 1 } } } } },
		{ "strong",
		  { "/a" },
		  .base = { { OPTION_SO_MARK, UNSET }, { OPTION_TCP_NODELAY, 2 } } },
	};
	struct connection c = { .direction = DIRECTION_LISTEN, .protocol = PROTOCOL_TCP };
	struct world w;

	(void)state;
	world_new(&w, fixture_config(policies, 2));
	apply_policy(&w, &w.config->policies[0]);
	run_at(&w, SP_STAGE_TCP_LISTEN, &c, 0);
	assert_int_equal(twin.n_set, 2);
	apply_policy(&w, &w.config->policies[1]);
	run_at(&w, SP_STAGE_TCP_LISTEN, &c, 0);
	assert_int_equal(twin.n_set, 0);
	expect_applied(&w, "weak weak/ear");
	world_free(&w);
}

/* The two functions of bpf/rules.h that find a rule's place. */
static void test_bits(void **state)
{
	struct seeded r = { .seed = 1 };

	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t lower = (1ull << bit) - 1, x = 1ull << bit | (random_bits(&r) & lower);

		assert_true(highest_bit(1ull << bit) == 1ull << bit);
		assert_true(highest_bit(x) == 1ull << bit);
		assert_int_equal(count_bits(lower), bit);
		assert_int_equal(count_bits(x), __builtin_popcountll(x));
	}
	assert_int_equal(count_bits(UINT64_MAX), 64);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bits),
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_shadows),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
