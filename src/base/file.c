#include "base/file.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

mr_status mr_file_path(char out[PATH_MAX], const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int length = vsnprintf(out, PATH_MAX, fmt, args);
    va_end(args);
    MR_CHECK(length > 0, MR_ERR_IO, "expected a path, found an empty text");
    MR_CHECK(length < PATH_MAX, MR_ERR_IO, "path too long: '%.200s...'", out);
    return MR_OK;
}

/* Refuses a step of a path that names a variable of the environment, which a shell would put in;
 * where the path is there as it stands, it is meant. */
static mr_status refuse_variables(const char *path)
{
    for (const char *at = strchr(path, '$'); at; at = strchr(at + 1, '$')) {
        const bool name = at[1] == '{' || at[1] == '_' || isalpha((unsigned char)at[1]);
        const bool starts = at == path || at[-1] == '/';
        MR_CHECK(!name || !starts || access(path, F_OK) == 0, MR_ERR_ARG,
                 "'%.200s': variables of the environment are not put in; write the whole path",
                 path);
    }
    return MR_OK;
}

mr_status mr_file_expand(const char *path, char out[PATH_MAX])
{
    MR_TRY(refuse_variables(path));
    if (path[0] != '~') return mr_file_path(out, "%s", path);
    MR_CHECK(
        path[1] == '/' || path[1] == '\0', MR_ERR_ARG,
        "'%.200s': homes of other users are not looked up; write the whole path, or './%.200s' "
        "for a file of this name",
        path, path);
    const char *home = getenv("HOME");
    MR_CHECK(home && home[0] != '\0', MR_ERR_ARG,
             "'%.200s': the environment has no HOME; write the whole path", path);
    return mr_file_path(out, "%s%s", home, path + 1);
}

/* Reads bytes from where an open file stands. Returns 0, an error number, or -1 where it ends
 * before.
 */
static int read_all(int handle, char *to, size_t bytes)
{
    while (bytes > 0) {
        ssize_t count = read(handle, to, bytes);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return count < 0 ? errno : -1;
        to += count;
        bytes -= (size_t)count;
    }
    return 0;
}

mr_status mr_file_read(const char *path, mr_purpose purpose, char **out, size_t *size)
{
    *out = NULL;
    MR_CHECK(path[0] != '\0', MR_ERR_IO, "expected the path of a file, found an empty text");
    /* What is no file, as a pipe without a writer, must not be waited for. */
    int handle = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    MR_CHECK(handle >= 0, MR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    struct stat about;
    mr_status status = MR_OK;
    char *data = NULL;
    if (fstat(handle, &about) != 0) {
        status = mr_fail(MR_ERR_IO, "cannot read '%s': %s", path, strerror(errno));
        goto cleanup;
    }
    if (!S_ISREG(about.st_mode)) {
        status = mr_fail(MR_ERR_IO, "cannot read '%s': not a regular file", path);
        goto cleanup;
    }
    size_t bytes = (size_t)about.st_size;
    data = mr_alloc(purpose, bytes + 1);
    if (!data) {
        status = MR_ERR_MEMORY;
        goto cleanup;
    }
    int failure = read_all(handle, data, bytes);
    if (failure != 0) {
        status = mr_fail(MR_ERR_IO, "cannot read '%s': %s", path,
                         failure > 0 ? strerror(failure) : "it became shorter while being read");
        goto cleanup;
    }
    if (size) *size = bytes;
    *out = data;
    data = NULL;
cleanup:
    mr_free(data);
    close(handle);
    return status;
}

int mr_file_sync_folder(const char *path)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == folder) slash++;
    if (slash) *slash = '\0';
    int handle = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (handle < 0) return errno;
    int failure = fsync(handle) == 0 || errno == EINVAL || errno == ENOTSUP ? 0 : errno;
    close(handle);
    return failure;
}

/* Tells whether a locked file is still what stands at its path. */
static bool is_in_place(const char *path, int handle)
{
    struct stat ours, there;
    return fstat(handle, &ours) == 0 && stat(path, &there) == 0 && ours.st_ino == there.st_ino &&
           ours.st_dev == there.st_dev;
}

mr_status mr_file_lock(const char *path, int *handle)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    *handle = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    MR_CHECK(*handle >= 0, MR_ERR_IO, "cannot create '%s': %s", path, strerror(errno));
    bool locked = fcntl(*handle, F_SETLK, &whole) == 0;
    int failure = locked ? 0 : errno;
    if (failure == ENOLCK || failure == ENOSYS || failure == ENOTSUP) return MR_OK;
    /* The process that had it may have ended, and its file be gone, since ours was opened. */
    if (locked && is_in_place(path, *handle)) return MR_OK;
    close(*handle);
    *handle = -1;
    MR_CHECK(locked || failure == EACCES || failure == EAGAIN, MR_ERR_IO, "cannot lock '%s': %s",
             path, strerror(failure));
    return mr_fail(MR_ERR_IO, "'%s' is locked: another process is writing here", path);
}

void mr_file_unlock(const char *path, int *handle)
{
    if (*handle < 0) return;
    if (is_in_place(path, *handle)) unlink(path);
    close(*handle);
    *handle = -1;
}

mr_status mr_file_keep_lock(const char *path, int *handle)
{
    char folder[PATH_MAX];
    struct stat about;
    int fresh;
    if (*handle < 0 || is_in_place(path, *handle)) return MR_OK;
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    if (stat(folder, &about) != 0) return MR_OK;
    mr_status status = mr_file_lock(path, &fresh);
    close(*handle);
    *handle = fresh;
    return status;
}

int mr_file_write_at(int handle, const void *data, size_t bytes, int64_t offset)
{
    const char *from = data;
    while (bytes > 0) {
        ssize_t count = pwrite(handle, from, bytes, (off_t)offset);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return errno;
        from += count;
        offset += count;
        bytes -= (size_t)count;
    }
    return 0;
}

mr_status mr_file_write(const char *path, const void *data, size_t size)
{
    char beside[PATH_MAX];
    MR_TRY(mr_file_path(beside, "%s.tmp", path));
    int handle = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    MR_CHECK(handle >= 0, MR_ERR_IO, "cannot create '%s': %s", beside, strerror(errno));
    int failure = mr_file_write_at(handle, data, size, 0);
    if (failure != 0) {
        close(handle);
        unlink(beside);
        return mr_fail(MR_ERR_IO, "cannot write '%s': %s", path, strerror(failure));
    }
    return mr_file_publish(handle, beside, path);
}

mr_status mr_file_publish(int handle, const char *beside, const char *path)
{
    int failure = fsync(handle) == 0 ? 0 : errno;
    if (close(handle) != 0 && failure == 0) failure = errno;
    if (failure == 0 && rename(beside, path) != 0) failure = errno;
    if (failure != 0) {
        unlink(beside);
        return mr_fail(MR_ERR_IO, "cannot write '%s': %s", path, strerror(failure));
    }
    failure = mr_file_sync_folder(path);
    MR_CHECK(failure == 0, MR_ERR_IO, "cannot sync the folder of '%s': %s", path,
             strerror(failure));
    return MR_OK;
}

mr_status mr_file_put_aside(const char *path, const char *word, char aside[PATH_MAX])
{
    enum { MOST = 10000 };
    for (int i = 1; i < MOST; i++) {
        MR_TRY(mr_file_path(aside, "%s.%s.%d", path, word, i));
        if (access(aside, F_OK) == 0) continue;
        MR_CHECK(rename(path, aside) == 0, MR_ERR_IO, "cannot keep '%s' as '%s': %s", path, aside,
                 strerror(errno));
        return MR_OK;
    }
    return mr_fail(MR_ERR_IO, "cannot keep '%s': there are %d of '%s.%s.*'", path, MOST - 1, path,
                   word);
}

bool mr_file_is_empty_folder(const char *path)
{
    int entries = 0;
    DIR *list = opendir(path);
    if (!list) return false;
    while (entries < 3 && readdir(list))
        entries++;
    closedir(list);
    return entries == 2; /* itself and the one above */
}

/* Makes the folder that a link stands for, as of a disk that was cleared. */
static mr_status make_target(const char *link)
{
    char target[PATH_MAX], path[PATH_MAX];
    ssize_t length = readlink(link, target, sizeof target - 1);
    MR_CHECK(length > 0, MR_ERR_IO, "cannot make folder '%s': it cannot be read where it links to",
             link);
    target[length] = '\0';
    const char *slash = strrchr(link, '/');
    int before = target[0] == '/' || !slash ? 0 : (int)(slash - link) + 1;
    MR_TRY(mr_file_path(path, "%.*s%s", before, link, target));
    return mr_file_make_folders(path);
}

mr_status mr_file_make_folders(const char *path)
{
    char partial[PATH_MAX];
    MR_TRY(mr_file_path(partial, "%s", path));
    for (char *at = partial + 1;; at++) {
        if (*at != '/' && *at != '\0') continue;
        char kept = *at;
        *at = '\0';
        if (mkdir(partial, 0777) != 0) {
            int failure = errno;
            struct stat about;
            bool there = failure == EEXIST && stat(partial, &about) == 0;
            if (failure == EEXIST && !there && errno == ENOENT) {
                MR_TRY(make_target(partial));
                there = stat(partial, &about) == 0;
            }
            if (there && !S_ISDIR(about.st_mode)) failure = ENOTDIR;
            MR_CHECK(there && S_ISDIR(about.st_mode), MR_ERR_IO, "cannot make folder '%s': %s",
                     path, strerror(failure));
        }
        *at = kept;
        if (kept == '\0') return MR_OK;
    }
}
