#ifndef MR_ADAPTER_LORA_H
#define MR_ADAPTER_LORA_H

/** @file
 * LoRA's parts, for itself and for the methods that change something about it: delta(x) =
 * (lora_alpha / r) B A x, A [r, I], B [O, r]. They fill the hooks of mr_adapter_method. */

#include "adapter/adapter.h"

enum { MR_LORA_A = 0, MR_LORA_B = 1 }; /**< indices of a linear's tensors */

/** Rows of the table of keys of a method that scales its product. */
#define MR_LORA_KEYS                                                                               \
    MR_ADAPTER_KEYS,                                                                               \
    {                                                                                              \
        MR_KEY_FIELD(mr_adapter_config, "method.use_rslora", use_rslora),                          \
            .type = MR_KEY_BOOL, .fallback = "false",                                              \
            .help = "Scale the update by lora_alpha / sqrt(r) (Kalajdzievski 2023), as in PEFT."   \
    }

extern const mr_schema mr_lora_schema; /**< MR_LORA_KEYS alone */

mr_status mr_lora_setup(mr_adapter *a, const mr_adapter_config *config, const char *const *names);
void mr_lora_forward(const mr_adapter *a, const mr_adapter_call *call);
void mr_lora_backward(const mr_adapter *a, const mr_adapter_call *call);
void mr_lora_update(const mr_adapter *a, const mr_adapter_call *call, int linear, mr_update *out);
void mr_lora_merge_rows(const mr_adapter *a, const mr_adapter_call *call, int linear, int64_t first,
                        mr_tensor rows);
void mr_lora_describe(const mr_adapter *a, int linear, char *text, size_t room);

/** Returns lora_alpha / r, with use_rslora lora_alpha / sqrt(r). */
float mr_lora_scale(const mr_adapter *a);

/** Writes A x of every linear into saved [N, linears * r]. */
void mr_lora_compress(const mr_adapter *a, const mr_adapter_call *call);

#endif
