#ifndef MR_TRAIN_PLAN_H
#define MR_TRAIN_PLAN_H

/** @file
 * What a run will take, known before it takes it: bytes of this rank by purpose, operations and
 * traffic of a step. */

#include "eval/generate.h"

enum { MR_PLANNED = MR_MEM_CHECKPOINT + 1 }; /**< purposes that are planned, the first ones */

typedef struct mr_plan {
    size_t bytes[MR_MEM_PURPOSES]; /**< exact for the purposes that are planned */
    size_t total;                  /**< their sum */
    mr_model_cost cost;            /**< of a step */
} mr_plan;

/** Plans a laid-out model and generator (NULL: none). Local; ranks differ in nothing. */
mr_plan mr_plan_of(const mr_model *model, const mr_generator *generator);

/** Aborts unless what has been allocated is what was planned, purpose by purpose: plan and
 * allocation are one description. Local. */
void mr_plan_check(const mr_plan *plan);

#endif
