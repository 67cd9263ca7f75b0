#include "app/info.h"
#include "report/description.h"
#include "store/json.h"
#include "store/spectra_file.h"

#include <math.h>
#include <string.h>

/* Whether a measure is shown; all are in the file. */
static bool is_shown(const char *column)
{
    static const char *const shown[] = {"count", "erank_sigma", "k90"};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        if (strcmp(column, shown[i]) == 0) return true;
    return false;
}

/* Mean, least and most of the values that are defined; null where none is. */
static json_t *summary(const mr_spectra_group *g, const double *value)
{
    double sum = 0, least = INFINITY, most = -INFINITY;
    int64_t defined = 0;
    for (int64_t i = 0; i < g->layers; i++) {
        if (isnan(value[i])) continue;
        sum += value[i];
        least = fmin(least, value[i]);
        most = fmax(most, value[i]);
        defined++;
    }
    const double mean = sum / (double)defined;
    return json_pack("{s:o, s:I, s:o, s:o, s:o}", "projection", mr_json_text(g->projection),
                     "defined", (json_int_t)defined, "mean", mr_json_number(mean), "least",
                     mr_json_number(least), "most", mr_json_number(most));
}

/* Adds a row of every measure that is shown, of one projection. */
static mr_status add_group(const mr_spectra_file *file, int64_t snapshot, int64_t group,
                           json_t *tables)
{
    const mr_spectra_layout *layout = mr_spectra_file_layout(file);
    const mr_spectra_group *g = &layout->group[group];
    mr_spectra_row row = {0};
    MR_TRY(mr_spectra_row_make(layout, group, &row));
    mr_status status = mr_spectra_file_read(file, snapshot, group, &row);
    for (int64_t c = 0; status == MR_OK && c < layout->columns; c++) {
        const char *name = layout->column[c].name;
        if (!is_shown(name)) continue;
        if (!json_object_get(tables, name)) mr_description_put(tables, name, json_array());
        json_array_append_new(json_object_get(tables, name),
                              summary(g, row.column + c * g->layers));
    }
    mr_spectra_row_free(&row);
    return status;
}

static json_t *shapes(const mr_spectra_layout *layout)
{
    json_t *rows = json_array();
    for (int64_t i = 0; i < layout->groups; i++) {
        const mr_spectra_group *g = &layout->group[i];
        json_array_append_new(
            rows, json_pack("{s:o, s:I, s:I, s:I, s:I, s:I}", "projection",
                            mr_json_text(g->projection), "layers", (json_int_t)g->layers, "rows",
                            (json_int_t)g->rows, "cols", (json_int_t)g->cols, "singular_values",
                            (json_int_t)g->values, "cosines", (json_int_t)g->cosines));
    }
    return rows;
}

static mr_status describe(const mr_spectra_file *file, json_t *object)
{
    const mr_spectra_layout *layout = mr_spectra_file_layout(file);
    int64_t count;
    const int64_t *step = mr_spectra_file_steps(file, &count);
    mr_description_put(object, "run", mr_json_text(layout->run));
    mr_description_put(object, "method", mr_json_text(layout->method));
    mr_description_put(object, "r", json_integer(layout->r));
    mr_description_put(object, "update", mr_json_text(layout->update));
    mr_description_put(object, "threshold", mr_json_number(layout->threshold));
    mr_description_put(object, "snapshots", json_integer(count));
    mr_description_put(object, "first_step", count > 0 ? json_integer(step[0]) : json_null());
    mr_description_put(object, "last_step",
                       count > 0 ? json_integer(step[count - 1]) : json_null());
    mr_description_put(object, "matrices", shapes(layout));
    json_t *tables = json_object();
    mr_status status = MR_OK;
    for (int64_t g = 0; status == MR_OK && count > 0 && g < layout->groups; g++)
        status = add_group(file, count - 1, g, tables);
    mr_description_put(object, "last_snapshot", tables);
    return status;
}

mr_status mr_info_spectra(const char *path, json_t **out)
{
    mr_spectra_file *file;
    *out = NULL;
    MR_TRY(mr_spectra_file_open(path, &file));
    json_t *object = json_object();
    mr_description_put(object, "kind", json_string("spectra"));
    mr_description_put(object, "file", mr_json_text(path));
    mr_status status = describe(file, object);
    mr_spectra_file_close(&file);
    if (status != MR_OK) {
        json_decref(object);
        object = NULL;
    }
    *out = object;
    return status;
}
