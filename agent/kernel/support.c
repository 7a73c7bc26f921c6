// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "host/host.h"
#include "base/log.h"
#include "base/progress.h"
#include "kernel/programs.h"
#include "policy/stage.h"
#include "kernel/support.h"
#include "../include/probe_abi.h"
#include "probe.skel.h"

static_assert(OPTION_MAX <= SP_PROBES_MAX, "a probe for each option");

const struct missing_hook missing_hooks[] = {
	{ "hooks for AF_UNIX sockets", SP_STAGE_UNIX, "6.7" },
	{ "hooks of BPF LSM (boot with lsm=...,bpf)", SP_STAGE_LOCAL_SOCKET, "6.0" },
};
const size_t n_missing_hooks = ARRAY_SIZE(missing_hooks);

/* A configuration on its way through. */
struct support {
	const struct kernel_support *kernel;
	struct config *config;
	const struct policy *policy; /* the one that is looked at ... */
	const struct rule *rule;     /* ... and its rule; NULL: its base options */
	struct diags *diags;
	const struct host *host; /* where congestion controls are looked up; NULL: they are ... */
	int socket;		 /* ... tried on this one; -1: not even that */
	bool bad;
	int error; /* -ENOMEM */
};

/* since: NULL for a module, which may come with any kernel.  is_refused: see struct unsupported. */
static void note(struct support *s, const char *what, const char *since, bool is_refused)
{
	struct config *c = s->config;
	char *text = strdup(what);

	if (!text || GROW(c->unsupported, c->n_unsupported) < 0) {
		free(text);
		s->error = -ENOMEM;
		return;
	}
	c->unsupported[c->n_unsupported++] = (struct unsupported){
		.policy = s->policy->name,
		.rule = s->rule ? s->rule->name : NULL,
		.what = text,
		.since = since,
		.is_refused = is_refused,
	};
}

bool support_has_option(const struct kernel_support *k, enum option_id id)
{
	return k->options[id] == 0 || k->options[id] == SUPPORT_UNKNOWN;
}

/*
 * Setting a congestion control on a socket of one's own makes the kernel load its module, which
 * bpf_setsockopt never does.  (EPERM would mean: it is there, but not for us.)
 */
static bool has_congestion(const struct support *s, const char *name)
{
	if (s->host)
		return host_has_congestion(s->host, name) != 0;
	return s->socket < 0 ||
	       setsockopt(s->socket, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) ==
		       0 ||
	       errno == EPERM;
}

/* Is `on_failure` that counts the rule's own? */
static bool by_rule(const struct support *s)
{
	return s->rule && s->rule->on_failure != ON_FAILURE_UNSAID;
}

/*
 * Says that the kernel does not have what a setting needs: "has no congestion control 'x'". Returns
 * whether the setting stays: with `on_failure: refuse` it does, and the hooks refuse the calls for
 * which it is due; else it goes, so that a weaker one may win.  A range alone gives nothing that
 * could fail.
 */
static bool lacks(struct support *s, const struct setting *setting, const char *what,
		  const char *since, const char *sentence)
{
	const bool refuses = setting->refuse && setting_has_value(setting);

	note(s, what, since, refuses);
	if (s->policy->refuse_unsupported) {
		diag_error(s->diags, &setting->at,
			   "%s, and policy '%s' says on_unsupported: refuse", sentence,
			   s->policy->name);
		s->bad = true;
	} else if (refuses) {
		diag_warning(s->diags, &setting->at,
			     "%s: calls that need it fail with EPERM, as %s '%s' says on_failure: "
			     "refuse",
			     sentence, by_rule(s) ? "rule" : "policy",
			     by_rule(s) ? s->rule->name : s->policy->name);
	} else {
		diag_warning(s->diags, &setting->at, "%s: left out of policy '%s'", sentence,
			     s->policy->name);
	}
	return refuses;
}

/* Returns whether the setting stays. */
static bool check_congestion(struct support *s, const struct setting *setting)
{
	const char *name = sockopt_data(&setting->value);
	char what[64], sentence[128];

	if (has_congestion(s, name))
		return true;
	snprintf(what, sizeof(what), "congestion control '%s'", name);
	snprintf(sentence, sizeof(sentence), "this kernel has no %s", what);
	return lacks(s, setting, what, NULL, sentence);
}

/* Returns whether the setting stays. */
static bool check_setting(struct support *s, const struct setting *setting)
{
	const struct option *o = setting->option;
	char sentence[128];

	if (setting->unset)
		return true;
	if (support_has_option(s->kernel, option_id(o)))
		return option_id(o) != OPTION_TCP_CONGESTION || check_congestion(s, setting);
	snprintf(sentence, sizeof(sentence),
		 "this kernel's bpf_setsockopt does not take %s (since %s)", o->name, o->since);
	return lacks(s, setting, o->name, o->since, sentence);
}

static void check_block(struct support *s, struct settings *block)
{
	size_t kept = 0;

	for (size_t i = 0; i < block->n; i++) {
		if (check_setting(s, &block->v[i]))
			block->v[kept++] = block->v[i];
		else if (!block->v[i].unset)
			sockopt_destroy(&block->v[i].value);
	}
	block->n = kept;
}

static bool misses(const struct support *s, enum sp_stage stage)
{
	return s->kernel->missing_stages & BIT(stage);
}

/* Does the rule need a stage that the kernel lacks?  For AF_UNIX sockets either stage does. */
static bool needs(const struct support *s, enum sp_stage stage)
{
	const struct when *w = &s->rule->when;
	const struct stage *at_socket = &stage_table[SP_STAGE_LOCAL_SOCKET];

	if (!misses(s, stage) || !when_may_hold(w, &stage_table[stage]))
		return false;
	if (stage == SP_STAGE_LOCAL_SOCKET)
		return when_families_at(w->families, at_socket) & ~BIT(SP_FAMILY_INDEX_UNIX);
	return misses(s, SP_STAGE_LOCAL_SOCKET) || !when_may_hold(w, at_socket);
}

/* That a rule does nothing without the hook is a warning of lint's, unless the policy insists. */
static void check_hooks(struct support *s)
{
	for (size_t i = 0; i < n_missing_hooks; i++) {
		const struct missing_hook *h = &missing_hooks[i];

		if (!needs(s, h->stage))
			continue;
		note(s, h->what, h->since, /* is_refused= */ false);
		if (!s->policy->refuse_unsupported)
			continue;
		diag_error(s->diags, &s->rule->at,
			   "this kernel has no %s (%s and later have), and policy '%s' says "
			   "on_unsupported: refuse",
			   h->what, h->since, s->policy->name);
		s->bad = true;
	}
}

static int apply(struct support *s)
{
	for (size_t i = 0; i < s->config->n_policies; i++) {
		struct policy *p = &s->config->policies[i];

		progress_made();
		s->policy = p;
		s->rule = NULL;
		check_block(s, &p->base);
		for (size_t j = 0; j < p->n_rules; j++) {
			s->rule = &p->rules[j];
			check_block(s, &p->rules[j].options);
			check_hooks(s);
		}
	}
	if (s->error < 0)
		return s->error;
	return s->bad ? -EBADMSG : 0;
}

int support_apply(const struct kernel_support *k, const struct host *host, struct config *c,
		  struct diags *diags)
{
	struct support s = { .kernel = k, .config = c, .diags = diags, .host = host, .socket = -1 };

	return apply(&s);
}

/* --- what the kernel answers when it is tried */

DEFINE_CLEANUP(struct probe_bpf *, probe_bpf__destroy)

DEFINE_CLEANUP(struct bpf_link *, bpf_link__destroy)

/* A socket to try options on. */
struct subject {
	int fd; /* -1: this host has none of the family */
	__u64 cookie;
};

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
		return SUPPORT_UNKNOWN;
	p->level = o->level;
	p->optname = o->optname;
	p->cookie = s->cookie;
	return fill_value(o, s->fd, p);
}

/* Reads the iterator to its end, which is what runs the program. */
static int run_iterator(const struct bpf_program *prog)
{
	_cleanup_(bpf_link__destroy) struct bpf_link *link = NULL;
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
	int r;

	if (!bpf)
		return -errno;
	/* What sets SP_LEVEL_REPLY is older than everything else that the hooks need. */
	for (size_t i = 0; i < OPTION_MAX; i++)
		ret[i] = option_table[i].level == SP_LEVEL_REPLY
				 ? 0
				 : fill_probe(&option_table[i], v4, v6, &bpf->bss->probes[i]);
	r = probe_bpf__load(bpf);
	if (r < 0)
		return r;
	if (!bpf->bss) /* libbpf could not find out whether there is such a thing */
		return -ENODATA;
	r = run_iterator(bpf->progs.probe);
	for (size_t i = 0; i < OPTION_MAX && r == 0; i++) {
		const struct sp_probe *p = &bpf->bss->probes[i];

		if (ret[i] == 0 && option_table[i].level != SP_LEVEL_REPLY)
			ret[i] = p->answered ? p->answer : SUPPORT_UNKNOWN;
	}
	return r;
}

int support_probe_options(int ret[OPTION_MAX])
{
	struct subject v4 = { .fd = -1 }, v6 = { .fd = -1 };
	int r4 = subject_open(AF_INET, &v4), r6 = subject_open(AF_INET6, &v6);
	int r = r4 < 0 && r6 < 0 ? r4 : ask(&v4, &v6, ret);

	cleanup_close(&v4.fd);
	cleanup_close(&v6.fd);
	return r;
}

/* Returns BIT(SP_STAGE_LOCAL_SOCKET) if some rule is for sockets that are governed there. */
static uint64_t local_socket_stage(const struct config *c)
{
	for (size_t i = 0; i < c->n_policies; i++)
		for (size_t j = 0; j < c->policies[i].n_rules; j++)
			if (stage_rule_may_hold(&c->policies[i].rules[j], SP_STAGE_LOCAL_SOCKET))
				return BIT(SP_STAGE_LOCAL_SOCKET);
	return 0;
}

int support_probe(const struct config *c, const struct kernel_support **ret)
{
	static struct kernel_support answers; /* the kernel does not change while we run */
	static bool asked;
	int r = asked ? 0 : programs_check_kernel();

	if (r == 0 && !asked)
		r = support_probe_options(answers.options);
	asked |= r == 0;
	if (r == 0)
		r = programs_probe_hooks(c ? local_socket_stage(c) : UINT64_MAX,
					 &answers.missing_stages);
	if (r == 0)
		*ret = &answers;
	return r;
}

static int apply_running(struct support *s)
{
	static const struct kernel_support unknown;
	int r;

	s->kernel = &unknown;
	r = support_probe(s->config, &s->kernel);
	if (r < 0 && r != -ESRCH) /* no BTF: loading the programs fails too, and says so */
		log_warning_errno(r,
				  "Cannot try which options and hooks this kernel has, ignoring");
	r = apply(s);
	return r == -ENOMEM ? log_oom() : r;
}

int support_prepare(struct config *c, struct diags *diags)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct support s = { .config = c, .diags = diags, .socket = fd };

	return fd < 0 ? log_error_errno(errno, "Cannot make a socket") : apply_running(&s);
}

int support_foresee(struct config *c, const struct host *host, struct diags *diags)
{
	struct support s = { .config = c, .diags = diags, .host = host, .socket = -1 };

	return apply_running(&s);
}
