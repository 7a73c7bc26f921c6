/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The cgroup2 hierarchy: where it is mounted, ids and paths of cgroups, the cgroup of a process. */
#ifndef SOCKPOL_CGROUP_H
#define SOCKPOL_CGROUP_H

#include <stdint.h>
#include <sys/types.h>

#include "host/sock_diag.h"

#define MOUNTINFO "/proc/self/mountinfo"

/* A line of proc_pid_mountinfo(5).  The strings point into it. */
struct mount {
	const char *root; /* the part of the file system that is mounted; "/": all of it */
	const char *point;
	const char *type; /* "cgroup2", "bpf" */
	char *line;	  /* owned */
	size_t size;
};

/* Reads the next line into *m, which is zero at first.  Returns 1; 0 at the end; or a negative
 * errno. */
int mount_next(FILE *mountinfo, struct mount *m);

static inline void cleanup_mount_clear(struct mount *m)
{
	free(m->line);
}

/* Finds the cgroup2 mount in /proc/self/mountinfo ("/sys/fs/cgroup", "/sys/fs/cgroup/unified");
 * owned by the caller.  -ENOENT: no cgroup2 is mounted. */
int cgroup_mount(char **ret);
/* Finds the cgroup2 mount in an open file that has mountinfo's format. */
int cgroup_mount_in(FILE *mountinfo, char **ret);
/* Is the root of the mount the root of the hierarchy?  In a cgroup namespace that is not the
 * host's, as in most containers, it is only the cgroup of the namespace. */
bool cgroup_mount_is_whole(const char *mount);
/* Tells the id (st_ino) of the cgroup whose directory this is. */
int cgroup_id_of_dir(const char *directory, uint64_t *ret);
/* Finds the cgroup of a process, as a path below the mount ("/a/b"), in /proc/PID/cgroup; owned by
 * the caller.  -ESRCH: no such process. */
int cgroup_of_pid(pid_t pid, char **ret);
/* Finds the cgroup in an open file that has the format of /proc/PID/cgroup; -ENODATA: there is no
 * cgroup2 line. */
int cgroup_of_file(FILE *proc_cgroup, char **ret);
/* Is the process in our own cgroups of net_cls and net_prio (cgroup v1), or are there none? */
bool cgroup_net_is_ours(pid_t pid);
/* Finds these two controllers' lines in an open file that has the format of /proc/PID/cgroup;
 * owned, NULL: memory is out. */
char *cgroup_net_lines(FILE *proc_cgroup);
/* Finds the path below the mount of the cgroup with this id; owned.  -ENOENT: there is no such
 * directory (any more). */
int cgroup_path_of_id(const char *mount, uint64_t id, char **ret);
/* Finds the paths of n ids in one go, even if that means a walk over the hierarchy: sets paths[i],
 * NULL at first, owned, where ids[i] has a directory. */
int cgroup_paths_of_ids(const char *mount, const uint64_t *ids, size_t n, char **paths);
/* Finds the cgroups of all the sockets, by their ids. */
int cgroup_of_sockets(const char *mount, struct sock_diag_list *l);
/* Finds the path below the mount of what an administrator calls a cgroup: a directory, also
 * relative to the working directory, or a path below the mount; owned.  -EINVAL: "..". */
int cgroup_resolve(const char *mount, const char *name, char **ret);
/* Tells the id of what an administrator calls a cgroup: see cgroup_resolve(). */
int cgroup_id_of_name(const char *name, uint64_t *ret);
/* Returns "/a/b" for "ROOT/a/b", "/" for "ROOT"; NULL when the path is neither ROOT nor below it.
 */
static inline const char *cgroup_below(const char *root, const char *path)
{
	size_t length = strlen(root);

	while (length && root[length - 1] == '/')
		length--;
	if (strncmp(path, root, length) != 0 || (path[length] && path[length] != '/'))
		return NULL;
	return path[length] ? path + length : "/";
}

/* Makes "/a/b" from "a/b", "/a/b/", "//a/b" and from a directory below the mount (NULL: not known);
 * owned.  -EINVAL: "..". */
int cgroup_normalize(const char *mount, const char *path, char **ret);

#endif
