#ifndef MR_SPECTRA_MODEL_SOURCE_H
#define MR_SPECTRA_MODEL_SOURCE_H

/** @file
 * The linears of a model that changes, as updates: by their structure where they have one, else
 * dense, W now - W at the start. */

#include "model/linears.h"
#include "spectra/structure.h"

/** A linear whose update is looked at. */
typedef struct mr_source_linear {
    mr_model_linear linear;
    const char *name; /**< of its weight, for messages; borrowed */
    int64_t rows, cols;
} mr_source_linear;

/** The linears of a model that change, in the order of its layers. Owns at and scratch. */
typedef struct mr_model_source {
    mr_model *model; /**< borrowed */
    uint64_t seed;
    const mr_hf *weights; /**< where the base was read from; borrowed; NULL: it was drawn */
    int count;
    mr_source_linear *at; /**< [count] */
    mr_merge_scratch scratch;
} mr_model_source;

/** Lists the linears that are adapted or trained themselves, of a model that is laid out. Local.
 * @param[in]  modules  items that mean linears as method.target_modules does; "all": every one
 * @param[out] out      to be freed also after a failure
 * @return MR_OK, MR_ERR_CONFIG (an item that means none of them), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_model_source_create(mr_model *model, const mr_string_list *modules,
                                              mr_model_source *out);

/** Frees what a source owns. Local. */
void mr_model_source_free(mr_model_source *source);

/** Allocates the scratch that dense updates need, once the model is allocated. Local.
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_model_source_allocate(mr_model_source *source);

/** Describes the update of linear i as it is now, without its numbers; of kind MR_UPDATE_NONE where
 * it has no structure. Local. */
void mr_model_source_describe(const mr_model_source *source, int i, mr_structure *out);

/** Copies an update that has a structure. Local; its layer is in use, where
 * mr_model_update_is_sharded.
 * @return as mr_structure_take */
MR_NODISCARD mr_status mr_model_source_take(const mr_model_source *source, int i,
                                            mr_structure *out);

/** Writes the weight of linear i as it is now, merged, to out [rows, cols]. Local; its layer is in
 * use. */
void mr_model_source_now(mr_model_source *source, int i, double *out);

/** Adds factor times the weight of linear i at the start to out [rows, cols]. Local; threads may
 * call it at once. @return as mr_model_start_values */
MR_NODISCARD mr_status mr_model_source_add_start(const mr_model_source *source, int i,
                                                 double factor, double *out);

#endif
