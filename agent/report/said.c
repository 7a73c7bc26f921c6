// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "option/value.h"
#include "report/said.h"

static json_t *end_json(const struct option *o, bool is_given, uint32_t number)
{
	_cleanup_free_ char *text = is_given ? value_format_number(o, number) : NULL;

	return !is_given ? json_null() : text ? document_string(text) : NULL;
}

json_t *said_add(json_t *to, const struct option *o, bool unset, enum application a,
		 struct value_range range)
{
	const bool nobody = unset || o->level == SP_LEVEL_REPLY;

	to = document_set(to, "application",
			  nobody ? json_null() : json_string(application_words[a]));
	to = document_set(to, "min", end_json(o, range.is_given && range.min, range.min));
	return document_set(to, "max",
			    end_json(o, range.is_given && range.max != UINT32_MAX, range.max));
}

bool said_is_unset(const json_t *said)
{
	const char *value = document_text(said, "value");

	return value && streq(value, "unset");
}

const char *said_range(const json_t *said, char buf[static SAID_SIZE])
{
	const char *min = document_text(said, "min"), *max = document_text(said, "max");

	snprintf(buf, SAID_SIZE, "%s%s%s%s", min && !max ? "at least " : "", min ? min : "",
		 min && max ? " to "
		 : max	    ? "at most "
			    : "",
		 max ? max : "");
	return buf;
}

const char *said_value(const json_t *said, char buf[static SAID_SIZE])
{
	const char *value = document_text(said, "value");

	if (!value)
		return said_range(said, buf);
	snprintf(buf, SAID_SIZE, "%s", value);
	return buf;
}

const char *said_last_word(const json_t *said)
{
	const char *word = document_text(said, "application");
	const bool has_range = document_text(said, "min") || document_text(said, "max");

	return !word ? "" : has_range && streq(word, "override") ? "range" : word;
}

const char *said_all(const json_t *said, char buf[static SAID_SIZE])
{
	const char *value = document_text(said, "value"), *word = said_last_word(said);
	const bool is_usual = !*word || streq(word, "override") || streq(word, "range");
	char ends[SAID_SIZE];
	size_t n;

	said_value(said, buf);
	said_range(said, ends);
	if (!value)
		*ends = '\0';
	if (is_usual && !*ends)
		return buf;
	n = strlen(buf);
	snprintf(buf + n, SAID_SIZE - n, " (%s%s%s)", is_usual ? "" : word,
		 !is_usual && *ends ? ", " : "", ends);
	return buf;
}
