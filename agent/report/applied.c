// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "report/applied.h"

static const struct {
	const char *key, *heading;
	bool is_of_reset; /* only a reset has it */
} outcomes[] = {
	[WALK_SET] = { "set", "set" },
	[WALK_RIGHT] = { "right", "already right" },
	[WALK_TOO_LATE] = { "too_late", "too late" },
	[WALK_FAILED] = { "failed", "failed" },
	[WALK_RESPECTED] = { "respected", "respected" },
	[WALK_CHANGED] = { "changed", "set otherwise since", true },
	[WALK_NOT_TAKEN_BACK] = { "not_taken_back", "not taken back", true },
};
static_assert(ARRAY_SIZE(outcomes) == WALK_OUTCOMES, "a row for each outcome");

static json_t *row_json(const __u64 counts[WALK_OUTCOMES], bool is_reset)
{
	json_t *row = json_object();

	for (int k = 0; k < WALK_OUTCOMES; k++)
		if (is_reset || !outcomes[k].is_of_reset)
			row = document_set(row, outcomes[k].key,
					   json_integer((json_int_t)counts[k]));
	return row;
}

static json_t *failures_json(const struct walk_totals *t)
{
	json_t *list = json_array();

	for (size_t i = 0; i < t->n_refusals; i++) {
		const struct walk_refusal *one = &t->refusals[i];
		const char *name = strerrorname_np(-one->error);

		list = document_append(
			list,
			json_pack("{s:s, s:s, s:s, s:I}", "option",
				  one->option < OPTION_MAX ? option_table[one->option].name : "?",
				  "errno", name ? name : "?", "message", strerror(-one->error),
				  "count", (json_int_t)t->n_refused[i]));
	}
	return list;
}

json_t *applied_json(const struct walk_totals *t, const struct walk_request *request,
		     size_t n_namespaces)
{
	const bool is_reset = request->mode == WALK_RESET;
	__u64 all[WALK_OUTCOMES] = { 0 };
	json_t *options = json_array();

	for (int i = 0; i < OPTION_MAX; i++) {
		uint64_t any = 0;
		json_t *row;

		for (int k = 0; k < WALK_OUTCOMES; k++) {
			any |= t->counts.outcomes[i][k];
			all[k] += t->counts.outcomes[i][k];
		}
		if (!any)
			continue;
		row = row_json(t->counts.outcomes[i], is_reset);
		options = document_append(
			options, document_set(row, "option", json_string(option_table[i].name)));
	}
	return json_pack("{s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "dry_run",
			 request->is_dry, "reset", is_reset, "namespaces", (json_int_t)n_namespaces,
			 "sockets", (json_int_t)t->counts.sockets, "governed",
			 (json_int_t)t->counts.governed, "touched", (json_int_t)t->counts.touched,
			 "direction_not_known", (json_int_t)t->counts.untold, "outcomes",
			 row_json(all, is_reset), "options", options, "failures", failures_json(t));
}

static void print_row(const char *name, const json_t *row, FILE *to)
{
	fprintf(to, "%-26s", name);
	for (int k = 0; k < WALK_OUTCOMES; k++) {
		const json_t *n = json_object_get(row, outcomes[k].key);

		if (n)
			fprintf(to, " %*lld", (int)strlen(outcomes[k].heading) + 2,
				json_integer_value(n));
	}
	fputc('\n', to);
}

static void print_headings(const json_t *document, FILE *to)
{
	const bool is_reset = document_is(document, "reset");

	fprintf(to, "%-26s", "option");
	for (int k = 0; k < WALK_OUTCOMES; k++)
		if (is_reset || !outcomes[k].is_of_reset)
			fprintf(to, "   %s",
				k == WALK_SET && document_is(document, "dry_run")
					? "todo"
					: outcomes[k].heading);
	fputc('\n', to);
}

void applied_print(const json_t *document, FILE *to)
{
	const json_int_t n = document_number(document, "namespaces"),
			 untold = document_number(document, "direction_not_known");
	const json_t *one;
	size_t i;

	fprintf(to,
		"%lld socket%s in %lld network namespace%s; policies have a word about %lld; %s "
		"something on %lld\n",
		document_number(document, "sockets"),
		plural((size_t)document_number(document, "sockets")), n, plural((size_t)n),
		document_number(document, "governed"),
		document_is(document, "dry_run") ? "a run that is not dry may set" : "set",
		document_number(document, "touched"));
	if (untold)
		fprintf(to,
			"of %lld it cannot be told whether they connected or were accepted: they "
			"have only what both would get\n",
			untold);
	if (json_array_size(json_object_get(document, "options")))
		print_headings(document, to);
	json_array_foreach (json_object_get(document, "options"), i, one)
		print_row(document_text(one, "option"), one, to);
	json_array_foreach (json_object_get(document, "failures"), i, one)
		fprintf(to, "failed: %s %lld time%s: %s (%s)\n", document_text(one, "option"),
			document_number(one, "count"),
			plural((size_t)document_number(one, "count")),
			document_text(one, "message"), document_text(one, "errno"));
}

char *applied_sentence(const struct walk_totals *t)
{
	uint64_t all[WALK_OUTCOMES] = { 0 };

	for (int i = 0; i < OPTION_MAX; i++)
		for (int k = 0; k < WALK_OUTCOMES; k++)
			all[k] += t->counts.outcomes[i][k];
	return text_format("set %" PRIu64 " option%s on %" PRIu64 " open socket%s; already right: "
			   "%" PRIu64 ", too late: %" PRIu64 ", respected: %" PRIu64
			   ", failed: %" PRIu64,
			   all[WALK_SET], plural(all[WALK_SET]), (uint64_t)t->counts.touched,
			   plural(t->counts.touched), all[WALK_RIGHT], all[WALK_TOO_LATE],
			   all[WALK_RESPECTED], all[WALK_FAILED]);
}
