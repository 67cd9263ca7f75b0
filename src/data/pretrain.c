/** @file
 * Task pretrain: sequences of train.seq_len tokens of a prepared folder. Every token is scored but
 * the first of a sequence, EOS like any other, and a sequence may hold parts of several documents.
 *
 * Source: MoRA (arXiv 2405.12130) section 5.4, with ReLoRA's preprocessing; targets are the inputs
 * shifted by one, as Hugging Face's causal language models shift labels. Deviation: none.
 */

#include "data/task.h"
#include "data/token_shards.h"

#include <string.h>

typedef struct pretrain_config {
    char data[MR_CONFIG_STRING];
} pretrain_config;

static const mr_key keys[] = {
    {MR_KEY_FIELD(pretrain_config, "task.data", data), .type = MR_KEY_STRING, .is_path = true,
     .fallback = "",
     .help = "Folder of token shards that `mora data prepare` wrote, for the pretrain task."},
};

static const mr_schema schema = MR_SCHEMA(pretrain_config, keys);

/* Evaluations that are asked for by name cannot be left out without a word. */
static mr_status check_heldout(const mr_config *config, const mr_dataset *dataset)
{
    const pretrain_config *own = mr_task_config(config);
    const mr_token_manifest *m = mr_token_shards_manifest(dataset->state);
    const char *asks = config->eval.every > 0            ? "eval.every"
                       : config->eval.at_steps.count > 0 ? "eval.at_steps"
                                                         : NULL;
    MR_CHECK(!asks || dataset->heldout > 0, MR_ERR_CONFIG,
             "%s: nothing to evaluate on: task.data '%s' has %lld held-out tokens, which is no "
             "sequence of train.seq_len %lld; prepare it with a larger --heldout, or take %s out",
             asks, own->data, (long long)m->split[MR_SPLIT_HELDOUT].tokens,
             (long long)config->train.seq_len, asks);
    return MR_OK;
}

static mr_status create(const mr_config *config, mr_dataset *dataset)
{
    const pretrain_config *own = mr_task_config(config);
    const char *folder = own->data;
    MR_CHECK(folder[0] != '\0', MR_ERR_CONFIG,
             "task.data: missing; task pretrain needs a folder that `mora data prepare` wrote");
    MR_CHECK(config->train.seq_len > 0, MR_ERR_CONFIG,
             "train.seq_len: missing; task pretrain cuts its text to this length");
    mr_token_shards *shards = NULL;
    mr_status status = mr_token_shards_open(folder, config->train.seq_len, &shards);
    if (status != MR_OK) return mr_fail_in(status, "task.data");
    dataset->state = shards;
    status = mr_token_manifest_check_tokenizer(mr_token_shards_manifest(shards), folder,
                                               dataset->tokenizer);
    if (status != MR_OK) return mr_fail_in(status, "task.data");
    dataset->items = mr_token_shards_sequences(shards, MR_SPLIT_TRAIN);
    dataset->heldout = mr_token_shards_sequences(shards, MR_SPLIT_HELDOUT);
    dataset->longest = config->train.seq_len;
    MR_CHECK(
        dataset->items > 0, MR_ERR_CONFIG,
        "task.data: '%s' has no sequence of train.seq_len %lld; it has %lld tokens to train on",
        folder, (long long)config->train.seq_len,
        (long long)mr_token_shards_manifest(shards)->split[MR_SPLIT_TRAIN].tokens);
    return check_heldout(config, dataset);
}

static void destroy(mr_dataset *dataset)
{
    mr_token_shards *shards = dataset->state;
    mr_token_shards_close(&shards);
    dataset->state = NULL;
}

static mr_status add_sequence(const mr_dataset *dataset, mr_split split, int64_t index,
                              mr_sample *out)
{
    enum { PART = 2048 };
    int32_t ids[PART];
    const int64_t seq_len = dataset->longest;
    for (int64_t first = 0; first < seq_len; first += PART) {
        int64_t count = seq_len - first < PART ? seq_len - first : PART;
        MR_TRY(mr_token_shards_read(dataset->state, split, index, first, count, ids));
        for (int64_t i = 0; i < count; i++)
            mr_sample_add_id(out, ids[i], true);
    }
    return MR_OK;
}

static mr_status sample(const mr_dataset *dataset, int64_t index, mr_sample *out)
{
    return add_sequence(dataset, MR_SPLIT_TRAIN, index, out);
}

static mr_status heldout_sample(const mr_dataset *dataset, int64_t index, mr_sample *out)
{
    return add_sequence(dataset, MR_SPLIT_HELDOUT, index, out);
}

/* Known without reading the tokens, from the hashes of the shards. */
static void hash(const mr_dataset *dataset, char out[MR_DATASET_HASH])
{
    memcpy(out, mr_token_shards_hash(dataset->state), MR_DATASET_HASH - 1);
    out[MR_DATASET_HASH - 1] = '\0';
}

static mr_status check(const mr_dataset *dataset)
{
    mr_status status = mr_token_shards_check(dataset->state);
    return status == MR_OK ? MR_OK : mr_fail_in(status, "task.data");
}

static mr_status verify(const mr_dataset *dataset, const mr_comm *comm)
{
    mr_status status = mr_token_shards_verify(dataset->state, comm);
    return status == MR_OK ? MR_OK : mr_fail_in(status, "task.data");
}

const mr_task mr_task_pretrain = {
    .name = "pretrain",
    .summary = "continue the text of task.data, a folder of token shards",
    .schema = &schema,
    .create = create,
    .destroy = destroy,
    .sample = sample,
    .heldout_sample = heldout_sample,
    .hash = hash,
    .check = check,
    .verify = verify,
};
