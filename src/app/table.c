/* mora table: results of many runs beside the paper's numbers. */

#include "app/command.h"
#include "report/render.h"

#include <stdio.h>
#include <string.h>

enum { FOLDERS = 32 };

/* What is asked for. */
typedef struct request {
    const mr_paper *paper;
    const char *name; /* NULL: the table that suits the runs */
    const char *form;
    int folders;
    const char *folder[FOLDERS];
} request;

static mr_status make_table(const request *asked, mr_text *out)
{
    const mr_paper_table *table = NULL;
    mr_results *results = NULL;
    mr_report report = {0};
    mr_text others = {0};
    mr_status status =
        mr_paper_choose(asked->paper, asked->name, asked->folder, asked->folders, &table, &others);
    if (status == MR_ERR_USAGE) status = mr_fail_in(status, "mora table: --paper");
    if (status == MR_OK) {
        results = mr_alloc_array(MR_MEM_OTHER, (size_t)table->tasks, sizeof *results);
        status = results ? MR_OK : MR_ERR_MEMORY;
    }
    if (status == MR_OK)
        status =
            mr_results_read(asked->folder, asked->folders, table->measure, table->tasks, results);
    if (status == MR_OK)
        status = mr_report_make(table, results, asked->name ? "" : mr_text_get(&others), &report);
    if (status == MR_OK) status = mr_renderer_find(asked->form)->render(&report, out);
    mr_report_free(&report);
    for (int t = 0; results && t < table->tasks; t++)
        mr_results_free(&results[t]);
    mr_free(results);
    mr_text_free(&others);
    return status;
}

/* Line ends of CSV are not for terminals to be guarded from, nor is what JSON escapes. */
static mr_status print_table(const request *asked)
{
    mr_text text = {0};
    mr_status status = make_table(asked, &text);
    if (status == MR_OK && (strcmp(asked->form, "json") == 0 || strcmp(asked->form, "csv") == 0))
        mr_print_json_text(mr_text_get(&text));
    else if (status == MR_OK)
        status = mr_print_text(&text);
    mr_text_free(&text);
    return status;
}

/* The number of a form among the names. */
static const char *form_of(int format, char name[16])
{
    const char *at = MR_RENDERER_NAMES;
    for (; format > 0; format--)
        at = strchr(at, '|') + 1;
    snprintf(name, 16, "%.*s", (int)strcspn(at, "|"), at);
    return name;
}

/* The tables, and the tasks whose runs fill them. */
static void list_tables(const mr_paper *paper, mr_text *out)
{
    mr_text_add(
        out, "Tables, and the tasks whose runs fill them (of several folders, and below them):\n");
    for (int t = 0; t < paper->tables; t++) {
        const mr_paper_table *table = &paper->table[t];
        mr_text_add(out, "  %-8s %s:", table->name, table->source);
        for (int k = 0; k < table->tasks; k++)
            mr_text_add(out, "%s %s", k > 0 ? "," : "", table->measure[k].task);
        mr_text_add(out, "\n");
    }
    mr_text_add(
        out,
        "\nWithout --paper: the table with most of the tasks that are found, of these the one with "
        "fewest\n"
        "others; one of a single method only where all runs are of that. The last note names the\n"
        "others. Where it has several rules for a score, a column stands for each that runs "
        "have.\n");
}

static mr_status run_with(const mr_comm *comm, const mr_paper *paper, int argc, char **argv)
{
    request asked = {.paper = paper};
    char known[256], form[16];
    bool json = false, help;
    int format = -1;
    mr_text names = {0}, more = {0};
    mr_paper_names(paper, &names);
    snprintf(known, sizeof known, "table of the paper: %s; without it, what suits the runs",
             mr_text_get(&names));
    mr_text_free(&names);
    const mr_option options[] = {
        {"paper", MR_OPTION_TEXT, &asked.name, "TABLE", known},
        {"format", MR_OPTION_CHOICE, &format, MR_RENDERER_NAMES, "form it is printed in"},
        {"json", MR_OPTION_FLAG, &json, NULL, "the same as --format json"},
    };
    if (mr_options_help(argc, argv)) list_tables(paper, &more);
    mr_status status =
        more.failed ? MR_ERR_MEMORY
                    : mr_options_parse(comm, &mr_command_table, options,
                                       sizeof options / sizeof options[0], argc, argv, asked.folder,
                                       FOLDERS, &asked.folders, mr_text_get(&more), &help);
    mr_text_free(&more);
    if (status != MR_OK || help) return status;
    MR_CHECK(asked.folders > 0, MR_ERR_USAGE, "mora table: expected a folder; usage: mora table %s",
             mr_command_table.usage);
    asked.form = json ? "json" : form_of(format < 0 ? 0 : format, form);
    MR_CHECK(!json || format < 0 || strcmp(form_of(format, form), "json") == 0, MR_ERR_USAGE,
             "mora table: --json and --format %s contradict each other", form);
    return mr_comm_agree_root(comm, comm->rank == 0 ? print_table(&asked) : MR_OK);
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
    .usage = "RESULTS_DIR... [--paper TABLE] [--format text|markdown|latex|csv|json] [--json]",
    .summary = "print the results of the runs below folders beside the paper's",
    .run = run,
};
