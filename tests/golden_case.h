#ifndef MR_TESTS_GOLDEN_CASE_H
#define MR_TESTS_GOLDEN_CASE_H

/** @file
 * A model set up and trained as a file of reference tensors says.
 *
 * A folder of references holds a model (model/), a batch, and for every way of training it the
 * logits, loss and gradients of the first step and what ten steps lead to; golden/README.md has the
 * layout. Everything about a case is read from its files. Letters: B sequences of T tokens, V
 * vocabulary.
 */

#include "golden_find.h"
#include "model/model.h"
#include "optim/optimizer.h"

/** How the computation is cut, which no number may depend on. */
typedef struct mr_golden_cut {
    mr_shard shard;
    mr_recompute recompute;
    bool single; /**< micro-batches of one sequence, one a wave; else all of a rank's at once */
    bool wide;   /**< with single: all micro-batches of a rank in one wave */
    bool packed; /**< the reference is <folder>/../packing/<model>/<stem>: rows of several
                    documents, the batch in the file named as the stem is before its first '_' */
} mr_golden_cut;

/** A model with its batch and optimizer, as a reference file says. Owns all but comm.
 *
 * The batch is filled up with unscored sequences to a whole number for every rank. */
typedef struct mr_golden_rig {
    const mr_comm *comm;
    mr_config *config;
    mr_backend *be;
    mr_hf_config arch;
    mr_model *model;
    mr_optimizer optimizer;
    mr_safetensors *file;      /**< the reference; NULL for a bare model */
    int64_t sequences, tokens; /**< B and T of the reference */
    int64_t share;             /**< sequences a rank takes */
    int64_t scored;            /**< targets of the batch */
    int32_t *ids;              /**< [share * ranks, T] */
    int32_t *targets;          /**< [share * ranks, T], -1 where not scored */
    int32_t *positions;        /**< packed: [share * ranks, T]; else NULL */
    int32_t *starts;           /**< packed: [share * ranks, T] of the attention; else NULL */
    double *losses;            /**< [share * T], scratch */
    float **before;            /**< [parameters] own part of the trained ones at the start */
    double *grad_rms;          /**< [parameters] root mean square of the reference's first gradient;
                                    0 where that is none but rounding */
} mr_golden_rig;

/** Sets up what a reference file describes: base weights, adapter from <stem>_init, optimizer from
 * the note. Without a stem: the base model, to be evaluated. Collective.
 * @return MR_OK; what opening, reading and allocating return; the same on every rank */
MR_NODISCARD mr_status mr_golden_rig_create(const mr_comm *comm, const char *folder,
                                            const char *stem, mr_golden_cut cut,
                                            mr_golden_rig **out);

/** Frees everything and sets *rig to NULL; NULL is allowed. */
void mr_golden_rig_destroy(mr_golden_rig **rig);

/** Opens <folder>/<stem><ending>.safetensors. Local. @return as mr_safetensors_open */
MR_NODISCARD mr_status mr_golden_open(const char *folder, const char *stem, const char *ending,
                                      mr_safetensors **out);

/** Writes the folder of packed references of a model's folder. Local. */
void mr_golden_packing(const char *folder, char *out, size_t room);

/** Finds for every parameter of an adapter or trained the entry named prefix + name, in its shape:
 * names as the program has them, or as PEFT writes them. entry_of [parameters] gets the entries'
 * indices, -1 for the other parameters and for frozen ones that have none. Local.
 * @return MR_OK; MR_ERR_FORMAT (a trained parameter has none, an entry belongs to none, shapes:
 *         message names file and tensor) */
MR_NODISCARD mr_status mr_golden_match(const mr_model *model, const mr_safetensors *file,
                                       const char *prefix, int64_t *entry_of);

/** Overwrites the adapter with the tensors named prefix + name of a file. Local.
 * @return as mr_golden_match */
MR_NODISCARD mr_status mr_golden_load_adapter(mr_golden_rig *rig, const mr_safetensors *file,
                                              const char *prefix);

/** Reads a tensor of the expected shape into memory the caller frees, or elements first ..
 * first + count - 1 of it. Local. @return MR_OK; MR_ERR_FORMAT (no such tensor, shape), MR_ERR_IO,
 * MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_golden_read(const mr_safetensors *file, const char *name, int dims,
                                      const int64_t *shape, int64_t first, int64_t count,
                                      float **out);

/** Reads a whole tensor of token ids. Local. @return MR_OK; MR_ERR_FORMAT (not I32), MR_ERR_IO */
MR_NODISCARD mr_status mr_golden_read_ids(const mr_safetensors *file,
                                          const mr_safetensors_entry *entry, int32_t *out);

/** Runs the whole batch forward: logits [share * T, V] and losses [share * T] of this rank's
 * sequences; either may be NULL. Not for a single cut. Collective. */
void mr_golden_evaluate(mr_golden_rig *rig, float *logits, double *losses);

/** Runs the whole batch forward and backward. Collective.
 * @param[out] loss       mean over the scored targets
 * @param[out] grad_norm  before clipping */
void mr_golden_gradients(mr_golden_rig *rig, double *loss, double *grad_norm);

/** Updates the weights by the gradients that are there. Collective. */
void mr_golden_update(mr_golden_rig *rig, double grad_norm);

#endif
