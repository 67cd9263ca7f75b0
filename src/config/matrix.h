#ifndef MR_CONFIG_MATRIX_H
#define MR_CONFIG_MATRIX_H

/** @file
 * `matrix:` of a YAML file: one file, many named runs. */

#include "config/load.h"
#include "config/source.h"

/** Makes the runs of source->config and the matrix, checks and names them. Local.
 *
 * A matrix is a block {key: value or [values], ...}, every combination of which is a run, the first
 * key varying slowest; or a list of blocks, one after another.
 * @param matrix  node of the matrix in yaml, or -1: one run
 * @param out     free with mr_run_list_free; empty on failure
 * @return MR_OK, MR_ERR_CONFIG, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_matrix_expand(const mr_source *source, const mr_yaml *yaml, int matrix,
                                        mr_run_list *out);

#endif
