/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Keeps the kernel's maps equal to what a configuration says of the cgroups that live: which policy
 * each has, from one generation to the next, and while cgroups come and go.
 */
#ifndef SOCKPOL_GOVERNOR_H
#define SOCKPOL_GOVERNOR_H

#include "kernel/kernel.h"
#include "policy/policy.h"

struct governor;

/* Loads the programs and watches cgroups from here on; nothing is governed yet.
 * root_path: below the cgroup2 mount.  from: see kernel_load(). */
int governor_new(const char *mount, const char *root_path, const struct kernel_sizes *sizes,
		 const struct governor *from, struct governor **ret);
/*
 * The same out of what an earlier agent left pinned for the same cgroup; it stays in force (with
 * its counters, and with the cgroups whose directory is gone) until governor_activate().  Attaches
 * too: its programs are replaced in place.  -ENOENT, -EPROTO: as kernel_adopt(); not logged.
 */
int governor_adopt(const char *mount, const char *root_path, const char *pin_dir,
		   struct governor **ret);
/* What `from` knows of cgroups whose directory is gone, before `g` takes its place. */
int governor_take_gone(struct governor *g, const struct governor *from);
/*
 * The same of what is pinned and cannot be adopted, as far as this version can read it; what it
 * cannot know is logged.
 */
int governor_take_gone_pinned(struct governor *g, const char *pin_dir);
/* Leaves what is pinned in force. */
void governor_free(struct governor *g);
DEFINE_CLEANUP(struct governor *, governor_free)

/*
 * Puts a configuration in force, whole, by one store; takes it over, also on failure.  On failure
 * what was in force stays in force, and *ret_what names what ran out (-ENOSPC, -E2BIG) or failed.
 */
int governor_activate(struct governor *g, struct config *c, const char **ret_what);
/*
 * After -EBADMSG of governor_activate(): what is wrong with the configuration as a whole, and
 * where. Valid until the next call.
 */
const char *governor_complaint(const struct governor *g, struct position *ret_at);
/* Governs sockets from here on.  from: whose place it takes, or NULL; see kernel_attach(). */
int governor_attach(struct governor *g, const struct governor *from, const char *pin_dir);
/* See kernel_pins_lost(), kernel_pin_again(). */
size_t governor_pins_lost(const struct governor *g);
int governor_pin_again(struct governor *g);
/* Takes everything out of the kernel. */
void governor_detach(struct governor *g);

int governor_event_fd(const struct governor *g);
int governor_process_events(struct governor *g);

/* The cgroup that it is attached to was removed: it governs nothing any more. */
bool governor_root_is_gone(const struct governor *g);

/* A new cgroup found no room, and larger maps would have it. */
bool governor_needs_room(const struct governor *g);

const struct kernel_sizes *governor_sizes(const struct governor *g);
/* After -ENOSPC or -E2BIG of governor_activate(): what the configuration needs at least, of one
 * generation; 0 where that is not known. */
const struct kernel_sizes *governor_needed(const struct governor *g);
const struct config *governor_config(const struct governor *g); /* in force; NULL: none yet */
size_t governor_n_governed(const struct governor *g);

#endif
