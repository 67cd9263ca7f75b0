/* Spectra whose writer is killed, or refused, at any of its calls of the operating system, those of
 * HDF5 among them. */

#define _GNU_SOURCE
#include "base/file.h"
#include "folder.h"
#include "spectra_case.h"

#include <hdf5.h>

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EVERY = 5, SNAPSHOTS = 6, ROOM = 64 };

static const char path[] = "run.spectra.h5", beside[] = "run.spectra.h5.tmp",
                  previous[] = "run.spectra.h5.previous.1";

/* What happens at a call. */
typedef enum fate { LIVES, DIES_BEFORE, DIES_WITHIN, FAILS } fate;

/* Every write, sync and renaming of a file is counted; at one of them it happens. */
static fate what;
static int countdown, writes;

static bool is_time(void)
{
    return what != LIVES && countdown-- == 0;
}

/* Files in memory are no one's disk. */
static bool is_time_for(int handle)
{
    char link[64], target[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = what != LIVES ? readlink(link, target, sizeof target - 1) : 0;
    target[length > 0 ? length : 0] = '\0';
    return !strstr(target, "memfd:") && is_time();
}

static int happen(void)
{
    if (what == FAILS) {
        errno = ENOSPC;
        return -1;
    }
    kill(getpid(), SIGKILL);
    return -1;
}

/* What stands behind the functions below, which HDF5 calls too. */
static void *real(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

ssize_t pwrite(int handle, const void *data, size_t bytes, off_t at)
{
    ssize_t (*next)(int, const void *, size_t, off_t);
    *(void **)&next = real("pwrite");
    writes++;
    if (!is_time_for(handle)) return next(handle, data, bytes, at);
    /* A number within a page is written at once, or not. */
    bool torn = what == DIES_WITHIN && (bytes > 8 || at % 8 != 0);
    if (torn && next(handle, data, bytes / 2, at) < 0) return -1;
    return happen();
}

int ftruncate(int handle, off_t bytes)
{
    int (*next)(int, off_t);
    *(void **)&next = real("ftruncate");
    return is_time_for(handle) ? happen() : next(handle, bytes);
}

/* What a process has written outlives it, on the disk or not. */
int fsync(int handle)
{
    return is_time_for(handle) ? happen() : 0;
}

int rename(const char *from, const char *to)
{
    int (*next)(const char *, const char *);
    *(void **)&next = real("rename");
    return is_time() ? happen() : next(from, to);
}

static int remove_files(void **state)
{
    (void)state;
    unlink(path);
    unlink(beside);
    unlink(previous);
    return 0;
}

static void append(int64_t first, int64_t last)
{
    for (int64_t i = first; i <= last; i++)
        must(spectra_append(path, &spectra_layout, EVERY * i));
}

/* Any program opens the file, and finds so many steps. */
static int64_t steps_for_others(void)
{
    int64_t count = 0;
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0) fail_msg("a program that knows nothing of spectra cannot open them");
    hid_t set = H5Dopen2(file, "/step", H5P_DEFAULT), space = H5Dget_space(set);
    int64_t room = H5Sget_simple_extent_npoints(space);
    int64_t *step = calloc((size_t)room, sizeof *step);
    assert_non_null(step);
    assert_true(H5Dread(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, step) >= 0);
    while (count < room && step[count] >= 0)
        count++;
    free(step);
    H5Sclose(space);
    H5Dclose(set);
    H5Fclose(file);
    return count;
}

/* What is done to a file of some snapshots, and how many it has before and then. */
typedef struct deed {
    const char *name;
    mr_status (*act)(void);
    int64_t before, after;
} deed;

static mr_status append_next(void)
{
    return spectra_append(path, &spectra_layout, EVERY * (SNAPSHOTS + 1));
}

static mr_status append_beyond_the_room(void)
{
    return spectra_append(path, &spectra_layout, EVERY * (ROOM + 1));
}

static mr_status rewind_some(void)
{
    return mr_spectra_file_resume(path, &spectra_layout, EVERY * (SNAPSHOTS - 3));
}

static mr_status trim(void)
{
    return mr_spectra_file_trim(path);
}

static const deed deeds[] = {
    {"an append", append_next, SNAPSHOTS, SNAPSHOTS + 1},
    {"an append that grows the file", append_beyond_the_room, ROOM, ROOM + 1},
    {"a rewind", rewind_some, SNAPSHOTS, SNAPSHOTS - 3},
    {"a trim", trim, SNAPSHOTS, SNAPSHOTS},
};

/* The file that a deed starts from, kept as bytes. */
static char *make_bytes(const deed *d, size_t *size)
{
    char *bytes;
    must(mr_spectra_file_create(path, &spectra_layout));
    append(1, d->before);
    must(mr_file_read(path, MR_MEM_OTHER, &bytes, size));
    return bytes;
}

/* The snapshots that count are whole, and between those of before and after. */
static int64_t assert_between(const deed *d)
{
    int64_t least = d->before < d->after ? d->before : d->after;
    int64_t most = d->before < d->after ? d->after : d->before;
    int64_t count = spectra_check(path, &spectra_layout, EVERY);
    assert_in_range(count, least, most);
    assert_int_equal(steps_for_others(), count);
    return count;
}

/* A run goes on behind an earlier step, and brings every step it owes once. */
static void assert_gone_on_with(const deed *d)
{
    const int64_t resumed = d->before - 4, last = d->before + 3;
    must(mr_spectra_file_resume(path, &spectra_layout, EVERY * resumed + 2));
    assert_int_equal(spectra_check(path, &spectra_layout, EVERY), resumed);
    append(resumed + 1, last);
    assert_int_equal(spectra_check(path, &spectra_layout, EVERY), last);
    assert_int_equal(steps_for_others(), last);
    assert_int_not_equal(access(previous, F_OK), 0);
}

/* Does a deed in a process of its own, to which something happens at a call. Tells whether it was
 * killed. */
static bool die_at(const deed *d, fate f, int call)
{
    int code;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        what = f;
        countdown = call;
        mr_status status = d->act();
        _exit(status == MR_OK ? 0 : 1);
    }
    while (waitpid(child, &code, 0) < 0)
        assert_int_equal(errno, EINTR);
    if (WIFSIGNALED(code)) assert_int_equal(WTERMSIG(code), SIGKILL);
    if (WIFEXITED(code)) assert_int_equal(WEXITSTATUS(code), 0);
    return WIFSIGNALED(code);
}

/* Kills a deed at each of its calls in turn. */
static void kill_everywhere(void **state)
{
    const deed *d = *state;
    size_t size;
    int calls = 0, counts = 0;
    int64_t seen = d->before;
    char *bytes = make_bytes(d, &size);
    for (fate f = DIES_BEFORE; f <= DIES_WITHIN; f++) {
        for (int call = 0;; call++) {
            test_put_bytes(path, bytes, size);
            bool killed = die_at(d, f, call);
            int64_t count = assert_between(d);
            if (!killed) assert_int_equal(count, d->after);
            counts += count != seen;
            seen = count;
            /* Files of many snapshots are gone on with now and then. */
            if (d->before < ROOM || call % 8 == 0) assert_gone_on_with(d);
            remove_files(NULL);
            if (!killed) break;
            calls++;
        }
    }
    mr_free(bytes);
    print_message("killed at %d calls\n", calls);
    assert_true(calls >= (d->act == rewind_some ? 6 : 16));
    assert_true(d->before == d->after || counts > 0);
}

/* Lets every call fail in turn, as on a disk that is full: what the file held it still does. */
static void fail_everywhere(void **state)
{
    const deed *d = *state;
    size_t size;
    int calls = 0;
    char *bytes = make_bytes(d, &size);
    for (;; calls++) {
        test_put_bytes(path, bytes, size);
        what = FAILS;
        countdown = calls;
        mr_status status = d->act();
        bool failed = countdown < 0;
        what = LIVES;
        int64_t count = assert_between(d);
        assert_int_not_equal(access(beside, F_OK), 0);
        if (failed) {
            assert_int_equal(status, MR_ERR_IO);
            assert_contains(mr_message(), "run.spectra.h5");
            assert_contains(mr_message(), "No space left on device");
            if (d->before < ROOM || calls % 8 == 0) assert_gone_on_with(d);
        } else {
            must(status);
            assert_int_equal(count, d->after);
        }
        remove_files(NULL);
        if (!failed) break;
    }
    mr_free(bytes);
    assert_true(calls >= (d->act == rewind_some ? 3 : 8));
}

static const double kill_within = 0.1; /* seconds */

static void write_until_killed(int64_t first, int told)
{
    for (int64_t i = first;; i++) {
        if (spectra_append(path, &spectra_layout, EVERY * i) != MR_OK) _exit(1);
        if (i == first && write(told, "x", 1) != 1) _exit(1);
    }
}

/* At any time, HDF5's own work and the growing of the file included. */
static void a_writer_killed_at_any_time_leaves_whole_snapshots(void **state)
{
    (void)state;
    enum { KILLS = 24 };
    mr_random random = mr_random_stream(5, MR_RANDOM_DATA, 0);
    int64_t held = 0, appended = 0;
    must(mr_spectra_file_create(path, &spectra_layout));
    for (uint64_t i = 0; i < KILLS; i++) {
        /* From the last checkpoint, which may be some snapshots back. */
        int64_t back = (int64_t)(mr_random_uniform(&random, 2 * i) * 4);
        held = held > back ? held - back : 0;
        must(mr_spectra_file_resume(path, &spectra_layout, EVERY * held));
        assert_int_equal(spectra_check(path, &spectra_layout, EVERY), held);
        must(mr_spectra_file_trim(path));
        int first[2];
        char word;
        assert_int_equal(pipe(first), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) write_until_killed(held + 1, first[1]);
        /* Every other time it gets as far as a snapshot, however slow the disk is. */
        if (i % 2 == 0) assert_int_equal(read(first[0], &word, 1), 1);
        close(first[0]);
        close(first[1]);
        test_nap(kill_within * mr_random_uniform(&random, 2 * i + 1));
        assert_int_equal(kill(child, SIGKILL), 0);
        int code;
        while (waitpid(child, &code, 0) < 0)
            assert_int_equal(errno, EINTR);
        assert_true(WIFSIGNALED(code));
        int64_t count = spectra_check(path, &spectra_layout, EVERY);
        assert_true(count >= held);
        assert_int_equal(steps_for_others(), count);
        appended += count - held;
        held = count;
    }
    assert_int_not_equal(access(previous, F_OK), 0);
    print_message("%d kills, %lld snapshots\n", KILLS, (long long)appended);
    assert_true(appended >= KILLS / 2);
}

/* No file may become larger than this. */
static void limit_files(rlim_t bytes, struct rlimit *old)
{
    assert_int_equal(getrlimit(RLIMIT_FSIZE, old), 0);
    struct rlimit small = {.rlim_cur = bytes, .rlim_max = old->rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
}

/* HDF5 itself cannot write: neither a new file, nor a larger one. */
static void a_file_that_cannot_be_made_leaves_the_one_there_is(void **state)
{
    (void)state;
    struct rlimit old;
    must(mr_spectra_file_create(path, &spectra_layout));
    append(1, ROOM);
    for (rlim_t limit = 0; limit <= 65536; limit = limit > 0 ? 4 * limit : 1024) {
        limit_files(limit, &old);
        mr_status created = mr_spectra_file_create(path, &spectra_layout);
        assert_contains(mr_message(), "run.spectra.h5");
        assert_contains(mr_message(), "File too large");
        mr_status grown = append_beyond_the_room();
        assert_contains(mr_message(), "run.spectra.h5");
        assert_contains(mr_message(), "File too large");
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(created, MR_ERR_IO);
        assert_int_equal(grown, MR_ERR_IO);
        assert_int_not_equal(access(beside, F_OK), 0);
        assert_int_not_equal(access(previous, F_OK), 0);
        assert_int_equal(spectra_check(path, &spectra_layout, EVERY), ROOM);
    }
    signal(SIGXFSZ, SIG_DFL);
    must(append_beyond_the_room());
    assert_int_equal(spectra_check(path, &spectra_layout, EVERY), ROOM + 1);
}

/* Where another file is created in place of one, any failure leaves that. */
static void a_creation_that_fails_leaves_what_stood_there(void **state)
{
    (void)state;
    int calls = 0;
    must(mr_spectra_file_create(path, &spectra_layout));
    append(1, SNAPSHOTS);
    for (;; calls++) {
        what = FAILS;
        countdown = calls;
        mr_status status = mr_spectra_file_create(path, &spectra_layout);
        bool failed = countdown < 0;
        what = LIVES;
        if (!failed) break;
        assert_int_equal(status, MR_ERR_IO);
        const char *kept = access(previous, F_OK) == 0 ? previous : path;
        assert_int_equal(spectra_check(kept, &spectra_layout, EVERY), SNAPSHOTS);
        assert_int_not_equal(access(beside, F_OK), 0);
        if (kept == previous) assert_int_equal(rename(previous, path), 0);
    }
    assert_true(calls >= 3);
    assert_int_equal(spectra_check(path, &spectra_layout, EVERY), 0);
    assert_int_equal(spectra_check(previous, &spectra_layout, EVERY), SNAPSHOTS);
}

/* As many writes for the first snapshots as for the last of a long run. */
static void an_append_writes_the_same_whatever_the_file_holds(void **state)
{
    (void)state;
    enum { LONG = 400 };
    mr_spectra_layout layout = spectra_layout;
    int first = 0;
    layout.snapshots = LONG;
    must(mr_spectra_file_create(path, &layout));
    for (int64_t i = 1; i <= LONG; i++) {
        writes = 0;
        must(spectra_append(path, &layout, EVERY * i));
        if (i == 1) first = writes;
        assert_int_equal(writes, first);
    }
    /* Seven datasets of one projection, five of the other, and the step. */
    assert_int_equal(first, 13);
}

#define TEST(function) cmocka_unit_test_teardown(function, remove_files)

int main(void)
{
    const struct CMUnitTest others[] = {
        TEST(a_writer_killed_at_any_time_leaves_whole_snapshots),
        TEST(a_file_that_cannot_be_made_leaves_the_one_there_is),
        TEST(a_creation_that_fails_leaves_what_stood_there),
        TEST(an_append_writes_the_same_whatever_the_file_holds),
    };
    enum { DEEDS = sizeof deeds / sizeof *deeds, OTHERS = sizeof others / sizeof *others };
    struct CMUnitTest tests[2 * DEEDS + OTHERS];
    char names[2 * DEEDS][64];
    for (int i = 0; i < 2 * DEEDS; i++) {
        const deed *d = &deeds[i / 2];
        snprintf(names[i], sizeof names[i], "%s %s at every call", d->name,
                 i % 2 == 0 ? "killed" : "fails");
        tests[i] = (struct CMUnitTest){.name = names[i],
                                       .test_func = i % 2 == 0 ? kill_everywhere : fail_everywhere,
                                       .teardown_func = remove_files,
                                       .initial_state = (void *)(uintptr_t)d};
    }
    memcpy(tests + 2 * DEEDS, others, sizeof others);
    return cmocka_run_group_tests(tests, folder_enter, folder_leave_empty);
}
