#ifndef MR_STORE_HF_H
#define MR_STORE_HF_H

/** @file
 * Folders of the LLaMA architecture as Hugging Face Transformers lays them out: config.json beside
 * model.safetensors, or beside model.safetensors.index.json and the shards it names.
 *
 * A key of config.json whose meaning this program does not compute is refused by name; keys that
 * say nothing about the computation are passed over.
 *
 * Source: LlamaConfig of Transformers 4 and 5 (key names, defaults of absent keys).
 */

#include "base/hash.h"
#include "comm/comm.h"
#include "store/safetensors.h"

#include <stdbool.h>

#define MR_HF_MARK "mora.json" /**< of a folder this program saved: whose it is */
#define MR_HF_MARK_FORMAT                                                                          \
    "mora model" /**< its field `format`; `whole` tells whether all is there */

/** Begins a hash of whole weights: logs from before it hold one of a sample, without a tag. */
#define MR_HF_HASH_TAG "whole:"

enum {
    MR_HF_EOS_MAX = 8,        /**< most end-of-text ids */
    MR_HF_CONFIG_TEXT = 1024, /**< bytes of mr_hf_config_text with its zero */
    MR_HF_HASH = (int)sizeof MR_HF_HASH_TAG - 1 + MR_HASH_TEXT /**< bytes of a hash with its zero */
};

#define MR_HF_WEIGHTS "model.safetensors"          /**< the weights of a folder, in one file */
#define MR_HF_INDEX "model.safetensors.index.json" /**< or what names the files they lie in */
#define MR_HF_GENERATION "generation_config.json"  /**< how text is continued, where it is there */

/** How the frequencies of rotary positions are scaled. */
typedef enum mr_hf_rope_type {
    MR_HF_ROPE_DEFAULT,
    MR_HF_ROPE_LINEAR,
    MR_HF_ROPE_LLAMA3
} mr_hf_rope_type;

/** Scaling of rotary positions; what a type does not use is 0. */
typedef struct mr_hf_rope {
    int32_t type;  /**< mr_hf_rope_type */
    double factor; /**< linear, llama3: frequencies are divided by it, at least 1 */
    double low_freq_factor, high_freq_factor; /**< llama3: wavelengths beyond original / low are
                                                   scaled, those below original / high are not */
    int64_t original_max_position_embeddings; /**< llama3, tokens */
} mr_hf_rope;

/** A LLaMA config.json. Plain data without pointers, so that it travels by one broadcast. */
typedef struct mr_hf_config {
    int64_t hidden_size;
    int64_t intermediate_size;
    int64_t num_hidden_layers;
    int64_t num_attention_heads;
    int64_t num_key_value_heads; /**< absent or null: num_attention_heads */
    int64_t head_dim;            /**< even; absent or null: hidden_size / num_attention_heads */
    int64_t vocab_size;
    int64_t max_position_embeddings;     /**< tokens; absent: 2048 */
    double rms_norm_eps;                 /**< absent: 1e-6 */
    double rope_theta;                   /**< top level or in rope_parameters; absent: 10000 */
    mr_hf_rope rope;                     /**< of rope_scaling or rope_parameters */
    double initializer_range;            /**< absent: 0.02 */
    bool tie_word_embeddings;            /**< absent: false */
    int64_t bos_token_id;                /**< -1 where null or -1; absent: 1 */
    int32_t eos_count;                   /**< 0 where null or -1 */
    int64_t eos_token_id[MR_HF_EOS_MAX]; /**< a number or a list, -1 left out; absent: 2 */
} mr_hf_config;

typedef struct mr_hf mr_hf; /**< the open weights of a folder; owns its files */

/** Reads and checks a config.json. Local.
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (message names file and key), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_config_read(const char *path, mr_hf_config *config);

/** Reads the ids that end a generated text: those of the folder's generation_config.json where it
 * names any, else those of its config.json. Local.
 * @param[in,out] config  of the folder's config.json; its end ids are replaced
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (message names file and key), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_generation_read(const char *folder, mr_hf_config *config);

/** Returns the name of a mr_hf_rope_type as config.json has it ("llama3"). */
const char *mr_hf_rope_name(int32_t type);

/** Writes what of a configuration decides the values that are computed as "hidden_size 64, ...".
 * Local. */
void mr_hf_config_text(const mr_hf_config *config, char out[MR_HF_CONFIG_TEXT]);

/** Tells whether two such texts differ in a key that both have. Local.
 * @param drawn     weights are drawn: their range counts
 * @param[out] out  on true: the first key with both values, "rope_theta 10000 instead of 500000" */
bool mr_hf_config_differs(const char *now, const char *then, bool drawn,
                          char out[MR_HF_CONFIG_TEXT]);

/** Checks that a folder may be a model's. One that holds an adapter is not: what was trained would
 * be left out; nor is one whose save was broken off. Local.
 * @return MR_OK, MR_ERR_IO (no such folder, no config.json), MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_check_folder(const char *folder);

/** Opens the weights of a folder: every shard, every name of the index. Where there is an index it
 * decides, and files of weights that it does not name are warned of. Local.
 * @param[out] out  set on MR_OK, else NULL
 * @return as mr_hf_check_folder; MR_ERR_IO (no weights), MR_ERR_FORMAT (message names the file),
 *         MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_open(const char *folder, mr_hf **out);

/** As mr_hf_open, for what can do with a part of a model: files that were cut are opened partly, as
 * mr_safetensors_open_partly, shards of an index that are not sound otherwise are warned of, and
 * their tensors are not there. Local. @return as mr_hf_open; where no shard is sound, what is wrong
 * with one */
MR_NODISCARD mr_status mr_hf_open_partly(const char *folder, mr_hf **out);

/** Closes *weights, frees it and sets it to NULL; NULL is allowed. Local. */
void mr_hf_close(mr_hf **weights);

/** Returns the folder as it was opened. Borrowed until close. Local. */
const char *mr_hf_folder(const mr_hf *weights);

/** Returns the number of tensors. Local. */
int64_t mr_hf_count(const mr_hf *weights);

/** Returns the name of tensor index (0..count-1), ascending. Borrowed until close. */
const char *mr_hf_name(const mr_hf *weights, int64_t index);

/** Tells whether a tensor is there. Local. */
bool mr_hf_has(const mr_hf *weights, const char *name);

/** Tells whether the model of a configuration has a tensor of a name. Local. */
bool mr_hf_uses(const mr_hf_config *arch, const char *name);

/** Decides whether a head that a configuration ties is tied: where the folder holds one whose
 * values are not those of the embedding it is kept, arch is untied, and a warning says so. A folder
 * whose weights are not there is left to mr_hf_open. Collective; each rank compares its share.
 * Source: Transformers 5; version 4 takes the embedding.
 * @return as mr_hf_open, the same on every rank */
MR_NODISCARD mr_status mr_hf_untie(const mr_comm *comm, const char *folder, mr_hf_config *arch);

/** Compares the files of a folder with a configuration: every tensor of the model is there in its
 * shape, and what else the files hold changes nothing that is computed. Buffers of older programs
 * are passed over, other tensors are warned of. Collective.
 * @param config  where arch was read from, for messages
 * @return MR_OK, MR_ERR_FORMAT (message names tensor, file and what of config.json it contradicts),
 *         MR_ERR_IO, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_hf_check(const mr_comm *comm, const mr_hf *weights,
                                   const mr_hf_config *arch, const char *config);

/** Hashes names, element types, shapes and all bytes of the tensors that a model uses, each rank
 * its share of pieces of 4 MiB: the SHA-256 of the pieces' SHA-256, on any number of ranks the
 * same. Collective.
 * @param[out] out  MR_HF_HASH_TAG and 64 hex digits
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_hf_hash(const mr_comm *comm, const mr_hf *weights,
                                  const mr_hf_config *arch, char out[MR_HF_HASH]);

/** Finds a tensor and the file that holds it, both borrowed until close. Local.
 * @return MR_OK, MR_ERR_FORMAT (no such tensor; message names folder and tensor) */
MR_NODISCARD mr_status mr_hf_find(const mr_hf *weights, const char *name,
                                  const mr_safetensors **file, const mr_safetensors_entry **entry);

#endif
