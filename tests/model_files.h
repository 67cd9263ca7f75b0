#ifndef MR_TESTS_MODEL_FILES_H
#define MR_TESTS_MODEL_FILES_H

/** @file
 * Model folders of Hugging Face with whatever in them: those of a tiny LLaMA, and changes to them.
 * Local; trouble fails the test. */

#include "base/text.h"
#include "store/safetensors.h"
#include "test.h"

enum { MODEL_FILES_TENSORS = 48 };

typedef struct model_tensor {
    char name[96];
    const char *dtype;
    int dims;
    int64_t shape[2];
    char *bytes; /**< owned */
    size_t size;
} model_tensor;

/** What a folder will hold. */
typedef struct model_files {
    int vocabulary, layers; /**< of config.json, 16 columns and 4 heads of 4, 2 of them of keys */
    char extra[512];        /**< further keys of config.json: ", \"key\": value" */
    int count;
    model_tensor tensor[MODEL_FILES_TENSORS];
} model_files;

/** Returns the tensors of a sound model with values drawn from a seed; free with model_files_free.
 */
model_files *model_files_make(int vocabulary, int layers, bool tied, int seed);

/** Frees *files and sets it to NULL. */
void model_files_free(model_files **files);

/** Returns the tensor of a name. */
model_tensor *model_files_find(model_files *files, const char *name);

/** Adds a tensor [rows, cols] (cols 0: a vector) of the one value in all elements; of types other
 * than F32 all bytes are the value. */
void model_files_add(model_files *files, const char *name, const char *dtype, int64_t rows,
                     int64_t cols, float value);

/** Removes a tensor. */
void model_files_drop(model_files *files, const char *name);

/** Writes config.json and model.safetensors into a folder, made where it is missing. */
void model_files_write(const model_files *files, const char *folder);

/** Writes tensors first..last-1 as one file. */
void model_files_write_part(const model_files *files, const char *path, int first, int last);

#endif
