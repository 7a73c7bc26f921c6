// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "host/living.h"
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
	char *full;

	if (glob_unit_kind(name) || strpbrk(name, "*?["))
		return strdup(name);
	return asprintf(&full, "%s.service", name) < 0 ? NULL : full;
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

/* Returns the path where systemd puts a unit without a Slice= of its own.  NULL: out of memory. */
static char *usual_path(const char *name)
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
	else if (at && has_suffix(name, ".service"))
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

static int assume(const char *name, struct names *ret, char **ret_error)
{
	const char *why = no_usual_path(name);
	_cleanup_free_ char *path = NULL;

	if (why)
		return sentence(ret_error, -ENOENT, "unit %s: %s", name, why);
	path = usual_path(name);
	return path ? names_append(ret, path) : -ENOMEM;
}

int unit_cgroups_find(const char *mount, const char *name, struct names *ret, bool *ret_assumed,
		      char **ret_error)
{
	_cleanup_free_ char *full = *name ? with_type(name) : strdup(name);
	_cleanup_(glob_free) struct glob *g = NULL;
	struct names found = { 0 };
	int r;

	*ret_error = NULL;
	if (!full)
		return -ENOMEM;
	r = glob_new(GLOB_UNIT, full, &g, ret_error);
	if (r < 0)
		return r;
	/* What cannot be read is not found. */
	if (mount &&
	    living_each(mount, "/", add_if_meant, &(struct search){ g, &found }) == -ENOMEM)
		r = -ENOMEM;
	*ret_assumed = r == 0 && !found.n;
	if (*ret_assumed)
		r = assume(full, &found, ret_error);
	if (r < 0)
		names_clear(&found);
	else
		*ret = found;
	return r;
}
