// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/log.h"
#include "kernel/probe.h"
#include "../include/probe_abi.h"
#include "probe.skel.h"

static_assert(OPTION_MAX <= SP_PROBES_MAX, "a probe for each option");

DEFINE_CLEANUP(struct probe_bpf *, probe_bpf__destroy)

static void link_destroy(struct bpf_link *link)
{
	bpf_link__destroy(link);
}
DEFINE_CLEANUP(struct bpf_link *, link_destroy)

/* A socket to try options on. */
struct subject {
	int fd; /* -1: this host has none of the family */
	__u64 cookie;
};

static void subject_close(struct subject *s)
{
	cleanup_close(&s->fd);
}

/*
 * A listener, as the iterator shows those even where nothing is connected; on a loopback address,
 * out of anybody's reach; and bound there also while the interface is down (IP_FREEBIND).
 */
static int subject_open(int family, struct subject *ret)
{
	const struct sockaddr_in v4 = { .sin_family = AF_INET,
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
					 .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	const bool is_v4 = family == AF_INET;
	_cleanup_close_ int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	const int on = 1;
	socklen_t len = sizeof(ret->cookie);
	__u64 cookie;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, is_v4 ? IPPROTO_IP : IPPROTO_IPV6, is_v4 ? IP_FREEBIND : IPV6_FREEBIND,
		       &on, sizeof(on)) < 0 ||
	    bind(fd, is_v4 ? (const struct sockaddr *)&v4 : (const struct sockaddr *)&v6,
		 is_v4 ? sizeof(v4) : sizeof(v6)) < 0 ||
	    listen(fd, 0) < 0 || getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0)
		return -errno;
	ret->cookie = cookie;
	ret->fd = TAKE_FD(fd);
	return 0;
}

/* A value that a kernel with the option takes on any socket. */
static int fill_value(const struct option *o, int fd, struct sp_probe *p)
{
	socklen_t len = sizeof(p->value) - 1;
	__s32 number;

	if (o->type == OPTION_STRING) {
		/* The one it has now. */
		if (getsockopt(fd, o->level, o->optname, p->value, &len) < 0)
			return -errno;
		p->optlen = (__u32)strlen((const char *)p->value) + 1;
		return 0;
	}
	/* The longest time: of the shortest the kernel may want more than one tick. */
	number = (__s32)(o->type == OPTION_TIME ? o->max : o->min);
	memcpy(p->value, &number, sizeof(number));
	p->optlen = sizeof(number);
	return 0;
}

static int fill_probe(const struct option *o, const struct subject *v4, const struct subject *v6,
		      struct sp_probe *p)
{
	const struct subject *s = v4;

	if (!(option_families(o) & SP_FAMILY_IPV4) || s->fd < 0)
		s = v6;
	if (s->fd < 0 || (s == v6 && !(option_families(o) & SP_FAMILY_IPV6)))
		return PROBE_UNKNOWN;
	p->level = o->level;
	p->optname = o->optname;
	p->cookie = s->cookie;
	return fill_value(o, s->fd, p);
}

/* Reads the iterator to its end, which is what runs the program. */
static int run_iterator(const struct bpf_program *prog)
{
	_cleanup_(link_destroy) struct bpf_link *link = NULL;
	_cleanup_close_ int fd = -1;
	char buffer[64];
	ssize_t n;

	link = bpf_program__attach_iter(prog, NULL);
	if (!link)
		return -errno;
	fd = bpf_iter_create(bpf_link__fd(link));
	if (fd < 0)
		return fd;
	do
		n = read(fd, buffer, sizeof(buffer));
	while (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN)));
	return n < 0 ? -errno : 0;
}

static int ask(const struct subject *v4, const struct subject *v6, int ret[OPTION_MAX])
{
	_cleanup_(probe_bpf__destroy) struct probe_bpf *bpf = probe_bpf__open();
	int filled[OPTION_MAX] = { 0 };
	int r;

	if (!bpf)
		return -errno;
	for (size_t i = 0; i < OPTION_MAX; i++)
		if (option_table[i].level != SP_LEVEL_REPLY)
			filled[i] = fill_probe(&option_table[i], v4, v6, &bpf->bss->probes[i]);
	r = probe_bpf__load(bpf);
	if (r < 0)
		return r;
	if (!bpf->bss) /* libbpf could not find out whether there is such a thing */
		return -ENODATA;
	r = run_iterator(bpf->progs.probe);
	if (r < 0)
		return r;
	for (size_t i = 0; i < OPTION_MAX; i++) {
		const struct sp_probe *p = &bpf->bss->probes[i];

		if (option_table[i].level == SP_LEVEL_REPLY)
			ret[i] = 0; /* older than everything else that the hooks need */
		else if (filled[i] < 0)
			ret[i] = filled[i];
		else
			ret[i] = p->answered ? p->answer : PROBE_UNKNOWN;
	}
	return 0;
}

int probe_options(int ret[OPTION_MAX])
{
	struct subject v4 = { .fd = -1 }, v6 = { .fd = -1 };
	int r4 = subject_open(AF_INET, &v4), r6 = subject_open(AF_INET6, &v6);
	int r = r4 < 0 && r6 < 0 ? r4 : ask(&v4, &v6, ret);

	subject_close(&v4);
	subject_close(&v6);
	return r;
}

int probe_attach_type(int type)
{
	const struct bpf_insn allow[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = (enum bpf_attach_type)type);
	_cleanup_close_ int fd = bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "sockpol_probe",
					       "GPL", allow, ARRAY_SIZE(allow), &opts);

	if (fd >= 0)
		return 1;
	return fd == -EINVAL ? 0 : fd;
}
