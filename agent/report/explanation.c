// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "compile/program.h"
#include "host/route.h"
#include "option/value.h"
#include "policy/stage.h"
#include "report/explanation.h"
#include "report/in_force.h"

#define UNIX  BIT(SP_FAMILY_INDEX_UNIX)
#define LABEL "      %-8s " /* begins a line below an option */

/* The facts from which an option is explained. */
struct inquiry {
	const struct effective *effective;
	const struct host *host;
	const struct asked *asked;
	enum direction direction;
};

/* --- policies --------------------------------------------------------------------------------- */

static const struct pattern *matching_pattern(const struct patterns *p, const char *path)
{
	for (size_t i = 0; i < p->n; i++)
		if (glob_match(p->v[i].glob, path))
			return &p->v[i];
	return NULL;
}

/* Says where and why a policy applies.  It does, so the root, a cgroup above `cgroup` or `cgroup`
 * itself matches: the shallowest is named. */
static json_t *policy_json(const struct policy *p, const char *cgroup)
{
	_cleanup_free_ char *path = strdup(cgroup);
	const struct pattern *pattern = matching_pattern(&p->match, "/");
	size_t depth = 0, end = 1;

	if (!path)
		return NULL;
	for (size_t at = 1; !pattern && cgroup[at]; at = cgroup[end] ? end + 1 : end) {
		end = at + strcspn(cgroup + at, "/");
		memcpy(path, cgroup, end);
		path[end] = '\0';
		depth++;
		pattern = matching_pattern(&p->match, path);
	}
	if (!pattern)
		return NULL;
	path[end] = '\0';
	return json_pack("{s:s, s:o, s:i, s:o, s:i, s:s, s:s}", "name", p->name, "file",
			 document_string(p->at.file), "line", (int)p->at.line, "cgroup",
			 document_string(path), "depth", (int)depth, "match",
			 pattern->glob->kind == GLOB_UNIT ? "unit" : "cgroup", "pattern",
			 pattern->glob->pattern);
}

/* --- options ---------------------------------------------------------------------------------- */

/* May the block hold where an option that is due at stage `s` is decided? */
static bool may_decide_at(const struct block *b, enum sp_stage s)
{
	return stage_rule_may_hold(b->rule, s) ||
	       (s == SP_STAGE_TCP_CONNECT && stage_rule_may_hold(b->rule, SP_STAGE_TCP_SYN));
}

/* Does the block have a say for some of the sockets in question in this direction? */
static bool may_hold(const struct inquiry *q, const struct block *b)
{
	if (q->asked->connection)
		return b->rule ? asked_fails(q->asked, &b->rule->when) == WHEN_KEY_MAX
			       : q->asked->families != UNIX;
	for (int s = 0; s < SP_STAGE_MAX; s++)
		if (stage_table[s].direction == q->direction && !stage_table[s].is_socket &&
		    stage_rule_may_hold(b->rule, (enum sp_stage)s))
			return true;
	return false;
}

/* Is the option decided at SP_STAGE_TCP_SYN, because a rule of some policy asks for `local`? */
static bool is_decided_late(const struct effective *e, const struct option *option)
{
	for (size_t i = 0; i < e->n_policies; i++)
		if (program_decided_late(e->policies[i]) >> option_id(option) & 1)
			return true;
	return false;
}

static unsigned stages_of(const struct inquiry *q, const struct block *b,
			  const struct setting *setting, bool only_unix)
{
	unsigned due = stage_settings(b->rule, setting->option, q->direction), stages = 0;

	for (int s = 0; s < SP_STAGE_MAX; s++) {
		if (!(due & BIT(s)) || !may_decide_at(b, (enum sp_stage)s) ||
		    !asked_passes(q->asked, (enum sp_stage)s) ||
		    (only_unix && stage_table[s].transport != TRANSPORT_UNIX))
			continue;
		stages |= BIT(s);
	}
	if (stages & BIT(SP_STAGE_TCP_CONNECT) && is_decided_late(q->effective, setting->option)) {
		stages &= ~BIT(SP_STAGE_TCP_CONNECT);
		stages |= BIT(SP_STAGE_TCP_SYN);
	}
	if (q->asked->connection && !(option_families(setting->option) & asked_speaks(q->asked)))
		stages = 0;
	return stages;
}

static const char *why_nowhere(const struct inquiry *q, const struct setting *setting)
{
	const struct option *o = setting->option;

	if (setting->unset)
		return "unset";
	if (!o->stages[q->direction])
		return "no hook makes it effective in this direction";
	if (q->asked->connection && !(option_families(o) & asked_speaks(q->asked)))
		return "it is an option of the other IP family";
	if (o->stages[q->direction] & BIT(SP_STAGE_TCP_LISTEN) &&
	    asked_passes(q->asked, SP_STAGE_TCP_LISTEN))
		return "a listener gets it only from a rule that says 'direction: listen'";
	return "no hook makes it effective on such a socket";
}

/* Returns the names of the hooks of all stages, each once ("connect4", "connect6", ...). */
static json_t *hooks_json(unsigned stages)
{
	json_t *hooks = json_array();

	for (int s = 0; s < SP_STAGE_MAX; s++) {
		const char *at = (stages & BIT(s)) ? stage_hooks((enum sp_stage)s) : "";

		while (*at) {
			json_t *hook = json_stringn(at, strcspn(at, ",")), *known;
			size_t i;

			json_array_foreach (hooks, i, known)
				if (json_equal(known, hook))
					break;
			if (i == json_array_size(hooks))
				hooks = document_append(hooks, json_incref(hook));
			json_decref(hook);
			at += strcspn(at, ",");
			at += strspn(at, ", ");
		}
	}
	return hooks;
}

static json_t *stages_json(unsigned stages)
{
	json_t *names = json_array();

	for (int s = 0; s < SP_STAGE_MAX; s++)
		if (stages & BIT(s))
			names = document_append(names, json_string(stage_name((enum sp_stage)s)));
	return names;
}

/* Says which block says what. */
static json_t *say_json(const struct block *b, const struct setting *s)
{
	_cleanup_free_ char *value =
		s->unset ? strdup("unset") : value_format(s->option, &s->value);

	return json_pack("{s:s, s:s, s:s?, s:o, s:i, s:o}", "option", s->option->name, "policy",
			 b->policy->name, "rule", b->rule ? b->rule->name : NULL, "file",
			 document_string(s->at.file), "line", (int)s->at.line, "value",
			 value ? document_string(value) : NULL);
}

/* Returns the mark of the connection in question, as far as policies set it. */
static uint32_t mark_of(const struct inquiry *q)
{
	const struct option *mark = &option_table[OPTION_SO_MARK];

	for (size_t i = q->effective->n_blocks; i-- > 0;) {
		const struct block *b = &q->effective->blocks[i];
		const struct setting *s = settings_find(b->options, mark);

		if (s && may_hold(q, b))
			return s->unset ? 0 : (uint32_t)value_number(mark, &s->value);
	}
	return 0;
}

/* Sets *ret to a sentence where the route to the peer brings a congestion control that wins over
 * the policy's: the kernel takes it after the hooks of connect(2) (tcp_ca_dst_init()), or locks it.
 */
static int route_wins(const struct inquiry *q, const struct setting *s, char **ret)
{
	const struct endpoint *to = &q->asked->remote;
	struct route route = { 0 };

	if (option_id(s->option) != OPTION_TCP_CONGESTION || !to->known ||
	    route_to(to->v4 ? AF_INET : AF_INET6, to->address, mark_of(q), &route) < 0 ||
	    !route.congestion[0] || streq(route.congestion, sockopt_data(&s->value)) ||
	    !(q->direction == DIRECTION_CONNECT || route.locked))
		return 0;
	return sentence(ret, 0, "%s: congctl of the route (table %u) wins", route.congestion,
			route.table);
}

/* Returns what becomes of an option if this block wins.  only_unix: it counts for AF_UNIX sockets
 * only. */
static json_t *choice_json(const struct inquiry *q, const struct block *b, const struct setting *s,
			   bool only_unix)
{
	const unsigned stages = s->unset ? 0 : stages_of(q, b, s, only_unix);
	const bool has_number = !s->unset && s->option->type != OPTION_STRING;
	struct value_result result = { 0 };
	json_t *choice = say_json(b, s), *kernel;

	if (stages && (value_result(s->option, &s->value, q->host, &result) < 0 ||
		       route_wins(q, s, &result.text) < 0)) {
		json_decref(choice);
		return NULL;
	}
	kernel = !stages       ? json_null()
		 : result.text ? json_string(result.text)
			       : json_incref(json_object_get(choice, "value"));
	choice = document_set(choice, "kernel", kernel);
	choice = document_set(choice, "number",
			      has_number ? json_integer(value_number(s->option, &s->value))
					 : json_null());
	choice = document_set(choice, "shorthand", document_string(s->shorthand));
	choice = document_set(choice, "hooks", hooks_json(stages));
	choice = document_set(choice, "stages", stages_json(stages));
	free(result.text);
	return document_set(choice, "why", document_string(stages ? NULL : why_nowhere(q, s)));
}

/* Returns the choice where nobody else sets the option. */
static json_t *no_choice_json(const struct option *o)
{
	return json_pack("{s:s, s:n, s:n, s:n, s:n, s:n, s:n, s:n, s:n, s:[], s:[], s:n}", "option",
			 o->name, "policy", "rule", "file", "line", "value", "kernel", "number",
			 "shorthand", "hooks", "stages", "why");
}

/* An option in one direction. */
struct outcome {
	const struct block *winner;  /* where no candidate holds; NULL: nobody */
	const struct option *option; /* in the winner's spelling; NULL: no block has a say */
	json_t *choice;		     /* the winner's; NULL: nobody's */
	json_t *candidates, *beats;  /* rules that win where they hold; losers: strongest first */
};

/* Adds a rule that wins where it holds. */
static void add_candidate(const struct inquiry *q, const struct block *b,
			  const struct setting *setting, bool only_unix, struct outcome *o)
{
	_cleanup_free_ char *text = NULL;
	struct when when = b->rule->when;

	if (only_unix)
		when.families = UNIX;
	text = when_text(&when);
	o->candidates = document_append(o->candidates,
					document_set(choice_json(q, b, setting, only_unix), "when",
						     text ? json_string(text) : NULL));
	if (!o->option)
		o->option = setting->option;
}

static unsigned families_of(const struct block *b)
{
	if (b->rule)
		return b->rule->when.families;
	return BIT(SP_FAMILY_INDEX_IPV4) | BIT(SP_FAMILY_INDEX_IPV6);
}

/* Adds a block.  The strongest come first. */
static void add_block(const struct inquiry *q, const struct block *b, const struct setting *setting,
		      struct outcome *o)
{
	const bool connection = q->asked->connection;
	unsigned left = 0; /* families for which the block may still win */

	if (!o->winner && !connection && b->rule && !when_is_empty(&b->rule->when)) {
		add_candidate(q, b, setting, false, o);
		return;
	}
	if (!o->winner) {
		o->winner = b;
		o->option = setting->option;
		o->choice = choice_json(q, b, setting, false);
		return;
	}
	/* A winner beats a block for AF_UNIX sockets only if it is for them as well. */
	if (!connection)
		left = families_of(b) & ~families_of(o->winner);
	if (left)
		add_candidate(q, b, setting, true, o);
	if (connection || families_of(b) != left)
		o->beats = document_append(o->beats, say_json(b, setting));
}

/* Appends an option, unless no block has a say in it: to `options`, or for one connection, whose
 * socket does not get it, to `left_alone`. */
static void add_option(const struct inquiry *q, const struct option *option, json_t **options,
		       json_t **left_alone)
{
	const struct effective *effective = q->effective;
	struct outcome o = { .candidates = json_array(), .beats = json_array() };
	json_t **to = options, *object;

	for (size_t i = effective->n_blocks; i-- > 0;) {
		const struct block *b = &effective->blocks[i];
		const struct setting *setting = settings_find_rival(b->options, option);

		if (setting && may_hold(q, b))
			add_block(q, b, setting, &o);
	}
	if (!o.option) {
		json_decref(o.candidates);
		json_decref(o.beats);
		return;
	}
	object = o.winner ? o.choice : no_choice_json(o.option);
	object = document_set(object, "direction", json_string(direction_name(q->direction)));
	object = document_set(object, "beats", o.beats);
	if (q->asked->connection) {
		json_decref(o.candidates);
		if (!json_array_size(json_object_get(object, "stages")))
			to = left_alone;
	} else {
		object = document_set(object, "when", json_null());
		object = document_set(object, "candidates", o.candidates);
	}
	*to = document_append(*to, object);
}

/* --- the whole -------------------------------------------------------------------------------- */

/* Returns the rules that do not hold for the connection. */
static json_t *not_holding_json(const struct effective *e, const struct asked *asked)
{
	json_t *rules = json_array();

	for (size_t i = 0; i < e->n_blocks; i++) {
		const struct rule *rule = e->blocks[i].rule;
		const enum when_key key = rule ? asked_fails(asked, &rule->when) : WHEN_KEY_MAX;
		_cleanup_free_ char *when = NULL;

		if (key == WHEN_KEY_MAX)
			continue;
		when = when_key_text(&rule->when, key);
		rules = document_append(rules,
					json_pack("{s:s, s:s, s:o, s:i, s:s, s:o, s:b}", "policy",
						  e->blocks[i].policy->name, "rule", rule->name,
						  "file", document_string(rule->at.file), "line",
						  (int)rule->at.line, "key", when_key_name(key),
						  "when", when ? json_string(when) : NULL,
						  "not_given", asked_is_unknown(asked, key)));
	}
	return rules;
}

json_t *explanation_new(const char *cgroup, const struct effective *effective,
			const struct host *host, const struct asked *asked, json_t *in_force)
{
	struct inquiry q = { effective, host, asked };
	json_t *policies = json_array(), *left_out = json_array(), *options = json_array(),
	       *left_alone = json_array(), *root;

	for (size_t i = 0; i < effective->n_policies; i++)
		policies = document_append(policies, policy_json(effective->policies[i], cgroup));
	for (size_t i = 0; i < effective->n_left_out; i++)
		left_out = document_append(left_out, json_string(effective->left_out[i]->name));
	for (int d = 0; d < DIRECTION_MAX; d++) {
		q.direction = (enum direction)d;
		for (size_t id = 0; id < OPTION_MAX; id++)
			if (asked->directions & BIT(d) && !is_second_spelling((enum option_id)id))
				add_option(&q, &option_table[id], &options, &left_alone);
	}
	root = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "cgroup", document_string(cgroup),
			 "connection", asked_json(asked), "policies", policies, "left_out",
			 left_out, "options", options, "in_force", in_force);
	if (!asked->connection) {
		json_decref(left_alone);
		return root;
	}
	root = document_set(root, "left_alone", left_alone);
	return document_set(root, "not_holding", not_holding_json(effective, asked));
}

/* --- for people ------------------------------------------------------------------------------- */

static void print_policy(const json_t *p, FILE *to)
{
	fprintf(to, "    %s (%s:%lld) from %s on (depth %lld), by %s %s\n",
		document_text(p, "name"), document_text(p, "file"), document_number(p, "line"),
		document_text(p, "cgroup"), document_number(p, "depth"), document_text(p, "match"),
		document_text(p, "pattern"));
}

/* Prints "web, rule inside (FILE:LINE)". */
static void print_setter(const json_t *say, FILE *to)
{
	const char *rule = document_text(say, "rule");

	fprintf(to, "%s%s%s (%s:%lld)", document_text(say, "policy"), rule ? ", rule " : "",
		rule ? rule : "", document_text(say, "file"), document_number(say, "line"));
}

static void print_stages(const json_t *choice, FILE *to)
{
	const json_t *stage;
	size_t i;

	fprintf(to, LABEL, "set at");
	json_array_foreach (json_object_get(choice, "stages"), i, stage)
		fprintf(to, "%s%s (%s)", i ? ", " : "", json_string_value(stage),
			stage_hooks(stage_find(json_string_value(stage))));
	if (!i)
		fprintf(to, "nothing: %s", document_text(choice, "why"));
	fputc('\n', to);
}

/* Prints a choice.  suffix: its condition. */
static void print_choice(const json_t *c, const char *suffix, const char *when, FILE *to)
{
	const char *value = document_text(c, "value"), *shorthand = document_text(c, "shorthand"),
		   *kernel = document_text(c, "kernel");
	const bool unset = streq(value, "unset");

	fprintf(to, "    %s %s%s%s%s\n", document_text(c, "option"),
		unset ? "left alone (unset)" : "= ", unset ? "" : value, suffix, when);
	fprintf(to, LABEL, "by");
	print_setter(c, to);
	if (shorthand)
		fprintf(to, " as %s", shorthand);
	fputc('\n', to);
	if (!unset)
		print_stages(c, to);
	if (kernel)
		fprintf(to, LABEL "%s\n", "kernel", streq(kernel, value) ? "as asked" : kernel);
}

static void print_option(const json_t *o, FILE *to)
{
	const char *name = document_text(o, "option");
	const json_t *candidates = json_object_get(o, "candidates"), *one;
	size_t i;

	json_array_foreach (candidates, i, one)
		print_choice(one, " when ", document_text(one, "when"), to);
	if (document_text(o, "value"))
		print_choice(o, json_array_size(candidates) ? " otherwise" : "", "", to);
	else
		fprintf(to, "    %s left alone otherwise (nobody else sets it)\n", name);
	json_array_foreach (json_object_get(o, "beats"), i, one) {
		const char *spelling = document_text(one, "option");
		const bool same = streq(spelling, name);

		fprintf(to, LABEL, "beats");
		print_setter(one, to);
		fprintf(to, "%s%s %s\n", same ? "" : " ", same ? "" : spelling,
			document_text(one, "value"));
	}
}

/* Prints the options, and among them, in option table order, those that are left alone. */
static void print_options(const json_t *e, bool by_direction, FILE *to)
{
	const json_t *options = json_object_get(e, "options"),
		     *left_alone = json_object_get(e, "left_alone"), *one, *other;
	const char *direction = "";
	size_t i = 0, j = 0;

	while (i + j < json_array_size(options) + json_array_size(left_alone)) {
		one = json_array_get(options, i);
		other = json_array_get(left_alone, j);
		if (one && other &&
		    option_find(document_text(other, "option")) <
			    option_find(document_text(one, "option")))
			one = NULL;
		if (one)
			i++;
		else
			j++;
		one = one ? one : other;
		if (by_direction && !streq(document_text(one, "direction"), direction)) {
			direction = document_text(one, "direction");
			fprintf(to, "  %s:\n", direction);
		}
		print_option(one, to);
	}
}

static void print_rules(const json_t *not_holding, FILE *to)
{
	const json_t *rule;
	size_t i;

	if (json_array_size(not_holding))
		fprintf(to, "  rules that do not hold:\n");
	json_array_foreach (not_holding, i, rule) {
		fprintf(to, "    ");
		print_setter(rule, to);
		fprintf(to, ": %s%s\n", document_text(rule, "when"),
			document_is(rule, "not_given") ? " (not given)" : "");
	}
}

void explanation_print(const json_t *e, const struct asked *asked, FILE *to)
{
	const json_t *policies = json_object_get(e, "policies"), *one;
	size_t i;

	fprintf(to, "cgroup %s\n", document_text(e, "cgroup"));
	fprintf(to, "  %s\n",
		json_array_size(policies) ? "policies, weakest first:"
					  : "no policy applies: its sockets are left alone");
	json_array_foreach (policies, i, one)
		print_policy(one, to);
	json_array_foreach (json_object_get(e, "left_out"), i, one)
		fprintf(to, "    left out: %s, as only the first %d that match apply\n",
			json_string_value(one), SP_LIST_MAX);
	if (asked->connection) {
		fprintf(to, "  ");
		asked_print(asked, to);
		fprintf(to, ":\n");
	}
	print_options(e, !asked->connection, to);
	print_rules(json_object_get(e, "not_holding"), to);
	in_force_print(json_object_get(e, "in_force"), to);
}
