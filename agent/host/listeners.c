// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <netinet/tcp.h>

#include "host/listeners.h"
#include "base/log.h"

struct walk {
	listener_fn *fn;
	void *userdata;
	int result; /* what fn returned; once not 0, the rest is passed over */
};

static int on_socket(const struct sock_diag_socket *s, void *userdata)
{
	struct walk *walk = userdata;
	struct listener l = { .cgroup_id = s->cgroup_id };

	if (walk->result)
		return 0;
	snprintf(l.local, sizeof(l.local), "%s", s->local);
	walk->result = walk->fn(&l, walk->userdata);
	return 0;
}

int listeners_each(listener_fn *fn, void *userdata)
{
	_cleanup_(sock_diag_close) struct mnl_socket *nl = NULL;
	struct walk walk = { fn, userdata, 0 };
	int r = sock_diag_open(&nl);

	if (r == 0)
		r = sock_diag_each(nl, IPPROTO_TCP, BIT(TCP_LISTEN), on_socket, &walk);
	return r < 0 ? r : walk.result;
}

struct stale {
	listener_stale_fn *fn;
	void *userdata;
	int n;
};

static int name_stale(const struct listener *l, void *userdata)
{
	struct stale *stale = userdata;
	const char *path = stale->fn(l->cgroup_id, stale->userdata);

	if (!path)
		return 0;
	log_warning("listener %s in cgroup %s keeps what the old policy gave it until it is opened "
		    "again",
		    l->local, path);
	stale->n++;
	return 0;
}

int listeners_name_stale(listener_stale_fn *fn, void *userdata)
{
	struct stale stale = { fn, userdata, 0 };
	int r = listeners_each(name_stale, &stale);

	return r < 0 ? r : stale.n;
}
