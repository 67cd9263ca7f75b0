#include "logs.h"

#include "base/memory.h"
#include "program.h"
#include "store/runlog_read.h"
#include "store/safetensors.h"

#include <math.h>

static mr_runlog_reader *open_log(const char *path)
{
    mr_runlog_reader *reader;
    must(mr_runlog_open(path, &reader));
    return reader;
}

/* A series of a log; the caller frees it. */
double *log_series(const char *path, const char *dataset, int64_t *count)
{
    double *values;
    mr_runlog_reader *reader = open_log(path);
    mr_status status = mr_runlog_series(reader, dataset, &values, count);
    mr_runlog_close_reader(&reader);
    must(status);
    return values;
}

int64_t log_rows(const char *path, const char *dataset)
{
    int64_t count = 0;
    mr_runlog_reader *reader = open_log(path);
    bool has = mr_runlog_has(reader, dataset);
    mr_runlog_close_reader(&reader);
    if (has) mr_free(log_series(path, dataset, &count));
    return count;
}

int64_t log_int(const char *path, const char *name)
{
    int64_t value;
    mr_runlog_reader *reader = open_log(path);
    mr_status status = mr_runlog_get_int(reader, name, &value);
    mr_runlog_close_reader(&reader);
    must(status);
    return value;
}

void log_assert_text(const char *path, const char *name, const char *expected)
{
    char *text;
    mr_runlog_reader *reader = open_log(path);
    mr_status status = mr_runlog_get_text(reader, name, &text);
    mr_runlog_close_reader(&reader);
    must(status);
    assert_string_equal(text, expected);
    mr_free(text);
}

/* Compares the first `first` rows (0: all) of a series of two logs. */
void log_assert_same_bits(const char *path, const char *other, const char *dataset, int64_t first)
{
    int64_t count, other_count;
    double *a = log_series(path, dataset, &count);
    double *b = log_series(other, dataset, &other_count);
    if (first == 0 && count != other_count)
        fail_msg("%s has %lld rows of %s, %s %lld", path, (long long)count, dataset, other,
                 (long long)other_count);
    if (first == 0) first = count;
    assert_true(first > 0 && first <= count && first <= other_count);
    for (int64_t i = 0; i < first; i++)
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0)
            fail_msg("%s and %s differ in row %lld of %s: %.17g, %.17g", path, other, (long long)i,
                     dataset, a[i], b[i]);
    mr_free(a);
    mr_free(b);
}

void log_assert_close(const char *path, const char *other, const char *dataset, double bound)
{
    int64_t count, other_count;
    double *a = log_series(path, dataset, &count);
    double *b = log_series(other, dataset, &other_count);
    assert_true(count > 0 && count == other_count);
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(a[i] - b[i]) <= bound * fabs(b[i])))
            fail_msg("%s and %s: row %lld of %s: %.17g, %.17g", path, other, (long long)i, dataset,
                     a[i], b[i]);
    mr_free(a);
    mr_free(b);
}

bool file_exists(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file) fclose(file);
    return file != NULL;
}

void file_assert_same(const char *path, const char *other)
{
    size_t size, other_size;
    char *a = program_read(path, &size), *b = program_read(other, &other_size);
    if (size != other_size || memcmp(a, b, size) != 0) fail_msg("%s and %s differ", path, other);
    mr_free(a);
    mr_free(b);
}

/* Where the tensors' bytes begin. */
static const char *tensors_of(const char *file, size_t size)
{
    uint64_t header;
    assert_true(size > sizeof header);
    memcpy(&header, file, sizeof header);
    assert_true(header <= size - sizeof header);
    return file + sizeof header + header;
}

void file_assert_same_tensors(const char *path, const char *other)
{
    size_t sizes[2];
    mr_safetensors *files[2];
    char *bytes[2] = {program_read(path, &sizes[0]), program_read(other, &sizes[1])};
    must(mr_safetensors_open(path, &files[0]));
    must(mr_safetensors_open(other, &files[1]));
    int64_t count = mr_safetensors_count(files[0]);
    assert_true(count > 0);
    assert_int_equal(count, mr_safetensors_count(files[1]));
    for (int64_t i = 0; i < count; i++) {
        const mr_safetensors_entry *a = mr_safetensors_at(files[0], i);
        const mr_safetensors_entry *b = mr_safetensors_find(files[1], a->name);
        if (!b) fail_msg("%s: no tensor %s", other, a->name);
        assert_int_equal(a->end - a->begin, b->end - b->begin);
        if (memcmp(tensors_of(bytes[0], sizes[0]) + a->begin,
                   tensors_of(bytes[1], sizes[1]) + b->begin, (size_t)(a->end - a->begin)) != 0)
            fail_msg("%s and %s differ in %s", path, other, a->name);
    }
    for (int i = 0; i < 2; i++) {
        mr_safetensors_close(&files[i]);
        mr_free(bytes[i]);
    }
}
