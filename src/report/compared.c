/* What is compared of two runs, and how it is kept. */

#include "report/compare_impl.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

mr_compared_set *mr_comparison_add(mr_comparison *c, const char *name)
{
    if (mr_grow(MR_MEM_OTHER, &c->set, &c->room, c->sets + 1, sizeof *c->set) != MR_OK) return NULL;
    mr_compared_set *set = &c->set[c->sets++];
    set->name = mr_strdup(name);
    return set->name ? set : NULL;
}

mr_status mr_comparison_leave_out(mr_comparison *c, const char *name, const char *reason)
{
    char text[MR_MESSAGE_MAX];
    snprintf(text, sizeof text, "%s: %s", name, reason);
    return mr_names_add(&c->left_out, text);
}

mr_status mr_comparison_refuse(const char *const path[2], const char *fmt, ...)
{
    char what[MR_MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return mr_fail(MR_ERR_ARG, "%s and %s cannot be compared item by item: %s", path[0], path[1],
                   what);
}

static int most_first(const void *a, const void *b)
{
    const mr_compared_item *x = a, *y = b;
    if (x->apart != y->apart) return x->apart < y->apart ? 1 : -1;
    return (x->item > y->item) - (x->item < y->item);
}

mr_status mr_compared_order(mr_compared_set *set)
{
    const int64_t items = set->paired.items;
    set->order = mr_alloc_array(MR_MEM_OTHER, (size_t)items, sizeof *set->order);
    if (!set->order) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < items; i++) {
        const double apart = fabs(set->value[1][i] - set->value[0][i]);
        if (apart > 0) set->order[set->differ++] = (mr_compared_item){i, apart};
    }
    qsort(set->order, (size_t)set->differ, sizeof *set->order, most_first);
    return MR_OK;
}

bool mr_compared_differ(const mr_compared_set *set)
{
    const mr_paired *p = &set->paired;
    return p->binary ? p->p < 0.05 : p->interval.low > 0 || p->interval.high < 0;
}

mr_status mr_comparison_check(const char *const path[2], const mr_comparison *c)
{
    if (c->sets > 0) return MR_OK;
    mr_text reasons = {0};
    for (int64_t i = 0; i < c->left_out.count; i++)
        mr_text_add(&reasons, "%s%s", i > 0 ? "; " : "", c->left_out.item[i]);
    mr_status status =
        mr_fail(MR_ERR_ARG, "%s and %s have no records of the same set of evaluations: %s", path[0],
                path[1], reasons.length > 0 ? mr_text_get(&reasons) : "they have no evaluations");
    mr_text_free(&reasons);
    return status;
}

void mr_comparison_free(mr_comparison *comparison)
{
    for (int i = 0; i < 2; i++) {
        mr_free(comparison->run[i].path);
        mr_free(comparison->run[i].run);
        mr_free(comparison->run[i].task);
        mr_free(comparison->run[i].method);
        mr_free(comparison->run[i].model);
    }
    for (int64_t i = 0; i < comparison->sets; i++) {
        mr_compared_set *set = &comparison->set[i];
        mr_free(set->name);
        mr_free(set->value[0]);
        mr_free(set->value[1]);
        for (int64_t k = 0; set->answer && k < set->differ; k++) {
            mr_free(set->answer[k].id);
            mr_free(set->answer[k].gold);
            mr_free(set->answer[k].found[0]);
            mr_free(set->answer[k].found[1]);
        }
        mr_free(set->answer);
        mr_free(set->not_by);
        mr_free(set->order);
    }
    mr_free(comparison->set);
    mr_names_free(&comparison->left_out);
    *comparison = (mr_comparison){.sets = 0};
}
