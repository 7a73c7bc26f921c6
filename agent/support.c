// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "host.h"
#include "log.h"
#include "probe.h"
#include "support.h"

struct support {
	int socket;		 /* on which congestion controls are tried ... */
	const struct host *host; /* ... unless they are only looked up here */
	const int *options;	 /* what the kernel answers, by enum option_id */
	struct diags *diags;
	bool bad;
};

/*
 * Setting a congestion control on a socket of one's own makes the kernel load its module, which
 * bpf_setsockopt never does.  (EPERM would mean: it is there, but not for us.)
 */
static bool load_congestion(const struct support *s, const char *name)
{
	return setsockopt(s->socket, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) ==
		       0 ||
	       errno == EPERM;
}

static void check_congestion(struct support *s, const struct setting *setting)
{
	const char *name = sockopt_data(&setting->value);

	if (s->host ? host_has_congestion(s->host, name) != 0 : load_congestion(s, name))
		return;
	diag_error(s->diags, &setting->at, "this kernel has no congestion control '%s'", name);
	s->bad = true;
}

static bool supported(const struct support *s, const struct setting *setting)
{
	int answer = s->options[option_id(setting->option)];

	return answer == 0 || answer == PROBE_UNKNOWN;
}

/* False: the setting goes. */
static bool check_setting(struct support *s, const struct policy *p, const struct setting *setting)
{
	const char *name = setting->option->name;

	if (setting->unset)
		return true;
	if (!supported(s, setting)) {
		if (p->refuse_unsupported) {
			diag_error(
				s->diags, &setting->at,
				"this kernel's bpf_setsockopt does not take %s, and policy '%s' says "
				"on_unsupported: refuse",
				name, p->name);
			s->bad = true;
		} else {
			diag_warning(
				s->diags, &setting->at,
				"this kernel's bpf_setsockopt does not take %s (since %s): left out "
				"of policy '%s'",
				name, setting->option->since, p->name);
		}
		return false;
	}
	if (setting->option == &option_table[OPTION_TCP_CONGESTION])
		check_congestion(s, setting);
	return true;
}

static void check_block(struct support *s, const struct policy *p, struct settings *block)
{
	size_t kept = 0;

	for (size_t i = 0; i < block->n; i++) {
		if (check_setting(s, p, &block->v[i]))
			block->v[kept++] = block->v[i];
		else
			sockopt_destroy(&block->v[i].value);
	}
	block->n = kept;
}

/* That the kernel lacks the hooks is a warning of lint's, unless the policy insists. */
static void check_unix(struct support *s, const struct policy *p, const struct rule *r)
{
	if (!(r->when.families & BIT(SP_FAMILY_INDEX_UNIX)) || !p->refuse_unsupported ||
	    host_has_unix_hooks() != 0)
		return;
	diag_error(
		s->diags, &r->at,
		"this kernel has no hooks for AF_UNIX sockets (6.7 and later have), and policy '%s' says "
		"on_unsupported: refuse",
		p->name);
	s->bad = true;
}

/* The kernel does not change while we run: asked once. */
static const int *probed_options(void)
{
	static int answers[OPTION_MAX];
	static bool asked;
	int r;

	if (asked)
		return answers;
	r = probe_options(answers);
	if (r < 0) {
		log_warning_errno(r, "Cannot try which options this kernel takes, ignoring");
		for (size_t i = 0; i < OPTION_MAX; i++)
			answers[i] = PROBE_UNKNOWN;
	}
	asked = true;
	return answers;
}

static int check_config(struct support *s, struct config *c)
{
	for (size_t i = 0; i < c->n_policies; i++) {
		struct policy *p = &c->policies[i];

		check_block(s, p, &p->base);
		for (size_t j = 0; j < p->n_rules; j++) {
			check_block(s, p, &p->rules[j].options);
			check_unix(s, p, &p->rules[j]);
		}
	}
	return s->bad ? -EBADMSG : 0;
}

int support_prepare(struct config *c, struct diags *diags)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct support s = { .socket = fd, .options = probed_options(), .diags = diags };

	if (fd < 0)
		return log_error_errno(errno, "Cannot make a socket");
	return check_config(&s, c);
}

int support_foresee(struct config *c, const struct host *host, struct diags *diags)
{
	struct support s = {
		.socket = -1, .host = host, .options = probed_options(), .diags = diags
	};

	return check_config(&s, c);
}
