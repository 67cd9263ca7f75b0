#ifndef MR_CONFIG_LOAD_H
#define MR_CONFIG_LOAD_H

/** @file
 * From a YAML file and the command line to the runs they describe. */

#include "comm/comm.h"
#include "config/config.h"

enum { MR_CONFIG_RUNS = 100000 }; /**< most runs of one file */

/** The runs of a file, in the order of its matrix; one where it has none. Owns runs. */
typedef struct mr_run_list {
    int count;
    mr_config *runs; /**< [count] */
} mr_run_list;

/** Reads a YAML file, overrides keys, expands its matrix, and checks every run.
 *
 * A run of a matrix is named "<run.name>.<value>-<key><value>-...", by the keys whose values differ
 * among the runs, in the order of the matrix: method.name by its value alone, others by the last
 * part of the key and the value ("uuid.mora-r8-lr0.001"). Characters other than letters, digits,
 * '.', '_', '+' and '-' become '_', commas of lists '+'. A run.name in the matrix replaces the part
 * before the dot. run.name is the name of the file without its ending where it is not given.
 *
 * Overrides apply to every run. One of a key that the matrix varies leaves of its values only the
 * overriding one, which still stands in the names. The last of several for one key holds.
 *
 * Collective: rank 0 alone opens the file; every rank gets the same runs or the same failure.
 * @param sets     [set_count] "key=value", the value as mr_yaml_parse_value reads it
 * @param choices  [choices_count] names that other layers' tables allow; NULL with count 0
 * @param out      free with mr_run_list_free; empty on failure
 * @return MR_OK, MR_ERR_CONFIG, MR_ERR_USAGE (a set without '='), MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_config_load(const mr_comm *comm, const char *path,
                                      const char *const *sets, int set_count,
                                      const mr_config_choices *choices, int choices_count,
                                      mr_run_list *out);

/** Frees the runs and empties the list. Local. */
void mr_run_list_free(mr_run_list *list);

#endif
