/** @file
 * A small model beside what the published code makes of it: MMLU's scores by
 * lm-evaluation-harness and open-instruct, GSM8K's texts by the former and MetaMath. Those are
 * <root>/eval/e2e, of which <root>/eval/prompts has some of the prompts, for the roots that
 * MORA_GOLDEN names (colon-separated; without it ../shared/golden). */

#include "base/file.h"
#include "data_files.h"
#include "eval/border.h"
#include "folder.h"
#include "golden_find.h"
#include "ranks.h"
#include "reading.h"

#include <jansson.h>

#include <math.h>

enum { WINDOW = 2048, MOST = 512, SLOTS = 3, MOST_STOPS = 16 };

/* What the harness's own float32 is away, and float64; and probabilities of the published code. */
static const double margin_least = 2e-3; /* of two logits that float32 does not turn around */
static const double harness_within = 1e-3, float64_within = 1e-4, probability_within = 1e-4;

/** A record of what is expected, with its item. */
typedef struct record {
    const json_t *expected; /* an object with numbers and "prediction" */
    mr_item_tokens item;
} record;

static json_t *lines_of(const char *root, const char *name)
{
    char path[PATH_MAX], *all;
    json_t *list = json_array();
    must(mr_file_path(path, "%s/eval/%s", root, name));
    if (mr_file_read(path, MR_MEM_OTHER, &all, NULL) != MR_OK) return list;
    for (char *next, *at = all; *at; at = next) {
        next = at + strcspn(at, "\n");
        if (*next) *next++ = '\0';
        json_t *line = json_loads(at, 0, NULL);
        assert_non_null(line);
        json_array_append_new(list, line);
    }
    mr_free(all);
    return list;
}

/* The prompt of a protocol for a record, NULL where it is not given; shots < 0: of any. */
static const json_t *prompt_of(const json_t *prompts, const json_t *line, const char *protocol,
                               int shots)
{
    for (size_t i = 0; i < json_array_size(prompts); i++) {
        const json_t *p = json_array_get(prompts, i);
        const json_t *subject = json_object_get(p, "subject");
        if ((!subject || json_equal(subject, json_object_get(line, "subject"))) &&
            json_equal(json_object_get(p, "row"), json_object_get(line, "row")) &&
            strcmp(json_string_value(json_object_get(p, "protocol")), protocol) == 0 &&
            (shots < 0 || json_integer_value(json_object_get(p, "shots")) == shots))
            return p;
    }
    return NULL;
}

static void encode(const mr_tokenizer *tokenizer, const json_t *prompt, mr_item_tokens *out)
{
    const json_t *list = json_object_get(prompt, "options"),
                 *text = json_object_get(prompt, "prompt");
    const char *options[8];
    size_t bytes[8];
    const size_t count = json_array_size(list);
    assert_true(count <= 8);
    for (size_t i = 0; i < count; i++) {
        options[i] = json_string_value(json_array_get(list, i));
        bytes[i] = json_string_length(json_array_get(list, i));
    }
    must(mr_item_encode(tokenizer, MR_BORDER_HARNESS,
                        &(mr_item_text){.prompt = json_string_value(text),
                                        .prompt_bytes = json_string_length(text),
                                        .options = options,
                                        .option_bytes = bytes,
                                        .count = (int64_t)count},
                        out));
}

/* Scores all options of records at once. */
static void score(mr_model *model, const record *records, int64_t count, mr_option_form form,
                  mr_option_scores *out)
{
    static mr_scored_option options[8 * MOST];
    mr_scorer *scorer;
    int64_t all = 0;
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < records[i].item.count; k++)
            options[all++] = records[i].item.options[k];
    must(mr_scorer_create(model, mr_session_rows(model), WINDOW, &scorer));
    must(mr_scorer_allocate(scorer));
    must(mr_score_options(scorer, &(mr_scoring){.options = options, .count = all, .form = form},
                          out));
    mr_scorer_destroy(&scorer);
}

static bool is_near(const json_t *expected_of, const char *key, int64_t option, double found,
                    double within)
{
    const json_t *value = json_array_get(json_object_get(expected_of, key), (size_t)option);
    const double expected = json_number_value(value);
    if (fabs(found - expected) <= within) return true;
    print_error("%s, option %d: expected %.9g, found %.9g\n", key, (int)option, expected, found);
    return false;
}

/* Collects the records that have a prompt of a protocol, scores and compares them. */
static int compare(const json_t *lines, const json_t *prompts, mr_model *model,
                   const mr_tokenizer *tokenizer, const char *protocol, int shots,
                   const char *member)
{
    static record records[MOST];
    const mr_option_form form = member ? MR_OPTION_NEXT : MR_OPTION_SUM;
    mr_option_scores scores;
    int count = 0;
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *line = json_array_get(lines, i);
        const json_t *prompt = prompt_of(prompts, line, protocol, shots);
        if (!prompt) continue;
        assert_true(count < MOST);
        records[count].expected = member ? json_object_get(line, member) : line;
        encode(tokenizer, prompt, &records[count++].item);
    }
    score(model, records, count, form, &scores);
    for (int64_t i = 0, first = 0; i < count; first += records[i++].item.count) {
        const json_t *expected = records[i].expected;
        for (int64_t k = 0; k < records[i].item.count; k++) {
            const double found = scores.score[first + k];
            if (member) {
                assert_on_all_ranks(
                    is_near(expected, "probabilities", k, exp(found), probability_within));
                continue;
            }
            assert_on_all_ranks(is_near(expected, "loglikelihood", k, found, harness_within));
            assert_on_all_ranks(
                is_near(expected, "loglikelihood_float64", k, found, float64_within));
        }
        assert_on_all_ranks(mr_option_best(&scores, first, records[i].item.count) ==
                            json_integer_value(json_object_get(expected, "prediction")));
    }
    print_message("%s, %d shots: %d items, %lld tokens ran\n", protocol, shots, count,
                  (long long)scores.tokens);
    mr_option_scores_free(&scores);
    for (int i = 0; i < count; i++)
        mr_item_tokens_free(&records[i].item);
    return count;
}

/* A prompt that is generated behind, with what is expected of it. */
typedef struct asked {
    const json_t *expected, *stops;
    mr_prompt prompt;
} asked;

static void compare_text(const asked *one, const mr_tokenizer *tokenizer, const mr_continuation *c)
{
    const json_t *ids = json_object_get(one->expected, "ids");
    const char *stops[MOST_STOPS];
    mr_continue_options o = {.tokenizer = tokenizer, .stops = stops};
    mr_text text = {0};
    size_t from;
    bool stopped;
    assert_true(json_array_size(one->stops) <= MOST_STOPS);
    for (size_t i = 0; i < json_array_size(one->stops); i++)
        stops[o.stop_count++] = json_string_value(json_array_get(one->stops, i));
    for (size_t t = 0; t < json_array_size(ids); t++)
        assert_on_all_ranks((int64_t)t < c->count &&
                            c->tokens[t] == json_integer_value(json_array_get(ids, t)));
    must(mr_continuation_text(&o, &one->prompt, c, &text, &from, &stopped));
    const char *found = mr_text_get(&text) + from,
               *expected = json_string_value(json_object_get(one->expected, "completion"));
    /* The harness decodes what is new alone, and so without the blank before its first word. */
    if (found[0] == ' ') found++;
    const bool same = strcmp(found, expected) == 0;
    if (!same) print_error("expected \"%s\", found \"%s\"\n", expected, found);
    mr_text_free(&text);
    assert_on_all_ranks(same);
}

/* Generates behind the prompts of a protocol that are given, as long as the reference does. */
static int compare_texts(const json_t *lines, const json_t *prompts, mr_model *model,
                         const mr_tokenizer *tokenizer, const char *protocol, const char *member)
{
    static asked all[MOST];
    static mr_prompt list[MOST];
    static mr_continuation out[MOST];
    const int64_t eos[] = {tokenizer->eos};
    mr_continue_options o = {.most = 1, .eos = eos, .eos_count = 1, .sampling = {.top_p = 1}};
    mr_generator *generator;
    int64_t count = 0, longest = 0;
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *line = json_array_get(lines, i);
        const json_t *prompt = prompt_of(prompts, line, protocol, -1);
        const json_t *expected = member ? json_object_get(line, member) : line;
        if (!prompt ||
            json_number_value(json_object_get(expected, "smallest_margin")) < margin_least)
            continue;
        const json_t *text = json_object_get(prompt, "prompt");
        const size_t bytes = json_string_length(text);
        const int64_t room = mr_tokenizer_longest(tokenizer, bytes), before = 1;
        int32_t *ids = mr_alloc_array(MR_MEM_OTHER, (size_t)(room + before), sizeof *ids);
        asked *one = &all[count];
        assert_true(ids && count < MOST);
        ids[0] = tokenizer->bos;
        must(mr_tokenizer_encode(tokenizer, json_string_value(text), bytes, ids + before, room,
                                 &one->prompt.length));
        one->prompt = (mr_prompt){ids, one->prompt.length + before};
        one->expected = expected;
        one->stops = json_object_get(prompt, "stop");
        if (one->prompt.length > longest) longest = one->prompt.length;
        const int64_t tokens = (int64_t)json_array_size(json_object_get(expected, "ids"));
        if (tokens > o.most) o.most = tokens;
        list[count++] = one->prompt;
    }
    if (count == 0) return 0;
    must(mr_generator_create(model, SLOTS, longest, o.most, &generator));
    must(mr_generator_allocate(generator));
    must(mr_continue(generator, &o, list, count, out));
    for (int64_t i = 0; i < count; i++) {
        compare_text(&all[i], tokenizer, &out[i]);
        mr_free((void *)(uintptr_t)all[i].prompt.ids);
    }
    mr_continuations_free(out, count);
    mr_generator_destroy(&generator);
    print_message("%s: %d texts\n", protocol, (int)count);
    return (int)count;
}

static int compare_root(const char *root)
{
    char path[PATH_MAX];
    json_t *mmlu = lines_of(root, "e2e/mmlu.jsonl"), *gsm8k = lines_of(root, "e2e/gsm8k.jsonl");
    json_t *questions = lines_of(root, "prompts/mmlu.jsonl");
    json_t *problems = lines_of(root, "prompts/gsm8k.jsonl");
    int count = 0;
    reading r;
    mr_tokenizer *t;
    must(mr_file_path(path, "%s/eval/e2e/llama/model.safetensors.xz", root));
    if (data_unpack(path, "model.safetensors")) {
        must(mr_file_path(path, "%s/eval/e2e/llama/config.json", root));
        data_shell("cp '%s' config.json", path);
        must(mr_file_path(path, "%s/../data/tokenizer/llama_tokenizer.model.xz", root));
        if (!data_unpack(path, "llama.model")) skip_without_golden("../data/tokenizer beside it");
        must(mr_tokenizer_create("llama.model", &t));
        must(reading_open(&world, ".", 2, true, &r));
        count += compare(mmlu, questions, r.model, t, "lm_eval", 5, NULL);
        count += compare(mmlu, questions, r.model, t, "open_instruct", 5, "open_instruct_5shot");
        count += compare(mmlu, questions, r.model, t, "open_instruct_chat", 0,
                         "open_instruct_chat_0shot");
        count += compare_texts(gsm8k, problems, r.model, t, "lm_eval_gsm8k", NULL);
        count += compare_texts(gsm8k, problems, r.model, t, "metamath", "metamath");
        reading_free(&r);
        mr_tokenizer_destroy(&t);
    }
    json_decref(mmlu);
    json_decref(gsm8k);
    json_decref(questions);
    json_decref(problems);
    return count;
}

static void scores_and_texts_are_those_of_the_published_code(void **state)
{
    (void)state;
    if (mr_golden_count(compare_root) == 0) skip_without_golden("eval/e2e");
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(
        scores_and_texts_are_those_of_the_published_code, ranks_enter_folder, ranks_leave_folder)};
    return ranks_end(cmocka_run_group_tests_name("published", tests, NULL, NULL));
}
