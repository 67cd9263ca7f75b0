#include "train/registry.h"

#include "adapter/adapter.h"
#include "data/task.h"
#include "eval/evaluator.h"

const mr_registry *mr_registry_of_program(void)
{
    static mr_registry registry;
    static mr_choice_table tables[4];
    if (registry.count > 0) return &registry;
    tables[0] = (mr_choice_table){"method.name", mr_adapter_choices()};
    tables[1] = (mr_choice_table){"task.name", mr_task_choices()};
    tables[2] = (mr_choice_table){"parallel.backend", mr_backend_choices()};
    tables[3] = (mr_choice_table){"eval.sets", mr_eval_choices()};
    mr_registry_build(tables, sizeof tables / sizeof tables[0], &registry);
    return &registry;
}
