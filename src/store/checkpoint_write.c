#include "base/file.h"
#include "base/thread.h"
#include "store/checkpoint.h"
#include "store/checkpoint_folder.h"
#include "store/checkpoint_manifest.h"
#include "store/checkpoint_shard.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum {
    PIECE = 1 << 18, /* elements read and written at once */
    FILE_WORDS = 1 + (MR_HASH_TEXT - 1) / (int)sizeof(int64_t), /* a file's size and digest */
};

struct mr_checkpointer {
    const mr_comm *comm; /* borrowed */
    char *folder;        /* owned */
    int64_t keep;
    int count;
    mr_checkpoint_slab *slabs; /* [count], owned with their names */
    int64_t parts;             /* of all ranks that are not empty */
    mr_manifest_part *part;    /* [parts], by rank and slab; owned */
    float *staging;            /* all parts of this rank one after another; NULL: not staged */
    float *piece;              /* [PIECE]; owned */

    bool under_way; /* a checkpoint was started: the same on every rank */
    int64_t step;
    json_t *state; /* rank 0; owned */

    /* The write of this rank's shard. While the thread runs, all of it is the thread's. */
    char path[PATH_MAX];
    mr_safetensors_writer *writer; /* owned; NULL once finished */
    mr_hash *hash;                 /* of what is written, from the first byte on; owned */
    mr_checkpoint_source source;   /* not staged */
    void *context;                 /* not staged */
    int64_t bytes;                 /* written and hashed */
    int failure;                   /* error number; 0: none */
    mr_thread thread;
    atomic_bool given_up; /* the thread should end soon */
};

static mr_status check_slab(const mr_checkpoint_slab *slab)
{
    int64_t extent;
    size_t length = strlen(slab->name);
    MR_CHECK(length > 0 && length < MR_CHECKPOINT_TENSOR && !strpbrk(slab->name, "[]"), MR_ERR_ARG,
             "checkpoint tensor '%.64s': not a name", slab->name);
    MR_CHECK(mr_checkpoint_extent(slab->dims, slab->shape, &extent), MR_ERR_ARG,
             "checkpoint tensor '%s': its shape is none", slab->name);
    MR_CHECK(slab->count >= 0 && slab->first >= 0 && slab->count <= extent &&
                 slab->first <= extent - slab->count,
             MR_ERR_ARG,
             "checkpoint tensor '%s': %" PRId64 " elements from %" PRId64
             " are not within %" PRId64,
             slab->name, slab->count, slab->first, extent);
    return MR_OK;
}

/* Compares names and shapes with those of rank 0, by their hash. Collective. */
static mr_status check_same(const mr_comm *comm, const mr_checkpoint_slab *slabs, int count)
{
    mr_hash *hash = NULL;
    mr_status status = mr_hash_create(&hash);
    MR_AGREE(comm, status);
    for (int i = 0; i < count; i++) {
        mr_hash_add(hash, slabs[i].name, strlen(slabs[i].name) + 1);
        mr_hash_add(hash, slabs[i].shape, (size_t)slabs[i].dims * sizeof *slabs[i].shape);
    }
    char mine[MR_HASH_TEXT], first[MR_HASH_TEXT];
    mr_hash_finish(&hash, mine);
    memcpy(first, mine, sizeof first);
    mr_comm_broadcast(comm, first, sizeof first, 0);
    if (strcmp(mine, first) != 0)
        status = mr_fail(MR_ERR_ARG, "checkpoint tensors: names or shapes differ from rank 0");
    return mr_comm_agree(comm, status);
}

/* Lists the parts of all ranks that are not empty. Collective. */
static mr_status gather_parts(mr_checkpointer *cp)
{
    const mr_comm *comm = cp->comm;
    int64_t *counts = mr_alloc_array(MR_MEM_OTHER, (size_t)comm->size, sizeof *counts), at = 0;
    mr_status status = mr_comm_agree(comm, counts ? MR_OK : MR_ERR_MEMORY);
    if (status == MR_OK && counts) {
        for (int i = 0; i < cp->count; i++)
            counts[comm->rank] += cp->slabs[i].count > 0;
        mr_comm_sum_i64(comm, counts, comm->size);
        for (int rank = 0; rank < comm->size; rank++) {
            if (rank == comm->rank) at = cp->parts;
            cp->parts += counts[rank];
        }
        cp->part = mr_alloc_array(MR_MEM_OTHER, (size_t)cp->parts, sizeof *cp->part);
        status = mr_comm_agree(comm, cp->part ? MR_OK : MR_ERR_MEMORY);
    }
    mr_free(counts);
    if (status != MR_OK || !cp->part) return status;
    for (int i = 0; i < cp->count; i++) {
        const mr_checkpoint_slab *slab = &cp->slabs[i];
        if (slab->count > 0)
            cp->part[at++] =
                (mr_manifest_part){i, comm->rank, slab->first, slab->first + slab->count};
    }
    mr_comm_sum_i64(comm, &cp->part->tensor,
                    cp->parts * (int64_t)(sizeof *cp->part / sizeof(int64_t)));
    return MR_OK;
}

/* Checks that the parts of all ranks, in their order, cover every tensor. Local, alike on every
 * rank. */
static mr_status check_covers(const mr_checkpointer *cp)
{
    int64_t *next = mr_alloc_array(MR_MEM_OTHER, (size_t)cp->count, sizeof *next), extent;
    if (!next) return MR_ERR_MEMORY;
    /* Where one does not begin where that before it ended, nothing can follow. */
    for (int64_t i = 0; i < cp->parts; i++) {
        const mr_manifest_part *part = &cp->part[i];
        next[part->tensor] = part->begin == next[part->tensor] ? part->end : -1;
    }
    mr_status status = MR_OK;
    for (int i = 0; i < cp->count && status == MR_OK; i++) {
        const mr_checkpoint_slab *slab = &cp->slabs[i];
        MR_INVARIANT(mr_checkpoint_extent(slab->dims, slab->shape, &extent));
        if (next[i] != extent)
            status = mr_fail(MR_ERR_ARG,
                             "checkpoint tensor '%s': the parts of the ranks do not cover its "
                             "%" PRId64 " elements in order",
                             slab->name, extent);
    }
    mr_free(next);
    return status;
}

/* Copies what the caller gave and allocates all a checkpoint needs. Local. */
static mr_status fill(mr_checkpointer *cp, const char *folder, const mr_checkpoint_slab *slabs,
                      int count, size_t staging)
{
    size_t n = (size_t)count;
    if (!(cp->folder = mr_strdup(folder))) return MR_ERR_MEMORY;
    if (!(cp->slabs = mr_alloc_array(MR_MEM_OTHER, n, sizeof *cp->slabs))) return MR_ERR_MEMORY;
    for (cp->count = 0; cp->count < count; cp->count++) {
        cp->slabs[cp->count] = slabs[cp->count];
        cp->slabs[cp->count].name = mr_strdup(slabs[cp->count].name);
        if (!cp->slabs[cp->count].name) return MR_ERR_MEMORY;
    }
    cp->piece = mr_alloc_array(MR_MEM_OTHER, PIECE, sizeof *cp->piece);
    if (!cp->piece) return MR_ERR_MEMORY;
    if (staging == 0) return MR_OK;
    cp->staging = mr_alloc(MR_MEM_CHECKPOINT, staging);
    return cp->staging ? MR_OK : MR_ERR_MEMORY;
}

mr_status mr_checkpointer_create(const mr_comm *comm, const char *folder, int64_t keep,
                                 const mr_checkpoint_slab *slabs, int count, size_t staging,
                                 mr_checkpointer **out)
{
    *out = NULL;
    mr_status status = MR_OK;
    size_t bytes = 0;
    if (keep < 1)
        status = mr_fail(MR_ERR_ARG, "%s: cannot keep %" PRId64 " checkpoints", folder, keep);
    for (int i = 0; i < count && status == MR_OK; i++) {
        status = check_slab(&slabs[i]);
        bytes += (size_t)slabs[i].count * sizeof(float);
    }
    MR_AGREE(comm, status);
    MR_INVARIANT(staging == 0 || bytes <= staging);
    MR_TRY(check_same(comm, slabs, count));

    mr_checkpointer *cp = mr_alloc(MR_MEM_OTHER, sizeof *cp);
    status = cp ? MR_OK : MR_ERR_MEMORY;
    if (cp) {
        cp->comm = comm;
        cp->keep = keep;
        atomic_init(&cp->given_up, false);
        status = fill(cp, folder, slabs, count, staging);
    }
    status = mr_comm_agree(comm, status);
    if (status == MR_OK) status = gather_parts(cp);
    if (status == MR_OK) status = mr_comm_agree(comm, check_covers(cp));
    if (status != MR_OK)
        mr_checkpointer_destroy(&cp);
    else
        *out = cp;
    return status;
}

/* Writes one part in pieces, so that giving up is noticed soon. Returns 0 or an error number. */
static int write_part(mr_checkpointer *cp, int64_t entry, int slab, const float *staged)
{
    int64_t all = cp->slabs[slab].count;
    for (int64_t at = 0; at < all; at += PIECE) {
        if (atomic_load(&cp->given_up)) return ECANCELED;
        int64_t count = all - at < PIECE ? all - at : PIECE;
        const float *values = staged ? staged + at : cp->piece;
        if (!staged) cp->source(cp->context, slab, cp->slabs[slab].first + at, count, cp->piece);
        int failure = mr_safetensors_put(cp->writer, entry, at, values, count, cp->hash);
        if (failure != 0) return failure;
        cp->bytes += count * mr_safetensors_dtype_bytes(cp->slabs[slab].dtype);
    }
    return 0;
}

static int write_parts(mr_checkpointer *cp)
{
    const float *staged = cp->staging;
    int64_t entry = 0;
    for (int i = 0; i < cp->count; i++) {
        if (cp->slabs[i].count == 0) continue;
        int failure = write_part(cp, entry++, i, staged);
        if (failure != 0) return failure;
        if (staged) staged += cp->slabs[i].count;
    }
    return mr_safetensors_sync(cp->writer);
}

/* Writes the data of this rank's shard. Runs in a thread of its own where staged: nothing in it may
 * allocate, record a message or call MPI. */
static void write_shard(void *context)
{
    mr_checkpointer *cp = context;
    cp->failure = write_parts(cp);
}

/* Ends a write at any stage and frees what belongs to it. Local. */
static void end_write(mr_checkpointer *cp)
{
    mr_thread_wait(&cp->thread);
    mr_safetensors_abandon(&cp->writer);
    mr_hash_destroy(&cp->hash);
    if (cp->state) json_decref(cp->state);
    cp->state = NULL;
    cp->under_way = false;
}

/* Ends a write that failed on some rank. The folder goes when no rank writes to it any more, and
 * no rank goes on before it is gone. Collective. */
static void give_up(mr_checkpointer *cp)
{
    atomic_store(&cp->given_up, true);
    end_write(cp);
    mr_comm_barrier(cp->comm);
    if (cp->comm->rank == 0) mr_checkpoint_folder_drop(cp->folder, cp->step);
    mr_comm_barrier(cp->comm);
}

/* What rank 0 does before the others come to the folder. */
static mr_status prepare(mr_checkpointer *cp, const json_t *state)
{
    if (!(cp->state = json_deep_copy(state)))
        return mr_fail(MR_ERR_MEMORY, "%s: cannot allocate the state", cp->folder);
    return mr_checkpoint_folder_begin(cp->folder, cp->step);
}

/* Makes the shard of this rank, without its data. Local. */
static mr_status make_shard(mr_checkpointer *cp)
{
    const mr_checkpoint_shard about = {cp->comm->rank, cp->comm->size, cp->step};
    char partial[PATH_MAX], name[MR_CHECKPOINT_NAME];
    mr_checkpoint_shard_name(about.rank, about.ranks, name);
    MR_TRY(mr_checkpoint_folder_path(cp->folder, cp->step, MR_CHECKPOINT_PARTIAL, partial));
    MR_TRY(mr_file_path(cp->path, "%s/%s", partial, name));
    MR_TRY(mr_hash_create(&cp->hash));
    MR_TRY(mr_checkpoint_shard_create(cp->path, &about, cp->slabs, cp->count, &cp->writer));
    size_t bytes;
    const char *header = mr_safetensors_header(cp->writer, &bytes);
    mr_hash_add(cp->hash, header, bytes);
    cp->bytes = (int64_t)bytes;
    return MR_OK;
}

mr_status mr_checkpointer_start(mr_checkpointer *cp, int64_t step, const json_t *state,
                                mr_checkpoint_source source, void *context)
{
    MR_INVARIANT(!cp->under_way && step >= 0);
    cp->step = step;
    cp->source = source;
    cp->context = context;
    cp->failure = 0;
    atomic_store(&cp->given_up, false);
    mr_status status = cp->comm->rank == 0 ? prepare(cp, state) : MR_OK;
    status = mr_comm_agree_root(cp->comm, status);
    if (status == MR_OK) status = mr_comm_agree(cp->comm, make_shard(cp));
    if (status != MR_OK) {
        give_up(cp);
        return status;
    }
    cp->under_way = true;
    if (!cp->staging) {
        write_shard(cp);
        return MR_OK;
    }
    float *to = cp->staging;
    for (int i = 0; i < cp->count; i++) {
        const mr_checkpoint_slab *slab = &cp->slabs[i];
        if (slab->count > 0) source(context, i, slab->first, slab->count, to);
        to += slab->count;
    }
    mr_thread_start(&cp->thread, write_shard, cp);
    return MR_OK;
}

bool mr_checkpointer_busy(const mr_checkpointer *cp)
{
    return mr_thread_busy(&cp->thread);
}

bool mr_checkpointer_under_way(const mr_checkpointer *cp)
{
    return cp->under_way;
}

/* Sums words that are zero on all ranks but one into those of the one: size and hash of every
 * shard, [size, FILE_WORDS], on every rank. Collective. */
static void gather_files(mr_checkpointer *cp, int64_t *words, mr_manifest_file *files)
{
    char digest[MR_HASH_TEXT];
    int64_t *own = &words[cp->comm->rank * FILE_WORDS];
    mr_hash_finish(&cp->hash, digest);
    own[0] = cp->bytes;
    memcpy(&own[1], digest, MR_HASH_TEXT - 1);
    mr_comm_sum_i64(cp->comm, words, (int64_t)cp->comm->size * FILE_WORDS);
    for (int rank = 0; rank < cp->comm->size; rank++) {
        files[rank].bytes = words[rank * FILE_WORDS];
        memcpy(files[rank].sha256, &words[rank * FILE_WORDS + 1], MR_HASH_TEXT - 1);
    }
}

/* What rank 0 does when all shards are written. */
static mr_status complete(mr_checkpointer *cp, const mr_manifest_file *files)
{
    char partial[PATH_MAX], manifest[PATH_MAX];
    MR_TRY(mr_checkpoint_folder_path(cp->folder, cp->step, MR_CHECKPOINT_PARTIAL, partial));
    MR_TRY(mr_file_path(manifest, "%s/%s", partial, MR_CHECKPOINT_MANIFEST));
    MR_TRY(mr_manifest_write(manifest, cp->step, cp->state, cp->slabs, cp->count, cp->part,
                             cp->parts, files, cp->comm->size));
    MR_TRY(mr_checkpoint_folder_publish(cp->folder, cp->step));
    mr_checkpoint_folder_prune(cp->folder, cp->step, cp->keep);
    return MR_OK;
}

mr_status mr_checkpointer_wait(mr_checkpointer *cp)
{
    if (!cp->under_way) return MR_OK;
    mr_thread_wait(&cp->thread);
    mr_status status = MR_OK;
    if (cp->failure != 0)
        status = mr_fail(MR_ERR_IO, "cannot write '%s': %s", cp->path, strerror(cp->failure));
    else if (cp->writer)
        status = mr_safetensors_finish(&cp->writer);
    status = mr_comm_agree(cp->comm, status);
    if (status != MR_OK) give_up(cp);
    return status;
}

void mr_checkpointer_cancel(mr_checkpointer *cp)
{
    if (cp->under_way) give_up(cp);
}

mr_status mr_checkpointer_finish(mr_checkpointer *cp)
{
    MR_TRY(mr_checkpointer_wait(cp));
    if (!cp->under_way) return MR_OK;
    size_t ranks = (size_t)cp->comm->size;
    mr_manifest_file *files = mr_alloc_array(MR_MEM_OTHER, ranks, sizeof *files);
    int64_t *words = mr_alloc_array(MR_MEM_OTHER, ranks * FILE_WORDS, sizeof *words);
    mr_status status = mr_comm_agree(cp->comm, files && words ? MR_OK : MR_ERR_MEMORY);
    if (status == MR_OK && files && words) {
        gather_files(cp, words, files);
        if (cp->comm->rank == 0) status = complete(cp, files);
        status = mr_comm_agree_root(cp->comm, status);
    }
    mr_free(files);
    mr_free(words);
    if (status == MR_OK)
        end_write(cp);
    else
        give_up(cp);
    return status;
}

void mr_checkpointer_destroy(mr_checkpointer **cp)
{
    mr_checkpointer *old = *cp;
    if (!old) return;
    bool unfinished = old->under_way;
    atomic_store(&old->given_up, true);
    end_write(old);
    if (unfinished) {
        /* Nobody is waited for: the last rank to come finds the folder empty. */
        unlink(old->path);
        char partial[PATH_MAX];
        if (mr_checkpoint_folder_path(old->folder, old->step, MR_CHECKPOINT_PARTIAL, partial) ==
            MR_OK)
            rmdir(partial);
    }
    for (int i = 0; i < old->count; i++)
        mr_free((char *)old->slabs[i].name);
    mr_free(old->slabs);
    mr_free(old->part);
    mr_free(old->staging);
    mr_free(old->piece);
    mr_free(old->folder);
    mr_free(old);
    *cp = NULL;
}
