// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "report/kernel_report.h"
#include "kernel/probe.h"

/* Who asks for it. */
static void print_concerned(const struct config *c, const char *what, FILE *to)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_unsupported; i++) {
		const struct unsupported *u = &c->unsupported[i];

		if (!streq(u->what, what))
			continue;
		fprintf(to, "%spolicy %s%s%s", n++ ? "; " : "", u->policy, u->rule ? ", rule " : "",
			u->rule ? u->rule : "");
	}
	if (!n)
		fprintf(to, "no policy asks for it");
}

static void print_lack(const struct config *c, const char *what, const char *since, FILE *to)
{
	fprintf(to, "  lacks %s (since %s)", what, since);
	if (c) {
		fprintf(to, ": ");
		print_concerned(c, what, to);
	}
	fprintf(to, "\n");
}

void kernel_report_print(const char *release, const struct kernel_support *k,
			 const struct config *c, FILE *to)
{
	size_t n = 0;

	fprintf(to, "kernel %s:\n", release);
	for (int i = 0; i < OPTION_MAX; i++) {
		const struct option *o = &option_table[i];

		if (k->options[i] == PROBE_UNKNOWN)
			fprintf(to, "  cannot tell of %s: no socket to try it on\n", o->name);
		else if (!support_has_option(k, (enum option_id)i))
			print_lack(c, o->name, o->since, to);
		n += k->options[i] != 0;
	}
	for (size_t i = 0; i < n_missing_hooks; i++) {
		if (!(k->missing_stages & missing_hooks[i].stages))
			continue;
		print_lack(c, missing_hooks[i].what, missing_hooks[i].since, to);
		n++;
	}
	if (!n)
		fprintf(to, "  has every option and every hook\n");
}
