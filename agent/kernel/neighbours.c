// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>

#include <bpf/bpf.h>

#include "host/cgroup.h"
#include "kernel/attachments.h"
#include "kernel/neighbours.h"
#include "kernel/pin.h"
#include "policy/stage.h"

/* Our hook by this name, or NULL. */
static const char *own_hook(const char *name)
{
	for (int i = 0; i < HOOK_MAX; i++)
		if (streq(name, hook_table[i].name))
			return hook_table[i].name;
	return NULL;
}

/*
 * A name alone says little: "connect4" is what many would call it.  But every program of ours, of
 * whatever version, uses two maps: what is known of cgroups, and the state.
 */
static bool is_sockpol(const struct pin_program *program)
{
	bool known = own_hook(program->name) != NULL, has_state = false, has_cgroups = false;

	for (uint32_t i = 0; known && i < program->n_maps; i++) {
		_cleanup_close_ int fd = bpf_map_get_fd_by_id(program->maps[i]);
		struct bpf_map_info map;

		if (fd < 0 || pin_map_info(fd, &map) < 0)
			continue;
		has_state |= streq(map.name, "state");
		has_cgroups |= streq(map.name, "cgroup_cache") || streq(map.name, "cgroups");
	}
	return has_state && has_cgroups;
}

static struct neighbour describe(uint32_t program_id)
{
	struct neighbour n = { .program_id = program_id };
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(program_id);
	struct pin_program program;

	if (fd < 0 || pin_program_info(fd, &program) < 0)
		return n;
	memcpy(n.name, program.name, sizeof(n.name));
	n.is_sockpol = is_sockpol(&program);
	return n;
}

bool neighbours_is_sockpol(uint32_t program_id)
{
	return describe(program_id).is_sockpol;
}

struct found {
	struct neighbour *v; /* owned */
	size_t n;
};

/* When in a socket's life a hook runs; what is set later wins. */
enum moment {
	MOMENT_SOCKET,
	MOMENT_BIND,
	MOMENT_CONNECT,
	MOMENT_LATER, /* listen, the SYN, established; each send */
	MOMENT_AFTER, /* whenever the application calls */
};

static const enum moment moments[] = {
	[SP_STAGE_TCP_BIND] = MOMENT_BIND,	   [SP_STAGE_TCP_CONNECT] = MOMENT_CONNECT,
	[SP_STAGE_TCP_SYN] = MOMENT_LATER,	   [SP_STAGE_TCP_ACTIVE_EST] = MOMENT_LATER,
	[SP_STAGE_TCP_PASSIVE_EST] = MOMENT_LATER, [SP_STAGE_TCP_LISTEN] = MOMENT_LATER,
	[SP_STAGE_UDP_BIND] = MOMENT_BIND,	   [SP_STAGE_UDP_CONNECT] = MOMENT_CONNECT,
	[SP_STAGE_UDP_SEND] = MOMENT_LATER,	   [SP_STAGE_UNIX] = MOMENT_CONNECT,
	[SP_STAGE_LOCAL_SOCKET] = MOMENT_SOCKET,   [SP_STAGE_REPLY_ACTIVE] = MOMENT_LATER,
	[SP_STAGE_REPLY_PASSIVE] = MOMENT_LATER,   [SP_STAGE_TCP_SOCKET] = MOMENT_SOCKET,
	[SP_STAGE_UDP_SOCKET] = MOMENT_SOCKET,	   [SP_STAGE_OTHER_SOCKET] = MOMENT_SOCKET,
};
static_assert(ARRAY_SIZE(moments) == SP_STAGE_MAX, "a moment for each stage");

/* A hook where a program can set options of sockets. */
struct setter {
	const char *name;
	uint32_t attach_type;
	unsigned transports; /* BIT(enum transport): of the sockets that it sees */
	enum moment moment;
};

#define INET (BIT(TRANSPORT_TCP) | BIT(TRANSPORT_UDP) | BIT(TRANSPORT_OTHER))
#define UDP  BIT(TRANSPORT_UDP)
#define UNIX BIT(TRANSPORT_UNIX)

/* Those that hook_table does not have.  By number: Debian 12's headers lack the last three, of 6.7.
 */
static const struct setter other_setters[] = {
	{ "recvmsg4", BPF_CGROUP_UDP4_RECVMSG, UDP, MOMENT_AFTER },
	{ "recvmsg6", BPF_CGROUP_UDP6_RECVMSG, UDP, MOMENT_AFTER },
	{ "setsockopt", BPF_CGROUP_SETSOCKOPT, INET | UNIX, MOMENT_AFTER },
	{ "getpeername4", BPF_CGROUP_INET4_GETPEERNAME, INET, MOMENT_AFTER },
	{ "getpeername6", BPF_CGROUP_INET6_GETPEERNAME, INET, MOMENT_AFTER },
	{ "getsockname4", BPF_CGROUP_INET4_GETSOCKNAME, INET, MOMENT_AFTER },
	{ "getsockname6", BPF_CGROUP_INET6_GETSOCKNAME, INET, MOMENT_AFTER },
	{ "recvmsg_unix", 51, UNIX, MOMENT_AFTER },
	{ "getpeername_unix", 52, UNIX, MOMENT_AFTER },
	{ "getsockname_unix", 53, UNIX, MOMENT_AFTER },
};

#define N_SETTERS (HOOK_MAX + ARRAY_SIZE(other_setters))

static struct setter own_setter(const struct hook *hook)
{
	struct setter s = { hook->name, hook->attach_type, 0, MOMENT_AFTER };

	for (int i = 0; i < SP_STAGE_MAX; i++) {
		if (!(hook->stages & BIT(i)))
			continue;
		s.transports |= BIT(stage_table[i].transport);
		if (moments[i] < s.moment)
			s.moment = moments[i];
	}
	return s;
}

static void list_setters(struct setter ret[N_SETTERS])
{
	for (int i = 0; i < HOOK_MAX; i++)
		ret[i] = own_setter(&hook_table[i]);
	memcpy(ret + HOOK_MAX, other_setters, sizeof(other_setters));
}

/* Do policies set something on sockets that the hook sees?  *ret_first: when, for the first time.
 */
static bool meets(const struct setter *s, uint64_t stages, enum moment *ret_first)
{
	bool any = false;

	*ret_first = MOMENT_AFTER;
	for (int i = 0; i < SP_STAGE_MAX; i++) {
		if (!(stages & BIT(i)) || !(s->transports & BIT(stage_table[i].transport)))
			continue;
		any = true;
		if (moments[i] < *ret_first)
			*ret_first = moments[i];
	}
	return any;
}

static const char *const effects[] = {
	[NEIGHBOUR_BEFORE] = "before ours: what both set, ours wins",
	[NEIGHBOUR_BEFORE_BUT_LATER] =
		"before ours there: what both set there, ours wins; over what "
		"ours set at earlier hooks it wins",
	[NEIGHBOUR_AFTER] = "after ours: what both set, it wins",
	[NEIGHBOUR_AFTER_ADDRESS] =
		"after ours: what both set, it wins; if it translates addresses, as load balancers "
		"do, rules see those before translation",
	[NEIGHBOUR_EARLIER] = "at a hook before all of ours: what both set, ours wins",
	[NEIGHBOUR_LATER] = "at a hook after ours: what both set, it wins",
};

const char *neighbour_effect(const struct neighbour *n)
{
	return effects[n->order];
}

/* first: when ours set something.  own: ours at this hook, NULL: none. */
static enum neighbour_order order_of(const struct setter *s, enum moment first, bool own,
				     bool after)
{
	const bool translates = s->attach_type == BPF_CGROUP_INET4_CONNECT ||
				s->attach_type == BPF_CGROUP_INET6_CONNECT ||
				s->attach_type == BPF_CGROUP_UDP4_SENDMSG ||
				s->attach_type == BPF_CGROUP_UDP6_SENDMSG;

	if (!own)
		return first < s->moment ? NEIGHBOUR_LATER : NEIGHBOUR_EARLIER;
	if (after)
		return translates ? NEIGHBOUR_AFTER_ADDRESS : NEIGHBOUR_AFTER;
	return first < s->moment ? NEIGHBOUR_BEFORE_BUT_LATER : NEIGHBOUR_BEFORE;
}

/* Returns the program of ours that runs at the hook, or NULL. */
static const struct attachment *find_own(const struct attachment *own, size_t n,
					 const struct setter *s)
{
	for (size_t i = 0; i < n; i++)
		if (own[i].is_attached && hook_table[own[i].hook].attach_type == s->attach_type)
			return &own[i];
	return NULL;
}

/* Returns the kernel's function where the program of BPF LSM runs; 0: it is none, or gone. */
static uint32_t lsm_function(uint32_t program_id)
{
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(program_id);
	struct pin_program program;

	return fd >= 0 && pin_program_info(fd, &program) == 0 ? program.function : 0;
}

static int add_at_hook(int cgroup_fd, const struct setter *s, enum moment first,
		       const struct attachment *own, struct found *found)
{
	_cleanup_free_ uint32_t *ids = NULL;
	bool after = false;
	uint32_t n = 0;
	int r = attachments_query(cgroup_fd, s->attach_type, &ids, &n);

	if (r == -EINVAL && !own) /* this kernel has no such hook */
		return 0;
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		struct neighbour neighbour;

		if (own && ids[i] == own->program_id) {
			after = true;
			continue;
		}
		/* One attach type has the programs of all functions. */
		if (s->attach_type == BPF_LSM_CGROUP &&
		    (!own || lsm_function(ids[i]) != lsm_function(own->program_id)))
			continue;
		neighbour = describe(ids[i]);
		neighbour.hook = s->name;
		neighbour.order = order_of(s, first, own, after);
		neighbour.runs_after = neighbour.order == NEIGHBOUR_LATER || (own && after);
		r = APPEND(found->v, found->n, neighbour);
	}
	return r;
}

/* Is a sockpol of this cgroup among them? */
static bool is_known(const struct found *found, const uint64_t *cgroups, uint64_t cgroup)
{
	for (size_t i = 0; i < found->n; i++)
		if (found->v[i].is_sockpol && cgroups[i] == cgroup)
			return true;
	return false;
}

/*
 * Is it a program of somebody else, at a hook after ours?  Fills in what depends on the hook. Those
 * at bind are left out: systemd has one for each unit with SocketBindDeny=, and it sets nothing.
 */
static bool runs_later(const struct pin_link *link, const struct setter setters[N_SETTERS],
		       uint64_t stages, struct neighbour *n)
{
	enum moment first;

	for (size_t i = 0; i < N_SETTERS && link->type == BPF_LINK_TYPE_CGROUP; i++) {
		if (setters[i].attach_type != link->attach_type)
			continue;
		n->hook = setters[i].name;
		n->order = NEIGHBOUR_LATER;
		n->runs_after = true;
		return setters[i].moment >= MOMENT_CONNECT && meets(&setters[i], stages, &first) &&
		       first < setters[i].moment;
	}
	return false;
}

/*
 * Other sockpols, one program of each cgroup that they are attached to, and what others have there
 * at hooks after ours; *ret_cgroups: owned, as many. By their links, as there may be very many
 * cgroups.  To list those takes CAP_SYS_ADMIN.
 */
static int find_others(uint64_t own_cgroup, const struct setter setters[N_SETTERS], uint64_t stages,
		       struct found *ret, uint64_t **ret_cgroups)
{
	uint32_t id = 0;

	while (bpf_link_get_next_id(id, &id) == 0) {
		_cleanup_close_ int fd = bpf_link_get_fd_by_id(id);
		struct pin_link link = { 0 };
		struct neighbour n;

		if (fd >= 0)
			pin_link_info(fd, &link);
		if (!link.cgroup_id || link.cgroup_id == own_cgroup)
			continue;
		n = describe(link.program_id);
		if (n.is_sockpol && is_known(ret, *ret_cgroups, link.cgroup_id))
			continue;
		if (n.is_sockpol)
			n.hook = own_hook(n.name);
		else if (!runs_later(&link, setters, stages, &n))
			continue;
		if (GROW(*ret_cgroups, ret->n) < 0 || APPEND(ret->v, ret->n, n) < 0)
			return -ENOMEM;
		(*ret_cgroups)[ret->n - 1] = link.cgroup_id;
	}
	return 0;
}

static int add_below(const char *mount, const char *root, uint64_t own_cgroup,
		     const struct setter setters[N_SETTERS], uint64_t stages, struct found *found)
{
	_cleanup_free_ uint64_t *cgroups = NULL;
	_cleanup_free_ char **paths = NULL;
	struct found others = { 0 };
	int r = find_others(own_cgroup, setters, stages, &others, &cgroups);

	if (r == 0 && others.n) {
		paths = calloc(others.n, sizeof(*paths));
		r = paths ? cgroup_paths_of_ids(mount, cgroups, others.n, paths) : -ENOMEM;
	}
	for (size_t i = 0; paths && i < others.n; i++) {
		const char *below = paths[i] ? cgroup_below(root, paths[i]) : NULL;

		if (r == 0 && below && below[1]) {
			others.v[i].cgroup = paths[i];
			r = APPEND(found->v, found->n, others.v[i]);
			paths[i] = r == 0 ? NULL : paths[i];
		}
		free(paths[i]);
	}
	free(others.v);
	return r;
}

int neighbours_read(const struct sp_state *state, const struct attachment *own, size_t n_own,
		    struct neighbour **ret, size_t *ret_n)
{
	const uint64_t cgroup_id = state->cgroup_root_id,
		       stages = state->of[state->generation & 1].stages;
	_cleanup_free_ char *mount = NULL, *path = NULL;
	_cleanup_close_ int fd = attachments_open_cgroup(cgroup_id, &mount, &path);
	struct setter setters[N_SETTERS];
	struct found found = { 0 };
	int r = fd < 0 ? fd : 0;

	list_setters(setters);
	for (size_t i = 0; i < N_SETTERS && r == 0; i++) {
		enum moment first;

		if (meets(&setters[i], stages, &first))
			r = add_at_hook(fd, &setters[i], first, find_own(own, n_own, &setters[i]),
					&found);
	}
	if (r == 0)
		r = add_below(mount, path, cgroup_id, setters, stages, &found);
	if (r < 0) {
		neighbours_free(found.v, found.n);
		return r;
	}
	*ret = found.v;
	*ret_n = found.n;
	return 0;
}

void neighbours_free(struct neighbour *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(v[i].cgroup);
	free(v);
}
