/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Does the running kernel have what a configuration asks for?  It is asked, not guessed from its
 * version. */
#ifndef SOCKPOL_SUPPORT_H
#define SOCKPOL_SUPPORT_H

#include "host/host.h"
#include "policy/policy.h"

/* There was no socket to try the option on (a host without IPv6). */
#define SUPPORT_UNKNOWN (-ENODATA)

/* What a kernel answers when it is tried. */
struct kernel_support {
	int options[OPTION_MAX]; /* see support_probe_options() */
	uint64_t missing_stages; /* BIT(enum sp_stage): it has no hook for them */
};

/* Hooks that not every kernel has that we run on. */
struct missing_hook {
	const char *what;
	enum sp_stage stage; /* theirs */
	const char *since;
};
extern const struct missing_hook missing_hooks[];
extern const size_t n_missing_hooks;

/*
 * Tries every option on sockets of its own, with a BPF program that is gone when this returns.  By
 * enum option_id: 0: the kernel takes it, SUPPORT_UNKNOWN, or the negative errno it answers.
 * Returns 0, or a negative errno when nothing could be asked (-EPERM: no privilege).
 */
int support_probe_options(int ret[OPTION_MAX]);
/* Tries them all once, and the hooks that the configuration may need; NULL: all of them.  Returns 0
 * or a negative errno (-EPERM: no privilege). */
int support_probe(const struct config *c, const struct kernel_support **ret);

bool support_has_option(const struct kernel_support *k, enum option_id id);

/*
 * Takes options that the kernel lacks, and congestion controls that host does not name, out of the
 * configuration, with a warning, and notes them and rules that need hooks it lacks in
 * c->unsupported; with `on_failure: refuse` they stay, so that the hooks refuse what needs them;
 * with `on_unsupported: refuse` each is an error. Returns 0, -EBADMSG (errors in diags) or -ENOMEM.
 */
int support_apply(const struct kernel_support *k, const struct host *host, struct config *c,
		  struct diags *diags);

/*
 * The same for the running kernel, and has it load the congestion controls that the configuration
 * names: one that does not exist is an option that it lacks.  Returns 0, -EBADMSG (errors in diags)
 * or another negative errno, logged.
 */
int support_prepare(struct config *c, struct diags *diags);
/* The same without a change to the kernel: congestion controls are looked up, in host. */
int support_foresee(struct config *c, const struct host *host, struct diags *diags);

#endif
