#include "report/paper.h"

#include <math.h>
#include <string.h>

#define ROWS(array) .rows = (int)(sizeof(array) / sizeof *(array)), .row = (array)

/* Source: arXiv:2405.12130v1, Table 2. */
static const mr_paper_row table2_rows[] = {
    {"fft", 0, {42.5, 100, 100, 100}},    {"lora", 8, {9.9, 10.0, 10.7, 54.2}},
    {"mora", 8, {10.1, 15.7, 87.4, 100}}, {"lora", 256, {9.9, 70.6, 100, 100}},
    {"mora", 256, {41.6, 100, 100, 100}},
};

/* Source: arXiv:2405.12130v1, Table 3. */
static const mr_paper_row table3_rows[] = {
    {"lora", 128, {33.40, 28.56}},
    {"mora", 128, {28.54, 25.25}},
    {"relora", 128, {32.19, 27.80}},
    {"remora", 128, {26.74, 23.34}},
};

static const mr_paper_table tables[] = {
    {
        .name = "table2",
        .source = "MoRA (arXiv:2405.12130), Table 2",
        .setting = "LLaMA-2 7B, 10,000 pairs, batch 1,000 pairs, 1,000 steps (100 passes over the "
                   "data); FFT at 3e-5, LoRA best of 1e-4, 2e-4 and 3e-4, MoRA best of 5e-5, 1e-4 "
                   "and 2e-4; chosen rates, seeds and spread are not reported",
        .note = "Model, data and steps differ: compare the order of methods, not the numbers.",
        .measure = {.task = "uuid", .score = "accuracy"},
        .caption = "accuracy (%)",
        .sample = "pairs",
        .scale = 100,
        /* Of 32 digits of a version-4 UUID 30 are right by chance 1/16, the version always, the
         * variant 1/4. */
        .chance = 100 * (30.0 / 16 + 1 + 1.0 / 4) / 32,
        .decimals = 1,
        .by_step = true,
        .columns = 4,
        .column = {"300", "500", "700", "900"},
        ROWS(table2_rows),
    },
    {
        .name = "table3",
        .source = "MoRA (arXiv:2405.12130), Table 3",
        .setting =
            "LLaMA of 250M and 1.3B parameters from random weights, C4 in tokens of t5-base, "
            "batch 1,024 sequences of 512 tokens, 10,000 steps (5.24 billion tokens), r 128, "
            "merges every 2,000 steps; block linears stay as drawn under the update, "
            "embeddings, head and norms are trained; no full-rank baseline; rates, seeds, "
            "spread and the number of held-out tokens are not reported",
        .note = "Lower is better. Perplexity is per token of a tokenizer: beside another model, "
                "data, tokenizer, r or number of steps compare the order of methods, not the "
                "numbers.",
        .measure =
            {.task = "pretrain", .score = "perplexity", .count = "tokens", .lower_is_better = true},
        .caption = "perplexity",
        .sample = "sequences",
        .scale = 1,
        .chance = NAN,
        .decimals = 2,
        .columns = 2,
        .column = {"250M", "1.3B"},
        ROWS(table3_rows),
    },
};

enum { TABLES = sizeof tables / sizeof tables[0] };

const mr_paper_table *mr_paper_find(const char *name)
{
    for (int i = 0; i < TABLES; i++)
        if (strcmp(tables[i].name, name) == 0) return &tables[i];
    return NULL;
}

int64_t mr_paper_only_r(const mr_paper_table *table)
{
    int64_t only = 0;
    for (int i = 0; i < table->rows; i++) {
        int64_t r = table->row[i].r;
        if (only > 0 && r > 0 && r != only) return 0;
        if (r > 0) only = r;
    }
    return only;
}

const mr_paper_table *mr_paper_of_task(const char *task)
{
    for (int i = 0; i < TABLES; i++)
        if (strcmp(tables[i].measure.task, task) == 0) return &tables[i];
    return NULL;
}

const mr_paper_row *mr_paper_row_of(const mr_paper_table *table, const char *method, int64_t r)
{
    bool any_r = mr_paper_only_r(table) > 0;
    for (int i = 0; i < table->rows; i++)
        if ((any_r || table->row[i].r == r) && strcmp(table->row[i].method, method) == 0)
            return &table->row[i];
    return NULL;
}

void mr_paper_names(mr_text *out)
{
    for (int i = 0; i < TABLES; i++)
        mr_text_add(out, "%s%s", i > 0 ? ", " : "", tables[i].name);
}
