// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "host/cgroup.h"
#include "kernel/directories.h"
#include "kernel/hooks.h"
#include "kernel/kernel.h"
#include "base/log.h"
#include "kernel/pin.h"
#include "kernel/pin_dir.h"
#include "kernel/pin_owner.h"
#include "sockpol.skel.h"

const char *const kernel_map_names[KERNEL_MAP_MAX] = {
	[KERNEL_MAP_CGROUPS] = "cgroups",
	[KERNEL_MAP_CGROUP_SLOTS] = "cgroup_slots",
	[KERNEL_MAP_GLOB_STATES] = "glob_states",
	[KERNEL_MAP_GLOB_EDGES] = "glob_edges",
	[KERNEL_MAP_STEPS] = "steps",
	[KERNEL_MAP_POLICIES] = "policies",
	[KERNEL_MAP_OPS] = "ops",
	[KERNEL_MAP_CREDITS] = "credits",
	[KERNEL_MAP_TESTS] = "tests",
	[KERNEL_MAP_VECTORS] = "vectors",
	[KERNEL_MAP_RANGE_NODES] = "range_nodes",
	[KERNEL_MAP_SOURCES] = "sources",
	[KERNEL_MAP_APPLIED] = "applied",
	[KERNEL_MAP_FAILURES] = "failures",
	[KERNEL_MAP_STATE] = "state",
	[KERNEL_MAP_SOCKETS] = "sockets",
	[KERNEL_MAP_EVENTS] = "events",
};

/* The elements of a map: so many times the member of struct kernel_sizes, and some more. */
static const struct map_size {
	size_t member;
	uint32_t times; /* 2: for each generation; 0: the size is fixed */
	uint32_t more;	/* index 0 means none */
} map_sizes[KERNEL_MAP_MAX] = {
	[KERNEL_MAP_CGROUPS] = { offsetof(struct kernel_sizes, cgroups), 1, 0 },
	[KERNEL_MAP_GLOB_STATES] = { offsetof(struct kernel_sizes, glob_states), 2, 1 },
	[KERNEL_MAP_GLOB_EDGES] = { offsetof(struct kernel_sizes, glob_edges), 2, 0 },
	[KERNEL_MAP_STEPS] = { offsetof(struct kernel_sizes, steps), 2, 0 },
	[KERNEL_MAP_POLICIES] = { offsetof(struct kernel_sizes, policies), 2, 1 },
	[KERNEL_MAP_OPS] = { offsetof(struct kernel_sizes, ops), 2, 0 },
	[KERNEL_MAP_CREDITS] = { offsetof(struct kernel_sizes, credits), 2, 0 },
	[KERNEL_MAP_TESTS] = { offsetof(struct kernel_sizes, tests), 2, 0 },
	[KERNEL_MAP_VECTORS] = { offsetof(struct kernel_sizes, vectors), 2, 0 },
	[KERNEL_MAP_RANGE_NODES] = { offsetof(struct kernel_sizes, range_nodes), 2, 0 },
	[KERNEL_MAP_SOURCES] = { offsetof(struct kernel_sizes, sources), 1, 0 },
	[KERNEL_MAP_APPLIED] = { offsetof(struct kernel_sizes, sources), 1, 0 },
	[KERNEL_MAP_FAILURES] = { offsetof(struct kernel_sizes, failures), 1, 0 },
};

struct kernel {
	struct sockpol_bpf *skeleton;
	struct hooks *hooks;
	struct kernel_sizes sizes;
	int maps[KERNEL_MAP_MAX]; /* the skeleton's file descriptors */
	struct ring_buffer *events;
	struct directories *directories; /* NULL: the programs tell of cgroups */
	struct sp_state *state;		 /* mmap of the map */
	struct sp_cgroup_slot *slots;	 /* likewise */
	int grace;			 /* outer map, see kernel_wait_for_programs() */
	kernel_event_fn *event_fn;
	void *userdata;
	char *pin_dir; /* where it is pinned, or NULL */
	bool adopted;  /* over an earlier agent's maps */
};

static struct bpf_map *find_map(const struct kernel *k, enum kernel_map map)
{
	/* Of a variable libbpf makes a map that is called like its section. */
	if (map == KERNEL_MAP_STATE)
		return k->skeleton->maps.data_state;
	return bpf_object__find_map_by_name(k->skeleton->obj, kernel_map_names[map]);
}

int kernel_map_fd(const struct kernel *k, enum kernel_map map)
{
	return k->maps[map];
}

uint64_t kernel_missing_stages(const struct kernel *k)
{
	return hooks_missing_stages(k->hooks);
}

uint32_t *kernel_size_of_map(struct kernel_sizes *sizes, enum kernel_map map)
{
	return map_sizes[map].times ? (uint32_t *)(void *)((char *)sizes + map_sizes[map].member)
				    : NULL;
}

static int set_sizes(struct kernel *k)
{
	for (int i = 0; i < KERNEL_MAP_MAX; i++) {
		const uint32_t *size = kernel_size_of_map(&k->sizes, i);
		int r;

		if (!size)
			continue;
		r = bpf_map__set_max_entries(find_map(k, i),
					     map_sizes[i].times * *size + map_sizes[i].more);
		if (r < 0)
			return r;
	}
	return 0;
}

/* By libbpf's name for it no other version would know it. */
static int make_state(struct kernel *k)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	_cleanup_close_ int fd =
		bpf_map_create(BPF_MAP_TYPE_ARRAY, kernel_map_names[KERNEL_MAP_STATE],
			       sizeof(__u32), sizeof(struct sp_state), 1, &opts);

	return fd < 0 ? fd : bpf_map__reuse_fd(find_map(k, KERNEL_MAP_STATE), fd);
}

/* NULL: errno says why. */
static void *map_memory(const struct kernel *k, enum kernel_map map, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, kernel_map_fd(k, map), 0);

	return p == MAP_FAILED ? NULL : p;
}

#define SLOTS_SIZE (SP_CGROUP_SLOTS * sizeof(struct sp_cgroup_slot))

static int map_shared(struct kernel *k)
{
	k->state = map_memory(k, KERNEL_MAP_STATE, (size_t)sysconf(_SC_PAGESIZE));
	if (k->state)
		k->slots = map_memory(k, KERNEL_MAP_CGROUP_SLOTS, SLOTS_SIZE);
	return k->slots ? 0 : -errno;
}

/*
 * An agent that is killed while it replaces one set of pins by another leaves some of each: FNV-1a
 * over the maps' ids, which the kernel gives once, tells.
 */
static int maps_digest(const int *maps, uint32_t *ret)
{
	uint32_t digest = 2166136261u;

	for (int i = 0; i < KERNEL_MAP_MAX; i++) {
		struct bpf_map_info info = { 0 };
		__u32 size = sizeof(info);

		if (bpf_obj_get_info_by_fd(maps[i], &info, &size) < 0)
			return -errno;
		for (unsigned shift = 0; shift < 32; shift += 8)
			digest = (digest ^ (info.id >> shift & 0xff)) * 16777619u;
	}
	*ret = digest ? digest : 1;
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

/* NULL on failure, logged. */
static struct kernel *kernel_open(void)
{
	_cleanup_(kernel_free) struct kernel *k = calloc(1, sizeof(*k));
	int r;

	if (!k) {
		log_oom();
		return NULL;
	}
	k->grace = -1;
	k->skeleton = sockpol_bpf__open();
	r = k->skeleton ? hooks_new(k->skeleton->obj, &k->hooks) : -errno;
	if (r == 0)
		return TAKE_PTR(k);
	explain_load_failure(r);
	return NULL;
}

/*
 * libbpf asks the kernel whether programs may have names, and takes an answer that did not come,
 * for want of memory, say, for no.  Without their names no later agent would know them for ours.
 */
static int check_names(const struct kernel *k)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, k->skeleton->obj)
	{
		struct bpf_prog_info info = { 0 };
		__u32 size = sizeof(info);
		int fd = bpf_program__fd(program);

		if (fd < 0) /* left out */
			continue;
		if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
			return -errno;
		if (!info.name[0])
			return -EAGAIN;
	}
	return 0;
}

/* Programs into the kernel, over the maps that are there already, or over new ones. */
static int load_programs(struct kernel *k)
{
	int r = sockpol_bpf__load(k->skeleton);

	if (r < 0)
		return explain_load_failure(r);
	r = check_names(k);
	if (r < 0)
		return log_error_errno(r, "The BPF programs were loaded without their names");
	for (int i = 0; i < KERNEL_MAP_MAX; i++)
		k->maps[i] = bpf_map__fd(find_map(k, i));
	r = map_shared(k);
	if (r < 0)
		return log_error_errno(r, "Cannot map the BPF map `%s`",
				       k->state ? "cgroup_slots" : "state");
	r = make_grace_map(k);
	return r < 0 ? log_error_errno(r, "Cannot make a BPF map of maps") : 0;
}

static void go_on_counting(struct kernel *k, const struct kernel *from)
{
	k->state->generation = from->state->generation;
	k->state->events_lost = from->state->events_lost;
	k->state->failures_lost = from->state->failures_lost;
	k->state->unresolved = from->state->unresolved;
	/* Those of `from` are nothing to find room for here: see `loaded_usec`. */
	k->state->no_room = k->state->no_room_settled = from->state->no_room;
}

int kernel_load(const struct kernel_sizes *sizes, const struct kernel *from, struct kernel **ret)
{
	_cleanup_(kernel_free) struct kernel *k = kernel_open();
	uint32_t digest = 0;
	int r;

	if (!k)
		return -ENOMEM;
	k->sizes = *sizes;
	r = set_sizes(k);
	if (r == 0)
		r = make_state(k);
	if (r == 0 && from)
		r = bpf_map__reuse_fd(find_map(k, KERNEL_MAP_SOCKETS),
				      kernel_map_fd(from, KERNEL_MAP_SOCKETS));
	if (r < 0)
		return log_error_errno(r, "Cannot prepare the BPF programs");
	r = load_programs(k);
	if (r < 0)
		return r;
	r = maps_digest(k->maps, &digest);
	if (r < 0)
		return log_error_errno(r, "Cannot look at the BPF maps");
	if (from)
		go_on_counting(k, from);
	k->state->maps = digest;
	k->state->abi_version = SP_ABI_VERSION;
	*ret = TAKE_PTR(k);
	return 0;
}

/* The pinned maps of an earlier agent. */
struct earlier {
	int maps[KERNEL_MAP_MAX];
	struct sp_state state;
};

static void earlier_close(struct earlier *e)
{
	for (int i = 0; i < KERNEL_MAP_MAX; i++)
		if (e->maps[i] >= 0)
			close(e->maps[i]);
}

/* With cgroups unwatched, nobody may know which of the entries are those of cgroups that live. */
static bool is_watched(const char *pin_dir)
{
	_cleanup_free_ char *mkdir_path = pin_path(pin_dir, "cgroup_mkdir"),
			    *release_path = pin_path(pin_dir, "cgroup_release");

	return mkdir_path && release_path && access(mkdir_path, F_OK) == 0 &&
	       access(release_path, F_OK) == 0;
}

static int open_earlier(struct earlier *e, const char *pin_dir, uint64_t cgroup_root_id)
{
	const uint32_t zero = 0;
	uint32_t digest = 0;
	int r;

	if (!pin_dir_has_pins(pin_dir))
		return -ENOENT;
	if (pin_owner_abi(pin_dir) != SP_ABI_VERSION)
		return -EPROTO;
	for (int i = 0; i < KERNEL_MAP_MAX; i++) {
		e->maps[i] = pin_owner_open_map(pin_dir, i);
		if (e->maps[i] < 0)
			return e->maps[i] == -ENOENT ? -EPROTO : e->maps[i];
	}
	if (bpf_map_lookup_elem(e->maps[KERNEL_MAP_STATE], &zero, &e->state) < 0)
		return -errno;
	r = maps_digest(e->maps, &digest);
	if (r < 0)
		return r;
	return e->state.maps == digest && e->state.cgroup_root_id == cgroup_root_id &&
			       is_watched(pin_dir)
		       ? 0
		       : -EPROTO;
}

static int reuse_map(struct kernel *k, enum kernel_map map, int fd)
{
	uint32_t *size = kernel_size_of_map(&k->sizes, map);
	struct bpf_map_info info = { 0 };
	__u32 info_size = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &info_size) < 0)
		return -errno;
	if (size)
		*size = (info.max_entries - map_sizes[map].more) / map_sizes[map].times;
	return bpf_map__reuse_fd(find_map(k, map), fd);
}

static int load_over(const struct earlier *e, struct kernel **ret)
{
	_cleanup_(kernel_free) struct kernel *k = kernel_open();
	int r = 0;

	if (!k)
		return -ENOMEM;
	for (int i = 0; i < KERNEL_MAP_MAX && r == 0; i++)
		r = reuse_map(k, i, e->maps[i]);
	if (r < 0)
		return log_error_errno(r, "Cannot use the pinned BPF maps");
	r = load_programs(k);
	if (r < 0)
		return r;
	k->adopted = true;
	(void)hooks_use_stages(k->hooks, k->state->stages); /* not attached: it only remembers */
	*ret = TAKE_PTR(k);
	return 0;
}

int kernel_adopt(const char *pin_dir, uint64_t cgroup_root_id, struct kernel **ret)
{
	struct earlier e;
	int r;

	memset(e.maps, -1, sizeof(e.maps));
	r = open_earlier(&e, pin_dir, cgroup_root_id);
	if (r == 0)
		r = load_over(&e, ret);
	earlier_close(&e);
	return r;
}

static int on_event(void *userdata, void *data, size_t size)
{
	struct kernel *k = userdata;

	if (k->event_fn && size >= sizeof(struct sp_event))
		k->event_fn(data, k->userdata);
	return 0;
}

static int watch_directories(struct kernel *k)
{
	_cleanup_free_ char *mount = NULL, *path = NULL, *root = NULL;
	int r = cgroup_mount(&mount);

	if (r == 0)
		r = cgroup_path_of_id(mount, k->state->cgroup_root_id, &path);
	if (r == 0 && asprintf(&root, "%s%s", mount, streq(path, "/") ? "" : path) < 0)
		r = -ENOMEM;
	if (r == 0)
		r = directories_new(root, &k->directories);
	if (r < 0)
		return log_error_errno(r, "Cannot watch the directories of cgroups "
					  "(fs.inotify.max_user_watches?)");
	k->state->flags |= SP_STATE_NO_TRACEPOINTS;
	log_notice(
		"This kernel does not tell of new cgroups: their directories are watched, and what "
		"opens a socket in the very moment may not be governed");
	return 0;
}

int kernel_watch(struct kernel *k, kernel_event_fn *fn, void *userdata)
{
	int r;

	k->userdata = userdata;
	k->events = ring_buffer__new(kernel_map_fd(k, KERNEL_MAP_EVENTS), on_event, k, NULL);
	if (!k->events)
		return log_error_errno(errno, "Cannot read the BPF ring buffer");
	r = hooks_watch(k->hooks);
	/* The earlier agent's programs go on telling until there is something to take their place.
	 */
	if (r == -ENOTSUP && k->adopted)
		return -EPROTO;
	if (r == -ENOTSUP)
		r = watch_directories(k);
	if (r < 0)
		return r;
	/* What waits there is of a time when nobody read, and may not be all of it. */
	if (k->adopted)
		r = kernel_consume_events(k);
	k->event_fn = fn;
	return r < 0 ? log_error_errno(r, "Cannot read the BPF ring buffer") : 0;
}

static int stage_maps(struct kernel *k)
{
	for (int i = 0; i < KERNEL_MAP_MAX; i++) {
		int r = pin_stage(kernel_map_fd(k, i), k->pin_dir, kernel_map_names[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

static void unstage_maps(struct kernel *k)
{
	for (int i = 0; i < KERNEL_MAP_MAX; i++)
		pin_unstage(k->pin_dir, kernel_map_names[i]);
}

/* `state` first: from there on the maps of two agents are known for what they are. */
static int commit_maps(struct kernel *k)
{
	int r = pin_commit(k->pin_dir, kernel_map_names[KERNEL_MAP_STATE]);

	for (int i = 0; i < KERNEL_MAP_MAX && r == 0; i++)
		if (i != KERNEL_MAP_STATE)
			r = pin_commit(k->pin_dir, kernel_map_names[i]);
	return r;
}

int kernel_attach(struct kernel *k, const struct kernel *from, int cgroup_fd, const char *pin_dir)
{
	int r;

	k->pin_dir = strdup(pin_dir);
	if (!k->pin_dir)
		return log_oom();
	r = k->adopted ? 0 : stage_maps(k);
	if (r == 0)
		r = hooks_prepare(k->hooks, cgroup_fd, k->state->cgroup_root_id, pin_dir);
	if (r == 0)
		r = hooks_replace(k->hooks, from ? from->hooks : NULL);
	if (r < 0) {
		unstage_maps(k);
		return r;
	}
	/* Over the maps that they share, the programs of both do the same. */
	if (!k->adopted && hooks_are_behind(k->hooks))
		log_error("At those hooks the earlier agent's policies are in force, too: "
			  "`sockpol reload` tries again");
	/*
	 * From here on it is ours that is in force.  A pin that cannot get its name keeps the one
	 * that it has, and holds as well; an agent that finds some of each makes all anew.
	 */
	if (k->adopted)
		unstage_maps(k); /* of an agent that was killed while it made others */
	if ((!k->adopted && commit_maps(k) < 0) | (hooks_commit(k->hooks) < 0))
		log_warning("Not all pins at %s have their names: the next agent starts afresh",
			    pin_dir);
	else
		pin_dir_clear_retired(pin_dir);
	return 0;
}

int kernel_use_stages(struct kernel *k, uint64_t stages)
{
	return hooks_use_stages(k->hooks, stages);
}

uint64_t kernel_hooked_stages(const struct kernel *k)
{
	return hooks_stages(k->hooks);
}

size_t kernel_pins_lost(const struct kernel *k)
{
	size_t n = hooks_pins_lost(k->hooks);

	for (int i = 0; k->pin_dir && i < KERNEL_MAP_MAX; i++)
		if (pin_is_lost(k->pin_dir, kernel_map_names[i]))
			n++;
	return n;
}

int kernel_pin_again(struct kernel *k)
{
	int r = 0;

	for (int i = 0; k->pin_dir && i < KERNEL_MAP_MAX && r == 0; i++)
		r = pin_renew(kernel_map_fd(k, i), k->pin_dir, kernel_map_names[i]);
	return r < 0 ? r : hooks_pin_again(k->hooks);
}

void kernel_detach(struct kernel *k)
{
	if (k->pin_dir)
		pin_dir_clear(k->pin_dir);
	hooks_detach(k->hooks);
}

void kernel_free(struct kernel *k)
{
	if (k->hooks)
		hooks_free(k->hooks);
	ring_buffer__free(k->events);
	if (k->directories)
		directories_free(k->directories);
	if (k->state)
		munmap(k->state, (size_t)sysconf(_SC_PAGESIZE));
	if (k->slots)
		munmap(k->slots, SLOTS_SIZE);
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

struct sp_cgroup_slot *kernel_slots(const struct kernel *k)
{
	return k->slots;
}

int kernel_event_fd(const struct kernel *k)
{
	return k->directories ? directories_fd(k->directories) : ring_buffer__epoll_fd(k->events);
}

static int consume_directories(struct kernel *k)
{
	bool lost;
	int r = directories_consume(k->directories, k->event_fn, k->userdata, &lost);

	if (lost)
		__atomic_fetch_add(&k->state->events_lost, 1, __ATOMIC_SEQ_CST);
	return r;
}

int kernel_consume_events(struct kernel *k)
{
	int r = k->directories ? consume_directories(k) : ring_buffer__consume(k->events);

	return r < 0 ? r : 0;
}

/*
 * An update of a map of maps returns only after a grace period of RCU (maybe_wait_bpf_programs(),
 * kernel/bpf/syscall.c).  It may run out of memory; membarrier(2) waits for such a period, too,
 * but not on every kernel.
 */
int kernel_wait_for_programs(const struct kernel *k)
{
	__u32 zero = 0;
	int inner = kernel_map_fd(k, KERNEL_MAP_CREDITS);
	int r;

	if (bpf_map_update_elem(k->grace, &zero, &inner, BPF_ANY) == 0)
		return 0;
	r = -errno;
	return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0 ? 0 : r;
}
