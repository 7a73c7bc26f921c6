/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A YAML text as a tree of nodes with their places, within limits.
 *
 * What YAML allows and policies do not is reported here, once for all keys: tags, merge keys,
 * duplicate keys, keys that are not scalars, recursing aliases, a second document.
 */
#ifndef SOCKPOL_YAML_DOC_H
#define SOCKPOL_YAML_DOC_H

#include "base/diag.h"

enum yaml_node_kind {
	NODE_SCALAR,
	NODE_LIST,
	NODE_MAP,
	NODE_BAD, /* already reported: say no more about it */
};

struct yaml_node {
	enum yaml_node_kind kind;
	struct position at; /* an alias's own position */
	char *text;	    /* NODE_SCALAR */
	bool plain;	    /* NODE_SCALAR: not quoted */
	/* NODE_LIST: the elements.  NODE_MAP: key, value, key, value, ...; each key is a
	 * NODE_SCALAR. */
	struct yaml_node **items;
	size_t n_items;

	char *anchor;		 /* owned, or NULL */
	bool alias;		 /* text and items belong to another node */
	bool open;		 /* its end has not been read yet: an alias to it recurses */
	size_t weight;		 /* nodes in it, aliases followed, itself included */
	unsigned height;	 /* collections in one another, itself included */
	struct yaml_node *older; /* all nodes of the document */
};

struct yaml_doc {
	struct yaml_node *root; /* NULL: there is nothing in the text but comments */
	struct yaml_node *newest;
};

/*
 * Parses `size` bytes.  `file` must outlive the document.  Errors are added to `diags`; a
 * document that could be read to its end is returned even so, for further checks.  Returns 0 or
 * -ENOMEM.
 */
int yaml_doc_parse(const char *text, size_t size, const char *file, struct diags *diags,
		   struct yaml_doc *ret);
void yaml_doc_clear(struct yaml_doc *doc);

/* Is it YAML's null: empty, ~ or null, not quoted? */
bool yaml_is_null(const struct yaml_node *node);
/* Describes a node for messages: "a list", "a mapping", "nothing", or the text in quotes. */
#define NODE_WORDS_SIZE (EXCERPT_SIZE + sizeof("''"))
const char *yaml_node_words(const struct yaml_node *node, char buf[static NODE_WORDS_SIZE]);
/* yaml_node_words() in a buffer that lives as long as the block around it. */
#define NODE_WORDS(node) yaml_node_words((node), (char[NODE_WORDS_SIZE]){ 0 })

#endif
