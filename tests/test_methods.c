/** @file
 * The methods at one site, against the same formulas in double: outputs, gradients, merged rows. */

#include "adapter/mora.h"
#include "reference.h"
#include "settings.h"

#include <inttypes.h>
#include <math.h>

enum { LINEARS = 2, A = 0, B = 1, MAGNITUDE = 2 };

static const char *const names[LINEARS] = {"model.layers.0.mlp.gate_proj",
                                           "model.layers.0.mlp.up_proj"};

/** A site with its weights, on the backend and in double. Everything is the lab's. */
typedef struct site {
    mr_lab *lab;
    mr_adapter *a;
    int64_t n, in, out[LINEARS];
    double *x, *mask; /* [N, I]; mask holds 0 or 1 / (1 - p) */
    double *base[LINEARS], *value[LINEARS][MR_ADAPTER_PARAMS], *cotangent[LINEARS];
    double *inverse[LINEARS]; /* 1 / n of DoRA, else NULL: constant in every gradient */
    double *y[LINEARS];
    mr_adapter_call call; /* of the forward pass */
} site;

static mr_config *configuration(const char *method, int64_t r, double dropout)
{
    static mr_config config;
    settings_of_method(&config, method);
    mr_adapter_config *adapter = settings_adapter(&config);
    adapter->r = r;
    adapter->lora_alpha = 1.5 * (double)r;
    adapter->lora_dropout = dropout;
    return &config;
}

static mr_status create(mr_lab *lab, const mr_config *config, int64_t in, const int64_t *out,
                        mr_adapter **a)
{
    return mr_adapter_create(lab->be, lab->dtype, mr_adapter_find(config->method.name),
                             mr_adapter_config_of(config), LINEARS, in, out, names, a);
}

static double scale_of(const site *s)
{
    return s->a->lora_alpha / (double)s->a->r;
}

/* The k-th tensors of all linears one after another, as the model lays them out. */
static void place_params(site *s, int k, mr_tensor place[][MR_ADAPTER_PARAMS], bool poison)
{
    int64_t count = 0, at = 0;
    for (int i = 0; i < LINEARS; i++)
        count += s->a->param[i][k].rows * s->a->param[i][k].cols;
    double *all = mr_lab_normals(s->lab, count);
    mr_tensor memory = poison ? mr_lab_poison(s->lab, MR_F32, 1, count, 0)
                              : mr_lab_upload(s->lab, all, 1, count, 0);
    for (int i = 0; i < LINEARS; i++) {
        int64_t rows = s->a->param[i][k].rows, cols = s->a->param[i][k].cols;
        place[i][k] = mr_tensor_reshape(mr_tensor_cols(memory, at, rows * cols), rows, cols);
        if (!poison) s->value[i][k] = all + at;
        at += rows * cols;
    }
}

/* The site of a configuration with random weights, all of them other than at the start. */
static site make_site(mr_lab *lab, const mr_config *config, int64_t n, int64_t in, int64_t out1,
                      int64_t out2)
{
    site s = {.lab = lab, .n = n, .in = in, .out = {out1, out2}};
    mr_status status = create(lab, config, in, s.out, &s.a);
    if (status == MR_OK) status = mr_adapter_allocate(s.a);
    if (status != MR_OK || !s.a) mr_abort("%s", mr_message());
    s.call.be = lab->be;
    s.x = mr_lab_normals(lab, n * in);
    s.call.x = mr_lab_upload(lab, s.x, n, in, 0);
    for (int k = 0; k < s.a->params; k++)
        place_params(&s, k, s.call.weight, false);
    for (int i = 0; i < LINEARS; i++) {
        s.base[i] = mr_lab_normals(lab, s.out[i] * in);
        s.cotangent[i] = mr_lab_normals(lab, n * s.out[i]);
        s.call.base[i] = mr_lab_upload(lab, s.base[i], s.out[i], in, 0);
        s.y[i] = mr_lab_zeros(lab, n * s.out[i]);
    }
    s.call.saved = mr_lab_poison(lab, MR_F32, n, s.a->saved_cols, 0);
    s.call.work = mr_lab_poison(lab, MR_F32, n, mr_adapter_work_cols(s.a), 0);
    s.call.stream = mr_random_stream(3, MR_RANDOM_DROPOUT, 4);
    s.call.first_row = 5;
    s.call.dropout = true;
    return s;
}

/* y = x W0^T, then the method's forward pass. */
static void run_forward(site *s)
{
    for (int i = 0; i < LINEARS; i++) {
        s->call.y[i] = mr_lab_poison(s->lab, MR_F32, s->n, s->out[i], 0);
        MR_LAB_RUN(s->lab, gemm, false, true, 1, s->call.x, s->call.base[i], 0, s->call.y[i]);
    }
    mr_memory_guard(true);
    mr_adapter_refresh(s->a, &s->call, 1);
    mr_adapter_forward(s->a, &s->call);
    mr_memory_guard(false);
}

/* The mask that the backend draws. */
static void read_mask(site *s)
{
    mr_lab *lab = s->lab;
    double *ones = mr_lab_zeros(lab, s->n * s->in);
    for (int64_t i = 0; i < s->n * s->in; i++)
        ones[i] = 1;
    mr_tensor t = mr_lab_upload(lab, ones, s->n, s->in, 0);
    MR_LAB_RUN(lab, dropout, t, t, 0, s->a->lora_dropout, s->call.stream, s->call.first_row);
    s->mask = mr_lab_download(lab, t);
}

/* V = W0 + s B A of a linear, [O, I]. */
static double *direction(const site *s, int i)
{
    double *v = mr_lab_copy(s->lab, s->base[i], s->out[i] * s->in);
    mr_reference_gemm(false, false, scale_of(s), s->value[i][B], s->value[i][A], 1, v, s->out[i],
                      s->in, s->a->r);
    return v;
}

static void take_lengths(site *s)
{
    for (int i = 0; i < LINEARS; i++) {
        double *v = direction(s, i);
        s->inverse[i] = mr_lab_zeros(s->lab, s->out[i]);
        for (int64_t o = 0; o < s->out[i]; o++)
            s->inverse[i][o] = 1 / sqrt(mr_reference_dot(v + o * s->in, v + o * s->in, s->in));
    }
}

/* Outputs of LoRA and its kin from the values in double: W0 x + (f - 1) W0 xd + f s B A xd, f the
 * factor m / n of a row, or 1. */
static void reference_outputs(const site *s)
{
    double down[64];
    assert_true(s->a->r <= 64);
    for (int i = 0; i < LINEARS; i++)
        for (int64_t t = 0; t < s->n; t++) {
            const double *x = s->x + t * s->in, *mask = s->mask + t * s->in;
            for (int64_t k = 0; k < s->a->r; k++) {
                down[k] = 0;
                for (int64_t c = 0; c < s->in; c++)
                    down[k] += s->value[i][A][k * s->in + c] * x[c] * mask[c];
            }
            for (int64_t o = 0; o < s->out[i]; o++) {
                const double *w = s->base[i] + o * s->in;
                double factor = 1, masked = 0;
                if (s->inverse[i]) factor = s->value[i][MAGNITUDE][o] * s->inverse[i][o];
                for (int64_t c = 0; c < s->in; c++)
                    masked += w[c] * x[c] * mask[c];
                s->y[i][t * s->out[i] + o] =
                    mr_reference_dot(w, x, s->in) + (factor - 1) * masked +
                    factor * scale_of(s) *
                        mr_reference_dot(s->value[i][B] + o * s->a->r, down, s->a->r);
            }
        }
}

static double objective(const void *problem)
{
    const site *s = problem;
    reference_outputs(s);
    double sum = 0;
    for (int i = 0; i < LINEARS; i++)
        sum += mr_reference_dot(s->cotangent[i], s->y[i], s->n * s->out[i]);
    return sum;
}

/* Both passes as a layer runs them, as the second may use up what the first saves; grads of params
 * k with wanted[k]. */
static void run_backward(site *s, mr_adapter_call *call, bool wants_x, const bool *wanted)
{
    mr_lab *lab = s->lab;
    run_forward(s);
    *call = s->call;
    for (int i = 0; i < LINEARS; i++)
        call->y[i] = mr_lab_upload(lab, s->cotangent[i], s->n, s->out[i], 0);
    for (int k = 0; k < s->a->params; k++)
        if (wanted[k]) place_params(s, k, call->grad, true);
    if (wants_x) call->d_x = mr_lab_poison(lab, MR_F32, s->n, s->in, 0);
    mr_tensor given[LINEARS] = {call->y[0], call->y[1]};
    mr_memory_guard(true);
    mr_adapter_backward_output(s->a, call);
    for (int i = 0; wants_x && i < LINEARS; i++)
        lab->be->ops->gemm(lab->be, false, false, 1, call->y[i], call->base[i], i == 0 ? 0.f : 1.f,
                           call->d_x);
    mr_adapter_backward(s->a, call);
    mr_memory_guard(false);
    for (int i = 0; i < LINEARS; i++)
        mr_lab_expect(lab, MR_BOUND_EXACT, given[i], s->cotangent[i], "gradient of output %d", i);
}

static void expect_gradients(site *s, const mr_adapter_call *call, const char *what)
{
    for (int i = 0; i < LINEARS; i++)
        for (int k = 0; k < s->a->params; k++) {
            mr_tensor grad = call->grad[i][k];
            if (!mr_tensor_exists(grad)) continue;
            double *want = mr_lab_zeros(s->lab, mr_tensor_count(grad));
            mr_reference_differences(want, s->value[i][k], mr_tensor_count(grad), objective, s);
            mr_lab_expect(s->lab, MR_BOUND_GRADIENT, grad, want, "%s: gradient of %s of linear %d",
                          what, s->a->param[i][k].suffix, i);
        }
    if (!mr_tensor_exists(call->d_x)) return;
    double *want = mr_lab_zeros(s->lab, s->n * s->in);
    mr_reference_differences(want, s->x, s->n * s->in, objective, s);
    mr_lab_expect(s->lab, MR_BOUND_GRADIENT, call->d_x, want, "%s: gradient of x", what);
}

/* Forward and backward of a member of LoRA's family against the reference. */
static void check_family(mr_lab *lab, const char *method, int64_t r, double dropout, int64_t out)
{
    char what[80];
    snprintf(what, sizeof what, "%s, r %" PRId64 ", dropout %g, outputs %" PRId64, method, r,
             dropout, out);
    site s = make_site(lab, configuration(method, r, dropout), 7, 11, out, 5);
    const bool all[MR_ADAPTER_PARAMS] = {!s.a->param[0][A].frozen, true, true};
    const bool none[MR_ADAPTER_PARAMS] = {false, true, false};
    read_mask(&s);
    if (s.a->params > MAGNITUDE) take_lengths(&s);
    run_forward(&s);
    reference_outputs(&s);
    for (int i = 0; i < LINEARS; i++)
        mr_lab_expect(lab, MR_BOUND_SUMMED, s.call.y[i], s.y[i], "%s: output %d", what, i);
    mr_adapter_call call;
    run_backward(&s, &call, true, all);
    expect_gradients(&s, &call, what);
    run_backward(&s, &call, false, all);
    expect_gradients(&s, &call, what);
    run_backward(&s, &call, true, none);
    expect_gradients(&s, &call, what);
    mr_adapter_destroy(&s.a);
}

static void the_family_of_lora_computes_its_formulas(void **state)
{
    static const char *const methods[] = {"lora", "lora_plus", "asylora", "relora", "dora"};
    mr_lab *lab = *state;
    for (size_t m = 0; m < sizeof methods / sizeof methods[0]; m++)
        for (int64_t r = 1; r <= 4; r += 3) {
            check_family(lab, methods[m], r, 0, 9);
            check_family(lab, methods[m], r, 0.4, 9);
        }
    /* More rows than DoRA takes the lengths of at once. */
    check_family(lab, "dora", 3, 0, 300);
}

/* x W'^T with W' merged in chunks of rows must be what the forward pass gives. */
static void expect_merged_equals_adapted(site *s, const char *what)
{
    mr_lab *lab = s->lab;
    s->call.dropout = false;
    run_forward(s);
    for (int i = 0; i < LINEARS; i++) {
        mr_tensor merged = mr_lab_upload(lab, s->base[i], s->out[i], s->in, 0);
        mr_tensor y = mr_lab_poison(lab, MR_F32, s->n, s->out[i], 0);
        mr_adapter_call call = {.be = lab->be};
        memcpy(call.base, s->call.base, sizeof call.base);
        memcpy(call.weight, s->call.weight, sizeof call.weight);
        int64_t chunk = mr_lab_extent(lab, 1, s->out[i]);
        call.work = mr_lab_poison(lab, MR_F32, chunk, mr_adapter_work_cols(s->a), 0);
        for (int64_t first = 0; first < s->out[i]; first += chunk) {
            int64_t count = s->out[i] - first < chunk ? s->out[i] - first : chunk;
            mr_memory_guard(true);
            mr_adapter_merge_rows(s->a, &call, i, first, mr_tensor_rows(merged, first, count));
            mr_memory_guard(false);
        }
        MR_LAB_RUN(lab, gemm, false, true, 1, s->call.x, merged, 0, y);
        mr_lab_expect(lab, MR_BOUND_SUMMED, y, mr_lab_download(lab, s->call.y[i]), "%s, linear %d",
                      what, i);
    }
}

static void check_merge(mr_lab *lab, const mr_config *config, int64_t restart)
{
    static const int64_t shapes[][3] = {{11, 9, 5}, {5, 23, 23}, {24, 6, 40}, {17, 17, 3}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        site s = make_site(lab, config, 6, shapes[i][0], shapes[i][1], shapes[i][2]);
        char chosen[64], what[160];
        mr_adapter_set_restart(s.a, restart);
        s.a->method->describe(s.a, 0, chosen, sizeof chosen);
        snprintf(what, sizeof what, "%s (%s), %" PRId64 " inputs", config->method.name, chosen,
                 shapes[i][0]);
        expect_merged_equals_adapted(&s, what);
        mr_adapter_destroy(&s.a);
    }
}

static void merged_rows_compute_what_every_method_computes(void **state)
{
    mr_lab *lab = *state;
    for (const mr_choice *one = mr_adapter_choices(); one->name; one++)
        if (!mr_adapter_find(one->name)->trains_base)
            for (int64_t r = 1; r <= 3; r += 2)
                check_merge(lab, configuration(one->name, r, 0), 0);
}

static void merged_rows_compute_what_every_operator_computes(void **state)
{
    mr_lab *lab = *state;
    for (int operator= MR_MORA_TRUNCATION; operator<= MR_MORA_ROTATION; operator++)
        for (int64_t r = 1; r <= 5; r++) {
            mr_config *config = configuration("mora", r, 0);
            settings_put(config, "method.operator", "%s", mr_mora_operators[operator]);
            check_merge(lab, config, 0);
        }
}

static void merged_rows_compute_what_every_restart_computes(void **state)
{
    mr_lab *lab = *state;
    for (int64_t restart = 0; restart < 4; restart++) {
        mr_config *config = configuration("remora", 3, 0);
        settings_put(config, "method.remora_cycle", "code");
        check_merge(lab, config, restart);
    }
}

/* Names of the groupings of restarts 0..5, joined. */
static void name_groupings(mr_lab *lab, const char *cycle, char *text, size_t room)
{
    mr_config *config = configuration("remora", 2, 0);
    settings_put(config, "method.remora_cycle", "%s", cycle);
    site s = make_site(lab, config, 1, 8, 8, 8);
    size_t length = 0;
    for (int64_t k = 0; k < 6; k++) {
        char chosen[64];
        mr_adapter_set_restart(s.a, k);
        s.a->method->describe(s.a, 0, chosen, sizeof chosen);
        length += (size_t)snprintf(text + length, room - length, "%.*s ", (int)strcspn(chosen, ","),
                                   chosen);
    }
    mr_adapter_destroy(&s.a);
}

static void remora_goes_through_its_groupings(void **state)
{
    char text[256];
    name_groupings(*state, "paper", text, sizeof text);
    assert_string_equal(text, "sharing sharing_2 sharing sharing_2 sharing sharing_2 ");
    name_groupings(*state, "code", text, sizeof text);
    assert_string_equal(text, "sharing sharing_2 sharing_3 sharing_4 sharing sharing_2 ");
}

static void remora_shares_whatever_the_budget(void **state)
{
    mr_lab *lab = *state;
    for (int64_t r = 1; r <= 8; r++) {
        site s = make_site(lab, configuration("remora", r, 0), 1, 8, 8, 8);
        char chosen[64];
        s.a->method->describe(s.a, 0, chosen, sizeof chosen);
        assert_contains(chosen, "sharing, r_hat");
        mr_adapter_destroy(&s.a);
    }
}

/* The message with which a configuration is refused. */
static const char *refusal(mr_lab *lab, const mr_config *config, mr_status status)
{
    mr_adapter *a = NULL;
    const int64_t out[LINEARS] = {20, 20};
    assert_int_equal(create(lab, config, 6, out, &a), status);
    assert_null(a);
    return mr_message();
}

static void remora_refuses_operators_it_cannot_cycle(void **state)
{
    static const char *const refused[] = {"rotation", "decoupling", "truncation", "sharing_2"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        mr_config *config = configuration("remora", 2, 0);
        char found[64];
        settings_put(config, "method.operator", "%s", refused[i]);
        const char *message = refusal(*state, config, MR_ERR_CONFIG);
        snprintf(found, sizeof found, "expected auto or sharing, found \"%s\"", refused[i]);
        assert_contains(message, "method.operator: remora goes through the groupings");
        assert_contains(message, found);
    }
}

static void asylora_refuses_more_rows_than_inputs(void **state)
{
    const char *message = refusal(*state, configuration("asylora", 7, 0), MR_ERR_ARG);
    assert_contains(message, "method.r: asylora needs at most as many orthonormal rows as "
                             "model.layers.0.mlp.gate_proj has inputs, 6, found 7");
}

static void methods_say_what_they_train_and_how_fast(void **state)
{
    mr_lab *lab = *state;
    mr_config *config = configuration("lora_plus", 2, 0);
    settings_put(config, "method.loraplus_lr_ratio", "3");
    site s = make_site(lab, config, 1, 6, 6, 6);
    assert_true(s.a->param[1][B].lr_scale == 3 && s.a->param[1][A].lr_scale == 0);
    mr_adapter_destroy(&s.a);
    for (int frozen = 0; frozen < 2; frozen++) {
        config = configuration("asylora", 2, 0);
        settings_put(config, "method.freeze_a", "%s", frozen ? "true" : "false");
        s = make_site(lab, config, 1, 6, 6, 6);
        assert_true(s.a->param[0][A].frozen == frozen && !s.a->param[0][B].frozen);
        assert_int_equal(s.a->param[1][A].init, MR_INIT_ORTHONORMAL);
        mr_adapter_destroy(&s.a);
    }
    for (const mr_choice *one = mr_adapter_choices(); one->name; one++)
        assert_true(mr_adapter_find(one->name)->merges ==
                    (strcmp(one->name, "relora") == 0 || strcmp(one->name, "remora") == 0));
}

/* The factor of Kalajdzievski 2023 in every method that scales, and in no other. */
static void products_are_scaled_by_the_root_of_r_where_asked(void **state)
{
    static const char *const scaled[] = {"lora", "lora_plus", "asylora", "dora", "relora"};
    static const int64_t out[LINEARS] = {20, 24};
    for (size_t i = 0; i < sizeof scaled / sizeof *scaled; i++) {
        mr_config *config = configuration(scaled[i], 16, 0);
        mr_adapter *a;
        char chosen[64];
        settings_put(config, "method.use_rslora", "true");
        must(create(*state, config, 20, out, &a));
        a->method->describe(a, 0, chosen, sizeof chosen);
        assert_string_equal(chosen, "r 16, scale 6");
        mr_adapter_destroy(&a);
    }
    assert_false(mr_config_has(configuration("mora", 16, 0), "method.use_rslora"));
}

/* With the lengths of the base's rows as magnitudes, and B = 0, DoRA is the base. */
static void dora_starts_as_the_base(void **state)
{
    mr_lab *lab = *state;
    site s = make_site(lab, configuration("dora", 3, 0), 5, 12, 300, 7);
    for (int i = 0; i < LINEARS; i++)
        MR_LAB_RUN(lab, fill, s.call.weight[i][B], 0);
    assert_int_equal(mr_adapter_start(s.a, &s.call), MR_OK);
    run_forward(&s);
    for (int i = 0; i < LINEARS; i++) {
        double *want = mr_lab_zeros(lab, s.n * s.out[i]);
        mr_reference_gemm(false, true, 1, s.x, s.base[i], 0, want, s.n, s.out[i], s.in);
        mr_lab_expect(lab, MR_BOUND_SUMMED, s.call.y[i], want, "output %d", i);
        for (int64_t o = 0; o < s.out[i]; o++)
            want[o] = sqrt(mr_reference_dot(s.base[i] + o * s.in, s.base[i] + o * s.in, s.in));
        mr_lab_expect(lab, MR_BOUND_ROUNDED, s.call.weight[i][MAGNITUDE], want, "magnitude %d", i);
    }
    mr_adapter_destroy(&s.a);
}

static void dora_refuses_weights_that_are_not_finite(void **state)
{
    mr_lab *lab = *state;
    site s = make_site(lab, configuration("dora", 3, 0), 5, 12, 4, 7);
    MR_LAB_RUN(lab, fill, mr_tensor_cols(mr_tensor_rows(s.call.base[1], 6, 1), 3, 1), NAN);
    assert_int_equal(mr_adapter_start(s.a, &s.call), MR_ERR_NUMERIC);
    assert_contains(mr_message(), "dora: row 6 of a weight [7, 12] has length");
    mr_adapter_destroy(&s.a);
}

static void dora_leaves_rows_of_zeros_at_zero(void **state)
{
    mr_lab *lab = *state;
    site s = make_site(lab, configuration("dora", 3, 0), 5, 12, 4, 7);
    MR_LAB_RUN(lab, fill, mr_tensor_rows(s.call.base[0], 2, 1), 0);
    MR_LAB_RUN(lab, fill, mr_tensor_rows(s.call.weight[0][B], 2, 1), 0);
    run_forward(&s);
    mr_lab_expect_values(MR_BOUND_EXACT, mr_lab_download(lab, mr_tensor_cols(s.call.y[0], 2, 1)),
                         mr_lab_zeros(lab, s.n), s.n, "its output");
    mr_adapter_destroy(&s.a);
}

/* Lengths are taken once a generation of the weights, and anew in the next. */
static void dora_takes_lengths_once_a_generation(void **state)
{
    mr_lab *lab = *state;
    site s = make_site(lab, configuration("dora", 3, 0), 5, 12, 4, 7);
    run_forward(&s);
    double *first = mr_lab_download(lab, s.call.y[0]);
    for (int i = 0; i < LINEARS; i++) {
        for (int64_t o = 0; o < s.out[i]; o++)
            s.value[i][MAGNITUDE][o] *= 2;
        mr_tensor twice = mr_lab_upload(lab, s.value[i][MAGNITUDE], 1, s.out[i], 0);
        MR_LAB_RUN(lab, copy, s.call.weight[i][MAGNITUDE], twice);
    }
    run_forward(&s);
    mr_lab_expect(lab, MR_BOUND_EXACT, s.call.y[0], first, "the same generation");
    mr_adapter_refresh(s.a, &s.call, 2);
    s.a->refreshed = 1; /* run_forward asks for generation 1 */
    run_forward(&s);
    for (int64_t i = 0; i < s.n * s.out[0]; i++)
        first[i] *= 2;
    mr_lab_expect(lab, MR_BOUND_ROUNDED, s.call.y[0], first, "the next generation");
    mr_adapter_destroy(&s.a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MR_LAB_TEST(the_family_of_lora_computes_its_formulas),
        MR_LAB_TEST(merged_rows_compute_what_every_method_computes),
        MR_LAB_TEST(merged_rows_compute_what_every_operator_computes),
        MR_LAB_TEST(merged_rows_compute_what_every_restart_computes),
        MR_LAB_TEST(remora_goes_through_its_groupings),
        MR_LAB_TEST(remora_shares_whatever_the_budget),
        MR_LAB_TEST(remora_refuses_operators_it_cannot_cycle),
        MR_LAB_TEST(asylora_refuses_more_rows_than_inputs),
        MR_LAB_TEST(methods_say_what_they_train_and_how_fast),
        MR_LAB_TEST(products_are_scaled_by_the_root_of_r_where_asked),
        MR_LAB_TEST(dora_starts_as_the_base),
        MR_LAB_TEST(dora_refuses_weights_that_are_not_finite),
        MR_LAB_TEST(dora_leaves_rows_of_zeros_at_zero),
        MR_LAB_TEST(dora_takes_lengths_once_a_generation),
    };
    return cmocka_run_group_tests_name("methods", tests, NULL, NULL);
}
