#include "app/paper.h"

#include <string.h>

#define ROWS(array) .rows = (int)(sizeof(array) / sizeof *(array)), .row = (array)

/* Source: arXiv:2405.12130v1, Table 2. */
static const mr_paper_row table2_rows[] = {
    {"fft", 0, {42.5, 100, 100, 100}},    {"lora", 8, {9.9, 10.0, 10.7, 54.2}},
    {"mora", 8, {10.1, 15.7, 87.4, 100}}, {"lora", 256, {9.9, 70.6, 100, 100}},
    {"mora", 256, {41.6, 100, 100, 100}},
};

static const mr_paper_table tables[] = {
    {
        .name = "table2",
        .source = "MoRA (arXiv:2405.12130), Table 2",
        .setting = "LLaMA-2 7B, 10,000 pairs, batch 1,000 pairs, 1,000 steps (100 passes over the "
                   "data); FFT at 3e-5, LoRA best of 1e-4, 2e-4 and 3e-4, MoRA best of 5e-5, 1e-4 "
                   "and 2e-4; chosen rates, seeds and spread are not reported",
        .task = "uuid",
        .score = "accuracy",
        .caption = "accuracy (%)",
        .scale = 100,
        /* Of 32 digits of a version-4 UUID 30 are right by chance 1/16, the version always, the
         * variant 1/4. */
        .chance = 100 * (30.0 / 16 + 1 + 1.0 / 4) / 32,
        .columns = 4,
        .column = {"300", "500", "700", "900"},
        ROWS(table2_rows),
    },
};

enum { TABLES = sizeof tables / sizeof tables[0] };

const mr_paper_table *mr_paper_find(const char *name)
{
    for (int i = 0; i < TABLES; i++)
        if (strcmp(tables[i].name, name) == 0) return &tables[i];
    return NULL;
}

const mr_paper_row *mr_paper_row_of(const mr_paper_table *table, const char *method, int64_t r)
{
    for (int i = 0; i < table->rows; i++)
        if (table->row[i].r == r && strcmp(table->row[i].method, method) == 0)
            return &table->row[i];
    return NULL;
}

void mr_paper_names(mr_text *out)
{
    for (int i = 0; i < TABLES; i++)
        mr_text_add(out, "%s%s", i > 0 ? ", " : "", tables[i].name);
}
