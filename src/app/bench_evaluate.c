#include "app/bench_evaluate.h"

#include "base/clock.h"
#include "eval/options.h"

enum { OPTIONS = 4, WRITTEN = 32 };

/* Random prompts [items, tokens], and options of one token. Owns its arrays. */
typedef struct texts {
    int32_t *ids, option[OPTIONS];
    mr_prompt *prompts;
    mr_scored_option *options;
} texts;

static void free_texts(texts *t)
{
    mr_free(t->ids);
    mr_free(t->prompts);
    mr_free(t->options);
}

static mr_status make_texts(const mr_trainer *t, int64_t items, texts *out)
{
    const mr_random random = mr_random_stream(1, MR_RANDOM_DATA, 0);
    const uint64_t vocabulary = (uint64_t)mr_model_arch(t->model)->vocab_size;
    const size_t count = (size_t)(items * t->seq_len);
    *out = (texts){.ids = mr_alloc_array(MR_MEM_EVAL, count, sizeof *out->ids),
                   .prompts = mr_alloc_array(MR_MEM_EVAL, (size_t)items, sizeof *out->prompts),
                   .options =
                       mr_alloc_array(MR_MEM_EVAL, (size_t)items * OPTIONS, sizeof *out->options)};
    if (!out->ids || !out->prompts || !out->options) return MR_ERR_MEMORY;
    for (size_t i = 0; i < count; i++)
        out->ids[i] = (int32_t)mr_random_below(&random, i, vocabulary);
    for (int o = 0; o < OPTIONS; o++)
        out->option[o] = o;
    for (int64_t i = 0; i < items; i++) {
        out->prompts[i] = (mr_prompt){out->ids + i * t->seq_len, t->seq_len};
        for (int o = 0; o < OPTIONS; o++)
            out->options[i * OPTIONS + o] =
                (mr_scored_option){.prompt = out->prompts[i], .text = {&out->option[o], 1}};
    }
    return MR_OK;
}

static mr_status score(const mr_trainer *t, mr_scorer *scorer, const texts *of, int64_t items,
                       mr_evaluate_cost *cost)
{
    mr_option_scores scores = {0};
    const mr_scoring scoring = {.options = of->options, .count = items * OPTIONS};
    mr_comm_barrier(t->comm);
    const double began = mr_clock();
    mr_status status = mr_score_options(scorer, &scoring, &scores);
    mr_comm_barrier(t->comm);
    cost->scoring = mr_clock() - began;
    cost->scored = scores.tokens;
    mr_option_scores_free(&scores);
    return status;
}

/* The first items warm up. */
static mr_status measure_scoring(const mr_trainer *t, const texts *of, mr_evaluate_cost *cost)
{
    mr_scorer *scorer = NULL;
    mr_status status =
        mr_scorer_create(t->model, mr_session_rows(t->model), t->seq_len + 1, &scorer);
    if (status == MR_OK) status = mr_scorer_allocate(scorer);
    status = mr_comm_agree(t->comm, status);
    const int64_t few = cost->items < 2 * t->comm->size ? cost->items : 2 * t->comm->size;
    if (status == MR_OK) status = score(t, scorer, of, few, cost);
    if (status == MR_OK) status = score(t, scorer, of, cost->items, cost);
    mr_scorer_destroy(&scorer);
    return status;
}

static mr_status write(const mr_trainer *t, mr_generator *generator, const texts *of, int64_t count,
                       int64_t most, double *seconds)
{
    mr_continuation *out = mr_alloc_array(MR_MEM_EVAL, (size_t)count, sizeof *out);
    MR_AGREE(t->comm, out ? MR_OK : MR_ERR_MEMORY);
    const mr_continue_options options = {.most = most};
    mr_comm_barrier(t->comm);
    const double began = mr_clock();
    mr_status status = mr_continue(generator, &options, of->prompts, count, out);
    mr_comm_barrier(t->comm);
    *seconds = mr_clock() - began;
    if (status == MR_OK) mr_continuations_free(out, count);
    mr_free(out);
    return status;
}

static mr_status measure_writing(const mr_trainer *t, const texts *of, mr_evaluate_cost *cost)
{
    mr_generator *generator = NULL;
    double all = 0;
    mr_status status = mr_generator_create(
        t->model, cost->items / t->comm->size > 1 ? cost->items / t->comm->size : 1, t->seq_len,
        WRITTEN + 1, &generator);
    if (status == MR_OK) status = mr_generator_allocate(generator);
    status = mr_comm_agree(t->comm, status);
    if (status == MR_OK) {
        const int64_t room = generator->batch * t->comm->size;
        const int64_t count = room < cost->items ? room : cost->items;
        cost->texts = (count + t->comm->size - 1) / t->comm->size;
        cost->tokens = WRITTEN;
        status = write(t, generator, of, count, 3, &all); /* warms up, and is recorded */
        if (status == MR_OK) status = write(t, generator, of, count, 1, &cost->prompts);
        if (status == MR_OK) status = write(t, generator, of, count, WRITTEN + 1, &all);
        cost->writing = all - cost->prompts;
    }
    mr_generator_destroy(&generator);
    return status;
}

mr_status mr_bench_evaluate(mr_trainer *t, int64_t items, mr_evaluate_cost *cost)
{
    texts of = {0};
    *cost = (mr_evaluate_cost){.items = items, .options = OPTIONS};
    mr_status status = mr_comm_agree(t->comm, make_texts(t, items, &of));
    if (status == MR_OK) status = measure_scoring(t, &of, cost);
    if (status == MR_OK) status = measure_writing(t, &of, cost);
    free_texts(&of);
    return status;
}
