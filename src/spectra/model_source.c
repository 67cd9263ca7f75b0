#include "spectra/model_source.h"

#include "base/text.h"

#include <string.h>

static mr_status add_linear(mr_model_source *source, int64_t *room, const mr_model_linear *linear)
{
    const mr_param *param = mr_params_at(mr_model_params(source->model), linear->weight);
    MR_TRY(mr_grow(MR_MEM_OTHER, &source->at, room, source->count + 1, sizeof *source->at));
    source->at[source->count++] = (mr_source_linear){
        .linear = *linear, .name = param->name, .rows = param->rows, .cols = param->cols};
    return MR_OK;
}

static mr_status fail_unused(const mr_model_source *source, const char *item)
{
    mr_text known = {0};
    for (mr_model_linear at = {0}; mr_model_next_linear(source->model, &at);)
        if (mr_model_changes(source->model, &at) && !strstr(mr_text_get(&known), at.projection))
            mr_text_add(&known, "%s, ", at.projection);
    mr_status status =
        mr_fail(MR_ERR_CONFIG,
                "log.spectrum_modules: \"%s\" matches no linear that is trained; there are %sall",
                item, mr_text_get(&known));
    mr_text_free(&known);
    return status;
}

static mr_status list_linears(mr_model_source *source, const mr_string_list *modules)
{
    bool used[MR_CONFIG_LIST] = {false};
    int64_t room = 0;
    for (mr_model_linear at = {0}; mr_model_next_linear(source->model, &at);) {
        bool meant = false;
        for (int i = 0; i < modules->count && mr_model_changes(source->model, &at); i++) {
            bool matches = strcmp(modules->item[i], "all") == 0;
            if (!matches)
                MR_TRY(mr_model_linear_matches(source->model, &at, "log.spectrum_modules",
                                               modules->item[i], &matches));
            used[i] = used[i] || matches;
            meant = meant || matches;
        }
        if (meant) MR_TRY(add_linear(source, &room, &at));
    }
    for (int i = 0; i < modules->count; i++)
        if (!used[i]) return fail_unused(source, modules->item[i]);
    return MR_OK;
}

mr_status mr_model_source_create(mr_model *model, const mr_string_list *modules,
                                 mr_model_source *out)
{
    *out = (mr_model_source){.model = model};
    return list_linears(out, modules);
}

void mr_model_source_free(mr_model_source *source)
{
    if (source->model) mr_merge_scratch_free(source->model, &source->scratch);
    mr_free(source->at);
    *source = (mr_model_source){0};
}

mr_status mr_model_source_allocate(mr_model_source *source)
{
    return mr_merge_scratch_create(source->model, &source->scratch);
}

void mr_model_source_describe(const mr_model_source *source, int i, mr_structure *out)
{
    const mr_source_linear *at = &source->at[i];
    mr_update update;
    int lengths;
    if (mr_model_is_structured(source->model, &at->linear) &&
        mr_model_adapter_update(source->model, &at->linear, &update, &lengths) &&
        mr_structure_describe(&update, at->rows, at->cols, out) == MR_OK)
        return;
    *out = (mr_structure){.kind = MR_UPDATE_NONE, .rows = at->rows, .cols = at->cols};
}

mr_status mr_model_source_take(const mr_model_source *source, int i, mr_structure *out)
{
    const mr_source_linear *at = &source->at[i];
    mr_update update;
    MR_INVARIANT(mr_model_update(source->model, &at->linear, &update));
    mr_backend *be = mr_params_backend(mr_model_params(source->model));
    mr_status status = mr_structure_take(be, &update, at->rows, at->cols, out);
    return status == MR_OK ? MR_OK : mr_fail_in(status, "%s", at->name);
}

void mr_model_source_now(mr_model_source *source, int i, double *out)
{
    const mr_source_linear *at = &source->at[i];
    /* The float rows stand in the upper half of the place of their doubles, and are widened from
     * the front: a float is read before anything is written over it. */
    for (int64_t first = 0; first < at->rows; first += MR_MERGE_ROWS) {
        int64_t left = at->rows - first, count = left < MR_MERGE_ROWS ? left : MR_MERGE_ROWS;
        int64_t elements = count * at->cols;
        double *place = out + first * at->cols;
        char *floats = (char *)place + (size_t)elements * (sizeof(double) - sizeof(float));
        mr_model_merged_rows(source->model, &at->linear, first, count, &source->scratch,
                             (float *)(void *)floats);
        for (int64_t e = 0; e < elements; e++) {
            float value;
            memcpy(&value, floats + (size_t)e * sizeof value, sizeof value);
            place[e] = (double)value;
        }
    }
}

mr_status mr_model_source_add_start(const mr_model_source *source, int i, double factor,
                                    double *out)
{
    enum { PIECE = 4096 };
    const mr_source_linear *at = &source->at[i];
    const int64_t elements = at->rows * at->cols;
    float values[PIECE];
    for (int64_t first = 0; first < elements; first += PIECE) {
        int64_t count = elements - first < PIECE ? elements - first : PIECE;
        mr_status status = mr_model_start_values(source->model, source->seed, source->weights,
                                                 at->linear.weight, first, count, values);
        if (status != MR_OK) return mr_fail_in(status, "%s", at->name);
        for (int64_t e = 0; e < count; e++)
            out[first + e] += factor * (double)values[e];
    }
    return MR_OK;
}
