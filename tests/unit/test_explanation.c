// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "report/explanation.h"
#include "report/in_force.h"
#include "policy_fixture.h"

struct fixture {
	struct config *config;
	struct asked asked;
	json_t *e;
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

static struct fixture fixture_of(const struct fixture_policy *v, size_t n, const char *cgroup,
				 struct asked_words words)
{
	struct fixture f = { .config = fixture_config(v, n) };
	struct effective effective;
	char *error = NULL;

	/* The fixture's policies have no files: say where they stand, as JSON must have text. */
	for (size_t i = 0; i < f.config->n_policies; i++) {
		struct policy *p = &f.config->policies[i];

		p->at = (struct position){ "test.yaml", (unsigned)i + 1, 1 };
		for (size_t o = 0; o < p->base.n; o++)
			p->base.v[o].at = p->at;
		for (size_t r = 0; r < p->n_rules; r++) {
			p->rules[r].at = p->at;
			for (size_t o = 0; o < p->rules[r].options.n; o++)
				p->rules[r].options.v[o].at = p->at;
		}
	}
	assert_int_equal(asked_parse(&words, &f.asked, &error), 0);
	assert_int_equal(cascade_walk(f.config, cgroup, &effective), 0);
	f.e = explanation_new(cgroup, &effective, &host, &f.asked,
			      in_force_unknown("not known (because)"));
	effective_clear(&effective);
	assert_non_null(f.e);
	assert_string_equal(document_text(f.e, "cgroup"), cgroup);
	return f;
}

static struct fixture fixture_new(const char *cgroup, unsigned directions)
{
	return fixture_of(policies, ARRAY_SIZE(policies), cgroup,
			  (struct asked_words){ .directions = directions });
}

static void fixture_free(struct fixture *f)
{
	json_decref(f->e);
	config_free(f->config);
}

static const json_t *member(const json_t *object, const char *key, size_t i)
{
	return json_array_get(json_object_get(object, key), i);
}

static size_t count(const json_t *object, const char *key)
{
	return json_array_size(json_object_get(object, key));
}

static const json_t *find(const struct fixture *f, enum direction d, enum option_id id)
{
	static const char *const lists[] = { "options", "left_alone" };

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		const json_t *o;
		size_t k;

		json_array_foreach (json_object_get(f->e, lists[i]), k, o)
			if (streq(document_text(o, "direction"), direction_words[d]) &&
			    streq(document_text(o, "option"), option_table[id].name))
				return o;
	}
	return NULL;
}

static unsigned stages_of(const json_t *choice)
{
	unsigned stages = 0;
	const json_t *name;
	size_t i;

	json_array_foreach (json_object_get(choice, "stages"), i, name)
		stages |= BIT(stage_find(json_string_value(name)));
	return stages;
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
	assert_int_equal(count(f.e, "policies"), ARRAY_SIZE(expected));
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		const json_t *p = member(f.e, "policies", i);

		assert_string_equal(document_text(p, "name"), expected[i].name);
		assert_string_equal(document_text(p, "cgroup"), expected[i].cgroup);
		assert_string_equal(document_text(p, "pattern"), expected[i].pattern);
		assert_int_equal(document_number(p, "depth"), expected[i].depth);
	}
	fixture_free(&f);
}

/* What it beat: the strongest first, in the same direction only, in either spelling. */
static void test_losers(void **state)
{
	struct fixture f = fixture_new("/a/b/c", BIT(DIRECTION_CONNECT));
	const json_t *o = find(&f, DIRECTION_CONNECT, OPTION_SO_MARK);

	(void)state;
	assert_non_null(o);
	assert_string_equal(document_text(o, "value"), "4");
	assert_string_equal(document_text(o, "policy"), "second");
	assert_int_equal(count(o, "beats"), 2);
	assert_string_equal(document_text(member(o, "beats", 0), "rule"), "out");
	assert_string_equal(document_text(member(o, "beats", 0), "value"), "2");
	assert_null(document_text(member(o, "beats", 1), "rule"));
	assert_string_equal(document_text(member(o, "beats", 1), "value"), "1");

	assert_null(find(&f, DIRECTION_CONNECT, OPTION_SO_BINDTODEVICE));
	o = find(&f, DIRECTION_CONNECT, OPTION_SO_BINDTOIFINDEX);
	assert_non_null(o);
	assert_int_equal(count(o, "beats"), 1);
	assert_string_equal(document_text(member(o, "beats", 0), "option"), "SO_BINDTODEVICE");
	assert_string_equal(document_text(member(o, "beats", 0), "value"), "eth0");
	fixture_free(&f);
}

static void test_values(void **state)
{
	struct fixture f = fixture_new("/a", 0), listens = fixture_new("/a", BIT(DIRECTION_LISTEN));
	struct fixture deeper = fixture_new("/a/b", BIT(DIRECTION_CONNECT));
	const json_t *o;

	(void)state;
	o = find(&f, DIRECTION_CONNECT, OPTION_SO_SNDBUF);
	assert_non_null(o);
	assert_string_equal(document_text(o, "value"), "4K");
	assert_string_equal(document_text(o, "kernel"), "8192 bytes");
	assert_int_equal(stages_of(o), BIT(SP_STAGE_TCP_CONNECT) | BIT(SP_STAGE_UDP_CONNECT) |
					       BIT(SP_STAGE_UDP_SEND));

	/* wins, but no hook makes it effective there */
	o = find(&f, DIRECTION_CONNECT, OPTION_SO_REUSEPORT);
	assert_non_null(o);
	assert_int_equal(stages_of(o), 0);
	assert_non_null(strstr(document_text(o, "why"), "in this direction"));
	o = find(&f, DIRECTION_LISTEN, OPTION_SO_REUSEPORT);
	assert_non_null(o);
	assert_int_equal(stages_of(o), BIT(SP_STAGE_TCP_BIND) | BIT(SP_STAGE_UDP_BIND));
	assert_non_null(find(&listens, DIRECTION_LISTEN, OPTION_SO_REUSEPORT));
	assert_null(find(&listens, DIRECTION_CONNECT, OPTION_SO_REUSEPORT)); /* not asked for */

	o = find(&deeper, DIRECTION_CONNECT, OPTION_SO_SNDBUF);
	assert_non_null(o);
	assert_string_equal(document_text(o, "value"), "unset");
	assert_int_equal(stages_of(o), 0);
	assert_int_equal(count(o, "beats"), 1);
	assert_string_equal(document_text(member(o, "beats", 0), "value"), "4K");
	fixture_free(&f);
	fixture_free(&listens);
	fixture_free(&deeper);
}

static void test_nothing_applies(void **state)
{
	struct fixture f = fixture_new("/", 0);

	(void)state;
	assert_int_equal(count(f.e, "policies"), 0);
	assert_int_equal(count(f.e, "options"), 0);
	fixture_free(&f);
}

/* Fails unless the explanation is this JSON, written with ' for ". */
static void json_one(struct fixture *f, const char *expected)
{
	char *text = fixture_strdup(expected);
	json_error_t error;
	json_t *wanted;

	for (char *quote = text; (quote = strchr(quote, '\''));)
		*quote = '"';
	wanted = json_loads(text, 0, &error);
	if (!wanted)
		fail_msg("%s at %d", error.text, error.position);
	if (!json_equal(f->e, wanted)) {
		json_dumpf(f->e, stdout, JSON_INDENT(1));
		fail_msg("not the JSON that was expected");
	}
	json_decref(wanted);
	free(text);
}

#define JSON_IN_FORCE                                                                              \
	"'in_force': {'known': false, 'differs': false, 'differences': [], 'come': [], 'go': [],"  \
	"  'other_order': false, 'why': 'not known (because)'}"

#define JSON_OVERRIDE "'application': 'override', 'min': null, 'max': null"
#define JSON_UNSET                                                                                 \
	"'application': null, 'min': null, 'max': null, 'on_failure': 'continue',"                 \
	"'existing': 'keep', "

static void test_json(void **state)
{
	struct fixture f = fixture_new("/a/b", BIT(DIRECTION_CONNECT));

	(void)state;
	json_one(
		&f,
		"{'cgroup': '/a/b', 'connection': null, 'policies': ["
		" {'name': 'first', 'file': 'test.yaml', 'line': 1, 'cgroup': '/a', 'depth': 1,"
		"  'match': 'unit', 'pattern': 'a'},"
		" {'name': 'second', 'file': 'test.yaml', 'line': 2, 'cgroup': '/a/b', 'depth': 2,"
		"  'match': 'cgroup', 'pattern': '/a/b'}],"
		"'left_out': [], 'options': ["
		" {'option': 'SO_REUSEPORT', 'direction': 'connect', 'value': 'on', 'number': 1,"
		"  'kernel': null, 'hooks': [], 'stages': [], 'policy': 'first', 'rule': null,"
		"  'file': 'test.yaml', 'line': 1, 'beats': [], 'when': null, 'candidates': [],"
		"  'shorthand': null, " JSON_OVERRIDE
		", 'on_failure': 'continue', 'existing': 'keep', 'shown': null, 'why': 'no hook makes it effective in this direction'},"
		" {'option': 'SO_BINDTODEVICE', 'direction': 'connect', 'value': 'eth0',"
		"  'number': null, 'kernel': 'eth0',"
		"  'hooks': ['connect4', 'connect6', 'sendmsg4', 'sendmsg6'],"
		"  'stages': ['tcp-connect', 'udp-connect', 'udp-send'], 'policy': 'second',"
		"  'rule': null, 'file': 'test.yaml', 'line': 2, 'beats': [], 'when': null,"
		"  'candidates': [], 'shorthand': null, " JSON_OVERRIDE
		", 'on_failure': 'continue', 'existing': 'keep', 'shown': 'eth0', 'why': null},"
		" {'option': 'SO_MARK', 'direction': 'connect', 'value': '4', 'number': 4,"
		"  'kernel': '4', 'hooks': ['connect4', 'connect6', 'sendmsg4', 'sendmsg6'],"
		"  'stages': ['tcp-connect', 'udp-connect', 'udp-send'], 'policy': 'second',"
		"  'rule': null, 'file': 'test.yaml', 'line': 2, 'when': null, 'candidates': [],"
		"  'shorthand': null, " JSON_OVERRIDE
		", 'on_failure': 'continue', 'existing': 'keep', 'shown': 4, 'why': null, 'beats': ["
		"   {'option': 'SO_MARK', 'policy': 'first', 'rule': 'out', 'file': 'test.yaml',"
		"    'line': 1, 'value': '2', " JSON_OVERRIDE "},"
		"   {'option': 'SO_MARK', 'policy': 'first', 'rule': null, 'file': 'test.yaml',"
		"    'line': 1, 'value': '1', " JSON_OVERRIDE "}]},"
		" {'option': 'SO_SNDBUF', 'direction': 'connect', 'value': 'unset',"
		"  'number': null, 'kernel': null, 'hooks': [], 'stages': [], 'policy': 'second',"
		"  'rule': null, 'file': 'test.yaml', 'line': 2, 'when': null, 'candidates': [],"
		"  'shorthand': null, " JSON_UNSET "'shown': null, 'why': 'unset', 'beats': ["
		"   {'option': 'SO_SNDBUF', 'policy': 'first', 'rule': null,"
		"    'file': 'test.yaml', 'line': 1, 'value': '4K', " JSON_OVERRIDE
		"}]}]," JSON_IN_FORCE "}");
	fixture_free(&f);
}

/* Rules that look at the connection. */
static const struct fixture_policy conditional[] = {
	{ "web",
	  { "/a" },
	  .base = { { OPTION_TCP_CONGESTION, .text = "bbr" },
		    { OPTION_IPV6_TCLASS, 8 },
		    { OPTION_SO_SNDBUF, 4096 } },
	  .rules = { { "inside", .remote = { "10.0.0.0/8" },
		       .options = { { OPTION_TCP_CONGESTION, .text = "dctcp" },
				    { OPTION_SO_MARK, 1 } } },
		     { "db", .remote = { "10.7.0.0/16" }, .remote_port = { { 5432 } },
		       .options = { { OPTION_TCP_CONGESTION, UNSET }, { OPTION_SO_MARK, 2 } } },
		     { "alias", BIT(DIRECTION_CONNECT), .local = { "10.9.0.0/16" },
		       .options = { { OPTION_SO_MARK, 3 } } },
		     { "unix", .families = BIT(SP_FAMILY_INDEX_UNIX),
		       .options = { { OPTION_SO_SNDBUF, 8192 } } } } },
};

static struct fixture ask(struct asked_words words)
{
	return fixture_of(conditional, ARRAY_SIZE(conditional), "/a", words);
}

/* socket(2) leaves what it names open: that is no moment of `connect`. */
static void test_a_listen_rule_does_not_connect(void **state)
{
	static const struct fixture_policy policy = {
		"p",
		{ "/a" },
		.base = { { OPTION_SO_MARK, 1 } },
		.rules = { { "listening", BIT(DIRECTION_LISTEN), { { OPTION_SO_MARK, 2 } } } },
	};
	struct fixture f = fixture_of(&policy, 1, "/a", (struct asked_words){ 0 });

	(void)state;
	for (int d = 0; d < DIRECTION_MAX; d++)
		assert_int_equal(
			document_number(find(&f, (enum direction)d, OPTION_SO_MARK), "number"),
			d == DIRECTION_LISTEN ? 2 : 1);
	fixture_free(&f);
}

/* Whatever the connection: each rule that may win with its condition, the strongest first. */
static void test_candidates(void **state)
{
	struct fixture f = ask((struct asked_words){ 0 });
	static const struct {
		const char *rule, *value, *when;
	} marks[] = {
		{ "alias", "3", "local 10.9.0.0/16" },
		{ "db", "2", "remote 10.7.0.0/16; remote_port 5432" },
		{ "inside", "1", "remote 10.0.0.0/8" },
	};
	const json_t *o = find(&f, DIRECTION_CONNECT, OPTION_SO_MARK);

	(void)state;
	assert_non_null(o);
	assert_null(document_text(o, "policy"));
	assert_int_equal(count(o, "beats"), 0);
	assert_int_equal(count(o, "candidates"), ARRAY_SIZE(marks));
	for (size_t i = 0; i < count(o, "candidates"); i++) {
		assert_string_equal(document_text(member(o, "candidates", i), "rule"),
				    marks[i].rule);
		assert_string_equal(document_text(member(o, "candidates", i), "value"),
				    marks[i].value);
		assert_string_equal(document_text(member(o, "candidates", i), "when"),
				    marks[i].when);
		/* one asks for `local`: all wait until the kernel has chosen it */
		assert_int_equal(stages_of(member(o, "candidates", i)),
				 BIT(SP_STAGE_TCP_SYN) | BIT(SP_STAGE_UDP_CONNECT));
	}
	o = find(&f, DIRECTION_CONNECT, OPTION_TCP_CONGESTION);
	assert_non_null(o);
	assert_string_equal(document_text(o, "value"), "bbr");
	assert_null(document_text(o, "when"));
	assert_int_equal(count(o, "candidates"), 2);
	assert_string_equal(document_text(member(o, "candidates", 0), "value"), "unset");
	assert_int_equal(stages_of(member(o, "candidates", 0)), 0);
	assert_string_equal(document_text(member(o, "candidates", 1), "value"), "dctcp");
	assert_int_equal(stages_of(member(o, "candidates", 1)), BIT(SP_STAGE_TCP_CONNECT));
	fixture_free(&f);
}

/* A listener has no peer, and a rule for another direction is not for it. */
static void test_candidates_that_cannot_hold(void **state)
{
	struct fixture f = ask((struct asked_words){ .directions = BIT(DIRECTION_LISTEN) });
	const json_t *o = find(&f, DIRECTION_LISTEN, OPTION_TCP_CONGESTION);

	(void)state;
	assert_null(find(&f, DIRECTION_LISTEN, OPTION_SO_MARK));
	assert_non_null(o);
	assert_int_equal(count(o, "candidates"), 0);
	assert_int_equal(stages_of(o), 0);
	assert_non_null(strstr(document_text(o, "why"), "direction: listen"));
	fixture_free(&f);
}

/* What holds whatever the connection beats what came before it, but base options are not for
 * AF_UNIX sockets. */
static void test_beaten_but_for_unix(void **state)
{
	static const struct fixture_policy two[] = {
		{ "weak",
		  { "/a" },
		  .rules = { { "some",
			       .families = BIT(SP_FAMILY_INDEX_IPV4) | BIT(SP_FAMILY_INDEX_UNIX),
			       .options = { { OPTION_SO_MARK, 1 } } } } },
		{ "strong", { "/a" }, .base = { { OPTION_SO_MARK, 2 } } },
	};
	struct fixture f = fixture_of(two, ARRAY_SIZE(two), "/a",
				      (struct asked_words){ .directions = BIT(DIRECTION_CONNECT) });
	const json_t *o = find(&f, DIRECTION_CONNECT, OPTION_SO_MARK);

	(void)state;
	assert_non_null(o);
	assert_string_equal(document_text(o, "value"), "2");
	assert_int_equal(count(o, "beats"), 1);
	assert_string_equal(document_text(member(o, "beats", 0), "value"), "1");
	assert_int_equal(count(o, "candidates"), 1);
	assert_string_equal(document_text(member(o, "candidates", 0), "when"), "family unix");
	assert_int_equal(stages_of(member(o, "candidates", 0)), BIT(SP_STAGE_UNIX));
	fixture_free(&f);
}

/* For one connection: what such a socket gets, and what that beat. */
static void test_connection(void **state)
{
	struct fixture f =
		ask((struct asked_words){ .protocols = BIT(PROTOCOL_TCP), .remote = "10.7.0.1" });
	const json_t *o = find(&f, DIRECTION_CONNECT, OPTION_TCP_CONGESTION);

	(void)state;
	assert_non_null(o);
	assert_string_equal(document_text(o, "value"), "dctcp");
	assert_int_equal(stages_of(o), BIT(SP_STAGE_TCP_CONNECT));
	assert_int_equal(count(o, "candidates"), 0);
	assert_int_equal(count(o, "beats"), 1);
	assert_string_equal(document_text(member(o, "beats", 0), "value"), "bbr");
	o = find(&f, DIRECTION_CONNECT, OPTION_SO_MARK);
	assert_non_null(o);
	assert_string_equal(document_text(o, "value"), "1");
	assert_int_equal(stages_of(o), BIT(SP_STAGE_TCP_SYN));
	/* not of its family */
	o = find(&f, DIRECTION_CONNECT, OPTION_IPV6_TCLASS);
	assert_non_null(o);
	assert_int_equal(stages_of(o), 0);
	assert_non_null(strstr(document_text(o, "why"), "family"));
	fixture_free(&f);
}

static void test_rules_that_do_not_hold(void **state)
{
	struct fixture f = ask(
		(struct asked_words){ .protocols = BIT(PROTOCOL_TCP), .remote = "10.7.0.1:80" });
	static const struct {
		const char *rule, *key, *when;
		bool unknown;
	} expected[] = {
		{ "db", "remote_port", "remote_port 5432", false },
		{ "alias", "local", "local 10.9.0.0/16", true },
		{ "unix", "family", "family unix", false },
	};

	(void)state;
	assert_int_equal(count(f.e, "not_holding"), ARRAY_SIZE(expected));
	for (size_t i = 0; i < count(f.e, "not_holding"); i++) {
		const json_t *r = member(f.e, "not_holding", i);

		assert_string_equal(document_text(r, "rule"), expected[i].rule);
		assert_string_equal(document_text(r, "key"), expected[i].key);
		assert_string_equal(document_text(r, "when"), expected[i].when);
		assert_int_equal(document_is(r, "not_given"), expected[i].unknown);
	}
	fixture_free(&f);
}

static void test_unix(void **state)
{
	struct fixture f = ask((struct asked_words){ .families = BIT(SP_FAMILY_INDEX_UNIX) });

	(void)state;
	assert_int_equal(count(f.e, "options"), 1);
	assert_string_equal(document_text(member(f.e, "options", 0), "value"), "8K");
	assert_int_equal(count(member(f.e, "options", 0), "beats"), 0);
	assert_int_equal(stages_of(member(f.e, "options", 0)), BIT(SP_STAGE_UNIX));
	fixture_free(&f);
}

static void test_connection_json(void **state)
{
	static const struct fixture_policy policy = {
		"p",
		{ "/a" },
		.base = { { OPTION_IPV6_TCLASS, 8 }, { OPTION_SO_SNDBUF, 4096 } },
		.rules = { { "r", .remote_port = { { 80 } },
			     .options = { { OPTION_SO_SNDBUF, UNSET } } },
			   { "s", .remote = { "10.0.0.0/8" },
			     .options = { { OPTION_SO_MARK, 1 } } } },
	};
	struct fixture f = fixture_of(
		&policy, 1, "/a",
		(struct asked_words){ .protocols = BIT(PROTOCOL_UDP), .remote = "10.0.0.1" });

	(void)state;
	json_one(
		&f,
		"{'cgroup': '/a', 'connection': {'direction': 'connect', 'protocol': 'udp',"
		"  'family': 'ipv4', 'remote': '10.0.0.1', 'local': null},"
		"'policies': ["
		" {'name': 'p', 'file': 'test.yaml', 'line': 1, 'cgroup': '/a', 'depth': 1,"
		"  'match': 'cgroup', 'pattern': '/a'}],"
		"'left_out': [], 'options': ["
		" {'option': 'SO_MARK', 'direction': 'connect', 'value': '1', 'number': 1,"
		"  'kernel': '1', 'hooks': ['connect4', 'connect6'],"
		"  'stages': ['udp-connect'], 'policy': 'p', 'rule': 's',"
		"  'file': 'test.yaml', 'line': 1, 'beats': [], 'shorthand': null, " JSON_OVERRIDE
		", 'on_failure': 'continue', 'existing': 'keep', 'shown': 1, 'why': null},"
		" {'option': 'SO_SNDBUF', 'direction': 'connect', 'value': '4K', 'number': 4096,"
		"  'kernel': '8192 bytes', 'hooks': ['connect4', 'connect6'],"
		"  'stages': ['udp-connect'], 'policy': 'p', 'rule': null,"
		"  'file': 'test.yaml', 'line': 1, 'beats': [], 'shorthand': null, " JSON_OVERRIDE
		", 'on_failure': 'continue', 'existing': 'keep', 'shown': 8192, 'why': null}],"
		"'question': 'connect udp ipv4, remote 10.0.0.1; not given, so no rule that asks for it "
		"holds: local, remote_port, local_port', 'left_alone': ["
		" {'option': 'IPV6_TCLASS', 'direction': 'connect', 'value': '8', 'number': 8,"
		"  'kernel': null, 'hooks': [], 'stages': [], 'policy': 'p', 'rule': null,"
		"  'file': 'test.yaml', 'line': 1, 'beats': [], 'shorthand': null, " JSON_OVERRIDE
		", 'on_failure': 'continue', 'existing': 'keep', 'shown': null,"
		"  'why': 'it is an option of the other IP family'}],"
		"'not_holding': ["
		" {'policy': 'p', 'rule': 'r', 'file': 'test.yaml', 'line': 1,"
		"  'key': 'remote_port', 'when': 'remote_port 80', 'not_given': true}]," JSON_IN_FORCE
		"}");
	fixture_free(&f);
}

/* Returns what is printed; owned. */
static char *printed(const struct fixture *f, bool verbose)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	assert_non_null(to);
	assert_int_equal(explanation_print(f->e, verbose, to), 0);
	assert_int_equal(fclose(to), 0);
	return text;
}

static void print_one(struct asked_words words, bool verbose, const char *expected)
{
	struct fixture f = ask(words);
	_cleanup_free_ char *text = printed(&f, verbose);

	assert_string_equal(text, expected);
	fixture_free(&f);
}

#define LAST_WORD "      last word the application's, if it sets the option afterwards\n"

static void test_print(void **state)
{
	const struct asked_words one = { .protocols = BIT(PROTOCOL_TCP), .remote = "10.7.0.1" };

	(void)state;
	print_one(
		(struct asked_words){ 0 }, false,
		"cgroup /a\n"
		"  policies, weakest first: web\n"
		"  option          value  policy/rule  at                       notes\n"
		"  SO_MARK         3      web/alias    connect                  when local 10.9.0.0/16\n"
		"  SO_MARK         2      web/db       connect, accept          when remote 10.7.0.0/16; "
		"remote_port 5432\n"
		"  SO_MARK         1      web/inside   connect, accept          when remote 10.0.0.0/8\n"
		"  SO_SNDBUF       8K     web/unix     connect                  when family unix; "
		"16384 bytes\n"
		"  SO_SNDBUF       4K     web          connect, accept, listen  otherwise; 8192 bytes\n"
		"  TCP_CONGESTION  unset  web/db       connect, accept          when remote 10.7.0.0/16; "
		"remote_port 5432; left alone\n"
		"  TCP_CONGESTION  dctcp  web/inside   connect, accept          when remote 10.0.0.0/8\n"
		"  TCP_CONGESTION  bbr    web          connect, accept          otherwise\n"
		"  IPV6_TCLASS     8      web          connect, accept, listen\n"
		"  in force: not known (because)\n");
	print_one(
		one, false,
		"cgroup /a\n"
		"  policies, weakest first: web\n"
		"  connect tcp ipv4, remote 10.7.0.1; not given, so no rule that asks for it holds: "
		"local, remote_port, local_port:\n"
		"  option          value  policy/rule  at       notes\n"
		"  SO_MARK         1      web/inside   connect\n"
		"  SO_SNDBUF       4K     web          connect  8192 bytes\n"
		"  TCP_CONGESTION  dctcp  web/inside   connect\n"
		"  IPV6_TCLASS     8      web          nowhere  it is an option of the other IP family\n"
		"  rules that do not hold: 3 (--verbose says why)\n"
		"  in force: not known (because)\n");
	print_one(
		one, true,
		"cgroup /a\n"
		"  policies, weakest first: web (test.yaml:1) from /a on, by cgroup /a\n"
		"  connect tcp ipv4, remote 10.7.0.1; not given, so no rule that asks for it holds: "
		"local, remote_port, local_port:\n"
		"  option          value  policy/rule  at       notes\n"
		"  SO_MARK         1      web/inside   connect\n"
		"      written   test.yaml:1\n"
		"      set at    tcp-syn (sock_ops TCP_CONNECT_CB)\n" LAST_WORD
		"  SO_SNDBUF       4K     web          connect  8192 bytes\n"
		"      written   test.yaml:1\n"
		"      set at    tcp-connect (connect4, connect6)\n" LAST_WORD
		"  TCP_CONGESTION  dctcp  web/inside   connect\n"
		"      written   test.yaml:1\n"
		"      set at    tcp-connect (connect4, connect6)\n" LAST_WORD
		"      beats     TCP_CONGESTION bbr of web (test.yaml:1)\n"
		"  IPV6_TCLASS     8      web          connect  it is an option of the other IP family\n"
		"      written   test.yaml:1\n"
		"  does not hold: web/db (test.yaml:1): remote_port 5432 (not given)\n"
		"  does not hold: web/alias (test.yaml:1): local 10.9.0.0/16 (not given)\n"
		"  does not hold: web/unix (test.yaml:1): family unix\n"
		"  in force: not known (because)\n");
}

/* Who has the last word, ranges, and what is refused. */
static const struct fixture_policy controlled = {
	"p",
	{ "/a" },
	.base = { { OPTION_TCP_NODELAY, 1, .application = APPLICATION_HOLD },
		  { OPTION_SO_MARK, 1, .application = APPLICATION_DENY, .refuse = true },
		  { OPTION_SO_RCVBUF, .range = { true, 65536, UINT32_MAX } },
		  { OPTION_TCP_KEEPIDLE, 60, .range = { true, 30, 90 }, .apply = true },
		  { OPTION_TCP_KEEPCNT, 3, .range = { true, 0, 5 },
		    .application = APPLICATION_RESPECT },
		  { OPTION_NEEDS_ECN, 1, .apply = true },
		  { OPTION_TCP_SYNCNT, UNSET },
		  { OPTION_SO_PRIORITY, 3 } },
	.rules = { { "r", BIT(DIRECTION_CONNECT), .protocols = BIT(PROTOCOL_TCP),
		     .options = { { OPTION_SO_SNDBUF, .range = { true, 65536, 4 << 20 } },
				  { OPTION_TCP_KEEPIDLE, .range = { true, 0, 90 },
				    .apply = true } } } },
};

static void test_last_word(void **state)
{
	static const struct {
		enum option_id option;
		const char *value, *kernel, *application, *min, *max, *on_failure, *existing;
		bool has_number;
	} expected[] = {
		{ OPTION_TCP_NODELAY, "on", "on", "hold", NULL, NULL, "continue", "keep", true },
		{ OPTION_SO_MARK, "1", "1", "deny", NULL, NULL, "refuse", "keep", true },
		{ OPTION_SO_RCVBUF, NULL, NULL, "override", "64K", NULL, "continue", "keep",
		  false },
		{ OPTION_SO_SNDBUF, NULL, NULL, "override", "64K", "4M", "continue", "keep",
		  false },
		{ OPTION_TCP_KEEPIDLE, NULL, NULL, "override", NULL, "90s", "continue", "apply",
		  false },
		{ OPTION_TCP_KEEPCNT, "3", "3", "respect", NULL, "5", "continue", "keep", true },
		{ OPTION_NEEDS_ECN, "on", "on", NULL, NULL, NULL, "continue", "apply", true },
		{ OPTION_TCP_SYNCNT, "unset", NULL, NULL, NULL, NULL, "continue", "keep", false },
		{ OPTION_SO_PRIORITY, "3", "3", "override", NULL, NULL, "continue", "keep", true },
	};
	struct fixture f = fixture_of(
		&controlled, 1, "/a",
		(struct asked_words){ .protocols = BIT(PROTOCOL_TCP), .remote = "10.0.0.1" });
	const json_t *beaten;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		const json_t *o = find(&f, DIRECTION_CONNECT, expected[i].option);
		const struct {
			const char *key, *text;
		} texts[] = { { "value", expected[i].value },
			      { "kernel", expected[i].kernel },
			      { "application", expected[i].application },
			      { "min", expected[i].min },
			      { "max", expected[i].max },
			      { "on_failure", expected[i].on_failure },
			      { "existing", expected[i].existing } };

		assert_non_null(o);
		for (size_t k = 0; k < ARRAY_SIZE(texts); k++) {
			const char *got = document_text(o, texts[k].key);

			print_message("%s %s\n", option_table[expected[i].option].name,
				      texts[k].key);
			if (texts[k].text && got)
				assert_string_equal(got, texts[k].text);
			else
				assert_ptr_equal(got, texts[k].text);
		}
		assert_int_equal(json_is_integer(json_object_get(o, "number")),
				 expected[i].has_number);
	}
	/* the winner's word counts, and what it beats has one as well */
	beaten = member(find(&f, DIRECTION_CONNECT, OPTION_TCP_KEEPIDLE), "beats", 0);
	assert_string_equal(document_text(beaten, "value"), "60s");
	assert_string_equal(document_text(beaten, "min"), "30s");
	fixture_free(&f);
}

static void test_print_last_word(void **state)
{
	struct fixture f;
	static const struct asked_words one = { .protocols = BIT(PROTOCOL_TCP),
						.remote = "10.0.0.1" };
	char *text;

	(void)state;
	f = fixture_of(&controlled, 1, "/a", one);
	text = printed(&f, false);
	assert_non_null(strstr(
		text,
		"  option        value         policy/rule  application  at       notes\n"
		"  SO_MARK       1             p            deny         connect\n"
		"  SO_RCVBUF     at least 64K  p            range        connect\n"
		"  SO_SNDBUF     64K to 4M     p/r          range        connect\n"
		"  TCP_NODELAY   on            p            hold         connect\n"
		"  TCP_SYNCNT    unset         p                         connect  left alone\n"
		"  TCP_KEEPIDLE  at most 90s   p/r          range        connect\n"
		"  TCP_KEEPCNT   3             p            respect      connect  at most 5\n"
		"  SO_PRIORITY   3             p            override     connect\n"
		"  NEEDS_ECN     on            p                         connect\n"));
	free(text);
	text = printed(&f, true);
	assert_non_null(strstr(
		text,
		"      set at    tcp-connect (connect4, connect6)\n"
		"      last word the policy's: what the application sets afterwards fails with EPERM\n"
		"      failure   calls for which it cannot be set are refused\n"
		"  SO_RCVBUF "));
	assert_non_null(strstr(text, "      last word the application's, within the range\n"
				     "      existing  open sockets get it when it changes\n"
				     "      beats     TCP_KEEPIDLE 60s of p (test.yaml:1)\n"));
	assert_non_null(strstr(text, "      set at    reply-active (sock_ops)\n"
				     "      existing  too late for connections that are open\n"
				     "  in force: "));
	free(text);
	/* a policy that says nothing of it has no such column */
	fixture_free(&f);
	f = fixture_new("/a/b/c", BIT(DIRECTION_CONNECT));
	text = printed(&f, false);
	assert_null(strstr(text, "application"));
	free(text);
	fixture_free(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_policies),
		cmocka_unit_test(test_losers),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_nothing_applies),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_a_listen_rule_does_not_connect),
		cmocka_unit_test(test_candidates),
		cmocka_unit_test(test_candidates_that_cannot_hold),
		cmocka_unit_test(test_beaten_but_for_unix),
		cmocka_unit_test(test_connection),
		cmocka_unit_test(test_rules_that_do_not_hold),
		cmocka_unit_test(test_unix),
		cmocka_unit_test(test_connection_json),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_last_word),
		cmocka_unit_test(test_print_last_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
