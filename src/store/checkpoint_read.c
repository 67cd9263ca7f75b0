#include "base/file.h"
#include "base/log.h"
#include "store/checkpoint.h"
#include "store/checkpoint_folder.h"
#include "store/checkpoint_manifest.h"
#include "store/checkpoint_shard.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
    ANY_STEP = -1,
    MANIFEST_MOST = 1 << 28, /* bytes; a line of 120 for each of two million files and arrays */
};

struct mr_checkpoint {
    char *path; /* owned */
    mr_manifest manifest;
    mr_checkpoint_part *parts; /* [ranks, arrays]; owned */
    hid_t file;                /* the shard read last; owned; invalid while none is open */
    int64_t file_rank;         /* its rank */
};

/* Gives every rank the text of the manifest. Collective. */
static mr_status read_manifest_text(const mr_comm *comm, const char *path, char **text,
                                    size_t *bytes)
{
    *text = NULL;
    *bytes = 0;
    char file[PATH_MAX];
    mr_status status = MR_OK;
    if (comm->rank == 0) {
        status = mr_file_path(file, "%s/%s", path, MR_CHECKPOINT_MANIFEST);
        struct stat size;
        if (status == MR_OK && stat(file, &size) == 0 && size.st_size > MANIFEST_MOST)
            status = mr_fail(MR_ERR_FORMAT, "%s: %s: %" PRId64 " bytes, at most %d are read", path,
                             MR_CHECKPOINT_MANIFEST, (int64_t)size.st_size, MANIFEST_MOST);
        if (status == MR_OK) status = mr_file_read(file, MR_MEM_OTHER, text, bytes);
        if (status == MR_ERR_IO) {
            struct stat about;
            if (stat(file, &about) != 0)
                mr_fail(status, "%s: %s: %s", path, MR_CHECKPOINT_MANIFEST, strerror(errno));
        }
    }
    MR_TRY(mr_comm_agree_root(comm, status));
    mr_comm_broadcast(comm, bytes, sizeof *bytes, 0);
    if (comm->rank > 0 && !(*text = mr_alloc(MR_MEM_OTHER, *bytes + 1))) status = MR_ERR_MEMORY;
    status = mr_comm_agree(comm, status);
    if (status == MR_OK) {
        mr_comm_broadcast(comm, *text, *bytes, 0);
    } else {
        mr_free(*text);
        *text = NULL;
    }
    return status;
}

/* Checks size, hash and contents of a shard; parts [arrays] gets what it holds. Local. */
static mr_status check_shard(const mr_checkpoint *checkpoint, int64_t rank,
                             mr_checkpoint_part *parts)
{
    const mr_manifest *manifest = &checkpoint->manifest;
    const mr_manifest_file *expected = &manifest->file[rank];
    char name[MR_CHECKPOINT_NAME], path[PATH_MAX], label[PATH_MAX], found[MR_HASH_TEXT];
    mr_checkpoint_shard_name(rank, manifest->ranks, name);
    MR_TRY(mr_file_path(path, "%s/%s", checkpoint->path, name));
    MR_TRY(mr_file_path(label, "%s: %s", checkpoint->path, name));
    struct stat about;
    MR_CHECK(stat(path, &about) == 0, MR_ERR_IO, "%s: %s", label, strerror(errno));
    MR_CHECK(S_ISREG(about.st_mode), MR_ERR_FORMAT, "%s: not a regular file", label);
    MR_CHECK(about.st_size == expected->bytes, MR_ERR_FORMAT,
             "%s: %" PRId64 " bytes, expected %" PRId64, label, (int64_t)about.st_size,
             expected->bytes);
    MR_TRY(mr_hash_file(path, found, NULL));
    MR_CHECK(strcmp(found, expected->sha256) == 0, MR_ERR_FORMAT, "%s: checksum differs", label);

    const mr_checkpoint_shard said = {rank, manifest->ranks, manifest->step};
    hid_t file;
    mr_status status = mr_checkpoint_shard_open(path, &said, &file);
    for (int64_t i = 0; i < manifest->arrays && status == MR_OK; i++)
        status = mr_checkpoint_shard_part(file, path, manifest->array[i].name,
                                          manifest->array[i].extent, &parts[i]);
    if (file >= 0) H5Fclose(file);
    return status;
}

/* Checks that the parts of all shards cover every array in order. Local, alike on every rank. */
static mr_status check_cover(const mr_checkpoint *checkpoint)
{
    const mr_manifest *manifest = &checkpoint->manifest;
    for (int64_t i = 0; i < manifest->arrays; i++) {
        int64_t at = 0;
        bool fits = true;
        for (int64_t rank = 0; rank < manifest->ranks && fits; rank++) {
            const mr_checkpoint_part *part = &checkpoint->parts[rank * manifest->arrays + i];
            fits = part->count == 0 ||
                   (part->first == at && part->count <= manifest->array[i].extent - at);
            at += part->count;
        }
        MR_CHECK(fits && at == manifest->array[i].extent, MR_ERR_FORMAT,
                 "%s: array %s: its shards do not cover its %" PRId64 " elements in order",
                 checkpoint->path, manifest->array[i].name, manifest->array[i].extent);
    }
    return MR_OK;
}

/* Checks all shards and finds where everything is. Collective. */
static mr_status check_shards(const mr_comm *comm, mr_checkpoint *checkpoint)
{
    const int64_t arrays = checkpoint->manifest.arrays, ranks = checkpoint->manifest.ranks;
    if (arrays == 0 || ranks <= INT64_MAX / arrays)
        checkpoint->parts =
            mr_alloc_array(MR_MEM_OTHER, (size_t)(arrays * ranks), sizeof *checkpoint->parts);
    MR_AGREE(comm, checkpoint->parts ? MR_OK : MR_ERR_MEMORY);
    mr_status status = MR_OK;
    int64_t rank = comm->rank;
    for (; rank < ranks; rank += comm->size) {
        status = check_shard(checkpoint, rank, &checkpoint->parts[rank * arrays]);
        if (status != MR_OK) break;
    }
    MR_TRY(mr_comm_agree_first(comm, status, rank));
    /* Every rank knows the parts of the shards it has checked and holds zeros for the others. */
    mr_comm_sum_i64(comm, &checkpoint->parts->first,
                    arrays * ranks * (int64_t)(sizeof *checkpoint->parts / sizeof(int64_t)));
    return check_cover(checkpoint);
}

/* Reads and checks all of a checkpoint. Collective. */
static mr_status load(const mr_comm *comm, mr_checkpoint *checkpoint, const char *path,
                      int64_t step)
{
    char *text = NULL, label[PATH_MAX];
    size_t bytes = 0;
    checkpoint->path = mr_strdup(path);
    MR_AGREE(comm, checkpoint->path ? MR_OK : MR_ERR_MEMORY);
    MR_TRY(read_manifest_text(comm, path, &text, &bytes));
    mr_status status = mr_file_path(label, "%s: %s", path, MR_CHECKPOINT_MANIFEST);
    if (status == MR_OK) status = mr_manifest_parse(label, text, bytes, &checkpoint->manifest);
    mr_free(text);
    if (status == MR_OK && step != ANY_STEP && checkpoint->manifest.step != step)
        status = mr_fail(MR_ERR_FORMAT, "%s: step: expected %" PRId64 ", found %" PRId64, label,
                         step, checkpoint->manifest.step);
    MR_AGREE(comm, status);
    return check_shards(comm, checkpoint);
}

/* Opens one checkpoint, of a step unless ANY_STEP. Collective. */
static mr_status open_one(const mr_comm *comm, const char *path, int64_t step, mr_checkpoint **out)
{
    *out = NULL;
    mr_checkpoint *checkpoint = mr_alloc(MR_MEM_OTHER, sizeof *checkpoint);
    if (checkpoint) checkpoint->file = H5I_INVALID_HID;
    mr_status status = mr_comm_agree(comm, checkpoint ? MR_OK : MR_ERR_MEMORY);
    if (status == MR_OK && checkpoint) status = load(comm, checkpoint, path, step);
    if (status != MR_OK)
        mr_checkpoint_close(&checkpoint);
    else
        *out = checkpoint;
    return status;
}

bool mr_checkpoint_is(const char *path)
{
    char file[PATH_MAX];
    struct stat about;
    int length = snprintf(file, sizeof file, "%s/%s", path, MR_CHECKPOINT_MANIFEST);
    return length > 0 && (size_t)length < sizeof file && stat(file, &about) == 0 &&
           S_ISREG(about.st_mode);
}

mr_status mr_checkpoint_open(const mr_comm *comm, const char *path, mr_checkpoint **out)
{
    return open_one(comm, path, ANY_STEP, out);
}

/* Tries the checkpoints of a folder, the latest first. Collective. */
static mr_status find_in(const mr_comm *comm, const char *folder,
                         const mr_checkpoint_entry *entries, int64_t count, mr_checkpoint **out,
                         mr_text *passed_over)
{
    for (int64_t i = 0; i < count; i++) {
        if (entries[i].kind == MR_CHECKPOINT_PARTIAL) continue;
        char path[PATH_MAX];
        mr_status status =
            mr_checkpoint_folder_path(folder, entries[i].step, entries[i].kind, path);
        if (status == MR_OK) status = open_one(comm, path, entries[i].step, out);
        /* What is short of memory says nothing about the checkpoint. */
        if (status == MR_OK || status == MR_ERR_MEMORY) return status;
        if (comm->rank == 0) mr_warn("%s; passed over", mr_message());
        if (passed_over) mr_text_add(passed_over, "%s; passed over\n", mr_message());
    }
    return MR_OK;
}

mr_status mr_checkpoint_find(const mr_comm *comm, const char *path, mr_checkpoint **out,
                             mr_text *passed_over)
{
    *out = NULL;
    char folder[PATH_MAX];
    MR_TRY(mr_file_path(folder, "%s", path));
    for (size_t end = strlen(folder); end > 1 && folder[end - 1] == '/'; end--)
        folder[end - 1] = '\0';

    /* Rank 0 looks, so that all see the same even where the folder changes at this moment. */
    mr_checkpoint_entry *entries = NULL;
    int64_t count = 0;
    mr_status status = MR_OK;
    int32_t is_one = mr_checkpoint_folder_named(folder) || mr_checkpoint_is(folder);
    if (comm->rank == 0 && !is_one) status = mr_checkpoint_folder_list(folder, &entries, &count);
    MR_TRY(mr_comm_agree_root(comm, status));
    mr_comm_broadcast(comm, &is_one, sizeof is_one, 0);
    if (is_one) return open_one(comm, folder, ANY_STEP, out);

    mr_comm_broadcast(comm, &count, sizeof count, 0);
    if (comm->rank > 0 && !(entries = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *entries)))
        status = MR_ERR_MEMORY;
    status = mr_comm_agree(comm, status);
    if (status == MR_OK && entries) {
        mr_comm_broadcast(comm, entries, (size_t)count * sizeof *entries, 0);
        status = find_in(comm, folder, entries, count, out, passed_over);
    }
    mr_free(entries);
    return status;
}

const char *mr_checkpoint_path(const mr_checkpoint *checkpoint)
{
    return checkpoint->path;
}

int64_t mr_checkpoint_step(const mr_checkpoint *checkpoint)
{
    return checkpoint->manifest.step;
}

int64_t mr_checkpoint_ranks(const mr_checkpoint *checkpoint)
{
    return checkpoint->manifest.ranks;
}

int64_t mr_checkpoint_bytes(const mr_checkpoint *checkpoint)
{
    int64_t bytes = 0;
    for (int64_t rank = 0; rank < checkpoint->manifest.ranks; rank++)
        bytes += checkpoint->manifest.file[rank].bytes;
    return bytes;
}

const json_t *mr_checkpoint_state(const mr_checkpoint *checkpoint)
{
    return checkpoint->manifest.state;
}

int64_t mr_checkpoint_arrays(const mr_checkpoint *checkpoint)
{
    return checkpoint->manifest.arrays;
}

const char *mr_checkpoint_array(const mr_checkpoint *checkpoint, int64_t i, int64_t *extent)
{
    MR_INVARIANT(i >= 0 && i < checkpoint->manifest.arrays);
    *extent = checkpoint->manifest.array[i].extent;
    return checkpoint->manifest.array[i].name;
}

static int64_t find_array(const mr_checkpoint *checkpoint, const char *name)
{
    for (int64_t i = 0; i < checkpoint->manifest.arrays; i++)
        if (strcmp(checkpoint->manifest.array[i].name, name) == 0) return i;
    return -1;
}

/* Reads elements of one shard; it stays open for what is read next. */
static mr_status read_part(mr_checkpoint *checkpoint, int64_t rank, const char *name, int64_t at,
                           int64_t count, float *out)
{
    char path[PATH_MAX], shard[MR_CHECKPOINT_NAME];
    const mr_checkpoint_shard said = {rank, checkpoint->manifest.ranks, checkpoint->manifest.step};
    mr_checkpoint_shard_name(rank, said.ranks, shard);
    MR_TRY(mr_file_path(path, "%s/%s", checkpoint->path, shard));
    if (checkpoint->file >= 0 && checkpoint->file_rank != rank) {
        H5Fclose(checkpoint->file);
        checkpoint->file = H5I_INVALID_HID;
    }
    if (checkpoint->file < 0) MR_TRY(mr_checkpoint_shard_open(path, &said, &checkpoint->file));
    checkpoint->file_rank = rank;
    return mr_checkpoint_shard_read(checkpoint->file, path, name, at, count, out);
}

mr_status mr_checkpoint_read_slab(mr_checkpoint *checkpoint, const char *name, int64_t extent,
                                  int64_t first, int64_t count, float *out)
{
    const mr_manifest *manifest = &checkpoint->manifest;
    int64_t array = find_array(checkpoint, name);
    MR_CHECK(array >= 0, MR_ERR_FORMAT, "%s: no array '%s'", checkpoint->path, name);
    MR_CHECK(manifest->array[array].extent == extent, MR_ERR_FORMAT,
             "%s: array '%s' has %" PRId64 " elements, expected %" PRId64, checkpoint->path, name,
             manifest->array[array].extent, extent);
    MR_INVARIANT(first >= 0 && count >= 0 && first <= extent && count <= extent - first);
    for (int64_t rank = 0; rank < manifest->ranks; rank++) {
        const mr_checkpoint_part *part = &checkpoint->parts[rank * manifest->arrays + array];
        int64_t from = first > part->first ? first : part->first;
        int64_t end =
            first + count < part->first + part->count ? first + count : part->first + part->count;
        if (from < end)
            MR_TRY(read_part(checkpoint, rank, name, from - part->first, end - from,
                             out + (from - first)));
    }
    return MR_OK;
}

void mr_checkpoint_close(mr_checkpoint **checkpoint)
{
    mr_checkpoint *old = *checkpoint;
    if (!old) return;
    if (old->file >= 0) H5Fclose(old->file);
    mr_manifest_free(&old->manifest);
    mr_free(old->parts);
    mr_free(old->path);
    mr_free(old);
    *checkpoint = NULL;
}
