/* A report in Markdown, with pipe tables as GitHub has them. */

#include "report/render.h"

#include <string.h>

/* Text in which nothing is markup: characters that Markdown obeys stand behind a backslash. */
static void add_plain(const char *text, mr_text *out)
{
    for (; *text; text++)
        mr_text_add(out, strchr("\\`*_{}[]<>#|~", *text) ? "\\%c" : "%c", *text);
}

static void add_clean(const char *text, mr_text *out)
{
    mr_render_text(text, add_plain, out);
}

/* A table has one line of headings: what stands above columns comes before each of theirs. */
static void add_heading(const mr_table *table, int64_t c, mr_text *out)
{
    const char *above = mr_render_above(table, c), *heading = table->column[c].heading;
    add_clean(above, out);
    if (above[0] && heading[0]) mr_text_add(out, ": ");
    add_clean(heading, out);
}

static void add_table(const mr_table *table, mr_text *out)
{
    if (table->caption) {
        add_clean(table->caption, out);
        mr_text_add(out, "\n\n");
    }
    for (int line = 0; line < 2; line++) {
        for (int64_t c = 0; c < table->columns; c++) {
            if (table->column[c].detail) continue;
            mr_text_add(out, line == 0 ? "| " : "|");
            if (line == 0)
                add_heading(table, c, out);
            else
                mr_text_add(out, table->column[c].right ? "--:" : "---");
            if (line == 0) mr_text_add(out, " ");
        }
        mr_text_add(out, "|\n");
    }
    for (int64_t i = 0; i < table->rows; i++) {
        for (int64_t c = 0; c < table->columns; c++) {
            mr_text cell = {0};
            if (table->column[c].detail) continue;
            if (!mr_render_repeats(table, i, c))
                mr_render_cell(&table->column[c], mr_table_cell(table, i, c), &cell);
            const char *strong = mr_table_cell(table, i, c)->best ? "**" : "";
            mr_text_add(out, "| %s", strong);
            add_plain(mr_text_get(&cell), out);
            mr_text_add(out, "%s ", strong);
            if (cell.failed) out->failed = true;
            mr_text_free(&cell);
        }
        mr_text_add(out, "|\n");
    }
    mr_text_add(out, "\n");
}

/* A list, each paragraph behind its label; a mark stands in code, or it would begin a list. */
static void add_list(const mr_paragraph *list, int count, bool marks, mr_text *out)
{
    for (int i = 0; i < count; i++) {
        mr_text_add(out, "- ");
        if (list[i].label[0]) mr_text_add(out, marks ? "`%s` " : "%s: ", list[i].label);
        add_clean(list[i].text, out);
        mr_text_add(out, "\n");
    }
    mr_text_add(out, "\n");
}

static mr_status render(const mr_report *report, mr_text *out)
{
    for (int64_t s = 0; s < report->sections; s++) {
        const mr_section *section = &report->section[s];
        mr_text_add(out, "## ");
        add_clean(section->title, out);
        mr_text_add(out, "\n\n");
        add_list(section->paragraph, section->paragraphs, false, out);
        for (int t = 0; t < section->tables; t++)
            if (section->table[t].rows > 0) add_table(&section->table[t], out);
        add_list(section->note, section->notes, true, out);
        if (section->left_out.count > 0) mr_text_add(out, "left out:\n\n");
        for (int64_t i = 0; i < section->left_out.count; i++) {
            mr_text_add(out, "- ");
            add_clean(section->left_out.item[i], out);
            mr_text_add(out, "\n");
        }
        if (section->left_out.count > 0) mr_text_add(out, "\n");
    }
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

const mr_renderer mr_renderer_markdown = {.name = "markdown", .render = render};
