// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * sockpol detach: takes what agents left pinned out of the kernel, of whatever version they were,
 * without an agent, and nothing else.  All is said on stdout and in the log.
 */
#include <errno.h>
#include <fts.h>
#include <sys/stat.h>

#include "host/cgroup.h"
#include "command/commands.h"
#include "kernel/kernel.h"
#include "host/listeners.h"
#include "host/mount.h"
#include "base/log.h"
#include "kernel/pin.h"
#include "kernel/pin_dir.h"
#include "kernel/pin_family.h"
#include "kernel/pins.h"

#define DEPTH_MAX 8 /* below a bpffs mount, where pin directories are looked for */

DEFINE_CLEANUP(FTS *, fts_close)

struct in_force {
	struct pins *pins;
	char *mount; /* of cgroup2 */
	char *path;  /* of the last listener's cgroup */
};

static const char *is_governed_listener(uint64_t cgroup_id, void *userdata)
{
	struct in_force *f = userdata;
	struct sp_policy policy;
	uint32_t index;

	free(f->path);
	f->path = NULL;
	if (pins_cgroup(f->pins, cgroup_id, &index) < 0 || !index ||
	    pins_policy(f->pins, index, &policy) < 0 || !policy.stage[SP_STAGE_TCP_LISTEN].n_ops ||
	    cgroup_path_of_id(f->mount, cgroup_id, &f->path) < 0)
		return NULL;
	return f->path;
}

/* Before all goes; it is a courtesy, so what fails is passed over. */
static void name_listeners(const char *pin_dir)
{
	struct in_force f = { 0 };
	struct sp_state state;

	if (pins_open(pin_dir, &f.pins) < 0)
		return;
	if (pins_state(f.pins, &state) == 0 && state.stages & BIT(SP_STAGE_TCP_LISTEN) &&
	    cgroup_mount(&f.mount) == 0)
		(void)listeners_name_stale(is_governed_listener, &f);
	pins_close(f.pins);
	free(f.mount);
	free(f.path);
}

static int remove_pins(const struct pin_family *family)
{
	int result = 0;

	for (size_t i = 0; i < family->n; i++) {
		int r = pin_remove(family->paths[i]);

		if (r < 0)
			result = log_error_errno(r, "Cannot remove the pin %s", family->paths[i]);
	}
	return result;
}

static void say_what_went(const char *path, const struct pin_family *family)
{
	if (family->n)
		printf("%s: %zu pins taken out; nothing of it is in force any more\n", path,
		       family->n);
	else
		printf("%s: nothing of sockpol is pinned there\n", path);
	for (size_t i = 0; i < family->n_foreign; i++)
		log_warning("%s is not sockpol's: left where it is", family->foreign[i]);
}

static int detach_locked(const char *path)
{
	struct pin_family family;
	int r = pin_family_read(path, &family), n;

	if (r < 0)
		return log_error_errno(r, "Cannot read the pin directory %s", path);
	if (family.n)
		name_listeners(path);
	r = remove_pins(&family);
	if (r == 0)
		say_what_went(path, &family);
	n = (int)family.n;
	pin_family_clear(&family);
	/* The default one is systemd-tmpfiles' to make and to remove: the unit cannot start
	 * without. */
	if (r == 0 && !streq(path, DEFAULT_PIN_DIR))
		rmdir(path);
	return r < 0 ? r : n;
}

/* Returns how many pins went; -EBUSY: an agent runs there, and what it has stays; or another
 * negative errno. */
static int detach_pin_dir(const char *path)
{
	_cleanup_close_ int lock = -1;
	struct stat st;

	if (stat(path, &st) < 0 && errno == ENOENT) {
		printf("%s: nothing of sockpol is pinned there\n", path);
		return 0;
	}
	lock = pin_dir_lock(path);
	if (lock == -EBUSY)
		log_error("%s: an agent runs with these pins; stop it first (where it is the "
			  "service: systemctl stop sockpol)",
			  path);
	return lock < 0 ? lock : detach_locked(path);
}

/* Is it worth a look?  Only what lies in it decides what is removed. */
static bool has_our_pins(const char *path)
{
	struct pin_family family;
	bool has;

	if (pin_family_read(path, &family) < 0)
		return false;
	has = family.n > 0;
	pin_family_clear(&family);
	return has;
}

/* One bpffs; adds to *n the directories that were looked into. */
static int detach_below(const char *mount, size_t *n)
{
	char *const roots[] = { (char *)(uintptr_t)mount, NULL };
	_cleanup_(fts_close) FTS *walk =
		fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
	int result = 0, r;
	FTSENT *one;

	if (!walk)
		return log_error_errno(errno, "Cannot look through %s", mount);
	while ((one = fts_read(walk))) {
		if (one->fts_info != FTS_D)
			continue;
		if (one->fts_level >= DEPTH_MAX)
			fts_set(walk, one, FTS_SKIP);
		if (!has_our_pins(one->fts_path))
			continue;
		r = detach_pin_dir(one->fts_path);
		result = r < 0 ? r : result;
		(*n)++;
	}
	return result;
}

/* Every pin directory on every bpffs that is mounted.  Returns 0, or the last error of one. */
static int detach_all(void)
{
	_cleanup_fclose_ FILE *mountinfo = fopen(MOUNTINFO, "re");
	_cleanup_(mount_clear) struct mount m = { 0 };
	int result = 0, r;
	size_t n = 0;

	if (!mountinfo)
		return log_error_errno(errno, "Cannot read " MOUNTINFO);
	while (mount_next(mountinfo, &m) > 0) {
		if (!streq(m.type, "bpf"))
			continue;
		r = detach_below(m.point, &n);
		result = r < 0 ? r : result;
	}
	if (!n)
		printf("nothing of sockpol is pinned on any bpffs that is mounted here\n");
	return result;
}

struct request {
	bool all;
	const char *pin_dir;
};

static const struct cli_option options[] = {
	{ "all", NULL, "every pin directory on every bpffs that is mounted",
	  CLI_FLAG(struct request, all) },
	{ "pin-dir", "DIR", "the agent's (" DEFAULT_PIN_DIR ")",
	  CLI_TEXT(struct request, pin_dir) },
};

static int detach(const void *given, const char *const *arguments)
{
	const struct request *q = given;
	int r = q->all ? detach_all() : detach_pin_dir(q->pin_dir);

	(void)arguments;
	return r < 0 ? EXIT_BAD : EXIT_GOOD;
}

const struct command cmd_detach = {
	.name = "detach",
	.summary = "take out of the kernel what an agent left in force",
	.synopsis = "detach [--all | --pin-dir DIR]",
	.description =
		"Takes out of the kernel what an agent that is gone left in force, of whatever "
		"version;\nnothing is governed by it from then on.  What is not sockpol's stays. "
		"Where an agent runs,\nits policies stay: stop it.\nExit status: 0 nothing is left "
		"there, 1 something is.",
	CLI_OPTIONS(options, struct request),
	.defaults = &(const struct request){ .pin_dir = DEFAULT_PIN_DIR },
	.run = detach,
};
