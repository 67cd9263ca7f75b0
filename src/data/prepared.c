#include "data/prepared.h"

#include "data/token_shards.h"

#include <string.h>

extern const mr_task mr_task_pretrain; /* in pretrain.c: text is what it reads */

static const char *const samples_texts[] = {
    [MR_SAMPLES_STREAM] = "stream", [MR_SAMPLES_DOCUMENTS] = "documents", NULL};

static const char *const truncation_texts[] = {[MR_TRUNCATION_ERROR] = "error",
                                               [MR_TRUNCATION_LEFT] = "left",
                                               [MR_TRUNCATION_RIGHT] = "right",
                                               [MR_TRUNCATION_DROP] = "drop",
                                               NULL};

enum { PIECE = 2048 }; /* tokens that are read at once */

/* The documents of a split that are samples. */
typedef struct kept {
    int64_t *document; /* [count] their numbers, owned */
    int64_t count;
} kept;

typedef struct prepared {
    mr_token_shards *shards; /* owned */
    mr_samples_are samples;
    mr_truncation truncation;
    int64_t longest; /* tokens a sample may have */
    kept split[MR_SPLITS];
} prepared;

static const mr_part part_of[MR_SPLITS] = {
    [MR_SPLIT_TRAIN] = MR_PART_TRAIN, [MR_SPLIT_HELDOUT] = MR_PART_HELDOUT};

/* The tokens of a document that are a sample. */
typedef struct span {
    int64_t first, count;
} span;

static span span_of(const prepared *p, int64_t tokens)
{
    if (tokens <= p->longest) return (span){0, tokens};
    return (span){p->truncation == MR_TRUNCATION_LEFT ? tokens - p->longest : 0, p->longest};
}

/* Looks whether any token of a sample is learned behind its first, which nothing predicts. */
static mr_status look_for_target(const prepared *p, mr_split split, int64_t index, span of,
                                 bool *found)
{
    int32_t ids[PIECE];
    uint8_t learned[PIECE];
    *found = false;
    for (int64_t at = 1; at < of.count && !*found; at += PIECE) {
        const int64_t count = of.count - at < PIECE ? of.count - at : PIECE;
        MR_TRY(mr_token_shards_read_document(p->shards, split, index, of.first + at, count, ids,
                                             learned));
        *found = memchr(learned, 1, (size_t)count) != NULL;
    }
    return MR_OK;
}

/* As look_for_target, by what the index tells where that is enough: the first and the last learned
 * token. */
static mr_status has_target(const prepared *p, mr_split split, int64_t index, span of, bool *found)
{
    const mr_token_document d = mr_token_shards_document(p->shards, split, index);
    const int64_t begin = of.first + 1, end = of.first + of.count;
    const bool first_in = d.first_learned >= begin && d.first_learned < end;
    const bool last_in = d.behind_learned > begin && d.behind_learned <= end;
    *found = d.learned > 0 && (first_in || last_in);
    const bool around = d.first_learned < begin && d.behind_learned > end;
    return d.learned > 0 && !*found && around ? look_for_target(p, split, index, of, found) : MR_OK;
}

/* Decides on the documents of a split. */
static mr_status choose(prepared *p, mr_split split, mr_dataset *dataset)
{
    mr_tally *tally = &dataset->tally[part_of[split]];
    kept *own = &p->split[split];
    const int64_t documents = mr_token_shards_documents(p->shards, split);
    own->document = mr_alloc_array(MR_MEM_DATA, (size_t)documents, sizeof *own->document);
    if (!own->document) return MR_ERR_MEMORY;
    tally->documents = documents;
    for (int64_t i = 0; i < documents; i++) {
        const mr_token_document d = mr_token_shards_document(p->shards, split, i);
        const span of = span_of(p, d.tokens);
        const bool cut = of.count < d.tokens, drop = cut && p->truncation == MR_TRUNCATION_DROP;
        bool learns = false;
        MR_CHECK(
            !cut || p->truncation != MR_TRUNCATION_ERROR, MR_ERR_CONFIG,
            "task.truncation: document %lld of %s has %u tokens, more than train.seq_len %lld; "
            "left, right or drop says what becomes of such",
            (long long)i, mr_split_name(split), d.tokens, (long long)p->longest);
        if (!drop) MR_TRY(has_target(p, split, i, of, &learns));
        tally->dropped += drop;
        tally->none_learned += !drop && !learns;
        tally->truncated += cut && learns;
        tally->all_learned += learns && d.learned == d.tokens;
        if (!learns) continue;
        own->document[own->count++] = i;
        if (of.count > dataset->longest) dataset->longest = of.count;
    }
    return MR_OK;
}

static mr_status choose_documents(prepared *p, mr_dataset *dataset)
{
    MR_TRY(mr_token_shards_load_documents(p->shards));
    for (int split = 0; split < MR_SPLITS; split++)
        MR_TRY(choose(p, (mr_split)split, dataset));
    dataset->items = p->split[MR_SPLIT_TRAIN].count;
    dataset->heldout = p->split[MR_SPLIT_HELDOUT].count;
    return MR_OK;
}

static mr_status take_sequences(prepared *p, mr_dataset *dataset)
{
    MR_CHECK(!mr_token_shards_manifest(p->shards)->marked, MR_ERR_CONFIG,
             "tokens of template %s are learned or not, which a stream has no regard "
             "for; a task of documents has",
             mr_token_shards_manifest(p->shards)->template_name);
    dataset->items = mr_token_shards_sequences(p->shards, MR_SPLIT_TRAIN);
    dataset->heldout = mr_token_shards_sequences(p->shards, MR_SPLIT_HELDOUT);
    dataset->longest = p->longest;
    return MR_OK;
}

/* Appends why a split has no sample: "'data/x' has 7 held-out tokens, which is ...". */
static void tell_of_lack(const mr_config *config, const mr_dataset *dataset, mr_split split,
                         mr_text *out)
{
    const mr_prepared_config *own = mr_task_config(config);
    const prepared *p = dataset->state;
    const mr_tally *tally = &dataset->tally[part_of[split]];
    const char *side = split == MR_SPLIT_TRAIN ? "" : "held-out ";
    mr_text_add(out, "'%s' has ", own->data);
    if (p->samples == MR_SAMPLES_STREAM)
        mr_text_add(out, "%lld %stokens, which is no sequence of train.seq_len %lld",
                    (long long)mr_token_shards_manifest(p->shards)->split[split].tokens, side,
                    (long long)p->longest);
    else
        mr_text_add(out,
                    "%lld %sdocuments, %lld of them longer than train.seq_len and %lld without a "
                    "learned token",
                    (long long)tally->documents, side, (long long)tally->dropped,
                    (long long)tally->none_learned);
}

/* Training needs samples; and evaluations that are asked for by name cannot be left out without a
 * word. */
static mr_status check_samples(const mr_config *config, const mr_dataset *dataset)
{
    const char *asks = config->eval.every > 0            ? "eval.every"
                       : config->eval.at_steps.count > 0 ? "eval.at_steps"
                       : config->eval.at_start           ? "eval.at_start"
                                                         : NULL;
    const bool trains = dataset->items > 0;
    if (trains && (!asks || dataset->heldout > 0)) return MR_OK;
    mr_text lack = {0};
    tell_of_lack(config, dataset, trains ? MR_SPLIT_HELDOUT : MR_SPLIT_TRAIN, &lack);
    mr_status status =
        trains ? mr_fail(MR_ERR_CONFIG,
                         "%s: nothing to evaluate on: task.data %s; prepare it with a larger "
                         "--heldout, or take %s out",
                         asks, mr_text_get(&lack), asks)
               : mr_fail(MR_ERR_CONFIG, "task.data: nothing to train on: %s", mr_text_get(&lack));
    mr_text_free(&lack);
    return status;
}

/* Opens the folder of a dataset; the message does not say whose it is. */
static mr_status open_folder(const char *data, mr_samples_are samples, int64_t longest,
                             mr_dataset *dataset)
{
    prepared *p = mr_alloc(MR_MEM_DATA, sizeof *p);
    if (!p) return MR_ERR_MEMORY;
    dataset->state = p;
    p->samples = samples;
    p->longest = longest;
    MR_TRY(mr_token_shards_open(data, longest < INT64_MAX ? longest : 1, &p->shards));
    MR_TRY(mr_token_manifest_check_tokenizer(mr_token_shards_manifest(p->shards), data,
                                             dataset->tokenizer));
    return samples == MR_SAMPLES_STREAM ? take_sequences(p, dataset) : MR_OK;
}

mr_status mr_prepared_open_text(const char *data, int64_t tokens, const mr_tokenizer *tokenizer,
                                mr_dataset **out)
{
    mr_dataset *dataset = *out = mr_alloc(MR_MEM_DATA, sizeof *dataset);
    if (!dataset) return MR_ERR_MEMORY;
    dataset->task = &mr_task_pretrain;
    dataset->tokenizer = tokenizer;
    mr_status status = open_folder(data, MR_SAMPLES_STREAM, tokens, dataset);
    if (status != MR_OK) mr_dataset_destroy(out);
    return status == MR_OK ? MR_OK : mr_fail_in(status, "data");
}

mr_status mr_prepared_create(const mr_config *config, mr_samples_are samples, mr_dataset *dataset)
{
    const mr_prepared_config *own = mr_task_config(config);
    const int64_t seq_len = config->train.seq_len;
    const bool stream = samples == MR_SAMPLES_STREAM;
    MR_CHECK(own->data[0] != '\0', MR_ERR_CONFIG,
             "task.data: missing; task %s needs a folder that `mora data prepare` wrote",
             dataset->task->name);
    MR_CHECK(!stream || seq_len > 0, MR_ERR_CONFIG,
             "train.seq_len: missing; task %s cuts its text to this length", dataset->task->name);
    MR_CHECK(!stream || own->truncation == MR_TRUNCATION_ERROR, MR_ERR_CONFIG,
             "task.truncation: %s is for documents, but task.samples is stream",
             truncation_texts[own->truncation]);
    mr_status status = open_folder(own->data, samples, seq_len > 0 ? seq_len : INT64_MAX, dataset);
    if (status != MR_OK) return mr_fail_in(status, "task.data");
    if (!stream) {
        prepared *p = dataset->state;
        p->truncation = (mr_truncation)own->truncation;
        status = choose_documents(p, dataset);
        if (status == MR_ERR_CONFIG) return status;
        if (status != MR_OK) return mr_fail_in(status, "task.data");
    }
    return check_samples(config, dataset);
}

#define TRUNCATION_KEY                                                                             \
    {                                                                                              \
        MR_KEY_FIELD(mr_prepared_config, "task.truncation", truncation),                           \
            .type = MR_KEY_ENUM, .fallback = "error", .choices = truncation_texts,                 \
            .help = "Of a document longer than train.seq_len: right keeps its beginning, left "    \
                    "its end, "                                                                    \
                    "drop leaves it out, error ends the run."                                      \
    }

static const mr_key documents_keys[] = {MR_PREPARED_DATA_KEY, TRUNCATION_KEY};
const mr_schema mr_prepared_documents_schema = MR_SCHEMA(mr_prepared_config, documents_keys);

mr_status mr_prepared_create_documents(const mr_config *config, mr_dataset *dataset)
{
    return mr_prepared_create(config, MR_SAMPLES_DOCUMENTS, dataset);
}

static const mr_key either_keys[] = {
    MR_PREPARED_DATA_KEY,
    {MR_KEY_FIELD(mr_prepared_config, "task.samples", samples), .type = MR_KEY_ENUM,
     .fallback = "stream", .choices = samples_texts,
     .help = "Samples are sequences of train.seq_len tokens of the whole text, or its documents."},
    TRUNCATION_KEY,
};
const mr_schema mr_prepared_either_schema = MR_SCHEMA(mr_prepared_config, either_keys);

mr_status mr_prepared_create_either(const mr_config *config, mr_dataset *dataset)
{
    const mr_prepared_config *own = mr_task_config(config);
    return mr_prepared_create(config, (mr_samples_are)own->samples, dataset);
}

void mr_prepared_destroy(mr_dataset *dataset)
{
    prepared *p = dataset->state;
    if (!p) return;
    mr_token_shards_close(&p->shards);
    for (int split = 0; split < MR_SPLITS; split++)
        mr_free(p->split[split].document);
    mr_free(p);
    dataset->state = NULL;
}

static mr_status add_sequence(const prepared *p, mr_split split, int64_t index, mr_sample *out)
{
    int32_t ids[PIECE];
    for (int64_t first = 0; first < p->longest; first += PIECE) {
        const int64_t count = p->longest - first < PIECE ? p->longest - first : PIECE;
        MR_TRY(mr_token_shards_read(p->shards, split, index, first, count, ids));
        for (int64_t i = 0; i < count; i++)
            mr_sample_add_id(out, ids[i], true);
    }
    return MR_OK;
}

static mr_status add_document(const prepared *p, mr_split split, int64_t index, mr_sample *out)
{
    int32_t ids[PIECE];
    uint8_t learned[PIECE];
    const int64_t number = p->split[split].document[index];
    const span of = span_of(p, mr_token_shards_document(p->shards, split, number).tokens);
    for (int64_t at = 0; at < of.count; at += PIECE) {
        const int64_t count = of.count - at < PIECE ? of.count - at : PIECE;
        MR_TRY(mr_token_shards_read_document(p->shards, split, number, of.first + at, count, ids,
                                             learned));
        for (int64_t i = 0; i < count; i++)
            mr_sample_add_id(out, ids[i], learned[i]);
    }
    return MR_OK;
}

static mr_status add(const mr_dataset *dataset, mr_split split, int64_t index, mr_sample *out)
{
    const prepared *p = dataset->state;
    return p->samples == MR_SAMPLES_STREAM ? add_sequence(p, split, index, out)
                                           : add_document(p, split, index, out);
}

mr_status mr_prepared_sample(const mr_dataset *dataset, int64_t index, mr_sample *out)
{
    return add(dataset, MR_SPLIT_TRAIN, index, out);
}

mr_status mr_prepared_heldout_sample(const mr_dataset *dataset, int64_t index, mr_sample *out)
{
    return add(dataset, MR_SPLIT_HELDOUT, index, out);
}

int64_t mr_prepared_length(const mr_dataset *dataset, int64_t index)
{
    const prepared *p = dataset->state;
    if (p->samples == MR_SAMPLES_STREAM) return p->longest;
    const int64_t number = p->split[MR_SPLIT_TRAIN].document[index];
    return span_of(p, mr_token_shards_document(p->shards, MR_SPLIT_TRAIN, number).tokens).count;
}

/* Known without reading the tokens, from the hashes of the shards. */
void mr_prepared_hash(const mr_dataset *dataset, char out[MR_DATASET_HASH])
{
    const prepared *p = dataset->state;
    memcpy(out, mr_token_shards_hash(p->shards), MR_DATASET_HASH - 1);
    out[MR_DATASET_HASH - 1] = '\0';
}

mr_status mr_prepared_check(const mr_dataset *dataset)
{
    const prepared *p = dataset->state;
    mr_status status = mr_token_shards_check(p->shards);
    return status == MR_OK ? MR_OK : mr_fail_in(status, "task.data");
}

mr_status mr_prepared_verify(const mr_dataset *dataset, const mr_comm *comm)
{
    const prepared *p = dataset->state;
    mr_status status = mr_token_shards_verify(p->shards, comm);
    return status == MR_OK ? MR_OK : mr_fail_in(status, "task.data");
}
