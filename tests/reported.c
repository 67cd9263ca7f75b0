#include "reported.h"

#include "report/render.h"
#include "test.h"

void reported_make(const char *yaml, const char *name, const char *folder, reported *r)
{
    mr_text others = {0};
    *r = (reported){0};
    if (yaml)
        must(mr_paper_parse("p.yaml", yaml, strlen(yaml), &r->paper));
    else
        must(mr_paper_read(&r->paper));
    must(mr_paper_choose(&r->paper, name, &folder, 1, &r->table, &others));
    assert_in_range(r->table->tasks, 1, REPORTED_TASKS);
    must(mr_results_read(&folder, 1, r->table->measure, r->table->tasks, r->results));
    must(mr_report_make(r->table, r->results, mr_text_get(&others), &r->report));
    mr_text_free(&others);
}

void reported_render(const reported *r, const char *form, mr_text *out)
{
    must(mr_renderer_find(form)->render(&r->report, out));
}

void reported_free(reported *r)
{
    mr_report_free(&r->report);
    for (int t = 0; t < r->table->tasks; t++)
        mr_results_free(&r->results[t]);
    mr_paper_free(&r->paper);
}
