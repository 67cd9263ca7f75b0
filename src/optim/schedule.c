#include "optim/schedule.h"

#include <math.h>

static int64_t at_least_one(int64_t count)
{
    return count > 1 ? count : 1;
}

double mr_schedule_factor(mr_schedule_kind kind, int64_t warmup, int64_t total, int64_t step)
{
    static const double pi = 3.14159265358979323846;
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
    }
    mr_abort("learning-rate schedule %d is not one of the table", (int)kind);
}
