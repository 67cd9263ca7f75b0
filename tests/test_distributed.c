/** @file
 * Singular values of matrices that the ranks hold together, beside LAPACK's of the whole. */

#include "backend/backend.h"
#include "base/memory.h"
#include "linalg/distributed.h"
#include "linalg/scalapack_impl.h"
#include "linalg/svd.h"
#include "ranks.h"
#include "scarce.h"

#include <float.h>
#include <limits.h>
#include <math.h>

static const char *const names[] = {"bidiagonal", "gram", "pdgesvd"};

/* A matrix that every rank has, and how it is given. */
typedef struct matrix {
    int64_t rows, cols;
    double *a;
    int64_t fail_row; /* the source fails from this row on; -1: never */
} matrix;

static mr_status give(void *context, int64_t row, int64_t col, int64_t rows, int64_t cols,
                      double *out)
{
    const matrix *m = context;
    if (rows < 1 || cols < 1 || row < 0 || col < 0 || row + rows > m->rows || col + cols > m->cols)
        mr_abort("asked for [%lld, %lld] from (%lld, %lld) on", (long long)rows, (long long)cols,
                 (long long)row, (long long)col);
    MR_CHECK(m->fail_row < 0 || row + rows <= m->fail_row, MR_ERR_IO,
             "shard 7: cannot read row %lld", (long long)m->fail_row);
    for (int64_t i = 0; i < rows; i++)
        memcpy(out + i * cols, m->a + (row + i) * m->cols + col, (size_t)cols * sizeof *out);
    return MR_OK;
}

static double *numbers(int64_t count)
{
    double *a = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *a);
    if (!a) mr_abort("%s", mr_message());
    return a;
}

/* The same on every rank. */
static matrix normals(int64_t rows, int64_t cols, uint64_t seed)
{
    matrix m = {.rows = rows, .cols = cols, .a = numbers(rows * cols), .fail_row = -1};
    const mr_random random = mr_random_stream(seed, MR_RANDOM_WEIGHTS, 0);
    for (int64_t i = 0; i < rows * cols; i++)
        m.a[i] = mr_random_normal(&random, (uint64_t)i);
    return m;
}

/* A product of two random factors whose columns in between weigh 10^(-decades * k / (n - 1)). */
static matrix graded(int64_t rows, int64_t cols, double decades, uint64_t seed)
{
    const int64_t n = rows < cols ? rows : cols;
    matrix left = normals(rows, n, seed), right = normals(n, cols, seed + 1);
    matrix m = {.rows = rows, .cols = cols, .a = numbers(rows * cols), .fail_row = -1};
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < n; k++) {
            const double weight = pow(10, -decades * (double)k / (double)(n - 1));
            for (int64_t j = 0; j < cols; j++)
                m.a[i * cols + j] += left.a[i * n + k] * weight * right.a[k * cols + j];
        }
    mr_free(left.a);
    mr_free(right.a);
    return m;
}

static int64_t values_of(const matrix *m)
{
    return m->rows < m->cols ? m->rows : m->cols;
}

static mr_status values_by(matrix *m, mr_distributed_route route, double *values)
{
    const mr_matrix_parts parts = mr_matrix_by_rows(&world, m->rows, m->cols, give, m);
    return mr_distributed_values(&world, &parts, route, values);
}

/* Whether values are within the bound that linalg/distributed.h states for the route. */
static bool within_bound(mr_distributed_route route, const double *expected, const double *found,
                         int64_t n)
{
    const double s = expected[0];
    for (int64_t i = 0; i < n; i++) {
        double bound = 1e-12 * s;
        if (route == MR_DISTRIBUTED_GRAM)
            bound = expected[i] >= mr_distributed_resolution(route) * s
                        ? fmax(bound, 4 * DBL_EPSILON * s * s / expected[i])
                        : mr_distributed_resolution(route) * s;
        if (fabs(found[i] - expected[i]) <= bound) continue;
        print_error("%s: value %lld of %lld: expected %.17g, found %.17g, bound %.3g\n",
                    names[route], (long long)i, (long long)n, expected[i], found[i], bound);
        return false;
    }
    return true;
}

/* Compares all routes with LAPACK on the whole matrix, and frees it. */
static void compare_and_free(matrix m)
{
    const int64_t n = values_of(&m);
    double *expected = numbers(n), *found = numbers(n);
    must(mr_svd_values(m.a, m.rows, m.cols, expected));
    for (mr_distributed_route route = 0; route < MR_DISTRIBUTED_ROUTES; route++) {
        must(values_by(&m, route, found));
        assert_on_all_ranks(within_bound(route, expected, found, n));
    }
    mr_free(expected);
    mr_free(found);
    mr_free(m.a);
}

static void every_shape_gives_lapacks_values(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{1, 1},   {1, 2},   {2, 1},   {1, 77},  {77, 1},
                                        {2, 200}, {5, 5},   {32, 32}, {33, 31}, {31, 65},
                                        {65, 3},  {129, 7}, {40, 41}, {70, 70}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        compare_and_free(normals(shapes[i][0], shapes[i][1], i));
}

static void random_shapes_give_lapacks_values(void **state)
{
    (void)state;
    const mr_random random = mr_random_stream(7, MR_RANDOM_DATA, 0);
    for (uint64_t i = 0; i < 8; i++) {
        const int64_t rows = 1 + (int64_t)mr_random_below(&random, 2 * i, 100);
        const int64_t cols = 1 + (int64_t)mr_random_below(&random, 2 * i + 1, 100);
        compare_and_free(normals(rows, cols, 100 + i));
    }
}

static void graded_matrices_stay_within_the_stated_bounds(void **state)
{
    (void)state;
    compare_and_free(graded(40, 70, 12, 1));
    compare_and_free(graded(90, 35, 6, 3));
    compare_and_free(graded(37, 37, 20, 5));
}

/* A large rank that is exact, and rounding beyond it: the route may call nothing a value that it
 * cannot resolve. */
static void a_low_rank_ends_below_the_resolution(void **state)
{
    (void)state;
    enum { ROWS = 80, COLS = 40, RANK = 11 };
    matrix left = normals(ROWS, RANK, 1), right = normals(RANK, COLS, 2);
    matrix m = {.rows = ROWS, .cols = COLS, .a = numbers(ROWS * COLS), .fail_row = -1};
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < RANK; k++)
            for (int j = 0; j < COLS; j++)
                m.a[i * COLS + j] += left.a[i * RANK + k] * right.a[k * COLS + j];
    for (mr_distributed_route route = 0; route < MR_DISTRIBUTED_ROUTES; route++) {
        double values[COLS];
        must(values_by(&m, route, values));
        const double resolution = mr_distributed_resolution(route);
        assert_on_all_ranks(values[RANK - 1] > 0.1 * values[0]);
        assert_on_all_ranks(values[RANK] < resolution * values[0]);
        assert_on_all_ranks(values[COLS - 1] >= 0);
    }
    mr_free(left.a);
    mr_free(right.a);
    mr_free(m.a);
}

static void a_zero_matrix_gives_zeros(void **state)
{
    (void)state;
    matrix m = {.rows = 70, .cols = 40, .a = numbers(70 * 40), .fail_row = -1};
    for (mr_distributed_route route = 0; route < MR_DISTRIBUTED_ROUTES; route++) {
        double values[40], zeros[40] = {0};
        for (int i = 0; i < 40; i++)
            values[i] = NAN;
        must(values_by(&m, route, values));
        assert_on_all_ranks(memcmp(values, zeros, sizeof zeros) == 0);
    }
    mr_free(m.a);
}

/* Squares of these numbers are beyond double; powers of two change no other bit. */
static void a_scale_changes_nothing_but_the_exponents(void **state)
{
    (void)state;
    enum { ROWS = 33, COLS = 66 };
    static const int exponents[] = {-1000, -600, 1000};
    for (mr_distributed_route route = 0; route < MR_DISTRIBUTED_ROUTES; route++) {
        double plain[ROWS], scaled[ROWS];
        matrix m = normals(ROWS, COLS, 3);
        must(values_by(&m, route, plain));
        for (size_t e = 0; e < sizeof exponents / sizeof exponents[0]; e++) {
            for (int i = 0; i < ROWS * COLS; i++)
                m.a[i] = ldexp(m.a[i], exponents[e]);
            must(values_by(&m, route, scaled));
            for (int i = 0; i < ROWS; i++)
                scaled[i] = ldexp(scaled[i], -exponents[e]);
            assert_on_all_ranks(memcmp(plain, scaled, sizeof plain) == 0);
            for (int i = 0; i < ROWS * COLS; i++)
                m.a[i] = ldexp(m.a[i], -exponents[e]);
        }
        mr_free(m.a);
    }
}

static void all_ranks_have_the_same_bits_in_every_run(void **state)
{
    (void)state;
    enum { ROWS = 70, COLS = 45 };
    matrix m = normals(ROWS, COLS, 4);
    for (mr_distributed_route route = 0; route < MR_DISTRIBUTED_ROUTES; route++) {
        double first[COLS], again[COLS], roots[COLS];
        must(values_by(&m, route, first));
        memcpy(roots, first, sizeof roots);
        mr_comm_broadcast(&world, roots, sizeof roots, 0);
        assert_on_all_ranks(memcmp(first, roots, sizeof first) == 0);
        for (int i = 0; i < 3; i++) {
            must(values_by(&m, route, again));
            assert_on_all_ranks(memcmp(first, again, sizeof first) == 0);
        }
    }
    mr_free(m.a);
}

/* The ranks' shares of a flat buffer: cut anywhere, one of them empty. */
static void shards_give_the_bits_that_rows_give(void **state)
{
    (void)state;
    enum { ROWS = 37, COLS = 110, SHIFT = 1234 };
    matrix m = normals(ROWS, COLS, 5);
    double by_rows[ROWS], by_shards[ROWS];
    mr_matrix_parts parts = mr_matrix_by_rows(&world, ROWS, COLS, give, &m);
    must(mr_distributed_values(&world, &parts, MR_DISTRIBUTED_BIDIAGONAL, by_rows));
    if (world.size > 1) {
        const int64_t each = (ROWS * COLS - SHIFT) / (world.size - 1);
        parts.count = world.rank == 0 ? SHIFT : world.rank == 1 ? 0 : each;
        if (world.rank == world.size - 1)
            parts.count = ROWS * COLS - SHIFT - each * (world.size > 2 ? world.size - 3 : 0);
    }
    must(mr_distributed_values(&world, &parts, MR_DISTRIBUTED_BIDIAGONAL, by_shards));
    assert_on_all_ranks(memcmp(by_rows, by_shards, sizeof by_rows) == 0);
    mr_free(m.a);
}

/* More elements than are on their way at a time. */
static void many_rounds_bring_every_element_to_its_place(void **state)
{
    (void)state;
    matrix m = normals(6, 200011, 6);
    const int64_t n = values_of(&m);
    double *expected = numbers(n), *found = numbers(n);
    must(mr_svd_values(m.a, m.rows, m.cols, expected));
    must(values_by(&m, MR_DISTRIBUTED_BIDIAGONAL, found));
    assert_on_all_ranks(within_bound(MR_DISTRIBUTED_BIDIAGONAL, expected, found, n));
    mr_free(expected);
    mr_free(found);
    mr_free(m.a);
}

static void parts_of_the_ranks_compute_beside_each_other(void **state)
{
    (void)state;
    MPI_Comm half;
    mr_comm comm;
    MPI_Comm_split(world.handle, world.rank % 2, world.rank, &half);
    must(mr_comm_create(half, &comm));
    matrix m = normals(60 + world.rank % 2, 45, 7 + (uint64_t)(world.rank % 2));
    double expected[45], found[45];
    must(mr_svd_values(m.a, m.rows, m.cols, expected));
    const mr_matrix_parts parts = mr_matrix_by_rows(&comm, m.rows, m.cols, give, &m);
    must(mr_distributed_values(&comm, &parts, MR_DISTRIBUTED_BIDIAGONAL, found));
    assert_on_all_ranks(within_bound(MR_DISTRIBUTED_BIDIAGONAL, expected, found, 45));
    mr_free(m.a);
    mr_comm_destroy(&comm);
    MPI_Comm_free(&half);
}

/* Grids are numbered by the BLACS; one that was not freed would keep its number. */
static void grids_are_freed(void **state)
{
    (void)state;
    mr_process_grid before, after;
    matrix m = normals(40, 50, 8), bad = normals(40, 50, 9);
    bad.a[3] = NAN;
    mr_process_grid_create(&world, &before);
    mr_process_grid_destroy(&before);
    mr_process_grid_create(&world, &before);
    const int context = before.context, system = before.system;
    mr_process_grid_destroy(&before);
    for (mr_distributed_route route = 0; route < MR_DISTRIBUTED_ROUTES; route++) {
        double values[40];
        must(values_by(&m, route, values));
        assert_on_all_ranks(values_by(&bad, route, values) == MR_ERR_NUMERIC);
    }
    mr_process_grid_create(&world, &after);
    assert_on_all_ranks(after.context == context && after.system == system);
    mr_process_grid_destroy(&after);
    mr_free(m.a);
    mr_free(bad.a);
}

/* Expects a failure with one message on every rank, and nothing held. */
static void expect_failure(matrix *m, mr_distributed_route route, mr_status status,
                           const char *message)
{
    double *values = numbers(values_of(m));
    const size_t held = mr_memory_live_total();
    const mr_status found = values_by(m, route, values);
    const bool said = found == status && strcmp(mr_message(), message) == 0;
    if (!said) print_error("expected \"%s\", found \"%s\"\n", message, mr_message());
    assert_on_all_ranks(said);
    assert_on_all_ranks(mr_memory_live_total() == held);
    mr_free(values);
}

static void an_element_that_is_not_finite_is_named_by_all_ranks(void **state)
{
    (void)state;
    matrix m = normals(90, 61, 10);
    m.a[88 * 61 + 2] = INFINITY;
    expect_failure(&m, MR_DISTRIBUTED_GRAM, MR_ERR_NUMERIC,
                   "singular values: row 88, column 2 of a 90 x 61 matrix is inf, expected a "
                   "finite number");
    m.a[40 * 61 + 17] = NAN;
    for (mr_distributed_route route = 0; route < MR_DISTRIBUTED_ROUTES; route++)
        expect_failure(&m, route, MR_ERR_NUMERIC,
                       "singular values: row 40, column 17 of a 90 x 61 matrix is nan, expected a "
                       "finite number");
    mr_free(m.a);
}

static void a_source_that_fails_on_one_rank_ends_all_with_its_message(void **state)
{
    (void)state;
    matrix m = normals(90, 61, 11);
    m.fail_row = 89; /* the last rank's */
    expect_failure(&m, MR_DISTRIBUTED_BIDIAGONAL, MR_ERR_IO, "shard 7: cannot read row 89");
    mr_free(m.a);
}

static void parts_that_are_not_the_matrix_are_refused(void **state)
{
    (void)state;
    matrix m = normals(9, 5, 12);
    mr_matrix_parts parts = mr_matrix_by_rows(&world, 9, 5, give, &m);
    double values[5];
    if (world.rank == 0) parts.count--;
    const mr_status status =
        mr_distributed_values(&world, &parts, MR_DISTRIBUTED_BIDIAGONAL, values);
    assert_on_all_ranks(status == MR_ERR_ARG);
    assert_contains(mr_message(), "the ranks give 44 elements of a 9 x 5 matrix, expected 45");
    parts = (mr_matrix_parts){.rows = 0, .cols = 3, .source = give, .context = &m};
    assert_on_all_ranks(mr_distributed_values(&world, &parts, MR_DISTRIBUTED_GRAM, values) ==
                        MR_ERR_ARG);
    assert_contains(mr_message(), "expected a matrix with extents of 1..2147483647, found 0 x 3");
    mr_free(m.a);
}

static void more_than_scalapack_counts_is_refused_before_it_is_read(void **state)
{
    (void)state;
    matrix m = {.rows = 200000, .cols = 100000, .fail_row = 0};
    const mr_matrix_parts parts = mr_matrix_by_rows(&world, m.rows, m.cols, give, &m);
    double value;
    assert_on_all_ranks(mr_distributed_values(&world, &parts, MR_DISTRIBUTED_GRAM, &value) ==
                        MR_ERR_ARG);
    assert_contains(mr_message(), "elements on one of them, expected at most 2147483647: use more");
}

static void a_value_beyond_double_is_refused(void **state)
{
    (void)state;
    matrix m = {.rows = 2, .cols = 2, .a = numbers(4), .fail_row = -1};
    for (int i = 0; i < 4; i++)
        m.a[i] = DBL_MAX;
    for (mr_distributed_route route = 0; route < MR_DISTRIBUTED_ROUTES; route++)
        expect_failure(&m, route, MR_ERR_NUMERIC,
                       "singular values: the largest one of a 2 x 2 matrix is inf, expected a "
                       "finite number");
    mr_free(m.a);
}

/* What is done to what the library answers, on the last rank; the spoiling on all. */
static struct {
    double workspace; /* the answer of a query */
    int info;         /* of pdgesvd, pdgebrd */
    int dlasq1;       /* INFO of that */
    bool spoil;       /* the largest value, as where nothing wrote it */
} fault;

extern __typeof__(pdgesvd_) __real_pdgesvd_, __wrap_pdgesvd_;
extern __typeof__(pdgebrd_) __real_pdgebrd_, __wrap_pdgebrd_;
extern __typeof__(dlasq1_) __real_dlasq1_, __wrap_dlasq1_;

static void disturb(const int *lwork, double *work, int *info)
{
    if (world.rank != world.size - 1) return;
    if (*lwork == -1 && fault.workspace > 0) work[0] = fault.workspace;
    if (*lwork != -1 && fault.info != 0) *info = fault.info;
}

void __wrap_pdgesvd_(const char *jobu, const char *jobvt, const int *m, const int *n, double *a,
                     const int *ia, const int *ja, const int *desca, double *s, double *u,
                     const int *iu, const int *ju, const int *descu, double *vt, const int *ivt,
                     const int *jvt, const int *descvt, double *work, const int *lwork, int *info,
                     size_t jobu_length, size_t jobvt_length)
{
    __real_pdgesvd_(jobu, jobvt, m, n, a, ia, ja, desca, s, u, iu, ju, descu, vt, ivt, jvt, descvt,
                    work, lwork, info, jobu_length, jobvt_length);
    disturb(lwork, work, info);
    if (*lwork != -1 && fault.spoil) s[0] *= 1 + 1e-9;
}

void __wrap_pdgebrd_(const int *m, const int *n, double *a, const int *ia, const int *ja,
                     const int *desca, double *d, double *e, double *tauq, double *taup,
                     double *work, const int *lwork, int *info)
{
    __real_pdgebrd_(m, n, a, ia, ja, desca, d, e, tauq, taup, work, lwork, info);
    disturb(lwork, work, info);
}

void __wrap_dlasq1_(const int *n, double *d, double *e, double *work, int *info)
{
    __real_dlasq1_(n, d, e, work, info);
    if (fault.spoil) d[0] *= 1 + 1e-9;
    if (fault.dlasq1 != 0) *info = fault.dlasq1;
}

/* The failure of a 40 x 50 matrix by a route, under the fault. */
static void expect_fault(mr_distributed_route route, mr_status status, const char *message)
{
    matrix m = normals(40, 50, 13);
    double values[40];
    const size_t held = mr_memory_live_total();
    const mr_status found = values_by(&m, route, values);
    memset(&fault, 0, sizeof fault);
    const bool said = found == status && strstr(mr_message(), message);
    if (!said) print_error("expected \"%s\", found \"%s\"\n", message, mr_message());
    assert_on_all_ranks(said);
    assert_on_all_ranks(mr_memory_live_total() == held);
    mr_free(m.a);
}

static void values_that_do_not_sum_to_the_norm_are_refused(void **state)
{
    (void)state;
    fault.spoil = true;
    expect_fault(
        MR_DISTRIBUTED_PDGESVD, MR_ERR_NUMERIC,
        "singular values: the squares of those of a 40 x 50 matrix by pdgesvd sum to 1929.857");
    fault.spoil = true;
    expect_fault(MR_DISTRIBUTED_BIDIAGONAL, MR_ERR_NUMERIC,
                 "relative difference of at most 3.2e-13");
}

static void an_info_is_told_by_its_meaning(void **state)
{
    (void)state;
    fault.info = 3;
    expect_fault(MR_DISTRIBUTED_PDGESVD, MR_ERR_NUMERIC,
                 "pdgesvd of a 40 x 50 matrix: no convergence, INFO 3");
    fault.info = 41;
    expect_fault(MR_DISTRIBUTED_PDGESVD, MR_ERR_NUMERIC,
                 "the ranks found different values (do their processors differ?), INFO 41");
    fault.info = -602;
    expect_fault(MR_DISTRIBUTED_BIDIAGONAL, MR_ERR_NUMERIC,
                 "pdgebrd of a 40 x 50 matrix does not take its argument 6, INFO -602");
    fault.dlasq1 = 2;
    expect_fault(
        MR_DISTRIBUTED_BIDIAGONAL, MR_ERR_NUMERIC,
        "singular values: dlasq1 of a bidiagonal matrix of side 40 did not converge, INFO 2");
}

static void a_workspace_beyond_int_is_refused(void **state)
{
    (void)state;
    fault.workspace = 3e9;
    expect_fault(MR_DISTRIBUTED_PDGESVD, MR_ERR_ARG,
                 "takes a workspace of 3000000000 numbers, expected at most 2147483647: use more");
}

/* A matrix and the route it goes by. */
typedef struct attempt {
    matrix m;
    mr_distributed_route route;
    double values[12];
} attempt;

static mr_status try_once(void *context)
{
    attempt *a = context;
    return values_by(&a->m, a->route, a->values);
}

/* Every allocation of the last rank fails in its turn; the others hear of it. */
static void memory_that_one_rank_lacks_ends_all(void **state)
{
    (void)state;
    attempt a = {.m = normals(12, 34, 14)};
    for (a.route = 0; a.route < MR_DISTRIBUTED_ROUTES; a.route++) {
        mr_status status = MR_ERR_MEMORY;
        int failures = 0;
        if (world.rank == world.size - 1) {
            scarce_try(try_once, &a);
            status = MR_OK;
        }
        for (; status == MR_ERR_MEMORY; failures++) {
            status = try_once(&a);
            if (status == MR_ERR_MEMORY && !strstr(mr_message(), "(1 failed): cannot allocate"))
                mr_abort("%s", mr_message());
        }
        assert_on_all_ranks(status == MR_OK);
        assert_on_all_ranks(world.rank == world.size - 1 || failures > 8);
    }
    mr_free(a.m.a);
}

/* Must run first, over ever larger needs: the peak is that of the whole program. */
static void memory_is_as_planned(void **state)
{
    (void)state;
    static const struct {
        int64_t rows, cols;
        mr_distributed_route route;
    } ascending[] = {
        {40, 70, MR_DISTRIBUTED_GRAM}, /* filling takes the most */
        {20000, 2, MR_DISTRIBUTED_BIDIAGONAL},
        {3, 60000, MR_DISTRIBUTED_PDGESVD},
        {1800, 1800, MR_DISTRIBUTED_GRAM}, /* many messages on several ranks */
    };
    const size_t cases = sizeof ascending / sizeof ascending[0] - (world.size > 1);
    for (size_t i = 0; i < cases; i++) {
        matrix m = normals(ascending[i].rows, ascending[i].cols, i);
        double *values = numbers(values_of(&m));
        const int64_t held = (int64_t)mr_memory_live_total();
        must(values_by(&m, ascending[i].route, values));
        int64_t peak = (int64_t)mr_memory_peak_total() - held;
        mr_comm_max_i64(&world, &peak, 1);
        const size_t planned = mr_distributed_bytes(m.rows, m.cols, world.size, ascending[i].route);
        if (planned != (size_t)peak)
            print_error("planned %zu, held %lld\n", planned, (long long)peak);
        assert_on_all_ranks(planned == (size_t)peak);
        mr_free(values);
        mr_free(m.a);
    }
}

int main(int argc, char **argv)
{
    mr_backend_prepare(argv); /* the BLAS kernels that the program takes */
    ranks_begin(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_as_planned),
        cmocka_unit_test(every_shape_gives_lapacks_values),
        cmocka_unit_test(random_shapes_give_lapacks_values),
        cmocka_unit_test(graded_matrices_stay_within_the_stated_bounds),
        cmocka_unit_test(a_low_rank_ends_below_the_resolution),
        cmocka_unit_test(a_zero_matrix_gives_zeros),
        cmocka_unit_test(a_scale_changes_nothing_but_the_exponents),
        cmocka_unit_test(all_ranks_have_the_same_bits_in_every_run),
        cmocka_unit_test(shards_give_the_bits_that_rows_give),
        cmocka_unit_test(many_rounds_bring_every_element_to_its_place),
        cmocka_unit_test(parts_of_the_ranks_compute_beside_each_other),
        cmocka_unit_test(grids_are_freed),
        cmocka_unit_test(an_element_that_is_not_finite_is_named_by_all_ranks),
        cmocka_unit_test(a_source_that_fails_on_one_rank_ends_all_with_its_message),
        cmocka_unit_test(parts_that_are_not_the_matrix_are_refused),
        cmocka_unit_test(more_than_scalapack_counts_is_refused_before_it_is_read),
        cmocka_unit_test(a_value_beyond_double_is_refused),
        cmocka_unit_test(values_that_do_not_sum_to_the_norm_are_refused),
        cmocka_unit_test(an_info_is_told_by_its_meaning),
        cmocka_unit_test(a_workspace_beyond_int_is_refused),
        cmocka_unit_test(memory_that_one_rank_lacks_ends_all),
    };
    return ranks_end(cmocka_run_group_tests(tests, NULL, NULL));
}
