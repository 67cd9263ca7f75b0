/* Kind generate: what the model writes behind a prompt, held against the answer. */

#include "eval/continuation.h"
#include "eval/evaluator.h"
#include "store/json.h"

#include <string.h>

enum { GROUPS = 4 }; /* items at a time, in slots of all ranks: a slot need not wait for others */

typedef struct asking {
    mr_generator *generator;
    int64_t new_tokens, items;  /* behind a prompt; at a time */
    int32_t *ids;               /* [items, prompt], owned */
    mr_prompt *prompts;         /* [items], owned */
    mr_continuation *generated; /* [items], owned */
    double sum, whole;          /* of the scores so far, and how many are 1; rank 0's */
} asking;

static const char *refuses(const mr_dataset *dataset, mr_part part)
{
    if (!mr_dataset_generates(dataset)) return "the task has no prompts";
    return part == MR_PART_TRAIN ? NULL : "the task has prompts of what is trained on only";
}

static mr_status lay_out(mr_eval_set *set)
{
    mr_text answer = {0};
    asking *room = mr_alloc(MR_MEM_OTHER, sizeof *room);
    if (!room) return MR_ERR_MEMORY;
    set->state = room;
    mr_status status = mr_dataset_answer(set->dataset, 0, &answer, &room->new_tokens);
    mr_text_free(&answer);
    MR_TRY(status);
    int64_t ranks = mr_model_comm(set->model)->size, share = (set->items + ranks - 1) / ranks;
    /* A sample holds prompt and answer, so a prompt is shorter by the answer. */
    int64_t prompt = set->dataset->longest - room->new_tokens;
    int64_t batch = set->batch < share ? set->batch : share;
    MR_TRY(mr_generator_create(set->model, batch, prompt, room->new_tokens, &room->generator));
    room->items = room->generator->batch * ranks * GROUPS;
    if (room->items > set->items) room->items = set->items;
    return MR_OK;
}

static void bytes(const mr_eval_set *set, size_t out[MR_MEM_PURPOSES])
{
    const asking *room = set->state;
    const size_t item = (size_t)room->generator->prompt * sizeof *room->ids +
                        sizeof *room->prompts + sizeof *room->generated;
    mr_generator_bytes(room->generator, out);
    out[MR_MEM_EVAL] = mr_bytes_add(out[MR_MEM_EVAL], room->items, item);
}

static mr_status allocate(mr_eval_set *set)
{
    asking *room = set->state;
    const size_t items = (size_t)room->items;
    MR_TRY(mr_generator_allocate(room->generator));
    room->ids =
        mr_alloc_array(MR_MEM_EVAL, items * (size_t)room->generator->prompt, sizeof *room->ids);
    room->prompts = mr_alloc_array(MR_MEM_EVAL, items, sizeof *room->prompts);
    room->generated = mr_alloc_array(MR_MEM_EVAL, items, sizeof *room->generated);
    return room->ids && room->prompts && room->generated ? MR_OK : MR_ERR_MEMORY;
}

static void put_away(mr_eval_set *set)
{
    asking *room = set->state;
    if (!room) return;
    mr_generator_destroy(&room->generator);
    mr_free(room->ids);
    mr_free(room->prompts);
    mr_free(room->generated);
    mr_free(room);
    set->state = NULL;
}

/* Writes the prompts of items first..first+count-1. */
static mr_status write_prompts(const mr_eval_set *set, int64_t first, int64_t count)
{
    const asking *room = set->state;
    const int64_t width = room->generator->prompt;
    for (int64_t i = 0; i < count; i++) {
        int32_t *ids = room->ids + i * width;
        room->prompts[i].ids = ids;
        MR_TRY(mr_dataset_prompt(set->dataset, first + i, ids, width, &room->prompts[i].length));
        MR_CHECK(room->prompts[i].length <= width, MR_ERR_FORMAT,
                 "prompt of item %lld: %lld tokens, at most %lld fit", (long long)(first + i),
                 (long long)room->prompts[i].length, (long long)width);
    }
    return MR_OK;
}

static mr_status begin(void *of)
{
    asking *room = ((const mr_eval_set *)of)->state;
    room->sum = 0;
    room->whole = 0;
    return MR_OK;
}

static mr_status read_row(void *of, int64_t index, const json_t *row)
{
    const mr_eval_set *set = of;
    asking *room = set->state;
    const json_t *score = json_object_get(row, "score");
    MR_TRY(mr_eval_check_row(row, index));
    MR_CHECK(json_is_number(score), MR_ERR_FORMAT, "expected a number as \"score\"");
    set->found->items[index] = (float)json_number_value(score);
    room->sum += json_number_value(score);
    room->whole += json_number_value(score) >= 1;
    return MR_OK;
}

/* Tells what was generated for an item. */
static mr_status tell(const mr_eval_set *set, int64_t index, const mr_continuation *c,
                      mr_item_row *row, void *context)
{
    mr_text gold = {0}, text = {0};
    int64_t tokens;
    mr_status status = mr_dataset_answer(set->dataset, index, &gold, &tokens);
    /* The id that ends a text is not part of the answer. */
    if (status == MR_OK)
        status = mr_tokenizer_decode(set->tokenizer, c->tokens, c->count - (c->stop == MR_STOP_EOS),
                                     &text);
    if (status == MR_OK) {
        const double score = mr_dataset_score(set->dataset, index, mr_text_get(&text), text.length);
        json_t *json = json_pack("{s:I, s:o, s:o, s:f}", "item", (json_int_t)index, "gold",
                                 mr_json_text(mr_text_get(&gold)), "found",
                                 mr_json_text(mr_text_get(&text)), "score", score);
        status = json ? row(context, index, json) : MR_ERR_MEMORY;
        json_decref(json);
    }
    mr_text_free(&gold);
    mr_text_free(&text);
    return status;
}

static mr_status tell_all(const mr_eval_set *set, int64_t first, int64_t count, mr_item_row *row,
                          void *context)
{
    const asking *room = set->state;
    for (int64_t i = 0; i < count; i++)
        MR_TRY(tell(set, first + i, &room->generated[i], row, context));
    return MR_OK;
}

static mr_status ask(void *of, int64_t first, mr_item_row *row, void *context)
{
    const mr_eval_set *set = of;
    const mr_comm *comm = mr_model_comm(set->model);
    const asking *room = set->state;
    const mr_tokenizer *tokenizer = set->tokenizer;
    int64_t ends[MR_TOKENIZER_ENDS + 2] = {tokenizer->bos, tokenizer->pad};
    memcpy(ends + 2, tokenizer->end, (size_t)tokenizer->ends * sizeof ends[0]);
    /* A model that diverged answers wrongly; what becomes of its run is not decided here. */
    const mr_continue_options options = {.most = room->new_tokens,
                                         .not_finite_ends = true,
                                         .eos = ends,
                                         .eos_count = 2 + tokenizer->ends,
                                         .sampling = {.top_p = 1}};
    for (; first < set->items; first += room->items) {
        const int64_t left = set->items - first, count = left < room->items ? left : room->items;
        MR_TRY(mr_eval_go_on(comm));
        MR_AGREE(comm, write_prompts(set, first, count));
        MR_TRY(mr_continue(room->generator, &options, room->prompts, count, room->generated));
        mr_status status = mr_comm_agree_root(
            comm, comm->rank == 0 ? tell_all(set, first, count, row, context) : MR_OK);
        mr_continuations_free(room->generated, count);
        MR_TRY(status);
    }
    return MR_OK;
}

static mr_status score(void *of, json_t **json)
{
    const mr_eval_set *set = of;
    const asking *room = set->state;
    set->found->value[0] = room->sum / (double)set->items;
    set->found->value[1] = room->whole / (double)set->items;
    *json = mr_eval_values_json(set);
    return MR_OK;
}

static const mr_key keys[] = {MR_EVAL_KEYS("scheduled"), MR_EVAL_PART_KEY("train")};
static const mr_schema schema = MR_SCHEMA(mr_eval_keys, keys);

const mr_eval_kind mr_eval_generate = {
    .name = "generate",
    .summary = "what is generated behind the prompts of a task, the most probable token each time",
    .unasked = 1u << MR_PART_TRAIN,
    .item = "score of an answer, 0 to 1",
    .schema = &schema,
    .scores = 2,
    .score = {{.name = "accuracy", .unit = "fraction"}, {.name = "exact", .unit = "fraction"}},
    .refuses = refuses,
    .lay_out = lay_out,
    .bytes = bytes,
    .allocate = allocate,
    .put_away = put_away,
    .head = mr_eval_part_head,
    .asked = {begin, read_row, ask, score},
};
