#include "golden_find.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DEEPEST = 16 }; /* folders below a root; links may form circles */

static const char ending[] = ".safetensors";

mr_status mr_golden_roots(mr_names *roots)
{
    const char *source = getenv("MR_SOURCE_DIR"), *named = getenv("MORA_GOLDEN");
    if (!source) mr_abort("MR_SOURCE_DIR is not set: run this test through ctest");
    if (!named || !*named) named = "../shared/golden";
    while (*named) {
        char root[PATH_MAX];
        const int length = (int)strcspn(named, ":");
        snprintf(root, sizeof root, "%s%s%.*s", *named == '/' ? "" : source,
                 *named == '/' ? "" : "/", length, named);
        if (length > 0) MR_TRY(mr_names_add(roots, root));
        named += length;
        named += *named == ':';
    }
    return MR_OK;
}

int mr_golden_count(int (*check)(const char *root))
{
    mr_names roots = {0};
    int count = 0;
    if (mr_golden_roots(&roots) != MR_OK) mr_abort("no memory for the roots of references");
    for (int64_t i = 0; i < roots.count; i++)
        count += check(roots.item[i]);
    mr_names_free(&roots);
    return count;
}

static bool holds(const char *folder, const char *name)
{
    char path[PATH_MAX];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &info) == 0;
}

static mr_status add_folder(mr_golden_set *set, const char *label, const char *path,
                            const char *problem)
{
    MR_TRY(mr_grow(MR_MEM_OTHER, &set->folder, &set->room, set->count + 1, sizeof *set->folder));
    mr_golden_folder *folder = &set->folder[set->count++];
    *folder = (mr_golden_folder){.label = mr_strdup(label), .path = mr_strdup(path)};
    if (problem) folder->problem = mr_strdup(problem);
    return folder->label && folder->path && (!problem || folder->problem) ? MR_OK : MR_ERR_MEMORY;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static mr_status walk(mr_golden_set *set, const char *label, const char *path, int depth)
{
    bool model = holds(path, "model/config.json"), batch = holds(path, "batch.safetensors");
    if (model && batch) return add_folder(set, label, path, NULL);
    if (model) return add_folder(set, label, path, "has model/config.json, but no batch");
    if (batch) return add_folder(set, label, path, "has a batch, but no model/config.json");
    if (depth == DEEPEST) return MR_OK;
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, is_visible, alphasort);
    if (count < 0) return add_folder(set, label, path, strerror(errno));
    mr_status status = MR_OK;
    for (int i = 0; i < count; i++) {
        char child[PATH_MAX], name[PATH_MAX];
        struct stat info;
        int length = snprintf(child, sizeof child, "%s/%s", path, entries[i]->d_name);
        snprintf(name, sizeof name, "%s%s%s", depth > 0 ? label : "", depth > 0 ? "/" : "",
                 entries[i]->d_name);
        bool folder =
            length < (int)sizeof child && stat(child, &info) == 0 && S_ISDIR(info.st_mode);
        if (status == MR_OK && folder) status = walk(set, name, child, depth + 1);
        free(entries[i]);
    }
    free(entries);
    return status;
}

mr_status mr_golden_find(const char *root, mr_golden_set *set)
{
    int before = set->count;
    const char *slash = strrchr(root, '/');
    const char *label = slash && slash[1] ? slash + 1 : root;
    MR_TRY(walk(set, label, root, 0));
    if (set->count > before) return MR_OK;
    return add_folder(set, label, root,
                      "no folder below it holds model/config.json and batch.safetensors");
}

void mr_golden_set_free(mr_golden_set *set)
{
    for (int i = 0; i < set->count; i++) {
        mr_free(set->folder[i].label);
        mr_free(set->folder[i].path);
        mr_free(set->folder[i].problem);
    }
    mr_free(set->folder);
    *set = (mr_golden_set){0};
}

mr_status mr_golden_stems(const char *folder, mr_names *stems)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_visible, alphasort);
    MR_CHECK(count >= 0, MR_ERR_IO, "%s: %s", folder, strerror(errno));
    mr_status status = MR_OK;
    for (int i = 0; i < count; i++) {
        char *name = entries[i]->d_name;
        size_t length = strlen(name), tail = sizeof ending - 1;
        if (status == MR_OK && length > tail && strcmp(name + length - tail, ending) == 0) {
            name[length - tail] = '\0';
            status = mr_names_add(stems, name);
        }
        free(entries[i]);
    }
    free(entries);
    return status;
}

bool mr_golden_kind_of(const char *stem, mr_golden_kind *out)
{
    static const mr_mora_operator of_type[] = {
        [1] = MR_MORA_SHARING,   [2] = MR_MORA_SHARING_2, [3] = MR_MORA_SHARING_3,
        [4] = MR_MORA_SHARING_4, [6] = MR_MORA_ROTATION,
    };
    enum { TYPES = sizeof of_type / sizeof *of_type };
    *out = (mr_golden_kind){.operator= MR_MORA_AUTO };
    static const struct {
        const char *stem, *method;
    } named[] = {
        {"lora", "lora"}, {"lora_plus", "lora_plus"}, {"lora_asym", "asylora"}, {"dora", "dora"}};
    if (strncmp(stem, "fft", 3) == 0) out->method = "fft";
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (strcmp(stem, named[i].stem) == 0) out->method = named[i].method;
    int type = 0, r = 0, end = 0;
    if (sscanf(stem, "mora_t%d_r%d%n", &type, &r, &end) == 2 && stem[end] == '\0' && type > 0 &&
        type < TYPES && of_type[type] != MR_MORA_AUTO)
        *out = (mr_golden_kind){
            .method = "mora", .operator= of_type[type], .mora_type = type, .mora_r = r};
    return out->method != NULL;
}
