#ifndef MR_TESTS_CONFIG_CASE_H
#define MR_TESTS_CONFIG_CASE_H

/** @file
 * What the tests of configurations and of their matrix share: texts that become uuid.yaml and are
 * read on every rank. Collective. */

#include "config/load.h"
#include "ranks.h"

/** What every run needs, in two lines. */
#define CONFIG_MODEL "model: {path: tiny}\ntrain: {steps: 10}\n"

/** The keys of a method here. */
typedef struct case_method {
    int64_t r;
    double lora_alpha, lora_dropout;
    mr_string_list target_modules;
    int32_t operator;
    int64_t merge_every;
} case_method;

/** The keys of a task here. */
typedef struct case_task {
    int64_t pairs, data_seed;
    char prompt[MR_CONFIG_STRING];
} case_task;

/** Methods fft, without keys, lora, relora, with merge_every, and mora, with operator; tasks uuid
 * and math, without keys. */
const mr_registry *config_registry(void);

/** Return the keys of a run's method and task. */
const case_method *method_of(const mr_config *config);
const case_task *task_of(const mr_config *config);

/** Writes a text to uuid.yaml. */
void config_write(const char *text);

/** Reads a text as uuid.yaml and checks every run. @return as mr_config_load; out is empty on
 * failure */
MR_NODISCARD mr_status config_load(const char *text, const char *const *sets, int set_count,
                                   mr_run_list *out);

/** Returns a run of a list. */
mr_config config_run(const mr_run_list *list, int run);

/** Fails the test unless a text is refused with this very message. */
void config_assert_error(const char *text, const char *message);

#endif
