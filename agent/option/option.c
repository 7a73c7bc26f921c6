// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <linux/bpf.h>

#include "base/names.h"
#include "option/option.h"

#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44 /* since 6.15: newer than the headers of Debian 12 */
#endif

const struct option option_table[OPTION_MAX] = {
#define OPTION(name_, ...) [OPTION_##name_] = { .name = #name_, __VA_ARGS__ },
#include "../include/option_table.h"
#undef OPTION
};

/* include/option_table.h says what the order of the rows is for. */
static_assert(OPTION_MAX <= SP_BLOCK_OPS_MAX, "a block holds every option once");
static_assert(OPTION_MAX <= 64, "a bit for each option");
static_assert((int)OPTION_IP_TOS < (int)OPTION_SO_PRIORITY, "IP_TOS overwrites SO_PRIORITY");
static_assert((int)OPTION_TCP_CONGESTION < (int)OPTION_TCP_BPF_SNDCWND_CLAMP &&
		      (int)OPTION_TCP_CONGESTION < (int)OPTION_TCP_BPF_IW &&
		      (int)OPTION_TCP_CONGESTION < (int)OPTION_SO_MAX_PACING_RATE,
	      "a congestion control may touch window and pacing when it starts");
static_assert((int)OPTION_TCP_KEEPIDLE < (int)OPTION_SO_KEEPALIVE &&
		      (int)OPTION_TCP_KEEPINTVL < (int)OPTION_SO_KEEPALIVE &&
		      (int)OPTION_TCP_KEEPCNT < (int)OPTION_SO_KEEPALIVE,
	      "SO_KEEPALIVE arms the timer with the times");

const struct option_shorthand option_shorthands[] = {
	{ .as_option = { .name = "DSCP",
			 .level = IPPROTO_IP,
			 .optname = IP_TOS,
			 .type = OPTION_DSCP,
			 .max = 63,
			 .summary = "IP_TOS and IPV6_TCLASS together: the six bits of the DSCP, "
				    "the ECN bits left to the kernel" },
	  .expands_to = { &option_table[OPTION_IP_TOS], &option_table[OPTION_IPV6_TCLASS] } },
};
const size_t n_option_shorthands = ARRAY_SIZE(option_shorthands);

static enum option_id other_spelling(enum option_id id)
{
	switch (id) {
	case OPTION_SO_BINDTODEVICE:
		return OPTION_SO_BINDTOIFINDEX;
	case OPTION_SO_BINDTOIFINDEX:
		return OPTION_SO_BINDTODEVICE;
	default:
		return OPTION_MAX;
	}
}

bool options_rival(const struct option *a, const struct option *b)
{
	return a == b || option_id(a) == other_spelling(option_id(b));
}

bool is_second_spelling(enum option_id id)
{
	return other_spelling(id) < id;
}

uint64_t option_bits(const struct option *o)
{
	enum option_id other = other_spelling(option_id(o));

	return 1ull << option_id(o) | (other < OPTION_MAX ? 1ull << other : 0);
}

unsigned option_families(const struct option *o)
{
	switch (o->level) {
	case IPPROTO_IP:
		return SP_FAMILY_IPV4;
	case IPPROTO_IPV6:
		return SP_FAMILY_IPV6;
	default:
		return SP_FAMILY_IPV4 | SP_FAMILY_IPV6;
	}
}

const struct option *option_find(const char *name)
{
	for (size_t i = 0; i < OPTION_MAX; i++)
		if (streq(option_table[i].name, name))
			return &option_table[i];
	return NULL;
}

const struct option_shorthand *option_find_shorthand(const char *name)
{
	for (size_t i = 0; i < n_option_shorthands; i++)
		if (streq(option_shorthands[i].as_option.name, name))
			return &option_shorthands[i];
	return NULL;
}

const struct option_refused *option_find_refused(const char *name)
{
	for (size_t i = 0; i < n_option_refused; i++)
		if (streq(option_refused[i].name, name))
			return &option_refused[i];
	return NULL;
}

const char *option_suggest(const char *name)
{
	size_t n = 0, room = OPTION_MAX + n_option_shorthands + n_option_refused;
	_cleanup_free_ const char **candidates = calloc(room, sizeof(*candidates));

	if (!candidates)
		return NULL;
	/* Options that can be set come first: the better advice of two names equally near. */
	for (size_t i = 0; i < OPTION_MAX; i++)
		candidates[n++] = option_table[i].name;
	for (size_t i = 0; i < n_option_shorthands; i++)
		candidates[n++] = option_shorthands[i].as_option.name;
	for (size_t i = 0; i < n_option_refused; i++)
		candidates[n++] = option_refused[i].name;
	return suggest(name, candidates, n);
}

const char *const direction_words[] = {
	[DIRECTION_CONNECT] = "connect",
	[DIRECTION_ACCEPT] = "accept",
	[DIRECTION_LISTEN] = "listen",
};
static_assert(ARRAY_SIZE(direction_words) == DIRECTION_MAX, "a name for each direction");

const char *direction_name(enum direction d)
{
	return direction_words[d];
}
