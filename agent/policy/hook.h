/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The table of hooks: where in the kernel the programs run.  A new hook is a new row here and a
 * program of its name in bpf/. */
#ifndef SOCKPOL_HOOK_H
#define SOCKPOL_HOOK_H

#include <stdint.h>

#include <linux/bpf.h>

#include "../include/abi.h"
#include "base/util.h"

enum hook_id {
	HOOK_SOCK_OPS,
	HOOK_BIND4,
	HOOK_BIND6,
	HOOK_CONNECT4,
	HOOK_CONNECT6,
	HOOK_SENDMSG4,
	HOOK_SENDMSG6,
	HOOK_CONNECT_UNIX,
	HOOK_SENDMSG_UNIX,
	HOOK_SOCK_CREATE,
	HOOK_POST_CREATE,
	HOOK_SETSOCKOPT,
	HOOK_MAX,
};

struct hook {
	const char *name;    /* of the program, whose name has 15 bytes in the kernel, and of its
				link's pin */
	const char *section; /* of the program in the BPF object */
	uint64_t stages;     /* BIT(enum sp_stage): the stages that this hook serves */
	uint64_t observes;   /* stages of other hooks that need it as well, or SP_DUE_* */
	enum bpf_prog_type program_type;
	uint32_t attach_type;
	bool is_optional; /* some kernels on which sockpol runs lack it */
};

extern const struct hook hook_table[HOOK_MAX];

/* Returns the hooks (BIT(enum hook_id)) that are attached while something is due at these
 * stages. */
uint32_t hook_set(uint64_t stages);
/* Returns those of them that a kernel without hooks for the missing stages has. */
uint32_t hook_set_there(uint64_t stages, uint64_t missing_stages);
/* Names the hooks: "connect4, connect6"; owned.  NULL: memory is out. */
char *hook_names(uint32_t hooks);

#endif
