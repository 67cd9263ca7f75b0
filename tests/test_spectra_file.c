/* Spectra that are written, read, taken back and gone on with. */

#include "folder.h"
#include "spectra_case.h"

#include <hdf5.h>

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

static hid_t check(hid_t result)
{
    if (result < 0) fail_msg("a call of HDF5 fails");
    return result;
}

/* Returns the first extent of a dataset in a file opened as any program would. */
static hsize_t room_of(const char *dataset)
{
    hsize_t extent[3] = {0};
    hid_t file = check(H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT));
    hid_t set = check(H5Dopen2(file, dataset, H5P_DEFAULT)), space = check(H5Dget_space(set));
    assert_true(H5Sget_simple_extent_dims(space, extent, NULL) >= 1);
    H5Sclose(space);
    H5Dclose(set);
    H5Fclose(file);
    return extent[0];
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

static void the_room_is_that_of_the_snapshots_expected(void **state)
{
    (void)state;
    mr_spectra_layout layout = spectra_layout;
    layout.snapshots = 7;
    must(mr_spectra_file_create(path, &layout));
    assert_int_equal(room_of("/step"), 7);
    assert_int_equal(room_of("/q_proj/sigma"), 7);
    for (int64_t i = 1; i <= 7; i++)
        must(spectra_append(path, &layout, 5 * i));
    assert_int_equal(room_of("/step"), 7);
    assert_int_equal(spectra_check(path, &layout, 5), 7);
}

static void a_file_grows_beyond_its_room(void **state)
{
    (void)state;
    make(150);
    assert_int_equal(room_of("/step"), 256);
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 150);
}

/* A file that would be of more bytes than any disk has is made all the same: it is of holes. */
static void the_room_of_a_new_file_is_bounded(void **state)
{
    (void)state;
    mr_spectra_layout layout = spectra_layout;
    struct stat about;
    layout.snapshots = INT64_MAX;
    must(mr_spectra_file_create(path, &layout));
    assert_int_equal(stat(path, &about), 0);
    assert_true(about.st_size <= (off_t)1 << 31);
    must(spectra_append(path, &layout, 5));
    assert_int_equal(spectra_check(path, &layout, 5), 1);
}

static void trimming_gives_back_what_is_not_used(void **state)
{
    (void)state;
    make(3);
    assert_int_equal(room_of("/step"), 64);
    must(mr_spectra_file_trim(path));
    assert_int_equal(room_of("/step"), 3);
    assert_int_equal(room_of("/down_proj/k90"), 3);
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 3);
    for (int64_t i = 4; i <= 5; i++)
        must(spectra_append(path, &spectra_layout, 5 * i));
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 5);
}

static void resuming_drops_what_came_after_a_step(void **state)
{
    (void)state;
    make(12);
    must(mr_spectra_file_resume(path, &spectra_layout, 100));
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 12);
    must(mr_spectra_file_resume(path, &spectra_layout, 34));
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 6);
    for (int64_t i = 7; i <= 12; i++)
        must(spectra_append(path, &spectra_layout, 5 * i));
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 12);
    must(mr_spectra_file_resume(path, &spectra_layout, 0));
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 0);
}

static void a_step_stands_once(void **state)
{
    (void)state;
    make(2);
    assert_int_equal(spectra_append(path, &spectra_layout, 10), MR_ERR_ARG);
    assert_contains(mr_message(), "run.spectra.h5: a snapshot of step 10 cannot follow one of step "
                                  "10");
    assert_int_equal(spectra_append(path, &spectra_layout, -1), MR_ERR_ARG);
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 2);
}

static void creating_keeps_what_stood_there(void **state)
{
    (void)state;
    make(3);
    make(0);
    assert_int_equal(spectra_check(previous, &spectra_layout, 5), 3);
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 0);
}

static void resuming_without_a_file_makes_one(void **state)
{
    (void)state;
    must(mr_spectra_file_resume(path, &spectra_layout, 17));
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 0);
}

static void resuming_goes_on_behind_a_step(void **state)
{
    (void)state;
    make(5);
    must(mr_spectra_file_resume(path, &spectra_layout, 17));
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 3);
    assert_int_not_equal(access(previous, F_OK), 0);
}

/* Changes one thing of the layout, resumes with it, and expects what is said of the difference. */
static void assert_kept_aside(mr_spectra_layout changed, const char *message)
{
    make(2);
    mr_spectra_file *file;
    must(mr_spectra_file_open(path, &file));
    assert_int_equal(mr_spectra_file_check(file, &changed), MR_ERR_FORMAT);
    mr_spectra_file_close(&file);
    assert_contains(mr_message(), "run.spectra.h5: other spectra: ");
    assert_contains(mr_message(), message);
    if (changed.groups == spectra_layout.groups && changed.columns == spectra_layout.columns) {
        assert_int_equal(spectra_append(path, &changed, 15), MR_ERR_FORMAT);
        assert_contains(mr_message(), message);
    }
    must(mr_spectra_file_resume(path, &changed, 100));
    assert_int_equal(spectra_check(previous, &spectra_layout, 5), 2);
    assert_int_equal(spectra_check(path, &changed, 5), 0);
    remove_files(NULL);
}

static void spectra_of_another_layout_are_kept_aside(void **state)
{
    (void)state;
    static const int64_t layers[] = {0, 1, 4};
    mr_spectra_layout l = spectra_layout;
    mr_spectra_group group[SPECTRA_GROUPS];
    mr_spectra_column column[SPECTRA_COLUMNS];
    l.run = "second";
    assert_kept_aside(l, "run: expected 'second', found 'first'");
    l = spectra_layout;
    l.method = "lora";
    assert_kept_aside(l, "method: expected 'lora', found 'mora'");
    l = spectra_layout;
    l.update = "another";
    assert_kept_aside(l, "update: expected 'another', found 'what is added to W'");
    l = spectra_layout;
    l.r = 16;
    assert_kept_aside(l, "r: expected 16, found 8");
    l = spectra_layout;
    l.threshold = nextafter(0.1, 1);
    assert_kept_aside(l, "threshold: expected '0.10000000000000002', found '0.10000000000000001'");
    l = spectra_layout;
    l.groups = 1;
    assert_kept_aside(l, "projections: expected 1, found 2");
    l = spectra_layout;
    l.columns = 2;
    assert_kept_aside(l, "columns: expected 2, found 3");
    l = spectra_layout;
    l.group = group;
    memcpy(group, spectra_layout.group, sizeof group);
    group[1].layer = layers;
    assert_kept_aside(l, "down_proj: layer: expected 4, found 5");
    group[1] = spectra_layout.group[1];
    group[1].values = 6;
    assert_kept_aside(l, "down_proj: singular values: expected 6, found 5");
    group[1] = spectra_layout.group[1];
    group[1].cosines = 1;
    assert_kept_aside(l, "down_proj: cosines: expected 1, found 0");
    group[1] = spectra_layout.group[1];
    group[1].rows = 17;
    assert_kept_aside(l, "down_proj: rows: expected 17, found 16");
    group[1] = spectra_layout.group[1];
    group[0].projection = "k_proj";
    assert_kept_aside(l, "projection: expected 'k_proj', found 'q_proj'");
    l = spectra_layout;
    l.column = column;
    memcpy(column, spectra_layout.column, sizeof column);
    column[1].definition = "something else";
    assert_kept_aside(l, "erank_sigma: expected 'something else', found 'exp of");
}

static void names_and_extents_no_file_can_have_are_refused(void **state)
{
    (void)state;
    mr_spectra_layout l = spectra_layout;
    mr_spectra_group group[SPECTRA_GROUPS];
    mr_spectra_column column[SPECTRA_COLUMNS];
    memcpy(group, spectra_layout.group, sizeof group);
    memcpy(column, spectra_layout.column, sizeof column);
    l.group = group;
    l.column = column;
    group[0].projection = "a/b";
    assert_int_equal(mr_spectra_file_create(path, &l), MR_ERR_ARG);
    assert_contains(mr_message(), "'a/b' cannot name a projection");
    group[0].projection = "down_proj";
    assert_int_equal(mr_spectra_file_create(path, &l), MR_ERR_ARG);
    assert_contains(mr_message(), "there are two projections 'down_proj'");
    group[0] = spectra_layout.group[0];
    group[0].values = 9;
    assert_int_equal(mr_spectra_file_create(path, &l), MR_ERR_ARG);
    assert_contains(mr_message(), "q_proj: 3 matrices of 8 x 8 cannot have 9 singular values and 2 "
                                  "cosines each");
    group[0] = spectra_layout.group[0];
    column[2].name = "sigma";
    assert_int_equal(mr_spectra_file_create(path, &l), MR_ERR_ARG);
    assert_contains(mr_message(), "there are two datasets 'sigma' in a group");
    assert_int_not_equal(access(path, F_OK), 0);
}

/* Another program, which has the file open all the time and reads its steps anew at every word. */
static void hold_open(int words, int answers)
{
    char word;
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    while (read(words, &word, 1) == 1) {
        int64_t step[64], count = 0;
        double ranks[64][3];
        hid_t steps = H5Dopen2(file, "/step", H5P_DEFAULT);
        hid_t values = H5Dopen2(file, "/q_proj/erank_sigma", H5P_DEFAULT);
        if (H5Dread(steps, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, step) < 0) _exit(1);
        if (H5Dread(values, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, ranks) < 0) _exit(1);
        while (count < 64 && step[count] >= 0) {
            double expected = spectra_value(step[count], 0, 2, 1), found = ranks[count][1];
            if (found != expected && !(isnan(found) && isnan(expected))) _exit(2);
            count++;
        }
        H5Dclose(steps);
        H5Dclose(values);
        if (write(answers, &count, sizeof count) != sizeof count) _exit(3);
    }
    _exit(0);
}

static void a_program_that_holds_the_file_open_sees_it_grow(void **state)
{
    (void)state;
    int words[2], answers[2], code;
    make(0);
    assert_int_equal(pipe(words), 0);
    assert_int_equal(pipe(answers), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(words[1]);
        hold_open(words[0], answers[1]);
    }
    close(words[0]);
    /* At 65 another file takes its place, and the one that is held stays as it is. */
    for (int64_t i = 1; i <= 70; i++) {
        int64_t seen;
        must(spectra_append(path, &spectra_layout, 5 * i));
        assert_int_equal(write(words[1], "x", 1), 1);
        assert_int_equal(read(answers[0], &seen, sizeof seen), sizeof seen);
        assert_int_equal(seen, i < 64 ? i : 64);
    }
    close(words[1]);
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_int_equal(code, 0);
    close(answers[0]);
    close(answers[1]);
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 70);
}

static void an_open_file_stays_as_it_was(void **state)
{
    (void)state;
    mr_spectra_file *file;
    mr_spectra_row row;
    int64_t count;
    make(64);
    must(mr_spectra_file_open(path, &file));
    must(spectra_append(path, &spectra_layout, 5 * 65));
    must(mr_spectra_row_make(mr_spectra_file_layout(file), 1, &row));
    assert_int_equal(mr_spectra_file_steps(file, &count)[63], 5 * 64);
    assert_int_equal(count, 64);
    must(mr_spectra_file_read(file, 63, 1, &row));
    assert_true(row.sigma[1] == spectra_value(5 * 64, 1, 0, 1));
    assert_int_equal(mr_spectra_file_read(file, 64, 1, &row), MR_ERR_ARG);
    assert_contains(mr_message(), "snapshot 64 of 64, group 1 of 2 asked for");
    mr_spectra_row_free(&row);
    mr_spectra_file_close(&file);
}

static void the_path_is_that_of_the_log(void **state)
{
    (void)state;
    char out[PATH_MAX];
    must(mr_spectra_file_path("results/first.h5", out));
    assert_string_equal(out, "results/first.spectra.h5");
    must(mr_spectra_file_path("log", out));
    assert_string_equal(out, "log.spectra.h5");
}

#define TEST(function) cmocka_unit_test_teardown(function, remove_files)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(snapshots_are_read_back),
        TEST(a_file_without_snapshots_is_sound),
        TEST(the_room_is_that_of_the_snapshots_expected),
        TEST(a_file_grows_beyond_its_room),
        TEST(the_room_of_a_new_file_is_bounded),
        TEST(trimming_gives_back_what_is_not_used),
        TEST(resuming_drops_what_came_after_a_step),
        TEST(a_step_stands_once),
        TEST(creating_keeps_what_stood_there),
        TEST(resuming_without_a_file_makes_one),
        TEST(resuming_goes_on_behind_a_step),
        TEST(spectra_of_another_layout_are_kept_aside),
        TEST(names_and_extents_no_file_can_have_are_refused),
        TEST(a_program_that_holds_the_file_open_sees_it_grow),
        TEST(an_open_file_stays_as_it_was),
        TEST(the_path_is_that_of_the_log),
    };
    return cmocka_run_group_tests(tests, folder_enter, folder_leave_empty);
}
