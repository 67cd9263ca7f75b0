#include "base/staging.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char lock_name[] = "lock";

mr_status mr_staging_name(const char *folder, bool (*is_ours)(const char *name), mr_staging *out)
{
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/')
        length--;
    out->lock = -1;
    out->is_ours = is_ours;
    MR_TRY(mr_file_path(out->folder, "%.*s", (int)length, folder));
    return mr_file_path(out->beside, "%s.tmp", out->folder);
}

/* Two runs in one folder would mix their files. */
static mr_status take_lock(mr_staging *staging)
{
    char path[PATH_MAX];
    MR_TRY(mr_file_path(path, "%s/%s", staging->beside, lock_name));
    return mr_file_lock(path, &staging->lock);
}

/* Removes what an earlier run left, all of it or, where anything else is there, nothing. */
static mr_status clear(const mr_staging *staging)
{
    mr_status status = MR_OK;
    for (int removing = 0; removing < 2 && status == MR_OK; removing++) {
        DIR *list = opendir(staging->beside);
        MR_CHECK(list, MR_ERR_IO, "cannot read folder '%s': %s", staging->beside, strerror(errno));
        for (struct dirent *entry = readdir(list); entry && status == MR_OK;
             entry = readdir(list)) {
            const char *name = entry->d_name;
            char path[PATH_MAX];
            if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, lock_name) == 0)
                continue;
            status = mr_file_path(path, "%s/%s", staging->beside, name);
            if (status == MR_OK && !staging->is_ours(name))
                status =
                    mr_fail(MR_ERR_IO, "'%s' is in the way: not a file of mora; remove it", path);
            else if (status == MR_OK && removing && unlink(path) != 0)
                status = mr_fail(MR_ERR_IO, "cannot remove '%s': %s", path, strerror(errno));
        }
        closedir(list);
    }
    return status;
}

static void drop_lock(mr_staging *staging, const char *folder)
{
    char path[PATH_MAX];
    if (mr_file_path(path, "%s/%s", folder, lock_name) == MR_OK)
        mr_file_unlock(path, &staging->lock);
}

mr_status mr_staging_begin(mr_staging *staging)
{
    MR_TRY(mr_file_make_folders(staging->beside));
    MR_TRY(take_lock(staging));
    mr_status status = clear(staging);
    if (status != MR_OK) drop_lock(staging, staging->beside);
    return status;
}

/* Syncs the folder that path stands in. */
static mr_status sync_folder(const char *path)
{
    const int failure = mr_file_sync_folder(path);
    MR_CHECK(failure == 0, MR_ERR_IO, "cannot sync the folder of '%s': %s", path,
             strerror(failure));
    return MR_OK;
}

mr_status mr_staging_commit(mr_staging *staging)
{
    char inside[PATH_MAX];
    MR_TRY(mr_file_path(inside, "%s/%s", staging->beside, lock_name));
    MR_TRY(sync_folder(inside));
    /* Under the lock, which goes along: let go of before, another run would take the folder beside
     * for one that was left, and clear it. */
    MR_CHECK(rename(staging->beside, staging->folder) == 0, MR_ERR_IO,
             "cannot rename '%s' to '%s': %s", staging->beside, staging->folder, strerror(errno));
    drop_lock(staging, staging->folder);
    return sync_folder(staging->folder);
}

void mr_staging_abandon(mr_staging *staging)
{
    if (staging->lock < 0) return;
    if (clear(staging) == MR_OK) {
        drop_lock(staging, staging->beside);
        rmdir(staging->beside);
    } else {
        drop_lock(staging, staging->beside);
    }
}
