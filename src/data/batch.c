#include "data/batch.h"

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
        MR_CHECK(length <= seq_len, MR_ERR_CONFIG,
                 "train.seq_len: expected at least %lld, the tokens of sample %lld, found %lld",
                 (long long)length, (long long)item, (long long)seq_len);
        for (int64_t t = length; t < seq_len; t++) {
            row_tokens[t] = dataset->tokenizer->pad;
            row_targets[t] = MR_NOT_SCORED;
        }
        for (int64_t t = 0; t < length; t++)
            *scored += row_targets[t] != MR_NOT_SCORED;
    }
    return MR_OK;
}
