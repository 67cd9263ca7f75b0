#ifndef MR_TRAIN_TARGET_H
#define MR_TRAIN_TARGET_H

/** @file
 * Matrices of chosen spectra, for updates to approximate: one row a kind in the table of target.c.
 *
 * Source: the synthetic test of Albert et al. 2025 (arXiv 2508.00230), whose kinds are Gaussian,
 * low-rank and sinusoidal. Deviation: flat, power_law and tiled matrices beside them; frequencies
 * stay below the sampling limit; noise may be added to low rank. */

#include "base/random.h"
#include "config/registry.h"

/** Keys of every kind; a kind's own follow in a struct of its own. */
typedef struct mr_target_config {
    int64_t rows, cols;
    double norm;
} mr_target_config;

/** Returns the kinds as choices of task.name, a NULL name behind. */
const mr_choice *mr_target_choices(void);

/** Returns what a configuration tells its target. Borrowed. */
const mr_target_config *mr_target_config_of(const mr_config *config);

/** Writes the target of a configuration and its run.seed, of Frobenius norm 1. Local.
 * @param[out] out  [rows, cols]
 * @return MR_OK, MR_ERR_CONFIG (task.name), MR_ERR_ARG (a key beyond the matrix), MR_ERR_MEMORY,
 *         MR_ERR_NUMERIC */
MR_NODISCARD mr_status mr_target_fill(const mr_config *config, double *out);

#endif
