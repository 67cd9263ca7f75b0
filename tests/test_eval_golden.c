/* mora eval beside published code: the small model of <root>/eval/e2e on the files of
 * <root>/eval/adaptllm and on GSM8K, for the roots that MORA_GOLDEN names. */

#include "data_files.h"
#include "golden_find.h"
#include "program.h"

#include <jansson.h>

#include <math.h>
#include <unistd.h>

enum { SETS = 8 };

/* Of the published code's float32. */
static const double within = 1e-3;

static const char *const names[SETS][2] = {
    {"PubMedQA", "adaptllm_pubmedqa"}, {"RCT", "adaptllm_rct"},
    {"USMLE", "adaptllm_usmle"},       {"ChemProt", "adaptllm_chemprot"},
    {"MQP", "adaptllm_mqp"},           {"FPB", "adaptllm_fpb"},
    {"FiQA_SA", "adaptllm_fiqa_sa"},   {"Headline", "adaptllm_headline"},
};

static json_t *lines_of(const char *path)
{
    char *text = program_read(path, NULL);
    json_t *list = json_array();
    for (char *at = strtok(text, "\n"); at; at = strtok(NULL, "\n"))
        json_array_append_new(list, json_loads(at, 0, NULL));
    mr_free(text);
    return list;
}

/* The row of an item of a set among those of a file. */
static const json_t *row_of(const json_t *rows, const char *set, double id)
{
    char item[32];
    bool in = false;
    snprintf(item, sizeof item, "%.15g", id);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i), *head = json_object_get(row, "set");
        if (head) in = strcmp(json_string_value(head), set) == 0;
        const char *name = json_string_value(json_object_get(row, "item"));
        if (in && name && strcmp(name, item) == 0) return row;
    }
    fail_msg("no row of item %s of %s", item, set);
    return NULL;
}

static void check(const json_t *line, const json_t *rows)
{
    const char *set = NULL;
    for (int s = 0; s < SETS; s++)
        if (strcmp(json_string_value(json_object_get(line, "set")), names[s][0]) == 0)
            set = names[s][1];
    assert_non_null(set);
    const json_t *row = row_of(rows, set, json_number_value(json_object_get(line, "id")));
    const json_t *nll = json_object_get(line, "mean_nll");
    for (size_t o = 0; o < json_array_size(nll); o++) {
        const double found =
            -json_number_value(json_array_get(json_object_get(row, "loglikelihood"), o)) /
            json_number_value(json_array_get(json_object_get(row, "tokens"), o));
        const double expected = json_number_value(json_array_get(nll, o));
        if (fabs(found - expected) > within)
            fail_msg("%s: option %zu is %.9g, expected %.9g", set, o, found, expected);
    }
    assert_int_equal(json_integer_value(json_object_get(row, "found")),
                     json_integer_value(json_object_get(line, "prediction")));
}

static bool unpack_model(const char *root)
{
    char path[TEST_PATH];
    snprintf(path, sizeof path, "%s/eval/e2e/llama/model.safetensors.xz", root);
    data_shell("rm -rf llama && mkdir llama");
    if (!data_unpack(path, "llama/model.safetensors")) return false;
    data_shell("cp '%s/eval/e2e/llama/config.json' llama/", root);
    data_unpack_shared("data/tokenizer/llama_tokenizer.model.xz", "llama/tokenizer.model");
    return true;
}

static int check_root(const char *root)
{
    char path[TEST_PATH], all[1024] = "";
    int checked = 0;
    if (!unpack_model(root)) return 0;
    for (int s = 0; s < SETS; s++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", s > 0 ? "," : "",
                 names[s][1]);
    snprintf(path, sizeof path, "%s/eval/e2e/domain.jsonl", root);
    json_t *lines = lines_of(path);
    for (int bos = 0; bos < 2; bos++) {
        remove("r.jsonl");
        program_result result = program_succeed((program_setting){0},
                                                "eval llama --set %s --data %s/eval/adaptllm "
                                                "--threads 1 --out r.jsonl %s",
                                                all, root, bos ? "" : "--no-bos");
        program_free(&result);
        json_t *rows = lines_of("r.jsonl");
        for (size_t i = 0; i < json_array_size(lines); i++) {
            const json_t *line = json_array_get(lines, i);
            if (json_object_get(line, "protocol") ||
                json_is_true(json_object_get(line, "add_bos")) != (bos == 1))
                continue;
            check(line, rows);
            checked++;
        }
        json_decref(rows);
    }
    json_decref(lines);
    return checked;
}

/* Sets whose texts are those of a reference, and where it has them. */
static const struct {
    const char *set, *member, *like;
} written[] = {{"five", NULL, "gsm8k_lm_eval"}, {"none", "metamath", "gsm8k_metamath"}};

/* A margin that float32 cannot close. */
static const double margin = 1e-3;

static const char *without_blanks(const char *text)
{
    return text + strspn(text, " ");
}

/* What is read out of a text by each rule, and whether it is right. */
static void check_answers(const json_t *row, const json_t *of)
{
    static const char *const keys[][2] = {{"strict", "strict_correct"},
                                          {"flexible", "flexible_correct"}};
    const json_t *found = json_object_get(row, "found"), *score = json_object_get(row, "score");
    const json_t *correct = json_object_get(of, "correct"); /* of one rule */
    for (size_t r = 0; r < json_array_size(score); r++) {
        const char *text = json_string_value(json_object_get(of, keys[r][0]));
        assert_true(correct || text);
        if (text) assert_string_equal(json_string_value(json_array_get(found, r)), text);
        const json_t *right = correct ? correct : json_object_get(of, keys[r][1]);
        assert_true(json_is_boolean(right));
        assert_true(json_number_value(json_array_get(score, r)) == json_is_true(right));
    }
}

static int check_texts(const json_t *lines, const json_t *rows)
{
    int checked = 0;
    for (size_t i = 0; i < json_array_size(lines); i++) {
        for (int s = 0; s < 2; s++) {
            const json_t *line = json_array_get(lines, i);
            const json_t *row =
                row_of(rows, written[s].set, json_number_value(json_object_get(line, "row")));
            const json_t *of = written[s].member ? json_object_get(line, written[s].member) : line;
            if (json_number_value(json_object_get(of, "smallest_margin")) < margin) continue;
            /* Decoded by itself a text loses the blank before its first word. */
            assert_string_equal(
                without_blanks(json_string_value(json_object_get(row, "text"))),
                without_blanks(json_string_value(json_object_get(of, "completion"))));
            check_answers(row, of);
            checked++;
        }
    }
    return checked;
}

static int write_root(const char *root)
{
    int items = 0;
    char path[TEST_PATH];
    snprintf(path, sizeof path, "%s/eval/e2e/gsm8k.jsonl", root);
    if (access(path, R_OK) != 0 || !unpack_model(root)) return 0;
    program_write("own.yaml",
                  "sets:\n"
                  "  - {name: %s, like: %s, new_tokens: 32}\n"
                  "  - {name: %s, like: %s, new_tokens: 32}\n",
                  written[0].set, written[0].like, written[1].set, written[1].like);
    json_t *lines = lines_of(path);
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const int row = (int)json_number_value(json_object_get(json_array_get(lines, i), "row"));
        items = row >= items ? row + 1 : items;
    }
    remove("r.jsonl");
    program_result result =
        program_succeed((program_setting){0},
                        "eval llama --set own.yaml --data %s --threads 1 --limit %d --out r.jsonl",
                        test_shared("data", path), items);
    program_free(&result);
    json_t *rows = lines_of("r.jsonl");
    const int checked = check_texts(lines, rows);
    json_decref(rows);
    json_decref(lines);
    return checked;
}

static void gsm8k_is_answered_as_in_the_published_code(void **state)
{
    (void)state;
    char data[TEST_PATH];
    test_shared("data", data);
    const int checked = mr_golden_count(write_root);
    if (checked == 0) skip_without_golden("eval/e2e");
    print_message("%d texts\n", checked);
}

static void files_of_adaptllm_score_as_in_the_published_code(void **state)
{
    (void)state;
    char data[TEST_PATH];
    test_shared("data", data);
    const int checked = mr_golden_count(check_root);
    if (checked == 0) skip_without_golden("eval/e2e");
    print_message("%d items\n", checked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_of_adaptllm_score_as_in_the_published_code),
        cmocka_unit_test(gsm8k_is_answered_as_in_the_published_code),
    };
    return cmocka_run_group_tests(tests, program_enter_folder, folder_leave);
}
