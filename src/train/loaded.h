#ifndef MR_TRAIN_LOADED_H
#define MR_TRAIN_LOADED_H

/** @file
 * A model that is on disk, with its tokenizer, to be run and not trained. */

#include "data/tokenizer.h"
#include "train/frozen.h"
#include "train/run_files.h"

/** Owns all but comm and be. */
typedef struct mr_loaded {
    const mr_comm *comm;
    const char *path;   /**< borrowed */
    bool run;           /**< it is what a run left, else a folder */
    mr_run_files files; /**< of the run */
    mr_config config;   /**< of the run, or the defaults where it is a folder */
    mr_hf_config arch;
    mr_tokenizer *tokenizer; /**< NULL until mr_loaded_tokenizer */
    mr_nodes nodes;          /**< whose ranks share memory, found where it is first laid out */
    mr_model *model;         /**< NULL until mr_loaded_lay_out */
} mr_loaded;

/** Opens a model folder of Hugging Face's layout, or what a run left (train/run_files.h): its
 * configuration. Collective.
 * @param[in]  path  of the folder, or as mr_run_files_open takes it; borrowed until destroy
 * @param[in]  sets  [set_count] "key=value" of a configuration, where its own, or the defaults,
 * will not do
 * @param[out] out   for mr_loaded_destroy; NULL on failure
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_CONFIG, MR_ERR_USAGE (a set without '=', or
 *         of a key without effect on a model that is not trained),
 *         MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_loaded_open(const mr_comm *comm, const char *path,
                                      const char *const *sets, int set_count, mr_loaded **out);

/** Puts an adapter of PEFT or of the MoRA fork on a model folder, before it is laid out.
 * Collective.
 * @return MR_OK, MR_ERR_USAGE (the model is what a run left), errors of mr_adapter_start_configure;
 *         the same on every rank */
MR_NODISCARD mr_status mr_loaded_put_adapter(mr_loaded *loaded, const char *folder);

/** Makes the tokenizer of the model. Collective.
 * @return as mr_model_tokenizer_create; MR_ERR_CONFIG (more ids than the model has); the same on
 *         every rank */
MR_NODISCARD mr_status mr_loaded_tokenizer(mr_loaded *loaded);

/** Lays the model out, in the place of an earlier layout. Collective.
 * @param tokens  of a sequence that is evaluated, at least 2; sessions need no more
 * @return as mr_model_create; the same on every rank */
MR_NODISCARD mr_status mr_loaded_lay_out(mr_loaded *loaded, mr_backend *be, mr_shard shard,
                                         int64_t tokens);

/** What runs a model beside it: laid out of a model, in the place of an earlier layout, and what
 * that adds to bytes[purpose]. */
typedef struct mr_loaded_room {
    mr_status (*lay_out)(void *context, mr_model *model);
    void (*bytes)(const void *context, size_t bytes[MR_MEM_PURPOSES]);
    void *context;
} mr_loaded_room;

/** Lays out the model and what runs it: whole weights on every node, or rank where ranks share no
 * memory, where these fit memory, else a share. Collective.
 * @return MR_OK, MR_ERR_ARG (it does not fit), errors of lay_out, MR_ERR_MEMORY; the same on every
 *         rank */
MR_NODISCARD mr_status mr_loaded_fit(mr_loaded *loaded, mr_backend *be, const mr_loaded_room *room);

/** Tells which base weights the model has: what a run's log says, or what is in the folder. Reads
 * all of them. Collective.
 * @param[out] out  as mr_hf_hash; "" of weights that a run began with random
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_loaded_hash(mr_loaded *loaded, char out[MR_HF_HASH]);

/** Allocates the model and reads its weights, each rank those it keeps; a run's base must be the
 * one that it began with. Collective.
 * @return MR_OK, MR_ERR_MEMORY, MR_ERR_IO, MR_ERR_FORMAT; the same on every rank */
MR_NODISCARD mr_status mr_loaded_read(mr_loaded *loaded);

/** Tells what a run has trained of the model that was read, as mr_weights_digest; "" of a folder.
 * Collective. @return MR_OK, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_loaded_digest(const mr_loaded *loaded, char out[MR_WEIGHTS_DIGEST]);

/** Frees everything and sets *out to NULL; NULL is allowed. Local. */
void mr_loaded_destroy(mr_loaded **out);

#endif
