#include "spectra/structure.h"

#include "base/memory.h"
#include "linalg/distributed.h"
#include "linalg/product.h"
#include "linalg/svd.h"
#include "spectra/structure_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const route_texts[MR_ROUTES] = {
    [MR_ROUTE_DENSE] = "LAPACK of dW",
    [MR_ROUTE_TRIANGLES] = "QR of both factors, LAPACK of the r x r product of their triangles",
    [MR_ROUTE_GROUPS] = "LAPACK of M between square roots of the Gram matrices of the group maps",
    [MR_ROUTE_BLOCKS] = "LAPACK of M, block by block",
};

const char *mr_route_text(int route)
{
    return route < MR_ROUTES ? route_texts[route]
                             : mr_distributed_route_name((mr_distributed_route)(route - MR_ROUTES));
}

mr_status mr_structure_describe(const mr_update *update, int64_t rows, int64_t cols,
                                mr_structure *out)
{
    *out = (mr_structure){0};
    MR_CHECK(update->kind != MR_UPDATE_NONE && !mr_tensor_exists(update->ratio), MR_ERR_ARG,
             "an update [%lld, %lld] whose rows are scaled, or without a structure, is to be made "
             "dense",
             (long long)rows, (long long)cols);
    *out = (mr_structure){.rows = rows,
                          .cols = cols,
                          .kind = update->kind,
                          .scale = (double)update->scale,
                          .r = update->kind == MR_UPDATE_PRODUCT ? update->a.rows : update->m.rows,
                          .in = update->in,
                          .out = update->out,
                          .blocks = update->blocks,
                          .rotate = update->rotate};
    return MR_OK;
}

static mr_status take_part(mr_backend *be, mr_tensor part, float **out)
{
    MR_INVARIANT(mr_dtype_size(part.dtype) <= sizeof **out); /* what is shorter is widened */
    *out = mr_alloc_array(MR_MEM_OTHER, (size_t)mr_tensor_count(part), sizeof **out);
    if (!*out) return MR_ERR_MEMORY;
    be->ops->download(be, *out, part);
    return MR_OK;
}

mr_status mr_structure_take(mr_backend *be, const mr_update *update, int64_t rows, int64_t cols,
                            mr_structure *out)
{
    MR_TRY(mr_structure_describe(update, rows, cols, out));
    mr_status status = MR_OK;
    if (out->kind == MR_UPDATE_PRODUCT) {
        status = take_part(be, update->a, &out->a);
        if (status == MR_OK) status = take_part(be, update->b, &out->b);
    } else {
        status = take_part(be, update->m, &out->m);
    }
    if (status != MR_OK) mr_structure_free(out);
    return status;
}

void mr_structure_free(mr_structure *s)
{
    mr_free(s->a);
    mr_free(s->b);
    mr_free(s->m);
    mr_free(s->dense);
    *s = (mr_structure){0};
}

static int64_t side_of(const mr_structure *s)
{
    return s->rows < s->cols ? s->rows : s->cols;
}

mr_route mr_structure_route(const mr_structure *s)
{
    switch (s->kind) {
    case MR_UPDATE_PRODUCT:
        return s->r < side_of(s) ? MR_ROUTE_TRIANGLES : MR_ROUTE_DENSE;
    case MR_UPDATE_GROUPS:
        return MR_ROUTE_GROUPS;
    case MR_UPDATE_BLOCKS:
        return MR_ROUTE_BLOCKS;
    default:
        return MR_ROUTE_DENSE;
    }
}

static mr_status check_finite(const float *part, const char *name, int64_t rows, int64_t cols)
{
    for (int64_t i = 0; part && i < rows * cols; i++)
        MR_CHECK(isfinite(part[i]), MR_ERR_NUMERIC,
                 "singular values of an update: row %lld, column %lld of %s [%lld, %lld] is %g, "
                 "expected a finite number",
                 (long long)(i / cols), (long long)(i % cols), name, (long long)rows,
                 (long long)cols, (double)part[i]);
    return MR_OK;
}

static mr_status dense_values(const mr_structure *s, double *values)
{
    if (s->kind == MR_UPDATE_NONE) return mr_svd_values(s->dense, s->rows, s->cols, values);
    double *dense = mr_alloc_array(MR_MEM_OTHER, (size_t)(s->rows * s->cols), sizeof *dense);
    mr_status status = dense ? mr_structure_dense(s, dense) : MR_ERR_MEMORY;
    if (status == MR_OK) status = mr_svd_values(dense, s->rows, s->cols, values);
    mr_free(dense);
    return status;
}

/* dW = s B A: with A = L_A Q_A and B^T = L_B Q_B, its values are those of s L_B^T L_A. */
static mr_status triangles_values(const mr_structure *s, double *values)
{
    const int64_t r = s->r;
    double *a = mr_structure_doubles(s->a, r * s->cols);
    double *b = mr_alloc_array(MR_MEM_OTHER, (size_t)(r * s->rows), sizeof *b);
    double *square = mr_alloc_array(MR_MEM_OTHER, (size_t)(3 * r * r), sizeof *square);
    mr_status status = a && b && square ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK) {
        for (int64_t i = 0; i < s->rows; i++)
            for (int64_t j = 0; j < r; j++)
                b[j * s->rows + i] = (double)s->b[i * r + j];
        status = mr_triangle_of_rows(a, r, s->cols, square);
    }
    if (status == MR_OK) status = mr_triangle_of_rows(b, r, s->rows, square + r * r);
    if (status == MR_OK) {
        double *core = square + 2 * r * r;
        mr_product(true, false, r, r, r, s->scale, square + r * r, square, 0, core);
        status = mr_svd_values(core, r, r, values);
    }
    mr_free(a);
    mr_free(b);
    mr_free(square);
    return status;
}

static int descending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

mr_status mr_structure_values(const mr_structure *s, double *values)
{
    const int64_t side = side_of(s);
    MR_TRY(check_finite(s->a, "A", s->r, s->cols));
    MR_TRY(check_finite(s->b, "B", s->rows, s->r));
    MR_TRY(check_finite(s->m, "M", s->r, s->r));
    memset(values, 0, (size_t)side * sizeof *values);
    switch (mr_structure_route(s)) {
    case MR_ROUTE_TRIANGLES:
        return triangles_values(s, values);
    case MR_ROUTE_GROUPS:
        return mr_groups_values(s, values);
    case MR_ROUTE_BLOCKS:
        MR_TRY(mr_blocks_values(s, values));
        qsort(values, (size_t)side, sizeof *values, descending);
        return MR_OK;
    default:
        return dense_values(s, values);
    }
}

static void triangles_cost(const mr_structure *s, double *flops, size_t *bytes)
{
    const double r = (double)s->r, both = (double)(s->rows + s->cols);
    *flops = 2 * r * r * (both - 2 * r / 3) + 2 * r * r * r + mr_svd_flops(s->r, s->r);
    *bytes = mr_bytes_add(mr_svd_bytes(s->r, s->r), s->r * (s->rows + s->cols), sizeof(double));
    *bytes = mr_bytes_add(*bytes, 3 * s->r * s->r + 65 * s->r, sizeof(double));
}

static void dense_cost(const mr_structure *s, double *flops, size_t *bytes)
{
    *flops = mr_svd_flops(s->rows, s->cols);
    *bytes = mr_svd_bytes(s->rows, s->cols);
    if (s->kind == MR_UPDATE_NONE) return;
    *flops += 2 * (double)s->r * (double)s->rows * (double)s->cols;
    *bytes = mr_bytes_add(*bytes, s->rows * s->cols, sizeof(double));
}

static void cost(const mr_structure *s, double *flops, size_t *bytes)
{
    static void (*const costs[MR_ROUTES])(const mr_structure *s, double *flops, size_t *bytes) = {
        [MR_ROUTE_DENSE] = dense_cost,
        [MR_ROUTE_TRIANGLES] = triangles_cost,
        [MR_ROUTE_GROUPS] = mr_groups_cost,
        [MR_ROUTE_BLOCKS] = mr_blocks_cost,
    };
    costs[mr_structure_route(s)](s, flops, bytes);
}

double mr_structure_flops(const mr_structure *s)
{
    double flops;
    size_t bytes;
    cost(s, &flops, &bytes);
    return flops;
}

size_t mr_structure_bytes(const mr_structure *s)
{
    double flops;
    size_t bytes;
    cost(s, &flops, &bytes);
    return bytes;
}
