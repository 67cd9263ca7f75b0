/* Options of items anywhere in the public files, beside published code: the small model of
 * <root>/eval/e2e, for the roots that MORA_GOLDEN names. test_eval_golden.c has the rest of it. */

#include "data_files.h"
#include "eval/set_run.h"
#include "golden_lines.h"
#include "ranks.h"
#include "reading.h"

#include <math.h>
#include <unistd.h>

enum { WINDOW = 2048, CLASSES = 16 };

/* Of the published code's float32, and of float64. */
static const double within = 1e-3, within_double = 1e-4;

static struct {
    char root[TEST_PATH]; /* whose model it is; "" */
    mr_tokenizer *tokenizer;
    reading reading;
} model;

/* The sets asked last. */
static struct {
    char name[64];
    mr_sets sets;
} kept[16];
static int kept_count;

static void read_model(void)
{
    char path[TEST_PATH];
    if (strcmp(model.root, golden_root()) == 0) return;
    if (model.root[0] != '\0') reading_free(&model.reading);
    snprintf(model.root, sizeof model.root, "%s", golden_root());
    data_shell("rm -rf llama && mkdir llama && cp '%s/eval/e2e/llama/config.json' llama/",
               golden_root());
    snprintf(path, sizeof path, "%s/eval/e2e/llama/model.safetensors.xz", golden_root());
    assert_true(data_unpack(path, "llama/model.safetensors"));
    data_unpack_shared("data/tokenizer/llama_tokenizer.model.xz", "llama.model");
    if (!model.tokenizer) must(mr_tokenizer_create("llama.model", &model.tokenizer));
    must(reading_open(&world, "llama", 2, true, &model.reading));
}

/* A set over the public files; those of MMLU come out of their archive. */
static mr_set *set_of(const char *name)
{
    char path[TEST_PATH];
    for (int i = 0; i < kept_count; i++)
        if (strcmp(kept[i].name, name) == 0) return kept[i].sets.set;
    assert_true(kept_count < (int)(sizeof kept / sizeof kept[0]));
    snprintf(kept[kept_count].name, sizeof kept[0].name, "%s", name);
    must(mr_sets_load(name, &kept[kept_count].sets));
    mr_set *set = kept[kept_count++].sets.set;
    if (strncmp(name, "mmlu", 4) == 0 && access("mmlu", R_OK) != 0)
        data_shell("tar -xJf '%s'", test_shared("data/mmlu/mmlu_csv.tar.xz", path));
    must(mr_set_read(set, strncmp(name, "mmlu", 4) == 0 ? "." : test_shared("data", path)));
    return set;
}

/* Finds the items of a row or a name, and of a class where one is given. */
static int64_t find_items(const mr_set *set, const json_t *ref, const char *class,
                          int64_t out[CLASSES])
{
    int64_t count = 0;
    for (int64_t i = 0; i < set->items && count < CLASSES; i++) {
        char room[32];
        mr_text id = {0};
        const char *group = mr_set_group(set, i, 0, room);
        const json_t *row = json_object_get(set->record[set->at[i]].json, "@row");
        if (class && strcmp(group, class) != 0) continue;
        must(mr_set_id(set, i, &id));
        if (json_is_string(ref) ? strcmp(mr_text_get(&id), json_string_value(ref)) == 0
                                : json_number_value(row) == json_number_value(ref))
            out[count++] = i;
        mr_text_free(&id);
    }
    return count;
}

static mr_status keep_row(void *context, int64_t index, const json_t *row)
{
    (void)index;
    return json_array_append(context, (json_t *)(uintptr_t)row) == 0 ? MR_OK : MR_ERR_MEMORY;
}

/* Returns the rows of items of a set, as an evaluation of them alone writes them. */
static json_t *ask(const mr_set *set, const int64_t *items, int64_t count)
{
    json_t *rows = json_array();
    mr_set_run run;
    const mr_set_run_options options = {
        .tokenizer = model.tokenizer, .bos = true, .window = WINDOW};
    must(mr_set_run_begin(set, &options, &run));
    assert_true(count <= run.items);
    memcpy(run.order, items, (size_t)count * sizeof *items);
    run.items = count;
    must(mr_set_run_lay_out(&run, model.reading.model));
    must(mr_set_run_allocate(&run));
    must(mr_set_run_items(&run, model.reading.model, 0, keep_row, rows));
    mr_set_run_end(&run);
    assert_int_equal(json_array_size(rows), count);
    return rows;
}

static double number_at(const json_t *object, const char *key, size_t i)
{
    const json_t *value = json_array_get(json_object_get(object, key), i);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Whether a row says what a reference does: log-likelihoods, and what is taken. A token each where
 * they are means. */
static bool agrees(const json_t *row, const json_t *expected, const char *key, double tolerance,
                   bool mean)
{
    const json_t *list = json_object_get(expected, key),
                 *prediction = json_object_get(expected, "prediction");
    bool same = json_array_size(list) == json_array_size(json_object_get(row, "loglikelihood")) &&
                json_array_size(list) > 0;
    for (size_t o = 0; o < json_array_size(list) && same; o++) {
        const double sum = number_at(row, "loglikelihood", o);
        const double found = mean ? -sum / number_at(row, "tokens", o) : sum;
        double reference = number_at(expected, key, o);
        if (strcmp(key, "probabilities") == 0) reference = log(reference);
        same = fabs(found - reference) <= tolerance; /* not so of NAN */
    }
    return same &&
           json_number_value(prediction) == json_number_value(json_object_get(row, "found"));
}

/* MMLU. */

static json_t *ask_mmlu(const json_t *line, const char *name)
{
    int64_t items[CLASSES];
    const mr_set *set = set_of(name);
    const char *subject = json_string_value(json_object_get(line, "subject"));
    golden_assert(line, find_items(set, json_object_get(line, "row"), subject, items) == 1);
    json_t *rows = ask(set, items, 1), *row = json_incref(json_array_get(rows, 0));
    json_decref(rows);
    golden_assert(line,
                  json_number_value(json_object_get(row, "gold")) == golden_number(line, "gold"));
    return row;
}

static void check_mmlu(const json_t *line)
{
    static const char *const next[][2] = {
        {"open_instruct_5shot", "mmlu_open_instruct_5"},
        {"open_instruct_chat_0shot", "mmlu_open_instruct_chat_0"},
    };
    read_model();
    json_t *row = ask_mmlu(line, "mmlu_lm_eval_5");
    golden_assert(line, agrees(row, line, "loglikelihood", within, false));
    golden_assert(line, agrees(row, line, "loglikelihood_float64", within_double, false));
    golden_assert(line, json_number_value(json_object_get(row, "score")) ==
                            golden_truth(line, "correct"));
    /* A prompt and its option keep their last WINDOW + 1 tokens. */
    const double length = golden_number(line, "prompt_tokens") + 1;
    golden_assert(line,
                  json_number_value(json_object_get(row, "cut")) == fmax(0, length - 1 - WINDOW));
    json_decref(row);
    for (int i = 0; i < 2; i++) {
        const json_t *expected = json_object_get(line, next[i][0]);
        row = ask_mmlu(line, next[i][1]);
        golden_assert(line, agrees(row, expected, "probabilities", within, false));
        json_decref(row);
    }
}

static void mmlu_is_scored_as_in_the_published_code(void **state)
{
    (void)state;
    static const golden_kind every[] = {{"*", check_mmlu}, {NULL, NULL}};
    char data[TEST_PATH];
    test_shared("data", data);
    golden_lines("eval/e2e/mmlu.jsonl", every);
}

/* Domains by our templates. The reference does not say which question it asked of a headline: one
 * of them must be it. */

static void check_domain(const json_t *line)
{
    static const char *const names[][2] = {
        {"PubMedQA", "pubmedqa"}, {"USMLE", "usmle"}, {"RCT", "rct"},
        {"ChemProt", "chemprot"}, {"FPB", "fpb"},     {"FiQA_SA", "fiqa_sa"},
        {"Headline", "headline"},
    };
    int64_t items[CLASSES];
    size_t n = 0, bytes;
    if (!json_object_get(line, "protocol")) return; /* test_eval_golden.c */
    const char *name = golden_text(line, "set", &bytes);
    while (n < sizeof names / sizeof names[0] && strcmp(names[n][0], name) != 0)
        n++;
    golden_assert(line, n < sizeof names / sizeof names[0] && golden_truth(line, "add_bos"));
    read_model();
    const mr_set *set = set_of(names[n][1]);
    const int64_t count = find_items(set, json_object_get(line, "ref"), NULL, items);
    golden_assert(line, count == (strcmp(name, "Headline") == 0 ? 6 : 1));
    json_t *rows = ask(set, items, count);
    bool any = false;
    for (int64_t i = 0; i < count && !any; i++) {
        const json_t *row = json_array_get(rows, (size_t)i);
        any = agrees(row, line, "mean_nll", within, true) &&
              json_number_value(json_object_get(row, "gold")) == golden_number(line, "gold");
    }
    json_decref(rows);
    golden_assert(line, any);
}

static void domains_are_scored_as_in_the_published_code(void **state)
{
    (void)state;
    static const golden_kind every[] = {{"*", check_domain}, {NULL, NULL}};
    char data[TEST_PATH];
    test_shared("data", data);
    golden_lines("eval/e2e/domain.jsonl", every);
}

static int leave(void **state)
{
    for (int i = 0; i < kept_count; i++)
        mr_sets_free(&kept[i].sets);
    mr_tokenizer_destroy(&model.tokenizer);
    if (model.root[0] != '\0') reading_free(&model.reading);
    return ranks_leave_folder(state);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mmlu_is_scored_as_in_the_published_code),
        cmocka_unit_test(domains_are_scored_as_in_the_published_code),
    };
    ranks_begin(&argc, &argv);
    return ranks_end(cmocka_run_group_tests(tests, ranks_enter_folder, leave));
}
