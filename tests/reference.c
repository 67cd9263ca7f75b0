#include "reference.h"

#include "test.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* Relative errors in the Euclidean norm; one rounding to F32 is 6e-8. */
static const struct {
    const char *name;
    double pass;
    const char *reason;
} bounds[MR_BOUNDS] = {
    [MR_BOUND_EXACT] = {"exact", 0, "values are moved or added in a stated order"},
    [MR_BOUND_ROUNDED] = {"rounded", 5e-7, "a few F32 roundings an element"},
    [MR_BOUND_SUMMED] = {"summed", 3e-6, "F32 sums of up to some hundred products"},
    [MR_BOUND_LONG] = {"long", 1e-5, "F32 sums of up to 1e5 products in one order"},
    [MR_BOUND_SHARP] = {"sharp", 1e-4, "exp of F32 numbers near 1e3, each 6e-5 off at most"},
    [MR_BOUND_GRADIENT] = {"gradient", 1e-5,
                           "F32 sums of products with weights that are themselves F32 results; the "
                           "differences in double (step 1e-5) add 1e-9"},
};

/* Of what is BF16, in place of what is less: a rounding is 2^-9 of an element at most, and
 * operations keep some of what they sum in it. */
static const double BF16_PASS = 5e-3;

static const double STEP = 1e-5;

/* What a lab made: a tensor's buffer or host memory. */
typedef struct mr_lab_item {
    struct mr_lab_item *next;
    mr_buffer *buffer; /* owned */
    void *memory;      /* owned */
} mr_lab_item;

void mr_reference_gemm(bool transpose_a, bool transpose_b, double alpha, const double *a,
                       const double *b, double beta, double *c, int64_t m, int64_t n, int64_t k)
{
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++)
                sum += (transpose_a ? a[l * m + i] : a[i * k + l]) *
                       (transpose_b ? b[j * k + l] : b[l * n + j]);
            c[i * n + j] = alpha * sum + (beta == 0 ? 0 : beta * c[i * n + j]);
        }
    }
}

void mr_reference_rmsnorm(double *y, double *rstd, const double *x, const double *w, double eps,
                          int64_t rows, int64_t cols)
{
    for (int64_t i = 0; i < rows; i++) {
        const double *row = x + i * cols;
        double scale = 1 / sqrt(mr_reference_dot(row, row, cols) / (double)cols + eps);
        for (int64_t c = 0; c < cols; c++)
            y[i * cols + c] = row[c] * scale * w[c];
        if (rstd) rstd[i] = scale;
    }
}

double mr_reference_angle(int64_t position, int64_t pair, int64_t width)
{
    return (double)position * pow(10000.0, -2.0 * (double)pair / (double)width);
}

/* (y[pair], y[pair + width/2]) = (x[pair], x[pair + width/2]) turned by angle. */
static void turn(double *y, const double *x, int64_t pair, int64_t width, double angle)
{
    double real = x[pair], imaginary = x[pair + width / 2];
    y[pair] = real * cos(angle) - imaginary * sin(angle);
    y[pair + width / 2] = real * sin(angle) + imaginary * cos(angle);
}

void mr_reference_rope(double *y, const double *x, const int32_t *positions, int64_t rows,
                       int64_t cols, int64_t head_size)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t head = 0; head < cols; head += head_size)
            for (int64_t pair = 0; pair < head_size / 2; pair++)
                turn(y + i * cols + head, x + i * cols + head, pair, head_size,
                     mr_reference_angle(positions[i], pair, head_size));
}

/* p [T, T] = softmax(q k^T / sqrt(HS)) of one head, row i over columns starts[i]..i; lse [T]. */
static void softmax_of_scores(double *p, double *lse, const double *q, int64_t q_stride,
                              const double *k, int64_t k_stride, const int32_t *starts,
                              int64_t tokens, int64_t head_size)
{
    for (int64_t i = 0; i < tokens; i++) {
        double *row = p + i * tokens;
        double largest = -INFINITY, sum = 0;
        int64_t start = starts ? starts[i] : 0;
        for (int64_t j = start; j <= i; j++) {
            row[j] = mr_reference_dot(q + i * q_stride, k + j * k_stride, head_size) /
                     sqrt((double)head_size);
            largest = fmax(largest, row[j]);
        }
        for (int64_t j = start; j <= i; j++)
            sum += exp(row[j] - largest);
        lse[i] = largest + log(sum);
        for (int64_t j = 0; j < tokens; j++)
            row[j] = j < start || j > i ? 0 : exp(row[j] - lse[i]);
    }
}

void mr_reference_attention(double *o, double *lse, const double *q, const double *k,
                            const double *v, const int32_t *starts, mr_attention_shape shape)
{
    int64_t tokens = shape.tokens, size = shape.head_size;
    int64_t q_stride = shape.heads * size, k_stride = shape.kv_heads * size;
    double *p = mr_alloc_array(MR_MEM_OTHER, (size_t)(tokens * (tokens + 1)), sizeof *p);
    if (!p) mr_abort("no memory for a reference attention: %s", mr_message());
    double *denominators = p + tokens * tokens;
    for (int64_t b = 0; b < shape.batch; b++) {
        for (int64_t h = 0; h < shape.heads; h++) {
            int64_t q_at = b * tokens * q_stride + h * size;
            int64_t k_at = b * tokens * k_stride + h / (shape.heads / shape.kv_heads) * size;
            softmax_of_scores(p, denominators, q + q_at, q_stride, k + k_at, k_stride,
                              starts ? starts + b * tokens : NULL, tokens, size);
            for (int64_t i = 0; i < tokens; i++) {
                double *row = o + q_at + i * q_stride;
                for (int64_t c = 0; c < size; c++)
                    row[c] = 0;
                for (int64_t j = 0; j <= i; j++)
                    for (int64_t c = 0; c < size; c++)
                        row[c] += p[i * tokens + j] * v[k_at + j * k_stride + c];
                if (lse) lse[(b * shape.heads + h) * tokens + i] = denominators[i];
            }
        }
    }
    mr_free(p);
}

void mr_reference_swiglu(double *y, const double *gate, const double *up, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
}

void mr_reference_gather(double *y, const double *w, const int32_t *ids, int64_t rows, int64_t cols)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < cols; c++)
            y[i * cols + c] = w[ids[i] * cols + c];
}

void mr_reference_cross_entropy(double *losses, const double *logits, const int32_t *targets,
                                int64_t rows, int64_t cols)
{
    for (int64_t i = 0; i < rows; i++) {
        const double *row = logits + i * cols;
        double largest = -INFINITY, sum = 0;
        for (int64_t c = 0; c < cols; c++)
            largest = fmax(largest, row[c]);
        for (int64_t c = 0; c < cols; c++)
            sum += exp(row[c] - largest);
        losses[i] = targets[i] < 0 ? 0 : log(sum) + (largest - row[targets[i]]);
    }
}

/* The group of position t: strided t mod groups; contiguous m groups of q + 1, then groups of q,
 * with length = groups q + m. */
static int64_t group_of(mr_group_map map, int64_t t)
{
    if (!map.contiguous) return t % map.groups;
    int64_t q = map.length / map.groups, m = map.length % map.groups, longer = m * (q + 1);
    return t < longer ? t / (q + 1) : m + (t - longer) / q;
}

void mr_reference_group_sum(double *y, const double *x, mr_group_map map, int64_t rows, int64_t n)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t g = 0; g < map.groups; g++)
            y[i * map.groups + g] = 0;
        for (int64_t t = 0; t < map.length; t++)
            y[i * map.groups + group_of(map, t)] += x[i * n + t % n];
    }
}

void mr_reference_group_spread(double *y, const double *x, mr_group_map map, int64_t rows,
                               int64_t n)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t t = 0; t < map.length; t++)
            y[i * n + t % n] += x[i * map.groups + group_of(map, t)];
}

void mr_reference_block_rotate(double *y, const double *x, int64_t rows, int64_t n, int64_t blocks,
                               int64_t width, bool rotate)
{
    int64_t length = blocks * width;
    double *row = mr_alloc_array(MR_MEM_OTHER, (size_t)length, sizeof *row);
    if (!row) mr_abort("no memory for a reference rotation: %s", mr_message());
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t t = 0; t < length; t++)
            row[t] = x[i * n + t % n];
        memcpy(y + i * length, row, (size_t)length * sizeof *row);
        for (int64_t b = 0; rotate && b < blocks; b++)
            for (int64_t pair = 0; pair < width / 2; pair++)
                turn(y + i * length + b * width, row + b * width, pair, width,
                     mr_reference_angle(b, pair, width));
    }
    mr_free(row);
}

void mr_reference_adamw(double *w, const double *grad, double *m, double *v, int64_t count,
                        const mr_adamw_args *args)
{
    double correction1 = 1 - pow(args->beta1, (double)args->step);
    double correction2 = 1 - pow(args->beta2, (double)args->step);
    for (int64_t i = 0; i < count; i++) {
        double g = grad[i] * args->grad_scale;
        w[i] *= 1 - args->lr * args->weight_decay;
        m[i] = args->beta1 * m[i] + (1 - args->beta1) * g;
        v[i] = args->beta2 * v[i] + (1 - args->beta2) * g * g;
        w[i] -= args->lr * (m[i] / correction1) / (sqrt(v[i] / correction2) + args->eps);
    }
}

double mr_reference_dot(const double *a, const double *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

void mr_reference_differences(double *gradient, double *values, int64_t count,
                              double (*objective)(const void *problem), const void *problem)
{
    for (int64_t i = 0; i < count; i++) {
        double value = values[i];
        values[i] = value + STEP;
        double above = objective(problem);
        values[i] = value - STEP;
        double below = objective(problem);
        values[i] = value;
        gradient[i] = (above - below) / (2 * STEP);
    }
}

double mr_reference_slope(const double *direction, double *values, int64_t count,
                          double (*objective)(const void *problem), const void *problem)
{
    double *saved = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *saved);
    if (!saved) mr_abort("no memory for a reference slope: %s", mr_message());
    memcpy(saved, values, (size_t)count * sizeof *saved);
    double ends[2];
    for (int side = 0; side < 2; side++) {
        double step = side ? STEP : -STEP;
        for (int64_t i = 0; i < count; i++)
            values[i] = saved[i] + step * direction[i];
        ends[side] = objective(problem);
    }
    memcpy(values, saved, (size_t)count * sizeof *saved);
    mr_free(saved);
    return (ends[1] - ends[0]) / (2 * STEP);
}

mr_lab *mr_lab_create(int threads, uint64_t seed)
{
    mr_lab *lab = mr_alloc(MR_MEM_OTHER, sizeof *lab);
    if (!lab) fail_msg("%s", mr_message());
    must(mr_backend_create(test_backend(), 0, threads, &lab->be));
    lab->random = mr_random_stream(seed, MR_RANDOM_DATA, 0);
    return lab;
}

void mr_lab_clear(mr_lab *lab)
{
    while (lab->items) {
        mr_lab_item *item = lab->items;
        lab->items = item->next;
        lab->be->ops->buffer_destroy(lab->be, &item->buffer);
        mr_free(item->memory);
        mr_free(item);
    }
}

void mr_lab_destroy(mr_lab **lab)
{
    if (!*lab) return;
    mr_lab_clear(*lab);
    mr_backend_destroy(&(*lab)->be);
    mr_free(*lab);
    *lab = NULL;
}

int mr_lab_setup(void **state)
{
    *state = mr_lab_create(2, 20240520);
    return 0;
}

int mr_lab_teardown(void **state)
{
    mr_lab *lab = *state;
    mr_lab_destroy(&lab);
    *state = NULL;
    if (mr_memory_live_total() == 0) return 0;
    print_error("%zu bytes were left after the test\n", mr_memory_live_total());
    return 1;
}

/* Lets the lab allocate where the operation it runs must not. */
static void set_guard(const mr_lab *lab, bool on)
{
    if (lab->running) mr_memory_guard(on);
}

static mr_lab_item *new_item(mr_lab *lab)
{
    set_guard(lab, false);
    mr_lab_item *item = mr_alloc(MR_MEM_OTHER, sizeof *item);
    set_guard(lab, true);
    if (!item) fail_msg("%s", mr_message());
    item->next = lab->items;
    lab->items = item;
    return item;
}

static void *keep(mr_lab *lab, int64_t count, size_t size)
{
    mr_lab_item *item = new_item(lab);
    set_guard(lab, false);
    item->memory = mr_alloc_array(MR_MEM_OTHER, (size_t)count, size);
    set_guard(lab, true);
    if (!item->memory) fail_msg("%s", mr_message());
    return item->memory;
}

int64_t mr_lab_extent(mr_lab *lab, int64_t low, int64_t high)
{
    return low + (int64_t)mr_random_below(&lab->random, lab->drawn++, (uint64_t)(high - low + 1));
}

double *mr_lab_zeros(mr_lab *lab, int64_t count)
{
    return keep(lab, count, sizeof(double));
}

double *mr_lab_copy(mr_lab *lab, const double *values, int64_t count)
{
    return memcpy(mr_lab_zeros(lab, count), values, (size_t)count * sizeof *values);
}

double *mr_lab_normals(mr_lab *lab, int64_t count)
{
    double *values = mr_lab_zeros(lab, count);
    for (int64_t i = 0; i < count; i++)
        values[i] = (double)(float)mr_random_normal(&lab->random, lab->drawn++);
    return values;
}

int32_t *mr_lab_ids(mr_lab *lab, int64_t count, int64_t bound)
{
    int32_t *ids = keep(lab, count, sizeof *ids);
    for (int64_t i = 0; i < count; i++)
        ids[i] = (int32_t)mr_lab_extent(lab, 0, bound - 1);
    return ids;
}

int32_t *mr_lab_distinct(mr_lab *lab, int64_t count, int64_t bound)
{
    int64_t *order = keep(lab, bound, sizeof *order);
    int32_t *ids = keep(lab, count, sizeof *ids);
    mr_random stream = mr_random_stream((uint64_t)bound, MR_RANDOM_ORDER, lab->drawn++);
    test_permutation(&stream, order, bound);
    for (int64_t i = 0; i < count; i++)
        ids[i] = (int32_t)order[i];
    return ids;
}

/* Every byte 0xff but each element's last: a NaN in floating types, INT32_MAX in I32. */
static void poison_bytes(unsigned char *bytes, int64_t count, size_t size)
{
    memset(bytes, 0xff, (size_t)count * size);
    for (int64_t i = 0; i < count; i++)
        bytes[((size_t)i + 1) * size - 1] = 0x7f;
}

/* All of the buffer of a tensor that mr_lab_poison made. */
static mr_tensor whole_of(mr_tensor t)
{
    return mr_tensor_of(t.buffer, t.dtype, 0, 1, t.offset + t.rows * t.stride);
}

const int32_t *mr_lab_starts(mr_lab *lab, mr_attention_shape shape, int64_t longest)
{
    if (longest == 0) return NULL;
    int32_t *starts = mr_lab_ids(lab, shape.batch * shape.tokens, 1);
    for (int64_t b = 0; b < shape.batch; b++)
        for (int64_t t = 0; t < shape.tokens;) {
            int64_t start = t, end = t + mr_lab_extent(lab, 1, longest);
            for (; t < end && t < shape.tokens; t++)
                starts[b * shape.tokens + t] = (int32_t)start;
        }
    return starts;
}

/* Bytes of an element on the host, where BF16 is F32. */
static size_t host_size(mr_dtype dtype)
{
    return mr_dtype_size(dtype == MR_BF16 ? MR_F32 : dtype);
}

mr_tensor mr_lab_poison(mr_lab *lab, mr_dtype dtype, int64_t rows, int64_t cols, int64_t gap)
{
    mr_lab_item *item = new_item(lab);
    mr_tensor t = {.offset = gap, .rows = rows, .cols = cols, .stride = cols + gap, .dtype = dtype};
    int64_t count = whole_of(t).cols;
    size_t size = host_size(dtype);
    set_guard(lab, false);
    mr_status status = lab->be->ops->buffer_create(lab->be, MR_MEM_OTHER,
                                                   (size_t)count * mr_dtype_size(dtype), &t.buffer);
    set_guard(lab, true);
    must(status);
    item->buffer = t.buffer;
    unsigned char *bytes = keep(lab, count, size);
    poison_bytes(bytes, count, size);
    lab->be->ops->upload(lab->be, whole_of(t), bytes);
    return t;
}

mr_tensor mr_lab_upload(mr_lab *lab, const double *values, int64_t rows, int64_t cols, int64_t gap)
{
    return mr_lab_upload_as(lab, MR_F32, values, rows, cols, gap);
}

mr_tensor mr_lab_upload_as(mr_lab *lab, mr_dtype dtype, const double *values, int64_t rows,
                           int64_t cols, int64_t gap)
{
    mr_tensor t = mr_lab_poison(lab, dtype, rows, cols, gap);
    float *floats = keep(lab, rows * cols, sizeof *floats);
    for (int64_t i = 0; i < rows * cols; i++)
        floats[i] = (float)values[i];
    lab->be->ops->upload(lab->be, t, floats);
    return t;
}

mr_tensor mr_lab_upload_ids(mr_lab *lab, const int32_t *ids, int64_t count)
{
    mr_tensor t = mr_lab_poison(lab, MR_I32, 1, count, 0);
    lab->be->ops->upload(lab->be, t, ids);
    return t;
}

void mr_lab_angles(mr_lab *lab, int64_t positions, int64_t width, mr_tensor *cosine,
                   mr_tensor *sine)
{
    int64_t half = width / 2;
    double *values = mr_lab_zeros(lab, 2 * positions * half);
    for (int64_t i = 0; i < positions * half; i++) {
        double angle = mr_reference_angle(i / half, i % half, width);
        values[i] = cos(angle);
        values[positions * half + i] = sin(angle);
    }
    *cosine = mr_lab_upload(lab, values, positions, half, 0);
    *sine = mr_lab_upload(lab, values + positions * half, positions, half, 0);
}

double mr_reference_e4m3(uint8_t bits)
{
    const int exponent = bits >> 3 & 15, mantissa = bits & 7;
    const double sign = bits & 128 ? -1 : 1;
    if (exponent == 15 && mantissa == 7) return NAN;
    if (exponent == 0) return sign * ldexp(mantissa, -9);
    return sign * ldexp(8 + mantissa, exponent - 10);
}

/* Rounds to the nearest number of 8 bits, to even of two, of those up to the largest. */
static double to_e4m3(double x)
{
    int exponent;
    frexp(x, &exponent); /* |x| is in [1/2, 1) of that power of two */
    const double unit = ldexp(1, (exponent > -5 ? exponent : -5) - 4);
    return unit * rint(x / unit);
}

void mr_reference_quantize(double *y, double *scale, const double *x, int64_t rows, int64_t cols)
{
    for (int64_t i = 0; i < rows; i++) {
        double most = 0;
        scale[i] = ldexp(1, -126);
        for (int64_t j = 0; j < cols; j++)
            most = fmax(most, fabs(x[i * cols + j]));
        while (most > 448 * scale[i])
            scale[i] *= 2;
        for (int64_t j = 0; j < cols; j++)
            y[i * cols + j] = to_e4m3(x[i * cols + j] / scale[i]);
    }
}

double *mr_lab_download(mr_lab *lab, mr_tensor t)
{
    int64_t count = mr_tensor_count(t);
    double *values = mr_lab_zeros(lab, count);
    if (lab->be->ops->synchronize(lab->be) != MR_OK) fail_msg("%s", mr_message());
    if (t.dtype == MR_E4M3) {
        uint8_t *bytes = keep(lab, count, sizeof *bytes);
        lab->be->ops->download(lab->be, bytes, t);
        for (int64_t i = 0; i < count; i++)
            values[i] = mr_reference_e4m3(bytes[i]);
        return values;
    }
    if (t.dtype == MR_F64) {
        lab->be->ops->download(lab->be, values, t);
        return values;
    }
    union {
        float *f32;
        int32_t *i32;
        void *any;
    } host = {.any = keep(lab, count, 4)};
    lab->be->ops->download(lab->be, host.any, t);
    for (int64_t i = 0; i < count; i++)
        values[i] = t.dtype == MR_I32 ? (double)host.i32[i] : (double)host.f32[i];
    return values;
}

static void check_gaps(mr_lab *lab, mr_tensor t, const char *what)
{
    if (t.stride == t.cols) return;
    mr_tensor whole = whole_of(t);
    size_t size = host_size(t.dtype);
    unsigned char *found = keep(lab, whole.cols, size), *poison = keep(lab, 1, size);
    lab->be->ops->download(lab->be, found, whole);
    poison_bytes(poison, 1, size);
    for (int64_t i = 0; i < whole.cols; i++) {
        int64_t from_start = i - t.offset;
        if (from_start >= 0 && from_start % t.stride < t.cols) continue;
        bool half = t.dtype == MR_BF16; /* of a NaN the rest of the bits is lost */
        if (half ? !isnan(((const float *)(const void *)found)[i])
                 : memcmp(found + (size_t)i * size, poison, size) != 0)
            fail_msg("%s: wrote outside its [%" PRId64 ", %" PRId64 "] with row stride %" PRId64
                     ", at element %" PRId64,
                     what, t.rows, t.cols, t.stride, from_start);
    }
}

static void compare(mr_bound bound, double allowed, const double *got, const double *want,
                    int64_t count, const char *what)
{
    double error = 0, norm = 0, largest = -1;
    int64_t worst = 0;
    for (int64_t i = 0; i < count; i++) {
        double off = fabs(got[i] - want[i]);
        error += off * off;
        norm += want[i] * want[i];
        /* A NaN is the worst of all, and stays so. */
        if (!(off <= largest) && !isnan(largest)) {
            largest = off;
            worst = i;
        }
    }
    /* Written so that a NaN fails. */
    if (sqrt(error) <= allowed * sqrt(norm)) return;
    fail_msg("%s: relative error %.3g, allowed %.1g (%s: %s); worst at element %" PRId64
             " of %" PRId64 ": %.9g, expected %.9g",
             what, sqrt(error / norm), allowed, bounds[bound].name, bounds[bound].reason, worst,
             count, got[worst], want[worst]);
}

void mr_lab_expect(mr_lab *lab, mr_bound bound, mr_tensor got, const double *want, const char *fmt,
                   ...)
{
    char what[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    double allowed = bounds[bound].pass;
    if (got.dtype == MR_BF16 && bound != MR_BOUND_EXACT && allowed < BF16_PASS) allowed = BF16_PASS;
    compare(bound, allowed, mr_lab_download(lab, got), want, mr_tensor_count(got), what);
    check_gaps(lab, got, what);
}

void mr_lab_expect_values(mr_bound bound, const double *got, const double *want, int64_t count,
                          const char *fmt, ...)
{
    char what[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    compare(bound, bounds[bound].pass, got, want, count, what);
}
