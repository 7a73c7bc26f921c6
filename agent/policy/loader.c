// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>

#include "base/diag.h"
#include "policy/lint.h"
#include "policy/loader.h"
#include "policy/policy_dirs.h"
#include "policy/policy_parse.h"
#include "policy/yaml_doc.h"

const char *const loader_default_dirs[] = {
	"/etc/sockpol/policies.d",
	"/run/sockpol/policies.d",
	"/usr/lib/sockpol/policies.d",
	NULL,
};

/* Returns the configuration's own copy of a path, for positions to point at. */
static const char *add_path(struct config *c, const char *path)
{
	if (GROW(c->files, c->n_files) < 0)
		return NULL;
	c->files[c->n_files] = strdup(path);
	if (!c->files[c->n_files])
		return NULL;
	return c->files[c->n_files++];
}

static int load_file(struct config *c, int dir_fd, const char *name, const char *path,
		     struct diags *diags)
{
	_cleanup_free_ char *text = NULL;
	struct yaml_doc doc;
	const char *file;
	size_t size;
	int r;

	r = policy_file_read(dir_fd, name, path, diags, &text, &size);
	if (r == -EBADMSG || (r == 0 && !text))
		return 0;
	if (r < 0)
		return r;
	file = add_path(c, path);
	if (!file)
		return -ENOMEM;
	r = yaml_doc_parse(text, size, file, diags, &doc);
	if (r < 0)
		return r;
	if (doc.root)
		r = policies_parse(doc.root, c, diags);
	yaml_doc_clear(&doc);
	return r;
}

static int load_dirs(struct config *c, const char *const *dirs, struct diags *diags)
{
	struct policy_dirs d;
	int r;

	if (dirs != loader_default_dirs)
		policy_dirs_warn_missing(dirs, diags);
	r = policy_dirs_scan(dirs, diags, &d);
	if (r < 0)
		return r;
	for (size_t i = 0; i < d.n_files && r >= 0; i++)
		r = load_file(c, d.files[i].dir_fd, d.files[i].name, d.files[i].path, diags);
	policy_dirs_clear(&d);
	return r;
}

static int report_duplicate_policies(const struct config *c, struct diags *diags)
{
	_cleanup_free_ struct unique_name *names = NULL;
	size_t n = 0;

	names = calloc(c->n_policies + 1, sizeof(*names));
	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < c->n_policies; i++)
		if (c->policies[i].name)
			names[n++] =
				(struct unique_name){ c->policies[i].name, &c->policies[i].at, i };
	duplicates_report(names, n, "policy name", diags);
	return 0;
}

int config_load(const char *const *dirs, const char *const *files, const struct host *host,
		struct diags *diags, struct config **ret)
{
	_cleanup_(config_free) struct config *c = config_new();
	size_t errors = diags->n_errors;
	int r;

	if (!c)
		return -ENOMEM;
	r = load_dirs(c, dirs, diags);
	for (; files && *files && r >= 0; files++)
		r = load_file(c, AT_FDCWD, *files, *files, diags);
	if (r >= 0)
		r = report_duplicate_policies(c, diags);
	if (r < 0)
		return r;
	/* With an error, the configuration is not what was meant, and lint would mislead. */
	if (diags->n_errors == errors)
		lint_config(c, host, diags);
	diags_sort(diags);
	if (diags->n_errors > errors)
		return -EBADMSG;
	*ret = TAKE_PTR(c);
	return 0;
}
