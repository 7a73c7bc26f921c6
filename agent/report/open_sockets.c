// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <uthash.h>

#include "base/log.h"
#include "host/cgroup.h"
#include "host/sock_diag.h"
#include "option/value.h"
#include "report/document.h"
#include "report/generations.h"
#include "report/open_sockets.h"

/* The text of a cgroup, by its id. */
struct cgroup_name {
	uint64_t id;
	char *json, *text; /* owned; "null" and "?" where it is gone */
	UT_hash_handle hh;
};

/* What some policy or rule gives: tells a value that was meant for another peer. */
struct given_value {
	uint32_t option;
	uint8_t value[SP_VALUE_SIZE];
	uint32_t counter;
};

/* The last difference of an option in a direction: most sockets have the same. */
struct known_item {
	struct walk_item item;
	char *json; /* owned */
};

struct open_sockets {
	struct open_sockets_request q;
	struct known_item known[OPTION_MAX][WALK_DIRECTION_UNTOLD + 1];
	FILE *to;
	char *mount; /* owned */
	struct pinned *pinned;
	struct counters *counters;
	struct descriptors descriptors;
	struct cgroup_name *cgroups;
	struct given_value *given; /* owned; sorted; read when it is needed first */
	size_t n_given;
	bool has_given;
	const struct walk_option *options; /* of the namespace */
	uint64_t namespace;
	pid_t named; /* whose name `name` is */
	char name[16];
	uint64_t found, differ, printed;
};

static const char *const state_names[] = {
	[1] = "established", [2] = "syn-sent",	[3] = "syn-recv", [4] = "fin-wait-1",
	[5] = "fin-wait-2",  [6] = "time-wait", [7] = "close",	  [8] = "close-wait",
	[9] = "last-ack",    [10] = "listen",	[11] = "closing", [12] = "new-syn-recv",
};

static const char *const why_words[] = { "older", "application", "twice", "capped", "too-late" };
static const char *const why_texts[] = { "the socket is older than the policy",
					 "the application set it",
					 "left from a peer before, as it connected again",
					 "the host allows no more", "too late for an open socket" };
enum why { WHY_OLDER, WHY_APPLICATION, WHY_TWICE, WHY_CAPPED, WHY_TOO_LATE };

int open_sockets_new(const char *pin_dir, const struct open_sockets_request *q, FILE *to,
		     struct open_sockets **ret)
{
	_cleanup_(open_sockets_free) struct open_sockets *s = calloc(1, sizeof(*s));
	int r = s ? pinned_open(pin_dir, &s->pinned) : -ENOMEM;

	if (r < 0)
		return r;
	s->q = *q;
	s->to = to;
	r = counters_read(s->pinned, &s->counters);
	if (r == 0 && (q->pid || q->processes))
		r = descriptors_read(q->pid, &s->descriptors);
	if (r == 0)
		r = cgroup_mount(&s->mount);
	if (r == 0 && to && q->json)
		fputs("{\n  \"sockets\": [", to);
	if (r == 0)
		*ret = TAKE_PTR(s);
	return r;
}

void open_sockets_free(struct open_sockets *s)
{
	struct cgroup_name *c, *tmp;

	HASH_ITER (hh, s->cgroups, c, tmp) {
		HASH_DEL(s->cgroups, c);
		free(c->json);
		free(c->text);
		free(c);
	}
	for (size_t i = 0; i < OPTION_MAX; i++)
		for (size_t d = 0; d < ARRAY_SIZE(s->known[i]); d++)
			free(s->known[i][d].json);
	if (s->pinned)
		pinned_close(s->pinned);
	counters_free(s->counters);
	descriptors_clear(&s->descriptors);
	free(s->given);
	free(s->mount);
	free(s);
}

uint64_t open_sockets_found(const struct open_sockets *s)
{
	return s->found;
}

uint64_t open_sockets_differ(const struct open_sockets *s)
{
	return s->differ;
}

/* --- names */

/* NULL: memory is out. */
static const struct cgroup_name *name_of(struct open_sockets *s, uint64_t id)
{
	_cleanup_(json_decref) json_t *string = NULL;
	_cleanup_free_ char *path = NULL;
	struct cgroup_name *c;

	HASH_FIND(hh, s->cgroups, &id, sizeof(id), c);
	if (c)
		return c;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	(void)cgroup_path_of_id(s->mount, id, &path);
	string = document_string(path);
	c->id = id;
	c->json = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
	c->text = strdup(json_is_string(string) ? json_string_value(string) : "?");
	HASH_ADD(hh, s->cgroups, id, sizeof(c->id), c);
	return c->json && c->text ? c : NULL;
}

static const struct sp_counter *counter_of(const struct open_sockets *s, uint32_t index)
{
	static const struct sp_counter unknown = { .policy = "?" };
	const struct sp_counter *c = counters_at(s->counters, index);

	return c ? c : &unknown;
}

static const char *process_name(struct open_sockets *s, pid_t pid)
{
	char path[sizeof("/proc//comm") + 3 * sizeof(pid)];
	_cleanup_fclose_ FILE *f = NULL;

	if (s->named == pid)
		return s->name;
	s->named = pid;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	f = fopen(path, "re");
	if (!f || !fgets(s->name, sizeof(s->name), f))
		strcpy(s->name, "?");
	for (char *c = s->name; *c; c++) /* a program may choose any */
		if (*c == '\n')
			*c = '\0';
		else if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\')
			*c = '?';
	return s->name;
}

static void format_end(const struct walk_socket *k, const __u32 address[4], uint16_t port,
		       char ret[SOCK_DIAG_ADDRESS_SIZE])
{
	char text[INET6_ADDRSTRLEN] = "";

	inet_ntop(k->family, address, text, sizeof(text));
	snprintf(ret, SOCK_DIAG_ADDRESS_SIZE, k->family == AF_INET6 ? "[%s]:%u" : "%s:%u", text,
		 port);
}

static const char *protocol_name(const struct walk_socket *k)
{
	return k->family == AF_UNIX ? "unix" : k->protocol == IPPROTO_UDP ? "udp" : "tcp";
}

static const char *direction_name(const struct walk_socket *k)
{
	return k->direction < DIRECTION_MAX ? direction_words[k->direction] : NULL;
}

/* --- values */

/* Returns a value in the words of the option table, as setsockopt(2) takes it; owned. */
static char *format_value(const struct option *o, const void *bytes)
{
	struct sockopt value = { .level = o->level, .name = o->optname };
	const char *text = bytes;
	char *formatted = NULL;
	size_t size =
		o->type == OPTION_STRING ? strnlen(text, SP_VALUE_SIZE - 1) + 1 : sizeof(uint32_t);

	if (sockopt_set(&value, bytes, size) == 0)
		formatted = value_format(o, &value);
	sockopt_destroy(&value);
	return formatted;
}

/* Returns what the socket has, likewise; owned. */
static char *format_seen(const struct open_sockets *s, const struct walk_item *i)
{
	const struct option *o = &option_table[i->option];
	uint32_t value = walk_made_from(&s->options[i->option], i->value);

	return o->type == OPTION_STRING ? format_value(o, i->text) : format_value(o, &value);
}

static int compare_given(const void *a, const void *b)
{
	const struct given_value *x = a, *y = b;

	if (x->option != y->option)
		return x->option < y->option ? -1 : 1;
	return memcmp(x->value, y->value, sizeof(x->value));
}

/* Reads what all policies and rules give.  Without it nothing is taken for a value of another
 * peer. */
static void read_given(struct open_sockets *s)
{
	_cleanup_(image_free) struct image *im = NULL;
	const struct sp_op_cell *cells;

	s->has_given = true;
	if (pinned_image(s->pinned, &im) < 0)
		return;
	cells = im->of[MAP_ID_ops].values;
	for (size_t i = 0; i < (size_t)im->of[MAP_ID_ops].n * SP_OPS_CELL; i++) {
		const struct sp_op *op = &cells[i / SP_OPS_CELL].op[i % SP_OPS_CELL];
		struct given_value v = { .option = op->option, .counter = op->counter };

		memcpy(v.value, op->value, sizeof(v.value));
		if (!op->optlen || op->flags & (SP_OP_RANGE | SP_OP_RESPECT) ||
		    op->option >= OPTION_MAX || op->optname != option_table[op->option].optname)
			continue;
		if (APPEND(s->given, s->n_given, v) < 0)
			return;
	}
	if (s->n_given)
		qsort(s->given, s->n_given, sizeof(*s->given), compare_given);
}

/* Does another rule of the same policy give what the socket has? */
static bool is_given_to_others(struct open_sockets *s, const struct walk_item *i)
{
	const struct walk_option *o = &s->options[i->option];
	struct given_value key = { .option = i->option };
	uint32_t value = walk_made_from(o, i->value);
	const struct given_value *found;

	if (!s->has_given)
		read_given(s);
	if (o->seen == WALK_SEEN_TEXT)
		memcpy(key.value, i->text, sizeof(key.value));
	else
		memcpy(key.value, &value, sizeof(value));
	found = s->n_given ? bsearch(&key, s->given, s->n_given, sizeof(*s->given), compare_given)
			   : NULL;
	while (found && found > s->given && compare_given(found - 1, &key) == 0)
		found--;
	for (; found && found < s->given + s->n_given && compare_given(found, &key) == 0; found++)
		if (found->counter != i->counter &&
		    streq(counter_of(s, found->counter)->policy, counter_of(s, i->counter)->policy))
			return true;
	return false;
}

/* Says why the socket has something else, as far as it can be known. */
static enum why why_of(struct open_sockets *s, const struct walk_socket *k,
		       const struct walk_item *i, bool *ret_guessed)
{
	*ret_guessed = false;
	if (i->outcome == WALK_RIGHT)
		return WHY_CAPPED;
	if (i->outcome == WALK_TOO_LATE)
		return WHY_TOO_LATE;
	if (i->flags & WALK_ITEM_OWN)
		return WHY_APPLICATION;
	*ret_guessed = true;
	if (i->outcome == WALK_RESPECTED)
		return WHY_APPLICATION;
	if (i->flags & (WALK_ITEM_BEFORE | WALK_ITEM_FRESH))
		return WHY_OLDER;
	if (k->direction == DIRECTION_CONNECT && is_given_to_others(s, i))
		return WHY_TWICE;
	return WHY_APPLICATION;
}

/* --- one socket */

/* Returns a difference as JSON, owned; NULL: memory is out. */
static char *item_json(struct open_sockets *s, const struct walk_socket *k,
		       const struct walk_item *i)
{
	const struct sp_counter *c = counter_of(s, i->counter);
	_cleanup_free_ char *has = format_seen(s, i);
	_cleanup_free_ char *wanted = format_value(&option_table[i->option], i->wanted);
	_cleanup_(json_decref) json_t *item = NULL;
	bool guessed;
	enum why why = why_of(s, k, i, &guessed);

	item = json_pack("{s:s, s:o, s:o, s:s, s:s?, s:s, s:b}", "option",
			 option_table[i->option].name, "has", document_string(has), "wanted",
			 document_string(wanted), "policy", c->policy, "rule",
			 c->rule[0] ? c->rule : NULL, "why", why_words[why], "guessed", guessed);
	return item ? json_dumps(item, 0) : NULL;
}

static bool same_item(const struct walk_item *a, const struct walk_item *b)
{
	return memcmp(a->wanted, b->wanted, sizeof(a->wanted)) == 0 &&
	       memcmp(a->text, b->text, sizeof(a->text)) == 0 && a->counter == b->counter &&
	       a->outcome == b->outcome && a->flags == b->flags;
}

static void print_item_json(struct open_sockets *s, const struct walk_socket *k,
			    const struct walk_item *i)
{
	struct known_item *known = &s->known[i->option][k->direction];

	if (!known->json || !same_item(&known->item, i)) {
		free(known->json);
		*known = (struct known_item){ *i, item_json(s, k, i) };
	}
	fputs(known->json ? known->json : "null", s->to);
}

static void print_processes_json(struct open_sockets *s, const struct walk_socket *k)
{
	size_t n;
	const struct descriptor *d = descriptors_find(&s->descriptors, k->inode, &n);

	fputs(", \"processes\": [", s->to);
	for (size_t i = 0; i < n; i++)
		fprintf(s->to, "%s{\"pid\": %d, \"name\": \"%s\", \"fd\": %d}", i ? ", " : "",
			(int)d[i].pid, process_name(s, d[i].pid), d[i].fd);
	fputc(']', s->to);
}

static void print_json(struct open_sockets *s, const struct walk_socket *k,
		       const struct walk_item *items, const struct cgroup_name *cgroup)
{
	char local[SOCK_DIAG_ADDRESS_SIZE], remote[SOCK_DIAG_ADDRESS_SIZE];
	const char *direction = direction_name(k);
	FILE *to = s->to;

	fprintf(to, "%s\n    {\"protocol\": \"%s\", \"state\": \"%s\"", s->printed ? "," : "",
		protocol_name(k),
		k->state < ARRAY_SIZE(state_names) && state_names[k->state] ? state_names[k->state]
									    : "?");
	if (direction)
		fprintf(to, ", \"direction\": \"%s\"", direction);
	else
		fputs(", \"direction\": null", to);
	if (k->family != AF_UNIX) {
		format_end(k, k->local, k->local_port, local);
		fprintf(to, ", \"local\": \"%s\"", local);
	}
	if (k->remote_port) {
		format_end(k, k->remote, k->remote_port, remote);
		fprintf(to, ", \"remote\": \"%s\"", remote);
	}
	fprintf(to,
		", \"inode\": %" PRIu64 ", \"uid\": %u, \"namespace\": %" PRIu64
		", \"cgroup\": %s, \"cgroup_id\": %" PRIu64 ", \"governed\": %u, \"policies\": [",
		(uint64_t)k->inode, k->uid, s->namespace, cgroup->json, (uint64_t)k->cgroup,
		k->n_governed);
	for (unsigned i = 0; i < k->n_counters; i++) {
		const struct sp_counter *c = counter_of(s, k->counters[i]);

		fprintf(to, "%s{\"policy\": \"%s\", \"rule\": ", i ? ", " : "", c->policy);
		fprintf(to, c->rule[0] ? "\"%s\"}" : "null}", c->rule);
	}
	fputs("], \"differences\": [", to);
	for (unsigned i = 0; i < k->n_items; i++) {
		fputs(i ? ", " : "", to);
		print_item_json(s, k, &items[i]);
	}
	fputc(']', to);
	if (s->q.processes)
		print_processes_json(s, k);
	fputc('}', to);
}

static void print_processes(struct open_sockets *s, const struct walk_socket *k)
{
	size_t n;
	const struct descriptor *d = descriptors_find(&s->descriptors, k->inode, &n);

	for (size_t i = 0; i < n; i++)
		fprintf(s->to, "%s%s (pid %d, descriptor %d)", i ? ", " : "; ",
			process_name(s, d[i].pid), (int)d[i].pid, d[i].fd);
}

static void print_item(struct open_sockets *s, const struct walk_socket *k,
		       const struct walk_item *i)
{
	const struct sp_counter *c = counter_of(s, i->counter);
	_cleanup_free_ char *has = format_seen(s, i);
	_cleanup_free_ char *wanted = format_value(&option_table[i->option], i->wanted);
	bool guessed;
	enum why why = why_of(s, k, i, &guessed);

	fprintf(s->to, "    %s is %s, %s%s%s says %s: %s%s%s\n", option_table[i->option].name,
		has ? has : "?", c->policy, c->rule[0] ? "/" : "", c->rule, wanted ? wanted : "?",
		why_texts[why], i->outcome == WALK_RESPECTED ? ", which is respected" : "",
		guessed ? " (guessed)" : "");
}

static void print_text(struct open_sockets *s, const struct walk_socket *k,
		       const struct walk_item *items, const struct cgroup_name *cgroup)
{
	char local[SOCK_DIAG_ADDRESS_SIZE], remote[SOCK_DIAG_ADDRESS_SIZE];
	const char *direction = direction_name(k);
	FILE *to = s->to;

	fprintf(to, "%s", protocol_name(k));
	if (k->family != AF_UNIX) {
		format_end(k, k->local, k->local_port, local);
		fprintf(to, " %s", local);
	}
	if (k->remote_port) {
		format_end(k, k->remote, k->remote_port, remote);
		fprintf(to, " to %s", remote);
	}
	fprintf(to, ", %s; cgroup %s; by", direction ? direction : "direction not known",
		cgroup->text);
	for (unsigned i = 0; i < k->n_counters; i++) {
		const struct sp_counter *c = counter_of(s, k->counters[i]);

		fprintf(to, "%s %s%s%s", i ? "," : "", c->policy, c->rule[0] ? "/" : "", c->rule);
	}
	if (s->q.processes)
		print_processes(s, k);
	fputc('\n', to);
	for (unsigned i = 0; i < k->n_items; i++)
		print_item(s, k, &items[i]);
}

static bool is_asked_for(const struct open_sockets *s, const struct walk_socket *k)
{
	bool is_of_policy = !s->q.policy;
	size_t n = 1;

	for (unsigned i = 0; i < k->n_counters && !is_of_policy; i++)
		is_of_policy = streq(counter_of(s, k->counters[i])->policy, s->q.policy);
	if (s->q.pid)
		(void)descriptors_find(&s->descriptors, k->inode, &n);
	return is_of_policy && n;
}

static bool are_sound(const struct walk_socket *k, const struct walk_item *items)
{
	for (unsigned i = 0; i < k->n_items; i++)
		if (items[i].option >= OPTION_MAX)
			return false;
	return k->direction <= WALK_DIRECTION_UNTOLD;
}

static int add(const struct walk_socket *k, const struct walk_item *items, void *userdata)
{
	struct open_sockets *s = userdata;
	const struct cgroup_name *cgroup;

	if (k->n_counters > WALK_COUNTERS_MAX || !are_sound(k, items) || !is_asked_for(s, k))
		return 0;
	s->found++;
	s->differ += k->n_items > 0;
	if (!s->to || (s->q.differs && !k->n_items))
		return 0;
	cgroup = name_of(s, k->cgroup);
	if (!cgroup)
		return log_oom();
	if (s->q.json)
		print_json(s, k, items, cgroup);
	else
		print_text(s, k, items, cgroup);
	s->printed++;
	return 0;
}

int open_sockets_walk(struct open_sockets *s, struct walker *w, uint64_t cgroup, uint64_t inode)
{
	const struct walk_request request = { .mode = WALK_SHOW, .cgroup = cgroup };
	struct walk_totals totals = { 0 };
	int r;

	s->options = walker_options(w);
	s->namespace = inode;
	r = walker_run(w, &request, &totals, add, s);
	walk_totals_clear(&totals);
	return r;
}

void open_sockets_end(struct open_sockets *s)
{
	if (s->q.json)
		fprintf(s->to, "%s],\n  \"found\": %" PRIu64 ",\n  \"differ\": %" PRIu64 "\n}\n",
			s->printed ? "\n  " : "", s->found, s->differ);
	else
		fprintf(s->to,
			"%" PRIu64 " governed socket%s, of which %" PRIu64
			" do%s not have all that policies say\n",
			s->found, plural(s->found), s->differ, s->differ == 1 ? "es" : "");
}
