// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Warnings on a host whose limits are known; tests/bad has the same on the host that it runs on. */
#include "scratch_dir.h"

#include "policy/loader.h"

static char congestion[] = "reno cubic bbr dctcp";
static const struct host host = {
	.rmem_max = 212992,
	.wmem_max = 100000,
	.tcp_rmem_max = 6291456,
	.tick_usec = 4000,
	.congestion = congestion,
};

#define POLICY	   "policies:\n  - name: a\n    match: {unit: a.service}\n"
#define OPTIONS(o) POLICY "    options: {" o "}\n"

/* The diagnostics of a policy file, one a line and without the file's name, are `expected`. */
static void lint_one(struct scratch *s, const struct host *h, const char *text,
		     const char *expected)
{
	static const char *const no_dirs[] = { NULL };
	const char *files[] = { scratch_write(s, "a.yaml", text), NULL };
	struct config *c = NULL;
	struct diags diags = { 0 };
	char *got = NULL;
	size_t size;
	FILE *f;

	assert_int_equal(config_load(no_dirs, files, h, &diags, &c), 0);
	assert_int_equal(diags.n_warnings, diags.n);
	f = open_memstream(&got, &size);
	assert_non_null(f);
	for (size_t i = 0; i < diags.n; i++)
		fprintf(f, "%u:%u: %s\n", diags.v[i].line, diags.v[i].column, diags.v[i].message);
	fclose(f);
	assert_string_equal(got, expected);
	free(got);
	diags_clear(&diags);
	config_free(c);
}

static void test_good(void **state)
{
	lint_one(*state, &host,
		 OPTIONS("SO_RCVBUF: 212992, SO_SNDBUF: 100000, TCP_CONGESTION: bbr, "
			 "TCP_KEEPIDLE: 60s, SO_KEEPALIVE: on, DSCP: EF, TCP_BPF_RTO_MIN: 8ms"),
		 "");
	/* keepalive may be turned on by a rule */
	lint_one(*state, &host,
		 OPTIONS("TCP_KEEPIDLE: 60s") "    rules:\n"
					      "      - name: r\n"
					      "        when: {direction: accept}\n"
					      "        options: {SO_KEEPALIVE: yes}\n",
		 "");
	lint_one(*state, &host, OPTIONS("TCP_KEEPIDLE: unset, TCP_CONGESTION: unset"), "");
	/* a word that is the option's own, or of something that is unset */
	lint_one(
		*state, &host,
		OPTIONS("SO_REUSEADDR: {value: on, application: override}, NEEDS_ECN: unset, "
			"SO_MARK: {value: ~, application: deny}, TCP_SYNCNT: {max: 3}") "    application: override\n",
		"");
	/* a connection can be refused for a device, and a bind(2) before it listens */
	lint_one(*state, &host, OPTIONS("SO_BINDTODEVICE: wg0") "    on_failure: refuse\n", "");
}

/* A range is no value: what is given to a socket is the base's, or nothing. */
static void test_ranges(void **state)
{
	lint_one(
		*state, &host,
		OPTIONS("SO_RCVBUF: {max: 4M}, SO_SNDBUF: {min: 100K, max: 1M}, TCP_KEEPIDLE: "
			"{max: 60s}, SO_MAX_PACING_RATE: {max: 10B/s}, TCP_USER_TIMEOUT: {max: 5ms}"),
		"4:37: SO_SNDBUF: min 100K is capped: 200000 bytes, as net.core.wmem_max is "
		"100000\n");
	lint_one(*state, &host, OPTIONS("TCP_BPF_RTO_MIN: {value: 8ms, min: 4ms, max: 9ms}"),
		 "4:15: TCP_BPF_RTO_MIN: min 4ms is refused: EINVAL: this kernel wants more than "
		 "one tick, which is 4ms\n");
	lint_one(
		*state, &host,
		OPTIONS("SO_KEEPALIVE: on, TCP_KEEPCNT: 9, TCP_USER_TIMEOUT: 20s, TCP_KEEPIDLE: 60s") "    rules:\n"
												      "      - {name: r, options: {TCP_USER_TIMEOUT: {max: 10s}, TCP_KEEPCNT: 8}}\n",
		"4:49: TCP_USER_TIMEOUT is less than TCP_KEEPIDLE + TCP_KEEPCNT * TCP_KEEPINTVL "
		"(735s): 1 lost probe ends an idle connection, whatever TCP_KEEPCNT says\n");
}

/* Where the value may fail, that is said of what cannot be refused. */
static void test_refused_value_cannot_be_refused(void **state)
{
	lint_one(
		*state, &host,
		OPTIONS("TCP_BPF_RTO_MIN: 8ms, TCP_BPF_DELACK_MAX: 4ms") "    on_failure: refuse\n",
		"4:37: TCP_BPF_DELACK_MAX: 4ms is refused: EINVAL: this kernel wants more than one "
		"tick, which is 4ms\n"
		"4:37: TCP_BPF_DELACK_MAX: 'on_failure: refuse' cannot refuse what is due on a "
		"listener, or when a connection is established or accepted; a failure there is "
		"counted\n");
}

static void test_capped(void **state)
{
	lint_one(*state, &host, OPTIONS("SO_RCVBUF: 212993"),
		 "4:15: SO_RCVBUF: 212993 is capped: 425984 bytes, as net.core.rmem_max is "
		 "212992\n");
	lint_one(*state, &host, OPTIONS("SO_SNDBUF: 4M"),
		 "4:15: SO_SNDBUF: 4M is capped: 200000 bytes, as net.core.wmem_max is 100000\n");
	lint_one(*state, &host, OPTIONS("SO_RCVLOWAT: 4M"),
		 "4:15: SO_RCVLOWAT: 4M is capped: 3145728 bytes, half of the largest in "
		 "net.ipv4.tcp_rmem\n"
		 "4:15: SO_RCVLOWAT: 4M: programs that know nothing of it can break: requests and "
		 "answers that are smaller are not read, so both sides wait for ever\n");
}

static void test_refused(void **state)
{
	lint_one(*state, &host, OPTIONS("TCP_BPF_RTO_MIN: 4ms"),
		 "4:15: TCP_BPF_RTO_MIN: 4ms is refused: EINVAL: this kernel wants more than one "
		 "tick, which is 4ms\n");
}

static void test_congestion(void **state)
{
	lint_one(*state, &host, OPTIONS("TCP_CONGESTION: vegas"),
		 "4:15: congestion control 'vegas' is not loaded in the running kernel; the agent "
		 "has it loaded, and leaves the option out if that fails\n");
}

#define NEEDS                                                                                      \
	"congestion control 'dctcp' needs ECN, which accepted sockets get only with NEEDS_ECN: "   \
	"on (or if their listener has 'dctcp')\n"
#define RULE(when, o) "      - {name: r, when: {" when "}, options: {" o "}}\n"

static void test_congestion_that_needs_ecn(void **state)
{
	static const char rules[] = "    rules:\n";
	static const struct {
		const char *options, *rule, *expected;
	} cases[] = {
		{ "TCP_CONGESTION: dctcp", RULE("direction: accept", "SO_MARK: 1"),
		  "4:15: " NEEDS },
		{ "TCP_CONGESTION: dctcp, NEEDS_ECN: on", RULE("", "TCP_CONGESTION: dctcp"), "" },
		{ "TCP_CONGESTION: dctcp, NEEDS_ECN: off", RULE("", "TCP_NODELAY: on"),
		  "4:15: " NEEDS },
		{ "NEEDS_ECN: on", RULE("remote: 10.0.0.1", "TCP_CONGESTION: dctcp"), "" },
		{ "NEEDS_ECN: on", RULE("", "TCP_CONGESTION: dctcp, NEEDS_ECN: unset"), "" },
		{ "NEEDS_ECN: on",
		  RULE("local: 10.0.0.1, direction: accept",
		       "TCP_CONGESTION: dctcp, NEEDS_ECN: unset"),
		  "6:73: " NEEDS },
		{ "SO_MARK: 1", RULE("remote: 10.0.0.1", "TCP_CONGESTION: dctcp"), "6:55: " NEEDS },
		{ "SO_MARK: 1", RULE("direction: connect", "TCP_CONGESTION: dctcp"), "" },
		{ "TCP_CONGESTION: dctcp", RULE("direction: listen", "TCP_CONGESTION: dctcp"), "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *text = NULL;

		assert_true(asprintf(&text, POLICY "    options: {%s}\n%s%s", cases[i].options,
				     rules, cases[i].rule) > 0);
		lint_one(*state, &host, text, cases[i].expected);
	}
}

static void test_unknown_host(void **state)
{
	static const struct host unknown = { -1, -1, -1, -1, NULL };

	lint_one(*state, &unknown,
		 OPTIONS("SO_RCVBUF: 1G, SO_SNDBUF: 1G, TCP_CONGESTION: vegas, "
			 "TCP_BPF_RTO_MIN: 1ms"),
		 "");
}

static void test_unset_of_what_listeners_carry(void **state)
{
	/* another policy's value counts too: it may govern the same cgroup */
	const char *text = "policies:\n"
			   "  - {name: outer, match: {unit: x.slice}, options: {SO_MARK: 1}}\n"
			   "  - name: a\n"
			   "    match: {unit: a.service}\n"
			   "    rules:\n"
			   "      - name: r\n"
			   "        when: {direction: accept}\n"
			   "        options: {SO_MARK: unset, SO_SNDBUF: unset}\n";
	char expected[512];

	snprintf(
		expected, sizeof(expected),
		"8:19: SO_MARK: unset has no effect on accepted sockets: listeners carry the value "
		"of %s/a.yaml:2:53, and accepted sockets inherit it\n",
		((struct scratch *)*state)->path);
	lint_one(*state, &host, text, expected);
}

/* What is said besides of a rule that AF_UNIX sockets may match, by the kernel that this runs on.
 */
static const char *about_unix(const char *when)
{
	if (!strstr(when, "unix") || host_has_unix_hooks() != 0)
		return "";
	return "5:15: this kernel has no hooks for AF_UNIX sockets (6.7 and later have): rule 'r' "
	       "does nothing for them\n";
}

/* A rule 'r' of this `when` and these options: its name stands at 5:15, its options at 7:19. */
static void rule_one(struct scratch *s, const char *when, const char *options, const char *expected)
{
	_cleanup_free_ char *text = NULL, *all = NULL;
	bool never = strstr(expected, "can never match");

	assert_true(asprintf(&text,
			     POLICY "    rules:\n"
				    "      - name: r\n"
				    "        when: {%s}\n"
				    "        options: {%s}\n",
			     when, options) > 0);
	assert_true(asprintf(&all, "%s%s", never ? "" : about_unix(when), expected) >= 0);
	lint_one(s, &host, text, all);
}

static void never_one(struct scratch *s, const char *when, const char *reason)
{
	_cleanup_free_ char *expected = NULL;

	assert_true(asprintf(&expected, "5:15: rule 'r' can never match: %s\n", reason) > 0);
	/* TCP_SAVE_SYN: what such a rule sets is not looked at */
	rule_one(s, when, "SO_PRIORITY: 1, TCP_SAVE_SYN: 1", expected);
}

static void test_rules_that_never_match(void **state)
{
	struct scratch *s = *state;

	never_one(s, "direction: []", "its direction is empty");
	never_one(s, "protocol: []", "its protocol is empty");
	never_one(s, "family: []", "its family is empty");
	never_one(s, "remote: []", "its remote is empty");
	never_one(s, "local: []", "its local is empty");
	never_one(s, "remote_port: []", "its remote_port is empty");
	never_one(s, "local_port: []", "its local_port is empty");
	never_one(s, "protocol: udp, direction: accept", "UDP sockets are not accepted");
	never_one(s, "direction: listen, remote: 0.0.0.0/0", "a socket that listens has no remote");
	never_one(s, "direction: listen, remote_port: 80", "a socket that listens has no remote");
	never_one(s, "family: unix, protocol: tcp", "only IP sockets have a protocol");
	never_one(s, "family: unix, local: 10.0.0.1", "only IP sockets have addresses and ports");
	never_one(s, "family: unix, remote_port: 80", "only IP sockets have addresses and ports");
	never_one(s, "family: unix, direction: [accept, listen]",
		  "AF_UNIX sockets are governed when they connect or send");
	never_one(s, "family: [netlink, packet], direction: connect",
		  "netlink and packet sockets are governed at socket(2), where no direction is "
		  "known");
	never_one(s, "direction: [accept, listen], protocol: udp, remote: 10.0.0.1",
		  "no socket is all that its 'when' asks for");
}

static void test_families_that_exclude_each_other(void **state)
{
	static const char reason[] = "its 'family', 'remote' and 'local' have no family in common";
	struct scratch *s = *state;

	never_one(s, "family: ipv4, remote: ['fd00::/8', '::1']", reason);
	never_one(s, "family: ipv6, local: 10.0.0.0/8", reason);
	never_one(s, "family: ipv6, remote: '::ffff:10.0.0.0/104'", reason);
	never_one(s, "remote: 10.0.0.0/8, local: 'fd00::/8'", reason);
	never_one(s, "family: [ipv4, unix], remote: 'fd00::/8'", reason);
	/* one that fits is enough */
	rule_one(s, "family: ipv4, remote: ['fd00::/8', 10.0.0.0/8]", "SO_PRIORITY: 1", "");
	rule_one(s, "remote: [10.0.0.0/8, '::1'], local: 'fd00::/8'", "SO_PRIORITY: 1", "");
}

static void test_rules_that_may_match(void **state)
{
	static const char *const whens[] = {
		"",
		"direction: listen, local: 10.0.0.1, local_port: 80",
		"direction: [connect, listen], remote: 10.0.0.1",
		"direction: accept, remote: '::/0', local_port: 443",
		"protocol: udp, direction: connect, remote: 10.0.0.1, local_port: 53",
		"protocol: udp, direction: [accept, listen]",
		"family: unix",
		"family: unix, direction: connect",
		"family: [unix, ipv4], protocol: tcp",
		"family: [unix, ipv6], direction: accept",
	};

	for (size_t i = 0; i < ARRAY_SIZE(whens); i++)
		rule_one(*state, whens[i], "SO_PRIORITY: 1", "");
}

static void no_hook_one(struct scratch *s, const char *when, const char *option)
{
	_cleanup_free_ char *expected = NULL, *name = strndup(option, strcspn(option, ":"));

	assert_non_null(name);
	assert_true(asprintf(&expected, "7:19: %s: no hook of rule 'r' can make it effective\n",
			     name) > 0);
	rule_one(s, when, option, expected);
}

static void test_options_that_no_hook_can_set(void **state)
{
	struct scratch *s = *state;

	no_hook_one(s, "protocol: udp", "TCP_BPF_IW: 20");
	no_hook_one(s, "protocol: udp", "TCP_NODELAY: on");
	no_hook_one(s, "protocol: udp", "SO_KEEPALIVE: on");
	no_hook_one(s, "protocol: udp", "RWND_INIT: 40");
	no_hook_one(s, "family: unix", "TCP_NODELAY: on");
	no_hook_one(s, "family: unix", "IP_TOS: EF");
	no_hook_one(s, "family: unix", "SO_REUSEADDR: on");
	no_hook_one(s, "family: netlink", "SO_RCVLOWAT: 1K");
	no_hook_one(s, "direction: accept", "SO_REUSEPORT: on");
	no_hook_one(s, "direction: accept", "TCP_MAXSEG: 1400");
	no_hook_one(s, "direction: listen", "TIMEOUT_INIT: 10ms");
	no_hook_one(s, "direction: listen", "RWND_INIT: 40");
	no_hook_one(s, "direction: listen", "NEEDS_ECN: on");
	no_hook_one(s, "direction: listen", "BASE_RTT: 80us");
	/* at bind(2) and listen(2) there is no peer */
	no_hook_one(s, "remote: 10.0.0.0/8", "SO_REUSEPORT: on");
	no_hook_one(s, "remote_port: 80", "TCP_SAVE_SYN: 1");
	/* UDP is reached as well, which does not matter: it is skipped there */
	rule_one(s, "remote: 10.0.0.0/8", "TCP_NODELAY: on, RWND_INIT: 40", "");
	rule_one(s, "protocol: [tcp, udp]", "TCP_NODELAY: on", "");
	rule_one(s, "direction: listen, local_port: 80", "SO_REUSEADDR: on", "");
	rule_one(s, "local: 10.0.0.1", "TCP_BPF_IW: 20, TIMEOUT_INIT: 10ms", "");
	rule_one(s, "protocol: udp, local_port: 53", "SO_RCVBUF: 4096, DSCP: EF", "");
	rule_one(s, "family: [unix, ipv4]", "TCP_NODELAY: on", "");
}

static void test_options_of_the_other_family(void **state)
{
	struct scratch *s = *state;

	rule_one(s, "family: ipv4", "IPV6_TCLASS: EF",
		 "7:19: IPV6_TCLASS: rule 'r' holds for IPv4 only, where it has no effect\n");
	rule_one(s, "remote: [10.0.0.0/8, '::ffff:10.0.0.1']", "IPV6_AUTOFLOWLABEL: on",
		 "7:19: IPV6_AUTOFLOWLABEL: rule 'r' holds for IPv4 only, where it has no "
		 "effect\n");
	rule_one(s, "remote: 'fd00::/8'", "IP_TOS: EF",
		 "7:19: IP_TOS: rule 'r' holds for IPv6 only, where it has no effect\n");
	/* DSCP is meant for whichever family there is */
	rule_one(s, "remote: 'fd00::/8'", "DSCP: EF", "");
	rule_one(s, "family: ipv4", "DSCP: EF", "");
	/* an IPv6 listener is for IPv4 peers too */
	rule_one(s, "family: ipv6", "IP_TOS: EF", "");
	rule_one(s, "local: '::1', direction: listen", "IP_TOS: EF", "");
}

static void route_one(struct scratch *s, const char *when, const char *option, const char *key)
{
	_cleanup_free_ char *expected = NULL, *name = strndup(option, strcspn(option, ":"));

	assert_non_null(name);
	assert_true(asprintf(&expected,
			     "7:19: %s: rule 'r' asks for '%s', which a connecting TCP socket has "
			     "only when its route is chosen: too late for the route, even if "
			     "another rule sets it\n",
			     name, key) > 0);
	rule_one(s, when, option, expected);
}

static void test_too_late_for_the_route(void **state)
{
	struct scratch *s = *state;

	route_one(s, "direction: connect, local: 10.0.0.1", "SO_MARK: 1", "local");
	route_one(s, "local_port: 80", "SO_BINDTODEVICE: lo", "local_port");
	route_one(s, "direction: [connect, accept], local: '::1', local_port: 80",
		  "SO_BINDTOIFINDEX: 1", "local");
	rule_one(s, "direction: connect, local: 10.0.0.1", "SO_PRIORITY: 1", "");
	rule_one(s, "direction: connect, local: 10.0.0.1", "SO_MARK: unset", "");
	rule_one(s, "direction: [accept, listen], local: 10.0.0.1", "SO_MARK: 1", "");
	rule_one(s, "protocol: udp, local: 10.0.0.1", "SO_MARK: 1", "");
	rule_one(s, "direction: connect, remote: 10.0.0.1", "SO_MARK: 1", "");
}

/* A rule that asks for the peer cannot keep a listener from carrying the value. */
static void test_unset_for_some_peers(void **state)
{
	static const char text[] = "policies:\n"
				   "  - name: a\n"
				   "    match: {unit: a.service}\n"
				   "    options: {IP_TOS: 1}\n"
				   "    rules:\n"
				   "      - name: r\n"
				   "        when: {%s}\n"
				   "        options: {IP_TOS: unset}\n";
	_cleanup_free_ char *inside = NULL, *anywhere = NULL, *expected = NULL;
	struct scratch *s = *state;

	assert_true(asprintf(&inside, text, "remote: 10.0.0.0/8") > 0);
	assert_true(asprintf(&anywhere, text, "local_port: 80") > 0);
	assert_true(asprintf(&expected,
			     "8:19: IP_TOS: unset has no effect on accepted sockets: listeners "
			     "carry the value of %s/a.yaml:4:15, and accepted sockets inherit it\n",
			     s->path) > 0);
	lint_one(s, &host, inside, expected);
	lint_one(s, &host, anywhere, "");
}

#define SCRATCH_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_good),
		SCRATCH_TEST(test_ranges),
		SCRATCH_TEST(test_refused_value_cannot_be_refused),
		SCRATCH_TEST(test_capped),
		SCRATCH_TEST(test_refused),
		SCRATCH_TEST(test_congestion),
		SCRATCH_TEST(test_congestion_that_needs_ecn),
		SCRATCH_TEST(test_unknown_host),
		SCRATCH_TEST(test_unset_of_what_listeners_carry),
		SCRATCH_TEST(test_rules_that_never_match),
		SCRATCH_TEST(test_families_that_exclude_each_other),
		SCRATCH_TEST(test_rules_that_may_match),
		SCRATCH_TEST(test_options_that_no_hook_can_set),
		SCRATCH_TEST(test_options_of_the_other_family),
		SCRATCH_TEST(test_too_late_for_the_route),
		SCRATCH_TEST(test_unset_for_some_peers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
