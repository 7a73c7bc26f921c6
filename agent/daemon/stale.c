// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>

#include "base/digest.h"
#include "base/log.h"
#include "compile/glob_walk.h"
#include "daemon/stale.h"
#include "host/cgroup.h"
#include "host/listeners.h"
#include "kernel/pinned.h"

static_assert(sizeof(struct sp_op_cell) == SP_OPS_CELL * sizeof(struct sp_op),
	      "the operations of all cells are one array");

/* Without whose it is. */
static uint32_t digest_ops(const struct image *im, uint32_t first_cell, uint32_t n, uint32_t digest)
{
	const struct sp_op *ops = im->of[MAP_ID_ops].values;
	const size_t first = (size_t)first_cell * SP_OPS_CELL,
		     end = (size_t)im->of[MAP_ID_ops].n * SP_OPS_CELL;

	for (size_t i = first; i < first + n && i < end; i++) {
		struct sp_op op = ops[i];

		op.counter = 0;
		digest = digest_bytes(digest, &op, sizeof(op));
	}
	return digest;
}

static uint32_t digest_stage(const struct image *im, const struct sp_stage_of *s, uint32_t digest)
{
	const struct sp_block *blocks = im->of[MAP_ID_blocks].values;

	digest = digest_bytes(digest, &s->options, sizeof(s->options));
	digest = digest_ops(im, s->first_cell, s->n_ops, digest);
	for (uint32_t i = 0; i < (uint32_t)__builtin_popcountll(s->acting); i++) {
		uint32_t block = s->first_block + i;

		if (block < im->of[MAP_ID_blocks].n)
			digest = digest_ops(im, blocks[block].first_cell, blocks[block].n_ops,
					    digest);
	}
	return digest;
}

/* Tells apart what is set on the listeners of a cgroup; 0: nothing. */
static uint32_t listen_digest(const struct image *im, const char *path)
{
	const struct sp_policy *policies = im ? im->of[MAP_ID_policies].values : NULL;
	uint32_t digest = DIGEST_START;
	struct glob_list list;
	bool any = false;

	if (!im || glob_walk(&im->globs, path, &list) < 0)
		return 0;
	for (uint32_t i = 0; i < list.n; i++) {
		const struct sp_stage_of *s;

		if (list.number[i] >= im->of[MAP_ID_policies].n)
			continue;
		s = &policies[list.number[i]].stage[SP_STAGE_TCP_LISTEN];
		if (!s->options && !s->acting)
			continue;
		any = true;
		digest = digest_stage(im, s, digest);
	}
	return any ? digest | 1 : 0;
}

/* The cgroups that have listeners; looked up at once, as each look may cost a walk of its own. */
struct cgroups {
	uint64_t *ids; /* owned; each once */
	char **paths;  /* owned, NULL: it is not known; as many */
	size_t n;
	const char *root_path;
	const struct image *before, *after;
};

static int add_cgroup(const struct listener *l, void *userdata)
{
	struct cgroups *c = userdata;

	for (size_t i = 0; i < c->n; i++)
		if (c->ids[i] == l->cgroup_id)
			return 0;
	if (GROW(c->ids, c->n) < 0)
		return -ENOMEM;
	c->ids[c->n++] = l->cgroup_id;
	return 0;
}

static bool is_at_or_below(const char *path, const char *root)
{
	size_t n = streq(root, "/") ? 0 : strlen(root);

	return strncmp(path, root, n) == 0 && (!path[n] || path[n] == '/');
}

static const char *is_stale(uint64_t cgroup_id, void *userdata)
{
	const struct cgroups *c = userdata;
	const char *path = NULL;
	uint32_t before;

	for (size_t i = 0; i < c->n && !path; i++)
		if (c->ids[i] == cgroup_id)
			path = c->paths[i];
	if (!path || !is_at_or_below(path, c->root_path))
		return NULL;
	before = listen_digest(c->before, path);
	return before && before != listen_digest(c->after, path) ? path : NULL;
}

void stale_name_listeners(const char *mount, const char *root_path, const struct image *before,
			  const struct image *after)
{
	struct cgroups c = { .root_path = root_path, .before = before, .after = after };
	int r;

	if (!(before->generation.stages & BIT(SP_STAGE_TCP_LISTEN)))
		return;
	r = listeners_each(add_cgroup, &c);
	if (r == 0 && c.n) {
		c.paths = calloc(c.n, sizeof(*c.paths));
		r = c.paths ? cgroup_paths_of_ids(mount, c.ids, c.n, c.paths) : -ENOMEM;
	}
	if (r == 0 && c.n)
		r = listeners_name_stale(is_stale, &c);
	if (r < 0)
		log_warning_errno(r, "Cannot find the listeners that keep old values, ignoring");
	for (size_t i = 0; c.paths && i < c.n; i++)
		free(c.paths[i]);
	free(c.paths);
	free(c.ids);
}

void stale_name_all(const char *pin_dir)
{
	_cleanup_(pinned_close) struct pinned *p = NULL;
	_cleanup_(image_free) struct image *im = NULL;
	_cleanup_free_ char *mount = NULL, *root = NULL;
	struct sp_state state;

	if (pinned_open(pin_dir, &p) == 0 && pinned_state(p, &state) == 0 &&
	    pinned_generation(p)->stages & BIT(SP_STAGE_TCP_LISTEN) && cgroup_mount(&mount) == 0 &&
	    cgroup_path_of_id(mount, state.cgroup_root_id, &root) == 0 && pinned_image(p, &im) == 0)
		stale_name_listeners(mount, root, im, NULL);
}
