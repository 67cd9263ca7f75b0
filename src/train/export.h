#ifndef MR_TRAIN_EXPORT_H
#define MR_TRAIN_EXPORT_H

/** @file
 * What a run has learnt, written as other programs read it: the merged model as a folder of
 * Transformers, or the adapter as one of PEFT or of the published MoRA fork. */

#include "train/loaded.h"

typedef enum mr_export_form { MR_EXPORT_MERGED, MR_EXPORT_PEFT, MR_EXPORT_FORK } mr_export_form;

typedef struct mr_export_options {
    mr_export_form form;
    const char *run;         /**< as mr_run_files_open takes it */
    const char *out;         /**< folder to be made; nothing may stand there but an empty one */
    const char *const *sets; /**< [set_count], as of mr_loaded_open */
    int set_count;
    bool f32;     /**< merged: F32, where the base has other types */
    double bound; /**< merged: largest difference of a logit that is accepted; 0: by the types that
                       are written, MR_EXPORT_BOUND_F32 or MR_EXPORT_BOUND_16 */
} mr_export_options;

#define MR_EXPORT_BOUND_F32 1e-3 /**< where all weights are F32 */
#define MR_EXPORT_BOUND_16 0.5   /**< where some have 16 bits */

/** What was written. */
typedef struct mr_export_outcome {
    char method[MR_CONFIG_NAME];
    int64_t steps, restart; /**< of the run; merges into the base that it had made */
    int64_t files, tensors, bytes;
    char types[32];                 /**< of the weights: "BF16", "F32 and BF16" */
    int64_t tokens, agree;          /**< merged: sample tokens, and those whose most probable next
                                         token is the same */
    double difference, most, bound; /**< merged: of logits, largest; largest logit; accepted */
} mr_export_outcome;

/** Writes a folder, whole or not at all. A merged model is formed in F32 of the base weights as
 * they stand in their folder, each rounded once; the folder is read again, and its logits on tokens
 * drawn from a fixed seed are held against those of the run's model, adapter and base apart.
 * Collective; rank 0 writes.
 * @param be  CPU
 * @return MR_OK, MR_ERR_USAGE (out is there; the method has no such form; run is a model folder),
 *         MR_ERR_NUMERIC (logits differ by more than the bound, or are not finite; an element is
 *         beyond its type), MR_ERR_ARG (it does not fit memory), errors of mr_loaded_open and of
 *         files; the same on every rank */
MR_NODISCARD mr_status mr_export(const mr_comm *comm, mr_backend *be,
                                 const mr_export_options *options, mr_export_outcome *out);

#endif
