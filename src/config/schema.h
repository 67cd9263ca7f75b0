#ifndef MR_CONFIG_SCHEMA_H
#define MR_CONFIG_SCHEMA_H

/** @file
 * The one table of keys. Reading, checking, `--set`, `--help`, and the resolved text follow from
 * it.
 *
 * A new key is a field of mr_config and a row of the table in schema.c.
 */

#include "config/config.h"

#include <stddef.h>

/** Type of a value, and of its field. */
typedef enum mr_key_type {
    MR_KEY_INT,     /**< int64_t */
    MR_KEY_FLOAT,   /**< double */
    MR_KEY_BOOL,    /**< bool */
    MR_KEY_STRING,  /**< char[] */
    MR_KEY_ENUM,    /**< int32_t, the index of the text in choices */
    MR_KEY_STRINGS, /**< mr_string_list */
    MR_KEY_INTS,    /**< mr_int_list */
} mr_key_type;

/** One key. All pointers are to constants of the program. */
typedef struct mr_key {
    const char *key;            /**< "section.name" */
    size_t offset;              /**< bytes from the start of mr_config */
    size_t bytes;               /**< of the field */
    const char *fallback;       /**< the default, as it would be given to --set */
    int64_t min, max;           /**< INT and items of INTS; both ends belong to the range */
    double low, high;           /**< FLOAT; INFINITY: no upper end */
    const char *const *choices; /**< ENUM: texts by value, NULL at the end */
    const char *unit;           /**< "tokens", "steps", ...; NULL where there is none */
    const char *help;           /**< one line */
    mr_key_type type;
    bool low_open, high_open; /**< FLOAT: the end does not belong to the range */
    bool is_path;             /**< STRING: of a file or folder, if it is not empty */
} mr_key;

/** Returns the number of keys. Local. */
int mr_schema_count(void);

/** Returns key number index, 0..mr_schema_count() - 1, in the order of the table. Local. */
const mr_key *mr_schema_at(int index);

/** Returns the number of the key of this dotted name, or -1. Local. */
int mr_schema_find(const char *key);

/** Returns whether name is a section: what stands before a dot of a key. Local. */
bool mr_schema_is_section(const char *name);

/** Tells whether a list, NULL at its end, names a key or its section ("log."). Local. */
bool mr_schema_is_listed(const char *const *list, const char *key);

/** Appends the answer to an unknown key: the nearest known one ("; did you mean \"method.r\"?"),
 * or the keys of its section, or the sections. Local. */
void mr_schema_suggest(const char *unknown, mr_text *out);

#endif
