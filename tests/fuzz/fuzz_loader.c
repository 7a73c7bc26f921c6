// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A policy file, whatever is in it, on its whole way to what the hooks would do: read, parsed,
 * linted; its policies cascaded over cgroups that its own patterns name, and compiled.
 *
 * The host is a fixed one, so that the same input takes the same way everywhere.
 */
#include <errno.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "compile/compile.h"
#include "report/explanation.h"
#include "fuzz.h"
#include "policy/loader.h"
#include "compile/machine.h"
#include "base/utf8.h"
#include "option/value.h"
#include "policy/when.h"

#define CGROUPS_MAX 16 /* of one input: the time goes into parsing */

static const struct host host = {
	.rmem_max = 212992,
	.wmem_max = 212992,
	.tcp_rmem_max = 6291456,
	.tick_usec = 4000,
	.congestion = (char[]){ "reno cubic" },
};

static char policy_file[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
static int policy_fd;
static FILE *dev_null;

/* In place of the running kernel's BTF: linked with --wrap. */
int __wrap_host_has_unix_hooks(void);
int __wrap_host_has_unix_hooks(void)
{
	return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	dev_null = fopen("/dev/null", "we");
	policy_fd = memfd_create("policy", MFD_CLOEXEC);
	MUST(dev_null && policy_fd >= 0 && fchmod(policy_fd, 0600) == 0);
	snprintf(policy_file, sizeof(policy_file), "/proc/self/fd/%d", policy_fd);
	return 0;
}

static void write_policy(const uint8_t *data, size_t size)
{
	MUST(ftruncate(policy_fd, 0) == 0);
	MUST(pwrite(policy_fd, data, size, 0) == (ssize_t)size);
}

/* What is printed is safe to print, and points into the file. */
static void check_diags(const struct diags *d, const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = diags_text(d, 4096);
	unsigned lines = 2; /* the end of the file may stand on a line of its own */

	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n' || data[i] == '\r' || data[i] > 127; /* YAML's others */
	MUST(text);
	for (const char *at = text; *at;) {
		uint32_t c;
		int n = utf8_decode(at, strlen(at), &c);

		MUST(n > 0 && (c == '\n' || utf8_printable(c)));
		at += n;
	}
	for (size_t i = 0; i < d->n; i++)
		MUST(d->v[i].message[0] && d->v[i].line <= lines);
}

/* A value in words reads back as the same value. */
static void check_value(const struct setting *s)
{
	_cleanup_free_ char *text = NULL, *error = NULL;
	struct value_result result = { 0 };
	struct sockopt again;

	if (s->unset)
		return;
	text = value_format(s->option, &s->value);
	MUST(text);
	MUST(value_parse(s->option, text, &again, &error) == 0);
	MUST(again.size == s->value.size);
	MUST(memcmp(sockopt_data(&again), sockopt_data(&s->value), again.size) == 0);
	sockopt_destroy(&again);
	MUST(value_result(s->option, &s->value, &host, &result) == 0);
	free(result.text);
}

static void check_settings(const struct settings *s)
{
	for (size_t i = 0; i < s->n; i++) {
		check_value(&s->v[i]);
		MUST(i == 0 || s->v[i - 1].option < s->v[i].option);
	}
}

static void check_prefixes(const struct prefixes *list)
{
	for (size_t i = 0; i < list->n; i++) {
		char text[PREFIX_TEXT_SIZE];
		struct prefix again;
		char *error = NULL;

		prefix_format(&list->v[i], text);
		MUST(prefix_parse(text, &again, &error) == 0);
		MUST(again.v4 == list->v[i].v4 && again.length == list->v[i].length);
		MUST(memcmp(again.address, list->v[i].address, sizeof(again.address)) == 0);
	}
}

static void check_rule(const struct rule *r)
{
	_cleanup_free_ char *words = when_text(&r->when);

	MUST(words);
	MUST(r->condition == when_digest(&r->when));
	check_settings(&r->options);
	check_prefixes(&r->when.remote);
	check_prefixes(&r->when.local);
}

static void check_config(const struct config *c)
{
	for (size_t i = 0; i < c->n_policies; i++) {
		const struct policy *p = &c->policies[i];

		MUST(p->name && p->match.n);
		check_settings(&p->base);
		for (size_t j = 0; j < p->n_rules; j++)
			check_rule(&p->rules[j]);
	}
}

static void check_choice(const struct option *o, const struct program_choice *choice)
{
	struct sp_op op = { 0 };

	if (!choice->block)
		return;
	op_encode(o, choice, &op);
	MUST(op.optlen <= SP_VALUE_SIZE);
	MUST(!choice->setting == !op.optlen);
}

static void check_stage(const struct program_stage *stage)
{
	for (size_t i = 0; i < stage->n_ops; i++) {
		const struct program_op *op = &stage->ops[i];

		check_choice(op->option, &op->base);
		for (size_t j = 0; j < op->n_rules; j++) {
			MUST(op->rules[j].rule < SP_RULES_MAX);
			MUST(stage->rules & 1ull << op->rules[j].rule);
			MUST(j == 0 || op->rules[j - 1].rule < op->rules[j].rule);
			check_choice(op->option, &op->rules[j]);
		}
	}
}

static void compile(const struct effective *e)
{
	struct program program;
	int r = program_compile(e, &program);

	MUST(r == 0 || r == -E2BIG);
	if (r < 0)
		return;
	for (int s = 0; s < SP_STAGE_MAX; s++)
		check_stage(&program.stages[s]);
	program_clear(&program);
}

/* What `explain` says of a cgroup: printed into nowhere, and as JSON. */
static void explain(struct cascade *cascade, const char *path)
{
	static const struct asked_words nothing_asked;
	struct explanation e;
	struct asked asked;
	char *error = NULL;
	json_t *json;

	MUST(asked_parse(&nothing_asked, &asked, &error) == 0);
	MUST(explanation_make(cascade, &host, path, &asked, &e) == 0);
	explanation_print(&e, dev_null);
	json = explanation_json(&e);
	MUST(json);
	json_decref(json);
	explanation_clear(&e);
}

static bool lists(const uint32_t *v, size_t n, size_t policy)
{
	for (size_t i = 0; i < n; i++)
		if (v[i] == policy)
			return true;
	return false;
}

/* The globs' machine says what the globs say. */
static void check_machine(const struct config *c, const struct machine *machine, const char *path)
{
	uint32_t state = machine_walk(machine, path);
	struct matched m = machine_matched(machine, machine_matches(machine, state));

	for (size_t i = 0; i < c->n_policies; i++) {
		const struct policy *p = &c->policies[i];

		if (!machine_has(machine, i))
			continue;
		MUST(lists(m.match, m.n_match, i) == patterns_match(&p->match, path));
		MUST(lists(m.exclude, m.n_exclude, i) == patterns_match(&p->exclude, path));
	}
}

/* Can a cgroup have this path? */
static bool is_path(const char *path)
{
	if (path[0] != '/' || strchr(path, '\n') || (path[1] && path[strlen(path) - 1] == '/'))
		return false;
	for (const char *name = path; *name; name += strcspn(name, "/")) {
		size_t n = strcspn(++name, "/");

		if (n > NAME_MAX || (!n && path[1]))
			return false;
	}
	return true;
}

/* A path that the pattern may well match: its special characters stand for letters. */
static char *path_from(const struct glob *glob)
{
	const char *pattern = glob_pattern(glob);
	char *path;

	if (asprintf(&path, "%s%s", glob_kind(glob) == GLOB_UNIT ? "/a.slice/" : "", pattern) < 0)
		return NULL;
	for (char *c = path; *c; c++)
		if (strchr("*?[]\\!", *c))
			*c = 'a';
	return path;
}

struct over {
	const struct config *config;
	struct cascade *cascade;
	const struct machine *machine;
	size_t n; /* cgroups so far */
};

static void look_at(struct over *o, const char *path)
{
	const struct cgroup_class *class;

	MUST(cascade_walk(o->cascade, path, &class) == 0);
	check_machine(o->config, o->machine, path);
	if (cascade_effective(class))
		compile(cascade_effective(class));
	if (o->n++ == 0)
		explain(o->cascade, path);
}

static void look_at_patterns(struct over *o, const struct patterns *patterns)
{
	for (size_t i = 0; i < patterns->n && o->n < CGROUPS_MAX; i++) {
		_cleanup_free_ char *path = path_from(patterns->v[i].glob);

		MUST(path);
		if (is_path(path))
			look_at(o, path);
	}
}

static void cascade_and_compile(const struct config *c)
{
	_cleanup_(cascade_free) struct cascade *cascade = NULL;
	_cleanup_(machine_free) struct machine *machine = NULL;
	struct over over = { .config = c };

	MUST(cascade_new(c, &cascade) == 0 && machine_new(c, &machine) == 0);
	over.cascade = cascade;
	over.machine = machine;
	for (size_t i = 0; i < c->n_policies; i++) {
		look_at_patterns(&over, &c->policies[i].match);
		look_at_patterns(&over, &c->policies[i].exclude);
	}
	look_at(&over, "/a.slice/a-b.slice/a.service/x");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(config_free) struct config *c = NULL;
	const char *const none[] = { NULL };
	const char *const files[] = { policy_file, NULL };
	struct diags diags = { 0 };
	int r;

	write_policy(data, size);
	r = config_load(none, files, &host, &diags, &c);
	MUST(r == 0 || r == -EBADMSG);
	MUST((r == 0) == (diags.n_errors == 0));
	check_diags(&diags, data, size);
	diags_clear(&diags);
	if (r == 0) {
		check_config(c);
		cascade_and_compile(c);
	}
	return 0;
}
