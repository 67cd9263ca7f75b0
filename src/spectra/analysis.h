#ifndef MR_SPECTRA_ANALYSIS_H
#define MR_SPECTRA_ANALYSIS_H

/** @file
 * All that is told of updates on disk: singular values and measures, and beside the base the new
 * directions among the leading ones, with noise of equal norm as the control. */

#include "comm/comm.h"
#include "linalg/distributed.h"
#include "spectra/comparison.h"
#include "spectra/measures.h"
#include "spectra/updates.h"

/** Where matrices are worked on. */
typedef enum mr_analysis_where {
    MR_ANALYSIS_AUTO,     /**< on one rank each; one that does not fit there on all together */
    MR_ANALYSIS_LOCAL,    /**< on one rank each */
    MR_ANALYSIS_TOGETHER, /**< each on all ranks */
} mr_analysis_where;

/** What is asked. */
typedef struct mr_analysis_options {
    double threshold;   /**< singular values above it are counted */
    int64_t directions; /**< leading directions compared with the base's; 0: none */
    double epsilon;     /**< below which cosine to all of the base's a direction is an intruder */
    uint64_t seed;      /**< of the noise */
    int threads;        /**< linears that a rank works on at a time, at most */
    size_t bytes;       /**< that a rank may take */
    mr_analysis_where where;
    mr_distributed_route route; /**< of matrices that all ranks work on together */
} mr_analysis_options;

/** What is known of a linear. Owns values, left and message. */
typedef struct mr_analysis {
    bool done;      /**< else message tells why not, and nothing else is set */
    char *message;  /**< NULL where done */
    double *values; /**< [min(rows, cols)] singular values of the update, descending */
    int route;      /**< mr_route_text */
    mr_measures measures;
    bool compared;            /**< directions were compared with the base's */
    mr_comparison own, noise; /**< NaN where not compared, or the update is 0 */
    int64_t k;                /**< of left and right, 0 where not compared */
    double *left, *right;     /**< [k] cosines between the leading spaces of dW and W0 */
} mr_analysis;

/** What a linear will take. */
typedef struct mr_analysis_plan {
    mr_structure shape; /**< of the update, without numbers */
    bool has_base;
    bool together; /**< all ranks work on it */
    int owner;     /**< else the rank that does; -1 */
    double flops;
    size_t bytes; /**< of a rank, about */
} mr_analysis_plan;

/** Plans the work on updates over a number of ranks; what is wrong with one is not told yet. Local.
 * @param[out] plan  [updates->count]
 * @param[out] threads  linears that a rank works on at a time, by their bytes
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_analysis_make_plan(const mr_updates *updates, int ranks,
                                             const mr_analysis_options *options,
                                             mr_analysis_plan *plan, int *threads);

/** Analyses all items of updates, and brings all to rank 0. What fails for one item is told with it
 * and leaves the others. Collective.
 * @param updates   open on every rank, with the same items
 * @param[out] out  on rank 0 [updates->count], for mr_analyses_free; else NULL
 * @return MR_OK, MR_ERR_MEMORY (of what is brought); the same on every rank */
MR_NODISCARD mr_status mr_analyse(const mr_comm *comm, const mr_updates *updates,
                                  const mr_analysis_options *options, mr_analysis **out);

/** Frees *analyses [count] and sets it to NULL; NULL is allowed. Local. */
void mr_analyses_free(mr_analysis **analyses, int64_t count);

#endif
