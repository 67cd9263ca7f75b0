#ifndef MR_REPORT_APPROXIMATIONS_H
#define MR_REPORT_APPROXIMATIONS_H

/** @file
 * Approximations of matrices (train/approximate.h) put together: for every target and method the
 * rate whose error is least in the mean over seeds, beside the least error there is. */

#include "base/text.h"
#include "train/approximate.h"

#include <jansson.h>

/** One approximation. Owns its texts. */
typedef struct mr_approximated {
    char *run;
    char *target; /**< "power_law exponent=1, 256 x 256" */
    char *method; /**< "mora operator=sharing" */
    int64_t r;    /**< 0: the base is trained */
    double lr;
    int64_t seed;
    int64_t target_index, method_index; /**< in the order of their first runs */
    mr_approximation result;
} mr_approximated;

/** Runs. Start from {0}; free with mr_approximations_free. Owns run. */
typedef struct mr_approximations {
    int64_t count, room;
    mr_approximated *run; /**< [count] */
    bool sorted;          /**< by target, method, rate, seed */
} mr_approximations;

/** Adds an approximation. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_approximations_add(mr_approximations *all, const mr_config *config,
                                             const mr_approximation *result);

/** Appends a table a target. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_approximations_print(mr_approximations *all, mr_text *out);

/** Returns all runs, and what was chosen, as JSON; NULL where there is no memory. Owned by the
 * caller. Local. */
json_t *mr_approximations_json(mr_approximations *all);

/** Frees everything and empties it. Local. */
void mr_approximations_free(mr_approximations *all);

#endif
