/* Kind generate: what the model writes behind a prompt, held against the answer. */

#include "eval/evaluator.h"
#include "eval/generate.h"

#include <string.h>

typedef struct asking {
    mr_generator *generator;
    int64_t new_tokens;
    int32_t *prompts, *lengths, *generated; /* [B, prompt], [B], [B, new_tokens]; owned */
} asking;

static const char *refuses(const mr_dataset *dataset, mr_part part)
{
    if (!mr_dataset_generates(dataset)) return "the task has no prompts";
    return part == MR_PART_TRAIN ? NULL : "the task has prompts of what is trained on only";
}

static mr_status create(mr_eval_set *set)
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
    int64_t longest = set->dataset->longest, prompt = longest - room->new_tokens;
    int64_t batch =
        mr_session_batch(set->model, set->batch < share ? set->batch : share, prompt, longest);
    return mr_generator_create(set->model, batch, prompt, room->new_tokens, &room->generator);
}

static void bytes(const mr_eval_set *set, size_t out[MR_MEM_PURPOSES])
{
    const asking *room = set->state;
    const mr_generator *g = room->generator;
    mr_generator_bytes(g, out);
    out[MR_MEM_EVAL] = mr_bytes_add(out[MR_MEM_EVAL], g->batch * (g->prompt + 1 + room->new_tokens),
                                    sizeof(int32_t));
}

static mr_status allocate(mr_eval_set *set)
{
    asking *room = set->state;
    const mr_generator *g = room->generator;
    size_t batch = (size_t)g->batch;
    MR_TRY(mr_generator_allocate(room->generator));
    room->prompts = mr_alloc_array(MR_MEM_EVAL, batch * (size_t)g->prompt, sizeof(int32_t));
    room->lengths = mr_alloc_array(MR_MEM_EVAL, batch, sizeof(int32_t));
    room->generated =
        mr_alloc_array(MR_MEM_EVAL, batch * (size_t)room->new_tokens, sizeof(int32_t));
    return room->prompts && room->lengths && room->generated ? MR_OK : MR_ERR_MEMORY;
}

static void destroy(mr_eval_set *set)
{
    asking *room = set->state;
    if (!room) return;
    mr_generator_destroy(&room->generator);
    mr_free(room->prompts);
    mr_free(room->lengths);
    mr_free(room->generated);
    mr_free(room);
    set->state = NULL;
}

/* Writes the prompts of a batch; those of items at or past the last are fillers. */
static mr_status ask(const mr_eval_set *set, int64_t first)
{
    const asking *room = set->state;
    int64_t width = room->generator->prompt;
    mr_status status = MR_OK;
    for (int64_t b = 0; b < room->generator->batch; b++) {
        int64_t item = first + b < set->items ? first + b : 0, length = 1;
        int32_t *prompt = room->prompts + b * width;
        memset(prompt, 0, (size_t)width * sizeof *prompt);
        /* After a failure too the model runs, on fillers: the other ranks count on this one. */
        if (status == MR_OK) status = mr_dataset_prompt(set->dataset, item, prompt, width, &length);
        if (length > width)
            status = mr_fail(MR_ERR_FORMAT, "prompt of item %lld: %lld tokens, at most %lld fit",
                             (long long)item, (long long)length, (long long)width);
        room->lengths[b] = (int32_t)(status == MR_OK ? length : 1);
    }
    return status;
}

/* Generates for one batch of items and writes their scores. */
static mr_status score_batch(mr_eval_set *set, int64_t first, float *items)
{
    const asking *room = set->state;
    const mr_tokenizer *tokenizer = set->dataset->tokenizer;
    int64_t count = room->new_tokens;
    mr_status status = ask(set, first);
    mr_generator_run(room->generator, room->prompts, room->lengths, count, room->generated);
    mr_text text = {0};
    for (int64_t b = 0; b < room->generator->batch && first + b < set->items && status == MR_OK;
         b++) {
        /* The first special id ends the text: what stands behind it is not part of the answer. */
        const int32_t *ids = room->generated + b * count;
        int64_t length = 0;
        while (length < count && ids[length] != tokenizer->eos && ids[length] != tokenizer->bos &&
               ids[length] != tokenizer->pad)
            length++;
        status = mr_tokenizer_decode(tokenizer, ids, length, &text);
        items[first + b] =
            (float)mr_dataset_score(set->dataset, first + b, mr_text_get(&text), text.length);
        mr_text_free(&text);
    }
    return status;
}

static mr_status run(mr_eval_set *set, double values[MR_EVAL_SCORES], float *items)
{
    const mr_comm *comm = mr_model_comm(set->model);
    const asking *room = set->state;
    int64_t batch = room->generator->batch;
    mr_status local = MR_OK;
    /* Every rank generates as often as the busiest: gathering weights is collective. */
    for (int64_t first = 0; first < set->items; first += batch * comm->size) {
        MR_TRY(mr_eval_go_on(comm));
        mr_status one = score_batch(set, first + comm->rank * batch, items);
        if (one != MR_OK) local = one;
    }
    MR_TRY(mr_comm_agree(comm, local));
    mr_eval_share_items(comm, items, set->items);
    double sum = 0, whole = 0;
    for (int64_t i = 0; i < set->items; i++) {
        sum += (double)items[i];
        whole += items[i] >= 1;
    }
    values[0] = sum / (double)set->items;
    values[1] = whole / (double)set->items;
    return MR_OK;
}

static const mr_key keys[] = {MR_EVAL_KEYS("train")};
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
    .create = create,
    .bytes = bytes,
    .allocate = allocate,
    .destroy = destroy,
    .run = run,
};
