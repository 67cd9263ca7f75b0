#include "golden_spectra.h"

#include "golden_find.h"
#include "store/json.h"
#include "store/safetensors.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

/* Reads the reference values of a record. */
static mr_status read_sigma(mr_golden_matrix *m)
{
    const json_t *sigma = json_object_get(m->record, "sigma");
    m->count = m->rows < m->cols ? m->rows : m->cols;
    MR_CHECK((int64_t)json_array_size(sigma) == m->count, MR_ERR_FORMAT,
             "%s: expected %lld values, found %zu", m->label, (long long)m->count,
             json_array_size(sigma));
    m->sigma = mr_alloc_array(MR_MEM_OTHER, (size_t)m->count, sizeof *m->sigma);
    if (!m->sigma) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < m->count; i++)
        m->sigma[i] = json_number_value(json_array_get(sigma, (size_t)i));
    return MR_OK;
}

static mr_status read_matrix(const mr_safetensors *tensors, const char *name, mr_golden_matrix *m)
{
    const mr_safetensors_entry *entry = mr_safetensors_find(tensors, name);
    MR_CHECK(entry && entry->dims == 2, MR_ERR_FORMAT, "%s: no matrix of this name", m->label);
    m->rows = entry->shape[0];
    m->cols = entry->shape[1];
    m->a = mr_alloc_array(MR_MEM_OTHER, (size_t)entry->count, sizeof *m->a);
    float *a = mr_alloc_array(MR_MEM_OTHER, (size_t)entry->count, sizeof *a);
    mr_status status = m->a && a ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK) status = mr_safetensors_read_f32(tensors, entry, 0, entry->count, a);
    for (int64_t i = 0; status == MR_OK && i < entry->count; i++)
        m->a[i] = (double)a[i];
    mr_free(a);
    MR_TRY(status);
    return read_sigma(m);
}

static mr_status add_matrices(mr_golden_spectra *set, const char *root, const json_t *records,
                              const mr_safetensors *tensors)
{
    const char *name;
    json_t *record;
    json_object_foreach((json_t *)(uintptr_t)records, name, record)
    {
        char label[PATH_MAX];
        snprintf(label, sizeof label, "%s/spectra: %s", root, name);
        MR_TRY(
            mr_grow(MR_MEM_OTHER, &set->matrix, &set->room, set->count + 1, sizeof *set->matrix));
        mr_golden_matrix *m = &set->matrix[set->count++];
        *m = (mr_golden_matrix){.label = mr_strdup(label), .record = record};
        if (!m->label) return MR_ERR_MEMORY;
        MR_TRY(read_matrix(tensors, name, m));
    }
    return MR_OK;
}

static mr_status load_root(mr_golden_spectra *set, const char *root)
{
    char path[PATH_MAX];
    json_t *file = NULL;
    mr_safetensors *tensors = NULL;
    snprintf(path, sizeof path, "%s/spectra/matrices.json", root);
    if (access(path, F_OK) != 0) return MR_OK;
    MR_TRY(mr_json_read(path, &file));
    mr_json_append(&set->files, file);
    const json_t *records = json_object_get(file, "matrices");
    MR_CHECK(set->files && json_is_object(records), MR_ERR_FORMAT, "%s: expected matrices", path);
    snprintf(path, sizeof path, "%s/spectra/matrices.safetensors", root);
    MR_TRY(mr_safetensors_open(path, &tensors));
    mr_status status = add_matrices(set, root, records, tensors);
    mr_safetensors_close(&tensors);
    return status;
}

mr_status mr_golden_spectra_load(mr_golden_spectra *set)
{
    mr_names roots = {0};
    set->files = json_array();
    mr_status status = mr_golden_roots(&roots);
    for (int64_t i = 0; status == MR_OK && i < roots.count; i++)
        status = load_root(set, roots.item[i]);
    mr_names_free(&roots);
    return status;
}

void mr_golden_spectra_free(mr_golden_spectra *set)
{
    for (int64_t i = 0; i < set->count; i++) {
        mr_free(set->matrix[i].label);
        mr_free(set->matrix[i].a);
        mr_free(set->matrix[i].sigma);
    }
    mr_free(set->matrix);
    json_decref(set->files);
    *set = (mr_golden_spectra){0};
}
