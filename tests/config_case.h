#ifndef MR_TESTS_CONFIG_CASE_H
#define MR_TESTS_CONFIG_CASE_H

/** @file
 * What the tests of configurations and of their matrix share: texts that become uuid.yaml and are
 * read on every rank. Collective. */

#include "config/load.h"
#include "ranks.h"

/** What every run needs, in two lines. */
#define CONFIG_MODEL "model: {path: tiny}\ntrain: {steps: 10}\n"

enum { CONFIG_CHOICES = 2 };

/** Names allowed for method.name (fft, lora, mora) and task.name (uuid, math). */
extern const mr_config_choices config_choices[CONFIG_CHOICES];

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
