#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

mr_status mr_file_read(const char *path, mr_purpose purpose, char **out, size_t *size)
{
    *out = NULL;
    FILE *file = fopen(path, "rb");
    MR_CHECK(file, MR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    struct stat about;
    mr_status status = MR_OK;
    char *data = NULL;
    if (fstat(fileno(file), &about) != 0 || !S_ISREG(about.st_mode)) {
        status = mr_fail(MR_ERR_IO, "cannot read '%s': not a regular file", path);
        goto cleanup;
    }
    size_t bytes = (size_t)about.st_size;
    data = mr_alloc(purpose, bytes + 1);
    if (!data) {
        status = MR_ERR_MEMORY;
        goto cleanup;
    }
    if (fread(data, 1, bytes, file) != bytes) {
        status = mr_fail(MR_ERR_IO, "cannot read '%s': it became shorter while being read", path);
        goto cleanup;
    }
    if (size) *size = bytes;
    *out = data;
    data = NULL;
cleanup:
    mr_free(data);
    fclose(file);
    return status;
}

void mr_file_sync_folder(const char *path)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == folder) slash++;
    if (slash) *slash = '\0';
    int handle = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (handle < 0) return;
    fsync(handle);
    close(handle);
}

mr_status mr_file_write(const char *path, const void *data, size_t size)
{
    char beside[PATH_MAX];
    int length = snprintf(beside, sizeof beside, "%s.tmp", path);
    MR_CHECK(length > 0 && (size_t)length < sizeof beside, MR_ERR_IO, "path too long: '%s'", path);
    int handle = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    MR_CHECK(handle >= 0, MR_ERR_IO, "cannot create '%s': %s", beside, strerror(errno));
    const char *from = data;
    size_t left = size;
    int failure = 0;
    while (left > 0 && failure == 0) {
        ssize_t written = write(handle, from, left);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) {
            failure = errno;
        } else {
            from += written;
            left -= (size_t)written;
        }
    }
    if (failure == 0 && fsync(handle) != 0) failure = errno;
    if (close(handle) != 0 && failure == 0) failure = errno;
    if (failure == 0 && rename(beside, path) != 0) failure = errno;
    if (failure != 0) {
        unlink(beside);
        return mr_fail(MR_ERR_IO, "cannot write '%s': %s", path, strerror(failure));
    }
    mr_file_sync_folder(path);
    return MR_OK;
}

mr_status mr_file_make_folders(const char *path)
{
    char partial[PATH_MAX];
    int length = snprintf(partial, sizeof partial, "%s", path);
    MR_CHECK(length > 0 && (size_t)length < sizeof partial, MR_ERR_IO, "bad path '%s'", path);
    for (char *at = partial + 1;; at++) {
        if (*at != '/' && *at != '\0') continue;
        char kept = *at;
        *at = '\0';
        if (mkdir(partial, 0777) != 0) {
            int failure = errno;
            struct stat about;
            bool there = failure == EEXIST && stat(partial, &about) == 0;
            if (there && !S_ISDIR(about.st_mode)) failure = ENOTDIR;
            MR_CHECK(there && S_ISDIR(about.st_mode), MR_ERR_IO, "cannot make folder '%s': %s",
                     path, strerror(failure));
        }
        *at = kept;
        if (kept == '\0') return MR_OK;
    }
}
