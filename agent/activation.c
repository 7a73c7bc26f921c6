// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "activation.h"
#include "loader.h"
#include "log.h"
#include "support.h"

/*
 * Room to begin with; what turns out too small is doubled.  The largest maps are then some 4 MB
 * (ops), 2 MB (sources) and 1 MB (policies); cgroups and failures take memory as they fill.
 */
static const struct kernel_sizes first_sizes = {
	.cgroups = 65536,
	.policies = 4096,
	.ops = 65536,
	.credits = 32768,
	.tests = 16384,
	.vectors = 65536,
	.sets4 = 1 << 22, /* a bound only: tries take memory as they fill */
	.sets6 = 1 << 22,
	.sources = 16384,
	.failures = 16384,
};
#define SIZE_MAX_ANY (1u << 22) /* no map grows beyond this many elements */

/* Doubles the map that ran out; false when that is not a way out. */
static bool grow(struct kernel_sizes *s, int error, const char *what)
{
	uint32_t *const members[KERNEL_MAP_MAX] = {
		[KERNEL_MAP_CGROUPS] = &s->cgroups, [KERNEL_MAP_POLICIES] = &s->policies,
		[KERNEL_MAP_OPS] = &s->ops,	    [KERNEL_MAP_CREDITS] = &s->credits,
		[KERNEL_MAP_TESTS] = &s->tests,	    [KERNEL_MAP_VECTORS] = &s->vectors,
		[KERNEL_MAP_SOURCES] = &s->sources,
	};

	if (error != -ENOSPC && error != -E2BIG)
		return false;
	for (int i = 0; i < KERNEL_MAP_MAX; i++) {
		if (!members[i] || !streq(what, kernel_map_names[i]))
			continue;
		if (*members[i] >= SIZE_MAX_ANY)
			return false;
		*members[i] *= 2;
		log_debug("Map %s is too small: making it anew for %u", what, *members[i]);
		return true;
	}
	return false;
}

static int load_files(const struct activation_request *request, struct diags *diags,
		      struct config **ret)
{
	_cleanup_(config_free) struct config *c = NULL;
	struct host host = { 0 };
	int r;

	host_read(&host);
	r = config_load(request->policy_dirs, NULL, &host, diags, &c);
	host_clear(&host);
	if (r < 0)
		return r;
	r = support_prepare(c, diags);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

/* The files again, without saying twice what is wrong with them. */
static int load_files_again(const struct activation_request *request, struct config **ret)
{
	struct diags unsaid = { 0 };
	int r = load_files(request, &unsaid, ret);

	diags_clear(&unsaid);
	return r;
}

static int explain_failure(const struct governor *g, int r, const char *what, struct diags *diags)
{
	struct position at;
	const char *complaint;

	if (r != -EBADMSG)
		return log_error_errno(r, "Cannot put the policies in force (%s)", what);
	complaint = governor_complaint(g, &at);
	diag_error(diags, &at, "%s", complaint);
	return r;
}

/* A governor with room for the configuration in force in it, not yet attached.  Takes c. */
static int build(const struct activation_request *request, struct kernel_sizes sizes,
		 struct config *c, struct governor **ret, struct diags *diags)
{
	for (;;) {
		_cleanup_(governor_free) struct governor *g = NULL;
		const char *what = "";
		int r = governor_new(request->mount, request->root_path, &sizes, &g);

		if (r < 0) {
			config_free(c);
			return r;
		}
		r = governor_activate(g, c, &what);
		if (r == 0) {
			*ret = TAKE_PTR(g);
			return 0;
		}
		if (!grow(&sizes, r, what))
			return explain_failure(g, r, what, diags);
		r = load_files_again(request, &c);
		if (r < 0)
			return r;
	}
}

static int replace(const struct activation_request *request, const struct kernel_sizes *sizes,
		   struct config *c, struct governor **governor, struct diags *diags)
{
	_cleanup_(governor_free) struct governor *g = NULL;
	int r = build(request, *sizes, c, &g, diags);

	if (r < 0)
		return r;
	r = governor_attach(g, request->pin_dir);
	if (r < 0)
		return r;
	*governor = TAKE_PTR(g);
	return 0;
}

int activate(const struct activation_request *request, struct governor **governor,
	     struct diags *diags)
{
	struct kernel_sizes sizes = first_sizes;
	struct config *c;
	const char *what = "";
	int r = load_files(request, diags, &c);

	if (r < 0)
		return r;
	if (*governor && !governor_root_is_gone(*governor)) {
		r = governor_activate(*governor, c, &what);
		if (r == 0)
			return 0;
		sizes = *governor_sizes(*governor);
		if (!grow(&sizes, r, what))
			return explain_failure(*governor, r, what, diags);
		r = load_files_again(request, &c);
		if (r < 0)
			return r;
	}
	return replace(request, &sizes, c, governor, diags);
}
