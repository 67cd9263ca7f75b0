#include "adapter/adapter.h"

/** Full fine-tuning: the base weights themselves are trained; no site ever has an adapter. */
const mr_adapter_method mr_method_fft = {
    .name = "fft",
    .summary = "full fine-tuning of every weight",
    .trains_base = true,
};
