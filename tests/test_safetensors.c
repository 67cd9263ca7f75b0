#include "base/file.h"
#include "base/random.h"
#include "folder.h"
#include "store/safetensors.h"
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const char path[] = "x.safetensors";

/* System calls of what is under test, by the linker's --wrap: the sync that failing_sync counts
 * down to fails, and as many reservations as interruptions says are broken off. */
static int failing_sync, interruptions;
int __real_posix_fallocate(int handle, off_t at, off_t bytes);
int __wrap_posix_fallocate(int handle, off_t at, off_t bytes);
int __real_fsync(int handle);
int __wrap_fsync(int handle);

int __wrap_posix_fallocate(int handle, off_t at, off_t bytes)
{
    if (interruptions > 0) {
        interruptions--;
        return EINTR;
    }
    return __real_posix_fallocate(handle, at, bytes);
}

int __wrap_fsync(int handle)
{
    if (failing_sync > 0 && --failing_sync == 0) {
        errno = EIO;
        return -1;
    }
    return __real_fsync(handle);
}

static int leave(void **state)
{
    unlink(path);
    return folder_leave_empty(state);
}

/* Fills bytes with a file of a JSON header and data; returns its size. */
static size_t form_file(char *bytes, size_t room, const char *header, const void *data, size_t size)
{
    uint64_t length = strlen(header);
    assert_true(8 + length + size < room);
    memcpy(bytes, &length, 8);
    snprintf(bytes + 8, room - 8, "%s", header);
    if (size > 0) memcpy(bytes + 8 + length, data, size);
    return 8 + length + size;
}

static void put_file(const char *header, const void *data, size_t size)
{
    static char bytes[1 << 17];
    must(mr_file_write(path, bytes, form_file(bytes, sizeof bytes, header, data, size)));
}

static mr_safetensors *open_file(void)
{
    mr_safetensors *file;
    must(mr_safetensors_open(path, &file));
    return file;
}

/* A header that must be refused, and a part of the message. */
typedef struct bad_header {
    const char *header;
    size_t data_bytes;
    const char *message;
} bad_header;

static void refuses(void **state)
{
    const bad_header *bad = *state;
    static const char zeros[256];
    put_file(bad->header, zeros, bad->data_bytes);
    mr_safetensors *file = (mr_safetensors *)(void *)path;
    assert_int_equal(mr_safetensors_open(path, &file), MR_ERR_FORMAT);
    assert_null(file);
    assert_contains(mr_message(), path);
    assert_contains(mr_message(), bad->message);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    mr_safetensors *file;
    assert_int_equal(mr_safetensors_open("no/such.safetensors", &file), MR_ERR_IO);
    assert_contains(mr_message(), "cannot open 'no/such.safetensors': No such file or directory");
}

static void a_folder_is_not_a_file(void **state)
{
    (void)state;
    mr_safetensors *file;
    assert_int_equal(mr_safetensors_open(".", &file), MR_ERR_IO);
    assert_contains(mr_message(), "not a regular file");
}

static void a_pipe_is_not_waited_for(void **state)
{
    (void)state;
    mr_safetensors *file;
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(mr_safetensors_open(path, &file), MR_ERR_IO);
    assert_contains(mr_message(), "cannot read 'x.safetensors': not a regular file");
    unlink(path);
}

static void a_file_of_seven_bytes_is_refused(void **state)
{
    (void)state;
    must(mr_file_write(path, "1234567", 7));
    mr_safetensors *file;
    assert_int_equal(mr_safetensors_open(path, &file), MR_ERR_FORMAT);
    assert_contains(mr_message(), "7 bytes are too few for a safetensors file");
}

static void a_header_longer_than_the_file_is_refused(void **state)
{
    (void)state;
    const uint64_t length = 1000;
    must(mr_file_write(path, &length, 8));
    mr_safetensors *file;
    assert_int_equal(mr_safetensors_open(path, &file), MR_ERR_FORMAT);
    assert_contains(mr_message(), "header of 1000 bytes in a file of 8 bytes: truncated?");
}

static void a_header_beyond_the_limit_is_refused(void **state)
{
    (void)state;
    must(mr_file_write(path, "GGUF GGUF GGUF", 14));
    mr_safetensors *file;
    assert_int_equal(mr_safetensors_open(path, &file), MR_ERR_FORMAT);
    assert_contains(mr_message(), "at most 100000000 are accepted: not a safetensors file?");
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\n";
    must(mr_file_write(path, pointer, sizeof pointer - 1));
    assert_int_equal(mr_safetensors_open(path, &file), MR_ERR_FORMAT);
    assert_contains(mr_message(), "expected a safetensors file, found a pointer of Git LFS");
}

static void reads_what_it_wrote(void **state)
{
    (void)state;
    const mr_safetensors_spec specs[] = {{.name = "z.weight", .dims = 2, .shape = {3, 4}},
                                         {.name = "scalar", .dims = 0, .shape = {0}},
                                         {.name = "empty", .dims = 2, .shape = {0, 7}},
                                         {.name = "a \"quoted\" näme", .dims = 1, .shape = {5}}};
    const mr_safetensors_pair pairs[] = {{"format", "pt"}, {"note", "{\"lr\": 1}"}};
    float data[12];
    for (int i = 0; i < 12; i++)
        data[i] = (float)i + 0.5f;
    mr_safetensors_writer *writer;
    must(mr_safetensors_create(path, specs, 4, pairs, 2, &writer));
    must(mr_safetensors_write(writer, 3, 0, data, 5));
    must(mr_safetensors_write(writer, 0, 8, data + 8, 4));
    must(mr_safetensors_write(writer, 0, 0, data, 3));
    must(mr_safetensors_write(writer, 1, 0, data + 7, 1));
    must(mr_safetensors_write(writer, 0, 3, data + 3, 5));
    must(mr_safetensors_finish(&writer));
    assert_null(writer);

    mr_safetensors *file = open_file();
    assert_int_equal(mr_safetensors_count(file), 4);
    assert_string_equal(mr_safetensors_at(file, 0)->name, "z.weight");
    int64_t n_pairs;
    const mr_safetensors_pair *got_pairs = mr_safetensors_pairs(file, &n_pairs);
    assert_int_equal(n_pairs, 2);
    assert_string_equal(got_pairs[0].key, "format");
    assert_string_equal(got_pairs[1].key, "note");
    assert_string_equal(got_pairs[1].value, "{\"lr\": 1}");
    const mr_safetensors_entry *entry = mr_safetensors_find(file, "z.weight");
    assert_non_null(entry);
    must(mr_safetensors_expect(file, entry, 2, (const int64_t[]){3, 4}));
    float got[12];
    must(mr_safetensors_read_f32(file, entry, 0, 12, got));
    assert_memory_equal(got, data, sizeof data);
    must(mr_safetensors_read_f32(file, entry, 5, 3, got));
    assert_memory_equal(got, data + 5, 3 * sizeof *data);
    must(mr_safetensors_read_f32(file, mr_safetensors_find(file, "scalar"), 0, 1, got));
    assert_float_equal(got[0], 7.5f, 0.0f);
    assert_int_equal(mr_safetensors_find(file, "empty")->count, 0);
    must(mr_safetensors_read_f32(file, mr_safetensors_find(file, "a \"quoted\" näme"), 4, 1, got));
    assert_float_equal(got[0], 4.5f, 0.0f);
    mr_safetensors_close(&file);
    assert_null(file);
}

static void the_data_start_on_a_multiple_of_eight(void **state)
{
    (void)state;
    const float one = 1.0f;
    mr_safetensors_writer *writer;
    must(mr_safetensors_create(path, &(mr_safetensors_spec){.name = "x", .dims = 1, .shape = {1}},
                               1, NULL, 0, &writer));
    must(mr_safetensors_write(writer, 0, 0, &one, 1));
    must(mr_safetensors_finish(&writer));
    char *bytes;
    size_t size;
    must(mr_file_read(path, MR_MEM_OTHER, &bytes, &size));
    uint64_t length;
    memcpy(&length, bytes, 8);
    mr_free(bytes);
    assert_int_equal(length % 8, 0);
    assert_int_equal(size, 8 + length + 4);
}

static void a_file_without_tensors_is_sound(void **state)
{
    (void)state;
    put_file("{}", NULL, 0);
    mr_safetensors *file = open_file();
    assert_int_equal(mr_safetensors_count(file), 0);
    assert_null(mr_safetensors_find(file, "x"));
    mr_safetensors_close(&file);
}

static void tensors_are_listed_in_the_order_of_their_data(void **state)
{
    (void)state;
    const float data[2] = {1.0f, 2.0f};
    put_file("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]},"
             "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}   ",
             data, sizeof data);
    mr_safetensors *file = open_file();
    assert_string_equal(mr_safetensors_at(file, 0)->name, "b");
    float got;
    must(mr_safetensors_read_f32(file, mr_safetensors_find(file, "a"), 0, 1, &got));
    assert_float_equal(got, 2.0f, 0.0f);
    mr_safetensors_close(&file);
}

static void f16_is_read_exactly(void **state)
{
    (void)state;
    const uint16_t data[] = {0x3c00, 0x0001, 0x7c00, 0xfc00, 0x7e00,
                             0x8000, 0x7bff, 0xc500, 0x83ff};
    const float expected[] = {1.0f,  0x1p-24f, INFINITY, -INFINITY,  NAN,
                              -0.0f, 65504.0f, -5.0f,    -0x3ffp-24f};
    put_file("{\"x\":{\"dtype\":\"F16\",\"shape\":[9],\"data_offsets\":[0,18]}}", data,
             sizeof data);
    mr_safetensors *file = open_file();
    float got[9];
    must(mr_safetensors_read_f32(file, mr_safetensors_at(file, 0), 0, 9, got));
    mr_safetensors_close(&file);
    for (int i = 0; i < 9; i++) {
        if (isnan(expected[i]))
            assert_true(isnan(got[i]));
        else
            assert_memory_equal(&got[i], &expected[i], sizeof got[i]);
    }
}

static void bf16_is_read_exactly(void **state)
{
    (void)state;
    const uint16_t data[] = {0x3f80, 0xc040, 0x0001, 0x7f80};
    const float expected[] = {1.0f, -3.0f, 0x1p-133f, INFINITY};
    put_file("{\"x\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[0,8]}}", data,
             sizeof data);
    mr_safetensors *file = open_file();
    float got[4];
    must(mr_safetensors_read_f32(file, mr_safetensors_at(file, 0), 0, 4, got));
    mr_safetensors_close(&file);
    assert_memory_equal(got, expected, sizeof got);
}

static void f64_is_rounded_to_nearest(void **state)
{
    (void)state;
    const double data[] = {0.1, -1e-3, INFINITY};
    put_file("{\"x\":{\"dtype\":\"F64\",\"shape\":[3],\"data_offsets\":[0,24]}}", data,
             sizeof data);
    mr_safetensors *file = open_file();
    float got[3];
    must(mr_safetensors_read_f32(file, mr_safetensors_at(file, 0), 0, 3, got));
    mr_safetensors_close(&file);
    assert_true(got[0] == 0.1f && got[1] == -1e-3f && isinf(got[2]));
}

static void f64_beyond_the_range_of_f32_is_refused(void **state)
{
    (void)state;
    const double data[] = {1.0, 1e300};
    put_file("{\"x\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]}}", data,
             sizeof data);
    mr_safetensors *file = open_file();
    float got[2];
    assert_int_equal(mr_safetensors_read_f32(file, mr_safetensors_at(file, 0), 0, 2, got),
                     MR_ERR_FORMAT);
    mr_safetensors_close(&file);
    assert_contains(mr_message(), "tensor 'x': element 1 is 1e+300, beyond the range of F32");
}

static void a_long_tensor_is_converted_in_pieces(void **state)
{
    (void)state;
    enum { COUNT = 10001 };
    static uint16_t data[COUNT];
    static float got[COUNT];
    for (int i = 0; i < COUNT; i++)
        data[i] = (uint16_t)(0x3f80 + i % 64);
    put_file("{\"x\":{\"dtype\":\"BF16\",\"shape\":[10001],\"data_offsets\":[0,20002]}}", data,
             sizeof data);
    mr_safetensors *file = open_file();
    must(mr_safetensors_read_f32(file, mr_safetensors_at(file, 0), 1, COUNT - 1, got));
    mr_safetensors_close(&file);
    for (int i = 0; i < COUNT - 1; i++)
        assert_true(got[i] == 1.0f + (float)((i + 1) % 64) / 128.0f);
}

static const char one_tensor[] =
    "{\"x\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}";

static void whole_numbers_are_not_read_as_floats(void **state)
{
    (void)state;
    const int32_t data = 1;
    put_file("{\"n\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[0,4]}}", &data, 4);
    mr_safetensors *file = open_file();
    float got;
    assert_int_equal(mr_safetensors_read_f32(file, mr_safetensors_at(file, 0), 0, 1, &got),
                     MR_ERR_FORMAT);
    mr_safetensors_close(&file);
    assert_contains(mr_message(), "tensor 'n': dtype I32, expected F32, F16, BF16 or F64");
}

static void a_range_outside_the_tensor_is_refused(void **state)
{
    (void)state;
    const float data[4] = {0};
    put_file(one_tensor, data, sizeof data);
    mr_safetensors *file = open_file();
    float got[4];
    assert_int_equal(mr_safetensors_read_f32(file, mr_safetensors_at(file, 0), 2, INT64_MAX, got),
                     MR_ERR_ARG);
    mr_safetensors_close(&file);
    assert_contains(mr_message(), "tensor 'x': elements 2+9223372036854775807 asked for, it has 4");
}

static void another_shape_is_named_beside_the_expected_one(void **state)
{
    (void)state;
    const float data[4] = {0};
    put_file(one_tensor, data, sizeof data);
    mr_safetensors *file = open_file();
    assert_int_equal(
        mr_safetensors_expect(file, mr_safetensors_at(file, 0), 1, (const int64_t[]){4}),
        MR_ERR_FORMAT);
    mr_safetensors_close(&file);
    assert_contains(mr_message(), "tensor 'x': shape [2, 2], expected [4]");
}

static void a_file_cut_while_open_is_reported(void **state)
{
    (void)state;
    const float data[4] = {0};
    put_file(one_tensor, data, sizeof data);
    mr_safetensors *file = open_file();
    assert_int_equal(truncate(path, 80), 0);
    float got[4];
    assert_int_equal(mr_safetensors_read_f32(file, mr_safetensors_at(file, 0), 0, 4, got),
                     MR_ERR_IO);
    mr_safetensors_close(&file);
    assert_contains(mr_message(), "it became shorter while being read");
}

/* A file with everything in it that a header can hold. */
static size_t form_rich_file(char *bytes, size_t room)
{
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\",\"note\":\"{\\\"r\\\": 8}\"},"
        "\"model.a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"model.b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]},"
        "\"model.c\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[32,40]}}  ";
    static const char data[40];
    return form_file(bytes, room, header, data, sizeof data);
}

/* Opens path; what opens must also be readable to its last element. */
static bool open_and_read_all(void)
{
    mr_safetensors *file;
    if (mr_safetensors_open(path, &file) != MR_OK) return false;
    for (int64_t i = 0; i < mr_safetensors_count(file); i++) {
        const mr_safetensors_entry *entry = mr_safetensors_at(file, i);
        float values[64];
        assert_true(entry->count <= 64);
        if (mr_safetensors_read_f32(file, entry, 0, entry->count, values) != MR_OK)
            assert_contains(mr_message(), "dtype");
    }
    mr_safetensors_close(&file);
    return true;
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    char bytes[1024];
    size_t size = form_rich_file(bytes, sizeof bytes);
    for (size_t length = 0; length < size; length++) {
        test_put_bytes(path, bytes, length);
        assert_false(open_and_read_all());
    }
    test_put_bytes(path, bytes, size);
    assert_true(open_and_read_all());
}

static void mutated_headers_are_refused_or_sound(void **state)
{
    (void)state;
    char bytes[1024];
    size_t size = form_rich_file(bytes, sizeof bytes);
    mr_random random = mr_random_stream(1, MR_RANDOM_DATA, 0);
    for (uint64_t i = 0; i < 2000; i++) {
        size_t at = (size_t)mr_random_below(&random, 2 * i, size - 40);
        char kept = bytes[at];
        bytes[at] = (char)mr_random_u32(&random, 2 * i + 1);
        test_put_bytes(path, bytes, size);
        open_and_read_all();
        bytes[at] = kept;
    }
    assert_int_equal(mr_memory_live_total(), 0);
}

static mr_safetensors_writer *start_writer(void)
{
    static const mr_safetensors_spec specs[] = {{.name = "first", .dims = 1, .shape = {4}},
                                                {.name = "second", .dims = 2, .shape = {2, 3}}};
    mr_safetensors_writer *writer;
    must(mr_safetensors_create(path, specs, 2, NULL, 0, &writer));
    return writer;
}

static void finishing_names_a_tensor_that_was_not_written(void **state)
{
    (void)state;
    const float data[6] = {0};
    unlink(path);
    mr_safetensors_writer *writer = start_writer();
    must(mr_safetensors_write(writer, 0, 0, data, 4));
    must(mr_safetensors_write(writer, 1, 0, data, 2));
    must(mr_safetensors_write(writer, 1, 3, data, 3));
    assert_int_equal(mr_safetensors_finish(&writer), MR_ERR_ARG);
    assert_null(writer);
    assert_contains(mr_message(), "tensor 'second': element 2 of 6 was never written");
    assert_int_equal(access(path, F_OK), -1);
}

static void an_element_cannot_be_written_twice(void **state)
{
    (void)state;
    const float data[6] = {0};
    mr_safetensors_writer *writer = start_writer();
    must(mr_safetensors_write(writer, 1, 1, data, 2));
    assert_int_equal(mr_safetensors_write(writer, 1, 2, data, 1), MR_ERR_ARG);
    mr_safetensors_abandon(&writer);
    assert_contains(mr_message(), "tensor 'second': an element is written twice");
}

static void writing_outside_a_tensor_is_refused(void **state)
{
    (void)state;
    const float data[6] = {0};
    mr_safetensors_writer *writer = start_writer();
    assert_int_equal(mr_safetensors_write(writer, 0, 3, data, 2), MR_ERR_ARG);
    mr_safetensors_abandon(&writer);
    assert_contains(mr_message(), "tensor 'first': elements 3+2 given, it has 4");
}

static void writing_an_unknown_tensor_is_refused(void **state)
{
    (void)state;
    const float data = 0;
    mr_safetensors_writer *writer = start_writer();
    assert_int_equal(mr_safetensors_write(writer, 2, 0, &data, 1), MR_ERR_ARG);
    mr_safetensors_abandon(&writer);
    assert_contains(mr_message(), "tensor 2 of 2 asked for");
}

static void pieces_in_any_order_make_the_file_whole(void **state)
{
    (void)state;
    enum { COUNT = 500 };
    mr_safetensors_writer *writer;
    must(mr_safetensors_create(path,
                               &(mr_safetensors_spec){.name = "x", .dims = 1, .shape = {COUNT}}, 1,
                               NULL, 0, &writer));
    int64_t order[COUNT];
    mr_random random = mr_random_stream(2, MR_RANDOM_DATA, 0);
    test_permutation(&random, order, COUNT);
    for (int i = 0; i < COUNT; i++) {
        float value = (float)order[i];
        must(mr_safetensors_write(writer, 0, order[i], &value, 1));
    }
    must(mr_safetensors_finish(&writer));
    mr_safetensors *file = open_file();
    float got[COUNT];
    must(mr_safetensors_read_f32(file, mr_safetensors_at(file, 0), 0, COUNT, got));
    mr_safetensors_close(&file);
    for (int i = 0; i < COUNT; i++)
        assert_true(got[i] == (float)i);
}

/* Finishes a whole file while one of its syncs fails. */
static mr_status finish_with_failing_sync(int number)
{
    const float data[6] = {0};
    mr_safetensors_writer *writer = start_writer();
    must(mr_safetensors_write(writer, 0, 0, data, 4));
    must(mr_safetensors_write(writer, 1, 0, data, 6));
    failing_sync = number;
    mr_status status = mr_safetensors_finish(&writer);
    assert_int_equal(failing_sync, 0);
    assert_null(writer);
    return status;
}

static void a_file_that_cannot_be_synced_does_not_get_its_name(void **state)
{
    (void)state;
    unlink(path);
    assert_int_equal(finish_with_failing_sync(1), MR_ERR_IO);
    assert_contains(mr_message(), "cannot write 'x.safetensors': Input/output error");
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(access("x.safetensors.tmp", F_OK), -1);
}

static void a_folder_that_cannot_be_synced_is_told(void **state)
{
    (void)state;
    assert_int_equal(finish_with_failing_sync(2), MR_ERR_IO);
    assert_contains(mr_message(), "cannot sync the folder of 'x.safetensors': Input/output error");
}

static void a_signal_does_not_break_off_the_reserving(void **state)
{
    (void)state;
    interruptions = 3;
    mr_safetensors_writer *writer = start_writer();
    assert_int_equal(interruptions, 0);
    mr_safetensors_abandon(&writer);
}

static void pieces_in_order_need_no_memory(void **state)
{
    (void)state;
    float data[6] = {1, 2, 3, 4, 5, 6};
    mr_safetensors_writer *writer = start_writer();
    size_t held = mr_memory_live_total();
    for (int i = 0; i < 4; i++)
        assert_int_equal(mr_safetensors_put(writer, 0, i, &data[i], 1, NULL), 0);
    assert_int_equal(mr_safetensors_put(writer, 0, 3, data, 1, NULL), EEXIST);
    assert_int_equal(mr_safetensors_put(writer, 1, 5, data, 2, NULL), EINVAL);
    assert_int_equal(mr_safetensors_put(writer, 2, 0, data, 1, NULL), EINVAL);
    assert_int_equal(mr_safetensors_put(writer, 1, 0, data, 6, NULL), 0);
    assert_int_equal(mr_safetensors_sync(writer), 0);
    assert_int_equal(mr_memory_live_total(), held);
    size_t bytes, size;
    char *text, *header = malloc(1 << 12);
    const char *given = mr_safetensors_header(writer, &bytes);
    assert_in_range(bytes, 8, 1 << 12);
    memcpy(header, given, bytes);
    must(mr_safetensors_finish(&writer));
    must(mr_file_read(path, MR_MEM_OTHER, &text, &size));
    assert_int_equal(size, bytes + sizeof(float) * 10);
    assert_memory_equal(text, header, bytes);
    assert_memory_equal(text + bytes, data, 4 * sizeof(float));
    mr_free(text);
    free(header);
}

static void a_name_given_twice_is_refused(void **state)
{
    (void)state;
    const mr_safetensors_spec specs[] = {{.name = "x", .dims = 1, .shape = {1}},
                                         {.name = "x", .dims = 1, .shape = {2}}};
    mr_safetensors_writer *writer;
    assert_int_equal(mr_safetensors_create(path, specs, 2, NULL, 0, &writer), MR_ERR_ARG);
    assert_null(writer);
    assert_contains(mr_message(), "tensor 'x' is named twice");
}

static void an_empty_name_cannot_be_written(void **state)
{
    (void)state;
    mr_safetensors_writer *writer;
    assert_int_equal(
        mr_safetensors_create(path, &(mr_safetensors_spec){.name = "", .dims = 1, .shape = {1}}, 1,
                              NULL, 0, &writer),
        MR_ERR_ARG);
    assert_contains(mr_message(), "'' cannot be a tensor's name");
}

static void a_shape_that_overflows_cannot_be_written(void **state)
{
    (void)state;
    const mr_safetensors_spec spec = {.name = "x", .dims = 2, .shape = {INT64_MAX / 8, 3}};
    mr_safetensors_writer *writer;
    assert_int_equal(mr_safetensors_create(path, &spec, 1, NULL, 0, &writer), MR_ERR_ARG);
    assert_contains(mr_message(), "tensor 'x': dimension 1 of 3 is out of range");
}

static void a_name_that_is_not_utf8_cannot_be_written(void **state)
{
    (void)state;
    mr_safetensors_writer *writer;
    assert_int_equal(
        mr_safetensors_create(path, &(mr_safetensors_spec){.name = "\xff", .dims = 1, .shape = {1}},
                              1, NULL, 0, &writer),
        MR_ERR_ARG);
    assert_contains(mr_message(), "is not UTF-8");
}

static void a_missing_folder_is_named_when_writing(void **state)
{
    (void)state;
    mr_safetensors_writer *writer;
    assert_int_equal(mr_safetensors_create("no/x.safetensors", NULL, 0, NULL, 0, &writer),
                     MR_ERR_IO);
    assert_contains(mr_message(), "cannot create 'no/x.safetensors.tmp': No such file");
}

static void an_abandoned_file_leaves_what_stood_there(void **state)
{
    (void)state;
    must(mr_file_write(path, "before", 6));
    mr_safetensors_writer *writer = start_writer();
    mr_safetensors_abandon(&writer);
    char *text;
    must(mr_file_read(path, MR_MEM_OTHER, &text, NULL));
    bool same = strcmp(text, "before") == 0;
    mr_free(text);
    assert_true(same);
}

/* A limit on file sizes stands in for a full disk: the same calls fail in the same places. */
static void a_full_disk_leaves_what_stood_there(void **state)
{
    (void)state;
    must(mr_file_write(path, "before", 6));
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 4096;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    mr_safetensors_writer *writer;
    const mr_safetensors_spec spec = {.name = "x", .dims = 1, .shape = {1 << 20}};
    mr_status status = mr_safetensors_create(path, &spec, 1, NULL, 0, &writer);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, MR_ERR_IO);
    assert_contains(mr_message(), "cannot reserve 41943");
    assert_contains(mr_message(), "File too large");
    char *text;
    must(mr_file_read(path, MR_MEM_OTHER, &text, NULL));
    bool same = strcmp(text, "before") == 0;
    mr_free(text);
    assert_true(same);
}

static void reads_the_files_of_the_format_s_own_writer(void **state)
{
    (void)state;
    char sample[TEST_PATH];
    test_shared("golden/a/lora_init.safetensors", sample);
    mr_safetensors *file;
    must(mr_safetensors_open(sample, &file));
    const mr_safetensors_entry *entry = mr_safetensors_find(
        file, "init.base_model.model.model.layers.0.mlp.down_proj.lora_A.default.weight");
    assert_non_null(entry);
    assert_int_equal(entry->dims, 2);
    assert_int_equal(entry->shape[1], 176);
    float got[176];
    must(mr_safetensors_read_f32(file, entry, 176, 176, got));
    for (int i = 0; i < 176; i++)
        assert_true(isfinite(got[i]) && fabsf(got[i]) < 10.0f);
    mr_safetensors_close(&file);
}

static void reads_every_sample(void **state)
{
    (void)state;
    char list[TEST_PATH], sample[2 * TEST_PATH];
    test_shared("golden/a", list);
    DIR *entries = opendir(list);
    assert_non_null(entries);
    int opened = 0;
    for (struct dirent *about = readdir(entries); about; about = readdir(entries)) {
        if (!strstr(about->d_name, ".safetensors")) continue;
        snprintf(sample, sizeof sample, "%s/%s", list, about->d_name);
        mr_safetensors *file;
        must(mr_safetensors_open(sample, &file));
        mr_safetensors_close(&file);
        opened++;
    }
    closedir(entries);
    assert_true(opened > 10);
}

#define REFUSES(what, text, bytes, part)                                                           \
    {                                                                                              \
        "refuses_" what, refuses, NULL, NULL, &(bad_header)                                        \
        {                                                                                          \
            text, bytes, part                                                                      \
        }                                                                                          \
    }
#define ONE(dtype, shape, offsets)                                                                 \
    "{\"x\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

/* Ties go to even, in either type; what is beyond a type is refused, infinities are kept. */
static void narrow_types_are_rounded_once(void **state)
{
    (void)state;
    static const struct {
        float value, f16, bf16;
    } rows[] = {
        {1, 1, 1},
        {1 + 0x1p-11f, 1, 1},
        {1 + 0x3p-11f, 1 + 0x1p-9f, 1},
        {-(1 + 0x1p-8f), -(1 + 0x1p-8f), -1},
        {1 + 0x3p-8f, 1 + 0x3p-8f, 1 + 0x1p-6f},
        {0x1p-24f, 0x1p-24f, 0x1p-24f},
        {0x1p-25f, 0, 0x1p-25f},
        {0x1.8p-24f, 0x1p-23f, 0x1.8p-24f},
        {0x1.ff8p-15f, 0x1.ff8p-15f, 0x1p-14f},
        {-65504, -65504, -65536},
        {INFINITY, INFINITY, INFINITY},
    };
    enum { ROWS = sizeof rows / sizeof *rows };
    const mr_safetensors_spec specs[] = {
        {.name = "h", .dims = 1, .shape = {ROWS}, .dtype = MR_SAFETENSORS_F16},
        {.name = "b", .dims = 1, .shape = {ROWS}, .dtype = MR_SAFETENSORS_BF16}};
    mr_safetensors_writer *writer;
    mr_safetensors *file;
    float values[ROWS], found[ROWS];
    for (int i = 0; i < ROWS; i++)
        values[i] = rows[i].value;
    must(mr_safetensors_create("narrow.safetensors", specs, 2, NULL, 0, &writer));
    for (int k = 0; k < 2; k++) {
        must(mr_safetensors_write(writer, k, 2, values + 2, ROWS - 2));
        must(mr_safetensors_write(writer, k, 0, values, 2));
    }
    must(mr_safetensors_finish(&writer));
    must(mr_safetensors_open("narrow.safetensors", &file));
    for (int k = 0; k < 2; k++) {
        const mr_safetensors_entry *entry = mr_safetensors_find(file, specs[k].name);
        assert_int_equal(entry->dtype, specs[k].dtype);
        must(mr_safetensors_read_f32(file, entry, 0, ROWS, found));
        for (int i = 0; i < ROWS; i++)
            if (found[i] != (k == 0 ? rows[i].f16 : rows[i].bf16))
                fail_msg("%a became %a", (double)values[i], (double)found[i]);
    }
    mr_safetensors_close(&file);
    must(mr_safetensors_create("narrow.safetensors", specs, 1, NULL, 0, &writer));
    assert_int_equal(mr_safetensors_write(writer, 0, 0, (const float[]){65520}, 1), MR_ERR_NUMERIC);
    assert_contains(mr_message(), "tensor 'h': an element is beyond F16");
    mr_safetensors_abandon(&writer);
    const mr_safetensors_spec wide = {.name = "d", .dims = 0, .dtype = MR_SAFETENSORS_F64};
    assert_int_equal(mr_safetensors_create("wide.safetensors", &wide, 1, NULL, 0, &writer),
                     MR_ERR_ARG);
    assert_contains(mr_message(), "F64 is not written, only F32, F16 and BF16");
    assert_int_equal(remove("narrow.safetensors"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(a_folder_is_not_a_file),
        cmocka_unit_test(a_pipe_is_not_waited_for),
        cmocka_unit_test(a_file_of_seven_bytes_is_refused),
        cmocka_unit_test(a_header_longer_than_the_file_is_refused),
        cmocka_unit_test(a_header_beyond_the_limit_is_refused),
        REFUSES("an_empty_header", "", 0, "not sound JSON: it does not begin with '{'"),
        REFUSES("a_list", "[]", 0, "it does not begin with '{'"),
        REFUSES("broken_json", "{\"x\":}", 0, "the header is not sound JSON"),
        REFUSES("text_behind_the_header", "{} x", 0, "the header is not sound JSON"),
        REFUSES("a_name_standing_twice",
                "{\"x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
                "\"x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}",
                0, "duplicate object key"),
        REFUSES("an_empty_name", "{\"\":{}}", 0, "a tensor has an empty name"),
        REFUSES("a_control_character", "{\"a\\u0007\":{}}", 0, "the control character 0x07"),
        REFUSES("a_tensor_that_is_no_object", "{\"x\":3}", 0, "tensor 'x': expected an object"),
        REFUSES("an_unknown_key",
                "{\"x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0],\"y\":1}}", 0,
                "tensor 'x': unknown key 'y', expected dtype, shape, data_offsets"),
        REFUSES("a_missing_dtype", "{\"x\":{\"shape\":[0],\"data_offsets\":[0,0]}}", 0,
                "tensor 'x': dtype is missing or not a string"),
        REFUSES("an_unknown_dtype", ONE("F31", "[1]", "[0,4]"), 4,
                "tensor 'x': unknown dtype 'F31'"),
        REFUSES("a_shape_that_is_no_list", ONE("F32", "4", "[0,4]"), 4,
                "tensor 'x': shape is not a list"),
        REFUSES("nine_dimensions", ONE("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4,
                "tensor 'x': 9 dimensions, at most 8 are accepted"),
        REFUSES("a_negative_dimension", ONE("F32", "[1,-1]", "[0,4]"), 4,
                "tensor 'x': dimension 1 of shape is not a whole number >= 0"),
        REFUSES("a_broken_dimension", ONE("F32", "[1.0]", "[0,4]"), 4,
                "tensor 'x': dimension 0 of shape is not a whole number >= 0"),
        REFUSES("an_overflowing_shape", ONE("F32", "[4294967296,4294967296]", "[0,4]"), 4,
                "tensor 'x': the product of its shape is too large"),
        REFUSES("an_overflowing_size", ONE("F64", "[2305843009213693952]", "[0,8]"), 8,
                "tensor 'x': the product of its shape is too large"),
        REFUSES("missing_offsets", "{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4,
                "tensor 'x': data_offsets is not a list of two whole numbers"),
        REFUSES("three_offsets", ONE("F32", "[1]", "[0,4,8]"), 4,
                "tensor 'x': data_offsets is not a list of two whole numbers"),
        REFUSES("descending_offsets", ONE("F32", "[1]", "[4,0]"), 4,
                "tensor 'x': offsets 4..0 do not ascend from 0"),
        REFUSES("negative_offsets", ONE("F32", "[1]", "[-4,0]"), 4,
                "tensor 'x': offsets -4..0 do not ascend from 0"),
        REFUSES("offsets_beyond_the_file", ONE("F32", "[2]", "[0,8]"), 4,
                "tensor 'x': offsets 0..8 reach beyond the 4 bytes of data in the file"),
        REFUSES("offsets_of_another_size", ONE("F32", "[2,3]", "[0,20]"), 20,
                "tensor 'x': offsets 0..20 do not hold [2, 3] of F32 (24 bytes)"),
        REFUSES("an_overlap",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
                12, "tensor 'b': its bytes 4..12 overlap those of 'a', which end at 8"),
        REFUSES("a_hole",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
                12, "tensor 'b': begins at byte 8 of the data, expected 4 (no holes)"),
        REFUSES("bytes_behind_the_last_tensor", ONE("F32", "[1]", "[0,4]"), 9,
                "the tensors end at byte 4 of the data, the file at 9"),
        REFUSES("metadata_that_is_no_object", "{\"__metadata__\":[]}", 0,
                "__metadata__ is not an object"),
        REFUSES("metadata_that_is_no_text", "{\"__metadata__\":{\"k\":1}}", 0,
                "__metadata__: the value of 'k' is not a string"),
        cmocka_unit_test(reads_what_it_wrote),
        cmocka_unit_test(the_data_start_on_a_multiple_of_eight),
        cmocka_unit_test(a_file_without_tensors_is_sound),
        cmocka_unit_test(tensors_are_listed_in_the_order_of_their_data),
        cmocka_unit_test(f16_is_read_exactly),
        cmocka_unit_test(bf16_is_read_exactly),
        cmocka_unit_test(f64_is_rounded_to_nearest),
        cmocka_unit_test(f64_beyond_the_range_of_f32_is_refused),
        cmocka_unit_test(a_long_tensor_is_converted_in_pieces),
        cmocka_unit_test(whole_numbers_are_not_read_as_floats),
        cmocka_unit_test(a_range_outside_the_tensor_is_refused),
        cmocka_unit_test(another_shape_is_named_beside_the_expected_one),
        cmocka_unit_test(a_file_cut_while_open_is_reported),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(mutated_headers_are_refused_or_sound),
        cmocka_unit_test(narrow_types_are_rounded_once),
        cmocka_unit_test(finishing_names_a_tensor_that_was_not_written),
        cmocka_unit_test(an_element_cannot_be_written_twice),
        cmocka_unit_test(writing_outside_a_tensor_is_refused),
        cmocka_unit_test(writing_an_unknown_tensor_is_refused),
        cmocka_unit_test(pieces_in_any_order_make_the_file_whole),
        cmocka_unit_test(a_file_that_cannot_be_synced_does_not_get_its_name),
        cmocka_unit_test(a_folder_that_cannot_be_synced_is_told),
        cmocka_unit_test(a_signal_does_not_break_off_the_reserving),
        cmocka_unit_test(pieces_in_order_need_no_memory),
        cmocka_unit_test(a_name_given_twice_is_refused),
        cmocka_unit_test(an_empty_name_cannot_be_written),
        cmocka_unit_test(a_shape_that_overflows_cannot_be_written),
        cmocka_unit_test(a_name_that_is_not_utf8_cannot_be_written),
        cmocka_unit_test(a_missing_folder_is_named_when_writing),
        cmocka_unit_test(an_abandoned_file_leaves_what_stood_there),
        cmocka_unit_test(a_full_disk_leaves_what_stood_there),
        cmocka_unit_test(reads_the_files_of_the_format_s_own_writer),
        cmocka_unit_test(reads_every_sample),
    };
    return cmocka_run_group_tests(tests, folder_enter, leave);
}
