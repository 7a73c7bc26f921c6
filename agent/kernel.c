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
	[KERNEL_MAP_SOURCES] = "sources",   [KERNEL_MAP_APPLIED] = "applied",
	[KERNEL_MAP_FAILURES] = "failures", [KERNEL_MAP_STATE] = "state",
};

/* Those that say which cgroups there are, and then, in this order, those that govern sockets. */
#define N_WATCHERS 2
const char *const kernel_link_names[] = {
	"cgroup_mkdir", "cgroup_release", "sock_ops", "bind4", "bind6", "connect4", "connect6",
};
const size_t n_kernel_link_names = ARRAY_SIZE(kernel_link_names);

struct kernel {
	struct sockpol_bpf *skeleton;
	struct kernel_sizes sizes;
	struct bpf_link *links[ARRAY_SIZE(kernel_link_names)];
	struct ring_buffer *events;
	struct sp_state *state; /* mmap of the map */
	int grace;		/* outer map, see kernel_wait_for_programs() */
	kernel_event_fn *event_fn;
	void *userdata;
	char *pin_dir; /* where it is pinned, or NULL */
};

static struct bpf_map *find_map(const struct kernel *k, enum kernel_map map)
{
	return bpf_object__find_map_by_name(k->skeleton->obj, kernel_map_names[map]);
}

int kernel_map_fd(const struct kernel *k, enum kernel_map map)
{
	return bpf_map__fd(find_map(k, map));
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
	k->grace = -1;
	k->sizes = *sizes;
	k->skeleton = sockpol_bpf__open();
	if (!k->skeleton)
		return log_error_errno(errno, "Cannot open the BPF programs");
	r = set_sizes(k);
	if (r < 0)
		return log_error_errno(r, "Cannot size the BPF maps");
	r = sockpol_bpf__load(k->skeleton);
	if (r < 0)
		return explain_load_failure(r);
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

/*
 * An earlier agent's link, now with our program; NULL when there is none that fits.  It stays
 * pinned all the while, and no connection is missed.
 */
static struct bpf_link *adopt_link(struct kernel *k, size_t i, uint64_t cgroup, const char *pin_dir)
{
	_cleanup_free_ char *path = NULL;
	struct bpf_link *link;

	if (pin_path(&path, pin_dir, kernel_link_names[i], "") < 0 || access(path, F_OK) < 0)
		return NULL;
	link = bpf_link__open(path);
	if (!link)
		return NULL;
	if (link_cgroup(bpf_link__fd(link)) == cgroup &&
	    bpf_link__update_program(link, find_program(k, i)) == 0)
		return link;
	bpf_link__destroy(link); /* opened from a pin: the pin stays, and is replaced below */
	return NULL;
}

static int attach_one(struct kernel *k, size_t i, int cgroup_fd, uint64_t cgroup,
		      const char *pin_dir)
{
	if (k->links[i]) /* another governor had it, and gives it back */
		return bpf_link__update_program(k->links[i], find_program(k, i));
	k->links[i] = adopt_link(k, i, cgroup, pin_dir);
	if (k->links[i])
		return 0;
	k->links[i] = bpf_program__attach_cgroup(find_program(k, i), cgroup_fd);
	if (k->links[i])
		return 0;
	if (errno == EPERM)
		return log_error_errno(EPERM,
				       "Cannot attach %s: a program that was attached without "
				       "BPF_F_ALLOW_MULTI to this cgroup or one above excludes "
				       "all others (bpftool cgroup tree), or a capability is "
				       "missing",
				       kernel_link_names[i]);
	if (errno == E2BIG)
		return log_error_errno(E2BIG,
				       "Cannot attach %s: the cgroup has its 64 programs "
				       "already",
				       kernel_link_names[i]);
	return log_error_errno(errno, "Cannot attach %s", kernel_link_names[i]);
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

static int pin_all(struct kernel *k)
{
	int r;

	for (int i = 0; i < KERNEL_MAP_MAX; i++) {
		r = pin_as(kernel_map_fd(k, i), k->pin_dir, kernel_map_names[i]);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < ARRAY_SIZE(k->links); i++) {
		const char *pinned = bpf_link__pin_path(k->links[i]);

		r = pinned ? 0
			   : pin_as(bpf_link__fd(k->links[i]), k->pin_dir, kernel_link_names[i]);
		if (r < 0)
			return r;
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
	for (size_t i = N_WATCHERS; i < ARRAY_SIZE(k->links); i++) {
		r = attach_one(k, i, cgroup_fd, k->state->cgroup_root_id, pin_dir);
		if (r < 0)
			return r;
	}
	return pin_all(k);
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
