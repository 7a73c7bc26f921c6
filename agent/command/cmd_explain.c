// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* sockpol explain: which options do the sockets of a cgroup get, and why? */
#include <errno.h>
#include <limits.h>

#include "base/names.h"
#include "host/cgroup.h"
#include "host/sock_diag.h"
#include "command/commands.h"
#include "report/explanation.h"
#include "report/generations.h"
#include "report/in_force.h"
#include "report/sockets.h"
#include "policy/loader.h"
#include "base/log.h"
#include "kernel/attachments.h"
#include "kernel/support.h"
#include "report/unit.h"

struct request {
	const char *cgroup, *unit;
	long pid; /* 0: not given */
	struct asked_words words;
	const char **dirs;
	const char *pin_dir;
	bool json, verbose;
};

static const struct cli_option options[] = {
	{ "cgroup", "PATH", "this cgroup, below the cgroup2 mount",
	  CLI_TEXT(struct request, cgroup) },
	{ "unit", "NAME", "the cgroups of this systemd unit", CLI_TEXT(struct request, unit) },
	{ "pid", "PID", "the cgroup of this process, and its sockets'",
	  CLI_NUMBER(struct request, pid, 1, INT_MAX) },
	{ "direction", "D",
	  "only connect, accept or listen; of one connection: listen if only\n"
	  "                        --local is given, else connect",
	  CLI_WORD(struct request, words.directions, direction_words) },
	{ "remote", "ADDR[:PORT]", "the peer: 192.0.2.1:443, [2001:db8::1]:443, or without port",
	  CLI_TEXT(struct request, words.remote) },
	{ "local", "ADDR[:PORT]", "this end, as far as it is bound; :PORT is the port alone",
	  CLI_TEXT(struct request, words.local) },
	{ "protocol", "P", "tcp or udp",
	  CLI_WORD(struct request, words.protocols, protocol_words) },
	{ "family", "F",
	  "ipv4, ipv6, unix, netlink or packet; an address says it, a v4-mapped one is ipv4",
	  CLI_WORD(struct request, words.families, family_words) },
	{ "policy-dir", "DIR", "read policies here (may repeat, earlier wins)",
	  CLI_LIST(struct request, dirs) },
	{ "pin-dir", "DIR", "the agent's pins (" DEFAULT_PIN_DIR ")",
	  CLI_TEXT(struct request, pin_dir) },
	{ "verbose", NULL, "also where each is written, at which hooks it is set, what it beats",
	  CLI_FLAG(struct request, verbose) },
	{ "json", NULL, "print JSON", CLI_FLAG(struct request, json) },
};

/* The sources of the answers. */
struct inputs {
	char *mount; /* NULL: no cgroup2 here */
	struct host host;
	struct config *config;
	bool refused; /* some file has errors: the configuration is the other files' */
	struct generations *generations; /* NULL: what is in force is not known ... */
	json_t *why_not_known;		 /* ... because; a string */
};

static void inputs_clear(struct inputs *s)
{
	generations_close(s->generations);
	json_decref(s->why_not_known);
	config_free(s->config);
	host_clear(&s->host);
	free(s->mount);
}

static bool has_errors(const struct diags *diags, const char *path)
{
	for (size_t i = 0; i < diags->n_files; i++)
		if (streq(diags->files[i].name, path))
			return diags->files[i].kept[DIAG_ERROR] > 0;
	return false;
}

/* Loads the files in which no error was found, with everything else as if they were all. */
static int load_others(const char *const *dirs, const struct diags *found, struct inputs *s)
{
	static const char *const no_dirs[] = { NULL };
	_cleanup_free_ const char **paths = NULL;
	struct loader_files f = { 0 };
	struct diags again = { 0 };
	size_t n = 0;
	int r = loader_scan(dirs, &again, &f);

	if (r == 0) {
		paths = calloc(f.n + 1, sizeof(*paths));
		r = paths ? 0 : -ENOMEM;
	}
	for (size_t i = 0; r == 0 && i < f.n; i++)
		if (!has_errors(found, f.v[i].path))
			paths[n++] = f.v[i].path;
	if (r == 0)
		r = config_load(no_dirs, paths, &s->host, &again, &s->config);
	loader_files_clear(&f);
	diags_clear(&again);
	return r;
}

/* Leaves out what `run` leaves out here.  Without the privilege to ask the kernel nothing is left
 * out. */
static int load_policies(const struct request *q, struct inputs *s)
{
	const char *const *dirs = q->dirs[0] ? q->dirs : loader_default_dirs;
	const struct kernel_support *k;
	struct diags diags = { 0 };
	int r;

	host_read(&s->host);
	r = config_load(dirs, NULL, &s->host, &diags, &s->config);
	if (r == -EBADMSG)
		r = load_others(dirs, &diags, s);
	if (r == 0 && support_probe(s->config, &k) == 0)
		r = support_apply(k, &s->host, s->config, &diags);
	diags_log(&diags);
	s->refused = diags.n_errors > 0;
	if (s->refused && s->config)
		log_warning("until that is mended a reload is refused; what follows is by the "
			    "other files");
	diags_clear(&diags);
	return r == -EBADMSG && s->config ? 0 : r;
}

static const char *not_known_because(int error)
{
	switch (error) {
	case -EACCES:
	case -EPERM:
		return "not known (needs root)";
	case -ENOENT:
		return "not known (no agent's pins)";
	case -EPROTO:
		return "not known (pinned by an agent of another version)";
	default:
		return "not known (the pins cannot be read)";
	}
}

/* Where a hook is not attached, what the maps hold is not in force. */
static int find_lost_hooks(const struct request *q, struct inputs *s)
{
	_cleanup_free_ char *names = NULL;
	int r = attachments_name_lost(q->pin_dir, &s->generations->state, &names);

	if (!names)
		return r == -ENOMEM ? r : 0;
	s->why_not_known = json_sprintf(
		"not as the files say: nothing is attached at %s (sockpol reload attaches it again)",
		names);
	return s->why_not_known ? 0 : -ENOMEM;
}

/* Opens what is in force, if permitted: the rest of the answer does not need it. */
static int open_generations(const struct request *q, struct inputs *s)
{
	_cleanup_free_ char *error = NULL;
	struct position at;
	int r = generations_open(q->pin_dir, s->config, &s->generations, &error, &at);

	if (r == 0 && !s->generations->are_pinned) {
		generations_close(TAKE_PTR(s->generations));
		r = -ENOENT;
	}
	if (r == 0)
		return find_lost_hooks(q, s);
	if (r == -ENOMEM)
		return r;
	s->why_not_known =
		r == -E2BIG ? json_sprintf("not known (the files would be refused: %s)", error)
			    : json_string(not_known_because(r));
	return s->why_not_known ? 0 : -ENOMEM;
}

static int inputs_open(const struct request *q, struct inputs *s)
{
	int r = load_policies(q, s);

	if (r < 0)
		return r;
	r = cgroup_mount(&s->mount);
	if (r < 0 && r != -ENOENT)
		return log_error_errno(r, "cannot find the cgroup2 mount");
	return open_generations(q, s);
}

/* The answer: cgroups explained, and perhaps a process's sockets. */
struct answer {
	const struct asked *asked;
	struct names cgroups; /* explained so far */
	json_t *root;	      /* the document: the cgroup asked for ... */
	json_t *also;	      /* ... and with it the others, and other protocols */
};

/* Compares.  The files' side is what was explained, by the patterns alone. */
static int compare(const struct inputs *s, const char *cgroup, const struct effective *e,
		   json_t **ret)
{
	struct generations *g = s->generations;
	struct glob_list in_force = { 0 }, by_files = { 0 };
	const char *why = json_string_value(s->why_not_known);
	int r = 0;

	if (g && !why) {
		for (size_t i = 0; i < e->n_policies; i++)
			by_files.number[by_files.n++] =
				(uint16_t)image_policy_number(g->files.image, e->policies[i]);
		r = generations_list_in_force(g, cgroup, &in_force);
		if (r == 0)
			r = in_force_compare(&g->in_force, &in_force, &g->files, &by_files, ret);
		if (r != -EPROTO)
			return r;
		why = not_known_because(r);
	}
	*ret = in_force_unknown(why);
	return *ret ? 0 : -ENOMEM;
}

/* Does some rule hold for one of the protocols that the question leaves open, but not for all? */
static bool hangs_on_protocol(const struct asked *asked, const struct effective *e)
{
	for (size_t i = 0; i < e->n_blocks; i++)
		if (e->blocks[i].rule && asked_hangs_on_protocol(asked, &e->blocks[i].rule->when))
			return true;
	return false;
}

/* Adds an explanation.  NULL: memory is out. */
static int add_explanation(json_t *e, struct answer *a)
{
	if (!a->root)
		a->root = e;
	else
		a->also = document_append(a->also, e);
	return e && a->also ? 0 : -ENOMEM;
}

/* Explains for each protocol, if the question leaves it open and the answers differ. */
static int explain_effective(const struct inputs *s, const char *cgroup, const struct effective *e,
			     json_t *in_force, struct answer *a)
{
	const unsigned n = hangs_on_protocol(a->asked, e) ? PROTOCOL_MAX : 1;
	struct asked one = *a->asked;
	int r = 0;

	for (unsigned p = 0; p < n && r == 0; p++) {
		if (n > 1)
			one.protocols = BIT(p);
		r = add_explanation(
			explanation_new(cgroup, e, &s->host, &one, json_incref(in_force)), a);
	}
	return r;
}

/* Explains the cgroup, unless that was done already. */
static int explain_cgroup(const struct inputs *s, const char *cgroup, struct answer *a)
{
	struct effective effective = { 0 };
	json_t *in_force;
	int r;

	if (names_have(&a->cgroups, cgroup))
		return 0;
	r = names_append(&a->cgroups, cgroup);
	if (r == 0)
		r = cascade_walk(s->config, cgroup, &effective);
	if (r < 0)
		return r;
	r = compare(s, cgroup, &effective, &in_force);
	if (r == 0) {
		r = explain_effective(s, cgroup, &effective, in_force, a);
		json_decref(in_force);
	}
	effective_clear(&effective);
	return r;
}

static int explain_path(const struct inputs *s, const char *path, struct answer *a)
{
	_cleanup_free_ char *cgroup = NULL;
	int r = cgroup_normalize(s->mount, path, &cgroup);

	if (r == -EINVAL)
		log_error("a cgroup's path has no '..': %s", path);
	return r < 0 ? r : explain_cgroup(s, cgroup, a);
}

static int explain_unit(const struct inputs *s, const char *unit, struct answer *a)
{
	_cleanup_free_ char *why = NULL;
	struct names cgroups = { 0 };
	bool assumed;
	int r = unit_cgroups_find(s->mount, unit, &cgroups, &assumed, &why);

	if (r < 0) {
		if (why)
			log_error("%s", why);
		return r;
	}
	for (size_t i = 0; i < cgroups.n && r == 0; i++)
		r = explain_cgroup(s, cgroups.v[i], a);
	if (assumed)
		a->root = document_set(
			a->root, "note",
			json_string(
				"the unit has no cgroup now; assuming where systemd would put it"));
	names_clear(&cgroups);
	return r;
}

/* Returns the explanation of a socket's cgroup, for every connection; NULL: there is none. */
static const json_t *explanation_of(const struct answer *a, const json_t *socket)
{
	const json_t *one;
	size_t i;

	if (document_same(a->root, socket, "cgroup"))
		return a->root;
	json_array_foreach (a->also, i, one)
		if (document_same(one, socket, "cgroup"))
			return one;
	return NULL;
}

static const char *not_asked_because(int error)
{
	return error == -EXDEV ? "asking would change their net_cls or net_prio cgroup"
			       : strerror(-error);
}

/* Explains the socket's cgroup, and tells about the socket; asks it, if the process was opened. */
static int explain_socket(const struct inputs *s, int pidfd, const struct sock_diag_socket *socket,
			  struct answer *a, json_t **list)
{
	struct effective effective = { 0 };
	json_t *document = sockets_json(socket);
	int r = socket->cgroup ? explain_cgroup(s, socket->cgroup, a) : 0;

	*list = document_append(*list, json_incref(document));
	if (r == 0 && pidfd >= 0 && socket->cgroup) {
		r = cascade_walk(s->config, socket->cgroup, &effective);
		if (r == 0)
			r = sockets_judge(pidfd, socket, &effective, &s->host,
					  explanation_of(a, document), document);
		effective_clear(&effective);
	}
	json_decref(document);
	return r;
}

/* Lists the process's sockets, and explains the other cgroups in which some were created. */
static int explain_sockets(const struct inputs *s, pid_t pid, struct answer *a)
{
	_cleanup_close_ int pidfd = a->asked->connection ? -1 : sockets_open(pid);
	const char *why_not = a->asked->connection ? "the answer is for one connection"
			      : pidfd < 0	   ? not_asked_because(pidfd)
						   : NULL;
	struct sock_diag_list sockets = { 0 };
	json_t *list = json_array();
	int r = sock_diag_of_pid(pid, &sockets);

	if (r < 0 && r != -ENOMEM)
		a->root = document_set(a->root, "sockets_error", json_string(strerror(-r)));
	if (r == 0 && s->mount)
		r = cgroup_of_sockets(s->mount, &sockets);
	for (size_t i = 0; i < sockets.n && r != -ENOMEM; i++) {
		r = explain_socket(s, why_not ? -1 : pidfd, &sockets.v[i], a, &list);
		if (r < 0)
			why_not = not_asked_because(r);
	}
	sock_diag_clear(&sockets);
	a->root = document_set(a->root, "sockets", list);
	a->root = document_set(a->root, "sockets_not_asked", document_string(why_not));
	return r == -ENOMEM ? r : 0;
}

static int explain_process(const struct inputs *s, pid_t pid, struct answer *a)
{
	_cleanup_free_ char *cgroup = NULL;
	int r = cgroup_of_pid(pid, &cgroup);

	if (r < 0)
		return log_error_errno(r, "cannot tell the cgroup of process %d", (int)pid);
	r = explain_cgroup(s, cgroup, a);
	return r < 0 ? r : explain_sockets(s, pid, a);
}

static int print_answer(const struct request *q, const struct answer *a)
{
	const char *note = document_text(a->root, "note");
	const json_t *one;
	size_t i;
	int r;

	if (note)
		printf("note: %s\n", note);
	if (q->pid)
		sockets_print(a->root, q->verbose, stdout);
	r = explanation_print(a->root, q->verbose, stdout);
	json_array_foreach (a->also, i, one)
		r = r < 0 ? r : explanation_print(one, q->verbose, stdout);
	return r;
}

/* Checks for exactly one of the three, and for a possible connection. */
static int check_usage(const struct request *q, struct asked *ret_asked)
{
	_cleanup_free_ char *error = NULL;
	int r;

	if (!!q->cgroup + !!q->unit + !!q->pid != 1) {
		fprintf(stderr, "sockpol explain: give one of --cgroup, --unit and --pid\n");
		return -EINVAL;
	}
	r = asked_parse(&q->words, ret_asked, &error);
	if (r == -ENOMEM)
		log_oom();
	else if (r < 0)
		fprintf(stderr, "sockpol explain: %s\n", error);
	return r;
}

/* Answers the request.  -EINVAL: it makes no sense. */
static int explain_request(const struct request *q, const struct asked *asked)
{
	struct answer a = { .asked = asked, .also = json_array() };
	struct inputs s = { 0 };
	int r = inputs_open(q, &s);

	if (r == 0) {
		if (q->cgroup)
			r = explain_path(&s, q->cgroup, &a);
		else if (q->unit)
			r = explain_unit(&s, q->unit, &a);
		else
			r = explain_process(&s, (pid_t)q->pid, &a);
	}
	if (r == 0 && !q->json)
		r = print_answer(q, &a);
	if (r == 0 && q->json) {
		if (!q->pid)
			a.root = document_set(a.root, "sockets", json_array());
		a.root = document_set(a.root, "also", json_incref(a.also));
		r = document_write(TAKE_PTR(a.root), stdout);
	}
	if (r == 0 && s.refused)
		r = -EBADMSG;
	if (r == -ENOMEM)
		log_oom();
	json_decref(a.root);
	json_decref(a.also);
	names_clear(&a.cgroups);
	inputs_clear(&s);
	return r;
}

static int explain(const void *given, const char *const *arguments)
{
	const struct request *q = given;
	struct asked asked;
	int r = check_usage(q, &asked);

	(void)arguments;
	if (r < 0)
		return r == -ENOMEM ? EXIT_BAD : EXIT_USAGE;
	r = explain_request(q, &asked);
	if (r == -EINVAL)
		return EXIT_USAGE;
	return r < 0 ? EXIT_BAD : EXIT_GOOD;
}

const struct command cmd_explain = {
	.name = "explain",
	.summary = "say which options a cgroup's sockets get, and why",
	.synopsis = "explain --cgroup PATH | --unit NAME | --pid PID [--direction D]\n"
		    "                       [--remote ADDR[:PORT]] [--local ADDR[:PORT]]\n"
		    "                       [--protocol P] [--family F]\n"
		    "                       [--policy-dir DIR]... [--pin-dir DIR]\n"
		    "                       [--verbose | --json]",
	.description =
		"Says which options the new sockets of a cgroup, a systemd unit or a process get by the\n"
		"policy files, and which policy or rule sets each: for every connection, with the\n"
		"conditions of the rules, or for the one that --remote, --local, --protocol and --family\n"
		"describe.  A rule that asks for more than these give does not hold; without --protocol the\n"
		"answer is for tcp and for udp, where these differ.\n"
		"Needs no privilege; as root it also says where what is in force differs from the files,\n"
		"and leaves out what the running kernel lacks.  Where some files have errors, it answers\n"
		"by the others.\n"
		"Exit status: 0 good, 1 errors in the files or no such process or unit, 2 usage.",
	CLI_OPTIONS(options, struct request),
	.defaults = &(const struct request){ .pin_dir = DEFAULT_PIN_DIR },
	.run = explain,
};
