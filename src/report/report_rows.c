/* The lines of a table of scores: the paper's rows and our groups of runs. */

#include "config/value.h"
#include "report/report_impl.h"

#include <string.h>

const char *mr_report_in_paper(const mr_paper_row *row, const char *key)
{
    for (int k = 0; row && k < row->keys; k++)
        if (strcmp(row->key[k].key, key) == 0) return row->key[k].value;
    return NULL;
}

bool mr_report_names_key(const mr_paper_table *paper, const char *method, const char *key)
{
    for (int i = 0; i < paper->rows; i++)
        if (strcmp(paper->row[i].method, method) == 0 && mr_report_in_paper(&paper->row[i], key))
            return true;
    return false;
}

/* Whether two runs of a method are alike in the keys that the paper's rows of it name. */
static mr_status same_keys(const mr_paper_table *paper, const mr_result *a, const mr_result *b,
                           bool *same)
{
    *same = true;
    for (int i = 0; i < paper->rows; i++)
        for (int k = 0; *same && k < paper->row[i].keys; k++) {
            const char *key = paper->row[i].key[k].key;
            mr_text left = {0}, right = {0};
            if (strcmp(paper->row[i].method, a->method) != 0 || !mr_config_has(&a->config, key))
                continue;
            mr_status status = mr_config_value_text(&a->config, key, &left);
            if (status == MR_OK) status = mr_config_value_text(&b->config, key, &right);
            *same = strcmp(mr_text_get(&left), mr_text_get(&right)) == 0;
            mr_text_free(&left);
            mr_text_free(&right);
            MR_TRY(status);
        }
    return MR_OK;
}

mr_status mr_report_takes(const mr_paper_table *paper, const mr_row *row, const mr_result *run,
                          bool *takes)
{
    const mr_paper_row *of;
    *takes = false;
    MR_TRY(mr_paper_row_of(paper, run, &of));
    if (of != row->paper || !row->like) return MR_OK;
    if (run->r != row->like->r || strcmp(run->method, row->like->method) != 0) return MR_OK;
    *takes = true;
    return of ? MR_OK : same_keys(paper, row->like, run, takes);
}

/* Puts a group of a block into its line: of those that a line searches the best. */
static mr_status add_group(mr_report_maker *m, int block, const mr_group *group)
{
    const mr_report_block *at = &m->section->block[block];
    mr_row *row = NULL;
    for (int64_t i = 0; m->paper->searched && !row && i < m->rows; i++) {
        bool takes;
        MR_TRY(mr_report_takes(m->paper, &m->row[i], group->first, &takes));
        if (takes) row = &m->row[i];
    }
    if (!row) {
        row = &m->row[m->rows++];
        row->like = group->first;
        MR_TRY(mr_paper_row_of(m->paper, group->first, &row->paper));
    }
    const mr_rate *had = row->rate[block];
    if (row->group[block] && !group->best) return MR_OK;
    if (had && !mr_results_better(at->results, at->setting, group->best, had)) return MR_OK;
    row->group[block] = group;
    row->rate[block] = group->best;
    return MR_OK;
}

/* Takes lines that the paper lacks, ascending by r, of less than some r. */
static void take_below(const mr_report_maker *m, int64_t r, bool *taken, mr_row *to, int64_t *count)
{
    for (;;) {
        int64_t next = -1;
        for (int64_t i = 0; i < m->rows; i++)
            if (!taken[i] && !m->row[i].paper && m->row[i].like->r < r &&
                (next < 0 || m->row[i].like->r < m->row[next].like->r))
                next = i;
        if (next < 0) return;
        taken[next] = true;
        to[(*count)++] = m->row[next];
    }
}

static mr_status order_rows(mr_report_maker *m, int64_t room)
{
    mr_row *to = mr_alloc_array(MR_MEM_OTHER, (size_t)room, sizeof *to);
    bool *taken = mr_alloc_array(MR_MEM_OTHER, (size_t)room, sizeof *taken);
    int64_t count = 0;
    const bool any_r = mr_paper_only_r(m->paper) > 0;
    for (int p = 0; to && taken && p < m->paper->rows; p++) {
        const mr_paper_row *paper = &m->paper->row[p];
        int64_t before;
        take_below(m, any_r ? 1 : paper->r, taken, to, &count);
        before = count;
        for (int64_t i = 0; i < m->rows; i++)
            if (m->row[i].paper == paper) to[count++] = m->row[i];
        if (count == before) to[count++].paper = paper;
    }
    if (to && taken) take_below(m, INT64_MAX, taken, to, &count);
    mr_free(taken);
    if (!to || !taken) {
        mr_free(to);
        return MR_ERR_MEMORY;
    }
    mr_free(m->row);
    m->row = to;
    m->rows = count;
    return MR_OK;
}

mr_status mr_report_list_rows(mr_report_maker *m)
{
    int64_t room = m->paper->rows;
    for (int b = 0; b < m->section->blocks; b++)
        if (m->section->block[b].setting) room += m->section->block[b].setting->groups;
    m->row = mr_alloc_array(MR_MEM_OTHER, (size_t)room, sizeof *m->row);
    if (!m->row) return MR_ERR_MEMORY;
    for (int b = 0; b < m->section->blocks; b++) {
        const mr_setting *setting = m->section->block[b].setting;
        for (int64_t g = 0; setting && g < setting->groups; g++)
            MR_TRY(add_group(m, b, &setting->group[g]));
    }
    return order_rows(m, room);
}
