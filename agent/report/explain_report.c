// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <inttypes.h>

#include "report/explain_report.h"
#include "base/utf8.h"

static const char *protocol_name(const struct sock_diag_socket *s)
{
	return s->protocol == IPPROTO_UDP ? "udp" : "tcp";
}

static void print_socket_cgroup(const struct sock_diag_socket *s, const char *process_cgroup,
				FILE *to)
{
	_cleanup_free_ char *escaped = s->cgroup ? utf8_escape(s->cgroup) : NULL;

	if (!s->cgroup_id)
		fprintf(to, "  cgroup not known");
	else if (!s->cgroup)
		fprintf(to, "  created in a cgroup that is gone (id %" PRIu64 ")", s->cgroup_id);
	else if (!streq(s->cgroup, process_cgroup))
		fprintf(to, "  created in cgroup %s, which counts", escaped ? escaped : "?");
}

static void print_sockets(const struct explain_report *r, FILE *to)
{
	if (r->sockets_error) {
		fprintf(to, "sockets: not known (%s)\n", strerror(-r->sockets_error));
		return;
	}
	fprintf(to, "sockets:%s\n", r->sockets.n ? "" : " no TCP or UDP ones");
	for (size_t i = 0; i < r->sockets.n; i++) {
		const struct sock_diag_socket *s = &r->sockets.v[i];

		fprintf(to, "  %s %s", protocol_name(s), s->local);
		if (*s->remote)
			fprintf(to, " to %s", s->remote);
		print_socket_cgroup(s, r->v[0].cgroup, to);
		fprintf(to, "\n");
	}
}

int explain_report_print(const struct explain_report *r, FILE *to)
{
	if (r->note)
		fprintf(to, "note: %s\n", r->note);
	if (r->has_sockets || r->sockets_error)
		print_sockets(r, to);
	for (size_t i = 0; i < r->n; i++)
		explanation_print(&r->v[i], to);
	return ferror(to) ? -EIO : 0;
}

static json_t *socket_json(const struct sock_diag_socket *s)
{
	_cleanup_free_ char *escaped = s->cgroup ? utf8_escape(s->cgroup) : NULL;

	return json_pack("{s:s, s:s, s:s?, s:I, s:s?, s:o}", "protocol", protocol_name(s), "local",
			 s->local, "remote", *s->remote ? s->remote : NULL, "inode",
			 (json_int_t)s->inode, "cgroup", escaped, "cgroup_id",
			 s->cgroup_id ? json_integer((json_int_t)s->cgroup_id) : json_null());
}

/* What the report has beside its first cgroup; all of it by new references. */
static int add_rest(const struct explain_report *r, json_t *root)
{
	json_t *sockets = json_array(), *also = json_array();
	int error = 0;

	for (size_t i = 0; i < r->sockets.n; i++)
		error |= json_array_append_new(sockets, socket_json(&r->sockets.v[i]));
	for (size_t i = 1; i < r->n; i++)
		error |= json_array_append_new(also, explanation_json(&r->v[i]));
	error |= json_object_set_new(root, "sockets", sockets);
	if (r->sockets_error)
		error |= json_object_set_new(root, "sockets_error",
					     json_string(strerror(-r->sockets_error)));
	error |= json_object_set_new(root, "also", also);
	if (r->note)
		error |= json_object_set_new(root, "note", json_string(r->note));
	return error ? -ENOMEM : 0;
}

int explain_report_json(const struct explain_report *r, FILE *to)
{
	json_t *root = explanation_json(&r->v[0]);
	int error = root ? add_rest(r, root) : -ENOMEM;

	if (error == 0 && json_dumpf(root, to, JSON_INDENT(2)) < 0)
		error = -EIO;
	if (error == 0 && fputc('\n', to) == EOF)
		error = -EIO;
	json_decref(root);
	return error;
}

void explain_report_clear(struct explain_report *r)
{
	sock_diag_clear(&r->sockets);
	for (size_t i = 0; i < r->n; i++)
		explanation_clear(&r->v[i]);
	free(r->v);
	*r = (struct explain_report){ 0 };
}
