/* Updates of a site by square matrices, MoRA's: inputs are compressed, multiplied and spread over
 * the outputs. */

#include "backend/cuda/site_impl.h"

/* Whether positions are columns, one block after another, so that the tensor itself will do. */
static bool leaves_columns(mr_group_map map, mr_cuda_blocks blocks, mr_tensor t)
{
    return !map.contiguous && map.groups == t.cols && map.length == t.cols &&
           blocks.side == blocks.pitch && t.stride % 8 == 0 && (uintptr_t)mr_cuda_at(t) % 16 == 0;
}

/* Whether rows of the matrices begin where products are fast: then neither they nor their gradients
 * are copied. */
static bool is_even(const mr_cuda_bundle *b, int64_t pitch, mr_dtype type)
{
    return b->inner == pitch && b->weight.dtype == type && b->weight.stride == pitch &&
           (uintptr_t)mr_cuda_at(b->weight) % 16 == 0 &&
           (!mr_tensor_exists(b->gradient) || (uintptr_t)mr_cuda_at(b->gradient) % 16 == 0);
}

/* Whether there is such a room for the compressed input as products are fast from. */
static bool keeps_input(const mr_tensor *room, int64_t cols)
{
    return mr_tensor_exists(*room) && room->cols == cols &&
           room->stride == mr_even_cols(room->stride, room->dtype) &&
           (uintptr_t)mr_cuda_at(*room) % 16 == 0;
}

/* @return false where there is no memory, which is noted */
static bool make_rooms(mr_backend *be, const mr_site_args *args, const mr_cuda_bundle *b,
                       mr_cuda_squares *r)
{
    const mr_update *first = &args->update[b->first];
    const mr_dtype type = args->x.dtype;
    const bool grouped = first->kind == MR_UPDATE_GROUPS;
    const int count = grouped ? 1 : (int)first->blocks;
    const int64_t n = args->x.rows;
    const mr_device_squares room = mr_device_squares_of(&(mr_square_shape){.rows = n,
                                                                           .linears = b->count,
                                                                           .blocks = count,
                                                                           .side = b->inner,
                                                                           .turned = first->rotate},
                                                        type);
    const int64_t pitch = room.pitch;
    *r = (mr_cuda_squares){.blocks = {b->inner, pitch}, .count = count};
    const int64_t reach = r->count * b->inner, wide = r->count * pitch;
    r->in_map = grouped ? first->in : (mr_group_map){.groups = reach, .length = reach};
    const int64_t gradients = (count == 1 ? b->count : 1) * wide;
    r->buffer.data = mr_cuda_scratch(be, room.bytes);
    r->keeps = keeps_input(&first->compressed, wide);
    r->in = r->keeps ? mr_tensor_rows(first->compressed, 0, n)
                     : mr_tensor_of(&r->buffer, type, 0, n, wide);
    r->back = mr_tensor_of(&r->buffer, type, n * wide, n, wide);
    r->out = r->count == 1 ? mr_tensor_of(&r->buffer, type, 2 * n * wide, n, b->count * wide)
                           : mr_tensor_of(&r->buffer, type, 2 * n * wide, b->count * n, wide);
    r->m = mr_tensor_of(&r->buffer, type, n * (2 + b->count) * wide, b->count * wide, pitch);
    r->p =
        mr_tensor_of(&r->buffer, MR_F32, (int64_t)(room.before / sizeof(float)), gradients, pitch);
    if (!r->buffer.data) return false;
    if (count == 1 && !first->rotate && is_even(b, pitch, type)) {
        r->m = b->weight;
        r->p = b->gradient;
    } else {
        mr_cuda_turn(be, r->m, b->weight, r->count, first->rotate, first->cosine, first->sine);
    }
    return true;
}

/* The k-th linear's part of what is out, for itself or where it comes from or goes to: y. */
static mr_tensor out_of(const mr_cuda_squares *r, int k, const mr_update *one, mr_tensor y)
{
    if (r->count == 1) return mr_tensor_cols(r->out, k * r->blocks.pitch, r->blocks.pitch);
    if (leaves_columns(one->out, r->blocks, y) && r->count * r->blocks.side == y.cols) return y;
    return mr_tensor_rows(r->out, k * r->in.rows, r->in.rows);
}

static bool is_room(const mr_cuda_squares *r, mr_tensor t)
{
    return t.buffer == &r->buffer;
}

static void compress(mr_backend *be, mr_tensor x, mr_cuda_squares *r, bool again)
{
    if (leaves_columns(r->in_map, r->blocks, x))
        r->in = x;
    else if (!again || !r->keeps)
        mr_cuda_sum(be, 1, &r->in, &x, r->in_map, r->blocks);
}

/* Outputs of a bundle's linears, y, and what is spread over them or summed from them. */
typedef struct mapped {
    int count;
    mr_tensor y[MR_SITE_LINEARS], out[MR_SITE_LINEARS];
} mapped;

static mapped find_mapped(const mr_site_args *args, const mr_cuda_bundle *b,
                          const mr_cuda_squares *r, const mr_tensor *y)
{
    mapped all = {0};
    for (int i = b->first, k = 0; i <= b->last; i++) {
        if (!mr_cuda_is_adapted(args, i)) continue;
        const mr_tensor out = out_of(r, k++, &args->update[i], y[i]);
        if (!is_room(r, out)) continue;
        all.y[all.count] = y[i];
        all.out[all.count++] = out;
    }
    return all;
}

/* Products with the k-th linear's matrices, block by block: rows of columns, to such. */
static void multiply_blocks(mr_backend *be, const mr_cuda_squares *r, int k, bool transposed,
                            float scale, mr_tensor from, float beta, mr_tensor to)
{
    const int64_t pitch = r->blocks.pitch;
    mr_cuda_gemm_batch(be, false, transposed, scale, mr_tensor_cols(from, 0, pitch),
                       mr_tensor_rows(r->m, k * r->count * pitch, pitch), beta,
                       mr_tensor_cols(to, 0, pitch),
                       (mr_cuda_batch){r->count, pitch, pitch * pitch, pitch});
}

void mr_cuda_squares_forward(mr_backend *be, const mr_site_args *args, const mr_cuda_bundle *b,
                             const mr_tensor *y, mr_tensor x)
{
    mr_cuda_squares r;
    if (!make_rooms(be, args, b, &r)) return;
    compress(be, x, &r, false);
    if (r.count == 1)
        mr_cuda_gemm(be, false, true, args->update[b->first].scale, r.in, r.m, 0, r.out);
    const mapped all = find_mapped(args, b, &r, y);
    int spread = 0;
    for (int i = b->first, k = 0; i <= b->last; i++) {
        const mr_update *one = &args->update[i];
        if (!mr_cuda_is_adapted(args, i)) continue;
        const mr_tensor out = out_of(&r, k, one, y[i]);
        if (r.count > 1) multiply_blocks(be, &r, k, true, one->scale, r.in, 0, out);
        if (k++ > 0) continue;
        spread = is_room(&r, out); /* the first one, which is needed first */
        mr_cuda_spread(be, spread, all.y, all.out, one->out, r.blocks, false);
        if (i < args->linears - 1) mr_cuda_go_beside(be, args);
    }
    mr_cuda_spread(be, all.count - spread, all.y + spread, all.out + spread,
                   args->update[b->first].out, r.blocks, false);
}

/* Whether a bundle's gradient of the input may be made beside the base's products: then the scratch
 * is its until the end. */
static bool can_be_late(const mr_site_args *args, const mr_cuda_bundle *b)
{
    mr_cuda_bundle next = *b;
    return mr_tensor_exists(args->d_x) && args->dropout <= 0 && mr_cuda_has_beside(args) &&
           !mr_cuda_next_bundle(args, &next);
}

/* Gradients of one linear's matrix from those of its blocks. */
static void turn_back(mr_backend *be, const mr_cuda_squares *r, const mr_update *one, mr_tensor p)
{
    if (is_room(r, p))
        mr_cuda_turn_back(be, one->d_m, p, r->count, one->rotate, one->cosine, one->sine);
}

/* Gradients of a bundle's square matrices, g being those of the products: dM = g^T c, with one
 * block of all linears at once. */
static void square_gradients(mr_backend *be, const mr_site_args *args, const mr_cuda_bundle *b,
                             const mr_cuda_squares *r, const mr_tensor *g)
{
    const int64_t pitch = r->blocks.pitch;
    if (r->count == 1)
        mr_cuda_gemm(be, true, false, args->update[b->first].scale, r->out, r->in, 0, r->p);
    for (int i = b->first, k = 0; i <= b->last; i++) {
        const mr_update *one = &args->update[i];
        if (!mr_cuda_is_adapted(args, i)) continue;
        if (r->count == 1) {
            turn_back(be, r, one, mr_tensor_rows(r->p, k++ * pitch, pitch));
            continue;
        }
        mr_cuda_gemm_batch(be, true, false, one->scale, mr_tensor_cols(g[i], 0, pitch),
                           mr_tensor_cols(r->in, 0, pitch), 0, mr_tensor_rows(r->p, 0, pitch),
                           (mr_cuda_batch){r->count, pitch, pitch, pitch * pitch});
        turn_back(be, r, one, r->p);
    }
}

/* The gradient of what a bundle's matrices are applied to, c: dc = g M. */
static void compressed_gradient(mr_backend *be, const mr_site_args *args, const mr_cuda_bundle *b,
                                const mr_cuda_squares *r, const mr_tensor *g, float beta,
                                mr_tensor back)
{
    if (r->count == 1) {
        mr_cuda_gemm(be, false, false, args->update[b->first].scale, r->out, r->m, beta, back);
        return;
    }
    for (int i = b->first, k = 0; i <= b->last; i++) {
        if (!mr_cuda_is_adapted(args, i)) continue;
        multiply_blocks(be, r, k++, false, args->update[i].scale, g[i], beta, back);
        beta = 1;
    }
}

void mr_cuda_squares_backward(mr_backend *be, const mr_site_args *args, const mr_cuda_bundle *b,
                              const mr_tensor *d_y, mr_tensor x, mr_tensor d_x, bool begins,
                              mr_cuda_squares *r)
{
    mr_tensor g[MR_SITE_LINEARS];
    mr_cuda_side_join(be);
    if (!make_rooms(be, args, b, r)) return;
    const bool wanted = mr_tensor_exists(d_x),
               into = wanted && leaves_columns(r->in_map, r->blocks, d_x);
    r->late = !into && can_be_late(args, b);
    if (r->late) mr_cuda_go_beside(be, args);
    compress(be, x, r, true);
    const mapped all = find_mapped(args, b, r, d_y);
    mr_cuda_sum(be, all.count, all.out, all.y, args->update[b->first].out, r->blocks);
    for (int i = b->first, k = 0; i <= b->last; i++)
        if (mr_cuda_is_adapted(args, i)) g[i] = out_of(r, k++, &args->update[i], d_y[i]);
    if (r->late) compressed_gradient(be, args, b, r, g, 0, r->back);
    mr_cuda_go_beside(be, args);
    if (mr_tensor_exists(b->gradient)) square_gradients(be, args, b, r, g);
    mr_cuda_come_back(be);
    if (!wanted || r->late) return;
    compressed_gradient(be, args, b, r, g, into && !begins ? 1.0f : 0.0f, into ? d_x : r->back);
    if (!into) mr_cuda_spread(be, 1, &d_x, &r->back, r->in_map, r->blocks, !begins);
}

void mr_cuda_squares_end(mr_backend *be, const mr_site_args *args, const mr_cuda_squares *r)
{
    if (r->late) mr_cuda_spread(be, 1, &args->d_x, &r->back, r->in_map, r->blocks, true);
}
