/** @file
 * Logs that other tools have written anew, packed or in other types, and files made up to cost
 * much: what holds the same is read and gone on with, what does not is refused at once. */

#include "base/clock.h"
#include "base/file.h"
#include "folder.h"
#include "store/runlog.h"
#include "store/runlog_read.h"
#include "test.h"

#include <hdf5.h>

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STEPS = 40, EVENTS = 3 };

static const char sound[] = "sound.h5", linked[] = "linked.h5", path[] = "run.h5";

/* How a tool writes a log anew. What is 0 is as this program does it. */
typedef struct style {
    const char *name;
    bool newest;    /* format of the container: the newest one, not the oldest */
    int user_block; /* bytes before it */
    bool contiguous, compact;
    hsize_t chunk; /* rows */
    bool packed;   /* by shuffle and deflate */
    bool offset;   /* by scale and offset, whole numbers only */
    hid_t whole, number;
    bool variable; /* texts of any length, in attributes too */
    bool spaces;   /* texts filled by spaces, to the last byte */
    bool floats;   /* whole numbers as numbers */
    bool lists;    /* attributes are lists of one */
} style;

/* A log that is written anew. */
typedef struct writing {
    const style *s;
    hid_t to;
} writing;

static hid_t check(hid_t result)
{
    if (result < 0) {
        H5Eprint2(H5E_DEFAULT, stderr);
        fail_msg("a call of HDF5 fails");
    }
    return result;
}

/* The type that a style keeps values of a type in. */
static hid_t type_of(const style *s, hid_t stored)
{
    H5T_class_t class = H5Tget_class(stored);
    if (class == H5T_INTEGER)
        return H5Tcopy(s->floats ? H5T_IEEE_F64LE : s->whole ? s->whole : stored);
    if (class == H5T_FLOAT) return H5Tcopy(s->number ? s->number : stored);
    hid_t type = H5Tcopy(stored);
    if (s->variable) check(H5Tset_size(type, H5T_VARIABLE));
    if (s->spaces) check(H5Tset_strpad(type, H5T_STR_SPACEPAD));
    return type;
}

/* Values in memory as `type` has them: variable texts are cut out of the fixed ones. */
static void *values_of(hid_t stored, hid_t type, void *fixed, size_t count, char ***texts)
{
    *texts = NULL;
    if (H5Tget_class(stored) != H5T_STRING || H5Tis_variable_str(type) <= 0) return fixed;
    size_t bytes = H5Tget_size(stored);
    *texts = calloc(count, sizeof **texts);
    for (size_t i = 0; i < count; i++)
        (*texts)[i] = strndup((char *)fixed + i * bytes, bytes);
    return *texts;
}

static void free_texts(char **texts, size_t count)
{
    for (size_t i = 0; texts && i < count; i++)
        free(texts[i]);
    free(texts);
}

static herr_t copy_attribute(hid_t from, const char *name, const H5A_info_t *about, void *data)
{
    (void)about;
    const writing *target = data;
    const hsize_t one = 1;
    hid_t attribute = check(H5Aopen(from, name, H5P_DEFAULT));
    hid_t stored = check(H5Aget_type(attribute)), type = type_of(target->s, stored);
    hid_t space = check(target->s->lists ? H5Screate_simple(1, &one, NULL) : H5Screate(H5S_SCALAR));
    char *value = calloc(1, H5Tget_size(stored) + 16), **texts;
    check(H5Aread(attribute, stored, value));
    void *values = values_of(stored, type, value, 1, &texts);
    hid_t copy = check(H5Acreate2(target->to, name, type, space, H5P_DEFAULT, H5P_DEFAULT));
    check(H5Awrite(copy, texts ? type : stored, values));
    H5Aclose(copy);
    free_texts(texts, 1);
    free(value);
    H5Sclose(space);
    H5Tclose(type);
    H5Tclose(stored);
    H5Aclose(attribute);
    return 0;
}

static hid_t layout_of(const style *s, int dims, const hsize_t *extents, bool whole)
{
    hid_t layout = check(H5Pcreate(H5P_DATASET_CREATE));
    if (s->contiguous) {
        check(H5Pset_layout(layout, H5D_CONTIGUOUS));
    } else if (s->compact) {
        check(H5Pset_layout(layout, H5D_COMPACT));
    } else {
        hsize_t chunk[2] = {s->chunk > 0 ? s->chunk : 16, dims > 1 ? extents[1] : 0};
        check(H5Pset_chunk(layout, dims, chunk));
        if (s->offset && whole) check(H5Pset_scaleoffset(layout, H5Z_SO_INT, 0));
        if (s->packed) check(H5Pset_shuffle(layout));
        if (s->packed) check(H5Pset_deflate(layout, 6));
    }
    return layout;
}

static herr_t copy_dataset(hid_t from, const char *name, const H5O_info_t *about, void *data)
{
    const writing *target = data;
    if (about->type != H5O_TYPE_DATASET) return 0;
    const style *s = target->s;
    hid_t dataset = check(H5Dopen2(from, name, H5P_DEFAULT)), stored = check(H5Dget_type(dataset));
    hid_t space = check(H5Dget_space(dataset)), type = type_of(s, stored);
    hsize_t extents[2], most[2] = {H5S_UNLIMITED, 0};
    int dims = H5Sget_simple_extent_dims(space, extents, NULL);
    size_t count = (size_t)H5Sget_simple_extent_npoints(space);
    char *fixed = calloc(count + 1, H5Tget_size(stored)), **texts;
    check(H5Dread(dataset, stored, H5S_ALL, H5S_ALL, H5P_DEFAULT, fixed));
    void *values = values_of(stored, type, fixed, count, &texts);
    most[1] = extents[1];
    hid_t plain = check(H5Screate_simple(dims, extents, s->contiguous || s->compact ? NULL : most));
    hid_t layout = layout_of(s, dims, extents, H5Tget_class(type) == H5T_INTEGER);
    hid_t links = check(H5Pcreate(H5P_LINK_CREATE));
    check(H5Pset_create_intermediate_group(links, 1));
    hid_t copy = check(H5Dcreate2(target->to, name, type, plain, links, layout, H5P_DEFAULT));
    check(H5Dwrite(copy, texts ? type : stored, H5S_ALL, H5S_ALL, H5P_DEFAULT, values));
    free_texts(texts, count);
    free(fixed);
    H5Dclose(copy);
    H5Pclose(links);
    H5Pclose(layout);
    H5Sclose(plain);
    H5Tclose(type);
    H5Sclose(space);
    H5Tclose(stored);
    H5Dclose(dataset);
    return 0;
}

static herr_t copy_attributes(hid_t from, const char *name, const H5O_info_t *about, void *data)
{
    const writing *target = data;
    (void)about;
    writing inner = {target->s, check(H5Oopen(target->to, name, H5P_DEFAULT))};
    hid_t object = check(H5Oopen(from, name, H5P_DEFAULT));
    check(H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, NULL, copy_attribute, &inner));
    H5Oclose(object);
    H5Oclose(inner.to);
    return 0;
}

/* Writes the sound log anew at path. */
static void write_anew(const style *s)
{
    hid_t access = check(H5Pcreate(H5P_FILE_ACCESS)), create = check(H5Pcreate(H5P_FILE_CREATE));
    check(H5Pset_libver_bounds(access, s->newest ? H5F_LIBVER_LATEST : H5F_LIBVER_EARLIEST,
                               H5F_LIBVER_LATEST));
    check(H5Pset_userblock(create, (hsize_t)s->user_block));
    writing target = {s, check(H5Fcreate(path, H5F_ACC_TRUNC, create, access))};
    hid_t from = check(H5Fopen(sound, H5F_ACC_RDONLY, H5P_DEFAULT));
    check(H5Ovisit2(from, H5_INDEX_NAME, H5_ITER_INC, copy_dataset, &target, H5O_INFO_BASIC));
    check(H5Ovisit2(from, H5_INDEX_NAME, H5_ITER_INC, copy_attributes, &target, H5O_INFO_BASIC));
    H5Fclose(from);
    H5Fclose(target.to);
    H5Pclose(create);
    H5Pclose(access);
}

static void train(mr_runlog *log, int64_t first, int64_t last)
{
    for (int64_t step = first; step <= last; step++) {
        double x = (double)step;
        /* Exact in single precision, so that a log kept in it holds the same. */
        must(mr_runlog_train(log, &(mr_runlog_step){step, 10 + x, 0.5, x / 4, 512, 0.25}));
    }
}

static void evaluate(mr_runlog *log, int64_t step)
{
    const char *const names[] = {"accuracy", "exact"};
    const double scores[] = {(double)step / 64, 0.5};
    const float items[] = {0, (float)step, 1};
    must(mr_runlog_eval(log, "uuid", step, names, scores, 2, items, 3));
}

static int enter(void **state)
{
    mr_runlog *log;
    if (folder_enter(state) != 0) return -1;
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    /* Before the first call of the layer, from which on there are no such links. */
    hid_t file = check(H5Fcreate(linked, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
    hid_t far = check(H5Gcreate2(file, "/far", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    check(H5Lcreate_external("pipe.h5", "/x", far, "step", H5P_DEFAULT, H5P_DEFAULT));
    H5Gclose(far);
    H5Fclose(file);
    must(mr_runlog_create(sound, &log));
    must(mr_runlog_set_text(log, "run", "foreign"));
    must(mr_runlog_set_text(log, "config", "run:\n  name: \"a\"\n"));
    must(mr_runlog_set_int(log, "seed", 3));
    must(mr_runlog_set_double(log, "seconds", 12));
    train(log, 1, STEPS);
    for (int64_t step = 10; step <= STEPS; step += 10)
        evaluate(log, step);
    const mr_runlog_score scores[] = {{"accuracy", "share", false}, {"exact", "share", true}};
    must(mr_runlog_describe(
        log, "uuid",
        &(mr_runlog_set){
            .kind = "generate", .part = "train", .item = "right", .scores = 2, .score = scores}));
    for (int64_t i = 0; i < EVENTS; i++)
        must(mr_runlog_event(log, i, "merge", "caf\xc3\xa9 and more"));
    must(mr_runlog_close(&log));
    return 0;
}

static void expect_series(const mr_runlog_reader *reader, const char *name, int64_t rows,
                          double first, double last)
{
    double *values;
    int64_t count;
    must(mr_runlog_series(reader, name, &values, &count));
    if (count != rows || values[0] != first || values[count - 1] != last)
        fail_msg("%s: %lld rows, %g to %g", name, (long long)count, values[0], values[count - 1]);
    mr_free(values);
}

static void expect_text(const mr_runlog_reader *reader, const char *name, const char *expected)
{
    char *text;
    must(mr_runlog_get_text(reader, name, &text));
    assert_string_equal(text, expected);
    mr_free(text);
}

/* What stands at path holds steps 1..last, an evaluation each ten, and so many events. */
static void expect_log(int64_t last, int64_t events)
{
    mr_runlog_reader *reader;
    mr_names kinds, texts;
    int64_t seed, rows, columns;
    double seconds, *items;
    must(mr_runlog_open(path, &reader));
    expect_text(reader, "run", "foreign");
    expect_text(reader, "config", "run:\n  name: \"a\"\n");
    must(mr_runlog_get_int(reader, "seed", &seed));
    must(mr_runlog_get_double(reader, "seconds", &seconds));
    assert_int_equal(seed, 3);
    assert_true(seconds == 12);
    double end = (double)last, tens = floor(end / 10) * 10;
    expect_series(reader, "/train/step", last, 1, end);
    expect_series(reader, "/train/loss", last, 11, 10 + end);
    expect_series(reader, "/train/lr", last, 0.5, 0.5);
    expect_series(reader, "/train/tokens", last, 512, 512);
    expect_series(reader, "/eval/uuid/step", last / 10, 10, tens);
    expect_series(reader, "/eval/uuid/accuracy", last / 10, 10.0 / 64, tens / 64);
    must(mr_runlog_matrix(reader, "/eval/uuid/items", &items, &rows, &columns));
    assert_true(rows == last / 10 && columns == 3 && items[3 * rows - 2] == tens);
    mr_free(items);
    mr_runlog_about about;
    must(mr_runlog_tells(reader, "uuid", "exact", &about));
    assert_true(about.told && about.lower_is_better);
    assert_string_equal(about.kind, "generate");
    assert_string_equal(about.primary, "accuracy");
    assert_string_equal(about.unit, "share");
    must(mr_runlog_texts(reader, "/events/kind", &kinds));
    must(mr_runlog_texts(reader, "/events/text", &texts));
    assert_true(kinds.count == events && texts.count == events);
    assert_string_equal(kinds.item[EVENTS - 1], "merge");
    assert_string_equal(texts.item[EVENTS - 1], "caf\xc3\xa9 and more");
    mr_names_free(&kinds);
    mr_names_free(&texts);
    mr_runlog_close_reader(&reader);
}

static void a_log_of_another_style_is_read_and_gone_on_with(void **state)
{
    const style *s = *state;
    mr_runlog *log;
    write_anew(s);
    expect_log(STEPS, EVENTS);
    must(mr_runlog_reopen(path, &log));
    must(mr_runlog_rewind(log, 25, true));
    train(log, 26, 60);
    for (int64_t step = 30; step <= 60; step += 10)
        evaluate(log, step);
    must(mr_runlog_event(log, 60, "resume", "on"));
    must(mr_runlog_close(&log));
    expect_log(60, EVENTS + 1);
    /* What is gone on with is a log like any other. */
    must(mr_runlog_reopen(path, &log));
    must(mr_runlog_close(&log));
    assert_int_equal(unlink(path), 0);
}

/* Files made up; each is refused, or read without what is made up, in no time. */
static void assert_quick(const char *message)
{
    mr_runlog *log = NULL;
    double before = mr_clock();
    mr_status status = mr_runlog_reopen(path, &log);
    double took = mr_clock() - before;
    mr_runlog_abandon(&log);
    if (took > 5) fail_msg("took %g s", took);
    if (!message) must(status);
    if (message) {
        assert_int_equal(status, MR_ERR_FORMAT);
        assert_contains(mr_message(), message);
    }
    assert_int_equal(unlink(path), 0);
}

static const style plain = {.name = "plain"};

static hid_t open_to_change(void)
{
    write_anew(&plain);
    return check(H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT));
}

static void put_doubles(hid_t file, const char *name, hsize_t extent, hsize_t chunk, int packings,
                        hsize_t written)
{
    const hsize_t most = H5S_UNLIMITED, begin = 0;
    hid_t space = check(H5Screate_simple(1, &extent, &most));
    hid_t layout = check(H5Pcreate(H5P_DATASET_CREATE));
    check(H5Pset_chunk(layout, 1, &chunk));
    for (int i = 0; i < packings; i++)
        check(H5Pset_deflate(layout, 9));
    hid_t set =
        check(H5Dcreate2(file, name, H5T_IEEE_F64LE, space, H5P_DEFAULT, layout, H5P_DEFAULT));
    if (written > 0) {
        double *zeros = calloc(written, sizeof *zeros);
        hid_t block = check(H5Screate_simple(1, &written, NULL));
        check(H5Sselect_hyperslab(space, H5S_SELECT_SET, &begin, NULL, &written, NULL));
        check(H5Dwrite(set, H5T_NATIVE_DOUBLE, block, space, H5P_DEFAULT, zeros));
        H5Sclose(block);
        free(zeros);
    }
    H5Dclose(set);
    H5Pclose(layout);
    H5Sclose(space);
}

static void extents_without_bytes_are_refused(void **state)
{
    (void)state;
    hid_t file = open_to_change();
    put_doubles(file, "/train/huge", (hsize_t)1 << 50, 1000, 0, 0);
    H5Fclose(file);
    assert_quick("/train/huge: 1125899906842624 rows of 1 do not fit the 0 bytes stored");
}

static void values_packed_beyond_belief_are_refused(void **state)
{
    (void)state;
    hid_t file = open_to_change();
    put_doubles(file, "/train/zeros", 20000000, 1 << 17, 1, 20000000);
    H5Fclose(file);
    struct stat about;
    assert_int_equal(stat(path, &about), 0);
    assert_true(about.st_size < 1000000);
    assert_quick("/train/zeros: 20000000 rows of 1 do not fit the ");
}

static void chunks_packed_beyond_belief_are_refused(void **state)
{
    (void)state;
    hid_t file = open_to_change();
    put_doubles(file, "/train/chunk", 10, (hsize_t)1 << 25, 1, 10);
    H5Fclose(file);
    assert_quick("/train/chunk: its chunks do not fit the ");
}

static void values_packed_twice_are_refused(void **state)
{
    (void)state;
    hid_t file = open_to_change();
    put_doubles(file, "/train/twice", STEPS, STEPS, 2, STEPS);
    H5Fclose(file);
    assert_quick("/train/twice: packed by 2 filters, one upon the other");
}

static void one_object_of_many_names_is_refused(void **state)
{
    (void)state;
    hid_t file = open_to_change();
    check(H5Lcreate_hard(file, "/train/loss", file, "/train/other", H5P_DEFAULT, H5P_DEFAULT));
    H5Fclose(file);
    assert_quick("/train/loss: has 2 names");
    file = open_to_change();
    check(H5Lcreate_hard(file, "/train", file, "/train/again", H5P_DEFAULT, H5P_DEFAULT));
    H5Fclose(file);
    assert_quick("/train: has 2 names");
}

/* A pipe without a writer would be waited for. */
static void links_are_not_followed_out_of_the_file(void **state)
{
    (void)state;
    hid_t file = open_to_change(), far = check(H5Fopen(linked, H5F_ACC_RDONLY, H5P_DEFAULT));
    assert_int_equal(mkfifo("pipe.h5", 0600), 0);
    check(H5Ocopy(far, "/far", file, "/eval/far", H5P_DEFAULT, H5P_DEFAULT));
    H5Fclose(far);
    check(H5Lcreate_soft("/train/loss", file, "/train/near", H5P_DEFAULT, H5P_DEFAULT));
    H5Fclose(file);
    mr_runlog_reader *reader;
    mr_names names;
    double *values;
    int64_t count;
    must(mr_runlog_open(path, &reader));
    must(mr_runlog_list(reader, "/train", &names));
    assert_int_equal(names.count, 6);
    mr_names_free(&names);
    must(mr_runlog_list(reader, "/eval/far", &names));
    assert_int_equal(names.count, 0);
    assert_int_equal(mr_runlog_series(reader, "/eval/far/step", &values, &count), MR_ERR_FORMAT);
    mr_runlog_close_reader(&reader);
    assert_quick(NULL);
    assert_int_equal(unlink("pipe.h5"), 0);
}

static void deep_groups_are_refused(void **state)
{
    (void)state;
    hid_t file = open_to_change(), group = check(H5Gopen2(file, "/train", H5P_DEFAULT));
    for (int i = 0; i < 500; i++) {
        hid_t inner = check(H5Gcreate2(group, "g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
        H5Gclose(group);
        group = inner;
    }
    H5Gclose(group);
    H5Fclose(file);
    assert_quick("too many groups within groups");
}

static void many_members_and_attributes_are_listed_quickly(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    hid_t file = open_to_change();
    for (int i = 0; i < MANY; i++) {
        char name[64];
        snprintf(name, sizeof name, "/eval/g%d", i);
        H5Gclose(check(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)));
    }
    H5Fclose(file);
    mr_runlog_reader *reader;
    mr_names names;
    must(mr_runlog_open(path, &reader));
    double before = mr_clock();
    must(mr_runlog_list(reader, "/eval", &names));
    double took = mr_clock() - before;
    assert_int_equal(names.count, MANY + 1);
    mr_names_free(&names);
    mr_runlog_close_reader(&reader);
    if (took > 2) fail_msg("took %g s", took);
    assert_quick(NULL);
}

/* Texts that are one in the file are many in memory. */
static void texts_longer_than_the_file_are_refused(void **state)
{
    (void)state;
    enum { ROWS = 2000, BYTES = 60000 };
    hid_t file = open_to_change(), type = check(H5Tcopy(H5T_C_S1));
    check(H5Tset_size(type, H5T_VARIABLE));
    check(H5Ldelete(file, "/events/text", H5P_DEFAULT));
    const hsize_t rows = ROWS;
    hid_t space = check(H5Screate_simple(1, &rows, NULL));
    hid_t set =
        check(H5Dcreate2(file, "/events/text", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    char *text = malloc(BYTES + 1);
    memset(text, 'y', BYTES);
    text[BYTES] = '\0';
    char *texts[ROWS];
    for (int i = 0; i < ROWS; i++)
        texts[i] = i == 0 ? text : "";
    check(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, texts));
    haddr_t place = H5Dget_offset(set);
    H5Dclose(set);
    H5Sclose(space);
    H5Tclose(type);
    H5Fclose(file);
    free(text);
    /* Every row refers to the first one's text, in the file itself. */
    char *bytes;
    size_t size;
    must(mr_file_read(path, MR_MEM_OTHER, &bytes, &size));
    assert_true(place != HADDR_UNDEF && place + 16 * ROWS <= size);
    for (size_t i = 1; i < ROWS; i++)
        memcpy(bytes + place + 16 * i, bytes + place, 16);
    must(mr_file_write(path, bytes, size));
    mr_free(bytes);
    assert_quick("/events/text: texts longer than the file");
}

static void attributes_of_others_are_kept(void **state)
{
    (void)state;
    const hsize_t three = 3;
    const double values[] = {1, 2, 3};
    double found[3] = {0};
    hid_t file = open_to_change(), space = check(H5Screate_simple(1, &three, NULL));
    hid_t list = check(H5Acreate2(file, "list", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT));
    check(H5Awrite(list, H5T_NATIVE_DOUBLE, values));
    H5Aclose(list);
    H5Sclose(space);
    H5Fclose(file);
    mr_runlog *log;
    must(mr_runlog_reopen(path, &log));
    must(mr_runlog_set_text(log, "run", "changed"));
    must(mr_runlog_close(&log));
    file = check(H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT));
    list = check(H5Aopen(file, "list", H5P_DEFAULT));
    check(H5Aread(list, H5T_NATIVE_DOUBLE, found));
    H5Aclose(list);
    H5Fclose(file);
    assert_memory_equal(values, found, sizeof values);
    assert_int_equal(unlink(path), 0);
}

static void a_number_that_is_not_whole_is_none(void **state)
{
    (void)state;
    hid_t file = open_to_change(), space = check(H5Screate(H5S_SCALAR));
    const double half = 0.5;
    int64_t found;
    check(H5Adelete(file, "seed"));
    hid_t seed = check(H5Acreate2(file, "seed", H5T_IEEE_F64LE, space, H5P_DEFAULT, H5P_DEFAULT));
    check(H5Awrite(seed, H5T_NATIVE_DOUBLE, &half));
    H5Aclose(seed);
    H5Sclose(space);
    H5Fclose(file);
    mr_runlog_reader *reader;
    must(mr_runlog_open(path, &reader));
    assert_int_equal(mr_runlog_get_int(reader, "seed", &found), MR_ERR_FORMAT);
    assert_string_equal(mr_message(), "run.h5: attribute 'seed' is not a whole number");
    mr_runlog_close_reader(&reader);
    assert_int_equal(unlink(path), 0);
}

static int leave(void **state)
{
    unlink(sound);
    unlink(linked);
    unlink(path);
    return folder_leave_empty(state);
}

int main(void)
{
    const style styles[] = {
        {.name = "the oldest container"},
        {.name = "the newest container", .newest = true},
        {.name = "a block of the user", .user_block = 2048},
        {.name = "contiguous", .contiguous = true},
        {.name = "compact", .compact = true},
        {.name = "a row a chunk", .chunk = 1},
        {.name = "all in one chunk", .chunk = 1000},
        {.name = "shuffled and deflated", .packed = true},
        {.name = "scaled and offset", .offset = true},
        {.name = "half the width", .whole = H5T_STD_I32LE, .number = H5T_IEEE_F32LE},
        {.name = "of other machines", .whole = H5T_STD_I64BE, .number = H5T_IEEE_F64BE},
        {.name = "without signs", .whole = H5T_STD_U16LE},
        {.name = "whole numbers as numbers", .floats = true},
        {.name = "texts of any length", .variable = true},
        {.name = "texts filled by spaces", .spaces = true},
        {.name = "attributes as lists", .lists = true},
        {.name = "all at once",
         .newest = true,
         .user_block = 512,
         .packed = true,
         .chunk = 7,
         .whole = H5T_STD_I32BE,
         .number = H5T_IEEE_F32BE,
         .variable = true,
         .lists = true},
    };
    const struct CMUnitTest others[] = {
        cmocka_unit_test(extents_without_bytes_are_refused),
        cmocka_unit_test(values_packed_beyond_belief_are_refused),
        cmocka_unit_test(chunks_packed_beyond_belief_are_refused),
        cmocka_unit_test(values_packed_twice_are_refused),
        cmocka_unit_test(one_object_of_many_names_is_refused),
        cmocka_unit_test(links_are_not_followed_out_of_the_file),
        cmocka_unit_test(deep_groups_are_refused),
        cmocka_unit_test(many_members_and_attributes_are_listed_quickly),
        cmocka_unit_test(texts_longer_than_the_file_are_refused),
        cmocka_unit_test(attributes_of_others_are_kept),
        cmocka_unit_test(a_number_that_is_not_whole_is_none),
    };
    enum { STYLES = sizeof styles / sizeof styles[0], OTHERS = sizeof others / sizeof others[0] };
    struct CMUnitTest tests[STYLES + OTHERS];
    for (int i = 0; i < STYLES; i++)
        tests[i] = (struct CMUnitTest){.name = styles[i].name,
                                       .test_func = a_log_of_another_style_is_read_and_gone_on_with,
                                       .initial_state = (void *)(uintptr_t)&styles[i]};
    memcpy(tests + STYLES, others, sizeof others);
    return cmocka_run_group_tests(tests, enter, leave);
}
