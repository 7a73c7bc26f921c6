/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Programs of others at our hooks.  Of all that the kernel runs for a socket, what is attached to a
 * deeper cgroup runs first and what runs last wins.
 */
#ifndef SOCKPOL_NEIGHBOURS_H
#define SOCKPOL_NEIGHBOURS_H

#include <stdint.h>

#include <linux/bpf.h>

#include "base/util.h"

/* One of our programs, where it is attached. */
struct own_program {
	const char *hook;
	uint32_t attach_type; /* enum bpf_attach_type */
	uint32_t id;
};

struct neighbour {
	const char *hook; /* ours */
	uint32_t program_id;
	char name[BPF_OBJ_NAME_LEN]; /* as its loader wrote it; "": it is gone by now */
	bool is_sockpol;	     /* of another agent */
	bool runs_after;	     /* ours, so that it wins */
	char *cgroup; /* owned: below ours, where it is attached; NULL: at ours, or above */
};

/*
 * What runs beside `own` for sockets in the cgroup with this id: what is attached to it and to
 * those above it; and other sockpols that are attached below, each once.  -ENOENT: the cgroup is
 * gone.
 */
int neighbours_read(uint64_t cgroup_id, const struct own_program *own, size_t n_own,
		    struct neighbour **ret, size_t *ret_n);

void neighbours_free(struct neighbour *v, size_t n);

/* A program of any version of ours?  Looking takes CAP_SYS_ADMIN; false where that is missing. */
bool neighbours_is_sockpol(uint32_t program_id);

#endif
