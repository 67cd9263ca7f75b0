#include "store/checkpoint_folder.h"

#include "base/file.h"
#include "base/log.h"
#include "store/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void folder_name(int64_t step, mr_checkpoint_kind kind, char out[MR_CHECKPOINT_NAME])
{
    static const char *const formats[MR_CHECKPOINT_KINDS][2] = {
        [MR_CHECKPOINT_WHOLE] = {"", ""},
        [MR_CHECKPOINT_REPLACED] = {".", ".replaced"},
        [MR_CHECKPOINT_PARTIAL] = {".", ".partial"},
    };
    snprintf(out, MR_CHECKPOINT_NAME, "%sstep-%08" PRId64 "%s", formats[kind][0], step,
             formats[kind][1]);
}

void mr_checkpoint_shard_name(int64_t rank, int64_t ranks, char out[MR_CHECKPOINT_NAME])
{
    snprintf(out, MR_CHECKPOINT_NAME, "shard-%05" PRId64 "-of-%05" PRId64 ".safetensors", rank,
             ranks);
}

mr_status mr_checkpoint_folder_path(const char *folder, int64_t step, mr_checkpoint_kind kind,
                                    char out[PATH_MAX])
{
    char name[MR_CHECKPOINT_NAME];
    folder_name(step, kind, name);
    return mr_file_path(out, "%s/%s", folder, name);
}

/* Reads the number at text up to something that is no digit; -1 where there is none. */
static int64_t number_at(const char *text, const char **end)
{
    if (*text < '0' || *text > '9') return -1;
    char *after;
    errno = 0;
    intmax_t value = strtoimax(text, &after, 10);
    *end = after;
    return errno == 0 && value <= INT64_MAX ? (int64_t)value : -1;
}

/* Only names that we would have given ourselves are ours: each is made again and compared. */
static bool is_folder_name(const char *name, mr_checkpoint_entry *entry)
{
    const char *at = *name == '.' ? name + 1 : name;
    if (strncmp(at, "step-", 5) != 0) return false;
    entry->step = number_at(at + 5, &at);
    if (entry->step < 0) return false;
    for (int kind = 0; kind < MR_CHECKPOINT_KINDS; kind++) {
        char made[MR_CHECKPOINT_NAME];
        entry->kind = (mr_checkpoint_kind)kind;
        folder_name(entry->step, entry->kind, made);
        if (strcmp(made, name) == 0) return true;
    }
    return false;
}

static bool is_file_name(const char *name)
{
    static const char beside[] = ".tmp";
    char made[MR_CHECKPOINT_NAME + sizeof beside];
    if (strcmp(name, MR_CHECKPOINT_MANIFEST) == 0) return true;
    if (strcmp(name, MR_CHECKPOINT_MANIFEST ".tmp") == 0) return true;
    if (strncmp(name, "shard-", 6) != 0) return false;
    const char *at = name;
    int64_t rank = number_at(name + 6, &at);
    if (rank < 0 || strncmp(at, "-of-", 4) != 0) return false;
    mr_checkpoint_shard_name(rank, number_at(at + 4, &at), made);
    if (strcmp(made, name) == 0) return true;
    return strcmp(strcat(made, beside), name) == 0;
}

bool mr_checkpoint_folder_named(const char *path)
{
    const char *slash = strrchr(path, '/');
    mr_checkpoint_entry entry;
    return is_folder_name(slash ? slash + 1 : path, &entry) && entry.kind == MR_CHECKPOINT_WHOLE;
}

static int latest_first(const void *a, const void *b)
{
    const mr_checkpoint_entry *x = a, *y = b;
    if (x->step != y->step) return x->step > y->step ? -1 : 1;
    return x->kind < y->kind ? -1 : x->kind > y->kind;
}

mr_status mr_checkpoint_folder_list(const char *folder, mr_checkpoint_entry **entries,
                                    int64_t *count)
{
    *entries = NULL;
    *count = 0;
    DIR *handle = opendir(folder);
    int failure = errno;
    struct stat about;
    if (!handle && failure == ENOENT && lstat(folder, &about) != 0) return MR_OK;
    MR_CHECK(handle || failure != ENOENT, MR_ERR_IO, "'%s' is a link that leads nowhere", folder);
    MR_CHECK(handle, MR_ERR_IO, "cannot open '%s': %s", folder, strerror(failure));
    mr_status status = MR_OK;
    mr_checkpoint_entry *list = NULL;
    int64_t n = 0, room = 0;
    for (;;) {
        errno = 0;
        const struct dirent *item = readdir(handle);
        if (!item && errno != 0)
            status = mr_fail(MR_ERR_IO, "cannot read '%s': %s", folder, strerror(errno));
        if (!item) break;
        mr_checkpoint_entry entry;
        if (!is_folder_name(item->d_name, &entry)) continue;
        status = mr_grow(MR_MEM_OTHER, &list, &room, n + 1, sizeof *list);
        if (status != MR_OK) break;
        list[n++] = entry;
    }
    closedir(handle);
    if (status != MR_OK) {
        mr_free(list);
        return status;
    }
    if (n > 0) qsort(list, (size_t)n, sizeof *list, latest_first);
    *entries = list;
    *count = n;
    return MR_OK;
}

/* Removes a folder and the files in it that carry names of ours; a link is not followed.
 * Returns 0 or an error number; what is gone already is no error. */
static int remove_folder(const char *path)
{
    int handle = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *list = handle >= 0 ? fdopendir(handle) : NULL;
    if (!list) {
        int failure = errno;
        if (handle >= 0) close(handle);
        return failure == ENOENT || failure == ENOTDIR ? 0 : failure;
    }
    int failure = 0;
    const struct dirent *item;
    while ((item = readdir(list)))
        if (is_file_name(item->d_name) && unlinkat(handle, item->d_name, 0) != 0 &&
            errno != ENOENT && failure == 0)
            failure = errno;
    closedir(list);
    if (rmdir(path) != 0 && errno != ENOENT && failure == 0) failure = errno;
    return failure;
}

static void remove_or_warn(const char *path)
{
    int failure = remove_folder(path);
    if (failure != 0) mr_warn("cannot remove '%s': %s", path, strerror(failure));
}

/* Deals with what a writer killed at any moment can have left of one step. */
static mr_status tidy(const char *folder, const mr_checkpoint_entry *entry)
{
    char path[PATH_MAX], whole[PATH_MAX];
    MR_TRY(mr_checkpoint_folder_path(folder, entry->step, entry->kind, path));
    MR_TRY(mr_checkpoint_folder_path(folder, entry->step, MR_CHECKPOINT_WHOLE, whole));
    if (entry->kind == MR_CHECKPOINT_REPLACED && access(whole, F_OK) != 0) {
        MR_CHECK(rename(path, whole) == 0, MR_ERR_IO, "cannot rename '%s' to '%s': %s", path, whole,
                 strerror(errno));
        int failure = mr_file_sync_folder(whole);
        if (failure != 0) mr_warn("cannot sync '%s': %s", folder, strerror(failure));
    } else if (entry->kind != MR_CHECKPOINT_WHOLE) {
        remove_or_warn(path);
    }
    return MR_OK;
}

mr_status mr_checkpoint_folder_begin(const char *folder, int64_t step)
{
    char partial[PATH_MAX];
    MR_TRY(mr_checkpoint_folder_path(folder, step, MR_CHECKPOINT_PARTIAL, partial));
    MR_TRY(mr_file_make_folders(folder));
    mr_checkpoint_entry *entries;
    int64_t count;
    MR_TRY(mr_checkpoint_folder_list(folder, &entries, &count));
    mr_status status = MR_OK;
    for (int64_t i = 0; i < count && status == MR_OK; i++)
        status = tidy(folder, &entries[i]);
    mr_free(entries);
    if (status == MR_OK && mkdir(partial, 0777) != 0)
        status = mr_fail(MR_ERR_IO, "cannot make folder '%s': %s", partial, strerror(errno));
    return status;
}

mr_status mr_checkpoint_folder_publish(const char *folder, int64_t step)
{
    char partial[PATH_MAX], whole[PATH_MAX], replaced[PATH_MAX];
    MR_TRY(mr_checkpoint_folder_path(folder, step, MR_CHECKPOINT_PARTIAL, partial));
    MR_TRY(mr_checkpoint_folder_path(folder, step, MR_CHECKPOINT_WHOLE, whole));
    MR_TRY(mr_checkpoint_folder_path(folder, step, MR_CHECKPOINT_REPLACED, replaced));
    bool aside = rename(whole, replaced) == 0;
    MR_CHECK(aside || errno == ENOENT, MR_ERR_IO, "cannot rename '%s' to '%s': %s", whole, replaced,
             strerror(errno));
    if (rename(partial, whole) != 0) {
        int failure = errno;
        if (aside && rename(replaced, whole) != 0)
            mr_warn("cannot rename '%s' back to '%s': %s", replaced, whole, strerror(errno));
        return mr_fail(MR_ERR_IO, "cannot rename '%s' to '%s': %s", partial, whole,
                       strerror(failure));
    }
    /* Older checkpoints are not for removal before this one is sure to outlive a stop of the
     * machine. */
    int failure = mr_file_sync_folder(whole);
    if (failure == 0) failure = mr_file_sync_folder(folder);
    MR_CHECK(failure == 0, MR_ERR_IO, "cannot sync the folder of '%s': %s", whole,
             strerror(failure));
    if (aside) remove_or_warn(replaced);
    return MR_OK;
}

/* Renamed first: a kill in the middle leaves a folder whose name says that it is not whole. */
static mr_status remove_whole(const char *folder, int64_t step)
{
    char whole[PATH_MAX], partial[PATH_MAX];
    MR_TRY(mr_checkpoint_folder_path(folder, step, MR_CHECKPOINT_WHOLE, whole));
    MR_TRY(mr_checkpoint_folder_path(folder, step, MR_CHECKPOINT_PARTIAL, partial));
    MR_CHECK(rename(whole, partial) == 0, MR_ERR_IO, "cannot remove '%s': %s", whole,
             strerror(errno));
    remove_or_warn(partial);
    return MR_OK;
}

void mr_checkpoint_folder_prune(const char *folder, int64_t step, int64_t keep)
{
    mr_checkpoint_entry *entries;
    int64_t count, kept = 0;
    mr_status status = mr_checkpoint_folder_list(folder, &entries, &count);
    if (status != MR_OK) mr_warn("old checkpoints stay: %s", mr_message());
    for (int64_t i = 0; i < count; i++) {
        if (entries[i].kind != MR_CHECKPOINT_WHOLE) continue;
        if (entries[i].step <= step && kept++ < keep) continue;
        if (remove_whole(folder, entries[i].step) != MR_OK) mr_warn("%s", mr_message());
    }
    mr_free(entries);
}

mr_status mr_checkpoint_set_aside(const char *folder, int64_t step)
{
    mr_checkpoint_entry *entries;
    int64_t count;
    MR_TRY(mr_checkpoint_folder_list(folder, &entries, &count));
    mr_status status = MR_OK;
    for (int64_t i = 0; i < count && status == MR_OK; i++) {
        char path[PATH_MAX], aside[PATH_MAX];
        if (entries[i].kind != MR_CHECKPOINT_WHOLE || entries[i].step <= step) continue;
        status = mr_checkpoint_folder_path(folder, entries[i].step, entries[i].kind, path);
        if (status == MR_OK) status = mr_file_put_aside(path, "damaged", aside);
    }
    mr_free(entries);
    return status;
}

void mr_checkpoint_folder_drop(const char *folder, int64_t step)
{
    char partial[PATH_MAX];
    if (mr_checkpoint_folder_path(folder, step, MR_CHECKPOINT_PARTIAL, partial) == MR_OK)
        remove_or_warn(partial);
}
