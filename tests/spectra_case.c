#include "spectra_case.h"

#include <math.h>

static const mr_spectra_column columns[SPECTRA_COLUMNS] = {
    {"count", "singular values", "singular values above the threshold", true},
    {"erank_sigma", "1", "exp of the entropy of sigma / sum sigma", false},
    {"k90", "singular values", "least number with 90 % of the energy", true},
};

static const int64_t layers[] = {0, 1, 5};

static const mr_spectra_group groups[SPECTRA_GROUPS] = {
    {"q_proj", 8, 8, 3, layers, 8, 2},
    {"down_proj", 16, 40, 3, layers, 5, 0},
};

const mr_spectra_layout spectra_layout = {
    .run = "first",
    .method = "mora",
    .update = "what is added to W",
    .r = 8,
    .threshold = 0.1,
    .columns = SPECTRA_COLUMNS,
    .column = columns,
    .groups = SPECTRA_GROUPS,
    .group = groups,
};

double spectra_value(int64_t step, int64_t group, int64_t dataset, int64_t place)
{
    const int64_t key = 31 * step + 7 * group + 5 * dataset + place;
    /* No whole number: the columns that are kept as such are of datasets 1 and 3. */
    if (dataset == 1 || dataset == 3) return key % 11 == 0 ? NAN : (double)(key % 1000);
    return key % 13 == 0 ? NAN : (double)key + 1.0 / (double)(step + 3);
}

/* Goes through the values of a group, to fill them or to compare; returns whether all agree. */
static bool visit(const mr_spectra_layout *layout, int64_t step, int64_t group,
                  const mr_spectra_row *row, bool fill)
{
    const mr_spectra_group *g = &layout->group[group];
    const struct {
        double *value;
        int64_t dataset, count;
    } parts[] = {{row->sigma, 0, g->layers * g->values},
                 {row->column, 1, g->layers},
                 {row->column + g->layers, 2, g->layers},
                 {row->column + 2 * g->layers, 3, g->layers},
                 {row->cosines_left, 4, g->layers * g->cosines},
                 {row->cosines_right, 5, g->layers * g->cosines}};
    bool same = true;
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        for (int64_t i = 0; i < parts[p].count; i++) {
            double expected = spectra_value(step, group, parts[p].dataset, i);
            double *value = &parts[p].value[i];
            if (fill) *value = expected;
            same = same && (*value == expected || (isnan(*value) && isnan(expected)));
        }
    }
    for (int64_t i = 0; i < g->layers; i++) {
        char text[MR_SPECTRA_ROUTE];
        snprintf(text, sizeof text, "route %lld of %s", (long long)(step % 3), g->projection);
        if (fill) memcpy(row->route[i], text, sizeof text);
        same = same && strcmp(row->route[i], text) == 0;
    }
    return same;
}

void spectra_fill(const mr_spectra_layout *layout, int64_t step, mr_spectra_row *rows)
{
    for (int64_t g = 0; g < layout->groups; g++)
        visit(layout, step, g, &rows[g], true);
}

void spectra_make_rows(const mr_spectra_layout *layout, mr_spectra_row *rows)
{
    for (int64_t g = 0; g < layout->groups; g++)
        must(mr_spectra_row_make(layout, g, &rows[g]));
}

void spectra_free_rows(const mr_spectra_layout *layout, mr_spectra_row *rows)
{
    for (int64_t g = 0; g < layout->groups; g++)
        mr_spectra_row_free(&rows[g]);
}

mr_status spectra_append(const char *path, const mr_spectra_layout *layout, int64_t step)
{
    mr_spectra_row rows[8];
    assert_true(layout->groups <= 8);
    spectra_make_rows(layout, rows);
    spectra_fill(layout, step, rows);
    mr_status status = mr_spectra_file_append(path, layout, step, rows);
    spectra_free_rows(layout, rows);
    return status;
}

int64_t spectra_check(const char *path, const mr_spectra_layout *layout, int64_t every)
{
    mr_spectra_file *file;
    mr_spectra_row rows[8];
    int64_t count;
    must(mr_spectra_file_open(path, &file));
    must(mr_spectra_file_check(file, layout));
    const int64_t *steps = mr_spectra_file_steps(file, &count);
    spectra_make_rows(layout, rows);
    for (int64_t s = 0; s < count; s++) {
        assert_int_equal(steps[s], (s + 1) * every);
        for (int64_t g = 0; g < layout->groups; g++) {
            must(mr_spectra_file_read(file, s, g, &rows[g]));
            if (!visit(layout, steps[s], g, &rows[g], false))
                fail_msg("step %lld: values of %s differ", (long long)steps[s],
                         layout->group[g].projection);
        }
    }
    spectra_free_rows(layout, rows);
    mr_spectra_file_close(&file);
    return count;
}
