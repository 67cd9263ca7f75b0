#include "corpus/shard_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { ROOM = 1 << 18 }; /* bytes written at once; a multiple of a token's */

static mr_status begin(mr_shard_writer *w, const char *path)
{
    MR_TRY(mr_file_path(w->path, "%s", path));
    if (!w->buffer) w->buffer = mr_alloc(MR_MEM_DATA, ROOM);
    if (!w->buffer) return MR_ERR_MEMORY;
    MR_TRY(mr_hash_create(&w->hash));
    w->used = 0;
    w->written = 0;
    w->handle = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->handle >= 0) return MR_OK;
    mr_status status = mr_fail(MR_ERR_IO, "cannot create '%s': %s", path, strerror(errno));
    mr_hash_destroy(&w->hash);
    return status;
}

static mr_status flush(mr_shard_writer *w)
{
    int failure = mr_file_write_at(w->handle, w->buffer, w->used, w->written);
    MR_CHECK(failure == 0, MR_ERR_IO, "cannot write '%s': %s", w->path, strerror(failure));
    mr_hash_add(w->hash, w->buffer, w->used);
    w->written += (int64_t)w->used;
    w->used = 0;
    return MR_OK;
}

/* Puts ids into the buffer as little-endian integers, whatever the order of this machine. */
static void put(mr_shard_writer *w, const int32_t *ids, int64_t count)
{
    unsigned char *to = w->buffer + w->used;
    if (w->token_bytes == 2) {
        for (int64_t i = 0; i < count; i++) {
            to[2 * i] = (unsigned char)((uint32_t)ids[i] & 0xff);
            to[2 * i + 1] = (unsigned char)((uint32_t)ids[i] >> 8 & 0xff);
        }
    } else {
        for (int64_t i = 0; i < count; i++)
            for (int byte = 0; byte < 4; byte++)
                to[4 * i + byte] = (unsigned char)((uint32_t)ids[i] >> (8 * byte) & 0xff);
    }
    w->used += (size_t)(count * w->token_bytes);
}

mr_status mr_shard_writer_add(mr_shard_writer *w, const char *path, const int32_t *ids,
                              int64_t count)
{
    if (count > 0 && w->tokens == 0) MR_TRY(begin(w, path));
    w->tokens += count;
    while (count > 0) {
        int64_t room = (int64_t)(ROOM - w->used) / w->token_bytes;
        int64_t part = count < room ? count : room;
        put(w, ids, part);
        if (w->used == ROOM) MR_TRY(flush(w));
        ids += part;
        count -= part;
    }
    return MR_OK;
}

mr_status mr_shard_writer_end(mr_shard_writer *w, int64_t *tokens, char sha256[MR_HASH_TEXT])
{
    *tokens = w->tokens;
    if (w->tokens == 0) return MR_OK;
    mr_status status = flush(w);
    if (status == MR_OK && fsync(w->handle) != 0)
        status = mr_fail(MR_ERR_IO, "cannot write '%s': %s", w->path, strerror(errno));
    if (close(w->handle) != 0 && status == MR_OK)
        status = mr_fail(MR_ERR_IO, "cannot write '%s': %s", w->path, strerror(errno));
    mr_hash_finish(&w->hash, sha256);
    w->tokens = 0;
    return status;
}

void mr_shard_writer_free(mr_shard_writer *w)
{
    if (w->hash) close(w->handle);
    mr_hash_destroy(&w->hash);
    mr_free(w->buffer);
    *w = (mr_shard_writer){.tokens = 0};
}
