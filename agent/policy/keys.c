// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>

#include "base/names.h"
#include "policy/keys.h"

#define KNOWN_SIZE 512

/* Joins words for a message: "connect, accept, listen". */
static const char *join(const char *const *words, size_t n, char *to, size_t size)
{
	*to = '\0';
	for (size_t i = 0; i < n; i++) {
		size_t length = strlen(to);

		snprintf(to + length, size - length, "%s%s", i ? ", " : "", words[i]);
	}
	return to;
}

void report_unknown_word(const struct parse *p, const struct yaml_node *item, const char *what,
			 const char *const *words, size_t n)
{
	const char *near = diags_may_suggest(p->diags) ? suggest(item->text, words, n) : NULL;
	char known[KNOWN_SIZE];

	diag_error(p->diags, &item->at, "%s '%s' is not one of %s%s%s%s", what, EXCERPT(item->text),
		   join(words, n, known, sizeof(known)), near ? "; did you mean '" : "",
		   near ? near : "", near ? "'?" : "");
}

static void report_unknown_key(const struct parse *p, const struct yaml_node *key, const char *what,
			       const struct key *keys, size_t n)
{
	const char *names[KEYS_MAX];
	char known[KNOWN_SIZE];
	const char *near;

	if (option_find(key->text) || option_find_shorthand(key->text)) {
		diag_error(p->diags, &key->at, "%s is an option: it belongs under 'options'",
			   key->text);
		return;
	}
	assert(n <= KEYS_MAX);
	for (size_t i = 0; i < n; i++)
		names[i] = keys[i].name;
	near = diags_may_suggest(p->diags) ? suggest(key->text, names, n) : NULL;
	diag_error(p->diags, &key->at, "unknown key '%s' in %s; %s%s%s", EXCERPT(key->text), what,
		   near ? "did you mean '" : "known: ",
		   near ? near : join(names, n, known, sizeof(known)), near ? "'?" : "");
}

static bool has_key(const struct yaml_node *map, const char *name)
{
	for (size_t i = 0; i + 1 < map->n_items; i += 2)
		if (streq(map->items[i]->text, name))
			return true;
	return false;
}

int parse_map(struct parse *p, const struct yaml_node *map, const char *what,
	      const struct key *keys, size_t n, void *of)
{
	if (map->kind == NODE_BAD)
		return 0;
	if (map->kind != NODE_MAP) {
		diag_error(p->diags, &map->at, "%s must be a mapping (key: value), not %s", what,
			   NODE_WORDS(map));
		return 0;
	}
	for (size_t k = 0; k < n; k++)
		if (keys[k].is_required && !has_key(map, keys[k].name))
			diag_error(p->diags, &map->at, "%s without '%s'", what, keys[k].name);
	for (size_t i = 0; i + 1 < map->n_items; i += 2) {
		const struct yaml_node *key = map->items[i];
		size_t k = 0;
		int r;

		while (k < n && !streq(keys[k].name, key->text))
			k++;
		if (k == n) {
			report_unknown_key(p, key, what, keys, n);
			continue;
		}
		r = keys[k].parse(p, key, map->items[i + 1], (char *)of + keys[k].offset);
		if (r < 0)
			return r;
	}
	return 0;
}

bool parse_is_list(const struct parse *p, const struct yaml_node *key,
		   const struct yaml_node *value, const char *what)
{
	if (value->kind != NODE_LIST && value->kind != NODE_BAD && !yaml_is_null(value))
		diag_error(p->diags, &value->at, "'%s' takes a list of %s, not %s", key->text, what,
			   NODE_WORDS(value));
	return value->kind == NODE_LIST;
}

const char *parse_scalar(const struct parse *p, const struct yaml_node *key,
			 const struct yaml_node *value)
{
	if (value->kind == NODE_BAD)
		return NULL;
	if (value->kind != NODE_SCALAR || yaml_is_null(value)) {
		diag_error(p->diags, &value->at, "'%s' takes text, not %s", key->text,
			   NODE_WORDS(value));
		return NULL;
	}
	return value->text;
}

int parse_choice(const struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
		 const char *const *words, size_t n)
{
	const char *text = parse_scalar(p, key, value);

	if (!text)
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (streq(text, words[i]))
			return (int)i;
	report_unknown_word(p, value, key->text, words, n);
	return -EINVAL;
}

int parse_each_scalar(struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
		      parse_value_fn *one, void *target)
{
	int r = 0;

	if (value->kind != NODE_LIST)
		return parse_scalar(p, key, value) ? one(p, key, value, target) : 0;
	for (size_t i = 0; i < value->n_items && r == 0; i++)
		if (parse_scalar(p, key, value->items[i]))
			r = one(p, key, value->items[i], target);
	return r;
}
