#ifndef MR_CONFIG_YAML_H
#define MR_CONFIG_YAML_H

/** @file
 * YAML text (libyaml) as a flat list of nodes that know their place.
 *
 * The subset a configuration needs: one document of mappings, sequences and scalars. Anchors,
 * aliases and tags are refused. Keys are plain or quoted texts; `a: {b: 1}` and `a.b: 1` have the
 * same path "a.b", and one path may be given once.
 */

#include "base/text.h"

enum {
    MR_YAML_DEPTH = 16,       /**< most containers inside one another */
    MR_YAML_PATH = 256,       /**< bytes of a dotted path with its terminating zero */
    MR_YAML_NODES = 1000000,  /**< most nodes of a document */
    MR_YAML_BYTES = 16 << 20, /**< most bytes of a document */
};

typedef enum mr_yaml_kind { MR_YAML_SCALAR, MR_YAML_SEQUENCE, MR_YAML_MAPPING } mr_yaml_kind;

/** One value. */
typedef struct mr_yaml_node {
    mr_yaml_kind kind;
    bool quoted; /**< a scalar that is text by its style: quoted or a block */
    const char
        *path; /**< dotted keys from the root, or from the sequence item it stands in; "" there */
    const char *text;         /**< scalar without zero bytes; "" for containers */
    int line, column;         /**< of the value, from 1 */
    int key_line, key_column; /**< of its key; of the value where it has none */
    int scope;                /**< index of the node its path starts from */
    int end;                  /**< index after its last descendant: its next sibling, if any */
} mr_yaml_node;

/** Nodes in the order of the text; nodes[0] is the root, i + 1 the first child of container i.
 * Start from {0}; owns nodes and texts. */
typedef struct mr_yaml {
    mr_yaml_node *nodes;
    int count;
    int64_t room;
    mr_texts texts; /**< of the nodes */
} mr_yaml;

/** What the root of a document may be. */
typedef enum mr_yaml_root { MR_YAML_ROOT_MAPPING, MR_YAML_ROOT_ANY } mr_yaml_root;

/** Reads one document of YAML text. Local.
 * @param name  stands before line and column in every message ("uuid.yaml:14:9: ...")
 * @param out   filled on MR_OK, else empty
 * @return MR_OK, MR_ERR_CONFIG (syntax, duplicate key, what is not supported), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_yaml_parse(const char *name, const char *text, size_t bytes,
                                     mr_yaml_root root, mr_yaml *out);

/** Reads a value given outside a file: a flow sequence ("[1, 2]") or a quoted text is parsed as
 * YAML, anything else is one scalar as it stands. An empty value is an empty text. Local.
 * @return as mr_yaml_parse */
MR_NODISCARD mr_status mr_yaml_parse_value(const char *name, const char *text, mr_yaml *out);

/** Returns whether a node says nothing: an unquoted empty scalar, "~" or "null". Local. */
bool mr_yaml_is_null(const mr_yaml_node *node);

/** Frees the nodes and empties the list. Local. */
void mr_yaml_free(mr_yaml *yaml);

#endif
