// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A dry run over directories in place of cgroups, and maps that the test makes up. */
#include <errno.h>

#include "host/cgroup.h"
#include "report/dry_run.h"
#include "base/log.h"
#include "kernel/pins.h"
#include "scratch_dir.h"

static struct {
	bool pinned;
	unsigned reloads; /* that come in the midst of the readings to come */
	uint64_t generation;
	unsigned opened; /* how often it began anew */
	const char *mount;
} fake;

int pins_open(const char *pin_dir, struct pins **ret)
{
	(void)pin_dir;
	if (!fake.pinned)
		return -ENOENT;
	fake.opened++;
	*ret = (struct pins *)&fake;
	return 0;
}

void pins_close(struct pins *p)
{
	(void)p;
}

int pins_state(const struct pins *p, struct sp_state *ret)
{
	(void)p;
	if (fake.reloads) {
		fake.reloads--;
		fake.generation++;
	}
	*ret = (struct sp_state){ .generation = fake.generation };
	return 0;
}

/* Nothing is governed, and no policy known. */
int pins_each_cgroup(const struct pins *p, pins_cgroup_fn *fn, void *userdata)
{
	(void)p;
	return fn(1, 0, userdata);
}

int pins_each_source(const struct pins *p, pins_source_fn *fn, void *userdata)
{
	(void)p;
	(void)fn;
	(void)userdata;
	return 0;
}

int pins_cgroup(const struct pins *p, uint64_t cgroup_id, uint32_t *ret_index)
{
	(void)p;
	(void)cgroup_id;
	*ret_index = 0;
	return 0;
}

int pins_policy(const struct pins *p, uint32_t index, struct sp_policy *ret)
{
	(void)p;
	(void)index;
	(void)ret;
	return -EPROTO;
}

int pins_op(const struct pins *p, uint32_t index, struct sp_op *ret)
{
	(void)p;
	(void)index;
	(void)ret;
	return -EPROTO;
}

int pins_credit(const struct pins *p, uint32_t index, struct sp_credit *ret)
{
	(void)p;
	(void)index;
	(void)ret;
	return -EPROTO;
}

int pins_source(const struct pins *p, uint32_t id, struct sp_source *ret)
{
	(void)p;
	(void)id;
	(void)ret;
	return -EPROTO;
}

int cgroup_mount(char **ret)
{
	*ret = strdup(fake.mount);
	return *ret ? 0 : -ENOMEM;
}

int cgroup_path_of_id(const char *mount, uint64_t id, char **ret)
{
	(void)mount;
	(void)id;
	*ret = strdup("/");
	return *ret ? 0 : -ENOMEM;
}

int cgroup_id_of_dir(const char *directory, uint64_t *ret)
{
	struct stat st;

	if (stat(directory, &st) < 0)
		return -errno;
	*ret = st.st_ino;
	return 0;
}

static int setup(void **state)
{
	int r = scratch_setup(state);
	struct scratch *s = *state;

	if (r < 0)
		return r;
	memset(&fake, 0, sizeof(fake));
	fake.mount = scratch_mkdir(s, "mount");
	scratch_mkdir(s, "mount/a");
	scratch_mkdir(s, "mount/a/c10");
	scratch_mkdir(s, "mount/a/c2");
	scratch_mkdir(s, "mount/b");
	scratch_mkdir(s, "policies.d");
	log_set_level(LOG_ERR - 1);
	return 0;
}

static int run(struct scratch *s, const char *text, struct dry_run *ret)
{
	const char *const dirs[] = { scratch_path(s, "policies.d"), NULL };
	struct diags diags = { 0 };
	int r;

	scratch_write(s, "policies.d/10.yaml", text);
	r = dry_run_make(dirs, "/nowhere", &diags, ret);
	assert_int_equal(r == -EBADMSG, diags.n_errors > 0);
	diags_clear(&diags);
	return r;
}

static void expect(struct dry_run *d, const char *expected)
{
	size_t n;
	char *text;
	FILE *to = open_memstream(&text, &n);

	assert_non_null(to);
	dry_run_print(d, false, to);
	assert_int_equal(fclose(to), 0);
	assert_string_equal(text, expected);
	free(text);
	dry_run_clear(d);
}

static const char *const web = "policies:\n  - name: web\n    match: { cgroup: /a }\n"
			       "    options: { TCP_NODELAY: on }\n";

#define WEB                                                                                        \
	"policies that come: web\n"                                                                \
	"3 cgroups: /a, /a/c2, /a/c10\n"                                                           \
	"    policies that come: web\n"                                                            \
	"    TCP_NODELAY: not set -> on by web at connect, accept\n"                               \
	"a reload would change 3 of 5 cgroups\n"

static void test_nothing_in_force(void **state)
{
	struct dry_run d;

	assert_int_equal(run(*state, web, &d), 0);
	expect(&d, "nothing is in force now\n" WEB);
}

static void test_nothing_changes(void **state)
{
	struct dry_run d;

	fake.pinned = true;
	assert_int_equal(run(*state, "policies: []\n", &d), 0);
	expect(&d, "a reload would change nothing for the 5 cgroups that live\n");
}

static void test_several_groups(void **state)
{
	struct dry_run d;

	fake.pinned = true;
	assert_int_equal(
		run(*state,
		    "policies:\n"
		    "  - name: all\n    match: { cgroup: / }\n    options: { TCP_NODELAY: on }\n"
		    "  - name: some\n    match: { cgroup: [/b, /a/c2] }\n"
		    "    options: { SO_MARK: 7 }\n",
		    &d),
		0);
	assert_int_equal(d.n_groups, 2);
	expect(&d, "policies that come: all, some\n"
		   "3 cgroups: /, /a, /a/c10\n"
		   "    policies that come: all\n"
		   "    TCP_NODELAY: not set -> on by all at connect, accept\n"
		   "2 cgroups: /a/c2, /b\n"
		   "    policies that come: all, some\n"
		   "    SO_MARK: not set -> 7 by some at connect, accept, listen\n"
		   "    TCP_NODELAY: not set -> on by all at connect, accept\n"
		   "a reload would change 5 of 5 cgroups\n");
}

static void test_wrong_files(void **state)
{
	struct dry_run d;

	fake.pinned = true;
	assert_int_equal(run(*state, "policies: 7\n", &d), -EBADMSG);
	assert_int_equal(fake.opened, 0);
}

/* What was read while the maps were being changed is thrown away. */
static void test_reload_meanwhile(void **state)
{
	struct dry_run d;

	fake.pinned = true;
	fake.reloads = 8;
	assert_int_equal(run(*state, web, &d), 0);
	assert_int_equal(d.generation, 8);
	assert_int_equal(fake.opened, 5); /* once for the root; then each looks twice */
	expect(&d, WEB);
	fake.reloads = UINT32_MAX;
	assert_int_equal(run(*state, web, &d), -EAGAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing_in_force, setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_nothing_changes, setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_several_groups, setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_wrong_files, setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_reload_meanwhile, setup, scratch_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
