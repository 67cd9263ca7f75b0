#ifndef MR_TESTS_REFERENCE_H
#define MR_TESTS_REFERENCE_H

/** @file
 * What the tests of a backend share: every operation written once more in double, as its textbook
 * formula on dense row-major arrays, and a lab that draws inputs, holds tensors and compares.
 *
 * The letters are those of backend/backend.h. Everything is Local.
 */

#include "backend/backend.h"

/** Computes c [m, n] = alpha op(a) op(b) + beta c with an inner extent of k. */
void mr_reference_gemm(bool transpose_a, bool transpose_b, double alpha, const double *a,
                       const double *b, double beta, double *c, int64_t m, int64_t n, int64_t k);

/** Computes y [rows, cols] = x w / sqrt(mean(x^2) + eps); rstd [rows] may be NULL. */
void mr_reference_rmsnorm(double *y, double *rstd, const double *x, const double *w, double eps,
                          int64_t rows, int64_t cols);

/** Returns the rotary angle position * 10000^(-2 pair / width), radians. */
double mr_reference_angle(int64_t position, int64_t pair, int64_t width);

/** Computes y [rows, cols] = x with each head's pairs turned by the angles of positions [rows]. */
void mr_reference_rope(double *y, const double *x, const int32_t *positions, int64_t rows,
                       int64_t cols, int64_t head_size);

/** Computes o and lse (may be NULL) of mr_attention_args by T x T softmaxes; starts [B * T], or
 * NULL where a sequence is one segment. */
void mr_reference_attention(double *o, double *lse, const double *q, const double *k,
                            const double *v, const int32_t *starts, mr_attention_shape shape);

/** Computes y [count] = gate sigmoid(gate) up. */
void mr_reference_swiglu(double *y, const double *gate, const double *up, int64_t count);

/** Computes y [rows, cols] = rows ids of w. */
void mr_reference_gather(double *y, const double *w, const int32_t *ids, int64_t rows,
                         int64_t cols);

/** Computes losses [rows] = -log softmax(logits [rows, cols])[targets], 0 for negative targets. */
void mr_reference_cross_entropy(double *losses, const double *logits, const int32_t *targets,
                                int64_t rows, int64_t cols);

/** Computes y [rows, groups] = sums of x [rows, n] over the map, position by position. */
void mr_reference_group_sum(double *y, const double *x, mr_group_map map, int64_t rows, int64_t n);

/** Adds x [rows, groups] spread over the map to y [rows, n], position by position. */
void mr_reference_group_spread(double *y, const double *x, mr_group_map map, int64_t rows,
                               int64_t n);

/** Computes y [rows, blocks * width] from x [rows, n] as block_rotate. */
void mr_reference_block_rotate(double *y, const double *x, int64_t rows, int64_t n, int64_t blocks,
                               int64_t width, bool rotate);

/** Updates w, m and v [count] by grad; args gives the numbers, not the tensors. */
void mr_reference_adamw(double *w, const double *grad, double *m, double *v, int64_t count,
                        const mr_adamw_args *args);

/** Returns the number that 8 bits are as E4M3. */
double mr_reference_e4m3(uint8_t bits);

/** Computes y [rows, cols] and scale [rows] of x as quantize, of finite numbers. */
void mr_reference_quantize(double *y, double *scale, const double *x, int64_t rows, int64_t cols);

/** Returns the sum of a[i] b[i]. */
double mr_reference_dot(const double *a, const double *b, int64_t count);

/** Fills gradient [count] with central differences of objective by each of values, which are
 * moved in place and put back. */
void mr_reference_differences(double *gradient, double *values, int64_t count,
                              double (*objective)(const void *problem), const void *problem);

/** Returns the central difference of objective along direction [count] at values. */
double mr_reference_slope(const double *direction, double *values, int64_t count,
                          double (*objective)(const void *problem), const void *problem);

/** How close a result must be. The table of numbers and reasons stands in reference.c. */
typedef enum mr_bound {
    MR_BOUND_EXACT,    /**< moved, not computed */
    MR_BOUND_ROUNDED,  /**< a few roundings an element */
    MR_BOUND_SUMMED,   /**< sums of many products */
    MR_BOUND_LONG,     /**< sums of tens of thousands of products */
    MR_BOUND_SHARP,    /**< exponentials of large numbers */
    MR_BOUND_GRADIENT, /**< a backward pass against central differences */
    MR_BOUNDS
} mr_bound;

/** A backend with a stream of inputs, and everything made for a test. Owns all it hands out. */
typedef struct mr_lab {
    mr_backend *be;
    mr_random random;
    uint64_t drawn; /**< index of the next number of the stream */
    mr_dtype dtype; /**< of activations, for tests that are run for several; F32 */
    bool running;   /**< inside MR_LAB_RUN */
    struct mr_lab_item *items;
} mr_lab;

/** Runs an operation of the lab's backend; allocating in it is fatal in debug builds. The lab's own
 * functions may stand among the arguments. */
#define MR_LAB_RUN(lab, operation, ...)                                                            \
    do {                                                                                           \
        (lab)->running = true;                                                                     \
        mr_memory_guard(true);                                                                     \
        (lab)->be->ops->operation((lab)->be, __VA_ARGS__);                                         \
        mr_memory_guard(false);                                                                    \
        (lab)->running = false;                                                                    \
    } while (0)

/** Creates a lab on the backend that MORA_BACKEND names, "cpu" without; failing to fails the test.
 */
mr_lab *mr_lab_create(int threads, uint64_t seed);

/** Frees what the lab made since it was created or last cleared. */
void mr_lab_clear(mr_lab *lab);

/** Frees *lab with all it holds and sets it to NULL. */
void mr_lab_destroy(mr_lab **lab);

/** Setup and teardown of one cmocka test: a lab of two threads, and no memory left behind. */
int mr_lab_setup(void **state);
int mr_lab_teardown(void **state);
#define MR_LAB_TEST(function)                                                                      \
    cmocka_unit_test_setup_teardown(function, mr_lab_setup, mr_lab_teardown)

/** Returns an integer in low..high from the stream. */
int64_t mr_lab_extent(mr_lab *lab, int64_t low, int64_t high);

/** Returns count zeros. */
double *mr_lab_zeros(mr_lab *lab, int64_t count);

/** Returns a copy of count values. */
double *mr_lab_copy(mr_lab *lab, const double *values, int64_t count);

/** Returns count normal numbers that F32 holds exactly. */
double *mr_lab_normals(mr_lab *lab, int64_t count);

/** Returns count indices in 0..bound-1. */
int32_t *mr_lab_ids(mr_lab *lab, int64_t count, int64_t bound);

/** Returns count different indices in 0..bound-1, in a random order. */
int32_t *mr_lab_distinct(mr_lab *lab, int64_t count, int64_t bound);

/** Returns where the rows of a batch start their segments (mr_attention_args), of 1 to `longest`
 * tokens each; NULL where longest is 0: a segment a sequence. */
const int32_t *mr_lab_starts(mr_lab *lab, mr_attention_shape shape, int64_t longest);

/** Returns a tensor of poison (NaN; large in I32) with `gap` poisoned elements before it, between
 * its rows and after it. */
mr_tensor mr_lab_poison(mr_lab *lab, mr_dtype dtype, int64_t rows, int64_t cols, int64_t gap);

/** Returns an F32 tensor of values [rows, cols], poison in its gaps. */
mr_tensor mr_lab_upload(mr_lab *lab, const double *values, int64_t rows, int64_t cols, int64_t gap);

/** As mr_lab_upload, of another type than F32. */
mr_tensor mr_lab_upload_as(mr_lab *lab, mr_dtype dtype, const double *values, int64_t rows,
                           int64_t cols, int64_t gap);

/** Returns an I32 tensor [1, count]. */
mr_tensor mr_lab_upload_ids(mr_lab *lab, const int32_t *ids, int64_t count);

/** Makes the tables [positions, width / 2] of cosine and sine of mr_reference_angle in F32. */
void mr_lab_angles(mr_lab *lab, int64_t positions, int64_t width, mr_tensor *cosine,
                   mr_tensor *sine);

/** Returns the values of a tensor; the operations before must have succeeded. */
double *mr_lab_download(mr_lab *lab, mr_tensor t);

/** Fails the test unless |got - want| <= bound |want| in the Euclidean norm, or 5e-3 of it where
 * got is BF16, whose rounding is 2^-9 of an element and more than one deep, and nothing was written
 * in got's gaps; the rest names the case. */
void mr_lab_expect(mr_lab *lab, mr_bound bound, mr_tensor got, const double *want, const char *fmt,
                   ...) MR_PRINTF(5, 6);

/** Fails the test unless got [count] is as near to want as bound asks; the rest names the case. */
void mr_lab_expect_values(mr_bound bound, const double *got, const double *want, int64_t count,
                          const char *fmt, ...) MR_PRINTF(5, 6);

#endif
