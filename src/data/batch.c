#include "data/batch.h"

/* An id for positions that nothing looks at: the model's table must hold it, which -1, a missing
 * pad id, is not. */
static int32_t filler(const mr_tokenizer *tokenizer)
{
    if (tokenizer->pad >= 0) return tokenizer->pad;
    return tokenizer->eos >= 0 ? tokenizer->eos : 0;
}

mr_rows mr_rows_behind(mr_rows rows, int64_t count, int64_t seq_len)
{
    const int64_t skipped = count * seq_len;
    rows.tokens += skipped;
    rows.targets += skipped;
    if (rows.positions) rows.positions += skipped;
    if (rows.starts) rows.starts += skipped;
    return rows;
}

/* A row being filled. */
typedef struct filling {
    const mr_dataset *dataset;
    mr_rows row;
    int64_t seq_len, length;
    int64_t *scored;
} filling;

/* Says of tokens from..to-1 that they are one text. */
static void mark_sample(const filling *f, int64_t from, int64_t to)
{
    for (int64_t t = from; f->row.starts && t < to; t++) {
        f->row.positions[t] = (int32_t)(t - from);
        f->row.starts[t] = (int32_t)from;
    }
}

/* Adds a sample behind those of the row. */
static mr_status add_sample(filling *f, mr_part part, int64_t index)
{
    const int64_t from = f->length;
    int64_t length = 0;
    MR_TRY(mr_dataset_part_sample(f->dataset, part, index, f->row.tokens + from,
                                  f->row.targets + from, f->seq_len - from, &length));
    MR_CHECK(length <= f->seq_len - from, MR_ERR_CONFIG,
             "train.seq_len: expected at least %lld, the tokens of sample %lld, found %lld",
             (long long)length, (long long)index, (long long)(f->seq_len - from));
    f->length += length;
    mark_sample(f, from, f->length);
    for (int64_t t = from; t < f->length; t++)
        *f->scored += f->row.targets[t] != MR_NOT_SCORED;
    return MR_OK;
}

static void pad(filling *f)
{
    for (int64_t t = f->length; t < f->seq_len; t++) {
        f->row.tokens[t] = filler(f->dataset->tokenizer);
        f->row.targets[t] = MR_NOT_SCORED;
        mark_sample(f, t, t + 1);
    }
}

mr_status mr_batch_fill(const mr_dataset *dataset, const mr_order *order, int64_t first_position,
                        int64_t count, int64_t seq_len, mr_rows rows, int64_t *scored)
{
    const mr_packing *packing = dataset->packing;
    MR_INVARIANT(order->items == mr_dataset_rows(dataset) && count >= 0 && seq_len > 0);
    MR_INVARIANT(!rows.positions == !rows.starts);
    MR_INVARIANT(!packing || (rows.starts && packing->row_tokens <= seq_len));
    *scored = 0;
    for (int64_t row = 0; row < count; row++) {
        const int64_t item = mr_order_item(order, first_position + row);
        const int64_t first = packing ? packing->first[item] : item;
        const int64_t behind = packing ? packing->first[item + 1] : item + 1;
        filling f = {.dataset = dataset,
                     .row = mr_rows_behind(rows, row, seq_len),
                     .seq_len = seq_len,
                     .scored = scored};
        for (int64_t i = first; i < behind; i++)
            MR_TRY(add_sample(&f, MR_PART_TRAIN, packing ? packing->sample[i] : i));
        pad(&f);
    }
    return MR_OK;
}

mr_status mr_batch_fill_part(const mr_dataset *dataset, mr_part part, int64_t items, int64_t first,
                             int64_t count, int64_t seq_len, int32_t *tokens, int32_t *targets,
                             int64_t *scored)
{
    const int64_t there = mr_dataset_part_items(dataset, part);
    const mr_rows rows = {.tokens = tokens, .targets = targets};
    MR_INVARIANT(items <= there && first >= 0 && count >= 0 && seq_len > 0);
    *scored = 0;
    for (int64_t row = 0; row < count; row++) {
        filling f = {.dataset = dataset,
                     .row = mr_rows_behind(rows, row, seq_len),
                     .seq_len = seq_len,
                     .scored = scored};
        if (first + row < items)
            MR_TRY(add_sample(&f, part, mr_order_spread(there, items, first + row)));
        pad(&f);
    }
    return MR_OK;
}
