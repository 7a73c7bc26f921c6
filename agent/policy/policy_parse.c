// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "base/progress.h"
#include "base/diag.h"
#include "policy/keys.h"
#include "policy/loader.h"
#include "policy/setting_parse.h"
#include "policy/stage.h"
#include "policy/when.h"

static bool name_is_good(const char *name)
{
	size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-");

	return length && length < SP_NAME_SIZE && !name[length];
}

/* Parses the name of a policy or a rule, and its position. */
static int parse_name(const struct parse *p, const struct yaml_node *key,
		      const struct yaml_node *value, char **name, struct position *at)
{
	const char *text = parse_scalar(p, key, value);

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

static int parse_on_failure(struct parse *p, const struct yaml_node *key,
			    const struct yaml_node *value, void *target)
{
	int word = parse_choice(p, key, value, on_failure_words + 1, ON_FAILURE_MAX - 1);
	enum on_failure *on_failure = target;

	if (word >= 0)
		*on_failure = (enum on_failure)(word + 1);
	return 0;
}

/* --- rules ------------------------------------------------------------------------------------ */

static int parse_rule_name(struct parse *p, const struct yaml_node *key,
			   const struct yaml_node *value, void *target)
{
	struct rule *rule = target;

	return parse_name(p, key, value, &rule->name, &rule->at);
}

static const struct key rule_keys[] = {
	{ "name", parse_rule_name, .is_required = true },
	{ "when", when_parse, offsetof(struct rule, when) },
	{ "options", settings_parse, offsetof(struct rule, options) },
	{ "on_failure", parse_on_failure, offsetof(struct rule, on_failure) },
	{ "application", application_parse, offsetof(struct rule, application) },
};

static int parse_rule(struct parse *p, const struct yaml_node *node, struct policy *policy)
{
	struct rule *rule;
	int r;

	if (GROW(policy->rules, policy->n_rules) < 0)
		return -ENOMEM;
	rule = &policy->rules[policy->n_rules++];
	*rule = (struct rule){ .at = node->at };
	when_init(&rule->when);
	r = parse_map(p, node, "a rule", rule_keys, ARRAY_SIZE(rule_keys), rule);
	rule->condition = when_digest(&rule->when);
	return r;
}

static int report_duplicate_rules(const struct parse *p, const struct policy *policy)
{
	_cleanup_free_ struct unique_name *names = calloc(policy->n_rules + 1, sizeof(*names));
	size_t n = 0;

	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < policy->n_rules; i++)
		if (policy->rules[i].name)
			names[n++] = (struct unique_name){ policy->rules[i].name,
							   &policy->rules[i].at, i };
	duplicates_report(names, n, "rule name", p->diags);
	return 0;
}

/* A policy has a bit for each rule that depends on the connection, and so much room for counters
 * of those that hold whatever the connection is. */
static void report_too_many_rules(const struct parse *p, const struct policy *policy)
{
	unsigned depending = 0, always[SP_STAGE_MAX] = { 0 };

	for (size_t i = 0; i < policy->n_rules; i++) {
		const struct rule *r = &policy->rules[i];

		depending += stage_rule_has_bit(r);
		if (depending > SP_RULES_MAX) {
			diag_error(p->diags, &r->at,
				   "more than %u rules of a policy depend on the connection",
				   SP_RULES_MAX);
			return;
		}
		for (enum sp_stage s = 0; s < SP_STAGE_MAX; s++) {
			always[s] += !stage_table[s].is_socket && stage_rule_may_hold(r, s) &&
				     !stage_rule_depends(r, s);
			if (always[s] > SP_RULES_MAX) {
				diag_error(p->diags, &r->at,
					   "more than %u rules of a policy always hold at one hook",
					   SP_RULES_MAX);
				return;
			}
		}
	}
}

static int parse_rules(struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
		       void *target)
{
	struct policy *policy = target;
	int r = 0;

	if (!parse_is_list(p, key, value, "rules"))
		return 0;
	for (size_t i = 0; i < value->n_items && r == 0; i++)
		r = parse_rule(p, value->items[i], policy);
	if (r < 0)
		return r;
	report_too_many_rules(p, policy);
	return report_duplicate_rules(p, policy);
}

/* --- what a policy matches -------------------------------------------------------------------- */

static int add_pattern(struct parse *p, const struct yaml_node *key, const struct yaml_node *item,
		       void *patterns)
{
	_cleanup_(glob_free) struct glob *glob = NULL;
	_cleanup_free_ char *error = NULL;
	struct patterns *to = patterns;
	int r = glob_new(streq(key->text, "unit") ? GLOB_UNIT : GLOB_CGROUP, item->text, &glob,
			 &error);

	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		diag_error(p->diags, &item->at, "%s", error);
		return 0;
	}
	return APPEND(to->v, to->n, (struct pattern){ .glob = TAKE_PTR(glob), .at = item->at });
}

static int parse_patterns(struct parse *p, const struct yaml_node *key,
			  const struct yaml_node *value, void *patterns)
{
	return parse_each_scalar(p, key, value, add_pattern, patterns);
}

static const struct key exclude_keys[] = {
	{ "cgroup", parse_patterns },
	{ "unit", parse_patterns },
};

static int parse_exclude(struct parse *p, const struct yaml_node *key,
			 const struct yaml_node *value, void *patterns)
{
	(void)key;
	if (yaml_is_null(value))
		return 0;
	return parse_map(p, value, "'exclude'", exclude_keys, ARRAY_SIZE(exclude_keys), patterns);
}

static const struct key match_keys[] = {
	{ "cgroup", parse_patterns, offsetof(struct policy, match) },
	{ "unit", parse_patterns, offsetof(struct policy, match) },
	{ "exclude", parse_exclude, offsetof(struct policy, exclude) },
};

/* Has the mapping any pattern?  A wrong one counts, since it is reported as wrong, not as
 * missing. */
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
	int r = parse_map(p, value, "'match'", match_keys, ARRAY_SIZE(match_keys), target);

	if (r == 0 && value->kind == NODE_MAP && !has_pattern(value))
		diag_error(p->diags, &key->at, "'match' needs a pattern of 'cgroup' or 'unit'");
	return r;
}

/* --- policies --------------------------------------------------------------------------------- */

static int parse_policy_name(struct parse *p, const struct yaml_node *key,
			     const struct yaml_node *value, void *target)
{
	struct policy *policy = target;

	return parse_name(p, key, value, &policy->name, &policy->at);
}

static int parse_description(struct parse *p, const struct yaml_node *key,
			     const struct yaml_node *value, void *target)
{
	const char *text = yaml_is_null(value) ? NULL : parse_scalar(p, key, value);
	char **description = target;

	if (!text)
		return 0;
	free(*description);
	*description = strdup(text);
	return *description ? 0 : -ENOMEM;
}

static int parse_on_unsupported(struct parse *p, const struct yaml_node *key,
				const struct yaml_node *value, void *target)
{
	static const char *const words[] = { "degrade", "refuse" };
	bool *refuse = target;
	int word = parse_choice(p, key, value, words, ARRAY_SIZE(words));

	if (word >= 0)
		*refuse = word == 1;
	return 0;
}

static int parse_existing(struct parse *p, const struct yaml_node *key,
			  const struct yaml_node *value, void *target)
{
	static const char *const words[] = { "keep", "apply" };
	bool *apply = target;
	int word = parse_choice(p, key, value, words, ARRAY_SIZE(words));

	if (word >= 0)
		*apply = word == 1;
	return 0;
}

static const struct key policy_keys[] = {
	{ "name", parse_policy_name, .is_required = true },
	{ "description", parse_description, offsetof(struct policy, description) },
	{ "match", parse_match, .is_required = true },
	{ "on_unsupported", parse_on_unsupported, offsetof(struct policy, refuse_unsupported) },
	{ "on_failure", parse_on_failure, offsetof(struct policy, on_failure) },
	{ "application", application_parse, offsetof(struct policy, application) },
	{ "existing", parse_existing, offsetof(struct policy, apply_existing) },
	{ "options", settings_parse, offsetof(struct policy, base) },
	{ "rules", parse_rules },
};

static int parse_policy(struct parse *p, const struct yaml_node *node)
{
	struct config *c = p->config;
	struct policy *policy;
	int r;

	if (GROW(c->policies, c->n_policies) < 0)
		return -ENOMEM;
	policy = &c->policies[c->n_policies++];
	*policy = (struct policy){ .at = node->at };
	r = parse_map(p, node, "a policy", policy_keys, ARRAY_SIZE(policy_keys), policy);
	policy_resolve(policy);
	return r;
}

static int parse_policies(struct parse *p, const struct yaml_node *key,
			  const struct yaml_node *value, void *target)
{
	int r = 0;

	(void)target;
	if (!parse_is_list(p, key, value, "policies"))
		return 0;
	for (size_t i = 0; i < value->n_items && r == 0; i++) {
		const struct yaml_node *node = value->items[i];

		if (p->config->n_policies == LOADER_POLICIES_MAX) {
			diag_error(p->diags, &node->at, "more than %u policies",
				   LOADER_POLICIES_MAX);
			return 0;
		}
		progress_made();
		r = parse_policy(p, node);
	}
	return r;
}

static const struct key top_keys[] = {
	{ "policies", parse_policies },
};

int policies_parse(const struct yaml_node *root, struct config *config, struct diags *diags)
{
	struct parse p = { .config = config, .diags = diags };

	if (yaml_is_null(root))
		return 0;
	return parse_map(&p, root, "a policy file", top_keys, ARRAY_SIZE(top_keys), config);
}
