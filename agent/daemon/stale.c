// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "base/digest.h"
#include "base/log.h"
#include "compile/glob_walk.h"
#include "daemon/stale.h"
#include "host/cgroup.h"

/* Without whose it is. */
static uint32_t digest_ops(const struct image *im, uint32_t first_cell, uint32_t n, uint32_t digest)
{
	const struct sp_op_cell *cells = im->of[MAP_ID_ops].values;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t cell = first_cell + i / SP_OPS_CELL;
		struct sp_op op;

		if (cell >= im->of[MAP_ID_ops].n)
			break;
		op = cells[cell].op[i % SP_OPS_CELL];
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

static bool is_at_or_below(const char *path, const char *root)
{
	size_t n = streq(root, "/") ? 0 : strlen(root);

	return strncmp(path, root, n) == 0 && (!path[n] || path[n] == '/');
}

void stale_name_listeners(const char *mount, const char *root_path, const struct image *before,
			  const struct image *after)
{
	struct sock_diag_list listeners = { 0 };
	int r;

	if (!(before->generation.stages & BIT(SP_STAGE_TCP_LISTEN)))
		return;
	r = sock_diag_listeners(&listeners);
	if (r == 0)
		r = cgroup_of_sockets(mount, &listeners);
	for (size_t i = 0; r == 0 && i < listeners.n; i++) {
		const struct sock_diag_socket *l = &listeners.v[i];
		uint32_t digest;

		if (!l->cgroup || !is_at_or_below(l->cgroup, root_path))
			continue;
		digest = listen_digest(before, l->cgroup);
		if (digest && digest != listen_digest(after, l->cgroup))
			log_warning("listener %s in cgroup %s keeps what the old policy gave it "
				    "until it is opened again",
				    l->local, l->cgroup);
	}
	if (r < 0)
		log_warning_errno(r, "Cannot find the listeners that keep old values, ignoring");
	sock_diag_clear(&listeners);
}
