#include "base/file.h"
#include "store/safetensors.h"

#include <jansson.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    ALIGNMENT = 8, /* bytes; the data starts on a multiple, as the format's own writer does */
    FIRST_SPANS = 16,
    STAGE = 2048, /* elements that are rounded at once */
};

/* Elements begin..end-1 of the file have been written. */
typedef struct span {
    int64_t begin, end;
} span;

typedef struct written_tensor {
    char *name;    /* owned */
    int64_t begin; /* first element, counted over the whole file */
    int64_t count;
    int64_t offset; /* bytes from the start of the data */
    mr_safetensors_dtype dtype;
} written_tensor;

struct mr_safetensors_writer {
    char path[PATH_MAX];
    char beside[PATH_MAX]; /* the temporary name; "" once renamed */
    int handle;            /* owned, -1 while closed */
    char *header;          /* owned, [data_start] */
    int64_t data_start;    /* bytes */
    int64_t total, bytes;  /* elements of all tensors, and their bytes */
    int64_t count;
    written_tensor *tensors; /* owned, [count] */
    span *spans;             /* owned, [n_spans] disjoint, ascending, not touching */
    int64_t n_spans, span_room;
};

/* Adds one tensor to the header and, behind the others, to the writer's table. */
static mr_status add_tensor(mr_safetensors_writer *writer, const mr_safetensors_spec *spec,
                            json_t *header)
{
    const char *path = writer->path;
    MR_CHECK(spec->name && spec->name[0] && strcmp(spec->name, "__metadata__") != 0, MR_ERR_ARG,
             "%s: '%s' cannot be a tensor's name", path, spec->name ? spec->name : "");
    MR_CHECK(!json_object_get(header, spec->name), MR_ERR_ARG, "%s: tensor '%s' is named twice",
             path, spec->name);
    MR_CHECK(spec->dims >= 0 && spec->dims <= MR_SAFETENSORS_DIMS, MR_ERR_ARG,
             "%s: tensor '%s': %d dimensions, expected 0..%d", path, spec->name, spec->dims,
             (int)MR_SAFETENSORS_DIMS);
    MR_CHECK(spec->dtype == MR_SAFETENSORS_F32 || spec->dtype == MR_SAFETENSORS_F16 ||
                 spec->dtype == MR_SAFETENSORS_BF16,
             MR_ERR_ARG, "%s: tensor '%s': %s is not written, only F32, F16 and BF16", path,
             spec->name, mr_safetensors_dtype_name(spec->dtype));
    const int64_t most = INT64_MAX / (int64_t)sizeof(float) / 2;
    int64_t count = 1;
    for (int i = 0; i < spec->dims; i++) {
        int64_t extent = spec->shape[i];
        MR_CHECK(extent >= 0 && (extent == 0 || count <= most / extent), MR_ERR_ARG,
                 "%s: tensor '%s': dimension %d of %" PRId64 " is out of range", path, spec->name,
                 i, extent);
        count *= extent;
    }
    MR_CHECK(count <= most - writer->total, MR_ERR_ARG, "%s: the tensors together are too large",
             path);

    const int64_t bytes = mr_safetensors_dtype_bytes(spec->dtype) * count;
    json_t *about =
        json_pack("{s:s, s:[], s:[I, I]}", "dtype", mr_safetensors_dtype_name(spec->dtype), "shape",
                  "data_offsets", (json_int_t)writer->bytes, (json_int_t)(writer->bytes + bytes));
    json_t *shape = json_object_get(about, "shape");
    for (int i = 0; i < spec->dims; i++)
        json_array_append_new(shape, json_integer(spec->shape[i]));
    /* jansson refuses here what is not UTF-8. */
    MR_CHECK(json_object_set_new(header, spec->name, about) == 0, MR_ERR_ARG,
             "%s: the name of tensor '%s' is not UTF-8", path, spec->name);

    written_tensor *tensor = &writer->tensors[writer->count];
    tensor->name = mr_strdup(spec->name);
    if (!tensor->name) return MR_ERR_MEMORY;
    tensor->begin = writer->total;
    tensor->count = count;
    tensor->offset = writer->bytes;
    tensor->dtype = spec->dtype;
    writer->count++;
    writer->total += count;
    writer->bytes += bytes;
    return MR_OK;
}

static mr_status add_metadata(const char *path, const mr_safetensors_pair *pairs, int64_t n_pairs,
                              json_t *header)
{
    if (n_pairs == 0) return MR_OK;
    json_t *metadata = json_object();
    json_object_set_new(header, "__metadata__", metadata);
    for (int64_t i = 0; i < n_pairs; i++)
        MR_CHECK(json_object_set_new(metadata, pairs[i].key, json_string(pairs[i].value)) == 0,
                 MR_ERR_ARG, "%s: metadata '%s' is not UTF-8", path, pairs[i].key);
    return MR_OK;
}

/* Puts the length and the JSON, padded by spaces, into the writer. */
static mr_status format_header(json_t *header, mr_safetensors_writer *writer)
{
    size_t length = json_dumpb(header, NULL, 0, JSON_COMPACT);
    size_t padded = (length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    char *text = mr_alloc(MR_MEM_OTHER, 8 + padded);
    if (!text) return MR_ERR_MEMORY;
    uint64_t stored = padded;
    memcpy(text, &stored, sizeof stored);
    json_dumpb(header, text + 8, length, JSON_COMPACT);
    memset(text + 8 + length, ' ', padded - length);
    writer->header = text;
    writer->data_start = 8 + (int64_t)padded;
    return MR_OK;
}

static mr_status open_beside(mr_safetensors_writer *writer, const char *path)
{
    char beside[PATH_MAX];
    MR_TRY(mr_file_path(writer->path, "%s", path));
    MR_TRY(mr_file_path(beside, "%s.tmp", path));
    writer->handle = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    MR_CHECK(writer->handle >= 0, MR_ERR_IO, "cannot create '%s': %s", beside, strerror(errno));
    memcpy(writer->beside, beside, sizeof beside);
    return MR_OK;
}

mr_status mr_safetensors_create(const char *path, const mr_safetensors_spec *specs, int64_t n_specs,
                                const mr_safetensors_pair *pairs, int64_t n_pairs,
                                mr_safetensors_writer **out)
{
    *out = NULL;
    json_t *header = json_object();
    mr_safetensors_writer *writer = mr_alloc(MR_MEM_OTHER, sizeof *writer);
    mr_status status = MR_ERR_MEMORY;
    if (!writer) goto cleanup;
    writer->handle = -1;
    writer->tensors = mr_alloc_array(MR_MEM_OTHER, (size_t)n_specs, sizeof *writer->tensors);
    if (!writer->tensors) goto cleanup;
    writer->spans = mr_alloc_array(MR_MEM_OTHER, FIRST_SPANS, sizeof *writer->spans);
    if (!writer->spans) goto cleanup;
    writer->span_room = FIRST_SPANS;

    if ((status = open_beside(writer, path)) != MR_OK) goto cleanup;
    if ((status = add_metadata(path, pairs, n_pairs, header)) != MR_OK) goto cleanup;
    for (int64_t i = 0; i < n_specs; i++)
        if ((status = add_tensor(writer, &specs[i], header)) != MR_OK) goto cleanup;
    if ((status = format_header(header, writer)) != MR_OK) goto cleanup;
    int64_t whole = writer->data_start + writer->bytes;
    /* A full disk is found before hours of work go into the file. A signal may break it off. */
    int failure;
    do
        failure = posix_fallocate(writer->handle, 0, (off_t)whole);
    while (failure == EINTR);
    if (failure != 0) {
        status = mr_fail(MR_ERR_IO, "cannot reserve %" PRId64 " bytes for '%s': %s", whole, path,
                         strerror(failure));
        goto cleanup;
    }
    failure = mr_file_write_at(writer->handle, writer->header, (size_t)writer->data_start, 0);
    if (failure != 0) {
        status = mr_fail(MR_ERR_IO, "cannot write '%s': %s", path, strerror(failure));
        goto cleanup;
    }
    *out = writer;
    writer = NULL;
cleanup:
    mr_safetensors_abandon(&writer);
    json_decref(header);
    return status;
}

const char *mr_safetensors_header(const mr_safetensors_writer *writer, size_t *bytes)
{
    *bytes = (size_t)writer->data_start;
    return writer->header;
}

/* Records that begin..end-1 are written: EEXIST where some of it is already. Spans that touch are
 * joined, so writing in order keeps one span however many calls it takes. */
static int record_span(mr_safetensors_writer *writer, int64_t begin, int64_t end)
{
    int64_t low = 0, high = writer->n_spans;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (writer->spans[middle].end < begin)
            low = middle + 1;
        else
            high = middle;
    }
    int64_t at = low; /* the first span that ends at begin or behind it */
    span *spans = writer->spans;
    bool joins_before = at < writer->n_spans && spans[at].end == begin;
    int64_t next = joins_before ? at + 1 : at;
    if (next < writer->n_spans && spans[next].begin < end) return EEXIST;
    bool joins_after = next < writer->n_spans && spans[next].begin == end;
    if (joins_before && joins_after) {
        spans[at].end = spans[next].end;
        memmove(&spans[next], &spans[next + 1],
                (size_t)(writer->n_spans - next - 1) * sizeof *spans);
        writer->n_spans--;
    } else if (joins_before) {
        spans[at].end = end;
    } else if (joins_after) {
        spans[next].begin = begin;
    } else {
        if (mr_grow(MR_MEM_OTHER, &writer->spans, &writer->span_room, writer->n_spans + 1,
                    sizeof *spans) != MR_OK)
            return ENOMEM;
        spans = writer->spans;
        memmove(&spans[at + 1], &spans[at], (size_t)(writer->n_spans - at) * sizeof *spans);
        spans[at] = (span){begin, end};
        writer->n_spans++;
    }
    return 0;
}

static uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (isnan(value)) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static uint16_t to_half(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    const float size = fabsf(value);
    if (isnan(value)) return (uint16_t)(sign | 0x7e00);
    if (size >= 65520) return (uint16_t)(sign | 0x7c00);
    if (size < 0x1p-14f) return (uint16_t)(sign | (uint16_t)lrintf(size * 0x1p24f));
    bits &= 0x7fffffff;
    bits += 0xfff + ((bits >> 13) & 1);
    return (uint16_t)(sign | (bits - 0x38000000) >> 13);
}

/* Whether a 16-bit element is no number of the type. */
static bool is_infinite(mr_safetensors_dtype dtype, uint16_t bits)
{
    return (bits & 0x7fff) == (dtype == MR_SAFETENSORS_F16 ? 0x7c00 : 0x7f80);
}

/* Writes bytes at an offset of the file, and takes them into a hash. */
static int write_bytes(const mr_safetensors_writer *writer, const void *data, size_t bytes,
                       int64_t offset, mr_hash *hash)
{
    if (hash) mr_hash_add(hash, data, bytes);
    return mr_file_write_at(writer->handle, data, bytes, offset);
}

/* Writes elements at an offset of the file, rounded to 16 bits. */
static int write_rounded(const mr_safetensors_writer *writer, mr_safetensors_dtype dtype,
                         const float *data, int64_t count, int64_t offset, mr_hash *hash)
{
    uint16_t stage[STAGE];
    for (int64_t done = 0; done < count; done += STAGE) {
        const int64_t part = count - done < STAGE ? count - done : STAGE;
        for (int64_t i = 0; i < part; i++) {
            const float value = data[done + i];
            stage[i] = dtype == MR_SAFETENSORS_F16 ? to_half(value) : to_bf16(value);
            if (is_infinite(dtype, stage[i]) && isfinite(value)) return ERANGE;
        }
        const int failure = write_bytes(writer, stage, (size_t)part * sizeof *stage,
                                        offset + done * (int64_t)sizeof *stage, hash);
        if (failure != 0) return failure;
    }
    return 0;
}

int mr_safetensors_put(mr_safetensors_writer *writer, int64_t index, int64_t first,
                       const float *data, int64_t count, mr_hash *hash)
{
    if (index < 0 || index >= writer->count) return EINVAL;
    const written_tensor *tensor = &writer->tensors[index];
    if (first < 0 || count < 0 || first > tensor->count || count > tensor->count - first)
        return EINVAL;
    if (count == 0) return 0;
    int64_t begin = tensor->begin + first;
    int failure = record_span(writer, begin, begin + count);
    if (failure != 0) return failure;
    const int64_t offset =
        writer->data_start + tensor->offset + first * mr_safetensors_dtype_bytes(tensor->dtype);
    if (tensor->dtype != MR_SAFETENSORS_F32)
        return write_rounded(writer, tensor->dtype, data, count, offset, hash);
    return write_bytes(writer, data, (size_t)count * sizeof *data, offset, hash);
}

mr_status mr_safetensors_write(mr_safetensors_writer *writer, int64_t index, int64_t first,
                               const float *data, int64_t count)
{
    MR_CHECK(index >= 0 && index < writer->count, MR_ERR_ARG,
             "%s: tensor %" PRId64 " of %" PRId64 " asked for", writer->path, index, writer->count);
    const written_tensor *tensor = &writer->tensors[index];
    MR_CHECK(first >= 0 && count >= 0 && first <= tensor->count && count <= tensor->count - first,
             MR_ERR_ARG, "%s: tensor '%s': elements %" PRId64 "+%" PRId64 " given, it has %" PRId64,
             writer->path, tensor->name, first, count, tensor->count);
    int failure = mr_safetensors_put(writer, index, first, data, count, NULL);
    MR_CHECK(failure != EEXIST, MR_ERR_ARG, "%s: tensor '%s': an element is written twice",
             writer->path, tensor->name);
    MR_CHECK(failure != ERANGE, MR_ERR_NUMERIC, "%s: tensor '%s': an element is beyond %s",
             writer->path, tensor->name, mr_safetensors_dtype_name(tensor->dtype));
    if (failure == ENOMEM) return MR_ERR_MEMORY;
    MR_CHECK(failure == 0, MR_ERR_IO, "cannot write '%s': %s", writer->path, strerror(failure));
    return MR_OK;
}

int mr_safetensors_sync(mr_safetensors_writer *writer)
{
    return fsync(writer->handle) == 0 ? 0 : errno;
}

static mr_status check_complete(const mr_safetensors_writer *writer)
{
    int64_t missing = 0;
    if (writer->n_spans > 0 && writer->spans[0].begin == 0) missing = writer->spans[0].end;
    if (missing == writer->total) return MR_OK;
    int64_t i = 0;
    while (writer->tensors[i].begin + writer->tensors[i].count <= missing)
        i++;
    return mr_fail(MR_ERR_ARG,
                   "%s: tensor '%s': element %" PRId64 " of %" PRId64 " was never written",
                   writer->path, writer->tensors[i].name, missing - writer->tensors[i].begin,
                   writer->tensors[i].count);
}

mr_status mr_safetensors_finish(mr_safetensors_writer **writer)
{
    mr_safetensors_writer *file = *writer;
    mr_status status = check_complete(file);
    if (status != MR_OK) goto cleanup;
    status = mr_file_publish(file->handle, file->beside, file->path);
    file->handle = -1;
    file->beside[0] = '\0';
cleanup:
    mr_safetensors_abandon(writer);
    return status;
}

void mr_safetensors_abandon(mr_safetensors_writer **writer)
{
    mr_safetensors_writer *old = *writer;
    if (!old) return;
    if (old->handle >= 0) close(old->handle);
    if (old->beside[0]) unlink(old->beside);
    for (int64_t i = 0; i < old->count; i++)
        mr_free(old->tensors[i].name);
    mr_free(old->tensors);
    mr_free(old->header);
    mr_free(old->spans);
    mr_free(old);
    *writer = NULL;
}
