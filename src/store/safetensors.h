#ifndef MR_STORE_SAFETENSORS_H
#define MR_STORE_SAFETENSORS_H

/** @file
 * Safetensors files: named tensors of a row-major layout, read by ranges, written in order.
 *
 * A file is eight bytes of header length (little-endian), a JSON header, and the tensors' bytes
 * without gaps. A reader checks the whole header, against itself and against the file's size,
 * before it allocates from it; so an entry that was handed out can be read, but for a file that was
 * opened partly.
 *
 * Source: the format's description in huggingface/safetensors. Deviation: elements narrower than a
 * byte (F4, F6) and more than MR_SAFETENSORS_DIMS dimensions are refused.
 */

#include "base/hash.h"
#include "base/memory.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    MR_SAFETENSORS_DIMS = 8,    /**< most dimensions of a tensor */
    MR_SAFETENSORS_SHAPE = 256, /**< bytes of any shape as text with its terminating zero */
};

/** Element types a file may hold; the read functions say which of them they convert. */
typedef enum mr_safetensors_dtype {
    MR_SAFETENSORS_F32,
    MR_SAFETENSORS_F16,
    MR_SAFETENSORS_BF16,
    MR_SAFETENSORS_F64,
    MR_SAFETENSORS_I32,
    MR_SAFETENSORS_I64,
    MR_SAFETENSORS_BOOL,
    MR_SAFETENSORS_U8,
    MR_SAFETENSORS_I8,
    MR_SAFETENSORS_F8_E5M2,
    MR_SAFETENSORS_F8_E4M3,
    MR_SAFETENSORS_F8_E8M0,
    MR_SAFETENSORS_U16,
    MR_SAFETENSORS_I16,
    MR_SAFETENSORS_U32,
    MR_SAFETENSORS_U64,
    MR_SAFETENSORS_C64,
    MR_SAFETENSORS_DTYPES
} mr_safetensors_dtype;

/** One tensor of an open file. Borrowed from the file until it is closed. */
typedef struct mr_safetensors_entry {
    const char *name;
    mr_safetensors_dtype dtype;
    int dims; /**< 0 for a scalar */
    int64_t shape[MR_SAFETENSORS_DIMS];
    int64_t count;      /**< elements, the product of shape */
    int64_t begin, end; /**< bytes from the start of the data */
} mr_safetensors_entry;

/** A tensor to be written. */
typedef struct mr_safetensors_spec {
    const char *name;
    int dims;
    int64_t shape[MR_SAFETENSORS_DIMS];
    mr_safetensors_dtype dtype; /**< F32, F16 or BF16 */
} mr_safetensors_spec;

/** One line of a file's metadata. */
typedef struct mr_safetensors_pair {
    const char *key;
    const char *value;
} mr_safetensors_pair;

typedef struct mr_safetensors mr_safetensors; /**< an open file; owns its descriptor */
typedef struct mr_safetensors_writer mr_safetensors_writer;

/** Tells whether the first bytes of a file are those of safetensors; a cut file has them all the
 * same. Local. */
bool mr_safetensors_is(const char *head, size_t bytes);

/** Opens a file and checks its whole header. Local.
 * @param[out] out  set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (message names path and tensor), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_safetensors_open(const char *path, mr_safetensors **out);

/** As mr_safetensors_open, for what can do with a part of a file: one that ends before its tensors
 * do is warned of, and mr_safetensors_is_there tells of each. Local. @return as mr_safetensors_open
 */
MR_NODISCARD mr_status mr_safetensors_open_partly(const char *path, mr_safetensors **out);

/** Takes over a file that is open for reading, and checks as mr_safetensors_open does; a failure
 * closes it. Local.
 * @param path  for messages
 * @return as mr_safetensors_open */
MR_NODISCARD mr_status mr_safetensors_take(int handle, const char *path, mr_safetensors **out);

/** Closes *file, frees it and sets it to NULL; NULL is allowed. Local. */
void mr_safetensors_close(mr_safetensors **file);

/** Returns the path the file was opened by. Borrowed until close. */
const char *mr_safetensors_path(const mr_safetensors *file);

/** Returns the descriptor that the file is read by, for fstat. Borrowed until close. */
int mr_safetensors_handle(const mr_safetensors *file);

/** Returns the number of tensors. Local. */
int64_t mr_safetensors_count(const mr_safetensors *file);

/** Returns tensor index (0..count-1) in the order of the data. Local. */
const mr_safetensors_entry *mr_safetensors_at(const mr_safetensors *file, int64_t index);

/** Returns the tensor of a name, or NULL. Local. */
const mr_safetensors_entry *mr_safetensors_find(const mr_safetensors *file, const char *name);

/** Returns the metadata [*count] in the order of the file. Borrowed until close. */
const mr_safetensors_pair *mr_safetensors_pairs(const mr_safetensors *file, int64_t *count);

/** Returns a value of the metadata, or NULL. Borrowed until close. */
const char *mr_safetensors_metadata(const mr_safetensors *file, const char *key);

/** Returns "F32", "BF16" ... Local. */
const char *mr_safetensors_dtype_name(mr_safetensors_dtype dtype);

/** Returns the bytes of an element. Local. */
int64_t mr_safetensors_dtype_bytes(mr_safetensors_dtype dtype);

/** Checks that the file does not end before a tensor does, as it may where it was opened partly.
 * Local. @return MR_OK, MR_ERR_IO (message names path and tensor) */
MR_NODISCARD mr_status mr_safetensors_is_there(const mr_safetensors *file,
                                               const mr_safetensors_entry *entry);

/** Writes a shape as "[4, 176]" and returns out. Local. */
const char *mr_safetensors_shape(char out[MR_SAFETENSORS_SHAPE], int dims, const int64_t *shape);

/** Checks that a tensor has a shape. Local.
 * @return MR_OK, MR_ERR_FORMAT (message names path, tensor and both shapes) */
MR_NODISCARD mr_status mr_safetensors_expect(const mr_safetensors *file,
                                             const mr_safetensors_entry *entry, int dims,
                                             const int64_t *shape);

/** Reads elements first..first+count-1 of a tensor into out [count], as float. Local.
 *
 * F32, F16 and BF16 are exact; F64 is rounded to nearest.
 * @return MR_OK, MR_ERR_ARG (range outside the tensor), MR_ERR_FORMAT (another element type, or a
 *         finite F64 beyond the range of F32), MR_ERR_IO */
MR_NODISCARD mr_status mr_safetensors_read_f32(const mr_safetensors *file,
                                               const mr_safetensors_entry *entry, int64_t first,
                                               int64_t count, float *out);

/** Returns the bytes of a tensor. Local. */
int64_t mr_safetensors_bytes(const mr_safetensors_entry *entry);

/** Reads bytes first..first+bytes-1 of a tensor as they stand in the file, of whatever type. Local.
 * @return MR_OK, MR_ERR_IO */
MR_NODISCARD mr_status mr_safetensors_read_raw(const mr_safetensors *file,
                                               const mr_safetensors_entry *entry, int64_t first,
                                               int64_t bytes, void *out);

/** Starts a file of tensors laid out in the order given, under a temporary name beside path,
 * and reserves its whole size on the disk. Local, one process.
 * @param specs  [n_specs], copied
 * @param pairs  [n_pairs] metadata, copied; may be NULL where n_pairs is 0
 * @return MR_OK, MR_ERR_ARG (names, shapes, types), MR_ERR_IO (the disk is full), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_safetensors_create(const char *path, const mr_safetensors_spec *specs,
                                             int64_t n_specs, const mr_safetensors_pair *pairs,
                                             int64_t n_pairs, mr_safetensors_writer **out);

/** Writes elements first..first+count-1 of tensor index from data [count], rounded to the nearest
 * of its type, ties to even; ranges may come in any order, each element once. Local.
 * @return MR_OK, MR_ERR_ARG (range outside the tensor, or written already), MR_ERR_NUMERIC (a
 *         finite element beyond the range of the type), MR_ERR_IO */
MR_NODISCARD mr_status mr_safetensors_write(mr_safetensors_writer *writer, int64_t index,
                                            int64_t first, const float *data, int64_t count);

/** Returns the header [*bytes] as it stands at the start of the file; the tensors' bytes follow in
 * their order. Borrowed until finish. */
const char *mr_safetensors_header(const mr_safetensors_writer *writer, size_t *bytes);

/** As mr_safetensors_write, for threads: records no message, and allocates nothing while ranges
 * come in the order of the file. What is written is taken into hash; NULL: none. Local.
 * @return 0 or an error number: EINVAL (range outside the tensor), EEXIST (written already), ERANGE
 *         (beyond the range of the type) */
int mr_safetensors_put(mr_safetensors_writer *writer, int64_t index, int64_t first,
                       const float *data, int64_t count, mr_hash *hash);

/** Syncs what has been written, so that finish need not wait for the disk; for threads. Local.
 * @return 0 or an error number */
int mr_safetensors_sync(mr_safetensors_writer *writer);

/** Syncs the file, renames it to its path, syncs its folder, frees *writer and sets it to NULL; a
 * failure also frees it, and leaves what stood at the path. Local.
 * @return MR_OK, MR_ERR_ARG (an element was not written; message names its tensor), MR_ERR_IO (also
 *         where the new file stands at its path but may not outlive a stop of the machine) */
MR_NODISCARD mr_status mr_safetensors_finish(mr_safetensors_writer **writer);

/** Removes the temporary file, frees *writer and sets it to NULL; NULL is allowed. Local. */
void mr_safetensors_abandon(mr_safetensors_writer **writer);

#endif
