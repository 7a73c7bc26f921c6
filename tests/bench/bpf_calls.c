/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Preloaded into an agent (LD_PRELOAD), writes down when each of its calls of bpf(2), and libbpf's
 * opening and loading of the programs, began and ended: a line each in the file that
 * BENCH_BPF_CALLS names, "COMMAND BEGIN END", nanoseconds of CLOCK_MONOTONIC.
 *
 * libbpf makes its system calls by syscall(2).
 */
#include <bpf/libbpf.h>
#include <dlfcn.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NSEC_PER_SEC 1000000000ull
#define CALLS_MAX    65536u
/* Beside the commands of bpf(2). */
#define COMMAND_LIBBPF 1000

static struct {
	uint64_t begin, end;
	int command;
} calls[CALLS_MAX];
static uint32_t n_calls;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static void note(int command, uint64_t begin)
{
	uint32_t at = __atomic_fetch_add(&n_calls, 1, __ATOMIC_RELAXED);

	if (at >= CALLS_MAX)
		return;
	calls[at].begin = begin;
	calls[at].end = now();
	calls[at].command = command;
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
	note((int)a[0], begin);
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

__attribute__((destructor)) static void write_calls(void)
{
	const char *path = getenv("BENCH_BPF_CALLS");
	uint32_t n = n_calls < CALLS_MAX ? n_calls : CALLS_MAX;
	FILE *file = path && n ? fopen(path, "we") : NULL;

	if (!file)
		return;
	for (uint32_t i = 0; i < n; i++)
		fprintf(file, "%d %" PRIu64 " %" PRIu64 "\n", calls[i].command, calls[i].begin,
			calls[i].end);
	fclose(file);
}
