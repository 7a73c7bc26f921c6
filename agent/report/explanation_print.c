// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "policy/stage.h"
#include "report/explanation.h"
#include "report/in_force.h"

#define LABEL "      %-8s " /* begins a line below an option */

static void print_policy(const json_t *p, FILE *to)
{
	fprintf(to, "    %s (%s:%lld) from %s on (depth %lld), by %s %s\n",
		document_text(p, "name"), document_text(p, "file"), document_number(p, "line"),
		document_text(p, "cgroup"), document_number(p, "depth"), document_text(p, "match"),
		document_text(p, "pattern"));
}

/* Prints "web, rule inside (FILE:LINE)". */
static void print_setter(const json_t *say, FILE *to)
{
	const char *rule = document_text(say, "rule");

	fprintf(to, "%s%s%s (%s:%lld)", document_text(say, "policy"), rule ? ", rule " : "",
		rule ? rule : "", document_text(say, "file"), document_number(say, "line"));
}

static void print_stages(const json_t *choice, FILE *to)
{
	const json_t *stage;
	size_t i;

	fprintf(to, LABEL, "set at");
	json_array_foreach (json_object_get(choice, "stages"), i, stage)
		fprintf(to, "%s%s (%s)", i ? ", " : "", json_string_value(stage),
			stage_hooks(stage_find(json_string_value(stage))));
	if (!i)
		fprintf(to, "nothing: %s", document_text(choice, "why"));
	fputc('\n', to);
}

/* Prints a choice.  suffix: its condition. */
static void print_choice(const json_t *c, const char *suffix, const char *when, FILE *to)
{
	const char *value = document_text(c, "value"), *shorthand = document_text(c, "shorthand"),
		   *kernel = document_text(c, "kernel");
	const bool unset = streq(value, "unset");

	fprintf(to, "    %s %s%s%s%s\n", document_text(c, "option"),
		unset ? "left alone (unset)" : "= ", unset ? "" : value, suffix, when);
	fprintf(to, LABEL, "by");
	print_setter(c, to);
	if (shorthand)
		fprintf(to, " as %s", shorthand);
	fputc('\n', to);
	if (!unset)
		print_stages(c, to);
	if (kernel)
		fprintf(to, LABEL "%s\n", "kernel", streq(kernel, value) ? "as asked" : kernel);
}

static void print_option(const json_t *o, FILE *to)
{
	const char *name = document_text(o, "option");
	const json_t *candidates = json_object_get(o, "candidates"), *one;
	size_t i;

	json_array_foreach (candidates, i, one)
		print_choice(one, " when ", document_text(one, "when"), to);
	if (document_text(o, "value"))
		print_choice(o, json_array_size(candidates) ? " otherwise" : "", "", to);
	else
		fprintf(to, "    %s left alone otherwise (nobody else sets it)\n", name);
	json_array_foreach (json_object_get(o, "beats"), i, one) {
		const char *spelling = document_text(one, "option");
		const bool same = streq(spelling, name);

		fprintf(to, LABEL, "beats");
		print_setter(one, to);
		fprintf(to, "%s%s %s\n", same ? "" : " ", same ? "" : spelling,
			document_text(one, "value"));
	}
}

/* Prints the options, and among them, in option table order, those that are left alone. */
static void print_options(const json_t *e, bool by_direction, FILE *to)
{
	const json_t *options = json_object_get(e, "options"),
		     *left_alone = json_object_get(e, "left_alone"), *one, *other;
	const char *direction = "";
	size_t i = 0, j = 0;

	while (i + j < json_array_size(options) + json_array_size(left_alone)) {
		one = json_array_get(options, i);
		other = json_array_get(left_alone, j);
		if (one && other &&
		    option_find(document_text(other, "option")) <
			    option_find(document_text(one, "option")))
			one = NULL;
		if (one)
			i++;
		else
			j++;
		one = one ? one : other;
		if (by_direction && !streq(document_text(one, "direction"), direction)) {
			direction = document_text(one, "direction");
			fprintf(to, "  %s:\n", direction);
		}
		print_option(one, to);
	}
}

static void print_rules(const json_t *not_holding, FILE *to)
{
	const json_t *rule;
	size_t i;

	if (json_array_size(not_holding))
		fprintf(to, "  rules that do not hold:\n");
	json_array_foreach (not_holding, i, rule) {
		fprintf(to, "    ");
		print_setter(rule, to);
		fprintf(to, ": %s%s\n", document_text(rule, "when"),
			document_is(rule, "not_given") ? " (not given)" : "");
	}
}

void explanation_print(const json_t *e, const struct asked *asked, FILE *to)
{
	const json_t *policies = json_object_get(e, "policies"), *one;
	size_t i;

	fprintf(to, "cgroup %s\n", document_text(e, "cgroup"));
	fprintf(to, "  %s\n",
		json_array_size(policies) ? "policies, weakest first:"
					  : "no policy applies: its sockets are left alone");
	json_array_foreach (policies, i, one)
		print_policy(one, to);
	json_array_foreach (json_object_get(e, "left_out"), i, one)
		fprintf(to, "    left out: %s, as only the first %d that match apply\n",
			json_string_value(one), SP_LIST_MAX);
	if (asked->connection) {
		fprintf(to, "  ");
		asked_print(asked, to);
		fprintf(to, ":\n");
	}
	print_options(e, !asked->connection, to);
	print_rules(json_object_get(e, "not_holding"), to);
	in_force_print(json_object_get(e, "in_force"), to);
}
