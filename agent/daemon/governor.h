/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The configuration in force below a cgroup, and its replacement by another. */
#ifndef SOCKPOL_GOVERNOR_H
#define SOCKPOL_GOVERNOR_H

#include <systemd/sd-event.h>

#include "base/diag.h"
#include "compile/image.h"
#include "kernel/counting.h"

struct governor {
	char *mount;		      /* of cgroup2 */
	char *root_path;	      /* of the cgroup that it governs, below the mount */
	char *directory;	      /* of that */
	const char *pin_dir;	      /* borrowed */
	uint64_t only;		      /* id of the cgroup that is all it sees of the hierarchy; 0:
				       * it sees the whole */
	struct kernel *kernel;	      /* NULL: nothing is in force by this governor */
	struct counting *counters;    /* of the kernel side */
	struct config *config;	      /* in force; NULL: none, or an earlier agent's */
	uint32_t devices;	      /* tells apart what its names of devices meant */
	sd_event_source *watch;	      /* of devices that come and go */
	struct image *before, *after; /* until it is settled: what listeners were set by (or NULL),
				       * and are */
	bool before_is_known;
	bool to_apply;		   /* the switch changed something for `existing: apply` */
	struct existing *existing; /* runs; or NULL */
};

/* Nothing is in force by it yet.  cgroup_root: see cgroup_resolve(); NULL: all.  Errors are logged.
 */
int governor_init(struct governor *g, const char *cgroup_root, const char *pin_dir);
/* Leaves what is pinned in force. */
void governor_clear(struct governor *g);

/*
 * From the policy files to a governed kernel: loads the files, has the kernel load what they need,
 * and puts them in force, whole, by one store.  What an earlier agent left pinned for the same
 * cgroup is adopted first, and so stays in force also when the files are wrong; what it left
 * otherwise is replaced.  policy_dirs: NULL-terminated.  Returns 0; -EBADMSG: the files are wrong,
 * or more than fits (see diags); or another negative errno, logged.  On failure what was in force
 * stays so.
 */
int governor_load(struct governor *g, const char *const *policy_dirs, struct diags *diags);

/* From now on puts the configuration in force again whenever a device that it names has another
 * index: socket(2) gives the index.  Without this all goes on, but for such names. */
void governor_watch_devices(struct governor *g, sd_event *event);

/*
 * After a governor_load() that succeeded, when there is time (a few grace periods): frees what
 * was in force before, detaches hooks that nothing needs any more, and names the listeners for
 * which it comes too late: returns what stale_name_listeners() does.
 */
char *governor_settle(struct governor *g);

/* Takes everything out of the kernel, and what an earlier agent left, too. */
void governor_detach(struct governor *g);

#endif
