/* Every reference record of prompts, byte for byte, and of tokens, out of the public files. */

#include "data_files.h"
#include "eval/answer_latex.h"
#include "eval/set.h"
#include "folder.h"
#include "golden_lines.h"

#include <unistd.h>

enum { MOST = 40 };

/* Sets that were read, by name and folder. */
static struct {
    char name[64], data[TEST_PATH];
    mr_sets sets;
} kept[MOST];
static int kept_count;

static mr_tokenizer *tokenizer;

/* Before lines are gone through: a skip amid them would leave what they hold. */
static void need_data(void)
{
    char path[TEST_PATH];
    test_shared("data", path);
}

static mr_set *set_of(const char *name, const char *data)
{
    for (int i = 0; i < kept_count; i++)
        if (strcmp(kept[i].name, name) == 0 && strcmp(kept[i].data, data) == 0)
            return kept[i].sets.set;
    assert_true(kept_count < MOST);
    snprintf(kept[kept_count].name, sizeof kept[0].name, "%s", name);
    snprintf(kept[kept_count].data, sizeof kept[0].data, "%s", data);
    must(mr_sets_load(name, &kept[kept_count].sets));
    mr_set *set = kept[kept_count++].sets.set;
    must(mr_set_read(set, data));
    return set;
}

static mr_set *shared_set(const char *name)
{
    char data[TEST_PATH];
    return set_of(name, test_shared("data", data));
}

/* The files of MMLU, out of their archive. */
static mr_set *mmlu_set(const char *name)
{
    char path[TEST_PATH];
    test_shared("data/mmlu/mmlu_csv.tar.xz", path);
    if (access("mmlu", R_OK) != 0) data_shell("tar -xJf '%s'", path);
    return set_of(name, ".");
}

static void use_tokenizer(void)
{
    data_unpack_shared("data/tokenizer/llama_tokenizer.model.xz", "llama.model");
    if (!tokenizer) must(mr_tokenizer_create("llama.model", &tokenizer));
}

static bool record_is(const mr_set *set, int64_t i, const char *key, double row, const char *class)
{
    char room[32];
    const mr_set_record *r = &set->record[set->at[i]];
    const char *group = mr_set_group(set, i, 0, room);
    return json_number_value(json_object_get(r->json, key)) == row &&
           (!class || (group && strcmp(group, class) == 0));
}

/* The item of a row, and of a class where one is given. */
static int64_t by_row(const json_t *line, const mr_set *set, double row, const char *class)
{
    for (int64_t i = 0; i < set->items; i++)
        if (record_is(set, i, "@row", row, class)) return i;
    golden_hold(line, false, "there is such an item");
    return -1;
}

static int64_t by_id(const json_t *line, const mr_set *set, const char *id)
{
    for (int64_t i = 0; i < set->items; i++) {
        mr_text text = {0};
        must(mr_set_id(set, i, &text));
        const bool same = strcmp(mr_text_get(&text), id) == 0;
        mr_text_free(&text);
        if (same) return i;
    }
    golden_hold(line, false, "there is such an item");
    return -1;
}

static void check_text(const json_t *line, const char *key, const mr_text *text)
{
    size_t bytes;
    const char *expected = golden_text(line, key, &bytes);
    if (text->length != bytes || memcmp(text->data, expected, bytes) != 0) {
        print_error("found \"%s\"\n", mr_text_get(text));
        golden_hold(line, false, "the prompt is that");
    }
}

static void check_prompt(const json_t *line, const mr_set *set, int64_t item, int64_t shots)
{
    mr_text text = {0};
    must(mr_set_prompt(set, item, shots, &text));
    check_text(line, "prompt", &text);
    mr_text_free(&text);
}

static void check_options(const json_t *line, const mr_set *set, int64_t item)
{
    const json_t *options = json_object_get(line, "options");
    golden_assert(line, (int64_t)golden_list(line, "options") == mr_set_options(set, item));
    for (int64_t o = 0; o < mr_set_options(set, item); o++) {
        mr_text text = {0};
        must(mr_set_option(set, item, o, &text));
        golden_assert(line, strcmp(mr_text_get(&text),
                                   json_string_value(json_array_get(options, (size_t)o))) == 0);
        mr_text_free(&text);
    }
    golden_assert(line, set->record[set->at[item]].gold == golden_number(line, "gold"));
}

static void check_stops(const json_t *line, const mr_set *set)
{
    const json_t *stops = json_object_get(line, "stop");
    golden_assert(line, (int)golden_list(line, "stop") == set->stops.count);
    for (int i = 0; i < set->stops.count; i++)
        golden_assert(line, strcmp(set->stops.item[i],
                                   json_string_value(json_array_get(stops, (size_t)i))) == 0);
    golden_assert(line, set->new_tokens == golden_number(line, "max_new_tokens"));
}

/* The right answer ends as the line says, or is what stands in the box that does. */
static void check_answer(const json_t *line, const mr_set *set, int64_t item)
{
    char room[32];
    size_t bytes, gold_bytes;
    const char *gold = golden_text(line, "gold", &gold_bytes);
    const char *answer = mr_set_answer(set, item, room, &bytes);
    mr_answer read = {.state = MR_ANSWER_NONE};
    must(set->rule[0]->gold(answer, bytes, &read));
    const char *part = read.count > 0 ? mr_text_get(&read.text) + read.part[0].from : "";
    const bool same =
        read.count > 0 && read.part[0].bytes == gold_bytes && memcmp(part, gold, gold_bytes) == 0;
    const bool ends =
        bytes >= gold_bytes && memcmp(answer + bytes - gold_bytes, gold, gold_bytes) == 0;
    mr_answer_free(&read);
    golden_assert(line, same || ends);
}

static const char *text_of(const json_t *line, const char *key)
{
    size_t bytes;
    return golden_text(line, key, &bytes);
}

/* MMLU. */

static void check_mmlu(const json_t *line)
{
    char name[64];
    snprintf(name, sizeof name, "mmlu_%s_%d", text_of(line, "protocol"),
             (int)golden_number(line, "shots"));
    mr_set *set = mmlu_set(name);
    const int64_t item = by_row(line, set, golden_number(line, "row"), text_of(line, "subject"));
    int64_t shots = set->shots.count;
    if (set->form == MR_OPTION_NEXT) {
        mr_set_encoded ids;
        const json_t *expected = json_object_get(line, "option_token_ids");
        use_tokenizer();
        must(mr_set_encode(set, item, tokenizer, true, 2048, &ids));
        shots = ids.shots;
        golden_assert(line, shots == golden_number(line, "shots_used"));
        for (int64_t o = 0; o < ids.tokens.count; o++)
            golden_assert(line,
                          ids.tokens.options[o].text.ids[ids.tokens.options[o].text.length - 1] ==
                              json_number_value(json_array_get(expected, (size_t)o)));
        mr_item_tokens_free(&ids.tokens);
    }
    check_prompt(line, set, item, shots);
    check_options(line, set, item);
}

static void check_none(const json_t *line)
{
    static const char *const names[] = {"lm_eval", "open_instruct"};
    for (int i = 0; i < 2; i++) {
        char name[64];
        snprintf(name, sizeof name, "mmlu_%s_0", names[i]);
        mr_set *set = mmlu_set(name);
        mr_text text = {0};
        must(mr_set_prompt(set,
                           by_row(line, set, golden_number(line, "row"), text_of(line, "subject")),
                           0, &text));
        check_text(line, names[i], &text);
        mr_text_free(&text);
    }
}

static void check_header(const json_t *line)
{
    static const char *const names[] = {"lm_eval", "open_instruct"};
    for (int i = 0; i < 2; i++) {
        char name[64];
        snprintf(name, sizeof name, "mmlu_%s_0", names[i]);
        mr_set *set = mmlu_set(name);
        mr_text text = {0};
        must(mr_set_prompt(set, by_row(line, set, 0, text_of(line, "subject")), 0, &text));
        text.length = strcspn(text.data, "\n");
        text.data[text.length] = '\0';
        check_text(line, names[i], &text);
        mr_text_free(&text);
    }
}

static void mmlu_is_asked_as_published(void **state)
{
    (void)state;
    static const golden_kind every[] = {{"*", check_mmlu}, {NULL, NULL}};
    static const golden_kind none[] = {{"*", check_none}, {NULL, NULL}};
    static const golden_kind headers[] = {{"*", check_header}, {NULL, NULL}};
    need_data();
    golden_lines("eval/prompts/mmlu.jsonl", every);
    golden_lines("eval/prompts/mmlu_none.jsonl", none);
    golden_lines("eval/prompts/mmlu_headers.jsonl", headers);
}

/* GSM8K and MATH. */

static void check_shots(const json_t *line, const mr_set *set, int64_t item, const char *key,
                        const char *field)
{
    const json_t *shots = json_object_get(line, key);
    golden_assert(line, (int64_t)golden_list(line, key) == set->shots.count);
    for (int64_t k = 0; k < set->shots.count; k++) {
        const mr_set_record *r = &set->record[set->shot_at[item * set->shots.count + k]];
        golden_assert(
            line, json_equal(json_object_get(r->json, field), json_array_get(shots, (size_t)k)) ||
                      json_number_value(json_object_get(r->json, field)) ==
                          json_number_value(json_array_get(shots, (size_t)k)));
    }
}

static void check_gsm8k(const json_t *line)
{
    const char *protocol = text_of(line, "protocol");
    mr_set *set = shared_set(strcmp(protocol, "metamath") == 0        ? "gsm8k_metamath"
                             : strcmp(protocol, "lm_eval_gsm8k") == 0 ? "gsm8k_lm_eval"
                                                                      : "gsm8k_cot");
    const int64_t item = by_row(line, set, golden_number(line, "row"), NULL);
    check_prompt(line, set, item, set->shots.count);
    check_stops(line, set);
    check_answer(line, set, item);
}

static void check_drawn(const json_t *line)
{
    mr_set *set = shared_set("gsm8k_lm_eval");
    check_shots(line, set, by_row(line, set, golden_number(line, "row"), NULL), "shot_rows",
                "@row");
}

static void gsm8k_is_asked_as_published(void **state)
{
    (void)state;
    static const golden_kind every[] = {{"*", check_gsm8k}, {NULL, NULL}};
    static const golden_kind drawn[] = {{"*", check_drawn}, {NULL, NULL}};
    need_data();
    golden_lines("eval/prompts/gsm8k.jsonl", every);
    golden_lines("eval/prompts/gsm8k_shots.jsonl", drawn);
}

static int64_t by_field(const json_t *line, const mr_set *set, const char *field, const char *text)
{
    for (int64_t i = 0; i < set->items; i++) {
        const json_t *value = json_object_get(set->record[set->at[i]].json, field);
        if (json_is_string(value) && strcmp(json_string_value(value), text) == 0) return i;
    }
    golden_hold(line, false, "there is such an item");
    return -1;
}

static void check_math(const json_t *line)
{
    const bool meta = strcmp(text_of(line, "protocol"), "metamath") == 0;
    const bool shots = golden_number(line, "shots") > 0;
    mr_set *set = shared_set(meta    ? "math_metamath"
                             : shots ? "hendrycks_math_4"
                                     : "hendrycks_math");
    const int64_t item = by_field(line, set, "id", text_of(line, "id"));
    if (shots) check_shots(line, set, item, "shot_ids", "id");
    check_prompt(line, set, item, set->shots.count);
    check_stops(line, set);
    check_answer(line, set, item);
}

static void math_is_asked_as_published(void **state)
{
    (void)state;
    static const golden_kind every[] = {{"*", check_math}, {NULL, NULL}};
    need_data();
    golden_lines("eval/prompts/math.jsonl", every);
}

/* Domains. */

static void check_pubmedqa(const json_t *line)
{
    mr_set *set = shared_set("pubmedqa_lm_eval");
    const int64_t item = by_id(line, set, text_of(line, "id"));
    check_prompt(line, set, item, 0);
    check_options(line, set, item);
}

static void check_domain(const json_t *line)
{
    mr_set *set = shared_set(text_of(line, "set"));
    const json_t *ref = json_object_get(line, "ref"), *class = json_object_get(line, "class_id");
    const char *name = class ? set->class_name[(int)json_number_value(class)] : NULL;
    const int64_t item = json_is_string(ref) ? by_id(line, set, json_string_value(ref))
                                             : by_row(line, set, json_number_value(ref), name);
    if (set->shots.count > 0) check_shots(line, set, item, "demos", set->id ? set->id : "@row");
    golden_assert(line, set->shots.count == golden_number(line, "shots"));
    check_prompt(line, set, item, set->shots.count);
    if (set->metric) {
        check_options(line, set, item);
    } else {
        check_stops(line, set);
        check_answer(line, set, item);
    }
}

static void domains_are_asked_by_our_templates(void **state)
{
    (void)state;
    static const golden_kind pubmedqa[] = {{"*", check_pubmedqa}, {NULL, NULL}};
    static const golden_kind every[] = {{"*", check_domain}, {NULL, NULL}};
    need_data();
    golden_lines("eval/prompts/pubmedqa_lm_eval.jsonl", pubmedqa);
    golden_lines("eval/prompts/domain.jsonl", every);
}

/* AdaptLLM. */

static void check_ids(const json_t *line, const json_t *expected, const mr_scored_option *option)
{
    const int64_t length = option->prompt.length + option->text.length;
    golden_assert(line, (int64_t)json_array_size(expected) == length);
    for (int64_t t = 0; t < length; t++) {
        const int32_t id = t < option->prompt.length ? option->prompt.ids[t]
                                                     : option->text.ids[t - option->prompt.length];
        golden_assert(line, id == json_number_value(json_array_get(expected, (size_t)t)));
    }
}

static void check_adaptllm(const json_t *line)
{
    static const char *const names[][2] = {
        {"PubMedQA", "pubmedqa"},   {"RCT", "rct"},           {"USMLE", "usmle"},
        {"ChemProt", "chemprot"},   {"MQP", "mqp"},           {"FPB", "fpb"},
        {"FiQA_SA", "fiqa_sa"},     {"Headline", "headline"}, {"NER", "ner"},
        {"ConvFinQA", "convfinqa"},
    };
    char data[TEST_PATH], name[64] = "";
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i][0], text_of(line, "set")) == 0)
            snprintf(name, sizeof name, "adaptllm_%s", names[i][1]);
    golden_assert(line, name[0] != '\0');
    snprintf(data, sizeof data, "%s/eval/adaptllm", golden_root());
    mr_set *set = set_of(name, data);
    mr_set_encoded ids;
    int64_t item = 0;
    while (item < set->items && !record_is(set, item, "id", golden_number(line, "id"), NULL))
        item++;
    golden_assert(line, item < set->items);
    use_tokenizer();
    must(mr_set_encode(set, item, tokenizer, golden_truth(line, "add_bos"), 1 << 20, &ids));
    const json_t *input = json_object_get(line, "input_ids");
    check_prompt(line, set, item, 0);
    if (set->metric) {
        const json_t *scored = json_object_get(line, "scored_tokens");
        check_options(line, set, item);
        for (int64_t o = 0; o < ids.tokens.count; o++) {
            check_ids(line, json_array_get(input, (size_t)o), &ids.tokens.options[o]);
            golden_assert(line, ids.tokens.options[o].text.length ==
                                    json_number_value(json_array_get(scored, (size_t)o)));
        }
    } else {
        check_ids(line, input, &ids.tokens.options[0]);
        check_stops(line, set);
    }
    mr_item_tokens_free(&ids.tokens);
}

static void files_of_adaptllm_are_read_as_published(void **state)
{
    (void)state;
    static const golden_kind every[] = {{"*", check_adaptllm}, {NULL, NULL}};
    need_data();
    golden_lines("eval/adaptllm/records.jsonl", every);
}

static int leave(void **state)
{
    for (int i = 0; i < kept_count; i++)
        mr_sets_free(&kept[i].sets);
    mr_tokenizer_destroy(&tokenizer);
    return folder_leave(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mmlu_is_asked_as_published),
        cmocka_unit_test(gsm8k_is_asked_as_published),
        cmocka_unit_test(math_is_asked_as_published),
        cmocka_unit_test(domains_are_asked_by_our_templates),
        cmocka_unit_test(files_of_adaptllm_are_read_as_published),
    };
    return cmocka_run_group_tests(tests, folder_enter, leave);
}
