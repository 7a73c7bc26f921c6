/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Pins on a bpffs, and what the kernel says of what is pinned.  A pin directory has `current/`: the
 * maps, links and programs of what is in force, and `next/` while that is being made.  A map's or
 * program's pin is called like it.
 */
#ifndef SOCKPOL_PIN_H
#define SOCKPOL_PIN_H

#include <stdint.h>

#include <linux/bpf.h>

#include "base/util.h"

#define PIN_CURRENT	   "current"
#define PIN_NEXT	   "next"
#define PIN_PROGRAM_SUFFIX "_program" /* a hook's name has its link */

enum pin_kind {
	PIN_NOTHING, /* of these, or it cannot be opened */
	PIN_MAP,
	PIN_LINK,
	PIN_PROGRAM,
	PIN_KIND_MAX,
};

/* NULL: no memory.  Owned. */
char *pin_path(const char *dir, const char *name);

/* Replaces what has the name.  Returns 0 or a negative errno, not logged. */
int pin_set(int fd, const char *dir, const char *name);
/* Returns a descriptor, or a negative errno; -EPROTO: it is something else. */
int pin_get(const char *dir, const char *name, enum pin_kind kind);
/* Returns 0, also where nothing is there, or a negative errno. */
int pin_unset(const char *dir, const char *name);
/* Has somebody removed it? */
bool pin_is_lost(const char *dir, const char *name);

/* *ret_fd: a descriptor, where it is one of the kinds. */
enum pin_kind pin_open(const char *path, int *ret_fd);

/* Returns 0 or a negative errno. */
int pin_map_info(int fd, struct bpf_map_info *ret);

struct pin_link {
	uint32_t id, program_id;
	uint32_t type;	      /* enum bpf_link_type */
	uint32_t attach_type; /* enum bpf_attach_type */
	uint64_t cgroup_id;   /* 0: it is attached to none, or was detached by force */
};
/* All is 0 where the kernel says nothing. */
void pin_link_info(int fd, struct pin_link *ret);

struct pin_program {
	uint32_t id;
	char name[BPF_OBJ_NAME_LEN];
	uint32_t maps[64]; /* their ids: those that are looked at; a program of ours uses fewer */
	uint32_t n_maps;
	uint32_t function; /* of the kernel, by its BTF, that a program of BPF LSM is for */
};
/* Returns 0 or a negative errno. */
int pin_program_info(int fd, struct pin_program *ret);
bool pin_program_uses(const struct pin_program *p, uint32_t map);

#endif
