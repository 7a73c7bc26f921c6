// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* That good files become the right policies; tests/bad has the wrong ones. */
#include <errno.h>

#include "scratch_dir.h"

#include "policy/loader.h"

static const char *const no_dirs[] = { NULL };
/* A host that caps nothing and of which nothing else is known. */
static const struct host host = { -1, -1, -1, -1, NULL };

static struct config *load(const char *const *dirs, const char *const *files)
{
	struct config *c = NULL;
	struct diags diags = { 0 };

	if (config_load(dirs, files, &host, &diags, &c) < 0) {
		diags_print(&diags, stderr);
		fail_msg("does not load");
	}
	diags_clear(&diags);
	return c;
}

static struct config *load_text(struct scratch *s, const char *text)
{
	const char *files[] = { scratch_write(s, "a.yaml", text), NULL };

	return load(no_dirs, files);
}

static int int_of(const struct settings *settings, enum option_id id)
{
	const struct setting *s = settings_find(settings, &option_table[id]);
	int value;

	assert_non_null(s);
	assert_false(s->unset);
	assert_int_equal(sockopt_getint(&s->value, &value), 0);
	return value;
}

static void test_whole_policy(void **state)
{
	struct config *c =
		load_text(*state, "policies:\n"
				  "  - name: web\n"
				  "    description: front ends\n"
				  "    match:\n"
				  "      unit: [nginx.service, 'h@*.service']\n"
				  "      cgroup: /a/*\n"
				  "      exclude: {cgroup: [/a/x, /a/y], unit: z.service}\n"
				  "    on_unsupported: refuse\n"
				  "    options:\n"
				  "      TCP_USER_TIMEOUT: 20s\n"
				  "      SO_MARK: 0x10\n"
				  "    rules:\n"
				  "      - name: in\n"
				  "        when: {direction: [accept, listen]}\n"
				  "        options: {SO_KEEPALIVE: on}\n"
				  "      - name: all\n"
				  "        options: {TCP_CONGESTION: unset, SO_MARK: ~}\n");
	const struct policy *p = &c->policies[0];

	assert_int_equal(c->n_policies, 1);
	assert_string_equal(p->name, "web");
	assert_int_equal(p->at.line, 2);
	assert_int_equal(p->at.column, 11);
	assert_ptr_equal(p->at.file, c->files[0].path);
	assert_string_equal(p->description, "front ends");
	assert_true(p->refuse_unsupported);
	assert_int_equal(p->match.n, 3);
	assert_int_equal(p->exclude.n, 3);
	assert_true(patterns_match(&p->match, "/system.slice/nginx.service"));
	assert_true(patterns_match(&p->match, "/a/b"));
	assert_false(patterns_match(&p->match, "/a"));
	assert_true(patterns_match(&p->exclude, "/a/y"));
	assert_int_equal(p->base.n, 2);
	assert_int_equal(int_of(&p->base, OPTION_SO_MARK), 16);
	assert_int_equal(int_of(&p->base, OPTION_TCP_USER_TIMEOUT), 20000);
	/* in the table's order, not the file's */
	assert_ptr_equal(p->base.v[0].option, &option_table[OPTION_SO_MARK]);
	assert_int_equal(p->base.v[0].at.line, 11);
	assert_int_equal(p->base.v[0].at.column, 7);

	assert_int_equal(p->n_rules, 2);
	assert_string_equal(p->rules[0].name, "in");
	assert_true(p->rules[0].when.has_direction);
	assert_int_equal(p->rules[0].when.directions,
			 BIT(DIRECTION_ACCEPT) | BIT(DIRECTION_LISTEN));
	assert_false(p->rules[1].when.has_direction);
	assert_int_equal(p->rules[1].when.directions, BIT(DIRECTION_MAX) - 1);
	assert_int_equal(p->rules[1].options.n, 2);
	assert_true(p->rules[1].options.v[0].unset);
	assert_true(p->rules[1].options.v[1].unset);
	config_free(c);
}

static void test_shorthand(void **state)
{
	struct config *c = load_text(*state, "policies:\n"
					     "  - name: a\n"
					     "    match: {unit: a.service}\n"
					     "    options: {DSCP: AF41, SO_PRIORITY: 3}\n"
					     "    rules:\n"
					     "      - {name: r, options: {DSCP: unset}}\n");
	const struct policy *p = &c->policies[0];
	const struct setting *tos;

	assert_int_equal(p->base.n, 3);
	assert_int_equal(int_of(&p->base, OPTION_IP_TOS), 34 << 2);
	assert_int_equal(int_of(&p->base, OPTION_IPV6_TCLASS), 34 << 2);
	tos = settings_find(&p->base, &option_table[OPTION_IP_TOS]);
	assert_string_equal(tos->shorthand, "DSCP");
	assert_int_equal(tos->at.column, 15);
	assert_null(settings_find(&p->base, &option_table[OPTION_SO_PRIORITY])->shorthand);
	assert_null(settings_find(&p->base, &option_table[OPTION_SO_MARK]));
	assert_int_equal(p->rules[0].options.n, 2);
	assert_true(p->rules[0].options.v[0].unset);
	config_free(c);
}

static const struct setting *setting_of(const struct settings *settings, enum option_id id)
{
	const struct setting *s = settings_find(settings, &option_table[id]);

	assert_non_null(s);
	return s;
}

static void application_is(const struct settings *settings, enum option_id id, enum application a)
{
	assert_string_equal(application_words[setting_of(settings, id)->application],
			    application_words[a]);
}

/* An option's word counts, else its rule's, else its policy's: the first that the option can have.
 */
static void test_application(void **state)
{
	struct config *c = load_text(
		*state,
		"policies:\n"
		"  - name: a\n"
		"    match: {unit: a.service}\n"
		"    options:\n"
		"      TCP_NODELAY: on\n"
		"      SO_REUSEADDR: on\n"
		"      SO_MARK: {value: 1, application: deny}\n"
		"      TCP_KEEPIDLE: {value: unset, application: respect}\n"
		"      TCP_KEEPCNT: {max: 3}\n"
		"      DSCP: {value: EF, application: respect}\n"
		"    rules:\n"
		"      - name: denies\n"
		"        options:\n"
		"          TCP_NODELAY: off\n"
		"          SO_PRIORITY: 1\n"
		"          SO_MARK: {value: 2, application: override}\n"
		"          NEEDS_ECN: on\n"
		"        application: deny\n"
		"      - name: respects\n"
		"        application: respect\n"
		"        options: {TCP_KEEPCNT: {value: 2, max: 3}, SO_MARK: 3, TCP_SAVE_SYN: 1}\n"
		"      - {name: plain, options: {SO_MARK: 3}}\n"
		"    application: hold\n"
		"  - {name: b, match: {unit: b.service}, options: {SO_MARK: 3}}\n");
	const struct policy *p = &c->policies[0];

	application_is(&p->base, OPTION_TCP_NODELAY, APPLICATION_HOLD);
	application_is(&p->base, OPTION_SO_REUSEADDR, APPLICATION_OVERRIDE);
	application_is(&p->base, OPTION_SO_MARK, APPLICATION_DENY);
	application_is(&p->base, OPTION_TCP_KEEPIDLE,
		       APPLICATION_OVERRIDE); /* unset holds nothing */
	application_is(&p->base, OPTION_TCP_KEEPCNT, APPLICATION_OVERRIDE); /* a range */
	application_is(&p->base, OPTION_IP_TOS, APPLICATION_RESPECT);
	application_is(&p->base, OPTION_IPV6_TCLASS, APPLICATION_RESPECT);
	application_is(&p->rules[0].options, OPTION_TCP_NODELAY, APPLICATION_HOLD);
	application_is(&p->rules[0].options, OPTION_SO_PRIORITY, APPLICATION_DENY);
	application_is(&p->rules[0].options, OPTION_SO_MARK, APPLICATION_OVERRIDE);
	application_is(&p->rules[0].options, OPTION_NEEDS_ECN, APPLICATION_OVERRIDE);
	application_is(&p->rules[1].options, OPTION_TCP_KEEPCNT, APPLICATION_RESPECT);
	application_is(&p->rules[1].options, OPTION_SO_MARK, APPLICATION_RESPECT);
	application_is(&p->rules[1].options, OPTION_TCP_SAVE_SYN, APPLICATION_OVERRIDE);
	application_is(&p->rules[2].options, OPTION_SO_MARK, APPLICATION_HOLD);
	application_is(&c->policies[1].base, OPTION_SO_MARK, APPLICATION_OVERRIDE);
	assert_int_equal(setting_of(&p->base, OPTION_SO_MARK)->said, APPLICATION_DENY);
	assert_int_equal(setting_of(&p->base, OPTION_TCP_NODELAY)->said, APPLICATION_UNSAID);
	config_free(c);
}

static void test_on_failure_and_existing(void **state)
{
	struct config *c = load_text(
		*state,
		"policies:\n"
		"  - name: a\n"
		"    match: {unit: a.service}\n"
		"    on_failure: refuse\n"
		"    existing: apply\n"
		"    options: {SO_BINDTODEVICE: wg0, SO_MARK: unset}\n"
		"    rules:\n"
		"      - {name: goes-on, on_failure: continue, options: {TCP_NODELAY: on}}\n"
		"      - {name: as-policy, options: {TCP_NODELAY: on}}\n"
		"  - name: b\n"
		"    match: {unit: b.service}\n"
		"    existing: keep\n"
		"    options: {SO_MARK: 1}\n"
		"    rules:\n"
		"      - {name: refuses, on_failure: refuse, options: {SO_BINDTODEVICE: wg0}}\n");
	const struct policy *a = &c->policies[0], *b = &c->policies[1];

	assert_true(setting_of(&a->base, OPTION_SO_BINDTODEVICE)->refuse);
	assert_true(setting_of(&a->base, OPTION_SO_BINDTODEVICE)->apply);
	assert_false(setting_of(&a->base, OPTION_SO_MARK)->refuse); /* there is nothing to fail */
	assert_false(setting_of(&a->base, OPTION_SO_MARK)->apply);
	assert_false(setting_of(&a->rules[0].options, OPTION_TCP_NODELAY)->refuse);
	assert_true(setting_of(&a->rules[0].options, OPTION_TCP_NODELAY)->apply);
	assert_true(setting_of(&a->rules[1].options, OPTION_TCP_NODELAY)->refuse);
	assert_false(setting_of(&b->base, OPTION_SO_MARK)->refuse);
	assert_false(setting_of(&b->base, OPTION_SO_MARK)->apply);
	assert_true(setting_of(&b->rules[0].options, OPTION_SO_BINDTODEVICE)->refuse);
	config_free(c);
}

static void test_ranges(void **state)
{
	static const struct {
		enum option_id option;
		const char *text;
		uint32_t min, max; /* as setsockopt(2) takes them; both 0: no range */
		bool has_value;
		int value; /* or the end of a range alone that stands for it */
	} cases[] = {
		{ OPTION_SO_SNDBUF, "{min: 64K, max: 4M}", 65536, 4194304, false, 4194304 },
		{ OPTION_SO_SNDBUF, "{min: 64K}", 65536, UINT32_MAX, false, 65536 },
		{ OPTION_SO_SNDBUF, "{max: 64K}", 0, 65536, false, 65536 },
		{ OPTION_SO_SNDBUF, "{max: 64K, value: 32K}", 0, 65536, true, 32768 },
		{ OPTION_SO_SNDBUF, "{value: 32K}", 0, 0, true, 32768 },
		{ OPTION_TCP_USER_TIMEOUT, "{min: 1s, max: 1min}", 1000, 60000, false, 60000 },
		{ OPTION_TCP_USER_TIMEOUT, "{min: 1s, value: 0s}", 1000, UINT32_MAX, true, 0 },
		{ OPTION_TCP_KEEPIDLE, "{value: 10s, min: 10s, max: 10s}", 10, 10, true, 10 },
		{ OPTION_SO_MAX_PACING_RATE, "{max: 8Mbit/s}", 0, 1000000, false, 1000000 },
		{ OPTION_SO_MAX_PACING_RATE, "{min: 1MB/s, value: unlimited}", 1000000, UINT32_MAX,
		  true, -1 },
		{ OPTION_SO_MAX_PACING_RATE, "{max: 4294967294}", 0, 4294967294, false, -2 },
		{ OPTION_TCP_NOTSENT_LOWAT, "{max: 4294967295}", 0, UINT32_MAX, false, -1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *name = option_table[cases[i].option].name;
		_cleanup_free_ char *text =
			text_format("policies: [{name: a, match: {unit: a.service}, options: {%s: "
				    "%s}}]\n",
				    name, cases[i].text);
		struct config *c = load_text(*state, text);
		const struct setting *s = setting_of(&c->policies[0].base, cases[i].option);

		print_message("%s: %s\n", name, cases[i].text);
		assert_int_equal(s->range.is_given, cases[i].min || cases[i].max);
		if (s->range.is_given) {
			assert_int_equal(s->range.min, cases[i].min);
			assert_int_equal(s->range.max, cases[i].max);
		}
		assert_int_equal(s->is_range_alone, !cases[i].has_value);
		assert_int_equal(setting_has_value(s), cases[i].has_value);
		assert_int_equal(int_of(&c->policies[0].base, cases[i].option), cases[i].value);
		config_free(c);
	}
}

static void test_aliases(void **state)
{
	struct config *c = load_text(*state, "policies:\n"
					     "  - name: a\n"
					     "    match: &m {unit: a.service}\n"
					     "    options: &o {SO_MARK: &n 7}\n"
					     "  - name: b\n"
					     "    match: *m\n"
					     "    options: *o\n"
					     "  - name: c\n"
					     "    match: *m\n"
					     "    options: {SO_PRIORITY: *n, SO_MARK: &n 9, "
					     "TCP_KEEPCNT: *n}\n");

	assert_int_equal(c->n_policies, 3);
	assert_int_equal(int_of(&c->policies[1].base, OPTION_SO_MARK), 7);
	assert_int_equal(c->policies[1].base.v[0].at.line, 4);
	assert_int_equal(int_of(&c->policies[2].base, OPTION_SO_PRIORITY), 7);
	assert_int_equal(int_of(&c->policies[2].base, OPTION_TCP_KEEPCNT), 9); /* defined anew */
	assert_true(patterns_match(&c->policies[2].match, "/a.service"));
	config_free(c);
}

static void test_values_are_text(void **state)
{
	/* YAML 1.1 reads octal, sexagesimal and booleans out of these */
	struct config *c =
		load_text(*state, "policies:\n"
				  "  - name: 017\n"
				  "    match: {unit: on}\n"
				  "    options: {SO_BINDTODEVICE: '', SO_KEEPALIVE: \"on\"}\n"
				  "  - {name: yes, match: {unit: a}, options: {SO_MARK: 8}}\n");
	const struct setting *device;

	assert_string_equal(c->policies[0].name, "017");
	assert_string_equal(c->policies[1].name, "yes");
	device = settings_find(&c->policies[0].base, &option_table[OPTION_SO_BINDTODEVICE]);
	assert_false(device->unset); /* the empty name unbinds; only an unquoted one is null */
	assert_int_equal(int_of(&c->policies[0].base, OPTION_SO_KEEPALIVE), 1);
	config_free(c);
}

static void write_policy(struct scratch *s, const char *path, const char *name)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "policies: [{name: %s, match: {unit: a.service}, options: {SO_MARK: 1}}]\n", name);
	scratch_write(s, path, text);
}

static void test_order_of_files(void **state)
{
	struct scratch *s = *state;
	const char *dirs[] = { scratch_mkdir(s, "etc"), scratch_mkdir(s, "usr"), NULL };
	const char *files[] = { scratch_path(s, "10-last.yaml"), NULL };
	static const char *const expected[] = { "one", "two", "three", "four" };
	struct config *c;

	write_policy(s, "etc/20-b.yaml", "two");
	write_policy(s, "etc/40-masked.yaml", "three");
	write_policy(s, "usr/10-a.yaml", "one");
	write_policy(s, "usr/40-masked.yaml", "lost");
	write_policy(s, "usr/50-null.yaml", "lost");
	write_policy(s, "10-last.yaml", "four");
	assert_int_equal(symlink("/dev/null", scratch_path(s, "etc/50-null.yaml")), 0);
	c = load(dirs, files);
	assert_int_equal(c->n_policies, ARRAY_SIZE(expected));
	assert_int_equal(c->n_files, ARRAY_SIZE(expected));
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		assert_string_equal(c->policies[i].name, expected[i]);
	config_free(c);
}

static void test_nothing_configured(void **state)
{
	struct scratch *s = *state;
	const char *dirs[] = { scratch_path(s, "absent"), scratch_mkdir(s, "empty"), NULL };
	struct config *c = load(dirs, NULL);

	assert_int_equal(c->n_policies, 0);
	assert_int_equal(c->n_files, 0);
	config_free(c);
}

/* One error anywhere refuses the whole, and all that is wrong is said. */
static void test_errors(void **state)
{
	struct scratch *s = *state;
	const char *dirs[] = { scratch_mkdir(s, "etc"), NULL };
	struct config *c = (struct config *)s;
	struct diags diags = { 0 };

	write_policy(s, "etc/10-good.yaml", "good");
	scratch_write(s, "etc/20-bad.yaml", "policies: [{name: B, match: {unit: b}}, x]\n");
	scratch_write(s, "etc/30-bad.yaml", "policies: {\n");
	assert_int_equal(config_load(dirs, NULL, &host, &diags, &c), -EBADMSG);
	assert_ptr_equal(c, s);
	assert_int_equal(diags.n_errors, 3);
	assert_int_equal(diags.n_warnings, 0); /* no lint of what was not understood */
	assert_int_equal(diags.v[1].line, 1);
	assert_int_equal(diags.v[1].column, 41);
	diags_clear(&diags);
}

static size_t warnings_of(const char *const *dirs, const char *file)
{
	struct config *c = NULL;
	struct diags diags = { 0 };
	size_t n = 0;

	assert_int_equal(config_load(dirs, NULL, &host, &diags, &c), 0);
	for (size_t i = 0; i < diags.n; i++)
		n += streq(diags.v[i].file, file) && diags.v[i].level == DIAG_WARNING;
	diags_clear(&diags);
	config_free(c);
	return n;
}

static void test_a_named_directory_that_is_missing(void **state)
{
	const char *const dirs[] = { scratch_path(*state, "missing"),
				     scratch_mkdir(*state, "empty"), NULL };

	assert_int_equal(warnings_of(dirs, dirs[0]), 1);
	assert_int_equal(warnings_of(dirs, dirs[1]), 0);
}

#define SCRATCH_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_whole_policy),
		SCRATCH_TEST(test_shorthand),
		SCRATCH_TEST(test_application),
		SCRATCH_TEST(test_on_failure_and_existing),
		SCRATCH_TEST(test_ranges),
		SCRATCH_TEST(test_aliases),
		SCRATCH_TEST(test_values_are_text),
		SCRATCH_TEST(test_order_of_files),
		SCRATCH_TEST(test_nothing_configured),
		SCRATCH_TEST(test_errors),
		SCRATCH_TEST(test_a_named_directory_that_is_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
