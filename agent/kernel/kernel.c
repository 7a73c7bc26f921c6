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
#include "host/host.h"
#include "kernel/kernel.h"
#include "kernel/pin_dir.h"
#include "kernel/pinned.h"
#include "kernel/programs.h"

static uint64_t state_size(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

static int set_dir(struct kernel *k, const char *name)
{
	char *dir = pin_path(k->pin_dir, name);

	if (!dir)
		return log_oom();
	free(k->dir);
	k->dir = dir;
	return 0;
}

/* NULL on failure, logged. */
static struct kernel *new_kernel(const struct kernel_place *place, const char *dir)
{
	_cleanup_(kernel_free) struct kernel *k = calloc(1, sizeof(*k));

	if (!k) {
		log_oom();
		return NULL;
	}
	memset(k->maps, -1, sizeof(k->maps));
	for (int i = 0; i < HOOK_MAX; i++)
		k->hooks[i] = (struct attached){ .program = -1, .link = -1 };
	k->in_place = true; /* until there is something to give up */
	k->pin_dir = place->pin_dir;
	k->cgroup_id = place->cgroup_id;
	k->cgroup_fd = open(place->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (k->cgroup_fd < 0) {
		log_error_errno(errno, "Cannot open the cgroup %s", place->directory);
		return NULL;
	}
	return set_dir(k, dir) < 0 ? NULL : TAKE_PTR(k);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void kernel_free(struct kernel *k)
{
	for (int i = 0; i < HOOK_MAX; i++) {
		close_fd(&k->hooks[i].program);
		close_fd(&k->hooks[i].link);
	}
	if (!k->in_place)
		pin_dir_give_up_next(k->pin_dir);
	if (k->state)
		munmap(k->state, state_size());
	for (int i = 0; i < MAP_ID_MAX; i++)
		close_fd(&k->maps[i]);
	close_fd(&k->cgroup_fd);
	free(k->dir);
	free(k);
}

/* --- maps */

static int map_state(struct kernel *k)
{
	void *p = mmap(NULL, state_size(), PROT_READ | PROT_WRITE, MAP_SHARED,
		       k->maps[MAP_ID_state], 0);

	if (p == MAP_FAILED)
		return log_error_errno(errno, "Cannot map the BPF map `state`");
	k->state = p;
	return 0;
}

static int pin(const struct kernel *k, int fd, const char *name)
{
	int r = pin_set(fd, k->dir, name);

	return r < 0 ? log_error_errno(r, "Cannot pin %s/%s", k->dir, name) : 0;
}

/* `state` first: by it the others are known for ours, also when we are killed in between. */
static int pin_maps(const struct kernel *k)
{
	int r = pin(k, k->maps[MAP_ID_state], map_table[MAP_ID_state].name);

	for (int i = 0; i < MAP_ID_MAX && r == 0; i++)
		if (i != MAP_ID_state)
			r = pin(k, k->maps[i], map_table[i].name);
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

/* Where a hook gives devices by their names, no network namespace is the one of our indices. */
static void tell_state(struct kernel *k)
{
	const bool by_name = !(k->missing_stages & BIT(SP_STAGE_LOCAL_SOCKET));

	k->state->missing_stages = k->missing_stages;
	k->state->netns_cookie = by_name ? 0 : netns_cookie();
	host_port_range(&k->state->port_low, &k->state->port_high);
}

/* Finds out which of the hooks there are that are due. */
static int try_hooks(struct kernel *k, uint64_t stages)
{
	int r = programs_probe_hooks(stages, &k->missing_stages);

	if (r < 0)
		return log_error_errno(r, "Cannot try which hooks this kernel has");
	if (k->state)
		tell_state(k);
	return 0;
}

static int init_state(struct kernel *k, const struct kernel_place *place)
{
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return log_error_errno(errno, "Cannot get a random number");
	k->state->seed = seed | 1;
	k->state->cgroup_root_id = place->cgroup_id;
	k->state->mount_id = place->mount_id;
	tell_state(k);
	k->state->programs = programs_digest();
	k->state->abi_version = SP_ABI_VERSION;
	return 0;
}

/* --- hooks */

static uint32_t wanted(const struct kernel *k, uint64_t stages)
{
	return hook_set_there(stages, k->missing_stages);
}

static int load_programs(struct kernel *k, uint64_t stages)
{
	int programs[HOOK_MAX];
	uint32_t missing = 0;
	int r;

	for (int i = 0; i < HOOK_MAX; i++)
		if (wanted(k, stages) & BIT(i) && k->hooks[i].program < 0)
			missing |= BIT(i);
	if (!missing && k->maps[0] >= 0)
		return 0;
	memset(programs, -1, sizeof(programs));
	r = programs_load(missing, k->maps, programs);
	for (int i = 0; i < HOOK_MAX; i++)
		if (programs[i] >= 0)
			k->hooks[i].program = programs[i];
	return r;
}

static int attach(struct kernel *k, enum hook_id id)
{
	int r = bpf_link_create(k->hooks[id].program, k->cgroup_fd,
				(enum bpf_attach_type)hook_table[id].attach_type, NULL);
	const char *why = "";

	k->hooks[id].link = r;
	k->hooks[id].behind = false;
	if (r >= 0)
		return 0;
	if (r == -EPERM)
		why = ": a program that was attached without BPF_F_ALLOW_MULTI to this cgroup or one "
		      "above excludes all others (bpftool cgroup tree), or a capability is missing";
	else if (r == -E2BIG)
		why = ": the cgroup has its 64 programs already";
	return log_error_errno(r, "Cannot attach %s%s", hook_table[id].name, why);
}

/* A pinned link to our cgroup, -1: there is none. */
static int open_link(const struct kernel *k, const char *dir, enum hook_id id)
{
	_cleanup_close_ int fd = pin_get(dir, hook_table[id].name, PIN_LINK);
	struct pin_link info;

	if (fd < 0)
		return -1;
	pin_link_info(fd, &info);
	return info.cgroup_id == k->cgroup_id ? TAKE_FD(fd) : -1;
}

static void program_pin_name(enum hook_id id, char ret[64])
{
	snprintf(ret, 64, "%s" PIN_PROGRAM_SUFFIX, hook_table[id].name);
}

static int pin_hook(const struct kernel *k, enum hook_id id)
{
	char name[64];
	int r = pin(k, k->hooks[id].link, hook_table[id].name);

	program_pin_name(id, name);
	return r < 0 ? r : pin(k, k->hooks[id].program, name);
}

static void drop(struct kernel *k, enum hook_id id)
{
	struct attached *a = &k->hooks[id];
	char name[64];
	int r;

	program_pin_name(id, name);
	if (a->link >= 0)
		(void)bpf_link_detach(a->link); /* others may hold it */
	r = pin_unset(k->dir, hook_table[id].name);
	if (r == 0)
		r = pin_unset(k->dir, name);
	if (r < 0)
		log_warning_errno(r, "Cannot remove the pin of %s, ignoring", hook_table[id].name);
	close_fd(&a->link);
	close_fd(&a->program);
	a->behind = false;
}

/* Gives an earlier agent's link our program.  is_first: nothing has changed yet. */
static int catch_up(struct kernel *k, enum hook_id id, bool is_first)
{
	int r = bpf_link_update(k->hooks[id].link, k->hooks[id].program, NULL) < 0 ? -errno : 0;

	k->hooks[id].behind = r < 0;
	return r < 0 ? log_error_errno(r, "Cannot replace the program at %s%s", hook_table[id].name,
				       is_first ? ""
						: ": the earlier agent's goes on there until a "
						  "reload can")
		     : 0;
}

/* Attaches what is not attached yet: with the links that one of the `earlier` directories of pins
 * has to the same cgroup, still with their programs, and new ones.  earlier: NULL-terminated. */
static int attach_hooks(struct kernel *k, uint32_t hooks, const char *const *earlier)
{
	int r = 0;

	for (int i = 0; i < HOOK_MAX && r == 0; i++) {
		struct attached *a = &k->hooks[i];

		if (!(hooks & BIT(i)) || (a->link >= 0 && !a->behind))
			continue;
		if (a->behind)
			(void)catch_up(k, i, false);
		for (const char *const *e = earlier; *e && a->link < 0; e++) {
			a->link = open_link(k, *e, i);
			a->behind = a->link >= 0;
		}
		if (a->link < 0)
			r = attach(k, i);
		if (r == 0)
			r = pin_hook(k, i);
	}
	return r;
}

int kernel_use_stages(struct kernel *k, uint64_t stages)
{
	static const char *const nowhere[] = { NULL };
	uint32_t had = 0;
	int r;

	for (int i = 0; i < HOOK_MAX; i++)
		if (k->hooks[i].link >= 0)
			had |= BIT(i);
	r = try_hooks(k, stages);
	if (r == 0)
		r = load_programs(k, stages);
	if (r == 0)
		r = attach_hooks(k, wanted(k, stages), nowhere);
	for (int i = 0; i < HOOK_MAX; i++) /* of what failed nothing stays */
		if (!((r < 0 ? had : wanted(k, stages)) & BIT(i)) &&
		    (k->hooks[i].link >= 0 || k->hooks[i].program >= 0))
			drop(k, i);
	return r;
}

/* --- a new version of the state */

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
	int r = current ? try_hooks(k, stages) : log_oom();

	if (r == 0)
		r = load_programs(k, stages);
	if (r == 0)
		r = map_state(k);
	if (r == 0)
		r = init_state(k, place);
	if (r == 0)
		r = pin_maps(k);
	if (r == 0) /* with no stage in the state, what is new does nothing yet */
		r = attach_hooks(k, wanted(k, stages), earlier);
	return r;
}

int kernel_load(const struct kernel_place *place, uint64_t stages, struct kernel **ret)
{
	_cleanup_(kernel_free) struct kernel *k = new_kernel(place, PIN_NEXT);
	int r;

	if (!k)
		return -ENOMEM;
	k->earlier = earlier_generation(place->pin_dir);
	if (mkdir(k->dir, 0700) < 0)
		return log_error_errno(errno, "Cannot make the directory %s", k->dir);
	k->in_place = false;
	r = load(k, place, stages);
	if (r == 0)
		*ret = TAKE_PTR(k);
	return r;
}

int kernel_take_over(struct kernel *k)
{
	bool any = false, behind = false;

	for (int i = 0; i < HOOK_MAX; i++) {
		int r = k->hooks[i].behind ? catch_up(k, i, !any) : 0;

		if (r < 0 && !any) /* else there is no way back */
			return r;
		any |= k->hooks[i].link >= 0 && !k->hooks[i].behind;
		behind |= k->hooks[i].behind;
	}
	k->in_place = true;
	if (behind)
		log_error("At those hooks the earlier agent's policies are in force, too: "
			  "`sockpol reload` tries again");
	return 0;
}

/* Pins that cannot be renamed hold as well, and the next agent renames them. */
void kernel_commit(struct kernel *k)
{
	if (pin_dir_commit(k->pin_dir) == 0)
		(void)set_dir(k, PIN_CURRENT);
}

/* --- what an earlier agent left, over the same maps */

static int find_current(const struct kernel_place *place)
{
	struct pin_dir d = { 0 };
	int r = pin_dir_read(place->pin_dir, &d);

	if (r == 0 && !d.current.abi)
		r = pin_dir_n_ours(&d) ? -EPROTO : -ENOENT;
	else if (r == 0 && (d.current.abi != SP_ABI_VERSION || !d.current.generation ||
			    d.current.cgroup_root_id != place->cgroup_id))
		r = -EPROTO;
	pin_dir_clear(&d);
	return r;
}

static void adopt_hook(struct kernel *k, enum hook_id id, uint32_t state, bool same_programs)
{
	struct attached *a = &k->hooks[id];
	struct pin_program program;
	struct pin_link link;
	char name[64];

	a->link = open_link(k, k->dir, id);
	if (a->link < 0)
		return;
	a->behind = true;
	program_pin_name(id, name);
	if (!same_programs)
		return;
	a->program = pin_get(k->dir, name, PIN_PROGRAM);
	pin_link_info(a->link, &link);
	/* Is it the program that its link has, and does it work on the maps that we have? */
	if (a->program >= 0 && pin_program_info(a->program, &program) == 0 &&
	    program.id == link.program_id && pin_program_uses(&program, state))
		a->behind = false;
	else
		close_fd(&a->program);
}

/* While no agent ran, somebody took the links of these hooks away. */
static void say_what_is_lost(const struct kernel *k, uint32_t hooks)
{
	for (int i = 0; i < HOOK_MAX; i++)
		if (hooks & BIT(i) && k->hooks[i].link < 0)
			log_warning("somebody detached %s: attaching it again", hook_table[i].name);
}

int kernel_adopt(const struct kernel_place *place, struct kernel **ret)
{
	_cleanup_(kernel_free) struct kernel *k = NULL;
	struct bpf_map_info state;
	const uint64_t digest = programs_digest();
	uint64_t stages;
	int r = find_current(place);

	if (r < 0)
		return r;
	k = new_kernel(place, PIN_CURRENT);
	if (!k)
		return -ENOMEM;
	r = pinned_open_maps(k->dir, k->maps);
	if (r < 0)
		return r == -ENOENT ? -EPROTO : r;
	r = map_state(k);
	if (r < 0)
		return r;
	r = pin_map_info(k->maps[MAP_ID_state], &state);
	if (r < 0)
		return log_error_errno(r, "Cannot look at the map `state`");
	for (int i = 0; i < HOOK_MAX; i++)
		adopt_hook(k, i, state.id, k->state->programs == digest);
	/* An agent that was killed in a reload may have left the stages of both generations. */
	stages = k->state->of[k->state->generation & 1].stages;
	r = try_hooks(k, stages);
	if (r < 0)
		return r;
	say_what_is_lost(k, wanted(k, stages));
	r = kernel_use_stages(k, stages);
	if (r < 0)
		return r;
	k->state->programs = digest;
	*ret = TAKE_PTR(k);
	return 0;
}

/* --- and afterwards */

void kernel_detach(struct kernel *k)
{
	(void)pin_dir_remove(k->pin_dir);
	for (int i = HOOK_MAX; i-- > 0;)
		if (k->hooks[i].link >= 0)
			(void)bpf_link_detach(k->hooks[i].link); /* others may hold it */
}

static bool is_detached(int link)
{
	struct pin_link info;

	pin_link_info(link, &info);
	return info.type && !info.cgroup_id;
}

static size_t n_pins_lost(const struct kernel *k, enum hook_id id)
{
	char name[64];

	program_pin_name(id, name);
	return (size_t)pin_is_lost(k->dir, hook_table[id].name) + pin_is_lost(k->dir, name);
}

size_t kernel_n_lost(const struct kernel *k)
{
	size_t n = 0;

	for (int i = 0; i < HOOK_MAX; i++)
		if (k->hooks[i].link >= 0)
			n += n_pins_lost(k, i) + is_detached(k->hooks[i].link);
	for (int i = 0; i < MAP_ID_MAX; i++)
		n += pin_is_lost(k->dir, map_table[i].name);
	return n;
}

int kernel_mend(struct kernel *k, uint32_t *ret_attached)
{
	size_t n_pins = 0;
	int r = 0;

	*ret_attached = 0;
	if (mkdir(k->dir, 0700) < 0 && errno != EEXIST)
		return log_error_errno(errno, "Cannot make the directory %s", k->dir);
	for (int i = 0; i < MAP_ID_MAX && r == 0; i++) {
		if (!pin_is_lost(k->dir, map_table[i].name))
			continue;
		r = pin(k, k->maps[i], map_table[i].name);
		n_pins++;
	}
	for (int i = 0; i < HOOK_MAX && r == 0; i++) {
		struct attached *a = &k->hooks[i];
		size_t n = a->link < 0 ? 0 : n_pins_lost(k, i);

		if (a->link >= 0 && is_detached(a->link)) {
			log_warning("somebody detached %s: attaching it again", hook_table[i].name);
			close_fd(&a->link);
			r = attach(k, i);
			*ret_attached |= r == 0 ? BIT(i) : 0;
		} else if (!n) {
			continue;
		}
		if (r == 0)
			r = pin_hook(k, i);
		n_pins += n;
	}
	if (r == 0 && n_pins)
		log_warning("%zu pin%s in %s had gone, and %s pinned again", n_pins, plural(n_pins),
			    k->pin_dir, n_pins == 1 ? "is" : "are");
	return r;
}

uint64_t kernel_next_generation(const struct kernel *k)
{
	return (k->state->generation ? k->state->generation : k->earlier) + 1;
}
