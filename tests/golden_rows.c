#include "golden_rows.h"

#include "data/batch.h"

#include <string.h>

/* Documents of a packed batch, as places in it. Owns the arrays of packing and first. */
typedef struct documents {
    const mr_golden_rig *rig;
    int64_t *first; /* [samples + 1] */
    int64_t *count; /* [samples] tokens */
    mr_packing packing;
} documents;

/* A token is scored in its document where the batch has it as the target of the one before. */
static mr_status sample(const mr_dataset *dataset, int64_t index, mr_sample *out)
{
    const documents *d = dataset->state;
    for (int64_t i = 0; i < d->count[index]; i++) {
        const int64_t at = d->first[index] + i;
        mr_sample_add_id(out, d->rig->ids[at], i > 0 && d->rig->targets[at - 1] >= 0);
    }
    return MR_OK;
}

static const mr_task of_documents = {.name = "documents", .sample = sample};

static mr_status find_documents(const int32_t *segments, documents *d)
{
    const int64_t rows = d->rig->share * d->rig->comm->size, width = d->rig->tokens;
    d->first = mr_alloc_array(MR_MEM_DATA, (size_t)(rows * width), sizeof *d->first);
    d->count = mr_alloc_array(MR_MEM_DATA, (size_t)(rows * width), sizeof *d->count);
    d->packing.first = mr_alloc_array(MR_MEM_DATA, (size_t)rows + 1, sizeof *d->packing.first);
    d->packing.sample =
        mr_alloc_array(MR_MEM_DATA, (size_t)(rows * width), sizeof *d->packing.sample);
    if (!d->first || !d->count || !d->packing.first || !d->packing.sample) return MR_ERR_MEMORY;
    d->packing.rows = rows;
    d->packing.row_tokens = width;
    for (int64_t b = 0; b < rows; b++) {
        for (int64_t t = b * width; t < (b + 1) * width; t++) {
            if (segments[t] < 0) continue;
            if (t == b * width || segments[t] != segments[t - 1])
                d->first[d->packing.samples++] = t;
            d->count[d->packing.samples - 1]++;
        }
        d->packing.first[b + 1] = d->packing.samples;
    }
    for (int64_t i = 0; i < d->packing.samples; i++)
        d->packing.sample[i] = i;
    return MR_OK;
}

/* The rows in an order of training, each to its place. */
static mr_status fill(documents *d, mr_rows rows, int64_t *scored)
{
    const mr_tokenizer tokenizer = {
        .vocabulary = (int32_t)d->rig->arch.vocab_size, .bos = -1, .eos = -1, .pad = -1};
    const mr_dataset dataset = {.task = &of_documents,
                                .tokenizer = &tokenizer,
                                .items = d->packing.samples,
                                .longest = d->rig->tokens,
                                .state = d,
                                .packing = &d->packing};
    const mr_order order = {.seed = 3, .items = d->packing.rows};
    for (int64_t i = 0; i < d->packing.rows; i++) {
        int64_t part = 0;
        const mr_rows row = mr_rows_behind(rows, mr_order_item(&order, i), d->rig->tokens);
        MR_TRY(mr_batch_fill(&dataset, &order, i, 1, d->rig->tokens, row, &part));
        *scored += part;
    }
    return MR_OK;
}

static mr_status compare(const mr_golden_rig *rig, const int32_t *segments, mr_rows rows)
{
    const int32_t *const own[] = {rows.tokens, rows.targets, rows.positions, rows.starts};
    const int32_t *const theirs[] = {rig->ids, rig->targets, rig->positions, rig->starts};
    static const char *const what[] = {"id", "target", "position", "start"};
    for (int64_t t = 0; t < rig->share * rig->comm->size * rig->tokens; t++)
        for (int i = 0; segments[t] >= 0 && i < 4; i++)
            MR_CHECK(own[i][t] == theirs[i][t], MR_ERR_FORMAT,
                     "row %lld, token %lld: %s %d, the reference has %d",
                     (long long)(t / rig->tokens), (long long)(t % rig->tokens), what[i], own[i][t],
                     theirs[i][t]);
    return MR_OK;
}

static void take(int32_t **to, int32_t **from)
{
    mr_free(*to);
    *to = *from;
    *from = NULL;
}

mr_status mr_golden_refill(mr_golden_rig *rig, const int32_t *segments)
{
    documents d = {.rig = rig};
    mr_rows rows = {0};
    int32_t **const part[] = {&rows.tokens, &rows.targets, &rows.positions, &rows.starts};
    int32_t **const to[] = {&rig->ids, &rig->targets, &rig->positions, &rig->starts};
    int64_t scored = 0;
    mr_status status = MR_OK;
    for (int i = 0; i < 4 && status == MR_OK; i++) {
        const int64_t tokens = rig->share * rig->comm->size * rig->tokens;
        *part[i] = mr_alloc_array(MR_MEM_DATA, (size_t)tokens, sizeof **part[i]);
        if (!*part[i]) status = MR_ERR_MEMORY;
    }
    if (status == MR_OK) status = find_documents(segments, &d);
    if (status == MR_OK) status = fill(&d, rows, &scored);
    if (status == MR_OK) status = compare(rig, segments, rows);
    if (status == MR_OK && scored != rig->scored)
        status = mr_fail(MR_ERR_FORMAT, "%lld targets are scored, in the reference %lld",
                         (long long)scored, (long long)rig->scored);
    for (int i = 0; i < 4; i++) {
        if (status == MR_OK) take(to[i], part[i]);
        mr_free(*part[i]);
    }
    mr_free(d.first);
    mr_free(d.count);
    mr_free(d.packing.first);
    mr_free(d.packing.sample);
    return status;
}
