/* mora approximate: how well methods' updates approximate matrices of chosen spectra. */

#include "train/approximate.h"

#include "app/command.h"
#include "base/log.h"
#include "config/load.h"
#include "report/approximations.h"

#include <stdio.h>

/* Gives rank 0 what came of the runs of a round, a run a rank from `first` on. Collective. */
static mr_status take_round(const mr_comm *comm, const mr_run_list *list, int first, int count,
                            const mr_approximation *own, mr_approximations *all)
{
    void *round = NULL;
    size_t bytes;
    MR_TRY(mr_comm_gather_to_root(comm, MR_MEM_OTHER, own, comm->rank < count ? sizeof *own : 0,
                                  &round, &bytes));
    const mr_approximation *results = round;
    mr_status status = MR_OK;
    for (int i = 0; i < count && status == MR_OK; i++) {
        mr_config config;
        status = mr_run_list_get(list, first + i, &config);
        if (status == MR_OK && comm->rank == 0)
            status = mr_approximations_add(all, &config, &results[i]);
        status = mr_comm_agree_root(comm, status);
    }
    mr_free(round);
    return status;
}

/* Runs are dealt over the ranks, one each a round. Collective. */
static mr_status approximate_all(const mr_comm *comm, mr_backend *be, const mr_run_list *list,
                                 mr_approximations *all)
{
    for (int first = 0; first < list->count; first += comm->size) {
        int count = list->count - first < comm->size ? list->count - first : comm->size;
        mr_config own, config;
        mr_approximation result;
        for (int i = 0; i < count; i++) {
            MR_TRY(mr_run_list_get(list, first + i, &config));
            if (i == comm->rank) own = config;
        }
        mr_status status = comm->rank < count ? mr_approximate(be, &own, &result) : MR_OK;
        if (status != MR_OK) status = mr_fail_in(status, "%s", own.run.name);
        MR_TRY(mr_comm_agree_first(comm, status, comm->rank));
        MR_TRY(take_round(comm, list, first, count, &result, all));
        mr_log_progress("approximations", first + count, list->count, "");
    }
    mr_log_progress_end();
    return MR_OK;
}

static mr_status print(mr_approximations *all, bool json)
{
    mr_text text = {0};
    if (json) {
        json_t *value = mr_approximations_json(all);
        mr_status status = mr_print_json(value);
        json_decref(value);
        return status;
    }
    mr_status status = mr_approximations_print(all, &text);
    if (status == MR_OK) status = mr_print_text(&text);
    mr_text_free(&text);
    return status;
}

static mr_status run_list(const mr_comm *comm, const mr_run_list *list, bool json)
{
    mr_backend *be = NULL;
    mr_approximations all = {0};
    MR_TRY(mr_run_list_check(list));
    mr_status status = mr_comm_agree(comm, mr_backend_create("cpu", 0, 1, &be));
    if (status == MR_OK) status = approximate_all(comm, be, list, &all);
    if (status == MR_OK)
        status = mr_comm_agree_root(comm, comm->rank == 0 ? print(&all, json) : MR_OK);
    mr_approximations_free(&all);
    if (be) mr_backend_destroy(&be);
    return status;
}

static mr_status run(const mr_comm *comm, int argc, char **argv)
{
    mr_option_list sets = {0};
    const char *file[1];
    bool json = false, help;
    int operands, progress = MR_PROGRESS_AUTO;
    const mr_option options[] = {
        {"set", MR_OPTION_LIST, &sets, "KEY=VALUE", "override a key; may be repeated"},
        {"progress", MR_OPTION_CHOICE, &progress, "auto|bar|lines|none",
         "how progress is shown; auto: a bar on a terminal, else lines"},
        {"json", MR_OPTION_FLAG, &json, NULL, "print every run as JSON"},
    };
    mr_text keys = {0};
    mr_status status = mr_config_help(mr_approximate_registry(), NULL, &keys);
    if (status == MR_OK)
        status = mr_options_parse(comm, &mr_command_approximate, options,
                                  sizeof options / sizeof options[0], argc, argv, file, 1,
                                  &operands, mr_text_get(&keys), &help);
    mr_text_free(&keys);
    MR_TRY(status);
    if (help) return MR_OK;
    mr_log_set_progress((mr_progress)progress);
    MR_CHECK(operands == 1, MR_ERR_USAGE,
             "mora approximate: expected a YAML file; usage: mora approximate %s",
             mr_command_approximate.usage);
    mr_run_list list;
    MR_TRY(mr_config_load(comm, file[0], sets.item, sets.count, mr_approximate_registry(), &list));
    status = run_list(comm, &list, json);
    mr_run_list_free(&list);
    return status;
}

const mr_command mr_command_approximate = {
    .name = "approximate",
    .usage = "FILE.yaml [--set KEY=VALUE]... [--progress auto|bar|lines|none] [--json]",
    .summary = "approximate matrices of chosen spectra by the updates of methods",
    .run = run,
};
