// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "base/diag.h"
#include "option/value.h"
#include "policy/setting_parse.h"

/* What a file says of an option, and what the option's name means. */
struct entry {
	const struct yaml_node *name;
	const struct option *option;				 /* or */
	const struct option_shorthand *shorthand;		 /* one of the two is NULL */
	const struct yaml_node *value, *min, *max, *application; /* NULL: not given */
	enum application said;
};

/* Returns how the entry's values are written. */
static const struct option *notation_of(const struct entry *e)
{
	return e->option ? e->option : &e->shorthand->as_option;
}

int application_parse(struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
		      void *target)
{
	int word = parse_choice(p, key, value, application_words + 1, APPLICATION_MAX - 1);
	enum application *application = target;

	if (word >= 0)
		*application = (enum application)(word + 1);
	return 0;
}

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

/* --- one option's mapping --------------------------------------------------------------------- */

static int take_node(struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
		     void *target)
{
	const struct yaml_node **node = target;

	(void)p;
	(void)key;
	*node = value;
	return 0;
}

static int take_application(struct parse *p, const struct yaml_node *key,
			    const struct yaml_node *value, void *target)
{
	struct entry *e = target;

	e->application = value;
	return application_parse(p, key, value, &e->said);
}

static const struct key entry_keys[] = {
	{ "value", take_node, offsetof(struct entry, value) },
	{ "application", take_application },
	{ "min", take_node, offsetof(struct entry, min) },
	{ "max", take_node, offsetof(struct entry, max) },
};

/* Finds the parts of a mapping. */
static int parse_entry(struct parse *p, struct entry *e, const struct yaml_node *map)
{
	const size_t errors = p->diags->n_errors;
	char what[64];
	int r;

	snprintf(what, sizeof(what), "the mapping of %s", e->name->text);
	r = parse_map(p, map, what, entry_keys, ARRAY_SIZE(entry_keys), e);
	/* a misspelt key may have been one of them */
	if (r == 0 && !e->value && !e->min && !e->max && p->diags->n_errors == errors)
		diag_error(p->diags, &map->at, "%s: a mapping needs 'value', 'min' or 'max'",
			   e->name->text);
	return r;
}

/* May it be said of each option that the entry stands for?  Reports the reason if not, and takes
 * the word back. */
static void check_said(struct entry *e, struct diags *diags)
{
	const struct option *const *options = e->option ? &e->option : e->shorthand->expands_to;
	const size_t n = e->option ? 1 : ARRAY_SIZE(e->shorthand->expands_to);
	const bool has_range = e->min || e->max;
	bool can = true;

	if (has_range && (e->said == APPLICATION_OVERRIDE || e->said == APPLICATION_HOLD ||
			  e->said == APPLICATION_DENY)) {
		diag_error(diags, &e->application->at,
			   "%s: '%s' beside a range: the application sets what it likes within "
			   "it; leave 'application' out, or write 'respect'",
			   e->name->text, application_words[e->said]);
		e->said = APPLICATION_UNSAID;
	}
	for (size_t i = 0; i < n; i++)
		can &= setting_may_have(&(struct setting){ .option = options[i] }, e->said);
	if (can)
		return;
	if (e->said == APPLICATION_DENY && option_can_be_held(options[0]))
		diag_error(diags, &e->application->at,
			   "%s cannot be denied: most programs give up when it is; use 'hold'",
			   e->name->text);
	else
		diag_error(diags, &e->application->at, "%s cannot have '%s': %s", e->name->text,
			   application_words[e->said],
			   options[0]->level == SP_LEVEL_REPLY
				   ? "no application can set it"
				   : "it acts once, before there is anything to hold");
	e->said = APPLICATION_UNSAID;
}

/* --- values ----------------------------------------------------------------------------------- */

/* Is the node a text, not null?  Reports lists and mappings. */
static bool is_text(const struct entry *e, const struct yaml_node *node, struct diags *diags)
{
	if (node->kind == NODE_LIST || node->kind == NODE_MAP)
		diag_error(diags, &node->at, "%s takes a single value, not %s", e->name->text,
			   NODE_WORDS(node));
	return node->kind == NODE_SCALAR && !yaml_is_null(node);
}

/* Parses a value.  Returns 1; 0: reported; -ENOMEM. */
static int parse_value(const struct entry *e, const struct yaml_node *node, struct diags *diags,
		       struct sockopt *ret)
{
	_cleanup_free_ char *error = NULL;
	int r = value_parse(notation_of(e), node->text, ret, &error);

	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		diag_error(diags, &node->at, "%s: %s", e->name->text, error);
		return 0;
	}
	if (notation_of(e)->type == OPTION_RATE && !node->text[strspn(node->text, "0123456789.")])
		diag_warning(diags, &node->at,
			     "%s: a rate without a unit is in bytes per second; write %sB/s",
			     e->name->text, node->text);
	return 1;
}

/* Parses an end of a range.  Returns 1; 0: there is none, or it is reported; -ENOMEM. */
static int parse_bound(const struct entry *e, const struct yaml_node *node, bool is_min,
		       struct diags *diags, uint32_t *ret)
{
	const char *key = is_min ? "min" : "max";
	struct sockopt value;
	int r;

	if (!node || node->kind == NODE_BAD)
		return 0;
	if (!is_text(e, node, diags) || streq(node->text, "unset")) {
		if (node->kind == NODE_SCALAR)
			diag_error(diags, &node->at, "%s: '%s' takes a value, not %s",
				   e->name->text, key, NODE_WORDS(node));
		return 0;
	}
	r = parse_value(e, node, diags, &value);
	if (r <= 0)
		return r;
	*ret = (uint32_t)value_number(notation_of(e), &value);
	sockopt_destroy(&value);
	if (!option_is_none(notation_of(e), *ret))
		return 1;
	diag_error(diags, &node->at,
		   "%s: %s is no limit, and so above every other value; leave '%s' out",
		   e->name->text, EXCERPT(node->text), key);
	*ret = is_min ? 0 : UINT32_MAX;
	return 0;
}

/* Parses the range, if there is one.  A wrong one is none. */
static int parse_range(const struct entry *e, struct diags *diags, struct value_range *ret)
{
	struct value_range range = { .max = UINT32_MAX };
	int has_min, has_max;

	if (!e->min && !e->max)
		return 0;
	if (!notation_of(e)->has_order) {
		diag_error(diags, e->min ? &e->min->at : &e->max->at, "%s takes no range: %s",
			   e->name->text,
			   notation_of(e)->level == SP_LEVEL_REPLY ? "no application can set it"
								   : "its values have no order");
		return 0;
	}
	has_min = parse_bound(e, e->min, /* is_min= */ true, diags, &range.min);
	has_max = has_min < 0 ? 0 : parse_bound(e, e->max, /* is_min= */ false, diags, &range.max);
	if (has_min < 0 || has_max < 0)
		return -ENOMEM;
	range.is_given = has_min || has_max;
	if (e->min && e->max && range.min > range.max) {
		diag_error(diags, &e->min->at, "%s: min %s is above max %s", e->name->text,
			   EXCERPT(e->min->text), EXCERPT(e->max->text));
		return 0;
	}
	*ret = range;
	return 0;
}

/* Reports a value outside of its range. */
static void check_within(const struct entry *e, const struct setting *new, struct diags *diags)
{
	const struct option *o = notation_of(e);
	const struct value_range *range = &new->range;
	const uint32_t number = (uint32_t)value_number(o, &new->value);
	const bool is_none = option_is_none(o, number);

	if (e->min && !is_none && number < range->min)
		diag_error(diags, &e->value->at, "%s: value %s is below min %s", e->name->text,
			   EXCERPT(e->value->text), EXCERPT(e->min->text));
	else if (e->max && range->max != UINT32_MAX && (is_none || number > range->max))
		diag_error(diags, &e->value->at, "%s: value %s is%s above max %s", e->name->text,
			   EXCERPT(e->value->text), is_none ? " no limit, and so" : "",
			   EXCERPT(e->max->text));
}

/* Gives a range without a value one of its ends as its value.  Returns 1 or -ENOMEM. */
static int value_from_range(const struct option *o, struct setting *new)
{
	const struct value_range *range = &new->range;
	const uint32_t end = range->max != UINT32_MAX || !range->min ? range->max : range->min;

	new->is_range_alone = true;
	return value_from_number(o, end, &new->value) < 0 ? -ENOMEM : 1;
}

/* Parses value and range.  Returns 1: new->value is owned by the caller; 0: unset, also where it is
 * wrong, so that conflicts with it are reported as well; -ENOMEM. */
static int parse_values(const struct entry *e, struct diags *diags, struct setting *new)
{
	int r = parse_range(e, diags, &new->range);

	if (r < 0)
		return r;
	if (!e->value)
		return new->range.is_given ? value_from_range(notation_of(e), new) : 0;
	if (!is_text(e, e->value, diags) || streq(e->value->text, "unset")) {
		if ((e->min || e->max) && e->value->kind == NODE_SCALAR)
			diag_error(diags, &e->value->at,
				   "%s: 'unset' beside a range: leave 'value' out, and no value "
				   "is given",
				   e->name->text);
		return 0;
	}
	r = parse_value(e, e->value, diags, &new->value);
	if (r > 0 && new->range.is_given)
		check_within(e, new, diags);
	return r;
}

/* --- the block -------------------------------------------------------------------------------- */

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

/* May `option` be set here?  Reports the reason if not. */
static bool is_free(const struct settings *s, const struct entry *e, const struct option *option,
		    struct diags *diags)
{
	const char *shorthand = e->shorthand ? e->shorthand->as_option.name : NULL;
	const struct setting *other = settings_find_rival(s, option);
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

/* Adds a copy of what is meant for one option. */
static int add_setting(struct settings *s, const struct entry *e, const struct option *option,
		       const struct setting *meant, struct diags *diags)
{
	struct setting new = *meant;
	int r = 0;

	if (!is_free(s, e, option, diags))
		return 0;
	new.option = option;
	if (!new.unset)
		r = sockopt_copy(&new.value, &meant->value);
	if (r < 0)
		return r;
	r = settings_insert(s, &new);
	if (r < 0 && !new.unset)
		sockopt_destroy(&new.value);
	return r;
}

/* Adds one option, or all that a shorthand stands for. */
static int add_entry(struct settings *s, const struct entry *e, const struct setting *meant,
		     struct diags *diags)
{
	int r = 0;

	if (e->option)
		return add_setting(s, e, e->option, meant, diags);
	for (size_t i = 0; i < ARRAY_SIZE(e->shorthand->expands_to) && r == 0; i++)
		r = add_setting(s, e, e->shorthand->expands_to[i], meant, diags);
	return r;
}

static int parse_setting(struct parse *p, struct settings *s, struct entry *e,
			 const struct yaml_node *node)
{
	struct setting meant = {
		.at = e->name->at,
		.shorthand = e->shorthand ? e->shorthand->as_option.name : NULL,
	};
	int r;

	if (node->kind == NODE_MAP) {
		r = parse_entry(p, e, node);
		if (r < 0)
			return r;
		check_said(e, p->diags);
	} else {
		e->value = node;
	}
	meant.said = e->said;
	r = parse_values(e, p->diags, &meant);
	if (r < 0)
		return r;
	meant.unset = !r;
	r = add_entry(s, e, &meant, p->diags);
	if (!meant.unset)
		sockopt_destroy(&meant.value);
	return r;
}

int settings_parse(struct parse *p, const struct yaml_node *key, const struct yaml_node *map,
		   void *target)
{
	(void)key;
	if (map->kind == NODE_BAD || yaml_is_null(map))
		return 0;
	if (map->kind != NODE_MAP) {
		diag_error(p->diags, &map->at, "'options' takes option names and values, not %s",
			   NODE_WORDS(map));
		return 0;
	}
	for (size_t i = 0; i + 1 < map->n_items; i += 2) {
		struct entry e = { .name = map->items[i] };
		int r;

		e.option = option_find(e.name->text);
		e.shorthand = e.option ? NULL : option_find_shorthand(e.name->text);
		if (!e.option && !e.shorthand) {
			report_unknown(e.name, p->diags);
			continue;
		}
		r = parse_setting(p, target, &e, map->items[i + 1]);
		if (r < 0)
			return r;
	}
	return 0;
}
