// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "base/utf8.h"
#include "option/value.h"
#include "policy/stage.h"
#include "report/document.h"

json_t *document_string(const char *text)
{
	_cleanup_free_ char *escaped = text ? utf8_escape(text) : NULL;

	return text ? json_string(escaped) : json_null();
}

json_t *document_append(json_t *array, json_t *item)
{
	if (json_array_append_new(array, item) == 0)
		return array;
	json_decref(array);
	return NULL;
}

json_t *document_set(json_t *object, const char *key, json_t *member)
{
	if (json_object_set_new(object, key, member) == 0)
		return object;
	json_decref(object);
	return NULL;
}

json_t *document_stages(unsigned stages)
{
	json_t *names = json_array();

	for (enum sp_stage s = 0; s < SP_STAGE_MAX; s++)
		if (stages & BIT(s))
			names = document_append(names, json_string(stage_name(s)));
	return names;
}

json_t *document_unsupported(const struct config *c)
{
	json_t *list = json_array();

	for (size_t i = 0; i < c->n_unsupported; i++) {
		const struct unsupported *u = &c->unsupported[i];

		list = document_append(list,
				       json_pack("{s:s, s:s?, s:s, s:s?, s:b}", "policy", u->policy,
						 "rule", u->rule, "what", u->what, "since",
						 u->since, "refused", u->is_refused));
	}
	return list;
}

const char *document_text(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

bool document_same(const json_t *a, const json_t *b, const char *key)
{
	const char *x = document_text(a, key), *y = document_text(b, key);

	return x && y ? streq(x, y) : x == y;
}

json_int_t document_number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

bool document_is(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

void document_print_names(const json_t *array, const char *what, FILE *to)
{
	const json_t *name;
	size_t i;

	json_array_foreach (array, i, name)
		fprintf(to, "%s %s", i ? "," : what, json_string_value(name));
	if (json_array_size(array))
		fputc('\n', to);
}

int document_write(json_t *root, FILE *to)
{
	int r = root ? 0 : -ENOMEM;

	if (r == 0 && (json_dumpf(root, to, JSON_INDENT(2)) < 0 || fputc('\n', to) == EOF))
		r = -EIO;
	json_decref(root);
	return r;
}

/* --- what a policy says of an option --------------------------------------------------------- */

static json_t *end_json(const struct option *o, bool is_given, uint32_t number)
{
	_cleanup_free_ char *text = is_given ? value_format_number(o, number) : NULL;

	return !is_given ? json_null() : text ? document_string(text) : NULL;
}

json_t *document_add_word(json_t *to, const struct option *o, bool unset, enum application a,
			  struct value_range range)
{
	const bool nobody = unset || o->level == SP_LEVEL_REPLY;

	to = document_set(to, "application",
			  nobody ? json_null() : json_string(application_words[a]));
	to = document_set(to, "min", end_json(o, range.is_given && range.min, range.min));
	return document_set(to, "max",
			    end_json(o, range.is_given && range.max != UINT32_MAX, range.max));
}

bool document_is_unset(const json_t *said)
{
	const char *value = document_text(said, "value");

	return value && streq(value, "unset");
}

const char *document_range(const json_t *said, char buf[static DOCUMENT_VALUE_SIZE])
{
	const char *min = document_text(said, "min"), *max = document_text(said, "max");

	snprintf(buf, DOCUMENT_VALUE_SIZE, "%s%s%s%s", min && !max ? "at least " : "",
		 min ? min : "",
		 min && max ? " to "
		 : max	    ? "at most "
			    : "",
		 max ? max : "");
	return buf;
}

const char *document_value(const json_t *said, char buf[static DOCUMENT_VALUE_SIZE])
{
	const char *value = document_text(said, "value");

	if (!value)
		return document_range(said, buf);
	snprintf(buf, DOCUMENT_VALUE_SIZE, "%s", value);
	return buf;
}

const char *document_last_word(const json_t *said)
{
	const char *word = document_text(said, "application");
	const bool has_range = document_text(said, "min") || document_text(said, "max");

	return !word ? "" : has_range && streq(word, "override") ? "range" : word;
}

const char *document_value_and_word(const json_t *said, char buf[static DOCUMENT_VALUE_SIZE])
{
	const char *value = document_text(said, "value"), *word = document_last_word(said);
	const bool is_usual = !*word || streq(word, "override") || streq(word, "range");
	char ends[DOCUMENT_VALUE_SIZE];
	size_t n;

	document_value(said, buf);
	document_range(said, ends);
	if (!value)
		*ends = '\0';
	if (is_usual && !*ends)
		return buf;
	n = strlen(buf);
	snprintf(buf + n, DOCUMENT_VALUE_SIZE - n, " (%s%s%s)", is_usual ? "" : word,
		 !is_usual && *ends ? ", " : "", ends);
	return buf;
}
