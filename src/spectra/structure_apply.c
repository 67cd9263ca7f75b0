/* Products with an update, and the update itself, of every kind. MoRA's two families are one here:
 * inputs are summed over a map, which for blocks takes them one by one, with the first ones again
 * where the last block is longer than what is left. */

#include "base/memory.h"
#include "linalg/product.h"
#include "spectra/structure_impl.h"

#include <math.h>
#include <string.h>

enum { UNIT_ROWS = 64 }; /* rows of dW that are made at once */

double *mr_structure_doubles(const float *part, int64_t count)
{
    double *out = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *out);
    for (int64_t i = 0; out && i < count; i++)
        out[i] = (double)part[i];
    return out;
}

int64_t mr_structure_group(mr_group_map map, int64_t position)
{
    if (!map.contiguous) return position % map.groups;
    const int64_t least = map.length / map.groups, longer = map.length % map.groups;
    if (position < longer * (least + 1)) return position / (least + 1);
    return longer + (position - longer * (least + 1)) / least;
}

void mr_structure_turn(double *x, int64_t count, int64_t stride, int64_t r, int64_t position,
                       bool back)
{
    const int64_t half = r / 2;
    for (int64_t c = 0; c < half; c++) {
        const double angle = (double)position * pow(10000.0, -2.0 * (double)c / (double)r);
        const double cosine = cos(angle), sine = back ? -sin(angle) : sin(angle);
        for (double *pair = x + c; pair < x + c + count * stride; pair += stride) {
            const double a = pair[0], b = pair[half];
            pair[0] = a * cosine - b * sine;
            pair[half] = b * cosine + a * sine;
        }
    }
}

/* y [count, groups] = sums of x [count, n] over a map. */
static void sum(mr_group_map map, int64_t n, int64_t count, const double *x, double *y)
{
    memset(y, 0, (size_t)(count * map.groups) * sizeof *y);
    for (int64_t t = 0; t < map.length; t++) {
        const int64_t group = mr_structure_group(map, t), place = t % n;
        for (int64_t i = 0; i < count; i++)
            y[i * map.groups + group] += x[i * n + place];
    }
}

/* y [count, n] = x [count, groups] spread over a map. */
static void spread(mr_group_map map, int64_t n, int64_t count, const double *x, double *y)
{
    memset(y, 0, (size_t)(count * n) * sizeof *y);
    for (int64_t t = 0; t < map.length; t++) {
        const int64_t group = mr_structure_group(map, t), place = t % n;
        for (int64_t i = 0; i < count; i++)
            y[i * n + place] += x[i * map.groups + group];
    }
}

static mr_status apply_product(const mr_structure *s, bool transpose, int64_t count,
                               const double *x, double *y)
{
    double *a = mr_structure_doubles(s->a, s->r * s->cols);
    double *b = mr_structure_doubles(s->b, s->rows * s->r);
    double *middle = mr_alloc_array(MR_MEM_OTHER, (size_t)(count * s->r), sizeof *middle);
    mr_status status = a && b && middle ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK && transpose) {
        mr_product(false, false, count, s->r, s->rows, 1, x, b, 0, middle);
        mr_product(false, false, count, s->cols, s->r, s->scale, middle, a, 0, y);
    } else if (status == MR_OK) {
        mr_product(false, true, count, s->r, s->cols, 1, x, a, 0, middle);
        mr_product(false, true, count, s->rows, s->r, s->scale, middle, b, 0, y);
    }
    mr_free(a);
    mr_free(b);
    mr_free(middle);
    return status;
}

/* Turns the blocks of x [count, blocks * r], each by its angles, or back. */
static void turn_blocks(const mr_structure *s, int64_t count, bool back, double *x)
{
    for (int64_t b = 0; s->rotate && b < s->blocks; b++)
        mr_structure_turn(x + b * s->r, count, s->blocks * s->r, s->r, b, back);
}

static mr_status apply_square(const mr_structure *s, bool transpose, int64_t count, const double *x,
                              double *y)
{
    const bool groups = s->kind == MR_UPDATE_GROUPS;
    const int64_t blocks = groups ? 1 : s->blocks, width = blocks * s->r;
    const mr_group_map in = groups ? s->in : (mr_group_map){.groups = width, .length = width};
    double *m = mr_structure_doubles(s->m, s->r * s->r);
    double *before = mr_alloc_array(MR_MEM_OTHER, (size_t)(2 * count * width), sizeof *before);
    mr_status status = m && before ? MR_OK : MR_ERR_MEMORY;
    double *after = before ? before + count * width : NULL;
    if (status == MR_OK && transpose) {
        sum(s->out, s->rows, count, x, before);
        mr_product(false, false, count * blocks, s->r, s->r, s->scale, before, m, 0, after);
        turn_blocks(s, count, true, after);
        spread(in, s->cols, count, after, y);
    } else if (status == MR_OK) {
        sum(in, s->cols, count, x, before);
        turn_blocks(s, count, false, before);
        mr_product(false, true, count * blocks, s->r, s->r, s->scale, before, m, 0, after);
        spread(s->out, s->rows, count, after, y);
    }
    mr_free(m);
    mr_free(before);
    return status;
}

static mr_status apply(const void *context, bool transpose, int64_t count, const double *x,
                       double *y)
{
    const mr_structure *s = context;
    if (s->kind == MR_UPDATE_PRODUCT) return apply_product(s, transpose, count, x, y);
    if (s->kind != MR_UPDATE_NONE) return apply_square(s, transpose, count, x, y);
    const mr_dense_matrix matrix = {s->rows, s->cols, s->dense};
    const mr_operator dense = mr_dense_operator(&matrix);
    return dense.apply(dense.context, transpose, count, x, y);
}

mr_operator mr_structure_operator(const mr_structure *s)
{
    return (mr_operator){.rows = s->rows, .cols = s->cols, .apply = apply, .context = s};
}

mr_status mr_structure_dense(const mr_structure *s, double *out)
{
    if (s->kind == MR_UPDATE_NONE) {
        memcpy(out, s->dense, (size_t)(s->rows * s->cols) * sizeof *out);
        return MR_OK;
    }
    /* A row of dW is what its transpose makes of a unit vector. */
    double *unit = mr_alloc_array(MR_MEM_OTHER, UNIT_ROWS * (size_t)s->rows, sizeof *unit);
    mr_status status = unit ? MR_OK : MR_ERR_MEMORY;
    for (int64_t first = 0; first < s->rows && status == MR_OK; first += UNIT_ROWS) {
        const int64_t count = s->rows - first < UNIT_ROWS ? s->rows - first : UNIT_ROWS;
        memset(unit, 0, (size_t)(count * s->rows) * sizeof *unit);
        for (int64_t i = 0; i < count; i++)
            unit[i * s->rows + first + i] = 1;
        status = apply(s, true, count, unit, out + first * s->cols);
    }
    mr_free(unit);
    return status;
}
