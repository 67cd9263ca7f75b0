#ifndef MR_TRAIN_RUN_H
#define MR_TRAIN_RUN_H

/** @file
 * One run from its configuration to its log: train, evaluate, record, save. */

#include "config/config.h"
#include "train/plan.h"

#include <stdio.h>

/** The attribute stop_reason of a run that reached its end. */
#define MR_STOP_COMPLETED "completed"

#define MR_RESUME_AUTO                                                                             \
    "auto" /**< from the newest sound checkpoint of the run, where there is one */
#define MR_RESUME_NEVER "never" /**< from the beginning */

/** A score under its names in the log. */
typedef struct mr_run_score {
    char set[MR_CONFIG_NAME]; /**< "" where there was no evaluation */
    char name[64], unit[64];
    double value; /**< NaN where there was none */
} mr_run_score;

/** Fills a score. Local. */
static inline void mr_run_score_put(mr_run_score *score, const char *set, const char *name,
                                    const char *unit, double value)
{
    snprintf(score->set, sizeof score->set, "%s", set);
    snprintf(score->name, sizeof score->name, "%s", name);
    snprintf(score->unit, sizeof score->unit, "%s", unit);
    score->value = value;
}

/** What came of a run, for the line printed about it. */
typedef struct mr_run_outcome {
    bool skipped; /**< the log of the same configuration, completed, is there already */
    int64_t steps;
    double loss;        /**< of the last step, nats a token; NaN where unknown */
    mr_run_score score; /**< of the last evaluation */
    double tokens_per_second;
    double seconds;
    char log[2 * MR_CONFIG_STRING + 8]; /**< path of the run log */
} mr_run_outcome;

/** Runs a configuration to its end. A finished run of the same configuration is not run again
 * under MR_RESUME_AUTO.
 *
 * Collective; rank 0 writes the log `<run.output>/<run.name>.h5` and speaks. Checkpoints stand in
 * `<run.output>/<run.name>.checkpoints`. checkpoint.signal and what base/signals.h
 * lists are caught from now on.
 * @param resume  MR_RESUME_AUTO, MR_RESUME_NEVER, or the path of a checkpoint or of a folder of
 * them
 * @return MR_OK; MR_ERR_NUMERIC where the run diverged (recorded as stop_reason); MR_STOPPED where
 * a signal stopped it at a checkpoint; errors of configuration, files and memory; the same on every
 * rank */
MR_NODISCARD mr_status mr_run(const mr_comm *comm, const mr_config *config, const char *resume,
                              mr_run_outcome *outcome);

/** A set that a run would score. */
typedef struct mr_planned_set {
    char name[MR_CONFIG_NAME];
    const char *kind;
    int64_t items;
    int64_t times; /**< that it is scored, at most */
} mr_planned_set;

/** What a run would take, for printing. */
typedef struct mr_run_plan {
    mr_plan plan;
    mr_geometry geometry;
    int ranks;
    mr_memory_limit limit;
    int64_t parameters, trained;
    int sets;
    mr_planned_set set[MR_EVAL_SETS];
    bool fits;                    /**< within the limit */
    char verdict[MR_MESSAGE_MAX]; /**< why it does not */
} mr_run_plan;

/** Plans a run on a number of ranks (0: those of comm), of which so many share a node like this one
 * (0: as many as it has cores for). What is planned is what that run would plan, to the byte; of
 * inputs that are not there yet, what the configuration tells (a warning says so).
 * Allocates no tensors. Collective.
 * @return MR_OK, also where the plan does not fit; errors of the configuration; the same on every
 *         rank */
MR_NODISCARD mr_status mr_run_dry(const mr_comm *comm, const mr_config *config, int64_t ranks,
                                  int64_t node_ranks, mr_run_plan *out);

#endif
