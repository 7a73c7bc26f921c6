// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>

#include "daemon/governor_impl.h"
#include "host/listeners.h"
#include "base/digest.h"
#include "base/log.h"

/* Without what a generation numbers as it comes, and without who set it. */
static int digest_op(const struct governor *g, uint32_t index, uint32_t *digest, struct sp_op *ret)
{
	struct sp_op bare;

	if (bpf_map_lookup_elem(kernel_map_fd(g->kernel, KERNEL_MAP_OPS), &index, ret) < 0)
		return -errno;
	bare = *ret;
	bare.rules = 0;
	bare.source = 0;
	bare.first_alternative = 0;
	bare.block = 0;
	*digest = digest_bytes(*digest, &bare, sizeof(bare));
	return 0;
}

static int digest_stage(const struct governor *g, const struct sp_stage_ops *stage, uint32_t *ret)
{
	uint32_t digest = DIGEST_START;
	int r = 0;

	for (uint32_t i = 0; i < stage->n_ops && r == 0; i++) {
		struct sp_op op, alternative;

		r = digest_op(g, stage->first_op + i, &digest, &op);
		for (int n = 0; r == 0 && n < __builtin_popcountll(op.rules); n++)
			r = digest_op(g, op.first_alternative + (uint32_t)n, &digest, &alternative);
	}
	*ret = digest ? digest : 1;
	return r;
}

/*
 * Tells apart what is set on listeners, and under which conditions; 0: nothing.  From the maps, as
 * of an earlier agent's generation there is nothing else.
 */
static uint32_t listen_digest(const struct governor *g, const struct node *n, unsigned half)
{
	uint32_t index = n->places[half].policy, digest;
	const struct sp_stage_ops *stage;
	struct sp_policy policy;

	if (!index ||
	    bpf_map_lookup_elem(kernel_map_fd(g->kernel, KERNEL_MAP_POLICIES), &index, &policy) < 0)
		return 0;
	stage = &policy.stage[SP_STAGE_TCP_LISTEN];
	return stage->n_ops && digest_stage(g, stage, &digest) == 0 ? digest : 0;
}

static const char *is_stale(uint64_t cgroup_id, void *userdata)
{
	const struct governor *g = userdata;
	const struct node *n = tree_find(g->tree, cgroup_id);
	unsigned in_force = half_in_force(g);
	uint32_t before = n ? listen_digest(g, n, !in_force) : 0;

	return before && before != listen_digest(g, n, in_force) ? path_of(n) : NULL;
}

static const char *is_governed(uint64_t cgroup_id, void *userdata)
{
	const struct governor *g = userdata;
	const struct node *n = tree_find(g->tree, cgroup_id);

	return n && listen_digest(g, n, half_in_force(g)) ? path_of(n) : NULL;
}

/* stages: of what goes. */
static void name_listeners(struct governor *g, uint64_t stages, listener_stale_fn *fn)
{
	int r;

	if (!(stages & BIT(SP_STAGE_TCP_LISTEN)))
		return;
	r = listeners_name_stale(fn, g);
	if (r < 0)
		log_warning_errno(r, "Cannot find the listeners that keep old values, ignoring");
}

static uint64_t stages_of(const struct governor *g, unsigned half)
{
	if (g->generations[half])
		return generation_stages(g->generations[half]);
	return g->adopted ? g->adopted_stages : 0;
}

void name_stale_listeners(struct governor *g)
{
	name_listeners(g, stages_of(g, !half_in_force(g)), is_stale);
}

void name_all_listeners(struct governor *g)
{
	name_listeners(g, stages_of(g, half_in_force(g)), is_governed);
}
