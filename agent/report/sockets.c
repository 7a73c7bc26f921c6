// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <netinet/in.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "host/cgroup.h"
#include "option/value.h"
#include "report/asked.h"
#include "report/explanation.h"
#include "report/sockets.h"

#define NAMED_MAX 10 /* unless all are asked for */
#define TEXT_SIZE 16 /* of a device's name, and of a congestion control's */

/* Who takes a descriptor of a socket gives it its own net_cls and net_prio cgroup. */
int sockets_open(pid_t pid)
{
	int fd;

	if (!cgroup_net_is_ours(pid))
		return -EXDEV;
	fd = pidfd_open(pid, 0);
	return fd < 0 ? -errno : fd;
}

static const char *protocol_name(int protocol)
{
	return protocol == IPPROTO_UDP ? "udp" : protocol == IPPROTO_MPTCP ? "mptcp" : "tcp";
}

/*
 * Returns the directions (BIT(enum direction)) that the socket may have; 0: it has none yet.  A UDP
 * socket with a port was bound, or has sent: the kernel does not tell which.
 */
static unsigned directions_of(const struct sock_diag_socket *s)
{
	if (s->listens)
		return BIT(DIRECTION_LISTEN);
	if (s->protocol == IPPROTO_UDP && !*s->remote)
		return s->port ? BIT(DIRECTION_LISTEN) | BIT(DIRECTION_CONNECT) : 0;
	return BIT(s->is_accepted ? DIRECTION_ACCEPT : DIRECTION_CONNECT);
}

json_t *sockets_json(const struct sock_diag_socket *s)
{
	const unsigned directions = directions_of(s);
	json_t *names = json_array();

	for (unsigned d = 0; d < DIRECTION_MAX; d++)
		if (directions & BIT(d))
			names = document_append(names, json_string(direction_words[d]));
	return json_pack("{s:s, s:o, s:s, s:s?, s:I, s:o, s:o, s:[], s:[]}", "protocol",
			 protocol_name(s->protocol), "directions", names, "local", s->local,
			 "remote", *s->remote ? s->remote : NULL, "inode", (json_int_t)s->inode,
			 "cgroup", document_string(s->cgroup), "cgroup_id",
			 s->cgroup_id ? json_integer((json_int_t)s->cgroup_id) : json_null(),
			 "differences", "not_passed_on");
}

/* A socket that is judged. */
struct judge {
	const struct sock_diag_socket *socket;
	int fd;
	const json_t *options; /* of its cgroup, for every connection */
	json_t *document;
};

/* Returns what policies give such a socket in this direction. */
static json_t *explain(const struct sock_diag_socket *s, unsigned direction,
		       const struct effective *effective, const struct host *host)
{
	const bool is_udp = s->protocol == IPPROTO_UDP,
		   sends = is_udp && !*s->remote && direction == DIRECTION_CONNECT;
	const struct asked_words words = {
		.directions = BIT(direction),
		.protocols = BIT(is_udp ? PROTOCOL_UDP : PROTOCOL_TCP),
		.families = s->family == AF_INET ? BIT(SP_FAMILY_INDEX_IPV4) : 0,
		.remote = *s->remote ? s->remote : NULL,
		.local = sends ? NULL : s->local,
	};
	_cleanup_free_ char *error = NULL;
	struct asked asked;
	int r = asked_parse(&words, &asked, &error);

	if (r < 0) /* an address that makes no sense is compared with nothing */
		return r == -ENOMEM ? NULL : json_object();
	return explanation_new(s->cgroup, effective, host, &asked, json_null());
}

/* Returns what the socket has, a number or a text; NULL: it does not tell. */
static json_t *ask(const struct judge *j, const struct option *o)
{
	struct sockopt value = { .level = o->level, .name = o->optname };
	char text[TEXT_SIZE + 1] = "";
	socklen_t size = o->type == OPTION_STRING ? TEXT_SIZE : sizeof(int);
	int only = 0;
	socklen_t only_size = sizeof(only);

	/* An IPv6 socket that does not speak IPv4 has no use for IPv4's options. */
	if (o->level == IPPROTO_IP && j->socket->family == AF_INET6 &&
	    (getsockopt(j->fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &only_size) < 0 || only))
		return NULL;
	if (getsockopt(j->fd, o->level, o->optname, text, &size) < 0)
		return NULL;
	if (o->type == OPTION_STRING) /* users name devices */
		return document_string(text);
	return sockopt_set(&value, text, size) < 0 ? NULL : json_integer(value_number(o, &value));
}

/* Formats what getsockopt(2) shows. */
static json_t *text_of(const struct option *o, const json_t *shown)
{
	struct sockopt value = { .level = o->level, .name = o->optname };
	_cleanup_free_ char *text = NULL;

	if (json_is_string(shown))
		return json_string(json_string_value(shown));
	if (sockopt_setint(&value, (int)json_integer_value(shown)) == 0)
		text = value_format(o, &value);
	return text ? json_string(text) : NULL;
}

/* On TCP the ECN bits are the kernel's. */
static bool is_as_shown(const struct judge *j, const struct option *o, const json_t *shown,
			const json_t *seen)
{
	const json_int_t mask =
		o->result == RESULT_ECN_MASKED && j->socket->protocol == IPPROTO_TCP ? 3 : 0;

	if (json_is_string(shown))
		return json_equal(shown, seen);
	return (json_integer_value(shown) & ~mask) == (json_integer_value(seen) & ~mask);
}

/* expected: NULL: it should be left alone, and has what the choice gives to others. */
static int add_difference(const struct judge *j, const json_t *choice, const json_t *expected,
			  const json_t *seen)
{
	const struct option *o = option_find(document_text(choice, "option"));
	json_t *d = json_pack(
		"{s:s, s:o, s:o, s:O, s:O}", "option", o->name, "has", text_of(o, seen), "files",
		expected ? text_of(o, expected) : json_null(), "policy",
		json_object_get(choice, "policy"), "rule", json_object_get(choice, "rule"));

	return json_array_append_new(json_object_get(j->document, "differences"), d) < 0 ? -ENOMEM
											 : 0;
}

/* Counts a socket in the row of the table that it falls under. */
static int count(const struct judge *j, const json_t *choice, bool has)
{
	json_t *o, *one, *row = NULL, *n;
	size_t i, k;

	json_array_foreach (j->options, i, o) {
		if (!document_same(o, choice, "direction"))
			continue;
		if (explanation_says_same(o, choice))
			row = o;
		json_array_foreach (json_object_get(o, "candidates"), k, one)
			if (explanation_says_same(one, choice))
				row = one;
	}
	if (!row)
		return 0;
	n = json_object_get(row, "sockets");
	n = json_pack("{s:I, s:I}", "have", document_number(n, "have") + has, "of",
		      document_number(n, "of") + 1);
	return json_object_set_new(row, "sockets", n) < 0 ? -ENOMEM : 0;
}

/* Compares one option that policies give the socket. */
static int judge_option(const struct judge *j, const json_t *choice)
{
	const struct option *o = option_find(document_text(choice, "option"));
	const json_t *shown = json_object_get(choice, "shown");
	_cleanup_(json_decref) json_t *seen = json_is_null(shown) ? NULL : ask(j, o);
	bool has;
	int r;

	if (!seen)
		return 0;
	has = is_as_shown(j, o, shown, seen);
	r = count(j, choice, has);
	return r < 0 || has ? r : add_difference(j, choice, shown, seen);
}

static const json_t *find_option(const json_t *told, const char *name)
{
	const json_t *o;
	size_t i;

	json_array_foreach (json_object_get(told, "options"), i, o)
		if (options_rival(option_find(document_text(o, "option")), option_find(name)))
			return o;
	return NULL;
}

/* What a rule gives that does not hold for the peer may be left from the peer before. */
static int judge_left_over(const struct judge *j, const json_t *told, const json_t *choice)
{
	const char *name = document_text(choice, "option");
	const json_t *shown = json_object_get(choice, "shown");
	_cleanup_(json_decref) json_t *seen = NULL;

	if (find_option(told, name) || (json_is_string(shown) && !*json_string_value(shown)) ||
	    (!json_is_string(shown) && !json_integer_value(shown)))
		return 0;
	seen = ask(j, option_find(name));
	return seen && json_equal(seen, shown) ? add_difference(j, choice, NULL, seen) : 0;
}

static int judge_left_overs(const struct judge *j, const json_t *told)
{
	const json_t *o, *one;
	size_t i, k;
	int r = 0;

	json_array_foreach (j->options, i, o) {
		if (!streq(document_text(o, "direction"), direction_words[DIRECTION_CONNECT]))
			continue;
		json_array_foreach (json_object_get(o, "candidates"), k, one)
			r = r < 0 ? r : judge_left_over(j, told, one);
	}
	return r;
}

/* What MPTCP's subflows get, the MPTCP socket does not show, and some of it it does not do. */
static int judge_mptcp(const struct judge *j, const json_t *told)
{
	json_t *list = json_object_get(j->document, "not_passed_on");
	const json_t *o;
	size_t i;
	int r = 0;

	json_array_foreach (json_object_get(told, "options"), i, o) {
		const struct option *option = option_find(document_text(o, "option"));

		if (option->mptcp && r == 0)
			r = json_array_append_new(list,
						  json_pack("{s:s, s:s}", "option", option->name,
							    "why", option->mptcp));
	}
	return r < 0 ? -ENOMEM : 0;
}

static int judge(const struct judge *j, const struct effective *effective, const struct host *host)
{
	_cleanup_(json_decref) json_t *told = NULL, *other = NULL;
	const unsigned directions = directions_of(j->socket);
	const json_t *o;
	size_t i;
	int r = 0;

	for (unsigned d = 0; d < DIRECTION_MAX; d++) {
		if (!(directions & BIT(d)))
			continue;
		other = told;
		told = explain(j->socket, d, effective, host);
		if (!told)
			return -ENOMEM;
	}
	if (j->socket->protocol == IPPROTO_MPTCP)
		return judge_mptcp(j, told);
	json_array_foreach (json_object_get(told, "options"), i, o) {
		const json_t *same = find_option(other, document_text(o, "option"));

		/* of two directions what is the same in both */
		if (r == 0 && (!other || (same && document_same(o, same, "value"))))
			r = judge_option(j, o);
	}
	return r == 0 && directions == BIT(DIRECTION_CONNECT) ? judge_left_overs(j, told) : r;
}

int sockets_judge(int pidfd, const struct sock_diag_socket *s, const struct effective *effective,
		  const struct host *host, const json_t *explanation, json_t *document)
{
	_cleanup_close_ int fd = pidfd_getfd(pidfd, s->fd, 0);
	const struct judge j = { s, fd, json_object_get(explanation, "options"), document };
	int protocol = 0;
	socklen_t size = sizeof(protocol);
	struct stat st;

	if (fd < 0)
		return errno == EBADF || errno == ESRCH ? 0 : -errno;
	/* Has it been closed, and the number been used again?  Is it not a subflow, but its MPTCP
	 * socket? */
	if (fstat(fd, &st) < 0 || st.st_ino != s->inode ||
	    getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) < 0 ||
	    protocol != s->protocol)
		return 0;
	return judge(&j, effective, host);
}

/* --- for people ------------------------------------------------------------------------------- */

static void print_socket(const json_t *s, const char *cgroup_of_process, FILE *to)
{
	const char *remote = document_text(s, "remote"), *cgroup = document_text(s, "cgroup");
	const json_int_t id = document_number(s, "cgroup_id");
	const json_t *one;
	size_t i;

	fprintf(to, "  %s %s%s%s", document_text(s, "protocol"), document_text(s, "local"),
		remote ? " to " : "", remote ? remote : "");
	json_array_foreach (json_object_get(s, "directions"), i, one)
		fprintf(to, "%s%s", i ? " or " : ", ", json_string_value(one));
	if (!id)
		fprintf(to, "; cgroup not known");
	else if (!cgroup)
		fprintf(to, "; created in a cgroup that is gone (id %lld)", id);
	else if (!streq(cgroup, cgroup_of_process))
		fprintf(to, "; created in cgroup %s, which counts", cgroup);
	json_array_foreach (json_object_get(s, "differences"), i, one) {
		const char *files = document_text(one, "files"), *rule = document_text(one, "rule");

		fprintf(to, "; %s is %s, %s %s%s%s %s", document_text(one, "option"),
			document_text(one, "has"), files ? "by" : "which",
			document_text(one, "policy"), rule ? "/" : "", rule ? rule : "",
			files ? files : "gives to other peers");
	}
	json_array_foreach (json_object_get(s, "not_passed_on"), i, one)
		fprintf(to, "; MPTCP does not pass on %s: %s", document_text(one, "option"),
			document_text(one, "why"));
	fputc('\n', to);
}

static bool is_special(const json_t *s, const char *cgroup_of_process)
{
	const char *cgroup = document_text(s, "cgroup");

	return !cgroup || !streq(cgroup, cgroup_of_process) ||
	       json_array_size(json_object_get(s, "differences")) ||
	       json_array_size(json_object_get(s, "not_passed_on"));
}

void sockets_print(const json_t *root, bool verbose, FILE *to)
{
	const char *error = document_text(root, "sockets_error"),
		   *not_asked = document_text(root, "sockets_not_asked"),
		   *cgroup = document_text(root, "cgroup");
	size_t i, n_differ = 0, n_special = 0;
	const json_t *one;

	if (error) {
		fprintf(to, "sockets: not known (%s)\n", error);
		return;
	}
	json_array_foreach (json_object_get(root, "sockets"), i, one)
		n_differ += json_array_size(json_object_get(one, "differences")) > 0;
	fprintf(to, "sockets: %zu", i);
	if (not_asked)
		fprintf(to, "; what they have is not known (%s)", not_asked);
	else if (n_differ)
		fprintf(to,
			", of which %zu do%s not have all that the table says (older than the "
			"policy, connected twice, or the program set something else)",
			n_differ, n_differ == 1 ? "es" : "");
	fputc('\n', to);
	json_array_foreach (json_object_get(root, "sockets"), i, one)
		if (verbose || (is_special(one, cgroup) && n_special++ < NAMED_MAX))
			print_socket(one, cgroup, to);
	if (!verbose && n_special > NAMED_MAX)
		fprintf(to, "  and %zu more (--verbose)\n", n_special - NAMED_MAX);
}
