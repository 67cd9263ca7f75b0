#include "store/spectra_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static mr_status keep_text(mr_spectra_file *f, hid_t object, const char *name, const char **out)
{
    char *text = NULL;
    MR_TRY(mr_h5_text(object, f->path, name, &text));
    *out = mr_texts_keep(&f->texts, text);
    mr_free(text);
    return *out ? MR_OK : MR_ERR_MEMORY;
}

/* Reads a list of names, separated by commas; names[i] is as long as it stands there. */
static mr_status read_names(mr_spectra_file *f, const char *name, mr_names *out)
{
    char *text = NULL;
    MR_TRY(mr_h5_text(f->file, f->path, name, &text));
    mr_status status = MR_OK;
    for (char *at = text; status == MR_OK && *at;) {
        size_t length = strcspn(at, ",");
        char *next = at + length + (at[length] == ',');
        at[length] = '\0';
        status = mr_names_add(out, at);
        at = next;
    }
    mr_free(text);
    return status;
}

/* Reads what a column is from its dataset in the first group. */
static mr_status read_column(mr_spectra_file *f, const char *projection, const char *name,
                             mr_spectra_column *out)
{
    char path[MR_H5_PATH];
    mr_h5_table table;
    int length = snprintf(path, sizeof path, "/%s/%s", projection, name);
    MR_CHECK(length > 0 && (size_t)length < sizeof path, MR_ERR_FORMAT,
             "%s: the name '%.64s...' is too long", f->path, name);
    out->name = mr_texts_keep(&f->texts, name);
    if (!out->name) return MR_ERR_MEMORY;
    MR_TRY(mr_h5_table_open_as(f->file, f->path, path, 2, &table));
    out->integer = table.class == H5T_INTEGER;
    mr_status status = keep_text(f, table.handle, "unit", &out->unit);
    if (status == MR_OK) status = keep_text(f, table.handle, "definition", &out->definition);
    mr_h5_table_close(&table);
    return status;
}

static mr_status read_layers(mr_spectra_file *f, mr_spectra_group *g)
{
    char path[MR_H5_PATH];
    mr_h5_table table;
    snprintf(path, sizeof path, "/%s/layer", g->projection);
    MR_TRY(mr_h5_table_open_as(f->file, f->path, path, 1, &table));
    int64_t *layer = mr_alloc_array(MR_MEM_OTHER, (size_t)table.rows, sizeof *layer);
    mr_status status = layer ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK && table.class != H5T_INTEGER)
        status = mr_fail(MR_ERR_FORMAT, "%s: %s: its values are of another kind", f->path, path);
    g->layers = table.rows;
    g->layer = layer;
    if (status == MR_OK)
        status = mr_h5_table_read(&table, f->path, path, 0, table.rows, H5T_NATIVE_INT64, layer);
    mr_h5_table_close(&table);
    return status;
}

/* Reads the last extent of a dataset of three. */
static mr_status read_width(const mr_spectra_file *f, const char *projection, const char *name,
                            int64_t *out)
{
    char path[MR_H5_PATH];
    mr_h5_table table;
    snprintf(path, sizeof path, "/%s/%s", projection, name);
    *out = 0;
    MR_TRY(mr_h5_table_open_as(f->file, f->path, path, 3, &table));
    *out = (int64_t)table.extent[2];
    mr_h5_table_close(&table);
    return MR_OK;
}

static mr_status read_group(mr_spectra_file *f, const char *name, mr_spectra_group *g)
{
    char path[MR_H5_PATH];
    hid_t group = H5I_INVALID_HID;
    int length = snprintf(path, sizeof path, "/%s", name);
    mr_status status = MR_OK;
    /* With the longest name of a dataset it must still be a path. */
    MR_CHECK(length < MR_H5_PATH / 2, MR_ERR_FORMAT, "%s: the name '%.64s...' is too long", f->path,
             name);
    MR_CHECK(mr_h5_exists(f->file, path), MR_ERR_FORMAT, "%s: no group %s", f->path, path);
    g->projection = mr_texts_keep(&f->texts, name);
    if (!g->projection) return MR_ERR_MEMORY;
    MR_H5(group = H5Gopen2(f->file, path, H5P_DEFAULT), MR_ERR_FORMAT, f->path, "group %s", path);
    status = mr_h5_int(group, f->path, "rows", &g->rows);
    if (status == MR_OK) status = mr_h5_int(group, f->path, "cols", &g->cols);
    if (status == MR_OK) status = read_layers(f, g);
    if (status == MR_OK) status = read_width(f, name, "sigma", &g->values);
    snprintf(path, sizeof path, "/%s/cosines_left", name);
    if (status == MR_OK && mr_h5_exists(f->file, path))
        status = read_width(f, name, "cosines_left", &g->cosines);
cleanup:
    if (group >= 0) H5Gclose(group);
    return status;
}

static mr_status read_groups(mr_spectra_file *f, const mr_names *projections)
{
    mr_spectra_layout *l = &f->layout;
    mr_spectra_group *group =
        mr_alloc_array(MR_MEM_OTHER, (size_t)projections->count, sizeof *group);
    if (!group) return MR_ERR_MEMORY;
    l->group = group;
    for (int64_t g = 0; g < projections->count; g++) {
        l->groups = g + 1;
        MR_TRY(read_group(f, projections->item[g], &group[g]));
    }
    return MR_OK;
}

static mr_status read_columns(mr_spectra_file *f, const mr_names *columns, const char *projection)
{
    mr_spectra_column *column =
        mr_alloc_array(MR_MEM_OTHER, (size_t)columns->count, sizeof *column);
    if (!column) return MR_ERR_MEMORY;
    f->layout.column = column;
    f->layout.columns = columns->count;
    for (int64_t c = 0; c < columns->count; c++)
        MR_TRY(read_column(f, projection, columns->item[c], &column[c]));
    return MR_OK;
}

static mr_status read_parts(mr_spectra_file *f)
{
    mr_names projections = {0}, columns = {0};
    mr_status status = read_names(f, "projections", &projections);
    if (status == MR_OK) status = read_names(f, "columns", &columns);
    if (status == MR_OK && projections.count == 0)
        status = mr_fail(MR_ERR_FORMAT, "%s: attribute 'projections' names none", f->path);
    if (status == MR_OK) status = read_groups(f, &projections);
    if (status == MR_OK) status = read_columns(f, &columns, projections.item[0]);
    mr_names_free(&projections);
    mr_names_free(&columns);
    return status;
}

/* Reads the steps of the snapshots, and with them the room there is. */
static mr_status read_steps(mr_spectra_file *f)
{
    mr_h5_table table;
    MR_TRY(mr_h5_table_open_as(f->file, f->path, "/step", 1, &table));
    mr_status status = MR_OK;
    f->layout.snapshots = table.rows;
    f->step = mr_alloc_array(MR_MEM_OTHER, (size_t)table.rows, sizeof *f->step);
    if (!f->step) status = MR_ERR_MEMORY;
    if (status == MR_OK)
        status =
            mr_h5_table_read(&table, f->path, "/step", 0, table.rows, H5T_NATIVE_INT64, f->step);
    mr_h5_table_close(&table);
    while (status == MR_OK && f->count < f->layout.snapshots && f->step[f->count] >= 0)
        f->count++;
    for (int64_t i = 1; status == MR_OK && i < f->count; i++)
        if (f->step[i] <= f->step[i - 1])
            status = mr_fail(MR_ERR_FORMAT,
                             "%s: /step: row %" PRId64 " is of step %" PRId64
                             ", behind one of step %" PRId64,
                             f->path, i, f->step[i], f->step[i - 1]);
    return status;
}

/* Every dataset must be there, with the extents that the others give it. */
static mr_status check_fields(const mr_spectra_file *f)
{
    for (int64_t g = 0; g < f->layout.groups; g++) {
        for (int64_t i = 0; i < mr_spectra_fields(&f->layout, g); i++) {
            mr_spectra_field field;
            mr_h5_table table;
            mr_spectra_field_of(&f->layout, g, i, &field);
            MR_TRY(mr_spectra_open_field(f->file, f->path, &field, &table));
            mr_h5_table_close(&table);
        }
    }
    return MR_OK;
}

static mr_status read_all(mr_spectra_file *f)
{
    mr_spectra_layout *l = &f->layout;
    MR_TRY(mr_h5_check_format(f->file, f->path, MR_SPECTRA_FORMAT, MR_SPECTRA_VERSION));
    MR_TRY(keep_text(f, f->file, "run", &l->run));
    MR_TRY(keep_text(f, f->file, "method", &l->method));
    MR_TRY(keep_text(f, f->file, "update", &l->update));
    MR_TRY(mr_h5_int(f->file, f->path, "r", &l->r));
    MR_TRY(mr_h5_double(f->file, f->path, "threshold", &l->threshold));
    MR_TRY(read_parts(f));
    MR_TRY(read_steps(f));
    mr_status status = mr_spectra_check_layout(f->path, l);
    if (status == MR_ERR_ARG) status = mr_fail(MR_ERR_FORMAT, "%s", mr_message());
    MR_TRY(status);
    return check_fields(f);
}

mr_status mr_spectra_file_open(const char *path, mr_spectra_file **out)
{
    *out = NULL;
    mr_spectra_file *f = mr_alloc(MR_MEM_OTHER, sizeof *f);
    if (!f) return MR_ERR_MEMORY;
    f->file = H5I_INVALID_HID;
    f->path = mr_strdup(path);
    mr_status status = f->path ? mr_h5_open(path, &f->file) : MR_ERR_MEMORY;
    if (status == MR_OK) status = read_all(f);
    if (status == MR_ERR_FORMAT) status = mr_h5_unsound(path, "sound spectra");
    if (status != MR_OK)
        mr_spectra_file_close(&f);
    else
        *out = f;
    return status;
}

void mr_spectra_file_close(mr_spectra_file **file)
{
    mr_spectra_file *old = *file;
    if (!old) return;
    if (old->file >= 0) H5Fclose(old->file);
    for (int64_t g = 0; g < old->layout.groups; g++)
        mr_free((void *)(uintptr_t)old->layout.group[g].layer);
    mr_free((void *)(uintptr_t)old->layout.group);
    mr_free((void *)(uintptr_t)old->layout.column);
    mr_texts_free(&old->texts);
    mr_free(old->step);
    mr_free(old->path);
    mr_free(old);
    *file = NULL;
}

bool mr_spectra_file_is(const char *path)
{
    static const char ending[] = ".spectra.h5";
    const size_t length = strlen(path), tail = sizeof ending - 1;
    hid_t file;
    char *format = NULL;
    if (mr_h5_open(path, &file) != MR_OK)
        return length > tail && strcmp(path + length - tail, ending) == 0;
    bool is = mr_h5_text(file, path, "format", &format) == MR_OK &&
              strcmp(format, MR_SPECTRA_FORMAT) == 0;
    mr_free(format);
    H5Fclose(file);
    return is;
}

const mr_spectra_layout *mr_spectra_file_layout(const mr_spectra_file *file)
{
    return &file->layout;
}

const int64_t *mr_spectra_file_steps(const mr_spectra_file *file, int64_t *count)
{
    *count = file->count;
    return file->step;
}

mr_status mr_spectra_read_rows(const mr_spectra_file *f, const mr_spectra_field *field,
                               int64_t first, int64_t count, void *data)
{
    mr_h5_table table;
    hid_t type = H5I_INVALID_HID;
    MR_TRY(mr_spectra_open_field(f->file, f->path, field, &table));
    mr_status status = mr_spectra_type(f->path, field->kind, &type);
    if (status == MR_OK)
        status = mr_h5_table_read(&table, f->path, field->name, first, count, type, data);
    if (type >= 0) H5Tclose(type);
    mr_h5_table_close(&table);
    return status;
}

mr_status mr_spectra_file_read(const mr_spectra_file *file, int64_t snapshot, int64_t group,
                               mr_spectra_row *row)
{
    const mr_spectra_layout *l = &file->layout;
    MR_CHECK(snapshot >= 0 && snapshot < file->count && group >= 0 && group < l->groups, MR_ERR_ARG,
             "%s: snapshot %" PRId64 " of %" PRId64 ", group %" PRId64 " of %" PRId64 " asked for",
             file->path, snapshot, file->count, group, l->groups);
    for (int64_t i = 0; i < mr_spectra_fields(l, group); i++) {
        mr_spectra_field field;
        mr_spectra_field_of(l, group, i, &field);
        void *data = mr_spectra_field_data(l, group, i, row);
        MR_TRY(mr_spectra_read_rows(file, &field, snapshot, 1, data));
        for (int64_t k = 0; field.kind == MR_SPECTRA_INTEGER && k < field.items; k++) {
            int64_t whole;
            memcpy(&whole, (double *)data + k, sizeof whole);
            ((double *)data)[k] = whole >= 0 ? (double)whole : NAN;
        }
        for (int64_t k = 0; field.kind == MR_SPECTRA_TEXT && k < l->group[group].layers; k++)
            row->route[k][MR_SPECTRA_ROUTE - 1] = '\0';
    }
    return MR_OK;
}

static mr_status differs(const mr_spectra_file *f, const char *what, const char *expected,
                         const char *found)
{
    return mr_fail(MR_ERR_FORMAT, "%s: other spectra: %s: expected '%.160s', found '%.160s'",
                   f->path, what, expected, found);
}

static mr_status compare_texts(const mr_spectra_file *f, const char *what, const char *expected,
                               const char *found)
{
    return strcmp(expected, found) == 0 ? MR_OK : differs(f, what, expected, found);
}

static mr_status compare_ints(const mr_spectra_file *f, const char *where, const char *what,
                              int64_t expected, int64_t found)
{
    MR_CHECK(expected == found, MR_ERR_FORMAT,
             "%s: other spectra: %s%s: expected %" PRId64 ", found %" PRId64, f->path, where, what,
             expected, found);
    return MR_OK;
}

static mr_status compare_group(const mr_spectra_file *f, const mr_spectra_group *expected,
                               const mr_spectra_group *found)
{
    char where[192];
    MR_TRY(compare_texts(f, "projection", expected->projection, found->projection));
    snprintf(where, sizeof where, "%s: ", expected->projection);
    MR_TRY(compare_ints(f, where, "rows", expected->rows, found->rows));
    MR_TRY(compare_ints(f, where, "cols", expected->cols, found->cols));
    MR_TRY(compare_ints(f, where, "layers", expected->layers, found->layers));
    MR_TRY(compare_ints(f, where, "singular values", expected->values, found->values));
    MR_TRY(compare_ints(f, where, "cosines", expected->cosines, found->cosines));
    for (int64_t i = 0; i < expected->layers; i++)
        MR_TRY(compare_ints(f, where, "layer", expected->layer[i], found->layer[i]));
    return MR_OK;
}

static mr_status compare_column(const mr_spectra_file *f, const mr_spectra_column *expected,
                                const mr_spectra_column *found)
{
    MR_TRY(compare_texts(f, "column", expected->name, found->name));
    MR_TRY(compare_texts(f, expected->name, expected->unit, found->unit));
    MR_TRY(compare_texts(f, expected->name, expected->definition, found->definition));
    return compare_ints(f, expected->name, ": whole numbers", expected->integer, found->integer);
}

mr_status mr_spectra_file_check(const mr_spectra_file *file, const mr_spectra_layout *layout)
{
    const mr_spectra_layout *found = &file->layout;
    char expected_number[32], found_number[32];
    MR_TRY(compare_texts(file, "run", layout->run, found->run));
    MR_TRY(compare_texts(file, "method", layout->method, found->method));
    MR_TRY(compare_texts(file, "update", layout->update, found->update));
    MR_TRY(compare_ints(file, "", "r", layout->r, found->r));
    snprintf(expected_number, sizeof expected_number, "%.17g", layout->threshold);
    snprintf(found_number, sizeof found_number, "%.17g", found->threshold);
    MR_TRY(compare_texts(file, "threshold", expected_number, found_number));
    MR_TRY(compare_ints(file, "", "projections", layout->groups, found->groups));
    MR_TRY(compare_ints(file, "", "columns", layout->columns, found->columns));
    for (int64_t g = 0; g < layout->groups; g++)
        MR_TRY(compare_group(file, &layout->group[g], &found->group[g]));
    for (int64_t c = 0; c < layout->columns; c++)
        MR_TRY(compare_column(file, &layout->column[c], &found->column[c]));
    return MR_OK;
}
