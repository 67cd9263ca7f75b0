#ifndef MR_TESTS_GOLDEN_CHECK_H
#define MR_TESTS_GOLDEN_CHECK_H

/** @file
 * Comparing a model with a file of reference tensors.
 *
 * On several ranks the batch and the parameters are shared out; every rank compares what it holds,
 * the sums of squares are reduced, and so all ranks come to the same verdict. */

#include "golden_case.h"

enum { MR_GOLDEN_STEPS = 10 };

/** How close a number must be to its reference: |ours - theirs| / |theirs| in the Euclidean norm.
 * The references are computed in double and stored as F32; we compute in F32. */
typedef enum mr_golden_bound {
    MR_GOLDEN_LOGITS,   /**< a forward pass: some hundred roundings a logit */
    MR_GOLDEN_LOSS,     /**< mean of many, so no worse than the logits */
    MR_GOLDEN_GRADIENT, /**< twice the depth, and differences of nearly equal terms */
    MR_GOLDEN_LOSSES,   /**< ten updates, which Adam makes as large for small gradients as for
                             large */
    MR_GOLDEN_AFTER,    /**< of the change, but for elements whose gradient is mere rounding, which
                             golden_check.c leaves out */
    MR_GOLDEN_DENSE,    /**< sums of two products */
    MR_GOLDEN_MERGED,   /**< one addition */
    MR_GOLDEN_BOUNDS
} mr_golden_bound;

/** What a test runs on, and what it has found. Borrows comm and folder. */
typedef struct mr_golden_item {
    char name[192]; /**< of the test */
    const mr_comm *comm;
    const mr_golden_folder *folder;
    char stem[128];
    int disagreements;
    bool quiet;       /**< disagreements are counted, not printed */
    int64_t left_out; /**< elements not compared */
    size_t memory;    /**< bytes held when the test began */
} mr_golden_item;

/** Squares of a difference and of the reference, summed. */
typedef struct mr_golden_squares {
    double difference, reference;
} mr_golden_squares;

/** Adds elements to sums; with an origin, the reference is the change from there. Local. */
void mr_golden_add(mr_golden_squares *sums, const float *ours, const float *theirs,
                   const float *origin, int64_t count);

/** Sums over all ranks, in place. Collective. */
void mr_golden_reduce(const mr_comm *comm, mr_golden_squares *sums, int count);

/** Starts a test. */
void mr_golden_begin(mr_golden_item *item);

/** Notes a disagreement; the first few are printed, with folder and file. To be called alike on
 * every rank. */
void mr_golden_disagree(mr_golden_item *item, const char *fmt, ...) MR_PRINTF(2, 3);

/** Notes a disagreement unless the sums are within a bound. */
void mr_golden_expect(mr_golden_item *item, mr_golden_squares sums, mr_golden_bound bound,
                      const char *what);

/** Notes a disagreement unless one number is within a bound of another. */
void mr_golden_expect_number(mr_golden_item *item, double ours, double theirs,
                             mr_golden_bound bound, const char *what);

/** Ends a test: fails it for its disagreements, for a status the ranks agree on, and for memory
 * that was not given back. Collective. */
void mr_golden_conclude(mr_golden_item *item, mr_status status);

/** Returns how many rows of the reference's batch belong to this rank; first gets the first one. */
int64_t mr_golden_own_rows(const mr_golden_rig *rig, int64_t *first);

/** Evaluates the model and compares its logits with a tensor [B, T, V]. Collective.
 * @return the same on every rank, as mr_golden_read */
MR_NODISCARD mr_status mr_golden_compare_logits(mr_golden_item *item, mr_golden_rig *rig,
                                                const mr_safetensors *file, const char *name);

/** Compares the losses of single tokens with the tensor token_loss [B, T]. Not for a single cut.
 * Collective. @return the same on every rank, as mr_golden_read */
MR_NODISCARD mr_status mr_golden_compare_token_losses(mr_golden_item *item, mr_golden_rig *rig);

/** Runs the batch forward and backward, and compares loss, gradients and their norm. Collective.
 * @return the same on every rank, as mr_golden_read */
MR_NODISCARD mr_status mr_golden_compare_gradients(mr_golden_item *item, mr_golden_rig *rig,
                                                   double *loss, double *grad_norm);

/** Trains as the reference did, and compares the first loss and gradients, the losses of ten steps
 * and the weights after them. Collective. @return the same on every rank, as mr_golden_read */
MR_NODISCARD mr_status mr_golden_compare_training(mr_golden_item *item, mr_golden_rig *rig);

#endif
