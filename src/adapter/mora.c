/* MoRA: delta(x) = D(M C(x)), M [R, R] the only parameter, C and D without parameters.
 *
 * Source: Jiang et al. 2024 (arXiv 2405.12130) Eq. 2-11; index maps and r_hat as in the published
 * code. Deviation: none; truncation and decoupling, absent there, follow Eq. 4-5 and Eq. 8.
 *
 * Two families. Sharing (and truncation) sums the inputs of each group and hands each output its
 * group's value: one [R] x [R, R] product a token. Rotation (and decoupling) cuts the input into
 * blocks of R and applies M to each, block b turned by angles of position b.
 * Linears of one site with equal R share the compressed input, and their matrices, which lie one
 * after another, act as one [k R, R] matrix: a *bundle*. */

#include "adapter/mora.h"

#include <math.h>
#include <stdio.h>

/** Below this r the published advice is rotation, from it on sharing (the paper: 8 and 128, 256).
 */
enum { SHARING_FROM_R = 64 };

typedef struct mora_bundle {
    int first, count; /* linears */
    int64_t r_hat;
    int64_t blocks;       /* rotation: blocks whose products reach an output */
    int64_t saved, width; /* first column in saved, columns of one linear's products */
    mr_tensor cosine, sine;
} mora_bundle;

const char *const mr_mora_operators[] = {[MR_MORA_AUTO] = "auto",
                                         [MR_MORA_TRUNCATION] = "truncation",
                                         [MR_MORA_SHARING] = "sharing",
                                         [MR_MORA_SHARING_2] = "sharing_2",
                                         [MR_MORA_SHARING_3] = "sharing_3",
                                         [MR_MORA_SHARING_4] = "sharing_4",
                                         [MR_MORA_DECOUPLING] = "decoupling",
                                         [MR_MORA_ROTATION] = "rotation",
                                         NULL};

/* Their numbers in the published code, where it has them. */
static const int64_t published_types[] = {
    [MR_MORA_SHARING] = 1,   [MR_MORA_SHARING_2] = 2, [MR_MORA_SHARING_3] = 3,
    [MR_MORA_SHARING_4] = 4, [MR_MORA_ROTATION] = 6,
};

mr_mora_operator mr_mora_of_type(int64_t mora_type)
{
    for (int i = 0; mora_type > 0 && i <= MR_MORA_ROTATION; i++)
        if (published_types[i] == mora_type) return (mr_mora_operator)i;
    return MR_MORA_AUTO;
}

static const mr_key keys[] = {MR_ADAPTER_KEYS, MR_MORA_OPERATOR_KEY};

static const mr_schema schema = MR_SCHEMA(mr_mora_config, keys);

typedef struct mora_state {
    mr_mora_cycle cycle;
    mr_mora_operator operator; /* of the cycle */
    int bundles;
    mora_bundle bundle[MR_SITE_LINEARS];
} mora_state;

static mr_mora_operator operator_of(const mr_adapter *a)
{
    return ((const mora_state *)a->state)->operator;
}

int64_t mr_mora_published_type(const mr_adapter *a)
{
    return published_types[operator_of(a)];
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static bool in_blocks(const mr_adapter *a)
{
    return operator_of(a) == MR_MORA_ROTATION || operator_of(a) == MR_MORA_DECOUPLING;
}

/* r_hat as the published code rounds it; pairs need an even side. */
static int64_t side(const mr_adapter *a, int linear)
{
    int64_t r_hat = (int64_t)(sqrt((double)((a->in + a->out[linear]) * a->r)) + 0.5);
    return operator_of(a) == MR_MORA_ROTATION ? r_hat - (r_hat & 1) : r_hat;
}

static mr_group_map input_map(const mr_adapter *a, const mora_bundle *b)
{
    int64_t r_hat = b->r_hat;
    switch (operator_of(a)) {
    case MR_MORA_TRUNCATION:
        return (mr_group_map){.groups = r_hat, .length = r_hat < a->in ? r_hat : a->in};
    case MR_MORA_SHARING_2:
    case MR_MORA_SHARING_3:
        return (mr_group_map){.contiguous = true, .groups = r_hat, .length = a->in};
    default: /* padded with the first inputs to whole groups */
        return (mr_group_map){.groups = r_hat, .length = ceil_div(a->in, r_hat) * r_hat};
    }
}

static mr_group_map output_map(const mr_adapter *a, const mora_bundle *b, int linear)
{
    int64_t r_hat = b->r_hat, out = a->out[linear];
    switch (operator_of(a)) {
    case MR_MORA_TRUNCATION:
        return (mr_group_map){.groups = r_hat, .length = r_hat < out ? r_hat : out};
    case MR_MORA_SHARING_2:
    case MR_MORA_SHARING_4:
        return (mr_group_map){.contiguous = true, .groups = r_hat, .length = out};
    default: /* the products of sharing, or the concatenated blocks, tiled over the outputs */
        return (mr_group_map){.groups = b->width, .length = out};
    }
}

static mr_status create_angles(mr_adapter *a, mora_bundle *b)
{
    int64_t half = b->r_hat / 2;
    float *cosine = mr_alloc_array(MR_MEM_OTHER, (size_t)(b->blocks * half), sizeof *cosine);
    float *sine = mr_alloc_array(MR_MEM_OTHER, (size_t)(b->blocks * half), sizeof *sine);
    mr_status status = cosine && sine ? MR_OK : MR_ERR_MEMORY;
    for (int64_t i = 0; status == MR_OK && i < b->blocks; i++)
        for (int64_t c = 0; c < half; c++) {
            double angle = (double)i * pow(10000.0, -2.0 * (double)c / (double)b->r_hat);
            cosine[i * half + c] = (float)cos(angle);
            sine[i * half + c] = (float)sin(angle);
        }
    if (status == MR_OK)
        status = mr_backend_tensor(a->be, MR_MEM_ACTIVATIONS, MR_F32, b->blocks, half, &b->cosine);
    if (status == MR_OK)
        status = mr_backend_tensor(a->be, MR_MEM_ACTIVATIONS, MR_F32, b->blocks, half, &b->sine);
    if (status == MR_OK) {
        a->be->ops->upload(a->be, b->cosine, cosine);
        a->be->ops->upload(a->be, b->sine, sine);
    }
    mr_free(cosine);
    mr_free(sine);
    return status;
}

/* Blocks that reach an output: those at or past `out` are computed and dropped by the published
 * code, so leaving them out changes no number. */
static int64_t reaching_blocks(const mr_adapter *a, int linear)
{
    int64_t r_hat = side(a, linear);
    int64_t all = ceil_div(a->in, r_hat), reach = ceil_div(a->out[linear], r_hat);
    return all < reach ? all : reach;
}

mr_status mr_mora_setup(mr_adapter *a, mr_mora_cycle cycle, const char *const *names)
{
    mora_state *state = mr_alloc(MR_MEM_OTHER, sizeof *state);
    if (!state) return MR_ERR_MEMORY;
    a->state = state;
    state->cycle = cycle;
    state->operator= cycle.operator[0];
    a->params = 1;
    for (int i = 0; i < a->linears; i++) {
        int64_t r_hat = side(a, i);
        MR_CHECK(r_hat >= 1, MR_ERR_ARG, "method.r: r_hat is 0 for %s [%lld, %lld]", names[i],
                 (long long)a->out[i], (long long)a->in);
        a->param[i][0] = (mr_adapter_param){
            .suffix = "mora_M", .rows = r_hat, .cols = r_hat, .init = MR_INIT_ZERO};
        mora_bundle *last = state->bundles > 0 ? &state->bundle[state->bundles - 1] : NULL;
        if (last && last->r_hat == r_hat &&
            (!in_blocks(a) || last->blocks == reaching_blocks(a, i))) {
            last->count++;
            continue;
        }
        state->bundle[state->bundles++] =
            (mora_bundle){.first = i, .count = 1, .r_hat = r_hat, .blocks = reaching_blocks(a, i)};
    }
    for (int i = 0; i < state->bundles; i++) {
        mora_bundle *b = &state->bundle[i];
        b->width = in_blocks(a) ? b->blocks * b->r_hat : b->r_hat;
        a->macs += b->count * b->width * b->r_hat;
        int64_t work;
        if (in_blocks(a)) {
            work = 2 * b->width; /* turned blocks and one linear's products; both recomputed */
            if (b->blocks > a->product_rows) a->product_rows = b->blocks;
        } else {
            b->saved = a->saved_cols;
            a->saved_cols += mr_even_cols(b->r_hat, a->compute);
            work = (b->count + 1) * b->r_hat;
        }
        if (work > a->work_cols) a->work_cols = work;
        if (operator_of(a) == MR_MORA_ROTATION)
            a->table_bytes += (size_t)(b->blocks * (b->r_hat / 2)) * 2 * sizeof(float);
    }
    return MR_OK;
}

mr_status mr_mora_allocate(mr_adapter *a)
{
    mora_state *state = a->state;
    for (int i = 0; a->table_bytes > 0 && i < state->bundles; i++)
        MR_TRY(create_angles(a, &state->bundle[i]));
    return MR_OK;
}

void mr_mora_set_restart(mr_adapter *a, int64_t restart)
{
    mora_state *state = a->state;
    state->operator= state->cycle.operator[restart % state->cycle.length];
}

void mr_mora_teardown(mr_adapter *a)
{
    mora_state *state = a->state;
    if (!state) return;
    for (int i = 0; i < state->bundles; i++) {
        mr_backend_free(a->be, &state->bundle[i].cosine);
        mr_backend_free(a->be, &state->bundle[i].sine);
    }
    mr_free(state);
    a->state = NULL;
}

static void forward_groups(const mr_adapter *a, const mora_bundle *b, const mr_adapter_call *call)
{
    mr_backend *be = call->be;
    mr_tensor compressed = mr_tensor_cols(call->saved, b->saved, b->r_hat);
    mr_tensor products = mr_tensor_cols(call->work, 0, b->count * b->r_hat);
    be->ops->group_sum(be, compressed, call->x, input_map(a, b));
    be->ops->gemm(be, false, true, 1, compressed,
                  mr_adapter_stacked(call->weight, 0, b->first, b->count), 0, products);
    for (int i = 0; i < b->count; i++)
        be->ops->group_spread(be, call->y[b->first + i],
                              mr_tensor_cols(products, i * b->r_hat, b->r_hat),
                              output_map(a, b, b->first + i));
}

static void backward_groups(const mr_adapter *a, const mora_bundle *b, const mr_adapter_call *call)
{
    mr_backend *be = call->be;
    mr_tensor compressed = mr_tensor_cols(call->saved, b->saved, b->r_hat);
    mr_tensor products = mr_tensor_cols(call->work, 0, b->count * b->r_hat);
    for (int i = 0; i < b->count; i++)
        be->ops->group_sum(be, mr_tensor_cols(products, i * b->r_hat, b->r_hat),
                           call->y[b->first + i], output_map(a, b, b->first + i));
    /* With c = C(x), g = D^T dy: dM = g^T c, dx += C^T (g M). */
    if (mr_tensor_exists(call->grad[b->first][0]))
        be->ops->gemm(be, true, false, 1, products, compressed, 0,
                      mr_adapter_stacked(call->grad, 0, b->first, b->count));
    if (!mr_tensor_exists(call->d_x)) return;
    mr_tensor back = mr_tensor_cols(call->work, b->count * b->r_hat, b->r_hat);
    be->ops->gemm(be, false, false, 1, products,
                  mr_adapter_stacked(call->weight, 0, b->first, b->count), 0, back);
    be->ops->group_spread(be, call->d_x, back, input_map(a, b));
}

/* The turned blocks of x as [N * blocks, R] rows. */
static mr_tensor turned_blocks(const mr_adapter *a, const mora_bundle *b,
                               const mr_adapter_call *call)
{
    mr_tensor turned = mr_tensor_carve(call->work, 0, b->width);
    call->be->ops->block_rotate(call->be, turned, call->x, b->r_hat,
                                operator_of(a) == MR_MORA_ROTATION, b->cosine, b->sine);
    return mr_tensor_reshape(turned, call->x.rows * b->blocks, b->r_hat);
}

static void forward_blocks(const mr_adapter *a, const mora_bundle *b, const mr_adapter_call *call)
{
    mr_backend *be = call->be;
    mr_tensor turned = turned_blocks(a, b, call);
    mr_tensor flat = mr_tensor_carve(call->work, b->width, b->width);
    mr_tensor products = mr_tensor_reshape(flat, turned.rows, b->r_hat);
    for (int i = b->first; i < b->first + b->count; i++) {
        be->ops->gemm(be, false, true, 1, turned, call->weight[i][0], 0, products);
        be->ops->group_spread(be, call->y[i], flat, output_map(a, b, i));
    }
}

static void backward_blocks(const mr_adapter *a, const mora_bundle *b, const mr_adapter_call *call)
{
    mr_backend *be = call->be;
    mr_tensor turned = turned_blocks(a, b, call);
    mr_tensor flat = mr_tensor_carve(call->work, b->width, b->width);
    mr_tensor products = mr_tensor_reshape(flat, turned.rows, b->r_hat);
    for (int i = b->first; i < b->first + b->count; i++) {
        be->ops->group_sum(be, flat, call->y[i], output_map(a, b, i));
        if (mr_tensor_exists(call->grad[i][0]))
            be->ops->gemm(be, true, false, 1, products, turned, 0, call->grad[i][0]);
    }
    if (!mr_tensor_exists(call->d_x)) return;
    /* The turned blocks are done with: their place takes the sum of g M over the linears. */
    for (int i = b->first; i < b->first + b->count; i++) {
        if (b->count > 1) be->ops->group_sum(be, flat, call->y[i], output_map(a, b, i));
        be->ops->gemm(be, false, false, 1, products, call->weight[i][0],
                      i == b->first ? 0.0f : 1.0f, turned);
    }
    be->ops->block_rotate_adjoint(be, call->d_x, mr_tensor_carve(call->work, 0, b->width), b->r_hat,
                                  operator_of(a) == MR_MORA_ROTATION, b->cosine, b->sine);
}

void mr_mora_forward(const mr_adapter *a, const mr_adapter_call *call)
{
    const mora_state *state = a->state;
    for (int i = 0; i < state->bundles; i++)
        (in_blocks(a) ? forward_blocks : forward_groups)(a, &state->bundle[i], call);
}

void mr_mora_backward(const mr_adapter *a, const mr_adapter_call *call)
{
    const mora_state *state = a->state;
    for (int i = 0; i < state->bundles; i++)
        (in_blocks(a) ? backward_blocks : backward_groups)(a, &state->bundle[i], call);
}

static const mora_bundle *bundle_of(const mr_adapter *a, int linear)
{
    const mora_state *state = a->state;
    int i = 0;
    while (linear >= state->bundle[i].first + state->bundle[i].count)
        i++;
    return &state->bundle[i];
}

void mr_mora_update(const mr_adapter *a, const mr_adapter_call *call, int linear, mr_update *out)
{
    const mora_bundle *b = bundle_of(a, linear);
    *out = (mr_update){.kind = in_blocks(a) ? MR_UPDATE_BLOCKS : MR_UPDATE_GROUPS,
                       .scale = 1,
                       .m = call->weight[linear][0],
                       .d_m = call->grad[linear][0],
                       .out = output_map(a, b, linear)};
    if (!in_blocks(a)) {
        out->in = input_map(a, b);
        if (mr_tensor_exists(call->saved))
            out->compressed =
                mr_tensor_cols(call->saved, b->saved, mr_even_cols(b->r_hat, a->compute));
        return;
    }
    out->blocks = b->blocks;
    out->rotate = operator_of(a) == MR_MORA_ROTATION;
    out->cosine = b->cosine;
    out->sine = b->sine;
}

void mr_mora_merge_rows(const mr_adapter *a, const mr_adapter_call *call, int linear, int64_t first,
                        mr_tensor rows)
{
    mr_backend *be = call->be;
    const mora_bundle *b = bundle_of(a, linear);
    /* A row of the update is what the transposed operator makes of one output: the row of M that
     * the output is made by, in its block, spread over the inputs. */
    mr_tensor spread = mr_tensor_carve(call->work, 0, b->width);
    be->ops->group_rows(be, spread, call->weight[linear][0], output_map(a, b, linear), first);
    if (in_blocks(a))
        be->ops->block_rotate_adjoint(be, rows, spread, b->r_hat,
                                      operator_of(a) == MR_MORA_ROTATION, b->cosine, b->sine);
    else
        be->ops->group_spread(be, rows, spread, input_map(a, b));
}

void mr_mora_describe(const mr_adapter *a, int linear, char *text, size_t room)
{
    snprintf(text, room, "%s, r_hat %lld", mr_mora_operators[operator_of(a)],
             (long long)side(a, linear));
}

static mr_status setup(mr_adapter *a, const mr_adapter_config *config, const char *const *names)
{
    const mr_mora_config *own = (const void *)config;
    mr_mora_operator operator=(mr_mora_operator) own->operator;
    if (operator== MR_MORA_AUTO) operator= a->r<SHARING_FROM_R ? MR_MORA_ROTATION : MR_MORA_SHARING;
    return mr_mora_setup(a, (mr_mora_cycle){1, {operator}}, names);
}

const mr_adapter_method mr_method_mora = {
    .name = "mora",
    .summary = "square matrix between compression and decompression (Jiang et al. 2024)",
    .schema = &schema,
    .setup = setup,
    .allocate = mr_mora_allocate,
    .teardown = mr_mora_teardown,
    .forward = mr_mora_forward,
    .backward = mr_mora_backward,
    .update = mr_mora_update,
    .merge_rows = mr_mora_merge_rows,
    .describe = mr_mora_describe,
    .published_type = mr_mora_published_type,
};
