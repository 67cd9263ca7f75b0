#include "base/file.h"
#include "base/log.h"
#include "store/checkpoint.h"
#include "store/checkpoint_folder.h"
#include "store/checkpoint_manifest.h"
#include "store/checkpoint_shard.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ANY_STEP = -1,
    MANIFEST_MOST = 1 << 28, /* bytes; a line of 120 for each of two million files and parts */
    PIECE = 1 << 18,         /* elements read at once */
};

struct mr_checkpoint {
    char *path; /* owned */
    mr_manifest manifest;
    int64_t *changed;     /* [ranks] when each shard was last written to, in nanoseconds; owned */
    mr_safetensors *file; /* the shard read last; owned; NULL while none is open */
    int64_t file_rank;    /* its rank */
};

/* What is not there is damage; what the system does not let us read now may be sound. */
static mr_status status_of(int failure)
{
    bool absent = failure == ENOENT || failure == ENOTDIR || failure == ELOOP;
    return absent ? MR_ERR_FORMAT : MR_ERR_IO;
}

static int64_t written_at(const struct stat *about)
{
    return (int64_t)about->st_mtim.tv_sec * 1000000000 + about->st_mtim.tv_nsec;
}

static mr_status look_at_manifest(const char *path, const char *file)
{
    struct stat about;
    MR_CHECK(stat(file, &about) == 0, status_of(errno), "%s: %s: %s", path, MR_CHECKPOINT_MANIFEST,
             strerror(errno));
    MR_CHECK(S_ISREG(about.st_mode), MR_ERR_FORMAT, "%s: %s: not a regular file", path,
             MR_CHECKPOINT_MANIFEST);
    MR_CHECK(about.st_size <= MANIFEST_MOST, MR_ERR_FORMAT,
             "%s: %s: %" PRId64 " bytes, at most %d are read", path, MR_CHECKPOINT_MANIFEST,
             (int64_t)about.st_size, MANIFEST_MOST);
    return MR_OK;
}

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
        if (status == MR_OK) status = look_at_manifest(path, file);
        if (status == MR_OK) status = mr_file_read(file, MR_MEM_OTHER, text, bytes);
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

static mr_status shard_path(const mr_checkpoint *checkpoint, int64_t rank, char path[PATH_MAX],
                            char label[PATH_MAX])
{
    char name[MR_CHECKPOINT_NAME];
    mr_checkpoint_shard_name(rank, checkpoint->manifest.ranks, name);
    MR_TRY(mr_file_path(path, "%s/%s", checkpoint->path, name));
    return mr_file_path(label, "%s: %s", checkpoint->path, name);
}

/* Opens a shard and tells when it was last written to. */
static mr_status open_shard(const mr_checkpoint *checkpoint, int64_t rank, const char *path,
                            const char *label, int *handle, int64_t *changed)
{
    const int64_t expected = checkpoint->manifest.file[rank].bytes;
    struct stat about;
    /* What is no file, as a pipe without a writer, must not be waited for. */
    *handle = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    MR_CHECK(*handle >= 0, status_of(errno), "%s: %s", label, strerror(errno));
    mr_status status = MR_OK;
    if (fstat(*handle, &about) != 0)
        status = mr_fail(MR_ERR_IO, "%s: %s", label, strerror(errno));
    else if (!S_ISREG(about.st_mode))
        status = mr_fail(MR_ERR_FORMAT, "%s: not a regular file", label);
    else if (about.st_size != expected)
        status = mr_fail(MR_ERR_FORMAT, "%s: %" PRId64 " bytes, expected %" PRId64, label,
                         (int64_t)about.st_size, expected);
    if (status == MR_OK) *changed = written_at(&about);
    if (status != MR_OK) close(*handle);
    return status;
}

/* Finds elements begin..end-1 of a tensor in the shard that holds them. */
static mr_status find_entry(const mr_safetensors *file, const mr_manifest_tensor *tensor,
                            int64_t begin, int64_t end, const mr_safetensors_entry **entry)
{
    char name[MR_CHECKPOINT_ENTRY];
    const int64_t count = end - begin;
    mr_checkpoint_entry_name(tensor->name, begin, end, tensor->extent, name);
    *entry = mr_safetensors_find(file, name);
    const char *label = mr_safetensors_path(file);
    MR_CHECK(*entry, MR_ERR_FORMAT, "%s: no tensor '%s'", label, name);
    const char *dtype = mr_safetensors_dtype_name((*entry)->dtype);
    MR_CHECK(strcmp(dtype, tensor->dtype) == 0, MR_ERR_FORMAT,
             "%s: tensor '%s': dtype: expected %.16s, found %s", label, name, tensor->dtype, dtype);
    if (count == tensor->extent)
        return mr_safetensors_expect(file, *entry, tensor->dims, tensor->shape);
    return mr_safetensors_expect(file, *entry, 1, &count);
}

/* Compares the header of a shard with the manifest. */
static mr_status check_entries(const mr_manifest *manifest, int64_t rank,
                               const mr_safetensors *file)
{
    const mr_safetensors_entry *entry;
    int64_t parts = 0, begin, end;
    for (int64_t i = 0; i < manifest->tensors; i++) {
        const mr_manifest_tensor *tensor = &manifest->tensor[i];
        if (!mr_manifest_part_in(tensor, rank, &begin, &end)) continue;
        MR_TRY(find_entry(file, tensor, begin, end, &entry));
        parts++;
    }
    MR_CHECK(mr_safetensors_count(file) == parts, MR_ERR_FORMAT,
             "%s: %" PRId64 " tensors, the manifest has %" PRId64, mr_safetensors_path(file),
             mr_safetensors_count(file), parts);
    return MR_OK;
}

/* Checks size, hash and header of a shard, which stays open. Local. */
static mr_status check_shard(mr_checkpoint *checkpoint, int64_t rank)
{
    char path[PATH_MAX], label[PATH_MAX], found[MR_HASH_TEXT];
    int handle;
    mr_safetensors_close(&checkpoint->file);
    MR_TRY(shard_path(checkpoint, rank, path, label));
    MR_TRY(open_shard(checkpoint, rank, path, label, &handle, &checkpoint->changed[rank]));
    mr_status status = mr_hash_handle(handle, path, found, NULL);
    if (status == MR_OK && strcmp(found, checkpoint->manifest.file[rank].sha256) != 0)
        status = mr_fail(MR_ERR_FORMAT, "%s: checksum differs", label);
    if (status != MR_OK) {
        close(handle);
        return status;
    }
    MR_TRY(mr_safetensors_take(handle, label, &checkpoint->file));
    checkpoint->file_rank = rank;
    return check_entries(&checkpoint->manifest, rank, checkpoint->file);
}

/* Checks all shards. Collective. */
static mr_status check_shards(const mr_comm *comm, mr_checkpoint *checkpoint)
{
    const int64_t ranks = checkpoint->manifest.ranks;
    checkpoint->changed = mr_alloc_array(MR_MEM_OTHER, (size_t)ranks, sizeof *checkpoint->changed);
    MR_AGREE(comm, checkpoint->changed ? MR_OK : MR_ERR_MEMORY);
    mr_status status = MR_OK;
    int64_t rank = comm->rank;
    for (; rank < ranks; rank += comm->size) {
        status = check_shard(checkpoint, rank);
        if (status != MR_OK) break;
    }
    MR_TRY(mr_comm_agree_first(comm, status, rank));
    /* Every rank knows of the shards it has checked and holds zeros for the others. */
    mr_comm_sum_i64(comm, checkpoint->changed, ranks);
    return MR_OK;
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
        /* What is short of memory, cannot be read now or is another program's is no damage. */
        if (status != MR_ERR_FORMAT) return status;
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

int64_t mr_checkpoint_tensors(const mr_checkpoint *checkpoint)
{
    return checkpoint->manifest.tensors;
}

const char *mr_checkpoint_tensor(const mr_checkpoint *checkpoint, int64_t i, int *dims,
                                 const int64_t **shape)
{
    MR_INVARIANT(i >= 0 && i < checkpoint->manifest.tensors);
    const mr_manifest_tensor *tensor = &checkpoint->manifest.tensor[i];
    *dims = tensor->dims;
    *shape = tensor->shape;
    return tensor->name;
}

/* Looks a slab's tensor up and compares the shapes. */
static mr_status find_tensor(const mr_checkpoint *checkpoint, const mr_checkpoint_slab *slab,
                             const mr_manifest_tensor **tensor)
{
    int64_t extent;
    MR_INVARIANT(mr_checkpoint_extent(slab->dims, slab->shape, &extent));
    MR_INVARIANT(slab->first >= 0 && slab->count >= 0 && slab->first <= extent &&
                 slab->count <= extent - slab->first);
    const mr_manifest_tensor *found = mr_manifest_find(&checkpoint->manifest, slab->name);
    MR_CHECK(found, MR_ERR_FORMAT, "%s: no tensor '%s'", checkpoint->path, slab->name);
    *tensor = found;
    if (found->dims == slab->dims &&
        memcmp(found->shape, slab->shape, (size_t)slab->dims * sizeof *slab->shape) == 0)
        return MR_OK;
    char stated[MR_SAFETENSORS_SHAPE], expected[MR_SAFETENSORS_SHAPE];
    return mr_fail(MR_ERR_FORMAT, "%s: tensor '%s' has shape %s, expected %s", checkpoint->path,
                   slab->name, mr_safetensors_shape(stated, found->dims, found->shape),
                   mr_safetensors_shape(expected, slab->dims, slab->shape));
}

/* Fails unless the open shard is as it was when it was checked. */
static mr_status check_unchanged(const mr_checkpoint *checkpoint)
{
    struct stat about;
    const int64_t rank = checkpoint->file_rank;
    const char *label = mr_safetensors_path(checkpoint->file);
    MR_CHECK(fstat(mr_safetensors_handle(checkpoint->file), &about) == 0, MR_ERR_IO, "%s: %s",
             label, strerror(errno));
    MR_CHECK(about.st_size == checkpoint->manifest.file[rank].bytes &&
                 written_at(&about) == checkpoint->changed[rank],
             MR_ERR_IO, "%s: it has been changed since its checksum was tested", label);
    return MR_OK;
}

/* Opens a shard unless it is open; it stays so for what is read next. */
static mr_status use_shard(mr_checkpoint *checkpoint, int64_t rank)
{
    char path[PATH_MAX], label[PATH_MAX];
    if (checkpoint->file && checkpoint->file_rank == rank) return MR_OK;
    mr_safetensors_close(&checkpoint->file);
    MR_TRY(shard_path(checkpoint, rank, path, label));
    int handle = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    MR_CHECK(handle >= 0, MR_ERR_IO, "%s: %s", label, strerror(errno));
    MR_TRY(mr_safetensors_take(handle, label, &checkpoint->file));
    checkpoint->file_rank = rank;
    return check_unchanged(checkpoint);
}

/* A reading under way. */
typedef struct reading {
    mr_checkpoint *checkpoint;
    const mr_checkpoint_slab *slabs;
    const mr_manifest_tensor **tensors; /* of slabs; owned */
    float *piece;                       /* [PIECE]; owned */
    mr_checkpoint_sink sink;
    void *context;
} reading;

/* Hands on what one shard holds of one slab. */
static mr_status read_part(const reading *r, int64_t rank, int i)
{
    const mr_checkpoint_slab *slab = &r->slabs[i];
    const mr_safetensors_entry *entry;
    int64_t begin, end;
    if (!mr_manifest_part_in(r->tensors[i], rank, &begin, &end)) return MR_OK;
    int64_t at = slab->first > begin ? slab->first : begin;
    int64_t stop = slab->first + slab->count < end ? slab->first + slab->count : end;
    if (at >= stop) return MR_OK;
    MR_TRY(use_shard(r->checkpoint, rank));
    const mr_safetensors *file = r->checkpoint->file;
    MR_TRY(find_entry(file, r->tensors[i], begin, end, &entry));
    for (; at < stop; at += PIECE) {
        int64_t count = stop - at < PIECE ? stop - at : PIECE;
        MR_TRY(mr_safetensors_read_f32(file, entry, at - begin, count, r->piece));
        r->sink(r->context, i, at, count, r->piece);
    }
    return MR_OK;
}

/* Reads all that is wanted of one shard. */
static mr_status read_shard(const reading *r, int64_t rank, int count)
{
    for (int i = 0; i < count; i++)
        MR_TRY(read_part(r, rank, i));
    bool used = r->checkpoint->file && r->checkpoint->file_rank == rank;
    return used ? check_unchanged(r->checkpoint) : MR_OK;
}

mr_status mr_checkpoint_read(mr_checkpoint *checkpoint, const mr_checkpoint_slab *slabs, int count,
                             mr_checkpoint_sink sink, void *context)
{
    reading r = {.checkpoint = checkpoint,
                 .slabs = slabs,
                 .tensors =
                     mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof(mr_manifest_tensor *)),
                 .piece = mr_alloc_array(MR_MEM_OTHER, PIECE, sizeof *r.piece),
                 .sink = sink,
                 .context = context};
    mr_status status = r.tensors && r.piece ? MR_OK : MR_ERR_MEMORY;
    for (int i = 0; i < count && status == MR_OK; i++)
        status = find_tensor(checkpoint, &slabs[i], &r.tensors[i]);
    for (int64_t rank = 0; rank < checkpoint->manifest.ranks && status == MR_OK; rank++)
        status = read_shard(&r, rank, count);
    mr_free(r.tensors);
    mr_free(r.piece);
    return status;
}

void mr_checkpoint_close(mr_checkpoint **checkpoint)
{
    mr_checkpoint *old = *checkpoint;
    if (!old) return;
    mr_safetensors_close(&old->file);
    mr_manifest_free(&old->manifest);
    mr_free(old->changed);
    mr_free(old->path);
    mr_free(old);
    *checkpoint = NULL;
}
