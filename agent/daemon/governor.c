// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <net/if.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <systemd/sd-daemon.h>

#include "base/digest.h"
#include "base/log.h"
#include "base/progress.h"
#include "compile/image.h"
#include "daemon/existing.h"
#include "daemon/governor.h"
#include "daemon/stale.h"
#include "host/cgroup.h"
#include "kernel/counting.h"
#include "kernel/generation.h"
#include "kernel/kernel.h"
#include "kernel/pin_dir.h"
#include "kernel/pinned.h"
#include "kernel/support.h"
#include "policy/loader.h"

/* A container has such a view of the hierarchy, and paths in policies are below its root. */
static int find_namespace(struct governor *g)
{
	int r;

	if (!streq(g->root_path, "/") || cgroup_mount_is_whole(g->mount))
		return 0;
	r = cgroup_id_of_dir(g->mount, &g->only);
	if (r < 0)
		return log_error_errno(r, "Cannot look at the cgroup %s", g->mount);
	log_warning("This process is in a cgroup namespace of its own: attached at cgroup %" PRIu64
		    " only, which %s shows; nothing outside of it is governed.  To govern the host "
		    "from a container, start it with --cgroupns=host and the host's /sys/fs/cgroup",
		    g->only, g->mount);
	return 0;
}

/* The service manager waits on, however long a part of the work takes. */
static void still_alive(void)
{
	sd_notify(0, "WATCHDOG=1\nEXTEND_TIMEOUT_USEC=30000000");
}

int governor_init(struct governor *g, const char *cgroup_root, const char *pin_dir)
{
	int r = cgroup_mount(&g->mount);

	progress_tell(still_alive);
	g->pin_dir = pin_dir;
	if (r < 0)
		return log_error_errno(r, "No cgroup2 hierarchy is mounted, and cgroup v1 will not "
					  "do (mount -t cgroup2 none /sys/fs/cgroup/unified)");
	r = cgroup_resolve(g->mount, cgroup_root ? cgroup_root : "/", &g->root_path);
	if (r < 0)
		return log_error_errno(r, "%s is not a cgroup below %s", cgroup_root, g->mount);
	g->directory = text_format("%s%s", g->mount, g->root_path);
	return g->directory ? find_namespace(g) : log_oom();
}

static void free_images(struct governor *g)
{
	image_free(g->before);
	image_free(g->after);
	g->before = g->after = NULL;
}

static void finish_existing(struct governor *g)
{
	existing_finish(g->existing);
	g->existing = NULL;
}

static void drop_kernel(struct governor *g)
{
	free_images(g);
	if (g->counters)
		counting_free(g->counters);
	if (g->kernel)
		kernel_free(g->kernel);
	config_free(g->config);
	g->counters = NULL;
	g->kernel = NULL;
	g->config = NULL;
}

void governor_clear(struct governor *g)
{
	progress_tell(NULL);
	sd_event_source_unref(g->watch);
	finish_existing(g);
	drop_kernel(g);
	free(g->mount);
	free(g->root_path);
	free(g->directory);
}

static int find_place(const struct governor *g, struct kernel_place *ret)
{
	int r;

	*ret = (struct kernel_place){ .directory = g->directory, .pin_dir = g->pin_dir };
	r = cgroup_id_of_dir(g->directory, &ret->cgroup_id);
	if (r == 0)
		r = cgroup_id_of_dir(g->mount, &ret->mount_id);
	return r < 0 ? log_error_errno(r, "Cannot look at the cgroup %s", g->directory) : 0;
}

/* What an earlier agent left pinned for the same cgroup stays in force, with its counters, whatever
 * becomes of the files. */
static int adopt(struct governor *g)
{
	_cleanup_(counting_free) struct counting *counters = NULL;
	_cleanup_(kernel_free) struct kernel *k = NULL;
	struct kernel_place place;
	int r = find_place(g, &place);

	if (r == 0)
		r = counting_new(&counters);
	if (r < 0)
		return r;
	r = kernel_adopt(&place, &k);
	if (r == -EPROTO)
		log_notice("What is pinned at %s is of another version of sockpol, for another "
			   "cgroup, or not all there: it stays in force until the new takes its "
			   "place",
			   g->pin_dir);
	if (r < 0)
		return r == -EPROTO || r == -ENOENT ? 0 : r;
	r = counting_read(counters, k);
	if (r < 0)
		return log_error_errno(r, "Cannot read the counters of the agent before");
	generation_settle(k);
	g->kernel = TAKE_PTR(k);
	g->counters = TAKE_PTR(counters);
	return 0;
}

static int load_files(const char *const *policy_dirs, struct diags *diags, struct config **ret)
{
	_cleanup_(config_free) struct config *c = NULL;
	struct host host = { 0 };
	int r;

	host_read(&host);
	r = config_load(policy_dirs, NULL, &host, diags, &c);
	host_clear(&host);
	if (r == 0)
		r = support_prepare(c, diags);
	if (r == 0)
		*ret = TAKE_PTR(c);
	return r;
}

/* A configuration on its way. */
struct change {
	struct config *config;
	struct counting *counters;
	struct image *image;  /* of the configuration */
	struct image *before; /* what listeners were set by; NULL: nothing */
	bool before_is_known;
	uint32_t devices; /* what the image took the names of devices for */
};

static int compile(struct change *c, struct diags *diags)
{
	_cleanup_free_ char *error = NULL;
	struct position at = { 0 };
	int r = counting_add_config(c->counters, c->config);

	if (r == -ENOSPC) {
		diag_error(diags, &c->config->policies[c->config->n_policies - 1].at,
			   "there are more than %u policies and rules", SP_COUNTERS_MAX - 1);
		return -EBADMSG;
	}
	if (r == 0)
		r = image_new(c->config, counting_index, c->counters, &c->image, &error, &at);
	if (r == -E2BIG && error) {
		diag_error(diags, &at, "%s", error);
		return -EBADMSG;
	}
	return r < 0 ? log_error_errno(r, "Cannot compile the policies") : 0;
}

static void read_before(const struct governor *g, struct change *c)
{
	_cleanup_(pinned_close) struct pinned *p = NULL;
	int r = pinned_open(g->pin_dir, &p);

	if (r == 0 && pinned_generation(p)->stages & BIT(SP_STAGE_TCP_LISTEN))
		r = pinned_image(p, &c->before);
	c->before_is_known = r == 0 || r == -ENOENT;
	if (!c->before_is_known && r != -EPROTO)
		log_warning_errno(r, "Cannot tell which listeners keep what they have, ignoring");
}

static uint64_t stages_in_force(const struct kernel *k)
{
	const struct sp_state *state = k->state;

	return state->of[state->generation & 1].stages;
}

/* Is a switch from nothing one from a configuration that nobody knows? */
static void decide_to_apply(struct governor *g, const struct kernel *k)
{
	const struct sp_state *state = k->state;
	const bool applies = state->of[state->generation & 1].flags & SP_GENERATION_APPLIES;

	g->to_apply = applies && (SP_HAS_PREVIOUS(state) || !k->earlier);
	if (applies && !g->to_apply)
		log_notice(
			"Open sockets keep what they have, as what the agent before had in force "
			"cannot be compared; `sockpol apply` sets what is in force now");
}

/* In the place of what this governor has in force. */
static int replace(struct governor *g, struct change *c)
{
	uint64_t before = stages_in_force(g->kernel), after = c->image->generation.stages;
	int r = counting_write(c->counters, g->kernel);

	if (r == 0)
		r = kernel_use_stages(g->kernel, before | after);
	progress_made();
	if (r == 0)
		r = generation_write(g->kernel, c->image);
	if (r < 0) {
		(void)kernel_use_stages(g->kernel, before);
		return r;
	}
	progress_made();
	generation_switch(g->kernel, c->image);
	decide_to_apply(g, g->kernel);
	return 0;
}

/* What is in force is what the files say.  Hooks that somebody took away come again. */
static int keep(struct governor *g, struct change *c)
{
	int r = counting_write(c->counters, g->kernel);

	c->before_is_known = false; /* no listener keeps anything else */
	return r < 0 ? r : kernel_use_stages(g->kernel, stages_in_force(g->kernel));
}

/* In the place of what an earlier agent left, or of nothing. */
static int start(struct governor *g, const struct kernel_place *place, struct change *c)
{
	_cleanup_(kernel_free) struct kernel *k = NULL;
	int r = kernel_load(place, c->image->generation.stages, &k);

	progress_made();
	if (r == 0)
		r = counting_write(c->counters, k);
	if (r == 0)
		r = generation_write(k, c->image);
	if (r < 0)
		return r;
	generation_switch(k, c->image);
	r = kernel_take_over(k);
	if (r < 0)
		return r;
	/* Takes over an earlier agent's counts once its programs have run for the last time. */
	if (k->earlier && generation_wait_for_programs(k) == 0)
		counting_carry(c->counters, k, g->pin_dir);
	kernel_commit(k);
	decide_to_apply(g, k);
	g->kernel = TAKE_PTR(k);
	g->counters = TAKE_PTR(c->counters);
	return 0;
}

static uint32_t digest_settings(const struct settings *settings, uint32_t digest)
{
	for (size_t i = 0; i < settings->n; i++) {
		const struct setting *s = &settings->v[i];

		if (s->option != &option_table[OPTION_SO_BINDTODEVICE] || s->unset)
			continue;
		digest = digest_number(digest, if_nametoindex(sockopt_data(&s->value)));
	}
	return digest;
}

/* Tells apart what the names of devices mean now; DIGEST_START: there are none. */
static uint32_t digest_devices(const struct config *c)
{
	uint32_t digest = DIGEST_START;

	for (size_t i = 0; i < c->n_policies; i++) {
		const struct policy *p = &c->policies[i];

		digest = digest_settings(&p->base, digest);
		for (size_t k = 0; k < p->n_rules; k++)
			digest = digest_settings(&p->rules[k].options, digest);
	}
	return digest;
}

/* If the cgroup was made anew, the configuration in force was for the one that had this path
 * before. */
static int drop_lost_cgroup(struct governor *g)
{
	struct kernel_place place;
	int r = find_place(g, &place);

	if (r < 0 || !g->kernel || place.cgroup_id == g->kernel->state->cgroup_root_id)
		return r;
	free(governor_settle(g));
	drop_kernel(g);
	return pin_dir_recover(g->pin_dir);
}

/* The change's configuration may be the one in force. */
static int activate(struct governor *g, struct change *c, struct diags *diags)
{
	struct kernel_place place;
	bool fresh = !g->kernel;
	int r = find_place(g, &place);

	if (r < 0)
		return r;
	finish_existing(g); /* what it compares with is what comes next */
	free(governor_settle(g));
	finish_existing(g);
	c->counters = g->counters;
	c->devices = digest_devices(c->config); /* first: what changes later is seen later */
	r = fresh ? counting_new(&c->counters) : 0;
	if (r == 0)
		r = compile(c, diags);
	if (r == 0) {
		assert(c->image);
		if (!fresh && generation_is_in_force(g->kernel, c->image)) {
			r = keep(g, c);
		} else {
			read_before(g, c);
			r = fresh ? start(g, &place, c) : replace(g, c);
		}
	}
	if (fresh && c->counters)
		counting_free(c->counters);
	if (r < 0) {
		if (!fresh)
			counting_keep_only(g->counters, g->kernel, g->config);
		return r;
	}
	if (g->config != c->config)
		config_free(g->config);
	g->config = TAKE_PTR(c->config);
	g->devices = c->devices;
	g->before = TAKE_PTR(c->before);
	g->before_is_known = c->before_is_known;
	g->after = TAKE_PTR(c->image);
	return 0;
}

int governor_load(struct governor *g, const char *const *policy_dirs, struct diags *diags)
{
	struct change c = { 0 };
	int r = g->kernel ? 0 : adopt(g);

	if (r == 0)
		r = load_files(policy_dirs, diags, &c.config);
	progress_made();
	if (r == 0)
		r = drop_lost_cgroup(g);
	if (r == 0)
		r = activate(g, &c, diags);
	image_free(c.image);
	image_free(c.before);
	config_free(c.config);
	malloc_trim(0); /* what probing and compiling took */
	return r;
}

static void follow_devices(struct governor *g)
{
	struct change c = { .config = g->config };
	struct diags diags = { 0 };

	if (!g->kernel || !g->config || g->devices == DIGEST_START ||
	    digest_devices(g->config) == g->devices)
		return;
	if (activate(g, &c, &diags) == 0)
		log_info("a device that policies name was made, or is gone: its index is in force");
	else
		log_warning(
			"A device that policies name has another index, and what socket(2) gives "
			"stays as it was, until the next reload");
	image_free(c.image);
	image_free(c.before);
	diags_clear(&diags);
}

/* Devices come and go: what is read of them is thrown away, as their names tell. */
static int on_devices(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	char bytes[8192];

	(void)source;
	(void)events;
	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0 || errno == ENOBUFS)
		;
	follow_devices(userdata);
	free(governor_settle(userdata));
	return 0;
}

void governor_watch_devices(struct governor *g, sd_event *event)
{
	const struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE), r;

	r = fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0
		    ? -errno
		    : sd_event_add_io(event, &g->watch, fd, EPOLLIN, on_devices, g);
	if (r >= 0)
		r = sd_event_source_set_io_fd_own(g->watch, true);
	else if (fd >= 0)
		close(fd);
	if (r < 0)
		log_warning_errno(r, "Cannot follow network devices, ignoring");
}

char *governor_settle(struct governor *g)
{
	char *listeners = NULL;

	if (!g->kernel || !g->after)
		return NULL;
	generation_free_others(g->kernel);
	if (kernel_use_stages(g->kernel, stages_in_force(g->kernel)) < 0)
		log_warning("Hooks that no policy needs any more may still be attached, ignoring");
	counting_keep_only(g->counters, g->kernel, g->config);
	if (g->before_is_known)
		listeners = stale_name_listeners(g->mount, g->root_path, g->before, g->after);
	free_images(g);
	malloc_trim(0); /* what made the generation is free now */
	if (g->to_apply)
		g->existing = existing_start(g->pin_dir);
	g->to_apply = false;
	return listeners;
}

void governor_detach(struct governor *g)
{
	stale_name_all(g->pin_dir);
	if (g->kernel)
		kernel_detach(g->kernel);
	else
		(void)pin_dir_remove(g->pin_dir);
}
