// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "compile/program.h"
#include "host/route.h"
#include "option/value.h"
#include "policy/stage.h"
#include "report/explanation.h"

#define INET (BIT(SP_FAMILY_INDEX_IPV4) | BIT(SP_FAMILY_INDEX_IPV6))

/* The facts from which an option is explained. */
struct inquiry {
	const struct effective *effective;
	const struct host *host;
	const struct asked *asked;
	enum direction direction;
};

/* --- policies --------------------------------------------------------------------------------- */

/* Says where and why a policy applies.  It does, so the root, a cgroup above `cgroup` or `cgroup`
 * itself matches: the shallowest is named. */
static json_t *policy_json(const struct policy *p, const char *cgroup)
{
	_cleanup_free_ char *path = strdup(cgroup);
	size_t depth, length;
	const struct pattern *pattern =
		path ? cascade_match(&p->match, path, &depth, &length) : NULL;

	if (!pattern)
		return NULL;
	path[length] = '\0';
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
			       : q->asked->families & INET;
	for (enum sp_stage s = 0; s < SP_STAGE_MAX; s++)
		if (stage_table[s].direction == q->direction && !stage_table[s].is_socket &&
		    stage_rule_may_hold(b->rule, s))
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
			  const struct setting *setting, unsigned only)
{
	unsigned due = stage_settings(b->rule, setting->option, q->direction), stages = 0;

	for (enum sp_stage s = 0; s < SP_STAGE_MAX; s++) {
		if (!(due & BIT(s)) || !may_decide_at(b, s) || !asked_passes(q->asked, s) ||
		    (only && !when_families_at(only, &stage_table[s])))
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

	for (enum sp_stage s = 0; s < SP_STAGE_MAX; s++) {
		const char *at = (stages & BIT(s)) ? stage_hooks(s) : "";

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

static json_t *value_json(const struct setting *s)
{
	_cleanup_free_ char *value = NULL;

	if (s->is_range_alone)
		return json_null();
	value = s->unset ? strdup("unset") : value_format(s->option, &s->value);
	return value ? document_string(value) : NULL;
}

/* Says which block says what. */
static json_t *say_json(const struct block *b, const struct setting *s)
{
	json_t *say = json_pack("{s:s, s:s, s:s?, s:o, s:i, s:o}", "option", s->option->name,
				"policy", b->policy->name, "rule", b->rule ? b->rule->name : NULL,
				"file", document_string(s->at.file), "line", (int)s->at.line,
				"value", value_json(s));

	return document_add_word(say, s->option, s->unset, s->application, s->range);
}

/* Returns the mark of the connection in question, as far as policies set it. */
static uint32_t mark_of(const struct inquiry *q)
{
	const struct option *mark = &option_table[OPTION_SO_MARK];

	for (size_t i = q->effective->n_blocks; i-- > 0;) {
		const struct block *b = &q->effective->blocks[i];
		const struct setting *s = settings_find(b->options, mark);

		if (s && may_hold(q, b))
			return !setting_has_value(s) ? 0 : (uint32_t)value_number(mark, &s->value);
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

/* Sets *ret to a sentence where the option decides the route, and the rule holds only when the
 * SYN-ACK has left. */
static int syn_ack_goes(const struct block *b, const struct setting *s, unsigned stages, char **ret)
{
	const struct when *w = b->rule ? &b->rule->when : NULL;

	if (!w || !s->option->route || !(stages & BIT(SP_STAGE_TCP_PASSIVE_EST)) ||
	    !(w->has_remote || w->has_remote_port))
		return 0;
	return sentence(ret, 0, "the SYN-ACK leaves before it, by the listener's route");
}

/* Returns what becomes of an option if this block wins.  only: it counts for these families only;
 * 0: for all. */
static json_t *choice_json(const struct inquiry *q, const struct block *b, const struct setting *s,
			   unsigned only)
{
	const unsigned stages = s->unset ? 0 : stages_of(q, b, s, only);
	const bool has_value = setting_has_value(s);
	const bool has_number = has_value && s->option->type != OPTION_STRING;
	struct value_result result = { .shown = -1 };
	json_t *choice = say_json(b, s), *kernel, *shown;

	if (stages && has_value &&
	    (value_result(s->option, &s->value, q->host, &result) < 0 ||
	     route_wins(q, s, &result.text) < 0 || syn_ack_goes(b, s, stages, &result.text) < 0)) {
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
	choice = document_set(choice, "stages", document_stages(stages));
	choice = document_set(
		choice, "on_failure",
		json_string(on_failure_words[s->refuse ? ON_FAILURE_REFUSE : ON_FAILURE_CONTINUE]));
	choice = document_set(choice, "existing", json_string(s->apply ? "apply" : "keep"));
	free(result.text);
	shown = stages && s->option->type == OPTION_STRING
			? json_incref(json_object_get(choice, "value"))
		: result.shown >= 0 ? json_integer(result.shown)
				    : json_null();
	choice = document_set(choice, "shown", shown);
	return document_set(choice, "why", document_string(stages ? NULL : why_nowhere(q, s)));
}

/* Returns the choice where nobody else sets the option. */
static json_t *no_choice_json(const struct option *o)
{
	return json_pack("{s:s, s:n, s:n, s:n, s:n, s:n, s:n, s:n, s:n, s:n, s:n, s:n, s:n, s:n, "
			 "s:[], s:[], s:n}",
			 "option", o->name, "policy", "rule", "file", "line", "value", "kernel",
			 "number", "shorthand", "application", "min", "max", "on_failure",
			 "existing", "hooks", "stages", "why");
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
			  const struct setting *setting, unsigned only, struct outcome *o)
{
	_cleanup_free_ char *text = NULL;
	struct when when = b->rule->when;

	if (only)
		when.families = only;
	text = when_text(&when);
	o->candidates = document_append(o->candidates,
					document_set(choice_json(q, b, setting, only), "when",
						     text ? json_string(text) : NULL));
	if (!o->option)
		o->option = setting->option;
}

static unsigned families_of(const struct block *b)
{
	if (b->rule)
		return b->rule->when.families;
	return INET;
}

/* Adds a block.  The strongest come first. */
static void add_block(const struct inquiry *q, const struct block *b, const struct setting *setting,
		      struct outcome *o)
{
	const bool connection = q->asked->connection;
	unsigned left = 0; /* families for which the block may still win */

	if (!o->winner && !connection && b->rule && !when_is_empty(&b->rule->when)) {
		add_candidate(q, b, setting, 0, o);
		return;
	}
	if (!o->winner) {
		o->winner = b;
		o->option = setting->option;
		o->choice = choice_json(q, b, setting, 0);
		return;
	}
	/* A winner beats a block for sockets that are not IP's only if it is for them as well. */
	if (!connection)
		left = families_of(b) & ~families_of(o->winner);
	if (left)
		add_candidate(q, b, setting, left, o);
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
	object = document_set(object, "direction", json_string(direction_words[q->direction]));
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
	for (enum direction d = 0; d < DIRECTION_MAX; d++) {
		q.direction = d;
		for (enum option_id id = 0; id < OPTION_MAX; id++)
			if (asked->directions & BIT(d) && !is_second_spelling(id))
				add_option(&q, &option_table[id], &options, &left_alone);
	}
	root = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "cgroup", document_string(cgroup),
			 "connection", asked_json(asked), "policies", policies, "left_out",
			 left_out, "options", options, "in_force", in_force);
	if (!asked->connection) {
		json_decref(left_alone);
		return root;
	}
	root = document_set(root, "question", asked_text(asked));
	root = document_set(root, "left_alone", left_alone);
	return document_set(root, "not_holding", not_holding_json(effective, asked));
}

bool explanation_says_same(const json_t *a, const json_t *b)
{
	static const char *const keys[] = { "option", "value",	"application", "min",
					    "max",    "policy", "rule" };
	bool same = true;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		same &= document_same(a, b, keys[i]);
	return same;
}
