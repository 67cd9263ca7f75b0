#include "base/clock.h"
#include "base/file.h"
#include "folder.h"
#include "spectra_case.h"

#include <stdlib.h>
#include <unistd.h>

static const char path[] = "run.spectra.h5", beside[] = "run.spectra.h5.tmp",
                  previous[] = "run.spectra.h5.previous.1";

static int remove_files(void **state)
{
    (void)state;
    unlink(path);
    unlink(beside);
    unlink(previous);
    return 0;
}

/* Makes a file of the snapshots of steps 5, 10, ... */
static void make(int64_t snapshots)
{
    must(mr_spectra_file_create(path, &spectra_layout));
    for (int64_t i = 1; i <= snapshots; i++)
        must(spectra_append(path, &spectra_layout, 5 * i));
}

static void snapshots_are_read_back(void **state)
{
    (void)state;
    make(20);
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 20);
}

static void a_file_without_snapshots_is_sound(void **state)
{
    (void)state;
    make(0);
    assert_true(mr_spectra_file_is(path));
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 0);
}

static void a_file_grows_beyond_its_room(void **state)
{
    (void)state;
    make(150);
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 150);
}

static void rewinding_drops_what_came_after_a_step(void **state)
{
    (void)state;
    make(12);
    must(mr_spectra_file_rewind(path, 100));
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 12);
    must(mr_spectra_file_rewind(path, 34));
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 6);
    for (int64_t i = 7; i <= 12; i++)
        must(spectra_append(path, &spectra_layout, 5 * i));
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 12);
    must(mr_spectra_file_rewind(path, 0));
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 0);
}

#define TEST(function) cmocka_unit_test_teardown(function, remove_files)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(snapshots_are_read_back),
        TEST(a_file_without_snapshots_is_sound),
        TEST(a_file_grows_beyond_its_room),
        TEST(rewinding_drops_what_came_after_a_step),
    };
    return cmocka_run_group_tests(tests, folder_enter, folder_leave_empty);
}
