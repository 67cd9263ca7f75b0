/* mora eval beside AdaptLLM's published code: the small model of <root>/eval/e2e on the files of
 * <root>/eval/adaptllm, for the roots that MORA_GOLDEN names. */

#include "data_files.h"
#include "golden_find.h"
#include "program.h"

#include <jansson.h>

#include <math.h>

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

static int check_root(const char *root)
{
    char path[TEST_PATH], all[1024] = "";
    int checked = 0;
    snprintf(path, sizeof path, "%s/eval/e2e/llama/model.safetensors.xz", root);
    program_make_folder("llama");
    if (!data_unpack(path, "llama/model.safetensors")) return 0;
    data_shell("cp '%s/eval/e2e/llama/config.json' llama/", root);
    data_unpack_shared("data/tokenizer/llama_tokenizer.model.xz", "llama/tokenizer.model");
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

static void files_of_adaptllm_score_as_in_the_published_code(void **state)
{
    (void)state;
    char data[TEST_PATH];
    mr_names roots = {0};
    int checked = 0;
    test_shared("data", data);
    must(mr_golden_roots(&roots));
    for (int64_t i = 0; i < roots.count; i++)
        checked += check_root(roots.item[i]);
    mr_names_free(&roots);
    if (checked == 0) skip_because("no root of MORA_GOLDEN has eval/e2e");
    print_message("%d items\n", checked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_of_adaptllm_score_as_in_the_published_code),
    };
    return cmocka_run_group_tests(tests, program_enter_folder, folder_leave);
}
