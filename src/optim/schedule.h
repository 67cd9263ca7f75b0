#ifndef MR_OPTIM_SCHEDULE_H
#define MR_OPTIM_SCHEDULE_H

/** @file
 * Learning-rate schedules as factors on the base rate. */

#include "config/config.h"

#include <stdint.h>

/** Returns the factor on the base learning rate for the optimizer step before which `step` steps
 * have been taken (0 for the first). All counts in optimizer steps. Local.
 *
 * step < warmup: step / warmup, so the first step of a warm-up learns at rate 0. After it, with
 * q = (step - warmup) / max(1, total - warmup):
 * linear max(0, 1 - q), cosine (1 + cos(pi q)) / 2 (half a period), constant 1.
 * Past the end linear stays 0; cosine rises again, and a run never asks for it.
 *
 * Source: Hugging Face Transformers, get_{linear,cosine,constant}_schedule_with_warmup under
 * torch's LambdaLR. Deviation: none.
 * @param warmup  not negative
 * @param total   steps of the whole schedule, warm-up included; not used by constant
 * @param step    not negative */
double mr_schedule_factor(mr_schedule_kind kind, int64_t warmup, int64_t total, int64_t step);

#endif
