/* mora table: results of many runs beside the paper's numbers. */

#include "app/command.h"
#include "report/render.h"

#include <stdio.h>

static mr_status make_table(const mr_paper *paper, const char *name, const char *folder,
                            const char *form, mr_text *out)
{
    const mr_paper_table *table;
    mr_results results = {0};
    mr_report report = {0};
    mr_status status = mr_paper_choose(paper, name, folder, &table);
    if (status == MR_ERR_USAGE) return mr_fail_in(status, "mora table: --paper");
    if (status == MR_OK) status = mr_results_read(folder, &table->measure, &results);
    if (status == MR_OK) status = mr_report_make(table, &results, &report);
    if (status == MR_OK) status = mr_renderer_find(form)->render(&report, out);
    mr_report_free(&report);
    mr_results_free(&results);
    return status;
}

static mr_status print_table(const mr_paper *paper, const char *name, const char *folder, bool json)
{
    mr_text text = {0};
    mr_status status = make_table(paper, name, folder, json ? "json" : "text", &text);
    if (status == MR_OK && json)
        mr_print_json_text(mr_text_get(&text));
    else if (status == MR_OK)
        status = mr_print_text(&text);
    mr_text_free(&text);
    return status;
}

static mr_status run_with(const mr_comm *comm, const mr_paper *paper, int argc, char **argv)
{
    const char *name = NULL, *folder[1];
    char known[256];
    bool json = false, help;
    int operands;
    mr_text names = {0};
    mr_paper_names(paper, &names);
    snprintf(known, sizeof known, "table of the paper: %s; without it, that of the runs' task",
             mr_text_get(&names));
    mr_text_free(&names);
    const mr_option options[] = {
        {"paper", MR_OPTION_TEXT, &name, "TABLE", known},
        {"json", MR_OPTION_FLAG, &json, NULL, "print the table as JSON"},
    };
    MR_TRY(mr_options_parse(comm, &mr_command_table, options, sizeof options / sizeof options[0],
                            argc, argv, folder, 1, &operands, NULL, &help));
    if (help) return MR_OK;
    MR_CHECK(operands == 1, MR_ERR_USAGE, "mora table: expected a folder; usage: mora table %s",
             mr_command_table.usage);
    return mr_comm_agree_root(comm,
                              comm->rank == 0 ? print_table(paper, name, folder[0], json) : MR_OK);
}

static mr_status run(const mr_comm *comm, int argc, char **argv)
{
    mr_paper paper = {0};
    mr_status status = mr_paper_read(&paper);
    if (status == MR_OK) status = run_with(comm, &paper, argc, argv);
    mr_paper_free(&paper);
    return status;
}

const mr_command mr_command_table = {
    .name = "table",
    .usage = "RESULTS_DIR [--paper TABLE] [--json]",
    .summary = "print the results of the runs below a folder beside the paper's",
    .run = run,
};
