/** @file
 * Approximations of matrices against what is known without training: Eckart and Young's theorem,
 * the means of groups, and least squares over the update's own basis; and training against those.
 */

#include "adapter/mora.h"
#include "base/memory.h"
#include "linalg/svd.h"
#include "settings.h"
#include "train/approximate.h"
#include "train/optimum.h"
#include "train/target.h"

#include <math.h>

static mr_backend *be;

/* A configuration of a method and a target. */
static mr_config *setting(const char *method, const char *target, int64_t rows, int64_t cols,
                          int64_t r)
{
    static mr_config config;
    mr_config_defaults(mr_approximate_registry(), &config);
    settings_put(&config, "method.name", "%s", method);
    settings_put(&config, "task.name", "%s", target);
    settings_put(&config, "task.rows", "%lld", (long long)rows);
    settings_put(&config, "task.cols", "%lld", (long long)cols);
    settings_offer(&config, "method.r", "%lld", (long long)r);
    settings_put(&config, "run.seed", "5");
    return &config;
}

static double square(double x)
{
    return x * x;
}

static double *doubles(int64_t count)
{
    double *values = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *values);
    assert_non_null(values);
    return values;
}

static double *target_of(const mr_config *config)
{
    const mr_target_config *c = mr_target_config_of(config);
    double *target = doubles(c->rows * c->cols);
    must(mr_target_fill(config, target));
    return target;
}

static mr_approximation approximate(const mr_config *config)
{
    mr_approximation result;
    must(mr_approximate(be, config, &result));
    return result;
}

/* The singular values that a kind of target promises, up to a factor. */
static double promised(const char *target, int64_t i)
{
    if (strcmp(target, "flat") == 0) return 1;
    if (strcmp(target, "power_law") == 0) return pow((double)(i + 1), -0.75);
    return i < 3 ? 1 : 0;
}

static void targets_have_the_spectra_they_promise(void **state)
{
    (void)state;
    static const char *const names[] = {"flat", "power_law", "low_rank"};
    enum { ROWS = 9, COLS = 14 };
    for (size_t k = 0; k < 3; k++) {
        mr_config *config = setting("fft", names[k], ROWS, COLS, 0);
        settings_offer(config, "task.exponent", "0.75");
        settings_offer(config, "task.rank", "3");
        settings_offer(config, "task.noise", "0");
        double values[ROWS], squares = 0, *target = target_of(config);
        must(mr_svd_values(target, ROWS, COLS, values));
        for (int i = 0; i < ROWS; i++)
            squares += square(promised(names[k], i));
        for (int i = 0; i < ROWS; i++)
            assert_true(fabs(values[i] - promised(names[k], i) / sqrt(squares)) < 1e-13);
        mr_free(target);
    }
}

static void noise_is_as_strong_as_it_is_told(void **state)
{
    (void)state;
    mr_config *config = setting("fft", "low_rank", 12, 10, 0);
    double *both = NULL, *one = NULL, noise = 0, rest = 0;
    settings_put(config, "task.noise", "0");
    one = target_of(config);
    settings_put(config, "task.noise", "0.5");
    both = target_of(config);
    /* both is (one + n) / |one + n| with |n| = 0.5 |one|: the factor follows from one's part. */
    double along = 0;
    for (int i = 0; i < 120; i++)
        along += one[i] * both[i];
    /* |n|^2 = |f both - one|^2 = f^2 - 2 f along + 1 = 0.25 */
    double f = along + sqrt(square(along) - 0.75), g = along - sqrt(square(along) - 0.75);
    for (int i = 0; i < 120; i++) {
        noise += square(f * both[i] - one[i]);
        rest += square(g * both[i] - one[i]);
    }
    assert_true(fabs(noise - 0.25) < 1e-12 && fabs(rest - 0.25) < 1e-12);
    mr_free(both);
    mr_free(one);
}

static void a_tiled_target_repeats_its_square(void **state)
{
    (void)state;
    mr_config *config = setting("fft", "tiled", 7, 11, 0);
    settings_put(config, "task.side", "3");
    double *target = target_of(config);
    for (int row = 0; row < 7; row++)
        for (int col = 0; col < 11; col++)
            assert_true(target[row * 11 + col] == target[row % 3 * 11 + col % 3]); /* bits */
    assert_true(target[0] != target[1]);
    mr_free(target);
}

static void waves_have_the_frequencies_they_are_told(void **state)
{
    (void)state;
    enum { COLS = 32 };
    mr_config *config = setting("fft", "waves", 3, COLS, 0);
    settings_put(config, "task.lowest", "2");
    settings_put(config, "task.highest", "10");
    double *target = target_of(config);
    for (int row = 0; row < 3;
         row++) /* 2, 6, 10 cycles: whole ones, so all energy is in one line */
        for (int cycles = 0; cycles <= COLS / 2; cycles++) {
            double re = 0, im = 0, all = 0;
            for (int col = 0; col < COLS; col++) {
                double x = target[row * COLS + col], turn = 2 * acos(-1) * cycles * col / COLS;
                re += x * cos(turn);
                im += x * sin(turn);
                all += x * x;
            }
            double part = (re * re + im * im) / (all * COLS / 2);
            assert_true(fabs(part - (cycles == 2 + 4 * row)) < 1e-12);
        }
    mr_free(target);
}

static void products_are_bounded_by_the_values_behind_their_rank(void **state)
{
    (void)state;
    mr_config *config = setting("lora", "flat", 12, 20, 3);
    assert_true(fabs(approximate(config).optimum - sqrt(1 - 3.0 / 12)) < 1e-12);
    config = setting("lora_plus", "power_law", 12, 20, 3);
    settings_put(config, "task.exponent", "1");
    double left = 0, all = 0;
    for (int i = 12; i > 0; i--) {
        all += 1 / square(i);
        if (i > 3) left += 1 / square(i);
    }
    assert_true(fabs(approximate(config).optimum - sqrt(left / all)) < 1e-12);
    /* 30 steps with a merge every 10 are three products: rank 9. */
    config = setting("relora", "flat", 12, 20, 3);
    settings_put(config, "method.merge_every", "10");
    settings_put(config, "train.steps", "30");
    assert_true(fabs(approximate(config).optimum - sqrt(1 - 9.0 / 12)) < 1e-12);
}

static void sharing_is_bounded_by_the_means_of_its_groups(void **state)
{
    (void)state;
    enum { SIDE = 12, R_HAT = 4 }; /* sqrt(24 * r), r = 2/3: by r 1 it is 5; so 8 x 8 and r 1 */
    mr_config *config = setting("mora", "gaussian", 8, 8, 1);
    settings_put(config, "method.operator", "sharing");
    double *target = target_of(config), kept = 0;
    for (int p = 0; p < R_HAT; p++)
        for (int q = 0; q < R_HAT; q++) {
            double sum = 0;
            for (int i = p; i < 8; i += R_HAT)
                for (int j = q; j < 8; j += R_HAT)
                    sum += target[i * 8 + j];
            kept += square(sum) / 4;
        }
    assert_true(fabs(square(approximate(config).optimum) - (1 - kept)) < 1e-6);
    mr_free(target);
}

/* Everything that a call of one linear needs, x the identity. */
typedef struct bench {
    mr_adapter *a;
    mr_adapter_call call;
    mr_tensor owned[8];
    int count;
} bench;

static mr_tensor tensor(bench *b, int64_t rows, int64_t cols)
{
    mr_tensor *t = &b->owned[b->count++];
    if (rows * cols > 0) must(mr_backend_tensor(be, MR_MEM_OTHER, MR_F32, rows, cols, t));
    return *t;
}

static void upload(mr_tensor t, const double *values)
{
    float *host = mr_alloc_array(MR_MEM_OTHER, (size_t)mr_tensor_count(t), sizeof *host);
    for (int64_t i = 0; i < mr_tensor_count(t); i++)
        host[i] = (float)values[i];
    be->ops->upload(be, t, host);
    mr_free(host);
}

static bench make_bench(const mr_config *config)
{
    static const char *const names[] = {"linear"};
    const mr_target_config *c = mr_target_config_of(config);
    const int64_t in = c->cols, out = c->rows;
    bench b = {.call = {.be = be}};
    must(mr_adapter_create(be, MR_F32, mr_adapter_find(config->method.name),
                           mr_adapter_config_of(config), 1, in, &out, names, &b.a));
    must(mr_adapter_allocate(b.a));
    double *eye = doubles(in * in);
    for (int64_t i = 0; i < in; i++)
        eye[i * in + i] = 1;
    b.call.x = tensor(&b, in, in);
    upload(b.call.x, eye);
    mr_free(eye);
    b.call.y[0] = tensor(&b, in, out);
    b.call.base[0] = tensor(&b, out, in);
    b.call.saved = tensor(&b, in, b.a->saved_cols);
    b.call.work = tensor(&b, in > out ? in : out, mr_adapter_work_cols(b.a));
    const mr_random random = mr_random_stream(4, MR_RANDOM_ADAPTER, 0);
    for (int k = 0; k < b.a->params; k++) {
        int64_t count = b.a->param[0][k].rows * b.a->param[0][k].cols;
        double *values = doubles(count);
        for (int64_t i = 0; i < count; i++)
            values[i] = mr_random_normal(&random, (uint64_t)(1000 * k + i));
        b.call.weight[0][k] = tensor(&b, b.a->param[0][k].rows, b.a->param[0][k].cols);
        upload(b.call.weight[0][k], values);
        mr_free(values);
    }
    return b;
}

static void free_bench(bench *b)
{
    for (int i = 0; i < b->count; i++)
        mr_backend_free(be, &b->owned[i]);
    mr_adapter_destroy(&b->a);
}

/* What is left of target's square at right angles to every update of the parts that has one element
 * of the trained tensor alone: Gram and Schmidt, twice, by merged rows. */
static double left_by_basis(bench *b, int tensor_index, int64_t parts, const double *target)
{
    const int64_t in = b->a->in, out = b->a->out[0], size = in * out;
    const mr_adapter_param *param = &b->a->param[0][tensor_index];
    const int64_t elements = param->rows * param->cols;
    double *basis = doubles(parts * elements * size), *one = doubles(elements), all = 0;
    float *rows = mr_alloc_array(MR_MEM_OTHER, (size_t)size, sizeof *rows);
    int64_t count = 0;
    mr_adapter_call call = b->call;
    for (int64_t part = 0; part < parts; part++)
        for (int64_t i = 0; i < elements; i++) {
            double *v = basis + count * size, norm = 0, before = 0;
            memset(one, 0, (size_t)elements * sizeof *one);
            one[i] = 1;
            upload(call.weight[0][tensor_index], one);
            mr_adapter_set_restart(b->a, part);
            mr_adapter_refresh(b->a, &call, 1000 + (uint64_t)(part * elements + i));
            be->ops->fill(be, call.base[0], 0);
            mr_adapter_merge_rows(b->a, &call, 0, 0, call.base[0]);
            be->ops->download(be, rows, call.base[0]);
            for (int64_t e = 0; e < size; e++) {
                v[e] = (double)rows[e];
                before += square(v[e]);
            }
            for (int again = 0; again < 2; again++)
                for (int64_t k = 0; k < count; k++) {
                    double along = 0;
                    for (int64_t e = 0; e < size; e++)
                        along += basis[k * size + e] * v[e];
                    for (int64_t e = 0; e < size; e++)
                        v[e] -= along * basis[k * size + e];
                }
            for (int64_t e = 0; e < size; e++)
                norm += square(v[e]);
            if (norm <= 1e-10 * before || before <= 0) continue; /* it depends on the others */
            for (int64_t e = 0; e < size; e++)
                v[e] /= sqrt(norm);
            count++;
        }
    for (int64_t e = 0; e < size; e++)
        all += square(target[e]);
    double left = all;
    for (int64_t k = 0; k < count; k++) {
        double along = 0;
        for (int64_t e = 0; e < size; e++)
            along += basis[k * size + e] * target[e];
        left -= square(along);
    }
    mr_free(basis);
    mr_free(one);
    mr_free(rows);
    return left / all;
}

static void check_least_squares(const mr_config *config, int tensor_index, int64_t parts)
{
    const mr_target_config *c = mr_target_config_of(config);
    double *target = target_of(config), *values = doubles(c->rows + c->cols), optimum;
    bench b = make_bench(config);
    must(mr_svd_values(target, c->rows, c->cols, values));
    mr_adapter_call pass = b.call;
    pass.work = mr_tensor_rows(b.call.work, 0, c->cols);
    must(mr_optimum(b.a, &pass, parts, values, target, &optimum));
    double expected = left_by_basis(&b, tensor_index, parts, target);
    if (!(fabs(square(optimum) - expected) < 1e-6))
        fail_msg("%s %lld x %lld: optimum %.9f, by the basis %.9f", config->method.name,
                 (long long)c->rows, (long long)c->cols, square(optimum), expected);
    assert_true(expected > 0.01 && expected < 1);
    free_bench(&b);
    mr_free(target);
    mr_free(values);
}

static void linear_updates_are_bounded_by_least_squares(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{12, 12}, {13, 7}, {7, 13}, {10, 16}, {5, 17}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int op = MR_MORA_TRUNCATION; op <= MR_MORA_ROTATION; op++) {
            mr_config *config = setting("mora", "gaussian", shapes[s][0], shapes[s][1], 1);
            settings_put(config, "method.operator", "%s", mr_mora_operators[op]);
            check_least_squares(config, 0, 1);
        }
}

static void merged_groupings_are_bounded_together(void **state)
{
    (void)state;
    mr_config *config = setting("remora", "gaussian", 13, 11, 1);
    check_least_squares(config, 0, 1);
    check_least_squares(config, 0, 3); /* the third grouping is the first again */
    settings_put(config, "method.remora_cycle", "code");
    check_least_squares(config, 0, 4);
}

static void a_frozen_factor_leaves_least_squares(void **state)
{
    (void)state;
    check_least_squares(setting("asylora", "gaussian", 9, 14, 3), 1, 1);
}

static void training_reaches_what_is_possible_and_no_more(void **state)
{
    (void)state;
    for (const mr_choice *method = mr_adapter_choices(); method->name; method++) {
        mr_config *config = setting(method->name, "power_law", 18, 24, 2);
        bool merges = mr_config_has(config, "method.merge_every");
        settings_offer(config, "method.merge_every", "400");
        settings_put(config, "train.steps", "1600");
        settings_put(config, "train.lr", "3e-2");
        settings_put(config, "train.schedule", merges ? "jagged_cosine" : "cosine");
        settings_put(config, "train.restart_warmup_steps", "10");
        settings_put(config, "train.min_lr_ratio", "0.01");
        mr_approximation result = approximate(config);
        bool known = isfinite(result.optimum);
        assert_int_equal(known, strcmp(method->name, "dora") != 0);
        assert_int_equal(result.steps, 1600);
        /* Merged parts are learnt one after another, which need not end at their common optimum. */
        if (result.error > (known ? result.optimum + (merges ? 1e-2 : 1e-3) : 0.5) ||
            (known && result.error < result.optimum - 1e-4))
            fail_msg("%s: error %.6f, possible %.6f", method->name, result.error, result.optimum);
    }
}

static void an_update_of_nothing_is_all_wrong(void **state)
{
    (void)state;
    for (const mr_choice *method = mr_adapter_choices(); method->name; method++) {
        mr_approximation result = approximate(setting(method->name, "flat", 8, 6, 1));
        assert_true(fabs(result.error - 1) < 1e-6);
        assert_true(fabs(result.target_rank - 6) < 1e-9);
    }
}

static void what_is_no_longer_finite_ends_a_run(void **state)
{
    (void)state;
    mr_config *config = setting("fft", "flat", 8, 6, 0);
    settings_put(config, "train.steps", "50");
    settings_put(config, "train.lr", "1e38");
    settings_put(config, "train.schedule", "constant");
    mr_approximation result = approximate(config);
    assert_true(isnan(result.error) && isnan(result.rank) && result.steps < 50);
}

static void keys_beyond_the_matrix_are_refused(void **state)
{
    (void)state;
    mr_approximation result;
    mr_config *config = setting("lora", "low_rank", 8, 6, 1);
    settings_put(config, "task.rank", "7");
    assert_int_equal(mr_approximate(be, config, &result), MR_ERR_ARG);
    assert_contains(mr_message(), "task.rank: expected at most 6, the smaller side of the matrix");
    config = setting("lora", "waves", 8, 6, 1);
    settings_put(config, "task.highest", "4");
    assert_int_equal(mr_approximate(be, config, &result), MR_ERR_ARG);
    assert_contains(mr_message(), "task.highest: expected task.lowest, 1, to half of task.cols, 3");
    assert_int_equal(mr_approximate(be, setting("lora", "flat", 8, 6, 9), &result), MR_ERR_ARG);
    assert_contains(mr_message(), "method.r: expected at most 8, the larger side of linear");
}

static int begin(void **state)
{
    (void)state;
    return mr_backend_create("cpu", 0, 1, &be) == MR_OK ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    mr_backend_destroy(&be);
    return mr_memory_live_total() == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_have_the_spectra_they_promise),
        cmocka_unit_test(noise_is_as_strong_as_it_is_told),
        cmocka_unit_test(a_tiled_target_repeats_its_square),
        cmocka_unit_test(waves_have_the_frequencies_they_are_told),
        cmocka_unit_test(products_are_bounded_by_the_values_behind_their_rank),
        cmocka_unit_test(sharing_is_bounded_by_the_means_of_its_groups),
        cmocka_unit_test(linear_updates_are_bounded_by_least_squares),
        cmocka_unit_test(merged_groupings_are_bounded_together),
        cmocka_unit_test(a_frozen_factor_leaves_least_squares),
        cmocka_unit_test(training_reaches_what_is_possible_and_no_more),
        cmocka_unit_test(an_update_of_nothing_is_all_wrong),
        cmocka_unit_test(what_is_no_longer_finite_ends_a_run),
        cmocka_unit_test(keys_beyond_the_matrix_are_refused),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
