/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The facts about a connection at a hook: the properties that rules look at. */
#ifndef SOCKPOL_BPF_FACTS_H
#define SOCKPOL_BPF_FACTS_H

#include <stdbool.h>

#include <bpf/bpf_endian.h>

#include "maps.h"

/* An address in network byte order; IPv4 in a[0].  A v4-mapped IPv6 address is IPv4. */
struct address {
	__u32 a[4];
	bool known;
	bool v4;
	__u16 port; /* host byte order; 0: not known */
};

struct facts {
	enum sp_family family;
	struct address remote, local;
};

static __always_inline bool is_v4_mapped(__u32 a0, __u32 a1, __u32 a2)
{
	return a0 == 0 && a1 == 0 && a2 == bpf_htonl(0xffff);
}

static __always_inline void set_v4(struct address *to, __u32 a, __u16 port)
{
	to->a[0] = a;
	to->known = true;
	to->v4 = true;
	to->port = port;
}

static __always_inline void set_v6(struct address *to, __u32 a0, __u32 a1, __u32 a2, __u32 a3,
				   __u16 port)
{
	if (is_v4_mapped(a0, a1, a2)) {
		set_v4(to, a3, port);
		return;
	}
	to->a[0] = a0;
	to->a[1] = a1;
	to->a[2] = a2;
	to->a[3] = a3;
	to->known = true;
	to->v4 = false;
	to->port = port;
}

static __always_inline bool is_any(const struct address *address)
{
	if (address->v4)
		return address->a[0] == 0;
	return (address->a[0] | address->a[1] | address->a[2] | address->a[3]) == 0;
}

/* SP_FAMILY_*, and DUAL_STACK for an IPv6 socket that may, but need not, speak IPv4 as well:
 * IPV6_V6ONLY cannot be seen from here. */
#define DUAL_STACK 0x4

/* The bits of families; beside them there may be SP_FAMILY_UNBOUND. */
#define FAMILIES (SP_FAMILY_IPV4 | SP_FAMILY_IPV6 | DUAL_STACK)

/* Where families do not matter. */
#define ANY_FAMILY (FAMILIES | SP_FAMILY_UNBOUND)

/* Returns the families whose options a connection or a listener takes. */
static __always_inline __u32 families_of(const struct facts *f, bool listens)
{
	if (f->family == SP_FAMILY_INDEX_IPV4)
		return SP_FAMILY_IPV4;
	if (listens && is_any(&f->local))
		return SP_FAMILY_IPV4 | SP_FAMILY_IPV6 | DUAL_STACK;
	return SP_FAMILY_IPV6;
}

#endif
