#include "data/task.h"

#include "base/hash.h"

#include <stdio.h>
#include <string.h>

/* One row a task: mr_task_<name> of data/<name>.c. */
#define TASKS(ROW)                                                                                 \
    ROW(uuid)                                                                                      \
    ROW(copy)                                                                                      \
    ROW(pretrain)                                                                                  \
    ROW(instruct)                                                                                  \
    ROW(math)                                                                                      \
    ROW(biomed)                                                                                    \
    ROW(finance)

#define DECLARED(name) extern const mr_task mr_task_##name;
#define ADDRESS(name) &mr_task_##name,

TASKS(DECLARED)
static const mr_task *const table[] = {TASKS(ADDRESS)};

enum { COUNT = sizeof table / sizeof table[0] };

const mr_choice *mr_task_choices(void)
{
    static mr_choice rows[COUNT + 1];
    for (int i = 0; i < COUNT; i++)
        rows[i] = (mr_choice){table[i]->name, table[i]->summary, table[i]->schema};
    return rows;
}

const void *mr_task_config(const mr_config *config)
{
    return &config->task.keys;
}

static const mr_task *find(const char *name)
{
    for (int i = 0; i < COUNT; i++)
        if (strcmp(table[i]->name, name) == 0) return table[i];
    return NULL;
}

static mr_status unknown_task(const char *name)
{
    mr_text known = {0};
    for (int i = 0; i < COUNT; i++)
        mr_text_add(&known, "%s%s", i > 0 ? ", " : "", table[i]->name);
    mr_status status = mr_fail(MR_ERR_CONFIG, "task.name: expected one of %s, found \"%s\"",
                               mr_text_get(&known), name);
    mr_text_free(&known);
    return status;
}

/* Plans the rows of a packed run from the lengths of all samples. */
static mr_status pack(const mr_config *config, mr_dataset *dataset)
{
    const int64_t row = config->train.seq_len > 0 ? config->train.seq_len : dataset->longest;
    MR_CHECK(dataset->task->length, MR_ERR_CONFIG,
             "train.packing: the samples of task %s cannot be packed: their lengths are not known "
             "before they are made",
             dataset->task->name);
    int64_t *length = mr_alloc_array(MR_MEM_OTHER, (size_t)dataset->items, sizeof *length);
    if (!length) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < dataset->items; i++)
        length[i] = dataset->task->length(dataset, i);
    mr_status status = mr_packing_plan(length, dataset->items, row, &dataset->packing);
    mr_free(length);
    return status;
}

mr_status mr_dataset_create(const mr_config *config, const mr_tokenizer *tokenizer,
                            mr_dataset **out)
{
    *out = NULL;
    const mr_task *task = find(config->task.name);
    if (!task) return unknown_task(config->task.name);
    mr_dataset *dataset = mr_alloc(MR_MEM_DATA, sizeof *dataset);
    if (!dataset) return MR_ERR_MEMORY;
    dataset->task = task;
    dataset->tokenizer = tokenizer;
    mr_status status = task->create(config, dataset);
    if (status == MR_OK && config->train.packing == MR_PACK_SAMPLES) status = pack(config, dataset);
    if (status == MR_OK)
        *out = dataset;
    else
        mr_dataset_destroy(&dataset);
    return status;
}

void mr_dataset_destroy(mr_dataset **dataset)
{
    if (!*dataset) return;
    mr_packing_destroy(&(*dataset)->packing);
    (*dataset)->task->destroy(*dataset);
    mr_free(*dataset);
    *dataset = NULL;
}

int64_t mr_dataset_rows(const mr_dataset *dataset)
{
    return dataset->packing ? dataset->packing->rows : dataset->items;
}

double mr_dataset_padding(const mr_dataset *dataset, int64_t seq_len)
{
    int64_t tokens = 0;
    if (!dataset->task->length) return -1;
    for (int64_t i = 0; i < dataset->items; i++)
        tokens += dataset->task->length(dataset, i);
    return 1 - (double)tokens / ((double)mr_dataset_rows(dataset) * (double)seq_len);
}

/* Forms a sample by an entry of the task's table. */
static mr_status form_sample(const mr_dataset *dataset,
                             mr_status (*form)(const mr_dataset *, int64_t, mr_sample *),
                             int64_t index, int32_t *tokens, int32_t *targets, int64_t capacity,
                             int64_t *length)
{
    mr_sample sample = mr_sample_begin(dataset->tokenizer, tokens, targets, capacity);
    MR_TRY(form(dataset, index, &sample));
    *length = sample.length;
    return MR_OK;
}

const char *const mr_part_texts[MR_PARTS + 1] = {[MR_PART_TRAIN] = "train",
                                                 [MR_PART_HELDOUT] = "heldout",
                                                 [MR_PART_VALIDATION] = "validation",
                                                 [MR_PART_TEST] = "test"};

int64_t mr_dataset_part_items(const mr_dataset *dataset, mr_part part)
{
    switch (part) {
    case MR_PART_TRAIN:
        return dataset->items;
    case MR_PART_VALIDATION:
        return (dataset->heldout + 1) / 2;
    case MR_PART_TEST:
        return dataset->heldout / 2;
    default:
        return dataset->heldout;
    }
}

mr_status mr_dataset_part_sample(const mr_dataset *dataset, mr_part part, int64_t index,
                                 int32_t *tokens, int32_t *targets, int64_t capacity,
                                 int64_t *length)
{
    MR_INVARIANT(index >= 0 && index < mr_dataset_part_items(dataset, part));
    if (part == MR_PART_TRAIN)
        return form_sample(dataset, dataset->task->sample, index, tokens, targets, capacity,
                           length);
    if (part != MR_PART_HELDOUT) index = 2 * index + (part == MR_PART_TEST);
    return form_sample(dataset, dataset->task->heldout_sample, index, tokens, targets, capacity,
                       length);
}

bool mr_dataset_generates(const mr_dataset *dataset)
{
    return dataset->task->prompt != NULL;
}

mr_status mr_dataset_prompt(const mr_dataset *dataset, int64_t index, int32_t *tokens,
                            int64_t capacity, int64_t *length)
{
    MR_INVARIANT(mr_dataset_generates(dataset) && index >= 0 && index < dataset->items);
    return form_sample(dataset, dataset->task->prompt, index, tokens, NULL, capacity, length);
}

mr_status mr_dataset_answer(const mr_dataset *dataset, int64_t index, mr_text *text,
                            int64_t *tokens)
{
    MR_INVARIANT(mr_dataset_generates(dataset) && index >= 0 && index < dataset->items);
    return dataset->task->answer(dataset, index, text, tokens);
}

double mr_dataset_score(const mr_dataset *dataset, int64_t index, const char *text, size_t bytes)
{
    MR_INVARIANT(mr_dataset_generates(dataset) && index >= 0 && index < dataset->items);
    return dataset->task->score(dataset, index, text, bytes);
}

/* The low byte first. */
static uint64_t hash_number(uint64_t hash, uint32_t number)
{
    for (int byte = 0; byte < 4; byte++)
        hash = mr_hash_fnv(hash, &(uint8_t){(uint8_t)(number >> 8 * byte)}, 1);
    return hash;
}

/* Of what samples there are, whatever rows they stand in. */
static mr_status hash_samples(const mr_dataset *dataset, char out[MR_DATASET_HASH])
{
    if (dataset->task->hash) {
        dataset->task->hash(dataset, out);
        return MR_OK;
    }
    const int64_t longest = dataset->longest;
    const int64_t count =
        dataset->items < MR_DATASET_HASH_ITEMS ? dataset->items : MR_DATASET_HASH_ITEMS;
    int32_t *tokens = mr_alloc_array(MR_MEM_DATA, (size_t)longest, 2 * sizeof *tokens);
    if (!tokens) return MR_ERR_MEMORY;
    int32_t *targets = tokens + longest;
    uint64_t hash = MR_HASH_FNV;
    mr_status status = MR_OK;
    for (int64_t i = 0; i < count && status == MR_OK; i++) {
        int64_t length = 0;
        status =
            mr_dataset_part_sample(dataset, MR_PART_TRAIN, i, tokens, targets, longest, &length);
        MR_INVARIANT(length <= longest);
        hash = hash_number(hash, (uint32_t)length);
        for (int64_t t = 0; t < length; t++) {
            hash = hash_number(hash, (uint32_t)tokens[t]);
            hash = hash_number(hash, (uint32_t)targets[t]);
        }
    }
    mr_free(tokens);
    snprintf(out, MR_DATASET_HASH, "%016llx", (unsigned long long)hash);
    return status;
}

mr_status mr_dataset_hash(const mr_dataset *dataset, char out[MR_DATASET_HASH])
{
    MR_TRY(hash_samples(dataset, out));
    if (!dataset->packing) return MR_OK;
    uint64_t hash = mr_hash_fnv(MR_HASH_FNV, out, MR_DATASET_HASH - 1);
    hash = hash_number(hash, (uint32_t)dataset->packing->hash);
    hash = hash_number(hash, (uint32_t)(dataset->packing->hash >> 32));
    snprintf(out, MR_DATASET_HASH, "%016llx", (unsigned long long)hash);
    return MR_OK;
}

mr_status mr_dataset_check(const mr_dataset *dataset)
{
    return dataset->task->check ? dataset->task->check(dataset) : MR_OK;
}

mr_status mr_dataset_verify(const mr_dataset *dataset, const mr_comm *comm)
{
    return dataset->task->verify ? dataset->task->verify(dataset, comm) : MR_OK;
}
