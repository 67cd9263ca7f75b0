#include "config/load.h"

#include "base/file.h"
#include "config/matrix.h"

#include <string.h>

/* Names a run without a name after its file: "experiments/uuid.yaml" is "uuid". */
static void name_after_file(const char *path, mr_config *config)
{
    if (config->run.name[0] != '\0') return;
    const char *slash = strrchr(path, '/');
    const char *stem = slash ? slash + 1 : path;
    size_t length = strlen(stem);
    static const char *const endings[] = {".yaml", ".yml"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t ending = strlen(endings[i]);
        if (length <= ending || strcmp(stem + length - ending, endings[i]) != 0) continue;
        length -= ending;
        break;
    }
    if (length >= sizeof config->run.name) length = sizeof config->run.name - 1;
    memcpy(config->run.name, stem, length);
}

static mr_status load_here(const char *path, const char *const *sets, int set_count,
                           const mr_config_choices *choices, int choices_count, mr_run_list *out)
{
    char *text = NULL;
    size_t bytes = 0;
    mr_yaml yaml = {0};
    mr_source *source = NULL;
    int matrix = -1;
    mr_status status = mr_file_read(path, MR_MEM_OTHER, &text, &bytes);
    if (status != MR_OK) goto cleanup;
    status = mr_yaml_parse(path, text, bytes, MR_YAML_ROOT_MAPPING, &yaml);
    if (status != MR_OK) goto cleanup;
    source = mr_alloc(MR_MEM_OTHER, sizeof *source);
    status = source ? mr_source_create(path, choices, choices_count, source) : MR_ERR_MEMORY;
    if (status != MR_OK) goto cleanup;
    status = mr_source_read(source, &yaml, &matrix);
    for (int i = 0; i < set_count && status == MR_OK; i++)
        status = mr_source_override(source, sets[i]);
    if (status != MR_OK) goto cleanup;
    name_after_file(path, &source->written);
    name_after_file(path, &source->config);
    status = mr_source_check_names(source);
    if (status == MR_OK) status = mr_matrix_expand(source, &yaml, matrix, out);
cleanup:
    if (source) mr_source_free(source);
    mr_free(source);
    mr_yaml_free(&yaml);
    mr_free(text);
    return status;
}

mr_status mr_config_load(const mr_comm *comm, const char *path, const char *const *sets,
                         int set_count, const mr_config_choices *choices, int choices_count,
                         mr_run_list *out)
{
    *out = (mr_run_list){0};
    mr_status status = MR_OK;
    if (comm->rank == 0) status = load_here(path, sets, set_count, choices, choices_count, out);
    MR_TRY(mr_comm_agree_root(comm, status));
    mr_comm_broadcast(comm, &out->count, sizeof out->count, 0);
    if (comm->rank != 0) {
        out->runs = mr_alloc_array(MR_MEM_OTHER, (size_t)out->count, sizeof *out->runs);
        if (!out->runs) status = MR_ERR_MEMORY;
    }
    status = mr_comm_agree(comm, status);
    if (status != MR_OK) {
        mr_run_list_free(out);
        return status;
    }
    mr_comm_broadcast(comm, out->runs, (size_t)out->count * sizeof *out->runs, 0);
    return MR_OK;
}

void mr_run_list_free(mr_run_list *list)
{
    mr_free(list->runs);
    *list = (mr_run_list){0};
}
