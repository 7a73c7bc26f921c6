// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A block of options: names, values, shorthands, and what excludes what. */
#include <errno.h>

#include "policy/policy_parse.h"
#include "option/value.h"

/* An option's name and value as in the file, and what the name means. */
struct entry {
	const struct yaml_node *name, *value;
	const struct option *option;		  /* or */
	const struct option_shorthand *shorthand; /* one of the two is NULL */
};

static void report_unknown(const struct yaml_node *name, struct diags *diags)
{
	const struct option_refused *refused = option_find_refused(name->text);
	const char *near;

	if (refused) {
		diag_error(diags, &name->at, "%s cannot be set from BPF: %s%s%s", name->text,
			   refused->why, refused->instead ? "; instead: " : "",
			   refused->instead ? refused->instead : "");
		return;
	}
	near = diags_may_suggest(diags) ? option_suggest(name->text) : NULL;
	diag_error(diags, &name->at, "unknown option '%s'%s%s%s", EXCERPT(name->text),
		   near ? "; did you mean '" : "; `sockpol options` lists them", near ? near : "",
		   near ? "'?" : "");
}

/* Inserts a setting in the order of the option table. */
static int settings_insert(struct settings *s, const struct setting *new)
{
	size_t i;

	if (GROW(s->v, s->n) < 0)
		return -ENOMEM;
	for (i = s->n++; i && s->v[i - 1].option > new->option; i--)
		s->v[i] = s->v[i - 1];
	s->v[i] = *new;
	return 0;
}

/* Returns a setting of the same option, perhaps in another spelling, or NULL. */
static const struct setting *find_rival(const struct settings *s, const struct option *o)
{
	for (size_t i = 0; i < s->n; i++)
		if (options_rival(s->v[i].option, o))
			return &s->v[i];
	return NULL;
}

/* May `option` be set here?  Reports the reason if not. */
static bool is_free(const struct settings *s, const struct entry *e, const struct option *option,
		    struct diags *diags)
{
	const char *shorthand = e->shorthand ? e->shorthand->as_option.name : NULL;
	const struct setting *other = find_rival(s, option);
	const struct position *at;

	if (!other)
		return true;
	at = &other->at;
	if (other->option != option)
		diag_error(diags, &e->name->at,
			   "%s and %s (%s:%u:%u) are one option in two spellings: give one",
			   option->name, other->option->name, at->file, at->line, at->column);
	else if (shorthand && !other->shorthand)
		diag_error(diags, &e->name->at,
			   "%s stands for %s, which is already set at %s:%u:%u", shorthand,
			   option->name, at->file, at->line, at->column);
	else if (other->shorthand && !shorthand)
		diag_error(diags, &e->name->at,
			   "%s is already set by %s at %s:%u:%u, which stands for it", option->name,
			   other->shorthand, at->file, at->line, at->column);
	/* otherwise the name stands twice: a duplicate key, reported already */
	return false;
}

static int add_setting(struct settings *s, const struct entry *e, const struct option *option,
		       const struct sockopt *value, struct diags *diags)
{
	struct setting new = {
		.option = option,
		.unset = !value,
		.at = e->name->at,
		.shorthand = e->shorthand ? e->shorthand->as_option.name : NULL,
	};
	int r = 0;

	if (!is_free(s, e, option, diags))
		return 0;
	if (value)
		r = sockopt_copy(&new.value, value);
	if (r < 0)
		return r;
	r = settings_insert(s, &new);
	if (r < 0 && value)
		sockopt_destroy(&new.value);
	return r;
}

/* Adds one option, or all that a shorthand stands for; value NULL: unset. */
static int add_entry(struct settings *s, const struct entry *e, const struct sockopt *value,
		     struct diags *diags)
{
	if (e->option)
		return add_setting(s, e, e->option, value, diags);
	for (size_t i = 0; i < ARRAY_SIZE(e->shorthand->expands_to); i++) {
		int r = add_setting(s, e, e->shorthand->expands_to[i], value, diags);

		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_entry(struct settings *s, const struct entry *e, struct diags *diags)
{
	_cleanup_free_ char *error = NULL;
	struct sockopt value;
	int r;

	if (e->value->kind == NODE_LIST || e->value->kind == NODE_MAP)
		diag_error(diags, &e->value->at, "%s takes a single value, not %s", e->name->text,
			   NODE_WORDS(e->value));
	/* A wrong value counts as unset, so that conflicts with it are reported as well. */
	if (e->value->kind != NODE_SCALAR)
		return add_entry(s, e, NULL, diags);
	if (yaml_is_null(e->value) || streq(e->value->text, "unset"))
		return add_entry(s, e, NULL, diags);
	r = value_parse(e->option ? e->option : &e->shorthand->as_option, e->value->text, &value,
			&error);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		diag_error(diags, &e->value->at, "%s: %s", e->name->text, error);
		return add_entry(s, e, NULL, diags);
	}
	r = add_entry(s, e, &value, diags);
	sockopt_destroy(&value);
	return r;
}

int settings_parse(const struct yaml_node *map, struct settings *settings, struct diags *diags)
{
	if (map->kind == NODE_BAD || yaml_is_null(map))
		return 0;
	if (map->kind != NODE_MAP) {
		diag_error(diags, &map->at, "'options' takes option names and values, not %s",
			   NODE_WORDS(map));
		return 0;
	}
	for (size_t i = 0; i + 1 < map->n_items; i += 2) {
		struct entry e = { .name = map->items[i], .value = map->items[i + 1] };
		int r;

		e.option = option_find(e.name->text);
		e.shorthand = e.option ? NULL : option_find_shorthand(e.name->text);
		if (!e.option && !e.shorthand) {
			report_unknown(e.name, diags);
			continue;
		}
		r = parse_entry(settings, &e, diags);
		if (r < 0)
			return r;
	}
	return 0;
}
