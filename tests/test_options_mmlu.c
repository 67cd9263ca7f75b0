/** @file
 * MMLU of a small model beside what lm-evaluation-harness and open-instruct give it:
 * <root>/eval/e2e/mmlu.jsonl, of which <root>/eval/prompts/mmlu.jsonl has some of the prompts, for
 * the roots that MORA_GOLDEN names (colon-separated; without it ../shared/golden). */

#include "base/file.h"
#include "data_files.h"
#include "eval/border.h"
#include "folder.h"
#include "golden_find.h"
#include "ranks.h"
#include "reading.h"

#include <jansson.h>

#include <math.h>

enum { WINDOW = 2048, MOST = 512 };

/* What the harness's own float32 is away, and float64; and probabilities of the published code. */
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

/* The prompt of a protocol for a record, NULL where it is not given. */
static const json_t *prompt_of(const json_t *prompts, const json_t *line, const char *protocol,
                               int shots)
{
    for (size_t i = 0; i < json_array_size(prompts); i++) {
        const json_t *p = json_array_get(prompts, i);
        if (json_equal(json_object_get(p, "subject"), json_object_get(line, "subject")) &&
            json_equal(json_object_get(p, "row"), json_object_get(line, "row")) &&
            strcmp(json_string_value(json_object_get(p, "protocol")), protocol) == 0 &&
            json_integer_value(json_object_get(p, "shots")) == shots)
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
    static mr_option options[8 * MOST];
    mr_scorer *scorer;
    int64_t all = 0;
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < records[i].item.count; k++)
            options[all++] = records[i].item.options[k];
    must(mr_scorer_create(model, MR_SCORER_ROWS, WINDOW, &scorer));
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

static int compare_root(const char *root)
{
    char path[PATH_MAX];
    json_t *lines = lines_of(root, "e2e/mmlu.jsonl"),
           *prompts = lines_of(root, "prompts/mmlu.jsonl");
    int count = 0;
    reading r;
    mr_tokenizer *tokenizer;
    must(mr_file_path(path, "%s/eval/e2e/llama/model.safetensors.xz", root));
    if (json_array_size(lines) > 0 && data_unpack(path, "model.safetensors")) {
        must(mr_file_path(path, "%s/eval/e2e/llama/config.json", root));
        data_shell("cp '%s' config.json", path);
        must(mr_file_path(path, "%s/../data/tokenizer/llama_tokenizer.model.xz", root));
        if (!data_unpack(path, "llama.model")) skip_because("needs %s", path);
        must(mr_tokenizer_create("llama.model", &tokenizer));
        must(reading_open(&world, ".", 2, true, &r));
        count += compare(lines, prompts, r.model, tokenizer, "lm_eval", 5, NULL);
        count +=
            compare(lines, prompts, r.model, tokenizer, "open_instruct", 5, "open_instruct_5shot");
        count += compare(lines, prompts, r.model, tokenizer, "open_instruct_chat", 0,
                         "open_instruct_chat_0shot");
        reading_free(&r);
        mr_tokenizer_destroy(&tokenizer);
    }
    json_decref(lines);
    json_decref(prompts);
    return count;
}

static void mmlu_scores_as_in_the_published_code(void **state)
{
    mr_names roots = {0};
    int count = 0;
    (void)state;
    must(mr_golden_roots(&roots));
    for (int64_t i = 0; i < roots.count; i++)
        count += compare_root(roots.item[i]);
    mr_names_free(&roots);
    if (count == 0) skip_because("needs eval/e2e of a root of MORA_GOLDEN, or ../shared");
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(
        mmlu_scores_as_in_the_published_code, ranks_enter_folder, ranks_leave_folder)};
    return ranks_end(cmocka_run_group_tests_name("options_mmlu", tests, NULL, NULL));
}
