#ifndef MR_TESTS_SETTINGS_H
#define MR_TESTS_SETTINGS_H

/** @file
 * Configurations of a method or of a task alone, made key by key. */

#include "adapter/adapter.h"
#include "data/task.h"
#include "test.h"

/** Fills config with the defaults of one of the choices of a key; it knows no other choices.
 * @param registry  lives as long as config, built here on its first use
 * @param table     as registry, which points to it */
static inline void settings_of(mr_config *config, mr_registry *registry,
                               const mr_choice_table *table, const char *name)
{
    char set[2 * MR_CONFIG_NAME];
    if (registry->count == 0) mr_registry_build(table, 1, registry);
    mr_config_defaults(registry, config);
    snprintf(set, sizeof set, "%s=%s", table->key, name);
    must(mr_config_set(config, set));
}

/** Fills config with the defaults of a method; it knows no task. */
static inline void settings_of_method(mr_config *config, const char *method)
{
    static mr_registry registry;
    static mr_choice_table table;
    table = (mr_choice_table){"method.name", mr_adapter_choices()};
    settings_of(config, &registry, &table, method);
}

/** Fills config with the defaults of a task; it knows no method. */
static inline void settings_of_task(mr_config *config, const char *task)
{
    static mr_registry registry;
    static mr_choice_table table;
    table = (mr_choice_table){"task.name", mr_task_choices()};
    settings_of(config, &registry, &table, task);
}

/** Returns what a configuration tells its method, to be changed. */
static inline mr_adapter_config *settings_adapter(mr_config *config)
{
    return (void *)&config->method.keys;
}

/** Sets a key, which the configuration must have, to what is printed. */
__attribute__((format(printf, 3, 4))) static inline void
settings_put(mr_config *config, const char *key, const char *format, ...)
{
    char value[MR_CONFIG_STRING], set[MR_CONFIG_STRING + MR_CONFIG_NAME];
    va_list args;
    va_start(args, format);
    vsnprintf(value, sizeof value, format, args);
    va_end(args);
    snprintf(set, sizeof set, "%s=%s", key, value);
    must(mr_config_set(config, set));
}

/** As settings_put, where the configuration has the key. */
#define settings_offer(config, key, ...)                                                           \
    do {                                                                                           \
        if (mr_config_has(config, key)) settings_put(config, key, __VA_ARGS__);                    \
    } while (0)

#endif
