#ifndef MR_TESTS_SETTINGS_H
#define MR_TESTS_SETTINGS_H

/** @file
 * Configurations of a method, made key by key. */

#include "adapter/adapter.h"
#include "test.h"

/** Fills config with the defaults of a method; it knows no task. */
static inline void settings_of_method(mr_config *config, const char *method)
{
    static mr_registry registry;
    static mr_choice_table table;
    char set[MR_CONFIG_NAME + 16];
    if (registry.count == 0) {
        table = (mr_choice_table){"method.name", mr_adapter_choices()};
        mr_registry_build(&table, 1, &registry);
    }
    mr_config_defaults(&registry, config);
    snprintf(set, sizeof set, "method.name=%s", method);
    must(mr_config_set(config, set));
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

#endif
