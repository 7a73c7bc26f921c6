// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <limits.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/log.h"
#include "kernel/generation.h"
#include "kernel/pinned.h"
#include "kernel/slots.h"
#include "kernel/walk.h"
#include "option/value.h"
#include "unpace.skel.h"
#include "walk.skel.h"

#define TRIES	    200 /* each takes some ms, and reloads leave time for one */
#define PASSES_MAX  8
#define BUFFER_SIZE (64u << 10) /* more than the kernel's own, so that it gives whole records */

#define LOCAL_STAGES (BIT(SP_STAGE_UNIX) | BIT(SP_STAGE_LOCAL_SOCKET))

enum kind { KIND_TCP, KIND_UNIX, KIND_MAX };

struct walker {
	struct walk_bpf *bpf;
	struct bpf_link *links[KIND_MAX]; /* NULL: no policy has a word about such sockets */
	struct sp_state state;
	struct unpace_bpf *unpace; /* NULL: not loaded, or the kernel does not take it */
	struct bpf_link *unpace_link;
};

DEFINE_CLEANUP(struct walk_bpf *, walk_bpf__destroy)

const struct sp_state *walker_state(const struct walker *w)
{
	return &w->state;
}

uint64_t walker_looked_at(const struct walker *w)
{
	return __atomic_load_n(&w->bpf->bss->counts.sockets, __ATOMIC_RELAXED);
}

const struct walk_option *walker_options(const struct walker *w)
{
	return w->bpf->bss->options;
}

bool walker_has_previous(const struct walker *w)
{
	return SP_HAS_PREVIOUS(&w->state);
}

void walker_close(struct walker *w)
{
	for (int i = 0; i < KIND_MAX; i++)
		bpf_link__destroy(w->links[i]);
	walk_bpf__destroy(w->bpf);
	bpf_link__destroy(w->unpace_link);
	unpace_bpf__destroy(w->unpace);
	free(w);
}

/* --- options */

static enum walk_seen seen_of(const struct option *o)
{
	switch (option_id(o)) {
	case OPTION_TCP_BPF_SNDCWND_CLAMP:
		return WALK_SEEN_CWND_CLAMP;
	case OPTION_TCP_MAXSEG:
		return WALK_SEEN_USER_MSS;
	case OPTION_TCP_WINDOW_CLAMP:
		return WALK_SEEN_WINDOW_CLAMP;
	case OPTION_TCP_BPF_DELACK_MAX:
		return WALK_SEEN_DELACK_MAX;
	case OPTION_TCP_BPF_RTO_MIN:
		return WALK_SEEN_RTO_MIN;
	default:
		return o->hidden		  ? WALK_SEEN_NEVER
		       : o->type == OPTION_STRING ? WALK_SEEN_TEXT
						  : WALK_SEEN_NUMBER;
	}
}

static uint32_t capped(int64_t cap, uint32_t most)
{
	return cap < 0 || cap > most ? most : (uint32_t)cap;
}

static void describe_result(const struct option *o, const struct host *h, struct walk_option *to)
{
	switch (o->result) {
	case RESULT_DOUBLED_RMEM:
	case RESULT_DOUBLED_WMEM:
		to->result = WALK_DOUBLED;
		to->cap = capped(o->result == RESULT_DOUBLED_RMEM ? h->rmem_max : h->wmem_max,
				 INT32_MAX / 2);
		to->floor = o->result == RESULT_DOUBLED_RMEM ? VALUE_RCVBUF_MIN : VALUE_SNDBUF_MIN;
		to->lock = o->result == RESULT_DOUBLED_RMEM ? 2 : 1; /* SOCK_RCVBUF_LOCK */
		break;
	case RESULT_JIFFIES:
		to->result = WALK_JIFFIES;
		to->cap = h->tick_usec > 0 ? (uint32_t)(1000000 / h->tick_usec) : 0;
		break;
	case RESULT_CLAMP:
		to->result = WALK_AT_LEAST;
		to->floor = VALUE_WINDOW_CLAMP_MIN;
		break;
	case RESULT_RCVLOWAT:
		to->result = WALK_AT_MOST;
		to->cap = capped(h->tcp_rmem_max < 0 ? -1 : h->tcp_rmem_max / 2, INT32_MAX);
		break;
	case RESULT_ECN_MASKED:
		to->result = WALK_ECN_MASKED;
		break;
	default:
		to->result = WALK_AS_IS;
	}
}

static void describe_fresh(const struct option *o, const char *sysctl, struct walk_option *to)
{
	long number;
	char *end;

	if (o->fresh.kind == FRESH_NEVER || (o->fresh.kind == FRESH_SYSCTL && !sysctl))
		return;
	if (o->type == OPTION_STRING) {
		to->fresh_kind = WALK_FRESH_TEXT;
		snprintf(to->fresh_text, sizeof(to->fresh_text), "%s", sysctl);
		to->optlen = (uint8_t)(strlen(to->fresh_text) + 1);
		return;
	}
	number = (long)o->fresh.number;
	if (o->fresh.kind == FRESH_SYSCTL) {
		number = strtol(sysctl, &end, 10);
		if (end == sysctl)
			return;
		if (o->type == OPTION_BOOL) /* of net.ipv6.auto_flowlabels 1 and 3 are `on` */
			number &= 1;
	}
	to->fresh_kind = WALK_FRESH_NUMBER;
	to->fresh = (uint32_t)number;
	to->optlen = sizeof(to->fresh);
}

void walk_option_describe(const struct option *o, const struct host *h, const char *fresh,
			  struct walk_option *ret)
{
	struct walk_option to = {
		.level = (uint16_t)o->level,
		.optname = (uint16_t)o->optname,
		.seen = (uint8_t)seen_of(o),
		.optlen = sizeof(uint32_t),
	};

	if (option_is_too_late(o))
		to.late |= WALK_LATE_CONNECTION;
	if (!(o->stages[DIRECTION_LISTEN] & BIT(SP_STAGE_TCP_LISTEN)))
		to.late |= WALK_LATE_LISTENER;
	describe_result(o, h, &to);
	describe_fresh(o, fresh, &to);
	*ret = to;
}

/* Reads a sysctl of this thread's network namespace; owned, NULL: it cannot be read. */
static char *read_sysctl(const char *name)
{
	_cleanup_free_ char *path = text_format("/proc/sys/%s", name), *line = NULL;
	_cleanup_fclose_ FILE *f = NULL;
	size_t size = 0;

	if (!path)
		return NULL;
	for (char *c = path; *c; c++)
		if (*c == '.')
			*c = '/';
	f = fopen(path, "re");
	if (!f || getline(&line, &size, f) < 0)
		return NULL;
	line[strcspn(line, "\n")] = '\0';
	return TAKE_PTR(line);
}

static void describe_options(struct walk_bpf *bpf, const struct walk_request *request)
{
	struct host h;

	host_read(&h);
	for (int i = 0; i < OPTION_MAX; i++) {
		const struct option *o = &option_table[i];
		struct walk_option *to = &bpf->bss->options[i];
		_cleanup_free_ char *fresh =
			o->fresh.kind == FRESH_SYSCTL ? read_sysctl(o->fresh.sysctl) : NULL;

		walk_option_describe(o, &h, fresh, to);
		if (request->by_hand) {
			to->by_hand = request->by_hand[i].by_hand;
			memcpy(to->by_hand_text, request->by_hand[i].by_hand_text,
			       sizeof(to->by_hand_text));
		}
	}
	host_clear(&h);
}

/* --- loading */

static struct bpf_map *find_map(const struct walk_bpf *bpf, enum map_id id)
{
	return bpf_object__find_map_by_name(bpf->obj, map_table[id].name);
}

/* Caches of its own: it writes into nobody's. */
static int open_slot(const struct pinned *p, enum map_id id, uint32_t slot)
{
	const struct map *m = &map_table[id];
	uint32_t n;

	if (map_is_cache(id))
		return bpf_map_create(BPF_MAP_TYPE_ARRAY, m->name, m->key_size, m->value_size,
				      m->entries, NULL);
	return pinned_open_inner(p, id, slot, &n);
}

static int open_generation(const struct walk_bpf *bpf, const struct pinned *p,
			   const struct sp_generation *g, uint64_t generation, struct slots *to)
{
	for (int id = 0; id < MAP_ID_MAX; id++) {
		uint32_t n = map_table[id].shape == MAP_TABLES
				     ? (uint32_t)g->n_match_tables + g->n_exclude_tables
				     : 1;

		for (uint32_t t = 0; map_is_of_generation(id) && t < n; t++) {
			uint32_t slot = generation_slot(generation, t);
			int fd = t < SP_GLOB_TABLES_MAX ? open_slot(p, id, slot) : -EPROTO;

			if (fd < 0)
				return fd;
			to->v[to->n++] = (struct slot){ .outer = bpf_map__fd(find_map(bpf, id)),
							.id = id,
							.slot = slot,
							.inner = fd };
		}
	}
	return 0;
}

/* Opens the maps of both generations, as they were in this state.  -ESTALE: there is another. */
static int open_generations(const struct walk_bpf *bpf, const struct pinned *p,
			    const struct sp_state *state, struct slots *to)
{
	const uint64_t now = state->generation;
	struct sp_state since;
	int r = open_generation(bpf, p, &state->of[now & 1], now, to);

	if (r == 0 && SP_HAS_PREVIOUS(state))
		r = open_generation(bpf, p, &state->of[~now & 1], now - 1, to);
	if (pinned_state(p, &since) < 0 || since.generation != now ||
	    SP_HAS_PREVIOUS(&since) != SP_HAS_PREVIOUS(state))
		return -ESTALE;
	return r;
}

static int load(struct walker *w, const struct pinned *p)
{
	uint64_t stages = w->state.of[0].stages | w->state.of[1].stages;
	struct bpf_program *const programs[KIND_MAX] = {
		[KIND_TCP] = w->bpf->progs.walk_tcp,
		[KIND_UNIX] = (stages & LOCAL_STAGES) ? w->bpf->progs.walk_unix : NULL,
	};
	int r;

	for (int i = 0; i < KIND_MAX; i++)
		if (programs[i])
			(void)bpf_program__set_autoload(programs[i], true);
	w->bpf->data_state->state = w->state;
	r = bpf_map__reuse_fd(find_map(w->bpf, MAP_ID_own_sets), pinned_map(p, MAP_ID_own_sets));
	if (r == 0)
		r = walk_bpf__load(w->bpf);
	if (r == 0 && !w->bpf->bss)
		r = -ENODATA; /* libbpf could not find out whether there is such a thing */
	for (int i = 0; i < KIND_MAX && r == 0; i++) {
		if (!programs[i])
			continue;
		w->links[i] = bpf_program__attach_iter(programs[i], NULL);
		r = w->links[i] ? 0 : -errno;
	}
	return r < 0 ? log_error_errno(r, "Cannot load the iterators over sockets") : 0;
}

static int open_once(const char *pin_dir, struct walker **ret)
{
	_cleanup_(walker_close) struct walker *w = calloc(1, sizeof(*w));
	_cleanup_(pinned_close) struct pinned *p = NULL;
	struct slots slots = { 0 };
	int r = w ? pinned_open(pin_dir, &p) : -ENOMEM;

	if (r == 0)
		r = pinned_state(p, &w->state);
	if (r < 0)
		return r;
	w->bpf = walk_bpf__open();
	if (!w->bpf)
		return log_error_errno(errno, "Cannot open the iterators over sockets");
	r = load(w, p);
	if (r == 0)
		r = open_generations(w->bpf, p, &w->state, &slots);
	if (r == 0)
		r = slots_fill(&slots);
	slots_close(&slots);
	if (r == 0)
		*ret = TAKE_PTR(w);
	return r;
}

int walker_open(const char *pin_dir, struct walker **ret)
{
	int r = -ESTALE;

	for (int i = 0; i < TRIES && r == -ESTALE; i++)
		r = open_once(pin_dir, ret);
	return r;
}

/* --- running */

void walk_totals_clear(struct walk_totals *t)
{
	free(t->refusals);
	free(t->n_refused);
	*t = (struct walk_totals){ 0 };
}

/* Hands out the records in the buffer; returns where the first incomplete one begins, or what fn
 * returned. */
static ssize_t hand_out(const char *buffer, size_t n, walk_socket_fn *fn, void *userdata)
{
	struct walk_item items[SP_OPTIONS_MAX];
	struct walk_socket socket;
	size_t at = 0;

	for (;;) {
		size_t size;
		int r;

		if (n - at < sizeof(socket))
			return (ssize_t)at;
		memcpy(&socket, buffer + at, sizeof(socket));
		size = sizeof(socket) + socket.n_items * sizeof(items[0]);
		if (socket.n_items > SP_OPTIONS_MAX)
			return -EPROTO;
		if (n - at < size)
			return (ssize_t)at;
		memcpy(items, buffer + at + sizeof(socket), size - sizeof(socket));
		at += size;
		r = fn(&socket, items, userdata);
		if (r)
			return r < 0 ? r : -ECANCELED;
	}
}

/* Reads an iterator to its end, which is what runs the program. */
static int run_iterator(const struct bpf_link *link, walk_socket_fn *fn, void *userdata)
{
	_cleanup_close_ int fd = bpf_iter_create(bpf_link__fd(link));
	_cleanup_free_ char *buffer = malloc(BUFFER_SIZE);
	size_t have = 0;

	if (fd < 0)
		return log_error_errno(fd, "Cannot walk over the sockets");
	if (!buffer)
		return log_oom();
	for (;;) {
		ssize_t n = read(fd, buffer + have, BUFFER_SIZE - have), used;

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return log_error_errno(errno, "Cannot walk over the sockets");
		if (n == 0)
			return 0;
		have += (size_t)n;
		used = fn ? hand_out(buffer, have, fn, userdata) : (ssize_t)have;
		if (used < 0)
			return (int)used;
		have -= (size_t)used;
		memmove(buffer, buffer + used, have);
	}
}

static int run_all(const struct walker *w, walk_socket_fn *fn, void *userdata)
{
	int r = 0;

	for (int i = 0; i < KIND_MAX && r == 0; i++)
		if (w->links[i])
			r = run_iterator(w->links[i], fn, userdata);
	return r;
}

/* Without it connections wait for what they have sent last at a rate that is taken back. */
static void load_unpace(struct walker *w)
{
	if (w->unpace)
		return;
	w->unpace = unpace_bpf__open_and_load();
	w->unpace_link = w->unpace ? bpf_map__attach_struct_ops(w->unpace->maps.unpace) : NULL;
	if (!w->unpace_link)
		log_debug("Cannot load " WALK_UNPACE ": %s, ignoring", strerror(errno));
}

/* Does what the generation before gave a socket matter?  Where values are only set it does not,
 * unless some are to be told from the application's. */
static bool asks_for_previous(const struct walker *w, const struct walk_request *q)
{
	const struct sp_generation *in_force = &w->state.of[w->state.generation & 1];

	return q->mode != WALK_APPLY || q->only_applying || in_force->stages & SP_DUE_CARE;
}

static int prepare(struct walker *w, const struct walk_request *q)
{
	struct walk_bpf *bpf = w->bpf;

	if (q->mode == WALK_RESET && !q->is_dry)
		load_unpace(w);
	bpf->bss->run = (struct walk_run){
		.has_unpace = w->unpace_link != NULL,
		.cgroup = q->cgroup,
		.mode = q->mode,
		.generation = (uint32_t)(w->state.generation & 1),
		.has_previous = walker_has_previous(w) && asks_for_previous(w, q),
		.is_dry = q->is_dry,
		.only_applying = q->only_applying,
		.has_wanted = q->counters != NULL,
	};
	for (int i = 0; q->by_hand && i < OPTION_MAX; i++)
		if (q->by_hand[i].by_hand)
			bpf->bss->run.by_hand |= 1ull << i;
	if (q->counters)
		memcpy(bpf->bss->wanted, q->counters, sizeof(bpf->bss->wanted));
	describe_options(bpf, q);
	return 0;
}

static uint64_t sum(const struct walk_counts *c, enum walk_outcome outcome)
{
	uint64_t n = 0;

	for (int i = 0; i < SP_OPTIONS_MAX; i++)
		n += c->outcomes[i][outcome];
	return n;
}

/* Adds what one pass counted.  A later pass counts again all but what it set. */
static void add_counts(const struct walk_counts *from, bool is_first, struct walk_counts *to)
{
	for (int i = 0; i < SP_OPTIONS_MAX; i++)
		for (int k = 0; k < WALK_OUTCOMES; k++)
			if (is_first || k == WALK_SET)
				to->outcomes[i][k] += from->outcomes[i][k];
	to->touched += from->touched;
	if (!is_first)
		return;
	to->sockets += from->sockets;
	to->governed += from->governed;
	to->untold += from->untold;
}

static int add_refusal(struct walk_totals *t, const struct walk_refusal *refusal, uint64_t n)
{
	for (size_t i = 0; i < t->n_refusals; i++)
		if (t->refusals[i].option == refusal->option &&
		    t->refusals[i].error == refusal->error) {
			t->n_refused[i] += n;
			return 0;
		}
	if (GROW(t->refusals, t->n_refusals) < 0 || GROW(t->n_refused, t->n_refusals) < 0)
		return log_oom();
	t->refusals[t->n_refusals] = *refusal;
	t->n_refused[t->n_refusals++] = n;
	return 0;
}

/* Takes the refusals of the first pass, and forgets those of the others. */
static int take_refusals(struct walker *w, bool is_first, struct walk_totals *to)
{
	int fd = bpf_map__fd(w->bpf->maps.refusals), r = 0;
	struct walk_refusal key;
	uint64_t n;

	while (r == 0 && bpf_map_get_next_key(fd, NULL, &key) == 0) {
		if (is_first && bpf_map_lookup_elem(fd, &key, &n) == 0)
			r = add_refusal(to, &key, n);
		if (bpf_map_delete_elem(fd, &key) < 0)
			break;
	}
	return r;
}

int walker_run(struct walker *w, const struct walk_request *request, struct walk_totals *totals,
	       walk_socket_fn *fn, void *userdata)
{
	struct walk_counts *counts = &w->bpf->bss->counts;
	uint64_t left = UINT64_MAX;
	int r = prepare(w, request);

	for (int pass = 0; pass < PASSES_MAX && r == 0; pass++) {
		uint64_t n_set;

		*counts = (struct walk_counts){ 0 };
		r = run_all(w, fn, userdata);
		n_set = sum(counts, WALK_SET);
		add_counts(counts, pass == 0, &totals->counts);
		counts->sockets = 0; /* for walker_looked_at() */
		if (r == 0)
			r = take_refusals(w, pass == 0, totals);
		/* What is set anew in each pass does not last. */
		if (request->mode == WALK_SHOW || request->is_dry || !n_set || n_set >= left)
			break;
		left = n_set;
	}
	return r;
}
