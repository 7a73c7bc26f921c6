// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>
#include <search.h>
#include <stdint.h>

#include <yaml.h>

#include "base/diag.h"
#include "policy/loader.h"
#include "base/utf8.h"
#include "policy/yaml_doc.h"

/* Reading was given up; diags say why. */
#define STOP 1

struct builder {
	struct yaml_doc *doc;
	const char *file;
	struct diags *diags;
	struct yaml_node *open[LOADER_DEPTH_MAX]; /* collections that have not ended yet */
	unsigned depth;
	size_t weight; /* nodes so far, aliases followed */
	void *anchors; /* tsearch(3) tree of nodes, by anchor */
	bool had_document;
};

static struct position position_of(const struct builder *b, const yaml_mark_t *mark)
{
	return (struct position){
		.file = b->file,
		.line = (unsigned)mark->line + 1,
		.column = (unsigned)mark->column + 1,
	};
}

static int too_many_nodes(struct builder *b, const struct position *at)
{
	diag_error(b->diags, at, "more than %u YAML nodes in a file, aliases followed",
		   LOADER_NODES_MAX);
	return STOP;
}

static int compare_anchors(const void *a, const void *b)
{
	return strcmp(((const struct yaml_node *)a)->anchor, ((const struct yaml_node *)b)->anchor);
}

/* Remembers an anchor, which may be defined anew: an alias means the last one before it. */
static int remember_anchor(struct builder *b, const yaml_char_t *name, struct yaml_node *node)
{
	struct yaml_node **slot;

	if (!name)
		return 0;
	node->anchor = strdup((const char *)name);
	slot = node->anchor ? tsearch(node, &b->anchors, compare_anchors) : NULL;
	if (!slot)
		return -ENOMEM;
	*slot = node;
	return 0;
}

static void forget_anchor(void *node)
{
	(void)node; /* the document has it */
}

/* Adds a node to the collection that is open, or as the root. */
static int add_node(struct builder *b, enum yaml_node_kind kind, const yaml_event_t *e,
		    const yaml_char_t *tag, const yaml_char_t *anchor, struct yaml_node **ret)
{
	struct yaml_node *parent = b->depth ? b->open[b->depth - 1] : NULL;
	struct yaml_node *node = calloc(1, sizeof(*node));

	if (!node)
		return -ENOMEM;
	node->kind = kind;
	node->at = position_of(b, &e->start_mark);
	node->weight = 1;
	node->older = b->doc->newest;
	b->doc->newest = node;
	if (++b->weight > LOADER_NODES_MAX)
		return too_many_nodes(b, &node->at);
	if (tag)
		diag_error(b->diags, &node->at, "YAML tags are not supported: '%s'",
			   EXCERPT((const char *)tag));
	if (parent && GROW(parent->items, parent->n_items) < 0)
		return -ENOMEM;
	if (parent)
		parent->items[parent->n_items++] = node;
	else
		b->doc->root = node;
	*ret = node;
	return remember_anchor(b, anchor, node);
}

static int too_deep(struct builder *b, const struct position *at)
{
	diag_error(b->diags, at, "lists and mappings are nested more than %u deep",
		   LOADER_DEPTH_MAX);
	return STOP;
}

static int add_scalar(struct builder *b, const yaml_event_t *e)
{
	const char *value = (const char *)e->data.scalar.value;
	size_t length = e->data.scalar.length;
	struct yaml_node *node;
	int r = add_node(b, NODE_SCALAR, e, e->data.scalar.tag, e->data.scalar.anchor, &node);

	if (r)
		return r;
	node->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	node->text = strndup(value, length);
	if (!node->text)
		return -ENOMEM;
	if (strlen(value) != length) {
		diag_error(b->diags, &node->at, "a NUL character in a string: '%s'",
			   EXCERPT(value));
		node->kind = NODE_BAD;
	}
	return 0;
}

static int open_collection(struct builder *b, const yaml_event_t *e, enum yaml_node_kind kind,
			   const yaml_char_t *tag, const yaml_char_t *anchor)
{
	struct yaml_node *node;
	int r = add_node(b, kind, e, tag, anchor, &node);

	if (r)
		return r;
	if (b->depth == LOADER_DEPTH_MAX)
		return too_deep(b, &node->at);
	node->open = true;
	node->weight = b->weight; /* until it closes: the number of nodes before it */
	b->open[b->depth++] = node;
	return 0;
}

/* Drops entries whose keys are unusable; that has been reported. */
static void drop_bad_keys(struct builder *b, struct yaml_node *map)
{
	size_t kept = 0;

	for (size_t i = 0; i + 1 < map->n_items; i += 2) {
		struct yaml_node *key = map->items[i];

		if (key->kind == NODE_BAD)
			continue;
		if (key->kind != NODE_SCALAR) {
			diag_error(b->diags, &key->at, "a key must be text, not %s",
				   NODE_WORDS(key));
			continue;
		}
		if (key->plain && streq(key->text, "<<")) {
			diag_error(b->diags, &key->at,
				   "merge keys ('<<') are not supported; an alias can stand for a "
				   "whole value");
			continue;
		}
		map->items[kept++] = key;
		map->items[kept++] = map->items[i + 1];
	}
	map->n_items = kept;
}

static int check_keys(struct builder *b, struct yaml_node *map)
{
	_cleanup_free_ struct unique_name *names = NULL;
	size_t n;

	drop_bad_keys(b, map);
	n = map->n_items / 2;
	if (n < 2)
		return 0;
	names = calloc(n, sizeof(*names));
	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct yaml_node *key = map->items[i * 2];

		names[i] = (struct unique_name){ key->text, &key->at, i };
	}
	duplicates_report(names, n, "key", b->diags);
	return 0;
}

static int close_collection(struct builder *b)
{
	struct yaml_node *node;

	assert(b->depth); /* libyaml's events are balanced */
	node = b->open[--b->depth];
	assert(node);
	node->open = false;
	node->weight = b->weight - node->weight + 1;
	for (size_t i = 0; i < node->n_items; i++)
		if (node->items[i]->height > node->height)
			node->height = node->items[i]->height;
	node->height++;
	return node->kind == NODE_MAP ? check_keys(b, node) : 0;
}

/* Adds an alias: a node in its own place that shares the anchored node's contents. */
static int add_alias(struct builder *b, const yaml_event_t *e)
{
	const struct yaml_node wanted = { .anchor = (char *)e->data.alias.anchor }, *target;
	struct yaml_node **found = tfind(&wanted, &b->anchors, compare_anchors), *node;
	int r = add_node(b, NODE_BAD, e, NULL, NULL, &node);

	if (r)
		return r;
	node->alias = true;
	target = found ? *found : NULL;
	if (!target || target->open) {
		diag_error(b->diags, &node->at, "alias '*%s' %s", EXCERPT(wanted.anchor),
			   target ? "recurses: it lies inside its anchor"
				  : "has no anchor before it");
		return 0;
	}
	b->weight += target->weight - 1;
	if (b->weight > LOADER_NODES_MAX)
		return too_many_nodes(b, &node->at);
	if (b->depth + target->height > LOADER_DEPTH_MAX)
		return too_deep(b, &node->at);
	node->kind = target->kind;
	node->text = target->text;
	node->plain = target->plain;
	node->items = target->items;
	node->n_items = target->n_items;
	node->weight = target->weight;
	node->height = target->height;
	return 0;
}

static int add_event(struct builder *b, const yaml_event_t *e)
{
	struct position at = position_of(b, &e->start_mark);

	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (b->had_document) {
			diag_error(b->diags, &at, "a second YAML document; a file has one");
			return STOP;
		}
		b->had_document = true;
		return 0;
	case YAML_SCALAR_EVENT:
		return add_scalar(b, e);
	case YAML_ALIAS_EVENT:
		return add_alias(b, e);
	case YAML_SEQUENCE_START_EVENT:
		return open_collection(b, e, NODE_LIST, e->data.sequence_start.tag,
				       e->data.sequence_start.anchor);
	case YAML_MAPPING_START_EVENT:
		return open_collection(b, e, NODE_MAP, e->data.mapping_start.tag,
				       e->data.mapping_start.anchor);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return close_collection(b);
	default:
		return 0;
	}
}

/* Returns the rest of the line that starts at the `index`-th character. */
static char *line_at(const char *text, size_t size, size_t index)
{
	size_t i = 0, length;

	if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) /* libyaml does not count the BOM */
		i = 3;
	while (i < size && index) {
		i++;
		while (i < size && ((unsigned char)text[i] & 0xc0) == 0x80)
			i++;
		index--;
	}
	for (length = 0; i + length < size && length < EXCERPT_SIZE; length++)
		if (text[i + length] == '\n' || text[i + length] == '\r')
			break;
	return strndup(text + i, length);
}

static int syntax_error(const struct builder *b, const yaml_parser_t *parser, const char *text,
			size_t size)
{
	struct position at = position_of(b, &parser->problem_mark);
	_cleanup_free_ char *near = NULL, *context = NULL;

	if (parser->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	near = line_at(text, size, parser->problem_mark.index);
	if (!near)
		return -ENOMEM;
	if (parser->context &&
	    sentence(&context, 0, ", %s from line %zu, column %zu", parser->context,
		     parser->context_mark.line + 1, parser->context_mark.column + 1) < 0)
		return -ENOMEM;
	diag_error(b->diags, &at, "not YAML: %s%s%s%s%s",
		   parser->problem ? parser->problem : "cannot be read", context ? context : "",
		   *near ? ", at '" : "", EXCERPT(near), *near ? "'" : "");
	return STOP;
}

static int read_events(struct builder *b, yaml_parser_t *parser, const char *text, size_t size)
{
	bool end = false;

	while (!end) {
		yaml_event_t event;
		int r;

		if (!yaml_parser_parse(parser, &event))
			return syntax_error(b, parser, text, size);
		end = event.type == YAML_STREAM_END_EVENT;
		r = add_event(b, &event);
		yaml_event_delete(&event);
		if (r)
			return r;
	}
	return 0;
}

static bool yaml_character(uint32_t c)
{
	return c == '\t' || c == '\n' || c == '\r' || c == 0x85 || (c >= 0x20 && c < 0x7f) ||
	       (c >= 0xa0 && c != 0xfffe && c != 0xffff);
}

/* Checks the encoding first: libyaml's own message has no line, and it would accept UTF-16. */
static bool text_is_good(const char *text, size_t size, const char *file, struct diags *diags)
{
	struct position at = { .file = file, .line = 1, .column = 1 };

	for (size_t i = 0; i < size;) {
		uint32_t c;
		int n = utf8_decode(text + i, size - i, &c);

		if (n < 0) {
			diag_error(diags, &at, "not UTF-8: byte 0x%02x", (unsigned char)text[i]);
			return false;
		}
		if (c == 0) {
			diag_error(diags, &at, "a NUL byte: not a text file");
			return false;
		}
		if (!yaml_character(c)) {
			diag_error(diags, &at, "control character U+%04X is not allowed in YAML",
				   c);
			return false;
		}
		at.column++;
		if (c == '\n') {
			at.line++;
			at.column = 1;
		}
		i += (size_t)n;
	}
	return true;
}

int yaml_doc_parse(const char *text, size_t size, const char *file, struct diags *diags,
		   struct yaml_doc *ret)
{
	struct yaml_doc doc = { 0 };
	struct builder b = { .doc = &doc, .file = file, .diags = diags };
	yaml_parser_t parser;
	int r;

	if (!text_is_good(text, size, file, diags)) {
		*ret = doc;
		return 0;
	}
	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
	r = read_events(&b, &parser, text, size);
	yaml_parser_delete(&parser);
	tdestroy(b.anchors, forget_anchor);
	if (r < 0 || b.depth) /* cut short: keys that were not read would be reported as missing */
		yaml_doc_clear(&doc);
	if (r < 0)
		return r;
	*ret = doc;
	return 0;
}

void yaml_doc_clear(struct yaml_doc *doc)
{
	struct yaml_node *node = doc->newest;

	while (node) {
		struct yaml_node *older = node->older;

		if (!node->alias) {
			free(node->text);
			free(node->items);
		}
		free(node->anchor);
		free(node);
		node = older;
	}
	*doc = (struct yaml_doc){ 0 };
}

bool yaml_is_null(const struct yaml_node *node)
{
	static const char *const nulls[] = { "", "~", "null", "Null", "NULL" };

	if (node->kind != NODE_SCALAR || !node->plain)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(nulls); i++)
		if (streq(node->text, nulls[i]))
			return true;
	return false;
}

const char *yaml_node_words(const struct yaml_node *node, char buf[static NODE_WORDS_SIZE])
{
	switch (node->kind) {
	case NODE_LIST:
		return "a list";
	case NODE_MAP:
		return "a mapping";
	case NODE_SCALAR:
		if (yaml_is_null(node))
			return "nothing";
		snprintf(buf, NODE_WORDS_SIZE, "'%s'", EXCERPT(node->text));
		return buf;
	default:
		return "what it is";
	}
}
