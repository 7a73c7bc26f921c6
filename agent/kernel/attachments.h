/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What runs at the hooks of a cgroup: our programs, and those of others among them. */
#ifndef SOCKPOL_ATTACHMENTS_H
#define SOCKPOL_ATTACHMENTS_H

#include <stdint.h>

#include "../include/abi.h"
#include "policy/hook.h"

/* A hook that is due, or where something is pinned. */
struct attachment {
	enum hook_id hook;
	uint32_t link_id;    /* 0: it is not pinned */
	uint32_t program_id; /* 0: neither it nor its link is pinned */
	uint64_t cgroup_id;  /* of the link; 0: its cgroup is gone, or somebody detached it */
	bool is_due;	     /* a policy in force has something to set there */
	bool is_attached;    /* a program of ours runs there for sockets in our cgroup */
};

/* Reads them from the pins and from the cgroup itself.  state: that of the pins.  Returns 0 or a
 * negative errno. */
int attachments_read(const char *pin_dir, const struct sp_state *state,
		     struct attachment ret[HOOK_MAX], size_t *ret_n);

/* Names the hooks that are due and not attached: "connect4, connect6"; owned, NULL: none.  Returns
 * 0 or a negative errno. */
int attachments_name_lost(const char *pin_dir, const struct sp_state *state, char **ret);

/* Opens the directory of the cgroup with this id.  ret_mount, ret_path: where it is; owned, or
 * NULL: not asked for.  -ENOENT: it is gone. */
int attachments_open_cgroup(uint64_t id, char **ret_mount, char **ret_path);
/* Finds the programs of a hook that run for sockets in the cgroup, in their order; *ret: owned.
 * attach_type: enum bpf_attach_type.  Returns 0 or a negative errno. */
int attachments_query(int cgroup_fd, uint32_t attach_type, uint32_t **ret, uint32_t *ret_n);

#endif
