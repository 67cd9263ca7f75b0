/* Where the run logs of folders are. */

#include "base/file.h"
#include "report/results_read.h"
#include "store/spectra_file.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FOLDER_DEPTH = 32 }; /* most folders inside one another */

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool ends_in(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

static mr_status find_below(const char *folder, int depth, mr_names *paths);

/* Takes one member of a folder: a log, or a folder to look into. What vanishes meanwhile, as the
 * temporary file of a log being written does, is nobody's. */
static mr_status take_member(const char *folder, const char *name, int depth, mr_names *paths)
{
    char path[PATH_MAX];
    struct stat about;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return MR_OK;
    bool slash = ends_in(folder, "/");
    MR_TRY(mr_file_path(path, "%s%s%s", folder, slash ? "" : "/", name));
    if (lstat(path, &about) != 0) return MR_OK;
    /* There are no logs among checkpoints; shards of older ones have the same ending. */
    if (S_ISDIR(about.st_mode) && strstr(name, ".checkpoints")) return MR_OK;
    if (S_ISDIR(about.st_mode)) return find_below(path, depth + 1, paths);
    /* Spectra stand beside the log of their run; a run may have a name that ends like theirs. */
    bool log = ends_in(name, ".h5") && !(ends_in(name, ".spectra.h5") && mr_spectra_file_is(path));
    return log ? mr_names_add(paths, path) : MR_OK;
}

static mr_status find_below(const char *folder, int depth, mr_names *paths)
{
    MR_CHECK(depth < FOLDER_DEPTH, MR_ERR_IO, "'%.256s...': more than %d folders deep", folder,
             FOLDER_DEPTH);
    DIR *listing = opendir(folder);
    MR_CHECK(listing, MR_ERR_IO, "cannot read the folder '%s': %s", folder, strerror(errno));
    mr_status status = MR_OK;
    for (const struct dirent *member; status == MR_OK && (member = readdir(listing));)
        status = take_member(folder, member->d_name, depth, paths);
    closedir(listing);
    return status;
}

mr_status mr_results_find(const char *const *folder, int folders, mr_names *paths)
{
    mr_names all = {0};
    mr_status status = MR_OK;
    for (int f = 0; status == MR_OK && f < folders; f++)
        status = find_below(folder[f], 0, &all);
    if (all.count > 1) qsort(all.item, (size_t)all.count, sizeof *all.item, compare_strings);
    for (int64_t i = 0; status == MR_OK && i < all.count; i++)
        if (i == 0 || strcmp(all.item[i], all.item[i - 1]) != 0)
            status = mr_names_add(paths, all.item[i]);
    mr_names_free(&all);
    return status;
}
