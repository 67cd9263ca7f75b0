/* A report in LaTeX: tables to be included in a document, with rules of booktabs, and by graphicx
 * no wider than its text. A document in UTF-8, as LaTeX's are since 2018, has them by \input. */

#include "report/render.h"

#include <stdio.h>
#include <string.h>

/* Text in which nothing is a command. */
static void add_plain(const char *text, mr_text *out)
{
    static const struct {
        const char *from, *to;
    } written[] = {
        {"\\", "\\textbackslash{}"},
        {"~", "$\\sim$"},
        {"^", "\\textasciicircum{}"},
        {"±", "$\\pm$"},
        {"<", "$<$"},
        {">", "$>$"},
        {"%", "\\%"},
        {"_", "\\_"},
        {"&", "\\&"},
        {"#", "\\#"},
        {"$", "\\$"},
        {"{", "\\{"},
        {"}", "\\}"},
        {"*", "$^{*}$"},
        {"`", "\\textasciigrave{}"},
        {"|", "\\textbar{}"},
        {"\"", "''"},
    };
    enum { WRITTEN = sizeof written / sizeof written[0] };
    while (*text) {
        size_t w = 0;
        while (w < WRITTEN && strncmp(text, written[w].from, strlen(written[w].from)) != 0)
            w++;
        if (w < WRITTEN)
            mr_text_add(out, "%s", written[w].to);
        else
            mr_text_add_bytes(out, text, 1);
        text += w < WRITTEN ? strlen(written[w].from) : 1;
    }
}

static void add_clean(const char *text, mr_text *out)
{
    mr_render_text(text, add_plain, out);
}

/* What stands above several columns, once over all of them, with a rule below it. */
static void add_above(const mr_table *table, mr_text *out)
{
    const char *before = "";
    mr_text rules = {0};
    int column = 1;
    for (int64_t c = 0; c < table->columns;) {
        const char *above = mr_render_above(table, c);
        int columns = 0;
        for (; c < table->columns && (columns == 0 || mr_render_above(table, c) == above); c++)
            columns += !table->column[c].detail;
        if (columns == 0) continue;
        mr_text_add(out, "%s\\multicolumn{%d}{c}{", before, columns);
        add_clean(above, out);
        mr_text_add(out, "}");
        if (above[0]) mr_text_add(&rules, "\\cmidrule(lr){%d-%d}", column, column + columns - 1);
        column += columns;
        before = " & ";
    }
    mr_text_add(out, " \\\\\n%s%s", mr_text_get(&rules), rules.length > 0 ? "\n" : "");
    out->failed = out->failed || rules.failed;
    mr_text_free(&rules);
}

static void add_rows(const mr_table *table, mr_text *out)
{
    for (int64_t i = -1; i < table->rows; i++) {
        const char *before = "";
        for (int64_t c = 0; c < table->columns; c++) {
            const mr_column *column = &table->column[c];
            mr_text cell = {0};
            if (column->detail) continue;
            if (i < 0)
                mr_text_add(&cell, "%s", column->heading);
            else if (!mr_render_repeats(table, i, c))
                mr_render_cell(column, mr_table_cell(table, i, c), &cell);
            const bool best = i >= 0 && mr_table_cell(table, i, c)->best;
            mr_text_add(out, "%s%s", before, best ? "\\textbf{" : "");
            add_clean(mr_text_get(&cell), out);
            mr_text_add(out, "%s", best ? "}" : "");
            before = " & ";
            if (cell.failed) out->failed = true;
            mr_text_free(&cell);
        }
        mr_text_add(out, " \\\\\n%s", i < 0 ? "\\midrule\n" : "");
    }
}

/* A sentence, with its full stop. */
static void add_sentence(const char *text, mr_text *out)
{
    const size_t length = strlen(text);
    add_clean(text, out);
    if (length == 0 || text[length - 1] != '.') mr_text_add(out, ".");
}

/* Words stand below the table of scores: too many for a caption. */
static void add_words(const mr_section *section, mr_text *out)
{
    mr_text_add(out, "\\par\\smallskip\n\\parbox{\\linewidth}{\\scriptsize");
    for (int i = 0; i < section->paragraphs; i++) {
        mr_text_add(out, "\n  \\emph{");
        add_clean(section->paragraph[i].label, out);
        mr_text_add(out, "}: ");
        add_sentence(section->paragraph[i].text, out);
    }
    for (int i = 0; i < section->notes; i++) {
        mr_text_add(out, "\n  ");
        add_clean(section->note[i].label, out);
        mr_text_add(out, "%s", section->note[i].label[0] ? " " : "");
        add_sentence(section->note[i].text, out);
    }
    const int64_t left_out = section->left_out.count;
    if (left_out > 0)
        mr_text_add(out,
                    "\n  Left out: %lld run%s, named with the reason in the source of this table.",
                    (long long)left_out, left_out == 1 ? "" : "s");
    mr_text_add(out, "}\n");
    for (int64_t i = 0; i < left_out; i++) {
        const char *run = section->left_out.item[i];
        mr_text_add(out, "%% left out: ");
        mr_text_add_line(out, run, strlen(run));
        mr_text_add(out, "\n");
    }
}

static void add_table(const mr_section *section, int t, mr_text *out)
{
    const mr_table *table = &section->table[t];
    bool headed = false;
    mr_text_add(out, "\\begin{table}\n\\centering\n\\caption{");
    if (t == MR_TABLE_SCORES)
        add_sentence(section->title, out);
    else if (table->caption)
        add_sentence(table->caption, out);
    mr_text_add(out, "}\n\\small\\setlength{\\tabcolsep}{3pt}\n"
                     "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%%\n"
                     "\\begin{tabular}{@{}");
    for (int64_t c = 0; c < table->columns; c++) {
        headed = headed || table->column[c].above;
        if (!table->column[c].detail) mr_text_add(out, "%s", table->column[c].right ? "r" : "l");
    }
    mr_text_add(out, "@{}}\n\\toprule\n");
    if (headed) add_above(table, out);
    add_rows(table, out);
    mr_text_add(out, "\\bottomrule\n\\end{tabular}}\n");
    if (t == MR_TABLE_SCORES) add_words(section, out);
    mr_text_add(out, "\\end{table}\n\n");
}

static mr_status render(const mr_report *report, mr_text *out)
{
    mr_text_add(out, "%% \\usepackage{booktabs,graphicx}\n\n");
    for (int64_t s = 0; s < report->sections; s++)
        for (int t = 0; t < report->section[s].tables; t++)
            if (report->section[s].table[t].rows > 0) add_table(&report->section[s], t, out);
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

const mr_renderer mr_renderer_latex = {.name = "latex", .render = render};
