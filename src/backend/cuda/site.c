/* A site as one: the adapters write first, so that what they make is not read again, and the base's
 * products add to it, which costs a large product next to nothing. Gradients of LoRA's factors,
 * bound by memory, are taken on a second stream beside the base's products. */

#include "backend/cuda/cuda_impl.h"

/* The scratch of a call. */
typedef struct rooms {
    mr_tensor work;     /* what is not taken by the next two */
    mr_tensor masked;   /* [N, I], with dropout: the input that the updates see */
    mr_tensor d_masked; /* [N, I]: the gradient there */
} rooms;

static rooms rooms_of(const mr_site_args *args)
{
    rooms room = {.work = args->work};
    if (args->dropout <= 0) return room;
    int64_t in = args->x.cols, own = args->work.cols - 2 * in;
    room.work = mr_tensor_carve(args->work, 0, own);
    room.masked = mr_tensor_carve(args->work, own, in);
    room.d_masked = mr_tensor_carve(args->work, own + in, in);
    return room;
}

/* The input that the updates see. */
static mr_tensor update_input(mr_backend *be, const mr_site_args *args, const rooms *room)
{
    if (args->dropout <= 0) return args->x;
    mr_cuda_dropout(be, room->masked, args->x, 0, args->dropout, args->stream, args->first_row);
    return room->masked;
}

static bool is_adapted(const mr_site_args *args, int i)
{
    return args->update[i].kind != MR_UPDATE_NONE;
}

/* Whether b begins where a ends, so that their rows are those of one matrix. */
static bool follows(mr_tensor a, mr_tensor b)
{
    return mr_tensor_exists(a) == mr_tensor_exists(b) &&
           (!mr_tensor_exists(a) ||
            (a.buffer == b.buffer && a.cols == b.cols && b.offset == a.offset + a.rows * a.cols));
}

/* The parameters of an update that are stacked, and their gradients. */
static mr_tensor shared_weight(const mr_update *u)
{
    return u->kind == MR_UPDATE_PRODUCT ? u->a : u->m;
}

static mr_tensor shared_gradient(const mr_update *u)
{
    return u->kind == MR_UPDATE_PRODUCT ? u->d_a : u->d_m;
}

/* Linears first..last of a site whose updates see one compressed input. */
typedef struct bundle {
    int first, last; /* the ones between that are not adapted stand aside */
    int count;
    int64_t inner;              /* columns of each: r, or R */
    int64_t saved;              /* first column in saved: of products */
    mr_tensor weight, gradient; /* stacked; the gradient where it is wanted */
} bundle;

static bool same_input(const mr_update *a, const mr_update *b)
{
    return a->m.cols == b->m.cols && a->blocks == b->blocks &&
           follows(shared_weight(a), shared_weight(b)) &&
           follows(shared_gradient(a), shared_gradient(b));
}

/* The bundle behind another one, which starts from {.last = -1}; false where there is none. */
static bool next_bundle(const mr_site_args *args, bundle *b)
{
    int64_t saved = b->saved + b->count * b->inner;
    int i = b->last + 1;
    while (i < args->linears && !is_adapted(args, i))
        i++;
    if (i >= args->linears) return false;
    const mr_update *last = &args->update[i];
    *b = (bundle){.first = i,
                  .last = i,
                  .count = 1,
                  .inner = last->kind == MR_UPDATE_PRODUCT ? last->a.rows : last->m.rows,
                  .saved = saved,
                  .weight = shared_weight(last),
                  .gradient = shared_gradient(last)};
    for (i++; i < args->linears; i++) {
        const mr_update *next = &args->update[i];
        if (!is_adapted(args, i)) continue;
        if (!same_input(last, next)) break;
        b->weight.rows += shared_weight(next).rows;
        b->gradient.rows += shared_gradient(next).rows;
        b->last = i;
        b->count++;
        last = next;
    }
    return true;
}

/* Where the square matrices of a bundle work: with rows that begin at 16 bytes, in the scratch of
 * an operation, of which each of these takes a part. Rows are tokens. */
typedef struct square_rooms {
    mr_buffer buffer;      /* the scratch */
    mr_cuda_blocks blocks; /* of the columns of the next three */
    mr_tensor in;          /* [N, blocks * pitch]: what M is applied to, as rows of pitch */
    mr_tensor out;         /* [N, count * pitch], or so many as in: products, or gradients there */
    mr_tensor back;        /* groups: [N, pitch], the gradient of `in` */
    mr_tensor m;           /* [count * pitch, pitch] */
    mr_tensor d_m;         /* F32 [pitch, pitch]: the gradient of one */
} square_rooms;

/* @return false where there is no memory, which is noted */
static bool make_rooms(mr_backend *be, const mr_site_args *args, const bundle *b, square_rooms *r)
{
    const mr_update *first = &args->update[b->first];
    const mr_dtype type = args->x.dtype;
    const int64_t pad = 16 / (int64_t)mr_dtype_size(type);
    const int64_t pitch = (b->inner + pad - 1) / pad * pad, n = args->x.rows;
    const bool grouped = first->kind == MR_UPDATE_GROUPS;
    const int64_t wide = grouped ? pitch : first->blocks * pitch;
    const int64_t out = b->count * wide, back = grouped ? pitch : 0;
    const int64_t all = n * (wide + out + back) + b->count * pitch * pitch;
    const size_t bytes = (size_t)all * mr_dtype_size(type) + 15, squares = bytes - bytes % 16;
    *r = (square_rooms){.blocks = {b->inner, pitch}};
    r->buffer.data = mr_cuda_scratch(be, squares + (size_t)(pitch * pitch) * sizeof(float));
    r->in = mr_tensor_of(&r->buffer, type, 0, n, wide);
    r->out = mr_tensor_of(&r->buffer, type, n * wide, n, out);
    r->back = mr_tensor_of(&r->buffer, type, n * (wide + out), n, back);
    r->m = mr_tensor_of(&r->buffer, type, n * (wide + out + back), b->count * pitch, pitch);
    r->d_m = mr_tensor_of(&r->buffer, MR_F32, (int64_t)(squares / sizeof(float)), pitch, pitch);
    if (r->buffer.data) mr_cuda_pad(be, r->m, b->weight, b->inner);
    return r->buffer.data != NULL;
}

/* Rows of one matrix's width. */
static mr_tensor as_rows(mr_tensor t, const square_rooms *r)
{
    if (t.cols == r->blocks.pitch) return t;
    return mr_tensor_reshape(t, mr_tensor_count(t) / r->blocks.pitch, r->blocks.pitch);
}

/* The k-th matrix of a bundle. */
static mr_tensor matrix_of(const square_rooms *r, int k)
{
    return mr_tensor_rows(r->m, k * r->blocks.pitch, r->blocks.pitch);
}

/* The k-th linear's part of what is out: columns of groups; of blocks, matrices behind one another.
 */
static mr_tensor out_of(const square_rooms *r, int k, bool grouped)
{
    if (grouped) return mr_tensor_cols(r->out, k * r->blocks.pitch, r->blocks.pitch);
    return mr_tensor_carve(r->out, k * r->in.cols, r->in.cols);
}

static void compress(mr_backend *be, const mr_update *u, mr_tensor x, const square_rooms *r)
{
    if (u->kind == MR_UPDATE_GROUPS)
        mr_cuda_sum(be, r->in, x, u->in, r->blocks);
    else
        mr_cuda_rotate(be, r->in, x, r->blocks, u->rotate, u->cosine, u->sine);
}

static void forward_square(mr_backend *be, const mr_site_args *args, const bundle *b, mr_tensor x)
{
    const mr_update *first = &args->update[b->first];
    const bool grouped = first->kind == MR_UPDATE_GROUPS;
    square_rooms r;
    if (!make_rooms(be, args, b, &r)) return;
    compress(be, first, x, &r);
    if (grouped) mr_cuda_gemm(be, false, true, first->scale, r.in, r.m, 0, r.out);
    for (int i = b->first, k = 0; i <= b->last; i++) {
        if (!is_adapted(args, i)) continue;
        const mr_update *one = &args->update[i];
        mr_tensor out = out_of(&r, k, grouped);
        if (!grouped)
            mr_cuda_gemm(be, false, true, one->scale, as_rows(r.in, &r), matrix_of(&r, k), 0,
                         as_rows(out, &r));
        mr_cuda_spread(be, args->y[i], out, one->out, r.blocks, false);
        k++;
    }
}

static void forward_product(mr_backend *be, const mr_site_args *args, const bundle *b, mr_tensor x)
{
    mr_tensor u = mr_tensor_cols(args->saved, b->saved, b->count * b->inner);
    mr_cuda_gemm(be, false, true, 1, x, b->weight, 0, u);
    for (int i = b->first, k = 0; i <= b->last; i++)
        if (is_adapted(args, i))
            mr_cuda_gemm(be, false, true, args->update[i].scale,
                         mr_tensor_cols(u, k++ * b->inner, b->inner), args->update[i].b, 0,
                         args->y[i]);
}

/* y of every adapted linear becomes its update alone. */
static void forward_updates(mr_backend *be, const mr_site_args *args, mr_tensor x)
{
    for (bundle b = {.last = -1}; next_bundle(args, &b);)
        if (args->update[b.first].kind == MR_UPDATE_PRODUCT)
            forward_product(be, args, &b, x);
        else
            forward_square(be, args, &b, x);
}

/* Whether rows are scaled: their numerators are trained apart. */
static bool is_scaled(const mr_site_args *args)
{
    for (int i = 0; i < args->linears; i++)
        if (mr_tensor_exists(args->update[i].ratio)) return true;
    return false;
}

/* Columns of saved that hold compressed inputs, before the products that are kept where rows are
 * scaled. */
static int64_t compressed_cols(const mr_site_args *args)
{
    int64_t cols = args->saved.cols;
    for (int i = 0; i < args->linears; i++)
        if (is_adapted(args, i)) cols -= args->w[i].rows;
    return cols;
}

bool mr_cuda_site_forward(mr_backend *be, const mr_site_args *args)
{
    const bool scaled = is_scaled(args);
    if (scaled && args->dropout > 0) return false;
    const rooms room = rooms_of(args);
    mr_phase_begin(be, MR_PHASE_ADAPTER);
    forward_updates(be, args, update_input(be, args, &room));
    mr_phase_end(be, MR_PHASE_ADAPTER);
    mr_phase_begin(be, MR_PHASE_LINEAR);
    for (int i = 0; i < args->linears; i++)
        mr_cuda_gemm(be, false, true, 1, args->x, args->w[i], is_adapted(args, i) ? 1.0f : 0.0f,
                     args->y[i]);
    mr_phase_end(be, MR_PHASE_LINEAR);
    if (!scaled) return true;
    mr_phase_begin(be, MR_PHASE_ADAPTER);
    int64_t at = compressed_cols(args);
    for (int i = 0; i < args->linears; i++) {
        if (!is_adapted(args, i)) continue;
        mr_cuda_scale_columns(be, args->y[i], mr_tensor_cols(args->saved, at, args->w[i].rows),
                              args->y[i], args->update[i].ratio, 0);
        at += args->w[i].rows;
    }
    mr_phase_end(be, MR_PHASE_ADAPTER);
    return true;
}

/* Gradients of the updates of a bundle, and of their input: written where `begins`, else added. */
static void backward_product(mr_backend *be, const mr_site_args *args, const bundle *b,
                             const mr_tensor *d_y, mr_tensor x, mr_tensor d_x, bool begins,
                             mr_tensor work)
{
    mr_tensor u = mr_tensor_cols(args->saved, b->saved, b->count * b->inner);
    mr_tensor d_u = mr_tensor_carve(work, 0, b->count * b->inner);
    mr_cuda_side_join(be); /* which may read that scratch for the bundle before */
    for (int i = b->first, k = 0; i <= b->last; i++) {
        if (!is_adapted(args, i)) continue;
        mr_cuda_gemm(be, false, false, args->update[i].scale, d_y[i], args->update[i].b, 0,
                     mr_tensor_cols(d_u, k++ * b->inner, b->inner));
    }
    mr_cuda_side_begin(be);
    for (int i = b->first, k = 0; i <= b->last; i++) {
        const mr_update *one = &args->update[i];
        if (!is_adapted(args, i)) continue;
        mr_tensor own = mr_tensor_cols(u, k++ * b->inner, b->inner);
        if (mr_tensor_exists(one->d_b))
            mr_cuda_gemm(be, true, false, one->scale, d_y[i], own, 0, one->d_b);
    }
    if (mr_tensor_exists(b->gradient)) mr_cuda_gemm(be, true, false, 1, d_u, x, 0, b->gradient);
    mr_cuda_side_end(be);
    if (mr_tensor_exists(d_x))
        mr_cuda_gemm(be, false, false, 1, d_u, b->weight, begins ? 0.0f : 1.0f, d_x);
}

/* Gradients of a bundle's square matrices, and of their input. With c what M is applied to and g
 * the gradient of the products: dM = g^T c, dc = g M. */
static void backward_square(mr_backend *be, const mr_site_args *args, const bundle *b,
                            const mr_tensor *d_y, mr_tensor x, mr_tensor d_x, bool begins)
{
    const mr_update *first = &args->update[b->first];
    const bool grouped = first->kind == MR_UPDATE_GROUPS, wanted = mr_tensor_exists(d_x);
    square_rooms r;
    if (!make_rooms(be, args, b, &r)) return;
    compress(be, first, x, &r);
    mr_tensor in = as_rows(r.in, &r);
    for (int i = b->first, k = 0; i <= b->last; i++) {
        if (!is_adapted(args, i)) continue;
        const mr_update *one = &args->update[i];
        mr_tensor g = out_of(&r, k++, grouped);
        mr_cuda_sum(be, g, d_y[i], one->out, r.blocks);
        if (!mr_tensor_exists(one->d_m)) continue;
        mr_cuda_gemm(be, true, false, one->scale, as_rows(g, &r), in, 0, r.d_m);
        mr_cuda_copy(be, one->d_m, mr_tensor_cols(mr_tensor_rows(r.d_m, 0, b->inner), 0, b->inner));
    }
    /* Turned blocks are done with: their place takes the sum of g M over the linears. */
    for (int i = b->first, k = 0; i <= b->last && wanted && !grouped; i++) {
        if (!is_adapted(args, i)) continue;
        mr_cuda_gemm(be, false, false, args->update[i].scale, as_rows(out_of(&r, k, false), &r),
                     matrix_of(&r, k), k > 0 ? 1.0f : 0.0f, in);
        k++;
    }
    if (!wanted) return;
    if (grouped) {
        mr_cuda_gemm(be, false, false, first->scale, r.out, r.m, 0, r.back);
        mr_cuda_spread(be, d_x, r.back, first->in, r.blocks, !begins);
    } else {
        mr_cuda_rotate_back(be, d_x, r.in, r.blocks, first->rotate, first->cosine, first->sine,
                            !begins);
    }
}

/* Gradients of rows' numerators; d_y becomes the gradients of the rows before they are scaled, in
 * the place of the products that were kept. */
static void scale_gradients(mr_backend *be, const mr_site_args *args, mr_tensor *d_y)
{
    int64_t at = compressed_cols(args);
    for (int i = 0; i < args->linears; i++) {
        const mr_update *one = &args->update[i];
        if (!is_adapted(args, i)) continue;
        mr_tensor product = mr_tensor_cols(args->saved, at, args->w[i].rows);
        if (mr_tensor_exists(one->d_magnitude)) {
            mr_cuda_scale_columns_backward(be, product, one->d_magnitude, d_y[i], product,
                                           one->ratio);
            mr_cuda_scale_columns(be, one->d_magnitude, (mr_tensor){0}, one->d_magnitude,
                                  one->inverse, 0);
        } else {
            mr_cuda_scale_columns(be, product, (mr_tensor){0}, d_y[i], one->ratio, 0);
        }
        d_y[i] = product;
        at += args->w[i].rows;
    }
}

static void backward_updates(mr_backend *be, const mr_site_args *args, const mr_tensor *d_y,
                             const rooms *room)
{
    mr_tensor x = update_input(be, args, room), d_x = args->d_x;
    if (args->dropout > 0 && mr_tensor_exists(d_x)) d_x = room->d_masked;
    bool begins = true;
    for (bundle b = {.last = -1}; next_bundle(args, &b); begins = false)
        if (args->update[b.first].kind == MR_UPDATE_PRODUCT)
            backward_product(be, args, &b, d_y, x, d_x, begins, room->work);
        else
            backward_square(be, args, &b, d_y, x, d_x, begins);
    if (args->dropout > 0 && mr_tensor_exists(args->d_x))
        mr_cuda_dropout(be, args->d_x, d_x, 0, args->dropout, args->stream, args->first_row);
}

bool mr_cuda_site_backward(mr_backend *be, const mr_site_args *args)
{
    const bool scaled = is_scaled(args);
    if (scaled && args->dropout > 0) return false;
    const rooms room = rooms_of(args);
    mr_tensor d_y[MR_SITE_LINEARS];
    bool adapted = false;
    for (int i = 0; i < args->linears; i++) {
        d_y[i] = args->y[i];
        adapted = adapted || is_adapted(args, i);
    }
    mr_phase_begin(be, MR_PHASE_ADAPTER);
    if (scaled) scale_gradients(be, args, d_y);
    if (adapted) backward_updates(be, args, d_y, &room);
    mr_phase_end(be, MR_PHASE_ADAPTER);
    mr_phase_begin(be, MR_PHASE_LINEAR);
    for (int i = 0; i < args->linears; i++) {
        if (mr_tensor_exists(args->d_x))
            mr_cuda_gemm(be, false, false, 1, d_y[i], args->w[i], adapted || i > 0 ? 1.0f : 0.0f,
                         args->d_x);
        if (mr_tensor_exists(args->d_w[i]))
            mr_cuda_gemm(be, true, false, 1, d_y[i], args->x, 0, args->d_w[i]);
    }
    mr_cuda_side_join(be);
    mr_phase_end(be, MR_PHASE_LINEAR);
    return true;
}
