#include "store/spectra_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Datasets of a group in their order: FIXED ones, the columns, the cosines of either side. */
enum { SIGMA, ROUTE, FIXED, SIDES = 2 };

static const mr_spectra_column fixed[FIXED] = {
    [SIGMA] = {"sigma", "1", "singular values of the update, the largest first", false},
    [ROUTE] = {"route", "text", "how the singular values were computed", false},
};

static const mr_spectra_column sides[SIDES] = {
    {"cosines_left", "1",
     "cosines of the principal angles, the largest first, between the spans of the leading k left "
     "singular vectors of the update and of the base matrix; NaN where fewer are defined",
     false},
    {"cosines_right", "1",
     "cosines of the principal angles, the largest first, between the spans of the leading k right "
     "singular vectors of the update and of the base matrix; NaN where fewer are defined",
     false},
};

int64_t mr_spectra_fields(const mr_spectra_layout *layout, int64_t group)
{
    return FIXED + layout->columns + (layout->group[group].cosines > 0 ? SIDES : 0);
}

/* Fills in what follows from kind and extents. */
static void set_extents(mr_spectra_field *field, int64_t room, int64_t layers, int64_t width)
{
    field->dims = width > 0 ? 3 : layers > 0 ? 2 : 1;
    field->extent[0] = (hsize_t)room;
    field->extent[1] = (hsize_t)layers;
    field->extent[2] = (hsize_t)width;
    field->items = (layers > 0 ? layers : 1) * (width > 0 ? width : 1);
    field->bytes = (size_t)field->items * (field->kind == MR_SPECTRA_TEXT ? MR_SPECTRA_ROUTE : 8);
}

void mr_spectra_field_of(const mr_spectra_layout *layout, int64_t group, int64_t index,
                         mr_spectra_field *out)
{
    const mr_spectra_group *g = &layout->group[group];
    const int64_t column = index - FIXED, side = column - layout->columns;
    const mr_spectra_column *about = side >= 0     ? &sides[side]
                                     : column >= 0 ? &layout->column[column]
                                                   : &fixed[index];
    int64_t width = side >= 0 ? g->cosines : index == SIGMA ? g->values : 0;
    *out = (mr_spectra_field){.unit = about->unit, .definition = about->definition};
    snprintf(out->name, sizeof out->name, "/%s/%s", g->projection, about->name);
    out->kind = index == ROUTE   ? MR_SPECTRA_TEXT
                : about->integer ? MR_SPECTRA_INTEGER
                                 : MR_SPECTRA_DOUBLE;
    set_extents(out, layout->snapshots, g->layers, width);
}

void *mr_spectra_field_data(const mr_spectra_layout *layout, int64_t group, int64_t index,
                            const mr_spectra_row *row)
{
    const int64_t column = index - FIXED, side = column - layout->columns;
    if (side >= 0) return side == 0 ? row->cosines_left : row->cosines_right;
    if (column >= 0) return row->column + column * layout->group[group].layers;
    return index == SIGMA ? (void *)row->sigma : row->route;
}

void mr_spectra_step_field(const mr_spectra_layout *layout, mr_spectra_field *out)
{
    *out = (mr_spectra_field){
        .name = "/step",
        .kind = MR_SPECTRA_INTEGER,
        .unit = "optimizer steps",
        .definition = "steps before the snapshot, by which its row counts; -1: room of no "
                      "snapshot, whose values mean nothing",
    };
    set_extents(out, layout->snapshots, 0, 0);
}

double mr_spectra_file_row_bytes(const mr_spectra_layout *layout)
{
    mr_spectra_field field;
    double bytes = 0;
    mr_spectra_step_field(layout, &field);
    bytes += (double)field.bytes;
    for (int64_t g = 0; g < layout->groups; g++) {
        for (int64_t i = 0; i < mr_spectra_fields(layout, g); i++) {
            mr_spectra_field_of(layout, g, i, &field);
            bytes += (double)field.bytes;
        }
    }
    return bytes;
}

/* Names are steps of paths within the file, and stand in lists separated by commas. */
static mr_status check_name(const char *path, const char *what, const char *name)
{
    enum { LONGEST = 128 };
    MR_CHECK(name && name[0] && name[0] != '.' && !strpbrk(name, "/,") && strlen(name) < LONGEST,
             MR_ERR_ARG, "%s: '%.64s' cannot name a %s of spectra", path, name ? name : "", what);
    return MR_OK;
}

static mr_status check_columns(const char *path, const mr_spectra_layout *layout)
{
    for (int64_t i = 0; i < layout->columns; i++) {
        const mr_spectra_column *c = &layout->column[i];
        MR_TRY(check_name(path, "column", c->name));
        MR_CHECK(c->unit && c->definition, MR_ERR_ARG, "%s: column '%s' has no unit or definition",
                 path, c->name);
        bool taken = strcmp(c->name, "layer") == 0;
        for (int k = 0; k < FIXED; k++)
            taken = taken || strcmp(c->name, fixed[k].name) == 0;
        for (int k = 0; k < SIDES; k++)
            taken = taken || strcmp(c->name, sides[k].name) == 0;
        for (int64_t k = 0; k < i; k++)
            taken = taken || strcmp(c->name, layout->column[k].name) == 0;
        MR_CHECK(!taken, MR_ERR_ARG, "%s: there are two datasets '%s' in a group", path, c->name);
    }
    return MR_OK;
}

static mr_status check_group(const char *path, const mr_spectra_group *g)
{
    const int64_t most = INT32_MAX;
    MR_TRY(check_name(path, "projection", g->projection));
    MR_CHECK(strcmp(g->projection, "step") != 0, MR_ERR_ARG, "%s: a projection cannot be 'step'",
             path);
    int64_t side = g->rows < g->cols ? g->rows : g->cols;
    bool good = side >= 1 && g->rows <= most && g->cols <= most && g->layers >= 1 &&
                g->layers <= most && g->layer && g->values >= 1 && g->values <= side &&
                g->cosines >= 0 && g->cosines <= side;
    MR_CHECK(good, MR_ERR_ARG,
             "%s: %s: %" PRId64 " matrices of %" PRId64 " x %" PRId64 " cannot have %" PRId64
             " singular values and %" PRId64 " cosines each",
             path, g->projection, g->layers, g->rows, g->cols, g->values, g->cosines);
    return MR_OK;
}

mr_status mr_spectra_check_layout(const char *path, const mr_spectra_layout *layout)
{
    const double most = 0x1p50;
    MR_CHECK(layout->run && layout->method && layout->update && layout->groups >= 1, MR_ERR_ARG,
             "%s: spectra need a run, a method, what their update is, and a projection", path);
    MR_TRY(check_columns(path, layout));
    for (int64_t g = 0; g < layout->groups; g++) {
        MR_TRY(check_group(path, &layout->group[g]));
        for (int64_t k = 0; k < g; k++)
            MR_CHECK(strcmp(layout->group[k].projection, layout->group[g].projection) != 0,
                     MR_ERR_ARG, "%s: there are two projections '%s'", path,
                     layout->group[g].projection);
    }
    double bytes = mr_spectra_file_row_bytes(layout);
    MR_CHECK(bytes < most, MR_ERR_ARG, "%s: a snapshot would take %.3g bytes", path, bytes);
    return MR_OK;
}

mr_status mr_spectra_type(const char *path, mr_spectra_kind kind, hid_t *type)
{
    mr_status status = MR_OK;
    if (kind == MR_SPECTRA_TEXT) return mr_h5_make_text_type(path, MR_SPECTRA_ROUTE, type);
    /* Those of this machine: what is appended is written as it is in memory. */
    MR_H5(*type = H5Tcopy(kind == MR_SPECTRA_DOUBLE ? H5T_NATIVE_DOUBLE : H5T_NATIVE_INT64),
          MR_ERR_IO, path, "the type of numbers");
cleanup:
    return status;
}

mr_status mr_spectra_open_field(hid_t file, const char *path, const mr_spectra_field *field,
                                mr_h5_table *table)
{
    static const H5T_class_t class[] = {H5T_FLOAT, H5T_INTEGER, H5T_STRING};
    MR_TRY(mr_h5_table_open_as(file, path, field->name, field->dims, table));
    mr_status status = MR_OK;
    for (int i = 0; i < field->dims && status == MR_OK; i++)
        if (table->extent[i] != field->extent[i])
            status = mr_fail(
                MR_ERR_FORMAT, "%s: %s: extent %d: expected %" PRIu64 ", found %" PRIu64, path,
                field->name, i, (uint64_t)field->extent[i], (uint64_t)table->extent[i]);
    if (status == MR_OK && table->class != class[field->kind])
        status =
            mr_fail(MR_ERR_FORMAT, "%s: %s: its values are of another kind", path, field->name);
    if (status != MR_OK) mr_h5_table_close(table);
    return status;
}

mr_status mr_spectra_row_make(const mr_spectra_layout *layout, int64_t group, mr_spectra_row *out)
{
    const mr_spectra_group *g = &layout->group[group];
    const size_t layers = (size_t)g->layers, cosines = layers * (size_t)g->cosines;
    *out = (mr_spectra_row){
        .sigma = mr_alloc_array(MR_MEM_OTHER, layers * (size_t)g->values, sizeof(double)),
        .column = mr_alloc_array(MR_MEM_OTHER, layers * (size_t)layout->columns, sizeof(double)),
        .cosines_left = mr_alloc_array(MR_MEM_OTHER, cosines, sizeof(double)),
        .cosines_right = mr_alloc_array(MR_MEM_OTHER, cosines, sizeof(double)),
        .route = mr_alloc_array(MR_MEM_OTHER, layers, MR_SPECTRA_ROUTE),
    };
    if (out->sigma && out->column && out->cosines_left && out->cosines_right && out->route)
        return MR_OK;
    mr_spectra_row_free(out);
    return MR_ERR_MEMORY;
}

void mr_spectra_row_free(mr_spectra_row *row)
{
    mr_free(row->sigma);
    mr_free(row->column);
    mr_free(row->cosines_left);
    mr_free(row->cosines_right);
    mr_free(row->route);
    *row = (mr_spectra_row){0};
}
