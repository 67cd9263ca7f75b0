#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "store/hf_impl.h"
#include "store/json.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SHARD_LIMIT = 4096 }; /* files */

bool mr_hf_holds(const char *folder, const char *name)
{
    char path[PATH_MAX];
    return mr_file_path(path, "%s/%s", folder, name) == MR_OK && access(path, F_OK) == 0;
}

/* Whether a file of the folder is among those that were opened. */
static bool is_opened(const mr_hf *weights, const char *name)
{
    for (int64_t i = 0; i < weights->n_files; i++)
        if (strcmp(weights->file_names ? weights->file_names[i] : MR_HF_WEIGHTS, name) == 0)
            return true;
    return false;
}

static int compare_places(const void *a, const void *b)
{
    return strcmp(((const mr_hf_place *)a)->name, ((const mr_hf_place *)b)->name);
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static mr_status open_file(const mr_hf *weights, const char *path, mr_safetensors **out)
{
    return weights->partly ? mr_safetensors_open_partly(path, out) : mr_safetensors_open(path, out);
}

static mr_status open_single(mr_hf *weights)
{
    char path[PATH_MAX];
    MR_TRY(mr_file_path(path, "%s/%s", weights->folder, MR_HF_WEIGHTS));
    weights->files = mr_alloc(MR_MEM_OTHER, sizeof(mr_safetensors *));
    if (!weights->files) return MR_ERR_MEMORY;
    MR_TRY(open_file(weights, path, &weights->files[0]));
    weights->n_files = 1;
    const mr_safetensors *file = weights->files[0];
    int64_t count = mr_safetensors_count(file);
    weights->places = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *weights->places);
    if (!weights->places) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        const mr_safetensors_entry *entry = mr_safetensors_at(file, i);
        weights->places[i] = (mr_hf_place){entry->name, file, entry};
    }
    weights->count = count;
    return MR_OK;
}

/* Collects the distinct shard names of an index and opens each. */
static mr_status open_shards(mr_hf *weights, const char *index, json_t *map)
{
    size_t names = json_object_size(map), n_files = 0;
    char **file_names = mr_alloc_array(MR_MEM_OTHER, names, sizeof *file_names);
    if (!file_names) return MR_ERR_MEMORY;
    weights->file_names = file_names;
    const char *key;
    json_t *value;
    json_object_foreach(map, key, value)
    {
        const char *shard = json_string_value(value);
        MR_CHECK(shard, MR_ERR_FORMAT, "%s: weight_map: '%.256s': expected a file name, found %s",
                 index, key, mr_json_kind(value));
        MR_CHECK(shard[0] && !strchr(shard, '/') && strcmp(shard, "..") != 0, MR_ERR_FORMAT,
                 "%s: weight_map: '%.256s': '%.256s' is not the name of a file in the folder",
                 index, key, shard);
        char **known = bsearch(&shard, file_names, n_files, sizeof *file_names, compare_strings);
        if (known) continue;
        MR_CHECK(n_files < SHARD_LIMIT, MR_ERR_FORMAT,
                 "%s: weight_map: more than %d different files", index, (int)SHARD_LIMIT);
        char *copy = mr_strdup(shard);
        if (!copy) return MR_ERR_MEMORY;
        file_names[n_files++] = copy;
        weights->n_files = (int64_t)n_files;
        qsort(file_names, n_files, sizeof *file_names, compare_strings);
    }
    weights->files = mr_alloc_array(MR_MEM_OTHER, n_files, sizeof(mr_safetensors *));
    if (!weights->files) return MR_ERR_MEMORY;
    size_t left_out = 0;
    for (size_t i = 0; i < n_files; i++) {
        char path[PATH_MAX];
        MR_TRY(mr_file_path(path, "%s/%s", weights->folder, file_names[i]));
        mr_status status = open_file(weights, path, &weights->files[i]);
        if (status == MR_OK) continue;
        if (weights->partly && status != MR_ERR_MEMORY && ++left_out < n_files) {
            mr_warn("%s; left out", mr_message());
            continue;
        }
        /* The index may be what is left of an older save. */
        bool other =
            mr_hf_holds(weights->folder, MR_HF_WEIGHTS) && !is_opened(weights, MR_HF_WEIGHTS);
        if (other) {
            char message[MR_MESSAGE_MAX];
            snprintf(message, sizeof message, "%s", mr_message());
            mr_fail(status, "%.900s; there is %s too, which the index does not name", message,
                    MR_HF_WEIGHTS);
        }
        return mr_fail_in(status, "%s: weight_map", index);
    }
    return MR_OK;
}

static mr_status place_tensors(mr_hf *weights, const char *index, json_t *map)
{
    weights->places = mr_alloc_array(MR_MEM_OTHER, json_object_size(map), sizeof *weights->places);
    if (!weights->places) return MR_ERR_MEMORY;
    const char *key;
    json_t *value;
    json_object_foreach(map, key, value)
    {
        const char *shard = json_string_value(value);
        char **known = bsearch(&shard, weights->file_names, (size_t)weights->n_files,
                               sizeof *weights->file_names, compare_strings);
        MR_INVARIANT(known != NULL);
        const mr_safetensors *file = weights->files[known - weights->file_names];
        if (!file) continue; /* left out */
        const mr_safetensors_entry *entry = mr_safetensors_find(file, key);
        MR_CHECK(entry, MR_ERR_FORMAT, "%s: weight_map: tensor '%.256s' is not in '%.256s'", index,
                 key, shard);
        weights->places[weights->count++] = (mr_hf_place){entry->name, file, entry};
    }
    return MR_OK;
}

static mr_status open_indexed(mr_hf *weights)
{
    char path[PATH_MAX];
    MR_TRY(mr_file_path(path, "%s/%s", weights->folder, MR_HF_INDEX));
    json_t *root = NULL;
    MR_TRY(mr_json_read(path, &root));
    json_t *map = json_object_get(root, "weight_map");
    mr_status status = MR_OK;
    if (!json_is_object(map) || json_object_size(map) == 0)
        status = mr_fail(MR_ERR_FORMAT,
                         "%s: weight_map: expected an object that names tensors, found %s", path,
                         json_is_object(map) ? "an empty one" : mr_json_kind(map));
    if (status == MR_OK) status = open_shards(weights, path, map);
    if (status == MR_OK) status = place_tensors(weights, path, map);
    json_decref(root);
    return status;
}

/* A save that was broken off leaves files of two models, or of half a one. */
static mr_status check_mark(const char *folder)
{
    char path[PATH_MAX];
    json_t *mark;
    if (!mr_hf_holds(folder, MR_HF_MARK)) return MR_OK;
    MR_TRY(mr_file_path(path, "%s/%s", folder, MR_HF_MARK));
    MR_TRY(mr_json_read(path, &mark));
    const char *format = json_string_value(json_object_get(mark, "format"));
    bool ours = format && strcmp(format, MR_HF_MARK_FORMAT) == 0;
    mr_status status = MR_OK;
    if (ours && json_is_false(json_object_get(mark, "whole")))
        status = mr_fail(MR_ERR_FORMAT,
                         "model folder '%s': it is not whole (" MR_HF_MARK
                         "): the run that saves there has not ended, or its save was broken off",
                         folder);
    json_decref(mark);
    return status;
}

mr_status mr_hf_check_folder(const char *folder)
{
    static const char *const adapters[] = {"adapter_config.json", "adapter_model.safetensors",
                                           "adapter_model.bin", "adapter.safetensors"};
    struct stat about;
    MR_CHECK(stat(folder, &about) == 0, MR_ERR_IO, "cannot open the model folder '%s': %s", folder,
             strerror(errno));
    MR_CHECK(S_ISDIR(about.st_mode), MR_ERR_IO, "model folder '%s': not a folder", folder);
    for (size_t i = 0; i < sizeof adapters / sizeof *adapters; i++)
        MR_CHECK(!mr_hf_holds(folder, adapters[i]), MR_ERR_FORMAT,
                 "model folder '%s': %s in it is an adapter, which would be left out: give a "
                 "folder whose weights it is merged into",
                 folder, adapters[i]);
    MR_CHECK(mr_hf_holds(folder, "config.json"), MR_ERR_IO,
             "model folder '%s': no config.json in it", folder);
    return check_mark(folder);
}

/* Tells of weights beside those that are read: of an older save, or a part the index forgot.
 * consolidated*.safetensors are the same weights once more, in their maker's own layout. */
static void warn_of_stray_files(const mr_hf *weights)
{
    static const char ending[] = ".safetensors";
    mr_text stray = {0};
    DIR *list = opendir(weights->folder);
    if (!list) return;
    for (struct dirent *at = readdir(list); at; at = readdir(list)) {
        size_t length = strlen(at->d_name);
        if (length < sizeof ending || strcmp(at->d_name + length - sizeof ending + 1, ending) != 0)
            continue;
        if (is_opened(weights, at->d_name) || strncmp(at->d_name, "consolidated", 12) == 0)
            continue;
        mr_text_add(&stray, "%s%s", stray.length > 0 ? ", " : "", at->d_name);
    }
    closedir(list);
    if (stray.length > 0)
        mr_warn("model folder '%s': the weights are those of %s; not read: %s", weights->folder,
                weights->file_names ? MR_HF_INDEX : MR_HF_WEIGHTS, mr_text_get(&stray));
    mr_text_free(&stray);
}

static mr_status open_folder(const char *folder, bool partly, mr_hf **out)
{
    *out = NULL;
    MR_TRY(mr_hf_check_folder(folder));
    mr_hf *weights = mr_alloc(MR_MEM_OTHER, sizeof *weights);
    if (!weights) return MR_ERR_MEMORY;
    mr_status status;
    weights->partly = partly;
    weights->folder = mr_strdup(folder);
    if (!weights->folder)
        status = MR_ERR_MEMORY;
    else if (mr_hf_holds(folder, MR_HF_INDEX))
        status = open_indexed(weights);
    else if (mr_hf_holds(folder, MR_HF_WEIGHTS))
        status = open_single(weights);
    else
        status = mr_fail(
            MR_ERR_IO,
            "model folder '%s': neither model.safetensors nor model.safetensors.index.json in it%s",
            folder,
            mr_hf_holds(folder, "pytorch_model.bin") ||
                    mr_hf_holds(folder, "pytorch_model.bin.index.json")
                ? "; pytorch_model.bin is not read, save the model as safetensors"
                : "");
    if (status != MR_OK) {
        mr_hf_close(&weights);
        return status;
    }
    qsort(weights->places, (size_t)weights->count, sizeof *weights->places, compare_places);
    warn_of_stray_files(weights);
    *out = weights;
    return MR_OK;
}

mr_status mr_hf_open(const char *folder, mr_hf **out)
{
    return open_folder(folder, false, out);
}

mr_status mr_hf_open_partly(const char *folder, mr_hf **out)
{
    return open_folder(folder, true, out);
}

void mr_hf_close(mr_hf **weights)
{
    mr_hf *old = *weights;
    if (!old) return;
    for (int64_t i = 0; i < old->n_files; i++) {
        if (old->files) mr_safetensors_close(&old->files[i]);
        if (old->file_names) mr_free(old->file_names[i]);
    }
    mr_free(old->files);
    mr_free(old->file_names);
    mr_free(old->places);
    mr_free(old->folder);
    mr_free(old);
    *weights = NULL;
}

const char *mr_hf_folder(const mr_hf *weights)
{
    return weights->folder;
}

int64_t mr_hf_count(const mr_hf *weights)
{
    return weights->count;
}

const char *mr_hf_name(const mr_hf *weights, int64_t index)
{
    MR_INVARIANT(index >= 0 && index < weights->count);
    return weights->places[index].name;
}

static const mr_hf_place *find_place(const mr_hf *weights, const char *name)
{
    const mr_hf_place wanted = {.name = name};
    return bsearch(&wanted, weights->places, (size_t)weights->count, sizeof wanted, compare_places);
}

bool mr_hf_has(const mr_hf *weights, const char *name)
{
    return find_place(weights, name) != NULL;
}

mr_status mr_hf_find(const mr_hf *weights, const char *name, const mr_safetensors **file,
                     const mr_safetensors_entry **entry)
{
    const mr_hf_place *found = find_place(weights, name);
    MR_CHECK(found, MR_ERR_FORMAT, "model folder '%s': no tensor '%s' in its weights",
             weights->folder, name);
    *file = found->file;
    *entry = found->entry;
    return MR_OK;
}
