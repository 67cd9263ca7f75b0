#ifndef MR_SPECTRA_SNAPSHOT_IMPL_H
#define MR_SPECTRA_SNAPSHOT_IMPL_H

/** @file
 * What snapshots are made of: for snapshot.c and snapshot_work.c. */

#include "base/thread.h"
#include "spectra/measures.h"
#include "spectra/snapshot.h"

/** Rounds of what is not made dense by one rank. */
enum { MR_SNAPSHOT_COPIED = -1, MR_SNAPSHOT_SPREAD = -2 };

/** A linear of the snapshots. */
typedef struct mr_snapshot_linear {
    int owner;          /**< the rank that works it off */
    int group, place;   /**< of the layout, and among the group's layers */
    int64_t values;     /**< singular values that are told */
    int64_t cosines;    /**< directions that are compared */
    int64_t record;     /**< of its owner: where its record begins */
    int64_t vectors;    /**< of its owner: where the base's directions begin */
    bool spread;        /**< no rank holds it alone, where it is dense */
    int round;          /**< of the snapshot under way: when it is made dense; or below */
    mr_structure copy;  /**< of its owner, of the snapshot under way; owned */
    mr_base_facts base; /**< of its owner */
    int64_t base_rank;  /**< leading directions of the base that are defined */
} mr_snapshot_linear;

/** The first failure of a snapshot, by the order of linears. */
typedef struct mr_snapshot_failure {
    mr_status status;
    int linear;
    char message[MR_MESSAGE_MAX];
} mr_snapshot_failure;

/** Owns its arrays. */
struct mr_snapshots {
    const mr_comm *comm;
    mr_snapshot_options options; /**< without modules */
    mr_model_source source;
    mr_snapshot_linear *linear; /**< [source.count] */
    int groups;
    mr_spectra_group *group;          /**< [groups] */
    int64_t *layers;                  /**< of all groups */
    mr_spectra_column *column;        /**< [mr_measure_count] */
    int64_t records, vectors, matrix; /**< doubles of the rank that has most, and of a slot */
    double *record; /**< [records]: of each own linear values, measures, cosines left and right,
                         route */
    double *vector; /**< [vectors]: of each own linear the base's directions, left [k, rows] and
                         right [k, cols] */
    double **slot;  /**< [options.slots], [matrix] each */
    int *in_slot;   /**< [options.slots], the linears of a round */
    bool measured;  /**< the base's facts are there */
    bool under_way;
    mr_thread thread;
    int beside;           /* threads that it works with */
    pthread_mutex_t lock; /**< of failure */
    mr_snapshot_failure failure;
};

/** Returns the doubles of a linear's record. */
static inline int64_t mr_snapshot_record(const mr_snapshot_linear *l)
{
    return l->values + mr_measure_count + 2 * l->cosines + 1;
}

/** Tells whether a linear is this rank's. */
static inline bool mr_snapshot_is_own(const mr_snapshots *s, int i)
{
    return s->linear[i].owner == s->comm->rank;
}

/** Keeps the recorded message of a linear that failed, for mr_snapshots_finish. Any thread. */
void mr_snapshots_fail(mr_snapshots *s, int i, mr_status status);

/** Returns MR_STOPPED where a request to stop has come to any rank. Collective. */
MR_NODISCARD mr_status mr_snapshots_go_on(const mr_snapshots *s, bool stoppable);

/** Fills the record of an own linear from all of its values, but for cosines, which become NaN;
 * returns where they stand. Local. */
double *mr_snapshots_record(mr_snapshots *s, int i, const double *values, int route);

/** Measures the base weights of this rank's linears. Collective. @return as mr_snapshots_start */
MR_NODISCARD mr_status mr_snapshots_measure_base(mr_snapshots *s, bool stoppable);

/** Measures the base weights that are spread. Collective. @return as mr_snapshots_start */
MR_NODISCARD mr_status mr_snapshots_measure_spread(mr_snapshots *s, bool stoppable);

/** Works off what is spread. Failures are kept for mr_snapshots_finish. Collective.
 * @return MR_OK, MR_STOPPED */
MR_NODISCARD mr_status mr_snapshots_work_off_spread(mr_snapshots *s, bool stoppable);

/** Returns the bytes that working off spread linear i takes on a rank. Local. */
size_t mr_snapshots_spread_bytes(const mr_snapshots *s, int i);

/** Copies what has a structure. Collective. @return as mr_snapshots_start */
MR_NODISCARD mr_status mr_snapshots_copy(mr_snapshots *s);

/** Works off what was copied. A failure is kept for mr_snapshots_finish. Local. */
void mr_snapshots_work_off(mr_snapshots *s, int threads);

/** Makes dense and works off what has no structure. Failures are kept for mr_snapshots_finish.
 * Collective. @return MR_OK, MR_STOPPED */
MR_NODISCARD mr_status mr_snapshots_work_off_dense(mr_snapshots *s, bool stoppable);

#endif
