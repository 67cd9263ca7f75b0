#include "report/layout.h"
#include "report/spectrum.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SPARKS = 20 };
static const double SPARK_DECADES = 4; /* of sigma / sigma_1 that a sparkline shows */

/* What stands in the tables: a column, and how it is headed. */
typedef struct shown {
    const char *name, *heading;
} shown;

static const shown of_spectrum[] = {{"count", "count"},
                                    {"erank_sigma", "effective rank"},
                                    {"per", "PER"},
                                    {"stable_rank", "stable rank"},
                                    {"k90", "k90"}};
static const shown of_norms[] = {{"sigma1", "sigma_1"},
                                 {"frobenius", "||dW||_F"},
                                 {"sigma1_ratio", "to sigma_1(W0)"},
                                 {"frobenius_ratio", "to ||W0||_F"},
                                 {"intruder_threshold", "s*"}};
static const shown of_directions[] = {{"intruders", "intruders"},
                                      {"intruder_energy_share", "their energy"},
                                      {"cosine_update_left", "X to W0"},
                                      {"cosine_sum_left", "W0+X to W0"}};

static int column_of(const char *prefix, const char *name)
{
    char wanted[64];
    snprintf(wanted, sizeof wanted, "%s%s", prefix, name);
    for (int c = 0; c < mr_spectrum_columns(); c++)
        if (strcmp(mr_spectrum_column_of(c).name, wanted) == 0) return c;
    mr_abort("no column %s", wanted);
}

static void add_number(mr_grid *grid, double value)
{
    if (isnan(value))
        mr_grid_cell(grid, "-");
    else if (fabs(value) >= 0.01 && fabs(value) < 1e5)
        mr_grid_cell(grid, "%.*f", fabs(value) < 1 ? 4 : fabs(value) < 10 ? 3 : 1, value);
    else
        mr_grid_cell(grid, "%.3g", value);
}

static void format(double value, char out[32])
{
    snprintf(out, 32, "%.3g", value);
}

/* Mean, and the range where layers differ. */
static void add_summary(mr_grid *grid, mr_spectrum_summary sum)
{
    char least[32], most[32];
    add_number(grid, sum.mean);
    if (sum.defined == 0 || sum.least == sum.most) {
        mr_grid_cell(grid, "%s", "");
        return;
    }
    format(sum.least, least);
    format(sum.most, most);
    mr_grid_cell(grid, "%s..%s", least, most);
}

/* Mean of sigma_j / sigma_1 over the items that are done and not 0. */
static double mean_at(const mr_spectrum *s, int64_t first, int64_t count, int64_t j)
{
    double sum = 0;
    int64_t defined = 0;
    for (int64_t i = first; i < first + count; i++) {
        if (!s->all[i].done || s->all[i].values[0] == 0) continue;
        sum += s->all[i].values[j] / s->all[i].values[0];
        defined++;
    }
    return defined > 0 ? sum / (double)defined : 0;
}

static void add_sparks(const mr_spectrum *s, int64_t first, int64_t count, mr_grid *grid)
{
    static const char *const level[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    const mr_updates_item *item = &s->updates->item[first];
    const int64_t n = item->rows < item->cols ? item->rows : item->cols;
    const int64_t points = n < SPARKS ? n : SPARKS;
    char text[SPARKS * 4 + 1] = "";
    for (int64_t p = 0; p < points; p++) {
        const int64_t j = points > 1 ? p * (n - 1) / (points - 1) : 0;
        const double height = 1 + log10(mean_at(s, first, count, j)) / SPARK_DECADES;
        const int at = height > 0 ? (int)ceil(8 * fmin(height, 1)) : 0;
        strcat(text, level[at]);
    }
    mr_grid_cell(grid, "%s", text);
}

static void begin(mr_grid *grid, const shown *columns, int count)
{
    for (int c = 0; c < count; c++) {
        mr_grid_column(grid, "  ", columns[c].heading, true);
        mr_grid_column(grid, " ", NULL, false);
    }
}

static void end(mr_grid *grid, const char *title, mr_text *out)
{
    mr_text_add(out, "\n%s\n", title);
    mr_grid_print(grid, 0, out);
    if (grid->failed) out->failed = true;
    mr_grid_free(grid);
}

static void add_row(const mr_spectrum *s, int64_t first, int64_t layers, const char *prefix,
                    const shown *columns, int count, mr_grid *grid)
{
    for (int c = 0; c < count; c++)
        add_summary(grid, mr_spectrum_sum_up(s, first, layers, column_of(prefix, columns[c].name)));
}

/* Layers that were not left out. */
static int64_t count_done(const mr_spectrum *s, int64_t first, int64_t layers)
{
    int64_t count = 0;
    for (int64_t i = first; i < first + layers; i++)
        count += s->all[i].done;
    return count;
}

static void add_spectra(const mr_spectrum *s, bool utf8, mr_text *out)
{
    mr_grid grid = {0};
    char title[160];
    int64_t layers;
    const int count = sizeof of_spectrum / sizeof *of_spectrum;
    mr_grid_column(&grid, "", "", false);
    mr_grid_column(&grid, "  ", "shape", false);
    mr_grid_column(&grid, "  ", "n", true);
    begin(&grid, of_spectrum, count);
    if (utf8) mr_grid_column(&grid, "  ", "sigma_j/sigma_1", false);
    for (int64_t i = 0; i < s->updates->count; i += layers) {
        const mr_updates_item *item = &s->updates->item[i];
        layers = mr_spectrum_layers(s, i);
        mr_grid_cell(&grid, "%s", item->projection);
        mr_grid_cell(&grid, "%lldx%lld", (long long)item->rows, (long long)item->cols);
        mr_grid_cell(&grid, "%lld", (long long)count_done(s, i, layers));
        add_row(s, i, layers, "", of_spectrum, count, &grid);
        if (utf8) add_sparks(s, i, layers, &grid);
    }
    snprintf(title, sizeof title,
             "singular values of dW: mean over n layers, least..most; count: above %g%s",
             s->options->threshold, utf8 ? "; bars: four decades" : "");
    end(&grid, title, out);
}

static void add_norms(const mr_spectrum *s, bool base, mr_text *out)
{
    mr_grid grid = {0};
    int64_t layers;
    const int count = base ? sizeof of_norms / sizeof *of_norms : 2;
    mr_grid_column(&grid, "", "", false);
    begin(&grid, of_norms, count);
    for (int64_t i = 0; i < s->updates->count; i += layers) {
        layers = mr_spectrum_layers(s, i);
        mr_grid_cell(&grid, "%s", s->updates->item[i].projection);
        add_row(s, i, layers, "", of_norms, count, &grid);
    }
    end(&grid,
        base ? "size of dW, and beside W0; s*: factor on dW from which its leading direction leads "
               "in W0 + s dW"
             : "size of dW",
        out);
}

static void add_directions(const mr_spectrum *s, mr_text *out)
{
    mr_grid grid = {0};
    char title[256];
    int64_t layers;
    const int count = sizeof of_directions / sizeof *of_directions;
    mr_grid_column(&grid, "", "", false);
    mr_grid_column(&grid, "  ", "X", false);
    begin(&grid, of_directions, count);
    for (int64_t i = 0; i < s->updates->count; i += layers) {
        layers = mr_spectrum_layers(s, i);
        for (int noise = 0; noise < 2; noise++) {
            mr_grid_cell(&grid, "%s", noise ? "" : s->updates->item[i].projection);
            mr_grid_cell(&grid, "%s", noise ? "noise" : "dW");
            add_row(s, i, layers, noise ? "noise_" : "", of_directions, count, &grid);
        }
    }
    snprintf(
        title, sizeof title,
        "leading %lld directions of W0 + X, of dW and of noise of its norm; intruders: |cosine| "
        "to all of W0 below %g; mean cosines of the left spaces",
        (long long)s->options->directions, s->options->epsilon);
    end(&grid, title, out);
}

void mr_spectrum_text(const mr_spectrum *s, bool utf8, mr_text *out)
{
    const mr_updates *u = s->updates;
    bool base = false, compared = false;
    int64_t uncompared = 0;
    for (int64_t i = 0; i < u->count; i++) {
        const bool has_base = s->all[i].done && !isnan(s->all[i].measures.sigma1_ratio);
        base = base || has_base;
        compared = compared || s->all[i].compared;
        uncompared += has_base && !s->all[i].compared && s->options->directions > 0;
    }
    mr_text_add(out, "%s: %s", s->what, u->kind);
    if (u->r > 0) mr_text_add(out, ", r %lld", (long long)u->r);
    if (u->step > 0) mr_text_add(out, ", step %lld", (long long)u->step);
    if (s->base) mr_text_add(out, "; base %s", s->base);
    mr_text_add(out, "\n");
    add_spectra(s, utf8, out);
    add_norms(s, base, out);
    if (compared) add_directions(s, out);
    if (uncompared > 0)
        mr_text_add(
            out,
            "\nnot computed: intruders, overlaps with W0 and their control by noise, of %lld "
            "matrices that all ranks worked on together\n",
            (long long)uncompared);
}
