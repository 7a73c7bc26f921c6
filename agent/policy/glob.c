// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>

#include "policy/glob.h"

#define PATTERN_LENGTH_MAX 4095 /* bytes; no cgroup's path is longer (PATH_MAX) */

#define REFUSE(pattern, ret_error, ...) glob_sentence(ret_error, -EINVAL, pattern, __VA_ARGS__)

/* Finds the end that fnmatch(3) sees. */
const char *glob_bracket_end(const char *s)
{
	s++;
	if (*s == '!' || *s == '^')
		s++;
	if (*s == ']')
		s++;
	while (*s && *s != ']') {
		if (s[0] == '[' && (s[1] == ':' || s[1] == '.' || s[1] == '=')) {
			const char close[] = { s[1], ']', '\0' };
			const char *end = strstr(s + 2, close);

			if (end) {
				s = end + 2;
				continue;
			}
		}
		s++;
	}
	return *s ? s : NULL;
}

/* Checks what both kinds require of a component.  Returns a clause that says what is wrong, or
 * NULL. */
static const char *component_error(const char *s)
{
	if (!*s)
		return "an empty component never matches; leave the extra '/' out";
	if (streq(s, ".") || streq(s, ".."))
		return "'.' and '..' are not names of cgroups";
	for (; *s; s++) {
		if (*s != '[')
			continue;
		s = glob_bracket_end(s);
		if (!s)
			return "'[' begins a class that no ']' ends before the next '/'; for the "
			       "character itself write '[[]'";
	}
	return NULL;
}

const struct unit_kind *glob_unit_kind(const char *name)
{
	static const struct unit_kind kinds[] = {
		{ ".service", true }, { ".socket", true },     { ".mount", true },
		{ ".swap", true },    { ".slice", true },      { ".scope", true },
		{ ".target", false }, { ".timer", false },     { ".path", false },
		{ ".device", false }, { ".automount", false },
	};
	size_t length = strlen(name);

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		size_t n = strlen(kinds[i].suffix);

		if (length > n && streq(name + length - n, kinds[i].suffix))
			return &kinds[i];
	}
	return NULL;
}

/* Appends a component, if it is one that can match.  any: what is wrong with "**" in it. */
static int add_component(struct glob *g, const char *s, const char *any, char **ret_error)
{
	const char *why = component_error(s);

	if (!why && strstr(s, "**"))
		why = any;
	if (why)
		return REFUSE(g->pattern, ret_error, "%s", why);
	return APPEND(g->v, g->n,
		      (struct glob_component){
			      .text = s,
			      .length = strlen(s),
			      .any = streq(s, "**"),
			      .literal = !strpbrk(s, "*?["),
		      });
}

static int parse_cgroup(struct glob *g, char **ret_error)
{
	const struct unit_kind *unit = glob_unit_kind(g->pattern);
	char *rest = g->text + 1;
	int r = 0;

	if (g->text[0] != '/') {
		if (!strchr(g->pattern, '/') && unit && unit->has_cgroup)
			return REFUSE(g->pattern, ret_error,
				      "a cgroup pattern begins with '/'; for a systemd unit write "
				      "'unit: %s'",
				      g->pattern);
		return REFUSE(g->pattern, ret_error,
			      "a cgroup pattern begins with '/': write '/%s'", g->pattern);
	}
	if (!*rest)
		return 0;
	if (rest[strlen(rest) - 1] == '/')
		return REFUSE(g->pattern, ret_error, "a cgroup pattern does not end with '/'");
	while (rest && r == 0) {
		const char *text = strsep(&rest, "/");

		r = add_component(g, text,
				  streq(text, "**")
					  ? NULL
					  : "'**' stands for whole components, so only '/' may be "
					    "next to it; within a component write '*'",
				  ret_error);
	}
	return r;
}

static int parse_unit(struct glob *g, char **ret_error)
{
	if (strchr(g->pattern, '/'))
		return REFUSE(g->pattern, ret_error,
			      "a unit is named without a path; for a path write 'cgroup: %s%s'",
			      g->pattern[0] == '/' ? "" : "/", g->pattern);
	return add_component(
		g, g->text,
		"'**' stands for whole components, and a unit's name is only one: write '*'",
		ret_error);
}

int glob_new(enum glob_kind kind, const char *pattern, struct glob **ret, char **ret_error)
{
	_cleanup_(glob_free) struct glob *g = NULL;
	int r;

	*ret_error = NULL;
	if (!*pattern)
		return REFUSE(pattern, ret_error, "an empty pattern never matches");
	if (strlen(pattern) > PATTERN_LENGTH_MAX)
		return REFUSE(pattern, ret_error,
			      "%zu bytes are too long for a pattern, at most %d are allowed",
			      strlen(pattern), PATTERN_LENGTH_MAX);
	g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->kind = kind;
	g->pattern = strdup(pattern);
	g->text = strdup(pattern);
	if (!g->pattern || !g->text)
		return -ENOMEM;
	r = kind == GLOB_CGROUP ? parse_cgroup(g, ret_error) : parse_unit(g, ret_error);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(g);
	return 0;
}

void glob_free(struct glob *g)
{
	if (!g)
		return;
	free(g->pattern);
	free(g->text);
	free(g->v);
	free(g);
}

/* Does one component match a name that is not NUL-terminated? */
static bool component_match(const struct glob_component *c, const char *name, size_t length)
{
	char copy[NAME_MAX + 1];

	if (c->literal)
		return c->length == length && memcmp(c->text, name, length) == 0;
	if (length > NAME_MAX) /* no cgroup can have it */
		return false;
	memcpy(copy, name, length);
	copy[length] = '\0';
	/* Backslashes are literal: systemd's names have them (\x2d). */
	return fnmatch(c->text, copy, FNM_NOESCAPE) == 0;
}

/*
 * Each component of the pattern but "**" takes one of the path, so that on a mismatch only the last
 * "**" need take one more: going back to an earlier one could find nothing new.  This keeps the
 * time within the product of the lengths.
 */
static bool match_cgroup(const struct glob *g, const char *path)
{
	const char *at = path + 1, *retry_at = NULL;
	size_t i = 0, retry = 0;

	if (!*at) /* the root: only a literal "/" */
		return g->n == 0;
	while (at) {
		const char *end = strchrnul(at, '/');
		const char *next = *end ? end + 1 : NULL;

		if (i < g->n && g->v[i].any) {
			retry = ++i;
			retry_at = at;
		} else if (i < g->n && component_match(&g->v[i], at, (size_t)(end - at))) {
			i++;
			at = next;
		} else if (retry_at) {
			end = strchrnul(retry_at, '/');
			retry_at = *end ? end + 1 : NULL;
			at = retry_at;
			i = retry;
		} else {
			return false;
		}
	}
	while (i < g->n && g->v[i].any)
		i++;
	return i == g->n;
}

static bool all_slices(const char *path, const char *end)
{
	static const char suffix[] = ".slice";
	const size_t length = sizeof(suffix) - 1;

	for (const char *at = path + 1; at < end;) {
		const char *slash = strchrnul(at, '/');

		if ((size_t)(slash - at) < length || memcmp(slash - length, suffix, length) != 0)
			return false;
		at = slash + 1;
	}
	return true;
}

static bool match_unit(const struct glob *g, const char *path)
{
	const char *last = strrchr(path, '/');
	const char *name = last + 1;

	/* systemd puts '_' before a name that the kernel's own files could have (cg_escape). */
	if (*name == '_')
		name++;
	if (!*name || !component_match(&g->v[0], name, strlen(name)))
		return false;
	return all_slices(path, last);
}

bool glob_match(const struct glob *g, const char *path)
{
	return g->kind == GLOB_CGROUP ? match_cgroup(g, path) : match_unit(g, path);
}

/* Could the component match some name with this beginning and end?  When in doubt, yes. */
static bool may_match(const struct glob_component *c, const char *begin, const char *end)
{
	size_t head = strcspn(c->text, "*?["), tail = 0;
	size_t begin_length = strlen(begin), end_length = strlen(end);

	if (c->literal && c->length < begin_length + end_length)
		return false;
	while (tail < c->length && tail < end_length &&
	       !strchr("*?]", c->text[c->length - 1 - tail]))
		tail++;
	return strncmp(c->text, begin, head < begin_length ? head : begin_length) == 0 &&
	       memcmp(c->text + c->length - tail, end + end_length - tail, tail) == 0;
}

/*
 * Steps a set of positions in "/user.slice/user-UID.slice/user@UID.service/X/..." (the number of
 * components taken so far) over the pattern's components; one component more, INSIDE, stands for
 * all below.  Returns those at which the pattern can end.
 */
static const struct {
	const char *begin, *end;
} delegated[] = { { "user", ".slice" }, { "user-", ".slice" }, { "user@", ".service" } };
#define INSIDE (ARRAY_SIZE(delegated) + 1)

static unsigned delegated_positions(const struct glob *g)
{
	unsigned positions = BIT(0);

	for (size_t i = 0; i < g->n; i++) {
		unsigned next = 0;

		for (size_t at = 0; at <= INSIDE; at++) {
			if (!(positions & BIT(at)))
				continue;
			/* a unit may be at any depth of slices */
			if (g->kind == GLOB_UNIT)
				for (size_t n = 0; n < ARRAY_SIZE(delegated); n++)
					next |= may_match(&g->v[i], delegated[n].begin,
							  delegated[n].end)
							? BIT(n + 1)
							: 0;
			else if (g->v[i].any)
				next |= (BIT(INSIDE + 1) - 1) & ~(BIT(at) - 1);
			else if (at >= ARRAY_SIZE(delegated) ||
				 may_match(&g->v[i], delegated[at].begin, delegated[at].end))
				next |= BIT(at < INSIDE ? at + 1 : INSIDE);
		}
		positions = next;
	}
	return positions;
}

bool glob_reaches_delegated(const struct glob *g)
{
	return delegated_positions(g) & BIT(INSIDE);
}

bool glob_governs_delegated(const struct glob *g)
{
	return delegated_positions(g);
}

static bool may_be_one(const struct glob_component *a, const struct glob_component *b)
{
	if (!a->literal)
		return !b->literal || component_match(a, b->text, b->length);
	return component_match(b, a->text, a->length);
}

/* A unit lies in slices only. */
static bool unit_may_meet(const struct glob *unit, const struct glob *g)
{
	for (size_t i = 0; i < g->n; i++) {
		if (g->v[i].any || may_be_one(&unit->v[0], &g->v[i]))
			return true;
		if (!may_match(&g->v[i], "", ".slice"))
			return g->kind == GLOB_UNIT && may_match(&unit->v[0], "", ".slice");
	}
	return true;
}

bool glob_may_meet(const struct glob *a, const struct glob *b)
{
	if (a->kind == GLOB_UNIT)
		return unit_may_meet(a, b);
	if (b->kind == GLOB_UNIT)
		return unit_may_meet(b, a);
	for (size_t i = 0; i < a->n && i < b->n; i++) {
		if (a->v[i].any || b->v[i].any)
			return true;
		if (!may_be_one(&a->v[i], &b->v[i]))
			return false;
	}
	return true;
}
