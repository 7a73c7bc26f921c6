// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>

#include "base/log.h"
#include "kernel/hooks.h"
#include "kernel/pin.h"
#include "kernel/programs.h"

struct attached {
	int program; /* -1: not loaded */
	int link;    /* -1: not attached */
	bool behind; /* the link has an earlier agent's program */
};

struct hooks {
	int *maps; /* borrowed */
	int cgroup_fd;
	uint64_t cgroup_id;
	char *dir;	  /* of the pins; NULL: there are none */
	uint32_t present; /* hooks that this kernel has */
	struct attached v[HOOK_MAX];
};

static uint64_t stages_of(uint32_t hooks)
{
	uint64_t stages = 0;

	for (int i = 0; i < HOOK_MAX; i++)
		if (hooks & BIT(i))
			stages |= hook_table[i].stages;
	return stages;
}

int hooks_probe(uint64_t *ret_missing)
{
	uint32_t present;
	int r = programs_probe_hooks(&present);

	if (r < 0)
		return r;
	*ret_missing = stages_of(~present);
	return 0;
}

int hooks_new(int maps[MAP_ID_MAX], int cgroup_fd, uint64_t cgroup_id, struct hooks **ret)
{
	_cleanup_(hooks_free) struct hooks *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return log_oom();
	for (int i = 0; i < HOOK_MAX; i++)
		h->v[i] = (struct attached){ .program = -1, .link = -1 };
	h->maps = maps;
	h->cgroup_fd = cgroup_fd;
	h->cgroup_id = cgroup_id;
	r = programs_probe_hooks(&h->present);
	if (r < 0)
		return log_error_errno(r, "Cannot try which hooks this kernel has");
	*ret = TAKE_PTR(h);
	return 0;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void hooks_free(struct hooks *h)
{
	for (int i = 0; i < HOOK_MAX; i++) {
		close_fd(&h->v[i].program);
		close_fd(&h->v[i].link);
	}
	free(h->dir);
	free(h);
}

uint64_t hooks_missing_stages(const struct hooks *h)
{
	return stages_of(~h->present);
}

static uint32_t wanted(const struct hooks *h, uint64_t stages)
{
	return hook_set(stages) & h->present;
}

int hooks_load(struct hooks *h, uint64_t stages)
{
	int programs[HOOK_MAX];
	uint32_t missing = 0;
	int r;

	for (int i = 0; i < HOOK_MAX; i++)
		if (wanted(h, stages) & BIT(i) && h->v[i].program < 0)
			missing |= BIT(i);
	if (!missing && h->maps[0] >= 0)
		return 0;
	memset(programs, -1, sizeof(programs));
	r = programs_load(missing, h->maps, programs);
	for (int i = 0; i < HOOK_MAX; i++)
		if (programs[i] >= 0)
			h->v[i].program = programs[i];
	return r;
}

static int explain_attach_failure(int err, const char *name)
{
	if (err == -EPERM)
		return log_error_errno(err,
				       "Cannot attach %s: a program that was attached without "
				       "BPF_F_ALLOW_MULTI to this cgroup or one above excludes all "
				       "others (bpftool cgroup tree), or a capability is missing",
				       name);
	if (err == -E2BIG)
		return log_error_errno(
			err, "Cannot attach %s: the cgroup has its 64 programs already", name);
	return log_error_errno(err, "Cannot attach %s", name);
}

static int attach(struct hooks *h, enum hook_id id)
{
	struct attached *a = &h->v[id];

	a->link = bpf_link_create(a->program, h->cgroup_fd,
				  (enum bpf_attach_type)hook_table[id].attach_type, NULL);
	a->behind = false;
	return a->link < 0 ? explain_attach_failure(a->link, hook_table[id].name) : 0;
}

/* A pinned link to our cgroup, -1: there is none. */
static int open_link(const struct hooks *h, const char *dir, enum hook_id id)
{
	_cleanup_close_ int fd = pin_get(dir, hook_table[id].name, PIN_LINK);
	struct pin_link info;

	if (fd < 0)
		return -1;
	pin_link_info(fd, &info);
	return info.cgroup_id == h->cgroup_id ? TAKE_FD(fd) : -1;
}

static void program_pin_name(enum hook_id id, char ret[64])
{
	snprintf(ret, 64, "%s" PIN_PROGRAM_SUFFIX, hook_table[id].name);
}

static int pin_failed(int r, const char *dir, const char *name)
{
	return log_error_errno(r, "Cannot pin %s/%s", dir, name);
}

/* A program that a link does not have yet has no pin either: the next agent then sees it. */
static int pin_program(const struct hooks *h, enum hook_id id)
{
	char name[64];
	int r;

	program_pin_name(id, name);
	r = pin_set(h->v[id].program, h->dir, name);
	return r < 0 ? pin_failed(r, h->dir, name) : 0;
}

static int pin(const struct hooks *h, enum hook_id id)
{
	int r = pin_set(h->v[id].link, h->dir, hook_table[id].name);

	return r < 0 ? pin_failed(r, h->dir, hook_table[id].name) : pin_program(h, id);
}

static void drop(struct hooks *h, enum hook_id id)
{
	struct attached *a = &h->v[id];
	char name[64];
	int r;

	program_pin_name(id, name);
	if (a->link >= 0)
		(void)bpf_link_detach(a->link); /* others may hold it */
	r = h->dir ? pin_unset(h->dir, hook_table[id].name) : 0;
	if (r == 0 && h->dir)
		r = pin_unset(h->dir, name);
	if (r < 0)
		log_warning_errno(r, "Cannot remove the pin of %s, ignoring", hook_table[id].name);
	close_fd(&a->link);
	close_fd(&a->program);
	a->behind = false;
}

int hooks_attach(struct hooks *h, const char *dir, const char *const *earlier)
{
	int r = hooks_moved(h, dir);

	for (int i = 0; i < HOOK_MAX && r == 0; i++) {
		struct attached *a = &h->v[i];

		if (a->program < 0)
			continue;
		for (const char *const *e = earlier; *e && a->link < 0; e++)
			a->link = open_link(h, *e, i);
		a->behind = a->link >= 0;
		if (!a->behind)
			r = attach(h, i);
		if (r == 0)
			r = pin(h, i);
	}
	return r;
}

static int update(struct hooks *h, enum hook_id id)
{
	int r = bpf_link_update(h->v[id].link, h->v[id].program, NULL) < 0 ? -errno : 0;

	h->v[id].behind = r < 0;
	return r;
}

static void catch_up(struct hooks *h, enum hook_id id)
{
	int r = update(h, id);

	if (r < 0)
		log_error_errno(r,
				"Cannot replace the program at %s: the earlier agent's goes on "
				"there until a reload can",
				hook_table[id].name);
}

int hooks_take_over(struct hooks *h)
{
	bool any = false;

	for (int i = 0; i < HOOK_MAX; i++) {
		int r = h->v[i].behind ? update(h, i) : 0;

		if (r < 0 && !any)
			return log_error_errno(r, "Cannot replace the program at %s",
					       hook_table[i].name);
		if (r < 0) /* there is no way back */
			catch_up(h, i);
		any |= h->v[i].link >= 0 && !h->v[i].behind;
	}
	return 0;
}

bool hooks_are_behind(const struct hooks *h)
{
	for (int i = 0; i < HOOK_MAX; i++)
		if (h->v[i].behind)
			return true;
	return false;
}

int hooks_moved(struct hooks *h, const char *dir)
{
	char *copy = strdup(dir);

	if (!copy)
		return log_oom();
	free(h->dir);
	h->dir = copy;
	return 0;
}

/* Is it the program that its link has, and does it work on the maps that we have? */
static bool is_in_place(int program, uint32_t link_program, uint32_t state)
{
	uint32_t maps[64] = { 0 };
	struct bpf_prog_info info = { .nr_map_ids = ARRAY_SIZE(maps),
				      .map_ids = (__u64)(uintptr_t)maps };
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(program, &info, &size) < 0 || info.id != link_program)
		return false;
	for (uint32_t i = 0; i < info.nr_map_ids && i < ARRAY_SIZE(maps); i++)
		if (maps[i] == state)
			return true;
	return false;
}

static void adopt_one(struct hooks *h, enum hook_id id, uint32_t state, bool same_programs)
{
	struct attached *a = &h->v[id];
	struct pin_link info;
	char name[64];

	a->link = open_link(h, h->dir, id);
	if (a->link < 0)
		return;
	a->behind = true;
	program_pin_name(id, name);
	if (!same_programs)
		return;
	a->program = pin_get(h->dir, name, PIN_PROGRAM);
	pin_link_info(a->link, &info);
	if (a->program >= 0 && is_in_place(a->program, info.program_id, state))
		a->behind = false;
	else
		close_fd(&a->program);
}

int hooks_adopt(struct hooks *h, const char *dir, uint64_t stages, bool same_programs)
{
	struct bpf_map_info state = { 0 };
	__u32 size = sizeof(state);
	int r = hooks_moved(h, dir);

	if (r < 0)
		return r;
	if (bpf_obj_get_info_by_fd(h->maps[MAP_ID_state], &state, &size) < 0)
		return log_error_errno(errno, "Cannot look at the map `state`");
	for (int i = 0; i < HOOK_MAX; i++)
		adopt_one(h, i, state.id, same_programs);
	return hooks_use_stages(h, stages);
}

/* Attaches what is not attached yet. */
static int add(struct hooks *h, uint32_t hooks)
{
	int r = 0;

	for (int i = 0; i < HOOK_MAX && r == 0; i++) {
		struct attached *a = &h->v[i];

		if (!(hooks & BIT(i)))
			continue;
		if (a->link >= 0 && !a->behind)
			continue;
		if (a->link < 0)
			r = attach(h, i);
		else
			catch_up(h, i);
		if (r == 0)
			r = pin(h, i);
	}
	return r;
}

int hooks_use_stages(struct hooks *h, uint64_t stages)
{
	uint32_t had = 0;
	int r;

	for (int i = 0; i < HOOK_MAX; i++)
		if (h->v[i].link >= 0)
			had |= BIT(i);
	r = hooks_load(h, stages);
	if (r == 0)
		r = add(h, wanted(h, stages));
	for (int i = 0; i < HOOK_MAX; i++) /* of what failed nothing stays */
		if (!((r < 0 ? had : wanted(h, stages)) & BIT(i)) &&
		    (h->v[i].link >= 0 || h->v[i].program >= 0))
			drop(h, i);
	return r;
}

void hooks_detach(struct hooks *h)
{
	for (int i = HOOK_MAX; i-- > 0;)
		if (h->v[i].link >= 0)
			(void)bpf_link_detach(h->v[i].link); /* others may hold it */
}

static bool is_detached(int link)
{
	struct pin_link info;

	pin_link_info(link, &info);
	return info.type && !info.cgroup_id;
}

size_t hooks_n_lost(const struct hooks *h, size_t *ret_n_detached)
{
	size_t n = 0, n_detached = 0;
	char name[64];

	for (int i = 0; i < HOOK_MAX; i++) {
		if (h->v[i].link < 0 || !h->dir)
			continue;
		program_pin_name(i, name);
		n += pin_is_lost(h->dir, hook_table[i].name) + pin_is_lost(h->dir, name);
		n_detached += is_detached(h->v[i].link);
	}
	*ret_n_detached = n_detached;
	return n;
}

int hooks_mend(struct hooks *h)
{
	int r = 0;

	for (int i = 0; i < HOOK_MAX && r == 0; i++) {
		struct attached *a = &h->v[i];
		char name[64];

		if (a->link < 0)
			continue;
		program_pin_name(i, name);
		if (is_detached(a->link)) {
			log_warning("somebody detached %s: attaching it again", hook_table[i].name);
			close_fd(&a->link);
			r = hooks_load(h, hook_table[i].stages);
			if (r == 0)
				r = attach(h, i);
			if (r == 0)
				r = pin(h, i);
		} else if (pin_is_lost(h->dir, hook_table[i].name) || pin_is_lost(h->dir, name)) {
			r = a->program >= 0 ? pin(h, i) : 0;
		}
	}
	return r;
}
