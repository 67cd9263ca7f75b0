#include "adapter/adapter.h"

/* No keys of its own: what adapters are told stays zero. */
static const mr_schema schema = {.bytes = sizeof(mr_adapter_config)};

/** Full fine-tuning: the base weights themselves are trained; no site ever has an adapter. */
const mr_adapter_method mr_method_fft = {
    .name = "fft",
    .summary = "full fine-tuning of every weight",
    .schema = &schema,
    .trains_base = true,
};
