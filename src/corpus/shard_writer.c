#include "corpus/shard_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { ROOM = 1 << 18 }; /* bytes written at once; a multiple of a token's and a document's */

static mr_status begin(mr_shard_file *f)
{
    if (!f->buffer) f->buffer = mr_alloc(MR_MEM_DATA, ROOM);
    if (!f->buffer) return MR_ERR_MEMORY;
    MR_TRY(mr_hash_create(&f->hash));
    f->used = 0;
    f->written = 0;
    f->handle = open(f->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (f->handle >= 0) return MR_OK;
    mr_status status = mr_fail(MR_ERR_IO, "cannot create '%s': %s", f->path, strerror(errno));
    mr_hash_destroy(&f->hash);
    return status;
}

static mr_status flush(mr_shard_file *f)
{
    int failure = mr_file_write_at(f->handle, f->buffer, f->used, f->written);
    MR_CHECK(failure == 0, MR_ERR_IO, "cannot write '%s': %s", f->path, strerror(failure));
    mr_hash_add(f->hash, f->buffer, f->used);
    f->written += (int64_t)f->used;
    f->used = 0;
    return MR_OK;
}

static mr_status end(mr_shard_file *f, char sha256[MR_HASH_TEXT])
{
    mr_status status = flush(f);
    if (status == MR_OK && fsync(f->handle) != 0)
        status = mr_fail(MR_ERR_IO, "cannot write '%s': %s", f->path, strerror(errno));
    if (close(f->handle) != 0 && status == MR_OK)
        status = mr_fail(MR_ERR_IO, "cannot write '%s': %s", f->path, strerror(errno));
    mr_hash_finish(&f->hash, sha256);
    return status;
}

/* Puts integers of 2 or 4 bytes into the buffer, little-endian whatever the order of this machine,
 * with the highest bit where marks says so. */
static void put(mr_shard_file *f, int size, const int32_t *ids, const uint8_t *marks, int64_t count)
{
    unsigned char *to = f->buffer + f->used;
    const int shift = 8 * size - 1;
    for (int64_t i = 0; i < count; i++, to += size) {
        const uint32_t value = (uint32_t)ids[i] | (uint32_t)(marks && marks[i]) << shift;
        to[0] = (unsigned char)(value & 0xff);
        to[1] = (unsigned char)(value >> 8 & 0xff);
        if (size == 2) continue;
        to[2] = (unsigned char)(value >> 16 & 0xff);
        to[3] = (unsigned char)(value >> 24);
    }
    f->used += (size_t)(count * size);
}

static mr_status add(mr_shard_file *f, int size, const int32_t *ids, const uint8_t *marks,
                     int64_t count)
{
    while (count > 0) {
        const int64_t room = (int64_t)(ROOM - f->used) / size;
        const int64_t part = count < room ? count : room;
        put(f, size, ids, marks, part);
        if (f->used == ROOM) MR_TRY(flush(f));
        ids += part;
        if (marks) marks += part;
        count -= part;
    }
    return MR_OK;
}

mr_status mr_shard_writer_add(mr_shard_writer *w, const char *path, const int32_t *ids,
                              const uint8_t *learned, int64_t count, mr_token_document *out)
{
    *out = mr_token_document_of(learned, count);
    MR_INVARIANT(w->marked == (learned != NULL));
    if (w->documents == 0) {
        MR_TRY(mr_file_path(w->file.path, "%s", path));
        MR_TRY(mr_token_index_path(w->index.path, path));
        MR_TRY(begin(&w->file));
        MR_TRY(begin(&w->index));
    }
    w->documents++;
    w->tokens += count;
    const int32_t record[] = {(int32_t)out->tokens, (int32_t)out->learned,
                              (int32_t)out->first_learned, (int32_t)out->behind_learned};
    MR_TRY(add(&w->index, sizeof record[0], record, NULL, sizeof record / sizeof record[0]));
    return add(&w->file, w->token_bytes, ids, learned, count);
}

mr_status mr_shard_writer_end(mr_shard_writer *w, mr_token_manifest_shard *out)
{
    out->tokens = w->tokens;
    out->documents = w->documents;
    if (w->documents == 0) return MR_OK;
    w->tokens = w->documents = 0;
    MR_TRY(end(&w->file, out->sha256));
    return end(&w->index, out->index_sha256);
}

static void free_file(mr_shard_file *f)
{
    if (f->hash) close(f->handle);
    mr_hash_destroy(&f->hash);
    mr_free(f->buffer);
}

void mr_shard_writer_free(mr_shard_writer *w)
{
    free_file(&w->file);
    free_file(&w->index);
    *w = (mr_shard_writer){.tokens = 0};
}
