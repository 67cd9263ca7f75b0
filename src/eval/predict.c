/* Kind predict: how well text is predicted that is given whole. */

#include "comm/exact.h"
#include "data/prepared.h"
#include "data/token_manifest.h"
#include "eval/evaluator.h"

#include <math.h>
#include <stdio.h>

/* Room for one batch. Owns its arrays. */
typedef struct reading {
    int64_t batch; /* sequences at once: no more than a micro-batch, whose memory it runs in */
    int32_t *tokens, *targets;
    double *losses;
} reading;

/* Keys of the kind. */
typedef struct predict_keys {
    mr_eval_keys common;
    char data[MR_CONFIG_STRING]; /* "": the run's */
} predict_keys;

/* A general text beside what is trained on tells what is forgotten of it. */
static mr_status open_data(mr_eval_set *set)
{
    const predict_keys *own = set->keys;
    if (!own || own->data[0] == '\0') return MR_OK;
    char hash[MR_DATASET_HASH];
    MR_TRY(mr_prepared_open_text(own->data, set->width, set->tokenizer, &set->own));
    MR_TRY(mr_dataset_hash(set->own, hash));
    snprintf(set->items_hash, sizeof set->items_hash, "%s by %lld", hash, (long long)set->width);
    set->about.data = own->data;
    set->about.items = set->items_hash;
    return mr_dataset_check(set->own);
}

static mr_status hash(const void *of, char out[MR_HASH_TEXT])
{
    const predict_keys *own = of;
    mr_token_manifest manifest = {0};
    if (own->data[0] == '\0') return MR_OK;
    mr_status status = mr_token_manifest_read(own->data, &manifest);
    if (status == MR_OK) status = mr_token_manifest_hash(&manifest, false, out);
    mr_token_manifest_free(&manifest);
    return status;
}

static const char *refuses(const mr_dataset *dataset, mr_part part)
{
    return mr_dataset_part_items(dataset, part) == 0 ? "the data has nothing of that part" : NULL;
}

static int64_t batch_of(const mr_eval_set *set)
{
    int64_t micro = mr_model_geometry(set->model)->batch;
    return set->batch < micro ? set->batch : micro;
}

static size_t rows_of(const mr_eval_set *set)
{
    return (size_t)(batch_of(set) * mr_model_geometry(set->model)->tokens);
}

static void bytes(const mr_eval_set *set, size_t out[MR_MEM_PURPOSES])
{
    out[MR_MEM_EVAL] =
        mr_bytes_add(out[MR_MEM_EVAL], (int64_t)rows_of(set), 2 * sizeof(int32_t) + sizeof(double));
}

static mr_status allocate(mr_eval_set *set)
{
    size_t rows = rows_of(set);
    reading *room = mr_alloc(MR_MEM_OTHER, sizeof *room);
    if (!room) return MR_ERR_MEMORY;
    set->state = room;
    room->batch = batch_of(set);
    room->tokens = mr_alloc_array(MR_MEM_EVAL, rows, sizeof *room->tokens);
    room->targets = mr_alloc_array(MR_MEM_EVAL, rows, sizeof *room->targets);
    room->losses = mr_alloc_array(MR_MEM_EVAL, rows, sizeof *room->losses);
    return room->tokens && room->targets && room->losses ? MR_OK : MR_ERR_MEMORY;
}

static void put_away(mr_eval_set *set)
{
    reading *room = set->state;
    if (!room) return;
    mr_free(room->tokens);
    mr_free(room->targets);
    mr_free(room->losses);
    mr_free(room);
    set->state = NULL;
}

/* Predicts items first..first+batch-1; those at or past the last are padding. After a failure too
 * the model runs, on what stands in the rows: the other ranks count on this one. */
static mr_status predict_batch(mr_eval_set *set, int64_t first, float *items, mr_exact *sum,
                               int64_t *tokens)
{
    const reading *room = set->state;
    int64_t width = mr_model_geometry(set->model)->tokens, scored = 0;
    mr_status status = mr_batch_fill_part(set->dataset, set->part, set->items, first, room->batch,
                                          width, room->tokens, room->targets, &scored);
    mr_model_evaluate(set->model,
                      &(mr_model_batch){.tokens = room->tokens, .targets = room->targets},
                      room->batch, room->losses, NULL);
    for (int64_t b = 0; b < room->batch && first + b < set->items && status == MR_OK; b++) {
        double own = 0;
        int64_t own_tokens = 0;
        for (int64_t t = b * width; t < (b + 1) * width; t++) {
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

/* Which sequences are scored does not depend on the number of ranks, and the sums are exact, so
 * neither does the result. */
static mr_status run(mr_eval_set *set, const mr_eval_occasion *occasion, mr_evaluation *out,
                     float *items)
{
    (void)occasion;
    const mr_comm *comm = mr_model_comm(set->model);
    const reading *room = set->state;
    mr_exact sum = {0};
    int64_t tokens = 0;
    mr_status local = MR_OK;
    for (int64_t first = 0; first < set->items; first += room->batch * comm->size) {
        MR_TRY(mr_eval_go_on(comm));
        mr_status one = predict_batch(set, first + comm->rank * room->batch, items, &sum, &tokens);
        if (one != MR_OK) local = one;
    }
    MR_TRY(mr_comm_agree(comm, local));
    mr_exact_reduce(comm, &sum, 1);
    mr_comm_sum_i64(comm, &tokens, 1);
    mr_eval_share_items(comm, items, set->items);
    double loss = mr_exact_value(&sum) / (double)(tokens > 0 ? tokens : 1);
    out->value[0] = exp(loss);
    out->value[1] = loss;
    out->value[2] = (double)tokens;
    return MR_OK;
}

static const mr_key keys[] = {
    MR_EVAL_KEYS("scheduled"),
    MR_EVAL_PART_KEY("heldout"),
    {MR_KEY_FIELD(predict_keys, "data", data), .type = MR_KEY_STRING, .is_path = true,
     .fallback = "",
     .help = "Folder of other text that `mora data prepare` wrote, to see what is forgotten; "
             "empty: the run's data."},
};
static const mr_schema schema = MR_SCHEMA(predict_keys, keys);

const mr_eval_kind mr_eval_predict = {
    .name = "predict",
    .summary = "how well sequences are predicted, spread evenly over a part of the data",
    /* Not what is trained on: that is the loss of the training. */
    .unasked = 1u << MR_PART_HELDOUT | 1u << MR_PART_VALIDATION | 1u << MR_PART_TEST,
    .item = "mean loss of a sequence, nats a scored token",
    .schema = &schema,
    .scores = 3,
    .score = {{.name = "perplexity", .unit = "ppl", .lower_is_better = true},
              {.name = "loss", .unit = "nats a token", .lower_is_better = true},
              {.name = "tokens", .unit = "scored tokens"}},
    .told = 1,
    .open = open_data,
    .hash = hash,
    .refuses = refuses,
    .bytes = bytes,
    .allocate = allocate,
    .put_away = put_away,
    .run = run,
};
