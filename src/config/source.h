#ifndef MR_CONFIG_SOURCE_H
#define MR_CONFIG_SOURCE_H

/** @file
 * Where the values of a configuration come from, so that every message can name the place. */

#include "config/registry.h"
#include "config/value.h"

/** Where the value of one key was given: nowhere (its default), in the file, or by --set. */
typedef struct mr_origin {
    int node;        /**< in the file; 0: not there */
    const char *set; /**< "key=value", borrowed; NULL: not by --set */
} mr_origin;

/** A configuration being read. Start from mr_source_create; owns origins. */
typedef struct mr_source {
    const char *file; /**< name for messages; borrowed */
    const mr_registry *registry;
    const mr_yaml *yaml;                  /**< what was read; borrowed */
    mr_origin *origins;                   /**< [keys of the registry] */
    int version;                          /**< of the keys in the file */
    uint64_t written[MR_REGISTRY_TABLES]; /**< rows that the file or a default chooses, as bits */
    mr_config config; /**< the core's keys, and names of choices; their keys: mr_source_fill */
} mr_source;

/** Makes a name the choice of a table in a configuration: its keys get their defaults. Local.
 * @return MR_OK, MR_ERR_CONFIG (no such choice: with the nearest one) */
MR_NODISCARD mr_status mr_source_choose(int table, const char *name, mr_config *config);

/** Starts a configuration of defaults. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_source_create(const char *file, const mr_registry *registry,
                                        mr_source *out);

/** Takes one key given in a mapping; node is its value. */
typedef mr_status (*mr_source_take)(void *context, int key, int node);

/** Nodes of a document that are no keys; 0: not there. */
typedef struct mr_source_extras {
    int matrix, version;
} mr_source_extras;

/** Calls take for every key in a mapping and the sections in it. Local.
 * @param prefix  bytes of the paths that stand before the keys ("matrix." or nothing)
 * @param extras  NULL where these are unknown keys
 * @return MR_OK, MR_ERR_CONFIG (unknown key), what take returned */
MR_NODISCARD mr_status mr_source_each(const mr_source *source, const mr_yaml *yaml, int mapping,
                                      size_t prefix, mr_source_extras *extras, mr_source_take take,
                                      void *context);

/** Reads and checks the keys of a whole document. Local.
 * @param yaml     borrowed
 * @param version  of a document that names none
 * @param matrix   its node, 0 where there is none; NULL: it is an unknown key
 * @return as mr_source_each, MR_ERR_CONFIG (version) */
MR_NODISCARD mr_status mr_source_read(mr_source *source, const mr_yaml *yaml, int version,
                                      int *matrix);

/** Takes one "key=value" of --set, checked. Local.
 * @return MR_OK, MR_ERR_USAGE (no '='), MR_ERR_CONFIG, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_source_override(mr_source *source, const char *set);

/** Sets the keys of a configuration's choices, which are named in it, as file and --set leave them;
 * what another choice has is left out. Local. @return MR_OK, MR_ERR_CONFIG */
MR_NODISCARD mr_status mr_source_fill(const mr_source *source, mr_config *config);

/** Refuses a key of the file or of --set that is of none of the choices it may be for, and tells
 * what of the file is of none that is made, as where --set names another method. Local.
 * @param in_file  by table, bits of the rows for which the file may give keys
 * @param made     of the rows that are chosen: --set is for these alone
 * @return MR_OK, MR_ERR_CONFIG */
MR_NODISCARD mr_status mr_source_check_choices(const mr_source *source, const uint64_t *in_file,
                                               const uint64_t *made);

/** Reads node into the field of a key in config, where config has it, with its names checked;
 * messages name the place. @return MR_OK, MR_ERR_CONFIG */
MR_NODISCARD mr_status mr_source_set(const mr_source *source, const mr_yaml *yaml, int node,
                                     int key, mr_config *config);

/** How a key's value is written where no choice is made: as YAML, and for names. */
typedef struct mr_source_texts {
    mr_text yaml, plain;
} mr_source_texts;

/** Checks node as a value of a key, whatever choice has it, and appends its texts where out is not
 * NULL; messages name the place. Local. @return MR_OK, MR_ERR_CONFIG */
MR_NODISCARD mr_status mr_source_check(const mr_source *source, const mr_yaml *yaml, int node,
                                       int key, mr_source_texts *out);

/** Appends the texts of what a key has outside a matrix. Local.
 * @param set  whether --set counts
 * @return MR_OK, MR_ERR_CONFIG */
MR_NODISCARD mr_status mr_source_value(const mr_source *source, int key, bool set,
                                       mr_source_texts *out);

/** Checks the names of choices in a configuration made of a source, also those of defaults. Local.
 */
MR_NODISCARD mr_status mr_source_check_names(const mr_source *source, const mr_config *config);

/** Puts the place of a node before the recorded message ("uuid.yaml:14:9: ..."). Local. */
mr_status mr_source_fail_at(const mr_source *source, const mr_yaml_node *node, mr_status code);

/** Puts the place where the value of a key was given before the recorded message. Local. */
mr_status mr_source_fail_of(const mr_source *source, int key, mr_status code);

/** Frees what source owns. Local. */
void mr_source_free(mr_source *source);

#endif
