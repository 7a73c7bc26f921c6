// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#undef MAP_FIXED /* the shape of a map has this name */
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <bpf/bpf.h>

#include "base/log.h"
#include "kernel/hooks.h"
#include "kernel/kernel.h"
#include "kernel/pin.h"
#include "kernel/pin_dir.h"
#include "kernel/programs.h"

struct kernel {
	int maps[MAP_ID_MAX];
	int cgroup_fd;
	struct hooks *hooks;
	struct sp_state *state; /* mmap of the map */
	uint64_t earlier;	/* the generation that an earlier agent has in force */
	char *pin_dir;
	char *dir; /* below it */
	bool in_place;
};

static uint64_t state_size(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

/* NULL on failure, logged. */
static struct kernel *new_kernel(const struct kernel_place *place, const char *name)
{
	_cleanup_(kernel_free) struct kernel *k = calloc(1, sizeof(*k));

	if (!k) {
		log_oom();
		return NULL;
	}
	memset(k->maps, -1, sizeof(k->maps));
	k->cgroup_fd = fcntl(place->cgroup_fd, F_DUPFD_CLOEXEC, 3);
	if (k->cgroup_fd < 0) {
		log_error_errno(errno, "Cannot keep the cgroup open");
		return NULL;
	}
	k->in_place = true; /* until there is something to give up */
	k->pin_dir = strdup(place->pin_dir);
	k->dir = pin_path(place->pin_dir, name);
	if (!k->pin_dir || !k->dir) {
		log_oom();
		return NULL;
	}
	return hooks_new(k->maps, k->cgroup_fd, place->cgroup_id, &k->hooks) < 0 ? NULL
										 : TAKE_PTR(k);
}

static int map_state(struct kernel *k)
{
	void *p = mmap(NULL, state_size(), PROT_READ | PROT_WRITE, MAP_SHARED,
		       k->maps[MAP_ID_state], 0);

	if (p == MAP_FAILED)
		return log_error_errno(errno, "Cannot map the BPF map `state`");
	k->state = p;
	return 0;
}

static int pin_map(const struct kernel *k, enum map_id id)
{
	int r = pin_set(k->maps[id], k->dir, map_table[id].name);

	return r < 0 ? log_error_errno(r, "Cannot pin %s/%s", k->dir, map_table[id].name) : 0;
}

/* `state` first: by it the others are known for ours, also when we are killed in between. */
static int pin_maps(const struct kernel *k)
{
	int r = pin_map(k, MAP_ID_state);

	for (int i = 0; i < MAP_ID_MAX && r == 0; i++)
		if (i != MAP_ID_state)
			r = pin_map(k, i);
	return r;
}

/* From <asm-generic/socket.h> of 5.14. */
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/* Returns a number for this network namespace; 0: the kernel does not tell. */
static uint64_t netns_cookie(void)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) < 0)
		return 0;
	return cookie;
}

static int init_state(struct kernel *k, const struct kernel_place *place)
{
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return log_error_errno(errno, "Cannot get a random number");
	k->state->seed = seed | 1;
	k->state->cgroup_root_id = place->cgroup_id;
	k->state->mount_id = place->mount_id;
	k->state->netns_cookie = netns_cookie();
	k->state->missing_stages = hooks_missing_stages(k->hooks);
	k->state->programs = programs_digest();
	k->state->abi_version = SP_ABI_VERSION;
	return 0;
}

static uint64_t earlier_generation(const char *pin_dir)
{
	struct pin_dir d = { 0 };
	uint64_t generation = 0;

	if (pin_dir_read(pin_dir, &d) == 0)
		generation = d.current.abi ? d.current.generation : d.flat.generation;
	pin_dir_clear(&d);
	return generation;
}

static int load(struct kernel *k, const struct kernel_place *place, uint64_t stages)
{
	_cleanup_free_ char *current = pin_path(k->pin_dir, PIN_CURRENT);
	const char *const earlier[] = { current, k->pin_dir, NULL };
	int r = current ? hooks_load(k->hooks, stages) : log_oom();

	if (r == 0)
		r = map_state(k);
	if (r == 0)
		r = init_state(k, place);
	if (r == 0)
		r = pin_maps(k);
	if (r == 0) /* with no stage in the state, what is new does nothing yet */
		r = hooks_attach(k->hooks, k->dir, earlier);
	return r;
}

int kernel_load(const struct kernel_place *place, uint64_t stages, struct kernel **ret)
{
	_cleanup_(kernel_free) struct kernel *k = new_kernel(place, PIN_NEXT);
	int r;

	if (!k)
		return -ENOMEM;
	k->earlier = earlier_generation(place->pin_dir);
	r = pin_dir_make_next(place->pin_dir);
	if (r < 0)
		return r;
	k->in_place = false;
	r = load(k, place, stages);
	if (r == 0)
		*ret = TAKE_PTR(k);
	return r;
}

int kernel_take_over(struct kernel *k)
{
	int r = hooks_take_over(k->hooks);

	if (r < 0)
		return r;
	k->in_place = true;
	if (hooks_are_behind(k->hooks))
		log_error("At those hooks the earlier agent's policies are in force, too: "
			  "`sockpol reload` tries again");
	return 0;
}

bool kernel_has_earlier(const struct kernel *k)
{
	return k->earlier > 0;
}

/* Pins that cannot be renamed hold as well, and the next agent renames them. */
void kernel_commit(struct kernel *k)
{
	_cleanup_free_ char *current = pin_path(k->pin_dir, PIN_CURRENT);

	if (!current || pin_dir_commit(k->pin_dir) < 0 || hooks_moved(k->hooks, current) < 0)
		return;
	free(k->dir);
	k->dir = TAKE_PTR(current);
}

/* What userspace believes of a map's layout must be so before it works on it. */
static int check_map(int fd, enum map_id id)
{
	const struct map *m = &map_table[id];
	struct bpf_map_info info = { 0 };
	__u32 size = sizeof(info);
	bool outer = map_n_slots(id) > 0;

	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	return info.key_size == (outer ? sizeof(uint32_t) : m->key_size) &&
			       info.value_size == (outer ? sizeof(uint32_t) : m->value_size) &&
			       (!outer || info.max_entries == map_n_slots(id))
		       ? 0
		       : -EPROTO;
}

static int open_maps(struct kernel *k)
{
	for (int i = 0; i < MAP_ID_MAX; i++) {
		int r = k->maps[i] = pin_get(k->dir, map_table[i].name, PIN_MAP);

		if (r >= 0)
			r = check_map(r, i);
		if (r < 0)
			return r == -ENOENT ? -EPROTO : r;
	}
	return 0;
}

static int find_current(const struct kernel_place *place)
{
	struct pin_dir d = { 0 };
	int r = pin_dir_read(place->pin_dir, &d);

	if (r == 0 && !d.current.abi)
		r = d.flat.abi || pin_family_n_ours(&d.current) ? -EPROTO : -ENOENT;
	else if (r == 0 && (d.current.abi != SP_ABI_VERSION || !d.current.generation ||
			    d.current.cgroup_root_id != place->cgroup_id))
		r = -EPROTO;
	pin_dir_clear(&d);
	return r;
}

int kernel_adopt(const struct kernel_place *place, struct kernel **ret)
{
	_cleanup_(kernel_free) struct kernel *k = NULL;
	int r = find_current(place);

	if (r < 0)
		return r;
	k = new_kernel(place, PIN_CURRENT);
	if (!k)
		return -ENOMEM;
	r = open_maps(k);
	if (r < 0)
		return r;
	r = map_state(k);
	if (r < 0)
		return r;
	/* An agent that was killed in a reload may have left the stages of both generations. */
	r = hooks_adopt(k->hooks, k->dir, k->state->of[k->state->generation & 1].stages,
			k->state->programs == programs_digest());
	if (r < 0)
		return r;
	k->state->programs = programs_digest();
	k->state->missing_stages = hooks_missing_stages(k->hooks);
	*ret = TAKE_PTR(k);
	return 0;
}

int kernel_use_stages(struct kernel *k, uint64_t stages)
{
	return hooks_use_stages(k->hooks, stages);
}

void kernel_detach(struct kernel *k)
{
	(void)pin_dir_remove(k->pin_dir);
	hooks_detach(k->hooks);
}

size_t kernel_n_lost(const struct kernel *k, size_t *ret_n_detached)
{
	size_t n = hooks_n_lost(k->hooks, ret_n_detached);

	for (int i = 0; i < MAP_ID_MAX; i++)
		n += pin_is_lost(k->dir, map_table[i].name);
	return n;
}

int kernel_mend(struct kernel *k)
{
	int r = 0;

	if (mkdir(k->dir, 0700) < 0 && errno != EEXIST)
		return log_error_errno(errno, "Cannot make the directory %s", k->dir);
	for (int i = 0; i < MAP_ID_MAX && r == 0; i++)
		if (pin_is_lost(k->dir, map_table[i].name))
			r = pin_map(k, i);
	return r < 0 ? r : hooks_mend(k->hooks);
}

void kernel_free(struct kernel *k)
{
	if (k->hooks)
		hooks_free(k->hooks);
	if (!k->in_place)
		pin_dir_give_up_next(k->pin_dir);
	if (k->state)
		munmap(k->state, state_size());
	for (int i = 0; i < MAP_ID_MAX; i++)
		if (k->maps[i] >= 0)
			close(k->maps[i]);
	if (k->cgroup_fd >= 0)
		close(k->cgroup_fd);
	free(k->pin_dir);
	free(k->dir);
	free(k);
}

int kernel_map_fd(const struct kernel *k, enum map_id id)
{
	return k->maps[id];
}

struct sp_state *kernel_state(const struct kernel *k)
{
	return k->state;
}

uint64_t kernel_next_generation(const struct kernel *k)
{
	return (k->state->generation ? k->state->generation : k->earlier) + 1;
}

const char *kernel_dir(const struct kernel *k)
{
	return k->dir;
}
