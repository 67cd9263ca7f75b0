/** @file
 * Updates by their structure: dW as the program merges it, and the singular values of each route
 * beside those of the dense dW, over methods, operators and ragged shapes. */

#include "adapter/mora.h"
#include "base/memory.h"
#include "linalg/distributed.h"
#include "linalg/svd.h"
#include "reference.h"
#include "scarce.h"
#include "settings.h"
#include "spectra/structure.h"

#include <math.h>

/* What a structure's route had to reckon with. */
typedef enum trait {
    WIDE_R,        /* a product of a budget no smaller than a side */
    CUT,           /* groups without members */
    PADDED,        /* inputs in two groups, of two inputs or more each */
    PADDED_NARROW, /* inputs in two groups or more, M no smaller than half the inputs */
    WRAPPED,       /* the last block takes inputs of block 0 */
    SELF_WRAPPED,  /* the only block is wider than the inputs */
    MIXED,         /* a block of outputs of two counts */
    TILED,         /* blocks that reach every output several times */
    TRAITS
} trait;

static int seen[TRAITS];

/* A site of one linear with random weights; everything is the lab's but a. */
typedef struct site {
    mr_adapter *a;
    mr_adapter_call call;
    int64_t rows, cols;
} site;

static const char *const names[] = {"model.layers.0.mlp.up_proj"};

/* Creates the site; false where the method refuses the shape. */
static bool make_site(mr_lab *lab, const mr_config *config, int64_t restart, int64_t rows,
                      int64_t cols, site *s)
{
    *s = (site){.rows = rows, .cols = cols, .call = {.be = lab->be}};
    const mr_status status =
        mr_adapter_create(lab->be, MR_F32, mr_adapter_find(config->method.name),
                          mr_adapter_config_of(config), 1, cols, &rows, names, &s->a);
    if (status == MR_ERR_ARG) return false;
    must(status);
    must(mr_adapter_allocate(s->a));
    mr_adapter_set_restart(s->a, restart);
    for (int k = 0; k < s->a->params; k++) {
        const mr_adapter_param *param = &s->a->param[0][k];
        s->call.weight[0][k] = mr_lab_upload(lab, mr_lab_normals(lab, param->rows * param->cols),
                                             param->rows, param->cols, 0);
    }
    s->call.base[0] = mr_lab_upload(lab, mr_lab_zeros(lab, rows * cols), rows, cols, 0);
    s->call.work = mr_lab_poison(lab, MR_F32, rows, mr_adapter_work_cols(s->a), 0);
    return true;
}

static mr_structure take(mr_lab *lab, site *s)
{
    mr_update update;
    mr_structure structure;
    assert_true(mr_adapter_update(s->a, &s->call, 0, &update));
    must(mr_structure_take(lab->be, &update, s->rows, s->cols, &structure));
    return structure;
}

static void note_traits(const mr_structure *s)
{
    const int64_t width = s->blocks * s->r, side = s->rows < s->cols ? s->rows : s->cols;
    if (s->kind == MR_UPDATE_PRODUCT) {
        seen[WIDE_R] += s->r >= side;
    } else if (s->kind == MR_UPDATE_GROUPS) {
        const bool padded = s->in.length > s->cols;
        seen[CUT] += s->in.length < s->r || s->out.length < s->r;
        seen[PADDED] += padded && s->cols >= 2 * s->r;
        seen[PADDED_NARROW] += padded && s->cols < 2 * s->r;
    } else {
        seen[WRAPPED] += width > s->cols && s->blocks > 1;
        seen[SELF_WRAPPED] += width > s->cols && s->blocks == 1;
        seen[MIXED] += s->rows % width % s->r > 0;
        seen[TILED] += s->rows >= 2 * width;
    }
}

/* dW added to zeros by the program's merge, in float32. */
static void assert_merged(mr_lab *lab, site *s, const double *dense, const char *label)
{
    mr_tensor rows = mr_lab_upload(lab, mr_lab_zeros(lab, s->rows * s->cols), s->rows, s->cols, 0);
    mr_adapter_merge_rows(s->a, &s->call, 0, 0, rows);
    mr_lab_expect(lab, MR_BOUND_SUMMED, rows, dense, "%s: dW beside the merged weights", label);
}

static void assert_values(const char *label, const double *found, const double *wanted,
                          int64_t count, double scale)
{
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(found[i] - wanted[i]) <= 1e-12 * scale))
            fail_msg("%s: value %d: expected %.17g, found %.17g, off by %.3g of the largest", label,
                     (int)i, wanted[i], found[i], fabs(found[i] - wanted[i]) / scale);
}

/* The largest singular value of a part. */
static double norm_of(mr_lab *lab, const float *part, int64_t rows, int64_t cols)
{
    double *copy = mr_lab_zeros(lab, rows * cols);
    double *values = mr_lab_zeros(lab, rows < cols ? rows : cols);
    for (int64_t i = 0; i < rows * cols; i++)
        copy[i] = (double)part[i];
    must(mr_svd_values(copy, rows, cols, values));
    return values[0];
}

static void compare(mr_lab *lab, const mr_config *config, int64_t restart, int64_t rows,
                    int64_t cols)
{
    char label[160];
    site s;
    if (!make_site(lab, config, restart, rows, cols, &s)) return;
    snprintf(label, sizeof label, "%s [%lld, %lld]", config->method.name, (long long)rows,
             (long long)cols);
    size_t length = strlen(label);
    snprintf(label + length, sizeof label - length, ", ");
    s.a->method->describe(s.a, 0, label + length + 2, sizeof label - length - 2);

    mr_structure structure = take(lab, &s);
    const int64_t side = rows < cols ? rows : cols;
    double *dense = mr_lab_zeros(lab, rows * cols), *wanted = mr_lab_zeros(lab, side);
    double *found = mr_lab_zeros(lab, side);
    must(mr_structure_dense(&structure, dense));
    assert_merged(lab, &s, dense, label);
    must(mr_svd_values(dense, rows, cols, wanted));
    const size_t held = mr_memory_live_total();
    must(mr_structure_values(&structure, found));
    assert_int_equal(mr_memory_live_total(), held);
    double scale = wanted[0];
    if (structure.kind == MR_UPDATE_PRODUCT)
        scale = structure.scale * norm_of(lab, structure.a, structure.r, cols) *
                norm_of(lab, structure.b, rows, structure.r);
    assert_values(label, found, wanted, side, scale);
    note_traits(&structure);
    mr_structure_free(&structure);
    mr_adapter_destroy(&s.a);
    mr_lab_clear(lab);
}

static void compare_random(mr_lab *lab, const char *method, const char *operator, int restarts)
{
    enum { SHAPES = 120 };
    mr_config config;
    for (int i = 0; i < SHAPES; i++) {
        const int64_t rows = mr_lab_extent(lab, 1, i % 3 == 0 ? 300 : 70);
        const int64_t cols = mr_lab_extent(lab, 1, i % 4 == 0 ? 300 : 70);
        const int64_t most = rows > cols ? rows : cols;
        settings_of_method(&config, method);
        settings_put(&config, "method.r", "%lld",
                     (long long)mr_lab_extent(lab, 1, i % 2 == 0 ? most : 1 + most / 16));
        settings_put(&config, "method.lora_alpha", "3");
        if (operator) settings_put(&config, "method.operator", "%s", operator);
        compare(lab, &config, i % restarts, rows, cols);
    }
}

static void products_have_the_values_of_their_triangles(void **state)
{
    static const char *const methods[] = {"lora", "lora_plus", "asylora", "relora"};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        compare_random(*state, methods[i], NULL, 1);
    assert_true(seen[WIDE_R] > 10);
}

static void every_operator_of_mora_has_the_values_of_its_structure(void **state)
{
    for (int i = MR_MORA_TRUNCATION; i <= MR_MORA_ROTATION; i++)
        compare_random(*state, "mora", mr_mora_operators[i], 1);
    for (int i = CUT; i < TRAITS; i++)
        if (seen[i] < 10) fail_msg("trait %d occurred %d times", i, seen[i]);
}

static void every_restart_of_remora_has_the_values_of_its_grouping(void **state)
{
    compare_random(*state, "remora", NULL, 4);
}

/* The shapes of a 60M model, r 8 and 128. */
static void the_shapes_of_a_model_have_them_too(void **state)
{
    static const int64_t shapes[][2] = {{512, 512}, {1376, 512}, {512, 1376}};
    static const char *const operators[] = {"sharing", "rotation", "decoupling"};
    mr_config config;
    for (int i = 0; i < 3; i++)
        for (int r = 8; r <= 128; r *= 16) {
            settings_of_method(&config, "lora");
            settings_put(&config, "method.r", "%d", r);
            compare(*state, &config, 0, shapes[i][0], shapes[i][1]);
            settings_of_method(&config, "mora");
            settings_put(&config, "method.r", "%d", r);
            settings_put(&config, "method.operator", "%s", operators[i]);
            compare(*state, &config, 0, shapes[i][0], shapes[i][1]);
        }
}

static double dot(const double *a, const double *b, int64_t n)
{
    return mr_reference_dot(a, b, n);
}

/* <A x, y> = <x, A^T y>, and A x is what the dense dW makes of x. */
static void assert_adjoint(mr_lab *lab, const mr_structure *s, const char *label)
{
    enum { COUNT = 3 };
    const mr_operator op = mr_structure_operator(s);
    double *dense = mr_lab_zeros(lab, s->rows * s->cols);
    double *x = mr_lab_normals(lab, COUNT * s->cols), *y = mr_lab_normals(lab, COUNT * s->rows);
    double *forward = mr_lab_zeros(lab, COUNT * s->rows),
           *back = mr_lab_zeros(lab, COUNT * s->cols);
    double *wanted = mr_lab_zeros(lab, COUNT * s->rows);
    must(mr_structure_dense(s, dense));
    must(op.apply(op.context, false, COUNT, x, forward));
    must(op.apply(op.context, true, COUNT, y, back));
    mr_reference_gemm(false, true, 1, x, dense, 0, wanted, COUNT, s->rows, s->cols);
    const double bound = 1e-12 * sqrt(dot(dense, dense, s->rows * s->cols) *
                                      dot(x, x, COUNT * s->cols) * dot(y, y, COUNT * s->rows));
    for (int64_t i = 0; i < COUNT * s->rows; i++)
        if (!(fabs(forward[i] - wanted[i]) <= bound)) fail_msg("%s: product %d", label, (int)i);
    if (!(fabs(dot(forward, y, COUNT * s->rows) - dot(x, back, COUNT * s->cols)) <= bound))
        fail_msg("%s: the transpose", label);
}

static void products_are_those_of_the_dense_update(void **state)
{
    mr_lab *lab = *state;
    mr_config config;
    for (int i = 0; i < 60; i++) {
        site s;
        const int operator= MR_MORA_TRUNCATION + i %(MR_MORA_ROTATION - MR_MORA_TRUNCATION + 1);
        const int64_t rows = mr_lab_extent(lab, 1, 90), cols = mr_lab_extent(lab, 1, 90);
        settings_of_method(&config, i % 9 == 0 ? "lora" : "mora");
        settings_put(&config, "method.r", "%lld", (long long)mr_lab_extent(lab, 1, rows));
        settings_offer(&config, "method.operator", "%s", mr_mora_operators[operator]);
        if (!make_site(lab, &config, 0, rows, cols, &s)) continue;
        mr_structure structure = take(lab, &s);
        assert_adjoint(lab, &structure, mr_mora_operators[operator]);
        mr_structure_free(&structure);
        mr_adapter_destroy(&s.a);
        mr_lab_clear(lab);
    }
}

static void routes_follow_from_shape_and_kind(void **state)
{
    (void)state;
    mr_structure s = {.rows = 6, .cols = 4, .kind = MR_UPDATE_PRODUCT, .r = 3};
    assert_int_equal(mr_structure_route(&s), MR_ROUTE_TRIANGLES);
    s.r = 4;
    assert_int_equal(mr_structure_route(&s), MR_ROUTE_DENSE);
    s.kind = MR_UPDATE_GROUPS;
    assert_int_equal(mr_structure_route(&s), MR_ROUTE_GROUPS);
    s.kind = MR_UPDATE_BLOCKS;
    assert_int_equal(mr_structure_route(&s), MR_ROUTE_BLOCKS);
    s.kind = MR_UPDATE_NONE;
    assert_int_equal(mr_structure_route(&s), MR_ROUTE_DENSE);
    for (int i = 0; i < MR_ROUTES + MR_DISTRIBUTED_ROUTES; i++)
        assert_true(strlen(mr_route_text(i)) > 0);
}

static mr_structure product_of(float *a, float *b)
{
    return (mr_structure){
        .rows = 3, .cols = 4, .kind = MR_UPDATE_PRODUCT, .scale = 2, .r = 1, .a = a, .b = b};
}

static void a_number_that_is_not_finite_is_named_by_its_place(void **state)
{
    (void)state;
    float a[] = {1, 2, 3, 4}, b[] = {1, INFINITY, 3};
    double values[3];
    mr_structure s = product_of(a, b);
    assert_int_equal(mr_structure_values(&s, values), MR_ERR_NUMERIC);
    assert_contains(mr_message(), "row 1, column 0 of B [3, 1] is inf, expected a finite number");
    a[2] = NAN;
    assert_int_equal(mr_structure_values(&s, values), MR_ERR_NUMERIC);
    assert_contains(mr_message(), "row 0, column 2 of A [1, 4] is nan, expected a finite number");
}

static void an_update_of_zeros_has_values_of_zero(void **state)
{
    (void)state;
    float zeros[16] = {0};
    double values[4];
    const mr_group_map strided = {.groups = 2, .length = 4};
    const mr_structure s[] = {{.rows = 4,
                               .cols = 4,
                               .kind = MR_UPDATE_PRODUCT,
                               .scale = 1,
                               .r = 2,
                               .a = zeros,
                               .b = zeros},
                              {.rows = 4,
                               .cols = 4,
                               .kind = MR_UPDATE_GROUPS,
                               .scale = 1,
                               .r = 2,
                               .m = zeros,
                               .in = strided,
                               .out = strided},
                              {.rows = 4,
                               .cols = 4,
                               .kind = MR_UPDATE_BLOCKS,
                               .scale = 1,
                               .r = 2,
                               .m = zeros,
                               .out = {.groups = 4, .length = 4},
                               .blocks = 2,
                               .rotate = true}};
    for (size_t i = 0; i < sizeof s / sizeof s[0]; i++) {
        must(mr_structure_values(&s[i], values));
        for (int j = 0; j < 4; j++)
            assert_true(values[j] == 0);
    }
}

static void scaled_rows_are_to_be_made_dense(void **state)
{
    mr_lab *lab = *state;
    mr_config config;
    mr_update update;
    mr_structure structure;
    site s;
    settings_of_method(&config, "dora");
    settings_put(&config, "method.r", "2");
    assert_true(make_site(lab, &config, 0, 6, 5, &s));
    assert_true(mr_adapter_update(s.a, &s.call, 0, &update));
    assert_int_equal(mr_structure_take(lab->be, &update, 6, 5, &structure), MR_ERR_ARG);
    assert_contains(mr_message(), "an update [6, 5] whose rows are scaled");
    mr_adapter_destroy(&s.a);
}

/* All that is done with one update. */
typedef struct work {
    mr_lab *lab;
    site site;
} work;

static mr_status do_all(void *context)
{
    enum { ROWS = 12, COLS = 10 };
    static double values[COLS], dense[ROWS * COLS], x[COLS], y[ROWS];
    work *w = context;
    mr_update update;
    mr_structure s;
    if (!mr_adapter_update(w->site.a, &w->site.call, 0, &update)) return MR_ERR_ARG;
    MR_TRY(mr_structure_take(w->lab->be, &update, ROWS, COLS, &s));
    const mr_operator op = mr_structure_operator(&s);
    mr_status status = mr_structure_values(&s, values);
    if (status == MR_OK) status = mr_structure_dense(&s, dense);
    if (status == MR_OK) status = op.apply(op.context, false, 1, x, y);
    mr_structure_free(&s);
    return status;
}

static void scarce_memory_is_told(void **state)
{
    static const struct {
        const char *method, *operator;
        int r;
    } cases[] = {{"lora", NULL, 2},       {"lora", NULL, 12},       {"mora", "sharing", 2},
                 {"mora", "sharing", 6},  {"mora", "sharing_2", 2}, {"mora", "rotation", 1},
                 {"mora", "rotation", 4}, {"mora", "decoupling", 1}};
    work w = {.lab = *state};
    mr_config config;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        settings_of_method(&config, cases[i].method);
        settings_put(&config, "method.r", "%d", cases[i].r);
        if (cases[i].operator) settings_put(&config, "method.operator", "%s", cases[i].operator);
        assert_true(make_site(w.lab, &config, 0, 12, 10, &w.site));
        scarce_try(do_all, &w);
        mr_adapter_destroy(&w.site.a);
    }
}

/* What values hold beside the structure itself is what the plan was told. */
static void what_is_held_is_what_is_told(void **state)
{
    mr_lab *lab = *state;
    mr_config config;
    double values[100];
    for (int i = 0; i < 100; i++) {
        site s;
        const int operator= MR_MORA_TRUNCATION + i %(MR_MORA_ROTATION - MR_MORA_TRUNCATION + 1);
        const int64_t rows = 100 + i, cols = 100 - i % 50; /* more and more */
        settings_of_method(&config, i % 4 == 0 ? "lora" : "mora");
        settings_put(&config, "method.r", "%d", 1 + i % 60);
        settings_offer(&config, "method.operator", "%s", mr_mora_operators[operator]);
        if (!make_site(lab, &config, 0, rows, cols, &s)) continue;
        mr_structure structure = take(lab, &s);
        const size_t held = mr_memory_live_total(), before = mr_memory_peak_total();
        must(mr_structure_values(&structure, values));
        const size_t peak = mr_memory_peak_total(), told = mr_structure_bytes(&structure);
        if (peak > before && peak > held + told)
            fail_msg("%s r %d: told %zu bytes, held %zu", config.method.name, 1 + i % 60, told,
                     peak - held);
        assert_true(mr_structure_flops(&structure) > 0);
        mr_structure_free(&structure);
        mr_adapter_destroy(&s.a);
        mr_lab_clear(lab);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MR_LAB_TEST(what_is_held_is_what_is_told),
        MR_LAB_TEST(products_have_the_values_of_their_triangles),
        MR_LAB_TEST(every_operator_of_mora_has_the_values_of_its_structure),
        MR_LAB_TEST(every_restart_of_remora_has_the_values_of_its_grouping),
        MR_LAB_TEST(the_shapes_of_a_model_have_them_too),
        MR_LAB_TEST(products_are_those_of_the_dense_update),
        cmocka_unit_test(routes_follow_from_shape_and_kind),
        cmocka_unit_test(a_number_that_is_not_finite_is_named_by_its_place),
        cmocka_unit_test(an_update_of_zeros_has_values_of_zero),
        MR_LAB_TEST(scaled_rows_are_to_be_made_dense),
        MR_LAB_TEST(scarce_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
