// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Pinned maps with whatever somebody, or another version, left in them, on their way through
 * `status`, `metrics` and the dry run (kernel/pinned.h, report/).
 *
 * The maps are those of a fixed configuration, which the files have as well; the input changes
 * them.  It is a sequence of changes:
 *
 *   MAP N OFFSET:2 BYTES:N   these bytes are at this place of the map's values
 *   MAP 0 ENTRIES:2          the map has so many elements
 *
 * MAP is a byte, enum map_id, and from MAP_ID_MAX on the nodes and links of each table of globs;
 * with the highest bit set the keys of the map are meant.
 *
 * Nothing is read beyond a map, each reading ends, and leaves neither memory nor a descriptor.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#undef MAP_FIXED /* of mmap(2): a shape of maps has this name */
#include "base/log.h"
#include "fuzz.h"
#include "host/host.h"
#include "host/living.h"
#include "host/sock_diag.h"
#include "kernel/generation.h"
#include "kernel/pin.h"
#include "kernel/support.h"
#include "policy/loader.h"
#include "report/dry_run.h"
#include "report/metrics.h"

#define DESCRIPTORS 64
#define NAME_BYTES  "abcdefghijklmnopqrstuvwxyz0123456789._-?"
#define PIN_DIR	    "/nowhere"

static const char policies[] =
	"policies:\n"
	"  - name: web\n"
	"    match: {cgroup: [/a.slice/**, '/x/*b*c*'], unit: ['web*.service'], exclude: {cgroup: '/**/no'}}\n"
	"    options: {SO_RCVBUF: 64K, TCP_NODELAY: on, SO_PRIORITY: 2, TCP_CONGESTION: reno}\n"
	"    rules:\n"
	"      - name: near\n"
	"        when: {remote: [10.0.0.0/8, 'fd00::/8', 'fd00:0:0:1:8000::/66'], remote_port: [80, 90-99]}\n"
	"        options: {TCP_NODELAY: off, IP_TOS: 8, TCP_USER_TIMEOUT: 9s}\n"
	"      - name: late\n"
	"        when: {local: 192.168.0.0/16, direction: connect}\n"
	"        options: {SO_KEEPALIVE: on}\n"
	"  - name: all\n"
	"    match: {cgroup: /**}\n"
	"    options: {SO_KEEPALIVE: on, SO_SNDBUF: 128K}\n"
	"  - name: users\n"
	"    match: {cgroup: [/u/*, /]}\n"
	"    options: {TCP_NODELAY: on, IP_TOS: unset}\n"
	"    rules:\n"
	"      - name: udp\n"
	"        when: {protocol: udp, local_port: [53, 1000-2000]}\n"
	"        options: {SO_RCVBUF: 1M}\n";

static const char *const paths[] = {
	"/", "/a.slice", "/a.slice/web1.service", "/a.slice/no/x", "/u", "/u/me", "/x", "/x/abbc"
};

static struct config *config;
static FILE *dev_null;

/* A map's elements, in memory of just their size. */
struct fake_map {
	char *keys; /* of a hash */
	char *values;
	uint32_t n;
	size_t key_size, value_size;
};

enum {
	TABLES_FROM = MAP_ID_MAX, /* nodes and links of the tables of globs, in turn */
	FAKE_MAPS = TABLES_FROM + 2 * SP_GLOB_TABLES_MAX,
};

static struct fake_map template[FAKE_MAPS], maps[FAKE_MAPS];

/* What is open. */
static struct {
	bool is_outer;
	int id, map;
	uint32_t slot;
} descriptors[DESCRIPTORS];

/* In the place of the kernel: linked with --wrap, also below. */

static int open_fake(int id, uint32_t slot, bool is_outer)
{
	const uint32_t table = slot / 2;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), map = id;

	MUST(fd >= 0 && fd < DESCRIPTORS);
	if (id == MAP_ID_glob_nodes || id == MAP_ID_glob_links)
		map = TABLES_FROM + 2 * (int)table + (id == MAP_ID_glob_links);
	descriptors[fd].is_outer = is_outer;
	descriptors[fd].id = id;
	descriptors[fd].map = map;
	descriptors[fd].slot = slot;
	return fd;
}

/* Of all generations, and of all chunks of counters, the maps are the same. */
int __wrap_pin_get(const char *dir, const char *name, enum pin_kind kind);
int __wrap_pin_get(const char *dir, const char *name, enum pin_kind kind)
{
	(void)dir;
	for (int id = 0; id < MAP_ID_MAX && kind == PIN_MAP; id++) {
		if (streq(name, map_table[id].name))
			return open_fake(id, 0, map_n_slots((enum map_id)id) > 0);
		for (uint32_t slot = 0; slot < map_n_slots((enum map_id)id); slot++) {
			char of_slot[GENERATION_PIN_NAME_SIZE];

			generation_pin_name((enum map_id)id, slot, of_slot);
			if (streq(name, of_slot))
				return open_fake(id, slot, false);
		}
	}
	return -ENOENT;
}

static uint32_t id_of(int id, uint32_t slot)
{
	return 1 + (uint32_t)id * 256 + slot;
}

int __wrap_bpf_obj_get_info_by_fd(int fd, void *info, __u32 *size);
int __wrap_bpf_obj_get_info_by_fd(int fd, void *info, __u32 *size)
{
	const struct fake_map *m = &maps[descriptors[fd].map];
	struct bpf_map_info *to = info;

	(void)size;
	*to = (struct bpf_map_info){
		.id = id_of(descriptors[fd].id, descriptors[fd].slot),
		.key_size = (__u32)m->key_size,
		.value_size = (__u32)m->value_size,
		.max_entries = m->n,
	};
	if (descriptors[fd].is_outer) {
		to->key_size = to->value_size = sizeof(uint32_t);
		to->max_entries = map_n_slots((enum map_id)descriptors[fd].id);
	}
	return 0;
}

int __wrap_bpf_map_lookup_elem(int fd, const void *key, void *value);
int __wrap_bpf_map_lookup_elem(int fd, const void *key, void *value)
{
	const struct fake_map *m = &maps[descriptors[fd].map];
	uint32_t index, there;

	memcpy(&index, key, sizeof(index));
	there = id_of(descriptors[fd].id, index);
	if (descriptors[fd].is_outer) {
		memcpy(value, &there, sizeof(there));
		return 0;
	}
	if (descriptors[fd].id == MAP_ID_applied) { /* of the first CPU */
		*(uint64_t *)value = index;
		return 0;
	}
	if (index >= m->n) {
		errno = ENOENT;
		return -1;
	}
	memcpy(value, m->values + m->value_size * index, m->value_size);
	return 0;
}

static bool is_key_known(const struct fake_map *m, const char *among, uint32_t n, const char *key)
{
	for (uint32_t i = 0; i < n; i++)
		if (memcmp(among + i * m->key_size, key, m->key_size) == 0)
			return true;
	return false;
}

/* All at once; of a hash each key once.  (An array whose keys were taken for a hash's gave one
 * element a call.) */
int __wrap_bpf_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, __u32 *count,
				const void *options);
int __wrap_bpf_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, __u32 *count,
				const void *options)
{
	const struct fake_map *m = &maps[descriptors[fd].map];
	const bool is_hash = map_table[descriptors[fd].id].shape == MAP_HASH;
	uint32_t n = 0;

	(void)in;
	(void)out;
	(void)options;
	for (uint32_t i = 0; i < m->n && n < *count; i++) {
		const char *key = is_hash ? m->keys + i * m->key_size : NULL;

		if (key && is_key_known(m, keys, n, key))
			continue;
		if (key)
			memcpy((char *)keys + n * m->key_size, key, m->key_size);
		memcpy((char *)values + n++ * m->value_size, m->values + i * m->value_size,
		       m->value_size);
	}
	*count = n;
	errno = ENOENT;
	return -1;
}

/* In the place of the host. */

int __wrap_host_has_unix_hooks(void);
int __wrap_host_has_unix_hooks(void)
{
	return 0;
}

void __wrap_host_read(struct host *h);
void __wrap_host_read(struct host *h)
{
	*h = (struct host){ .tick_usec = 4000 };
}

int __real_config_load(const char *const *dirs, const char *const *files, const struct host *host,
		       struct diags *diags, struct config **ret);
int __wrap_config_load(const char *const *dirs, const char *const *files, const struct host *host,
		       struct diags *diags, struct config **ret);
int __wrap_config_load(const char *const *dirs, const char *const *files, const struct host *host,
		       struct diags *diags, struct config **ret)
{
	(void)dirs;
	(void)files;
	(void)host;
	(void)diags;
	*ret = config;
	return 0;
}

/* The configuration is the same for all inputs. */
void __wrap_config_free(struct config *c);
void __wrap_config_free(struct config *c)
{
	(void)c;
}

int __wrap_support_foresee(struct config *c, const struct host *host, struct diags *diags);
int __wrap_support_foresee(struct config *c, const struct host *host, struct diags *diags)
{
	(void)c;
	(void)host;
	(void)diags;
	return 0;
}

int __wrap_cgroup_mount(char **ret);
int __wrap_cgroup_mount(char **ret)
{
	*ret = strdup("/nowhere");
	return 0;
}

int __wrap_cgroup_path_of_id(const char *mount, uint64_t id, char **ret);
int __wrap_cgroup_path_of_id(const char *mount, uint64_t id, char **ret)
{
	(void)mount;
	if (id >= ARRAY_SIZE(paths))
		return -ENOENT;
	*ret = strdup(paths[id]);
	return 0;
}

int __wrap_living_each(const char *mount, const char *root, living_fn *fn, void *userdata);
int __wrap_living_each(const char *mount, const char *root, living_fn *fn, void *userdata)
{
	int r = 0;

	(void)mount;
	(void)root;
	for (size_t i = 0; i < ARRAY_SIZE(paths) && r == 0; i++)
		r = fn(paths[i], i + 1, userdata);
	return r;
}

int __wrap_sock_diag_listeners(struct sock_diag_list *ret);
int __wrap_sock_diag_listeners(struct sock_diag_list *ret)
{
	*ret = (struct sock_diag_list){ calloc(1, sizeof(*ret->v)), 1 };
	*ret->v = (struct sock_diag_socket){ .cgroup_id = 3, .local = "0.0.0.0:80" };
	return 0;
}

/* The maps. */

static void set_template(int map, enum map_id id, const void *keys, const void *values, size_t n)
{
	struct fake_map *m = &template[map];

	free(m->keys);
	free(m->values);
	*m = (struct fake_map){
		.n = (uint32_t)n,
		.key_size = map_table[id].key_size,
		.value_size = map_table[id].value_size,
	};
	m->keys = calloc(n + 1, m->key_size);
	m->values = calloc(n + 1, m->value_size);
	MUST(m->keys && m->values);
	if (keys)
		memcpy(m->keys, keys, n * m->key_size);
	if (values)
		memcpy(m->values, values, n * m->value_size);
}

#define COUNTERS 16

static struct sp_counter counters[COUNTERS];
static uint32_t n_counters = 1;

static uint32_t count_up(const struct policy *p, const char *rule, void *userdata)
{
	struct sp_counter *c = &counters[n_counters];

	(void)userdata;
	for (uint32_t i = 1; i < n_counters; i++)
		if (streq(counters[i].policy, p->name) && streq(counters[i].rule, rule))
			return i;
	MUST(n_counters < COUNTERS);
	snprintf(c->policy, sizeof(c->policy), "%s", p->name);
	snprintf(c->rule, sizeof(c->rule), "%s", rule);
	return n_counters++;
}

static void set_templates(const struct image *im)
{
	static const struct sp_failure failures[] = { { 1, OPTION_TCP_NODELAY, -EPERM },
						      { 2, OPTION_IP_TOS, -EINVAL } };
	static const uint64_t counts[] = { 7, 8 };
	struct sp_state state = { .generation = 2, .seed = 1, .abi_version = SP_ABI_VERSION };
	uint32_t keys[COUNTERS];

	for (uint32_t i = 0; i < COUNTERS; i++)
		keys[i] = i;
	for (int id = 0; id < MAP_ID_MAX; id++)
		set_template(id, (enum map_id)id, NULL, im->of[id].values, im->of[id].n);
	for (uint32_t t = 0; t < SP_GLOB_TABLES_MAX; t++) {
		const struct glob_table *from = &im->globs.v[t];

		set_template(TABLES_FROM + 2 * (int)t, MAP_ID_glob_nodes, NULL, from->nodes,
			     from->n_nodes);
		set_template(TABLES_FROM + 2 * (int)t + 1, MAP_ID_glob_links, NULL, from->links,
			     from->n_links);
	}
	set_template(MAP_ID_counters, MAP_ID_counters, keys + 1, counters + 1, n_counters - 1);
	set_template(MAP_ID_failures, MAP_ID_failures, failures, counts, ARRAY_SIZE(counts));
	state.of[0] = im->generation;
	for (uint32_t t = 0; t < SP_GLOB_TABLES_MAX; t++) { /* all that is in the tables is used */
		struct sp_generation *g = &state.of[0];

		if (g->n_glob_nodes < im->globs.v[t].n_nodes)
			g->n_glob_nodes = im->globs.v[t].n_nodes;
		if (g->n_glob_links < im->globs.v[t].n_links)
			g->n_glob_links = im->globs.v[t].n_links;
	}
	state.stages = im->generation.stages;
	set_template(MAP_ID_state, MAP_ID_state, NULL, &state, 1);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *const none[] = { NULL };
	char file[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
	const char *const files[] = { file, NULL };
	const struct host host = { .tick_usec = 4000, .congestion = (char[]){ "reno cubic" } };
	_cleanup_(image_free) struct image *im = NULL;
	struct diags diags = { 0 };
	struct position at;
	char *error;
	int fd = memfd_create("policy", MFD_CLOEXEC);

	(void)argc;
	(void)argv;
	log_set_level(-1);
	dev_null = fopen("/dev/null", "we");
	MUST(dev_null && fd >= 0 && fchmod(fd, 0600) == 0);
	MUST(write(fd, policies, sizeof(policies) - 1) == sizeof(policies) - 1);
	snprintf(file, sizeof(file), "/proc/self/fd/%d", fd);
	if (__real_config_load(none, files, &host, &diags, &config) < 0)
		fprintf(stderr, "%s\n", diags_text(&diags, 4096));
	MUST(config);
	diags_clear(&diags);
	close(fd);
	MUST(image_new(config, count_up, NULL, &im, &error, &at) == 0);
	set_templates(im);
	return 0;
}

static char *memory_of(size_t n, size_t size)
{
	char *memory = calloc(1, n && size ? n * size : 1);

	MUST(memory);
	return memory;
}

static void resize(struct fake_map *m, uint32_t n)
{
	const size_t kept = n < m->n ? n : m->n;
	char *keys = memory_of(n, m->key_size), *values = memory_of(n, m->value_size);

	memcpy(keys, m->keys, kept * m->key_size);
	memcpy(values, m->values, kept * m->value_size);
	free(m->keys);
	free(m->values);
	m->keys = keys;
	m->values = values;
	m->n = n;
}

static void copy_templates(void)
{
	for (int i = 0; i < FAKE_MAPS; i++) {
		struct fake_map *m = &maps[i];

		*m = template[i];
		m->keys = memory_of(m->n, m->key_size);
		m->values = memory_of(m->n, m->value_size);
		memcpy(m->keys, template[i].keys, m->n * m->key_size);
		memcpy(m->values, template[i].values, m->n * m->value_size);
	}
}

static void free_maps(void)
{
	for (int i = 0; i < FAKE_MAPS; i++) {
		free(maps[i].keys);
		free(maps[i].values);
	}
}

static void change_maps(const uint8_t *data, size_t size)
{
	while (size >= 4) {
		struct fake_map *m = &maps[(data[0] & 0x7f) % FAKE_MAPS];
		size_t n = data[1], at = data[2] | (size_t)data[3] << 8;
		bool of_keys = (data[0] & 0x80) && m->key_size && m - maps < MAP_ID_MAX;
		size_t room = of_keys ? m->n * m->key_size : m->n * m->value_size;

		data += 4;
		size -= 4;
		n = n < size ? n : size;
		if (!n && m != &maps[MAP_ID_state])
			resize(m, (uint32_t)at);
		else if (at < room)
			memcpy((of_keys ? m->keys : m->values) + at, data,
			       n < room - at ? n : room - at);
		data += n;
		size -= n;
	}
}

/* The readings. */

/* What stands in a terminal, or in JSON. */
static void check_names(const json_t *list)
{
	const json_t *one;
	size_t i;

	json_array_foreach (list, i, one) {
		const char *name = document_text(one, "name");

		MUST(name && strspn(name, NAME_BYTES) == strlen(name));
		check_names(json_object_get(one, "rules"));
	}
}

static void read_overview(void)
{
	_cleanup_(pinned_close) struct pinned *p = NULL;
	json_t *o;

	if (pinned_open(PIN_DIR, &p) < 0 || overview_read(PIN_DIR, NULL, p, &o) < 0)
		return;
	check_names(json_object_get(o, "policies"));
	metrics_print(o, dev_null);
	(void)overview_count_cgroups(o, PIN_DIR, true);
	(void)overview_count_cgroups(o, PIN_DIR, false);
	MUST(document_write(o, dev_null) == 0);
}

static void read_generations(void)
{
	_cleanup_(generations_close) struct generations *g = NULL;

	if (generations_open(PIN_DIR, NULL, &g, NULL, NULL) < 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		json_t *o = NULL;
		int r = overview_read_cgroup(g, paths[i], i, &o);

		MUST(r == 0 || r == -EPROTO);
		json_decref(o);
	}
}

static void run_dry(void)
{
	const char *const none[] = { NULL };
	struct diags diags = { 0 };
	json_t *d;

	if (dry_run_make(none, PIN_DIR, &diags, &d) == 0) {
		dry_run_print(d, true, dev_null);
		json_decref(d);
	}
	diags_clear(&diags);
}

/* A higher one than before says that some are left open. */
static int lowest_free(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	MUST(fd >= 0);
	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const int free_before = lowest_free();

	copy_templates();
	change_maps(data, size);
	read_overview();
	read_generations();
	run_dry();
	free_maps();
	MUST(lowest_free() == free_before);
	return 0;
}
