#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static const char *watched = "/no such path/";
static int opened, open_error, read_error, failing = -1;

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
ssize_t __real_read(int handle, void *data, size_t bytes);
ssize_t __wrap_read(int handle, void *data, size_t bytes);

void calls_watch(const char *part)
{
    watched = part;
    opened = 0;
}

int calls_opened(void)
{
    return opened;
}

void calls_fail_to_open(int error)
{
    open_error = error;
}

void calls_fail_to_read(int error)
{
    read_error = error;
    failing = -1;
}

int __wrap_open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list args;
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    bool matches = !(flags & O_CREAT) && strstr(path, watched);
    if (matches && open_error != 0) {
        errno = open_error;
        return -1;
    }
    int handle = __real_open(path, flags, mode);
    if (handle == failing) failing = -1;
    if (matches && handle >= 0) {
        opened++;
        if (read_error != 0) failing = handle;
    }
    return handle;
}

ssize_t __wrap_read(int handle, void *data, size_t bytes)
{
    if (handle >= 0 && handle == failing) {
        errno = read_error;
        return -1;
    }
    return __real_read(handle, data, bytes);
}
