/** @file
 * The routes of linalg/distributed.h, and LAPACK, beside reference spectra. */

#include "backend/backend.h"
#include "golden_spectra.h"
#include "linalg/distributed.h"
#include "linalg/svd.h"
#include "ranks.h"

#include <float.h>
#include <math.h>

static mr_golden_spectra golden;

static mr_status give(void *context, int64_t row, int64_t col, int64_t rows, int64_t cols,
                      double *out)
{
    const mr_golden_matrix *m = context;
    for (int64_t i = 0; i < rows; i++)
        memcpy(out + i * cols, m->a + (row + i) * m->cols + col, (size_t)cols * sizeof *out);
    return MR_OK;
}

/* How far the values may be from the reference: 1e-12 of the largest, or what the Gram matrix
 * leaves of it. */
static double bound_of(mr_distributed_route route, double largest, double value)
{
    const double exact = 1e-12 * largest;
    const double least = mr_distributed_resolution(MR_DISTRIBUTED_GRAM) * largest;
    if (route != MR_DISTRIBUTED_GRAM) return exact;
    return value > least ? fmax(exact, 4 * DBL_EPSILON * largest * largest / value) : least;
}

static bool matches(const mr_golden_matrix *m, const char *by, mr_distributed_route route,
                    const double *values)
{
    for (int64_t i = 0; i < m->count; i++) {
        const double bound = bound_of(route, m->sigma[0], m->sigma[i]);
        if (fabs(values[i] - m->sigma[i]) <= bound) continue;
        print_error("%s by %s: value %lld: expected %.17g, found %.17g, bound %.3g\n", m->label, by,
                    (long long)i, m->sigma[i], values[i], bound);
        return false;
    }
    return true;
}

static void lapack_meets_the_references(void **state)
{
    (void)state;
    if (golden.count == 0) skip_without_golden("spectra");
    for (int64_t i = 0; i < golden.count; i++) {
        const mr_golden_matrix *m = &golden.matrix[i];
        double *values = mr_alloc_array(MR_MEM_OTHER, (size_t)m->count, sizeof *values);
        assert_on_all_ranks(values != NULL);
        must(mr_svd_values(m->a, m->rows, m->cols, values));
        assert_on_all_ranks(matches(m, "LAPACK", MR_DISTRIBUTED_PDGESVD, values));
        mr_free(values);
    }
}

static void a_route_meets_the_references(void **state)
{
    const mr_distributed_route route = *(const mr_distributed_route *)*state;
    if (golden.count == 0) skip_without_golden("spectra");
    for (int64_t i = 0; i < golden.count; i++) {
        mr_golden_matrix *m = &golden.matrix[i];
        double *values = mr_alloc_array(MR_MEM_OTHER, (size_t)m->count, sizeof *values);
        assert_on_all_ranks(values != NULL);
        const mr_matrix_parts parts = mr_matrix_by_rows(&world, m->rows, m->cols, give, m);
        must(mr_distributed_values(&world, &parts, route, values));
        assert_on_all_ranks(matches(m, mr_distributed_route_name(route), route, values));
        mr_free(values);
    }
}

int main(int argc, char **argv)
{
    mr_backend_prepare(argv); /* the BLAS kernels that the program takes */
    ranks_begin(&argc, &argv);
    must(mr_golden_spectra_load(&golden));
    static mr_distributed_route bidiagonal = MR_DISTRIBUTED_BIDIAGONAL;
    static mr_distributed_route gram = MR_DISTRIBUTED_GRAM, pdgesvd = MR_DISTRIBUTED_PDGESVD;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lapack_meets_the_references),
        cmocka_unit_test_prestate(a_route_meets_the_references, &bidiagonal),
        cmocka_unit_test_prestate(a_route_meets_the_references, &gram),
        cmocka_unit_test_prestate(a_route_meets_the_references, &pdgesvd),
    };
    const bool nothing = golden.count == 0;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mr_golden_spectra_free(&golden);
    failed = ranks_end(failed);
    return failed == 0 && nothing ? 77 : failed;
}
