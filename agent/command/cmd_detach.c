// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * sockpol detach: takes what agents left pinned out of the kernel, of whatever version, without an
 * agent, and nothing else.  Reports on stdout and in the log.
 */
#include <errno.h>
#include <fts.h>
#include <sys/stat.h>

#include "base/log.h"
#include "command/commands.h"
#include "daemon/stale.h"
#include "host/cgroup.h"
#include "kernel/pin_dir.h"

#define DEPTH_MAX 8 /* levels below a bpffs mount that are searched for pin directories */

DEFINE_CLEANUP(FTS *, fts_close)

static void name_foreign(const struct pin_family *f)
{
	for (size_t i = 0; i < f->n; i++)
		if (!f->v[i].ours)
			log_warning("%s is not sockpol's: left where it is", f->v[i].path);
}

static int detach_locked(const char *path)
{
	struct pin_dir d = { 0 };
	int r = pin_dir_read(path, &d), n;

	if (r < 0)
		return log_error_errno(r, "Cannot read the pin directory %s", path);
	n = (int)pin_dir_n_ours(&d);
	if (n) {
		stale_name_all(path);
		r = pin_dir_remove(path);
	}
	if (r == 0 && n)
		printf("%s: %d pin%s taken out; nothing that was pinned there is in force any more\n",
		       path, n, plural(n));
	else if (r == 0)
		printf("%s: nothing of sockpol is pinned there\n", path);
	name_foreign(&d.current);
	name_foreign(&d.next);
	name_foreign(&d.flat);
	pin_dir_clear(&d);
	/* systemd-tmpfiles makes and removes the default directory; the unit cannot start without
	 * it. */
	if (r == 0 && !streq(path, DEFAULT_PIN_DIR))
		rmdir(path);
	return r < 0 ? r : n;
}

/* Detaches one directory.  Returns how many pins went; -EBUSY: an agent runs there and its policies
 * stay; or another negative errno. */
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

/* Is the directory worth a look?  What is removed is decided later, pin by pin. */
static bool has_our_pins(const char *path)
{
	struct pin_dir d = { 0 };
	bool has = pin_dir_read(path, &d) == 0 && pin_dir_n_ours(&d) > 0;

	pin_dir_clear(&d);
	return has;
}

/* Detaches everything in one bpffs; adds the number of pin directories to *n. */
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
		fts_set(walk, one, FTS_SKIP); /* `current/` belongs to the same agent */
		(*n)++;
	}
	return result;
}

/* Detaches every pin directory on every mounted bpffs.  Returns 0, or the last error. */
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
		"version;\nno socket is governed by it from then on.  What is not sockpol's stays. "
		"Where an agent runs,\nits policies stay: stop it.\nExit status: 0 nothing is left "
		"there, 1 something is.",
	CLI_OPTIONS(options, struct request),
	.defaults = &(const struct request){ .pin_dir = DEFAULT_PIN_DIR },
	.run = detach,
};
