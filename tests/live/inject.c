// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Preloaded into an agent (LD_PRELOAD), makes one of its calls fail: the n-th of a kind, from the
 * moment on at which a test asks for it in the file that SOCKPOL_INJECT names.
 *
 * libbpf makes its system calls by syscall(2).  What glibc does inside itself is not seen, except
 * for its memory.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The file; life_injected.py writes and reads it. */
struct request {
	uint32_t armed;
	uint32_t kinds; /* BIT(enum kind) */
	uint64_t at;	/* the first call is 0 */
	uint64_t count; /* calls of the kinds since it was armed */
	uint32_t calls; /* how many fail, from `at` on */
	int32_t error;	/* negative: they do not fail, but this signal comes */
	uint64_t fired;
};

enum kind {
	KIND_BPF,
	KIND_MEMORY,
	KIND_MMAP,
	KIND_FILE,
	KIND_LINK_UPDATE,
	KIND_VERIFIER, /* a program of ours: the verifier refuses it, in its own words */
	KIND_BPF_LOOP, /* the kernel has no such helper: what Linux 5.10 answers */
	KIND_CLOCK,    /* a look at the coarse clock: since the one before a second has passed */
};

/* Filled in while no other thread can be: see find_request(). */
static struct request *request;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

#define REAL(name)                                                                                 \
	static typeof(&name) real;                                                                 \
	if (!real)                                                                                 \
	real = (typeof(&name))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void find_request(void)
{
	const char *path = getenv("SOCKPOL_INJECT");
	int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
	void *p;

	if (fd < 0)
		return;
	p = (void *)syscall(SYS_mmap, NULL, sizeof(*request), PROT_READ | PROT_WRITE, MAP_SHARED,
			    fd, 0);
	syscall(SYS_close, fd);
	if (p != MAP_FAILED)
		request = p;
}

/* Is this call to fail?  Then with the errno that was asked for. */
static bool fails(enum kind kind)
{
	uint64_t n;

	if (!request || !__atomic_load_n(&request->armed, __ATOMIC_ACQUIRE) ||
	    !(request->kinds & 1u << kind))
		return false;
	n = __atomic_fetch_add(&request->count, 1, __ATOMIC_ACQ_REL);
	if (n < request->at || n - request->at >= request->calls)
		return false;
	__atomic_fetch_add(&request->fired, 1, __ATOMIC_ACQ_REL);
	if (request->error < 0) {
		(void)kill(getpid(), -request->error);
		return false;
	}
	errno = request->error;
	return true;
}

#define HOOK_INSNS 20 /* ours have more, those that libbpf probes with fewer */
#define NO_LOOP	   "invalid func unknown#181\n"

static bool calls(const struct bpf_insn *insns, uint32_t n, int helper)
{
	for (uint32_t i = 0; i < n; i++)
		if (insns[i].code == (BPF_JMP | BPF_CALL) && !insns[i].src_reg &&
		    insns[i].imm == helper)
			return true;
	return false;
}

/* Returns a copy whose second instruction reads a register that has no value. */
static struct bpf_insn *spoiled(const struct bpf_insn *insns, uint32_t n)
{
	struct bpf_insn *copy = __libc_malloc(n * sizeof(*copy));

	if (!copy)
		return NULL;
	memcpy(copy, insns, n * sizeof(*copy));
	copy[1] = (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_X,
				     .dst_reg = BPF_REG_0,
				     .src_reg = BPF_REG_9 };
	return copy;
}

static long load_program(union bpf_attr *attr, size_t size)
{
	const struct bpf_insn *insns = (const struct bpf_insn *)(uintptr_t)attr->insns;
	struct bpf_insn *copy = NULL;
	long r;
	REAL(syscall);

	if (calls(insns, attr->insn_cnt, BPF_FUNC_loop) && fails(KIND_BPF_LOOP)) {
		if (attr->log_buf && attr->log_size > sizeof(NO_LOOP))
			memcpy((void *)(uintptr_t)attr->log_buf, NO_LOOP, sizeof(NO_LOOP));
		return -1;
	}
	if (attr->insn_cnt > HOOK_INSNS && fails(KIND_VERIFIER))
		copy = spoiled(insns, attr->insn_cnt);
	if (copy)
		attr->insns = (uint64_t)(uintptr_t)copy;
	r = real(SYS_bpf, BPF_PROG_LOAD, attr, size, 0L, 0L, 0L);
	attr->insns = (uint64_t)(uintptr_t)insns;
	free(copy);
	return r;
}

long syscall(long number, ...)
{
	REAL(syscall);
	long a[6];
	va_list ap;

	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (number == SYS_bpf && fails(KIND_BPF))
		return -1;
	if (number == SYS_bpf && a[0] == BPF_LINK_UPDATE && fails(KIND_LINK_UPDATE))
		return -1;
	if (number == SYS_bpf && a[0] == BPF_PROG_LOAD && request)
		return load_program((union bpf_attr *)a[1], (size_t)a[2]);
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

void *malloc(size_t size)
{
	return fails(KIND_MEMORY) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails(KIND_MEMORY) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	return fails(KIND_MEMORY) ? NULL : __libc_realloc(p, size);
}

void *mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	REAL(mmap);

	return fails(KIND_MMAP) ? MAP_FAILED : real(at, size, prot, flags, fd, offset);
}

void *mmap64(void *at, size_t size, int prot, int flags, int fd, off64_t offset)
{
	REAL(mmap64);

	return fails(KIND_MMAP) ? MAP_FAILED : real(at, size, prot, flags, fd, offset);
}

static mode_t mode_of(int flags, va_list ap)
{
	return flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
}

#define DEFINE_OPEN(name)                                                                          \
	int name(const char *path, int flags, ...)                                                 \
	{                                                                                          \
		REAL(name);                                                                        \
		mode_t mode;                                                                       \
		va_list ap;                                                                        \
                                                                                                   \
		va_start(ap, flags);                                                               \
		mode = mode_of(flags, ap);                                                         \
		va_end(ap);                                                                        \
		return fails(KIND_FILE) ? -1 : real(path, flags, mode);                            \
	}

#define DEFINE_OPENAT(name)                                                                        \
	int name(int dir, const char *path, int flags, ...)                                        \
	{                                                                                          \
		REAL(name);                                                                        \
		mode_t mode;                                                                       \
		va_list ap;                                                                        \
                                                                                                   \
		va_start(ap, flags);                                                               \
		mode = mode_of(flags, ap);                                                         \
		va_end(ap);                                                                        \
		return fails(KIND_FILE) ? -1 : real(dir, path, flags, mode);                       \
	}

DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

FILE *fopen(const char *path, const char *mode)
{
	REAL(fopen);

	return fails(KIND_FILE) ? NULL : real(path, mode);
}

FILE *fopen64(const char *path, const char *mode)
{
	REAL(fopen64);

	return fails(KIND_FILE) ? NULL : real(path, mode);
}

DIR *opendir(const char *path)
{
	REAL(opendir);

	return fails(KIND_FILE) ? NULL : real(path);
}

int rename(const char *from, const char *to)
{
	REAL(rename);

	return fails(KIND_FILE) ? -1 : real(from, to);
}

int unlink(const char *path)
{
	REAL(unlink);

	return fails(KIND_FILE) ? -1 : real(path);
}

int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	REAL(epoll_ctl);

	return fails(KIND_FILE) ? -1 : real(epoll, op, fd, event);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	REAL(clock_gettime);
	static time_t looks;
	int r = real(clock, now);

	if (clock == CLOCK_MONOTONIC_COARSE && fails(KIND_CLOCK))
		now->tv_sec = ++looks;
	return r;
}
