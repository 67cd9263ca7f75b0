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

/* What rank 0 makes runs of. */
struct mr_run_recipe {
    mr_yaml yaml;
    mr_source source;
    mr_matrix *matrix;
};

static void destroy_recipe(struct mr_run_recipe *recipe)
{
    if (!recipe) return;
    mr_matrix_destroy(&recipe->matrix);
    mr_source_free(&recipe->source);
    mr_yaml_free(&recipe->yaml);
    mr_free(recipe);
}

static mr_status read_recipe(const char *path, const char *const *sets, int set_count,
                             const mr_registry *registry, struct mr_run_recipe *out)
{
    char *text = NULL;
    size_t bytes = 0;
    int matrix = 0;
    MR_TRY(mr_file_read(path, MR_MEM_OTHER, &text, &bytes));
    mr_status status = mr_yaml_parse(path, text, bytes, MR_YAML_ROOT_MAPPING, &out->yaml);
    mr_free(text);
    MR_TRY(status);
    MR_TRY(mr_source_create(path, registry, &out->source));
    MR_TRY(mr_source_read(&out->source, &out->yaml, MR_CONFIG_VERSION, &matrix));
    for (int i = 0; i < set_count; i++)
        MR_TRY(mr_source_override(&out->source, sets[i]));
    name_after_file(path, &out->source.config);
    /* In a matrix a name may come with each run. */
    if (matrix == 0) MR_TRY(mr_source_check_names(&out->source, &out->source.config));
    return mr_matrix_create(&out->source, &out->yaml, matrix, &out->matrix);
}

mr_status mr_config_load(const mr_comm *comm, const char *path, const char *const *sets,
                         int set_count, const mr_registry *registry, mr_run_list *out)
{
    *out = (mr_run_list){
        .file = path, .comm = comm, .registry = registry ? registry : mr_registry_core()};
    mr_status status = MR_OK;
    if (comm->rank == 0) {
        out->recipe = mr_alloc(MR_MEM_OTHER, sizeof *out->recipe);
        status =
            out->recipe ? read_recipe(path, sets, set_count, registry, out->recipe) : MR_ERR_MEMORY;
        if (status == MR_OK) out->count = mr_matrix_count(out->recipe->matrix, &out->merged);
    }
    status = mr_comm_agree_root(comm, status);
    if (status != MR_OK) {
        mr_run_list_free(out);
        return status;
    }
    mr_comm_broadcast(comm, &out->count, sizeof out->count, 0);
    mr_comm_broadcast(comm, &out->merged, sizeof out->merged, 0);
    return MR_OK;
}

mr_status mr_run_list_check(const mr_run_list *list)
{
    mr_status status = MR_OK;
    mr_config run;
    for (int i = 0; i < list->count && list->comm->rank == 0 && status == MR_OK; i++)
        status = mr_matrix_run(list->recipe->matrix, i, &run);
    return mr_comm_agree_root(list->comm, status);
}

mr_status mr_run_list_get(const mr_run_list *list, int run, mr_config *out)
{
    mr_status status = MR_OK;
    if (list->comm->rank == 0) status = mr_matrix_run(list->recipe->matrix, run, out);
    MR_TRY(mr_comm_agree_root(list->comm, status));
    mr_comm_broadcast(list->comm, out, sizeof *out, 0);
    out->registry = list->registry;
    return MR_OK;
}

mr_status mr_run_list_name(const mr_run_list *list, int run, char out[MR_CONFIG_STRING])
{
    return mr_matrix_name(list->recipe->matrix, run, out);
}

void mr_run_list_free(mr_run_list *list)
{
    destroy_recipe(list->recipe);
    *list = (mr_run_list){0};
}
