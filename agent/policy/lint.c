// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <inttypes.h>

#include "base/progress.h"
#include "policy/loader.h"
#include "option/value.h"
#include "policy/stage.h"

#define UNIX BIT(SP_FAMILY_INDEX_UNIX)

struct lint {
	const struct host *host;
	struct diags *diags;
	const struct config *config;
	const struct policy *policy; /* at which we are */
};

/* Returns what the block sets the option to, or NULL. */
static const struct setting *find_set(const struct settings *s, enum option_id id)
{
	const struct setting *found = settings_find(s, &option_table[id]);

	return found && setting_has_value(found) ? found : NULL;
}

/* Returns what holds with the block of a rule (NULL: with the base): its own or the base's. */
static const struct setting *find_with(const struct lint *l, const struct rule *r,
				       enum option_id id)
{
	const struct settings *base = &l->policy->base;
	const struct setting *own = r ? settings_find(&r->options, &option_table[id]) : NULL;

	if (own)
		return setting_has_value(own) ? own : NULL;
	return find_set(base, id);
}

/* The same as a number, or `otherwise`. */
static int64_t number_with(const struct lint *l, const struct rule *r, enum option_id id,
			   int64_t otherwise)
{
	const struct setting *s = find_with(l, r, id);

	return s ? value_number(s->option, &s->value) : otherwise;
}

/* --- a block of options, and the rule that has it --------------------------------------------- */

/* Can a block (r NULL: the base options) hold for some socket at a stage, given its addresses? */
static bool reaches(const struct rule *r, enum sp_stage s)
{
	if (!stage_rule_may_hold(r, s))
		return false;
	return !r || stage_is_local(s) || when_ip_families(&r->when);
}

/* Does the policy give some listener a congestion control that needs ECN? */
static bool listener_needs_ecn(const struct lint *l)
{
	const struct policy *p = l->policy;
	const struct option *o = &option_table[OPTION_TCP_CONGESTION];

	for (size_t i = 0; i < p->n_rules; i++) {
		const struct rule *r = &p->rules[i];
		const struct setting *s = find_set(&r->options, option_id(o));

		if (s && host_congestion_needs_ecn(l->host, sockopt_data(&s->value)) &&
		    reaches(r, SP_STAGE_TCP_LISTEN) &&
		    stage_setting_due(r, o, DIRECTION_LISTEN, SP_STAGE_TCP_LISTEN))
			return true;
	}
	return false;
}

static void lint_congestion(const struct lint *l, const struct rule *r, const struct setting *s)
{
	const char *name;

	if (option_id(s->option) != OPTION_TCP_CONGESTION)
		return;
	name = sockopt_data(&s->value);
	if (host_has_congestion(l->host, name) == 0)
		diag_warning(l->diags, &s->at,
			     "congestion control '%s' is not loaded in the running kernel; the "
			     "agent has it loaded, and %s if that fails",
			     EXCERPT(name),
			     s->refuse ? "calls that need it are refused"
				       : "leaves the option out");
	if (reaches(r, SP_STAGE_TCP_PASSIVE_EST) && number_with(l, r, OPTION_NEEDS_ECN, 0) == 0 &&
	    host_congestion_needs_ecn(l->host, name) && !listener_needs_ecn(l))
		diag_warning(l->diags, &s->at,
			     "congestion control '%s' needs ECN, which accepted sockets get only "
			     "with NEEDS_ECN: on (or if their listener has '%s')",
			     EXCERPT(name), EXCERPT(name));
}

/* Warns of a value that the kernel refuses or, where that matters, caps.  what: "", or "min ". */
static void lint_one_value(const struct lint *l, const struct setting *s,
			   const struct sockopt *value, const char *what, bool may_be_capped)
{
	_cleanup_free_ char *asked = NULL;
	struct value_result result = { 0 };

	if (value_result(s->option, value, l->host, &result) < 0)
		return;
	asked = value_format(s->option, value);
	if (asked && (result.refused || (result.capped && !may_be_capped)))
		diag_warning(l->diags, &s->at, "%s: %s%s is %s%s%s", s->option->name, what, asked,
			     result.refused ? "refused" : "capped", result.text ? ": " : "",
			     result.text ? result.text : "");
	free(result.text);
}

static void lint_bound(const struct lint *l, const struct setting *s, uint32_t number,
		       const char *what, bool may_be_capped)
{
	struct sockopt value;

	if (value_from_number(s->option, number, &value) < 0)
		return;
	lint_one_value(l, s, &value, what, may_be_capped);
	sockopt_destroy(&value);
}

static void lint_value(const struct lint *l, const struct setting *s)
{
	if (setting_has_value(s))
		lint_one_value(l, s, &s->value, "", /* may_be_capped= */ false);
	if (s->range.is_given && s->range.min)
		lint_bound(l, s, s->range.min, "min ", /* may_be_capped= */ false);
	if (s->range.is_given && s->range.max != UINT32_MAX)
		lint_bound(l, s, s->range.max, "max ", /* may_be_capped= */ true);
}

/*
 * Returns the families of IP that matter to the sockets that a block reaches; none if none of them
 * is IP's.  An IPv6 socket without a peer may come to speak IPv4 as well.
 */
static unsigned families_reached(const struct rule *r)
{
	static const enum sp_stage without_peer[] = { SP_STAGE_TCP_BIND, SP_STAGE_TCP_LISTEN,
						      SP_STAGE_UDP_BIND, SP_STAGE_UDP_SEND };
	const unsigned both = SP_FAMILY_IPV4 | SP_FAMILY_IPV6;
	unsigned families = r ? when_ip_families(&r->when) : both;

	for (size_t i = 0; i < ARRAY_SIZE(without_peer); i++)
		if (families & SP_FAMILY_IPV6 && reaches(r, without_peer[i]))
			return both;
	return families;
}

/* Does the option reach a hook where the block holds? */
static bool reaches_a_hook(const struct rule *r, const struct option *o)
{
	for (enum sp_stage s = 0; s < SP_STAGE_MAX; s++)
		if (stage_setting_due(r, o, stage_table[s].direction, s) && reaches(r, s))
			return true;
	return false;
}

static void lint_effect(const struct lint *l, const struct rule *r, const struct setting *s)
{
	unsigned works_for = option_families(s->option), families = families_reached(r);
	const char *rule = r ? r->name : "";

	if (!reaches_a_hook(r, s->option))
		diag_warning(l->diags, &s->at, "%s: no hook of rule '%s' can make it effective",
			     s->option->name, rule);
	else if (!s->shorthand && families && !(works_for & families))
		diag_warning(l->diags, &s->at,
			     "%s: rule '%s' holds for %s only, where it has no effect",
			     s->option->name, rule, works_for & SP_FAMILY_IPV4 ? "IPv6" : "IPv4");
}

/* Warns of options that come too late for the route: the kernel chooses route and local address
 * together, and a rule may ask for the address. */
static void lint_route(const struct lint *l, const struct rule *r, const struct setting *s)
{
	const struct when *w = r ? &r->when : NULL;

	if (!w || !s->option->route)
		return;
	if ((w->has_remote || w->has_remote_port) && reaches(r, SP_STAGE_TCP_PASSIVE_EST) &&
	    !reaches(r, SP_STAGE_TCP_SYN))
		diag_warning(l->diags, &s->at,
			     "%s: rule '%s' asks for the peer of accepted sockets, and the SYN-ACK "
			     "leaves before it holds: by the listener's route, not by this one",
			     s->option->name, r->name);
	if (!(w->has_local || w->has_local_port) || !reaches(r, SP_STAGE_TCP_SYN))
		return;
	diag_warning(l->diags, &s->at,
		     "%s: rule '%s' asks for '%s', which a connecting TCP socket has only when its "
		     "route is chosen: too late for the route, even if another rule sets it",
		     s->option->name, r->name, w->has_local ? "local" : "local_port");
}

/* Returns a value of the option that the policy gives to some listener, or NULL. */
static const struct setting *find_carried(const struct policy *p, const struct option *o)
{
	for (size_t i = 0; i <= p->n_rules; i++) {
		const struct rule *r = i ? &p->rules[i - 1] : NULL;
		const struct setting *s = find_set(r ? &r->options : &p->base, option_id(o));

		if (s && reaches(r, SP_STAGE_TCP_LISTEN) &&
		    stage_setting_due(r, o, DIRECTION_LISTEN, SP_STAGE_TCP_LISTEN))
			return s;
	}
	return NULL;
}

/* Can both policies govern one cgroup? */
static bool may_meet(const struct policy *p, const struct policy *q)
{
	for (size_t i = 0; i < p->match.n; i++)
		for (size_t j = 0; j < q->match.n; j++)
			if (glob_may_meet(p->match.v[i].glob, q->match.v[j].glob))
				return true;
	return p == q;
}

/* Warns of `unset` where accepted sockets inherit: the listener has the value, and a child is born
 * with it. */
static void lint_unset(const struct lint *l, const struct rule *r, const struct setting *s)
{
	const struct setting *carried = find_carried(l->policy, s->option);

	if (!reaches(r, SP_STAGE_TCP_PASSIVE_EST) || reaches(r, SP_STAGE_TCP_LISTEN) ||
	    s->option->after_tos) /* SO_PRIORITY is not inherited */
		return;
	for (size_t i = 0; i < l->config->n_policies && !carried; i++) {
		carried = find_carried(&l->config->policies[i], s->option);
		if (carried && !may_meet(l->policy, &l->config->policies[i]))
			carried = NULL;
	}
	if (carried)
		diag_warning(l->diags, &s->at,
			     "%s: unset has no effect on accepted sockets: listeners carry the "
			     "value of %s:%u:%u, and accepted sockets inherit it",
			     s->option->name, carried->at.file, carried->at.line,
			     carried->at.column);
}

/* Values that do harm, unless a rule asks for what makes them meant. */
static const struct harm {
	enum option_id option;
	int64_t min, max;  /* in the option's own unit */
	unsigned meant_by; /* BIT(enum when_key): with one of these in its rule it is meant */
	const char *why;   /* NULL: as the option table says how it breaks programs */
} harms[] = {
	{ OPTION_SO_REUSEPORT, 1, 1, 0, NULL },
	{ OPTION_SO_RCVLOWAT, 2, INT32_MAX, BIT(WHEN_REMOTE_PORT) | BIT(WHEN_LOCAL_PORT), NULL },
	{ OPTION_SO_MAX_PACING_RATE, 1, 999, 0,
	  "below 8 kbit/s a single packet takes more than a second" },
	{ OPTION_TCP_USER_TIMEOUT, 1, 999, BIT(WHEN_REMOTE),
	  "below a second it ends connections to peers that only lost a packet" },
	{ OPTION_TCP_BPF_SNDCWND_CLAMP, 1, 1, 0,
	  "one segment at a time waits for the peer's delayed acknowledgement" },
	{ OPTION_TCP_WINDOW_CLAMP, 1, INT32_MAX, 0,
	  "it does not last on 6.12 and 6.18: when data comes, the kernel replaces it by what SO_RCVBUF "
	  "leaves; bound SO_RCVBUF" },
};

static void lint_harm(const struct lint *l, const struct rule *r, const struct setting *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(harms); i++) {
		const struct harm *h = &harms[i];
		const int64_t number = s->option == &option_table[h->option]
					       ? value_number(s->option, &s->value)
					       : INT64_MIN;
		const char *breaks = s->option->breaks,
			   *values = breaks ? strstr(breaks, ": ") : NULL;
		_cleanup_free_ char *value = NULL;

		if (number < h->min || number > h->max || !reaches_a_hook(r, s->option) ||
		    (r && when_keys(&r->when) & h->meant_by))
			continue;
		value = value_format(s->option, &s->value);
		diag_warning(l->diags, &s->at, "%s: %s: %s%s", s->option->name, value ? value : "?",
			     h->why ? "" : "programs that know nothing of it can break: ",
			     h->why   ? h->why
			     : values ? values + 2
				      : breaks);
	}
}

/* Warns where TCP_USER_TIMEOUT takes the place of a TCP_KEEPCNT that was asked for: see
 * tcp_keepalive_timer(), net/ipv4/tcp_timer.c. */
static void lint_user_timeout(const struct lint *l, const struct rule *r)
{
	static const enum option_id involved[] = { OPTION_TCP_USER_TIMEOUT, OPTION_TCP_KEEPCNT,
						   OPTION_TCP_KEEPIDLE, OPTION_TCP_KEEPINTVL,
						   OPTION_SO_KEEPALIVE };
	const int64_t timeout = number_with(l, r, OPTION_TCP_USER_TIMEOUT, 0) / 1000,
		      probes = number_with(l, r, OPTION_TCP_KEEPCNT, 0),
		      idle = number_with(l, r, OPTION_TCP_KEEPIDLE, 7200),
		      interval = number_with(l, r, OPTION_TCP_KEEPINTVL, 75);
	const struct setting *at = NULL;
	int64_t lost;

	/* at an option of this block: what all have from the base was said there */
	for (size_t i = 0; i < ARRAY_SIZE(involved) && !at; i++)
		at = find_set(r ? &r->options : &l->policy->base, involved[i]);
	if (!at || !find_with(l, r, OPTION_TCP_USER_TIMEOUT) || !probes ||
	    !number_with(l, r, OPTION_SO_KEEPALIVE, 0) || timeout >= idle + probes * interval ||
	    !number_with(l, r, OPTION_TCP_USER_TIMEOUT, 0))
		return;
	lost = timeout > idle + interval ? (timeout - idle + interval - 1) / interval : 1;
	diag_warning(l->diags, &at->at,
		     "TCP_USER_TIMEOUT is less than TCP_KEEPIDLE + TCP_KEEPCNT * TCP_KEEPINTVL "
		     "(%" PRId64 "s): %" PRId64 " lost probe%s %s an idle connection, whatever "
		     "TCP_KEEPCNT says",
		     idle + probes * interval, lost, plural(lost), lost == 1 ? "ends" : "end");
}

/* Warns of a low-water mark that the policy's own buffer caps: see tcp_set_rcvlowat(),
 * net/ipv4/tcp.c. */
static void lint_rcvlowat(const struct lint *l, const struct rule *r)
{
	const struct settings *own = r ? &r->options : &l->policy->base;
	const struct setting *mark = find_with(l, r, OPTION_SO_RCVLOWAT);
	const int64_t buffer = number_with(l, r, OPTION_SO_RCVBUF, INT64_MAX);

	if (mark && value_number(mark->option, &mark->value) > buffer &&
	    (find_set(own, OPTION_SO_RCVLOWAT) || find_set(own, OPTION_SO_RCVBUF)))
		diag_warning(l->diags, &mark->at,
			     "SO_RCVLOWAT is more than the receive buffer of SO_RCVBUF, %" PRId64
			     " bytes, which caps it",
			     buffer);
}

/* --- who has the last word, and what cannot be set -------------------------------------------- */

#define NAMED_SIZE 1024

/* Options of a block that one warning is about, at the first one's position. */
struct named {
	char text[NAMED_SIZE]; /* "SO_MARK, IP_TOS" */
	const struct setting *first;
	size_t n;
};

static void name_option(struct named *to, const struct setting *s)
{
	const size_t length = strlen(to->text);

	snprintf(to->text + length, sizeof(to->text) - length, "%s%s", length ? ", " : "",
		 s->option->name);
	if (!to->n++)
		to->first = s;
}

/* Warns of options for which the word of their policy, or rule, does not count. */
static void lint_uncounted(const struct lint *l, const struct rule *r)
{
	static const char *const verbs[APPLICATION_MAX] = { [APPLICATION_HOLD] = "held",
							    [APPLICATION_RESPECT] = "respected",
							    [APPLICATION_DENY] = "denied" };
	const struct settings *options = r ? &r->options : &l->policy->base;
	const bool rules = r && r->application != APPLICATION_UNSAID;
	const enum application word = rules ? r->application : l->policy->application;
	struct named named = { 0 };

	for (size_t i = 0; i < options->n; i++) {
		const struct setting *s = &options->v[i];

		/* a range is a word of its own */
		if (!s->unset && s->said == APPLICATION_UNSAID && !s->range.is_given &&
		    !setting_may_have(s, word))
			name_option(&named, s);
	}
	if (named.n)
		diag_warning(l->diags, &named.first->at,
			     "%s cannot be %s: 'application: %s' of %s '%s' does not count for %s",
			     named.text, verbs[word], application_words[word],
			     rules ? "rule" : "policy", rules ? r->name : l->policy->name,
			     named.n == 1 ? "it" : "them");
}

static void lint_denied(const struct lint *l, const struct rule *r)
{
	const struct settings *options = r ? &r->options : &l->policy->base;
	struct named named = { 0 };

	for (size_t i = 0; i < options->n; i++)
		if (options->v[i].application == APPLICATION_DENY)
			name_option(&named, &options->v[i]);
	if (named.n)
		diag_warning(
			l->diags, &named.first->at,
			"%s: a program that sets %s gets EPERM, and most programs give up then; "
			"with 'hold' the call succeeds and changes nothing",
			named.text, named.n == 1 ? "it" : "one of them");
}

/* Returns the stages (BIT(enum sp_stage)) at which setting it may fail. */
static unsigned fails_at(const struct lint *l, const struct setting *s)
{
	struct value_result result = { 0 };

	(void)value_result(s->option, &s->value, l->host, &result);
	free(result.text);
	return result.refused ? ~0u : s->option->fails_at;
}

/* Can it fail at a moment at which there is no call to refuse?  A listener whose bind(2) was
 * refused is none. */
static bool fails_without_call(const struct lint *l, const struct rule *r,
			       const struct setting *set)
{
	static const enum sp_stage stages[] = { SP_STAGE_TCP_LISTEN, SP_STAGE_TCP_ACTIVE_EST,
						SP_STAGE_TCP_PASSIVE_EST };

	const unsigned fails = set->refuse ? fails_at(l, set) : 0;
	const struct option *o = set->option;

	for (size_t i = 0; i < ARRAY_SIZE(stages); i++) {
		const enum sp_stage s = stages[i];

		if (s == SP_STAGE_TCP_LISTEN && reaches(r, SP_STAGE_TCP_BIND) &&
		    stage_setting_due(r, o, DIRECTION_LISTEN, SP_STAGE_TCP_BIND))
			continue;
		if (fails & BIT(s) && reaches(r, s) &&
		    stage_setting_due(r, o, stage_table[s].direction, s))
			return true;
	}
	return false;
}

static void lint_unrefused(const struct lint *l, const struct rule *r)
{
	const struct settings *options = r ? &r->options : &l->policy->base;
	struct named named = { 0 };

	for (size_t i = 0; i < options->n; i++)
		if (fails_without_call(l, r, &options->v[i]))
			name_option(&named, &options->v[i]);
	if (named.n)
		diag_warning(
			l->diags, &named.first->at,
			"%s: 'on_failure: refuse' cannot refuse what is due on a listener, or "
			"when a connection is established or accepted; a failure there is counted",
			named.text);
}

/* Warns of options that 'existing: apply' cannot bring to connections. */
static void lint_late(const struct lint *l, const struct rule *r)
{
	const struct settings *options = r ? &r->options : &l->policy->base;
	const bool connected = reaches(r, SP_STAGE_TCP_SYN) || reaches(r, SP_STAGE_TCP_PASSIVE_EST);
	struct named named = { 0 };

	for (size_t i = 0; i < options->n; i++) {
		const struct setting *s = &options->v[i];
		const bool listens = s->option->stages[DIRECTION_LISTEN] & BIT(SP_STAGE_TCP_LISTEN);

		if (s->apply && option_is_too_late(s->option) && (connected || !listens))
			name_option(&named, s);
	}
	if (named.n)
		diag_warning(l->diags, &named.first->at,
			     "%s: too late for connections that are there already, whatever "
			     "'existing: apply' says",
			     named.text);
}

static bool has_option(const struct settings *options, enum option_id id)
{
	return settings_find_rival(options, &option_table[id]) != NULL;
}

/* Is some setting refused by this word, of the policy or the rule, and can none of them fail?
 * ret_marks: there is a mark among them. */
static bool refuses_in_vain(const struct lint *l, const struct rule *of, bool *ret_marks)
{
	const struct policy *p = l->policy;
	size_t n = 0;

	*ret_marks = false;
	for (size_t i = 0; i <= p->n_rules; i++) {
		const struct rule *r = i ? &p->rules[i - 1] : NULL;
		const struct settings *options = r ? &r->options : &p->base;

		if (of ? r != of : r && r->on_failure != ON_FAILURE_UNSAID)
			continue;
		for (size_t j = 0; j < options->n; j++) {
			if (!options->v[j].refuse)
				continue;
			if (fails_at(l, &options->v[j]))
				return false;
			n++;
		}
		*ret_marks |= has_option(options, OPTION_SO_MARK);
	}
	return n;
}

/* Warns of 'on_failure: refuse' of a policy or a rule that can refuse nothing. */
static void lint_refusal(const struct lint *l, const struct rule *r)
{
	const struct policy *p = l->policy;
	const struct position *at = r ? &r->at : &p->at;
	bool marks;

	if ((r ? r->on_failure : p->on_failure) != ON_FAILURE_REFUSE ||
	    !refuses_in_vain(l, r, &marks))
		return;
	diag_warning(l->diags, at,
		     "'on_failure: refuse' of %s '%s' refuses nothing: on a kernel that has them, "
		     "setting its options cannot fail%s",
		     r ? "rule" : "policy", r ? r->name : p->name,
		     marks ? "; what keeps marked traffic in is the routing table (an "
			     "`unreachable` route of last resort in the marked table), or "
			     "SO_BINDTODEVICE"
			   : "");
}

static void lint_block(const struct lint *l, const struct rule *r)
{
	const struct settings *options = r ? &r->options : &l->policy->base;

	for (size_t i = 0; i < options->n; i++) {
		const struct setting *s = &options->v[i];

		if (s->unset) {
			lint_unset(l, r, s);
			continue;
		}
		lint_effect(l, r, s);
		lint_route(l, r, s);
		lint_value(l, s);
		if (!setting_has_value(s))
			continue;
		lint_harm(l, r, s);
		lint_congestion(l, r, s);
	}
	lint_user_timeout(l, r);
	lint_rcvlowat(l, r);
	lint_uncounted(l, r);
	lint_denied(l, r);
	lint_unrefused(l, r);
	lint_late(l, r);
	lint_refusal(l, r);
}

static bool reaches_some_stage(const struct rule *r)
{
	for (enum sp_stage s = 0; s < SP_STAGE_MAX; s++)
		if (reaches(r, s))
			return true;
	return false;
}

/* Warns of sockets that are not IP's and that no hook sees.  The cheap questions come first:
 * host_has_unix_hooks() reads the kernel's BTF. */
static void lint_local(const struct lint *l, const struct rule *r)
{
	const bool at_socket = reaches(r, SP_STAGE_LOCAL_SOCKET);
	const unsigned families =
		when_families_at(r->when.families, &stage_table[SP_STAGE_LOCAL_SOCKET]);

	if (at_socket && families & ~UNIX && host_has_bpf_lsm() == 0)
		diag_warning(l->diags, &r->at,
			     "this kernel was booted without BPF LSM (lsm=...,bpf): rule '%s' does "
			     "nothing for netlink and packet sockets",
			     r->name);
	if (!reaches(r, SP_STAGE_UNIX) || host_has_unix_hooks() != 0)
		return;
	if (!at_socket || host_has_bpf_lsm() != 1) {
		diag_warning(l->diags, &r->at,
			     "this kernel has no hooks for AF_UNIX sockets (6.7 and later have): "
			     "rule '%s' does nothing for them",
			     r->name);
		return;
	}
	for (size_t i = 0; i < r->options.n; i++)
		if (!(r->options.v[i].option->stages[DIRECTION_CONNECT] &
		      BIT(SP_STAGE_LOCAL_SOCKET)))
			diag_warning(l->diags, &r->options.v[i].at,
				     "%s: this kernel has no hooks for AF_UNIX sockets (6.7 and "
				     "later have), and socket(2) does not bring it",
				     r->options.v[i].option->name);
}

static void lint_rule(const struct lint *l, const struct rule *r)
{
	const enum when_key empty = when_empty_key(&r->when);

	if (!r->options.n)
		diag_warning(l->diags, &r->at, "rule '%s' has no options: it does nothing",
			     r->name);
	if (empty != WHEN_KEY_MAX) {
		diag_warning(l->diags, &r->at, "rule '%s' can never match: its %s is empty",
			     r->name, when_key_name(empty));
	} else if (!reaches_some_stage(r)) {
		diag_warning(l->diags, &r->at, "rule '%s' can never match: %s", r->name,
			     when_contradiction(&r->when));
	} else { /* a rule that never matches gets no further warnings */
		lint_local(l, r);
		lint_block(l, r);
	}
}

/* --- one policy ------------------------------------------------------------------------------- */

/* What only privileged programs may give to a socket, or what decides its route and its queue. */
static const enum option_id privileged[] = {
	OPTION_SO_MARK,
	OPTION_SO_PRIORITY,
	OPTION_SO_BINDTODEVICE,
	OPTION_SO_BINDTOIFINDEX,
};

static const char *sets_privileged(const struct policy *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(privileged); i++)
		for (size_t r = 0; r <= p->n_rules; r++)
			if (find_set(r ? &p->rules[r - 1].options : &p->base, privileged[i]))
				return option_table[privileged[i]].name;
	return NULL;
}

static void lint_delegated(const struct lint *l, const struct policy *p)
{
	const char *option = sets_privileged(p);

	for (size_t i = 0; option && i < p->match.n; i++) {
		const struct pattern *pattern = &p->match.v[i];

		if (glob_reaches_delegated(pattern->glob))
			diag_warning(
				l->diags, &pattern->at,
				"cgroup '%s' can match below user@UID.service, where users name "
				"their own cgroups, and the policy sets %s; 'unit' matches the "
				"system's units only",
				EXCERPT(pattern->glob->pattern), option);
	}
}

/* Warns of an exclusion that users can give to themselves. */
static void lint_evaded(const struct lint *l, const struct policy *p)
{
	bool governs = false;

	for (size_t i = 0; i < p->match.n; i++)
		governs |= glob_governs_delegated(p->match.v[i].glob);
	for (size_t i = 0; governs && i < p->exclude.n; i++)
		if (glob_reaches_delegated(p->exclude.v[i].glob))
			diag_warning(
				l->diags, &p->exclude.v[i].at,
				"cgroup '%s' can match below user@UID.service, where users name "
				"their own cgroups, and so take themselves out of the policy",
				EXCERPT(p->exclude.v[i].glob->pattern));
}

static void lint_unit(const struct lint *l, const struct pattern *pattern)
{
	const char *text = pattern->glob->pattern;
	const struct unit_kind *unit = glob_unit_kind(text);

	if (pattern->glob->kind != GLOB_UNIT || strchr("*?]", text[strlen(text) - 1]))
		return;
	if (!unit)
		diag_warning(l->diags, &pattern->at,
			     "unit '%s' does not end in a unit's suffix; did you mean "
			     "'%s.service'?",
			     EXCERPT(text), EXCERPT(text));
	else if (!unit->has_cgroup)
		diag_warning(l->diags, &pattern->at,
			     "unit '%s' can never match: a %s unit has no cgroup", EXCERPT(text),
			     unit->suffix);
}

/* Warns of a path as the file system has it: a cgroup's path begins below the mount. */
static void lint_mount(const struct lint *l, const struct pattern *pattern)
{
	static const char mount[] = "/sys/fs/cgroup";
	const char *text = pattern->glob->pattern;
	const size_t n = sizeof(mount) - 1;

	if (pattern->glob->kind != GLOB_CGROUP || strncmp(text, mount, n) != 0 ||
	    (text[n] && text[n] != '/'))
		return;
	diag_warning(l->diags, &pattern->at,
		     "cgroup '%s' matches nothing: the paths of cgroups begin below the mount; "
		     "did you mean '%s'?",
		     EXCERPT(text), EXCERPT(text[n] ? text + n : "/"));
}

static void lint_patterns(const struct lint *l, const struct policy *p)
{
	for (size_t i = 0; i < p->match.n; i++) {
		const struct glob *glob = p->match.v[i].glob;

		lint_unit(l, &p->match.v[i]);
		lint_mount(l, &p->match.v[i]);
		for (size_t j = 0; j < p->exclude.n; j++)
			if (glob->kind == p->exclude.v[j].glob->kind &&
			    streq(glob->pattern, p->exclude.v[j].glob->pattern))
				diag_warning(l->diags, &p->match.v[i].at,
					     "'%s' can never match: 'exclude' has it as well",
					     EXCERPT(glob->pattern));
	}
	for (size_t i = 0; i < p->exclude.n; i++) {
		lint_unit(l, &p->exclude.v[i]);
		lint_mount(l, &p->exclude.v[i]);
	}
}

/* Returns a keepalive time that the block sets, or NULL. */
static const struct setting *keepalive_time(const struct settings *s)
{
	static const enum option_id times[] = {
		OPTION_TCP_KEEPIDLE,
		OPTION_TCP_KEEPINTVL,
		OPTION_TCP_KEEPCNT,
	};
	const struct setting *found = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(times) && !found; i++)
		found = find_set(s, times[i]);
	return found;
}

static void lint_keepalive(const struct lint *l, const struct policy *p)
{
	const struct setting *time = NULL, *keepalive;

	for (size_t i = 0; i <= p->n_rules; i++) {
		const struct settings *s = i ? &p->rules[i - 1].options : &p->base;

		keepalive = find_set(s, OPTION_SO_KEEPALIVE);
		if (keepalive && value_number(keepalive->option, &keepalive->value) != 0)
			return;
		if (!time)
			time = keepalive_time(s);
	}
	if (time)
		diag_warning(l->diags, &time->at,
			     "%s without SO_KEEPALIVE: the policy turns keepalive on nowhere",
			     time->option->name);
}

/* Returns what socket(2) would give of the option without this rule of the policy, or NULL. */
static const struct setting *given_before(const struct policy *p, const struct rule *r,
					  const struct option *o)
{
	const struct setting *s = NULL;

	while (!s && r-- > p->rules) {
		s = settings_find_rival(&r->options, o);
		if (s && stage_rule_is_open(r, SP_STAGE_UDP_SOCKET))
			return NULL; /* that rule is the one to warn of */
	}
	if (!s)
		s = settings_find_rival(&p->base, o);
	return s && !s->unset ? s : NULL;
}

/* Warns of a rule that keeps socket(2) from giving what comes before the rule. */
static void lint_at_socket(const struct lint *l, const struct policy *p, const struct rule *r)
{
	if (!stage_rule_is_open(r, SP_STAGE_UDP_SOCKET) ||
	    !(reaches(r, SP_STAGE_UDP_SOCKET) || reaches(r, SP_STAGE_TCP_SOCKET)))
		return;
	for (size_t i = 0; i < r->options.n; i++) {
		const struct setting *s = &r->options.v[i];
		const struct setting *before =
			s->option->at_socket ? given_before(p, r, s->option) : NULL;

		if (before)
			diag_warning(l->diags, &s->at,
				     "%s: at socket(2) it is not known whether rule '%s' holds, so "
				     "socket(2) does not give%s the value of line %u, and a first "
				     "datagram goes without%s",
				     s->option->name, r->name,
				     when_ip_families(&r->when) == SP_FAMILY_IPV6
					     ? " an IPv6 socket"
					     : "",
				     before->at.line,
				     !s->unset ? ""
				     : s->option == &option_table[OPTION_SO_MARK]
					     ? "; 0 in a rule for connect(2) alone, or `ip rule to "
					       "PREFIX`, takes a mark off as well"
					     : "");
	}
}

/* Warns of a rule for which bind(2) leaves a listener's device to listen(2): see decide() in
 * agent/compile/program.c. */
static void lint_device(const struct lint *l, const struct policy *p, const struct rule *r)
{
	const struct option *device = &option_table[OPTION_SO_BINDTODEVICE];
	const struct setting *s = settings_find_rival(&r->options, device), *listeners = NULL;

	if (!s || reaches(r, SP_STAGE_TCP_BIND) || !reaches(r, SP_STAGE_TCP_SYN))
		return;
	for (size_t i = 0; i <= (size_t)(r - p->rules); i++) {
		const struct rule *before = i ? &p->rules[i - 1] : NULL;

		if (reaches(before, SP_STAGE_TCP_LISTEN))
			listeners =
				settings_find_rival(before ? &before->options : &p->base, device);
		if (listeners && !listeners->unset)
			break;
	}
	if (listeners && !listeners->unset)
		diag_warning(
			l->diags, &s->at,
			"%s: rule '%s' names a device for connect(2), so listeners get that of "
			"line %u at listen(2): too late for a second service on the same port",
			s->option->name, r->name, listeners->at.line);
}

static void lint_policy(const struct lint *l, const struct policy *p)
{
	if (!p->base.n && !p->n_rules)
		diag_warning(l->diags, &p->at, "policy '%s' has no options: it does nothing",
			     p->name);
	lint_patterns(l, p);
	lint_delegated(l, p);
	lint_evaded(l, p);
	lint_keepalive(l, p);
	lint_block(l, NULL);
	for (size_t i = 0; i < p->n_rules; i++) {
		lint_rule(l, &p->rules[i]);
		lint_at_socket(l, p, &p->rules[i]);
		lint_device(l, p, &p->rules[i]);
	}
}

/* --- the configuration ------------------------------------------------------------------------ */

void lint_config(const struct config *c, const struct host *host, struct diags *diags)
{
	struct lint l = { .host = host, .diags = diags, .config = c };

	for (size_t i = 0; i < c->n_policies; i++) {
		progress_made();
		l.policy = &c->policies[i];
		lint_policy(&l, l.policy);
	}
}
