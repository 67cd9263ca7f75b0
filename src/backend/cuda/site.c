/* A site as one: the adapters write first, so that what they make is not read again, and the base's
 * products add to it, which costs a large product next to nothing. What is bound by memory and need
 * not be there yet is made on a second stream beside the base's products: gradients of LoRA's
 * factors, and of square updates all but that of the first linear, and what they do backward but
 * the last sum, with the gradient of the input. */

#include "backend/cuda/site_impl.h"

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

static void forward_product(mr_backend *be, const mr_site_args *args, const mr_cuda_bundle *b,
                            const mr_tensor *y, mr_tensor x)
{
    mr_tensor u = mr_tensor_cols(args->saved, b->saved, b->count * b->inner);
    mr_cuda_gemm(be, false, true, 1, x, b->weight, 0, u);
    for (int i = b->first, k = 0; i <= b->last; i++) {
        if (!mr_cuda_is_adapted(args, i)) continue;
        mr_cuda_gemm(be, false, true, args->update[i].scale,
                     mr_tensor_cols(u, k++ * b->inner, b->inner), args->update[i].b, 0, y[i]);
    }
}

/* y of every adapted linear becomes its update alone; of square ones, those behind the first do so
 * beside what is queued next. */
static void forward_updates(mr_backend *be, const mr_site_args *args, const mr_tensor *y,
                            mr_tensor x)
{
    for (mr_cuda_bundle b = {.last = -1}; mr_cuda_next_bundle(args, &b);)
        if (args->update[b.first].kind == MR_UPDATE_PRODUCT)
            forward_product(be, args, &b, y, x);
        else
            mr_cuda_squares_forward(be, args, &b, y, x);
    mr_cuda_come_back(be);
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
        if (!mr_cuda_is_adapted(args, i)) continue;
        at -= args->w[i].rows;
        product[i] = mr_tensor_cols(args->saved, at, args->w[i].rows);
    }
}

static bool is_eight(const mr_site_args *args, int i)
{
    return mr_tensor_exists(args->w8[i].values);
}

/* Whether the products of a site with its weights are those of one batch: of a few rows each is too
 * small to keep a device busy while its weights are read. */
static bool is_batch(const mr_site_args *args, const mr_tensor *y, mr_cuda_batch *batch)
{
    enum { FEW = 128 };
    const mr_tensor *w = args->w;
    if (args->linears < 2 || args->x.rows > FEW) return false;
    for (int i = 0; i < args->linears; i++)
        if (is_eight(args, i)) return false;
    *batch = (mr_cuda_batch){.count = args->linears,
                             .step_b = w[1].offset - w[0].offset,
                             .step_c = y[1].offset - y[0].offset};
    for (int i = 1; i < args->linears; i++)
        if (!mr_tensor_alike(w[i], w[0]) || !mr_tensor_alike(y[i], y[0]) ||
            w[i].buffer != w[0].buffer || y[i].buffer != y[0].buffer ||
            w[i].stride != w[0].stride || y[i].stride != y[0].stride ||
            w[i].offset - w[i - 1].offset != batch->step_b ||
            y[i].offset - y[i - 1].offset != batch->step_c ||
            mr_cuda_is_adapted(args, i) != mr_cuda_is_adapted(args, 0))
            return false;
    return batch->step_b > 0 && batch->step_c > 0;
}

/* y += x W^T where there are updates in y, else y = x W^T. */
static void forward_weights(mr_backend *be, const mr_site_args *args, const mr_tensor *y)
{
    mr_cuda_batch batch;
    mr_scaled x = {{0}, {0}}; /* once, for all that take it; its room is the first stream's alone */
    if (is_batch(args, y, &batch)) {
        mr_cuda_side_join(be);
        mr_cuda_gemm_batch(be, false, true, 1, args->x, args->w[0],
                           mr_cuda_is_adapted(args, 0) ? 1.0f : 0.0f, y[0], batch);
        return;
    }
    for (int i = 0; i < args->linears; i++) {
        const float beta = mr_cuda_is_adapted(args, i) ? 1.0f : 0.0f;
        const bool eight = is_eight(args, i);
        if (eight && !mr_tensor_exists(x.values)) x = mr_backend_quantize(be, args->cast, args->x);
        if (i > 0) mr_cuda_side_join(be);
        if (eight)
            mr_cuda_gemm_scaled(be, x, args->w8[i], beta, y[i]);
        else
            mr_cuda_gemm(be, false, true, 1, args->x, args->w[i], beta, y[i]);
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
            if (mr_cuda_is_adapted(args, i))
                mr_cuda_scale_columns(be, args->y[i], (mr_tensor){0}, y[i], args->update[i].ratio,
                                      0);
        mr_phase_end(be, MR_PHASE_ADAPTER);
    }
    if (mr_tensor_exists(args->gated)) gate(be, args, y);
    return true;
}

/* Gradients of the updates of a bundle, and of their input: written where `begins`, else added. */
static void backward_product(mr_backend *be, const mr_site_args *args, const mr_cuda_bundle *b,
                             const mr_tensor *d_y, mr_tensor x, mr_tensor d_x, bool begins,
                             mr_tensor work)
{
    mr_tensor u = mr_tensor_cols(args->saved, b->saved, b->count * b->inner);
    mr_tensor d_u = mr_tensor_carve(work, 0, b->count * b->inner);
    mr_cuda_side_join(be); /* which may read that scratch for the bundle before */
    for (int i = b->first, k = 0; i <= b->last; i++) {
        if (!mr_cuda_is_adapted(args, i)) continue;
        mr_cuda_gemm(be, false, false, args->update[i].scale, d_y[i], args->update[i].b, 0,
                     mr_tensor_cols(d_u, k++ * b->inner, b->inner));
    }
    if (mr_tensor_exists(d_x))
        mr_cuda_gemm(be, false, false, 1, d_u, b->weight, begins ? 0.0f : 1.0f, d_x);
    mr_cuda_go_beside(be, args);
    for (int i = b->first, k = 0; i <= b->last; i++) {
        const mr_update *one = &args->update[i];
        if (!mr_cuda_is_adapted(args, i)) continue;
        mr_tensor own = mr_tensor_cols(u, k++ * b->inner, b->inner);
        if (mr_tensor_exists(one->d_b))
            mr_cuda_gemm(be, true, false, one->scale, d_y[i], own, 0, one->d_b);
    }
    if (mr_tensor_exists(b->gradient)) mr_cuda_gemm(be, true, false, 1, d_u, x, 0, b->gradient);
    mr_cuda_come_back(be);
}

/* Gradients of rows' numerators; d_y becomes the gradients of the rows before they are scaled, in
 * the place of the products that were kept. */
static void scale_gradients(mr_backend *be, const mr_site_args *args, mr_tensor *d_y)
{
    mr_tensor product[MR_SITE_LINEARS];
    find_products(args, product);
    for (int i = 0; i < args->linears; i++) {
        const mr_update *one = &args->update[i];
        if (!mr_cuda_is_adapted(args, i)) continue;
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
                             const rooms *room, mr_cuda_squares *square)
{
    mr_tensor x = update_input(be, args, room), d_x = args->d_x;
    if (args->dropout > 0 && mr_tensor_exists(d_x)) d_x = room->d_masked;
    bool begins = true;
    for (mr_cuda_bundle b = {.last = -1}; mr_cuda_next_bundle(args, &b);
         begins = begins && square->late)
        if (args->update[b.first].kind == MR_UPDATE_PRODUCT)
            backward_product(be, args, &b, d_y, x, d_x, begins, room->work);
        else
            mr_cuda_squares_backward(be, args, &b, d_y, x, d_x, begins, square);
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
    mr_cuda_squares square = {.late = false};
    for (int i = 0; i < args->linears; i++)
        d_y[i] = args->y[i];
    if (mr_tensor_exists(args->d_gated)) gate_gradients(be, args);
    mr_phase_begin(be, MR_PHASE_ADAPTER);
    if (scaled) scale_gradients(be, args, d_y);
    const bool begun = backward_updates(be, args, d_y, &room, &square);
    mr_phase_end(be, MR_PHASE_ADAPTER);
    mr_phase_begin(be, MR_PHASE_LINEAR);
    for (int i = 0; i < args->linears; i++) {
        const float beta = begun || i > 0 ? 1.0f : 0.0f;
        if (mr_tensor_exists(args->d_x) && is_eight(args, i))
            mr_cuda_gemm_scaled(be, mr_backend_quantize(be, args->cast, d_y[i]), args->w8[i], beta,
                                args->d_x);
        else if (mr_tensor_exists(args->d_x))
            mr_cuda_gemm(be, false, false, 1, d_y[i], args->w[i], beta, args->d_x);
        if (mr_tensor_exists(args->d_w[i]))
            mr_cuda_gemm(be, true, false, 1, d_y[i], args->x, 0, args->d_w[i]);
    }
    mr_cuda_side_join(be);
    mr_phase_end(be, MR_PHASE_LINEAR);
    mr_phase_begin(be, MR_PHASE_ADAPTER);
    mr_cuda_squares_end(be, args, &square);
    mr_phase_end(be, MR_PHASE_ADAPTER);
    return true;
}
