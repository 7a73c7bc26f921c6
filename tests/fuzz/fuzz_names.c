// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Names of cgroups, whatever is in them, on their way through the hooks' own code (bpf/classify.h,
 * bpf/cache.h): it finds the policies that the agent's walk over the same tables finds, and the
 * patterns themselves.
 *
 * The input is a script, each step ended by a NUL: what is done, and with what bytes.
 *
 *   p            another policy
 *   cGLOB uGLOB  it matches this cgroup, this unit
 *   xGLOB yGLOB  it excludes them
 *   +NAME        into a cgroup with this name, below the one at hand
 *   *NNAME       the same, 8 times for each of the byte N above '0'
 *   -            back to the cgroup above
 *   =            a socket of the cgroup at hand comes to a hook
 *
 * Globs count until the first name or socket.  What a cut walk finds is what an ancestor has.
 */
#include <errno.h>
#include <limits.h>

/* Small, so that cgroups take each other's places, and no time goes into clearing it. */
#define SP_CACHE_BITS	   4
#define SP_LIST_BITS	   2
#define SP_WALK_STATE_BITS 4
#include "../unit/classify_twin.h"
#include "compile/cascade.h"
#include "compile/glob_walk.h"
#include "fuzz.h"

#define LEVELS_MAX   1100u
#define REPEATED     8u
#define POLICIES_MAX 40u /* more than apply to one cgroup */
#define PATTERNS_MAX 60u
#define SOCKETS_MAX  24u
#define PATTERNS_AT_MOST                                                                           \
	(1u << 20) /* levels * bytes of a path that is held against the patterns                   \
		    */

struct script {
	struct config *config;
	size_t n_patterns, n_sockets;
	bool is_loaded, is_refused;
	struct glob_tables tables;
	struct glob_walker *walker;
	size_t level, length;
	size_t ends[LEVELS_MAX + 1]; /* of the path, by level */
	char path[LEVELS_MAX * (NAME_MAX + 1) + 1];
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

static void add_policy(struct config *c)
{
	if (c->n_policies == POLICIES_MAX)
		return;
	MUST(GROW(c->policies, c->n_policies) == 0);
	c->policies[c->n_policies] = (struct policy){ .name = strdup("p") };
	MUST(c->policies[c->n_policies++].name);
}

static void add_pattern(struct script *s, enum glob_kind kind, bool excludes, const char *text)
{
	struct policy *p;
	struct patterns *to;
	struct glob *glob;
	char *error = NULL;
	int r;

	if (!s->config->n_policies)
		add_policy(s->config);
	p = &s->config->policies[s->config->n_policies - 1];
	to = excludes ? &p->exclude : &p->match;
	if (s->n_patterns == PATTERNS_MAX)
		return;
	r = glob_new(kind, text, &glob, &error);
	MUST(r == 0 || (r == -EINVAL && error));
	free(error);
	if (r < 0)
		return;
	MUST(GROW(to->v, to->n) == 0);
	to->v[to->n++] = (struct pattern){ .glob = glob };
	s->n_patterns++;
}

static void load(struct script *s)
{
	_cleanup_free_ char *error = NULL;
	struct position at;
	int r;

	if (s->is_loaded || s->is_refused)
		return;
	r = glob_tables_new(s->config, &s->tables, &error, &at);
	MUST(r == 0 || (r == -E2BIG && error));
	s->is_refused = r < 0;
	s->is_loaded = r == 0;
	if (r < 0)
		return;
	twin_load(&s->tables);
	MUST(glob_walker_new(&s->tables, &s->walker) == 0);
}

static void descend(struct script *s, const char *name)
{
	size_t n = strnlen(name, NAME_MAX);

	if (s->level == LEVELS_MAX || !n || memchr(name, '/', n))
		return;
	s->path[s->length] = '/';
	memcpy(s->path + s->length + 1, name, n);
	s->length += 1 + n;
	s->path[s->length] = '\0';
	s->ends[++s->level] = s->length;
}

static void ascend(struct script *s)
{
	if (s->level)
		s->length = s->ends[--s->level];
	s->path[s->length] = '\0';
}

static bool lists_equal(const struct policy_list *hook, const struct glob_list *walk)
{
	return hook->n == walk->n &&
	       memcmp(hook->number, walk->number, sizeof(*walk->number) * walk->n) == 0;
}

static void walk(struct script *s, const char *path, struct glob_list *ret)
{
	MUST(glob_walker_walk(s->walker, path, ret) == 0);
}

/* One above the cgroup at hand has the same policies. */
static bool is_an_ancestors(struct script *s, const struct policy_list *hook)
{
	bool found = false;

	for (size_t level = 0; level < s->level && !found; level++) {
		const size_t end = s->ends[level];
		struct glob_list list;

		s->path[end] = '\0';
		walk(s, level ? s->path : "/", &list);
		s->path[end] = '/';
		found = lists_equal(hook, &list);
	}
	return found;
}

/* The tables say what the patterns say. */
static void check_patterns(const struct script *s, const char *path, const struct glob_list *list)
{
	struct effective e;

	MUST(cascade_walk(s->config, path, &e) == 0);
	MUST(list->n == e.n_policies && list->left_out == (e.n_left_out > 0));
	for (uint32_t i = 0; i < list->n; i++)
		MUST(list->number[i] == 1 + (e.policies[i] - s->config->policies));
	effective_clear(&e);
}

static void come_to_hook(struct script *s)
{
	const char *path = s->level ? s->path : "/";
	uint64_t misses;
	struct policy_list hook, again;
	struct glob_list list, fresh;

	if (s->n_sockets++ >= SOCKETS_MAX)
		return;
	hook = twin_policies(path);
	misses = map_state.misses;
	walk(s, path, &list);
	MUST(glob_walk(&s->tables, path, &fresh) == 0);
	/* What is in the cache may be from a walk that was cut before. */
	MUST(lists_equal(&hook, &list) || (map_state.cut && is_an_ancestors(s, &hook)));
	MUST(fresh.n == list.n &&
	     memcmp(fresh.number, list.number, sizeof(*list.number) * list.n) == 0);
	again = twin_policies(path);
	MUST(map_state.misses == misses && again.n == hook.n);
	MUST(memcmp(again.number, hook.number, sizeof(*hook.number) * hook.n) == 0);
	if (s->level * s->length <= PATTERNS_AT_MOST)
		check_patterns(s, path, &list);
}

static void step(struct script *s, const char *what)
{
	const char *bytes = what + 1;

	if (strchr("+*-=", *what))
		load(s);
	else if (s->is_loaded || s->is_refused)
		return;
	switch (*what) {
	case 'p':
		add_policy(s->config);
		break;
	case 'c':
	case 'u':
		add_pattern(s, *what == 'c' ? GLOB_CGROUP : GLOB_UNIT, false, bytes);
		break;
	case 'x':
	case 'y':
		add_pattern(s, *what == 'x' ? GLOB_CGROUP : GLOB_UNIT, true, bytes);
		break;
	case '+':
		descend(s, bytes);
		break;
	case '*':
		for (size_t i = *bytes ? REPEATED * (uint8_t)(*bytes - '0') : 0; i; i--)
			descend(s, bytes + 1);
		break;
	case '-':
		ascend(s);
		break;
	case '=':
		if (s->is_loaded)
			come_to_hook(s);
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct script s;
	_cleanup_free_ char *text = malloc(size + 1);

	MUST(text);
	memcpy(text, data, size);
	text[size] = '\0';
	s.config = config_new();
	MUST(s.config);
	for (size_t at = 0; at < size; at += strlen(text + at) + 1)
		if (text[at])
			step(&s, text + at);
	glob_walker_free(s.walker);
	if (s.is_loaded)
		glob_tables_clear(&s.tables);
	config_free(s.config);
	memset(&s, 0, offsetof(struct script, path) + 1);
	return 0;
}
