// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <sched.h>
#include <sys/stat.h>

#include "process_sockets.h"

#define ALL_STATES 0xffffffffu
#define DUMP_SIZE  32768 /* bytes; the kernel fills no larger message of a dump */

struct inodes {
	uint64_t *v; /* owned, sorted */
	size_t n;
};

static int compare_inodes(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* "socket:[123]" -> 123. */
static bool parse_socket_link(const char *link, uint64_t *ret)
{
	static const char prefix[] = "socket:[";
	const char *digits = link + sizeof(prefix) - 1;
	char *end;

	if (strncmp(link, prefix, sizeof(prefix) - 1) != 0 || !isdigit((unsigned char)*digits))
		return false;
	errno = 0;
	*ret = strtoull(digits, &end, 10);
	return errno == 0 && streq(end, "]");
}

static int read_inodes(pid_t pid, struct inodes *ret)
{
	char path[sizeof("/proc//fd") + 3 * sizeof(pid)];
	const struct dirent *e;
	int r = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	if (!d)
		return errno == ENOENT ? -ESRCH : -errno;
	while (r == 0 && (e = readdir(d))) {
		char link[64];
		uint64_t inode;
		ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);

		if (n < 0) /* closed meanwhile, "." or ".." */
			continue;
		link[n] = '\0';
		if (!parse_socket_link(link, &inode))
			continue;
		r = GROW(ret->v, ret->n);
		if (r == 0)
			ret->v[ret->n++] = inode;
	}
	closedir(d);
	if (ret->n)
		qsort(ret->v, ret->n, sizeof(*ret->v), compare_inodes);
	return r;
}

static int open_diag(struct mnl_socket **ret)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	int r;

	if (!nl)
		return -errno;
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		r = -errno;
		mnl_socket_close(nl);
		return r;
	}
	*ret = nl;
	return 0;
}

/* A netlink socket answers for the network namespace that it was opened in: the process's. */
static int open_diag_of(pid_t pid, struct mnl_socket **ret)
{
	char path[sizeof("/proc//ns/net") + 3 * sizeof(pid)];
	_cleanup_close_ int own = -1, other = -1;
	struct stat a, b;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (own < 0)
		return -errno;
	other = open(path, O_RDONLY | O_CLOEXEC);
	if (other < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	if (fstat(own, &a) < 0 || fstat(other, &b) < 0)
		return -errno;
	if (a.st_dev == b.st_dev && a.st_ino == b.st_ino)
		return open_diag(ret);
	if (setns(other, CLONE_NEWNET) < 0)
		return -errno;
	r = open_diag(ret);
	if (setns(own, CLONE_NEWNET) < 0) { /* the rest must not run in a foreign namespace */
		if (r == 0)
			mnl_socket_close(*ret);
		return -errno;
	}
	return r;
}

static void format_address(int family, const __be32 *address, __be16 port, char *to, size_t size)
{
	char text[INET6_ADDRSTRLEN] = "";

	inet_ntop(family, address, text, sizeof(text));
	snprintf(to, size, family == AF_INET6 ? "[%s]:%u" : "%s:%u", text, ntohs(port));
}

struct dump {
	const struct inodes *inodes;
	struct process_sockets *sockets;
	int protocol;
	int error;
};

static int find_cgroup_id(const struct nlattr *attribute, void *userdata)
{
	uint64_t *id = userdata;

	if (mnl_attr_get_type(attribute) == INET_DIAG_CGROUP_ID &&
	    mnl_attr_validate(attribute, MNL_TYPE_U64) >= 0)
		*id = mnl_attr_get_u64(attribute);
	return MNL_CB_OK;
}

static int add_socket(const struct nlmsghdr *message, void *userdata)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(message);
	struct dump *dump = userdata;
	struct process_socket *s;
	uint64_t inode;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*m))
		return MNL_CB_OK;
	inode = m->idiag_inode;
	if (!dump->inodes->n || !bsearch(&inode, dump->inodes->v, dump->inodes->n,
					 sizeof(*dump->inodes->v), compare_inodes))
		return MNL_CB_OK;
	if (GROW(dump->sockets->v, dump->sockets->n) < 0) {
		dump->error = -ENOMEM;
		return MNL_CB_ERROR;
	}
	s = &dump->sockets->v[dump->sockets->n++];
	*s = (struct process_socket){ .protocol = dump->protocol, .inode = inode };
	format_address(m->idiag_family, m->id.idiag_src, m->id.idiag_sport, s->local,
		       sizeof(s->local));
	if (m->id.idiag_dport)
		format_address(m->idiag_family, m->id.idiag_dst, m->id.idiag_dport, s->remote,
			       sizeof(s->remote));
	mnl_attr_parse(message, sizeof(*m), find_cgroup_id, &s->cgroup_id);
	return MNL_CB_OK;
}

static int request_dump(struct mnl_socket *nl, int family, int protocol, unsigned sequence)
{
	union {
		struct nlmsghdr align;
		char room[MNL_ALIGN(sizeof(struct nlmsghdr)) +
			  MNL_ALIGN(sizeof(struct inet_diag_req_v2))];
	} buffer = { 0 };
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer.room);
	struct inet_diag_req_v2 *request;

	message->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	message->nlmsg_seq = sequence;
	request = mnl_nlmsg_put_extra_header(message, sizeof(*request));
	request->sdiag_family = (__u8)family;
	request->sdiag_protocol = (__u8)protocol;
	request->idiag_states = ALL_STATES;
	return mnl_socket_sendto(nl, message, message->nlmsg_len) < 0 ? -errno : 0;
}

static int dump_sockets(struct mnl_socket *nl, int family, unsigned sequence, struct dump *dump)
{
	const unsigned port = mnl_socket_get_portid(nl);
	_cleanup_free_ char *buffer = malloc(DUMP_SIZE);
	int r;

	if (!buffer)
		return -ENOMEM;
	r = request_dump(nl, family, dump->protocol, sequence);
	if (r < 0)
		return r;
	do {
		ssize_t n = mnl_socket_recvfrom(nl, buffer, DUMP_SIZE);

		if (n < 0)
			return -errno;
		r = mnl_cb_run(buffer, (size_t)n, sequence, port, add_socket, dump);
		if (r < 0)
			return dump->error ? dump->error : -errno;
	} while (r > MNL_CB_STOP);
	return 0;
}

static int dump_all(struct mnl_socket *nl, const struct inodes *inodes,
		    struct process_sockets *sockets)
{
	static const int protocols[] = { IPPROTO_TCP, IPPROTO_UDP },
			 families[] = { AF_INET, AF_INET6 };
	unsigned sequence = 1;
	int r = 0;

	for (size_t p = 0; p < ARRAY_SIZE(protocols); p++) {
		for (size_t f = 0; f < ARRAY_SIZE(families) && r == 0; f++) {
			struct dump dump = { inodes, sockets, protocols[p], 0 };

			r = dump_sockets(nl, families[f], sequence++, &dump);
			if (r == -ENOENT) /* a kernel without this protocol's diag module */
				r = 0;
		}
	}
	return r;
}

int process_sockets_read(pid_t pid, struct process_sockets *ret)
{
	struct process_sockets sockets = { 0 };
	struct inodes inodes = { 0 };
	struct mnl_socket *nl = NULL;
	int r = read_inodes(pid, &inodes);

	if (r == 0 && inodes.n)
		r = open_diag_of(pid, &nl);
	if (r == 0 && nl)
		r = dump_all(nl, &inodes, &sockets);
	if (nl)
		mnl_socket_close(nl);
	free(inodes.v);
	if (r < 0) {
		process_sockets_clear(&sockets);
		return r;
	}
	*ret = sockets;
	return 0;
}

void process_sockets_clear(struct process_sockets *s)
{
	free(s->v);
	*s = (struct process_sockets){ 0 };
}
