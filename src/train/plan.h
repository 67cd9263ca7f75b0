#ifndef MR_TRAIN_PLAN_H
#define MR_TRAIN_PLAN_H

/** @file
 * What a run will take, known before it takes it: bytes of this rank by purpose, operations and
 * traffic of a step. */

#include "eval/evaluator.h"

typedef struct mr_plan {
    size_t bytes[MR_MEM_PURPOSES]; /**< exact; of MR_MEM_OTHER the most there is at a time, but for
                                        texts and pieces of files */
    size_t total;                  /**< their sum, MR_BYTES_MOST at most */
    mr_model_cost cost;            /**< of a step */
} mr_plan;

/** What a rank may take. */
typedef struct mr_memory_limit {
    size_t bytes;
    int64_t node_ranks; /**< ranks of a node, the most where nodes have not equally many */
    char why[320];      /**< "0.8 of 23.5 GiB, available memory, for 2 ranks a node" */
} mr_memory_limit;

/** Returns parallel.memory_gib, or 0.8 of the memory that the backend tells of, where it is least,
 * divided by the ranks that share it: the rest is for what no plan counts, which is the program,
 * its libraries and pieces of files. Collective; the same on every rank.
 * @param node_ranks  ranks of a node, 0 for those that this one has
 * @param assumed     where node_ranks is not the user's word: how it was chosen; else NULL */
mr_memory_limit mr_memory_limit_of(const mr_comm *comm, const mr_config *config, mr_backend *be,
                                   int64_t node_ranks, const char *assumed);

/** Plans a laid-out model and evaluator (NULL: none), and so many bytes of data and of other things
 * beside them, where so many ranks share a node. Local; ranks differ in nothing. */
mr_plan mr_plan_of(const mr_model *model, const mr_evaluator *evaluator, int64_t node_ranks,
                   size_t data, size_t other);

/** Counts bytes of a purpose into a plan. Local. */
void mr_plan_add(mr_plan *plan, mr_purpose purpose, size_t bytes);

/** Aborts unless what has been allocated is what was planned, purpose by purpose, but for
 * MR_MEM_OTHER: plan and allocation are one description. Local. */
void mr_plan_check(const mr_plan *plan);

#endif
