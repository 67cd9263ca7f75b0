/* Large products with odd extents, or rows at odd places, as such as the library is fast with. */

#include "backend/cuda/gemm_impl.h"

enum { EVEN = 8 }; /* what extents of large products are best multiples of */

/* A matrix with rows that begin at 16 bytes: itself, or a copy's place in the room, which may be
 * made as large as that later. */
static mr_tensor aligned(mr_tensor t, mr_buffer *room, size_t *used)
{
    if (t.stride == mr_even_cols(t.stride, t.dtype) && (uintptr_t)mr_cuda_at(t) % 16 == 0) return t;
    const int64_t pitch = mr_even_cols(t.cols, t.dtype);
    mr_tensor copy =
        mr_tensor_of(room, t.dtype, (int64_t)(*used / mr_dtype_size(t.dtype)), t.rows, pitch);
    *used += (size_t)(t.rows * pitch) * mr_dtype_size(t.dtype) + 255;
    *used -= *used % 256;
    return mr_tensor_cols(copy, 0, t.cols);
}

static bool is_other(mr_tensor a, mr_tensor b)
{
    return a.buffer != b.buffer;
}

/* What a product by the library costs besides is small against what it is worth. */
static bool is_large(mr_backend *be, const mr_cuda_operands *o, int64_t multiplications)
{
    return o->a.dtype == MR_BF16 && o->b.dtype == MR_BF16 && !mr_cuda_of(be)->beside &&
           multiplications >= MR_CUDA_LARGE;
}

/* The part of a factor that has the rows, or columns, `first`.. of the product it is in. */
static mr_tensor part_of(mr_tensor t, bool by_rows, int64_t first, int64_t count)
{
    return by_rows ? mr_tensor_rows(t, first, count) : mr_tensor_cols(t, first, count);
}

/* A large product in BF16 is several times slower where an extent is no multiple of 8: what is over
 * goes into a product of its own, extent by extent. */
static void run_even(mr_backend *be, bool ta, bool tb, const mr_cuda_operands *o)
{
    const int64_t m = o->c.rows, n = o->c.cols, k = ta ? o->a.rows : o->a.cols;
    const int64_t em = m - m % EVEN, en = n - n % EVEN, ek = k - k % EVEN;
    mr_cuda_operands main = *o, rest = *o;
    if (ek < k && ek > 0) {
        main.a = part_of(o->a, ta, 0, ek);
        main.b = part_of(o->b, !tb, 0, ek);
        rest.a = part_of(o->a, ta, ek, k - ek);
        rest.b = part_of(o->b, !tb, ek, k - ek);
        rest.beta = 1;
    } else if (em < m && em > 0) {
        main.a = part_of(o->a, !ta, 0, em);
        main.c = mr_tensor_rows(o->c, 0, em);
        rest.a = part_of(o->a, !ta, em, m - em);
        rest.c = mr_tensor_rows(o->c, em, m - em);
    } else if (en < n && en > 0) {
        main.b = part_of(o->b, tb, 0, en);
        main.c = mr_tensor_cols(o->c, 0, en);
        rest.b = part_of(o->b, tb, en, n - en);
        rest.c = mr_tensor_cols(o->c, en, n - en);
    } else {
        mr_cuda_multiply(be, ta, tb, o);
        return;
    }
    run_even(be, ta, tb, &main);
    mr_cuda_multiply(be, ta, tb, &rest);
}

static int64_t even_up(int64_t extent)
{
    return (extent + EVEN - 1) / EVEN * EVEN;
}

static mr_tensor take(mr_buffer *room, mr_dtype dtype, int64_t rows, int64_t cols, size_t *used)
{
    const size_t size = mr_dtype_size(dtype);
    mr_tensor t = mr_tensor_of(room, dtype, (int64_t)(*used / size), rows, cols);
    *used += ((size_t)(rows * cols) * size + 255) / 256 * 256;
    return t;
}

/* A matrix with extents that are multiples of 8: itself, with zeros that stand behind its rows and,
 * where it takes such in, with numbers of others below; else room for a copy. */
static mr_tensor rounded(mr_tensor t, bool takes_below, mr_buffer *room, size_t *used)
{
    const int64_t rows = even_up(t.rows), cols = even_up(t.cols);
    if (rows - t.rows > (takes_below ? t.below : 0) || cols - t.cols > t.spare ||
        t.stride % EVEN != 0 || (uintptr_t)mr_cuda_at(t) % 16 != 0)
        return take(room, t.dtype, rows, cols, used);
    t.rows = rows;
    t.cols = cols;
    return t;
}

/* What a rounded matrix has behind the rows of the matrix, and below them. */
static mr_tensor behind_of(mr_tensor even, mr_tensor t)
{
    return mr_tensor_cols(mr_tensor_rows(even, 0, t.rows), t.cols, even.cols - t.cols);
}

static mr_tensor below_of(mr_tensor even, mr_tensor t)
{
    return mr_tensor_rows(even, t.rows, even.rows - t.rows);
}

/* The part of a rounded matrix that is the matrix. */
static mr_tensor own_part(mr_tensor even, mr_tensor t)
{
    return mr_tensor_cols(mr_tensor_rows(even, 0, t.rows), 0, t.cols);
}

/* Makes a factor's copy, where it has one. */
static void copy_rounded(mr_backend *be, mr_tensor even, mr_tensor t)
{
    if (!is_other(even, t)) return;
    mr_cuda_copy(be, own_part(even, t), t);
    if (even.cols > t.cols) mr_cuda_fill(be, behind_of(even, t), 0);
    if (even.rows > t.rows) mr_cuda_fill(be, below_of(even, t), 0);
}

/* A product with odd extents as one whose are rounded up, zeros added, where what must be copied
 * for that is little beside the product. Numbers below a factor are as good as zeros: along the sum
 * they meet the other one's zeros, else what comes of them goes below the result, where what stood
 * is put back, or behind its rows, which are cleared. @return whether it is such */
static bool run_rounded(mr_backend *be, bool ta, bool tb, const mr_cuda_operands *o)
{
    const size_t most = (size_t)64 << 20;
    const bool meets_zeros = !ta || tb; /* not both factors have rows along the sum */
    mr_cuda *cu = mr_cuda_of(be);
    mr_buffer *room = &cu->aligned;
    mr_cuda_operands even = *o;
    size_t used = 0;
    if (o->a.rows % EVEN == 0 && o->a.cols % EVEN == 0 && o->b.rows % EVEN == 0 &&
        o->b.cols % EVEN == 0)
        return false;
    even.a = rounded(o->a, meets_zeros, room, &used);
    even.b = rounded(o->b, meets_zeros, room, &used);
    even.c = rounded(o->c, !cu->side_open, room, &used);
    const bool direct = !is_other(even.c, o->c);
    const mr_tensor others = below_of(even.c, o->c);
    const mr_tensor kept = take(room, others.dtype, direct ? others.rows : 0, others.cols, &used);
    if (used > most) return false;
    mr_cuda_grow(be, room, used);
    if (used > room->bytes) return true; /* noted */
    copy_rounded(be, even.a, o->a);
    copy_rounded(be, even.b, o->b);
    if (!direct && o->beta != 0) mr_cuda_copy(be, own_part(even.c, o->c), o->c);
    if (kept.rows > 0) mr_cuda_copy(be, kept, others);
    mr_cuda_multiply(be, ta, tb, &even);
    if (kept.rows > 0) mr_cuda_copy(be, others, kept);
    if (!direct) mr_cuda_copy(be, o->c, own_part(even.c, o->c));
    if (direct && even.c.cols > o->c.cols && tb && !is_other(even.b, o->b))
        mr_cuda_fill(be, behind_of(even.c, o->c), 0);
    return true;
}

void mr_cuda_gemm(mr_backend *be, bool transpose_a, bool transpose_b, float alpha, mr_tensor a,
                  mr_tensor b, float beta, mr_tensor c)
{
    const mr_cuda_operands o = {
        .alpha = alpha, .beta = beta, .a = a, .b = b, .c = c, .batch = {1, 0, 0, 0}};
    const int64_t k = transpose_a ? a.rows : a.cols;
    mr_buffer *room = &mr_cuda_of(be)->aligned;
    size_t used = 0;
    if (mr_cuda_gemm_outer(be, transpose_a, transpose_b, &o)) return;
    if (!is_large(be, &o, c.rows * c.cols * k)) {
        mr_cuda_multiply(be, transpose_a, transpose_b, &o);
        return;
    }
    if (run_rounded(be, transpose_a, transpose_b, &o)) return;
    mr_cuda_operands even = o;
    even.a = aligned(a, room, &used);
    even.b = aligned(b, room, &used);
    even.c = aligned(c, room, &used);
    if (used > 0) mr_cuda_grow(be, room, used);
    if (used > room->bytes) return; /* noted */
    if (is_other(even.a, a)) mr_cuda_copy(be, even.a, a);
    if (is_other(even.b, b)) mr_cuda_copy(be, even.b, b);
    if (is_other(even.c, c) && beta != 0) mr_cuda_copy(be, even.c, c);
    run_even(be, transpose_a, transpose_b, &even);
    if (is_other(even.c, c)) mr_cuda_copy(be, c, even.c);
}

void mr_cuda_gemm_scaled(mr_backend *be, mr_scaled a, mr_scaled b, float beta, mr_tensor c)
{
    enum { LIKED = 16 }; /* what the library takes multiples of */
    const int64_t k = a.values.cols;
    mr_buffer *room = &mr_cuda_of(be)->aligned;
    mr_cuda_operands o = {.alpha = 1,
                          .beta = beta,
                          .a = a.values,
                          .b = b.values,
                          .c = c,
                          .batch = {1, 0, 0, 0},
                          .scale_a = a.scale,
                          .scale_b = b.scale};
    size_t used = 0;
    if (k % LIKED != 0 || c.cols % LIKED != 0 || !mr_cuda_multiplies_scaled(be)) {
        mr_cuda_gemm_scaled_any(be, a, b, beta, c);
        return;
    }
    o.c = aligned(c, room, &used);
    if (used > 0) mr_cuda_grow(be, room, used);
    if (used > room->bytes) return; /* noted */
    if (is_other(o.c, c) && beta != 0) mr_cuda_copy(be, o.c, c);
    mr_cuda_multiply(be, false, true, &o);
    if (is_other(o.c, c)) mr_cuda_copy(be, c, o.c);
}
