// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/digest.h"
#include "base/log.h"
#include "host/cgroup.h"
#include "host/host.h"
#include "kernel/pin.h"
#include "kernel/programs.h"
#include "sockpol.skel.h"

#define VERIFIER_LOG_SIZE (1u << 24) /* bytes; the most that 6.1 takes is more */
#define THREAD_STACK_SIZE (128ul * 1024)

DEFINE_CLEANUP(struct bpf_object *, bpf_object__close)

uint64_t programs_digest(void)
{
	size_t size;
	const void *object = sockpol_bpf__elf_bytes(&size);

	return digest_bytes(DIGEST_START, object, size) | 1;
}

static bool is_locked_down(void)
{
	_cleanup_fclose_ FILE *f = fopen("/sys/kernel/security/lockdown", "re");
	char line[128];

	return f && fgets(line, sizeof(line), f) && strstr(line, "[confidentiality]");
}

int programs_check_kernel(void)
{
	int r;

	if (is_locked_down()) {
		log_error("This kernel is locked down (lockdown=confidentiality): programs cannot "
			  "read the names of cgroups, so nothing could be governed");
		return -EPERM;
	}
	r = libbpf_probe_bpf_helper(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_loop, NULL);
	if (r == 0) {
		log_error("This kernel has no bpf_loop(), a helper that the programs call: "
			  "Linux " PROGRAMS_KERNEL_FLOOR " or later is needed");
		return -ENOTSUP;
	}
	return 0; /* where it cannot be told, loading says what is wrong */
}

static const struct bpf_insn nothing[] = {
	{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1 },
	{ .code = BPF_JMP | BPF_EXIT },
};

/* Returns the NAME of the kernel's security_NAME() where the hook is. */
static const char *lsm_function(const struct hook *hook)
{
	return strchr(hook->section, '/') + 1;
}

/* Returns a descriptor of the cgroup that we are in; negative: there is none. */
static int open_own_cgroup(void)
{
	_cleanup_free_ char *mount = NULL, *path = NULL, *directory = NULL;

	if (cgroup_mount(&mount) < 0 || cgroup_of_pid(getpid(), &path) < 0 ||
	    asprintf(&directory, "%s%s", mount, path) < 0)
		return -ENOENT;
	return open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/*
 * Does a program run where the kernel calls security_NAME()?  One that says so is attached to our
 * own cgroup, and a socket made.  Without `bpf` in the boot's lsm= it attaches, and never runs.
 */
static bool try_lsm(const char *name)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_LSM_CGROUP);
	_cleanup_close_ int map = -1, program = -1, cgroup = -1, link = -1, fd = -1;
	__u32 first = 0, ran = 0;
	int id;

	if (host_has_bpf_lsm() == 0)
		return false;
	id = libbpf_find_vmlinux_btf_id(name, BPF_LSM_CGROUP);
	map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "sockpol_probe", sizeof(first), sizeof(ran), 1,
			     NULL);
	if (id < 0 || map < 0)
		return false;
	opts.attach_btf_id = (__u32)id;
	program = bpf_prog_load(
		BPF_PROG_TYPE_LSM, "sockpol_probe", "GPL",
		(const struct bpf_insn[]){
			{ .code = BPF_LD | BPF_DW, /* a number of 64 bits */
			  .dst_reg = BPF_REG_1,
			  .src_reg = BPF_PSEUDO_MAP_VALUE,
			  .imm = map },
			{ 0 },
			{ .code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = BPF_REG_1, .imm = 1 },
			nothing[0],
			nothing[1],
		},
		5, &opts);
	cgroup = open_own_cgroup();
	if (program >= 0 && cgroup >= 0)
		link = bpf_link_create(program, cgroup, BPF_LSM_CGROUP, NULL);
	if (link >= 0)
		fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return fd >= 0 && bpf_map_lookup_elem(map, &first, &ran) == 0 && ran;
}

static bool lsm_runs(const char *name, bool is_due)
{
	static int answer = -EAGAIN; /* the kernel does not change while we run */

	if (answer < 0 && is_due)
		answer = try_lsm(name);
	return answer > 0;
}

/* Does the kernel have the hook?  1, 0, or a negative errno. */
static int has_hook(const struct hook *hook, bool is_due)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts,
		    .expected_attach_type = (enum bpf_attach_type)hook->attach_type);
	_cleanup_close_ int fd = -1;

	if (!hook->is_optional)
		return 1;
	if (hook->program_type == BPF_PROG_TYPE_LSM)
		return lsm_runs(lsm_function(hook), is_due);
	fd = bpf_prog_load(hook->program_type, "sockpol_probe", "GPL", nothing, ARRAY_SIZE(nothing),
			   &opts);
	if (fd >= 0)
		return 1;
	return fd == -EINVAL ? 0 : fd;
}

int programs_probe_hooks(uint64_t stages, uint64_t *ret_missing_stages)
{
	const uint32_t due = hook_set(stages);
	uint64_t missing = 0;

	for (int i = 0; i < HOOK_MAX; i++) {
		int r = has_hook(&hook_table[i], due & BIT(i));

		if (r < 0)
			return r;
		if (!r)
			missing |= hook_table[i].stages;
	}
	*ret_missing_stages = missing;
	return 0;
}

static int explain_failure(int err, const char *what)
{
	if ((err == -EPERM || err == -EACCES) && host_check_capabilities() < 0)
		return err;
	if (err == -ESRCH || access("/sys/kernel/btf/vmlinux", R_OK) < 0)
		return log_error_errno(err, "Cannot load the BPF programs: this kernel has no BTF "
					    "(CONFIG_DEBUG_INFO_BTF)");
	return log_error_errno(
		err,
		"Cannot load the BPF programs (%s; SOCKPOL_LOG_LEVEL=debug shows the "
		"verifier's log)",
		what);
}

/*
 * libbpf loads one program after another, and the verifier takes tens of milliseconds for each.  So
 * libbpf only relocates: what it is about to load is copied, and a program that does nothing is
 * loaded in its place.  Then each copy is loaded in a thread of its own.
 */
struct job {
	enum hook_id hook;
	struct bpf_insn *insns; /* owned */
	size_t n_insns;
	struct bpf_prog_load_opts opts; /* points into the object */
	int result;			/* a descriptor, or a negative errno */
	bool started;
	pthread_t thread;
};

struct loading {
	struct job jobs[HOOK_MAX];
	size_t n;
};

static struct loading *loading_now; /* by programs_load() */

/* libbpf is about to load the program. */
static int put_aside(struct bpf_program *program, struct bpf_prog_load_opts *opts, long cookie)
{
	struct loading *loading = loading_now;
	size_t n = bpf_program__insn_cnt(program);
	struct job *job;

	(void)cookie;
	if (!loading) /* another object's */
		return 0;
	job = &loading->jobs[loading->n];
	for (int i = 0; i < HOOK_MAX; i++)
		if (streq(hook_table[i].name, bpf_program__name(program)))
			job->hook = (enum hook_id)i;
	job->insns = calloc(n, sizeof(*job->insns));
	if (!job->insns)
		return -ENOMEM;
	memcpy(job->insns, bpf_program__insns(program), n * sizeof(*job->insns));
	job->n_insns = n;
	job->opts = *opts;
	job->opts.sz = sizeof(job->opts);
	job->result = -ECANCELED;
	loading->n++;
	opts->func_info_cnt = opts->line_info_cnt = 0;
	return bpf_program__set_insns(program, (struct bpf_insn *)(uintptr_t)nothing,
				      ARRAY_SIZE(nothing));
}

static void *load_one(void *p)
{
	struct job *job = p;
	const struct hook *hook = &hook_table[job->hook];

	job->result = bpf_prog_load(hook->program_type, hook->name, "Dual BSD/GPL", job->insns,
				    job->n_insns, &job->opts);
	return NULL;
}

/* Once more, for the verifier's log. */
static void show_verifier_log(struct job *job)
{
	_cleanup_free_ char *text = NULL;
	struct job again = *job;

	if (!log_is_shown(LOG_DEBUG) || !(text = malloc(VERIFIER_LOG_SIZE)))
		return;
	text[0] = '\0';
	again.opts.log_level = 1;
	again.opts.log_buf = text;
	again.opts.log_size = VERIFIER_LOG_SIZE;
	load_one(&again);
	if (again.result >= 0)
		close(again.result);
	log_lines(LOG_DEBUG, hook_table[job->hook].name, text);
}

/*
 * libbpf asks the kernel whether programs may have names, and takes an answer that did not come,
 * for want of memory, say, for no.  Without their names no later agent would know them for ours.
 */
static int check_name(int fd)
{
	struct pin_program info;
	int r = pin_program_info(fd, &info);

	return r < 0 || info.name[0] ? r : -EAGAIN;
}

static int take_result(struct job *job)
{
	int r = job->result;

	if (r < 0) {
		show_verifier_log(job);
		return explain_failure(r, hook_table[job->hook].name);
	}
	r = check_name(r);
	return r < 0 ? log_error_errno(r, "The BPF programs were loaded without their names") : 0;
}

static int load_side_by_side(struct loading *loading, int programs[HOOK_MAX])
{
	pthread_attr_t attr;
	int r = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK_SIZE);
	/* The first one by this thread itself, and whatever there is no thread for. */
	for (size_t i = 1; i < loading->n; i++) {
		struct job *job = &loading->jobs[i];

		job->started = pthread_create(&job->thread, &attr, load_one, job) == 0;
	}
	pthread_attr_destroy(&attr);
	for (size_t i = 0; i < loading->n; i++)
		if (!loading->jobs[i].started)
			load_one(&loading->jobs[i]);
	for (size_t i = 0; i < loading->n; i++)
		if (loading->jobs[i].started)
			pthread_join(loading->jobs[i].thread, NULL);
	for (size_t i = 0; i < loading->n; i++) {
		struct job *job = &loading->jobs[i];

		if (r == 0)
			r = take_result(job);
		if (r == 0)
			programs[job->hook] = TAKE_FD(job->result);
		else if (job->result >= 0)
			close(job->result);
	}
	return r;
}

static struct bpf_map *find_map(const struct bpf_object *object, enum map_id id)
{
	char section[32];

	if (map_table[id].shape != MAP_VARIABLE)
		return bpf_object__find_map_by_name(object, map_table[id].name);
	/* libbpf makes a map of a variable, and calls it like its section. */
	snprintf(section, sizeof(section), ".data.%s", map_table[id].name);
	return bpf_object__find_map_by_name(object, section);
}

/* By libbpf's name for it no other version would know it. */
static int make_variable(const struct map *m)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);

	return bpf_map_create(BPF_MAP_TYPE_ARRAY, m->name, m->key_size, m->value_size, 1, &opts);
}

static int use_maps(const struct bpf_object *object, int maps[MAP_ID_MAX])
{
	for (int i = 0; i < MAP_ID_MAX; i++) {
		struct bpf_map *map = find_map(object, i);
		int r;

		if (!map)
			return -ENOENT;
		if (maps[i] < 0 && map_table[i].shape == MAP_VARIABLE) {
			maps[i] = make_variable(&map_table[i]);
			if (maps[i] < 0)
				return maps[i];
		}
		r = maps[i] < 0 ? 0 : bpf_map__reuse_fd(map, maps[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int keep_maps(const struct bpf_object *object, int maps[MAP_ID_MAX])
{
	for (int i = 0; i < MAP_ID_MAX; i++) {
		if (maps[i] < 0)
			maps[i] = fcntl(bpf_map__fd(find_map(object, i)), F_DUPFD_CLOEXEC, 3);
		if (maps[i] < 0)
			return -errno;
	}
	return 0;
}

static int choose_programs(const struct bpf_object *object, uint32_t hooks)
{
	int r = 0;

	for (int i = 0; i < HOOK_MAX && r == 0; i++) {
		struct bpf_program *program =
			bpf_object__find_program_by_name(object, hook_table[i].name);

		if (!program)
			return -ENOENT;
		r = bpf_program__set_autoload(program, hooks & BIT(i));
		if (r == 0)
			r = bpf_program__set_expected_attach_type(
				program, (enum bpf_attach_type)hook_table[i].attach_type);
		if (r == 0 && hooks & BIT(i) && hook_table[i].program_type == BPF_PROG_TYPE_LSM)
			r = bpf_program__set_attach_target(program, 0,
							   lsm_function(&hook_table[i]));
	}
	return r;
}

static int load_object(uint32_t hooks, int maps[MAP_ID_MAX], int programs[HOOK_MAX],
		       struct loading *loading)
{
	_cleanup_(bpf_object__close) struct bpf_object *object = NULL;
	size_t size;
	const void *bytes = sockpol_bpf__elf_bytes(&size);
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "sockpol_bpf");
	int r;

	object = bpf_object__open_mem(bytes, size, &opts);
	if (!object)
		return explain_failure(-errno, "the BPF object");
	r = choose_programs(object, hooks);
	if (r == 0)
		r = use_maps(object, maps);
	if (r < 0)
		return log_error_errno(r, "Cannot prepare the BPF programs");
	r = bpf_object__load(object);
	if (r < 0)
		return explain_failure(r, "the BPF object");
	r = keep_maps(object, maps);
	if (r < 0)
		return log_error_errno(r, "Cannot keep the BPF maps");
	return load_side_by_side(loading, programs);
}

/* libbpf asks these what to do for a section.  They stay: once all of them were taken back,
 * libbpf 1.1 frees its table of them again. */
static int register_handlers(void)
{
	LIBBPF_OPTS(libbpf_prog_handler_opts, opts, .prog_prepare_load_fn = put_aside);
	static bool registered;
	int r = 0;

	for (int i = 0; i < HOOK_MAX && !registered; i++) {
		const struct hook *hook = &hook_table[i];

		/* Of two for one section the first counts. */
		r = libbpf_register_prog_handler(hook->section, hook->program_type,
						 (enum bpf_attach_type)hook->attach_type, &opts);
		if (r < 0)
			return log_error_errno(r, "Cannot prepare libbpf");
	}
	registered = true;
	return 0;
}

int programs_load(uint32_t hooks, int maps[MAP_ID_MAX], int programs[HOOK_MAX])
{
	struct loading loading = { 0 };
	int r = register_handlers();

	if (r < 0)
		return r;
	loading_now = &loading;
	r = load_object(hooks, maps, programs, &loading);
	loading_now = NULL;
	for (size_t i = 0; i < loading.n; i++)
		free(loading.jobs[i].insns);
	return r;
}
