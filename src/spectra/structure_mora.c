/* Singular values of MoRA's updates. The maps of inputs and outputs are sums of unit vectors, so
 * their Gram matrices are known without forming dW: S^T S of the outputs is the diagonal of the
 * groups' sizes, and so is C C^T of the inputs unless the padding makes an input a member of
 * several groups. With S^T S = F F^T and C C^T = G G^T, S M C has the values of F^T M G that are
 * not 0. */

#include "base/memory.h"
#include "linalg/product.h"
#include "linalg/svd.h"
#include "spectra/structure_impl.h"

#include <math.h>
#include <string.h>

static double *doubles(int64_t count)
{
    return mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof(double));
}

/* Positions of a group; sizes never grow with the group. */
static int64_t size_of(mr_group_map map, int64_t group)
{
    return map.length / map.groups + (group < map.length % map.groups);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* How the factor G [R, q] of the inputs' map is made. */
typedef enum input_factor {
    BY_SIZES, /* diagonal: every input in one group at most */
    BY_GRAM,  /* Cholesky; from two inputs a group on C C^T is as well conditioned as a diagonal */
    BY_MAP    /* C itself */
} input_factor;

static input_factor factor_of(const mr_structure *s)
{
    if (s->in.length <= s->cols) return BY_SIZES;
    return s->cols >= 2 * s->r ? BY_GRAM : BY_MAP;
}

static int64_t factor_cols(const mr_structure *s)
{
    switch (factor_of(s)) {
    case BY_SIZES:
        return least(s->r, s->in.length);
    case BY_GRAM:
        return s->r;
    default:
        return s->cols;
    }
}

/* Writes G [R, factor_cols]. */
static mr_status input_side(const mr_structure *s, double *g)
{
    const int64_t q = factor_cols(s);
    memset(g, 0, (size_t)(s->r * q) * sizeof *g);
    switch (factor_of(s)) {
    case BY_SIZES:
        for (int64_t i = 0; i < q; i++)
            g[i * q + i] = sqrt((double)size_of(s->in, i));
        return MR_OK;
    case BY_GRAM:
        for (int64_t i = 0; i < s->cols; i++)
            for (int64_t t = i; t < s->in.length; t += s->cols)
                for (int64_t u = i; u < s->in.length; u += s->cols)
                    g[mr_structure_group(s->in, t) * q + mr_structure_group(s->in, u)] += 1;
        return mr_cholesky(g, q);
    default:
        for (int64_t t = 0; t < s->in.length; t++)
            g[mr_structure_group(s->in, t) * q + t % s->cols] += 1;
        return MR_OK;
    }
}

mr_status mr_groups_values(const mr_structure *s, double *values)
{
    const int64_t rows = least(s->r, s->out.length), cols = factor_cols(s);
    double *m = mr_structure_doubles(s->m, s->r * s->r);
    double *g = doubles(s->r * cols), *core = doubles(rows * cols);
    mr_status status = m && g && core ? input_side(s, g) : MR_ERR_MEMORY;
    if (status == MR_OK) {
        mr_product(false, false, rows, cols, s->r, s->scale, m, g, 0, core);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < cols; j++)
                core[i * cols + j] *= sqrt((double)size_of(s->out, i));
        status = mr_svd_values(core, rows, cols, values);
    }
    mr_free(m);
    mr_free(g);
    mr_free(core);
    return status;
}

void mr_groups_cost(const mr_structure *s, double *flops, size_t *bytes)
{
    const int64_t rows = least(s->r, s->out.length), cols = factor_cols(s);
    *flops = 2 * (double)rows * (double)cols * (double)s->r + mr_svd_flops(rows, cols);
    *bytes =
        mr_bytes_add(mr_svd_bytes(rows, cols), s->r * (s->r + cols) + rows * cols, sizeof(double));
}

/* The outputs' products that reach one, of the R of a block. */
static int64_t rows_of(const mr_structure *s, int64_t block)
{
    const int64_t left = s->out.length - block * s->r;
    return left < 0 ? 0 : least(left, s->r);
}

/* Where the last block is filled up with the first inputs, block 0 shares columns with it. */
static bool wraps(const mr_structure *s)
{
    return s->blocks * s->r > s->cols;
}

/* Inputs that block 0 and the last one see together. */
static int64_t shared_cols(const mr_structure *s)
{
    return s->blocks == 1 ? s->cols : s->r + s->cols - (s->blocks - 1) * s->r;
}

/* Adds the rows of a block to out [.., cols], at the columns of its inputs: those of block 0 first,
 * those of the last behind them. Returns the number of rows. turned [R, R] is scratch. */
static int64_t place_block(const mr_structure *s, const double *m, int64_t block, int64_t cols,
                           double *turned, double *out)
{
    const int64_t rows = rows_of(s, block), last = (s->blocks - 1) * s->r;
    memcpy(turned, m, (size_t)(rows * s->r) * sizeof *turned);
    if (s->rotate) mr_structure_turn(turned, rows, s->r, s->r, block, true);
    for (int64_t i = 0; i < rows; i++) {
        const double weight = s->scale * sqrt((double)size_of(s->out, block * s->r + i));
        for (int64_t c = 0; c < s->r; c++) {
            const int64_t input = (block * s->r + c) % s->cols;
            const int64_t place = input < s->r ? input : input - last + s->r;
            out[i * cols + place] += weight * turned[i * s->r + c];
        }
    }
    return rows;
}

static mr_status coupled_values(const mr_structure *s, const double *m, double *values,
                                int64_t *count)
{
    const int64_t cols = shared_cols(s);
    double *joint = doubles(2 * s->r * cols), *turned = doubles(s->r * s->r);
    mr_status status = joint && turned ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK) {
        int64_t rows = place_block(s, m, 0, cols, turned, joint);
        if (s->blocks > 1)
            rows += place_block(s, m, s->blocks - 1, cols, turned, joint + rows * cols);
        status = mr_svd_values(joint, rows, cols, values);
        *count = least(rows, cols);
    }
    mr_free(joint);
    mr_free(turned);
    return status;
}

/* A block by itself: its turn drops out, and where its outputs are all as many, so do their
 * numbers, and the values are those of M, which are kept in own once they are known. */
static mr_status single_values(const mr_structure *s, const double *m, int64_t block, double *own,
                               double *values, int64_t *count)
{
    const int64_t rows = rows_of(s, block), first = block * s->r;
    const int64_t most = size_of(s->out, first), fewest = size_of(s->out, first + s->r - 1);
    *count = rows;
    if (most == fewest && most > 0) {
        if (own[0] < 0) MR_TRY(mr_svd_values(m, s->r, s->r, own));
        for (int64_t i = 0; i < rows; i++)
            values[i] = fabs(s->scale) * sqrt((double)most) * own[i];
        return MR_OK;
    }
    double *weighted = doubles(rows * s->r);
    if (!weighted) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < s->r; c++)
            weighted[i * s->r + c] =
                s->scale * sqrt((double)size_of(s->out, first + i)) * m[i * s->r + c];
    mr_status status = mr_svd_values(weighted, rows, s->r, values);
    mr_free(weighted);
    return status;
}

mr_status mr_blocks_values(const mr_structure *s, double *values)
{
    const int64_t first = wraps(s) ? 1 : 0, end = wraps(s) ? s->blocks - 1 : s->blocks;
    double *m = mr_structure_doubles(s->m, s->r * s->r), *own = doubles(s->r);
    int64_t at = 0, count = 0;
    mr_status status = m && own ? MR_OK : MR_ERR_MEMORY;
    if (own) own[0] = -1;
    if (status == MR_OK && wraps(s)) {
        status = coupled_values(s, m, values, &count);
        at += count;
    }
    for (int64_t b = first; b < end && status == MR_OK && rows_of(s, b) > 0; b++) {
        status = single_values(s, m, b, own, values + at, &count);
        at += count;
    }
    mr_free(m);
    mr_free(own);
    return status;
}

void mr_blocks_cost(const mr_structure *s, double *flops, size_t *bytes)
{
    const int64_t rows = least(2 * s->r, s->rows), cols = shared_cols(s);
    /* M's own, one block of mixed numbers, and the coupled ones. */
    *flops = 2 * mr_svd_flops(s->r, s->r) + (wraps(s) ? mr_svd_flops(rows, cols) : 0);
    *bytes = wraps(s) ? mr_bytes_add(mr_svd_bytes(rows, cols), 2 * s->r * cols, sizeof(double))
                      : mr_bytes_add(mr_svd_bytes(s->r, s->r), s->r * s->r, sizeof(double));
    *bytes = mr_bytes_add(*bytes, s->r * (2 * s->r + 1), sizeof(double));
}
