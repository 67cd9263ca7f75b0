#ifndef MR_CONFIG_LOAD_H
#define MR_CONFIG_LOAD_H

/** @file
 * From a YAML file and the command line to the runs they describe. */

#include "comm/comm.h"
#include "config/registry.h"

/** The runs of a file, in the order of its matrix; one where it has none. Rank 0 holds what they
 * are made of, and makes one at a time. Start from {0}; owns recipe. */
typedef struct mr_run_list {
    const char *file;            /**< that they are described in; borrowed */
    const mr_comm *comm;         /**< borrowed */
    const mr_registry *registry; /**< borrowed */
    int count;
    int merged; /**< combinations of the matrix beside these, each equal to one of them */
    struct mr_run_recipe *recipe; /**< NULL but on rank 0 */
} mr_run_list;

/** Reads a YAML file and its matrix, and overrides keys. Values are checked one by one; what the
 * keys of a run say together is checked where the run is made.
 *
 * A run of a matrix is named "<run.name>.<value>-<key><value>-...", by the keys whose values differ
 * among the runs that have them, in the order of the matrix: method.name by its value alone, others
 * by the last part of the key and the value ("uuid.mora-r8-lr0.001"). Characters other than
 * letters, digits,
 * '.', '_', '+' and '-' become '_', commas of lists '+'; of a mapping in a list its first text
 * stands alone, its name before others, or its kind; of values that become equal so, all but the
 * first have a hash behind them. A run.name in the matrix replaces the part before the dot; where
 * none is given at all, it is the name of the file without its ending.
 *
 * A key that the method or task of a run does not have drops out of it where a matrix is: in the
 * matrix, and outside of it where another run's has it. Combinations that are equal then are one
 * run, by the name of the first. A key that no run has is refused.
 *
 * Overrides apply to every run that has the key. One of a key that the matrix varies leaves of its
 * values only the overriding one, which still stands in the names. The last of several for one key
 * holds.
 *
 * Collective: rank 0 alone opens the file; every rank gets the same count or the same failure.
 * @param path     borrowed by out, as sets and registry are
 * @param sets     [set_count] "key=value", the value as mr_yaml_parse_value reads it
 * @param registry  what keys there are; NULL: those of every run
 * @param out      free with mr_run_list_free; empty on failure
 * @return MR_OK, MR_ERR_CONFIG, MR_ERR_USAGE (a set without '='), MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_config_load(const mr_comm *comm, const char *path,
                                      const char *const *sets, int set_count,
                                      const mr_registry *registry, mr_run_list *out);

/** Checks every run. Collective. @return MR_OK, MR_ERR_CONFIG, the same on every rank */
MR_NODISCARD mr_status mr_run_list_check(const mr_run_list *list);

/** Makes a run, checks it, and gives it to every rank. Collective.
 * @param run  0..count - 1
 * @return MR_OK, MR_ERR_CONFIG, the same on every rank */
MR_NODISCARD mr_status mr_run_list_get(const mr_run_list *list, int run, mr_config *out);

/** Writes the name of a run; for rank 0 alone. Local.
 * @return MR_OK, MR_ERR_CONFIG (longer than out) */
MR_NODISCARD mr_status mr_run_list_name(const mr_run_list *list, int run,
                                        char out[MR_CONFIG_STRING]);

/** Frees what list owns and empties it. Local. */
void mr_run_list_free(mr_run_list *list);

#endif
