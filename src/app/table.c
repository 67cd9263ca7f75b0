/* mora table: results of many runs beside the paper's numbers. */

#include "report/table.h"

#include "app/command.h"
#include "report/results_read.h"
#include "store/runlog_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
