/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Preloaded into an agent (LD_PRELOAD), writes down when each of its calls of bpf(2), and libbpf's
 * opening and loading of the programs, began and ended: in the file that BENCH_BPF_CALLS names and
 * that has room for all of them.  The file is mapped, so it does not matter how the agent ends.
 *
 * libbpf makes its system calls by syscall(2).
 */
#include <bpf/libbpf.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NSEC_PER_SEC 1000000000ull
/* Beside the commands of bpf(2). */
#define COMMAND_LIBBPF 1000

/* agent_rows.py reads it; nanoseconds of CLOCK_MONOTONIC, and 0 where there was no call. */
struct call {
	uint64_t begin, end, command;
};

static struct call *calls;
static size_t n_calls, calls_max;

__attribute__((constructor)) static void map_calls(void)
{
	const char *path = getenv("BENCH_BPF_CALLS"); // NOLINT(concurrency-mt-unsafe)
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	struct stat st;
	void *p;

	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && st.st_size > 0) {
		p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p != MAP_FAILED) {
			calls = p;
			calls_max = (size_t)st.st_size / sizeof(*calls);
		}
	}
	close(fd);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static void note(uint64_t command, uint64_t begin)
{
	size_t at = __atomic_fetch_add(&n_calls, 1, __ATOMIC_RELAXED);

	if (at < calls_max)
		calls[at] = (struct call){ begin, now(), command };
}

__attribute__((visibility("default"))) long syscall(long number, ...)
{
	static typeof(&syscall) real;
	uint64_t begin;
	va_list ap;
	long a[6], r;

	if (!real)
		real = (typeof(real))dlsym(RTLD_NEXT, "syscall");
	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (number != SYS_bpf)
		return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	begin = now();
	r = real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	note((uint64_t)a[0], begin);
	return r;
}

__attribute__((visibility("default"))) struct bpf_object *bpf_object__open_mem(
	const void *bytes, size_t size, const struct bpf_object_open_opts *opts)
{
	static typeof(&bpf_object__open_mem) real;
	uint64_t begin = now();
	struct bpf_object *object;

	if (!real)
		real = (typeof(real))dlsym(RTLD_NEXT, "bpf_object__open_mem");
	object = real(bytes, size, opts);
	note(COMMAND_LIBBPF, begin);
	return object;
}

__attribute__((visibility("default"))) int bpf_object__load(struct bpf_object *object)
{
	static typeof(&bpf_object__load) real;
	uint64_t begin = now();
	int r;

	if (!real)
		real = (typeof(real))dlsym(RTLD_NEXT, "bpf_object__load");
	r = real(object);
	note(COMMAND_LIBBPF, begin);
	return r;
}
