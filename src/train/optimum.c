#include "train/optimum.h"

#include <math.h>
#include <string.h>

enum { MOST_ITERATIONS = 2000 };
static const double TOLERANCE = 1e-5; /* of the normal equations; its square is in the result */

/* A least squares problem min ||A t - y||, t [parts, tensor], y [I, O]: an update's transpose. */
typedef struct problem {
    mr_adapter *adapter;
    mr_adapter_call call;
    int tensor;                 /* the one that is trained */
    int64_t parts, count, rows; /* elements of the tensor in all parts, and of y */
    uint64_t generation;
    mr_tensor weight, grad, y, other; /* owned */
    float *host;                      /* [max(count, rows)], owned */
    double *memory;                   /* of the vectors, owned */
    double *t, *direction, *slope;    /* [count] */
    double *rest, *image;             /* [rows] */
} problem;

static double dot(const double *a, const double *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

static void upload(problem *p, mr_tensor to, const double *from)
{
    for (int64_t i = 0; i < mr_tensor_count(to); i++)
        p->host[i] = (float)from[i];
    p->call.be->ops->upload(p->call.be, to, p->host);
}

static void download(problem *p, double *to, mr_tensor from)
{
    p->call.be->ops->download(p->call.be, p->host, from);
    for (int64_t i = 0; i < mr_tensor_count(from); i++)
        to[i] = (double)p->host[i];
}

/* Runs a part forward into y, which also keeps what its backward pass needs. */
static void run_part(problem *p, int64_t part, mr_tensor y)
{
    const mr_adapter_param *param = &p->adapter->param[0][p->tensor];
    p->call.weight[0][p->tensor] = mr_tensor_rows(p->weight, part * param->rows, param->rows);
    p->call.y[0] = y;
    mr_adapter_set_restart(p->adapter, part);
    mr_adapter_refresh(p->adapter, &p->call, ++p->generation);
    mr_adapter_forward(p->adapter, &p->call);
}

/* image = A t */
static void apply(problem *p, const double *t, double *image)
{
    mr_backend *be = p->call.be;
    upload(p, p->weight, t);
    be->ops->fill(be, p->y, 0);
    for (int64_t part = 0; part < p->parts; part++)
        run_part(p, part, p->y);
    download(p, image, p->y);
}

/* slope = A^T rest */
static void apply_adjoint(problem *p, const double *rest, double *slope)
{
    mr_backend *be = p->call.be;
    const mr_adapter_param *param = &p->adapter->param[0][p->tensor];
    upload(p, p->y, rest);
    for (int64_t part = 0; part < p->parts; part++) {
        be->ops->fill(be, p->other, 0);
        run_part(p, part, p->other);
        p->call.y[0] = p->y;
        p->call.grad[0][p->tensor] = mr_tensor_rows(p->grad, part * param->rows, param->rows);
        mr_adapter_backward_output(p->adapter, &p->call);
        mr_adapter_backward(p->adapter, &p->call);
    }
    download(p, slope, p->grad);
}

static mr_status create(problem *p)
{
    const mr_adapter_param *param = &p->adapter->param[0][p->tensor];
    mr_backend *be = p->call.be;
    const int64_t in = p->adapter->in, out = p->adapter->out[0];
    const int64_t most = p->count > p->rows ? p->count : p->rows;
    p->host = mr_alloc_array(MR_MEM_OTHER, (size_t)most, sizeof *p->host);
    p->memory =
        mr_alloc_array(MR_MEM_OTHER, (size_t)(3 * p->count + 2 * p->rows), sizeof *p->memory);
    if (!p->host || !p->memory) return MR_ERR_MEMORY;
    p->t = p->memory;
    p->direction = p->t + p->count;
    p->slope = p->direction + p->count;
    p->rest = p->slope + p->count;
    p->image = p->rest + p->rows;
    const int64_t tall = p->parts * param->rows;
    const mr_dtype type = p->call.x.dtype;
    MR_TRY(mr_backend_tensor(be, MR_MEM_OTHER, type, tall, param->cols, &p->weight));
    MR_TRY(mr_backend_tensor(be, MR_MEM_OTHER, type, tall, param->cols, &p->grad));
    MR_TRY(mr_backend_tensor(be, MR_MEM_OTHER, type, in, out, &p->y));
    return mr_backend_tensor(be, MR_MEM_OTHER, type, in, out, &p->other);
}

static void destroy(problem *p)
{
    mr_backend *be = p->call.be;
    mr_backend_free(be, &p->weight);
    mr_backend_free(be, &p->grad);
    mr_backend_free(be, &p->y);
    mr_backend_free(be, &p->other);
    mr_free(p->host);
    mr_free(p->memory);
}

/* From rest = y and t = 0 to the least squares solution. */
static mr_status solve(problem *p)
{
    apply_adjoint(p, p->rest, p->slope);
    memcpy(p->direction, p->slope, (size_t)p->count * sizeof *p->slope);
    double steep = dot(p->slope, p->slope, p->count);
    const double enough = TOLERANCE * TOLERANCE * steep;
    for (int i = 0; steep > enough; i++) {
        MR_CHECK(i < MOST_ITERATIONS, MR_ERR_NUMERIC,
                 "the best approximation: %d iterations of conjugate gradients left a slope of %g, "
                 "expected %g",
                 (int)MOST_ITERATIONS, sqrt(steep), sqrt(enough));
        apply(p, p->direction, p->image);
        const double far = steep / dot(p->image, p->image, p->rows), before = steep;
        for (int64_t k = 0; k < p->count; k++)
            p->t[k] += far * p->direction[k];
        for (int64_t k = 0; k < p->rows; k++)
            p->rest[k] -= far * p->image[k];
        apply_adjoint(p, p->rest, p->slope);
        steep = dot(p->slope, p->slope, p->count);
        for (int64_t k = 0; k < p->count; k++)
            p->direction[k] = p->slope[k] + steep / before * p->direction[k];
    }
    return MR_OK;
}

static mr_status least_squares(mr_adapter *a, const mr_adapter_call *call, int tensor,
                               int64_t parts, const double *target, double *out)
{
    const mr_adapter_param *param = &a->param[0][tensor];
    problem p = {.adapter = a,
                 .call = *call,
                 .tensor = tensor,
                 .parts = parts,
                 .count = parts * param->rows * param->cols,
                 .rows = a->in * a->out[0],
                 .generation = a->refreshed};
    p.call.dropout = false;
    mr_status status = create(&p);
    if (status == MR_OK) {
        for (int64_t row = 0; row < a->out[0]; row++)
            for (int64_t col = 0; col < a->in; col++)
                p.rest[col * a->out[0] + row] = target[row * a->in + col];
        const double all = dot(p.rest, p.rest, p.rows);
        status = solve(&p);
        *out = sqrt(dot(p.rest, p.rest, p.rows) / all);
    }
    destroy(&p);
    return status;
}

/* The part of a matrix that r singular values leave. */
static double behind(const double *values, int64_t count, int64_t r)
{
    double left = 0, all = 0;
    for (int64_t i = count - 1; i >= 0; i--) {
        if (i >= r) left += values[i] * values[i];
        all += values[i] * values[i];
    }
    return sqrt(left / all);
}

mr_status mr_optimum(mr_adapter *a, const mr_adapter_call *call, int64_t parts,
                     const double *values, const double *target, double *out)
{
    mr_update update;
    int trained = 0, last = 0;
    *out = NAN;
    if (!mr_adapter_update(a, call, 0, &update) || mr_tensor_exists(update.ratio)) return MR_OK;
    for (int k = 0; k < a->params; k++) {
        if (a->param[0][k].frozen) continue;
        trained++;
        last = k;
    }
    if (trained == 1) return least_squares(a, call, last, parts, target, out);
    if (update.kind != MR_UPDATE_PRODUCT || trained != 2) return MR_OK;
    *out = behind(values, a->in < a->out[0] ? a->in : a->out[0], parts * a->r);
    return MR_OK;
}
