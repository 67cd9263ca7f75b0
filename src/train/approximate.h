#ifndef MR_TRAIN_APPROXIMATE_H
#define MR_TRAIN_APPROXIMATE_H

/** @file
 * How well a method's update approximates a matrix: a single linear W0, the method's update of it,
 * and a target T; training lowers ||W' - (W0 + T)||_F^2 / ||T||_F^2 by the configuration's
 * optimizer and schedule. It tells apart what rank an update can have from what it can hold. */

#include "backend/backend.h"
#include "config/config.h"

/** Returns the keys that a configuration has here: targets as tasks (train/target.h), without what
 * is of a run's data, model, evaluations or files. Made at the first call. Local. */
const mr_registry *mr_approximate_registry(void);

/** What came of one approximation. */
typedef struct mr_approximation {
    char choice[64];    /**< what the method chose for the linear */
    int64_t parameters; /**< trained */
    int64_t steps;      /**< taken; fewer than asked for where the error was no longer finite */
    double error;       /**< ||W' - W0 - T||_F / ||T||_F at the end; NaN where not finite */
    double optimum;     /**< the least that any weights of this method have; NaN: not known */
    double target_rank; /**< effective rank of T: exp of the entropy of its singular values */
    double rank;        /**< effective rank of W' - W0 at the end; NaN where error is */
} mr_approximation;

/** Approximates the target of a configuration (train/target.h). W0 is Gaussian, of variance 1 over
 * its columns; targets and initial weights are those of run.seed. Local.
 * @return MR_OK, also where the error was not finite in the end; MR_ERR_CONFIG, MR_ERR_ARG,
 *         MR_ERR_MEMORY, MR_ERR_NUMERIC */
MR_NODISCARD mr_status mr_approximate(mr_backend *be, const mr_config *config,
                                      mr_approximation *out);

#endif
