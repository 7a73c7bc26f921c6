// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What the kernel makes of a value, by the rules of the functions named at each. */
#include <errno.h>
#include <inttypes.h>

#include "option/value.h"

#define ECN_MASK     0x3
#define MIN_TICKS    2 /* TCP_TIMEOUT_MIN, include/net/tcp.h */
#define USEC_PER_SEC 1000000

/* sk_setsockopt() and __sock_set_rcvbuf(), net/core/sock.c */
static int doubled(int64_t asked, int64_t cap, int64_t floor, const char *sysctl,
		   struct value_result *r)
{
	int64_t taken = asked;

	/* Before 6.12 a network namespace does not show the host's limits. */
	r->capped = cap >= 0 && asked > cap;
	if (r->capped)
		taken = cap;
	if (taken > INT32_MAX / 2)
		taken = INT32_MAX / 2;
	taken *= 2;
	if (taken < floor)
		taken = floor;
	r->shown = cap >= 0 ? taken : -1;
	if (r->capped)
		return sentence(&r->text, 0, "%" PRId64 " bytes, as %s is %" PRId64, taken, sysctl,
				cap);
	if (cap < 0)
		return sentence(&r->text, 0, "%" PRId64 " bytes, if %s (not known here) allows it",
				taken, sysctl);
	return sentence(&r->text, 0, "%" PRId64 " bytes", taken);
}

/* As bpf_sol_tcp_setsockopt(), net/core/filter.c, with its least values; and the replies that are
 * times, which have none. */
static int in_ticks(int64_t asked_usec, int64_t tick_usec, int64_t min_ticks,
		    struct value_result *r)
{
	_cleanup_free_ char *text = NULL, *least = NULL;
	int64_t hz, ticks;

	if (tick_usec <= 0 || tick_usec > USEC_PER_SEC)
		return 0;
	hz = USEC_PER_SEC / tick_usec;
	ticks = host_ticks(asked_usec, tick_usec);
	text = value_format_units(OPTION_TIME, (uint64_t)(ticks * USEC_PER_SEC / hz));
	least = value_format_units(OPTION_TIME, (uint64_t)(USEC_PER_SEC / hz));
	if (!text || !least)
		return -ENOMEM;
	r->refused = ticks < min_ticks;
	if (r->refused)
		return sentence(&r->text, 0,
				"EINVAL: this kernel wants more than one tick, which is %s", least);
	if (asked_usec * hz == ticks * USEC_PER_SEC)
		return 0;
	return sentence(&r->text, 0, "%s", text);
}

/* tcp_set_rcvlowat(), net/ipv4/tcp.c */
static int rcvlowat(int64_t asked, int64_t tcp_rmem_max, struct value_result *r)
{
	if (!asked) {
		r->shown = 1;
		return sentence(&r->text, 0, "1 byte");
	}
	if (tcp_rmem_max < 0 || asked <= tcp_rmem_max / 2)
		return 0;
	r->capped = true;
	r->shown = tcp_rmem_max / 2;
	return sentence(&r->text, 0, "%" PRId64 " bytes, half of the largest in net.ipv4.tcp_rmem",
			tcp_rmem_max / 2);
}

int value_result(const struct option *o, const struct sockopt *value, const struct host *h,
		 struct value_result *ret)
{
	int64_t asked = value_number(o, value);
	struct value_result result = { .shown = asked };
	int r = 0;

	switch (o->result) {
	case RESULT_AS_IS:
		break;
	case RESULT_DOUBLED_RMEM:
		r = doubled(asked, h->rmem_max, VALUE_RCVBUF_MIN, "net.core.rmem_max", &result);
		break;
	case RESULT_DOUBLED_WMEM:
		r = doubled(asked, h->wmem_max, VALUE_SNDBUF_MIN, "net.core.wmem_max", &result);
		break;
	case RESULT_JIFFIES:
		r = in_ticks(asked * o->unit_usec, h->tick_usec, MIN_TICKS, &result);
		break;
	case RESULT_TICKS:
		r = in_ticks(asked * o->unit_usec, h->tick_usec, 0, &result);
		break;
	case RESULT_CLAMP: /* see tcp_measure_rcv_mss(), net/ipv4/tcp_input.c */
		r = sentence(&result.text, 0,
			     "%" PRId64
			     " bytes, until data comes (6.12, 6.18): then what SO_RCVBUF leaves",
			     asked < VALUE_WINDOW_CLAMP_MIN ? VALUE_WINDOW_CLAMP_MIN : asked);
		break;
	case RESULT_RCVLOWAT:
		r = rcvlowat(asked, h->tcp_rmem_max, &result);
		break;
	case RESULT_ECN_MASKED:
		if (asked & ECN_MASK)
			r = sentence(&result.text, 0,
				     "%" PRId64 " on TCP, whose ECN bits stay the kernel's",
				     asked & ~ECN_MASK);
		break;
	}
	if (r < 0)
		return r;
	if (o->hidden)
		result.shown = -1;
	*ret = result;
	return 0;
}
