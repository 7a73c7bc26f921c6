// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <net/if.h>

#include "host/living.h"
#include "host/manager.h"
#include "host/route.h"
#include "option/value.h"
#include "policy/stage.h"
#include "report/on_host.h"
#include "report/unit.h"

/* --- units and cgroups ------------------------------------------------------------------------ */

/* A pattern, and whether some cgroup that lives matches it. */
struct place {
	const struct pattern *pattern;
	const struct policy *policy;
	bool is_excluded, lives;
};

struct places {
	struct place *v;
	size_t n;
};

static int note_living(const char *path, uint64_t id, void *userdata)
{
	struct places *places = userdata;

	(void)id;
	for (size_t i = 0; i < places->n; i++)
		if (!places->v[i].lives)
			places->v[i].lives = glob_match(places->v[i].pattern->glob, path);
	return 0;
}

static int add_patterns(struct places *places, const struct policy *p, bool are_excluded)
{
	const struct patterns *patterns = are_excluded ? &p->exclude : &p->match;

	for (size_t i = 0; i < patterns->n; i++) {
		if (APPEND(places->v, places->n,
			   (struct place){ &patterns->v[i], p, are_excluded, false }) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Warns of units that open the service's listeners in a cgroup that the policy does not match. */
static int lint_sockets(const struct place *p, const struct unit_facts *f, struct diags *diags)
{
	for (size_t i = 0; i < f->triggers.n; i++) {
		const char *name = f->triggers.v[i];
		const struct unit_kind *kind = glob_unit_kind(name);
		_cleanup_free_ char *path = NULL;
		struct unit_facts socket = { 0 };

		if (!kind || !streq(kind->suffix, ".socket"))
			continue;
		manager_ask(name, &socket);
		path = unit_path(name, socket.slice && *socket.slice ? socket.slice : NULL);
		unit_facts_clear(&socket);
		if (!path)
			return -ENOMEM;
		if (!patterns_match(&p->policy->match, path))
			diag_warning(
				diags, &p->pattern->at,
				"unit '%s': systemd opens its listeners in the cgroup of '%s', "
				"which the policy does not match: name that as well",
				EXCERPT(f->name), EXCERPT(name));
	}
	return 0;
}

/* Says what systemd knows of a unit that is named without wildcards. */
static int lint_unit(const struct place *p, const char *name, const struct unit_facts *f,
		     struct diags *diags)
{
	const struct glob *glob = p->pattern->glob;
	_cleanup_free_ char *path = unit_path(f->name, *f->slice ? f->slice : NULL);

	if (!path)
		return -ENOMEM;
	if (p->lives || (streq(f->name, name) && glob_match(glob, path)))
		return p->is_excluded ? 0 : lint_sockets(p, f, diags);
	if (!streq(f->name, name))
		diag_warning(diags, &p->pattern->at,
			     "'%s' is an alias of '%s', and the cgroup has the unit's own name",
			     EXCERPT(name), EXCERPT(f->name));
	else
		diag_warning(diags, &p->pattern->at,
			     "cgroup '%s' is nowhere on this host: systemd puts unit '%s' at '%s'",
			     EXCERPT(glob->pattern), EXCERPT(name), EXCERPT(path));
	return 0;
}

static int lint_place(const struct place *p, struct diags *diags)
{
	const struct glob *glob = p->pattern->glob;
	const char *slash = strrchr(glob->pattern, '/'), *name = slash ? slash + 1 : glob->pattern;
	const bool is_unit = glob->kind == GLOB_UNIT, is_literal = !strpbrk(name, "*?[");
	const struct unit_kind *kind = glob_unit_kind(name);
	struct unit_facts f = { 0 };
	int r = 0;

	if (kind && !kind->has_cgroup) /* which check says of any host */
		return 0;
	if (kind && is_literal && manager_ask(name, &f) == 0 && f.exists)
		r = lint_unit(p, name, &f, diags);
	else if (!p->lives && !((is_unit || kind) && !is_literal && manager_has_units(name)))
		diag_warning(diags, &p->pattern->at, "%s '%s' is nowhere on this host",
			     is_unit ? "unit" : "cgroup", EXCERPT(glob->pattern));
	unit_facts_clear(&f);
	return r;
}

static int lint_places(const struct config *c, const char *mount, struct diags *diags)
{
	struct places places = { 0 };
	int r = 0;

	for (size_t i = 0; i < c->n_policies && r == 0; i++) {
		r = add_patterns(&places, &c->policies[i], false);
		if (r == 0)
			r = add_patterns(&places, &c->policies[i], true);
	}
	/* What cannot be read is not found. */
	if (r == 0 && mount && living_each(mount, "/", note_living, &places) == -ENOMEM)
		r = -ENOMEM;
	for (size_t i = 0; i < places.n && r == 0; i++)
		r = lint_place(&places.v[i], diags);
	free(places.v);
	return r;
}

/* --- devices and routes ----------------------------------------------------------------------- */

static void lint_device(const struct setting *s, struct diags *diags)
{
	const enum option_id id = option_id(s->option);
	char name[IF_NAMESIZE];

	if (id == OPTION_SO_BINDTODEVICE) {
		const char *device = sockopt_data(&s->value);

		if (*device && !if_nametoindex(device))
			diag_warning(diags, &s->at, "%s: there is no device '%s' on this host",
				     s->option->name, EXCERPT(device));
	} else if (id == OPTION_SO_BINDTOIFINDEX) {
		const unsigned index = (unsigned)value_number(s->option, &s->value);

		if (index && !if_indextoname(index, name))
			diag_warning(diags, &s->at, "%s: there is no device %u on this host",
				     s->option->name, index);
	}
}

/* Those with a congestion control. */
struct routes {
	struct route *v; /* owned */
	size_t n;
};

static int add_route(const struct route *route, void *userdata)
{
	struct routes *routes = userdata;

	return APPEND(routes->v, routes->n, *route);
}

static bool route_meets(const struct route *route, const struct rule *r)
{
	const struct ranges *remote = &r->when.remote;

	for (size_t i = 0; i < remote->n; i++) {
		const size_t size = range_size(&remote->v[i]);

		if (size == (route->family == AF_INET6 ? 16 : 4) &&
		    memcmp(remote->v[i].last, route->first, size) >= 0 &&
		    memcmp(remote->v[i].first, route->last, size) <= 0)
			return true;
	}
	return !r->when.has_remote;
}

/* Warns of routes that win over a setting of TCP_CONGESTION. */
static void lint_routes(const struct routes *routes, const struct rule *r, const struct setting *s,
			struct diags *diags)
{
	const char *congestion = sockopt_data(&s->value);
	const struct route *route = NULL;
	struct range range = { 0 };
	size_t n = 0;
	char prefix[RANGE_TEXT_SIZE], more[64] = "";

	if (!stage_rule_may_hold(r, SP_STAGE_TCP_CONNECT) &&
	    !stage_rule_may_hold(r, SP_STAGE_TCP_SYN))
		return;
	for (size_t i = 0; i < routes->n; i++) {
		const struct route *one = &routes->v[i];

		if (streq(one->congestion, congestion) || (r && !route_meets(one, r)))
			continue;
		if (!n++)
			route = one;
	}
	if (!route)
		return;
	range.kind = route->family == AF_INET6 ? RANGE_IPV6 : RANGE_IPV4;
	memcpy(range.first, route->first, range_size(&range));
	memcpy(range.last, route->last, range_size(&range));
	if (n > 1)
		snprintf(more, sizeof(more), " (and so do %zu more)", n - 1);
	diag_warning(
		diags, &s->at,
		"TCP_CONGESTION: %s: the route to %s in table %u brings congctl %s, which wins "
		"at connect(2)%s%s",
		congestion, range_format(&range, prefix), route->table, route->congestion,
		route->locked ? ", and as it is locked, on accepted sockets as well" : "", more);
}

static void lint_block(const struct routes *routes, const struct rule *r,
		       const struct settings *options, struct diags *diags)
{
	for (size_t i = 0; i < options->n; i++) {
		const struct setting *s = &options->v[i];

		if (s->unset)
			continue;
		lint_device(s, diags);
		if (option_id(s->option) == OPTION_TCP_CONGESTION)
			lint_routes(routes, r, s, diags);
	}
}

int on_host_lint(const struct config *c, const char *mount, struct diags *diags)
{
	struct routes routes = { 0 };
	int r = lint_places(c, mount, diags);

	if (r == 0 && route_each(add_route, &routes) < 0)
		routes.n = 0; /* nothing is said of routes that cannot be read */
	for (size_t i = 0; i < c->n_policies && r == 0; i++) {
		const struct policy *p = &c->policies[i];

		lint_block(&routes, NULL, &p->base, diags);
		for (size_t j = 0; j < p->n_rules; j++)
			lint_block(&routes, &p->rules[j], &p->rules[j].options, diags);
	}
	free(routes.v);
	return r;
}
