// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "kernel.h"
#include "log.h"
#include "sockpol.skel.h"

const char *const kernel_map_names[KERNEL_MAP_MAX] = {
	[KERNEL_MAP_CGROUPS] = "cgroups",   [KERNEL_MAP_POLICIES] = "policies",
	[KERNEL_MAP_OPS] = "ops",	    [KERNEL_MAP_CREDITS] = "credits",
	[KERNEL_MAP_TESTS] = "tests",	    [KERNEL_MAP_VECTORS] = "vectors",
	[KERNEL_MAP_SETS4] = "sets4",	    [KERNEL_MAP_SETS6] = "sets6",
	[KERNEL_MAP_SOURCES] = "sources",   [KERNEL_MAP_APPLIED] = "applied",
	[KERNEL_MAP_FAILURES] = "failures", [KERNEL_MAP_STATE] = "state",
};

/* Those that say which cgroups there are, and then, in this order, those that govern sockets. */
#define N_WATCHERS 2
const char *const kernel_link_names[] = {
	"cgroup_mkdir", "cgroup_release", "sock_ops", "bind4",	      "bind6",	      "connect4",
	"connect6",	"sendmsg4",	  "sendmsg6", "connect_unix", "sendmsg_unix",
};
const size_t n_kernel_link_names = ARRAY_SIZE(kernel_link_names);

/* From <linux/bpf.h> of 6.7: neither Debian 12's headers nor libbpf 1.1 have them. */
#define CGROUP_UNIX_CONNECT 49
#define CGROUP_UNIX_SENDMSG 50

/*
 * The hooks that are attached only while some policy has something due there: every send of every
 * unconnected socket would pay for them.
 */
static const struct optional_hook {
	const char *program;
	uint64_t stages;
	int attach_type; /* that libbpf does not know by the section's name; else 0 */
} optional_hooks[] = {
	{ "sendmsg4", BIT(SP_STAGE_UDP_SEND), 0 },
	{ "sendmsg6", BIT(SP_STAGE_UDP_SEND), 0 },
	{ "connect_unix", BIT(SP_STAGE_UNIX_CONNECT), CGROUP_UNIX_CONNECT },
	{ "sendmsg_unix", BIT(SP_STAGE_UNIX_SEND), CGROUP_UNIX_SENDMSG },
};

struct kernel {
	struct sockpol_bpf *skeleton;
	struct kernel_sizes sizes;
	int maps[KERNEL_MAP_MAX]; /* the skeleton's file descriptors */
	struct bpf_link *links[ARRAY_SIZE(kernel_link_names)];
	struct ring_buffer *events;
	struct sp_state *state; /* mmap of the map */
	int grace;		/* outer map, see kernel_wait_for_programs() */
	kernel_event_fn *event_fn;
	void *userdata;
	char *pin_dir;	 /* where it is pinned, or NULL */
	int cgroup_fd;	 /* that it is attached to, or -1 */
	uint64_t stages; /* as of kernel_use_stages() */
	uint64_t missing_stages;
};

static struct bpf_map *find_map(const struct kernel *k, enum kernel_map map)
{
	return bpf_object__find_map_by_name(k->skeleton->obj, kernel_map_names[map]);
}

int kernel_map_fd(const struct kernel *k, enum kernel_map map)
{
	return k->maps[map];
}

static const struct optional_hook *find_optional(const char *program)
{
	for (size_t i = 0; i < ARRAY_SIZE(optional_hooks); i++)
		if (streq(optional_hooks[i].program, program))
			return &optional_hooks[i];
	return NULL;
}

/* Does the kernel know the attach type?  Asked with the smallest program there is: return 1. */
static bool has_attach_type(int type)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = (enum bpf_attach_type)type);
	_cleanup_close_ int fd = bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "sockpol_probe",
					       "GPL", insns, ARRAY_SIZE(insns), &opts);

	return fd >= 0;
}

/* Programs for hooks that this kernel does not have are not loaded. */
static int prepare_optional(struct kernel *k)
{
	for (size_t i = 0; i < ARRAY_SIZE(optional_hooks); i++) {
		const struct optional_hook *hook = &optional_hooks[i];
		struct bpf_program *program =
			bpf_object__find_program_by_name(k->skeleton->obj, hook->program);
		int r = 0;

		if (!hook->attach_type)
			continue;
		if (has_attach_type(hook->attach_type)) {
			r = bpf_program__set_expected_attach_type(
				program, (enum bpf_attach_type)hook->attach_type);
		} else {
			k->missing_stages |= hook->stages;
			r = bpf_program__set_autoload(program, false);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

uint64_t kernel_missing_stages(const struct kernel *k)
{
	return k->missing_stages;
}

static int set_sizes(struct kernel *k)
{
	const struct kernel_sizes *s = &k->sizes;
	const uint32_t sizes[KERNEL_MAP_MAX] = {
		[KERNEL_MAP_CGROUPS] = s->cgroups,
		/* Index 0 means none. */
		[KERNEL_MAP_POLICIES] = 2 * s->policies + 1,
		[KERNEL_MAP_OPS] = 2 * s->ops,
		[KERNEL_MAP_CREDITS] = 2 * s->credits,
		[KERNEL_MAP_TESTS] = 2 * s->tests,
		[KERNEL_MAP_VECTORS] = 2 * s->vectors,
		[KERNEL_MAP_SETS4] = s->sets4,
		[KERNEL_MAP_SETS6] = s->sets6,
		[KERNEL_MAP_SOURCES] = s->sources,
		[KERNEL_MAP_APPLIED] = s->sources,
		[KERNEL_MAP_FAILURES] = s->failures,
	};

	for (int i = 0; i < KERNEL_MAP_MAX; i++) {
		int r = sizes[i] ? bpf_map__set_max_entries(find_map(k, i), sizes[i]) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

static int map_state(struct kernel *k)
{
	void *p = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE, MAP_SHARED,
		       kernel_map_fd(k, KERNEL_MAP_STATE), 0);

	if (p == MAP_FAILED)
		return -errno;
	k->state = p;
	k->state->abi_version = SP_ABI_VERSION;
	return 0;
}

/* Any map will do as its element: see kernel_wait_for_programs(). */
static int make_grace_map(struct kernel *k)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts,
		    .inner_map_fd = (__u32)kernel_map_fd(k, KERNEL_MAP_CREDITS));
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "sockpol_grace", sizeof(__u32),
				sizeof(__u32), 1, &opts);

	if (fd < 0)
		return -errno;
	k->grace = fd;
	return 0;
}

static int explain_load_failure(int err)
{
	if (err == -EPERM || err == -EACCES)
		return log_error_errno(err,
				       "Cannot load the BPF programs: CAP_BPF, CAP_NET_ADMIN and "
				       "CAP_PERFMON are needed");
	if (err == -ESRCH || access("/sys/kernel/btf/vmlinux", R_OK) < 0)
		return log_error_errno(err, "Cannot load the BPF programs: this kernel has no BTF "
					    "(CONFIG_DEBUG_INFO_BTF)");
	return log_error_errno(err,
			       "Cannot load the BPF programs (SOCKPOL_LOG_LEVEL=debug shows the "
			       "verifier's log)");
}

int kernel_load(const struct kernel_sizes *sizes, struct kernel **ret)
{
	_cleanup_(kernel_free) struct kernel *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return log_oom();
	k->grace = k->cgroup_fd = -1;
	k->sizes = *sizes;
	k->skeleton = sockpol_bpf__open();
	if (!k->skeleton)
		return log_error_errno(errno, "Cannot open the BPF programs");
	r = set_sizes(k);
	if (r == 0)
		r = prepare_optional(k);
	if (r < 0)
		return log_error_errno(r, "Cannot prepare the BPF programs");
	r = sockpol_bpf__load(k->skeleton);
	if (r < 0)
		return explain_load_failure(r);
	for (int i = 0; i < KERNEL_MAP_MAX; i++)
		k->maps[i] = bpf_map__fd(find_map(k, i));
	r = map_state(k);
	if (r < 0)
		return log_error_errno(r, "Cannot map the BPF map `state`");
	r = make_grace_map(k);
	if (r < 0)
		return log_error_errno(r, "Cannot make a BPF map of maps");
	*ret = TAKE_PTR(k);
	return 0;
}

static struct bpf_program *find_program(const struct kernel *k, size_t i)
{
	return bpf_object__find_program_by_name(k->skeleton->obj, kernel_link_names[i]);
}

static int on_event(void *userdata, void *data, size_t size)
{
	struct kernel *k = userdata;

	if (size >= sizeof(struct sp_event))
		k->event_fn(data, k->userdata);
	return 0;
}

int kernel_watch(struct kernel *k, kernel_event_fn *fn, void *userdata)
{
	k->event_fn = fn;
	k->userdata = userdata;
	k->events = ring_buffer__new(bpf_map__fd(k->skeleton->maps.events), on_event, k, NULL);
	if (!k->events)
		return log_error_errno(errno, "Cannot read the BPF ring buffer");
	for (size_t i = 0; i < N_WATCHERS; i++) {
		k->links[i] = bpf_program__attach(find_program(k, i));
		if (!k->links[i])
			return log_error_errno(errno, "Cannot attach to the tracepoint %s",
					       kernel_link_names[i]);
	}
	return 0;
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

static int pin_path(char **ret, const char *dir, const char *name, const char *suffix)
{
	return asprintf(ret, "%s/%s%s", dir, name, suffix) < 0 ? -ENOMEM : 0;
}

/* An earlier agent's pinned link to our cgroup; NULL when there is none. */
static struct bpf_link *find_pinned(struct kernel *k, size_t i)
{
	_cleanup_free_ char *path = NULL;
	struct bpf_link *link;

	if (pin_path(&path, k->pin_dir, kernel_link_names[i], "") < 0 || access(path, F_OK) < 0)
		return NULL;
	link = bpf_link__open(path);
	if (link && link_cgroup(bpf_link__fd(link)) == k->state->cgroup_root_id)
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

/*
 * A link for the hook: ours, an earlier agent's still with its program (*ret_adopted), or a new
 * one.
 */
static int get_link(struct kernel *k, size_t i, bool *ret_adopted)
{
	if (k->links[i])
		return 0;
	k->links[i] = find_pinned(k, i);
	*ret_adopted = k->links[i] != NULL;
	if (!k->links[i])
		k->links[i] = bpf_program__attach_cgroup(find_program(k, i), k->cgroup_fd);
	return k->links[i] ? 0 : explain_attach_failure(errno, kernel_link_names[i]);
}

/* Under its name at once or not at all; what an earlier agent had there goes by the rename. */
static int pin_as(int fd, const char *pin_dir, const char *name)
{
	_cleanup_free_ char *new = NULL, *path = NULL;

	if (pin_path(&new, pin_dir, name, "~") < 0 || pin_path(&path, pin_dir, name, "") < 0)
		return log_oom();
	if (unlink(new) < 0 && errno != ENOENT)
		return log_error_errno(errno, "Cannot remove %s", new);
	if (bpf_obj_pin(fd, new) < 0)
		return log_error_errno(errno, "Cannot pin %s", path);
	if (rename(new, path) < 0) {
		log_error_errno(errno, "Cannot pin %s", path);
		unlink(new);
		return -EIO;
	}
	return 0;
}

static int pin_link(struct kernel *k, size_t i)
{
	if (!k->links[i] || bpf_link__pin_path(k->links[i]))
		return 0;
	return pin_as(bpf_link__fd(k->links[i]), k->pin_dir, kernel_link_names[i]);
}

static int pin_all(struct kernel *k)
{
	int r = 0;

	for (int i = 0; i < KERNEL_MAP_MAX && r == 0; i++)
		r = pin_as(kernel_map_fd(k, i), k->pin_dir, kernel_map_names[i]);
	for (size_t i = 0; i < ARRAY_SIZE(k->links) && r == 0; i++)
		r = pin_link(k, i);
	return r;
}

static void drop_link(struct kernel *k, size_t i)
{
	_cleanup_free_ char *path = NULL;

	if (pin_path(&path, k->pin_dir, kernel_link_names[i], "") == 0 && unlink(path) < 0 &&
	    errno != ENOENT)
		log_warning_errno(errno, "Cannot remove the pin %s, ignoring", path);
	if (!k->links[i])
		return;
	bpf_link__detach(k->links[i]);
	bpf_link__destroy(k->links[i]);
	k->links[i] = NULL;
}

static bool is_wanted(const struct kernel *k, size_t i)
{
	const struct optional_hook *hook = find_optional(kernel_link_names[i]);

	return !hook || hook->stages & k->stages & ~k->missing_stages;
}

/*
 * Attaches what policies need of the hooks, and drops what they do not.  An earlier agent's links
 * get our programs, in place, only when all new ones are there: until then a failure changes
 * nothing.
 */
static int attach_wanted(struct kernel *k)
{
	bool adopted[ARRAY_SIZE(k->links)] = { false };
	int r = 0;

	for (size_t i = N_WATCHERS; i < ARRAY_SIZE(k->links) && r == 0; i++)
		if (is_wanted(k, i))
			r = get_link(k, i, &adopted[i]);
	if (r < 0)
		return r;
	for (size_t i = N_WATCHERS; i < ARRAY_SIZE(k->links); i++) {
		if (!is_wanted(k, i))
			drop_link(k, i);
		else if (adopted[i])
			r = bpf_link__update_program(k->links[i], find_program(k, i));
		if (r < 0)
			return log_error_errno(r, "Cannot replace the program at %s",
					       kernel_link_names[i]);
	}
	return 0;
}

int kernel_attach(struct kernel *k, int cgroup_fd, const char *pin_dir)
{
	int r;

	if (!k->pin_dir)
		k->pin_dir = strdup(pin_dir);
	if (!k->pin_dir)
		return log_oom();
	if (k->cgroup_fd < 0)
		k->cgroup_fd = fcntl(cgroup_fd, F_DUPFD_CLOEXEC, 0);
	if (k->cgroup_fd < 0)
		return log_error_errno(errno, "Cannot keep the cgroup open");
	r = attach_wanted(k);
	return r < 0 ? r : pin_all(k);
}

int kernel_use_stages(struct kernel *k, uint64_t stages)
{
	uint64_t before = k->stages;
	int r;

	k->stages = stages;
	if (!k->pin_dir || before == stages)
		return 0;
	r = attach_wanted(k);
	for (size_t i = 0; i < ARRAY_SIZE(k->links) && r == 0; i++)
		if (find_optional(kernel_link_names[i]))
			r = pin_link(k, i);
	return r;
}

void kernel_detach(struct kernel *k)
{
	if (k->pin_dir)
		pin_dir_clear(k->pin_dir);
	for (size_t i = ARRAY_SIZE(k->links); i-- > 0;) {
		if (k->links[i]) /* a link opened from a pin keeps it unless told otherwise */
			bpf_link__detach(k->links[i]);
	}
}

void kernel_free(struct kernel *k)
{
	for (size_t i = 0; i < ARRAY_SIZE(k->links); i++)
		bpf_link__destroy(k->links[i]);
	ring_buffer__free(k->events);
	if (k->state)
		munmap(k->state, (size_t)sysconf(_SC_PAGESIZE));
	if (k->grace >= 0)
		close(k->grace);
	if (k->cgroup_fd >= 0)
		close(k->cgroup_fd);
	sockpol_bpf__destroy(k->skeleton);
	free(k->pin_dir);
	free(k);
}

const struct kernel_sizes *kernel_sizes_of(const struct kernel *k)
{
	return &k->sizes;
}

struct sp_state *kernel_state(struct kernel *k)
{
	return k->state;
}

int kernel_event_fd(const struct kernel *k)
{
	return ring_buffer__epoll_fd(k->events);
}

int kernel_consume_events(struct kernel *k)
{
	int r = ring_buffer__consume(k->events);

	return r < 0 ? r : 0;
}

/* An update of a map of maps returns only after a grace period of RCU
 * (maybe_wait_bpf_programs(), kernel/bpf/syscall.c). */
int kernel_wait_for_programs(const struct kernel *k)
{
	__u32 zero = 0;
	int inner = kernel_map_fd(k, KERNEL_MAP_CREDITS);

	return bpf_map_update_elem(k->grace, &zero, &inner, BPF_ANY) < 0 ? -errno : 0;
}
