/** @file
 * Task pretrain: sequences of train.seq_len tokens of a prepared folder. Every token is scored but
 * the first of a sequence, EOS like any other, and a sequence may hold parts of several documents.
 *
 * Source: MoRA (arXiv 2405.12130) section 5.4, with ReLoRA's preprocessing; targets are the inputs
 * shifted by one, as Hugging Face's causal language models shift labels. Deviation: none.
 */

#include "data/prepared.h"

static const mr_key keys[] = {MR_PREPARED_DATA_KEY};

static const mr_schema schema = MR_SCHEMA(mr_prepared_config, keys);

static mr_status create(const mr_config *config, mr_dataset *dataset)
{
    return mr_prepared_create(config, MR_SAMPLES_STREAM, dataset);
}

const mr_task mr_task_pretrain = {
    .name = "pretrain",
    .summary = "continue the text of task.data, a folder of token shards",
    .schema = &schema,
    .create = create,
    MR_PREPARED_ENTRIES,
};
