// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "host/living.h"
#include "host/manager.h"
#include "policy/glob.h"
#include "report/unit.h"

static bool has_suffix(const char *s, const char *suffix)
{
	size_t a = strlen(s), b = strlen(suffix);

	return a > b && streq(s + a - b, suffix);
}

/* Completes a name as systemctl(1) does: "nginx" is nginx.service. */
static char *with_type(const char *name)
{
	if (glob_unit_kind(name) || strpbrk(name, "*?["))
		return strdup(name);
	return text_format("%s.service", name);
}

struct search {
	const struct glob *glob;
	struct names *found;
};

static int add_if_meant(const char *path, uint64_t id, void *userdata)
{
	struct search *s = userdata;

	(void)id;
	return glob_match(s->glob, path) ? names_append(s->found, path) : 0;
}

/* Writes the path of a slice: "a-b.slice" lies in "a.slice", at "/a.slice/a-b.slice". */
static void write_slice_path(const char *name, FILE *to)
{
	if (streq(name, "-.slice")) {
		fputc('/', to);
		return;
	}
	for (const char *dash = strchr(name, '-'); dash; dash = strchr(dash + 1, '-'))
		fprintf(to, "/%.*s.slice", (int)(dash - name), name);
	fprintf(to, "/%s", name);
}

/* Writes the path of an instance: those of a template have a slice, as in
 * "/system.slice/system-T.slice/T@I.service". */
static void write_instance_path(const char *name, const char *at, FILE *to)
{
	fprintf(to, "/system.slice/system-");
	for (const char *s = name; s < at; s++) {
		if (*s == '-')
			fprintf(to, "\\x2d");
		else
			fputc(*s, to);
	}
	fprintf(to, ".slice/%s", name);
}

char *unit_path(const char *name, const char *slice)
{
	const char *at = strchr(name, '@');
	/* cg_escape() of systemd: names that could be the kernel's own files begin with "_" */
	const char *escape = name[0] == '_' || name[0] == '.' ? "_" : "";
	char *path = NULL;
	size_t size;
	FILE *f = open_memstream(&path, &size);

	if (!f)
		return NULL;
	if (has_suffix(name, ".slice"))
		write_slice_path(name, f);
	else if (slice && streq(slice, "-.slice"))
		fprintf(f, "/%s%s", escape, name);
	else if (slice) {
		write_slice_path(slice, f);
		fprintf(f, "/%s%s", escape, name);
	} else if (at && has_suffix(name, ".service"))
		write_instance_path(name, at, f);
	else
		fprintf(f, "/system.slice/%s%s", escape, name);
	if (fclose(f) != 0) {
		free(path);
		return NULL;
	}
	return path;
}

/* Returns a sentence that says why no place can be assumed, or NULL. */
static const char *no_usual_path(const char *name)
{
	const struct unit_kind *kind = glob_unit_kind(name);

	if (kind && !kind->has_cgroup)
		return "units of this type have no cgroup";
	if (strpbrk(name, "*?["))
		return "it matches no cgroup now";
	if (has_suffix(name, ".scope"))
		return "there is no such cgroup now, and systemd learns a scope's place only when the "
		       "scope is made";
	return NULL;
}

static int assume(const char *name, const char *slice, struct names *ret, char **ret_error)
{
	const char *why = slice ? NULL : no_usual_path(name);
	_cleanup_free_ char *path = NULL;

	if (why)
		return sentence(ret_error, -ENOENT, "unit %s: %s", name, why);
	path = unit_path(name, slice);
	return path ? names_append(ret, path) : -ENOMEM;
}

/* Finds the cgroups that live. */
static int find_living(const char *mount, const char *name, struct names *ret, char **ret_error)
{
	_cleanup_(glob_free) struct glob *g = NULL;
	int r = glob_new(GLOB_UNIT, name, &g, ret_error);

	/* What cannot be read is not found. */
	if (r == 0 && mount &&
	    living_each(mount, "/", add_if_meant, &(struct search){ g, ret }) == -ENOMEM)
		r = -ENOMEM;
	return r;
}

int unit_cgroups_find(const char *mount, const char *name, struct names *ret, bool *ret_assumed,
		      char **ret_error)
{
	_cleanup_free_ char *full = *name ? with_type(name) : strdup(name);
	struct names found = { 0 };
	struct unit_facts f = { 0 };
	bool is_known;
	int r;

	*ret_error = NULL;
	if (!full)
		return -ENOMEM;
	r = find_living(mount, full, &found, ret_error);
	is_known = r == 0 && !found.n && manager_ask(full, &f) == 0 && f.exists && *f.slice;
	if (is_known && !streq(f.name, full)) /* an alias */
		r = find_living(mount, f.name, &found, ret_error);
	*ret_assumed = r == 0 && !found.n;
	if (*ret_assumed)
		r = assume(is_known ? f.name : full, is_known ? f.slice : NULL, &found, ret_error);
	unit_facts_clear(&f);
	if (r < 0)
		names_clear(&found);
	else
		*ret = found;
	return r;
}
