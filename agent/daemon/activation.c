// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "daemon/activation.h"
#include "policy/loader.h"
#include "base/log.h"
#include "daemon/sizes.h"
#include "kernel/support.h"

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

/*
 * A governor with room for the configuration in force in it, not yet attached.  from: whose place
 * it is to take, or NULL.
 */
static int build(const struct activation_request *request, struct kernel_sizes sizes,
		 const struct config *c, const struct governor *from, struct governor **ret,
		 struct diags *diags)
{
	for (;;) {
		_cleanup_(governor_free) struct governor *g = NULL;
		const char *what = "";
		int r = governor_new(request->mount, request->root_path, &sizes, from, &g);

		if (r == 0)
			r = from ? governor_take_gone(g, from)
				 : governor_take_gone_pinned(g, request->pin_dir);
		if (r < 0)
			return r;
		r = governor_activate(g, config_ref(c), &what);
		if (r == 0) {
			*ret = TAKE_PTR(g);
			return 0;
		}
		if (!sizes_grow(&sizes, g, r, what))
			return explain_failure(g, r, what, diags);
		log_debug("Map %s is too small: making all anew", what);
	}
}

static int replace(const struct activation_request *request, const struct kernel_sizes *sizes,
		   const struct config *c, struct governor **governor, struct diags *diags)
{
	const struct governor *from =
		*governor && !governor_root_is_gone(*governor) ? *governor : NULL;
	_cleanup_(governor_free) struct governor *g = NULL;
	int r = build(request, *sizes, c, from, &g, diags);

	if (r < 0)
		return r;
	r = governor_attach(g, from, request->pin_dir);
	if (r < 0)
		return r;
	*governor = TAKE_PTR(g);
	return 0;
}

/* Through the governor that is there, or, where that has not the room, another. */
static int put_in_force(const struct activation_request *request, const struct config *c,
			struct governor **governor, struct diags *diags)
{
	struct kernel_sizes sizes;
	int r;

	if (*governor && !governor_root_is_gone(*governor)) {
		const char *what = "";

		r = governor_activate(*governor, config_ref(c), &what);
		if (r == 0)
			return 0;
		sizes = *governor_sizes(*governor);
		if (!sizes_grow(&sizes, *governor, r, what))
			return explain_failure(*governor, r, what, diags);
		log_debug("Map %s is too small: making all anew", what);
	} else {
		r = sizes_for(c, 0, &sizes);
		if (r < 0)
			return log_error_errno(r, "Cannot tell how much room the policies need");
	}
	return replace(request, &sizes, c, governor, diags);
}

/* What an earlier agent left goes on under us, whatever becomes of the files. */
static int adopt(const struct activation_request *request, struct governor **governor)
{
	int r = governor_adopt(request->mount, request->root_path, request->pin_dir, governor);

	if (r == -EPROTO)
		log_notice("What is pinned at %s is of another version of sockpol, for another "
			   "cgroup, or not all there: it stays in force until the new takes its "
			   "place",
			   request->pin_dir);
	return r == -EPROTO || r == -ENOENT ? 0 : r;
}

int activate(const struct activation_request *request, struct governor **governor,
	     struct diags *diags)
{
	_cleanup_(config_free) struct config *c = NULL;
	int r = *governor ? 0 : adopt(request, governor);

	if (r == 0)
		r = load_files(request, diags, &c);
	return r < 0 ? r : put_in_force(request, c, governor, diags);
}

int activate_again(const struct activation_request *request, struct governor **governor,
		   struct diags *diags)
{
	const struct config *in_force = governor_config(*governor);
	_cleanup_(config_free) struct config *c = in_force ? config_ref(in_force) : NULL;

	return c ? put_in_force(request, c, governor, diags) : activate(request, governor, diags);
}
