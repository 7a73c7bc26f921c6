// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "command/commands.h"
#include "policy/policy.h"
#include "policy/stage.h"
#include "option/option.h"
#include "host/host.h"
#include "kernel/programs.h"
#include "kernel/support.h"
#include "option/value.h"
#include "report/document.h"

/* The probe's answers for all options. */
struct answers {
	int failed;		   /* 0, or the errno for which nothing could be asked */
	int by_option[OPTION_MAX]; /* 0: this kernel takes it; SUPPORT_UNKNOWN; else the errno */
};

/* Prints "yes", "no (EINVAL)", "not probed (no privilege)". */
static void print_answer(const struct answers *a, const struct option *o)
{
	int answer = a->by_option[option_id(o)];

	if (!answer)
		printf("yes\n");
	else if (answer != SUPPORT_UNKNOWN)
		printf("no (%s)\n", strerrorname_np(-answer));
	else if ((a->failed == -EPERM || a->failed == -EACCES) && !host_is_privileged())
		printf("not probed (no privilege)\n");
	else if (a->failed)
		printf("not probed (%s)\n", strerror(-a->failed));
	else
		printf("not probed (no socket of its family)\n");
}

static const char *level_name(int level)
{
	switch (level) {
	case SOL_SOCKET:
		return "SOL_SOCKET";
	case IPPROTO_TCP:
		return "IPPROTO_TCP";
	case IPPROTO_IP:
		return "IPPROTO_IP";
	case IPPROTO_IPV6:
		return "IPPROTO_IPV6";
	case SP_LEVEL_REPLY:
		return "reply";
	default:
		return "?";
	}
}

static const char *type_name(enum option_type type)
{
	static const char *const names[] = {
		[OPTION_INT] = "integer", [OPTION_BOOL] = "boolean", [OPTION_SIZE] = "size",
		[OPTION_RATE] = "rate",	  [OPTION_TIME] = "time",    [OPTION_TCLASS] = "tclass",
		[OPTION_DSCP] = "dscp",	  [OPTION_STRING] = "name",
	};
	static_assert(ARRAY_SIZE(names) == OPTION_TYPE_MAX, "a name for each type");

	return names[type];
}

static bool sets_udp(const struct option *o)
{
	const unsigned udp = BIT(SP_STAGE_UDP_BIND) | BIT(SP_STAGE_UDP_CONNECT);

	for (int d = 0; d < DIRECTION_MAX; d++)
		if (o->stages[d] & udp)
			return true;
	return false;
}

/* Prints "connect,accept,listen". */
static void print_directions(const struct option *o, int width)
{
	const char *comma = "";

	for (int d = 0; d < DIRECTION_MAX; d++) {
		if (!o->stages[d])
			continue;
		width -= printf("%s%s", comma, direction_words[d]);
		comma = ",";
	}
	printf("%*s", width, "");
}

/* Returns what may be said of it besides `override`: "hold,deny", "hold,range", "-". */
static const char *control_name(const struct option *o)
{
	if (!option_can_be_held(o))
		return "-";
	return o->deniable ? "hold,deny" : o->has_order ? "hold,range" : "hold";
}

static int print_table(const struct answers *a)
{
	printf("%-24s %-12s %-10s %-22s %-5s %-11s %-5s %s\n", "OPTION", "LEVEL", "VALUE",
	       "DIRECTIONS", "UDP", "APPLICATION", "SINCE", "THIS KERNEL");
	for (size_t i = 0; i < OPTION_MAX; i++) {
		const struct option *o = &option_table[i];

		printf("%-24s %-12s %-10s ", o->name, level_name(o->level), type_name(o->type));
		print_directions(o, 22);
		printf(" %-5s %-11s %-5s ", sets_udp(o) ? "yes" : "no", control_name(o), o->since);
		print_answer(a, o);
	}
	for (size_t i = 0; i < n_option_shorthands; i++)
		printf("%-24s %-12s %-10s %s, %s\n", option_shorthands[i].as_option.name,
		       "shorthand", type_name(option_shorthands[i].as_option.type),
		       option_shorthands[i].expands_to[0]->name,
		       option_shorthands[i].expands_to[1]->name);
	printf("\nSINCE is the kernel that took the option first; sockpol itself needs Linux " PROGRAMS_KERNEL_FLOOR
	       " or later.\n"
	       "sockpol options NAME says more about one.\n");
	return EXIT_GOOD;
}

/* Formats the value that is greater than every max; owned; *ret NULL: there is none. */
static int format_none(const struct option *o, char **ret)
{
	const uint32_t numbers[] = { 0, UINT32_MAX };

	*ret = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (option_is_none(o, numbers[i]))
			return (*ret = value_format_number(o, numbers[i])) ? 0 : -ENOMEM;
	return 0;
}

/* Prints who may have the last word, which ranges there are, and what a fresh socket has. */
static int print_control(const struct option *o)
{
	_cleanup_free_ char *none = NULL, *fresh = NULL;

	if (format_none(o, &none) < 0)
		return -ENOMEM;
	if (o->fresh.kind == FRESH_NUMBER) {
		fresh = value_format_number(o, (uint32_t)o->fresh.number);
		if (!fresh)
			return -ENOMEM;
	}
	printf("  application  %s\n",
	       o->level == SP_LEVEL_REPLY ? "no application sets it"
	       : !option_can_be_held(o)
		       ? "override alone: it acts once, at bind(2) or in a listener"
	       : o->deniable ? "override, hold, respect, deny"
			     : "override, hold, respect");
	if (o->has_order)
		printf("  range        min, max%s%s%s\n", none ? "; " : "", none ? none : "",
		       none ? " is above every max" : "");
	if (o->fails)
		printf("  can fail     %s\n", o->fails);
	printf("  fresh        %s\n", o->fresh.kind == FRESH_NEVER ? "cannot be taken back"
				      : fresh			   ? fresh
								   : o->fresh.sysctl);
	if (option_is_too_late(o))
		printf("  existing     too late for connections that are open\n");
	return 0;
}

static int print_option(const struct option *o, const struct answers *a)
{
	_cleanup_free_ char *syntax = value_syntax(o);

	if (!syntax)
		return EXIT_BAD;
	printf("%s: %s\n\n", o->name, o->summary);
	if (o->level == SP_LEVEL_REPLY)
		printf("  level        reply of a sock_ops program, operation %d\n", o->optname);
	else
		printf("  level        %s (%d), option %d\n", level_name(o->level), o->level,
		       o->optname);
	printf("  value        %s\n", syntax);
	printf("  the kernel   %s\n", o->kernel);
	if (o->mptcp)
		printf("  on MPTCP     %s\n", o->mptcp);
	if (o->breaks)
		printf("  can break    %s\n", o->breaks);
	for (int d = 0; d < DIRECTION_MAX; d++) {
		const char *before = "";

		printf("  %-12s ", direction_words[d]);
		for (enum sp_stage s = 0; s < SP_STAGE_MAX; s++) {
			if (!(o->stages[d] & BIT(s)))
				continue;
			printf("%s%s (%s)", before, stage_name(s), stage_hooks(s));
			before = ", ";
		}
		printf("%s\n", o->stages[d] ? "" : "never effective");
	}
	if (o->stages[DIRECTION_LISTEN])
		printf("  listeners    %s\n",
		       o->carried ? "TCP listeners get a policy's base value too"
				  : "TCP listeners get it only from a rule with direction: listen");
	if (print_control(o) < 0)
		return EXIT_BAD;
	printf("  since        Linux %s (sockpol itself needs " PROGRAMS_KERNEL_FLOOR ")\n",
	       o->since);
	printf("  this kernel  ");
	print_answer(a, o);
	return EXIT_GOOD;
}

static int print_shorthand(const struct option_shorthand *s)
{
	_cleanup_free_ char *syntax = value_syntax(&s->as_option);

	if (!syntax)
		return EXIT_BAD;
	printf("%s: %s\n\n", s->as_option.name, s->as_option.summary);
	printf("  value        %s\n", syntax);
	printf("  stands for   %s, %s\n", s->expands_to[0]->name, s->expands_to[1]->name);
	return EXIT_GOOD;
}

static json_t *hooks_to_json(const struct option *o)
{
	json_t *hooks = json_object();

	for (int d = 0; d < DIRECTION_MAX; d++)
		hooks = document_set(hooks, direction_words[d], document_stages(o->stages[d]));
	return hooks;
}

static json_t *applications_to_json(const struct option *o)
{
	json_t *words = json_array();

	for (int a = APPLICATION_OVERRIDE; a < APPLICATION_MAX; a++)
		if (setting_may_have(&(struct setting){ .option = o }, (enum application)a))
			words = document_append(words, json_string(application_words[a]));
	return words;
}

/* Adds who may have the last word, which ranges there are, and what a fresh socket has. */
static json_t *add_control(json_t *to, const struct option *o)
{
	_cleanup_free_ char *none = NULL;
	const bool has_number = o->fresh.kind == FRESH_NUMBER;

	if (format_none(o, &none) < 0) {
		json_decref(to);
		return NULL;
	}
	to = document_set(to, "application", applications_to_json(o));
	to = document_set(to, "range", json_boolean(o->has_order));
	to = document_set(to, "none", document_string(none));
	to = document_set(to, "fails", document_string(o->fails));
	to = document_set(
		to, "fresh",
		o->fresh.kind == FRESH_NEVER
			? json_null()
			: json_pack("{s:o, s:s?}", "number",
				    has_number ? json_integer(o->fresh.number) : json_null(),
				    "sysctl", o->fresh.sysctl));
	return document_set(to, "too_late", json_boolean(option_is_too_late(o)));
}

static json_t *option_to_json(const struct option *o, const struct answers *a)
{
	_cleanup_free_ char *syntax = value_syntax(o);
	const char *unit = *value_own_unit_name(o) ? value_own_unit_name(o) : NULL;
	int answer = a->by_option[option_id(o)];
	json_t *supported = answer == SUPPORT_UNKNOWN ? json_null() : json_boolean(!answer);
	bool refused = answer && answer != SUPPORT_UNKNOWN;

	json_t *object = json_pack(
		"{s:s, s:s, s:i, s:s, s:s, s:s?, s:I, s:I, s:s, s:s, s:s, s:s?, s:s?, s:o, s:b, s:b, "
		"s:b, s:o, s:s?}",
		"name", o->name, "level", level_name(o->level), "optname", o->optname, "type",
		type_name(o->type), "syntax", syntax ? syntax : "", "unit", unit, "min",
		(json_int_t)o->min, "max", (json_int_t)o->max, "since", o->since, "summary",
		o->summary, "kernel", o->kernel, "mptcp", o->mptcp, "breaks", o->breaks, "hooks",
		hooks_to_json(o), "udp", sets_udp(o), "carried", o->carried, "at_socket",
		o->at_socket, "supported", supported, "errno",
		refused ? strerrorname_np(-answer) : NULL);

	return add_control(object, o);
}

static json_t *shorthand_to_json(const struct option_shorthand *s)
{
	_cleanup_free_ char *syntax = value_syntax(&s->as_option);

	return json_pack("{s:s, s:s, s:s, s:[s, s], s:s}", "name", s->as_option.name, "type",
			 type_name(s->as_option.type), "syntax", syntax ? syntax : "", "expands_to",
			 s->expands_to[0]->name, s->expands_to[1]->name, "summary",
			 s->as_option.summary);
}

/* Prints everything, or the entry of this name. */
static int print_json(const char *name, const struct answers *a)
{
	json_t *options = json_array(), *shorthands = json_array();

	for (size_t i = 0; i < OPTION_MAX; i++)
		if (!name || streq(name, option_table[i].name))
			options = document_append(options, option_to_json(&option_table[i], a));
	for (size_t i = 0; i < n_option_shorthands; i++)
		if (!name || streq(name, option_shorthands[i].as_option.name))
			shorthands = document_append(shorthands,
						     shorthand_to_json(&option_shorthands[i]));
	if (document_write(json_pack("{s:o, s:o}", "options", options, "shorthands", shorthands),
			   stdout) == 0)
		return EXIT_GOOD;
	fprintf(stderr, "sockpol: cannot write JSON\n");
	return EXIT_BAD;
}

/* Refuses a name: says why it cannot be set, or which one was meant. */
static int refuse_name(const char *name)
{
	const struct option_refused *refused = option_find_refused(name);
	const char *nearest;

	if (refused) {
		fprintf(stderr, "sockpol: %s cannot be set: %s%s%s\n", name, refused->why,
			refused->instead ? "; instead: " : "",
			refused->instead ? refused->instead : "");
		return EXIT_BAD;
	}
	nearest = option_suggest(name);
	fprintf(stderr, "sockpol: there is no option '%s'%s%s%s\n", name,
		nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
	return EXIT_BAD;
}

struct request {
	bool json;
};

static const struct cli_option request_options[] = {
	{ "json", NULL, "print JSON", CLI_FLAG(struct request, json) },
};

static int run(const void *given, const char *const *arguments)
{
	const struct request *q = given;
	const struct option_shorthand *shorthand = NULL;
	const struct option *o = NULL;
	const char *name = arguments[0];
	struct answers answers = { 0 };

	if (name) {
		o = option_find(name);
		shorthand = option_find_shorthand(name);
		if (!o && !shorthand)
			return refuse_name(name);
	}
	if (shorthand && !q->json)
		return print_shorthand(shorthand);
	answers.failed = programs_check_kernel();
	if (!answers.failed)
		answers.failed = support_probe_options(answers.by_option);
	for (size_t i = 0; answers.failed && i < OPTION_MAX; i++)
		answers.by_option[i] = SUPPORT_UNKNOWN;
	if (q->json)
		return print_json(name, &answers);
	return o ? print_option(o, &answers) : print_table(&answers);
}

const struct command cmd_options = {
	.name = "options",
	.summary = "list the socket options that policies can set",
	.synopsis = "options [NAME] [--json]",
	.description = "Lists the socket options that policies can set and, with the privilege to "
		       "load BPF programs,\nwhether this kernel takes each.  With NAME, says "
		       "everything about one.",
	CLI_OPTIONS(request_options, struct request),
	.arguments_max = 1,
	.run = run,
};
