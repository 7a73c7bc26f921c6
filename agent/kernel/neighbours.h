/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Programs of others that can set options of sockets, at our hooks or elsewhere.  Of all that the
 * kernel runs at a hook, what is attached to a deeper cgroup runs first; what runs last in a
 * socket's life wins, wherever it is attached.
 */
#ifndef SOCKPOL_NEIGHBOURS_H
#define SOCKPOL_NEIGHBOURS_H

#include <stdint.h>

#include <linux/bpf.h>

#include "kernel/attachments.h"

/* When it runs, beside ours. */
enum neighbour_order {
	NEIGHBOUR_BEFORE,	    /* at the same hook */
	NEIGHBOUR_BEFORE_BUT_LATER, /* the same, where ours set something at earlier hooks too */
	NEIGHBOUR_AFTER,
	NEIGHBOUR_AFTER_ADDRESS, /* where it can change the peer's address */
	NEIGHBOUR_EARLIER,	 /* at a hook where ours have nothing */
	NEIGHBOUR_LATER,
};

struct neighbour {
	const char *hook;
	uint32_t program_id;
	char name[BPF_OBJ_NAME_LEN]; /* as its loader wrote it; "": it is gone by now */
	bool is_sockpol;	     /* of another agent */
	bool runs_after;	     /* ours, so that it wins */
	enum neighbour_order order;
	char *cgroup; /* owned: below ours, where it is attached; NULL: at ours, or above */
};

/*
 * What runs beside `own`, the programs of ours, for sockets in our cgroup on which policies in
 * force set something: what is attached to it and to those above it; what is attached below by
 * links at hooks after ours; and other sockpols below, each once.  -ENOENT: the cgroup is gone.
 */
int neighbours_read(const struct sp_state *state, const struct attachment *own, size_t n_own,
		    struct neighbour **ret, size_t *ret_n);
/* Says who wins: "after ours: what both set, it wins". */
const char *neighbour_effect(const struct neighbour *n);

void neighbours_free(struct neighbour *v, size_t n);

/* A program of any version of ours?  Looking takes CAP_SYS_ADMIN; false where that is missing. */
bool neighbours_is_sockpol(uint32_t program_id);

#endif
