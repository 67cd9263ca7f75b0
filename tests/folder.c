#include "folder.h"

#include "base/memory.h"
#include "test.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

int folder_enter(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "folder_of_test_XXXXXX");
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

/* Removes a file, or a folder with all in it. */
static bool remove_all(const char *path)
{
    struct stat about;
    if (lstat(path, &about) != 0) return false;
    if (!S_ISDIR(about.st_mode)) return unlink(path) == 0;
    DIR *list = opendir(path);
    if (!list) return false;
    bool removed = true;
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        char inner[PATH_MAX];
        int length = snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        removed = (size_t)length < sizeof inner && remove_all(inner) && removed;
    }
    closedir(list);
    return rmdir(path) == 0 && removed;
}

static int memory_held(void)
{
    if (mr_memory_live_total() == 0) return 0;
    print_error("%zu bytes are still held by the test\n", mr_memory_live_total());
    return -1;
}

int folder_leave(void **state)
{
    (void)state;
    bool removed = chdir("..") == 0 && remove_all(folder);
    return memory_held() == 0 && removed ? 0 : -1;
}

int folder_leave_empty(void **state)
{
    bool empty = chdir("..") == 0 && rmdir(folder) == 0;
    if (empty) return memory_held();
    print_error("a test left files in the folder '%s'\n", folder);
    (void)(chdir(folder) == 0 && folder_leave(state));
    return -1;
}
