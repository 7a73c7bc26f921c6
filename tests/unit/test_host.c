// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

#include "host/host.h"

/* What the sysctl's file says, or -1: the number after `skip` others. */
static int64_t sysctl_number(const char *path, int skip)
{
	_cleanup_fclose_ FILE *f = fopen(path, "r");
	char line[256], *word;

	if (!f || !fgets(line, sizeof(line), f))
		return -1;
	word = strtok(line, " \t\n");
	while (skip-- && word)
		word = strtok(NULL, " \t\n");
	return word ? strtoll(word, NULL, 10) : -1;
}

static void reads_this_host(void **state)
{
	struct timespec tick;
	struct host h;

	(void)state;
	host_read(&h);
	assert_int_equal(h.rmem_max, sysctl_number("/proc/sys/net/core/rmem_max", 0));
	assert_int_equal(h.wmem_max, sysctl_number("/proc/sys/net/core/wmem_max", 0));
	assert_int_equal(h.tcp_rmem_max, sysctl_number("/proc/sys/net/ipv4/tcp_rmem", 2));
	assert_int_equal(clock_getres(CLOCK_MONOTONIC_COARSE, &tick), 0);
	assert_int_equal(h.tick_usec, tick.tv_nsec / 1000);
	assert_in_range(h.tick_usec, 1000, 10000); /* 100 to 1000 Hz */
	if (h.congestion)
		assert_int_equal(host_has_congestion(&h, "reno"), 1); /* always built in */
	assert_int_equal(access("/proc/sys/net/ipv4/tcp_available_congestion_control", R_OK),
			 h.congestion ? 0 : -1);
	host_clear(&h);
}

static void cleared_knows_nothing(void **state)
{
	struct host h;

	(void)state;
	host_read(&h);
	host_clear(&h);
	assert_int_equal(h.rmem_max, -1);
	assert_int_equal(h.wmem_max, -1);
	assert_int_equal(h.tcp_rmem_max, -1);
	assert_int_equal(h.tick_usec, -1);
	assert_null(h.congestion);
	assert_int_equal(host_has_congestion(&h, "reno"), -ENODATA);
	host_clear(&h);
}

static void congestion_by_whole_words(void **state)
{
	static const struct {
		const char *list, *name;
		int has;
	} cases[] = {
		{ "reno cubic", "reno", 1 },
		{ "reno cubic", "cubic", 1 },
		{ "reno cubic", "cub", 0 },
		{ "reno cubic", "ubic", 0 },
		{ "reno cubic", "cubics", 0 },
		{ "reno cubic", "bbr", 0 },
		{ "reno cubic", "", 0 },
		{ "reno cubic", "reno cubic", 0 },
		{ " reno  bbr ", "bbr", 1 },
		{ "", "reno", 0 },
		{ " ", "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *list = strdup(cases[i].list);
		struct host h = { .congestion = list };

		if (host_has_congestion(&h, cases[i].name) != cases[i].has)
			fail_msg("'%s' in '%s'", cases[i].name, cases[i].list);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_this_host),
		cmocka_unit_test(cleared_knows_nothing),
		cmocka_unit_test(congestion_by_whole_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
