#ifndef MR_CONFIG_REGISTRY_H
#define MR_CONFIG_REGISTRY_H

/** @file
 * What keys there are: those of every run, and those that methods, tasks and the like bring. The
 * layers that have these hand their tables in; the config layer knows none of them. */

#include "config/schema.h"

enum {
    MR_REGISTRY_KEYS = 256, /**< most keys of different names */
    MR_REGISTRY_TABLES = 8, /**< most tables */
};

/** The choices that a text key of the core has, or the kinds that items of a list may be. */
typedef struct mr_choice_table {
    const char *key;       /**< "method.name", "parallel.backend", "eval.sets" */
    const mr_choice *rows; /**< NULL name at the end; borrowed */
} mr_choice_table;

/** One name of a key. Several rows of a table may have it, all declared alike. */
typedef struct mr_registry_key {
    const mr_key *key; /**< of the core, or of the first row that has it */
    int table;         /**< whose rows have it; -1: of the core */
    uint64_t rows;     /**< bit i: row i of the table has it */
} mr_registry_key;

/** All of them, in the order of the core; a choice's keys follow its name. Start with
 * mr_registry_build, and stay where it was built; borrows the tables. */
typedef struct mr_registry {
    const mr_choice_table *table;
    int tables;
    const char *const *without; /**< keys and sections ("eval.") of the core that are left out, NULL
                                     at the end; NULL: none. Borrowed */
    mr_registry_key at[MR_REGISTRY_KEYS];
    int count;
    mr_key
        list[MR_REGISTRY_TABLES]; /**< keys of the core that are lists of items, with the kinds */
} mr_registry;

/** Collects the keys of the core and of all tables. What two rows declare differently, and a schema
 * that is larger than a block, end the program: it is wrong. Local. */
void mr_registry_build(const mr_choice_table *tables, int count, mr_registry *out);

/** As mr_registry_build, for a command that has no use for some keys of every run. */
void mr_registry_build_without(const mr_choice_table *tables, int count, const char *const *without,
                               mr_registry *out);

/** Returns the keys of every run alone, without any choices: what NULL stands for. Local. */
const mr_registry *mr_registry_core(void);

/** Returns the number of the key of a dotted name, or -1. Local. */
int mr_registry_find(const mr_registry *registry, const char *key);

/** Returns the number of the table of choices that a key number names one of, or -1; lists of items
 * name none. Local. */
int mr_registry_table_of(const mr_registry *registry, int key);

/** Returns the row of a name in a table, -1 where there is none. Local. */
int mr_registry_row(const mr_registry *registry, int table, const char *name);

/** Returns the block of a configuration that holds the keys of a table's choice; NULL: its choices
 * have none. Local. */
mr_block *mr_registry_block(const mr_registry *registry, int table, mr_config *config);

/** Returns key number key as a configuration has it, and in *base how many bytes from its start the
 * struct begins that holds the field; NULL where the choice made does not have the key. Local. */
const mr_key *mr_registry_bind(const mr_config *config, int key, size_t *base);

/** Writes the rows that a configuration chooses, as bits: none where its name is no row's. Local.
 */
void mr_registry_chosen(const mr_config *config, uint64_t chosen[MR_REGISTRY_TABLES]);

/** Appends the names of the rows in a set of bits: "lora, mora or remora". Local. */
void mr_registry_list(const mr_registry *registry, int table, uint64_t rows, const char *last,
                      mr_text *out);

/** Records that none of the choices in `chosen` has a key, and which ones do. Local.
 * @return MR_ERR_CONFIG */
mr_status mr_registry_fail_choice(const mr_registry *registry, int key, uint64_t chosen);

/** Records `unknown key "metod.r"; did you mean "method.r"?`: with the nearest known key, or the
 * keys of its section, or the sections. Local.
 * @return code */
mr_status mr_registry_fail_unknown(const mr_registry *registry, const char *unknown,
                                   mr_status code);

#endif
