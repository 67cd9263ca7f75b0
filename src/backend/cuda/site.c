/* A site as one: the adapters write first, so that what they make is not read again, and the base's
 * products add to it, which costs a large product next to nothing. What is bound by memory and need
 * not be there yet is made on a second stream beside the base's products: updates of all linears
 * but the first, gradients of the adapters, and where less is moved so, all that adapters do
 * backward but the last, which adds to the gradient of the input. */

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

/* Linears first..last of a site whose updates see one compressed input, and are mapped alike to
 * their outputs. */
typedef struct bundle {
    int first, last; /* the ones between that are not adapted stand aside */
    int count;
    int64_t inner;              /* columns of each: r, or R */
    int64_t saved;              /* first column in saved: of products */
    mr_tensor weight, gradient; /* stacked; the gradient where it is wanted */
} bundle;

static bool same_maps(const mr_update *a, const mr_update *b)
{
    return a->m.cols == b->m.cols && a->blocks == b->blocks && a->out.length == b->out.length &&
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
        if (!same_maps(last, next)) break;
        b->weight = mr_tensor_stack(b->weight, shared_weight(next));
        b->gradient = mr_tensor_stack(b->gradient, shared_gradient(next));
        b->last = i;
        b->count++;
        last = next;
    }
    return true;
}

/* Where the square matrices of a bundle work: with rows that begin at 16 bytes, in the scratch of
 * an operation, of which each of these takes a part, or in the tensors themselves where a map
 * leaves columns where they are. A block of columns has a matrix of its own, which turns it too. */
typedef struct square_rooms {
    mr_buffer buffer;      /* the scratch */
    mr_cuda_blocks blocks; /* of the columns of the next three */
    int count;             /* of blocks */
    mr_group_map in_map;   /* of inputs to columns, whole blocks */
    bool keeps;            /* `in` stays from forward to backward */
    mr_tensor in;          /* [N, count * pitch]: what M is applied to, maybe the input */
    mr_tensor out;         /* of each linear such a one: products, or gradients there; with one
                              block side by side, where all linears are one product */
    mr_tensor back;        /* [N, count * pitch], the gradient of `in` */
    mr_tensor m;           /* [linears * count * pitch, pitch] */
    mr_tensor p;           /* F32: gradients of those of one linear, or with one block of all */
} square_rooms;

/* Whether positions are columns, one block after another, so that the tensor itself will do. */
static bool leaves_columns(mr_group_map map, mr_cuda_blocks blocks, mr_tensor t)
{
    return !map.contiguous && map.groups == t.cols && map.length == t.cols &&
           blocks.side == blocks.pitch && t.stride % 8 == 0 && (uintptr_t)mr_cuda_at(t) % 16 == 0;
}

/* Whether rows of the matrices begin where products are fast: then neither they nor their gradients
 * are copied. */
static bool is_even(const bundle *b, int64_t pitch, mr_dtype type)
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
static bool make_rooms(mr_backend *be, const mr_site_args *args, const bundle *b, square_rooms *r)
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
    *r = (square_rooms){.blocks = {b->inner, pitch}, .count = count};
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
static mr_tensor out_of(const square_rooms *r, int k, const mr_update *one, mr_tensor y)
{
    if (r->count == 1) return mr_tensor_cols(r->out, k * r->blocks.pitch, r->blocks.pitch);
    if (leaves_columns(one->out, r->blocks, y) && r->count * r->blocks.side == y.cols) return y;
    return mr_tensor_rows(r->out, k * r->in.rows, r->in.rows);
}

static bool is_room(const square_rooms *r, mr_tensor t)
{
    return t.buffer == &r->buffer;
}

/* Whether two streams pay: not with a few rows, and not where factors are made even first, for
 * which there is room for one product at a time. */
static bool has_beside(const mr_site_args *args)
{
    enum { FEW = 64, EVEN = 8 };
    return args->x.rows > FEW && (args->x.dtype != MR_BF16 || args->x.rows % EVEN == 0);
}

/* Work is queued beside from here on. */
static void go_beside(mr_backend *be, const mr_site_args *args)
{
    if (has_beside(args) && !mr_cuda_of(be)->beside) mr_cuda_side_begin(be);
}

static void come_back(mr_backend *be)
{
    if (mr_cuda_of(be)->beside) mr_cuda_side_end(be);
}

static void compress(mr_backend *be, mr_tensor x, square_rooms *r, bool again)
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

static mapped find_mapped(const mr_site_args *args, const bundle *b, const square_rooms *r,
                          const mr_tensor *y)
{
    mapped all = {0};
    for (int i = b->first, k = 0; i <= b->last; i++) {
        if (!is_adapted(args, i)) continue;
        const mr_tensor out = out_of(r, k++, &args->update[i], y[i]);
        if (!is_room(r, out)) continue;
        all.y[all.count] = y[i];
        all.out[all.count++] = out;
    }
    return all;
}

/* Products with the k-th linear's matrices, block by block: rows of columns, to such. */
static void multiply_blocks(mr_backend *be, const square_rooms *r, int k, bool transposed,
                            float scale, mr_tensor from, float beta, mr_tensor to)
{
    const int64_t pitch = r->blocks.pitch;
    mr_cuda_gemm_batch(be, false, transposed, scale, mr_tensor_cols(from, 0, pitch),
                       mr_tensor_rows(r->m, k * r->count * pitch, pitch), beta,
                       mr_tensor_cols(to, 0, pitch),
                       (mr_cuda_batch){r->count, pitch, pitch * pitch, pitch});
}

static void forward_square(mr_backend *be, const mr_site_args *args, const bundle *b,
                           const mr_tensor *y, mr_tensor x)
{
    square_rooms r;
    if (!make_rooms(be, args, b, &r)) return;
    compress(be, x, &r, false);
    if (r.count == 1)
        mr_cuda_gemm(be, false, true, args->update[b->first].scale, r.in, r.m, 0, r.out);
    const mapped all = find_mapped(args, b, &r, y);
    int spread = 0;
    for (int i = b->first, k = 0; i <= b->last; i++) {
        const mr_update *one = &args->update[i];
        if (!is_adapted(args, i)) continue;
        const mr_tensor out = out_of(&r, k, one, y[i]);
        if (r.count > 1) multiply_blocks(be, &r, k, true, one->scale, r.in, 0, out);
        if (k++ > 0) continue;
        spread = is_room(&r, out); /* the first one, which is needed first */
        mr_cuda_spread(be, spread, all.y, all.out, one->out, r.blocks, false);
        if (i < args->linears - 1) go_beside(be, args);
    }
    mr_cuda_spread(be, all.count - spread, all.y + spread, all.out + spread,
                   args->update[b->first].out, r.blocks, false);
}

static void forward_product(mr_backend *be, const mr_site_args *args, const bundle *b,
                            const mr_tensor *y, mr_tensor x)
{
    mr_tensor u = mr_tensor_cols(args->saved, b->saved, b->count * b->inner);
    mr_cuda_gemm(be, false, true, 1, x, b->weight, 0, u);
    for (int i = b->first, k = 0; i <= b->last; i++) {
        if (!is_adapted(args, i)) continue;
        mr_cuda_gemm(be, false, true, args->update[i].scale,
                     mr_tensor_cols(u, k++ * b->inner, b->inner), args->update[i].b, 0, y[i]);
        if (i < args->linears - 1) go_beside(be, args);
    }
}

/* y of every adapted linear becomes its update alone, of those behind the first beside what is
 * queued next. */
static void forward_updates(mr_backend *be, const mr_site_args *args, const mr_tensor *y,
                            mr_tensor x)
{
    for (bundle b = {.last = -1}; next_bundle(args, &b);)
        if (args->update[b.first].kind == MR_UPDATE_PRODUCT)
            forward_product(be, args, &b, y, x);
        else
            forward_square(be, args, &b, y, x);
    come_back(be);
}

/* Whether rows are scaled: their numerators are trained apart. */
static bool is_scaled(const mr_site_args *args)
{
    for (int i = 0; i < args->linears; i++)
        if (mr_tensor_exists(args->update[i].ratio)) return true;
    return false;
}

/* Whether what is gated are outputs with scaled rows: then they need not be there themselves. */
static bool gates_scaled(const mr_site_args *args)
{
    return (mr_tensor_exists(args->gated) || mr_tensor_exists(args->d_gated)) &&
           mr_tensor_exists(args->update[0].ratio) && mr_tensor_exists(args->update[1].ratio);
}

/* The parts of saved that keep, behind the compressed inputs, what adapted linears give before
 * their rows are scaled. */
static void find_products(const mr_site_args *args, mr_tensor *product)
{
    int64_t at = args->saved.cols;
    for (int i = args->linears - 1; i >= 0; i--) {
        if (!is_adapted(args, i)) continue;
        at -= args->w[i].rows;
        product[i] = mr_tensor_cols(args->saved, at, args->w[i].rows);
    }
}

/* Whether the products of a site with its weights are those of one batch: of a few rows each is too
 * small to keep a device busy while its weights are read. */
static bool is_batch(const mr_site_args *args, const mr_tensor *y, mr_cuda_batch *batch)
{
    enum { FEW = 128 };
    const mr_tensor *w = args->w;
    if (args->linears < 2 || args->x.rows > FEW) return false;
    *batch = (mr_cuda_batch){.count = args->linears,
                             .step_b = w[1].offset - w[0].offset,
                             .step_c = y[1].offset - y[0].offset};
    for (int i = 1; i < args->linears; i++)
        if (!mr_tensor_alike(w[i], w[0]) || !mr_tensor_alike(y[i], y[0]) ||
            w[i].buffer != w[0].buffer || y[i].buffer != y[0].buffer ||
            w[i].stride != w[0].stride || y[i].stride != y[0].stride ||
            w[i].offset - w[i - 1].offset != batch->step_b ||
            y[i].offset - y[i - 1].offset != batch->step_c ||
            is_adapted(args, i) != is_adapted(args, 0))
            return false;
    return batch->step_b > 0 && batch->step_c > 0;
}

/* y += x W^T where there are updates in y, else y = x W^T. */
static void forward_weights(mr_backend *be, const mr_site_args *args, const mr_tensor *y)
{
    mr_cuda_batch batch;
    if (is_batch(args, y, &batch)) {
        mr_cuda_side_join(be);
        mr_cuda_gemm_batch(be, false, true, 1, args->x, args->w[0],
                           is_adapted(args, 0) ? 1.0f : 0.0f, y[0], batch);
        return;
    }
    for (int i = 0; i < args->linears; i++) {
        if (i > 0) mr_cuda_side_join(be);
        mr_cuda_gemm(be, false, true, 1, args->x, args->w[i], is_adapted(args, i) ? 1.0f : 0.0f,
                     y[i]);
    }
}

/* y are the outputs, or where both are scaled, what is scaled. */
static void gate(mr_backend *be, const mr_site_args *args, const mr_tensor *y)
{
    mr_phase_begin(be, MR_PHASE_ELEMENTWISE);
    if (gates_scaled(args))
        mr_cuda_scaled_swiglu(be, args->gated, y[0], y[1], args->update[0].ratio,
                              args->update[1].ratio);
    else
        mr_cuda_swiglu_forward(be, args->gated, args->y[0], args->y[1]);
    mr_phase_end(be, MR_PHASE_ELEMENTWISE);
}

bool mr_cuda_site_forward(mr_backend *be, const mr_site_args *args)
{
    const bool scaled = is_scaled(args);
    if (scaled && args->dropout > 0) return false;
    const rooms room = rooms_of(args);
    mr_tensor y[MR_SITE_LINEARS];
    for (int i = 0; i < args->linears; i++)
        y[i] = args->y[i];
    if (scaled) find_products(args, y);
    if (args->gates_again) {
        gate(be, args, y);
        return true;
    }
    mr_phase_begin(be, MR_PHASE_ADAPTER);
    forward_updates(be, args, y, update_input(be, args, &room));
    mr_phase_end(be, MR_PHASE_ADAPTER);
    mr_phase_begin(be, MR_PHASE_LINEAR);
    forward_weights(be, args, y);
    mr_phase_end(be, MR_PHASE_LINEAR);
    if (scaled && !gates_scaled(args)) {
        mr_phase_begin(be, MR_PHASE_ADAPTER);
        for (int i = 0; i < args->linears; i++)
            if (is_adapted(args, i))
                mr_cuda_scale_columns(be, args->y[i], (mr_tensor){0}, y[i], args->update[i].ratio,
                                      0);
        mr_phase_end(be, MR_PHASE_ADAPTER);
    }
    if (mr_tensor_exists(args->gated)) gate(be, args, y);
    return true;
}

/* A gradient of the input that is made beside the base's products, and added behind them. */
typedef struct late_gradient {
    bool exists;
    mr_tensor d_u, a;   /* of products: it is their product */
    square_rooms rooms; /* else: what is spread is in them */
} late_gradient;

/* Whether a bundle's gradient of the input may be late: then the scratch is its until the end. */
static bool can_be_late(const mr_site_args *args, const bundle *b)
{
    bundle next = *b;
    return mr_tensor_exists(args->d_x) && args->dropout <= 0 && has_beside(args) &&
           !next_bundle(args, &next);
}

/* Late, a product with A reads what it adds to; early, what it takes has to be made first. */
static bool is_product_late(const mr_site_args *args, const bundle *b)
{
    int64_t read = 0;
    for (int i = b->first; i <= b->last; i++)
        if (is_adapted(args, i)) read += args->update[i].b.rows;
    return can_be_late(args, b) && read > args->d_x.cols;
}

/* Gradients of the updates of a bundle, and of their input: late, written where `begins`, or
 * added. */
static void backward_product(mr_backend *be, const mr_site_args *args, const bundle *b,
                             const mr_tensor *d_y, mr_tensor x, mr_tensor d_x, bool begins,
                             mr_tensor work, late_gradient *late)
{
    mr_tensor u = mr_tensor_cols(args->saved, b->saved, b->count * b->inner);
    mr_tensor d_u = mr_tensor_carve(work, 0, b->count * b->inner);
    mr_cuda_side_join(be); /* which may read that scratch for the bundle before */
    late->exists = is_product_late(args, b);
    late->d_u = d_u;
    late->a = b->weight;
    if (late->exists) go_beside(be, args);
    for (int i = b->first, k = 0; i <= b->last; i++) {
        if (!is_adapted(args, i)) continue;
        mr_cuda_gemm(be, false, false, args->update[i].scale, d_y[i], args->update[i].b, 0,
                     mr_tensor_cols(d_u, k++ * b->inner, b->inner));
    }
    go_beside(be, args);
    for (int i = b->first, k = 0; i <= b->last; i++) {
        const mr_update *one = &args->update[i];
        if (!is_adapted(args, i)) continue;
        mr_tensor own = mr_tensor_cols(u, k++ * b->inner, b->inner);
        if (mr_tensor_exists(one->d_b))
            mr_cuda_gemm(be, true, false, one->scale, d_y[i], own, 0, one->d_b);
    }
    if (mr_tensor_exists(b->gradient)) mr_cuda_gemm(be, true, false, 1, d_u, x, 0, b->gradient);
    come_back(be);
    if (mr_tensor_exists(d_x) && !late->exists)
        mr_cuda_gemm(be, false, false, 1, d_u, b->weight, begins ? 0.0f : 1.0f, d_x);
}

/* Gradients of one linear's matrix from those of its blocks. */
static void turn_back(mr_backend *be, const square_rooms *r, const mr_update *one, mr_tensor p)
{
    if (is_room(r, p))
        mr_cuda_turn_back(be, one->d_m, p, r->count, one->rotate, one->cosine, one->sine);
}

/* Gradients of a bundle's square matrices, g being those of the products: dM = g^T c, with one
 * block of all linears at once. */
static void square_gradients(mr_backend *be, const mr_site_args *args, const bundle *b,
                             const square_rooms *r, const mr_tensor *g)
{
    const int64_t pitch = r->blocks.pitch;
    if (r->count == 1)
        mr_cuda_gemm(be, true, false, args->update[b->first].scale, r->out, r->in, 0, r->p);
    for (int i = b->first, k = 0; i <= b->last; i++) {
        const mr_update *one = &args->update[i];
        if (!is_adapted(args, i)) continue;
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
static void compressed_gradient(mr_backend *be, const mr_site_args *args, const bundle *b,
                                const square_rooms *r, const mr_tensor *g, float beta,
                                mr_tensor back)
{
    if (r->count == 1) {
        mr_cuda_gemm(be, false, false, args->update[b->first].scale, r->out, r->m, beta, back);
        return;
    }
    for (int i = b->first, k = 0; i <= b->last; i++) {
        if (!is_adapted(args, i)) continue;
        multiply_blocks(be, r, k++, false, args->update[i].scale, g[i], beta, back);
        beta = 1;
    }
}

/* As backward_product. */
static void backward_square(mr_backend *be, const mr_site_args *args, const bundle *b,
                            const mr_tensor *d_y, mr_tensor x, mr_tensor d_x, bool begins,
                            late_gradient *late)
{
    square_rooms *r = &late->rooms;
    mr_tensor g[MR_SITE_LINEARS];
    mr_cuda_side_join(be);
    if (!make_rooms(be, args, b, r)) return;
    const bool wanted = mr_tensor_exists(d_x),
               into = wanted && leaves_columns(r->in_map, r->blocks, d_x);
    late->exists = !into && can_be_late(args, b);
    late->d_u = (mr_tensor){0};
    if (late->exists) go_beside(be, args);
    compress(be, x, r, true);
    const mapped all = find_mapped(args, b, r, d_y);
    mr_cuda_sum(be, all.count, all.out, all.y, args->update[b->first].out, r->blocks);
    for (int i = b->first, k = 0; i <= b->last; i++)
        if (is_adapted(args, i)) g[i] = out_of(r, k++, &args->update[i], d_y[i]);
    if (late->exists) compressed_gradient(be, args, b, r, g, 0, r->back);
    go_beside(be, args);
    if (mr_tensor_exists(b->gradient)) square_gradients(be, args, b, r, g);
    come_back(be);
    if (!wanted || late->exists) return;
    compressed_gradient(be, args, b, r, g, into && !begins ? 1.0f : 0.0f, into ? d_x : r->back);
    if (!into) mr_cuda_spread(be, 1, &d_x, &r->back, r->in_map, r->blocks, !begins);
}

static void add_late(mr_backend *be, const mr_site_args *args, const late_gradient *late)
{
    if (mr_tensor_exists(late->d_u))
        mr_cuda_gemm(be, false, false, 1, late->d_u, late->a, 1, args->d_x);
    else
        mr_cuda_spread(be, 1, &args->d_x, &late->rooms.back, late->rooms.in_map, late->rooms.blocks,
                       true);
}

/* Gradients of rows' numerators; d_y becomes the gradients of the rows before they are scaled, in
 * the place of the products that were kept. */
static void scale_gradients(mr_backend *be, const mr_site_args *args, mr_tensor *d_y)
{
    mr_tensor product[MR_SITE_LINEARS];
    find_products(args, product);
    for (int i = 0; i < args->linears; i++) {
        const mr_update *one = &args->update[i];
        if (!is_adapted(args, i)) continue;
        if (!gates_scaled(args) && mr_tensor_exists(one->d_magnitude))
            mr_cuda_scale_columns_backward(be, product[i], one->d_magnitude, d_y[i], product[i],
                                           one->ratio);
        else if (!gates_scaled(args))
            mr_cuda_scale_columns(be, product[i], (mr_tensor){0}, d_y[i], one->ratio, 0);
        if (mr_tensor_exists(one->d_magnitude))
            mr_cuda_scale_columns(be, one->d_magnitude, (mr_tensor){0}, one->d_magnitude,
                                  one->inverse, 0);
        d_y[i] = product[i];
    }
}

/* The gradients of gated outputs, in their place; of those with scaled rows, in that of the
 * products that were kept, and before they are scaled. */
static void gate_gradients(mr_backend *be, const mr_site_args *args)
{
    mr_tensor product[MR_SITE_LINEARS];
    const mr_update *gate = &args->update[0], *up = &args->update[1];
    mr_phase_begin(be, MR_PHASE_ELEMENTWISE);
    if (gates_scaled(args)) {
        find_products(args, product);
        mr_cuda_scaled_swiglu_backward(be, product[0], product[1], gate->d_magnitude,
                                       up->d_magnitude, args->d_gated, gate->ratio, up->ratio);
    } else {
        mr_cuda_swiglu_backward(be, args->y[0], args->y[1], args->d_gated, args->y[0], args->y[1]);
    }
    mr_phase_end(be, MR_PHASE_ELEMENTWISE);
}

/* @return whether the gradient of the input has begun */
static bool backward_updates(mr_backend *be, const mr_site_args *args, const mr_tensor *d_y,
                             const rooms *room, late_gradient *late)
{
    mr_tensor x = update_input(be, args, room), d_x = args->d_x;
    if (args->dropout > 0 && mr_tensor_exists(d_x)) d_x = room->d_masked;
    bool begins = true;
    for (bundle b = {.last = -1}; next_bundle(args, &b); begins = begins && late->exists)
        if (args->update[b.first].kind == MR_UPDATE_PRODUCT)
            backward_product(be, args, &b, d_y, x, d_x, begins, room->work, late);
        else
            backward_square(be, args, &b, d_y, x, d_x, begins, late);
    if (args->dropout > 0 && !begins && mr_tensor_exists(args->d_x))
        mr_cuda_dropout(be, args->d_x, d_x, 0, args->dropout, args->stream, args->first_row);
    return !begins;
}

bool mr_cuda_site_backward(mr_backend *be, const mr_site_args *args)
{
    const bool scaled = is_scaled(args);
    if (scaled && args->dropout > 0) return false;
    const rooms room = rooms_of(args);
    mr_tensor d_y[MR_SITE_LINEARS];
    late_gradient late = {.exists = false};
    for (int i = 0; i < args->linears; i++)
        d_y[i] = args->y[i];
    if (mr_tensor_exists(args->d_gated)) gate_gradients(be, args);
    mr_phase_begin(be, MR_PHASE_ADAPTER);
    if (scaled) scale_gradients(be, args, d_y);
    const bool begun = backward_updates(be, args, d_y, &room, &late);
    mr_phase_end(be, MR_PHASE_ADAPTER);
    mr_phase_begin(be, MR_PHASE_LINEAR);
    for (int i = 0; i < args->linears; i++) {
        if (mr_tensor_exists(args->d_x))
            mr_cuda_gemm(be, false, false, 1, d_y[i], args->w[i], begun || i > 0 ? 1.0f : 0.0f,
                         args->d_x);
        if (mr_tensor_exists(args->d_w[i]))
            mr_cuda_gemm(be, true, false, 1, d_y[i], args->x, 0, args->d_w[i]);
    }
    mr_cuda_side_join(be);
    mr_phase_end(be, MR_PHASE_LINEAR);
    if (!late.exists) return true;
    mr_phase_begin(be, MR_PHASE_ADAPTER);
    add_late(be, args, &late);
    mr_phase_end(be, MR_PHASE_ADAPTER);
    return true;
}
