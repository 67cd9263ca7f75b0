/* Attention within segments and against a cache, held against T x T softmaxes in double. */
#include "reference.h"
#include "test.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Runs attention_forward on q, k, v and compares o and lse with the reference. */
static void attention_case(mr_lab *lab, mr_attention_shape shape, int64_t longest, double scale,
                           mr_bound bound)
{
    int64_t rows = shape.batch * shape.tokens;
    int64_t q_cols = shape.heads * shape.head_size, k_cols = shape.kv_heads * shape.head_size;
    double *q = mr_lab_normals(lab, rows * q_cols), *k = mr_lab_normals(lab, rows * k_cols);
    double *v = mr_lab_normals(lab, rows * k_cols), *o = mr_lab_zeros(lab, rows * q_cols);
    double *lse = mr_lab_zeros(lab, rows * shape.heads);
    const int32_t *starts = mr_lab_starts(lab, shape, longest);
    for (int64_t i = 0; i < rows * q_cols; i++)
        q[i] = (double)(float)(scale * q[i]);
    mr_attention_args args = {
        .shape = shape,
        .q = mr_lab_upload(lab, q, rows, q_cols, 0),
        .k = mr_lab_upload(lab, k, rows, k_cols, 0),
        .v = mr_lab_upload(lab, v, rows, k_cols, 0),
        .o = mr_lab_poison(lab, MR_F32, rows, q_cols, 0),
        .lse = mr_lab_poison(lab, MR_F32, shape.batch * shape.heads, shape.tokens, 0),
    };
    if (starts) args.starts = mr_lab_upload_ids(lab, starts, rows);
    MR_LAB_RUN(lab, attention_forward, &args);
    mr_reference_attention(o, lse, q, k, v, starts, shape);
    mr_lab_expect(lab, bound, args.o, o,
                  "o, B %" PRId64 " T %" PRId64 " NH %" PRId64 " NKV %" PRId64 " HS %" PRId64
                  ", segments up to %" PRId64,
                  shape.batch, shape.tokens, shape.heads, shape.kv_heads, shape.head_size, longest);
    mr_lab_expect(lab, bound, args.lse, lse,
                  "lse, B %" PRId64 " T %" PRId64 " NH %" PRId64 " NKV %" PRId64 " HS %" PRId64
                  ", segments up to %" PRId64,
                  shape.batch, shape.tokens, shape.heads, shape.kv_heads, shape.head_size, longest);
    mr_lab_clear(lab);
}

static void attention_matches_the_explicit_softmax(void **state)
{
    mr_lab *lab = *state;
    const int64_t tokens[] = {1, 2, 63, 64, 65, 127, 128, 129, 200, 257};
    const int64_t heads[][2] = {{1, 1}, {4, 4}, {6, 2}, {8, 1}};
    const int64_t sizes[] = {2, 8, 16, 64, 80};
    const int64_t longest[] = {0, 1, 5, 40, 150};
    for (size_t t = 0; t < 10; t++)
        for (size_t h = 0; h < 4; h++)
            for (size_t s = 0; s < 5; s++)
                attention_case(lab,
                               (mr_attention_shape){.batch = 1 + (int64_t)(t + 2 * h) % 3,
                                                    .tokens = tokens[t],
                                                    .heads = heads[h][0],
                                                    .kv_heads = heads[h][1],
                                                    .head_size = sizes[(t + h + t / 5) % 5]},
                               longest[s], 1, MR_BOUND_SUMMED);
    attention_case(lab, (mr_attention_shape){2, 130, 2, 1, 128}, 0, 1, MR_BOUND_SUMMED);
}

static void attention_stands_large_scores(void **state)
{
    mr_lab *lab = *state;
    attention_case(lab, (mr_attention_shape){1, 150, 2, 1, 16}, 0, 300, MR_BOUND_SHARP);
    attention_case(lab, (mr_attention_shape){1, 300, 2, 1, 16}, 140, 300, MR_BOUND_SHARP);
}

/* One segment a sequence, said by starts of 0, is what no starts say: to the bit. */
static void starts_of_zero_are_no_starts(void **state)
{
    mr_lab *lab = *state;
    mr_attention_shape shape = {2, 200, 4, 2, 16};
    int64_t rows = 400, q_cols = 64, k_cols = 32;
    mr_attention_args args = {
        .shape = shape,
        .q = mr_lab_upload(lab, mr_lab_normals(lab, rows * q_cols), rows, q_cols, 0),
        .k = mr_lab_upload(lab, mr_lab_normals(lab, rows * k_cols), rows, k_cols, 0),
        .v = mr_lab_upload(lab, mr_lab_normals(lab, rows * k_cols), rows, k_cols, 0),
        .d_o = mr_lab_upload(lab, mr_lab_normals(lab, rows * q_cols), rows, q_cols, 0),
    };
    double *first[5] = {0};
    for (int with = 0; with < 2; with++) {
        mr_tensor *const results[] = {&args.o, &args.lse, &args.d_q, &args.d_k, &args.d_v};
        const int64_t cols[] = {q_cols, shape.tokens, q_cols, k_cols, k_cols};
        for (int i = 0; i < 5; i++)
            *results[i] = mr_lab_poison(lab, MR_F32, i == 1 ? 8 : rows, cols[i], 0);
        if (with) args.starts = mr_lab_upload_ids(lab, mr_lab_ids(lab, rows, 1), rows);
        MR_LAB_RUN(lab, attention_forward, &args);
        MR_LAB_RUN(lab, attention_backward, &args);
        for (int i = 0; i < 5; i++) {
            if (with)
                mr_lab_expect(lab, MR_BOUND_EXACT, *results[i], first[i], "result %d", i);
            else
                first[i] = mr_lab_download(lab, *results[i]);
        }
    }
}

/* A sequence of a cached case: it begins with the first `prefix` tokens of a text that others begin
 * with too, and goes on with `cached` and `fresh` of its own. */
typedef struct cached_sequence {
    int64_t prefix, cached, fresh;
} cached_sequence;

/* Writes positions first.. of keys or values [all, cols] to the pages of a sequence. */
static void write_pages(mr_lab *lab, mr_tensor cache, const int32_t *pages, const double *values,
                        int64_t first, int64_t all)
{
    for (int64_t t = first; t < all; t += MR_CACHE_PAGE) {
        int64_t count = all - t < MR_CACHE_PAGE ? all - t : MR_CACHE_PAGE;
        MR_LAB_RUN(
            lab, copy,
            mr_tensor_rows(cache, (int64_t)pages[t / MR_CACHE_PAGE] * MR_CACHE_PAGE, count),
            mr_lab_upload_as(lab, cache.dtype, values + t * cache.cols, count, cache.cols, 0));
    }
}

static int64_t pages_for(int64_t tokens)
{
    return (tokens + MR_CACHE_PAGE - 1) / MR_CACHE_PAGE;
}

/* Runs attention_cached on sequences that have the whole pages of what they begin with in common,
 * and compares each one's new rows with the last of a whole attention. Beyond what counts the cache
 * is NaN, and pages of a sequence stand in any order. */
static void cached_case(mr_lab *lab, mr_attention_shape shape, const cached_sequence *sequence,
                        const char *what)
{
    int64_t q_cols = shape.heads * shape.head_size, k_cols = shape.kv_heads * shape.head_size;
    int64_t longest = 1, fresh = 0, prefix = 0;
    for (int64_t b = 0; b < shape.batch; b++) {
        int64_t all = sequence[b].prefix + sequence[b].cached + sequence[b].fresh;
        longest = all > longest ? all : longest;
        prefix = sequence[b].prefix > prefix ? sequence[b].prefix : prefix;
        fresh += sequence[b].fresh;
    }
    int64_t most = pages_for(longest), count = (shape.batch + 1) * most, next = count;
    mr_tensor k = mr_lab_poison(lab, MR_F32, count * MR_CACHE_PAGE, k_cols, 0);
    mr_tensor v = mr_lab_poison(lab, MR_F32, count * MR_CACHE_PAGE, k_cols, 0);
    double *prefix_k = mr_lab_normals(lab, prefix * k_cols);
    double *prefix_v = mr_lab_normals(lab, prefix * k_cols);
    int32_t *shared = mr_lab_ids(lab, most, 1), *pages = mr_lab_ids(lab, shape.batch * most, 1);
    for (int64_t i = 0; i < most; i++)
        shared[i] = (int32_t)--next;
    write_pages(lab, k, shared, prefix_k, 0, prefix);
    write_pages(lab, v, shared, prefix_v, 0, prefix);
    double *q = mr_lab_normals(lab, fresh * q_cols), *want = mr_lab_zeros(lab, fresh * q_cols);
    int32_t *offsets = mr_lab_ids(lab, shape.batch + 1, 1),
            *lengths = mr_lab_ids(lab, shape.batch, 1);
    for (int64_t b = 0; b < shape.batch; b++) {
        const cached_sequence *one = &sequence[b];
        int64_t all = one->prefix + one->cached + one->fresh, common = one->prefix / MR_CACHE_PAGE;
        size_t before = (size_t)(one->prefix * k_cols) * sizeof(double);
        double *keys = mr_lab_normals(lab, all * k_cols),
               *values = mr_lab_normals(lab, all * k_cols);
        double *queries = mr_lab_zeros(lab, all * q_cols), *o = mr_lab_zeros(lab, all * q_cols);
        memcpy(keys, prefix_k, before);
        memcpy(values, prefix_v, before);
        memcpy(queries + (all - one->fresh) * q_cols, q + offsets[b] * q_cols,
               (size_t)(one->fresh * q_cols) * sizeof *q);
        mr_attention_shape whole = shape;
        whole.batch = 1;
        whole.tokens = all;
        mr_reference_attention(o, NULL, queries, keys, values, NULL, whole);
        memcpy(want + offsets[b] * q_cols, o + (all - one->fresh) * q_cols,
               (size_t)(one->fresh * q_cols) * sizeof *want);
        for (int64_t i = 0; i < most; i++)
            pages[b * most + i] = i < common ? shared[i] : (int32_t)--next;
        write_pages(lab, k, pages + b * most, keys, common * MR_CACHE_PAGE, all);
        write_pages(lab, v, pages + b * most, values, common * MR_CACHE_PAGE, all);
        offsets[b + 1] = offsets[b] + (int32_t)one->fresh;
        lengths[b] = (int32_t)all;
    }
    mr_tensor ids = mr_lab_upload_ids(lab, pages, shape.batch * most);
    mr_cached_attention_args args = {
        .shape = shape,
        .q = mr_lab_upload(lab, q, fresh, q_cols, 0),
        .k = k,
        .v = v,
        .o = mr_lab_poison(lab, MR_F32, fresh, q_cols, 0),
        .offsets = mr_lab_upload_ids(lab, offsets, shape.batch + 1),
        .lengths = mr_lab_upload_ids(lab, lengths, shape.batch),
        .pages = mr_tensor_reshape(ids, shape.batch, most),
    };
    MR_LAB_RUN(lab, attention_cached, &args);
    mr_lab_expect(lab, MR_BOUND_SUMMED, args.o, want,
                  "%s, B %" PRId64 " NH %" PRId64 " NKV %" PRId64 " HS %" PRId64, what, shape.batch,
                  shape.heads, shape.kv_heads, shape.head_size);
    mr_lab_clear(lab);
}

static const mr_attention_shape cached_shapes[] = {
    /* B, T (unused), NH, NKV, HS */
    {1, 0, 1, 1, 2},  {3, 0, 4, 4, 16}, {4, 0, 6, 2, 8},
    {2, 0, 8, 1, 64}, {5, 0, 2, 1, 80}, {1, 0, 4, 2, 128},
};

enum { CACHED_SHAPES = sizeof cached_shapes / sizeof cached_shapes[0], MOST_SEQUENCES = 5 };

static void decoding_equals_the_last_row_of_attention(void **state)
{
    for (int i = 0; i < CACHED_SHAPES; i++) {
        cached_sequence sequence[MOST_SEQUENCES];
        for (int b = 0; b < MOST_SEQUENCES; b++)
            sequence[b] = (cached_sequence){.cached = b == 0   ? 0
                                                      : b == 1 ? 199
                                                               : mr_lab_extent(*state, 1, 190),
                                            .fresh = 1};
        cached_case(*state, cached_shapes[i], sequence, "one new token each");
    }
}

static void prefill_equals_attention(void **state)
{
    for (int i = 0; i < CACHED_SHAPES; i++) {
        cached_sequence sequence[MOST_SEQUENCES];
        for (int b = 0; b < MOST_SEQUENCES; b++)
            sequence[b] = (cached_sequence){.fresh = b == 1 ? 260 : mr_lab_extent(*state, 1, 140)};
        cached_case(*state, cached_shapes[i], sequence, "empty caches");
    }
}

static void any_number_of_new_tokens_goes_on_from_a_cache(void **state)
{
    for (int i = 0; i < CACHED_SHAPES; i++) {
        cached_sequence sequence[MOST_SEQUENCES];
        for (int b = 0; b < MOST_SEQUENCES; b++)
            sequence[b] = (cached_sequence){.cached = mr_lab_extent(*state, 0, 150),
                                            .fresh = mr_lab_extent(*state, 1, 135)};
        if (cached_shapes[i].batch > 2) sequence[1].fresh = 0; /* an idle slot */
        cached_case(*state, cached_shapes[i], sequence, "cached and new");
    }
}

static void sequences_that_begin_alike_share_pages(void **state)
{
    for (int i = 0; i < CACHED_SHAPES; i++) {
        cached_sequence sequence[MOST_SEQUENCES];
        for (int b = 0; b < MOST_SEQUENCES; b++)
            sequence[b] = (cached_sequence){.prefix = b == 2   ? 0
                                                      : b == 3 ? 77
                                                               : 140,
                                            .cached = mr_lab_extent(*state, 0, 9),
                                            .fresh = b == 4 ? 130 : mr_lab_extent(*state, 1, 9)};
        cached_case(*state, cached_shapes[i], sequence, "behind a prefix");
    }
}

/* Rows first..first+count-1 of a text [length, ..], behind those before them and beside another
 * sequence of `beside` new tokens; its pages begin with number `page`. */
static double *cached_part(mr_lab *lab, mr_attention_shape shape, const double *text[3],
                           int64_t first, int64_t count, int64_t beside, int64_t page)
{
    int64_t q_cols = shape.heads * shape.head_size, k_cols = shape.kv_heads * shape.head_size;
    int64_t most = pages_for(first + count), room = most + page;
    int32_t *pages = mr_lab_ids(lab, 2 * most, 1);
    for (int64_t i = 0; i < 2 * most; i++)
        pages[i] = (int32_t)(i < most ? i % room : room - 1 - (i - most));
    double *q = mr_lab_normals(lab, (beside + count) * q_cols);
    memcpy(q + beside * q_cols, text[0] + first * q_cols, (size_t)(count * q_cols) * sizeof *q);
    shape.batch = 2;
    const int32_t offsets[] = {0, (int32_t)beside, (int32_t)(beside + count)};
    const int32_t lengths[] = {(int32_t)(beside > 0 ? beside : 1), (int32_t)(first + count)};
    mr_cached_attention_args args = {
        .shape = shape,
        .q = mr_lab_upload_as(lab, lab->dtype, q, beside + count, q_cols, 0),
        .k = mr_lab_poison(lab, lab->dtype, room * MR_CACHE_PAGE, k_cols, 0),
        .v = mr_lab_poison(lab, lab->dtype, room * MR_CACHE_PAGE, k_cols, 0),
        .o = mr_lab_poison(lab, lab->dtype, beside + count, q_cols, 0),
        .offsets = mr_lab_upload_ids(lab, offsets, 3),
        .lengths = mr_lab_upload_ids(lab, lengths, 2),
        .pages = mr_tensor_reshape(mr_lab_upload_ids(lab, pages, 2 * most), 2, most),
    };
    write_pages(lab, args.k, pages + most, text[1], 0, first + count);
    write_pages(lab, args.v, pages + most, text[2], 0, first + count);
    MR_LAB_RUN(lab, attention_cached, &args);
    return mr_lab_download(lab, mr_tensor_rows(args.o, beside, count));
}

static void compare_parts(mr_lab *lab)
{
    enum { LENGTH = 170 };
    for (int i = 1; i < CACHED_SHAPES; i++) {
        mr_attention_shape shape = cached_shapes[i];
        int64_t q_cols = shape.heads * shape.head_size, k_cols = shape.kv_heads * shape.head_size;
        const double *text[3] = {mr_lab_normals(lab, LENGTH * q_cols),
                                 mr_lab_normals(lab, LENGTH * k_cols),
                                 mr_lab_normals(lab, LENGTH * k_cols)};
        const double *whole = cached_part(lab, shape, text, 0, LENGTH, 0, 1);
        for (int64_t first = 0, count; first < LENGTH; first += count) {
            count = mr_lab_extent(lab, 2, 40);
            if (LENGTH - first < count + 2) count = LENGTH - first;
            const double *part = cached_part(lab, shape, text, first, count,
                                             mr_lab_extent(lab, 0, 9), mr_lab_extent(lab, 0, 5));
            assert_memory_equal(part, whole + first * q_cols,
                                (size_t)(count * q_cols) * sizeof *part);
        }
        mr_lab_clear(lab);
    }
}

static void a_row_has_its_bits_whatever_comes_with_it(void **state)
{
    mr_lab *lab = *state;
    const mr_dtype types[] = {MR_F32, MR_BF16};
    for (int i = 0; i < 2; i++) {
        lab->dtype = types[i];
        if (lab->be->ops->computes(lab->be, lab->dtype)) compare_parts(lab);
    }
}

/* Longer than any scratch: the largest score stands first, in the middle and last in turn. Values
 * have a mean of 2, so that their average does not cancel to nothing. */
static void decoding_reaches_over_a_long_cache(void **state)
{
    mr_lab *lab = *state;
    int64_t length = 70001, peaks[3] = {0, length / 2, length - 1}, count = pages_for(length);
    int32_t lengths[1] = {(int32_t)length};
    int32_t *pages = mr_lab_ids(lab, count, 1);
    for (int64_t i = 0; i < count; i++)
        pages[i] = (int32_t)(count - 1 - i);
    for (int i = 0; i < 3; i++) {
        double q[2] = {1, 1}, denominator = 0, want[2] = {0, 0};
        double *k = mr_lab_normals(lab, 2 * length), *v = mr_lab_normals(lab, 2 * length);
        k[2 * peaks[i]] = 12;
        for (int64_t t = 0; t < 2 * length; t++)
            v[t] = (double)(float)(v[t] + 2);
        for (int64_t t = 0; t < length; t++) {
            double weight = exp((k[2 * t] + k[2 * t + 1]) / sqrt(2.0));
            denominator += weight;
            for (int c = 0; c < 2; c++)
                want[c] += weight * v[2 * t + c];
        }
        for (int c = 0; c < 2; c++)
            want[c] /= denominator;
        mr_cached_attention_args args = {
            .shape = {1, 1, 1, 1, 2},
            .q = mr_lab_upload(lab, q, 1, 2, 0),
            .k = mr_lab_poison(lab, MR_F32, count * MR_CACHE_PAGE, 2, 0),
            .v = mr_lab_poison(lab, MR_F32, count * MR_CACHE_PAGE, 2, 0),
            .o = mr_lab_poison(lab, MR_F32, 1, 2, 0),
            .offsets = mr_lab_upload_ids(lab, (int32_t[]){0, 1}, 2),
            .lengths = mr_lab_upload_ids(lab, lengths, 1),
            .pages = mr_lab_upload_ids(lab, pages, count)};
        write_pages(lab, args.k, pages, k, 0, length);
        write_pages(lab, args.v, pages, v, 0, length);
        MR_LAB_RUN(lab, attention_cached, &args);
        mr_lab_expect(lab, MR_BOUND_LONG, args.o, want, "peak at %" PRId64, peaks[i]);
    }
}

/* What is not finite must be seen in the results: a run that diverged is recorded as that. */
static void attention_does_not_hide_a_nan_key(void **state)
{
    mr_lab *lab = *state;
    double q[4] = {1, 1, 1, 1}, k[4] = {NAN, 1, 1, 1}, v[4] = {1, 2, 3, 4};
    mr_attention_args args = {.shape = {1, 2, 1, 1, 2},
                              .q = mr_lab_upload(lab, q, 2, 2, 0),
                              .k = mr_lab_upload(lab, k, 2, 2, 0),
                              .v = mr_lab_upload(lab, v, 2, 2, 0),
                              .o = mr_lab_poison(lab, MR_F32, 2, 2, 0),
                              .lse = mr_lab_poison(lab, MR_F32, 1, 2, 0)};
    MR_LAB_RUN(lab, fill, args.o, 0);
    MR_LAB_RUN(lab, attention_forward, &args);
    double *o = mr_lab_download(lab, args.o);
    for (int i = 0; i < 4; i++)
        assert_true(isnan(o[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MR_LAB_TEST(attention_matches_the_explicit_softmax),
        MR_LAB_TEST(attention_stands_large_scores),
        MR_LAB_TEST(starts_of_zero_are_no_starts),
        MR_LAB_TEST(decoding_equals_the_last_row_of_attention),
        MR_LAB_TEST(prefill_equals_attention),
        MR_LAB_TEST(any_number_of_new_tokens_goes_on_from_a_cache),
        MR_LAB_TEST(sequences_that_begin_alike_share_pages),
        MR_LAB_TEST(a_row_has_its_bits_whatever_comes_with_it),
        MR_LAB_TEST(decoding_reaches_over_a_long_cache),
        MR_LAB_TEST(attention_does_not_hide_a_nan_key),
    };
    return cmocka_run_group_tests_name("backend_attention", tests, NULL, NULL);
}
