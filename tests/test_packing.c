#include "base/memory.h"
#include "base/random.h"
#include "data/batch.h"
#include "settings.h"

#include <stdlib.h>
#include <string.h>

/* Lengths 1..most by a seed: many short ones, few long ones, as those of texts. */
static void draw_lengths(uint64_t seed, int64_t most, int64_t *length, int64_t count)
{
    const mr_random stream = mr_random_stream(seed, MR_RANDOM_DATA, 0);
    for (int64_t i = 0; i < count; i++) {
        const uint64_t room = (uint64_t)1 << mr_random_below(&stream, (uint64_t)(2 * i), 24);
        const int64_t drawn = 1 + (int64_t)mr_random_below(&stream, (uint64_t)(2 * i + 1), room);
        length[i] = drawn < most ? drawn : most;
    }
}

static mr_packing *plan_of(const int64_t *length, int64_t count, int64_t row_tokens)
{
    mr_packing *packing = NULL;
    must(mr_packing_plan(length, count, row_tokens, &packing));
    return packing;
}

/* Best fit by its definition: looks at every row for every sample. */
static int64_t plan_slowly(const int64_t *length, int64_t count, int64_t row_tokens, int64_t *room)
{
    int64_t rows = 0;
    for (int64_t wanted = row_tokens; wanted > 0; wanted--)
        for (int64_t i = 0; i < count; i++) {
            if (length[i] != wanted) continue;
            int64_t best = rows;
            for (int64_t r = 0; r < rows; r++)
                if (room[r] >= wanted && (best == rows || room[r] < room[best])) best = r;
            if (best == rows) room[rows++] = row_tokens;
            room[best] -= wanted;
        }
    return rows;
}

static int compare_numbers(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void rows_are_those_of_best_fit_with_the_longest_first(void **state)
{
    (void)state;
    enum { COUNT = 400 };
    static const int64_t widths[] = {1, 7, 63, 64, 65, 200, 4096, 5000};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        int64_t length[COUNT], slow[COUNT], fast[COUNT];
        bool seen[COUNT] = {false};
        draw_lengths(w, widths[w], length, COUNT);
        mr_packing *packing = plan_of(length, COUNT, widths[w]);
        assert_int_equal(packing->rows, plan_slowly(length, COUNT, widths[w], slow));
        for (int64_t r = 0; r < packing->rows; r++) {
            fast[r] = widths[w];
            for (int64_t i = packing->first[r]; i < packing->first[r + 1]; i++) {
                assert_false(seen[packing->sample[i]]);
                seen[packing->sample[i]] = true;
                fast[r] -= length[packing->sample[i]];
            }
            assert_true(fast[r] >= 0 && fast[r] < widths[w]);
        }
        assert_int_equal(packing->first[packing->rows], COUNT);
        qsort(slow, (size_t)packing->rows, sizeof *slow, compare_numbers);
        qsort(fast, (size_t)packing->rows, sizeof *fast, compare_numbers);
        assert_memory_equal(slow, fast, (size_t)packing->rows * sizeof *slow);
        mr_packing_destroy(&packing);
    }
}

static void a_plan_follows_from_the_lengths_alone(void **state)
{
    (void)state;
    enum { COUNT = 5000, ROW = 2048 };
    static int64_t length[COUNT];
    draw_lengths(1, ROW, length, COUNT);
    const size_t before = mr_memory_live_total();
    mr_packing *one = plan_of(length, COUNT, ROW), *again = plan_of(length, COUNT, ROW);
    assert_true(one->hash == again->hash);
    assert_memory_equal(one->sample, again->sample, COUNT * sizeof *one->sample);
    mr_packing_destroy(&again);
    length[7] ^= 1;
    again = plan_of(length, COUNT, ROW);
    assert_true(one->hash != again->hash);
    mr_packing_destroy(&again);
    mr_packing_destroy(&one);
    assert_null(one);
    assert_int_equal(mr_memory_live_total(), before);
}

static void the_plan_of_seed_one_stays_what_it_is(void **state)
{
    (void)state;
    /* Logs of earlier runs hold it in their data hash, and are compared by it. */
    int64_t length[100];
    draw_lengths(1, 512, length, 100);
    mr_packing *packing = plan_of(length, 100, 512);
    assert_int_equal(packing->hash, 0xcfe199970086a94a);
    mr_packing_destroy(&packing);
}

static void the_widest_rows_and_no_samples_are_planned_too(void **state)
{
    (void)state;
    const int64_t widest = 1 << 24, length[] = {1, 1 << 24, (1 << 24) - 1, 1};
    mr_packing *packing = plan_of(length, 4, widest);
    assert_int_equal(packing->rows, 3);
    mr_packing_destroy(&packing);
    packing = plan_of(length, 0, widest);
    assert_int_equal(packing->rows, 0);
    mr_packing_destroy(&packing);
}

/* A dataset whose sample i is lengths[i] tokens, i in each; the last is not scored. */
static const int64_t lengths[] = {3, 9, 5, 1, 2, 4, 9, 7};
enum { SAMPLES = sizeof lengths / sizeof *lengths, ROW = 10, ROWS = 5 };

static mr_status sample(const mr_dataset *dataset, int64_t index, mr_sample *out)
{
    (void)dataset;
    for (int64_t t = 0; t < lengths[index]; t++)
        mr_sample_add_id(out, (int32_t)index, t + 1 < lengths[index]);
    return MR_OK;
}

static int64_t length_of(const mr_dataset *dataset, int64_t index)
{
    (void)dataset;
    return lengths[index];
}

static const mr_task measured = {.name = "measured", .sample = sample, .length = length_of};

typedef struct fixture {
    mr_tokenizer *tokenizer;
    mr_dataset dataset;
} fixture;

static fixture packed(void)
{
    fixture f = {.dataset = {.task = &measured, .items = SAMPLES, .longest = 9}};
    must(mr_tokenizer_create("bytes", &f.tokenizer));
    f.dataset.tokenizer = f.tokenizer;
    f.dataset.packing = plan_of(lengths, SAMPLES, ROW);
    assert_int_equal(f.dataset.packing->rows, ROWS);
    return f;
}

static void close_packed(fixture *f)
{
    mr_packing_destroy(&f->dataset.packing);
    mr_tokenizer_destroy(&f->tokenizer);
}

/* Reads the sample that starts at a place of a row; returns where it ends. */
static int64_t expect_sample(mr_rows row, int64_t from, int64_t index, int64_t *scored)
{
    for (int64_t t = 0; t < lengths[index]; t++) {
        const bool is_target = t + 2 < lengths[index];
        assert_int_equal(row.tokens[from + t], index);
        assert_int_equal(row.positions[from + t], t);
        assert_int_equal(row.starts[from + t], from);
        assert_int_equal(row.targets[from + t], is_target ? index : MR_NOT_SCORED);
        *scored += is_target;
    }
    return from + lengths[index];
}

static void a_row_holds_its_samples_each_by_itself(void **state)
{
    (void)state;
    fixture f = packed();
    int32_t room[4][ROWS * ROW];
    const mr_rows rows = {room[0], room[1], room[2], room[3]};
    const mr_order order = {.seed = 5, .items = ROWS};
    int64_t scored = 0, expected = 0;
    must(mr_batch_fill(&f.dataset, &order, ROWS, ROWS, ROW, rows, &scored));
    for (int64_t b = 0; b < ROWS; b++) {
        const int64_t item = mr_order_item(&order, ROWS + b);
        const mr_rows row = mr_rows_behind(rows, b, ROW);
        int64_t t = 0;
        for (int64_t i = f.dataset.packing->first[item]; i < f.dataset.packing->first[item + 1];
             i++)
            t = expect_sample(row, t, f.dataset.packing->sample[i], &expected);
        for (; t < ROW; t++) {
            assert_int_equal(row.tokens[t], MR_BYTES_PAD);
            assert_int_equal(row.targets[t], MR_NOT_SCORED);
            assert_int_equal(row.positions[t], 0);
            assert_int_equal(row.starts[t], t);
        }
    }
    assert_int_equal(scored, expected);
    close_packed(&f);
}

static void parts_are_scored_a_sample_a_row(void **state)
{
    (void)state;
    fixture f = packed();
    int32_t tokens[SAMPLES * ROW], targets[SAMPLES * ROW];
    int64_t scored = 0;
    must(mr_batch_fill_part(&f.dataset, MR_PART_TRAIN, SAMPLES, 0, SAMPLES, ROW, tokens, targets,
                            &scored));
    for (int64_t i = 0; i < SAMPLES; i++)
        for (int64_t t = 0; t < ROW; t++)
            assert_int_equal(tokens[i * ROW + t], t < lengths[i] ? i : MR_BYTES_PAD);
    close_packed(&f);
}

static void padding_and_rows_are_those_of_the_plan(void **state)
{
    (void)state;
    fixture f = packed();
    char apart[MR_DATASET_HASH], together[MR_DATASET_HASH];
    assert_int_equal(mr_dataset_rows(&f.dataset), ROWS);
    assert_true(mr_dataset_padding(&f.dataset, ROW) == 1 - 40.0 / (ROWS * ROW));
    must(mr_dataset_hash(&f.dataset, together));
    mr_packing_destroy(&f.dataset.packing);
    assert_int_equal(mr_dataset_rows(&f.dataset), SAMPLES);
    assert_true(mr_dataset_padding(&f.dataset, ROW) == 1 - 40.0 / (SAMPLES * ROW));
    must(mr_dataset_hash(&f.dataset, apart));
    assert_string_not_equal(apart, together);
    close_packed(&f);
}

static void a_task_that_does_not_know_its_lengths_is_refused(void **state)
{
    (void)state;
    mr_config config;
    mr_tokenizer *tokenizer;
    mr_dataset *dataset;
    settings_of_task(&config, "uuid");
    settings_put(&config, "train.packing", "pack");
    must(mr_tokenizer_create("bytes", &tokenizer));
    assert_int_equal(mr_dataset_create(&config, tokenizer, &dataset), MR_ERR_CONFIG);
    assert_null(dataset);
    assert_contains(mr_message(), "train.packing: the samples of task uuid cannot be packed");
    mr_tokenizer_destroy(&tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_those_of_best_fit_with_the_longest_first),
        cmocka_unit_test(a_plan_follows_from_the_lengths_alone),
        cmocka_unit_test(the_plan_of_seed_one_stays_what_it_is),
        cmocka_unit_test(the_widest_rows_and_no_samples_are_planned_too),
        cmocka_unit_test(a_row_holds_its_samples_each_by_itself),
        cmocka_unit_test(parts_are_scored_a_sample_a_row),
        cmocka_unit_test(padding_and_rows_are_those_of_the_plan),
        cmocka_unit_test(a_task_that_does_not_know_its_lengths_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
