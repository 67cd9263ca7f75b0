#include "tensor_files.h"

#include "base/memory.h"

#include <stdlib.h>

static int64_t count_of(const tensor_files *files, int i)
{
    const int64_t rows = files->tensor[i].rows;
    return (rows > 0 ? rows : 1) * files->tensor[i].cols;
}

float *tensor_files_add(tensor_files *files, int64_t rows, int64_t cols, const char *name, ...)
{
    va_list args;
    assert_true(files->count < TENSOR_FILES_MOST);
    const int i = files->count++;
    va_start(args, name);
    vsnprintf(files->tensor[i].name, sizeof files->tensor[i].name, name, args);
    va_end(args);
    files->tensor[i].rows = rows;
    files->tensor[i].cols = cols;
    files->tensor[i].values = calloc((size_t)count_of(files, i), sizeof(float));
    assert_non_null(files->tensor[i].values);
    return files->tensor[i].values;
}

void tensor_files_copy(tensor_files *files, const mr_safetensors *from,
                       const mr_safetensors_entry *entry, const char *name)
{
    assert_true(entry->dims == 1 || entry->dims == 2);
    float *values = tensor_files_add(files, entry->dims == 2 ? entry->shape[0] : 0,
                                     entry->shape[entry->dims - 1], "%s", name);
    must(mr_safetensors_read_f32(from, entry, 0, entry->count, values));
}

static int index_of(const tensor_files *files, const char *name)
{
    for (int i = 0; i < files->count; i++)
        if (strcmp(files->tensor[i].name, name) == 0) return i;
    fail_msg("no tensor %s", name);
    return -1;
}

float *tensor_files_find(tensor_files *files, const char *name)
{
    return files->tensor[index_of(files, name)].values;
}

void tensor_files_drop(tensor_files *files, const char *name)
{
    const int i = index_of(files, name);
    free(files->tensor[i].values);
    files->tensor[i] = files->tensor[--files->count];
}

void tensor_files_write(const tensor_files *files, const char *path)
{
    mr_safetensors_spec spec[TENSOR_FILES_MOST];
    const mr_safetensors_pair format = {"format", "pt"};
    mr_safetensors_writer *writer;
    for (int i = 0; i < files->count; i++) {
        const bool matrix = files->tensor[i].rows > 0;
        spec[i] =
            (mr_safetensors_spec){.name = files->tensor[i].name,
                                  .dims = matrix ? 2 : 1,
                                  .shape = {matrix ? files->tensor[i].rows : files->tensor[i].cols,
                                            matrix ? files->tensor[i].cols : 0}};
    }
    must(mr_safetensors_create(path, spec, files->count, &format, 1, &writer));
    for (int i = 0; i < files->count; i++)
        must(mr_safetensors_write(writer, i, 0, files->tensor[i].values, count_of(files, i)));
    must(mr_safetensors_finish(&writer));
}

void tensor_files_free(tensor_files *files)
{
    for (int i = 0; i < files->count; i++)
        free(files->tensor[i].values);
    files->count = 0;
}
