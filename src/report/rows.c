#include "report/table.h"

#include <string.h>

mr_status mr_table_rows(const mr_paper_table *paper, const mr_setting *setting, mr_table_row **rows,
                        int64_t *count)
{
    *count = 0;
    *rows =
        mr_alloc_array(MR_MEM_OTHER, (size_t)(paper->rows + setting->groups), sizeof(mr_table_row));
    if (!*rows) return MR_ERR_MEMORY;
    int64_t next = 0; /* groups before it, ascending by r, stand in the list or have a paper row */
    bool any_r = mr_paper_only_r(paper) > 0;
    for (int p = 0; p <= paper->rows; p++) {
        const mr_paper_row *row = p < paper->rows ? &paper->row[p] : NULL;
        int64_t above = !row ? INT64_MAX : any_r ? 1 : row->r;
        for (; next < setting->groups && setting->group[next].first->r < above; next++) {
            const mr_group *group = &setting->group[next];
            if (!mr_paper_row_of(paper, group->first->method, group->first->r))
                (*rows)[(*count)++] = (mr_table_row){.group = group};
        }
        if (!row) break;
        int64_t before = *count;
        for (int64_t g = 0; g < setting->groups; g++) {
            const mr_group *group = &setting->group[g];
            if (mr_paper_row_of(paper, group->first->method, group->first->r) == row)
                (*rows)[(*count)++] = (mr_table_row){row, group};
        }
        if (*count == before) (*rows)[(*count)++] = (mr_table_row){.paper = row};
    }
    return MR_OK;
}

mr_status mr_table_key_varies(const mr_setting *setting, const mr_group *alike, const char *key,
                              bool *varies)
{
    const mr_result *first = alike ? alike->first : setting->group[0].first;
    mr_text mine = {0}, other = {0};
    mr_status status = mr_config_value_text(&first->config, key, &mine);
    *varies = false;
    for (int64_t g = 0; status == MR_OK && !*varies && g < setting->groups; g++) {
        const mr_result *run = setting->group[g].first;
        if (alike && (run->r != first->r || strcmp(run->method, first->method) != 0)) continue;
        mr_text_free(&other);
        status = mr_config_value_text(&run->config, key, &other);
        *varies = strcmp(mr_text_get(&mine), mr_text_get(&other)) != 0;
    }
    mr_text_free(&mine);
    mr_text_free(&other);
    return status;
}

void mr_table_name(const mr_results *results, const mr_setting *setting, mr_text *out)
{
    enum { NAMES = 3 };
    int named = 0;
    for (int64_t i = setting->begin; i < setting->end; i++) {
        const char *name = results->run[i]->config.run.name;
        size_t length = strcspn(name, ".");
        bool seen = false;
        for (int64_t k = setting->begin; k < i && !seen; k++) {
            const char *earlier = results->run[k]->config.run.name;
            seen = strcspn(earlier, ".") == length && strncmp(earlier, name, length) == 0;
        }
        if (seen) continue;
        if (named < NAMES)
            mr_text_add(out, "%s%.*s", named > 0 ? ", " : "", (int)length, name);
        else if (named == NAMES)
            mr_text_add(out, ", ...");
        named++;
    }
}
