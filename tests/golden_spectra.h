#ifndef MR_TESTS_GOLDEN_SPECTRA_H
#define MR_TESTS_GOLDEN_SPECTRA_H

/** @file
 * Reference spectra: spectra/matrices.json and .safetensors below the roots of reference tensors,
 * described in their README. */

#include "base/memory.h"
#include "base/status.h"

#include <jansson.h>

/** A matrix and what is to come out. Owns all but record. */
typedef struct mr_golden_matrix {
    char *label; /**< root and name, for messages */
    int64_t rows, cols;
    double *a;     /**< [rows, cols] */
    int64_t count; /**< of sigma: min(rows, cols) */
    double *sigma; /**< [count], descending */
    const json_t
        *record; /**< its entry of matrices.json, with the measures; borrowed from the set */
} mr_golden_matrix;

/** All matrices of all roots. Start from {0}. */
typedef struct mr_golden_spectra {
    mr_golden_matrix *matrix; /**< [count] */
    int64_t count, room;
    json_t *files; /**< array of the roots' matrices.json */
} mr_golden_spectra;

/** Loads the matrices of every root that has some: those that MORA_GOLDEN names, else
 * ../shared/golden. None found is MR_OK. Local.
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_golden_spectra_load(mr_golden_spectra *set);

/** Frees the matrices and empties the set. */
void mr_golden_spectra_free(mr_golden_spectra *set);

#endif
