#include "train/plan.h"

mr_plan mr_plan_of(const mr_model *model, const mr_generator *generator)
{
    mr_plan plan = {.cost = mr_model_step_cost(model)};
    mr_model_bytes(model, plan.bytes);
    if (generator) mr_generator_bytes(generator, plan.bytes);
    for (int i = 0; i < MR_PLANNED; i++)
        plan.total += plan.bytes[i];
    return plan;
}

void mr_plan_check(const mr_plan *plan)
{
    for (int i = 0; i < MR_PLANNED; i++)
        if (mr_memory_live((mr_purpose)i) != plan->bytes[i])
            mr_abort("%s: planned %zu bytes, allocated %zu", mr_purpose_name((mr_purpose)i),
                     plan->bytes[i], mr_memory_live((mr_purpose)i));
}
