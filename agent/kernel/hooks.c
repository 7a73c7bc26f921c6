// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>

#include "kernel/hooks.h"
#include "kernel/kernel.h"
#include "base/log.h"
#include "kernel/pin.h"
#include "kernel/pin_owner.h"
#include "kernel/probe.h"

/* Those that say which cgroups there are, and then, in this order, those that govern sockets. */
#define N_WATCHERS 2
const char *const kernel_link_names[] = {
	"cgroup_mkdir", "cgroup_release", "sock_ops", "bind4",	      "bind6",	      "connect4",
	"connect6",	"sendmsg4",	  "sendmsg6", "connect_unix", "sendmsg_unix",
};
const size_t n_kernel_link_names = ARRAY_SIZE(kernel_link_names);

#define N_HOOKS ARRAY_SIZE(kernel_link_names)

DEFINE_CLEANUP(struct btf *, btf__free)

/* From <linux/bpf.h> of 6.7: neither Debian 12's headers nor libbpf 1.1 have them. */
#define CGROUP_UNIX_CONNECT 49
#define CGROUP_UNIX_SENDMSG 50

#define TCP_SOCK_OPS                                                                               \
	(BIT(SP_STAGE_TCP_SYN) | BIT(SP_STAGE_TCP_ACTIVE_EST) | BIT(SP_STAGE_TCP_PASSIVE_EST) |    \
	 BIT(SP_STAGE_TCP_LISTEN) | BIT(SP_STAGE_REPLY_ACTIVE) | BIT(SP_STAGE_REPLY_PASSIVE))
#define CONNECTS (BIT(SP_STAGE_TCP_CONNECT) | BIT(SP_STAGE_UDP_CONNECT))
/* bind(2) is remembered for the stages of UDP that ask whether the socket was bound. */
#define BINDS                                                                                      \
	(BIT(SP_STAGE_TCP_BIND) | BIT(SP_STAGE_UDP_BIND) | BIT(SP_STAGE_UDP_CONNECT) |             \
	 BIT(SP_STAGE_UDP_SEND))

/*
 * A hook is attached only while some policy has something due there: every connection and every
 * send on the host pays for one that is, in whichever cgroup it is.
 */
static const struct socket_hook {
	const char *program;
	uint64_t stages;
	int attach_type; /* that libbpf does not know by the section's name; else 0 */
} socket_hooks[] = {
	{ "sock_ops", TCP_SOCK_OPS, 0 },
	{ "bind4", BINDS, 0 },
	{ "bind6", BINDS, 0 },
	{ "connect4", CONNECTS, 0 },
	{ "connect6", CONNECTS, 0 },
	{ "sendmsg4", BIT(SP_STAGE_UDP_SEND), 0 },
	{ "sendmsg6", BIT(SP_STAGE_UDP_SEND), 0 },
	{ "connect_unix", BIT(SP_STAGE_UNIX_CONNECT), CGROUP_UNIX_CONNECT },
	{ "sendmsg_unix", BIT(SP_STAGE_UNIX_SEND), CGROUP_UNIX_SENDMSG },
};

struct hooks {
	struct bpf_object *object;
	struct bpf_link *links[N_HOOKS];
	bool earlier[N_HOOKS]; /* still with an earlier agent's program */
	bool pinned[N_HOOKS];  /* under its name */
	char *pin_dir;	       /* or NULL */
	int cgroup_fd;	       /* that it is attached to, or -1 */
	uint64_t cgroup_id;
	bool no_tracepoints;
	uint64_t stages; /* as of hooks_use_stages() */
	uint64_t missing_stages;
	uint64_t refused_stages; /* that could not be had when last tried: complained of already */
	bool quiet;
};

static const struct socket_hook *find_socket_hook(const char *program)
{
	for (size_t i = 0; i < ARRAY_SIZE(socket_hooks); i++)
		if (streq(socket_hooks[i].program, program))
			return &socket_hooks[i];
	return NULL;
}

static struct bpf_program *find_program(const struct hooks *h, size_t i)
{
	return bpf_object__find_program_by_name(h->object, kernel_link_names[i]);
}

int hooks_probe(uint64_t *ret_missing)
{
	uint64_t missing = 0;

	for (size_t i = 0; i < ARRAY_SIZE(socket_hooks); i++) {
		const struct socket_hook *hook = &socket_hooks[i];
		int r = hook->attach_type ? probe_attach_type(hook->attach_type) : 1;

		if (r < 0)
			return r;
		if (!r)
			missing |= hook->stages;
	}
	*ret_missing = missing;
	return 0;
}

/* Programs for hooks that this kernel does not have are not loaded. */
static int leave_out_missing(struct hooks *h)
{
	int r = hooks_probe(&h->missing_stages);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(socket_hooks); i++) {
		const struct socket_hook *hook = &socket_hooks[i];
		struct bpf_program *program =
			bpf_object__find_program_by_name(h->object, hook->program);

		if (hook->stages & h->missing_stages)
			r = bpf_program__set_autoload(program, false);
		else if (hook->attach_type)
			r = bpf_program__set_expected_attach_type(
				program, (enum bpf_attach_type)hook->attach_type);
	}
	return r;
}

/* A type by this name is what libbpf looks for when it loads the program. */
static bool has_tracepoint(const struct btf *kernel, const char *name)
{
	char type[64];

#ifdef SOCKPOL_MUTANTS /* Only in the build for tests: a kernel that does not tell of cgroups. */
	if (getenv("SOCKPOL_TEST_NO_TRACEPOINTS"))
		return false;
#endif
	snprintf(type, sizeof(type), "btf_trace_%s", name);
	return btf__find_by_name_kind(kernel, type, BTF_KIND_TYPEDEF) > 0;
}

static int leave_out_watchers(struct hooks *h)
{
	_cleanup_(btf__free) struct btf *kernel = btf__load_vmlinux_btf();
	int r = 0;

	if (!kernel)
		return -errno;
	for (size_t i = 0; i < N_WATCHERS; i++)
		if (!has_tracepoint(kernel, kernel_link_names[i]))
			h->no_tracepoints = true;
	for (size_t i = 0; i < N_WATCHERS && h->no_tracepoints && r == 0; i++)
		r = bpf_program__set_autoload(find_program(h, i), false);
	return r;
}

int hooks_new(struct bpf_object *object, struct hooks **ret)
{
	_cleanup_(hooks_free) struct hooks *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	h->object = object;
	h->cgroup_fd = -1;
	r = leave_out_missing(h);
	if (r == 0)
		r = leave_out_watchers(h);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(h);
	return 0;
}

void hooks_free(struct hooks *h)
{
	for (size_t i = 0; i < N_HOOKS; i++)
		bpf_link__destroy(h->links[i]);
	if (h->cgroup_fd >= 0)
		close(h->cgroup_fd);
	free(h->pin_dir);
	free(h);
}

uint64_t hooks_missing_stages(const struct hooks *h)
{
	return h->missing_stages;
}

/* Rather than one of a kernel that has no such thing, or does not let us. */
static bool is_want_of_resources(int error)
{
	return error == ENOMEM || error == ENOSPC || error == E2BIG || error == EMFILE ||
	       error == ENFILE;
}

int hooks_watch(struct hooks *h)
{
	for (size_t i = 0; i < N_WATCHERS && !h->no_tracepoints; i++) {
		h->links[i] = bpf_program__attach(find_program(h, i));
		if (!h->links[i] && is_want_of_resources(errno))
			return log_error_errno(errno, "Cannot attach to the tracepoint %s",
					       kernel_link_names[i]);
		h->no_tracepoints = !h->links[i];
	}
	if (!h->no_tracepoints)
		return 0;
	for (size_t i = 0; i < N_WATCHERS; i++) {
		bpf_link__destroy(h->links[i]);
		h->links[i] = NULL;
	}
	return -ENOTSUP;
}

/* The cgroup a link is attached to; 0 when its cgroup is gone. */
static uint64_t link_cgroup(int fd)
{
	struct bpf_link_info info = { 0 };
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0 || info.type != BPF_LINK_TYPE_CGROUP)
		return 0;
	return info.cgroup.cgroup_id;
}

/* An earlier agent's pinned link to our cgroup; NULL when there is none. */
static struct bpf_link *find_pinned(const struct hooks *h, size_t i)
{
	_cleanup_free_ char *path = pin_path(h->pin_dir, kernel_link_names[i]);
	struct bpf_link *link;

	if (!path || access(path, F_OK) < 0)
		return NULL;
	link = bpf_link__open(path);
	if (link && link_cgroup(bpf_link__fd(link)) == h->cgroup_id)
		return link;
	bpf_link__destroy(link); /* opened from a pin: the pin stays, and is replaced later */
	return NULL;
}

static int explain_attach_failure(int err, const char *name)
{
	if (err == EPERM)
		return log_error_errno(EPERM,
				       "Cannot attach %s: a program that was attached without "
				       "BPF_F_ALLOW_MULTI to this cgroup or one above excludes all "
				       "others (bpftool cgroup tree), or a capability is missing",
				       name);
	if (err == E2BIG)
		return log_error_errno(
			E2BIG, "Cannot attach %s: the cgroup has its 64 programs already", name);
	return log_error_errno(err, "Cannot attach %s", name);
}

/* A link for the hook: ours, an earlier agent's still with its program, or a new one. */
static int get_link(struct hooks *h, size_t i)
{
	if (h->links[i])
		return 0;
	h->links[i] = find_pinned(h, i);
	h->earlier[i] = h->pinned[i] = h->links[i] != NULL;
	if (!h->links[i])
		h->links[i] = bpf_program__attach_cgroup(find_program(h, i), h->cgroup_fd);
	if (h->links[i])
		return 0;
	return h->quiet ? -errno : explain_attach_failure(errno, kernel_link_names[i]);
}

static bool is_wanted(const struct hooks *h, size_t i)
{
	const struct socket_hook *hook = find_socket_hook(kernel_link_names[i]);

	return hook ? hook->stages & h->stages & ~h->missing_stages : !h->no_tracepoints;
}

/* Attaches what is not attached yet, and pins it beside its name. */
static int add_wanted(struct hooks *h)
{
	for (size_t i = 0; i < N_HOOKS; i++) {
		int r;

		if (!is_wanted(h, i))
			continue;
		r = i < N_WATCHERS ? 0 : get_link(h, i);
		if (r == 0 && h->links[i] && !h->pinned[i])
			r = pin_stage(bpf_link__fd(h->links[i]), h->pin_dir, kernel_link_names[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Nothing of a failed change stays beside the names. */
static void unstage(const struct hooks *h)
{
	for (size_t i = 0; i < N_HOOKS; i++)
		if (!h->pinned[i])
			pin_unstage(h->pin_dir, kernel_link_names[i]);
}

int hooks_prepare(struct hooks *h, int cgroup_fd, uint64_t cgroup_id, const char *pin_dir)
{
	int r;

	h->pin_dir = strdup(pin_dir);
	if (!h->pin_dir)
		return log_oom();
	h->cgroup_id = cgroup_id;
	h->cgroup_fd = fcntl(cgroup_fd, F_DUPFD_CLOEXEC, 0);
	if (h->cgroup_fd < 0)
		return log_error_errno(errno, "Cannot keep the cgroup open");
	r = add_wanted(h);
	if (r < 0)
		unstage(h);
	return r;
}

static int replace_program(struct hooks *h, size_t i)
{
	int r = bpf_link__update_program(h->links[i], find_program(h, i));

	h->earlier[i] = r < 0;
	return r;
}

/* Twice, should one fail: a mixture is worse. */
static void give_back(struct hooks *h, const struct hooks *from, const bool *replaced)
{
	for (size_t i = 0; i < N_HOOKS; i++) {
		int fd, program, r;

		if (!replaced[i])
			continue;
		fd = bpf_link__fd(h->links[i]);
		program = bpf_program__fd(find_program(from, i));
		r = bpf_link_update(fd, program, NULL);
		if (r < 0)
			r = bpf_link_update(fd, program, NULL);
		if (r < 0)
			log_error_errno(r,
					"Cannot put the earlier program back at %s: what was "
					"refused is in force there",
					kernel_link_names[i]);
	}
}

/* What earlier agents' programs are left. */
static void catch_up(struct hooks *h)
{
	for (size_t i = 0; i < N_HOOKS; i++) {
		int r = h->earlier[i] ? replace_program(h, i) : 0;

		if (r < 0)
			log_error_errno(r,
					"Cannot replace the program at %s: the earlier agent's "
					"goes on there until a reload can",
					kernel_link_names[i]);
	}
}

int hooks_replace(struct hooks *h, const struct hooks *from)
{
	bool replaced[N_HOOKS] = { 0 }, any = false;
	int r = 0;

	for (size_t i = 0; i < N_HOOKS && r == 0; i++) {
		if (!h->earlier[i])
			continue;
		r = replace_program(h, i);
		any |= replaced[i] = r == 0;
		if (r < 0)
			log_error_errno(r, "Cannot replace the program at %s",
					kernel_link_names[i]);
	}
	if (r == 0)
		return 0;
	if (any && !from) { /* there is no way back */
		catch_up(h);
		return 0;
	}
	if (any)
		give_back(h, from, replaced);
	unstage(h);
	return r;
}

bool hooks_are_behind(const struct hooks *h)
{
	for (size_t i = 0; i < N_HOOKS; i++)
		if (h->earlier[i])
			return true;
	return false;
}

/* With the pin of an earlier agent's link, too: it may be attached elsewhere. */
static void drop_link(struct hooks *h, size_t i)
{
	_cleanup_free_ char *path = pin_path(h->pin_dir, kernel_link_names[i]);

	if (path && pin_owner_of_link(path, kernel_link_names[i]) == PIN_OURS && unlink(path) < 0)
		log_warning_errno(errno, "Cannot remove the pin %s, ignoring", path);
	h->pinned[i] = h->earlier[i] = false;
	if (!h->links[i])
		return;
	bpf_link__detach(h->links[i]);
	bpf_link__destroy(h->links[i]);
	h->links[i] = NULL;
}

int hooks_commit(struct hooks *h)
{
	int result = 0;

	for (size_t i = 0; i < N_HOOKS; i++) {
		int r = 0;

		if (!is_wanted(h, i))
			drop_link(h, i);
		else if (h->links[i] && !h->pinned[i])
			r = pin_commit(h->pin_dir, kernel_link_names[i]);
		if (r == 0) /* of an agent that was killed before it came to this: attached, too */
			pin_unstage(h->pin_dir, kernel_link_names[i]);
		h->pinned[i] = h->links[i] && r == 0;
		result = r < 0 ? r : result;
	}
	return result;
}

static void drop_unwanted(struct hooks *h)
{
	for (size_t i = 0; i < N_HOOKS; i++)
		if (!is_wanted(h, i))
			drop_link(h, i);
}

static int change_stages(struct hooks *h, uint64_t stages)
{
	uint64_t before = h->stages;
	int r;

	/* Each new cgroup that wants a hook tries again. */
	h->quiet = stages == h->refused_stages;
	h->stages = stages;
	r = add_wanted(h);
	h->refused_stages = r < 0 ? stages : 0;
	h->quiet = false;
	if (r < 0)
		unstage(h);
	else
		r = hooks_replace(h, NULL);
	if (r == 0)
		return hooks_commit(h);
	h->stages = before; /* so that the next call tries again */
	drop_unwanted(h);
	return r;
}

int hooks_use_stages(struct hooks *h, uint64_t stages)
{
	if (!h->pin_dir) {
		h->stages = stages;
		return 0;
	}
	catch_up(h);
	return stages == h->stages ? 0 : change_stages(h, stages);
}

uint64_t hooks_stages(const struct hooks *h)
{
	return h->stages;
}

size_t hooks_pins_lost(const struct hooks *h)
{
	size_t n = 0;

	for (size_t i = 0; h->pin_dir && i < ARRAY_SIZE(h->links); i++)
		if (h->links[i] && pin_is_lost(h->pin_dir, kernel_link_names[i]))
			n++;
	return n;
}

int hooks_pin_again(struct hooks *h)
{
	int r = 0;

	for (size_t i = 0; h->pin_dir && i < ARRAY_SIZE(h->links) && r == 0; i++)
		if (h->links[i])
			r = pin_renew(bpf_link__fd(h->links[i]), h->pin_dir, kernel_link_names[i]);
	return r;
}

void hooks_detach(struct hooks *h)
{
	for (size_t i = N_HOOKS; i-- > 0;)
		if (h->links[i]) /* a link opened from a pin keeps it unless told otherwise */
			bpf_link__detach(h->links[i]);
}
