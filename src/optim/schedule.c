#include "optim/schedule.h"

#include "adapter/adapter.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

static int64_t at_least_one(int64_t count)
{
    return count > 1 ? count : 1;
}

double mr_schedule_factor(mr_schedule_kind kind, int64_t warmup, int64_t total, int64_t step)
{
    MR_INVARIANT(warmup >= 0 && step >= 0);
    if (step < warmup) return (double)step / (double)warmup;
    double length = (double)at_least_one(total - warmup);
    switch (kind) {
    case MR_SCHEDULE_LINEAR:
        return fmax(0.0, (double)(total - step) / length);
    case MR_SCHEDULE_COSINE:
        return fmax(0.0, 0.5 * (1.0 + cos(pi * ((double)(step - warmup) / length))));
    case MR_SCHEDULE_CONSTANT:
        return 1.0;
    default:
        mr_abort("learning-rate schedule %d is no plain curve", (int)kind);
    }
}

mr_schedule mr_schedule_of(const mr_config *config, int64_t total)
{
    int64_t merge_every = mr_adapter_config_of(config)->merge_every;
    return (mr_schedule){.kind = (mr_schedule_kind)config->train.schedule,
                         .warmup = config->train.warmup_steps,
                         .total = total,
                         .period = merge_every > 0 ? merge_every : at_least_one(total),
                         .restart_warmup = config->train.restart_warmup_steps,
                         .floor = config->train.min_lr_ratio};
}

/* The jagged schedule's curve without its teeth. */
static double floored(const mr_schedule *s, int64_t step)
{
    int64_t periods = (s->total + s->period - 1) / s->period;
    double factor = mr_schedule_factor(MR_SCHEDULE_COSINE, s->warmup, periods * s->period, step);
    return step < s->warmup ? factor : s->floor + (1 - s->floor) * factor;
}

static double jagged(const mr_schedule *s, int64_t step)
{
    int64_t into = step % s->period;
    if (step < s->period || into >= s->restart_warmup) return floored(s, step);
    return floored(s, step - into + s->restart_warmup) * (double)into / (double)s->restart_warmup;
}

static double rebased(const mr_schedule *s, int64_t step)
{
    double base = 1;
    int64_t begin = 0, warmup = s->warmup;
    for (; begin + s->period < step; begin += s->period) {
        base *= mr_schedule_factor(MR_SCHEDULE_COSINE, warmup, s->total - begin, s->period);
        warmup = s->restart_warmup;
    }
    return base * mr_schedule_factor(MR_SCHEDULE_COSINE, warmup, s->total - begin, step - begin);
}

double mr_schedule_at(const mr_schedule *schedule, int64_t step)
{
    MR_INVARIANT(step >= 0 && schedule->period > 0);
    switch (schedule->kind) {
    case MR_SCHEDULE_JAGGED_COSINE:
        return jagged(schedule, step);
    case MR_SCHEDULE_REBASED_COSINE:
        return rebased(schedule, step);
    default:
        return mr_schedule_factor(schedule->kind, schedule->warmup, schedule->total, step);
    }
}
