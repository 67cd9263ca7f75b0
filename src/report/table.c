#include "report/table.h"

#include <math.h>

mr_status mr_table_create(int64_t columns, int64_t rows, mr_table *out)
{
    *out = (mr_table){0};
    out->column = mr_alloc_array(MR_MEM_OTHER, (size_t)columns, sizeof *out->column);
    out->row = mr_alloc_array(MR_MEM_OTHER, (size_t)rows, sizeof *out->row);
    out->cell = mr_alloc_array(MR_MEM_OTHER, (size_t)(rows * columns), sizeof *out->cell);
    if (out->column && out->row && out->cell) {
        out->columns = columns;
        out->rows = rows;
        return MR_OK;
    }
    mr_table_free(out);
    return MR_ERR_MEMORY;
}

char *mr_table_keep(mr_table *table, const char *text)
{
    char *kept = mr_strdup(text);
    if (!kept) table->failed = true;
    return kept;
}

mr_column *mr_table_column(mr_table *table, mr_column_kind kind, const char *heading)
{
    MR_INVARIANT(table->columns_added < table->columns);
    mr_column *column = &table->column[table->columns_added++];
    *column = (mr_column){.kind = kind,
                          .heading = mr_table_keep(table, heading),
                          .score = -1,
                          .paper = -1,
                          .step = NAN};
    return column;
}

static mr_cell *next_cell(mr_table *table)
{
    MR_INVARIANT(table->cells_added < table->rows * table->columns);
    return &table->cell[table->cells_added++];
}

void mr_table_add_missing(mr_table *table)
{
    *next_cell(table) = (mr_cell){.error = NAN};
}

void mr_table_add_absent(mr_table *table, const char *why)
{
    *next_cell(table) = (mr_cell){.error = NAN, .text = mr_table_keep(table, why)};
}

void mr_table_add_text(mr_table *table, const char *text, const char *marks)
{
    *next_cell(table) =
        (mr_cell){.value.n = 1, .error = NAN, .text = mr_table_keep(table, text), .marks = marks};
}

void mr_table_add_number(mr_table *table, double value)
{
    *next_cell(table) = (mr_cell){.value = {.n = 1, .mean = value}, .error = NAN};
}

void mr_table_add_estimate(mr_table *table, mr_estimate value)
{
    *next_cell(table) = (mr_cell){.value = value, .error = NAN};
}

const mr_cell *mr_table_cell(const mr_table *table, int64_t row, int64_t column)
{
    return &table->cell[row * table->columns + column];
}

void mr_table_free(mr_table *table)
{
    for (int64_t c = 0; c < table->columns; c++) {
        mr_free(table->column[c].heading);
        mr_free(table->column[c].above);
    }
    for (int64_t i = 0; i < table->rows * table->columns; i++)
        mr_free(table->cell[i].text);
    mr_free(table->column);
    mr_free(table->row);
    mr_free(table->cell);
    mr_free(table->caption);
    *table = (mr_table){0};
}
