// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "duplicates.h"
#include "loader.h"
#include "policy_parse.h"

struct parse {
	struct config *config;
	struct diags *diags;
};

/* A key that a mapping may have.  parse is NULL for what this version does not know yet. */
struct key {
	const char *name;
	int (*parse)(struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
		     void *target);
};

#define KEYS_MAX 8

static void report_unknown_key(const struct parse *p, const struct yaml_node *key, const char *what,
			       const struct key *keys, size_t n)
{
	const char *names[KEYS_MAX];
	char known[256] = "";
	const char *near;

	if (option_find(key->text) || option_find_shorthand(key->text)) {
		diag_error(p->diags, &key->at, "%s is an option: it belongs under 'options'",
			   key->text);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		size_t length = strlen(known);

		names[i] = keys[i].name;
		snprintf(known + length, sizeof(known) - length, "%s%s", i ? ", " : "", names[i]);
	}
	near = suggest(key->text, names, n);
	diag_error(p->diags, &key->at, "unknown key '%s' in %s; %s%s%s", EXCERPT(key->text), what,
		   near ? "did you mean '" : "known: ", near ? near : known, near ? "'?" : "");
}

/* Hands each value of a mapping to its key's parser.  what: for messages, "a policy". */
static int parse_map(struct parse *p, const struct yaml_node *map, const char *what,
		     const struct key *keys, size_t n, void *target)
{
	if (map->kind == NODE_BAD)
		return 0;
	if (map->kind != NODE_MAP) {
		diag_error(p->diags, &map->at, "%s must be a mapping (key: value), not %s", what,
			   NODE_WORDS(map));
		return 0;
	}
	for (size_t i = 0; i + 1 < map->n_items; i += 2) {
		const struct yaml_node *key = map->items[i];
		size_t k = 0;
		int r;

		while (k < n && !streq(keys[k].name, key->text))
			k++;
		if (k == n) {
			report_unknown_key(p, key, what, keys, n);
			continue;
		}
		if (!keys[k].parse) {
			diag_error(p->diags, &key->at,
				   "'%s' in %s is not supported by this version yet", keys[k].name,
				   what);
			continue;
		}
		r = keys[k].parse(p, key, map->items[i + 1], target);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool has_key(const struct yaml_node *map, const char *name)
{
	for (size_t i = 0; i + 1 < map->n_items; i += 2)
		if (streq(map->items[i]->text, name))
			return true;
	return false;
}

static void require_key(const struct parse *p, const struct yaml_node *map, const char *what,
			const char *name)
{
	if (map->kind == NODE_MAP && !has_key(map, name))
		diag_error(p->diags, &map->at, "%s without '%s'", what, name);
}

/* Text of any kind; reports and returns NULL when it is something else. */
static const char *scalar(const struct parse *p, const struct yaml_node *key,
			  const struct yaml_node *value)
{
	if (value->kind == NODE_BAD)
		return NULL;
	if (value->kind != NODE_SCALAR || yaml_is_null(value)) {
		diag_error(p->diags, &value->at, "'%s' takes text, not %s", key->text,
			   NODE_WORDS(value));
		return NULL;
	}
	return value->text;
}

static bool name_is_good(const char *name)
{
	size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-");

	return length && length < SP_NAME_SIZE && !name[length];
}

/* The name of a policy or a rule, and its place. */
static int parse_name(const struct parse *p, const struct yaml_node *key,
		      const struct yaml_node *value, char **name, struct position *at)
{
	const char *text = scalar(p, key, value);

	if (!text)
		return 0;
	if (!name_is_good(text)) {
		diag_error(p->diags, &value->at,
			   "name '%s' is not 1 to %d characters of a-z 0-9 . _ -", EXCERPT(text),
			   SP_NAME_SIZE - 1);
		return 0;
	}
	free(*name);
	*name = strdup(text);
	*at = value->at;
	return *name ? 0 : -ENOMEM;
}

/* A single value, or a list of them: calls `one` for each that is text. */
static int each_scalar(struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
		       int (*one)(struct parse *p, const struct yaml_node *item, void *target),
		       void *target)
{
	if (value->kind != NODE_LIST)
		return scalar(p, key, value) ? one(p, value, target) : 0;
	for (size_t i = 0; i < value->n_items; i++) {
		int r = scalar(p, key, value->items[i]) ? one(p, value->items[i], target) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

/* Rules. */

static int parse_one_direction(struct parse *p, const struct yaml_node *item, void *target)
{
	const char *names[DIRECTION_MAX];
	enum direction d = direction_from_name(item->text);
	struct when *when = target;
	const char *near;

	if (d != DIRECTION_INVALID) {
		when->directions |= BIT(d);
		return 0;
	}
	for (int i = 0; i < DIRECTION_MAX; i++)
		names[i] = direction_name((enum direction)i);
	near = suggest(item->text, names, DIRECTION_MAX);
	diag_error(p->diags, &item->at,
		   "direction '%s' is not one of connect, accept, listen%s%s%s",
		   EXCERPT(item->text), near ? "; did you mean '" : "", near ? near : "",
		   near ? "'?" : "");
	return 0;
}

static int parse_direction(struct parse *p, const struct yaml_node *key,
			   const struct yaml_node *value, void *target)
{
	struct when *when = target;

	when->has_direction = true;
	when->directions = 0;
	return each_scalar(p, key, value, parse_one_direction, when);
}

static const struct key when_keys[] = {
	{ "direction", parse_direction },
	{ "protocol", NULL },
	{ "family", NULL },
	{ "remote", NULL },
	{ "local", NULL },
	{ "remote_port", NULL },
	{ "local_port", NULL },
};

static int parse_when(struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
		      void *target)
{
	struct rule *rule = target;

	(void)key;
	if (yaml_is_null(value))
		return 0;
	return parse_map(p, value, "'when'", when_keys, ARRAY_SIZE(when_keys), &rule->when);
}

static int parse_rule_name(struct parse *p, const struct yaml_node *key,
			   const struct yaml_node *value, void *target)
{
	struct rule *rule = target;

	return parse_name(p, key, value, &rule->name, &rule->at);
}

static int parse_rule_options(struct parse *p, const struct yaml_node *key,
			      const struct yaml_node *value, void *target)
{
	struct rule *rule = target;

	(void)key;
	return settings_parse(value, &rule->options, p->diags);
}

static const struct key rule_keys[] = {
	{ "name", parse_rule_name },
	{ "when", parse_when },
	{ "options", parse_rule_options },
};

static int parse_rule(struct parse *p, const struct yaml_node *node, struct policy *policy)
{
	struct rule *rule;

	if (GROW(policy->rules, policy->n_rules) < 0)
		return -ENOMEM;
	rule = &policy->rules[policy->n_rules++];
	*rule = (struct rule){ .at = node->at };
	rule->when.directions = BIT(DIRECTION_MAX) - 1;
	require_key(p, node, "a rule", "name");
	return parse_map(p, node, "a rule", rule_keys, ARRAY_SIZE(rule_keys), rule);
}

static int report_duplicate_rules(const struct parse *p, const struct policy *policy)
{
	_cleanup_free_ struct named *names = NULL;
	size_t n = 0;

	names = calloc(policy->n_rules + 1, sizeof(*names));
	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < policy->n_rules; i++)
		if (policy->rules[i].name)
			names[n++] =
				(struct named){ policy->rules[i].name, &policy->rules[i].at, i };
	duplicates_report(names, n, "rule name", p->diags);
	return 0;
}

static int parse_rules(struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
		       void *target)
{
	struct policy *policy = target;

	if (value->kind == NODE_BAD || yaml_is_null(value))
		return 0;
	if (value->kind != NODE_LIST) {
		diag_error(p->diags, &value->at, "'%s' takes a list of rules, not %s", key->text,
			   NODE_WORDS(value));
		return 0;
	}
	for (size_t i = 0; i < value->n_items; i++) {
		int r = parse_rule(p, value->items[i], policy);

		if (r < 0)
			return r;
	}
	return report_duplicate_rules(p, policy);
}

/* What a policy matches. */

static int add_pattern(struct parse *p, const struct yaml_node *item, enum glob_kind kind,
		       struct patterns *patterns)
{
	_cleanup_(glob_free) struct glob *glob = NULL;
	_cleanup_free_ char *error = NULL;
	int r;

	r = glob_new(kind, item->text, &glob, &error);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		diag_error(p->diags, &item->at, "%s", error);
		return 0;
	}
	if (GROW(patterns->v, patterns->n) < 0)
		return -ENOMEM;
	patterns->v[patterns->n++] = (struct pattern){ .glob = TAKE_PTR(glob), .at = item->at };
	return 0;
}

static int add_cgroup(struct parse *p, const struct yaml_node *item, void *target)
{
	return add_pattern(p, item, GLOB_CGROUP, target);
}

static int add_unit(struct parse *p, const struct yaml_node *item, void *target)
{
	return add_pattern(p, item, GLOB_UNIT, target);
}

static int parse_match_cgroup(struct parse *p, const struct yaml_node *key,
			      const struct yaml_node *value, void *target)
{
	struct policy *policy = target;

	return each_scalar(p, key, value, add_cgroup, &policy->match);
}

static int parse_match_unit(struct parse *p, const struct yaml_node *key,
			    const struct yaml_node *value, void *target)
{
	struct policy *policy = target;

	return each_scalar(p, key, value, add_unit, &policy->match);
}

static int parse_exclude_cgroup(struct parse *p, const struct yaml_node *key,
				const struct yaml_node *value, void *target)
{
	struct policy *policy = target;

	return each_scalar(p, key, value, add_cgroup, &policy->exclude);
}

static int parse_exclude_unit(struct parse *p, const struct yaml_node *key,
			      const struct yaml_node *value, void *target)
{
	struct policy *policy = target;

	return each_scalar(p, key, value, add_unit, &policy->exclude);
}

static const struct key exclude_keys[] = {
	{ "cgroup", parse_exclude_cgroup },
	{ "unit", parse_exclude_unit },
};

static int parse_exclude(struct parse *p, const struct yaml_node *key,
			 const struct yaml_node *value, void *target)
{
	(void)key;
	if (yaml_is_null(value))
		return 0;
	return parse_map(p, value, "'exclude'", exclude_keys, ARRAY_SIZE(exclude_keys), target);
}

static const struct key match_keys[] = {
	{ "cgroup", parse_match_cgroup },
	{ "unit", parse_match_unit },
	{ "exclude", parse_exclude },
};

/* Of whatever kind: a pattern that is wrong is reported as such, not as missing. */
static bool has_pattern(const struct yaml_node *match)
{
	for (size_t i = 0; i + 1 < match->n_items; i += 2) {
		const struct yaml_node *value = match->items[i + 1];

		if (!streq(match->items[i]->text, "exclude") &&
		    (value->kind != NODE_LIST || value->n_items))
			return true;
	}
	return false;
}

static int parse_match(struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
		       void *target)
{
	int r;

	r = parse_map(p, value, "'match'", match_keys, ARRAY_SIZE(match_keys), target);
	if (r < 0)
		return r;
	if (value->kind == NODE_MAP && !has_pattern(value))
		diag_error(p->diags, &key->at, "'match' needs a pattern of 'cgroup' or 'unit'");
	return 0;
}

/* Policies. */

static int parse_policy_name(struct parse *p, const struct yaml_node *key,
			     const struct yaml_node *value, void *target)
{
	struct policy *policy = target;

	return parse_name(p, key, value, &policy->name, &policy->at);
}

static int parse_description(struct parse *p, const struct yaml_node *key,
			     const struct yaml_node *value, void *target)
{
	struct policy *policy = target;
	const char *text = yaml_is_null(value) ? NULL : scalar(p, key, value);

	if (!text)
		return 0;
	free(policy->description);
	policy->description = strdup(text);
	return policy->description ? 0 : -ENOMEM;
}

static int parse_on_unsupported(struct parse *p, const struct yaml_node *key,
				const struct yaml_node *value, void *target)
{
	static const char *const words[] = { "degrade", "refuse" };
	struct policy *policy = target;
	const char *text = scalar(p, key, value);
	const char *near;

	if (!text)
		return 0;
	policy->refuse_unsupported = streq(text, "refuse");
	if (policy->refuse_unsupported || streq(text, "degrade"))
		return 0;
	near = suggest(text, words, ARRAY_SIZE(words));
	diag_error(p->diags, &value->at, "on_unsupported '%s' is not one of degrade, refuse%s%s%s",
		   EXCERPT(text), near ? "; did you mean '" : "", near ? near : "",
		   near ? "'?" : "");
	return 0;
}

static int parse_policy_options(struct parse *p, const struct yaml_node *key,
				const struct yaml_node *value, void *target)
{
	struct policy *policy = target;

	(void)key;
	return settings_parse(value, &policy->base, p->diags);
}

static const struct key policy_keys[] = {
	{ "name", parse_policy_name },
	{ "description", parse_description },
	{ "match", parse_match },
	{ "on_unsupported", parse_on_unsupported },
	{ "options", parse_policy_options },
	{ "rules", parse_rules },
};

static int parse_policy(struct parse *p, const struct yaml_node *node)
{
	struct config *c = p->config;
	struct policy *policy;

	if (GROW(c->policies, c->n_policies) < 0)
		return -ENOMEM;
	policy = &c->policies[c->n_policies++];
	*policy = (struct policy){ .at = node->at };
	require_key(p, node, "a policy", "name");
	require_key(p, node, "a policy", "match");
	return parse_map(p, node, "a policy", policy_keys, ARRAY_SIZE(policy_keys), policy);
}

static int parse_policies(struct parse *p, const struct yaml_node *key,
			  const struct yaml_node *value, void *target)
{
	(void)target;
	if (value->kind == NODE_BAD || yaml_is_null(value))
		return 0;
	if (value->kind != NODE_LIST) {
		diag_error(p->diags, &value->at, "'%s' takes a list of policies, not %s", key->text,
			   NODE_WORDS(value));
		return 0;
	}
	for (size_t i = 0; i < value->n_items; i++) {
		const struct yaml_node *node = value->items[i];
		int r;

		if (p->config->n_policies == LOADER_POLICIES_MAX) {
			diag_error(p->diags, &node->at, "more than %u policies",
				   LOADER_POLICIES_MAX);
			return 0;
		}
		r = parse_policy(p, node);
		if (r < 0)
			return r;
	}
	return 0;
}

static const struct key top_keys[] = {
	{ "policies", parse_policies },
};

int policies_parse(const struct yaml_node *root, struct config *config, struct diags *diags)
{
	struct parse p = { .config = config, .diags = diags };

	if (yaml_is_null(root))
		return 0;
	return parse_map(&p, root, "a policy file", top_keys, ARRAY_SIZE(top_keys), NULL);
}
