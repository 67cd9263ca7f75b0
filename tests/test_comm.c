#include "base/random.h"
#include "comm/deal.h"
#include "comm/exact.h"
#include "ranks.h"

#include <float.h>
#include <math.h>

/* Whether a failure agreed on has this code and message here. */
static bool agreed_on(mr_status status, mr_status expected, const char *message)
{
    return status == expected && strcmp(mr_message(), message) == 0;
}

static mr_status fail_here(mr_status code)
{
    return mr_fail(code, "broken on %d", world.rank);
}

static void work_goes_to_the_rank_with_least_to_do(void **state)
{
    (void)state;
    const double cost[] = {1, 5, -1, 3, 3, 0};
    const int wanted[] = {0, 0, -1, 1, 1, 0}; /* 5 and 1 against 3 and 3 */
    int owner[6];
    must(mr_deal(2, 6, cost, owner));
    for (int i = 0; i < 6; i++)
        assert_int_equal(owner[i], wanted[i]);
    must(mr_deal(3, 0, cost, owner));
}

static void agreement_on_success_is_success(void **state)
{
    (void)state;
    assert_on_all_ranks(mr_comm_agree(&world, MR_OK) == MR_OK);
}

static void agreement_names_the_one_failing_rank(void **state)
{
    (void)state;
    for (int bad = 0; bad < world.size; bad++) {
        char expected[64];
        snprintf(expected, sizeof expected, "rank %d of %d (1 failed): broken on %d", bad,
                 world.size, bad);
        if (world.size == 1) snprintf(expected, sizeof expected, "broken on 0");
        mr_status mine = world.rank == bad ? fail_here(MR_ERR_FORMAT) : MR_OK;
        mr_status status = mr_comm_agree(&world, mine);
        assert_on_all_ranks(agreed_on(status, MR_ERR_FORMAT, expected));
    }
}

static void agreement_reports_the_lowest_failing_rank_and_counts_all(void **state)
{
    (void)state;
    if (world.size == 1) skip_because("for several ranks");
    char expected[64];
    snprintf(expected, sizeof expected, "rank 1 of %d (%d failed): broken on 1", world.size,
             world.size - 1);
    /* Ranks behind it fail with another code, which is not the one reported. */
    mr_status mine = MR_OK;
    if (world.rank == 1) mine = fail_here(MR_ERR_IO);
    if (world.rank > 1) mine = fail_here(MR_ERR_MEMORY);
    mr_status status = mr_comm_agree(&world, mine);
    assert_on_all_ranks(agreed_on(status, MR_ERR_IO, expected));
}

static void a_failure_of_all_ranks_alike_is_said_without_a_rank(void **state)
{
    (void)state;
    mr_status status = mr_comm_agree(&world, mr_fail(MR_ERR_CONFIG, "no such key"));
    assert_on_all_ranks(agreed_on(status, MR_ERR_CONFIG, "no such key"));
}

static void a_failure_agreed_on_twice_keeps_its_message(void **state)
{
    (void)state;
    mr_status mine = world.rank == world.size - 1 ? fail_here(MR_ERR_IO) : MR_OK;
    mr_status once = mr_comm_agree(&world, mine);
    char message[MR_MESSAGE_MAX];
    snprintf(message, sizeof message, "%s", mr_message());
    mr_status twice = mr_comm_agree(&world, once);
    assert_on_all_ranks(agreed_on(twice, MR_ERR_IO, message));
}

static mr_status agree_and_go_on(mr_status local, bool *went_on)
{
    MR_AGREE(&world, local);
    *went_on = true;
    return MR_OK;
}

static void a_function_that_agrees_returns_on_every_rank(void **state)
{
    (void)state;
    bool went_on = false;
    mr_status mine = world.rank == 0 ? fail_here(MR_ERR_IO) : MR_OK;
    mr_status status = agree_and_go_on(mine, &went_on);
    assert_on_all_ranks(status == MR_ERR_IO && !went_on);
    status = agree_and_go_on(MR_OK, &went_on);
    assert_on_all_ranks(status == MR_OK && went_on);
}

static void a_broadcast_brings_the_bytes_of_its_root(void **state)
{
    (void)state;
    for (int root = 0; root < world.size; root++)
        for (size_t bytes = 0; bytes < 5000; bytes = 3 * bytes + 1) {
            unsigned char data[5000];
            memset(data, world.rank == root ? 100 + root : 0, sizeof data);
            mr_comm_broadcast(&world, data, bytes, root);
            bool right = true;
            for (size_t i = 0; i < bytes; i++)
                right = right && data[i] == 100 + root;
            right = right && (world.rank == root || data[bytes] == 0);
            assert_on_all_ranks(right);
        }
}

static void what_all_have_is_gathered_at_rank_0_in_their_order(void **state)
{
    (void)state;
    int32_t own[64] = {0}, wanted[64 * 64];
    const size_t here = world.rank == 1 ? 0 : 3 * (size_t)world.rank + 2;
    size_t bytes, count = 0;
    void *all;
    for (size_t i = 0; i < here; i++)
        own[i] = (int32_t)(100 * world.rank) + (int32_t)i;
    mr_status status =
        mr_comm_gather_to_root(&world, MR_MEM_OTHER, own, here * sizeof *own, &all, &bytes);
    assert_on_all_ranks(status == MR_OK);
    for (int rank = 0; rank < world.size && world.rank == 0; rank++)
        for (int i = 0; i < (rank == 1 ? 0 : 3 * rank + 2); i++)
            wanted[count++] = 100 * rank + i;
    assert_on_all_ranks(bytes == count * sizeof *wanted);
    assert_on_all_ranks((all != NULL) == (world.rank == 0));
    assert_on_all_ranks(count == 0 || memcmp(all, wanted, bytes) == 0);
    mr_free(all);
    status = mr_comm_gather_to_root(&world, MR_MEM_OTHER, NULL, 0, &all, &bytes);
    mr_free(all);
    assert_on_all_ranks(status == MR_OK && bytes == 0);
}

static void integers_are_summed(void **state)
{
    (void)state;
    int64_t values[3] = {world.rank, -1, INT64_C(1) << 60};
    if (world.rank > 0) values[2] = 1;
    mr_comm_sum_i64(&world, values, 3);
    assert_on_all_ranks(values[0] == world.size * (world.size - 1) / 2);
    assert_on_all_ranks(values[1] == -world.size);
    assert_on_all_ranks(values[2] == (INT64_C(1) << 60) + world.size - 1);
}

static void the_largest_integers_are_found(void **state)
{
    (void)state;
    int64_t values[3] = {world.rank, -world.rank, world.rank == 0 ? INT64_MAX : INT64_MIN};
    mr_comm_max_i64(&world, values, 3);
    assert_on_all_ranks(values[0] == world.size - 1 && values[1] == 0 && values[2] == INT64_MAX);
}

/* Element i of what rank `from` holds for rank `to`. */
static float element(int from, int to, int64_t i)
{
    return (float)(from * 1000 + to) + (float)i / 16384;
}

enum { BLOCKS = 3, SHARD = BLOCKS * MR_SHARD_BLOCK };

static float *allocate(int64_t count)
{
    float *values = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *values);
    if (!values) mr_abort("%s", mr_message());
    return values;
}

static void shards_are_gathered_in_the_order_of_ranks(void **state)
{
    (void)state;
    for (int in_place = 0; in_place < 2; in_place++) {
        float *whole = allocate((int64_t)world.size * SHARD), *shard = allocate(SHARD);
        float *mine = in_place ? whole + (int64_t)world.rank * SHARD : shard;
        mr_request request = {0};
        for (int64_t i = 0; i < SHARD; i++)
            mine[i] = element(world.rank, 0, i);
        mr_comm_gather_start(&world, in_place ? NULL : shard, whole, BLOCKS, sizeof *whole,
                             &request);
        mr_comm_wait(&request);
        bool right = !request.active;
        for (int q = 0; q < world.size; q++)
            for (int64_t i = 0; i < SHARD; i++)
                right = right && whole[q * SHARD + i] == element(q, 0, i);
        assert_on_all_ranks(right);
        mr_free(whole);
        mr_free(shard);
    }
}

static void an_exchange_brings_every_rank_its_pieces(void **state)
{
    (void)state;
    int64_t count = (int64_t)world.size * SHARD;
    float *whole = allocate(count), *pieces = allocate(count);
    mr_request request = {0};
    for (int to = 0; to < world.size; to++)
        for (int64_t i = 0; i < SHARD; i++)
            whole[to * SHARD + i] = element(world.rank, to, i);
    mr_comm_exchange_start(&world, whole, pieces, BLOCKS, sizeof *whole, &request);
    mr_comm_wait(&request);
    bool right = true;
    for (int from = 0; from < world.size; from++)
        for (int64_t i = 0; i < SHARD; i++)
            right = right && pieces[from * SHARD + i] == element(from, world.rank, i);
    assert_on_all_ranks(right);
    mr_free(whole);
    mr_free(pieces);
}

static void elements_of_eight_bytes_travel_whole(void **state)
{
    (void)state;
    double *whole = mr_alloc_array(MR_MEM_OTHER, (size_t)world.size * MR_SHARD_BLOCK, 8);
    if (!whole) mr_abort("%s", mr_message());
    mr_request request = {0};
    for (int i = 0; i < MR_SHARD_BLOCK; i++)
        whole[world.rank * MR_SHARD_BLOCK + i] = world.rank + i / 4096.0;
    mr_comm_gather_start(&world, NULL, whole, 1, 8, &request);
    mr_comm_wait(&request);
    bool right = true;
    for (int i = 0; i < world.size * MR_SHARD_BLOCK; i++)
        right = right && whole[i] == i / MR_SHARD_BLOCK + i % MR_SHARD_BLOCK / 4096.0;
    assert_on_all_ranks(right);
    mr_free(whole);
}

static void requests_under_way_together_do_not_mix(void **state)
{
    (void)state;
    enum { LANES = 4 };
    float *whole[LANES];
    mr_request request[LANES] = {{0}};
    for (int lane = 0; lane < LANES; lane++) {
        whole[lane] = allocate((int64_t)world.size * SHARD);
        for (int64_t i = 0; i < SHARD; i++)
            whole[lane][world.rank * SHARD + i] = element(world.rank, lane, i);
        mr_comm_gather_start(&world, NULL, whole[lane], BLOCKS, sizeof(float), &request[lane]);
    }
    bool right = true;
    for (int lane = LANES - 1; lane >= 0; lane--) {
        mr_comm_wait(&request[lane]);
        for (int q = 0; q < world.size; q++)
            for (int64_t i = 0; i < SHARD; i++)
                right = right && whole[lane][q * SHARD + i] == element(q, lane, i);
        mr_free(whole[lane]);
    }
    assert_on_all_ranks(right);
}

static void an_idle_request_may_be_waited_for(void **state)
{
    (void)state;
    mr_request request = {0};
    mr_comm_wait(&request);
    assert_on_all_ranks(!request.active);
}

/* Ways to deal values out to ranks. */
typedef enum dealing { IN_TURN, IN_RUNS, ALL_TO_LAST, DEALINGS } dealing;

static int owner_of(dealing how, int64_t i, int64_t count)
{
    if (how == IN_TURN) return (int)(i % world.size);
    if (how == IN_RUNS) return (int)(i * world.size / count);
    return world.size - 1;
}

/* The sum of values that are dealt out and added in the order given (NULL: as they stand). */
static double sum_of(const double *values, const int64_t *order, int64_t count, dealing how)
{
    mr_exact sum = {0}, other = {0};
    for (int64_t i = 0; i < count; i++)
        if (owner_of(how, i, count) == world.rank)
            mr_exact_add(i % 2 ? &sum : &other, values[order ? order[i] : i]);
    mr_exact_merge(&sum, &other);
    mr_exact_reduce(&world, &sum, 1);
    return mr_exact_value(&sum);
}

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static void exact_sums_are_those_known(void **state)
{
    (void)state;
    static const struct {
        double value[6], expected;
    } sums[] = {
        {{0}, 0},
        {{1, 2, 3, 4, 5, 6}, 21},
        {{0.5, -0.25, 0.125}, 0.375},
        {{-1, -2, -3}, -6},
        {{1e300, 1, -1e300}, 1},                          /* cancellation */
        {{0x1p60, 0x1p-60, -0x1p60}, 0x1p-60},            /* far apart */
        {{1e300, -1e300, -0x1p-300}, -0x1p-300},          /* negative, small */
        {{DBL_MAX, DBL_MAX, -DBL_MAX}, DBL_MAX},          /* beyond the range on the way */
        {{-DBL_MAX, -DBL_MAX, DBL_MAX, 1, -1}, -DBL_MAX}, /* the same below */
        {{DBL_MIN, DBL_MIN}, 2 * DBL_MIN},
        {{0x1p53, 1, 1}, 0x1p53 + 2}, /* lost one at a time by plain addition */
        {{0x1p-1000, 0x1p1000, -0x1p1000, 0x1p-1000}, 0x1p-999},
        {{1.0 / 3, -1.0 / 3}, 0},
    };
    for (size_t s = 0; s < sizeof sums / sizeof sums[0]; s++)
        for (int how = 0; how < DEALINGS; how++)
            assert_on_all_ranks(
                same_bits(sum_of(sums[s].value, NULL, 6, (dealing)how), sums[s].expected));
}

static void denormal_numbers_are_summed_exactly(void **state)
{
    (void)state;
    static const double small = 0x1p-1074;
    static const struct {
        double value[4], expected;
    } sums[] = {
        {{small}, small},
        {{-small, -small}, -2 * small},
        {{small, small, small, small}, 4 * small},
        {{0x1p-1036, 0x1p-1040}, 0x1.1p-1036},
        {{DBL_MIN, -small}, DBL_MIN - small},
        {{1, small, -1}, small},
    };
    for (size_t s = 0; s < sizeof sums / sizeof sums[0]; s++)
        for (int how = 0; how < DEALINGS; how++)
            assert_on_all_ranks(
                same_bits(sum_of(sums[s].value, NULL, 4, (dealing)how), sums[s].expected));
}

static void a_sum_beyond_the_range_is_infinite(void **state)
{
    (void)state;
    const double up[] = {DBL_MAX, DBL_MAX}, down[] = {-DBL_MAX, -DBL_MAX};
    double above = sum_of(up, NULL, 2, IN_TURN), below = sum_of(down, NULL, 2, IN_TURN);
    assert_on_all_ranks(above == INFINITY);
    assert_on_all_ranks(below == -INFINITY);
}

enum { VALUES = 4000 };

/* Numbers of both signs over some 600 binary orders. */
static void draw_values(double values[VALUES], uint64_t seed)
{
    mr_random random = mr_random_stream(seed, MR_RANDOM_DATA, 0);
    for (uint64_t i = 0; i < VALUES; i++)
        values[i] = ldexp(mr_random_uniform(&random, 2 * i) - 0.5,
                          (int)mr_random_below(&random, 2 * i + 1, 600) - 300);
}

static void exact_sums_do_not_depend_on_order_or_partition(void **state)
{
    (void)state;
    double values[VALUES];
    int64_t order[VALUES];
    for (uint64_t seed = 0; seed < 5; seed++) {
        draw_values(values, seed);
        double expected = sum_of(values, NULL, VALUES, ALL_TO_LAST);
        for (int how = 0; how < DEALINGS; how++) {
            mr_random random = mr_random_stream(seed, MR_RANDOM_ORDER, (uint64_t)how);
            test_permutation(&random, order, VALUES);
            assert_on_all_ranks(same_bits(sum_of(values, order, VALUES, (dealing)how), expected));
        }
    }
}

static void exact_sums_are_the_same_on_every_rank(void **state)
{
    (void)state;
    double values[VALUES];
    draw_values(values, 11);
    double mine = sum_of(values, NULL, VALUES, IN_RUNS), first = mine;
    mr_comm_broadcast(&world, &first, sizeof first, 0);
    assert_on_all_ranks(same_bits(mine, first) && isfinite(mine));
}

/* Multiples of 2^-20 below 2^20: a long double holds their sum without rounding. */
static void exact_sums_agree_with_long_doubles_to_the_last_place(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        double values[VALUES];
        long double expected = 0;
        mr_random random = mr_random_stream(seed, MR_RANDOM_DATA, 1);
        for (uint64_t i = 0; i < VALUES; i++) {
            values[i] = ((double)mr_random_below(&random, i, UINT64_C(1) << 40) - 0x1p39) * 0x1p-20;
            expected += (long double)values[i];
        }
        assert_on_all_ranks(same_bits(sum_of(values, NULL, VALUES, IN_TURN), (double)expected));
    }
}

static void a_sum_is_rounded_to_a_neighbour(void **state)
{
    (void)state;
    const double third = 1.0 / 3, tenth = 0.1;
    mr_random random = mr_random_stream(5, MR_RANDOM_DATA, 2);
    for (uint64_t i = 0; i < 200; i++) {
        double a = third * mr_random_uniform(&random, 2 * i);
        double b = tenth * ldexp(mr_random_uniform(&random, 2 * i + 1), -(int)(i % 60));
        const double values[2] = {a, b};
        double found = sum_of(values, NULL, 2, IN_TURN), expected = a + b;
        bool near = found == expected || found == nextafter(expected, found);
        assert_on_all_ranks(near);
    }
}

static void many_equal_summands_carry(void **state)
{
    (void)state;
    enum { MANY = 100000 };
    mr_exact sum = {0};
    for (int i = 0; i < MANY; i++)
        mr_exact_add(&sum, 0x1.fffffffffffffp30);
    mr_exact_reduce(&world, &sum, 1);
    /* 100000 P (2^53 - 1) 2^-22, less than a long double's 64 bits can tell apart from rounding. */
    double expected = (double)(0x1.fffffffffffffp30L * MANY * world.size);
    double found = mr_exact_value(&sum);
    assert_on_all_ranks(fabs(found - expected) <= 2 * DBL_EPSILON * expected);
}

static void a_sum_reduced_again_counts_on_every_rank(void **state)
{
    (void)state;
    mr_exact sum = {0};
    mr_exact_add(&sum, world.rank == 0 ? 5 : 0);
    mr_exact_reduce(&world, &sum, 1);
    mr_exact_reduce(&world, &sum, 1);
    assert_on_all_ranks(mr_exact_value(&sum) == 5.0 * world.size);
}

static void what_is_not_finite_on_one_rank_is_nan_on_all(void **state)
{
    (void)state;
    const double bad[] = {NAN, INFINITY, -INFINITY};
    for (int b = 0; b < 3; b++)
        for (int at = 0; at < world.size; at++) {
            mr_exact sum = {0};
            mr_exact_add(&sum, 1);
            if (world.rank == at) mr_exact_add(&sum, bad[b]);
            mr_exact_reduce(&world, &sum, 1);
            assert_on_all_ranks(isnan(mr_exact_value(&sum)) && sum.nonfinite == 1);
        }
}

static void sums_of_one_reduction_do_not_mix(void **state)
{
    (void)state;
    mr_exact sums[3] = {0};
    mr_exact_add(&sums[0], 1);
    mr_exact_add(&sums[1], world.rank == 0 ? NAN : 1);
    mr_exact_add(&sums[2], -0.5);
    mr_exact_reduce(&world, sums, 3);
    assert_on_all_ranks(mr_exact_value(&sums[0]) == world.size);
    assert_on_all_ranks(isnan(mr_exact_value(&sums[1])));
    assert_on_all_ranks(mr_exact_value(&sums[2]) == -0.5 * world.size);
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_goes_to_the_rank_with_least_to_do),
        cmocka_unit_test(agreement_on_success_is_success),
        cmocka_unit_test(agreement_names_the_one_failing_rank),
        cmocka_unit_test(agreement_reports_the_lowest_failing_rank_and_counts_all),
        cmocka_unit_test(a_failure_of_all_ranks_alike_is_said_without_a_rank),
        cmocka_unit_test(a_failure_agreed_on_twice_keeps_its_message),
        cmocka_unit_test(a_function_that_agrees_returns_on_every_rank),
        cmocka_unit_test(a_broadcast_brings_the_bytes_of_its_root),
        cmocka_unit_test(what_all_have_is_gathered_at_rank_0_in_their_order),
        cmocka_unit_test(integers_are_summed),
        cmocka_unit_test(the_largest_integers_are_found),
        cmocka_unit_test(shards_are_gathered_in_the_order_of_ranks),
        cmocka_unit_test(an_exchange_brings_every_rank_its_pieces),
        cmocka_unit_test(elements_of_eight_bytes_travel_whole),
        cmocka_unit_test(requests_under_way_together_do_not_mix),
        cmocka_unit_test(an_idle_request_may_be_waited_for),
        cmocka_unit_test(exact_sums_are_those_known),
        cmocka_unit_test(denormal_numbers_are_summed_exactly),
        cmocka_unit_test(a_sum_beyond_the_range_is_infinite),
        cmocka_unit_test(exact_sums_do_not_depend_on_order_or_partition),
        cmocka_unit_test(exact_sums_are_the_same_on_every_rank),
        cmocka_unit_test(exact_sums_agree_with_long_doubles_to_the_last_place),
        cmocka_unit_test(a_sum_is_rounded_to_a_neighbour),
        cmocka_unit_test(many_equal_summands_carry),
        cmocka_unit_test(a_sum_reduced_again_counts_on_every_rank),
        cmocka_unit_test(what_is_not_finite_on_one_rank_is_nan_on_all),
        cmocka_unit_test(sums_of_one_reduction_do_not_mix),
    };
    return ranks_end(cmocka_run_group_tests(tests, NULL, NULL));
}
