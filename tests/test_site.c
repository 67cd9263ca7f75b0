/* A backend that takes a site as one: handed the structure of each method's update, it computes
 * what the method's own operations do. */
#include "ranks.h"
#include "test.h"
#include "tiny.h"

#include <math.h>
#include <stdio.h>

enum { ROOM = 1 << 16, PARTS = 5 };

static const mr_backend_ops *cpu;
static mr_tensor room[PARTS]; /* scratch of the site's operations below, dense */
static int sites;             /* taken as one so far */

static mr_tensor part(int index, int64_t rows, int64_t cols)
{
    MR_INVARIANT(rows * cols <= ROOM);
    return mr_tensor_reshape(mr_tensor_cols(room[index], 0, rows * cols), rows, cols);
}

/* What M is applied to: the compressed input, or the turned blocks as rows. */
static mr_tensor input_of(mr_backend *be, const mr_update *u, mr_tensor x)
{
    int64_t side = u->m.cols;
    if (u->kind == MR_UPDATE_GROUPS) {
        mr_tensor compressed = part(0, x.rows, side);
        cpu->group_sum(be, compressed, x, u->in);
        return compressed;
    }
    mr_tensor turned = part(0, x.rows, u->blocks * side);
    cpu->block_rotate(be, turned, x, side, u->rotate, u->cosine, u->sine);
    return mr_tensor_reshape(turned, x.rows * u->blocks, side);
}

/* y = x (W + update)^T, rows not yet scaled. */
static void unscaled(mr_backend *be, const mr_site_args *args, int i, mr_tensor y)
{
    const mr_update *u = &args->update[i];
    int64_t rows = args->x.rows;
    cpu->gemm(be, false, true, 1, args->x, args->w[i], 0, y);
    if (u->kind == MR_UPDATE_PRODUCT) {
        mr_tensor down = part(0, rows, u->a.rows);
        cpu->gemm(be, false, true, 1, args->x, u->a, 0, down);
        cpu->gemm(be, false, true, u->scale, down, u->b, 1, y);
    } else if (u->kind != MR_UPDATE_NONE) {
        mr_tensor in = input_of(be, u, args->x), out = part(1, in.rows, in.cols);
        cpu->gemm(be, false, true, u->scale, in, u->m, 0, out);
        cpu->group_spread(be, y, mr_tensor_reshape(out, rows, mr_tensor_count(out) / rows), u->out);
    }
}

static bool forward(mr_backend *be, const mr_site_args *args)
{
    sites++;
    for (int i = 0; i < args->linears; i++) {
        unscaled(be, args, i, args->y[i]);
        if (mr_tensor_exists(args->update[i].ratio))
            cpu->scale_columns(be, args->y[i], (mr_tensor){0}, args->y[i], args->update[i].ratio,
                               0);
    }
    if (mr_tensor_exists(args->gated)) cpu->swiglu_forward(be, args->gated, args->y[0], args->y[1]);
    return true;
}

static void backward_square(mr_backend *be, const mr_site_args *args, const mr_update *u,
                            mr_tensor d_y)
{
    int64_t rows = args->x.rows;
    mr_tensor in = input_of(be, u, args->x), back = part(1, in.rows, in.cols);
    mr_tensor wide = mr_tensor_reshape(back, rows, mr_tensor_count(back) / rows);
    cpu->group_sum(be, wide, d_y, u->out);
    if (mr_tensor_exists(u->d_m)) cpu->gemm(be, true, false, 1, back, in, 0, u->d_m);
    if (!mr_tensor_exists(args->d_x)) return;
    cpu->gemm(be, false, false, 1, back, u->m, 0, in);
    if (u->kind == MR_UPDATE_GROUPS)
        cpu->group_spread(be, args->d_x, in, u->in);
    else
        cpu->block_rotate_adjoint(be, args->d_x,
                                  mr_tensor_reshape(in, rows, mr_tensor_count(in) / rows),
                                  u->m.cols, u->rotate, u->cosine, u->sine);
}

static void backward_product(mr_backend *be, const mr_site_args *args, const mr_update *u,
                             mr_tensor d_y)
{
    mr_tensor down = part(0, args->x.rows, u->a.rows), d_down = part(1, args->x.rows, u->a.rows);
    cpu->gemm(be, false, true, 1, args->x, u->a, 0, down);
    cpu->gemm(be, false, false, u->scale, d_y, u->b, 0, d_down);
    if (mr_tensor_exists(u->d_b)) cpu->gemm(be, true, false, u->scale, d_y, down, 0, u->d_b);
    if (mr_tensor_exists(u->d_a)) cpu->gemm(be, true, false, 1, d_down, args->x, 0, u->d_a);
    if (mr_tensor_exists(args->d_x)) cpu->gemm(be, false, false, 1, d_down, u->a, 1, args->d_x);
}

static bool backward(mr_backend *be, const mr_site_args *args)
{
    sites++;
    if (mr_tensor_exists(args->d_x)) cpu->fill(be, args->d_x, 0);
    if (mr_tensor_exists(args->d_gated))
        cpu->swiglu_backward(be, args->y[0], args->y[1], args->d_gated, args->y[0], args->y[1]);
    for (int i = 0; i < args->linears; i++) {
        const mr_update *u = &args->update[i];
        mr_tensor d_y = args->y[i];
        if (mr_tensor_exists(u->ratio)) {
            mr_tensor product = part(3, d_y.rows, d_y.cols), scaled = part(4, d_y.rows, d_y.cols);
            unscaled(be, args, i, product);
            cpu->scale_columns_backward(be, scaled, u->d_magnitude, d_y, product, u->ratio);
            cpu->scale_columns(be, u->d_magnitude, (mr_tensor){0}, u->d_magnitude, u->inverse, 0);
            d_y = scaled;
        }
        if (mr_tensor_exists(args->d_x))
            cpu->gemm(be, false, false, 1, d_y, args->w[i], 1, args->d_x);
        if (mr_tensor_exists(args->d_w[i]))
            cpu->gemm(be, true, false, 1, d_y, args->x, 0, args->d_w[i]);
        if (u->kind == MR_UPDATE_PRODUCT)
            backward_product(be, args, u, d_y);
        else if (u->kind != MR_UPDATE_NONE)
            backward_square(be, args, u, d_y);
    }
    return true;
}

/* Fails unless two arrays are alike but for rounding: sums of a gradient in other orders are, by
 * kernels for AVX2, up to 2.6e-6 apart. */
static void assert_close(const char *method, const char *what, const float *got, const float *want,
                         int64_t count)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        norm += (double)want[i] * (double)want[i];
    }
    if (!(sqrt(difference) <= 4e-6 * sqrt(norm)))
        fail_msg("%s: %s: relative difference %.3g", method, what, sqrt(difference / norm));
}

static void compare(const tiny_options *options, const char *name)
{
    tiny composed = tiny_create(options), fused = tiny_create(options);
    mr_backend_ops ops = *fused.be->ops;
    cpu = fused.be->ops;
    for (int i = 0; i < PARTS; i++)
        must(mr_backend_tensor(fused.be, MR_MEM_OTHER, MR_F32, 1, ROOM, &room[i]));
    ops.site_forward = forward;
    ops.site_backward = backward;
    fused.be->ops = &ops;
    sites = 0;
    tiny_stir(&composed, 5);
    tiny_stir(&fused, 5);
    tiny_evaluate(&composed);
    tiny_evaluate(&fused);
    assert_close(name, "logits", fused.logits, composed.logits, fused.logit_count);
    tiny_train(&composed);
    tiny_train(&fused);
    assert_true(sites > 0);
    mr_params *params = mr_model_params(fused.model);
    for (int id = 0; id < mr_params_length(params); id++) {
        if (!mr_params_at(params, id)->trained) continue;
        float *got = tiny_gradient(&fused, id), *want = tiny_gradient(&composed, id);
        assert_close(name, mr_params_at(params, id)->name, got, want, tiny_count(&fused, id));
        mr_free(got);
        mr_free(want);
    }
    for (int i = 0; i < PARTS; i++)
        mr_backend_free(fused.be, &room[i]);
    fused.be->ops = cpu;
    tiny_destroy(&fused);
    tiny_destroy(&composed);
}

static void every_method_tells_its_structure(void **state)
{
    (void)state;
    static const char *const methods[] = {"fft",  "lora",   "lora_plus", "asylora",
                                          "dora", "relora", "remora"};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        tiny_options options = tiny_defaults(&world, methods[i]);
        options.freeze_a = i == 3;
        compare(&options, methods[i]);
    }
}

static void every_operator_tells_its_structure(void **state)
{
    (void)state;
    for (int operator= MR_MORA_TRUNCATION; operator<= MR_MORA_ROTATION; operator++) {
        char name[32];
        tiny_options options = tiny_defaults(&world, "mora");
        options.operator=(mr_mora_operator) operator;
        snprintf(name, sizeof name, "operator %d", operator);
        compare(&options, name);
    }
}

static void linears_without_an_adapter_are_taken_too(void **state)
{
    (void)state;
    tiny_options options = tiny_defaults(&world, "lora");
    options.targets = (mr_string_list){.count = 2, .item = {"v_proj", "up_proj"}};
    compare(&options, "lora on two linears");
}

static bool computes_without_eight(mr_backend *be, mr_dtype dtype)
{
    (void)be;
    return dtype == MR_F32;
}

static void a_backend_without_products_of_8_bits_is_named(void **state)
{
    (void)state;
    const tiny_options options = tiny_defaults(&world, "lora");
    tiny t;
    mr_model *model = NULL;
    must(tiny_lay_out(&options, &t));
    mr_backend_ops ops = *t.be->ops;
    mr_backend be = *t.be;
    ops.computes = computes_without_eight;
    be.ops = &ops;
    const mr_status status = mr_model_create(
        &(mr_model_options){
            .comm = t.comm,
            .be = &be,
            .arch = &t.arch,
            .method = mr_adapter_find("lora"),
            .adapter = mr_adapter_config_of(t.config),
            .fp8 = true,
            .geometry = {.batch = 1, .tokens = 2, .micros = 1, .in_wave = 1, .stretches = 1}},
        &model);
    assert_int_equal(status, MR_ERR_CONFIG);
    assert_null(model);
    assert_contains(mr_message(), "model.matmul: fp8 needs a device of compute capability 9.0 and "
                                  "cuBLASLt 12.9 or later, and backend '");
    tiny_destroy(&t);
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_tells_its_structure),
        cmocka_unit_test(every_operator_tells_its_structure),
        cmocka_unit_test(linears_without_an_adapter_are_taken_too),
        cmocka_unit_test(a_backend_without_products_of_8_bits_is_named),
    };
    return ranks_end(cmocka_run_group_tests_name("site", tests, NULL, NULL));
}
