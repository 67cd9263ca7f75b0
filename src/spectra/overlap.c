#include "spectra/overlap.h"

#include "base/memory.h"
#include "base/random.h"
#include "linalg/product.h"
#include "linalg/svd.h"

#include <math.h>

mr_status mr_principal_cosines(const double *x, const double *y, int64_t k, int64_t n,
                               double *cosines)
{
    double *products = mr_alloc_array(MR_MEM_OTHER, (size_t)(k * k), sizeof *products);
    if (!products) return MR_ERR_MEMORY;
    mr_product(false, true, k, k, n, 1, x, y, 0, products);
    mr_status status = mr_svd_values(products, k, k, cosines);
    mr_free(products);
    for (int64_t i = 0; status == MR_OK && i < k; i++)
        cosines[i] = fmin(cosines[i], 1);
    return status;
}

mr_status mr_intruders_find(const double *values, const double *u, int64_t k, const double *u_base,
                            int64_t n, int64_t rows, double epsilon, double *cosines,
                            mr_intruders *out)
{
    double *products = mr_alloc_array(MR_MEM_OTHER, (size_t)(k * n), sizeof *products);
    double all = 0, theirs = 0;
    if (!products) return MR_ERR_MEMORY;
    mr_product(false, true, k, n, rows, 1, u, u_base, 0, products);
    *out = (mr_intruders){.energy_share = NAN};
    for (int64_t j = 0; j < k; j++) {
        const double x = values[0] > 0 ? values[j] / values[0] : 0;
        cosines[j] = 0;
        for (int64_t i = 0; i < n; i++)
            cosines[j] = fmax(cosines[j], fabs(products[j * n + i]));
        all += x * x;
        if (!(cosines[j] < epsilon)) continue;
        out->count++;
        theirs += x * x;
    }
    if (all > 0) out->energy_share = theirs / all;
    mr_free(products);
    return MR_OK;
}

void mr_noise(uint64_t seed, uint64_t stream, int64_t rows, int64_t cols, double frobenius,
              double *out)
{
    const mr_random random = mr_random_stream(seed, MR_RANDOM_SPECTRA, stream);
    double squares = 0;
    for (int64_t i = 0; i < rows * cols; i++) {
        out[i] = mr_random_normal(&random, (uint64_t)i);
        squares += out[i] * out[i];
    }
    for (int64_t i = 0; i < rows * cols; i++)
        out[i] *= frobenius / sqrt(squares);
}
