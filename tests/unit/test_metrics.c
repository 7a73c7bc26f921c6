// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The metrics of overviews that the test makes up, as `status --json` prints them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "report/metrics.h"

/* Prints an overview that is written with ' for ". */
static char *print(const char *overview)
{
	_cleanup_free_ char *json = strdup(overview);
	_cleanup_(json_decref) json_t *o = NULL;
	json_error_t error;
	char *text;
	size_t n;
	FILE *to = open_memstream(&text, &n);

	assert_true(json && to);
	for (char *quote = json; (quote = strchr(quote, '\''));)
		*quote = '"';
	o = json_loads(json, 0, &error);
	if (!o)
		fail_msg("%s at %d", error.text, error.position);
	metrics_print(o, to);
	assert_int_equal(fclose(to), 0);
	return text;
}

static void assert_line(const char *text, const char *line)
{
	_cleanup_free_ char *whole = NULL, *all = NULL;

	assert_true(asprintf(&whole, "\n%s\n", line) > 0);
	assert_true(asprintf(&all, "\n%s", text) > 0);
	if (!strstr(all, whole))
		fail_msg("no line '%s' in\n%s", line, text);
}

/* Sum over the families: each has its HELP and TYPE once, before its samples. */
static void check_families(char *text)
{
	char family[128] = "", name[128], *rest = text, *line;

	while ((line = strsep(&rest, "\n")) && *line) {
		if (sscanf(line, "# HELP %127s", name) == 1) {
			assert_string_not_equal(name, family);
			strcpy(family, name);
		} else if (sscanf(line, "# TYPE %127s", name) != 1) {
			assert_int_equal(sscanf(line, "%127[a-z_]", name), 1);
		}
		assert_string_equal(name, family);
		assert_int_equal(strncmp(name, "sockpol_", strlen("sockpol_")), 0);
	}
}

static void test_nothing(void **state)
{
	_cleanup_free_ char *text =
		print("{'agent': {'running': false, 'answers': false, 'degraded': false}}");

	(void)state;
	assert_line(text, "sockpol_up 0");
	assert_line(text, "sockpol_agent_up 0");
	assert_null(strstr(text, "sockpol_degraded"));
	assert_null(strstr(text, "sockpol_generation"));
	check_families(text);
}

static void test_agent_without_pins(void **state)
{
	_cleanup_free_ char *text =
		print("{'agent': {'running': true, 'answers': true, 'degraded': true}}");

	(void)state;
	assert_line(text, "sockpol_up 0");
	assert_line(text, "sockpol_agent_up 1");
	assert_line(text, "sockpol_degraded 1");
	assert_null(strstr(text, "sockpol_policies"));
}

static void test_everything(void **state)
{
	_cleanup_free_ char *text = print(
		"{'agent': {'answers': true, 'degraded': false},"
		" 'generation': 3, 'loaded_usec': 1500000, 'n_policies': 2,"
		" 'counts': {'classified': 11, 'cut': 2, 'left_out': 3, 'lists_lost': 4,"
		"  'failures_lost': 5},"
		" 'attachments': [{'hook': 'sock_ops', 'attached': true}, {'hook': 'connect4', 'attached': false}],"
		" 'neighbours': [{'hook': 'sock_ops', 'runs_after': true}],"
		" 'policies': ["
		"  {'name': 'a', 'applied': 10, 'at_socket': 2, 'rules': [{'name': 'out', 'applied': 7}], 'failed': ["
		"   {'rule': null, 'option': 'SO_MARK', 'errno': 'EPERM', 'count': 3},"
		"   {'rule': 'out', 'option': 'SO_MARK', 'errno': '524', 'count': 5}], 'outcomes': ["
		"   {'rule': 'out', 'option': 'SO_MARK', 'kind': 'held', 'count': 6},"
		"   {'rule': null, 'option': 'IP_TOS', 'kind': 'refused', 'count': 7}]},"
		"  {'name': 'b', 'applied': 0, 'rules': [], 'failed': []}],"
		" 'stages': [{'stage': 'unix-send', 'available': false, 'used': true},"
		"  {'stage': 'unix-connect', 'available': false, 'used': false},"
		"  {'stage': 'tcp-listen', 'available': true, 'used': true}],"
		" 'missing_hooks': 1,"
		" 'maps': [{'map': 'failures', 'entries': 9, 'room': 100},"
		"  {'map': 'counters', 'entries': 6, 'room': 1000}]}");
	static const char *const expected[] = {
		"sockpol_up 1",
		"sockpol_agent_up 1",
		"sockpol_degraded 0",
		"sockpol_generation 3",
		"sockpol_last_load_timestamp_seconds 1.500000",
		"sockpol_policies 2",
		"sockpol_policy_applied_sockets_total{policy=\"a\"} 10",
		"sockpol_policy_applied_sockets_total{policy=\"b\"} 0",
		"sockpol_policy_at_socket_sockets_total{policy=\"a\"} 2",
		"sockpol_rule_applied_sockets_total{policy=\"a\",rule=\"out\"} 7",
		"sockpol_failures_total{policy=\"a\",rule=\"\",option=\"SO_MARK\",errno=\"EPERM\"} 3",
		"sockpol_failures_total{policy=\"a\",rule=\"out\",option=\"SO_MARK\",errno=\"524\"} 5",
		"sockpol_sets_held_total{policy=\"a\",rule=\"out\",option=\"SO_MARK\"} 6",
		"sockpol_calls_refused_total{policy=\"a\",rule=\"\",option=\"IP_TOS\"} 7",
		"sockpol_cgroups_classified_total 11",
		"sockpol_cgroups_too_deep_total 2",
		"sockpol_cgroups_policies_left_out_total 3",
		"sockpol_lists_lost_total 4",
		"sockpol_failures_lost_total 5",
		"sockpol_missing_hooks 1",
		"sockpol_stage_available{stage=\"unix-send\"} 0",
		"sockpol_stage_available{stage=\"unix-connect\"} 0",
		"sockpol_stage_available{stage=\"tcp-listen\"} 1",
		"sockpol_stage_used{stage=\"unix-send\"} 1",
		"sockpol_stage_used{stage=\"unix-connect\"} 0",
		"sockpol_hook_attached{hook=\"sock_ops\"} 1",
		"sockpol_hook_attached{hook=\"connect4\"} 0",
		"sockpol_neighbour_programs{hook=\"sock_ops\",runs=\"after\"} 1",
		"sockpol_neighbour_programs{hook=\"sock_ops\",runs=\"before\"} 0",
		"sockpol_map_entries{map=\"failures\"} 9",
		"sockpol_map_entries_limit{map=\"failures\"} 100",
		"sockpol_map_entries{map=\"counters\"} 6",
		"sockpol_map_entries_limit{map=\"counters\"} 1000",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		assert_line(text, expected[i]);
	assert_null(strstr(text, "governed")); /* nothing counts cgroups but `status`, when asked */
	check_families(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_agent_without_pins),
		cmocka_unit_test(test_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
