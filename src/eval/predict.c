/* Kind predict: how well text is predicted that is given whole. */

#include "data/prepared.h"
#include "data/token_manifest.h"
#include "eval/evaluator.h"
#include "store/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What is found of an item: two numbers. */
typedef struct loss {
    int64_t bits;   /* of the sum of the losses of its tokens, nats, a double */
    int64_t tokens; /* that are scored */
} loss;

/* Room for one batch. Owns its arrays. */
typedef struct reading {
    int64_t batch; /* sequences at once: no more than a micro-batch, whose memory it runs in */
    int32_t *tokens, *targets;
    double *losses;
    loss *found;    /* [batch of all ranks] */
    double sum;     /* of rows so far, rank 0's, nats */
    int64_t scored; /* tokens of these */
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

static int64_t batch_of_all(const mr_eval_set *set)
{
    return batch_of(set) * mr_model_comm(set->model)->size;
}

static void bytes(const mr_eval_set *set, size_t out[MR_MEM_PURPOSES])
{
    size_t *eval = &out[MR_MEM_EVAL];
    *eval = mr_bytes_add(*eval, (int64_t)rows_of(set), 2 * sizeof(int32_t) + sizeof(double));
    *eval = mr_bytes_add(*eval, batch_of_all(set), sizeof(loss));
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
    room->found = mr_alloc_array(MR_MEM_EVAL, (size_t)batch_of_all(set), sizeof *room->found);
    return room->tokens && room->targets && room->losses && room->found ? MR_OK : MR_ERR_MEMORY;
}

static void put_away(mr_eval_set *set)
{
    reading *room = set->state;
    if (!room) return;
    mr_free(room->tokens);
    mr_free(room->targets);
    mr_free(room->losses);
    mr_free(room->found);
    mr_free(room);
    set->state = NULL;
}

static mr_status begin(void *of)
{
    reading *room = ((const mr_eval_set *)of)->state;
    room->sum = 0;
    room->scored = 0;
    return MR_OK;
}

static mr_status read_row(void *of, int64_t index, const json_t *row)
{
    const mr_eval_set *set = of;
    reading *room = set->state;
    const json_t *nats = json_object_get(row, "nats"), *tokens = json_object_get(row, "tokens");
    MR_TRY(mr_eval_check_row(row, index));
    MR_CHECK((json_is_number(nats) || json_is_null(nats)) && json_integer_value(tokens) >= 0,
             MR_ERR_FORMAT, "expected \"nats\" of \"tokens\"");
    const int64_t count = json_integer_value(tokens);
    const double sum = json_is_null(nats) ? NAN : json_number_value(nats);
    set->found->items[index] = (float)(sum / (double)(count > 0 ? count : 1));
    room->sum += sum;
    room->scored += count;
    return MR_OK;
}

/* Predicts this rank's share, `batch` of items at..; those at or past the last are padding. After a
 * failure too the model runs, on what stands in the rows: the other ranks count on this one. */
static mr_status predict_batch(const mr_eval_set *set, int64_t at)
{
    const reading *room = set->state;
    const mr_comm *comm = mr_model_comm(set->model);
    const int64_t width = mr_model_geometry(set->model)->tokens, place = comm->rank * room->batch;
    int64_t scored = 0;
    mr_status status = mr_batch_fill_part(set->dataset, set->part, set->items, at + place,
                                          room->batch, width, room->tokens, room->targets, &scored);
    mr_model_evaluate(set->model,
                      &(mr_model_batch){.tokens = room->tokens, .targets = room->targets},
                      room->batch, room->losses, NULL);
    memset(room->found, 0, (size_t)batch_of_all(set) * sizeof *room->found);
    for (int64_t b = 0; b < room->batch && status == MR_OK; b++) {
        loss *found = &room->found[place + b];
        double sum = 0;
        for (int64_t t = b * width; t < (b + 1) * width; t++) {
            if (room->targets[t] < 0) continue;
            sum += room->losses[t];
            found->tokens++;
        }
        memcpy(&found->bits, &sum, sizeof sum);
    }
    return status;
}

static mr_status tell(const mr_eval_set *set, int64_t at, int64_t first, mr_item_row *row,
                      void *context)
{
    const reading *room = set->state;
    mr_status status = MR_OK;
    for (int64_t i = first; i < at + batch_of_all(set) && i < set->items && status == MR_OK; i++) {
        const loss *found = &room->found[i - at];
        double sum;
        memcpy(&sum, &found->bits, sizeof sum);
        const double mean = sum / (double)(found->tokens > 0 ? found->tokens : 1);
        json_t *json = json_pack("{s:I, s:I, s:o, s:o}", "item", (json_int_t)i, "tokens",
                                 (json_int_t)found->tokens, "nats", mr_json_number(sum), "score",
                                 mr_json_number(mean));
        status = json ? row(context, i, json) : MR_ERR_MEMORY;
        json_decref(json);
    }
    return status;
}

/* Which sequences are scored does not depend on the number of ranks, nor do the bits of a loss,
 * which may follow from its place in a batch: items keep it, whatever the first is. */
static mr_status ask(void *of, int64_t first, mr_item_row *row, void *context)
{
    mr_eval_set *set = of;
    const mr_comm *comm = mr_model_comm(set->model);
    const reading *room = set->state;
    const int64_t all = batch_of_all(set);
    for (int64_t at = first - first % room->batch; at < set->items; at += all) {
        MR_TRY(mr_eval_go_on(comm));
        MR_AGREE(comm, predict_batch(set, at));
        mr_comm_sum_i64(comm, (int64_t *)room->found, 2 * all); /* all but one rank's are 0 */
        MR_TRY(mr_comm_agree_root(
            comm, comm->rank == 0 ? tell(set, at, at > first ? at : first, row, context) : MR_OK));
    }
    return MR_OK;
}

static mr_status score(void *of, json_t **json)
{
    const mr_eval_set *set = of;
    const reading *room = set->state;
    const double mean = room->sum / (double)(room->scored > 0 ? room->scored : 1);
    set->found->value[0] = exp(mean);
    set->found->value[1] = mean;
    set->found->value[2] = (double)room->scored;
    *json = mr_eval_values_json(set);
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
    .head = mr_eval_part_head,
    .asked = {begin, read_row, ask, score},
};
