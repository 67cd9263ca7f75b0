#ifndef MR_CONFIG_SOURCE_H
#define MR_CONFIG_SOURCE_H

/** @file
 * Where the values of a configuration come from, so that every message can name the place. */

#include "config/value.h"

/** Where the value of one key was given: nowhere (its default), in the file, or by --set. */
typedef struct mr_origin {
    int line, column; /**< 0: not in the file */
    const char *set;  /**< "key=value", borrowed; NULL: not by --set */
} mr_origin;

/** A configuration being read. Start from mr_source_create; owns origins. */
typedef struct mr_source {
    const char *file;                 /**< name for messages; borrowed */
    const mr_config_choices *choices; /**< [choices_count]; borrowed */
    int choices_count;
    mr_origin *origins; /**< [mr_schema_count()] */
    mr_config written;  /**< defaults and what the file says, without --set */
    mr_config config;   /**< the same with --set */
} mr_source;

/** Starts a configuration of defaults. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_source_create(const char *file, const mr_config_choices *choices,
                                        int choices_count, mr_source *out);

/** Takes one key given in a mapping; node is its value. */
typedef mr_status (*mr_source_take)(void *context, int key, int node);

/** Calls take for every key in a mapping and the sections in it. Local.
 * @param prefix  bytes of the paths that stand before the keys ("matrix." or nothing)
 * @param matrix  NULL where a matrix is an unknown key, else set to its node where there is one
 * @return MR_OK, MR_ERR_CONFIG (unknown key), what take returned */
MR_NODISCARD mr_status mr_source_each(const mr_source *source, const mr_yaml *yaml, int mapping,
                                      size_t prefix, int *matrix, mr_source_take take,
                                      void *context);

/** Reads the keys of a whole document into source->written and source->config. Local.
 * @param matrix  as in mr_source_each
 * @return as mr_source_each */
MR_NODISCARD mr_status mr_source_read(mr_source *source, const mr_yaml *yaml, int *matrix);

/** Takes one "key=value" of --set into source->config. Local.
 * @return MR_OK, MR_ERR_USAGE (no '='), MR_ERR_CONFIG, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_source_override(mr_source *source, const char *set);

/** Reads node into the field of a key in config, with its names checked; messages name the place.
 * @return MR_OK, MR_ERR_CONFIG */
MR_NODISCARD mr_status mr_source_set(const mr_source *source, const mr_yaml *yaml, int node,
                                     int key, mr_config *config);

/** Checks the names of source->config, also those of defaults. Local. */
MR_NODISCARD mr_status mr_source_check_names(const mr_source *source);

/** Puts the place of a node before the recorded message ("uuid.yaml:14:9: ..."). Local. */
mr_status mr_source_fail_at(const mr_source *source, const mr_yaml_node *node, mr_status code);

/** Puts the place where the value of a key was given before the recorded message. Local. */
mr_status mr_source_fail_of(const mr_source *source, int key, mr_status code);

/** Frees what source owns. Local. */
void mr_source_free(mr_source *source);

#endif
