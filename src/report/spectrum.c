/* Columns, and what is for machines; tables are in spectrum_text.c. */

#include "report/spectrum.h"

#include "base/file.h"
#include "report/description.h"
#include "store/json.h"
#include "store/spectra_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

int mr_spectrum_columns(void)
{
    return mr_measure_count + 2 * mr_comparison_count;
}

/* The row of the comparison's table that a column is, and whether it is noise's. */
static int comparison_row(int column, bool *noise)
{
    const int row = column - mr_measure_count;
    *noise = row >= mr_comparison_count;
    return *noise ? row - mr_comparison_count : row;
}

mr_spectrum_column mr_spectrum_column_of(int column)
{
    mr_spectrum_column out;
    bool noise = false;
    if (column < mr_measure_count) {
        const mr_measure *m = &mr_measure_rows[column];
        out = (mr_spectrum_column){.unit = m->unit, .definition = m->definition, .whole = m->whole};
        snprintf(out.name, sizeof out.name, "%s", m->name);
        return out;
    }
    const mr_comparison_row *row = &mr_comparison_rows[comparison_row(column, &noise)];
    out =
        (mr_spectrum_column){.unit = row->unit, .definition = row->definition, .whole = row->whole};
    snprintf(out.name, sizeof out.name, "%s%s", noise ? "noise_" : "", row->name);
    return out;
}

/* The value of a column; NaN where it is undefined. */
static double value_of(const mr_analysis *analysis, int column)
{
    bool noise;
    if (column < mr_measure_count) return mr_measure_value(&analysis->measures, column);
    const int row = comparison_row(column, &noise);
    return mr_comparison_value(noise ? &analysis->noise : &analysis->own, row);
}

int64_t mr_spectrum_layers(const mr_spectrum *s, int64_t first)
{
    const mr_updates_item *item = s->updates->item;
    int64_t end = first;
    while (end < s->updates->count && strcmp(item[end].projection, item[first].projection) == 0)
        end++;
    return end - first;
}

mr_spectrum_summary mr_spectrum_sum_up(const mr_spectrum *s, int64_t first, int64_t count,
                                       int column)
{
    mr_spectrum_summary out = {.mean = 0, .least = NAN, .most = NAN};
    for (int64_t i = first; i < first + count; i++) {
        const double value = s->all[i].done ? value_of(&s->all[i], column) : NAN;
        if (isnan(value)) continue;
        out.mean += value;
        out.least = fmin(out.least, value);
        out.most = fmax(out.most, value);
        out.defined++;
    }
    out.mean = out.defined > 0 ? out.mean / (double)out.defined : NAN;
    return out;
}

static json_t *projection_json(const mr_spectrum *s, int64_t first, int64_t count)
{
    const mr_updates_item *item = &s->updates->item[first];
    json_t *out = json_pack("{s:o, s:I, s:I, s:I}", "projection", mr_json_text(item->projection),
                            "rows", (json_int_t)item->rows, "cols", (json_int_t)item->cols,
                            "layers", (json_int_t)count);
    for (int c = 0; c < mr_spectrum_columns(); c++) {
        const mr_spectrum_summary sum = mr_spectrum_sum_up(s, first, count, c);
        mr_description_put(out, mr_spectrum_column_of(c).name,
                           json_pack("{s:I, s:o, s:o, s:o}", "defined", (json_int_t)sum.defined,
                                     "mean", mr_json_number(sum.mean), "least",
                                     mr_json_number(sum.least), "most", mr_json_number(sum.most)));
    }
    return out;
}

static json_t *matrix_json(const mr_updates_item *item, const mr_analysis *a)
{
    json_t *out = json_pack("{s:o, s:o, s:I, s:I, s:I, s:s}", "name", mr_json_text(item->name),
                            "projection", mr_json_text(item->projection), "layer",
                            (json_int_t)item->layer, "rows", (json_int_t)item->rows, "cols",
                            (json_int_t)item->cols, "route", mr_route_text(a->route));
    for (int c = 0; c < mr_spectrum_columns(); c++)
        mr_description_put(out, mr_spectrum_column_of(c).name, mr_json_number(value_of(a, c)));
    return out;
}

json_t *mr_spectrum_json(const mr_spectrum *s)
{
    const mr_updates *u = s->updates;
    const mr_analysis_options *o = s->options;
    json_t *projections = json_array(), *matrices = json_array(), *left_out = json_array();
    int64_t layers;
    for (int64_t i = 0; i < u->count; i += layers) {
        layers = mr_spectrum_layers(s, i);
        mr_json_append(&projections, projection_json(s, i, layers));
    }
    for (int64_t i = 0; i < u->count; i++) {
        if (s->all[i].done)
            mr_json_append(&matrices, matrix_json(&u->item[i], &s->all[i]));
        else
            mr_json_append(&left_out, json_pack("{s:o, s:o}", "name", mr_json_text(u->item[i].name),
                                                "reason", mr_json_text(s->all[i].message)));
    }
    return json_pack("{s:o, s:s, s:s, s:I, s:I, s:o, s:f, s:I, s:f, s:I, s:o, s:o, s:o}", "path",
                     mr_json_text(s->what), "kind", u->kind, "method", u->method, "r",
                     (json_int_t)u->r, "step", (json_int_t)u->step, "base",
                     s->base ? mr_json_text(s->base) : json_null(), "threshold", o->threshold, "k",
                     (json_int_t)o->directions, "epsilon", o->epsilon, "seed", (json_int_t)o->seed,
                     "projections", projections, "matrices", matrices, "left_out", left_out);
}

mr_status mr_spectrum_csv(const mr_spectrum *s, const char *path)
{
    mr_text out = {0};
    mr_text_add(&out, "name,projection,layer,rows,cols,route");
    for (int c = 0; c < mr_spectrum_columns(); c++)
        mr_text_add(&out, ",%s", mr_spectrum_column_of(c).name);
    mr_text_add(&out, "\n");
    for (int64_t i = 0; i < s->updates->count; i++) {
        const mr_updates_item *item = &s->updates->item[i];
        const mr_analysis *a = &s->all[i];
        if (!a->done) continue;
        mr_text_add(&out, "%s,%s,%" PRId64 ",%" PRId64 ",%" PRId64 ",\"%s\"", item->name,
                    item->projection, item->layer, item->rows, item->cols, mr_route_text(a->route));
        for (int c = 0; c < mr_spectrum_columns(); c++) {
            const double value = value_of(a, c);
            if (isnan(value))
                mr_text_add(&out, ",");
            else
                mr_text_add(&out, ",%.17g", value);
        }
        mr_text_add(&out, "\n");
    }
    mr_status status = out.failed ? mr_fail(MR_ERR_MEMORY, "%s: out of memory", path)
                                  : mr_file_write(path, mr_text_get(&out), out.length);
    mr_text_free(&out);
    return status;
}

/* A file's layout of what was done. Owns all. */
typedef struct file_parts {
    mr_spectrum_column *name;
    mr_spectra_column *column;
    mr_spectra_group *group;
    mr_spectra_row *row;   /* [groups] */
    int64_t *layer, *from; /* [items] layers, and the items they are of, group by group */
    mr_spectra_layout layout;
} file_parts;

static void free_parts(file_parts *p)
{
    for (int64_t g = 0; p->row && g < p->layout.groups; g++)
        mr_spectra_row_free(&p->row[g]);
    mr_free(p->name);
    mr_free(p->column);
    mr_free(p->group);
    mr_free(p->row);
    mr_free(p->layer);
    mr_free(p->from);
}

/* Makes a group of the items of each projection that were done. */
static void add_groups(const mr_spectrum *s, file_parts *p)
{
    int64_t layers, placed = 0;
    for (int64_t i = 0; i < s->updates->count; i += layers) {
        const mr_updates_item *item = s->updates->item;
        mr_spectra_group *g = &p->group[p->layout.groups];
        *g = (mr_spectra_group){.projection = item[i].projection,
                                .rows = item[i].rows,
                                .cols = item[i].cols,
                                .layer = p->layer + placed};
        layers = mr_spectrum_layers(s, i);
        for (int64_t j = i; j < i + layers; j++) {
            if (!s->all[j].done) continue;
            p->from[placed] = j;
            p->layer[placed++] = item[j].layer;
            g->layers++;
            if (s->all[j].k > g->cosines) g->cosines = s->all[j].k;
        }
        g->values = g->rows < g->cols ? g->rows : g->cols;
        if (g->layers > 0) p->layout.groups++;
    }
}

static mr_status lay_out(const mr_spectrum *s, file_parts *p)
{
    const size_t items = (size_t)s->updates->count, columns = (size_t)mr_spectrum_columns();
    *p = (file_parts){
        .name = mr_alloc_array(MR_MEM_OTHER, columns, sizeof *p->name),
        .column = mr_alloc_array(MR_MEM_OTHER, columns, sizeof *p->column),
        .group = mr_alloc_array(MR_MEM_OTHER, items, sizeof *p->group),
        .row = mr_alloc_array(MR_MEM_OTHER, items, sizeof *p->row),
        .layer = mr_alloc_array(MR_MEM_OTHER, items, sizeof *p->layer),
        .from = mr_alloc_array(MR_MEM_OTHER, items, sizeof *p->from),
    };
    if (!p->name || !p->column || !p->group || !p->row || !p->layer || !p->from)
        return MR_ERR_MEMORY;
    p->layout = (mr_spectra_layout){.run = s->what,
                                    .method = s->updates->method,
                                    .update = s->updates->kind,
                                    .r = s->updates->r,
                                    .threshold = s->options->threshold,
                                    .columns = (int64_t)columns,
                                    .column = p->column,
                                    .group = p->group,
                                    .snapshots = 1};
    for (size_t c = 0; c < columns; c++) {
        p->name[c] = mr_spectrum_column_of((int)c);
        p->column[c] = (mr_spectra_column){.name = p->name[c].name,
                                           .unit = p->name[c].unit,
                                           .definition = p->name[c].definition,
                                           .integer = p->name[c].whole};
    }
    add_groups(s, p);
    for (int64_t g = 0; g < p->layout.groups; g++)
        MR_TRY(mr_spectra_row_make(&p->layout, g, &p->row[g]));
    return MR_OK;
}

static void fill(const mr_spectra_group *g, int64_t layer, const mr_analysis *a,
                 mr_spectra_row *row)
{
    memcpy(row->sigma + layer * g->values, a->values, (size_t)g->values * sizeof *a->values);
    for (int c = 0; c < mr_spectrum_columns(); c++)
        row->column[c * g->layers + layer] = value_of(a, c);
    for (int64_t j = 0; j < g->cosines; j++) {
        row->cosines_left[layer * g->cosines + j] = j < a->k ? a->left[j] : NAN;
        row->cosines_right[layer * g->cosines + j] = j < a->k ? a->right[j] : NAN;
    }
    snprintf(row->route[layer], sizeof *row->route, "%s", mr_route_text(a->route));
}

mr_status mr_spectrum_file(const mr_spectrum *s, const char *path)
{
    file_parts p;
    mr_status status = lay_out(s, &p);
    int64_t placed = 0;
    for (int64_t g = 0; status == MR_OK && g < p.layout.groups; g++)
        for (int64_t i = 0; i < p.group[g].layers; i++)
            fill(&p.group[g], i, &s->all[p.from[placed++]], &p.row[g]);
    if (status == MR_OK) status = mr_spectra_file_create(path, &p.layout);
    if (status == MR_OK) status = mr_spectra_file_append(path, &p.layout, s->updates->step, p.row);
    free_parts(&p);
    return status;
}
