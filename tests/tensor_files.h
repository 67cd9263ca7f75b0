#ifndef MR_TESTS_TENSOR_FILES_H
#define MR_TESTS_TENSOR_FILES_H

/** @file
 * Small safetensors files put together by tests. Local; trouble fails the test. */

#include "store/safetensors.h"
#include "test.h"

enum { TENSOR_FILES_MOST = 256 };

/** Tensors of F32 that will be a file. Start from {0}. */
typedef struct tensor_files {
    int count;
    struct {
        char name[192];
        int64_t rows, cols; /**< rows 0: a vector */
        float *values;      /**< owned */
    } tensor[TENSOR_FILES_MOST];
} tensor_files;

/** Adds a tensor of a name; returns its values, zeros, for the caller to fill. */
float *tensor_files_add(tensor_files *files, int64_t rows, int64_t cols, const char *name, ...)
    MR_PRINTF(4, 5);

/** Adds a copy of an entry of another file under a name. */
void tensor_files_copy(tensor_files *files, const mr_safetensors *from,
                       const mr_safetensors_entry *entry, const char *name);

/** Returns the values of a tensor; fails where there is none. */
float *tensor_files_find(tensor_files *files, const char *name);

/** Removes a tensor. */
void tensor_files_drop(tensor_files *files, const char *name);

/** Writes the file at a path; what stood there is replaced. */
void tensor_files_write(const tensor_files *files, const char *path);

/** Removes all tensors. */
void tensor_files_free(tensor_files *files);

#endif
