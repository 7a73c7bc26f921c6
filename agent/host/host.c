// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>

#include <bpf/btf.h>

#include "base/log.h"
#include "host/host.h"

#define LINE_SIZE 1024
#define ECN_MASK  0x3

/* Returns the first line of a file without its newline; NULL when it cannot be read.  Owned by the
 * caller. */
static char *read_line(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char line[LINE_SIZE];
	ssize_t n;

	/* A sysctl(5) file must be read in one go: what comes after the first read is empty. */
	n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	if (n < 0)
		return NULL;
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return strdup(line);
}

/* Returns the last whole number of a sysctl; -1 when there is none. */
static int64_t read_number(const char *path)
{
	_cleanup_free_ char *line = read_line(path);
	const char *tab = line ? strrchr(line, '\t') : NULL, *from = tab ? tab + 1 : line;
	int64_t value;
	char *end;

	if (!line)
		return -1;
	errno = 0;
	value = strtoll(from, &end, 10);
	return end == from || errno || value < 0 ? -1 : value;
}

int64_t host_sysctl_number(const char *name)
{
	char path[128];
	int n = snprintf(path, sizeof(path), "/proc/sys/%s", name);

	if (n < 0 || (size_t)n >= sizeof(path))
		return -1;
	for (char *dot = path + strlen("/proc/sys/"); (dot = strchr(dot, '.'));)
		*dot = '/';
	return read_number(path);
}

void host_port_range(uint16_t *ret_low, uint16_t *ret_high)
{
	_cleanup_free_ char *line = read_line("/proc/sys/net/ipv4/ip_local_port_range");
	char *rest = line;
	unsigned long low = line ? strtoul(line, &rest, 10) : 0;
	unsigned long high = line ? strtoul(rest, NULL, 10) : 0;
	bool is_known = low && low <= high && high <= UINT16_MAX;

	*ret_low = is_known ? (uint16_t)low : 1;
	*ret_high = is_known ? (uint16_t)high : UINT16_MAX;
}

static int64_t read_tick(void)
{
	struct timespec tick;

	/* The coarse clocks advance with the tick, so their resolution is one jiffy. */
	if (clock_getres(CLOCK_MONOTONIC_COARSE, &tick) < 0)
		return -1;
	return (int64_t)tick.tv_sec * 1000000 + tick.tv_nsec / 1000;
}

/* Appends " word" to the owned *list.  When memory is out, *list stays unchanged. */
static void append_word(char **list, const char *word, size_t len)
{
	char *longer = text_format("%s %.*s", *list, (int)len, word);

	if (!longer)
		return;
	free(*list);
	*list = longer;
}

/*
 * The kernel loads the module tcp_NAME when CAP_NET_ADMIN asks for a congestion control that is not
 * there yet, so these count as available.  Each has a line "PATH/tcp_NAME.ko[.xz]: ..." in
 * modules.dep.
 */
static void append_loadable(char **list)
{
	_cleanup_free_ char *path = NULL, *line = NULL;
	_cleanup_fclose_ FILE *f = NULL;
	static const char prefix[] = "/net/ipv4/tcp_";
	struct utsname u;
	size_t size = 0;

	if (uname(&u) == 0)
		path = text_format("/lib/modules/%s/modules.dep", u.release);
	f = path ? fopen(path, "re") : NULL;
	while (f && getline(&line, &size, f) >= 0) {
		const char *name = strstr(line, prefix);
		const char *colon = strchr(line, ':');

		if (!name || !colon || name > colon)
			continue;
		name += strlen(prefix);
		append_word(list, name, strcspn(name, ".:"));
	}
}

int64_t host_ticks(int64_t usec, int64_t tick_usec)
{
	/* Goes by the frequency: with 300 Hz the tick is no whole number of microseconds. */
	int64_t hz = 1000000 / tick_usec;

	return (usec * hz + 999999) / 1000000;
}

int host_jiffies(int64_t usec)
{
	int64_t tick = read_tick();

	return tick > 0 ? (int)host_ticks(usec, tick) : 0;
}

static int find_enumerator(const struct btf *btf, const char *type, const char *name)
{
	int id = btf__find_by_name_kind(btf, type, BTF_KIND_ENUM);
	const struct btf_type *t = id < 0 ? NULL : btf__type_by_id(btf, (__u32)id);

	if (!t)
		return -ENODATA;
	for (__u16 i = 0; i < btf_vlen(t); i++)
		if (streq(btf__name_by_offset(btf, btf_enum(t)[i].name_off), name))
			return 1;
	return 0;
}

int host_has_unix_hooks(void)
{
	static int answer = -EAGAIN; /* the kernel does not change while we run */
	struct btf *btf;

	if (answer != -EAGAIN)
		return answer;
	btf = btf__load_vmlinux_btf();
	answer =
		btf ? find_enumerator(btf, "bpf_attach_type", "BPF_CGROUP_UNIX_CONNECT") : -ENODATA;
	btf__free(btf);
	return answer;
}

int host_has_bpf_lsm(void)
{
	_cleanup_free_ char *modules = read_line("/sys/kernel/security/lsm");
	char *rest = modules, *name;

	while ((name = strsep(&rest, ",")))
		if (streq(name, "bpf"))
			return 1;
	return modules ? 0 : -ENODATA;
}

/* It has the socket's packets marked as ECN-capable: tcp_reinit_congestion_control(). */
static bool marks_ecn(const char *name, size_t len)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof(int);
	int tos = 0;

	return fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)len) == 0 &&
	       getsockopt(fd, IPPROTO_IP, IP_TOS, &tos, &size) == 0 && tos & ECN_MASK;
}

/* Returns those of the loaded congestion controls that need ECN; owned; NULL: memory is out. */
static char *find_needs_ecn(const char *loaded)
{
	char *list = strdup("");

	for (const char *word = loaded; list && *word; word += strcspn(word, " ")) {
		word += strspn(word, " ");
		if (marks_ecn(word, strcspn(word, " ")))
			append_word(&list, word, strcspn(word, " "));
	}
	return list;
}

void host_read(struct host *h)
{
	*h = (struct host){
		.rmem_max = read_number("/proc/sys/net/core/rmem_max"),
		.wmem_max = read_number("/proc/sys/net/core/wmem_max"),
		.tcp_rmem_max = read_number("/proc/sys/net/ipv4/tcp_rmem"),
		.tick_usec = read_tick(),
		.congestion = read_line("/proc/sys/net/ipv4/tcp_available_congestion_control"),
	};
	if (h->congestion) {
		h->needs_ecn = find_needs_ecn(h->congestion);
		append_loadable(&h->congestion);
	}
}

void host_clear(struct host *h)
{
	free(h->congestion);
	free(h->needs_ecn);
	*h = (struct host){ -1, -1, -1, -1, NULL, NULL };
}

static bool has_word(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *word = list; *word; word += strcspn(word, " ")) {
		word += strspn(word, " ");
		if (strcspn(word, " ") == len && len && !strncmp(word, name, len))
			return true;
	}
	return false;
}

int host_has_congestion(const struct host *h, const char *name)
{
	return h->congestion ? has_word(h->congestion, name) : -ENODATA;
}

bool host_congestion_needs_ecn(const struct host *h, const char *name)
{
	return streq(name, "dctcp") || streq(name, "prague") ||
	       (h->needs_ecn && has_word(h->needs_ecn, name));
}

/* Names those that are missing; "": none, or they cannot be told. */
static void missing_capabilities(char ret[64])
{
	static const struct {
		unsigned number;
		const char *name;
	} needed[] = {
		{ CAP_BPF, "CAP_BPF" },
		{ CAP_NET_ADMIN, "CAP_NET_ADMIN" },
		{ CAP_PERFMON, "CAP_PERFMON" },
	};
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	ret[0] = '\0';
	/* If they cannot be told, loading reports the error.  CAP_SYS_ADMIN includes them
	 * all. */
	if (syscall(SYS_capget, &header, data) < 0 ||
	    data[0].effective & CAP_TO_MASK(CAP_SYS_ADMIN))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		const unsigned n = needed[i].number;

		if (data[CAP_TO_INDEX(n)].effective & CAP_TO_MASK(n))
			continue;
		strcat(ret, ret[0] ? ", " : "");
		strcat(ret, needed[i].name);
	}
}

bool host_is_privileged(void)
{
	char missing[64];

	missing_capabilities(missing);
	return !missing[0];
}

int host_check_capabilities(void)
{
	char missing[64];

	missing_capabilities(missing);
	if (!missing[0])
		return 0;
	log_error("Not permitted: an agent needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, and "
		  "these are missing: %s",
		  missing);
	return -EPERM;
}
