#include "base/log.h"
#include "store/safetensors_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

enum { STAGE = 4096 }; /* elements converted at a time */

bool mr_safetensors_is(const char *head, size_t bytes)
{
    uint64_t length;
    if (bytes <= sizeof length || head[sizeof length] != '{') return false;
    memcpy(&length, head, sizeof length);
    return length >= 2 && length <= (uint64_t)INT32_MAX;
}

static mr_status take(int handle, const char *path, bool partly, mr_safetensors **out)
{
    *out = NULL;
    mr_safetensors *file = mr_alloc(MR_MEM_OTHER, sizeof *file);
    if (!file) {
        close(handle);
        return MR_ERR_MEMORY;
    }
    file->handle = handle;
    file->partly = partly;
    file->path = mr_strdup(path);
    mr_status status = file->path ? mr_safetensors_load_header(file) : MR_ERR_MEMORY;
    if (status == MR_OK)
        *out = file;
    else
        mr_safetensors_close(&file);
    return status;
}

mr_status mr_safetensors_take(int handle, const char *path, mr_safetensors **out)
{
    return take(handle, path, false, out);
}

static mr_status open_path(const char *path, bool partly, mr_safetensors **out)
{
    *out = NULL;
    /* What is no file, as a pipe without a writer, must not be waited for. */
    int handle = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    MR_CHECK(handle >= 0, MR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    return take(handle, path, partly, out);
}

mr_status mr_safetensors_open(const char *path, mr_safetensors **out)
{
    return open_path(path, false, out);
}

mr_status mr_safetensors_open_partly(const char *path, mr_safetensors **out)
{
    int64_t beyond = 0;
    MR_TRY(open_path(path, true, out));
    const mr_safetensors *file = *out;
    for (int64_t i = 0; i < file->count; i++)
        beyond += file->entries[i].end > file->data_bytes;
    if (beyond > 0)
        mr_warn("%s: it was cut: %" PRId64 " of its %" PRId64 " tensors reach beyond its end", path,
                beyond, file->count);
    return MR_OK;
}

mr_status mr_safetensors_is_there(const mr_safetensors *file, const mr_safetensors_entry *entry)
{
    return entry->end <= file->data_bytes ? MR_OK
                                          : mr_safetensors_reaches_beyond(MR_ERR_IO, file, entry);
}

void mr_safetensors_close(mr_safetensors **file)
{
    mr_safetensors *old = *file;
    if (!old) return;
    if (old->handle >= 0) close(old->handle);
    mr_free(old->strings);
    mr_free(old->pairs);
    mr_free(old->by_name);
    mr_free(old->entries);
    mr_free(old->path);
    mr_free(old);
    *file = NULL;
}

const char *mr_safetensors_path(const mr_safetensors *file)
{
    return file->path;
}

int mr_safetensors_handle(const mr_safetensors *file)
{
    return file->handle;
}

int64_t mr_safetensors_count(const mr_safetensors *file)
{
    return file->count;
}

const mr_safetensors_entry *mr_safetensors_at(const mr_safetensors *file, int64_t index)
{
    MR_INVARIANT(index >= 0 && index < file->count);
    return &file->entries[index];
}

const mr_safetensors_entry *mr_safetensors_find(const mr_safetensors *file, const char *name)
{
    const mr_safetensors_entry wanted = {.name = name}, *key = &wanted;
    const mr_safetensors_entry **found =
        bsearch(&key, file->by_name, (size_t)file->count, sizeof(mr_safetensors_entry *),
                mr_safetensors_compare_names);
    return found ? *found : NULL;
}

const mr_safetensors_pair *mr_safetensors_pairs(const mr_safetensors *file, int64_t *count)
{
    *count = file->n_pairs;
    return file->pairs;
}

const char *mr_safetensors_metadata(const mr_safetensors *file, const char *key)
{
    for (int64_t i = 0; i < file->n_pairs; i++)
        if (strcmp(file->pairs[i].key, key) == 0) return file->pairs[i].value;
    return NULL;
}

mr_status mr_safetensors_expect(const mr_safetensors *file, const mr_safetensors_entry *entry,
                                int dims, const int64_t *shape)
{
    bool same = entry->dims == dims;
    for (int i = 0; same && i < dims; i++)
        same = entry->shape[i] == shape[i];
    if (same) return MR_OK;
    char found[MR_SAFETENSORS_SHAPE], expected[MR_SAFETENSORS_SHAPE];
    return mr_fail(MR_ERR_FORMAT, "%s: tensor '%s': shape %s, expected %s", file->path, entry->name,
                   mr_safetensors_shape(found, entry->dims, entry->shape),
                   mr_safetensors_shape(expected, dims, shape));
}

static mr_status check_range(const mr_safetensors *file, const mr_safetensors_entry *entry,
                             int64_t first, int64_t count)
{
    MR_CHECK(first >= 0 && count >= 0 && first <= entry->count && count <= entry->count - first,
             MR_ERR_ARG,
             "%s: tensor '%s': elements %" PRId64 "+%" PRId64 " asked for, it has %" PRId64,
             file->path, entry->name, first, count, entry->count);
    return MR_OK;
}

int64_t mr_safetensors_bytes(const mr_safetensors_entry *entry)
{
    return entry->end - entry->begin;
}

mr_status mr_safetensors_read_raw(const mr_safetensors *file, const mr_safetensors_entry *entry,
                                  int64_t first, int64_t bytes, void *out)
{
    MR_INVARIANT(first >= 0 && bytes >= 0 && first <= entry->end - entry->begin - bytes);
    return mr_safetensors_read_exactly(file->handle, out, (size_t)bytes,
                                       file->data_start + entry->begin + first)
               ? MR_OK
               : mr_safetensors_read_failure(file->path);
}

static float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 0x1fu, fraction = half & 0x3ffu;
    if (exponent == 31) return float_of_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent > 0) return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float magnitude = (float)fraction * 0x1p-24f;
    return sign ? -magnitude : magnitude;
}

/* Elements of one stage, as they stand in the file. */
typedef union stage {
    uint16_t u16[STAGE];
    double f64[STAGE];
} stage;

mr_status mr_safetensors_read_f32(const mr_safetensors *file, const mr_safetensors_entry *entry,
                                  int64_t first, int64_t count, float *out)
{
    MR_TRY(check_range(file, entry, first, count));
    mr_safetensors_dtype dtype = entry->dtype;
    MR_CHECK(dtype == MR_SAFETENSORS_F32 || dtype == MR_SAFETENSORS_F16 ||
                 dtype == MR_SAFETENSORS_BF16 || dtype == MR_SAFETENSORS_F64,
             MR_ERR_FORMAT, "%s: tensor '%s': dtype %s, expected F32, F16, BF16 or F64", file->path,
             entry->name, mr_safetensors_dtype_name(dtype));
    int64_t bytes = mr_safetensors_dtype_bytes(dtype);
    int64_t at = file->data_start + entry->begin + first * bytes;
    if (dtype == MR_SAFETENSORS_F32) {
        if (!mr_safetensors_read_exactly(file->handle, out, (size_t)(count * bytes), at))
            return mr_safetensors_read_failure(file->path);
        return MR_OK;
    }
    stage raw;
    for (int64_t done = 0; done < count; done += STAGE) {
        int64_t part = count - done < STAGE ? count - done : STAGE;
        if (!mr_safetensors_read_exactly(file->handle, &raw, (size_t)(part * bytes),
                                         at + done * bytes))
            return mr_safetensors_read_failure(file->path);
        for (int64_t i = 0; i < part; i++) {
            if (dtype == MR_SAFETENSORS_F16) {
                out[done + i] = half_to_float(raw.u16[i]);
            } else if (dtype == MR_SAFETENSORS_BF16) {
                out[done + i] = float_of_bits((uint32_t)raw.u16[i] << 16);
            } else {
                MR_CHECK(!isfinite(raw.f64[i]) || fabs(raw.f64[i]) <= (double)FLT_MAX,
                         MR_ERR_FORMAT,
                         "%s: tensor '%s': element %" PRId64 " is %g, beyond the range of F32",
                         file->path, entry->name, first + done + i, raw.f64[i]);
                out[done + i] = (float)raw.f64[i];
            }
        }
    }
    return MR_OK;
}
