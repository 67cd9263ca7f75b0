/* Every reference record of templates: ids and what of them is learned, exactly, by the tokenizer
 * model and by the tokenizer.json that has its ids. */

#include "base/file.h"
#include "data/template.h"
#include "data_files.h"
#include "folder.h"
#include "golden_find.h"

#include <jansson.h>

#include <unistd.h>

enum { TEMPLATES = 4 };

/* One template of the program for each of the masks. */
static const char *const names[TEMPLATES] = {"tulu", "tulu_open_instruct", "alpaca", "metamath"};

typedef struct golden {
    mr_tokenizer *tokenizer;
    mr_template *template[TEMPLATES];
    mr_rendered sample;
    int checked;
} golden;

static void check_sample(const char *where, const json_t *root, const char *key,
                         const mr_rendered *r)
{
    const json_t *ids = json_object_get(root, "ids"), *labels = json_object_get(root, key);
    const json_int_t most = json_integer_value(json_object_get(root, "max_len"));
    const int64_t count = r->count < most ? r->count : most;
    if (count != (int64_t)json_array_size(ids) || count != (int64_t)json_array_size(labels))
        fail_msg("%s: %lld ids, expected %zu", where, (long long)count, json_array_size(ids));
    for (int64_t i = 0; i < count; i++) {
        const json_int_t id = json_integer_value(json_array_get(ids, (size_t)i));
        const json_int_t label = json_integer_value(json_array_get(labels, (size_t)i));
        if (r->ids[i] != id)
            fail_msg("%s: id %lld is %d, expected %lld", where, (long long)i, r->ids[i],
                     (long long)id);
        if ((r->learned[i] ? id : -100) != label)
            fail_msg("%s: %s %lld is %d, expected %lld", where, key, (long long)i,
                     r->learned[i] ? r->ids[i] : -100, (long long)label);
    }
}

static void check_with(golden *g, int which, const char *where, const json_t *root,
                       const char *labels)
{
    mr_fault fault;
    char what[MR_FAULT_TEXT];
    must(mr_template_render(g->template[which], json_object_get(root, "record"), &g -> sample,
                            &fault, what));
    if (fault != MR_FAULTS) fail_msg("%s: %s", where, what);
    check_sample(where, root, labels, &g->sample);
    g->checked++;
}

static void check_record(golden *g, const char *where, const json_t *root)
{
    const bool query = json_object_get(json_object_get(root, "record"), "query") != NULL;
    if (strcmp(json_string_value(json_object_get(root, "template")), "tulu") == 0) {
        check_with(g, 0, where, root, "labels");
        check_with(g, 1, where, root, "labels_open_instruct");
    } else {
        check_with(g, query ? 3 : 2, where, root, "labels");
    }
}

static void check_lines(golden *g)
{
    char where[64];
    char *file;
    size_t size;
    int line = 0;
    must(mr_file_read("templates.jsonl", MR_MEM_OTHER, &file, &size));
    for (char *at = strtok(file, "\n"); at; at = strtok(NULL, "\n")) {
        json_t *value = json_loads(at, JSON_ALLOW_NUL, NULL);
        assert_non_null(value);
        snprintf(where, sizeof where, "%.40s, line %d", g->tokenizer->name, ++line);
        check_record(g, where, value);
        json_decref(value);
    }
    mr_free(file);
}

/* Checks the records of a root with a tokenizer that stands beside it. */
static int check_root(const char *root, const char *packed, const char *tokenizer)
{
    char records[2 * TEST_PATH], model[2 * TEST_PATH];
    golden g = {0};
    snprintf(records, sizeof records, "%s/templates/templates.jsonl.xz", root);
    snprintf(model, sizeof model, "%s/../data/tokenizer/%s", root, packed);
    if (!data_unpack(records, "templates.jsonl")) return 0;
    if (!data_unpack(model, tokenizer)) {
        snprintf(model, sizeof model, "data/tokenizer/%s", packed);
        data_unpack_shared(model, tokenizer);
    }
    must(mr_tokenizer_create(tokenizer, &g.tokenizer));
    for (int i = 0; i < TEMPLATES; i++) {
        must(mr_template_load(names[i], &g.template[i]));
        must(mr_template_bind(g.template[i], g.tokenizer));
    }
    check_lines(&g);
    for (int i = 0; i < TEMPLATES; i++)
        mr_template_destroy(&g.template[i]);
    mr_rendered_free(&g.sample);
    mr_tokenizer_destroy(&g.tokenizer);
    return g.checked;
}

static void check_all(const char *packed, const char *tokenizer)
{
    mr_names roots = {0};
    int checked = 0;
    must(mr_golden_roots(&roots));
    for (int64_t r = 0; r < roots.count; r++)
        checked += check_root(roots.item[r], packed, tokenizer);
    mr_names_free(&roots);
    print_message("%s: %d samples\n", tokenizer, checked);
    if (checked == 0) skip_without_golden("templates and ../data beside it");
}

static void the_model_gives_the_golden_samples(void **state)
{
    (void)state;
    check_all("llama_tokenizer.model.xz", "llama.model");
}

static void the_tokenizer_json_gives_the_golden_samples(void **state)
{
    (void)state;
    static const char config[] = "{\"eos_token_id\": 2}";
    data_write("config.json", config, sizeof config - 1);
    check_all("llama_tokenizer.hf.json.xz", "tokenizer.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_model_gives_the_golden_samples),
        cmocka_unit_test(the_tokenizer_json_gives_the_golden_samples),
    };
    return cmocka_run_group_tests(tests, folder_enter, folder_leave);
}
