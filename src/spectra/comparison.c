#include "spectra/comparison.h"

#include "base/memory.h"
#include "linalg/leading.h"
#include "linalg/svd.h"
#include "spectra/overlap.h"

#include <float.h>
#include <math.h>

#define ROW(field, name, unit, whole, definition)                                                  \
    {                                                                                              \
        name, unit, definition, whole, offsetof(mr_comparison, field)                              \
    }

const mr_comparison_row mr_comparison_rows[] = {
    ROW(intruders, "intruders", "directions", true,
        "leading k left singular vectors of W0 + X whose |cosine| to every left one of W0 is below "
        "epsilon (arXiv 2410.21228, as PEFT counts)"),
    ROW(energy_share, "intruder_energy_share", "1", false,
        "sigma^2 of the intruders in the sum of sigma^2 of the leading k of W0 + X"),
    ROW(update_left, "cosine_update_left", "1", false,
        "mean cosine of the principal angles between the leading left spaces of X and W0, of k "
        "directions or as many as dW has"),
    ROW(update_right, "cosine_update_right", "1", false, "likewise of the right spaces"),
    ROW(sum_left, "cosine_sum_left", "1", false,
        "mean cosine of the principal angles between the leading k left spaces of W0 + X and W0"),
    ROW(sum_right, "cosine_sum_right", "1", false, "likewise of the right spaces"),
};

const int mr_comparison_count = sizeof mr_comparison_rows / sizeof *mr_comparison_rows;

double mr_comparison_value(const mr_comparison *comparison, int row)
{
    const char *at = (const char *)comparison + mr_comparison_rows[row].offset;
    return *(const double *)(const void *)at;
}

void mr_comparison_clear(mr_comparison *comparison)
{
    *comparison = (mr_comparison){NAN, NAN, NAN, NAN, NAN, NAN};
}

static int64_t side(int64_t rows, int64_t cols)
{
    return rows < cols ? rows : cols;
}

mr_status mr_base_space_make(int64_t rows, int64_t cols, mr_base_space *out)
{
    const int64_t n = side(rows, cols);
    *out = (mr_base_space){.rows = rows, .cols = cols};
    out->weight = mr_alloc_array(MR_MEM_OTHER, (size_t)(rows * cols + n * (1 + rows + cols)),
                                 sizeof *out->weight);
    if (!out->weight) return MR_ERR_MEMORY;
    out->values = out->weight + rows * cols;
    out->u = out->values + n;
    out->v = out->u + n * rows;
    return MR_OK;
}

mr_status mr_base_space_solve(mr_base_space *base)
{
    return mr_svd(base->weight, base->rows, base->cols, base->values, base->u, base->v);
}

void mr_base_space_free(mr_base_space *base)
{
    mr_free(base->weight);
    *base = (mr_base_space){0};
}

int64_t mr_numerical_rank(const double *values, int64_t n, int64_t rows, int64_t cols)
{
    const double longer = (double)(rows > cols ? rows : cols);
    int64_t count = 0;
    while (count < n && values[count] > longer * DBL_EPSILON * values[0])
        count++;
    return count;
}

/* Cosines between the leading k of x and y, and their mean. */
static mr_status angles(const double *x, const double *y, int64_t k, int64_t n, double *cosines,
                        double *mean)
{
    MR_TRY(mr_principal_cosines(x, y, k, n, cosines));
    *mean = 0;
    for (int64_t i = 0; i < k; i++)
        *mean += cosines[i] / (double)k;
    return MR_OK;
}

/* The leading directions of a matrix, beside those of the base. Owns memory. */
typedef struct leading {
    double *values, *u, *v; /* [k], [k, rows], [k, cols] */
    double *left, *right;   /* [k] cosines */
} leading;

static mr_status find_leading(const mr_base_space *base, const double *x, int64_t k, leading *l,
                              double *left, double *right)
{
    const mr_dense_matrix matrix = {base->rows, base->cols, x};
    const mr_operator op = mr_dense_operator(&matrix);
    MR_TRY(mr_leading(&op, k, l->values, l->u, l->v));
    MR_TRY(angles(l->u, base->u, k, base->rows, l->left, left));
    return angles(l->v, base->v, k, base->cols, l->right, right);
}

static mr_status compare(const mr_base_space *base, double *x, const mr_comparison_options *options,
                         leading *l, double *left, double *right, mr_comparison *out)
{
    const int64_t rows = base->rows, cols = base->cols, n = side(rows, cols);
    const int64_t rank = mr_numerical_rank(base->values, n, rows, cols);
    const int64_t k = options->k < rank ? options->k : rank;
    const int64_t of_x = options->rank < k ? options->rank : k;
    mr_intruders found;
    if (of_x > 0) MR_TRY(find_leading(base, x, of_x, l, &out->update_left, &out->update_right));
    for (int64_t i = 0; left && i < options->k; i++) {
        left[i] = i < of_x ? l->left[i] : NAN;
        right[i] = i < of_x ? l->right[i] : NAN;
    }
    for (int64_t i = 0; i < rows * cols; i++)
        x[i] += base->weight[i];
    if (k > 0) MR_TRY(find_leading(base, x, k, l, &out->sum_left, &out->sum_right));
    if (k < options->k) { /* directions of a base that lacks some are compared as they are */
        const mr_dense_matrix matrix = {rows, cols, x};
        const mr_operator op = mr_dense_operator(&matrix);
        MR_TRY(mr_leading(&op, options->k, l->values, l->u, l->v));
    }
    MR_TRY(mr_intruders_find(l->values, l->u, options->k, base->u, n, rows, options->epsilon,
                             l->left, &found));
    out->intruders = (double)found.count;
    out->energy_share = found.energy_share;
    return MR_OK;
}

mr_status mr_compare(const mr_base_space *base, double *x, const mr_comparison_options *options,
                     double *left, double *right, mr_comparison *out)
{
    const int64_t k = options->k;
    mr_comparison_clear(out);
    double *memory =
        mr_alloc_array(MR_MEM_OTHER, (size_t)(k * (3 + base->rows + base->cols)), sizeof *memory);
    if (!memory) return MR_ERR_MEMORY;
    leading l = {.values = memory, .left = memory + k, .right = memory + 2 * k};
    l.u = memory + 3 * k;
    l.v = l.u + k * base->rows;
    mr_status status = compare(base, x, options, &l, left, right, out);
    mr_free(memory);
    return status;
}
