#ifndef MR_CONFIG_SCHEMA_H
#define MR_CONFIG_SCHEMA_H

/** @file
 * Tables of keys. Reading, checking, `--set`, `--help`, and the resolved text follow from them.
 *
 * The core table in schema.c has the keys of every run: fields of mr_config. Methods, tasks and the
 * like bring tables of their own, each over a struct of its own.
 */

#include "config/config.h"

#include <stddef.h>

/** Type of a value, and of its field; lists come last. */
typedef enum mr_key_type {
    MR_KEY_INT,     /**< int64_t */
    MR_KEY_FLOAT,   /**< double */
    MR_KEY_BOOL,    /**< bool */
    MR_KEY_STRING,  /**< char[] */
    MR_KEY_ENUM,    /**< int32_t, the index of the text in choices */
    MR_KEY_STRINGS, /**< mr_string_list */
    MR_KEY_INTS,    /**< mr_int_list */
    MR_KEY_ITEMS,   /**< mr_item_list */
} mr_key_type;

/** One key. All pointers are to constants of the program. */
typedef struct mr_key {
    const char *key;               /**< "section.name" */
    size_t offset;                 /**< bytes from the start of the schema's struct */
    size_t bytes;                  /**< of the field */
    const char *fallback;          /**< the default, as it would be given to --set */
    int64_t min, max;              /**< INT and items of INTS; both ends belong to the range */
    double low, high;              /**< FLOAT; INFINITY: no upper end */
    const char *const *choices;    /**< ENUM: texts by value, NULL at the end */
    const struct mr_choice *kinds; /**< ITEMS: what an item may be, a NULL name at the end; of a key
                                        of the core the registry has them */
    const char *unit;              /**< "tokens", "steps", ...; NULL where there is none */
    const char *help;              /**< one line */
    mr_key_type type;
    bool low_open, high_open; /**< FLOAT: the end does not belong to the range */
    bool is_path;             /**< STRING: of a file or folder, if it is not empty */
} mr_key;

/** Keys over one struct. Constant of the program. */
typedef struct mr_schema {
    const mr_key *key; /**< [count] */
    int count;
    size_t bytes; /**< of the struct */
} mr_schema;

enum { MR_CHOICES = 64 }; /**< most choices of a table */

/** One choice: a method, a task, a kind of item, ... */
typedef struct mr_choice {
    const char *name;        /**< NULL at the end of a table */
    const char *summary;     /**< one line, or NULL */
    const mr_schema *schema; /**< its own keys, "method.r", of an item "part"; NULL: none */
} mr_choice;

/** The first fields of an mr_key: its name, and the field of a struct that holds it. */
#define MR_KEY_FIELD(type, name, member)                                                           \
    .key = (name), .offset = offsetof(type, member), .bytes = sizeof(((type *)NULL)->member)

/** A schema over a struct, of an array of keys. */
#define MR_SCHEMA(type, keys)                                                                      \
    {                                                                                              \
        .key = (keys), .count = (int)(sizeof(keys) / sizeof *(keys)), .bytes = sizeof(type)        \
    }

/** Most optimizer steps, samples, ... of a key that has no narrower bound. */
#define MR_KEY_BILLION 1000000000

/** The keys of every run, over mr_config. Every section stands in it. */
extern const mr_schema mr_schema_core;

/** Returns the key of a schema with this dotted name, or NULL. Local. */
const mr_key *mr_schema_key(const mr_schema *schema, const char *name);

/** Returns whether name is a section: what stands before a dot of a key. Local. */
bool mr_schema_is_section(const char *name);

/** Tells whether a list, NULL at its end, names a key or its section ("log."). Local. */
bool mr_schema_is_listed(const char *const *list, const char *key);

#endif
