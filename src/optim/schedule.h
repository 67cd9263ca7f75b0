#ifndef MR_OPTIM_SCHEDULE_H
#define MR_OPTIM_SCHEDULE_H

/** @file
 * Learning-rate schedules as factors on the base rate: plain curves, and curves with restarts after
 * merges built from them. */

#include "config/config.h"

#include <stdint.h>

/** A schedule of a run; all counts in optimizer steps. Plain data. */
typedef struct mr_schedule {
    mr_schedule_kind kind;
    int64_t warmup; /**< not negative */
    int64_t total;  /**< steps of the run */
    int64_t period; /**< steps between restarts, 1 or more; used by the kinds that restart */
    int64_t restart_warmup; /**< steps of the warm-up after a restart */
    double floor;           /**< jagged: factor at the end */
} mr_schedule;

/** Returns the schedule of a run of `total` steps; one that restarts does so when the method
 * merges, so never where that does not. Local. */
mr_schedule mr_schedule_of(const mr_config *config, int64_t total);

/** Returns the factor on the base learning rate for the optimizer step before which `step` steps
 * have been taken (0 for the first). With s = step, W warm-up, w restart warm-up, T period. Local.
 *
 * linear, cosine, constant: mr_schedule_factor.
 * jagged cosine, with N = total rounded up to a multiple of T, f = floor and
 * base(s) = f + (1 - f) (1 + cos(pi (s - W) / (N - W))) / 2:
 *     s / W                                   where s < W
 *     base(floor(s / T) T + w) (s mod T) / w  where s >= T and s mod T < w
 *     base(s)                                 elsewhere
 * rebased cosine: the cosine of mr_schedule_factor; for s > kT, k the greatest possible, a cosine
 * of warm-up w over the total - kT steps that were left, times the factor that stood at s = kT.
 *
 * Source: MoRA (arXiv 2405.12130) appendix B; the published code's --relora_scheduler (jagged) and
 * what it does without that flag (rebased).
 * @param step  not negative */
double mr_schedule_at(const mr_schedule *schedule, int64_t step);

/** Returns the factor of a plain curve. All counts in optimizer steps. Local.
 *
 * step < warmup: step / warmup, so the first step of a warm-up learns at rate 0. After it, with
 * q = (step - warmup) / max(1, total - warmup):
 * linear max(0, 1 - q), cosine (1 + cos(pi q)) / 2 (half a period), constant 1.
 * Past the end linear stays 0; cosine rises again, and a run never asks for it.
 *
 * Source: Hugging Face Transformers, get_{linear,cosine,constant}_schedule_with_warmup under
 * torch's LambdaLR. Deviation: none.
 * @param kind    linear, cosine or constant
 * @param warmup  not negative
 * @param total   steps of the whole schedule, warm-up included; not used by constant
 * @param step    not negative */
double mr_schedule_factor(mr_schedule_kind kind, int64_t warmup, int64_t total, int64_t step);

#endif
