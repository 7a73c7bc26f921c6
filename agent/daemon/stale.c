// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>

#include "base/digest.h"
#include "base/log.h"
#include "base/progress.h"
#include "compile/glob_walk.h"
#include "daemon/stale.h"
#include "host/cgroup.h"
#include "kernel/pinned.h"

#define NAMED_MAX 10 /* listeners */

static_assert(sizeof(struct sp_op_cell) == SP_OPS_CELL * sizeof(struct sp_op),
	      "the operations of all cells are one array");

/* Without whose it is. */
static uint32_t digest_ops(const struct image *im, uint32_t first_cell, uint32_t n, uint64_t but,
			   uint32_t digest)
{
	const struct sp_op *ops = im->of[MAP_ID_ops].values;
	const size_t first = (size_t)first_cell * SP_OPS_CELL,
		     end = (size_t)im->of[MAP_ID_ops].n * SP_OPS_CELL;

	for (size_t i = first; i < first + n && i < end; i++) {
		struct sp_op op = ops[i];

		if (but >> (op.option & 63) & 1)
			continue;
		op.counter = 0;
		digest = digest_bytes(digest, &op, sizeof(op));
	}
	return digest;
}

static uint32_t digest_stage(const struct image *im, const struct sp_stage_of *s, uint64_t but,
			     uint32_t digest)
{
	const struct sp_block *blocks = im->of[MAP_ID_blocks].values;
	const uint64_t options = s->options & ~but;

	if (options)
		digest = digest_bytes(digest, &options, sizeof(options));
	digest = digest_ops(im, s->first_cell, s->n_ops, but, digest);
	for (uint32_t i = 0; i < (uint32_t)__builtin_popcountll(s->acting); i++) {
		uint32_t block = s->first_block + i;

		if (block < im->of[MAP_ID_blocks].n)
			digest = digest_ops(im, blocks[block].first_cell, blocks[block].n_ops, but,
					    digest);
	}
	return digest;
}

/* Returns what a policy does to listeners; NULL: nothing. */
static const struct sp_stage_of *listen_stage(const struct image *im, uint32_t number)
{
	const struct sp_policy *policies = im->of[MAP_ID_policies].values;
	const struct sp_stage_of *s;

	if (number >= im->of[MAP_ID_policies].n)
		return NULL;
	s = &policies[number].stage[SP_STAGE_TCP_LISTEN];
	return s->options || s->acting ? s : NULL;
}

/* Returns the options (BIT(row)) among n operations that are set on open listeners, too. */
static uint64_t applied_among(const struct image *im, uint32_t first_cell, uint32_t n)
{
	const struct sp_op *ops = im->of[MAP_ID_ops].values;
	const size_t first = (size_t)first_cell * SP_OPS_CELL,
		     end = (size_t)im->of[MAP_ID_ops].n * SP_OPS_CELL;
	uint64_t options = 0;

	for (size_t i = first; i < first + n && i < end; i++)
		if (ops[i].flags & SP_OP_APPLY)
			options |= 1ull << (ops[i].option & 63);
	return options;
}

/* Returns the options that `existing: apply` sets on the open listeners of a cgroup. */
static uint64_t applied(const struct image *im, const char *path)
{
	const struct sp_block *blocks = im ? im->of[MAP_ID_blocks].values : NULL;
	struct glob_list list;
	uint64_t options = 0;

	if (!im || !(im->generation.flags & SP_GENERATION_APPLIES) ||
	    glob_walk(&im->globs, path, &list) < 0)
		return 0;
	for (uint32_t i = 0; i < list.n; i++) {
		const struct sp_stage_of *s = listen_stage(im, list.number[i]);
		uint32_t n = s ? (uint32_t)__builtin_popcountll(s->acting) : 0;

		if (s)
			options |= applied_among(im, s->first_cell, s->n_ops);
		for (uint32_t k = 0; k < n && s->first_block + k < im->of[MAP_ID_blocks].n; k++)
			options |= applied_among(im, blocks[s->first_block + k].first_cell,
						 blocks[s->first_block + k].n_ops);
	}
	return options;
}

/* Tells apart what is set on the listeners of a cgroup, but for some options; 0: nothing. */
static uint32_t listen_digest(const struct image *im, const char *path, uint64_t but)
{
	uint32_t digest = DIGEST_START;
	struct glob_list list;

	if (!im || glob_walk(&im->globs, path, &list) < 0)
		return 0;
	for (uint32_t i = 0; i < list.n; i++) {
		const struct sp_stage_of *s = listen_stage(im, list.number[i]);

		if (s)
			digest = digest_stage(im, s, but, digest);
	}
	return digest == DIGEST_START ? 0 : digest | 1;
}

static bool sets_listeners(const struct image *im)
{
	return im && im->generation.stages & BIT(SP_STAGE_TCP_LISTEN);
}

static void name_some(const struct sock_diag_list *listeners, const char *root_path,
		      const struct image *before, const struct image *after, FILE *to)
{
	size_t n = 0;

	for (size_t i = 0; i < listeners->n; i++) {
		const struct sock_diag_socket *l = &listeners->v[i];

		uint64_t but;

		progress_made();
		if (!l->cgroup || !cgroup_below(root_path, l->cgroup))
			continue;
		but = applied(after, l->cgroup);
		if (listen_digest(before, l->cgroup, but) == listen_digest(after, l->cgroup, but) ||
		    n++ >= NAMED_MAX)
			continue;
		fprintf(to,
			"listener %s in cgroup %s keeps what it has until it is opened again, "
			"though what policies give listeners has changed\n",
			l->local, l->cgroup);
	}
	if (n > NAMED_MAX)
		fprintf(to, "and so do %zu more\n", n - NAMED_MAX);
}

char *stale_name_listeners(const char *mount, const char *root_path, const struct image *before,
			   const struct image *after)
{
	struct sock_diag_list listeners = { 0 };
	char *text = NULL;
	size_t size;
	FILE *to;
	int r;

	if (!sets_listeners(before) && !sets_listeners(after))
		return NULL;
	r = sock_diag_listeners(&listeners);
	if (r == 0)
		r = cgroup_of_sockets(mount, &listeners);
	to = r == 0 ? open_memstream(&text, &size) : NULL;
	if (to) {
		name_some(&listeners, root_path, before, after, to);
		fclose(to);
	} else {
		log_warning_errno(r < 0 ? r : -ENOMEM,
				  "Cannot find the listeners that keep what they have, ignoring");
	}
	for (const char *line = text; line && *line; line = strchr(line, '\n') + 1)
		log_warning("%.*s", (int)strcspn(line, "\n"), line);
	sock_diag_clear(&listeners);
	return text;
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
		free(stale_name_listeners(mount, root, im, NULL));
}
