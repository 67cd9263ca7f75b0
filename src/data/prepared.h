#ifndef MR_DATA_PREPARED_H
#define MR_DATA_PREPARED_H

/** @file
 * What the tasks on prepared folders share: they differ in name, in what they are of, and in which
 * of these keys they have.
 *
 * Samples are either the sequences of a stream, of train.seq_len tokens each, or the documents of
 * the folder, of which those that are longer than train.seq_len are treated as task.truncation
 * says. Which tokens are learned stands in the folder. Documents that have none, or none left,
 * would train nothing: they are no samples, and counted. Deviation: published code keeps them, as
 * batches without any loss.
 */

#include "data/task.h"

/** What of a folder is a sample. */
typedef enum mr_samples_are { MR_SAMPLES_STREAM, MR_SAMPLES_DOCUMENTS } mr_samples_are;

/** What becomes of documents that are too long. */
typedef enum mr_truncation {
    MR_TRUNCATION_ERROR, /**< there must be none */
    MR_TRUNCATION_LEFT,  /**< the end of it is the sample */
    MR_TRUNCATION_RIGHT, /**< its beginning is */
    MR_TRUNCATION_DROP   /**< it is left out */
} mr_truncation;

/** Keys of such a task; what its schema leaves out is zero. */
typedef struct mr_prepared_config {
    char data[MR_CONFIG_STRING];
    int32_t samples;    /**< mr_samples_are */
    int32_t truncation; /**< mr_truncation */
} mr_prepared_config;

#define MR_PREPARED_DATA_KEY                                                                       \
    {                                                                                              \
        MR_KEY_FIELD(mr_prepared_config, "task.data", data),                                       \
            .type = MR_KEY_STRING, .is_path = true, .fallback = "",                                \
            .help = "Folder of token shards that `mora data prepare` wrote."                       \
    }

/** Fills a dataset from the folder of the task's keys; the entry `create` of a task calls it.
 * @return as mr_dataset_create */
MR_NODISCARD mr_status mr_prepared_create(const mr_config *config, mr_samples_are samples,
                                          mr_dataset *dataset);

/** Makes a dataset of a folder of text that is no task's: its sequences. Local.
 * @param data    the folder
 * @param tokens  of a sequence
 * @param tokenizer  borrowed until mr_dataset_destroy; the one that the folder was prepared with
 * @param[out] out  set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_CONFIG (another tokenizer: message names both),
 *         MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_prepared_open_text(const char *data, int64_t tokens,
                                             const mr_tokenizer *tokenizer, mr_dataset **out);

/** The keys of tasks whose samples are documents, and of those for which task.samples tells: with
 * the entries `create` that go with them. */
extern const mr_schema mr_prepared_documents_schema, mr_prepared_either_schema;
MR_NODISCARD mr_status mr_prepared_create_documents(const mr_config *config, mr_dataset *dataset);
MR_NODISCARD mr_status mr_prepared_create_either(const mr_config *config, mr_dataset *dataset);

/** Entries of an mr_task. */
void mr_prepared_destroy(mr_dataset *dataset);
MR_NODISCARD mr_status mr_prepared_sample(const mr_dataset *dataset, int64_t index, mr_sample *out);
MR_NODISCARD mr_status mr_prepared_heldout_sample(const mr_dataset *dataset, int64_t index,
                                                  mr_sample *out);
int64_t mr_prepared_length(const mr_dataset *dataset, int64_t index);
void mr_prepared_hash(const mr_dataset *dataset, char out[MR_DATASET_HASH]);
MR_NODISCARD mr_status mr_prepared_check(const mr_dataset *dataset);
MR_NODISCARD mr_status mr_prepared_verify(const mr_dataset *dataset, const mr_comm *comm);

/** All entries of such a task but name, summary, schema and create. */
#define MR_PREPARED_ENTRIES                                                                        \
    .destroy = mr_prepared_destroy, .sample = mr_prepared_sample, .length = mr_prepared_length,    \
    .heldout_sample = mr_prepared_heldout_sample, .hash = mr_prepared_hash,                        \
    .check = mr_prepared_check, .verify = mr_prepared_verify

#endif
