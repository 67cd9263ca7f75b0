#include "train/due.h"

static bool is_scheduled(const mr_trainer *t, int64_t step)
{
    const mr_config *c = t->config;
    if (step == 0) return c->eval.at_start;
    for (int i = 0; i < c->eval.at_steps.count; i++)
        if (c->eval.at_steps.item[i] == step) return true;
    if (c->eval.every > 0) return step % c->eval.every == 0;
    return c->eval.at_steps.count == 0 && step == t->total_steps;
}

bool mr_set_due(const mr_trainer *t, const mr_eval_set *set, int64_t step)
{
    if (set->when == MR_WHEN_SCHEDULED) return is_scheduled(t, step);
    return step == t->total_steps || (set->when == MR_WHEN_ENDS && step == 0);
}

bool mr_sets_due(const mr_trainer *t, int64_t step, bool lasting)
{
    for (int i = 0; i < t->evaluator->sets; i++) {
        const mr_eval_set *set = &t->evaluator->set[i];
        if ((!lasting || set->kind->lasts) && mr_set_due(t, set, step)) return true;
    }
    return false;
}

int64_t mr_set_times(const mr_trainer *t, const mr_eval_set *set)
{
    const mr_config *c = t->config;
    if (set->when != MR_WHEN_SCHEDULED) return set->when == MR_WHEN_ENDS ? 2 : 1;
    const int64_t regular = c->eval.every > 0 ? t->total_steps / c->eval.every : 0;
    const int64_t times = c->eval.at_start + c->eval.at_steps.count + regular;
    return times > 0 ? times : 1;
}
