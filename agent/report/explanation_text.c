// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* An explanation for people: the table. */
#include <errno.h>

#include "policy/stage.h"
#include "report/explanation.h"
#include "report/in_force.h"

#define LABEL "      %-9s " /* begins a line below an option */

enum cell {
	CELL_OPTION,
	CELL_VALUE,
	CELL_FROM,
	CELL_APPLICATION,
	CELL_AT,
	CELL_SOCKETS,
	CELL_MAX, /* the notes come behind them */
};

/* A line of the table: what one block makes of one option. */
struct row {
	const struct option *option;
	const json_t *choice, *beats; /* beats: of a choice that is no candidate */
	unsigned at;		      /* BIT(enum direction): where the choice comes to effect */
	bool otherwise;		      /* where the lines before it do not hold */
	json_int_t have, of;	      /* open sockets: that have it, that should */
	char from[2 * SP_NAME_SIZE], at_text[32], sockets[48];
	char value[DOCUMENT_VALUE_SIZE]; /* or the range */
};

struct table {
	struct row *rows; /* by option, then the strongest first */
	size_t n;
	bool verbose;	  /* a row has one direction, and details below it */
	bool any_sockets; /* some row has any */
	bool any_word;	  /* in some row the application does not have the last word */
};

static unsigned direction_bit(const json_t *option)
{
	unsigned d = 0;

	while (!streq(direction_words[d], document_text(option, "direction")))
		d++;
	return BIT(d);
}

/* Returns the row that says the same of another direction, or a new one; NULL: memory is out. */
static struct row *find_row(struct table *t, const json_t *choice)
{
	const struct option *option = option_find(document_text(choice, "option"));
	const char *rule = document_text(choice, "rule");
	size_t place = t->n;
	struct row *row;

	if (GROW(t->rows, t->n) < 0)
		return NULL;
	while (place && t->rows[place - 1].option > option)
		place--;
	for (size_t i = place; i-- > 0 && t->rows[i].option == option && !t->verbose;)
		if (explanation_says_same(t->rows[i].choice, choice) &&
		    document_same(t->rows[i].choice, choice, "when"))
			return &t->rows[i];
	row = &t->rows[place];
	memmove(row + 1, row, (t->n++ - place) * sizeof(*row));
	*row = (struct row){ .option = option };
	snprintf(row->from, sizeof(row->from), "%s%s%s", document_text(choice, "policy"),
		 rule ? "/" : "", rule ? rule : "");
	return row;
}

/* Adds what a choice in an option's member says; it may be the member itself. */
static int add_choice(struct table *t, const json_t *option, const json_t *choice, bool otherwise)
{
	const bool acts = json_array_size(json_object_get(choice, "stages"));
	const json_t *sockets = json_object_get(choice, "sockets");
	struct row *row = find_row(t, choice);
	size_t n = 0;

	if (!row)
		return -ENOMEM;
	if (!row->at) {
		row->choice = choice;
		row->beats = json_object_get(choice, "beats");
	}
	row->at |= acts || document_is_unset(choice) || t->verbose ? direction_bit(option) : 0;
	row->otherwise |= otherwise;
	row->have += document_number(sockets, "have");
	row->of += document_number(sockets, "of");
	for (unsigned d = 0; d < DIRECTION_MAX; d++)
		if (row->at & BIT(d))
			n += (size_t)sprintf(row->at_text + n, "%s%s", n ? ", " : "",
					     direction_words[d]);
	if (row->of)
		sprintf(row->sockets, "%lld of %lld", row->have, row->of);
	t->any_sockets |= row->of > 0;
	t->any_word |=
		*document_last_word(choice) && !streq(document_last_word(choice), "override");
	document_value(choice, row->value);
	return 0;
}

static int add_rows(struct table *t, const json_t *options)
{
	const json_t *o, *candidates, *one;
	size_t i, j;
	int r = 0;

	json_array_foreach (options, i, o) {
		candidates = json_object_get(o, "candidates");
		json_array_foreach (candidates, j, one)
			r = r < 0 ? r : add_choice(t, o, one, false);
		if (r == 0 && document_text(o, "policy"))
			r = add_choice(t, o, o, json_array_size(candidates));
	}
	return r;
}

/* Prints one of the notes behind the row, if there is one: the first at the column of notes. */
static void print_note(const char *before, const char *note, int *pad, FILE *to)
{
	if (!note || !*note)
		return;
	fprintf(to, "%*s%s%s%s", *pad, "", *pad ? "" : "; ", before, note);
	*pad = 0;
}

/* Prints "when remote 10.0.0.0/8; 8388608 bytes; within 64K to 4M". */
static void print_notes(const struct row *row, int pad, FILE *to)
{
	const char *value = document_text(row->choice, "value"),
		   *when = document_text(row->choice, "when"),
		   *more = document_text(row->choice, "kernel");
	char range[DOCUMENT_VALUE_SIZE] = "";

	if (!more)
		more = document_text(row->choice, "why");
	if (document_is_unset(row->choice))
		more = "left alone";
	if (value && more && streq(more, value))
		more = NULL;
	if (value)
		document_range(row->choice, range);
	print_note("when ", when, &pad, to);
	print_note("", !when && row->otherwise ? "otherwise" : NULL, &pad, to);
	print_note("", more, &pad, to);
	print_note(strstr(range, " to ") ? "within " : "", range, &pad, to);
	fputc('\n', to);
}

/* Prints "web/inside (FILE:LINE)". */
static void print_setter(const json_t *say, FILE *to)
{
	const char *rule = document_text(say, "rule");

	fprintf(to, "%s%s%s (%s:%lld)", document_text(say, "policy"), rule ? "/" : "",
		rule ? rule : "", document_text(say, "file"), document_number(say, "line"));
}

/* What becomes of what the application sets, by document_last_word(). */
static const struct {
	const char *word, *meaning;
} words[] = {
	{ "override", "the application's, if it sets the option afterwards" },
	{ "hold", "the policy's: what the application sets afterwards becomes its value" },
	{ "respect", "the application's: what it sets, before or afterwards, stays" },
	{ "deny", "the policy's: what the application sets afterwards fails with EPERM" },
	{ "range", "the application's, within the range" },
};

static void print_details(const struct row *row, FILE *to)
{
	const char *shorthand = document_text(row->choice, "shorthand");
	const bool acts = json_array_size(json_object_get(row->choice, "stages"));
	const json_t *one;
	size_t i;

	fprintf(to, LABEL "%s:%lld%s%s\n", "written", document_text(row->choice, "file"),
		document_number(row->choice, "line"), shorthand ? ", as " : "",
		shorthand ? shorthand : "");
	json_array_foreach (json_object_get(row->choice, "stages"), i, one)
		fprintf(to, LABEL "%s (%s)\n", "set at", json_string_value(one),
			stage_hooks(stage_find(json_string_value(one))));
	for (i = 0; i < ARRAY_SIZE(words) && acts; i++)
		if (streq(words[i].word, document_last_word(row->choice)))
			fprintf(to, LABEL "%s\n", "last word", words[i].meaning);
	if (acts && streq(document_text(row->choice, "on_failure"), "refuse"))
		fprintf(to, LABEL "%s\n", "failure",
			"calls for which it cannot be set are refused");
	if (acts && streq(document_text(row->choice, "existing"), "apply"))
		fprintf(to, LABEL "%s\n", "existing",
			option_is_too_late(row->option) ? "too late for connections that are open"
							: "open sockets get it when it changes");
	json_array_foreach (row->beats, i, one) {
		fprintf(to, LABEL "%s %s of ", "beats", document_text(one, "option"),
			document_value(one, (char[DOCUMENT_VALUE_SIZE]){ 0 }));
		print_setter(one, to);
		fputc('\n', to);
	}
}

/* row NULL: the titles. */
static const char *cell_text(const struct table *t, const struct row *row, enum cell cell)
{
	switch (cell) {
	case CELL_OPTION:
		return row ? row->option->name : "option";
	case CELL_VALUE:
		return row ? row->value : "value";
	case CELL_FROM:
		return row ? row->from : "policy/rule";
	case CELL_APPLICATION:
		return !t->any_word ? "" : row ? document_last_word(row->choice) : "application";
	case CELL_AT:
		return !row ? "at" : row->at ? row->at_text : "nowhere";
	case CELL_SOCKETS:
		return row ? row->sockets : t->any_sockets ? "have it" : "";
	case CELL_MAX:
		break;
	}
	return "";
}

static void print_row(const struct table *t, const struct row *row, const size_t *widths, FILE *to)
{
	size_t pad = 2;

	for (enum cell c = 0; c < CELL_MAX; c++) {
		const char *text = cell_text(t, row, c);

		if (!widths[c])
			continue;
		fprintf(to, "%*s%s", *text ? (int)pad : 0, "", text);
		pad = widths[c] - strlen(text) + 2 + (*text ? 0 : pad);
	}
	if (row)
		print_notes(row, (int)pad, to);
	else
		fprintf(to, "%*snotes\n", (int)pad, "");
}

static void print_table(const struct table *t, FILE *to)
{
	size_t widths[CELL_MAX] = { 0 };

	for (size_t i = 0; i <= t->n; i++) {
		for (enum cell c = 0; c < CELL_MAX; c++) {
			const struct row *row = i < t->n ? &t->rows[i] : NULL;
			const size_t width = strlen(cell_text(t, row, c));

			widths[c] = width > widths[c] ? width : widths[c];
		}
	}
	if (t->n)
		print_row(t, NULL, widths, to);
	for (size_t i = 0; i < t->n; i++) {
		print_row(t, &t->rows[i], widths, to);
		if (t->verbose)
			print_details(&t->rows[i], to);
	}
}

static void print_policies(const json_t *e, bool verbose, FILE *to)
{
	const json_t *p;
	size_t i;

	json_array_foreach (json_object_get(e, "policies"), i, p) {
		fprintf(to, "%s%s",
			i ? ", " : "  policies, weakest first: ", document_text(p, "name"));
		if (verbose)
			fprintf(to, " (%s:%lld) from %s on, by %s %s", document_text(p, "file"),
				document_number(p, "line"), document_text(p, "cgroup"),
				document_text(p, "match"), document_text(p, "pattern"));
	}
	fputs(i ? "\n" : "  no policy applies: its sockets are left alone\n", to);
	json_array_foreach (json_object_get(e, "left_out"), i, p)
		fprintf(to, "  left out: %s, as only the first %d that match apply\n",
			json_string_value(p), SP_LIST_MAX);
}

static void print_rules(const json_t *not_holding, bool verbose, FILE *to)
{
	const json_t *rule;
	size_t i;

	json_array_foreach (not_holding, i, rule) {
		if (!verbose)
			continue;
		fprintf(to, "  does not hold: ");
		print_setter(rule, to);
		fprintf(to, ": %s%s\n", document_text(rule, "when"),
			document_is(rule, "not_given") ? " (not given)" : "");
	}
	if (i && !verbose)
		fprintf(to, "  rules that do not hold: %zu (--verbose says why)\n", i);
}

int explanation_print(const json_t *e, bool verbose, FILE *to)
{
	const char *question = document_text(e, "question");
	struct table t = { .verbose = verbose };
	int r = add_rows(&t, json_object_get(e, "options"));

	if (r == 0)
		r = add_rows(&t, json_object_get(e, "left_alone"));
	fprintf(to, "cgroup %s\n", document_text(e, "cgroup"));
	print_policies(e, verbose, to);
	if (question)
		fprintf(to, "  %s:\n", question);
	print_table(&t, to);
	print_rules(json_object_get(e, "not_holding"), verbose, to);
	in_force_print(json_object_get(e, "in_force"), to);
	free(t.rows);
	return r;
}
