/* mora table: results of many runs beside the paper's numbers. */

#include "app/table.h"

#include "app/command.h"
#include "app/results_read.h"
#include "store/runlog_read.h"

#include <stdio.h>
#include <stdlib.h>
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

static mr_status print_table(const mr_paper_table *paper, const char *folder, bool json)
{
    mr_results results = {0};
    mr_text text = {0};
    json_t *root = NULL;
    mr_status status = mr_results_read(folder, &paper->measure, &results);
    if (status != MR_OK) goto cleanup;
    if (json) {
        status = mr_table_json(paper, &results, &root);
        if (status == MR_OK) status = mr_print_json(root);
    } else {
        status = mr_table_text(paper, &results, &text);
        if (status == MR_OK) fputs(mr_text_get(&text), stdout);
    }
cleanup:
    json_decref(root);
    mr_text_free(&text);
    mr_results_free(&results);
    return status;
}

/* The table that the first log of a folder belongs to, that whose task it is of; else the first. */
static mr_status guess_table(const char *folder, const mr_paper_table **out)
{
    mr_names paths = {0};
    *out = NULL;
    mr_status status = mr_results_find(folder, &paths);
    for (int64_t i = 0; status == MR_OK && !*out && i < paths.count; i++) {
        mr_runlog_reader *reader = NULL;
        char *task = NULL;
        mr_status read = mr_runlog_open(paths.item[i], &reader);
        if (read == MR_OK) read = mr_runlog_get_text(reader, "task", &task);
        if (read == MR_OK) *out = mr_paper_of_task(task);
        mr_free(task);
        mr_runlog_close_reader(&reader);
    }
    mr_names_free(&paths);
    if (status == MR_OK && !*out) *out = mr_paper_find("table2");
    return status;
}

static mr_status run(const mr_comm *comm, int argc, char **argv)
{
    const char *name = NULL, *folder[1];
    bool json = false, help;
    int operands;
    const mr_option options[] = {
        {"paper", MR_OPTION_TEXT, &name, "TABLE",
         "table of the paper: table2, table3; without it, that of the runs' task"},
        {"json", MR_OPTION_FLAG, &json, NULL, "print the table as JSON"},
    };
    MR_TRY(mr_options_parse(comm, &mr_command_table, options, sizeof options / sizeof options[0],
                            argc, argv, folder, 1, &operands, NULL, &help));
    if (help) return MR_OK;
    MR_CHECK(operands == 1, MR_ERR_USAGE, "mora table: expected a folder; usage: mora table %s",
             mr_command_table.usage);
    const mr_paper_table *paper = NULL;
    if (name)
        paper = mr_paper_find(name);
    else
        MR_AGREE(comm, comm->rank == 0 ? guess_table(folder[0], &paper) : MR_OK);
    if (name && !paper) {
        mr_text known = {0};
        mr_paper_names(&known);
        mr_status status =
            mr_fail(MR_ERR_USAGE, "mora table: --paper: unknown table \"%s\"; known are: %s", name,
                    mr_text_get(&known));
        mr_text_free(&known);
        return status;
    }
    return comm->rank == 0 ? print_table(paper, folder[0], json) : MR_OK;
}

const mr_command mr_command_table = {
    .name = "table",
    .usage = "RESULTS_DIR [--paper TABLE] [--json]",
    .summary = "print the results of the runs below a folder beside the paper's",
    .run = run,
};
