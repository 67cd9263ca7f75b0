#ifndef MR_CONFIG_MATRIX_H
#define MR_CONFIG_MATRIX_H

/** @file
 * `matrix:` of a YAML file: one file, many named runs, made one at a time.
 *
 * A matrix is a block {key: value or [values], ...}, every combination of which is a run, the first
 * key varying slowest; or a list of blocks, one after another. What is kept of it grows with its
 * text, not with the number of its runs, but for a number a run where some were merged. */

#include "config/source.h"

enum { MR_CONFIG_RUNS = 100000 }; /**< most runs of one file */

/** The runs of a configuration and its matrix. Borrows both. */
typedef struct mr_matrix mr_matrix;

/** Reads a matrix: every value is checked by itself, every key of the file is of some run's method
 * and task, combinations that are equal are one run, and no two runs have one name. Local.
 * @param source  as the file and --set leave it; borrowed
 * @param yaml    the file; borrowed
 * @param node    of the matrix in yaml, or 0: one run
 * @param[out] out  free with mr_matrix_destroy; NULL on failure
 * @return MR_OK, MR_ERR_CONFIG, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_matrix_create(const mr_source *source, const mr_yaml *yaml, int node,
                                        mr_matrix **out);

/** Returns the number of runs, 1..MR_CONFIG_RUNS.
 * @param[out] merged  combinations beside them, each equal to one of them
 * Local. */
int mr_matrix_count(const mr_matrix *matrix, int *merged);

/** Writes the name of a run, and zeros behind it. Local.
 * @param run  0..count - 1
 * @return MR_OK, MR_ERR_CONFIG (longer than out) */
MR_NODISCARD mr_status mr_matrix_name(const mr_matrix *matrix, int run, char out[MR_CONFIG_STRING]);

/** Makes a run and checks its keys together; a message names the place of the value at fault.
 * Local.
 * @return MR_OK, MR_ERR_CONFIG */
MR_NODISCARD mr_status mr_matrix_run(const mr_matrix *matrix, int run, mr_config *out);

/** Frees *matrix and sets it to NULL, which is allowed. Local. */
void mr_matrix_destroy(mr_matrix **matrix);

#endif
