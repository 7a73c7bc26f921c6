// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Warnings on a host whose limits are known; tests/bad has the same on the host that it runs on. */
#include "scratch_dir.h"

#include "loader.h"

static char congestion[] = "reno cubic bbr";
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
		 "net.ipv4.tcp_rmem\n");
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
		 "has it loaded, and refuses the configuration if that fails\n");
}

static void test_unknown_host(void **state)
{
	static const struct host unknown = { -1, -1, -1, -1, NULL };

	lint_one(*state, &unknown,
		 OPTIONS("SO_RCVBUF: 1G, SO_RCVLOWAT: 1G, TCP_CONGESTION: vegas, "
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

#define SCRATCH_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_good),	 SCRATCH_TEST(test_capped),
		SCRATCH_TEST(test_refused),	 SCRATCH_TEST(test_congestion),
		SCRATCH_TEST(test_unknown_host), SCRATCH_TEST(test_unset_of_what_listeners_carry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
