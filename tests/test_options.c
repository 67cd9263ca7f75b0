/** @file
 * Options beside what Transformers gives them: <root>/options/<model>.jsonl, an item a line, for
 * the roots that MORA_GOLDEN names (colon-separated; without it ../shared/golden); and that scores
 * are the same bits however they come about. */

#include "base/file.h"
#include "data/tokenizer.h"
#include "eval/border.h"
#include "golden_models.h"
#include "ranks.h"
#include "reading.h"

#include <math.h>
#include <unistd.h>

enum {
    MOST = 4096,      /* options of a file */
    TOKENS = 1 << 18, /* of all of them */
    WINDOW = 128,     /* longer than what they stand in, their prompts included */
    NARROW = 24,      /* shorter than some of that, but not than an option */
    LITTLE = 2 * 96   /* rows of a pass: texts are cut where one ends */
};
static const double nll_within = 1e-4;

/** The options of a file and two models that are the same, on all ranks and on each alone. */
typedef struct options_case {
    golden_file file;
    mr_scored_option option[MOST];
    int64_t count;
    int32_t ids[TOKENS];
    int64_t used;
    reading here, alone;
} options_case;

static options_case items;

static mr_prompt read_ids(const json_t *list)
{
    const mr_prompt out = {items.ids + items.used, (int64_t)json_array_size(list)};
    assert_true(items.used + out.length <= TOKENS);
    for (size_t t = 0; t < json_array_size(list); t++)
        items.ids[items.used++] = (int32_t)json_integer_value(json_array_get(list, t));
    return out;
}

/* Adds the options of an item, which stand behind prompts of their own or behind one. */
static void add_item(const json_t *line)
{
    const json_t *options = json_object_get(line, "options"),
                 *one = json_object_get(line, "prompt");
    mr_prompt prompt = {0};
    if (one) prompt = read_ids(one);
    for (size_t i = 0; i < json_array_size(options); i++) {
        assert_true(items.count < MOST);
        if (!one) prompt = read_ids(json_array_get(json_object_get(line, "prompts"), i));
        items.option[items.count++] =
            (mr_scored_option){prompt, read_ids(json_array_get(options, i))};
    }
}

static void begin(const golden_model *g)
{
    items.count = items.used = 0;
    golden_file_open(g, &items.file);
    for (int i = 0; i < items.file.count; i++)
        add_item(items.file.line[i]);
    must(reading_open(&world, g->folder, 2, true, &items.here));
    must(reading_open(mr_comm_self(), g->folder, 2, true, &items.alone));
}

static void end(void)
{
    reading_free(&items.here);
    reading_free(&items.alone);
    golden_file_close(&items.file);
}

/* Scores all options, in passes of a number of rows. */
static void score(mr_model *model, int64_t rows, int64_t window, mr_option_form form, bool apart,
                  mr_option_scores *out)
{
    mr_scorer *scorer;
    must(mr_scorer_create(model, rows, window, &scorer));
    must(mr_scorer_allocate(scorer));
    must(mr_score_options(
        scorer,
        &(mr_scoring){.options = items.option, .count = items.count, .form = form, .apart = apart},
        out));
    mr_scorer_destroy(&scorer);
}

static bool same_bits(const mr_option_scores *a, const mr_option_scores *b)
{
    const int64_t count = a->first[items.count];
    return count == b->first[items.count] &&
           memcmp(a->nll, b->nll, (size_t)count * sizeof *a->nll) == 0 &&
           memcmp(a->score, b->score, (size_t)items.count * sizeof *a->score) == 0;
}

static bool is_same(mr_prompt a, mr_prompt b)
{
    return a.length == b.length && memcmp(a.ids, b.ids, (size_t)a.length * sizeof *a.ids) == 0;
}

/* Compares the losses of an item's tokens, and its choices. */
static void compare_item(const json_t *line, int64_t first, const mr_option_scores *sum,
                         const mr_option_scores *mean)
{
    const json_t *nll = json_object_get(line, "nll");
    const int64_t count = (int64_t)json_array_size(nll);
    for (int64_t i = 0; i < count; i++) {
        const json_t *own = json_array_get(nll, (size_t)i);
        const int64_t at = sum->first[first + i], tokens = sum->first[first + i + 1] - at;
        assert_on_all_ranks(tokens == (int64_t)json_array_size(own));
        for (int64_t t = 0; t < tokens; t++) {
            const double expected = json_number_value(json_array_get(own, (size_t)t));
            assert_on_all_ranks(fabs(sum->nll[at + t] - expected) <= nll_within);
        }
    }
    assert_on_all_ranks(mr_option_best(sum, first, count) ==
                        json_integer_value(json_object_get(line, "best_sum")));
    assert_on_all_ranks(mr_option_best(mean, first, count) ==
                        json_integer_value(json_object_get(line, "best_mean")));
}

static void options_score_as_in_the_reference(void **state)
{
    mr_option_scores sum, mean;
    begin(*state);
    score(items.here.model, LITTLE, WINDOW, MR_OPTION_SUM, false, &sum);
    score(items.here.model, LITTLE, WINDOW, MR_OPTION_MEAN, false, &mean);
    int64_t first = 0;
    for (int i = 0; i < items.file.count; i++) {
        compare_item(items.file.line[i], first, &sum, &mean);
        first += (int64_t)json_array_size(json_object_get(items.file.line[i], "options"));
    }
    mr_option_scores_free(&sum);
    mr_option_scores_free(&mean);
    end();
}

/* On any number of ranks, with and without sharing; on the CPU in passes of other numbers of whole
 * tiles, too. */
static void scores_are_the_same_bits_however_they_come_about(void **state)
{
    mr_option_scores one, other;
    int64_t shared = 0; /* tokens that ran with sharing */
    begin(*state);
    const bool on_cpu = strcmp(test_backend(), "cpu") == 0;
    const int64_t rows = on_cpu ? mr_session_rows(items.alone.model) : LITTLE;
    score(items.alone.model, rows, WINDOW, MR_OPTION_SUM, false, &one);
    for (int apart = 0; apart < 2; apart++) {
        score(items.here.model, LITTLE, WINDOW, MR_OPTION_SUM, apart, &other);
        assert_on_all_ranks(same_bits(&one, &other));
        if (apart) assert_on_all_ranks(other.tokens > shared);
        shared = other.tokens;
        mr_option_scores_free(&other);
    }
    mr_option_scores_free(&one);
    end();
}

/* What is longer than the window is as if its beginning had not been there. */
static void long_texts_keep_their_end(void **state)
{
    mr_option_scores cut, own;
    int64_t longer = 0;
    begin(*state);
    score(items.here.model, LITTLE, NARROW, MR_OPTION_SUM, false, &cut);
    for (int64_t i = 0; i < items.count; i++) {
        mr_scored_option *o = &items.option[i];
        const int64_t over = o->prompt.length + o->text.length - 1 - NARROW;
        if (over <= 0) continue;
        longer++;
        o->prompt.ids += over;
        o->prompt.length -= over;
    }
    score(items.here.model, LITTLE, WINDOW, MR_OPTION_SUM, false, &own);
    assert_on_all_ranks(same_bits(&cut, &own));
    assert_on_all_ranks(cut.cut == longer && longer > 0 && own.cut == 0);
    mr_option_scores_free(&cut);
    mr_option_scores_free(&own);
    end();
}

/* Of form `next` only the last token of an option counts, straight behind the prompt. */
static void a_next_token_is_an_option_of_one(void **state)
{
    mr_option_scores next, sum;
    begin(*state);
    score(items.here.model, LITTLE, WINDOW, MR_OPTION_NEXT, false, &next);
    for (int64_t i = 0; i < items.count; i++) {
        mr_prompt *text = &items.option[i].text;
        text->ids += text->length - 1;
        text->length = 1;
    }
    score(items.here.model, LITTLE, WINDOW, MR_OPTION_SUM, false, &sum);
    assert_on_all_ranks(same_bits(&next, &sum));
    mr_option_scores_free(&next);
    mr_option_scores_free(&sum);
    end();
}

static void what_is_planned_is_what_is_taken(void **state)
{
    mr_scorer *scorer;
    size_t bytes[MR_MEM_PURPOSES] = {0};
    begin(*state);
    const size_t before = mr_memory_live(MR_MEM_EVAL);
    must(mr_scorer_create(items.here.model, LITTLE, WINDOW, &scorer));
    mr_scorer_bytes(scorer, bytes);
    must(mr_scorer_allocate(scorer));
    const size_t taken = mr_memory_live(MR_MEM_EVAL) - before;
    mr_scorer_destroy(&scorer);
    end();
    assert_on_all_ranks(taken == bytes[MR_MEM_EVAL]);
}

/* Scores what cannot be scored; returns the message. */
static const char *refused(int64_t window)
{
    mr_option_scores scores;
    mr_scorer *scorer;
    must(mr_scorer_create(items.here.model, LITTLE, window, &scorer));
    must(mr_scorer_allocate(scorer));
    const mr_status status = mr_score_options(
        scorer, &(mr_scoring){.options = items.option, .count = items.count}, &scores);
    mr_scorer_destroy(&scorer);
    assert_on_all_ranks(status == MR_ERR_ARG && !scores.nll);
    return mr_message();
}

static void options_that_cannot_be_scored_are_named(void **state)
{
    begin(*state);
    assert_contains(refused(1), " tokens, and the model takes 1");
    items.option[1].prompt.length = 0;
    assert_contains(refused(WINDOW), "option 2: its prompt has no tokens");
    items.option[0].text.length = 0;
    assert_contains(refused(WINDOW), "option 1: it has no tokens");
    end();
}

/* Compares the tokens of an item with those of its texts. */
static void compare_tokens(const json_t *line, int64_t first, const mr_tokenizer *tokenizer)
{
    const json_t *list = json_object_get(line, "options_text"),
                 *text = json_object_get(line, "context");
    const bool harness = strcmp(json_string_value(json_object_get(line, "rule")), "lm_eval") == 0;
    const char *options[16];
    size_t bytes[16];
    mr_item_tokens item;
    int64_t merged = 0;
    assert_true(json_array_size(list) <= 16);
    for (size_t i = 0; i < json_array_size(list); i++) {
        options[i] = json_string_value(json_array_get(list, i));
        bytes[i] = json_string_length(json_array_get(list, i));
        merged += json_is_true(json_array_get(json_object_get(line, "merges"), i));
    }
    must(mr_item_encode(tokenizer, harness ? MR_BORDER_HARNESS : MR_BORDER_WHOLE,
                        &(mr_item_text){.prompt = json_string_value(text),
                                        .prompt_bytes = json_string_length(text),
                                        .options = options,
                                        .option_bytes = bytes,
                                        .count = (int64_t)json_array_size(list)},
                        &item));
    for (int64_t i = 0; i < item.count; i++) {
        const mr_scored_option *found = &item.options[i], *expected = &items.option[first + i];
        assert_on_all_ranks(is_same(found->prompt, expected->prompt));
        assert_on_all_ranks(is_same(found->text, expected->text));
    }
    assert_on_all_ranks(item.merged == merged);
    mr_item_tokens_free(&item);
}

static void texts_become_tokens_as_in_the_reference(void **state)
{
    const golden_model *g = *state;
    char path[PATH_MAX];
    mr_tokenizer *tokenizer = NULL;
    int64_t first = 0;
    begin(g);
    must(mr_file_path(path, "%s/tokenizer.model", g->folder));
    if (access(path, F_OK) == 0) must(mr_tokenizer_create(path, &tokenizer));
    for (int i = 0; i < items.file.count; i++) {
        const json_t *line = items.file.line[i];
        if (json_object_get(line, "context") && tokenizer) compare_tokens(line, first, tokenizer);
        first += (int64_t)json_array_size(json_object_get(line, "options"));
    }
    mr_tokenizer_destroy(&tokenizer);
    end();
}

static void an_option_of_no_tokens_is_refused(void **state)
{
    mr_tokenizer *tokenizer;
    mr_item_tokens item;
    const char *options[] = {"a", ""};
    const size_t bytes[] = {1, 0};
    (void)state;
    must(mr_tokenizer_create("bytes", &tokenizer));
    assert_int_equal(mr_item_encode(tokenizer, MR_BORDER_WHOLE,
                                    &(mr_item_text){.prompt = "so ",
                                                    .prompt_bytes = 3,
                                                    .options = options,
                                                    .option_bytes = bytes,
                                                    .count = 2},
                                    &item),
                     MR_ERR_ARG);
    assert_contains(mr_message(), "option 2 adds no token to its prompt");
    assert_null(item.ids);
    mr_tokenizer_destroy(&tokenizer);
}

static void references_of_options_are_there(void **state)
{
    if (!*state) skip_without_golden("options");
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest each[] = {
        cmocka_unit_test(options_score_as_in_the_reference),
        cmocka_unit_test(scores_are_the_same_bits_however_they_come_about),
        cmocka_unit_test(long_texts_keep_their_end),
        cmocka_unit_test(a_next_token_is_an_option_of_one),
        cmocka_unit_test(options_that_cannot_be_scored_are_named),
        cmocka_unit_test(what_is_planned_is_what_is_taken),
        cmocka_unit_test(texts_become_tokens_as_in_the_reference),
    };
    enum { EACH = sizeof each / sizeof each[0] };
    struct CMUnitTest tests[EACH * GOLDEN_MODELS + 2];
    ranks_begin(&argc, &argv);
    size_t count = golden_model_tests("options", each, EACH, tests);
    tests[count] = (struct CMUnitTest)cmocka_unit_test(references_of_options_are_there);
    if (count > 0) tests[count].initial_state = tests;
    tests[count + 1] = (struct CMUnitTest)cmocka_unit_test(an_option_of_no_tokens_is_refused);
    return ranks_end(_cmocka_run_group_tests("options", tests, count + 2, NULL, NULL));
}
