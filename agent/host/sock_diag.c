// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/stat.h>

#include "host/sock_diag.h"

#define DUMP_SIZE  32768 /* bytes; the kernel fills no larger message of a dump */
#define ALL_STATES 0xffffffffu

DEFINE_CLEANUP(struct mnl_socket *, mnl_socket_close)

/* A descriptor of a process that is a socket. */
struct descriptor {
	uint64_t inode;
	int fd;
	bool is_listed; /* as what an MPTCP socket's first subflow is not listed */
};

struct descriptors {
	struct descriptor *v; /* owned, sorted by inode */
	size_t n;
};

static int compare_inodes(const void *a, const void *b)
{
	const struct descriptor *x = a, *y = b;

	return x->inode < y->inode ? -1 : x->inode > y->inode;
}

/* Reads the inode number, such as 123 in "socket:[123]". */
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

static int read_descriptors(pid_t pid, struct descriptors *ret)
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
		r = APPEND(ret->v, ret->n,
			   (struct descriptor){ .inode = inode,
						.fd = (int)strtol(e->d_name, NULL, 10) });
	}
	closedir(d);
	if (ret->n)
		qsort(ret->v, ret->n, sizeof(*ret->v), compare_inodes);
	return r;
}

/* Opens a socket that asks about the network namespace that the calling thread is in now. */
static int open_diag(struct mnl_socket **ret)
{
	_cleanup_(mnl_socket_close) struct mnl_socket *nl =
		mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);

	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	*ret = TAKE_PTR(nl);
	return 0;
}

/* Opens a socket that asks about the process's network namespace. */
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
	/* the rest must not run in a foreign namespace */
	return setns(own, CLONE_NEWNET) < 0 ? -errno : r;
}

static void format_address(int family, const __be32 *address, __be16 port, char *to, size_t size)
{
	char text[INET6_ADDRSTRLEN] = "";

	inet_ntop(family, address, text, sizeof(text));
	snprintf(to, size, family == AF_INET6 ? "[%s]:%u" : "%s:%u", text, ntohs(port));
}

static int find_cgroup_id(const struct nlattr *attribute, void *userdata)
{
	uint64_t *id = userdata;

	if (mnl_attr_get_type(attribute) == INET_DIAG_CGROUP_ID &&
	    mnl_attr_validate(attribute, MNL_TYPE_U64) >= 0)
		*id = mnl_attr_get_u64(attribute);
	return MNL_CB_OK;
}

struct dump {
	int protocol;
	uint32_t states;		  /* BIT(TCP_LISTEN), ... */
	const struct descriptors *wanted; /* NULL: all sockets are */
	struct sock_diag_list *list;
	bool listened[UINT16_MAX + 1]; /* ports */
};

static int on_message(const struct nlmsghdr *message, void *userdata)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(message);
	struct dump *dump = userdata;
	const struct descriptors *wanted = dump->wanted;
	struct descriptor *found = NULL;
	struct sock_diag_list *list = dump->list;
	struct sock_diag_socket *s;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*m))
		return MNL_CB_OK;
	if (m->idiag_state == TCP_LISTEN)
		dump->listened[ntohs(m->id.idiag_sport)] = true;
	if (wanted)
		found = bsearch(&(struct descriptor){ .inode = m->idiag_inode }, wanted->v,
				wanted->n, sizeof(*wanted->v), compare_inodes);
	if (wanted && (!found || found->is_listed))
		return MNL_CB_OK;
	if (GROW(list->v, list->n) < 0) {
		errno = ENOMEM;
		return MNL_CB_ERROR;
	}
	if (found)
		found->is_listed = true;
	s = &list->v[list->n++];
	*s = (struct sock_diag_socket){
		.family = m->idiag_family,
		.protocol = dump->protocol,
		.listens = m->idiag_state == TCP_LISTEN,
		.fd = found ? found->fd : -1,
		.port = ntohs(m->id.idiag_sport),
		.inode = m->idiag_inode,
	};
	format_address(m->idiag_family, m->id.idiag_src, m->id.idiag_sport, s->local,
		       sizeof(s->local));
	if (m->id.idiag_dport)
		format_address(m->idiag_family, m->id.idiag_dst, m->id.idiag_dport, s->remote,
			       sizeof(s->remote));
	mnl_attr_parse(message, sizeof(*m), find_cgroup_id, &s->cgroup_id);
	return MNL_CB_OK;
}

static int request_dump(struct mnl_socket *nl, int family, const struct dump *dump,
			unsigned sequence)
{
	union {
		struct nlmsghdr align;
		char room[128];
	} buffer = { 0 };
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer.room);
	struct inet_diag_req_v2 *request;

	message->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	message->nlmsg_seq = sequence;
	request = mnl_nlmsg_put_extra_header(message, sizeof(*request));
	request->sdiag_family = (__u8)family;
	request->sdiag_protocol = (__u8)dump->protocol;
	request->idiag_states = dump->states;
	if (dump->protocol > UINT8_MAX) /* as the request has no room for it */
		mnl_attr_put_u32(message, INET_DIAG_REQ_PROTOCOL, (uint32_t)dump->protocol);
	return mnl_socket_sendto(nl, message, message->nlmsg_len) < 0 ? -errno : 0;
}

static int dump_family(struct mnl_socket *nl, int family, struct dump *dump)
{
	const unsigned port = mnl_socket_get_portid(nl);
	const unsigned sequence = (unsigned)family; /* tells the two requests apart */
	_cleanup_free_ char *buffer = malloc(DUMP_SIZE);
	int r;

	if (!buffer)
		return -ENOMEM;
	r = request_dump(nl, family, dump, sequence);
	if (r < 0)
		return r;
	do {
		ssize_t n = mnl_socket_recvfrom(nl, buffer, DUMP_SIZE);

		if (n < 0)
			return -errno;
		r = mnl_cb_run(buffer, (size_t)n, sequence, port, on_message, dump);
		if (r < 0)
			return -errno;
	} while (r > MNL_CB_STOP);
	return 0;
}

/* Reads the sockets of both families; none where the kernel lacks the protocol's diag module. */
static int dump_protocol(struct mnl_socket *nl, struct dump *dump)
{
	static const int families[] = { AF_INET, AF_INET6 };
	int r = 0;

	for (size_t f = 0; f < ARRAY_SIZE(families) && r == 0; f++) {
		r = dump_family(nl, families[f], dump);
		r = r == -ENOENT ? 0 : r;
	}
	return r;
}

int sock_diag_listeners(struct sock_diag_list *ret)
{
	_cleanup_(mnl_socket_close) struct mnl_socket *nl = NULL;
	struct dump dump = { IPPROTO_TCP, BIT(TCP_LISTEN), .list = ret };
	int r = open_diag(&nl);

	if (r == 0)
		r = dump_protocol(nl, &dump);
	if (r < 0)
		sock_diag_clear(ret);
	return r;
}

int sock_diag_of_pid(pid_t pid, struct sock_diag_list *ret)
{
	static const int protocols[] = { IPPROTO_MPTCP, IPPROTO_TCP, IPPROTO_UDP };
	_cleanup_(mnl_socket_close) struct mnl_socket *nl = NULL;
	struct descriptors wanted = { 0 };
	struct dump dump = { .states = ALL_STATES, .wanted = &wanted, .list = ret };
	int r = read_descriptors(pid, &wanted);

	if (r == 0 && wanted.n)
		r = open_diag_of(pid, &nl);
	for (size_t p = 0; p < ARRAY_SIZE(protocols) && r == 0 && nl; p++) {
		dump.protocol = protocols[p];
		r = dump_protocol(nl, &dump);
	}
	for (size_t i = 0; i < ret->n; i++)
		ret->v[i].is_accepted = ret->v[i].protocol != IPPROTO_UDP && *ret->v[i].remote &&
					dump.listened[ret->v[i].port];
	free(wanted.v);
	if (r < 0)
		sock_diag_clear(ret);
	return r;
}

void sock_diag_clear(struct sock_diag_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].cgroup);
	free(l->v);
	*l = (struct sock_diag_list){ 0 };
}
