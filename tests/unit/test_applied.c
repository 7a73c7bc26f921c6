// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "report/applied.h"

static struct walk_refusal refusals[] = { { OPTION_TCP_CONGESTION, -ENOENT } };
static uint64_t n_refused[] = { 2 };

static struct walk_totals totals(void)
{
	struct walk_totals t = {
		.counts = { .sockets = 9, .governed = 4, .touched = 3, .untold = 1 },
		.refusals = refusals,
		.n_refused = n_refused,
		.n_refusals = 1
	};

	t.counts.outcomes[OPTION_TCP_NODELAY][WALK_SET] = 3;
	t.counts.outcomes[OPTION_TCP_NODELAY][WALK_RIGHT] = 1;
	t.counts.outcomes[OPTION_TCP_SYNCNT][WALK_TOO_LATE] = 4;
	t.counts.outcomes[OPTION_TCP_CONGESTION][WALK_FAILED] = 2;
	return t;
}

static void test_document(void **state)
{
	const struct walk_totals t = totals();
	const struct walk_request request = { .mode = WALK_APPLY };
	json_t *d = applied_json(&t, &request, 2), *options, *failure, *all;

	(void)state;
	assert_non_null(d);
	all = json_object_get(d, "outcomes");
	options = json_object_get(d, "options");
	failure = json_array_get(json_object_get(d, "failures"), 0);
	assert_int_equal(document_number(d, "namespaces"), 2);
	assert_int_equal(document_number(d, "sockets"), 9);
	assert_int_equal(document_number(d, "direction_not_known"), 1);
	assert_int_equal(document_number(all, "set"), 3);
	assert_int_equal(document_number(all, "too_late"), 4);
	assert_null(json_object_get(all, "changed"));  /* no reset */
	assert_int_equal(json_array_size(options), 3); /* in the order of the table, those of which
							  there is something to say */
	assert_string_equal(document_text(json_array_get(options, 0), "option"), "TCP_CONGESTION");
	assert_string_equal(document_text(failure, "errno"), "ENOENT");
	assert_int_equal(document_number(failure, "count"), 2);
	json_decref(d);
}

static void test_sentence(void **state)
{
	const struct walk_totals t = totals();
	char *sentence = applied_sentence(&t);

	(void)state;
	assert_string_equal(sentence,
			    "set 3 options on 3 open sockets; already right: 1, too late: "
			    "4, respected: 0, failed: 2");
	free(sentence);
}

/* A reset has columns of its own; a dry run sets nothing. */
static void test_text(void **state)
{
	const struct walk_totals t = totals();
	const struct walk_request request = { .mode = WALK_RESET, .is_dry = true };
	json_t *d = applied_json(&t, &request, 1);
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	(void)state;
	applied_print(d, to);
	fclose(to);
	assert_non_null(strstr(text, "not taken back"));
	assert_non_null(strstr(text, "todo"));
	assert_non_null(
		strstr(text, "failed: TCP_CONGESTION 2 times: No such file or directory (ENOENT)"));
	assert_non_null(strstr(text, "of 1 it cannot be told"));
	free(text);
	json_decref(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_document),
		cmocka_unit_test(test_sentence),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
