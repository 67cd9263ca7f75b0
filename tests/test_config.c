/** @file
 * Configurations: values, places in messages, overrides, the resolved text. */

#include "base/file.h"
#include "base/log.h"
#include "config/matrix.h"
#include "config_case.h"

#include <stdlib.h>
#include <unistd.h>

/* Loads text of one run, which must be well. */
static mr_config load_one(const char *text, const char *const *sets, int set_count)
{
    mr_run_list list;
    must(config_load(text, sets, set_count, &list));
    assert_int_equal(list.count, 1);
    mr_config config = config_run(&list, 0);
    mr_run_list_free(&list);
    return config;
}

/* Expects the message for one more key after CONFIG_MODEL, whose value stands at line 3, column 11.
 */
static void expect_value_error(const char *section, const char *line, const char *message)
{
    char text[2048], whole[1024];
    snprintf(text, sizeof text, "model: {path: tiny}\ntrain.steps: 10\n%s: {%s}\n", section, line);
    snprintf(whole, sizeof whole, "uuid.yaml:3:%s", message);
    config_assert_error(text, whole);
}

static void expect_set_error(const char *set, mr_status code, const char *message)
{
    mr_run_list list;
    assert_int_equal(config_load(CONFIG_MODEL, &set, 1, &list), code);
    assert_string_equal(mr_message(), message);
}

/* The schema. */

/* Counts how often keys stand on each byte of a struct, which every field must be on once. */
static void expect_covered(const mr_schema *schema, const char *what, size_t from, size_t to)
{
    static unsigned char covered[sizeof(mr_config)];
    memset(covered, 0, sizeof covered);
    for (int i = 0; i < schema->count; i++) {
        const mr_key *key = &schema->key[i];
        for (size_t b = 0; b < key->bytes; b++)
            assert_int_equal(covered[key->offset + b]++, 0);
    }
    size_t gap = 0;
    for (size_t b = from; b < to; b++) {
        gap = covered[b] ? 0 : gap + 1; /* fewer bytes align the next field */
        if (gap >= sizeof(max_align_t)) fail_msg("no key covers byte %zu of %s", b, what);
    }
}

static void every_field_stands_in_the_schema(void **state)
{
    (void)state;
    const mr_schema *core = &mr_schema_core;
    expect_covered(core, "mr_config", 0, offsetof(mr_config, task.keys));
    expect_covered(core, "mr_config", offsetof(mr_config, method),
                   offsetof(mr_config, method.keys));
    expect_covered(core, "mr_config", offsetof(mr_config, train), offsetof(mr_config, registry));
}

static void every_key_has_a_field_of_its_type(void **state)
{
    (void)state;
    static const size_t bytes[] = {
        [MR_KEY_INT] = sizeof(int64_t),      [MR_KEY_FLOAT] = sizeof(double),
        [MR_KEY_BOOL] = sizeof(bool),        [MR_KEY_STRING] = 0,
        [MR_KEY_ENUM] = sizeof(int32_t),     [MR_KEY_STRINGS] = sizeof(mr_string_list),
        [MR_KEY_INTS] = sizeof(mr_int_list), [MR_KEY_ITEMS] = sizeof(mr_item_list),
    };
    const mr_registry *registry = config_registry();
    for (int i = 0; i < registry->count; i++) {
        const mr_key *key = registry->at[i].key;
        if (key->type != MR_KEY_STRING && key->bytes != bytes[key->type])
            fail_msg("%s: a field of %zu bytes for type %d", key->key, key->bytes, key->type);
        assert_int_equal(mr_registry_find(registry, key->key), i);
        assert_true(strlen(key->help) > 0);
    }
}

static void defaults_are_those_of_the_table(void **state)
{
    (void)state;
    mr_config config;
    mr_config_defaults(config_registry(), &config);
    assert_string_equal(config.run.output, "results");
    assert_string_equal(task_of(&config)->prompt, "{key}:");
    assert_int_equal(method_of(&config)->target_modules.count, 1);
    assert_string_equal(method_of(&config)->target_modules.item[0], "all-linear");
    assert_int_equal(method_of(&config)->r, 8);
    assert_true(config.train.lr == 1e-3);
    assert_true(config.train.beta2 == 0.999);
    assert_int_equal(config.eval.at_steps.count, 0);
    assert_int_equal(config.model.init, MR_INIT_PRETRAINED);
    assert_int_equal(config.log.every, 1);
}

/* Files. */

static void a_file_of_nested_and_dotted_keys_is_read(void **state)
{
    (void)state;
    mr_config config = load_one("run: {seed: 3}\n"
                                "model:\n"
                                "  path: models/tiny # a comment\n"
                                "  dtype: bf16\n"
                                "method.name: lora\n"
                                "method: {r: 16, target_modules: [q_proj, v_proj]}\n"
                                "train: {epochs: .5, lr: 3E-4, schedule: \"cosine\"}\n"
                                "eval:\n"
                                "  at_steps:\n"
                                "  - 1\n"
                                "  - +20\n"
                                "parallel:\n",
                                NULL, 0);
    assert_string_equal(config.run.name, "uuid");
    assert_int_equal(config.run.seed, 3);
    assert_string_equal(config.model.path, "models/tiny");
    assert_int_equal(config.model.dtype, 1);
    assert_string_equal(config.method.name, "lora");
    assert_int_equal(method_of(&config)->r, 16);
    assert_int_equal(method_of(&config)->target_modules.count, 2);
    assert_string_equal(method_of(&config)->target_modules.item[1], "v_proj");
    assert_true(config.train.epochs == 0.5);
    assert_true(config.train.lr == 3e-4);
    assert_int_equal(config.train.schedule, MR_SCHEDULE_COSINE);
    assert_int_equal(config.eval.at_steps.count, 2);
    assert_int_equal(config.eval.at_steps.item[1], 20);
}

static void a_file_of_rank_0_reaches_every_rank(void **state)
{
    (void)state;
    mr_config config =
        load_one(CONFIG_MODEL "run: {name: shared, seed: 9223372036854775807}\n", NULL, 0);
    /* Bytes, not members: equal configurations are equal to the last byte of padding. */
    mr_config first = config;
    mr_comm_broadcast(&world, &first, sizeof first, 0);
    int64_t different = memcmp(&first, &config, offsetof(mr_config, registry)) != 0;
    mr_comm_sum_i64(&world, &different, 1);
    assert_int_equal(different, 0);
    assert_int_equal(config.run.seed, INT64_MAX);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    mr_run_list list;
    assert_int_equal(mr_config_load(&world, "none.yaml", NULL, 0, NULL, &list), MR_ERR_IO);
    assert_string_equal(mr_message(), "cannot open 'none.yaml': No such file or directory");
}

static void a_bad_integer_is_named_with_its_place(void **state)
{
    (void)state;
    config_assert_error(
        "# one\n# two\nmethod:\n    r:  eight\n",
        "uuid.yaml:4:9: method.r: expected an integer in 1..65536, found \"eight\"");
}

static void integers_are_strict(void **state)
{
    (void)state;
#define INTEGER "13: method.r: expected an integer in 1..65536, found "
    expect_value_error("method", "r: 0", INTEGER "\"0\"");
    expect_value_error("method", "r: 65537", INTEGER "\"65537\"");
    expect_value_error("method", "r: -1", INTEGER "\"-1\"");
    expect_value_error("method", "r: 1e4", INTEGER "\"1e4\"; write it in plain digits");
    expect_value_error("method", "r: 1_0", INTEGER "\"1_0\"; write it in plain digits");
    expect_value_error("method", "r: 8.0", INTEGER "\"8.0\"; write it in plain digits");
    expect_value_error("method", "r: 0x10", INTEGER "\"0x10\"");
    expect_value_error("method", "r: 010", INTEGER "\"010\"; write it in plain digits");
    expect_value_error("method", "r: \"8\"", INTEGER "\"8\" in quotes, which is a text");
    expect_value_error("method", "r: 18446744073709551624", INTEGER "\"18446744073709551624\"");
    expect_value_error("method", "r: [8]", INTEGER "a list");
    expect_value_error("method", "r: {a: 8}", INTEGER "a mapping");
    expect_value_error("method", "r: ", INTEGER "nothing");
    expect_value_error("run", "seed: -1", "13: run.seed: expected an integer >= 0, found \"-1\"");
#undef INTEGER
}

static void numbers_are_finite_and_in_range(void **state)
{
    (void)state;
#define NUMBER "13: train.lr: expected a number > 0, found "
    expect_value_error("train", "lr: 0", NUMBER "\"0\"");
    expect_value_error("train", "lr: .nan", NUMBER "\".nan\"");
    expect_value_error("train", "lr: inf", NUMBER "\"inf\"");
    expect_value_error("train", "lr: 1e999", NUMBER "\"1e999\", which is too large for a double");
    expect_value_error("train", "lr: 1e-999", NUMBER "\"1e-999\"");
    expect_value_error("train", "lr: 0x1p3", NUMBER "\"0x1p3\"");
    expect_value_error("train", "lr: 1e", NUMBER "\"1e\"");
    expect_value_error("train", "lr: .", NUMBER "\".\"");
    expect_value_error("train", "lr: '1'", NUMBER "\"1\" in quotes, which is a text");
#undef NUMBER
    expect_value_error("method", "lora_dropout: 1",
                       "24: method.lora_dropout: expected a number in [0, 1), found \"1\"");
    expect_value_error("train", "clip_norm: -1",
                       "20: train.clip_norm: expected a number >= 0, found \"-1\"");
    expect_value_error("train", "eps: 1e-38",
                       "14: train.eps: expected a number >= 1.17549e-38, found \"1e-38\"");
}

static void a_text_has_a_length_and_an_encoding(void **state)
{
    (void)state;
    char line[640], wanted[256];
    memset(line, 'a', sizeof line);
    memcpy(line, "output: ", 8);
    line[8 + 512] = '\0';
    snprintf(
        wanted, sizeof wanted,
        "15: run.output: expected a text of at most 511 bytes, found \"%.60s...\" of 512 bytes",
        line + 8);
    expect_value_error("run", line, wanted);
    expect_set_error("run.output=\xff", MR_ERR_CONFIG,
                     "--set run.output=\xff: run.output: expected a text of at most 511 bytes, "
                     "found \"\xff\", which is not UTF-8");
    expect_value_error("run", "output: ~",
                       "15: run.output: expected a text of at most 511 bytes, found nothing");
}

static void names_offer_the_nearest_one(void **state)
{
    (void)state;
    expect_value_error(
        "method", "name: lroa",
        "16: method.name: expected one of fft, lora, relora, mora, found \"lroa\"; did you "
        "mean \"lora\"?");
    expect_value_error("parallel", "shard: half_of_it",
                       "19: parallel.shard: expected one of full, optimizer, none, found "
                       "\"half_of_it\"");
    expect_value_error("method", "operator: rotate",
                       "20: method.operator: expected one of auto, truncation, sharing, "
                       "sharing_2, sharing_3, sharing_4, decoupling, rotation, found \"rotate\"; "
                       "did you mean \"rotation\"?");
}

static void a_default_must_be_among_the_names_too(void **state)
{
    (void)state;
    static const mr_choice only[] = {{"cuda", NULL, NULL}, {NULL, NULL, NULL}};
    static const mr_choice_table backend[] = {{"parallel.backend", only}};
    mr_registry registry;
    mr_registry_build(backend, 1, &registry);
    load_one(CONFIG_MODEL, NULL, 0);
    mr_run_list list;
    assert_int_equal(mr_config_load(&world, "uuid.yaml", NULL, 0, &registry, &list), MR_ERR_CONFIG);
    assert_string_equal(mr_message(),
                        "uuid.yaml: parallel.backend: expected one of cuda, found \"cpu\"");
}

static void lists_name_the_item_at_fault(void **state)
{
    (void)state;
    expect_value_error("eval", "at_steps: [1, 0]",
                       "22: eval.at_steps: expected an integer in 1..1000000000, found \"0\"");
    expect_value_error("method", "target_modules: [q, '']",
                       "30: method.target_modules: expected a text of at most 63 bytes, found "
                       "\"\", which is empty");
    expect_value_error("method", "target_modules: {a: b}",
                       "26: method.target_modules: expected a list of at most 64 texts of 1..63 "
                       "bytes, found a mapping");
    mr_text line = {0};
    mr_text_add(&line, "at_steps: [1");
    for (int i = 2; i <= 65; i++)
        mr_text_add(&line, ",%d", i);
    mr_text_add(&line, "]");
    expect_value_error("eval", mr_text_get(&line),
                       "202: eval.at_steps: expected a list of at most 64 values, each an integer "
                       "in 1..1000000000, found a list with more items");
    mr_text_free(&line);
}

static void unknown_keys_offer_the_nearest_one(void **state)
{
    (void)state;
    config_assert_error("metod: {r: 8}\n",
                        "uuid.yaml:1:1: unknown key \"metod\"; did you mean \"method\"?");
    config_assert_error("method: {rr: 8}\n",
                        "uuid.yaml:1:10: unknown key \"method.rr\"; did you mean \"method.r\"?");
    config_assert_error("lr: 1\n", "uuid.yaml:1:1: unknown key \"lr\"; did you mean \"train.lr\"?");
    config_assert_error("matrx: {}\n",
                        "uuid.yaml:1:1: unknown key \"matrx\"; did you mean \"matrix\"?");
    config_assert_error(
        "log: {wavelength: 8}\n",
        "uuid.yaml:1:7: unknown key \"log.wavelength\"; the keys of log are every, "
        "spectrum_every, spectrum_modules, spectrum_top, spectrum_threshold, spectrum_cosines, "
        "spectrum_base");
    config_assert_error(
        "wavelength: 8\n",
        "uuid.yaml:1:1: unknown key \"wavelength\"; the sections are run, model, task, "
        "method, train, eval, parallel, log, checkpoint, matrix");
}

static void a_section_must_be_a_mapping(void **state)
{
    (void)state;
    config_assert_error("train: 5\n",
                        "uuid.yaml:1:8: train: expected a mapping of keys, found a value");
    config_assert_error("train: [5]\n",
                        "uuid.yaml:1:8: train: expected a mapping of keys, found a list");
}

static void duplicate_keys_name_both_places(void **state)
{
    (void)state;
    config_assert_error("method: {r: 8}\nmethod.r: 9\n",
                        "uuid.yaml:2:1: method.r: given twice; first at uuid.yaml:1:10");
    config_assert_error("train: {lr: 1}\nmethod: {r: 8}\ntrain: {}\n",
                        "uuid.yaml:3:1: train: given twice; first at uuid.yaml:1:1");
    config_assert_error("matrix: [{method.r: 8}, {method: {r: 1}, method.r: 9}]\n",
                        "uuid.yaml:1:42: method.r: given twice; first at uuid.yaml:1:35");
}

static void errors_of_the_syntax_have_a_place(void **state)
{
    (void)state;
    config_assert_error(
        "train: {lr: 1\n",
        "uuid.yaml:2:1: did not find expected ',' or '}' (while parsing a flow mapping)");
    config_assert_error("run:\n\tname: a\n",
                        "uuid.yaml:2:1: found character that cannot start any token "
                        "(while scanning for the next token)");
    config_assert_error("run:\n  name: \x01\n",
                        "uuid.yaml:2:9: control characters are not allowed");
}

static void what_is_not_supported_is_said(void **state)
{
    (void)state;
    config_assert_error("run: &a {seed: 1}\n", "uuid.yaml:1:6: anchors (&name) are not supported");
    config_assert_error("run: *a\n", "uuid.yaml:1:6: aliases (*name) are not supported");
    config_assert_error("run: {seed: !!int 1}\n", "uuid.yaml:1:13: tags (!name) are not supported");
    config_assert_error("run: {}\n---\nrun: {}\n",
                        "uuid.yaml:2:1: expected one document, found a second one");
    config_assert_error("", "uuid.yaml:1:1: expected a mapping of keys, found an empty document");
    config_assert_error("- a\n", "uuid.yaml:1:1: expected a mapping of keys, found a list");
    config_assert_error("a\n", "uuid.yaml:1:1: expected a mapping of keys, found a single value");
    config_assert_error("? [a]\n: 1\n",
                        "uuid.yaml:1:3: a key must be a text, found a list or mapping");
    config_assert_error("\"\": 1\n", "uuid.yaml:1:1: a key must not be empty");
    config_assert_error("run: {name: \"a\\0b\"}\n",
                        "uuid.yaml:1:13: a text must not hold zero bytes");
}

static void depth_and_lengths_are_limited(void **state)
{
    (void)state;
    config_assert_error("a: [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]\n",
                        "uuid.yaml:1:19: lists and mappings nested deeper than 16");
    char text[512];
    snprintf(text, sizeof text, "%0128d: 1\n", 0);
    config_assert_error(
        text, "uuid.yaml:1:1: a key must be a text of at most 127 bytes without zero bytes");
    mr_text deep = {0};
    for (int i = 0; i < 3; i++)
        mr_text_add(&deep, "%*s%.*s:\n", i, "", 100, text);
    mr_text_add(&deep, "   a: 1\n");
    config_assert_error(mr_text_get(&deep),
                        "uuid.yaml:4:4: the path of this key is longer than 255 bytes");
    mr_text_free(&deep);
    mr_yaml yaml;
    assert_int_equal(mr_yaml_parse("big", text, MR_YAML_BYTES + 1, MR_YAML_ROOT_ANY, &yaml),
                     MR_ERR_CONFIG);
    assert_string_equal(mr_message(), "big: 16777217 bytes; a configuration has at most 16777216");
}

static void values_of_a_document_are_counted(void **state)
{
    (void)state;
    enum { ITEMS = MR_YAML_NODES };
    char *text = malloc(2 * (size_t)ITEMS + 1);
    assert_non_null(text);
    text[0] = '[';
    for (size_t i = 0; i < ITEMS; i++) {
        text[2 * i + 1] = '1';
        text[2 * i + 2] = i + 1 < ITEMS ? ',' : ']';
    }
    mr_yaml yaml;
    mr_status status = mr_yaml_parse("big", text, 2 * (size_t)ITEMS + 1, MR_YAML_ROOT_ANY, &yaml);
    free(text);
    assert_int_equal(status, MR_ERR_CONFIG);
    assert_string_equal(mr_message(), "big:1:2000000: more than 1000000 values in one document");
}

static void booleans_are_true_or_false(void **state)
{
    (void)state;
    const mr_key key = {.key = "a.flag", .type = MR_KEY_BOOL, .bytes = sizeof(bool)};
    bool flag = false;
    assert_int_equal(mr_value_set_text(&key, "here", "true", &flag), MR_OK);
    assert_true(flag);
    mr_text text = {0};
    mr_value_text(&key, &flag, MR_VALUE_YAML, &text);
    assert_string_equal(mr_text_get(&text), "true");
    mr_text_free(&text);
    assert_int_equal(mr_value_set_text(&key, "here", "yes", &flag), MR_ERR_CONFIG);
    assert_string_equal(mr_message(), "here: a.flag: expected true or false, found \"yes\"");
}

/* Keys together. */

static void batches_must_divide(void **state)
{
    (void)state;
    config_assert_error(
        CONFIG_MODEL "train.global_batch: 10\ntrain.micro_batch: 4\n",
        "uuid.yaml:4:20: train.micro_batch: 4 does not divide train.global_batch 10");
}

static void a_run_has_one_length(void **state)
{
    (void)state;
    config_assert_error("model: {path: a}\n", "uuid.yaml: train.steps: the run has no length: give "
                                              "train.steps or train.epochs");
    config_assert_error(CONFIG_MODEL "train.epochs: 3\n",
                        "uuid.yaml:3:15: train.epochs: give train.steps or "
                        "train.epochs, not both (found 10 and 3)");
    config_assert_error(CONFIG_MODEL "train.warmup_steps: 11\n",
                        "uuid.yaml:3:21: train.warmup_steps: 11 is more than train.steps 10");
}

static void a_run_starts_from_a_model(void **state)
{
    (void)state;
    config_assert_error("train: {steps: 1}\n",
                        "uuid.yaml: model.path: missing; model.init pretrained "
                        "reads the weights of this folder");
    config_assert_error("train: {steps: 1}\nmodel.init: random\n",
                        "uuid.yaml: model.config: missing; model.init random needs model.config or "
                        "model.path");
    mr_config config =
        load_one("train: {steps: 1}\nmodel: {init: random, config: a.json}\n", NULL, 0);
    assert_int_equal(config.model.init, MR_INIT_RANDOM);
}

static void evaluation_steps_ascend(void **state)
{
    (void)state;
    config_assert_error(
        CONFIG_MODEL "eval: {at_steps: [5, 5]}\n",
        "uuid.yaml:3:18: eval.at_steps: expected ascending steps above 0, found 5 after "
        "5");
}

static void learning_rate_factors_are_pairs(void **state)
{
    (void)state;
    load_one(CONFIG_MODEL "train.lr_scale: [lora_B=16, embed=1e-1, lm_head@1e-2]\n", NULL, 0);
    static const char *const bad[] = {"lora_B", "=2", "a=", "a=0", "a=-1", "a=1e",
                                      "a=nan",  "a@", "@2", "a@0", "a@1=2"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[128], wanted[256];
        snprintf(text, sizeof text, CONFIG_MODEL "train.lr_scale: [\"%s\"]\n", bad[i]);
        snprintf(wanted, sizeof wanted,
                 "uuid.yaml:3:17: train.lr_scale: expected name=factor or name@rate with a number "
                 "in (0, 1e9], found \"%s\"",
                 bad[i]);
        config_assert_error(text, wanted);
    }
}

static void the_name_of_a_run_names_files(void **state)
{
    (void)state;
    config_assert_error(CONFIG_MODEL "run.name: a/b\n",
                        "uuid.yaml:3:11: run.name: the name must not hold '/' "
                        "or control characters; it names files");
    config_assert_error(CONFIG_MODEL "run.name: \"a\\u009bb\"\n",
                        "uuid.yaml:3:11: run.name: the name must not hold '/' "
                        "or control characters; it names files");
    config_assert_error(CONFIG_MODEL "run.name: .a\n",
                        "uuid.yaml:3:11: run.name: \".a\" starts with a dot; it names files");
    char text[512], wanted[256];
    snprintf(text, sizeof text, CONFIG_MODEL "run.name: %0201d\n", 0);
    snprintf(wanted, sizeof wanted,
             "uuid.yaml:3:11: run.name: \"%060d...\" has 201 bytes; it names files, so at most 200",
             0);
    config_assert_error(text, wanted);
    mr_config config;
    mr_config_defaults(config_registry(), &config);
    assert_int_equal(mr_config_check(&config, NULL), MR_ERR_CONFIG);
    assert_string_equal(mr_message(), "run.name: the run has no name");
}

/* Overrides. */

static void overrides_come_after_the_file(void **state)
{
    (void)state;
    static const char *const sets[] = {"train.lr=2e-4",
                                       "method.target_modules=[q_proj, 'v_proj']",
                                       "task.prompt=Q: {key} # A:",
                                       "run.name=\"x y\"",
                                       "model.config=",
                                       "eval.at_steps=7",
                                       "train.lr=3e-4"};
    mr_config config = load_one(CONFIG_MODEL "train.lr: 1\nmodel.config: a\n", sets, 7);
    assert_true(config.train.lr == 3e-4);
    assert_int_equal(method_of(&config)->target_modules.count, 2);
    assert_string_equal(method_of(&config)->target_modules.item[1], "v_proj");
    assert_string_equal(task_of(&config)->prompt, "Q: {key} # A:");
    assert_string_equal(config.run.name, "x y");
    assert_string_equal(config.model.config, "");
    assert_int_equal(config.eval.at_steps.count, 1);
}

static void errors_of_overrides_name_them(void **state)
{
    (void)state;
    expect_set_error("method.r=eight", MR_ERR_CONFIG,
                     "--set method.r=eight: method.r: expected an integer in 1..65536, found "
                     "\"eight\"");
    expect_set_error("method.r=", MR_ERR_CONFIG,
                     "--set method.r=: method.r: expected an integer in 1..65536, found \"\"");
    expect_set_error("method.r", MR_ERR_USAGE, "--set method.r: expected key=value");
    expect_set_error("", MR_ERR_USAGE, "--set: expected key=value, found an empty text");
    expect_set_error("=8", MR_ERR_USAGE, "--set =8: expected key=value, found no key");
    expect_set_error("checkpoint=8", MR_ERR_CONFIG,
                     "--set checkpoint=8: unknown key \"checkpoint\"; the keys of checkpoint are "
                     "every_steps, every_minutes, keep, signal");
    expect_set_error(
        "log.=8", MR_ERR_CONFIG,
        "--set log.=8: unknown key \"log.\"; the keys of log are every, "
        "spectrum_every, spectrum_modules, spectrum_top, spectrum_threshold, spectrum_cosines, "
        "spectrum_base");
    expect_set_error("matrix=[8]", MR_ERR_CONFIG,
                     "--set matrix=[8]: a matrix stands in the file; set one of its keys, and that "
                     "one value is left of it");
    expect_set_error("eval.at_steps=", MR_ERR_CONFIG,
                     "--set eval.at_steps=: eval.at_steps: expected a list of at most 64 values, "
                     "each an integer in 1..1000000000, found \"\"; a list of nothing is []");
    expect_set_error(
        "eval.at_steps=1,2", MR_ERR_CONFIG,
        "--set eval.at_steps=1,2: eval.at_steps: expected a list of at most 64 values, "
        "each an integer in 1..1000000000, found \"1,2\"; write a list in brackets: "
        "[a, b]");
    expect_set_error("method.target_modules=q_proj,k_proj", MR_ERR_CONFIG,
                     "--set method.target_modules=q_proj,k_proj: method.target_modules: expected a "
                     "list of at most 64 texts of 1..63 bytes, found \"q_proj,k_proj\"; write a "
                     "list in brackets: [a, b]");
    char set[300], wanted[400];
    snprintf(set, sizeof set, "%0256d=1", 0);
    snprintf(wanted, sizeof wanted, "--set %0200d: the key is longer than 255 bytes", 0);
    expect_set_error(set, MR_ERR_USAGE, wanted);
    expect_set_error("metod.r=8", MR_ERR_CONFIG,
                     "--set metod.r=8: unknown key \"metod.r\"; did you mean \"method.r\"?");
    expect_set_error(
        "method.name=lroa", MR_ERR_CONFIG,
        "--set method.name=lroa: method.name: expected one of fft, lora, relora, mora, found "
        "\"lroa\"; did you mean \"lora\"?");
    expect_set_error("eval.at_steps=[1", MR_ERR_CONFIG,
                     "--set eval.at_steps=[1:2:1: did not find expected ',' or ']' (while parsing "
                     "a flow sequence)");
    expect_set_error("train.micro_batch=3", MR_ERR_CONFIG,
                     "--set train.micro_batch=3: train.micro_batch: 3 does not divide "
                     "train.global_batch 8");
}

/* Text. */

static void values_are_read_back_as_text(void **state)
{
    (void)state;
    mr_config config;
    mr_config_defaults(config_registry(), &config);
    config.train.lr = 0.1 + 0.2;
    config.eval.at_steps = (mr_int_list){.count = 2, .item = {1, 20}};
    static const char *const wanted[][2] = {{"method.r", "8"},
                                            {"train.lr", "0.30000000000000004"},
                                            {"train.eps", "1e-08"},
                                            {"train.schedule", "linear"},
                                            {"task.prompt", "{key}:"},
                                            {"eval.at_steps", "1,20"},
                                            {"method.target_modules", "all-linear"}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        mr_text text = {0};
        assert_int_equal(mr_config_value_text(&config, wanted[i][0], &text), MR_OK);
        assert_string_equal(mr_text_get(&text), wanted[i][1]);
        mr_text_free(&text);
    }
    mr_text text = {0};
    assert_int_equal(mr_config_value_text(&config, "method.rr", &text), MR_ERR_ARG);
    assert_string_equal(mr_message(), "unknown key \"method.rr\"; did you mean \"method.r\"?");
}

static void the_resolved_text_reads_back_as_the_same_bytes(void **state)
{
    (void)state;
    static const char *const sets[] = {
        "run.name=\" a\\\"b\\\\ \\n\\t\\x7f\\u2028\\ufeff\xc3\xa4 # : \"",
        "task.prompt={\"key\"}: 'x' \xf0\x9f\x98\x80",
        "train.lr=0.1000000000000000055511151231257827021181583404541015625",
        "train.weight_decay=4.9406564584124654e-324",
        "train.min_lr_ratio=-0",
        "train.clip_norm=1.7976931348623157e308",
        "method.target_modules=[a b, 'c,d', '[x]', \"null\"]",
        "run.seed=9223372036854775807",
        "eval.at_steps=[1, 2, 1000000000]",
        "model.path=null_or_not",
        "model.init=random",
        "run.output=",
    };
    mr_source source;
    assert_int_equal(mr_source_create("test", config_registry(), &source), MR_OK);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        must(mr_source_override(&source, sets[i]));
    must(mr_source_fill(&source, &source.config));
    mr_text text = {0};
    assert_int_equal(mr_config_resolved(&source.config, &text), MR_OK);
    mr_config again;
    memset(&again, 0xff, sizeof again);
    must(mr_config_parse_resolved(config_registry(), mr_text_get(&text), &again));
    assert_memory_equal(&again, &source.config, sizeof again);
    assert_contains(mr_text_get(&text), "method:\n  name: \"mora\"\n  r: 8\n");
    mr_text_free(&text);
    mr_source_free(&source);
}

static void a_resolved_text_is_checked(void **state)
{
    (void)state;
    mr_config config;
    assert_int_equal(mr_config_parse_resolved(config_registry(), "method:\n  r: 0\n", &config),
                     MR_ERR_CONFIG);
    assert_string_equal(mr_message(), "resolved configuration:2:6: method.r: expected an integer "
                                      "in 1..65536, found \"0\"");
    assert_int_equal(mr_config_parse_resolved(config_registry(), "matrix: {}\n", &config),
                     MR_ERR_CONFIG);
    assert_contains(mr_message(), "unknown key \"matrix\"");
}

static void the_help_has_every_key(void **state)
{
    (void)state;
    mr_text help = {0};
    assert_int_equal(mr_config_help(config_registry(), NULL, &help), MR_OK);
    for (int i = 0; i < config_registry()->count; i++)
        assert_contains(mr_text_get(&help), config_registry()->at[i].key->key);
    assert_contains(mr_text_get(&help),
                    "  method.r                    an integer in 1..65536 (default 8)\n");
    assert_contains(
        mr_text_get(&help),
        "  method.name                 one of fft, lora, relora, mora (default mora)\n");
    for (const char *line = mr_text_get(&help); line && *line;) {
        size_t length = strcspn(line, "\n");
        if (length > 100) fail_msg("a line of %zu columns: %.*s", length, (int)length, line);
        line += length + (line[length] == '\n');
    }
    mr_text_free(&help);
}

/* Choices. */

static void a_key_of_another_method_or_task_is_refused(void **state)
{
    (void)state;
    config_assert_error(CONFIG_MODEL "method: {name: fft, r: 8}\n",
                        "uuid.yaml:3:21: method.r: not a key of method fft; lora, relora and mora "
                        "have it");
    config_assert_error(CONFIG_MODEL "method: {operator: sharing, name: lora}\n",
                        "uuid.yaml:3:10: method.operator: not a key of method lora; mora has it");
    config_assert_error(CONFIG_MODEL "task: {name: math, pairs: 8}\n",
                        "uuid.yaml:3:20: task.pairs: not a key of task math; uuid has it");
    static const char *const sets[][2] = {{"method.name=fft", "method.r=60000"},
                                          {"method.r=60000", "method.name=fft"}};
    for (int i = 0; i < 2; i++) {
        mr_run_list list;
        assert_int_equal(config_load(CONFIG_MODEL, sets[i], 2, &list), MR_ERR_CONFIG);
        assert_string_equal(mr_message(), "--set method.r=60000: method.r: not a key of method "
                                          "fft; lora, relora and mora have it");
    }
    /* Its value is looked at first: a slip is told where it stands. */
    config_assert_error(CONFIG_MODEL "method: {name: fft, r: 0}\n",
                        "uuid.yaml:3:24: method.r: expected an integer in 1..65536, found \"0\"");
}

static void keys_of_the_file_go_with_its_method_where_another_is_set(void **state)
{
    (void)state;
    static const char *const sets[] = {"method.name=fft"};
    mr_config config =
        load_one(CONFIG_MODEL "method: {name: mora, r: 4, operator: sharing}\n", sets, 1);
    assert_string_equal(config.method.name, "fft");
    assert_false(mr_config_has(&config, "method.r"));
    assert_null(mr_config_field(&config, "method.operator"));
    for (size_t b = 0; b < sizeof config.method.keys.bytes; b++)
        assert_int_equal(config.method.keys.bytes[b], 0);
}

static void keys_of_a_choice_come_in_any_order(void **state)
{
    (void)state;
    mr_config config =
        load_one(CONFIG_MODEL
                 "method: {operator: rotation, r: 4, name: mora}\ntask: {pairs: 3, name: uuid}\n",
                 NULL, 0);
    assert_int_equal(method_of(&config)->operator, 7);
    assert_int_equal(method_of(&config)->r, 4);
    assert_true(method_of(&config)->lora_alpha == 16);
    assert_int_equal(task_of(&config)->pairs, 3);
    must(mr_config_set(&config, "method.name=relora"));
    assert_int_equal(method_of(&config)->merge_every, 2000);
    assert_int_equal(method_of(&config)->r, 8);
    assert_int_equal(mr_config_set(&config, "method.operator=auto"), MR_ERR_CONFIG);
    assert_string_equal(mr_message(), "--set method.operator=auto: method.operator: not a key of "
                                      "method relora; mora has it");
}

static void a_resolved_text_has_its_version_and_the_keys_that_apply(void **state)
{
    (void)state;
    mr_config config = load_one(CONFIG_MODEL "method.name: fft\ntask.name: math\n", NULL, 0);
    mr_text text = {0};
    must(mr_config_resolved(&config, &text));
    assert_int_equal(strncmp(mr_text_get(&text), "version: 2\nrun:\n", 16), 0);
    assert_contains(mr_text_get(&text),
                    "task:\n  name: \"math\"\nmethod:\n  name: \"fft\"\ntrain:\n");
    mr_text_free(&text);
}

/* Texts of the first version have no version, and every key whatever was chosen. */
static void older_resolved_texts_are_read(void **state)
{
    (void)state;
    static const char flat[] = "task:\n  name: \"uuid\"\n  pairs: 4\nmethod:\n  r: 16\n"
                               "  operator: sharing\n  merge_every: 7\n  name: \"%s\"\n";
    char text[256];
    mr_config config;
    snprintf(text, sizeof text, flat, "fft");
    must(mr_config_parse_resolved(config_registry(), text, &config));
    assert_false(mr_config_has(&config, "method.r"));
    assert_int_equal(task_of(&config)->pairs, 4);
    snprintf(text, sizeof text, flat, "relora");
    must(mr_config_parse_resolved(config_registry(), text, &config));
    assert_int_equal(method_of(&config)->r, 16);
    assert_int_equal(method_of(&config)->merge_every, 7);
    assert_int_equal(mr_config_parse_resolved(config_registry(),
                                              "version: 2\nmethod: {name: fft, r: 4}\n", &config),
                     MR_ERR_CONFIG);
    assert_contains(mr_message(), "resolved configuration:2:21: method.r: not a key of method fft");
    assert_int_equal(mr_config_parse_resolved(config_registry(), "version: 3\n", &config),
                     MR_ERR_CONFIG);
    assert_string_equal(mr_message(), "resolved configuration:1:10: version: expected an integer "
                                      "in 1..2, found \"3\"");
}

static void help_is_narrowed_to_a_topic(void **state)
{
    (void)state;
    static const struct {
        const char *topic, *has, *lacks;
    } cases[] = {{"method.mora", "method.operator", "method.merge_every"},
                 {"method.fft", "It has no keys of its own", "method.r "},
                 {"task", "Of uuid.", "train.lr"},
                 {"train.lr", "train.lr ", "train.lr_scale"},
                 {"matrix", "varying slowest", "run.name"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mr_text help = {0};
        must(mr_config_help(config_registry(), cases[i].topic, &help));
        assert_contains(mr_text_get(&help), cases[i].has);
        if (strstr(mr_text_get(&help), cases[i].lacks)) fail_msg("%s", mr_text_get(&help));
        mr_text_free(&help);
    }
    mr_text help = {0};
    assert_int_equal(mr_config_help(config_registry(), "method.moar", &help), MR_ERR_USAGE);
    assert_string_equal(mr_message(), "--help: expected a section, a key, or a choice such as "
                                      "method.mora, found \"method.moar\"");
    mr_text_free(&help);
}

/* Lists of mappings. */

typedef struct case_item {
    int64_t items;
    char part[16];
} case_item;

static const mr_key item_keys[] = {
    {MR_KEY_FIELD(case_item, "items", items), .type = MR_KEY_INT, .fallback = "5", .min = 1,
     .max = 9, .help = "Items."},
    {MR_KEY_FIELD(case_item, "part", part), .type = MR_KEY_STRING, .fallback = "test",
     .help = "Part."},
};
static const mr_schema item_schema = MR_SCHEMA(case_item, item_keys);
static const mr_choice item_kinds[] = {
    {"generate", "by generation", &item_schema}, {"plain", NULL, NULL}, {NULL, NULL, NULL}};
static const mr_key sets_key = {.key = "eval.sets",
                                .type = MR_KEY_ITEMS,
                                .bytes = sizeof(mr_item_list),
                                .kinds = item_kinds,
                                .fallback = "[]"};

static void lists_of_mappings_have_the_keys_of_their_kinds(void **state)
{
    (void)state;
    static mr_item_list list, again;
    must(mr_value_set_text(&sets_key, "x",
                           "[{items: 7, kind: generate}, {kind: plain}, {kind: generate, part: a}]",
                           &list));
    assert_int_equal(list.count, 3);
    assert_string_equal(list.item[0].kind, "generate");
    assert_int_equal(((const case_item *)(const void *)&list.item[0].keys)->items, 7);
    assert_string_equal(((const case_item *)(const void *)&list.item[0].keys)->part, "test");
    assert_string_equal(list.item[1].kind, "plain");
    mr_text text = {0};
    mr_value_text(&sets_key, &list, MR_VALUE_YAML, &text);
    assert_string_equal(mr_text_get(&text),
                        "[{kind: \"generate\", items: 7, part: \"test\"}, {kind: \"plain\"}, "
                        "{kind: \"generate\", items: 5, part: \"a\"}]");
    memset(&again, 0xff, sizeof again);
    must(mr_value_set_text(&sets_key, "x", mr_text_get(&text), &again));
    assert_memory_equal(&list, &again, sizeof list);
    mr_text_free(&text);
}

static void lists_of_mappings_name_the_place_at_fault(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
        int node;
        bool at_key;
    } cases[] = {
        {"5",
         "eval.sets: expected a list of at most 16 mappings, each with its kind, one of "
         "generate, plain, found \"5\"",
         0, false},
        {"[5]", "eval.sets: expected a mapping, found \"5\"", 1, false},
        {"[{kind: plain}, {items: 5}]", "eval.sets: kind: missing; expected one of generate, plain",
         3, false},
        {"[{kind: plane}]",
         "eval.sets: kind: expected one of generate, plain, found \"plane\"; "
         "did you mean \"plain\"?",
         2, false},
        {"[{kind: generate, items: 10}]",
         "eval.sets: items: expected an integer in 1..9, found \"10\"", 3, false},
        {"[{kind: plain, items: 5}]",
         "eval.sets: unknown key \"items\"; the keys of plain are kind", 3, true},
        {"[{kind: generate, prat: a}]",
         "eval.sets: unknown key \"prat\"; the keys of generate are kind, items, part", 3, true},
    };
    static mr_item_list list;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mr_yaml yaml;
        mr_value_fault fault;
        must(mr_yaml_parse("x", cases[i].text, strlen(cases[i].text), MR_YAML_ROOT_ANY, &yaml));
        assert_int_equal(mr_value_set(&sets_key, &yaml, 0, &list, &fault), MR_ERR_CONFIG);
        assert_string_equal(mr_message(), cases[i].message);
        assert_int_equal(fault.node, cases[i].node);
        assert_int_equal(fault.at_key, cases[i].at_key);
        mr_yaml_free(&yaml);
    }
    mr_text many = {0};
    mr_text_add(&many, "[{kind: plain}");
    for (int i = 0; i < MR_CONFIG_ITEMS; i++)
        mr_text_add(&many, ", {kind: plain}");
    mr_text_add(&many, "]");
    assert_int_equal(mr_value_set_text(&sets_key, "x", mr_text_get(&many), &list), MR_ERR_CONFIG);
    assert_contains(mr_message(), "found a list with more items");
    mr_text_free(&many);
}

/* Damaged texts. */

static void try_text(const char *text, size_t bytes)
{
    mr_yaml yaml;
    mr_source source;
    mr_matrix *runs = NULL;
    int matrix = 0;
    assert_int_equal(mr_source_create("fuzz", config_registry(), &source), MR_OK);
    mr_fail(MR_OK, "%s", "");
    mr_status status = mr_yaml_parse("fuzz", text, bytes, MR_YAML_ROOT_MAPPING, &yaml);
    if (status == MR_OK) status = mr_source_read(&source, &yaml, MR_CONFIG_VERSION, &matrix);
    if (status == MR_OK) status = mr_matrix_create(&source, &yaml, matrix, &runs);
    int merged = 0;
    for (int i = 0; status == MR_OK && i < mr_matrix_count(runs, &merged); i++) {
        mr_config run;
        status = mr_matrix_run(runs, i, &run);
    }
    mr_matrix_destroy(&runs);
    if (status != MR_OK && strncmp(mr_message(), "fuzz", 4) != 0)
        fail_msg("no place in '%s'", mr_message());
    mr_yaml_free(&yaml);
    mr_source_free(&source);
}

static const char sound[] = "run: {name: \"a\\tb\", seed: 1}\n"
                            "model:\n"
                            "  path: 'tiny' # here\n"
                            "method: {r: 8, target_modules: [q_proj, v_proj]}\n"
                            "train.steps: 10\n"
                            "task:\n"
                            "  prompt: |\n"
                            "    {key}\n"
                            "eval:\n"
                            "  at_steps:\n"
                            "  - 1\n"
                            "  - 5\n"
                            "matrix:\n"
                            "- {method.name: [lora, mora], train: {lr: [1e-3, 2e-3]}}\n"
                            "- method.name: fft\n";

static void every_prefix_of_a_text_is_read_or_refused(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < sizeof sound; bytes++) {
        /* A copy of just these bytes, so that a reader behind its end is seen by the sanitizer. */
        char *copy = malloc(bytes > 0 ? bytes : 1);
        assert_non_null(copy);
        memcpy(copy, sound, bytes);
        try_text(copy, bytes);
        free(copy);
    }
}

static void every_damaged_byte_of_a_text_is_read_or_refused(void **state)
{
    (void)state;
    static const unsigned char bytes[] = {0,   '\n', ' ', '"', '\'', ':', '-',  '[',  ']', '{',
                                          '}', ',',  '&', '*', '|',  '%', '\\', 0x80, 0xe2};
    char copy[sizeof sound];
    for (size_t at = (size_t)world.rank; at + 1 < sizeof sound; at += (size_t)world.size) {
        for (size_t b = 0; b < sizeof bytes; b++) {
            memcpy(copy, sound, sizeof sound);
            copy[at] = (char)bytes[b];
            try_text(copy, sizeof sound - 1);
        }
        memcpy(copy, sound, sizeof sound);
        copy[at] = (char)(copy[at] ^ 1);
        try_text(copy, sizeof sound - 1);
    }
}

static void nothing_is_left_allocated(void **state)
{
    (void)state;
    assert_int_equal(mr_memory_live_total(), 0);
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_stands_in_the_schema),
        cmocka_unit_test(every_key_has_a_field_of_its_type),
        cmocka_unit_test(defaults_are_those_of_the_table),
        cmocka_unit_test(a_file_of_nested_and_dotted_keys_is_read),
        cmocka_unit_test(a_file_of_rank_0_reaches_every_rank),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(a_bad_integer_is_named_with_its_place),
        cmocka_unit_test(integers_are_strict),
        cmocka_unit_test(numbers_are_finite_and_in_range),
        cmocka_unit_test(a_text_has_a_length_and_an_encoding),
        cmocka_unit_test(names_offer_the_nearest_one),
        cmocka_unit_test(a_default_must_be_among_the_names_too),
        cmocka_unit_test(lists_name_the_item_at_fault),
        cmocka_unit_test(unknown_keys_offer_the_nearest_one),
        cmocka_unit_test(a_section_must_be_a_mapping),
        cmocka_unit_test(duplicate_keys_name_both_places),
        cmocka_unit_test(errors_of_the_syntax_have_a_place),
        cmocka_unit_test(what_is_not_supported_is_said),
        cmocka_unit_test(depth_and_lengths_are_limited),
        cmocka_unit_test(values_of_a_document_are_counted),
        cmocka_unit_test(booleans_are_true_or_false),
        cmocka_unit_test(batches_must_divide),
        cmocka_unit_test(a_run_has_one_length),
        cmocka_unit_test(a_run_starts_from_a_model),
        cmocka_unit_test(evaluation_steps_ascend),
        cmocka_unit_test(learning_rate_factors_are_pairs),
        cmocka_unit_test(the_name_of_a_run_names_files),
        cmocka_unit_test(overrides_come_after_the_file),
        cmocka_unit_test(errors_of_overrides_name_them),
        cmocka_unit_test(values_are_read_back_as_text),
        cmocka_unit_test(the_resolved_text_reads_back_as_the_same_bytes),
        cmocka_unit_test(a_resolved_text_is_checked),
        cmocka_unit_test(the_help_has_every_key),
        cmocka_unit_test(a_key_of_another_method_or_task_is_refused),
        cmocka_unit_test(keys_of_the_file_go_with_its_method_where_another_is_set),
        cmocka_unit_test(keys_of_a_choice_come_in_any_order),
        cmocka_unit_test(a_resolved_text_has_its_version_and_the_keys_that_apply),
        cmocka_unit_test(older_resolved_texts_are_read),
        cmocka_unit_test(help_is_narrowed_to_a_topic),
        cmocka_unit_test(lists_of_mappings_have_the_keys_of_their_kinds),
        cmocka_unit_test(lists_of_mappings_name_the_place_at_fault),
        cmocka_unit_test(every_prefix_of_a_text_is_read_or_refused),
        cmocka_unit_test(every_damaged_byte_of_a_text_is_read_or_refused),
        cmocka_unit_test(nothing_is_left_allocated),
    };
    return ranks_end(cmocka_run_group_tests(tests, ranks_enter_folder, ranks_leave_folder));
}
