#include "spectra/stored.h"

static mr_status read_entry(const void *from, const void *which, int64_t first, int64_t count,
                            float *out)
{
    return mr_safetensors_read_f32(from, which, first, count, out);
}

mr_status mr_stored_of(const mr_safetensors *file, const mr_safetensors_entry *entry,
                       mr_stored *out)
{
    char shape[MR_SAFETENSORS_SHAPE];
    MR_TRY(mr_safetensors_is_there(file, entry));
    MR_CHECK((entry->dims == 1 || entry->dims == 2) && entry->count > 0, MR_ERR_FORMAT,
             "%s: %s: expected a matrix or a vector, found %s", mr_safetensors_path(file),
             entry->name, mr_safetensors_shape(shape, entry->dims, entry->shape));
    *out = (mr_stored){.rows = entry->dims == 2 ? entry->shape[0] : 1,
                       .cols = entry->shape[entry->dims - 1],
                       .read = read_entry,
                       .from = file,
                       .which = entry};
    return MR_OK;
}

mr_status mr_stored_rows(const mr_stored *stored, int64_t first, int64_t count, double *out)
{
    enum { PIECE = 4096 };
    float piece[PIECE];
    const int64_t begin = first * stored->cols, elements = count * stored->cols;
    for (int64_t at = 0; at < elements; at += PIECE) {
        const int64_t here = elements - at < PIECE ? elements - at : PIECE;
        MR_TRY(stored->read(stored->from, stored->which, begin + at, here, piece));
        for (int64_t i = 0; i < here; i++)
            out[at + i] = (double)piece[i];
    }
    return MR_OK;
}

mr_status mr_stored_all(const mr_stored *stored, float **out)
{
    const int64_t count = stored->rows * stored->cols;
    *out = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof **out);
    if (!*out) return MR_ERR_MEMORY;
    mr_status status = stored->read(stored->from, stored->which, 0, count, *out);
    if (status == MR_OK) return MR_OK;
    mr_free(*out);
    *out = NULL;
    return status;
}
