#include "base/clock.h"
#include "reference.h"
#include "test.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { CASES = 12 }; /* random shapes an operation is tried on */

static void an_unknown_backend_is_refused_by_name(void **state)
{
    (void)state;
    mr_backend *be = NULL;
    assert_int_equal(mr_backend_create("abacus", 0, 1, &be), MR_ERR_ARG);
    assert_null(be);
    assert_string_equal(mr_message(),
                        "parallel.backend: \"abacus\" is unknown; there are: cpu cuda auto");
}

static void the_names_list_every_backend(void **state)
{
    (void)state;
    const mr_choice *rows = mr_backend_choices();
    assert_string_equal(rows[0].name, "cpu");
    assert_string_equal(rows[1].name, "cuda");
    assert_string_equal(rows[2].name, "auto");
    assert_null(rows[3].name);
}

/* Where there is no device, or no CUDA in the build, the name is known and the answer says what to
 * do. */
static void cuda_tells_what_it_needs(void **state)
{
    (void)state;
    mr_backend *be = NULL;
    if (mr_backend_create("cuda", 0, 1, &be) == MR_OK) {
        mr_backend_destroy(&be);
        skip_because("there is a device");
    }
    assert_null(be);
    assert_contains(mr_message(), "parallel.backend: \"cuda\": ");
    if (!strstr(mr_message(), "no device of NVIDIA"))
        assert_contains(mr_message(), "cmake --preset cuda && cmake --build --preset cuda");
}

static void auto_is_a_device_or_the_cpu(void **state)
{
    (void)state;
    mr_backend *be = NULL, *device = NULL;
    must(mr_backend_create("auto", 0, 1, &be));
    bool found = mr_backend_create("cuda", 0, 1, &device) == MR_OK;
    assert_string_equal(be->ops->name, found ? "cuda" : "cpu");
    mr_backend_destroy(&device);
    mr_backend_destroy(&be);
}

static void a_tensor_is_created_zero_counted_and_freed_once(void **state)
{
    mr_lab *lab = *state;
    size_t before = mr_memory_live(MR_MEM_EVAL);
    mr_tensor t;
    assert_int_equal(mr_backend_tensor(lab->be, MR_MEM_EVAL, MR_F32, 5, 7, &t), MR_OK);
    assert_true(mr_tensor_is_dense(t) && t.rows == 5 && t.cols == 7);
    assert_true(mr_memory_live(MR_MEM_EVAL) >= before + 5 * 7 * sizeof(float));
    mr_lab_expect(lab, MR_BOUND_EXACT, t, mr_lab_zeros(lab, 35), "a new tensor");
    mr_backend_free(lab->be, &t);
    mr_backend_free(lab->be, &t);
    assert_false(mr_tensor_exists(t));
    assert_int_equal(mr_memory_live(MR_MEM_EVAL), before);
}

static void a_buffer_beyond_memory_is_refused_with_a_message(void **state)
{
    mr_lab *lab = *state;
    mr_buffer *buffer = NULL;
    assert_int_equal(lab->be->ops->buffer_create(lab->be, MR_MEM_WEIGHTS, SIZE_MAX - 8, &buffer),
                     MR_ERR_MEMORY);
    assert_null(buffer);
    assert_contains(mr_message(), "for weights");
}

static void phases_have_names_and_book_time(void **state)
{
    mr_lab *lab = *state;
    for (int phase = 0; phase < MR_PHASES; phase++)
        assert_true(strlen(mr_phase_name((mr_phase)phase)) > 0);
    double seconds[MR_PHASES];
    lab->be->ops->phase_seconds(lab->be, seconds); /* from here on */
    mr_phase_begin(lab->be, MR_PHASE_LOSS);
    const double began = mr_clock();
    mr_phase_begin(lab->be, MR_PHASE_COMM);
    mr_phase_end(lab->be, MR_PHASE_COMM);
    while (mr_clock() - began < 2e-3)
        continue;
    mr_phase_end(lab->be, MR_PHASE_LOSS);
    lab->be->ops->phase_seconds(lab->be, seconds);
    assert_true(seconds[MR_PHASE_LOSS] >= 1e-3 && seconds[MR_PHASE_LOSS] < 60);
    assert_true(seconds[MR_PHASE_COMM] < seconds[MR_PHASE_LOSS]);
    assert_true(seconds[MR_PHASE_LINEAR] == 0);
    lab->be->ops->phase_seconds(lab->be, seconds);
    assert_true(seconds[MR_PHASE_LOSS] == 0);
    lab->be->ops->phase_seconds(lab->be, NULL);
}

/* Three times each, so that a device calls, records and repeats; then of new buffers. */
static void a_repeated_stretch_works_on_what_its_tensors_hold_now(void **state)
{
    mr_lab *lab = *state;
    enum { ROWS = 5, COLS = 24, COUNT = ROWS * COLS };
    const mr_backend_ops *ops = lab->be->ops;
    for (int of = 0; of < 2; of++) {
        const uint64_t key = 7;
        mr_tensor x = mr_lab_poison(lab, MR_F32, ROWS, COLS, 0);
        mr_tensor y = mr_lab_poison(lab, MR_F32, ROWS, COLS, 0);
        mr_tensor dots = mr_lab_poison(lab, MR_F32, ROWS, ROWS, 0);
        for (int i = 0; i < 3; i++) {
            float sent[COUNT];
            double want[COUNT], products[ROWS * ROWS];
            for (int n = 0; n < COUNT; n++) {
                sent[n] = (float)((n + 7 * i + of) % 11);
                want[n] = (double)sent[n] + 1;
            }
            mr_reference_gemm(false, true, 1, want, want, 0, products, ROWS, ROWS, COLS);
            ops->upload(lab->be, x, sent);
            if (ops->repeat_begin(lab->be, key)) {
                ops->fill(lab->be, y, 1);
                ops->add(lab->be, y, x);
                ops->gemm(lab->be, false, true, 1, y, y, 0, dots);
                ops->repeat_end(lab->be);
            }
            mr_lab_expect(lab, MR_BOUND_EXACT, y, want, "sum, time %d of %d", i, of);
            mr_lab_expect(lab, MR_BOUND_EXACT, dots, products, "product, time %d of %d", i, of);
        }
        mr_lab_clear(lab);
    }
}

static void fill_add_and_copy_stay_inside_strided_views(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        int64_t rows = mr_lab_extent(lab, 1, 60), cols = mr_lab_extent(lab, 1, 60);
        int64_t count = rows * cols;
        double *x = mr_lab_normals(lab, count), *y = mr_lab_normals(lab, count);
        double *sum = mr_lab_zeros(lab, count), *value = mr_lab_zeros(lab, count);
        for (int64_t j = 0; j < count; j++) {
            sum[j] = (double)((float)y[j] + (float)x[j]);
            value[j] = -1.25;
        }
        mr_tensor tx = mr_lab_upload(lab, x, rows, cols, i % 3);
        mr_tensor ty = mr_lab_upload(lab, y, rows, cols, (i + 1) % 4);
        MR_LAB_RUN(lab, add, ty, tx);
        mr_lab_expect(lab, MR_BOUND_EXACT, ty, sum, "add, case %d", i);
        MR_LAB_RUN(lab, copy, ty, tx);
        mr_lab_expect(lab, MR_BOUND_EXACT, ty, x, "copy, case %d", i);
        MR_LAB_RUN(lab, fill, ty, -1.25f);
        mr_lab_expect(lab, MR_BOUND_EXACT, ty, value, "fill, case %d", i);
    }
}

/* y of dropout on values [rows, cols] seen as [rows_seen, count / rows_seen]. */
static double *dropped(mr_lab *lab, const double *values, int64_t count, int64_t rows_seen,
                       int64_t gap, double p, uint64_t stream, int64_t first_row)
{
    int64_t cols = count / rows_seen;
    mr_tensor x = mr_lab_upload(lab, values, rows_seen, cols, gap);
    mr_tensor y = mr_lab_poison(lab, MR_F32, rows_seen, cols, gap);
    MR_LAB_RUN(lab, dropout, y, x, 0, p, mr_random_stream(7, MR_RANDOM_DROPOUT, stream), first_row);
    return mr_lab_download(lab, y);
}

static void dropout_keeps_the_stated_share_and_scales_it(void **state)
{
    mr_lab *lab = *state;
    const double shares[] = {0.0, 0.05, 0.3, 0.9};
    for (size_t i = 0; i < 4; i++) {
        int64_t count = 200 * 301, kept = 0;
        double p = shares[i];
        double *x = mr_lab_normals(lab, count), *want = mr_lab_zeros(lab, count);
        for (int64_t j = 0; j < count; j++)
            if (x[j] == 0) x[j] = 1;
        double *y = dropped(lab, x, count, 200, 0, p, i, 0);
        for (int64_t j = 0; j < count; j++) {
            kept += y[j] != 0;
            want[j] = y[j] != 0 ? x[j] / (1 - p) : 0;
        }
        mr_lab_expect_values(p == 0 ? MR_BOUND_EXACT : MR_BOUND_ROUNDED, y, want, count,
                             "dropout p = %g", p);
        double share = 1 - (double)kept / (double)count;
        /* Five standard deviations of the share. */
        if (fabs(share - p) > 5 * sqrt(p * (1 - p) / (double)count))
            fail_msg("p = %g dropped %g", p, share);
    }
}

static void dropout_masks_differ_between_streams_and_rows(void **state)
{
    mr_lab *lab = *state;
    int64_t count = 50 * 20, same_stream = 0, same_row = 0;
    double *x = mr_lab_zeros(lab, count);
    for (int64_t i = 0; i < count; i++)
        x[i] = 1;
    double *a = dropped(lab, x, count, 50, 0, 0.5, 1, 0);
    double *b = dropped(lab, x, count, 50, 0, 0.5, 2, 0);
    double *c = dropped(lab, x, count, 50, 0, 0.5, 1, 50);
    for (int64_t i = 0; i < count; i++) {
        same_stream += a[i] == b[i];
        same_row += a[i] == c[i];
    }
    /* Independent halves agree in 500 +- 16 of 1000 places. */
    assert_in_range(same_stream, 400, 600);
    assert_in_range(same_row, 400, 600);
}

static void dropout_does_not_depend_on_how_rows_are_cut(void **state)
{
    mr_lab *lab = *state;
    const int64_t widths[] = {1, 3, 4, 7, 64, 101};
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        int64_t cols = widths[i], count = 10 * cols;
        double *x = mr_lab_normals(lab, count);
        double *whole = dropped(lab, x, count, 10, 0, 0.4, 3, 0);
        for (int64_t cut = 1; cut < 10; cut++) {
            double *top = dropped(lab, x, cut * cols, cut, 0, 0.4, 3, 0);
            double *rest =
                dropped(lab, x + cut * cols, count - cut * cols, 10 - cut, 0, 0.4, 3, cut);
            mr_lab_expect_values(MR_BOUND_EXACT, top, whole, cut * cols,
                                 "rows below %" PRId64 " of 10 x %" PRId64, cut, cols);
            mr_lab_expect_values(MR_BOUND_EXACT, rest, whole + cut * cols, count - cut * cols,
                                 "rows from %" PRId64 " of 10 x %" PRId64, cut, cols);
        }
    }
}

static void dropout_depends_on_the_flat_index_only(void **state)
{
    mr_lab *lab = *state;
    double *x = mr_lab_normals(lab, 420);
    double *flat = dropped(lab, x, 420, 1, 0, 0.4, 3, 0);
    const int64_t rows[] = {1, 2, 7, 20, 420};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int64_t gap = 0; gap < 3; gap++)
            mr_lab_expect_values(MR_BOUND_EXACT, dropped(lab, x, 420, rows[i], gap, 0.4, 3, 0),
                                 flat, 420, "%" PRId64 " rows, gap %" PRId64, rows[i], gap);
}

static void dropout_reaches_rows_beyond_32_bits(void **state)
{
    mr_lab *lab = *state;
    int64_t count = 40 * 25, far = (int64_t)1 << 35, same = 0;
    double *x = mr_lab_zeros(lab, count);
    for (int64_t i = 0; i < count; i++)
        x[i] = 1;
    double *near_rows = dropped(lab, x, count, 40, 0, 0.5, 1, 0);
    double *far_rows = dropped(lab, x, count, 40, 0, 0.5, 1, far);
    double *again = dropped(lab, x + 25, count - 25, 39, 0, 0.5, 1, far + 1);
    for (int64_t i = 0; i < count; i++)
        same += near_rows[i] == far_rows[i];
    assert_in_range(same, 400, 600);
    mr_lab_expect_values(MR_BOUND_EXACT, again, far_rows + 25, count - 25, "far rows, cut");
}

static void dropout_in_place_and_added_use_the_same_mask(void **state)
{
    mr_lab *lab = *state;
    int64_t rows = 13, cols = 37, count = rows * cols;
    mr_random stream = mr_random_stream(7, MR_RANDOM_DROPOUT, 5);
    double *x = mr_lab_normals(lab, count), *y = mr_lab_normals(lab, count);
    double *want = mr_lab_copy(lab, y, count);
    double *alone = dropped(lab, x, count, rows, 0, 0.25, 5, 2);
    for (int64_t i = 0; i < count; i++)
        want[i] += alone[i];
    mr_tensor tx = mr_lab_upload(lab, x, rows, cols, 3), ty = mr_lab_upload(lab, y, rows, cols, 2);
    MR_LAB_RUN(lab, dropout, ty, tx, 1, 0.25, stream, 2);
    mr_lab_expect(lab, MR_BOUND_ROUNDED, ty, want, "y += dropout(x)");
    MR_LAB_RUN(lab, dropout, tx, tx, 0, 0.25, stream, 2);
    mr_lab_expect(lab, MR_BOUND_EXACT, tx, alone, "dropout in place");
}

static void sum_pieces_adds_neighbours_first(void **state)
{
    mr_lab *lab = *state;
    const int64_t lengths[] = {1, 5, 1000, 40001};
    for (int64_t pieces = 1; pieces <= 9; pieces++) {
        for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
            int64_t n = lengths[l];
            double *values = mr_lab_normals(lab, pieces * n);
            mr_tensor t = mr_lab_upload(lab, values, pieces, n, 0);
            mr_tensor y = mr_lab_poison(lab, MR_F32, 1, n, 0);
            for (int64_t s = 1; s < pieces; s *= 2)
                for (int64_t i = 0; i + s < pieces; i += 2 * s)
                    for (int64_t j = 0; j < n; j++)
                        values[i * n + j] =
                            (double)((float)values[i * n + j] + (float)values[(i + s) * n + j]);
            MR_LAB_RUN(lab, sum_pieces, y, t);
            mr_lab_expect(lab, MR_BOUND_EXACT, y, values, "P = %" PRId64 ", n = %" PRId64, pieces,
                          n);
            mr_lab_clear(lab);
        }
    }
}

static void square_sums_are_exact_to_double(void **state)
{
    mr_lab *lab = *state;
    const int64_t shapes[][2] = {{1, 1},    {1, 1023}, {1, 1024}, {1, 1025},
                                 {3, 2048}, {7, 431},  {50, 1000}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        int64_t count = shapes[i][0] * shapes[i][1], runs = (count + 1023) / 1024;
        double *x = mr_lab_normals(lab, count);
        mr_tensor out = mr_lab_poison(lab, MR_F64, 1, runs, 0);
        MR_LAB_RUN(lab, square_sums, out, mr_lab_upload(lab, x, shapes[i][0], shapes[i][1], 0));
        double *got = mr_lab_download(lab, out);
        for (int64_t run = 0; run < runs; run++) {
            int64_t left = count - 1024 * run;
            double want =
                mr_reference_dot(x + 1024 * run, x + 1024 * run, left < 1024 ? left : 1024);
            if (!(fabs(got[run] - want) <= 1e-13 * want))
                fail_msg("run %" PRId64 " of %" PRId64 " elements: %.17g, expected %.17g", run,
                         count, got[run], want);
        }
    }
}

static void gemm_case(mr_lab *lab, int64_t m, int64_t n, int64_t k, int variant)
{
    bool ta = variant & 1, tb = variant & 2;
    double alpha = variant & 4 ? -0.75 : 1, beta = variant & 8 ? 0.5 : 0;
    int64_t gap = variant & 16 ? 3 : 0;
    double *a = mr_lab_normals(lab, m * k), *b = mr_lab_normals(lab, n * k);
    double *c = mr_lab_normals(lab, m * n);
    mr_tensor at = mr_lab_upload(lab, a, ta ? k : m, ta ? m : k, gap);
    mr_tensor bt = mr_lab_upload(lab, b, tb ? n : k, tb ? k : n, 2 * gap);
    /* With beta = 0 what stands in c, NaN here, must not matter. */
    mr_tensor ct = beta == 0 ? mr_lab_poison(lab, MR_F32, m, n, gap + 1)
                             : mr_lab_upload(lab, c, m, n, gap + 1);
    MR_LAB_RUN(lab, gemm, ta, tb, (float)alpha, at, bt, (float)beta, ct);
    mr_reference_gemm(ta, tb, alpha, a, b, beta, c, m, n, k);
    mr_lab_expect(lab, MR_BOUND_SUMMED, ct, c,
                  "gemm %" PRId64 " x %" PRId64 " x %" PRId64 ", variant %d", m, n, k, variant);
    mr_lab_clear(lab);
}

static void gemm_matches_the_formula(void **state)
{
    mr_lab *lab = *state;
    for (int variant = 0; variant < 64; variant++) {
        lab->be->each_row = variant < 32;
        gemm_case(lab, mr_lab_extent(lab, 1, 50), mr_lab_extent(lab, 1, 50),
                  mr_lab_extent(lab, 1, 50), variant);
        gemm_case(lab, 1, mr_lab_extent(lab, 1, 200), mr_lab_extent(lab, 1, 200), variant);
        gemm_case(lab, mr_lab_extent(lab, 1, 200), 1, mr_lab_extent(lab, 1, 200), variant);
        gemm_case(lab, mr_lab_extent(lab, 60, 140), mr_lab_extent(lab, 60, 140), 1, variant);
        gemm_case(lab, 131, 117, mr_lab_extent(lab, 150, 250), variant);
        gemm_case(lab, 117, 131, mr_lab_extent(lab, 150, 250), variant);
    }
}

static void a_row_has_bits_of_its_own_where_asked(void **state)
{
    enum { TILE = 48, INNER = 200, WIDE = 77 };
    mr_lab *lab = *state;
    if (strcmp(test_backend(), "cpu") != 0) skip();
    double *w = mr_lab_normals(lab, WIDE * INNER), *row = mr_lab_normals(lab, INNER), *first = NULL;
    mr_tensor b = mr_lab_upload(lab, w, WIDE, INNER, 0);
    lab->be->each_row = true;
    for (int64_t m = TILE; m <= 4 * TILE; m += TILE) {
        double *x = mr_lab_zeros(lab, m * INNER);
        for (int64_t i = 0; i < m; i++)
            memcpy(x + i * INNER, row, INNER * sizeof *x);
        mr_tensor c = mr_lab_poison(lab, MR_F32, m, WIDE, 0);
        MR_LAB_RUN(lab, gemm, false, true, 1, mr_lab_upload(lab, x, m, INNER, 0), b, 0, c);
        double *got = mr_lab_download(lab, c);
        if (!first) first = got;
        for (int64_t i = 0; i < m; i++)
            assert_memory_equal(got + i * WIDE, first, WIDE * sizeof *got);
    }
    lab->be->each_row = false;
}

/* rmsnorm where the sum goes: nowhere (no addend), to its own tensor, over x, over the addend. */
static void rmsnorm_case(mr_lab *lab, int64_t rows, int64_t cols, int place)
{
    int64_t count = rows * cols;
    double *x = mr_lab_normals(lab, count), *addend = mr_lab_normals(lab, count);
    double *w = mr_lab_normals(lab, cols), *sum = mr_lab_copy(lab, x, count);
    double *y = mr_lab_zeros(lab, count), *rstd = mr_lab_zeros(lab, rows);
    mr_tensor tx = mr_lab_upload(lab, x, rows, cols, 0), ts = {0}, ta = {0};
    if (place > 0) {
        ta = mr_lab_upload(lab, addend, rows, cols, 0);
        ts = place == 1 ? mr_lab_poison(lab, MR_F32, rows, cols, 0) : place == 2 ? tx : ta;
        for (int64_t i = 0; i < count; i++)
            sum[i] = (double)((float)x[i] + (float)addend[i]);
    }
    mr_tensor ty = mr_lab_poison(lab, MR_F32, rows, cols, 0);
    mr_tensor tr = mr_lab_poison(lab, MR_F32, 1, rows, 0);
    MR_LAB_RUN(lab, rmsnorm_forward, ty, tr, ts, tx, ta, mr_lab_upload(lab, w, 1, cols, 0), 1e-5);
    mr_reference_rmsnorm(y, rstd, sum, w, 1e-5, rows, cols);
    mr_lab_expect(lab, MR_BOUND_ROUNDED, ty, y, "y [%" PRId64 ", %" PRId64 "], place %d", rows,
                  cols, place);
    mr_lab_expect(lab, MR_BOUND_ROUNDED, tr, rstd, "rstd [%" PRId64 "], place %d", rows, place);
    if (place > 0) mr_lab_expect(lab, MR_BOUND_EXACT, ts, sum, "sum, place %d", place);
    mr_lab_clear(lab);
}

static void rmsnorm_matches_the_formula(void **state)
{
    mr_lab *lab = *state;
    for (int place = 0; place < 4; place++) {
        rmsnorm_case(lab, 1, 1, place);
        rmsnorm_case(lab, 1, 300, place);
        rmsnorm_case(lab, 130, 301, place);
        for (int i = 0; i < CASES; i++)
            rmsnorm_case(lab, mr_lab_extent(lab, 1, 60), mr_lab_extent(lab, 1, 60), place);
    }
}

static void rmsnorm_of_zeros_is_zero(void **state)
{
    mr_lab *lab = *state;
    double *zeros = mr_lab_zeros(lab, 2 * 9), *w = mr_lab_normals(lab, 9);
    double rstd[2] = {1e3, 1e3};
    mr_tensor y = mr_lab_poison(lab, MR_F32, 2, 9, 0), r = mr_lab_poison(lab, MR_F32, 1, 2, 0);
    MR_LAB_RUN(lab, rmsnorm_forward, y, r, (mr_tensor){0}, mr_lab_upload(lab, zeros, 2, 9, 0),
               (mr_tensor){0}, mr_lab_upload(lab, w, 1, 9, 0), 1e-6);
    mr_lab_expect(lab, MR_BOUND_EXACT, y, zeros, "rmsnorm of zeros");
    mr_lab_expect(lab, MR_BOUND_ROUNDED, r, rstd, "rstd of zeros");
}

static void rope_matches_the_formula_and_inverse_undoes_it(void **state)
{
    mr_lab *lab = *state;
    const int64_t sizes[] = {2, 4, 16, 64, 80, 128};
    for (size_t i = 0; i < 2 * CASES; i++) {
        int64_t head = sizes[i % 6], heads = mr_lab_extent(lab, 1, 5), cols = heads * head;
        int64_t rows = i < 6 ? 1 : mr_lab_extent(lab, 2, 90), positions = 300;
        double *x = mr_lab_normals(lab, rows * cols), *y = mr_lab_zeros(lab, rows * cols);
        int32_t *ids = mr_lab_ids(lab, rows, positions);
        mr_tensor cosine, sine, t = mr_lab_upload(lab, x, rows, cols, 0);
        mr_tensor places = mr_lab_upload_ids(lab, ids, rows);
        mr_lab_angles(lab, positions, head, &cosine, &sine);
        mr_reference_rope(y, x, ids, rows, cols, head);
        MR_LAB_RUN(lab, rope, t, cosine, sine, places, head, false);
        mr_lab_expect(lab, MR_BOUND_ROUNDED, t, y, "rope [%" PRId64 ", %" PRId64 " x %" PRId64 "]",
                      rows, heads, head);
        MR_LAB_RUN(lab, rope, t, cosine, sine, places, head, true);
        mr_lab_expect(lab, MR_BOUND_ROUNDED, t, x, "rope and back, head size %" PRId64, head);
        mr_lab_clear(lab);
    }
}

static void swiglu_matches_the_formula_in_place_too(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        int64_t rows = mr_lab_extent(lab, 1, 40), cols = mr_lab_extent(lab, 1, 90);
        int64_t count = rows * cols;
        double *gate = mr_lab_normals(lab, count), *up = mr_lab_normals(lab, count);
        double *want = mr_lab_zeros(lab, count);
        gate[0] = 100;
        gate[count - 1] = -100;
        mr_reference_swiglu(want, gate, up, count);
        mr_tensor tg = mr_lab_upload(lab, gate, rows, cols, 0);
        mr_tensor tu = mr_lab_upload(lab, up, rows, cols, 0);
        mr_tensor y = i % 3 == 0 ? mr_lab_poison(lab, MR_F32, rows, cols, 0) : i % 3 == 1 ? tg : tu;
        MR_LAB_RUN(lab, swiglu_forward, y, tg, tu);
        mr_lab_expect(lab, MR_BOUND_ROUNDED, y, want, "swiglu, case %d", i);
    }
}

static void swiglu_survives_gates_whose_exponentials_overflow(void **state)
{
    mr_lab *lab = *state;
    double gate[4] = {1e4, -1e4, 89, -89}, up[4] = {2, 2, 2, 2}, want[4] = {2e4, 0, 178, 0};
    mr_tensor y = mr_lab_poison(lab, MR_F32, 1, 4, 0);
    MR_LAB_RUN(lab, swiglu_forward, y, mr_lab_upload(lab, gate, 1, 4, 0),
               mr_lab_upload(lab, up, 1, 4, 0));
    double *got = mr_lab_download(lab, y);
    for (int i = 0; i < 4; i++)
        assert_true(fabs(got[i] - want[i]) <= 1e-6 * want[i] + 1e-30);
}

static void rows_are_gathered_and_scattered_by_id(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        int64_t vocab = mr_lab_extent(lab, 1, 80), cols = mr_lab_extent(lab, 1, 70);
        int64_t rows = i == 0 ? 1 : mr_lab_extent(lab, 1, 100);
        double *w = mr_lab_normals(lab, vocab * cols), *want = mr_lab_zeros(lab, rows * cols);
        int32_t *ids = mr_lab_ids(lab, rows, vocab);
        mr_tensor tw = mr_lab_upload(lab, w, vocab, cols, 0);
        mr_tensor y = mr_lab_poison(lab, MR_F32, rows, cols, 0);
        MR_LAB_RUN(lab, gather_rows, y, tw, mr_lab_upload_ids(lab, ids, rows));
        mr_reference_gather(want, w, ids, rows, cols);
        mr_lab_expect(lab, MR_BOUND_EXACT, y, want, "gather, case %d", i);

        int64_t some = mr_lab_extent(lab, 1, vocab);
        int32_t *places = mr_lab_distinct(lab, some, vocab);
        double *x = mr_lab_normals(lab, some * cols);
        MR_LAB_RUN(lab, scatter_rows, tw, mr_lab_upload(lab, x, some, cols, 0),
                   mr_lab_upload_ids(lab, places, some));
        for (int64_t n = 0; n < some; n++)
            memcpy(w + places[n] * cols, x + n * cols, (size_t)cols * sizeof *w);
        mr_lab_expect(lab, MR_BOUND_EXACT, tw, w, "scatter, case %d", i);
    }
}

static void cross_entropy_matches_the_formula_and_leaves_the_logits(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        int64_t rows = i == 0 ? 1 : mr_lab_extent(lab, 1, 60);
        int64_t vocab = i == 1 ? 1 : i == 2 ? 32001 : mr_lab_extent(lab, 2, 500);
        double *logits = mr_lab_normals(lab, rows * vocab), *want = mr_lab_zeros(lab, rows);
        int32_t *targets = mr_lab_ids(lab, rows, vocab);
        for (int64_t n = 0; n < rows; n += 3)
            targets[n] = n % 2 ? -100 : -1;
        mr_tensor t = mr_lab_upload(lab, logits, rows, vocab, 0);
        mr_tensor losses = mr_lab_poison(lab, MR_F64, 1, rows, 0);
        MR_LAB_RUN(lab, cross_entropy, t, mr_lab_upload_ids(lab, targets, rows), losses, false, 0);
        mr_reference_cross_entropy(want, logits, targets, rows, vocab);
        mr_lab_expect(lab, MR_BOUND_ROUNDED, losses, want, "losses, case %d", i);
        mr_lab_expect(lab, MR_BOUND_EXACT, t, logits, "logits, case %d", i);
        mr_lab_clear(lab);
    }
}

static void argmax_takes_the_first_of_equals(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < 4 * CASES; i++) {
        int64_t rows = mr_lab_extent(lab, 1, 30), cols = mr_lab_extent(lab, 1, i % 2 ? 10 : 300);
        double *logits = mr_lab_normals(lab, rows * cols), *want = mr_lab_zeros(lab, rows);
        for (int64_t n = 0; n < rows; n++) {
            double *row = logits + n * cols;
            /* Whole numbers, so that the largest comes up several times; the first row is all
             * equal, and negative. */
            for (int64_t c = 0; c < cols; c++)
                row[c] = n == 0 ? -7 : round(row[c]) - 20;
            for (int64_t c = cols - 1; c >= 0; c--)
                if (row[c] >= row[(int64_t)want[n]]) want[n] = (double)c;
        }
        mr_tensor ids = mr_lab_poison(lab, MR_I32, 1, rows, 0);
        MR_LAB_RUN(lab, argmax, ids, mr_lab_upload(lab, logits, rows, cols, 0));
        mr_lab_expect(lab, MR_BOUND_EXACT, ids, want, "argmax [%" PRId64 ", %" PRId64 "]", rows,
                      cols);
    }
}

static void adamw_follows_torch_over_several_steps(void **state)
{
    mr_lab *lab = *state;
    const int64_t shapes[][2] = {{1, 1}, {1, 37}, {13, 29}, {220, 301}};
    const double decays[] = {0, 0.1};
    for (size_t i = 0; i < 8; i++) {
        int64_t rows = shapes[i / 2][0], cols = shapes[i / 2][1], count = rows * cols;
        double *w = mr_lab_normals(lab, count), *m = mr_lab_zeros(lab, count);
        double *v = mr_lab_zeros(lab, count), *start = mr_lab_copy(lab, w, count);
        mr_adamw_args args = {.weight = mr_lab_upload(lab, w, rows, cols, 0),
                              .m = mr_lab_upload(lab, m, rows, cols, 0),
                              .v = mr_lab_upload(lab, v, rows, cols, 0),
                              .grad_scale = 0.625,
                              .lr = 3e-2,
                              .beta1 = 0.9,
                              .beta2 = 0.95,
                              .eps = 1e-8,
                              .weight_decay = decays[i % 2]};
        for (args.step = 1; args.step <= 5; args.step++) {
            double *grad = mr_lab_normals(lab, count);
            args.grad = mr_lab_upload(lab, grad, rows, cols, 0);
            MR_LAB_RUN(lab, adamw, &args, 1);
            mr_reference_adamw(w, grad, m, v, count, &args);
            mr_lab_expect(lab, MR_BOUND_EXACT, args.grad, grad, "gradient after adamw");
        }
        mr_lab_expect(lab, MR_BOUND_ROUNDED, args.weight, w, "weight, case %zu", i);
        mr_lab_expect(lab, MR_BOUND_ROUNDED, args.m, m, "m, case %zu", i);
        mr_lab_expect(lab, MR_BOUND_ROUNDED, args.v, v, "v, case %zu", i);
        assert_memory_not_equal(start, w, sizeof *w);
        mr_lab_clear(lab);
    }
}

/* One step of torch.optim.AdamW(lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01) moves each
 * weight to 0.999 w - 0.1 sign(grad): m / (1 - beta1) is the gradient, v / (1 - beta2) its square.
 */
static void the_first_adamw_step_is_decay_and_the_sign_of_the_gradient(void **state)
{
    mr_lab *lab = *state;
    double w[4] = {1, -2, 0.5, 0}, grad[4] = {0.3, -4, 0, 1e3}, zeros[4] = {0};
    double want[4] = {0.899, -1.898, 0.4995, -0.1};
    mr_adamw_args args = {.weight = mr_lab_upload(lab, w, 1, 4, 0),
                          .grad = mr_lab_upload(lab, grad, 1, 4, 0),
                          .m = mr_lab_upload(lab, zeros, 1, 4, 0),
                          .v = mr_lab_upload(lab, zeros, 1, 4, 0),
                          .grad_scale = 1,
                          .lr = 0.1,
                          .beta1 = 0.9,
                          .beta2 = 0.999,
                          .eps = 1e-8,
                          .weight_decay = 0.01,
                          .step = 1};
    MR_LAB_RUN(lab, adamw, &args, 1);
    mr_lab_expect(lab, MR_BOUND_ROUNDED, args.weight, want, "weights after one step");
}

static void a_list_of_updates_is_as_one_after_another(void **state)
{
    mr_lab *lab = *state;
    enum { COUNT = 5 };
    mr_adamw_args list[COUNT], single[COUNT];
    for (int i = 0; i < COUNT; i++) {
        int64_t count = mr_lab_extent(lab, 1, 500);
        double *w = mr_lab_normals(lab, count), *grad = mr_lab_normals(lab, count);
        double *zeros = mr_lab_zeros(lab, count);
        mr_adamw_args *const both[] = {&list[i], &single[i]};
        for (int k = 0; k < 2; k++)
            *both[k] = (mr_adamw_args){.weight = mr_lab_upload(lab, w, 1, count, 0),
                                       .grad = mr_lab_upload(lab, grad, 1, count, 0),
                                       .m = mr_lab_upload(lab, zeros, 1, count, 0),
                                       .v = mr_lab_upload(lab, zeros, 1, count, 0),
                                       .grad_scale = 1,
                                       .lr = 0.01 * (i + 1),
                                       .beta1 = 0.9,
                                       .beta2 = 0.99,
                                       .eps = 1e-8,
                                       .step = i + 1};
    }
    MR_LAB_RUN(lab, adamw, list, COUNT);
    for (int i = 0; i < COUNT; i++) {
        MR_LAB_RUN(lab, adamw, &single[i], 1);
        mr_lab_expect(lab, MR_BOUND_EXACT, list[i].weight, mr_lab_download(lab, single[i].weight),
                      "weight %d", i);
    }
}

/* The group of each position is read off group_spread's reference: spread over the positions, the
 * numbers 1, 2, ... of the groups say which one each belongs to. */
static void group_rows_are_those_of_the_groups(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        int64_t side = mr_lab_extent(lab, 1, 9), blocks = i % 3 == 2 ? 1 : mr_lab_extent(lab, 1, 4);
        int64_t groups = side * blocks, n = groups + mr_lab_extent(lab, 0, 40);
        mr_group_map map = {.contiguous = i % 3 == 0, .groups = groups, .length = n};
        if (i % 3 == 2) map.length = mr_lab_extent(lab, 1, n); /* truncation */
        double *numbers = mr_lab_zeros(lab, groups), *of = mr_lab_zeros(lab, n);
        for (int64_t g = 0; g < groups; g++)
            numbers[g] = (double)(g + 1);
        mr_reference_group_spread(of, numbers, map, 1, n);
        double *m = mr_lab_normals(lab, side * side);
        int64_t first = mr_lab_extent(lab, 0, n - 1), rows = n - first;
        double *want = mr_lab_zeros(lab, rows * groups);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; of[first + r] > 0 && c < side; c++) {
                int64_t group = (int64_t)of[first + r] - 1;
                want[r * groups + group / side * side + c] = m[group % side * side + c];
            }
        mr_tensor y = mr_lab_poison(lab, MR_F32, rows, groups, i % 4);
        MR_LAB_RUN(lab, group_rows, y, mr_lab_upload(lab, m, side, side, i % 3), map, first);
        mr_lab_expect(lab, MR_BOUND_EXACT, y, want, "case %d", i);
        mr_lab_clear(lab);
    }
}

/* The bytes of all that a program computed. */
typedef struct record {
    unsigned char *bytes; /* owned */
    size_t size;
    int64_t room;
} record;

typedef void (*program)(mr_lab *lab, record *out);

/* Enough rows and columns that a loop over them is worth several threads. */
enum { ROWS = 211, COLS = 333 };

static void note(mr_lab *lab, record *out, mr_tensor t)
{
    size_t size = (size_t)mr_tensor_count(t) * mr_dtype_size(t.dtype);
    must(mr_grow(MR_MEM_OTHER, &out->bytes, &out->room, (int64_t)(out->size + size), 1));
    assert_int_equal(lab->be->ops->synchronize(lab->be), MR_OK);
    lab->be->ops->download(lab->be, out->bytes + out->size, t);
    out->size += size;
}

/* Random values [rows, cols]; uniform, as these inputs are many. */
static mr_tensor inputs(mr_lab *lab, int64_t rows, int64_t cols)
{
    double *values = mr_lab_zeros(lab, rows * cols);
    for (int64_t i = 0; i < rows * cols; i++)
        values[i] = 2 * mr_random_uniform(&lab->random, lab->drawn++) - 1;
    return mr_lab_upload(lab, values, rows, cols, 0);
}

static void run_elementwise(mr_lab *lab, record *out)
{
    mr_tensor x = inputs(lab, ROWS, COLS), y = inputs(lab, ROWS, COLS);
    mr_tensor up = inputs(lab, ROWS, COLS), dup = mr_lab_poison(lab, MR_F32, ROWS, COLS, 0);
    mr_tensor dgate = mr_lab_poison(lab, MR_F32, ROWS, COLS, 0);
    MR_LAB_RUN(lab, dropout, y, x, 1, 0.3, mr_random_stream(1, MR_RANDOM_DROPOUT, 1), 5);
    MR_LAB_RUN(lab, add, y, up);
    note(lab, out, y);
    MR_LAB_RUN(lab, swiglu_forward, x, y, up);
    note(lab, out, x);
    MR_LAB_RUN(lab, swiglu_backward, dgate, dup, x, y, up);
    note(lab, out, dgate);
    note(lab, out, dup);
    MR_LAB_RUN(lab, copy, dup, x);
    MR_LAB_RUN(lab, fill, x, 3);
    note(lab, out, dup);
    note(lab, out, x);
}

static void run_sums(mr_lab *lab, record *out)
{
    mr_tensor pieces = inputs(lab, 7, ROWS * COLS);
    mr_tensor y = mr_lab_poison(lab, MR_F32, 1, ROWS * COLS, 0);
    mr_tensor squares = mr_lab_poison(lab, MR_F64, 1, (ROWS * COLS + 1023) / 1024, 0);
    MR_LAB_RUN(lab, sum_pieces, y, pieces);
    MR_LAB_RUN(lab, square_sums, squares, y);
    note(lab, out, y);
    note(lab, out, squares);
}

static void run_rmsnorm(mr_lab *lab, record *out)
{
    mr_tensor x = inputs(lab, ROWS, COLS), addend = inputs(lab, ROWS, COLS);
    mr_tensor w = inputs(lab, 1, COLS), dx = inputs(lab, ROWS, COLS);
    mr_tensor y = mr_lab_poison(lab, MR_F32, ROWS, COLS, 0);
    mr_tensor rstd = mr_lab_poison(lab, MR_F32, 1, ROWS, 0);
    mr_tensor dw = mr_lab_poison(lab, MR_F32, 1, COLS, 0);
    MR_LAB_RUN(lab, rmsnorm_forward, y, rstd, x, x, addend, w, 1e-5);
    MR_LAB_RUN(lab, rmsnorm_backward, dx, dw, addend, x, rstd, w);
    note(lab, out, y);
    note(lab, out, rstd);
    note(lab, out, dx);
    note(lab, out, dw);
}

static void run_rope(mr_lab *lab, record *out)
{
    mr_tensor x = inputs(lab, ROWS, 4 * 80), cosine, sine;
    mr_tensor positions = mr_lab_upload_ids(lab, mr_lab_ids(lab, ROWS, 50), ROWS);
    mr_lab_angles(lab, 50, 80, &cosine, &sine);
    MR_LAB_RUN(lab, rope, x, cosine, sine, positions, 80, false);
    note(lab, out, x);
    MR_LAB_RUN(lab, rope, x, cosine, sine, positions, 80, true);
    note(lab, out, x);
}

static void run_attention(mr_lab *lab, record *out)
{
    mr_attention_shape shape = {3, 150, 6, 2, 16};
    int64_t rows = shape.batch * shape.tokens, q_cols = 6 * 16, k_cols = 2 * 16;
    mr_attention_args args = {
        .shape = shape,
        .q = inputs(lab, rows, q_cols),
        .k = inputs(lab, rows, k_cols),
        .v = inputs(lab, rows, k_cols),
        .o = mr_lab_poison(lab, MR_F32, rows, q_cols, 0),
        .lse = mr_lab_poison(lab, MR_F32, shape.batch * shape.heads, shape.tokens, 0),
        .d_o = inputs(lab, rows, q_cols),
        .d_q = mr_lab_poison(lab, MR_F32, rows, q_cols, 0),
        .d_k = mr_lab_poison(lab, MR_F32, rows, k_cols, 0),
        .d_v = mr_lab_poison(lab, MR_F32, rows, k_cols, 0),
    };
    int32_t offsets[] = {0, 140, 141, 160}, lengths[] = {150, 1, 97};
    enum { PAGES = 14, MOST = (150 + MR_CACHE_PAGE - 1) / MR_CACHE_PAGE };
    int32_t pages[3 * MOST];
    for (int i = 0; i < 3 * MOST; i++)
        pages[i] = i * 5 % PAGES;
    mr_tensor ids = mr_lab_upload_ids(lab, pages, 3 * (int64_t)MOST);
    mr_cached_attention_args cached = {
        .shape = shape,
        .q = mr_tensor_rows(args.q, 0, 160),
        .k = mr_tensor_rows(args.k, 0, PAGES * (int64_t)MR_CACHE_PAGE),
        .v = mr_tensor_rows(args.v, 0, PAGES * (int64_t)MR_CACHE_PAGE),
        .o = mr_lab_poison(lab, MR_F32, 160, q_cols, 0),
        .offsets = mr_lab_upload_ids(lab, offsets, 4),
        .lengths = mr_lab_upload_ids(lab, lengths, 3),
        .pages = mr_tensor_reshape(ids, 3, MOST),
    };
    MR_LAB_RUN(lab, attention_forward, &args);
    MR_LAB_RUN(lab, attention_backward, &args);
    MR_LAB_RUN(lab, attention_cached, &cached);
    const mr_tensor results[] = {args.o, args.lse, args.d_q, args.d_k, args.d_v, cached.o};
    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++)
        note(lab, out, results[i]);
}

static void run_rows(mr_lab *lab, record *out)
{
    int64_t vocab = 2 * ROWS;
    mr_tensor w = inputs(lab, vocab, COLS), y = mr_lab_poison(lab, MR_F32, ROWS, COLS, 0);
    mr_tensor x = inputs(lab, ROWS, COLS);
    mr_tensor ids = mr_lab_upload_ids(lab, mr_lab_ids(lab, ROWS, 40), ROWS);
    mr_tensor places = mr_lab_upload_ids(lab, mr_lab_distinct(lab, ROWS, vocab), ROWS);
    MR_LAB_RUN(lab, scatter_add_rows, w, x, ids);
    MR_LAB_RUN(lab, gather_rows, y, w, ids);
    MR_LAB_RUN(lab, scatter_rows, w, x, places);
    note(lab, out, y);
    note(lab, out, w);
}

static void run_loss(mr_lab *lab, record *out)
{
    mr_tensor logits = inputs(lab, ROWS, COLS), ids = mr_lab_poison(lab, MR_I32, 1, ROWS, 0);
    mr_tensor losses = mr_lab_poison(lab, MR_F64, 1, ROWS, 0);
    mr_tensor targets = mr_lab_upload_ids(lab, mr_lab_ids(lab, ROWS, COLS), ROWS);
    MR_LAB_RUN(lab, argmax, ids, logits);
    MR_LAB_RUN(lab, cross_entropy, logits, targets, losses, true, 0.125f);
    note(lab, out, ids);
    note(lab, out, losses);
    note(lab, out, logits);
}

static void run_groups(mr_lab *lab, record *out)
{
    const mr_group_map maps[] = {{true, 97, COLS},
                                 {false, 97, COLS},
                                 {false, 97, 4 * 97},
                                 {false, 97, 97},
                                 {true, 400, COLS}};
    for (size_t i = 0; i < sizeof maps / sizeof maps[0]; i++) {
        mr_tensor x = inputs(lab, ROWS, COLS), o = inputs(lab, ROWS, COLS);
        mr_tensor y = mr_lab_poison(lab, MR_F32, ROWS, maps[i].groups, 0);
        MR_LAB_RUN(lab, group_sum, y, x, maps[i]);
        MR_LAB_RUN(lab, group_spread, o, y, maps[i]);
        note(lab, out, y);
        note(lab, out, o);
    }
}

static void run_blocks(mr_lab *lab, record *out)
{
    mr_tensor x = inputs(lab, ROWS, COLS), dx = inputs(lab, ROWS, COLS), cosine, sine;
    mr_tensor y = mr_lab_poison(lab, MR_F32, ROWS, 4 * 98, 0);
    mr_lab_angles(lab, 4, 98, &cosine, &sine);
    MR_LAB_RUN(lab, block_rotate, y, x, 98, true, cosine, sine);
    note(lab, out, y);
    MR_LAB_RUN(lab, block_rotate_adjoint, dx, y, 98, true, cosine, sine);
    note(lab, out, dx);
}

static void run_adamw(mr_lab *lab, record *out)
{
    mr_adamw_args args = {.weight = inputs(lab, ROWS, COLS),
                          .grad = inputs(lab, ROWS, COLS),
                          .m = mr_lab_poison(lab, MR_F32, ROWS, COLS, 0),
                          .v = mr_lab_poison(lab, MR_F32, ROWS, COLS, 0),
                          .grad_scale = 0.5,
                          .lr = 1e-3,
                          .beta1 = 0.9,
                          .beta2 = 0.95,
                          .eps = 1e-8,
                          .weight_decay = 0.1,
                          .step = 3};
    MR_LAB_RUN(lab, fill, args.m, 0.25f);
    MR_LAB_RUN(lab, fill, args.v, 0.5f);
    MR_LAB_RUN(lab, adamw, &args, 1);
    note(lab, out, args.weight);
    note(lab, out, args.m);
    note(lab, out, args.v);
}

static record run_on(int threads, program run)
{
    record out = {0};
    mr_lab *lab = mr_lab_create(threads, 5);
    run(lab, &out);
    mr_lab_destroy(&lab);
    return out;
}

/* *state is the address of the program. */
static void the_same_bits_on_any_number_of_threads(void **state)
{
    program run = *(const program *)*state;
    record first = run_on(1, run);
    for (int again = 1; again < 6; again++) {
        int threads = 1 + again % 3;
        record other = run_on(threads, run);
        assert_int_equal(other.size, first.size);
        for (size_t i = 0; i < first.size; i++)
            if (first.bytes[i] != other.bytes[i])
                fail_msg("byte %zu of %zu differs on %d threads", i, first.size, threads);
        mr_free(other.bytes);
    }
    mr_free(first.bytes);
}

/* c [m, n] = a^T b by a backend that has not computed one of this shape before, or has with zeros
 * for a, as an update's that begins with them. Summed over so many rows that a library has several
 * orders to propose. */
static double *sum_over_rows(mr_dtype dtype, bool after_zeros, double *out)
{
    enum { M = 16, N = 512, K = 1 << 14 };
    mr_lab *lab = mr_lab_create(2, 5);
    double *a = mr_lab_normals(lab, (int64_t)K * M), *b = mr_lab_normals(lab, (int64_t)K * N);
    mr_tensor tb = mr_lab_upload_as(lab, dtype, b, K, N, 0);
    mr_tensor none = mr_lab_upload_as(lab, dtype, mr_lab_zeros(lab, (int64_t)K * M), K, M, 0);
    mr_tensor ta = mr_lab_upload_as(lab, dtype, a, K, M, 0);
    mr_tensor c = mr_lab_poison(lab, MR_F32, M, N, 0);
    if (after_zeros) MR_LAB_RUN(lab, gemm, true, false, 1, none, tb, 0, c);
    for (int i = 0; i < 2; i++)
        MR_LAB_RUN(lab, gemm, true, false, 1, ta, tb, 0, c);
    memcpy(out, mr_lab_download(lab, c), sizeof *out * M * N);
    mr_lab_destroy(&lab);
    return out;
}

static void a_product_has_the_same_bits_after_one_of_zeros(void **state)
{
    static double first[16 * 512], second[16 * 512];
    (void)state;
    mr_lab *lab = mr_lab_create(1, 1);
    const bool halves = lab->be->ops->computes(lab->be, MR_BF16);
    mr_lab_destroy(&lab);
    for (int i = 0; i < (halves ? 2 : 1); i++) {
        const mr_dtype dtype = i ? MR_BF16 : MR_F32;
        assert_memory_equal(sum_over_rows(dtype, false, first), sum_over_rows(dtype, true, second),
                            sizeof first);
    }
}

static void gemm_agrees_on_any_number_of_threads(void **state)
{
    (void)state;
    double *first = NULL;
    mr_lab *labs[4];
    for (int threads = 1; threads <= 3; threads++) {
        mr_lab *lab = labs[threads] = mr_lab_create(threads, 5);
        mr_tensor a = inputs(lab, ROWS, COLS), b = inputs(lab, ROWS, COLS);
        mr_tensor c = mr_lab_poison(lab, MR_F32, ROWS, ROWS, 0);
        MR_LAB_RUN(lab, gemm, false, true, 1, a, b, 0, c);
        if (!first) first = mr_lab_download(lab, c);
        mr_lab_expect(lab, MR_BOUND_SUMMED, c, first, "gemm on %d threads", threads);
    }
    for (int threads = 1; threads <= 3; threads++)
        mr_lab_destroy(&labs[threads]);
}

#define SAME_BITS(i, what)                                                                         \
    {                                                                                              \
        what "_give_the_same_bits_on_any_number_of_threads",                                       \
            the_same_bits_on_any_number_of_threads, NULL, NULL, &programs[i]                       \
    }

int main(void)
{
    static program programs[] = {run_elementwise, run_sums, run_rmsnorm, run_rope,   run_attention,
                                 run_rows,        run_loss, run_groups,  run_blocks, run_adamw};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_backend_is_refused_by_name),
        cmocka_unit_test(the_names_list_every_backend),
        cmocka_unit_test(cuda_tells_what_it_needs),
        cmocka_unit_test(auto_is_a_device_or_the_cpu),
        MR_LAB_TEST(a_tensor_is_created_zero_counted_and_freed_once),
        MR_LAB_TEST(a_buffer_beyond_memory_is_refused_with_a_message),
        MR_LAB_TEST(phases_have_names_and_book_time),
        MR_LAB_TEST(a_repeated_stretch_works_on_what_its_tensors_hold_now),
        MR_LAB_TEST(fill_add_and_copy_stay_inside_strided_views),
        MR_LAB_TEST(dropout_keeps_the_stated_share_and_scales_it),
        MR_LAB_TEST(dropout_masks_differ_between_streams_and_rows),
        MR_LAB_TEST(dropout_does_not_depend_on_how_rows_are_cut),
        MR_LAB_TEST(dropout_depends_on_the_flat_index_only),
        MR_LAB_TEST(dropout_reaches_rows_beyond_32_bits),
        MR_LAB_TEST(dropout_in_place_and_added_use_the_same_mask),
        MR_LAB_TEST(sum_pieces_adds_neighbours_first),
        MR_LAB_TEST(square_sums_are_exact_to_double),
        MR_LAB_TEST(gemm_matches_the_formula),
        MR_LAB_TEST(a_row_has_bits_of_its_own_where_asked),
        MR_LAB_TEST(rmsnorm_matches_the_formula),
        MR_LAB_TEST(rmsnorm_of_zeros_is_zero),
        MR_LAB_TEST(rope_matches_the_formula_and_inverse_undoes_it),
        MR_LAB_TEST(swiglu_matches_the_formula_in_place_too),
        MR_LAB_TEST(swiglu_survives_gates_whose_exponentials_overflow),
        MR_LAB_TEST(rows_are_gathered_and_scattered_by_id),
        MR_LAB_TEST(cross_entropy_matches_the_formula_and_leaves_the_logits),
        MR_LAB_TEST(argmax_takes_the_first_of_equals),
        MR_LAB_TEST(group_rows_are_those_of_the_groups),
        MR_LAB_TEST(adamw_follows_torch_over_several_steps),
        MR_LAB_TEST(a_list_of_updates_is_as_one_after_another),
        MR_LAB_TEST(the_first_adamw_step_is_decay_and_the_sign_of_the_gradient),
        SAME_BITS(0, "elementwise_operations"),
        SAME_BITS(1, "sums"),
        SAME_BITS(2, "rmsnorm_and_its_gradients"),
        SAME_BITS(3, "rotations"),
        SAME_BITS(4, "attention_and_its_gradients"),
        SAME_BITS(5, "gathers_and_scatters"),
        SAME_BITS(6, "losses_and_their_gradients"),
        SAME_BITS(7, "groups"),
        SAME_BITS(8, "blocks"),
        SAME_BITS(9, "updates"),
        cmocka_unit_test(gemm_agrees_on_any_number_of_threads),
        cmocka_unit_test(a_product_has_the_same_bits_after_one_of_zeros),
    };
    return cmocka_run_group_tests_name("backend", tests, NULL, NULL);
}
