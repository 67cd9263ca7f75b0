#ifndef MR_TESTS_SETTINGS_TASK_H
#define MR_TESTS_SETTINGS_TASK_H

/** @file
 * Configurations of a task, made key by key. */

#include "data/task.h"
#include "test.h"

/** Fills config with the defaults of a task; it knows no method. */
static inline void settings_of_task(mr_config *config, const char *task)
{
    static mr_registry registry;
    static mr_choice_table table;
    char set[MR_CONFIG_NAME + 16];
    if (registry.count == 0) {
        table = (mr_choice_table){"task.name", mr_task_choices()};
        mr_registry_build(&table, 1, &registry);
    }
    mr_config_defaults(&registry, config);
    snprintf(set, sizeof set, "task.name=%s", task);
    must(mr_config_set(config, set));
}

/** Sets a key where the configuration has it. */
__attribute__((format(printf, 3, 4))) static inline void
settings_offer(mr_config *config, const char *key, const char *format, ...)
{
    char value[MR_CONFIG_STRING], set[MR_CONFIG_STRING + MR_CONFIG_NAME];
    va_list args;
    va_start(args, format);
    vsnprintf(value, sizeof value, format, args);
    va_end(args);
    snprintf(set, sizeof set, "%s=%s", key, value);
    if (mr_config_has(config, key)) must(mr_config_set(config, set));
}

#endif
