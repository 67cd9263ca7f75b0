/* Spectra as other programs read them, and files of others: what is refused, what gone on with. */

#include "base/file.h"
#include "folder.h"
#include "spectra_case.h"
#include "store/runlog.h"

#include <hdf5.h>

#include <stdlib.h>
#include <sys/stat.h>
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

static void opening_expects(mr_status expected, const char *message)
{
    mr_spectra_file *file;
    assert_int_equal(mr_spectra_file_open(path, &file), expected);
    assert_null(file);
    assert_contains(mr_message(), message);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    opening_expects(MR_ERR_IO, "cannot open 'run.spectra.h5': No such file or directory");
    assert_int_equal(spectra_append(path, &spectra_layout, 5), MR_ERR_IO);
    assert_contains(mr_message(), "cannot open 'run.spectra.h5': No such file or directory");
    assert_int_equal(mr_spectra_file_trim(path), MR_ERR_IO);
}

static void cut_files_are_refused_and_kept(void **state)
{
    (void)state;
    char *bytes, *kept;
    size_t size, kept_size;
    make(4);
    must(mr_file_read(path, MR_MEM_OTHER, &bytes, &size));
    for (size_t i = 0; i < 60; i++) {
        size_t cut = i < 20 ? size - 1 - i : i < 40 ? i - 20 : size * (i - 40) / 20;
        test_put_bytes(path, bytes, cut);
        opening_expects(MR_ERR_FORMAT, "run.spectra.h5: not sound spectra: cannot open it: ");
        assert_int_equal(spectra_append(path, &spectra_layout, 25), MR_ERR_FORMAT);
        must(mr_spectra_file_resume(path, &spectra_layout, 20));
        assert_int_equal(spectra_check(path, &spectra_layout, 5), 0);
        must(mr_file_read(previous, MR_MEM_OTHER, &kept, &kept_size));
        assert_int_equal(kept_size, cut);
        assert_memory_equal(kept, bytes, cut);
        mr_free(kept);
        remove_files(NULL);
    }
    mr_free(bytes);
}

static void files_of_another_kind_are_refused(void **state)
{
    (void)state;
    test_put_bytes(path, "not an HDF5 file at all, only text", 34);
    opening_expects(MR_ERR_FORMAT, "run.spectra.h5: not sound spectra: cannot open it: ");
    mr_runlog *log;
    must(mr_runlog_create(path, &log));
    must(mr_runlog_set_text(log, "run", "first"));
    must(mr_runlog_close(&log));
    assert_false(mr_spectra_file_is(path));
    opening_expects(MR_ERR_FORMAT, "run.spectra.h5: not sound spectra: format: expected "
                                   "'mora-spectra', found 'mora-run-log'");
    assert_int_equal(mr_spectra_file_trim(path), MR_ERR_FORMAT);
    must(mr_spectra_file_resume(path, &spectra_layout, 5));
    assert_int_equal(access(previous, F_OK), 0);
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 0);
}

static void a_folder_is_refused(void **state)
{
    (void)state;
    assert_int_equal(mkdir(path, 0700), 0);
    opening_expects(MR_ERR_IO, "cannot open 'run.spectra.h5': not a regular file");
    assert_int_equal(mr_spectra_file_resume(path, &spectra_layout, 5), MR_ERR_IO);
    assert_int_equal(rmdir(path), 0);
}

static hid_t open_to_change(void)
{
    make(3);
    return check(H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT));
}

static void a_missing_dataset_is_named(void **state)
{
    (void)state;
    hid_t file = open_to_change();
    check(H5Ldelete(file, "/q_proj/cosines_right", H5P_DEFAULT));
    H5Fclose(file);
    opening_expects(MR_ERR_FORMAT, "not sound spectra: no dataset /q_proj/cosines_right");
}

static void a_missing_attribute_is_named(void **state)
{
    (void)state;
    hid_t file = open_to_change();
    check(H5Adelete(file, "threshold"));
    H5Fclose(file);
    opening_expects(MR_ERR_FORMAT, "not sound spectra: no attribute 'threshold'");
}

static void extents_that_do_not_agree_are_named(void **state)
{
    (void)state;
    const hsize_t extent[] = {64, 2};
    hid_t file = open_to_change(), space = check(H5Screate_simple(2, extent, NULL));
    check(H5Ldelete(file, "/q_proj/k90", H5P_DEFAULT));
    double values[64][2] = {{0}};
    hid_t set = check(H5Dcreate2(file, "/q_proj/k90", H5T_NATIVE_INT64, space, H5P_DEFAULT,
                                 H5P_DEFAULT, H5P_DEFAULT));
    check(H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values));
    hid_t one = check(H5Screate(H5S_SCALAR)), type = check(H5Tcopy(H5T_C_S1));
    const char *const names[] = {"unit", "definition"};
    for (int i = 0; i < 2; i++) {
        hid_t text = check(H5Acreate2(set, names[i], type, one, H5P_DEFAULT, H5P_DEFAULT));
        check(H5Awrite(text, type, "1"));
        H5Aclose(text);
    }
    H5Tclose(type);
    H5Sclose(one);
    H5Dclose(set);
    H5Sclose(space);
    H5Fclose(file);
    opening_expects(MR_ERR_FORMAT, "not sound spectra: /q_proj/k90: extent 1: expected 3, found 2");
}

static void put_steps(const int64_t *steps)
{
    hid_t file = open_to_change(), set = check(H5Dopen2(file, "/step", H5P_DEFAULT));
    check(H5Dwrite(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, steps));
    H5Dclose(set);
    H5Fclose(file);
}

static void steps_that_do_not_ascend_are_named(void **state)
{
    (void)state;
    int64_t steps[64] = {5, 15, 10};
    for (int i = 3; i < 64; i++)
        steps[i] = -1;
    put_steps(steps);
    opening_expects(MR_ERR_FORMAT, "not sound spectra: /step: row 2 is of step 10, behind one of "
                                   "step 15");
}

/* As a machine may leave them that stopped while snapshots were dropped. */
static void steps_behind_free_room_do_not_count(void **state)
{
    (void)state;
    int64_t steps[64] = {5};
    for (int i = 1; i < 64; i++)
        steps[i] = i == 2 || i == 40 ? 5 * (i + 1) : -1;
    put_steps(steps);
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 1);
    must(mr_spectra_file_resume(path, &spectra_layout, 1000));
    for (int64_t i = 2; i <= 5; i++) {
        must(spectra_append(path, &spectra_layout, 5 * i));
        assert_int_equal(spectra_check(path, &spectra_layout, 5), i);
    }
}

static void a_file_another_program_packed_is_read_and_gone_on_with(void **state)
{
    (void)state;
    if (system("h5repack --version > /dev/null 2>&1") != 0)
        skip_because("h5repack is not installed");
    make(6);
    assert_int_equal(rename(path, beside), 0);
    char command[256];
    snprintf(command, sizeof command, "h5repack -l CHUNK=7x3 -f SHUF -f GZIP=6 %s %s 2>&1", beside,
             path);
    /* Chunks of two extents are for the datasets of two; the others stay in one piece. */
    assert_int_equal(system(command), 0);
    assert_int_equal(unlink(beside), 0);
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 6);
    assert_int_equal(spectra_append(path, &spectra_layout, 35), MR_ERR_FORMAT);
    assert_contains(mr_message(), "not in one piece");
    must(mr_spectra_file_resume(path, &spectra_layout, 20));
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 4);
    for (int64_t i = 5; i <= 8; i++)
        must(spectra_append(path, &spectra_layout, 5 * i));
    assert_int_equal(spectra_check(path, &spectra_layout, 5), 8);
}

/* Runs a command and returns what it printed, at most. */
static int run(const char *command, char *text, size_t room)
{
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    text[fread(text, 1, room - 1, pipe)] = '\0';
    return pclose(pipe);
}

static void h5dump_reads_the_layout_documented(void **state)
{
    (void)state;
    if (system("h5dump --version > /dev/null 2>&1") != 0) skip_because("h5dump is not installed");
    static char text[65536];
    mr_spectra_layout layout = spectra_layout;
    layout.snapshots = 3;
    must(mr_spectra_file_create(path, &layout));
    must(spectra_append(path, &layout, 5));
    must(spectra_append(path, &layout, 10));
    assert_int_equal(run("h5dump -H run.spectra.h5 2>&1", text, sizeof text), 0);
    assert_contains(text, "DATASET \"sigma\"");
    assert_contains(text, "SIMPLE { ( 3, 3, 8 ) / ( 3, 3, 8 ) }");
    assert_contains(text, "SIMPLE { ( 3, 3, 2 ) / ( 3, 3, 2 ) }");
    assert_int_equal(run("h5dump -d /step -a /projections -a /columns -a /q_proj/k90/undefined "
                         "-a /q_proj/sigma/undefined -a /down_proj/rows -d /down_proj/layer "
                         "-d /q_proj/route run.spectra.h5 2>&1",
                         text, sizeof text),
                     0);
    assert_contains(text, "(0): 5, 10, -1");
    assert_contains(text, "(0): \"q_proj,down_proj\"");
    assert_contains(text, "(0): \"count,erank_sigma,k90\"");
    assert_contains(text, "(0): -1");
    assert_contains(text, "(0): nan");
    assert_contains(text, "(0): 16");
    assert_contains(text, "(0): 0, 1, 5");
    assert_contains(text, "\"route 2 of q_proj\", \"route 2 of q_proj\", \"route 2 of q_proj\"");
}

static const char script[] =
    "import h5py, math\n"
    "def same(found, step, group, dataset, whole=False):\n"
    "    for place, value in enumerate(found.reshape(-1)):\n"
    "        key = 31 * step + 7 * group + 5 * dataset + place\n"
    "        undefined = key % (11 if whole else 13) == 0\n"
    "        expected = (-1 if whole else math.nan) if undefined else "
    "key % 1000 if whole else key + 1.0 / (step + 3)\n"
    "        assert value == expected or (value != value and undefined and not whole), "
    "(step, group, dataset, place, value, expected)\n"
    "with h5py.File('run.spectra.h5', 'r') as f:\n"
    "    assert f.attrs['format'] in ('mora-spectra', b'mora-spectra')\n"
    "    assert f.attrs['r'] == 8 and f.attrs['threshold'] == 0.1\n"
    "    steps = f['step'][:]\n"
    "    rows = (steps >= 0).sum()\n"
    "    assert rows == 4 and steps.dtype == 'int64' and steps[rows:].max() == -1\n"
    "    for group, name in enumerate(['q_proj', 'down_proj']):\n"
    "        g = f[name]\n"
    "        assert list(g['layer'][:]) == [0, 1, 5]\n"
    "        names = {'sigma', 'count', 'erank_sigma', 'k90', 'route', 'layer'}\n"
    "        cosines = {'cosines_left', 'cosines_right'}\n"
    "        assert set(g) == names | (cosines if group == 0 else set())\n"
    "        assert g['sigma'].shape == (64, 3, 8 if group == 0 else 5)\n"
    "        assert g['count'].dtype == 'int64' and g['count'].attrs['undefined'] == -1\n"
    "        assert math.isnan(g['erank_sigma'].attrs['undefined'])\n"
    "        for d in g.values():\n"
    "            assert len(d.attrs['unit']) > 0 and len(d.attrs['definition']) > 0\n"
    "        for i, step in enumerate(steps[:rows]):\n"
    "            same(g['sigma'][i], step, group, 0)\n"
    "            same(g['count'][i], step, group, 1, True)\n"
    "            same(g['erank_sigma'][i], step, group, 2)\n"
    "            same(g['k90'][i], step, group, 3, True)\n"
    "            assert g['route'][i, 2].decode() == f'route {step % 3} of {name}'\n"
    "            if group == 0:\n"
    "                same(g['cosines_left'][i], step, group, 4)\n"
    "                same(g['cosines_right'][i], step, group, 5)\n"
    "print('as documented')\n";

static void h5py_reads_the_layout_documented(void **state)
{
    (void)state;
    static const char *const pythons[] = {"python3", "/usr/bin/python3"};
    char command[256], text[4096];
    size_t p = 0;
    for (; p < 2; p++) {
        snprintf(command, sizeof command, "%s -c 'import h5py' > /dev/null 2>&1", pythons[p]);
        if (system(command) == 0) break;
    }
    if (p == 2) skip_because("no python3 has h5py");
    make(4);
    must(mr_file_write("read.py", script, sizeof script - 1));
    snprintf(command, sizeof command, "%s read.py 2>&1", pythons[p]);
    int code = run(command, text, sizeof text);
    unlink("read.py");
    if (code != 0) fail_msg("%s", text);
    assert_string_equal(text, "as documented\n");
}

#define TEST(function) cmocka_unit_test_teardown(function, remove_files)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_missing_file_is_named),
        TEST(cut_files_are_refused_and_kept),
        TEST(files_of_another_kind_are_refused),
        TEST(a_folder_is_refused),
        TEST(a_missing_dataset_is_named),
        TEST(a_missing_attribute_is_named),
        TEST(extents_that_do_not_agree_are_named),
        TEST(steps_that_do_not_ascend_are_named),
        TEST(steps_behind_free_room_do_not_count),
        TEST(a_file_another_program_packed_is_read_and_gone_on_with),
        TEST(h5dump_reads_the_layout_documented),
        TEST(h5py_reads_the_layout_documented),
    };
    return cmocka_run_group_tests(tests, folder_enter, folder_leave_empty);
}
