/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A configuration in memory, as the maps of one generation hold it: the kernel side writes it,
 * `explain` and the tests compare with it.  Every policy is compiled on its own; no cgroup is
 * looked at.
 */
#ifndef SOCKPOL_IMAGE_H
#define SOCKPOL_IMAGE_H

#include "compile/glob_nodes.h"
#include "compile/maps.h"
#include "policy/policy.h"

struct image {
	const struct config *config; /* must outlive the image */
	struct sp_generation generation;
	struct {
		void *values; /* owned; n elements of map_table[].value_size */
		uint32_t n;
	} of[MAP_ID_MAX]; /* the EXACT ones; index 0 of `policies` is unused */
	struct glob_tables globs;
};

/* Returns the index of a counter, by the names of struct sp_counter: rule is a rule's name, "" or
 * SP_COUNTER_AT_SOCKET.  0: there is none. */
typedef uint32_t image_counter_fn(const struct policy *p, const char *rule, void *userdata);

/*
 * Compiles a configuration.  Returns 0, -ENOMEM, or -E2BIG: it does not fit the maps; *ret_error is
 * then an owned sentence and *ret_at the position in the files.
 */
int image_new(const struct config *c, image_counter_fn *counter, void *userdata, struct image **ret,
	      char **ret_error, struct position *ret_at);
void image_free(struct image *im);
DEFINE_CLEANUP(struct image *, image_free)

/* Finds what struct sp_state has as `asked`, for the options (1 << enum option_id) about which some
 * policy has a word, or whose values are noted. */
void image_ask(uint64_t asked, uint64_t respected, uint8_t ret[SP_ASKED_LEVELS][SP_ASKED_NAMES]);

/* Returns the number of a policy: its index in the map `policies`. */
static inline uint32_t image_policy_number(const struct image *im, const struct policy *p)
{
	return 1 + (uint32_t)(p - im->config->policies);
}

#endif
