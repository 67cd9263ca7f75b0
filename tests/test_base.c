#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/status.h"
#include "base/text.h"
#include "folder.h"
#include "test.h"

#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Expects nothing but what the tests made: no temporary file. */
static int leave(void **state)
{
    static const char *const made[] = {
        "file",          "kept",     "deep/er/folder", "deep/er",   "deep/far/away/inner",
        "deep/far/away", "deep/far", "deep/link",      "deep/loop", "deep",
        "busy/inner",    "busy"};
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++)
        remove(made[i]);
    return folder_leave_empty(state);
}

/* Calls what in a process of its own; returns how that ended, and what it wrote to stderr. */
static int status_of_child(void (*what)(void), char *said, size_t room)
{
    int ends[2], status;
    size_t length = 0;
    ssize_t got;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        /* cmocka would take the signal for a failure of this copy of the tests. */
        signal(SIGABRT, SIG_DFL);
        what();
        _exit(0);
    }
    close(ends[1]);
    while (length + 1 < room && (got = read(ends[0], said + length, room - 1 - length)) > 0)
        length += (size_t)got;
    said[length] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void assert_aborts(void (*what)(void), const char *message)
{
    char said[4096];
    int status = status_of_child(what, said, sizeof said);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_contains(said, message);
}

static void assert_survives(void (*what)(void))
{
    char said[4096];
    int status = status_of_child(what, said, sizeof said);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail_msg("it ended: %s", said);
}

static void a_failure_records_its_message(void **state)
{
    (void)state;
    assert_int_equal(mr_fail(MR_ERR_IO, "cannot open '%s'", "x"), MR_ERR_IO);
    assert_string_equal(mr_message(), "cannot open 'x'");
}

static void a_caller_puts_its_place_before_a_message(void **state)
{
    (void)state;
    mr_status status = mr_fail(MR_ERR_FORMAT, "found %d", 3);
    assert_int_equal(mr_fail_in(status, "file:%d", 7), MR_ERR_FORMAT);
    assert_string_equal(mr_message(), "file:7: found 3");
}

static void a_message_may_be_its_own_argument(void **state)
{
    (void)state;
    assert_int_equal(mr_fail(MR_ERR_ARG, "inner"), MR_ERR_ARG);
    assert_int_equal(mr_fail(MR_ERR_ARG, "outer (%s)", mr_message()), MR_ERR_ARG);
    assert_string_equal(mr_message(), "outer (inner)");
}

static void a_long_message_is_cut(void **state)
{
    (void)state;
    char word[2 * MR_MESSAGE_MAX];
    memset(word, 'x', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    assert_int_equal(mr_fail(MR_ERR_IO, "%s", word), MR_ERR_IO);
    assert_int_equal(strlen(mr_message()), MR_MESSAGE_MAX - 1);
}

static void every_status_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int a = MR_OK; a <= MR_STOPPED; a++) {
        assert_string_not_equal(mr_status_name((mr_status)a), "unknown");
        for (int b = MR_OK; b < a; b++)
            assert_string_not_equal(mr_status_name((mr_status)a), mr_status_name((mr_status)b));
    }
}

static void break_an_invariant(void)
{
    MR_INVARIANT(1 + 1 == 3);
}

static void a_broken_invariant_aborts_with_its_text(void **state)
{
    (void)state;
    assert_aborts(break_an_invariant, "broken invariant: 1 + 1 == 3");
}

static void handle_abort(const char *message)
{
    fprintf(stderr, "handled: %s\n", message);
}

static void abort_with_a_handler(void)
{
    mr_abort_set_handler(handle_abort);
    mr_abort("reason %d", 5);
}

static void an_abort_calls_its_handler_first(void **state)
{
    (void)state;
    assert_aborts(abort_with_a_handler, "handled: reason 5");
}

static void memory_is_counted_by_purpose(void **state)
{
    (void)state;
    size_t total = mr_memory_live_total(), data = mr_memory_live(MR_MEM_DATA);
    char *a = mr_alloc(MR_MEM_DATA, 1000);
    char *b = mr_alloc_array(MR_MEM_EVAL, 3, 7);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(mr_memory_live(MR_MEM_DATA) - data, 1000);
    assert_int_equal(mr_memory_live(MR_MEM_EVAL), 21);
    assert_int_equal(mr_memory_live_total() - total, 1021);
    mr_free(a);
    assert_int_equal(mr_memory_live(MR_MEM_DATA), data);
    mr_free(b);
    assert_int_equal(mr_memory_live_total(), total);
}

static void the_peak_is_kept(void **state)
{
    (void)state;
    size_t wanted = mr_memory_peak_total() - mr_memory_live_total() + 100;
    mr_free(mr_alloc(MR_MEM_OTHER, wanted));
    size_t peak = mr_memory_peak_total();
    assert_int_equal(peak, mr_memory_live_total() + wanted);
    mr_free(mr_alloc(MR_MEM_OTHER, wanted / 2));
    assert_int_equal(mr_memory_peak_total(), peak);
}

static void sizes_end_where_no_machine_goes_on(void **state)
{
    (void)state;
    assert_int_equal(mr_bytes_add(5, 3, 8), 29);
    assert_int_equal(mr_bytes_add(5, 0, 8), 5);
    assert_int_equal(mr_bytes_add(5, INT64_MAX, 0), 5);
    assert_true(mr_bytes_add(0, (int64_t)1 << 62, 1) == MR_BYTES_MOST);
    assert_true(mr_bytes_add(0, ((int64_t)1 << 62) - 1, 1) == MR_BYTES_MOST - 1);
    assert_true(mr_bytes_add(1, ((int64_t)1 << 62) - 1, 1) == MR_BYTES_MOST);
    assert_true(mr_bytes_add(2, ((int64_t)1 << 62) - 1, 1) == MR_BYTES_MOST);
    assert_true(mr_bytes_add(0, INT64_MAX, SIZE_MAX) == MR_BYTES_MOST);
    assert_true(mr_bytes_add(SIZE_MAX, 1, 1) == MR_BYTES_MOST);
    assert_true(mr_bytes_add(MR_BYTES_MOST, 0, 0) == MR_BYTES_MOST);
}

/* Allocates and frees, and fails in its own words. */
static void *work_with_memory(void *number)
{
    enum { ROUNDS = 20000, HELD = 16 };
    void *held[HELD] = {NULL};
    char said[32];
    for (int i = 0; i < ROUNDS; i++) {
        mr_free(held[i % HELD]);
        held[i % HELD] = mr_alloc(MR_MEM_GATHER, 1 + (size_t)i % 100);
    }
    for (int i = 0; i < HELD; i++)
        mr_free(held[i]);
    snprintf(said, sizeof said, "thread %d", *(int *)number);
    mr_fail(MR_ERR_ARG, "%s", said);
    sched_yield();
    return strcmp(mr_message(), said) == 0 ? NULL : number;
}

static void threads_share_the_count_and_keep_their_messages(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    pthread_t thread[THREADS];
    int number[THREADS];
    mr_fail(MR_ERR_ARG, "of the first");
    size_t live = mr_memory_live(MR_MEM_GATHER), total = mr_memory_live_total();
    mr_memory_guard(true); /* of this thread alone */
    for (int i = 0; i < THREADS; i++) {
        number[i] = i;
        assert_int_equal(pthread_create(&thread[i], NULL, work_with_memory, &number[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        assert_int_equal(pthread_join(thread[i], &failed), 0);
        assert_null(failed);
    }
    mr_memory_guard(false);
    assert_int_equal(mr_memory_live(MR_MEM_GATHER), live);
    assert_int_equal(mr_memory_live_total(), total);
    assert_string_equal(mr_message(), "of the first");
}

static void memory_is_aligned_and_zeroed(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 300; bytes += 13) {
        unsigned char *memory = mr_alloc(MR_MEM_OTHER, bytes);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % MR_MEM_ALIGNMENT, 0);
        for (size_t i = 0; i < bytes; i++) {
            assert_int_equal(memory[i], 0);
            memory[i] = 0xff; /* for the next one to find, should it not be zeroed */
        }
        mr_free(memory);
    }
}

static void a_growing_array_keeps_its_items_and_zeroes_the_new_ones(void **state)
{
    (void)state;
    int32_t *items = NULL;
    int64_t room = 0, grown = 0;
    for (int32_t i = 0; i < 10000; i++) {
        const int64_t before = room;
        must(mr_grow(MR_MEM_DATA, &items, &room, i + 1, sizeof *items));
        assert_true(room > i);
        assert_int_equal(items[room - 1], 0);
        assert_int_equal(mr_memory_live(MR_MEM_DATA), (size_t)room * sizeof *items);
        grown += room != before;
        items[i] = i + 1;
    }
    for (int32_t i = 0; i < 10000; i++)
        assert_int_equal(items[i], i + 1);
    assert_true(grown < 15);
    must(mr_grow(MR_MEM_DATA, &items, &room, 100000, sizeof *items));
    assert_int_equal(room, 100000);
    assert_int_equal(items[9999], 10000);
    mr_free(items);
}

static void an_array_that_cannot_grow_is_left_as_it_was(void **state)
{
    (void)state;
    int64_t *items = NULL, room = 0;
    must(mr_grow(MR_MEM_DATA, &items, &room, 3, sizeof *items));
    int64_t *const kept = items, kept_room = room;
    const int64_t too_many[] = {INT64_MAX, INT64_MAX / 2};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mr_grow(MR_MEM_DATA, &items, &room, too_many[i], sizeof *items),
                         MR_ERR_MEMORY);
        assert_contains(mr_message(), "items of 8 bytes for data: too large");
        assert_ptr_equal(items, kept);
        assert_int_equal(room, kept_room);
    }
    mr_free(items);
}

static void memory_that_cannot_be_had_is_refused_with_its_purpose(void **state)
{
    (void)state;
    assert_null(mr_alloc(MR_MEM_GATHER, SIZE_MAX));
    assert_contains(mr_message(), "cannot allocate 18446744073709551615 bytes for gather");
}

static void a_product_that_overflows_is_refused(void **state)
{
    (void)state;
    assert_null(mr_alloc_array(MR_MEM_WEIGHTS, SIZE_MAX / 4, 8));
    assert_contains(mr_message(), "items of 8 bytes for weights: too large");
    assert_int_equal(mr_memory_live(MR_MEM_WEIGHTS), 0);
}

static void freeing_nothing_is_allowed(void **state)
{
    (void)state;
    mr_free(NULL);
}

static void free_what_is_not_ours(void)
{
    static max_align_t foreign[64];
    mr_free((char *)foreign + 2 * MR_MEM_ALIGNMENT);
}

static void freeing_foreign_memory_aborts(void **state)
{
    (void)state;
    assert_aborts(free_what_is_not_ours, "broken invariant: head->magic == HEADER_MAGIC");
}

static void allocate_under_guard(void)
{
    mr_memory_guard(true);
    mr_memory_guard(true);
    mr_memory_guard(false);
    mr_free(mr_alloc(MR_MEM_REDUCE, 10));
}

static void allocate_after_guard(void)
{
    mr_memory_guard(true);
    mr_memory_guard(false);
    mr_free(mr_alloc(MR_MEM_REDUCE, 10));
}

static void the_guard_forbids_allocation_in_debug_builds(void **state)
{
    (void)state;
#ifdef MR_DEBUG
    assert_aborts(allocate_under_guard, "allocation of 10 bytes (reduce) inside a guarded section");
#else
    assert_survives(allocate_under_guard);
#endif
}

static void the_guard_ends(void **state)
{
    (void)state;
    assert_survives(allocate_after_guard);
}

/* Source: kat_vectors of Random123 1.14, philox4x32 10 rounds. */
static void short_hashes_give_the_published_values(void **state)
{
    (void)state;
    assert_true(mr_hash_fnv(MR_HASH_FNV, "", 0) == 0xcbf29ce484222325u);
    assert_true(mr_hash_fnv(MR_HASH_FNV, "a", 1) == 0xaf63dc4c8601ec8cu);
    assert_true(mr_hash_fnv(MR_HASH_FNV, "foobar", 6) == 0x85944171f73967e8u);
    assert_true(mr_hash_fnv(mr_hash_fnv(MR_HASH_FNV, "foo", 3), "bar", 3) == 0x85944171f73967e8u);
    assert_true(mr_hash_mix(0) == 0);
    assert_true(mr_hash_mix(1) == 0xb456bcfc34c2cb2cu);
}

static void philox_gives_the_published_vectors(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint32_t out[4];
        mr_philox(vectors[i].key, vectors[i].counter, out);
        assert_memory_equal(out, vectors[i].expected, sizeof out);
    }
}

static void words_of_a_stream_are_those_of_its_blocks(void **state)
{
    (void)state;
    mr_random random = mr_random_stream(0x0123456789abcdef, MR_RANDOM_DATA, 42);
    const uint32_t key[2] = {0x89abcdef, 0x01234567};
    const uint64_t far = (uint64_t)5 << 32;
    const uint32_t counter[4] = {0, 5, 42, (uint32_t)MR_RANDOM_DATA << 24};
    uint32_t expected[4];
    mr_philox(key, counter, expected);
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(mr_random_u32(&random, 4 * far + i), expected[i]);
}

static void streams_of_other_seeds_uses_and_numbers_differ(void **state)
{
    (void)state;
    const mr_random streams[] = {mr_random_stream(1, MR_RANDOM_DATA, 1),
                                 mr_random_stream(2, MR_RANDOM_DATA, 1),
                                 mr_random_stream((uint64_t)1 << 32 | 1, MR_RANDOM_DATA, 1),
                                 mr_random_stream(1, MR_RANDOM_ORDER, 1),
                                 mr_random_stream(1, MR_RANDOM_DATA, 2),
                                 mr_random_stream(1, MR_RANDOM_DATA, (uint64_t)1 << 40 | 1)};
    for (size_t a = 0; a < sizeof streams / sizeof streams[0]; a++)
        for (size_t b = 0; b < a; b++) {
            int equal = 0;
            for (uint64_t i = 0; i < 1000; i++)
                equal += mr_random_u32(&streams[a], i) == mr_random_u32(&streams[b], i);
            assert_int_equal(equal, 0);
        }
}

enum { DRAWS = 200000 };

/* Within five standard errors of what is expected. */
static void assert_near(double found, double expected, double deviation)
{
    double bound = 5 * deviation / sqrt(DRAWS);
    if (!(fabs(found - expected) < bound))
        fail_msg("found %g, expected %g within %g", found, expected, bound);
}

static void uniform_numbers_have_their_moments(void **state)
{
    (void)state;
    mr_random random = mr_random_stream(7, MR_RANDOM_WEIGHTS, 0);
    double sum = 0, squares = 0, neighbours = 0, last = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        double x = mr_random_uniform(&random, i);
        assert_true(x >= 0 && x < 1);
        sum += x;
        squares += x * x;
        neighbours += (x - 0.5) * (last - 0.5);
        last = x;
    }
    assert_near(sum / DRAWS, 0.5, sqrt(1.0 / 12));
    assert_near(squares / DRAWS, 1.0 / 3, sqrt(4.0 / 45));
    assert_near(neighbours / DRAWS, 0, 1.0 / 12);
}

static void normal_numbers_have_their_moments(void **state)
{
    (void)state;
    mr_random random = mr_random_stream(7, MR_RANDOM_WEIGHTS, 1);
    double power[5] = {0}, neighbours = 0, last = 0;
    int beyond = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        double x = mr_random_normal(&random, i), term = 1;
        assert_true(isfinite(x));
        for (int p = 1; p <= 4; p++)
            power[p] += term *= x;
        neighbours += x * last;
        beyond += fabs(x) > 1.959963984540054;
        last = x;
    }
    assert_near(power[1] / DRAWS, 0, 1);
    assert_near(power[2] / DRAWS, 1, sqrt(2));
    assert_near(power[3] / DRAWS, 0, sqrt(15));
    assert_near(power[4] / DRAWS, 3, sqrt(96));
    assert_near(neighbours / DRAWS, 0, 1);
    assert_near((double)beyond / DRAWS, 0.05, sqrt(0.05 * 0.95));
}

static void bounded_numbers_fill_their_range_evenly(void **state)
{
    (void)state;
    enum { BOUND = 10 };
    mr_random random = mr_random_stream(3, MR_RANDOM_DATA, 0);
    int count[BOUND] = {0};
    for (uint64_t i = 0; i < DRAWS; i++) {
        uint64_t x = mr_random_below(&random, i, BOUND);
        assert_true(x < BOUND);
        count[x]++;
    }
    for (int i = 0; i < BOUND; i++)
        assert_near((double)count[i] / DRAWS, 1.0 / BOUND, sqrt(0.1 * 0.9));
}

static void a_bound_of_one_gives_zero(void **state)
{
    (void)state;
    mr_random random = mr_random_stream(3, MR_RANDOM_DATA, 0);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(mr_random_below(&random, i, 1), 0);
}

static void a_text_grows(void **state)
{
    (void)state;
    mr_text text = {0};
    assert_string_equal(mr_text_get(&text), "");
    for (int i = 0; i < 1000; i++)
        mr_text_add(&text, "%d,", i % 10);
    assert_int_equal(text.length, 2000);
    assert_int_equal(strlen(mr_text_get(&text)), 2000);
    assert_memory_equal(mr_text_get(&text) + 1990, "5,6,7,8,9,", 10);
    assert_false(text.failed);
    mr_text_free(&text);
    assert_null(text.data);
}

static void numbers_are_plain_decimal_ones(void **state)
{
    (void)state;
    static const char *const numbers[] = {"0", "-0.5", "+7", ".5", "1.", "1e-3", "2.5E+10"};
    static const char *const others[] = {"",   " 0.1", "0.1 ", "0x1p-3", "inf", "nan",
                                         "1e", ".",    "-",    "1_000",  "1,5", "--1"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (!mr_text_is_number(numbers[i])) fail_msg("no number: \"%s\"", numbers[i]);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (mr_text_is_number(others[i])) fail_msg("a number: \"%s\"", others[i]);
}

static void text_of_others_comes_clean(void **state)
{
    (void)state;
    mr_text text = {0};
    mr_text_add_clean(&text, "a\x1b[1m\tb\n\xc2\x9b\xc2\xa0\xe6\x97\xa5\xff\0\x7f", 18);
    assert_string_equal(mr_text_get(&text), "a\\x1b[1m\tb\n\\xc2\\x9b\xc2\xa0\xe6\x97\xa5\\xff"
                                            "\\x00\\x7f");
    mr_text_free(&text);
}

static void edit_distances_are_those_of_levenshtein(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        int distance;
    } words[] = {{"", "", 0},           {"lora", "lora", 0}, {"lora", "mora", 1},
                 {"mora", "remora", 2}, {"", "abc", 3},      {"kitten", "sitting", 3},
                 {"setps", "steps", 2}, {"flaw", "lawn", 2}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        assert_int_equal(mr_text_distance(words[i].a, words[i].b), words[i].distance);
        assert_int_equal(mr_text_distance(words[i].b, words[i].a), words[i].distance);
    }
}

static void words_too_long_are_far_from_all(void **state)
{
    (void)state;
    char word[129];
    memset(word, 'x', sizeof word);
    word[128] = '\0';
    assert_int_equal(mr_text_distance(word, word), INT_MAX);
    word[127] = '\0';
    assert_int_equal(mr_text_distance(word, word), 0);
}

static void speak(void)
{
    mr_log("step %d", 1);
    mr_warn("odd");
    mr_log_progress("run", 5, 10, "loss 1");
    mr_log_progress("run", 10, 10, "");
    mr_log_progress_end();
}

static void speak_quietly(void)
{
    mr_log_set_quiet(true);
    speak();
}

static void progress_is_plain_lines_where_there_is_no_terminal(void **state)
{
    (void)state;
    char said[4096];
    assert_int_equal(status_of_child(speak, said, sizeof said), 0);
    assert_string_equal(
        said, "mora: step 1\nmora: warning: odd\nmora: run 5/10 loss 1\nmora: run 10/10\n");
}

static void quote(void)
{
    mr_log("a\x1b[2J\xc2\x9b\nb\tc");
    mr_warn("\xff%s", "d\x7f");
    mr_fail(MR_ERR_FORMAT, "e\rf \xe6\x97\xa5");
    mr_log_error(MR_ERR_FORMAT);
}

static void lines_keep_what_they_quote_from_the_terminal(void **state)
{
    (void)state;
    char said[4096];
    assert_int_equal(status_of_child(quote, said, sizeof said), 0);
    assert_string_equal(said, "mora: a\\x1b[2J\\xc2\\x9b\\x0ab\\x09c\n"
                              "mora: warning: \\xffd\\x7f\n"
                              "mora: error: format: e\\x0df \xe6\x97\xa5\n");
}

static void show_bars(void)
{
    mr_log_set_progress(MR_PROGRESS_BAR);
    mr_log_progress("uuid", 5, 10, "loss 1");
    mr_log_progress("uuid", 6, 10, "too soon to be drawn");
    mr_log("seen");
    mr_log_progress("uuid", 10, 10, "loss 0.5");
    mr_log("and after");
    mr_log_progress_end();
    mr_log_progress_end();
}

static void a_bar_is_one_line_that_is_redrawn_and_stays_at_its_end(void **state)
{
    (void)state;
    char said[4096];
    setenv("COLUMNS", "60", 1);
    assert_int_equal(status_of_child(show_bars, said, sizeof said), 0);
    unsetenv("COLUMNS");
    assert_string_equal(said, "\ruuid [==========..........] 5/10 loss 1\033[K\r"
                              "\r\033[Kmora: seen\n"
                              "\ruuid [====================] 10/10 loss 0.5\033[K\r"
                              "\r\033[Kmora: and after\n"
                              "\ruuid [====================] 10/10 loss 0.5\033[K\r\n");
}

static const char *bar_name;

static void show_named_bar(void)
{
    mr_log_set_progress(MR_PROGRESS_BAR);
    mr_log_set_part("run 2 of 9");
    mr_log_progress(bar_name, 5, 10, "loss 1.2345");
}

static void assert_bar(const char *columns, const char *name, const char *drawn)
{
    char said[4096], whole[4096];
    bar_name = name;
    setenv("COLUMNS", columns, 1);
    assert_int_equal(status_of_child(show_named_bar, said, sizeof said), 0);
    unsetenv("COLUMNS");
    snprintf(whole, sizeof whole, "\r%s\033[K\r", drawn);
    assert_string_equal(said, whole);
}

static void a_bar_gives_up_cells_and_then_the_beginning_of_a_name(void **state)
{
    (void)state;
    assert_bar("61", "uuid.mora-r8",
               "run 2 of 9 uuid.mora-r8 [========.........] 5/10 loss 1.2345");
    assert_bar("49", "uuid.mora-r8", "run 2 of 9 uuid.mora-r8 [==...] 5/10 loss 1.2345");
    assert_bar("47", "uuid.mora-r8", "run 2 of 9 ...mora-r8 [==...] 5/10 loss 1.2345");
    assert_bar("40", "uuid.mora-r8", "run 2 of 9 ..d.mora-r8 5/10 loss 1.2345");
    assert_bar("20", "uuid.mora-r8", "run 2 of 9  5/10 lo");
    assert_bar("nonsense", "u\x1b\xff",
               "run 2 of 9 u\\x1b\\xff [==========..........] 5/10 loss 1.2345");
    assert_bar("50", "\u0430\u0431\u0432\u0433.\u6f22\u5b57-abc",
               "run 2 of 9 \u0430\u0431\u0432\u0433.\u6f22\u5b57-abc [==...] 5/10 loss 1.2345");
}

static void show_nothing(void)
{
    mr_log_set_progress(MR_PROGRESS_NONE);
    speak();
}

static void progress_may_be_left_out(void **state)
{
    (void)state;
    char said[4096];
    assert_int_equal(status_of_child(show_nothing, said, sizeof said), 0);
    assert_string_equal(said, "mora: step 1\nmora: warning: odd\n");
}

static void grow(void)
{
    for (int bars = 0; bars < 2; bars++) {
        mr_log_set_progress(bars ? MR_PROGRESS_BAR : MR_PROGRESS_LINES);
        mr_log_progress("input", 25, 10, "MB");
        mr_log_progress_end();
    }
}

static void more_than_all_is_all(void **state)
{
    (void)state;
    char said[4096];
    assert_int_equal(status_of_child(grow, said, sizeof said), 0);
    assert_string_equal(said, "mora: input 10/10 MB\n"
                              "\rinput [====================] 10/10 MB\033[K\r\n");
}

static void a_quiet_process_says_nothing(void **state)
{
    (void)state;
    char said[4096];
    assert_int_equal(status_of_child(speak_quietly, said, sizeof said), 0);
    assert_string_equal(said, "");
}

static void a_file_is_read_as_it_was_written(void **state)
{
    (void)state;
    static const char bytes[] = {'a', 0, '\n', (char)0xff};
    char *data;
    size_t size;
    assert_int_equal(mr_file_write("file", bytes, sizeof bytes), MR_OK);
    assert_int_equal(mr_file_read("file", MR_MEM_DATA, &data, &size), MR_OK);
    assert_int_equal(size, sizeof bytes);
    assert_memory_equal(data, bytes, sizeof bytes);
    assert_int_equal(data[size], 0);
    mr_free(data);
}

static void an_empty_file_is_read_as_an_empty_string(void **state)
{
    (void)state;
    char *data;
    size_t size = 1;
    assert_int_equal(mr_file_write("file", NULL, 0), MR_OK);
    assert_int_equal(mr_file_read("file", MR_MEM_DATA, &data, &size), MR_OK);
    assert_int_equal(size, 0);
    assert_string_equal(data, "");
    mr_free(data);
}

static void writing_replaces_a_file_at_once(void **state)
{
    (void)state;
    struct stat old, new;
    assert_int_equal(mr_file_write("file", "old", 3), MR_OK);
    FILE *reader = fopen("file", "rb");
    assert_non_null(reader);
    assert_int_equal(stat("file", &old), 0);
    assert_int_equal(mr_file_write("file", "newer", 5), MR_OK);
    assert_int_equal(stat("file", &new), 0);
    assert_true(old.st_ino != new.st_ino);
    /* Whoever has it open goes on reading the old one, whole. */
    char held[8] = {0};
    assert_int_equal(fread(held, 1, sizeof held, reader), 3);
    assert_string_equal(held, "old");
    fclose(reader);
    assert_int_equal(access("file.tmp", F_OK), -1);
}

static void a_failed_write_leaves_what_was_there(void **state)
{
    (void)state;
    assert_int_equal(mkdir("busy", 0777), 0);
    assert_int_equal(mr_file_write("busy/inner", "kept", 4), MR_OK);
    assert_int_equal(mr_file_write("busy", "new", 3), MR_ERR_IO);
    assert_contains(mr_message(), "cannot write 'busy': ");
    assert_int_equal(access("busy/inner", F_OK), 0);
    assert_int_equal(access("busy.tmp", F_OK), -1);
}

static void a_file_in_a_missing_folder_cannot_be_written(void **state)
{
    (void)state;
    assert_int_equal(mr_file_write("nowhere/file", "x", 1), MR_ERR_IO);
    assert_string_equal(mr_message(),
                        "cannot create 'nowhere/file.tmp': No such file or directory");
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    char *data;
    assert_int_equal(mr_file_read("nothing", MR_MEM_DATA, &data, NULL), MR_ERR_IO);
    assert_string_equal(mr_message(), "cannot open 'nothing': No such file or directory");
    assert_null(data);
}

static void a_folder_is_not_read_as_a_file(void **state)
{
    (void)state;
    char *data;
    assert_int_equal(mr_file_read(".", MR_MEM_DATA, &data, NULL), MR_ERR_IO);
    assert_string_equal(mr_message(), "cannot read '.': not a regular file");
    assert_null(data);
}

static void folders_are_made_with_their_parents(void **state)
{
    (void)state;
    struct stat about;
    assert_int_equal(mr_file_make_folders("deep/er/folder"), MR_OK);
    assert_int_equal(stat("deep/er/folder", &about), 0);
    assert_true(S_ISDIR(about.st_mode));
    assert_int_equal(mr_file_make_folders("deep/er/folder"), MR_OK);
}

static void folders_are_made_where_links_stand_for_them(void **state)
{
    (void)state;
    struct stat about;
    assert_int_equal(mr_file_make_folders("deep"), MR_OK);
    assert_int_equal(symlink("far/away", "deep/link"), 0);
    must(mr_file_make_folders("deep/link/inner"));
    assert_int_equal(stat("deep/far/away/inner", &about), 0);
    must(mr_file_make_folders("deep/link/inner"));
    assert_int_equal(symlink("loop", "deep/loop"), 0);
    assert_int_equal(mr_file_make_folders("deep/loop/inner"), MR_ERR_IO);
    assert_contains(mr_message(), "cannot make folder 'deep/loop/inner'");
}

static void a_folder_below_a_file_cannot_be_made(void **state)
{
    (void)state;
    assert_int_equal(mr_file_write("kept", "x", 1), MR_OK);
    assert_int_equal(mr_file_make_folders("kept/inner"), MR_ERR_IO);
    assert_contains(mr_message(), "cannot make folder 'kept");
}

static void a_folder_in_place_of_a_file_cannot_be_made(void **state)
{
    (void)state;
    assert_int_equal(mr_file_write("kept", "x", 1), MR_OK);
    assert_int_equal(mr_file_make_folders("kept"), MR_ERR_IO);
    assert_contains(mr_message(), "cannot make folder 'kept'");
}

static void paths_too_long_are_refused(void **state)
{
    (void)state;
    char path[PATH_MAX + 10];
    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = '\0';
    assert_int_equal(mr_file_write(path, "x", 1), MR_ERR_IO);
    assert_contains(mr_message(), "path too long");
    assert_int_equal(mr_file_make_folders(path), MR_ERR_IO);
    assert_contains(mr_message(), "path too long");
}

static void kept_texts_stay_where_they_are(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    static const char *kept[MANY];
    static char longest[100000], text[16];
    mr_texts texts = {0};
    memset(longest, 'x', sizeof longest - 1);
    size_t before = mr_memory_live_total();
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof text, "%d", i);
        kept[i] = mr_texts_keep(&texts, i == 1000 ? longest : text);
        assert_non_null(kept[i]);
    }
    assert_true(mr_memory_live_total() - before < sizeof longest + 100000);
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof text, "%d", i);
        assert_string_equal(kept[i], i == 1000 ? longest : text);
    }
    mr_texts_free(&texts);
    assert_int_equal(mr_memory_live_total(), before);
}

static void a_path_may_start_at_home(void **state)
{
    (void)state;
    static const char *const paths[][2] = {
        {"~", "/h x"}, {"~/", "/h x/"}, {"~/a/~", "/h x/a/~"}, {"a~", "a~"}, {"./~b", "./~b"}};
    char expanded[PATH_MAX];
    setenv("HOME", "/h x", 1);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        must(mr_file_expand(paths[i][0], expanded));
        assert_string_equal(expanded, paths[i][1]);
    }
    assert_int_equal(mr_file_expand("~b/c", expanded), MR_ERR_ARG);
    assert_string_equal(mr_message(), "'~b/c': homes of other users are not looked up; write the "
                                      "whole path, or './~b/c' for a file of this name");
    unsetenv("HOME");
    assert_int_equal(mr_file_expand("~/c", expanded), MR_ERR_ARG);
    assert_string_equal(mr_message(), "'~/c': the environment has no HOME; write the whole path");
}

static void empty_paths_are_not_called_too_long(void **state)
{
    (void)state;
    char *data;
    assert_int_equal(mr_file_make_folders(""), MR_ERR_IO);
    assert_string_equal(mr_message(), "expected a path, found an empty text");
    assert_int_equal(mr_file_read("", MR_MEM_DATA, &data, NULL), MR_ERR_IO);
    assert_string_equal(mr_message(), "expected the path of a file, found an empty text");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_records_its_message),
        cmocka_unit_test(a_caller_puts_its_place_before_a_message),
        cmocka_unit_test(a_message_may_be_its_own_argument),
        cmocka_unit_test(a_long_message_is_cut),
        cmocka_unit_test(every_status_has_a_name_of_its_own),
        cmocka_unit_test(a_broken_invariant_aborts_with_its_text),
        cmocka_unit_test(an_abort_calls_its_handler_first),
        cmocka_unit_test(memory_is_counted_by_purpose),
        cmocka_unit_test(the_peak_is_kept),
        cmocka_unit_test(sizes_end_where_no_machine_goes_on),
        cmocka_unit_test(threads_share_the_count_and_keep_their_messages),
        cmocka_unit_test(memory_is_aligned_and_zeroed),
        cmocka_unit_test(a_growing_array_keeps_its_items_and_zeroes_the_new_ones),
        cmocka_unit_test(an_array_that_cannot_grow_is_left_as_it_was),
        cmocka_unit_test(memory_that_cannot_be_had_is_refused_with_its_purpose),
        cmocka_unit_test(a_product_that_overflows_is_refused),
        cmocka_unit_test(freeing_nothing_is_allowed),
        cmocka_unit_test(freeing_foreign_memory_aborts),
        cmocka_unit_test(the_guard_forbids_allocation_in_debug_builds),
        cmocka_unit_test(the_guard_ends),
        cmocka_unit_test(short_hashes_give_the_published_values),
        cmocka_unit_test(philox_gives_the_published_vectors),
        cmocka_unit_test(words_of_a_stream_are_those_of_its_blocks),
        cmocka_unit_test(streams_of_other_seeds_uses_and_numbers_differ),
        cmocka_unit_test(uniform_numbers_have_their_moments),
        cmocka_unit_test(normal_numbers_have_their_moments),
        cmocka_unit_test(bounded_numbers_fill_their_range_evenly),
        cmocka_unit_test(a_bound_of_one_gives_zero),
        cmocka_unit_test(a_text_grows),
        cmocka_unit_test(numbers_are_plain_decimal_ones),
        cmocka_unit_test(text_of_others_comes_clean),
        cmocka_unit_test(edit_distances_are_those_of_levenshtein),
        cmocka_unit_test(words_too_long_are_far_from_all),
        cmocka_unit_test(progress_is_plain_lines_where_there_is_no_terminal),
        cmocka_unit_test(lines_keep_what_they_quote_from_the_terminal),
        cmocka_unit_test(a_bar_is_one_line_that_is_redrawn_and_stays_at_its_end),
        cmocka_unit_test(a_bar_gives_up_cells_and_then_the_beginning_of_a_name),
        cmocka_unit_test(progress_may_be_left_out),
        cmocka_unit_test(more_than_all_is_all),
        cmocka_unit_test(a_quiet_process_says_nothing),
        cmocka_unit_test(a_file_is_read_as_it_was_written),
        cmocka_unit_test(an_empty_file_is_read_as_an_empty_string),
        cmocka_unit_test(writing_replaces_a_file_at_once),
        cmocka_unit_test(a_failed_write_leaves_what_was_there),
        cmocka_unit_test(a_file_in_a_missing_folder_cannot_be_written),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(a_folder_is_not_read_as_a_file),
        cmocka_unit_test(folders_are_made_with_their_parents),
        cmocka_unit_test(folders_are_made_where_links_stand_for_them),
        cmocka_unit_test(a_folder_below_a_file_cannot_be_made),
        cmocka_unit_test(a_folder_in_place_of_a_file_cannot_be_made),
        cmocka_unit_test(paths_too_long_are_refused),
        cmocka_unit_test(kept_texts_stay_where_they_are),
        cmocka_unit_test(a_path_may_start_at_home),
        cmocka_unit_test(empty_paths_are_not_called_too_long),
    };
    return cmocka_run_group_tests(tests, folder_enter, leave);
}
