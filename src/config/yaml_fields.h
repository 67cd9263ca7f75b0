#ifndef MR_CONFIG_YAML_FIELDS_H
#define MR_CONFIG_YAML_FIELDS_H

/** @file
 * Mappings of YAML taken into structs by tables of their keys, for data that is no configuration:
 * published tables, templates. Texts are borrowed from the nodes. All Local. */

#include "config/yaml.h"

#include <stddef.h>

/** What a key holds, and what its field is. */
typedef enum mr_field_kind {
    MR_FIELD_TEXT,     /**< const char * */
    MR_FIELD_NUMBER,   /**< double */
    MR_FIELD_WHOLE,    /**< int64_t, not negative */
    MR_FIELD_FLAG,     /**< bool */
    MR_FIELD_WORD,     /**< int, which of the words it is */
    MR_FIELD_LIST,     /**< int: the node, of a list that is not empty */
    MR_FIELD_ANY_LIST, /**< the same, of a list that may be */
    MR_FIELD_KEYS,     /**< int: the node of a mapping */
} mr_field_kind;

/** One key. Tables end with {0}. */
typedef struct mr_yaml_field {
    const char *key;
    mr_field_kind kind;
    bool needed;
    size_t offset;            /**< bytes from the start of the struct */
    const char *const *words; /**< WORD: NULL at the end */
} mr_yaml_field;

/** A key that goes to a member of a struct, and one that is one of some words. */
#define MR_YAML_FIELD(type, member, name, holds, must)                                             \
    {                                                                                              \
        .key = (name), .kind = (holds), .needed = (must), .offset = offsetof(type, member)         \
    }
#define MR_YAML_WORD(type, member, name, list, must)                                               \
    {                                                                                              \
        .key = (name), .kind = MR_FIELD_WORD, .needed = (must), .offset = offsetof(type, member),  \
        .words = (list)                                                                            \
    }

/** A document being taken. Plain data. */
typedef struct mr_yaml_taker {
    const char *name; /**< stands before line and column in messages */
    const mr_yaml *yaml;
} mr_yaml_taker;

/** Takes the keys of a mapping, each into its field; the fields of keys that are not there stay as
 * they are.
 * @return MR_OK, MR_ERR_CONFIG (no mapping; a key is unknown, missing, or holds something else) */
MR_NODISCARD mr_status mr_yaml_take(const mr_yaml_taker *taker, int mapping,
                                    const mr_yaml_field *fields, void *base);

/** Takes one value into its field. @return as mr_yaml_take */
MR_NODISCARD mr_status mr_yaml_take_value(const mr_yaml_taker *taker, const mr_yaml_field *field,
                                          int at, void *base);

/** Returns the items of a list. */
int mr_yaml_items(const mr_yaml_taker *taker, int list);

/** Records a message with the place of a node. @return MR_ERR_CONFIG */
mr_status mr_yaml_fail(const mr_yaml_taker *taker, int at, const char *fmt, ...) MR_PRINTF(3, 4);

#endif
