/* The header of a safetensors file: every tensor's type, shape and place, checked. What its types
 * are called and how bytes are read stands here, too, below what reads tensors. */

#include "store/safetensors_impl.h"

#include <jansson.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HEADER_MAX = 100 * 1000 * 1000, /* bytes, the format's own limit */
    NAME_MAX_BYTES = 512,
};

static const struct {
    const char *name;
    int64_t bytes;
} dtypes[MR_SAFETENSORS_DTYPES] = {
    [MR_SAFETENSORS_F32] = {"F32", 4},         [MR_SAFETENSORS_F16] = {"F16", 2},
    [MR_SAFETENSORS_BF16] = {"BF16", 2},       [MR_SAFETENSORS_F64] = {"F64", 8},
    [MR_SAFETENSORS_I32] = {"I32", 4},         [MR_SAFETENSORS_I64] = {"I64", 8},
    [MR_SAFETENSORS_BOOL] = {"BOOL", 1},       [MR_SAFETENSORS_U8] = {"U8", 1},
    [MR_SAFETENSORS_I8] = {"I8", 1},           [MR_SAFETENSORS_F8_E5M2] = {"F8_E5M2", 1},
    [MR_SAFETENSORS_F8_E4M3] = {"F8_E4M3", 1}, [MR_SAFETENSORS_F8_E8M0] = {"F8_E8M0", 1},
    [MR_SAFETENSORS_U16] = {"U16", 2},         [MR_SAFETENSORS_I16] = {"I16", 2},
    [MR_SAFETENSORS_U32] = {"U32", 4},         [MR_SAFETENSORS_U64] = {"U64", 8},
    [MR_SAFETENSORS_C64] = {"C64", 8},
};

int64_t mr_safetensors_dtype_bytes(mr_safetensors_dtype dtype)
{
    return dtypes[dtype].bytes;
}

const char *mr_safetensors_dtype_name(mr_safetensors_dtype dtype)
{
    return dtypes[dtype].name;
}

const char *mr_safetensors_shape(char out[MR_SAFETENSORS_SHAPE], int dims, const int64_t *shape)
{
    size_t used = (size_t)snprintf(out, MR_SAFETENSORS_SHAPE, "[");
    for (int i = 0; i < dims; i++)
        used += (size_t)snprintf(out + used, MR_SAFETENSORS_SHAPE - used, "%s%" PRId64,
                                 i > 0 ? ", " : "", shape[i]);
    snprintf(out + used, MR_SAFETENSORS_SHAPE - used, "]");
    return out;
}

bool mr_safetensors_read_exactly(int handle, void *out, size_t bytes, int64_t at)
{
    char *to = out;
    while (bytes > 0) {
        ssize_t got = pread(handle, to, bytes, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got == 0) errno = 0;
        if (got <= 0) return false;
        to += got;
        at += got;
        bytes -= (size_t)got;
    }
    return true;
}

mr_status mr_safetensors_read_failure(const char *path)
{
    return mr_fail(MR_ERR_IO, "cannot read '%s': %s", path,
                   errno ? strerror(errno) : "it became shorter while being read");
}

static const char *keep_string(mr_safetensors *file, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *kept = file->strings + file->strings_used;
    memcpy(kept, text, bytes);
    file->strings_used += bytes;
    return kept;
}

static mr_status check_name(const char *path, const char *name)
{
    size_t length = strlen(name);
    MR_CHECK(length > 0, MR_ERR_FORMAT, "%s: a tensor has an empty name", path);
    MR_CHECK(length <= NAME_MAX_BYTES, MR_ERR_FORMAT,
             "%s: a tensor's name has %zu bytes, at most %d are accepted", path, length,
             (int)NAME_MAX_BYTES);
    for (const char *c = name; *c; c++)
        MR_CHECK((unsigned char)*c >= 0x20 && *c != 0x7f, MR_ERR_FORMAT,
                 "%s: a tensor's name holds the control character 0x%02x", path,
                 (unsigned)(unsigned char)*c);
    return MR_OK;
}

static mr_status parse_shape(const char *path, const json_t *shape, mr_safetensors_entry *entry)
{
    const char *name = entry->name;
    MR_CHECK(json_is_array(shape), MR_ERR_FORMAT, "%s: tensor '%s': shape is not a list", path,
             name);
    size_t dims = json_array_size(shape);
    MR_CHECK(dims <= MR_SAFETENSORS_DIMS, MR_ERR_FORMAT,
             "%s: tensor '%s': %zu dimensions, at most %d are accepted", path, name, dims,
             (int)MR_SAFETENSORS_DIMS);
    entry->dims = (int)dims;
    entry->count = 1;
    for (size_t i = 0; i < dims; i++) {
        const json_t *item = json_array_get(shape, i);
        MR_CHECK(json_is_integer(item) && json_integer_value(item) >= 0, MR_ERR_FORMAT,
                 "%s: tensor '%s': dimension %zu of shape is not a whole number >= 0", path, name,
                 i);
        int64_t extent = json_integer_value(item);
        entry->shape[i] = extent;
        MR_CHECK(extent == 0 || entry->count <= INT64_MAX / dtypes[entry->dtype].bytes / extent,
                 MR_ERR_FORMAT, "%s: tensor '%s': the product of its shape is too large", path,
                 name);
        entry->count *= extent;
    }
    return MR_OK;
}

mr_status mr_safetensors_reaches_beyond(mr_status code, const mr_safetensors *file,
                                        const mr_safetensors_entry *entry)
{
    return mr_fail(code,
                   "%s: tensor '%s': offsets %" PRId64 "..%" PRId64 " reach beyond the %" PRId64
                   " bytes of data in the file",
                   file->path, entry->name, entry->begin, entry->end, file->data_bytes);
}

static mr_status parse_offsets(const mr_safetensors *file, const json_t *offsets,
                               mr_safetensors_entry *entry)
{
    const char *path = file->path;
    const char *name = entry->name;
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    MR_CHECK(json_array_size(offsets) == 2 && json_is_integer(begin) && json_is_integer(end),
             MR_ERR_FORMAT, "%s: tensor '%s': data_offsets is not a list of two whole numbers",
             path, name);
    entry->begin = json_integer_value(begin);
    entry->end = json_integer_value(end);
    MR_CHECK(entry->begin >= 0 && entry->begin <= entry->end, MR_ERR_FORMAT,
             "%s: tensor '%s': offsets %" PRId64 "..%" PRId64 " do not ascend from 0", path, name,
             entry->begin, entry->end);
    if (entry->end > file->data_bytes && !file->partly)
        return mr_safetensors_reaches_beyond(MR_ERR_FORMAT, file, entry);
    char text[MR_SAFETENSORS_SHAPE];
    int64_t expected = entry->count * dtypes[entry->dtype].bytes;
    MR_CHECK(entry->end - entry->begin == expected, MR_ERR_FORMAT,
             "%s: tensor '%s': offsets %" PRId64 "..%" PRId64 " do not hold %s of %s (%" PRId64
             " bytes)",
             path, name, entry->begin, entry->end,
             mr_safetensors_shape(text, entry->dims, entry->shape), dtypes[entry->dtype].name,
             expected);
    return MR_OK;
}

static mr_status parse_entry(mr_safetensors *file, const char *name, json_t *about,
                             mr_safetensors_entry *entry)
{
    const char *path = file->path;
    MR_TRY(check_name(path, name));
    MR_CHECK(json_is_object(about), MR_ERR_FORMAT, "%s: tensor '%s': expected an object", path,
             name);
    const char *key;
    json_t *value;
    json_object_foreach(about, key, value)
    {
        MR_CHECK(strcmp(key, "dtype") == 0 || strcmp(key, "shape") == 0 ||
                     strcmp(key, "data_offsets") == 0,
                 MR_ERR_FORMAT,
                 "%s: tensor '%s': unknown key '%.64s', expected dtype, shape, data_offsets", path,
                 name, key);
    }
    const char *dtype = json_string_value(json_object_get(about, "dtype"));
    MR_CHECK(dtype, MR_ERR_FORMAT, "%s: tensor '%s': dtype is missing or not a string", path, name);
    int found = 0;
    while (found < MR_SAFETENSORS_DTYPES && strcmp(dtypes[found].name, dtype) != 0)
        found++;
    MR_CHECK(found < MR_SAFETENSORS_DTYPES, MR_ERR_FORMAT,
             "%s: tensor '%s': unknown dtype '%.32s', expected one like F32, F16, BF16", path, name,
             dtype);
    entry->dtype = (mr_safetensors_dtype)found;
    entry->name = keep_string(file, name);
    MR_TRY(parse_shape(path, json_object_get(about, "shape"), entry));
    return parse_offsets(file, json_object_get(about, "data_offsets"), entry);
}

static mr_status parse_metadata(mr_safetensors *file, json_t *metadata)
{
    if (!metadata) return MR_OK;
    MR_CHECK(json_is_object(metadata), MR_ERR_FORMAT, "%s: __metadata__ is not an object",
             file->path);
    file->pairs = mr_alloc_array(MR_MEM_OTHER, json_object_size(metadata), sizeof *file->pairs);
    if (!file->pairs) return MR_ERR_MEMORY;
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value)
    {
        MR_CHECK(json_is_string(value), MR_ERR_FORMAT,
                 "%s: __metadata__: the value of '%.64s' is not a string", file->path, key);
        file->pairs[file->n_pairs].key = keep_string(file, key);
        file->pairs[file->n_pairs++].value = keep_string(file, json_string_value(value));
    }
    return MR_OK;
}

static int compare_places(const void *a, const void *b)
{
    const mr_safetensors_entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

int mr_safetensors_compare_names(const void *a, const void *b)
{
    const mr_safetensors_entry *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* Entries, sorted by place, must follow one another from the first byte of the data to the last. */
static mr_status check_places(const mr_safetensors *file)
{
    int64_t end = 0;
    const char *before = "";
    for (int64_t i = 0; i < file->count; i++) {
        const mr_safetensors_entry *entry = &file->entries[i];
        MR_CHECK(entry->begin >= end, MR_ERR_FORMAT,
                 "%s: tensor '%s': its bytes %" PRId64 "..%" PRId64
                 " overlap those of '%s', which end at %" PRId64,
                 file->path, entry->name, entry->begin, entry->end, before, end);
        MR_CHECK(entry->begin == end, MR_ERR_FORMAT,
                 "%s: tensor '%s': begins at byte %" PRId64 " of the data, expected %" PRId64
                 " (no holes)",
                 file->path, entry->name, entry->begin, end);
        end = entry->end;
        before = entry->name;
    }
    MR_CHECK(end == file->data_bytes || (file->partly && end > file->data_bytes), MR_ERR_FORMAT,
             "%s: the tensors end at byte %" PRId64 " of the data, the file at %" PRId64,
             file->path, end, file->data_bytes);
    return MR_OK;
}

static mr_status parse_header(mr_safetensors *file, json_t *root)
{
    MR_CHECK(json_is_object(root), MR_ERR_FORMAT, "%s: the header is not an object", file->path);
    json_t *metadata = json_object_get(root, "__metadata__");
    size_t count = json_object_size(root) - (metadata ? 1 : 0);
    size_t strings = 1;
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) strings += strlen(key) + 1;
    json_object_foreach(metadata, key, value) strings +=
        strlen(key) + json_string_length(value) + 2;
    file->strings = mr_alloc(MR_MEM_OTHER, strings);
    file->entries = mr_alloc_array(MR_MEM_OTHER, count, sizeof *file->entries);
    file->by_name = mr_alloc_array(MR_MEM_OTHER, count, sizeof(mr_safetensors_entry *));
    if (!file->strings || !file->entries || !file->by_name) return MR_ERR_MEMORY;
    MR_TRY(parse_metadata(file, metadata));
    json_object_foreach(root, key, value)
    {
        if (value == metadata) continue;
        MR_TRY(parse_entry(file, key, value, &file->entries[file->count]));
        file->count++;
    }
    qsort(file->entries, count, sizeof *file->entries, compare_places);
    for (size_t i = 0; i < count; i++)
        file->by_name[i] = &file->entries[i];
    qsort(file->by_name, count, sizeof(mr_safetensors_entry *), mr_safetensors_compare_names);
    return check_places(file);
}

mr_status mr_safetensors_load_header(mr_safetensors *file)
{
    const char *path = file->path;
    struct stat about;
    MR_CHECK(fstat(file->handle, &about) == 0 && S_ISREG(about.st_mode), MR_ERR_IO,
             "cannot read '%s': not a regular file", path);
    int64_t size = about.st_size;
    MR_CHECK(size >= 8, MR_ERR_FORMAT,
             "%s: %" PRId64 " bytes are too few for a safetensors file (at least 8)", path, size);
    uint64_t length;
    if (!mr_safetensors_read_exactly(file->handle, &length, sizeof length, 0))
        return mr_safetensors_read_failure(path);
    MR_CHECK(memcmp(&length, "version ", sizeof length) != 0, MR_ERR_FORMAT,
             "%s: expected a safetensors file, found a pointer of Git LFS, in whose place the file "
             "itself is still to be fetched",
             path);
    MR_CHECK(length <= HEADER_MAX, MR_ERR_FORMAT,
             "%s: header of %" PRIu64 " bytes, at most %d are accepted: not a safetensors file?",
             path, length, (int)HEADER_MAX);
    MR_CHECK(length <= (uint64_t)(size - 8), MR_ERR_FORMAT,
             "%s: header of %" PRIu64 " bytes in a file of %" PRId64 " bytes: truncated?", path,
             length, size);

    json_t *root = NULL;
    mr_status status = MR_OK;
    char *header = mr_alloc(MR_MEM_OTHER, (size_t)length);
    if (!header) return MR_ERR_MEMORY;
    if (!mr_safetensors_read_exactly(file->handle, header, (size_t)length, 8)) {
        status = mr_safetensors_read_failure(path);
        goto cleanup;
    }
    json_error_t error;
    if (length > 0 && header[0] == '{')
        root = json_loadb(header, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    else
        snprintf(error.text, sizeof error.text, "it does not begin with '{'");
    if (!root) {
        status = mr_fail(MR_ERR_FORMAT, "%s: the header is not sound JSON: %s", path, error.text);
        goto cleanup;
    }
    file->data_start = 8 + (int64_t)length;
    file->data_bytes = size - file->data_start;
    status = parse_header(file, root);
cleanup:
    json_decref(root);
    mr_free(header);
    return status;
}
