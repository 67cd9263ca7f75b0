/** @file
 * Continuations beside what Transformers writes: <root>/generation/<model>.jsonl, a batch of ragged
 * prompts a line, for the roots that MORA_GOLDEN names (colon-separated; without it
 * ../shared/golden); and how tokens are drawn. */

#include "base/file.h"
#include "eval/continuation.h"
#include "golden_models.h"
#include "ranks.h"
#include "reading.h"
#include "store/json.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum { BATCH = 3, MOST_ENDS = 64 }; /* slots, fewer than the prompts of most lines */
static const double logprob_within = 1e-4;

static int64_t int_of(const json_t *line, const char *key)
{
    const json_t *value = json_object_get(line, key);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static const json_t *item(const json_t *line, const char *key, size_t i)
{
    const json_t *value = json_array_get(json_object_get(line, key), i);
    assert_non_null(value);
    return value;
}

/* Reads the prompts of a line; returns the longest. */
static int64_t read_prompts(const json_t *line, mr_prompt *prompts, size_t count)
{
    int64_t longest = 0;
    for (size_t i = 0; i < count; i++) {
        const json_t *list = item(line, "prompts", i);
        int32_t *ids = mr_alloc_array(MR_MEM_OTHER, json_array_size(list), sizeof *ids);
        assert_non_null(ids);
        for (size_t t = 0; t < json_array_size(list); t++)
            ids[t] = (int32_t)json_integer_value(json_array_get(list, t));
        prompts[i] = (mr_prompt){ids, (int64_t)json_array_size(list)};
        if (prompts[i].length > longest) longest = prompts[i].length;
    }
    return longest;
}

static void compare_one(const json_t *line, size_t i, const mr_continuation *c)
{
    static const char *const names[] = {[MR_STOP_LENGTH] = "length", [MR_STOP_EOS] = "eos"};
    const json_t *tokens = item(line, "tokens", i), *logprobs = item(line, "logprobs", i);
    assert_on_all_ranks(c->count == (int64_t)json_array_size(tokens));
    assert_on_all_ranks(strcmp(json_string_value(item(line, "stop", i)), names[c->stop]) == 0);
    for (size_t t = 0; t < (size_t)c->count; t++) {
        assert_on_all_ranks(c->tokens[t] == json_integer_value(json_array_get(tokens, t)));
        const double expected = json_number_value(json_array_get(logprobs, t));
        assert_on_all_ranks(fabs(c->logprobs[t] - expected) <= logprob_within);
    }
}

/* Where the reference has texts they are those of the folder's tokenizer. */
static void compare_text(const json_t *line, size_t i, const mr_continue_options *o,
                         const mr_prompt *prompt, const mr_continuation *c)
{
    mr_text text = {0};
    size_t from;
    bool stopped;
    if (!o->tokenizer) return;
    must(mr_continuation_text(o, prompt, c, &text, &from, &stopped));
    const char *expected = json_string_value(item(line, "continuation", i));
    const bool same = strcmp(mr_text_get(&text) + from, expected) == 0;
    if (!same) print_error("expected \"%s\", found \"%s\"\n", expected, text.data + from);
    mr_text_free(&text);
    assert_on_all_ranks(same && !stopped);
}

/* Continues prompts in the opposite order, so that others stand beside each: every bit is the same.
 */
static void turn_around(mr_generator *generator, const mr_continue_options *o,
                        const mr_prompt *prompts, size_t count, const mr_continuation *found)
{
    mr_prompt *turned = mr_alloc_array(MR_MEM_OTHER, count, sizeof *turned);
    mr_continuation *out = mr_alloc_array(MR_MEM_OTHER, count, sizeof *out);
    assert_on_all_ranks(turned && out);
    for (size_t i = 0; i < count; i++)
        turned[i] = prompts[count - 1 - i];
    must(mr_continue(generator, o, turned, (int64_t)count, out));
    for (size_t i = 0; i < count; i++) {
        const mr_continuation *a = &found[i], *b = &out[count - 1 - i];
        const size_t bytes = (size_t)a->count * sizeof *a->logprobs;
        assert_on_all_ranks(a->count == b->count && memcmp(a->logprobs, b->logprobs, bytes) == 0);
    }
    mr_continuations_free(out, (int64_t)count);
    mr_free(turned);
    mr_free(out);
}

/* Continues prompts behind a beginning that they have in common, all and one by one: the beginning
 * runs once for all, and every bit is the same. */
static void begin_alike(mr_model *model, const mr_continue_options *o, const mr_prompt *prompts,
                        size_t count)
{
    enum { BEGINNING = 3 * MR_CACHE_PAGE + 5, LONGEST = 512 };
    static int32_t ids[LONGEST][LONGEST];
    mr_prompt *longer = mr_alloc_array(MR_MEM_OTHER, count, sizeof *longer);
    mr_continuation *out = mr_alloc_array(MR_MEM_OTHER, count + 1, sizeof *out);
    mr_generator *generator;
    assert_on_all_ranks(longer && out && count <= LONGEST);
    for (size_t i = 0; i < count; i++) {
        const mr_prompt *p = &prompts[i];
        for (int64_t t = 0; t < BEGINNING; t++)
            ids[i][t] = prompts[0].ids[t % prompts[0].length];
        assert_on_all_ranks(p->length <= LONGEST - BEGINNING);
        memcpy(ids[i] + BEGINNING, p->ids, (size_t)p->length * sizeof *p->ids);
        longer[i] = (mr_prompt){ids[i], BEGINNING + p->length};
    }
    must(mr_generator_create(model, BATCH, LONGEST, o->most, &generator));
    must(mr_generator_allocate(generator));
    must(mr_continue(generator, o, longer, (int64_t)count, out));
    for (size_t i = 0; i < count; i++) {
        const size_t bytes = (size_t)out[i].count * sizeof *out->logprobs;
        must(mr_continue(generator, o, &longer[i], 1, &out[count]));
        assert_on_all_ranks(out[i].count == out[count].count &&
                            memcmp(out[i].logprobs, out[count].logprobs, bytes) == 0);
        mr_continuations_free(&out[count], 1);
    }
    mr_continuations_free(out, (int64_t)count);
    mr_generator_destroy(&generator);
    mr_free(longer);
    mr_free(out);
}

/* Continues the prompts of a line in so many slots, and compares; `bits`: in other ways, too. */
static void continue_line(const json_t *line, int64_t batch, bool bits, mr_model *model,
                          const mr_tokenizer *tokenizer)
{
    const size_t count = json_array_size(json_object_get(line, "prompts"));
    int64_t eos[MOST_ENDS], ends = (int64_t)json_array_size(json_object_get(line, "eos"));
    mr_prompt *prompts = mr_alloc_array(MR_MEM_OTHER, count, sizeof *prompts);
    mr_continuation *out = mr_alloc_array(MR_MEM_OTHER, count, sizeof *out);
    mr_generator *generator;
    assert_on_all_ranks(prompts && out && ends <= MOST_ENDS);
    for (int64_t i = 0; i < ends; i++)
        eos[i] = json_integer_value(item(line, "eos", (size_t)i));
    const mr_continue_options o = {.most = int_of(line, "max_new_tokens"),
                                   .logprobs = true,
                                   .eos = eos,
                                   .eos_count = ends,
                                   .sampling = {.top_p = 1},
                                   .tokenizer = tokenizer};
    const int64_t longest = read_prompts(line, prompts, count);
    must(mr_generator_create(model, batch, longest, o.most, &generator));
    must(mr_generator_allocate(generator));
    must(mr_continue(generator, &o, prompts, (int64_t)count, out));
    if (bits) turn_around(generator, &o, prompts, count, out);
    if (bits) begin_alike(model, &o, prompts, count);
    for (size_t i = 0; i < count; i++) {
        compare_one(line, i, &out[i]);
        compare_text(line, i, &o, &prompts[i], &out[i]);
        mr_free((void *)(uintptr_t)prompts[i].ids);
    }
    mr_continuations_free(out, (int64_t)count);
    mr_generator_destroy(&generator);
    mr_free(prompts);
    mr_free(out);
}

static void prompts_are_continued_as_the_reference_does(void **state)
{
    const golden_model *g = *state;
    char path[PATH_MAX];
    golden_file file;
    mr_tokenizer *tokenizer = NULL;
    reading r;
    must(reading_open(&world, g->folder, 2, true, &r));
    must(mr_file_path(path, "%s/tokenizer.model", g->folder));
    if (access(path, F_OK) == 0) must(mr_tokenizer_create(path, &tokenizer));
    golden_file_open(g, &file);
    const bool cpu = strcmp(test_backend(), "cpu") == 0;
    for (int i = 0; i < file.count; i++) {
        continue_line(file.line[i], BATCH, cpu && i == 0, r.model, tokenizer);
        continue_line(file.line[i], 1, false, r.model, tokenizer);
    }
    golden_file_close(&file);
    mr_tokenizer_destroy(&tokenizer);
    reading_free(&r);
}

static void references_of_texts_are_there(void **state)
{
    if (!*state) skip_without_golden("texts");
}

enum { VOCAB = 6, DRAWS = 40000 };
static const float logits[VOCAB] = {1.0F, 3.0F, -2.0F, 3.0F, 0.5F, 2.0F};

/* How often each id is drawn. */
static void draw(double temperature, double top_p, double share[VOCAB])
{
    const mr_sampling s = {.temperature = temperature, .top_p = top_p, .seed = 5};
    mr_candidate room[VOCAB];
    for (int i = 0; i < VOCAB; i++)
        share[i] = 0;
    for (int i = 0; i < DRAWS; i++)
        share[mr_sampling_choose(&s, logits, VOCAB, i % 7, i / 7, room)] += 1.0 / DRAWS;
}

static void the_most_probable_token_is_the_first_of_equals(void **state)
{
    (void)state;
    assert_int_equal(mr_sampling_choose(&(mr_sampling){.top_p = 1}, logits, VOCAB, 0, 0, NULL), 1);
}

static void tokens_are_drawn_as_often_as_they_are_probable(void **state)
{
    (void)state;
    for (double temperature = 0.5; temperature <= 2; temperature *= 2) {
        double share[VOCAB], expected[VOCAB], sum = 0;
        draw(temperature, 1, share);
        for (int i = 0; i < VOCAB; i++)
            sum += expected[i] = exp((double)logits[i] / temperature);
        for (int i = 0; i < VOCAB; i++) {
            const double p = expected[i] / sum;
            assert_true(fabs(share[i] - p) <= 5 * sqrt(p * (1 - p) / DRAWS));
        }
    }
}

/* Probabilities 0.38, 0.38, 0.14, 0.05, ...: 0.7 needs the first two, 0.8 the third too. */
static void the_fewest_tokens_that_reach_a_share_are_drawn_from(void **state)
{
    (void)state;
    double share[VOCAB];
    draw(1, 0.3, share);
    assert_true(fabs(share[1] - 1) < 1e-9);
    draw(1, 0.7, share);
    assert_true(fabs(share[1] - 0.5) < 0.02 && fabs(share[3] - 0.5) < 0.02);
    draw(1, 0.8, share);
    assert_true(share[5] > 0.1 && share[0] == 0 && share[2] == 0 && share[4] == 0);
}

static void what_is_drawn_follows_from_seed_prompt_and_position(void **state)
{
    (void)state;
    mr_candidate room[VOCAB];
    int differ[3] = {0};
    for (int i = 0; i < 200; i++) {
        mr_sampling s = {.temperature = 1, .top_p = 1, .seed = 9};
        const int32_t id = mr_sampling_choose(&s, logits, VOCAB, 4, i, room);
        assert_int_equal(mr_sampling_choose(&s, logits, VOCAB, 4, i, room), id);
        differ[0] += mr_sampling_choose(&s, logits, VOCAB, 5, i, room) != id;
        differ[1] += mr_sampling_choose(&s, logits, VOCAB, 4, i + 1000, room) != id;
        s.seed = 10;
        differ[2] += mr_sampling_choose(&s, logits, VOCAB, 4, i, room) != id;
    }
    for (int i = 0; i < 3; i++)
        assert_true(differ[i] > 50);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest each[] = {
        cmocka_unit_test(prompts_are_continued_as_the_reference_does)};
    struct CMUnitTest tests[GOLDEN_MODELS + 5] = {
        cmocka_unit_test(the_most_probable_token_is_the_first_of_equals),
        cmocka_unit_test(tokens_are_drawn_as_often_as_they_are_probable),
        cmocka_unit_test(the_fewest_tokens_that_reach_a_share_are_drawn_from),
        cmocka_unit_test(what_is_drawn_follows_from_seed_prompt_and_position),
        cmocka_unit_test(references_of_texts_are_there),
    };
    ranks_begin(&argc, &argv);
    const size_t count = golden_model_tests("generation", each, 1, tests + 5);
    if (count > 0) tests[4].initial_state = tests;
    return ranks_end(_cmocka_run_group_tests("generation", tests, 5 + count, NULL, NULL));
}
