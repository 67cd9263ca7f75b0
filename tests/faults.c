/* Loaded before the program's libraries (LD_PRELOAD), lets calls of the operating system fail as
 * they do on disks that are full, locked, away or out of order. From the environment:
 *
 * - MR_FAULT, CALL:ERROR:PART: the call (open, read, write, sync; memory, of a memfd) fails by that
 *   error number for files whose path, or name, contains the part;
 * - MR_FAULT_WHILE, a file: the call fails only while it is there;
 * - MR_FAULT_MARK, a file: a byte is added to it, where it is there, at each call that fails;
 * - MR_FAULT_NUMBER: only such a call of this number fails, from 1;
 * - MR_FAULT_MPI: MPI_Init_thread provides this level. */

#define _GNU_SOURCE
#include <mpi.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* What stands behind this library. */
static void *real(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

static void mark(void)
{
    const char *path = getenv("MR_FAULT_MARK");
    int (*next_open)(const char *, int, ...);
    ssize_t (*next_write)(int, const void *, size_t);
    *(void **)&next_open = real("open");
    *(void **)&next_write = real("write");
    const int handle = path ? next_open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
    if (handle >= 0 && next_write(handle, ".", 1) != 1) abort();
    if (handle >= 0) close(handle);
}

/* The error that a call on a path is to fail by; 0: none. */
static int fault(const char *call, const char *path)
{
    const char *spec = getenv("MR_FAULT"), *present = getenv("MR_FAULT_WHILE");
    size_t length = strlen(call);
    if (!spec || strncmp(spec, call, length) != 0 || spec[length] != ':') return 0;
    char *part;
    long error = strtol(spec + length + 1, &part, 10);
    if (*part != ':' || !strstr(path, part + 1)) return 0;
    static long calls;
    const char *number = getenv("MR_FAULT_NUMBER");
    if (number && ++calls != strtol(number, NULL, 10)) return 0;
    if (present && access(present, F_OK) != 0) return 0;
    mark();
    return (int)error;
}

static int fault_of(const char *call, int handle)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = '\0';
    return fault(call, path);
}

static int fail(int error)
{
    errno = error;
    return -1;
}

static int open_by(const char *name, const char *path, int flags, mode_t mode)
{
    int error = fault("open", path);
    int (*next)(const char *, int, ...);
    *(void **)&next = real(name);
    return error != 0 ? fail(error) : next(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    return open_by("open", path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    return open_by("open64", path, flags, mode);
}

ssize_t read(int handle, void *data, size_t bytes)
{
    int error = fault_of("read", handle);
    ssize_t (*next)(int, void *, size_t);
    *(void **)&next = real("read");
    return error != 0 ? fail(error) : next(handle, data, bytes);
}

static ssize_t pread_by(const char *name, int handle, void *data, size_t bytes, off_t at)
{
    int error = fault_of("read", handle);
    ssize_t (*next)(int, void *, size_t, off_t);
    *(void **)&next = real(name);
    return error != 0 ? fail(error) : next(handle, data, bytes, at);
}

ssize_t pread(int handle, void *data, size_t bytes, off_t at)
{
    return pread_by("pread", handle, data, bytes, at);
}

ssize_t pread64(int handle, void *data, size_t bytes, off_t at)
{
    return pread_by("pread64", handle, data, bytes, at);
}

ssize_t write(int handle, const void *data, size_t bytes)
{
    int error = fault_of("write", handle);
    ssize_t (*next)(int, const void *, size_t);
    *(void **)&next = real("write");
    return error != 0 ? fail(error) : next(handle, data, bytes);
}

ssize_t pwrite(int handle, const void *data, size_t bytes, off_t at)
{
    int error = fault_of("write", handle);
    ssize_t (*next)(int, const void *, size_t, off_t);
    *(void **)&next = real("pwrite");
    return error != 0 ? fail(error) : next(handle, data, bytes, at);
}

int fsync(int handle)
{
    int error = fault_of("sync", handle);
    int (*next)(int);
    *(void **)&next = real("fsync");
    return error != 0 ? fail(error) : next(handle);
}

int memfd_create(const char *name, unsigned flags)
{
    int error = fault("memory", name);
    int (*next)(const char *, unsigned);
    *(void **)&next = real("memfd_create");
    return error != 0 ? fail(error) : next(name, flags);
}

int MPI_Init_thread(int *argc, char ***argv, int required, int *provided)
{
    const char *level = getenv("MR_FAULT_MPI");
    int result = PMPI_Init_thread(argc, argv, required, provided);
    if (level) *provided = atoi(level);
    return result;
}
