// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A policy file, whatever is in it, on its whole way to what the hooks would do: read, parsed,
 * linted, and compiled; and applied to cgroups that its own patterns name.
 *
 * The host is a fixed one, so that the same input takes the same way everywhere.
 */
#include <errno.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>

#undef MAP_FIXED /* of mmap(2): a shape of maps has this name */
#include "compile/cascade.h"
#include "compile/glob_walk.h"
#include "compile/image.h"
#include "report/explanation.h"
#include "report/in_force.h"
#include "fuzz.h"
#include "policy/loader.h"
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

static void check_prefixes(const struct ranges *list)
{
	for (size_t i = 0; i < list->n; i++) {
		char text[RANGE_TEXT_SIZE];
		struct range again;
		char *error = NULL;

		range_format(&list->v[i], text);
		MUST(prefix_parse(text, &again, &error) == 0);
		MUST(memcmp(&again, &list->v[i], sizeof(again)) == 0);
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

static uint32_t no_counter(const struct policy *p, const char *rule, void *userdata)
{
	(void)p;
	(void)rule;
	(void)userdata;
	return 0;
}

static void check_ops(const struct image *im, uint32_t first_cell, uint32_t n, uint64_t options)
{
	const struct sp_op_cell *cells = im->of[MAP_ID_ops].values;

	MUST(n <= SP_BLOCK_OPS_MAX);
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t cell = first_cell + i / SP_OPS_CELL;
		const struct sp_op *op;

		MUST(cell < im->of[MAP_ID_ops].n);
		op = &cells[cell].op[i % SP_OPS_CELL];
		MUST(op->optlen && op->optlen <= SP_VALUE_SIZE);
		MUST(options >> op->option & 1);
	}
}

/* What a hook reads lies within the maps. */
static void check_stage(const struct image *im, const struct sp_stage_of *stage)
{
	const struct sp_block *blocks = im->of[MAP_ID_blocks].values;
	uint32_t n = (uint32_t)__builtin_popcountll(stage->acting);

	check_ops(im, stage->first_cell, stage->n_ops, stage->options);
	MUST(!(stage->acting & ~stage->rules) && !(stage->counted & ~stage->acting));
	MUST(!(stage->before & ~stage->rules));
	MUST(!n || stage->first_block + n <= im->of[MAP_ID_blocks].n);
	for (uint32_t i = 0; i < n; i++) {
		const struct sp_block *b = &blocks[stage->first_block + i];

		check_ops(im, b->first_cell, b->n_ops, b->options);
	}
	MUST(!stage->n_always || stage->first_always + stage->n_always <= im->of[MAP_ID_vectors].n);
}

static void check_image(const struct image *im)
{
	const struct sp_policy *policies = im->of[MAP_ID_policies].values;

	MUST(im->of[MAP_ID_policies].n == 1 + im->config->n_policies);
	for (uint32_t i = 1; i < im->of[MAP_ID_policies].n; i++) {
		for (int s = 0; s < SP_STAGE_MAX; s++)
			check_stage(im, &policies[i].stage[s]);
		for (int k = 0; k < SP_PROPERTY_MAX; k++)
			MUST(policies[i].tests[k].first_vector + policies[i].tests[k].n_vectors <=
			     im->of[MAP_ID_vectors].n);
	}
}

/* What `explain` says of a cgroup, printed into nowhere. */
static void explain(const struct effective *effective, const char *path)
{
	static const struct asked_words nothing_asked;
	struct asked asked;
	char *error = NULL;
	json_t *e;

	MUST(asked_parse(&nothing_asked, &asked, &error) == 0);
	e = explanation_new(path, effective, &host, &asked, in_force_unknown("not known"));
	MUST(e);
	MUST(explanation_print(e, false, dev_null) == 0);
	MUST(explanation_print(e, true, dev_null) == 0);
	json_decref(e);
}

/* The tables of globs say what the globs say. */
static void check_walk(const struct image *im, const struct effective *e, const char *path)
{
	struct glob_list list;

	MUST(glob_walk(&im->globs, path, &list) == 0);
	MUST(list.n == e->n_policies && list.left_out == (e->n_left_out > 0));
	for (uint32_t i = 0; i < list.n; i++)
		MUST(list.number[i] == image_policy_number(im, e->policies[i]));
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
	const char *pattern = glob->pattern;
	char *path;

	if (asprintf(&path, "%s%s", glob->kind == GLOB_UNIT ? "/a.slice/" : "", pattern) < 0)
		return NULL;
	for (char *c = path; *c; c++)
		if (strchr("*?[]\\!", *c))
			*c = 'a';
	return path;
}

struct over {
	const struct image *image;
	size_t n; /* cgroups so far */
};

static void look_at(struct over *o, const char *path)
{
	struct effective e;

	MUST(cascade_walk(o->image->config, path, &e) == 0);
	check_walk(o->image, &e, path);
	if (o->n++ == 0)
		explain(&e, path);
	effective_clear(&e);
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

static void compile_and_apply(const struct config *c)
{
	_cleanup_(image_free) struct image *im = NULL;
	_cleanup_free_ char *error = NULL;
	struct over over = { 0 };
	struct position at;
	int r = image_new(c, no_counter, NULL, &im, &error, &at);

	MUST(r == 0 || (r == -E2BIG && error && at.file));
	if (r < 0)
		return;
	check_image(im);
	over.image = im;
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
		compile_and_apply(c);
	}
	return 0;
}
