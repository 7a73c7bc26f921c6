// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What is left of a configuration on kernels that lack something, and what is said of it. */
#include "scratch_dir.h"

#include <errno.h>

#include "command/commands.h"
#include "policy/loader.h"
#include "kernel/support.h"

static const struct kernel_support whole;
/* As 6.1 answers; and a host without IPv6. */
static const struct kernel_support old = {
	.options = { [OPTION_TCP_RTO_MAX_MS] = -EINVAL, [OPTION_IPV6_TCLASS] = SUPPORT_UNKNOWN },
	.missing_stages = BIT(SP_STAGE_UNIX) | BIT(SP_STAGE_LOCAL_SOCKET),
};

#define MATCH "    match: {cgroup: /x}\n"
static const char text[] =
	"policies:\n"
	"  - name: a\n" MATCH "    options: {TCP_RTO_MAX_MS: 5s, SO_MARK: 1, IPV6_TCLASS: 8}\n"
	"    rules:\n"
	"      - name: near\n"
	"        when: {remote: 10.0.0.0/8}\n"
	"        options: {TCP_RTO_MAX_MS: unset}\n"
	"      - name: far\n"
	"        options: {TCP_RTO_MAX_MS: 7s}\n"
	"      - name: local\n"
	"        when: {family: [ipv4, unix]}\n"
	"        options: {SO_PRIORITY: 1}\n"
	"      - name: never\n"
	"        when: {family: [ipv4, unix], protocol: tcp}\n"
	"        options: {SO_PRIORITY: 2}\n"
	"  - name: b\n" MATCH "    options: {SO_MARK: 2}\n";

static struct config *load(struct scratch *s, const char *policies)
{
	static const char *const no_dirs[] = { NULL };
	const char *files[] = { scratch_write(s, "a.yaml", policies), NULL };
	const struct host host = { -1, -1, -1, -1, NULL };
	struct config *c = NULL;
	struct diags diags = { 0 };

	assert_int_equal(config_load(no_dirs, files, &host, &diags, &c), 0);
	diags_clear(&diags);
	return c;
}

/* Each thing noted and each diagnostic, one a line. */
static char *said(const struct config *c, const struct diags *diags)
{
	char *got = NULL;
	size_t size;
	FILE *f = open_memstream(&got, &size);

	assert_non_null(f);
	for (size_t i = 0; i < c->n_unsupported; i++) {
		const struct unsupported *u = &c->unsupported[i];

		fprintf(f, "%s/%s: %s %s%s\n", u->policy, u->rule ? u->rule : "", u->what,
			u->since ? u->since : "", u->is_refused ? " refused" : "");
	}
	for (size_t i = 0; i < diags->n; i++)
		fprintf(f, "%u:%u: %s: %s\n", diags->v[i].line, diags->v[i].column,
			diags->v[i].level == DIAG_ERROR ? "error" : "warning", diags->v[i].message);
	fclose(f);
	return got;
}

static void apply_one(const struct kernel_support *k, struct config *c, int r, const char *expected)
{
	_cleanup_free_ char *got = NULL;
	struct diags diags = { 0 };

	assert_int_equal(support_apply(k, NULL, c, &diags), r);
	got = said(c, &diags);
	assert_string_equal(got, expected);
	diags_clear(&diags);
}

static void report_one(const struct kernel_support *k, const struct config *c, const char *expected)
{
	_cleanup_free_ char *got = NULL;
	size_t size;
	FILE *f = open_memstream(&got, &size);

	assert_non_null(f);
	cmd_check_print_kernel("6.1.0-test", k, c, f);
	fclose(f);
	assert_string_equal(got, expected);
}

static void test_nothing_lacks(void **state)
{
	struct config *c = load(*state, text);

	apply_one(&whole, c, 0, "");
	assert_int_equal(c->policies[0].base.n, 3);
	report_one(&whole, c, "kernel 6.1.0-test:\n  has every option and every hook\n");
	config_free(c);
}

#define LEFT_OUT                                                                                   \
	"warning: this kernel's bpf_setsockopt does not take TCP_RTO_MAX_MS (since 6.15): left "   \
	"out of policy 'a'\n"

static void test_degrade(void **state)
{
	struct config *c = load(*state, text);
	const struct policy *a = &c->policies[0];

	apply_one(&old, c, 0,
		  "a/: TCP_RTO_MAX_MS 6.15\n"
		  "a/far: TCP_RTO_MAX_MS 6.15\n"
		  "a/local: hooks for AF_UNIX sockets 6.7\n"
		  "4:15: " LEFT_OUT "10:19: " LEFT_OUT);
	assert_int_equal(a->base.n, 2);
	assert_null(settings_find(&a->base, &option_table[OPTION_TCP_RTO_MAX_MS]));
	assert_non_null(settings_find(&a->base, &option_table[OPTION_IPV6_TCLASS]));
	/* `unset` is not asked of the kernel */
	assert_int_equal(a->rules[0].options.n, 1);
	assert_int_equal(a->rules[1].options.n, 0);
	report_one(
		&old, c,
		"kernel 6.1.0-test:\n"
		"  lacks TCP_RTO_MAX_MS (since 6.15): policy a; policy a, rule far\n"
		"  cannot tell whether it has IPV6_TCLASS: no socket to try it on\n"
		"  lacks hooks for AF_UNIX sockets (since 6.7): policy a, rule local\n"
		"  lacks hooks of BPF LSM (boot with lsm=...,bpf) (since 6.0): no policy asks for "
		"it\n");
	config_free(c);
}

static void test_refuse(void **state)
{
	struct config *c = load(*state, "policies:\n"
					"  - name: a\n"
					"    on_unsupported: refuse\n" MATCH
					"    options: {TCP_RTO_MAX_MS: 5s, SO_MARK: 1}\n"
					"    rules:\n"
					"      - name: local\n"
					"        when: {family: unix}\n"
					"        options: {SO_PRIORITY: 1}\n");

	apply_one(&old, c, -EBADMSG,
		  "a/: TCP_RTO_MAX_MS 6.15\n"
		  "a/local: hooks for AF_UNIX sockets 6.7\n"
		  "5:15: error: this kernel's bpf_setsockopt does not take TCP_RTO_MAX_MS "
		  "(since 6.15), and policy 'a' says on_unsupported: refuse\n"
		  "7:15: error: this kernel has no hooks for AF_UNIX sockets (6.7 and later have), "
		  "and policy 'a' says on_unsupported: refuse\n");
	config_free(c);
	c = load(
		*state,
		"policies:\n  - name: a\n    on_unsupported: refuse\n" MATCH
		"    rules:\n      - {name: nl, when: {family: netlink}, options: {SO_MARK: 1}}\n");
	apply_one(
		&old, c, -EBADMSG,
		"a/nl: hooks of BPF LSM (boot with lsm=...,bpf) 6.0\n"
		"6:16: error: this kernel has no hooks of BPF LSM (boot with lsm=...,bpf) (6.0 and "
		"later have), and policy 'a' says on_unsupported: refuse\n");
	config_free(c);
	c = load(*state, "policies:\n  - name: a\n    on_unsupported: refuse\n" MATCH
			 "    options: {SO_MARK: 1}\n");
	apply_one(&old, c, 0, "");
	config_free(c);
}

#define REFUSED(what, who)                                                                         \
	"warning: " what ": calls that need it fail with EPERM, as " who                           \
	" says on_failure: refuse\n"

/* What the kernel lacks stays where calls are to be refused for it. */
static void test_refused_calls(void **state)
{
	const struct host host = { -1, -1, -1, -1, (char *)(uintptr_t) "reno cubic" };
	struct config *c =
		load(*state, "policies:\n"
			     "  - name: a\n"
			     "    on_failure: refuse\n" MATCH
			     "    options: {TCP_RTO_MAX_MS: 5s, TCP_CONGESTION: westwood}\n"
			     "    rules:\n"
			     "      - name: range\n"
			     "        options: {TCP_RTO_MAX_MS: {max: 5s}}\n"
			     "      - name: goes-on\n"
			     "        on_failure: continue\n"
			     "        options: {TCP_RTO_MAX_MS: 7s}\n"
			     "      - name: refuses\n"
			     "        on_failure: refuse\n"
			     "        options: {TCP_CONGESTION: yeah}\n");
	const struct policy *a = &c->policies[0];
	_cleanup_free_ char *got = NULL;
	struct diags diags = { 0 };

	assert_int_equal(support_apply(&old, &host, c, &diags), 0);
	got = said(c, &diags);
	assert_string_equal(
		got,
		"a/: congestion control 'westwood'  refused\n"
		"a/: TCP_RTO_MAX_MS 6.15 refused\n"
		"a/range: TCP_RTO_MAX_MS 6.15\n"
		"a/goes-on: TCP_RTO_MAX_MS 6.15\n"
		"a/refuses: congestion control 'yeah'  refused\n"
		"5:35: " REFUSED("this kernel has no congestion control 'westwood'", "policy 'a'") "5:15: " REFUSED(
			"this kernel's bpf_setsockopt does not take TCP_RTO_MAX_MS (since 6.15)",
			"policy 'a'") "8:19: " LEFT_OUT "11:19: " LEFT_OUT
				      "14:19: " REFUSED(
					      "this kernel has no congestion control 'yeah'",
					      "rule 'refuses'"));
	assert_int_equal(a->base.n, 2);
	assert_int_equal(a->rules[0].options.n, 0);
	assert_int_equal(a->rules[1].options.n, 0);
	assert_int_equal(a->rules[2].options.n, 1);
	report_one(
		&old, c,
		"kernel 6.1.0-test:\n"
		"  lacks TCP_RTO_MAX_MS (since 6.15): policy a (refuses calls); policy a, rule "
		"range; policy a, rule goes-on\n"
		"  cannot tell whether it has IPV6_TCLASS: no socket to try it on\n"
		"  lacks hooks for AF_UNIX sockets (since 6.7): no policy asks for it\n"
		"  lacks hooks of BPF LSM (boot with lsm=...,bpf) (since 6.0): no policy asks for "
		"it\n"
		"  lacks congestion control 'westwood': policy a (refuses calls)\n"
		"  lacks congestion control 'yeah': policy a, rule refuses (refuses calls)\n");
	diags_clear(&diags);
	config_free(c);
	/* the configuration is refused, if that is asked for */
	c = load(*state,
		 "policies:\n  - name: a\n    on_failure: refuse\n"
		 "    on_unsupported: refuse\n" MATCH "    options: {TCP_RTO_MAX_MS: 5s}\n");
	apply_one(&old, c, -EBADMSG,
		  "a/: TCP_RTO_MAX_MS 6.15 refused\n"
		  "6:15: error: this kernel's bpf_setsockopt does not take TCP_RTO_MAX_MS (since "
		  "6.15), and policy 'a' says on_unsupported: refuse\n");
	config_free(c);
}

static void test_report_of_nobody(void **state)
{
	struct config *c =
		load(*state, "policies:\n  - name: a\n" MATCH "    options: {SO_MARK: 1}\n");

	apply_one(&old, c, 0, "");
	report_one(
		&old, c,
		"kernel 6.1.0-test:\n"
		"  lacks TCP_RTO_MAX_MS (since 6.15): no policy asks for it\n"
		"  cannot tell whether it has IPV6_TCLASS: no socket to try it on\n"
		"  lacks hooks for AF_UNIX sockets (since 6.7): no policy asks for it\n"
		"  lacks hooks of BPF LSM (boot with lsm=...,bpf) (since 6.0): no policy asks for "
		"it\n");
	config_free(c);
	/* the files are wrong */
	report_one(&old, NULL,
		   "kernel 6.1.0-test:\n"
		   "  lacks TCP_RTO_MAX_MS (since 6.15)\n"
		   "  cannot tell whether it has IPV6_TCLASS: no socket to try it on\n"
		   "  lacks hooks for AF_UNIX sockets (since 6.7)\n"
		   "  lacks hooks of BPF LSM (boot with lsm=...,bpf) (since 6.0)\n");
}

static void test_congestion_control(void **state)
{
	const struct host host = { -1, -1, -1, -1, (char *)(uintptr_t) "reno cubic" };
	struct config *c = load(*state, "policies:\n"
					"  - name: a\n" MATCH
					"    options: {TCP_CONGESTION: westwood, SO_MARK: 1}\n"
					"    rules:\n"
					"      - name: reno\n"
					"        options: {TCP_CONGESTION: reno}\n"
					"      - name: unset\n"
					"        options: {TCP_CONGESTION: unset}\n"
					"  - name: b\n    on_unsupported: refuse\n" MATCH
					"    options: {TCP_CONGESTION: westwood}\n");
	_cleanup_free_ char *got = NULL;
	struct diags diags = { 0 };

	assert_int_equal(support_apply(&whole, &host, c, &diags), -EBADMSG);
	got = said(c, &diags);
	assert_string_equal(
		got,
		"a/: congestion control 'westwood' \n"
		"b/: congestion control 'westwood' \n"
		"4:15: warning: this kernel has no congestion control 'westwood': left out of "
		"policy 'a'\n"
		"13:15: error: this kernel has no congestion control 'westwood', and policy 'b' "
		"says on_unsupported: refuse\n");
	assert_int_equal(c->policies[0].base.n, 1);
	assert_ptr_equal(c->policies[0].base.v[0].option, &option_table[OPTION_SO_MARK]);
	assert_int_equal(c->policies[0].rules[0].options.n, 1);
	assert_int_equal(c->policies[0].rules[1].options.n, 1);
	report_one(&whole, c,
		   "kernel 6.1.0-test:\n"
		   "  lacks congestion control 'westwood': policy a; policy b\n");
	diags_clear(&diags);
	config_free(c);
}

/* A string value that is allocated goes with its setting: the sanitized build looks. */
static void test_strings_are_freed(void **state)
{
	struct kernel_support k = { .options = { [OPTION_TCP_CONGESTION] = -EINVAL } };
	struct config *c =
		load(*state, "policies:\n  - name: a\n" MATCH
			     "    options: {TCP_CONGESTION: reno, SO_BINDTODEVICE: lo}\n");

	k.options[OPTION_SO_BINDTODEVICE] = -EINVAL;
	apply_one(
		&k, c, 0,
		"a/: SO_BINDTODEVICE 5.10\n"
		"a/: TCP_CONGESTION 5.10\n"
		"4:37: warning: this kernel's bpf_setsockopt does not take SO_BINDTODEVICE (since "
		"5.10): left out of policy 'a'\n"
		"4:15: warning: this kernel's bpf_setsockopt does not take TCP_CONGESTION (since "
		"5.10): left out of policy 'a'\n");
	assert_int_equal(c->policies[0].base.n, 0);
	config_free(c);
}

#define SCRATCH_TEST(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_nothing_lacks),
		SCRATCH_TEST(test_degrade),
		SCRATCH_TEST(test_refuse),
		SCRATCH_TEST(test_refused_calls),
		SCRATCH_TEST(test_report_of_nobody),
		SCRATCH_TEST(test_congestion_control),
		SCRATCH_TEST(test_strings_are_freed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
