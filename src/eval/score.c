#include "eval/score.h"

#include "base/signals.h"
#include "comm/exact.h"

#include <math.h>
#include <string.h>

/* Each item's score is one rank's and zero elsewhere: sums of bit patterns put them together. */
static mr_status share_items(const mr_comm *comm, float *items, int64_t count)
{
    int64_t *bits = mr_alloc_array(MR_MEM_DATA, (size_t)count, sizeof *bits);
    MR_AGREE(comm, bits ? MR_OK : MR_ERR_MEMORY);
    for (int64_t i = 0; i < count; i++) {
        int32_t pattern;
        memcpy(&pattern, &items[i], sizeof pattern);
        bits[i] = pattern;
    }
    mr_comm_sum_i64(comm, bits, count);
    for (int64_t i = 0; i < count; i++) {
        int32_t pattern = (int32_t)bits[i];
        memcpy(&items[i], &pattern, sizeof pattern);
    }
    mr_free(bits);
    return MR_OK;
}

/* An evaluation may last far longer than the time there is between a request to stop and the end,
 * so ranks look for one before each batch. */
static mr_status go_on(const mr_comm *comm)
{
    MR_CHECK(!mr_comm_any(comm, mr_signals_caught() != 0), MR_STOPPED,
             "an evaluation was broken off by a signal");
    return MR_OK;
}

/* Room for one batch of generation. Owns its arrays. */
typedef struct asking {
    int32_t *prompts, *lengths, *generated;
    int64_t new_tokens;
} asking;

/* Generates for one batch of items and writes their scores; items at or past `items` are fillers.
 */
static mr_status score_batch(mr_generator *g, const mr_dataset *dataset, int64_t first,
                             int64_t items, const asking *room, float *scores)
{
    const mr_tokenizer *tokenizer = dataset->tokenizer;
    int64_t count = room->new_tokens;
    mr_status status = MR_OK;
    for (int64_t b = 0; b < g->batch; b++) {
        int64_t item = first + b < items ? first + b : 0, length = 1;
        int32_t *prompt = room->prompts + b * g->prompt;
        memset(prompt, 0, (size_t)g->prompt * sizeof *prompt);
        /* After a failure too the model runs, on fillers: the other ranks count on this one. */
        if (status == MR_OK) status = mr_dataset_prompt(dataset, item, prompt, g->prompt, &length);
        if (length > g->prompt)
            status = mr_fail(MR_ERR_FORMAT, "prompt of item %lld: %lld tokens, at most %lld fit",
                             (long long)item, (long long)length, (long long)g->prompt);
        room->lengths[b] = (int32_t)(status == MR_OK ? length : 1);
    }
    mr_generator_run(g, room->prompts, room->lengths, count, room->generated);
    mr_text text = {0};
    for (int64_t b = 0; b < g->batch && first + b < items && status == MR_OK; b++) {
        /* The first special id ends the text: what stands behind it is not part of the answer. */
        const int32_t *ids = room->generated + b * count;
        int64_t length = 0;
        while (length < count && ids[length] != tokenizer->eos && ids[length] != tokenizer->bos &&
               ids[length] != tokenizer->pad)
            length++;
        status = mr_tokenizer_decode(tokenizer, ids, length, &text);
        scores[first + b] =
            (float)mr_dataset_score(dataset, first + b, mr_text_get(&text), text.length);
        mr_text_free(&text);
    }
    return status;
}

mr_status mr_score_generated(mr_generator *g, const mr_dataset *dataset, int64_t count,
                             float *items, double *mean)
{
    const mr_comm *comm = mr_model_comm(g->model);
    size_t batch = (size_t)g->batch;
    asking room = {.new_tokens = g->capacity - g->prompt};
    room.prompts = mr_alloc_array(MR_MEM_DATA, batch * (size_t)g->prompt, sizeof(int32_t));
    room.lengths = mr_alloc_array(MR_MEM_DATA, batch, sizeof(int32_t));
    room.generated = mr_alloc_array(MR_MEM_DATA, batch * (size_t)room.new_tokens, sizeof(int32_t));
    bool there = room.prompts && room.lengths && room.generated;
    mr_status status = mr_comm_agree(comm, there ? MR_OK : MR_ERR_MEMORY);
    if (status != MR_OK) goto cleanup;
    memset(items, 0, (size_t)count * sizeof *items);
    /* Every rank generates as often as the busiest: gathering weights is collective. */
    int64_t stride = g->batch * comm->size;
    mr_status local = MR_OK;
    for (int64_t first = 0; first < count; first += stride) {
        if ((status = go_on(comm)) != MR_OK) goto cleanup;
        mr_status one = score_batch(g, dataset, first + comm->rank * g->batch, count, &room, items);
        if (one != MR_OK) local = one;
    }
    status = mr_comm_agree(comm, local);
    if (status == MR_OK) status = share_items(comm, items, count);
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)items[i];
    *mean = sum / (double)count;
cleanup:
    mr_free(room.prompts);
    mr_free(room.lengths);
    mr_free(room.generated);
    return status;
}

/* Room for one batch of predictions. Owns its arrays. */
typedef struct reading {
    int32_t *tokens, *targets;
    double *losses;
} reading;

/* Predicts items first..first+B-1; those at or past `count` are padding. After a failure too the
 * model runs, on what stands in the rows: the other ranks count on this one. */
static mr_status predict_batch(mr_model *model, const mr_dataset *dataset, int64_t first,
                               int64_t count, const reading *room, float *items, mr_exact *sum,
                               int64_t *tokens)
{
    const mr_geometry *g = mr_model_geometry(model);
    int64_t scored = 0;
    mr_status status = mr_batch_fill_heldout(dataset, count, first, g->batch, g->tokens,
                                             room->tokens, room->targets, &scored);
    mr_model_set_batches(model, 0, 1,
                         &(mr_model_batch){.tokens = room->tokens, .targets = room->targets});
    mr_model_evaluate(model, room->losses, NULL);
    for (int64_t b = 0; b < g->batch && first + b < count && status == MR_OK; b++) {
        double own = 0;
        int64_t own_tokens = 0;
        for (int64_t t = b * g->tokens; t < (b + 1) * g->tokens; t++) {
            if (room->targets[t] < 0) continue;
            own += room->losses[t];
            own_tokens++;
            mr_exact_add(sum, room->losses[t]);
        }
        items[first + b] = (float)(own / (double)(own_tokens > 0 ? own_tokens : 1));
        *tokens += own_tokens;
    }
    return status;
}

mr_status mr_score_predicted(mr_model *model, const mr_dataset *dataset, int64_t count,
                             float *items, mr_prediction *out)
{
    const mr_comm *comm = mr_model_comm(model);
    const mr_geometry *g = mr_model_geometry(model);
    size_t rows = (size_t)(g->batch * g->tokens);
    reading room = {
        .tokens = mr_alloc_array(MR_MEM_DATA, rows, sizeof(int32_t)),
        .targets = mr_alloc_array(MR_MEM_DATA, rows, sizeof(int32_t)),
        .losses = mr_alloc_array(MR_MEM_DATA, rows, sizeof(double)),
    };
    bool there = room.tokens && room.targets && room.losses;
    mr_exact sum = {0};
    int64_t tokens = 0;
    mr_status status = mr_comm_agree(comm, there ? MR_OK : MR_ERR_MEMORY), local = MR_OK;
    if (status != MR_OK) goto cleanup;
    memset(items, 0, (size_t)count * sizeof *items);
    for (int64_t first = 0; first < count; first += g->batch * comm->size) {
        if ((status = go_on(comm)) != MR_OK) goto cleanup;
        mr_status one = predict_batch(model, dataset, first + comm->rank * g->batch, count, &room,
                                      items, &sum, &tokens);
        if (one != MR_OK) local = one;
    }
    status = mr_comm_agree(comm, local);
    if (status != MR_OK) goto cleanup;
    mr_exact_reduce(comm, &sum, 1);
    mr_comm_sum_i64(comm, &tokens, 1);
    status = share_items(comm, items, count);
    out->loss = mr_exact_value(&sum) / (double)(tokens > 0 ? tokens : 1);
    out->perplexity = exp(out->loss);
    out->tokens = tokens;
cleanup:
    mr_free(room.tokens);
    mr_free(room.targets);
    mr_free(room.losses);
    return status;
}
