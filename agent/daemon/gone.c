// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>
#include <uthash.h>

#include "../include/abi.h"
#include "daemon/gone.h"

struct gone {
	uint64_t id;
	struct gone_names names;
	UT_hash_handle hh;
};

static void free_one(struct gone *one)
{
	for (size_t i = 0; i < one->names.n; i++)
		free(one->names.v[i]);
	free(one->names.v);
	free(one);
}
DEFINE_CLEANUP(struct gone *, free_one)

static int look_up(int map, uint32_t index, void *ret)
{
	return bpf_map_lookup_elem(map, &index, ret) < 0 ? -errno : 0;
}

static int add_name(struct gone_names *names, const struct gone_maps *maps, uint32_t credit)
{
	struct sp_credit member;
	struct sp_source source = { 0 };
	int r = look_up(maps->credits, credit, &member);

	if (r == 0)
		r = look_up(maps->sources, member.source, &source);
	if (r < 0 || !*source.policy)
		return r;
	names->v[names->n] = strndup(source.policy, sizeof(source.policy) - 1);
	return names->v[names->n++] ? 0 : -ENOMEM;
}

static int read_names(struct gone_names *names, const struct gone_maps *maps, uint32_t index)
{
	struct sp_policy policy;
	int r;

	if (!index)
		return 0;
	r = look_up(maps->policies, index, &policy);
	if (r < 0)
		return r;
	names->v = calloc(policy.n_members + 1, sizeof(*names->v));
	if (!names->v)
		return -ENOMEM;
	for (uint32_t i = 0; i < policy.n_members && r == 0; i++)
		r = add_name(names, maps, policy.first_member + i);
	return r;
}

int gone_add(struct gone **gone, uint64_t cgroup_id, const struct gone_maps *maps, uint32_t policy)
{
	_cleanup_(free_one) struct gone *one = calloc(1, sizeof(*one));
	int r = one ? read_names(&one->names, maps, policy) : -ENOMEM;

	if (r < 0)
		return r;
	gone_remove(gone, cgroup_id);
	one->id = cgroup_id;
	HASH_ADD(hh, *gone, id, sizeof(one->id), one);
	(void)TAKE_PTR(one);
	return 0;
}

static struct gone *find(const struct gone *gone, uint64_t cgroup_id)
{
	struct gone *found;

	HASH_FIND(hh, gone, &cgroup_id, sizeof(cgroup_id), found);
	return found;
}

struct gone_names gone_names(const struct gone *gone, uint64_t cgroup_id)
{
	const struct gone *found = find(gone, cgroup_id);

	return found ? found->names : (struct gone_names){ 0 };
}

void gone_remove(struct gone **gone, uint64_t cgroup_id)
{
	struct gone *found = find(*gone, cgroup_id);

	if (!found)
		return;
	HASH_DEL(*gone, found);
	free_one(found);
}

void gone_clear(struct gone **gone)
{
	struct gone *one, *tmp;

	HASH_ITER (hh, *gone, one, tmp) {
		HASH_DEL(*gone, one);
		free_one(one);
	}
}
