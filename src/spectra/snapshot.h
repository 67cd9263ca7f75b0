#ifndef MR_SPECTRA_SNAPSHOT_H
#define MR_SPECTRA_SNAPSHOT_H

/** @file
 * Snapshots of the spectra of what a model learns, over its ranks.
 *
 * Every linear is one rank's, dealt by cost, for the whole run. An update that has a structure is
 * copied when a snapshot starts and worked off then or beside what follows; one that has none is
 * made dense and worked off at once, some matrices a rank at a time. Each is one LAPACK problem on
 * one thread, so that values depend on neither ranks nor threads.
 *
 * Matrices that are too large for that are spread over the ranks, one after another, through
 * ScaLAPACK, with the bits of that number of ranks; there are no cosines of them. */

#include "spectra/model_source.h"
#include "store/spectra_file.h"

/** What computes the snapshots of a model. Owns its memory; borrows the model. */
typedef struct mr_snapshots mr_snapshots;

/** What is to be looked at. */
typedef struct mr_snapshot_options {
    const mr_string_list *modules; /**< as mr_model_source_create; borrowed for the call */
    double threshold;              /**< singular values above it are counted */
    int64_t top;                   /**< singular values that are told, the largest; 0: all */
    int64_t cosines;               /**< leading directions compared with the base's; 0: none */
    bool base;    /**< all singular values of the base are computed once, for the thresholds of
                       intruder dimensions */
    bool merges;  /**< what has a structure now may have none later */
    int slots;    /**< dense matrices a rank holds at a time, at least 1 */
    int64_t most; /**< elements: what is dense and has more is spread over the ranks */
    int threads;  /**< problems a rank solves at a time */
} mr_snapshot_options;

/** Lays out the snapshots of a laid-out model. Local; ranks differ in nothing.
 * @return MR_OK, MR_ERR_CONFIG (modules), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_snapshots_create(mr_model *model, const mr_snapshot_options *options,
                                           mr_snapshots **out);

/** Frees everything, after waiting for what is under way, and sets *out to NULL; NULL is allowed.
 * Local. */
void mr_snapshots_destroy(mr_snapshots **out);

/** Returns the elements of the largest matrix that a rank holds by itself; 0: of none. Local. */
int64_t mr_snapshots_largest(const mr_snapshots *snapshots);

/** Adds to bytes[purpose] what mr_snapshots_allocate takes, and to bytes[MR_MEM_OTHER] the most
 * that comes and goes. Local; ranks differ in nothing. */
void mr_snapshots_bytes(const mr_snapshots *snapshots, size_t bytes[MR_MEM_PURPOSES]);

/** Allocates, once the model is allocated. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_snapshots_allocate(mr_snapshots *snapshots);

/** Tells where the base weights come from: drawn from a seed, or (not NULL) read from a folder,
 * borrowed until destroy. Local. */
void mr_snapshots_set_start(mr_snapshots *snapshots, uint64_t seed, const mr_hf *weights);

/** Fills what of a file's layout follows from the model: columns, groups, threshold; borrowed until
 * destroy. Local. */
void mr_snapshots_layout(const mr_snapshots *snapshots, mr_spectra_layout *out);

/** Starts a snapshot of the model as it stands; none may be under way. When it returns the model
 * may change. The first one measures the base before. Collective.
 * @param beside    threads that what was copied is worked off on beside what follows, no more than
 *                  options.threads; fewer than 1: it is worked off before this returns
 * @param stoppable a request to stop (base/signals.h) ends it between two rounds of dense matrices
 * @return MR_OK; MR_STOPPED (nothing is under way); MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_NUMERIC,
 *         MR_ERR_MEMORY of what was to be read of the base or copied; the same on every rank */
MR_NODISCARD mr_status mr_snapshots_start(mr_snapshots *snapshots, int beside, bool stoppable);

/** Tells whether a snapshot was started and not finished: the same on every rank. Local. */
bool mr_snapshots_under_way(const mr_snapshots *snapshots);

/** Tells whether this rank's thread still works. Local. */
bool mr_snapshots_busy(const mr_snapshots *snapshots);

/** Waits for the snapshot under way and brings it to rank 0. Collective.
 * @param[out] rows  on rank 0 [groups of the layout], made by mr_spectra_row_make; else NULL
 * @return MR_OK; MR_ERR_NUMERIC (an update that is not finite: names the linear), MR_ERR_MEMORY,
 *         what reading the start failed with; the same on every rank, and nothing is under way */
MR_NODISCARD mr_status mr_snapshots_finish(mr_snapshots *snapshots, mr_spectra_row *rows);

#endif
