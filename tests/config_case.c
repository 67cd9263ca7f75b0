#include "config_case.h"

#include "base/file.h"

#include <math.h>

#define LORA_KEYS                                                                                  \
    {MR_KEY_FIELD(case_method, "method.r", r),                                                     \
     .type = MR_KEY_INT,                                                                           \
     .fallback = "8",                                                                              \
     .min = 1,                                                                                     \
     .max = 65536,                                                                                 \
     .help = "Budget."},                                                                           \
        {MR_KEY_FIELD(case_method, "method.lora_alpha", lora_alpha),                               \
         .type = MR_KEY_FLOAT,                                                                     \
         .fallback = "16",                                                                         \
         .low_open = true,                                                                         \
         .high = INFINITY,                                                                         \
         .help = "Scale."},                                                                        \
        {MR_KEY_FIELD(case_method, "method.lora_dropout", lora_dropout),                           \
         .type = MR_KEY_FLOAT,                                                                     \
         .fallback = "0",                                                                          \
         .high = 1,                                                                                \
         .high_open = true,                                                                        \
         .help = "Dropout."},                                                                      \
    {                                                                                              \
        MR_KEY_FIELD(case_method, "method.target_modules", target_modules),                        \
            .type = MR_KEY_STRINGS, .fallback = "[all-linear]", .help = "Linears."                 \
    }

static const char *const operators[] = {"auto",       "truncation", "sharing",
                                        "sharing_2",  "sharing_3",  "sharing_4",
                                        "decoupling", "rotation",   NULL};
static const mr_key lora_keys[] = {LORA_KEYS};
static const mr_key relora_keys[] = {
    LORA_KEYS,
    {MR_KEY_FIELD(case_method, "method.merge_every", merge_every), .type = MR_KEY_INT,
     .fallback = "2000", .min = 1, .max = MR_KEY_BILLION, .unit = "optimizer steps",
     .help = "Merges."},
};
static const mr_key mora_keys[] = {
    LORA_KEYS,
    {MR_KEY_FIELD(case_method, "method.operator", operator), .type = MR_KEY_ENUM,
     .fallback = "auto", .choices = operators, .help = "Operator."},
};
static const mr_key uuid_keys[] = {
    {MR_KEY_FIELD(case_task, "task.pairs", pairs), .type = MR_KEY_INT, .fallback = "256", .min = 1,
     .max = MR_KEY_BILLION, .unit = "pairs", .help = "Pairs."},
    {MR_KEY_FIELD(case_task, "task.data_seed", data_seed), .type = MR_KEY_INT, .fallback = "0",
     .max = INT64_MAX, .help = "Seed."},
    {MR_KEY_FIELD(case_task, "task.prompt", prompt), .type = MR_KEY_STRING,
     .fallback = "{key}:", .help = "Prompt."},
};
static const mr_schema lora = MR_SCHEMA(case_method, lora_keys);
static const mr_schema relora = MR_SCHEMA(case_method, relora_keys);
static const mr_schema mora = MR_SCHEMA(case_method, mora_keys);
static const mr_schema uuid = MR_SCHEMA(case_task, uuid_keys);
static const mr_choice methods[] = {{"fft", "every weight", NULL},
                                    {"lora", "low rank", &lora},
                                    {"relora", "low rank, merged", &relora},
                                    {"mora", "high rank", &mora},
                                    {NULL, NULL, NULL}};
static const mr_choice tasks[] = {
    {"uuid", "pairs", &uuid}, {"math", NULL, NULL}, {NULL, NULL, NULL}};
static const mr_choice_table tables[] = {{"method.name", methods}, {"task.name", tasks}};

const mr_registry *config_registry(void)
{
    static mr_registry registry;
    if (registry.count == 0) mr_registry_build(tables, 2, &registry);
    return &registry;
}

const case_method *method_of(const mr_config *config)
{
    return (const void *)&config->method.keys;
}

const case_task *task_of(const mr_config *config)
{
    return (const void *)&config->task.keys;
}

void config_write(const char *text)
{
    if (world.rank == 0) must(mr_file_write("uuid.yaml", text, strlen(text)));
}

mr_status config_load(const char *text, const char *const *sets, int set_count, mr_run_list *out)
{
    config_write(text);
    mr_status status = mr_config_load(&world, "uuid.yaml", sets, set_count, config_registry(), out);
    if (status == MR_OK) status = mr_run_list_check(out);
    if (status != MR_OK) mr_run_list_free(out);
    return status;
}

mr_config config_run(const mr_run_list *list, int run)
{
    mr_config config;
    must(mr_run_list_get(list, run, &config));
    return config;
}

void config_assert_error(const char *text, const char *message)
{
    mr_run_list list;
    assert_int_equal(config_load(text, NULL, 0, &list), MR_ERR_CONFIG);
    assert_string_equal(mr_message(), message);
    assert_null(list.recipe);
}
