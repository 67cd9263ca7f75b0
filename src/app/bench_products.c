#include "app/bench_products.h"

#include "base/clock.h"

/* A matrix of numbers that are not alike: a device runs faster on constants. */
static mr_status random_matrix(mr_backend *be, mr_dtype dtype, int64_t rows, int64_t cols,
                               mr_tensor *out)
{
    mr_random random = mr_random_stream(1, MR_RANDOM_DATA, 0);
    size_t room = 2 * (size_t)cols; /* each row starts somewhere else in it */
    float *values = mr_alloc_array(MR_MEM_OTHER, room, sizeof *values);
    mr_status status = values ? MR_OK : MR_ERR_MEMORY;
    for (size_t i = 0; status == MR_OK && i < room; i++)
        values[i] = (float)(mr_random_uniform(&random, i) - 0.5);
    if (status == MR_OK) status = mr_backend_tensor(be, MR_MEM_OTHER, dtype, rows, cols, out);
    for (int64_t i = 0; status == MR_OK && i < rows; i++)
        be->ops->upload(be, mr_tensor_rows(*out, i, 1), values + 37 * i % cols);
    mr_free(values);
    return status;
}

static double flops_of(const mr_products *p)
{
    return 2.0 * (double)(p->a.rows * p->a.cols) * (double)p->b.cols;
}

/* Seconds of the product, the least of several repetitions, of which there are fewer where these
 * take long. The first may wait for what a device makes once. */
static mr_status least_seconds(mr_products *p, double *seconds)
{
    enum { FEWEST = 4, MOST = 15 };
    const double enough = 0.5;
    double spent = 0;
    mr_status status = MR_OK;
    *seconds = 1e9;
    for (int i = 0; status == MR_OK && i < MOST && (i < FEWEST || spent < enough); i++) {
        const double began = mr_clock();
        p->be->ops->gemm(p->be, false, false, 1, p->a, p->b, 0, p->c);
        status = p->be->ops->synchronize(p->be);
        const double took = mr_clock() - began;
        if (took < *seconds) *seconds = took;
        if (i > 0) spent += took;
    }
    return status;
}

static mr_status try_shape(mr_backend *be, mr_dtype dtype, const int64_t mkn[3], int64_t factor,
                           mr_products *out, double *seconds)
{
    *out = (mr_products){.be = be};
    MR_TRY(random_matrix(be, dtype, factor * mkn[0], factor * mkn[1], &out->a));
    MR_TRY(random_matrix(be, dtype, factor * mkn[1], factor * mkn[2], &out->b));
    MR_TRY(mr_backend_tensor(be, MR_MEM_OTHER, dtype, factor * mkn[0], factor * mkn[2], &out->c));
    MR_TRY(least_seconds(out, seconds));
    out->rate = flops_of(out) / *seconds;
    return MR_OK;
}

mr_status mr_products_create(mr_backend *be, mr_dtype dtype, mr_products *out)
{
    static const int64_t shapes[][3] = {{2048, 512, 1376}, {2048, 2048, 2048}, {4096, 512, 4096}};
    const double enough = 1e-3;
    *out = (mr_products){.be = be};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        double seconds = 0;
        for (int64_t f = 1; seconds < enough && f <= 8; f *= 2) {
            mr_products tried;
            mr_status status = try_shape(be, dtype, shapes[s], f, &tried, &seconds);
            if (status != MR_OK || tried.rate <= out->rate) {
                mr_products_destroy(&tried);
                MR_TRY(status);
            } else {
                mr_products_destroy(out);
                *out = tried;
            }
        }
    }
    return MR_OK;
}

void mr_products_destroy(mr_products *p)
{
    if (!p->be) return;
    mr_backend_free(p->be, &p->a);
    mr_backend_free(p->be, &p->b);
    mr_backend_free(p->be, &p->c);
}

mr_status mr_products_run(const mr_comm *comm, mr_products *p, double flops, double *rate)
{
    const int64_t fewest = 256; /* rows that are still worth a product of this rate */
    const double of_row = flops_of(p) / (double)p->a.rows;
    double done = 0;
    mr_comm_barrier(comm);
    const double began = mr_clock();
    while (done < flops) {
        const double left = (flops - done) / of_row;
        int64_t rows = left < (double)p->a.rows ? (int64_t)left : p->a.rows;
        if (rows < fewest) rows = fewest;
        p->be->ops->gemm(p->be, false, false, 1, mr_tensor_rows(p->a, 0, rows), p->b, 0,
                         mr_tensor_rows(p->c, 0, rows));
        done += (double)rows * of_row;
    }
    mr_status status = p->be->ops->synchronize(p->be);
    mr_comm_barrier(comm);
    const double seconds = mr_clock() - began;
    int64_t mega = (int64_t)(done / 1e6);
    mr_comm_sum_i64(comm, &mega, 1); /* ranks may have found different shapes the fastest */
    *rate = 1e6 * (double)mega / seconds;
    return status;
}
