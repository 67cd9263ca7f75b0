#include "adapter/adapter.h"

static mr_status setup(mr_adapter *a, const mr_config *config, const char *const *names)
{
    (void)a;
    (void)config;
    (void)names;
    return MR_OK;
}

/** Full fine-tuning: the base weights themselves are trained; no site ever has an adapter. */
const mr_adapter_method mr_method_fft = {
    .name = "fft",
    .summary = "full fine-tuning of every weight",
    .trains_base = true,
    .setup = setup,
};
