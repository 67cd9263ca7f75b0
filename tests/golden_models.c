#include "golden_models.h"

#include "base/file.h"
#include "golden_find.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_lines(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot && dot > entry->d_name && strcmp(dot, ".jsonl") == 0;
}

/* Appends the models of a root, and of the data beside it. */
static int find(const char *root, const char *kind, golden_model *texts, int there)
{
    struct dirent **entries = NULL;
    char folder[PATH_MAX], path[PATH_MAX];
    must(mr_file_path(folder, "%s/%s", root, kind));
    const int count = scandir(folder, &entries, is_lines, alphasort);
    for (int i = 0; i < count; i++) {
        const int length = (int)(strrchr(entries[i]->d_name, '.') - entries[i]->d_name);
        golden_model *g = &texts[there];
        assert_true(there < GOLDEN_MODELS);
        must(mr_file_path(g->file, "%s/%s", folder, entries[i]->d_name));
        must(mr_file_path(g->folder, "%s/%.*s/model", root, length, entries[i]->d_name));
        must(mr_file_path(path, "%s/../data/weights/%.*s-hf", root, length, entries[i]->d_name));
        if (access(path, F_OK) == 0) must(mr_file_path(g->folder, "%s", path));
        snprintf(g->name, sizeof g->name, "%.*s", length, entries[i]->d_name);
        there++;
        free(entries[i]);
    }
    free(entries);
    return there;
}

size_t golden_model_tests(const char *kind, const struct CMUnitTest *each, size_t count,
                          struct CMUnitTest *tests)
{
    static golden_model models[GOLDEN_MODELS];
    static char names[8 * GOLDEN_MODELS][512];
    mr_names roots = {0};
    int there = 0;
    size_t made = 0;
    must(mr_golden_roots(&roots));
    for (int64_t i = 0; i < roots.count; i++)
        there = find(roots.item[i], kind, models, there);
    mr_names_free(&roots);
    assert_true(count <= 8);
    for (int i = 0; i < there; i++)
        for (size_t k = 0; k < count; k++, made++) {
            tests[made] = each[k];
            snprintf(names[made], sizeof names[made], "%.200s: %.200s", each[k].name,
                     models[i].name);
            tests[made].name = names[made];
            tests[made].initial_state = &models[i];
        }
    return made;
}

void golden_file_open(const golden_model *model, golden_file *file)
{
    char *all;
    *file = (golden_file){0};
    must(mr_file_read(model->file, MR_MEM_OTHER, &all, NULL));
    for (char *next, *at = all; *at; at = next) {
        next = at + strcspn(at, "\n");
        if (*next) *next++ = '\0';
        assert_true(file->count < GOLDEN_LINES);
        file->line[file->count] = json_loads(at, 0, NULL);
        assert_non_null(file->line[file->count++]);
    }
    mr_free(all);
    assert_true(file->count > 0);
}

void golden_file_close(golden_file *file)
{
    for (int i = 0; i < file->count; i++)
        json_decref(file->line[i]);
    *file = (golden_file){0};
}
