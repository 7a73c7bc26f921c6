// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "base/log.h"
#include "daemon/activation.h"
#include "kernel/support.h"
#include "policy/loader.h"

static int load_files(const char *const *policy_dirs, struct diags *diags, struct config **ret)
{
	_cleanup_(config_free) struct config *c = NULL;
	struct host host = { 0 };
	int r;

	host_read(&host);
	r = config_load(policy_dirs, NULL, &host, diags, &c);
	host_clear(&host);
	if (r < 0)
		return r;
	r = support_prepare(c, diags);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

/* What an earlier agent left goes on under us, whatever becomes of the files. */
static int adopt(struct governor *g, const char *pin_dir)
{
	int r = governor_adopt(g);

	if (r == -EPROTO)
		log_notice("What is pinned at %s is of another version of sockpol, for another "
			   "cgroup, or not all there: it stays in force until the new takes its "
			   "place",
			   pin_dir);
	return r == -EPROTO || r == -ENOENT ? 0 : r;
}

int activate(struct governor *g, const char *pin_dir, const char *const *policy_dirs,
	     struct diags *diags)
{
	struct config *c = NULL;
	int r = governor_has_policy(g) ? 0 : adopt(g, pin_dir);

	if (r == 0)
		r = load_files(policy_dirs, diags, &c);
	return r < 0 ? r : governor_activate(g, c, diags);
}
