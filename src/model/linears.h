#ifndef MR_MODEL_LINEARS_H
#define MR_MODEL_LINEARS_H

/** @file
 * The linears of a model one by one: what each has learnt since the first step, and what it was
 * then. No copy of the model is kept for that: a merged weight is computed, a starting one is drawn
 * or read again. */

#include "model/model.h"

/** A linear of a decoder layer, on a walk over all of them: layer by layer, in each in the order of
 * the public format. */
typedef struct mr_model_linear {
    int64_t layer;
    const char *projection; /**< "q_proj" */
    int weight;             /**< id of its parameter */
    int site, place;        /**< of its adapter; place is -1 where it has none */
    int next;               /**< where the walk goes on */
} mr_model_linear;

/** Goes to the next linear from {0}; false behind the last one. Local. */
bool mr_model_next_linear(const mr_model *model, mr_model_linear *linear);

/** Writes the name of a linear's module, "model.layers.0.self_attn.q_proj". Local. */
void mr_model_linear_module(const mr_model *model, const mr_model_linear *linear,
                            char out[MR_PARAM_NAME]);

/** Tells whether a linear is meant by an item of a list of modules, as in method.target_modules: a
 * name that its own ends with, or a regular expression of the whole. Local.
 * @param key  the list's, for messages
 * @return MR_OK, MR_ERR_CONFIG (no regular expression) */
MR_NODISCARD mr_status mr_model_linear_matches(const mr_model *model, const mr_model_linear *linear,
                                               const char *key, const char *item, bool *matches);

/** Tells whether a linear changes in training: by its adapter, or its own weights. Local. */
bool mr_model_changes(const mr_model *model, const mr_model_linear *linear);

/** Makes a layer readable for the functions below, and starts gathering `next` (-1: none).
 * Collective where weights are sharded: every rank asks for the same layers in the same order. */
void mr_model_use_layer(mr_model *model, int64_t layer, int64_t next);

/** Tells whether mr_model_update of a linear needs its layer in use: tensors of its adapter are
 * sharded. Local. */
bool mr_model_update_is_sharded(const mr_model *model, const mr_model_linear *linear);

/** Tells whether what a linear has learnt since the first step is what its adapter adds, and no
 * more: no merge has changed its weights, and no rows are scaled. Local. */
bool mr_model_is_structured(const mr_model *model, const mr_model_linear *linear);

/** Describes what a linear that is structured has learnt since the first step, of an allocated
 * model, by its parts as they are kept; its layer is in use, where mr_model_update_is_sharded.
 * Local.
 * @return false where it is not structured, or its method tells no structure */
bool mr_model_update(const mr_model *model, const mr_model_linear *linear, mr_update *out);

/** Describes what a linear's adapter adds to its weight as it stands, merges or not: by shapes
 * without memory, the offset of each the id of its parameter. Local.
 * @param[out] lengths  id of the parameter that the rows of the sum are scaled to, -1: of none
 * @return false where it has no adapter, or that tells no structure */
bool mr_model_adapter_update(const mr_model *model, const mr_model_linear *linear, mr_update *out,
                             int *lengths);

/** Returns mr_adapter_method.published_type of an adapted linear, 0 where it has none. Local. */
int64_t mr_model_published_type(const mr_model *model, const mr_model_linear *linear);

enum { MR_MERGE_ROWS = 64 }; /**< rows that are merged at once */

/** Scratch of merging, of the backend. Start from {0}; owned. */
typedef struct mr_merge_scratch {
    mr_tensor rows; /**< [1, MR_MERGE_ROWS * most inputs] */
    mr_tensor work; /**< [MR_MERGE_ROWS, most work columns] */
} mr_merge_scratch;

/** Returns the bytes (MR_MEM_OTHER) of scratch; 0 where no linear is adapted. Local. */
size_t mr_merge_scratch_bytes(const mr_model *model);

/** Allocates scratch; to be freed also after a failure. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_merge_scratch_create(const mr_model *model, mr_merge_scratch *out);

/** Frees scratch. Local. */
void mr_merge_scratch_free(const mr_model *model, mr_merge_scratch *scratch);

/** Copies rows of a linear's weight, merged with its adapter where it has one, to out [count, I] on
 * the host: element by element the bits that mr_model_merge would give. Local; the linear's layer
 * is in use.
 * @param first  a multiple of MR_MERGE_ROWS
 * @param count  MR_MERGE_ROWS, or as many as there are left */
void mr_model_merged_rows(mr_model *model, const mr_model_linear *linear, int64_t first,
                          int64_t count, const mr_merge_scratch *scratch, float *out);

/** Copies elements first..first+count-1 of a base parameter, as they were before the first step, to
 * out [count]: drawn from the seed, or read from the folder as mr_model_load reads them. Local.
 * @param[in] weights  NULL where the base is drawn
 * @return MR_OK, MR_ERR_FORMAT, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_model_start_values(const mr_model *model, uint64_t seed,
                                             const mr_hf *weights, int id, int64_t first,
                                             int64_t count, float *out);

#endif
