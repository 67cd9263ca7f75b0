/* mora compare: two runs, or two evaluations, beside each other, item by item. */

#include "report/compare.h"

#include "app/command.h"

static mr_status print(const mr_comparison *comparison, int64_t items, bool json)
{
    mr_text text = {0};
    if (json) {
        json_t *value = mr_comparison_json(comparison);
        mr_status status = value ? mr_print_json(value) : MR_ERR_MEMORY;
        json_decref(value);
        return status;
    }
    mr_status status = mr_comparison_print(comparison, items, &text);
    if (status == MR_OK) status = mr_print_text(&text);
    mr_text_free(&text);
    return status;
}

static mr_status compare(const char *const path[2], const char *set, const mr_resampling *how,
                         int64_t items, bool json)
{
    mr_comparison comparison = {.sets = 0};
    mr_status status = mr_comparison_make(path, set, how, &comparison);
    if (status == MR_OK) status = print(&comparison, items, json);
    mr_comparison_free(&comparison);
    return status;
}

static mr_status run(const mr_comm *comm, int argc, char **argv)
{
    const char *path[2], *set = NULL;
    int64_t items = 10, samples = 10000, seed = 0;
    bool json = false, help;
    int operands;
    const mr_option options[] = {
        {"set", MR_OPTION_TEXT, &set, "NAME", "set of evaluations; without it all that both have"},
        {"items", MR_OPTION_INT, &items, "N", "items listed of each set (10)"},
        {"samples", MR_OPTION_INT, &samples, "N",
         "samples of items drawn where records are not 0 or 1 (10000)"},
        {"seed", MR_OPTION_INT, &seed, "N", "seed of the samples (0)"},
        {"json", MR_OPTION_FLAG, &json, NULL, "print the comparison as JSON, with every item"},
    };
    MR_TRY(mr_options_parse(comm, &mr_command_compare, options, sizeof options / sizeof options[0],
                            argc, argv, path, 2, &operands, NULL, &help));
    if (help) return MR_OK;
    MR_CHECK(operands == 2, MR_ERR_USAGE,
             "mora compare: expected two run logs, or two files of rows, found %d; usage: mora "
             "compare %s",
             operands, mr_command_compare.usage);
    MR_CHECK(samples >= 100 && samples <= 10000000, MR_ERR_USAGE,
             "mora compare: --samples: expected 100..10000000, found %lld", (long long)samples);
    const mr_resampling how = {.samples = samples, .seed = (uint64_t)seed};
    return mr_comm_agree_root(comm,
                              comm->rank == 0 ? compare(path, set, &how, items, json) : MR_OK);
}

const mr_command mr_command_compare = {
    .name = "compare",
    .usage = "A.h5 B.h5 | A.jsonl B.jsonl [--set NAME] [--items N] [--json]",
    .summary = "print where two runs differ, item by item, and whether by more than chance",
    .run = run,
};
