#include "data/batch.h"

/* An id for positions that nothing looks at: the model's table must hold it, which -1, a missing
 * pad id, is not. */
static int32_t filler(const mr_tokenizer *tokenizer)
{
    if (tokenizer->pad >= 0) return tokenizer->pad;
    return tokenizer->eos >= 0 ? tokenizer->eos : 0;
}

/* Pads a row that has length tokens; counts what of it is scored. */
static mr_status finish_row(const mr_dataset *dataset, int64_t item, int64_t length,
                            int64_t seq_len, int32_t *tokens, int32_t *targets, int64_t *scored)
{
    MR_CHECK(length <= seq_len, MR_ERR_CONFIG,
             "train.seq_len: expected at least %lld, the tokens of sample %lld, found %lld",
             (long long)length, (long long)item, (long long)seq_len);
    for (int64_t t = length; t < seq_len; t++) {
        tokens[t] = filler(dataset->tokenizer);
        targets[t] = MR_NOT_SCORED;
    }
    for (int64_t t = 0; t < length; t++)
        *scored += targets[t] != MR_NOT_SCORED;
    return MR_OK;
}

mr_status mr_batch_fill(const mr_dataset *dataset, const mr_order *order, int64_t first_position,
                        int64_t count, int64_t seq_len, int32_t *tokens, int32_t *targets,
                        int64_t *scored)
{
    MR_INVARIANT(order->items == dataset->items && count >= 0 && seq_len > 0);
    *scored = 0;
    for (int64_t row = 0; row < count; row++) {
        int32_t *row_tokens = tokens + row * seq_len, *row_targets = targets + row * seq_len;
        const int64_t item = mr_order_item(order, first_position + row);
        int64_t length = 0;
        MR_TRY(mr_dataset_sample(dataset, item, row_tokens, row_targets, seq_len, &length));
        MR_TRY(finish_row(dataset, item, length, seq_len, row_tokens, row_targets, scored));
    }
    return MR_OK;
}

mr_status mr_batch_fill_part(const mr_dataset *dataset, mr_part part, int64_t items, int64_t first,
                             int64_t count, int64_t seq_len, int32_t *tokens, int32_t *targets,
                             int64_t *scored)
{
    int64_t there = mr_dataset_part_items(dataset, part);
    MR_INVARIANT(items <= there && first >= 0 && count >= 0 && seq_len > 0);
    *scored = 0;
    for (int64_t row = 0; row < count; row++) {
        int32_t *row_tokens = tokens + row * seq_len, *row_targets = targets + row * seq_len;
        int64_t sample = 0, length = 0;
        if (first + row < items) {
            sample = mr_order_spread(there, items, first + row);
            MR_TRY(mr_dataset_part_sample(dataset, part, sample, row_tokens, row_targets, seq_len,
                                          &length));
        }
        MR_TRY(finish_row(dataset, sample, length, seq_len, row_tokens, row_targets, scored));
    }
    return MR_OK;
}
