/* mora info: what a file is and what it holds. */

#include "app/info.h"

#include "app/command.h"
#include "config/load.h"
#include "report/description.h"
#include "store/json.h"
#include "train/registry.h"

#include <stdio.h>
#include <stdlib.h>

/* The YAML of runs is read as `mora run` reads it. Collective. */
static mr_status describe_runs(const mr_comm *comm, const char *path, json_t **out)
{
    mr_run_list list;
    MR_TRY(mr_config_load(comm, path, NULL, 0, mr_registry_of_program(), &list));
    mr_status status = mr_run_list_check(&list);
    json_t *names = json_array(), *description = json_object();
    for (int i = 0; i < list.count && comm->rank == 0 && status == MR_OK; i++) {
        char name[MR_CONFIG_STRING];
        status = mr_run_list_name(&list, i, name);
        json_array_append_new(names, json_string(name));
    }
    mr_description_put(description, "kind", json_string("run configuration"));
    mr_description_put(description, "file", mr_json_text(path));
    mr_description_put(description, "runs", json_integer(list.count));
    mr_description_put(description, "names", names);
    mr_run_list_free(&list);
    *out = description;
    return status;
}

/* Rank 0 describes, and all ranks what is read by all. Collective. */
static mr_status describe(const mr_comm *comm, const char *path, mr_info_kind kind, bool config,
                          json_t **out)
{
    switch (kind) {
    case MR_INFO_RUNS:
        return describe_runs(comm, path, out);
    case MR_INFO_CHECKPOINT:
        return mr_info_checkpoint(comm, path, config, out);
    case MR_INFO_CHECKPOINTS:
        return mr_info_checkpoints(comm, path, out);
    default:
        return comm->rank == 0 ? mr_info_describe(path, kind, config, out) : MR_OK;
    }
}

/* Collective. */
static mr_status describe_path(const mr_comm *comm, const char *path, bool config, json_t **out)
{
    mr_info_kind kind = MR_INFO_RUNS;
    MR_TRY(mr_comm_agree_root(comm, comm->rank == 0 ? mr_info_recognise(path, &kind) : MR_OK));
    mr_comm_broadcast(comm, &kind, sizeof kind, 0);
    return describe(comm, path, kind, config, out);
}

static mr_status print_description(const json_t *description, bool json)
{
    if (json) return mr_print_json(description);
    mr_text text = {0};
    mr_description_text(description, &text);
    mr_status status = mr_print_text(&text);
    mr_text_free(&text);
    return status;
}

static mr_status run(const mr_comm *comm, int argc, char **argv)
{
    const char *path[1];
    bool json = false, config = false, device = false, help;
    int operands;
    const mr_option options[] = {
        {"config", MR_OPTION_FLAG, &config, NULL,
         "of a run log or a checkpoint: print its configuration too"},
        {"device", MR_OPTION_FLAG, &device, NULL,
         "in place of PATH: describe the devices that runs may compute on"},
        {"json", MR_OPTION_FLAG, &json, NULL, "print the description as JSON"},
    };
    MR_TRY(mr_options_parse(comm, &mr_command_info, options, sizeof options / sizeof options[0],
                            argc, argv, path, 1, &operands, NULL, &help));
    if (help) return MR_OK;
    MR_CHECK(operands == (device ? 0 : 1) && !(device && config), MR_ERR_USAGE,
             "mora info: expected %s; usage: mora info %s",
             device ? "nothing beside --device but --json" : "a file or folder",
             mr_command_info.usage);
    json_t *description = NULL;
    mr_status status = MR_OK;
    if (device)
        status = comm->rank == 0 ? mr_info_devices(&description) : MR_OK;
    else
        status = describe_path(comm, path[0], config, &description);
    if (status == MR_OK && comm->rank == 0) status = print_description(description, json);
    json_decref(description);
    return mr_comm_agree_root(comm, status);
}

const mr_command mr_command_info = {
    .name = "info",
    .usage = "PATH [--config] [--json] | --device [--json]",
    .summary =
        "describe a run log, spectra, checkpoints, token shards, safetensors, a model, rows of an "
        "evaluation, the YAML of runs or of a template",
    .run = run,
};
