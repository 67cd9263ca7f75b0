/* LoRA+: LoRA with a learning rate of B that is lambda times that of A.
 *
 * Source: Hayou et al. 2024 (arXiv 2402.12354). Deviation: none; their code's separate
 * rate for embeddings has no counterpart here, as embeddings are not adapted. */

#include "adapter/lora.h"

typedef struct lora_plus_config {
    mr_adapter_config adapter;
    double loraplus_lr_ratio;
} lora_plus_config;

static const mr_key keys[] = {
    MR_LORA_KEYS,
    {MR_KEY_FIELD(lora_plus_config, "method.loraplus_lr_ratio", loraplus_lr_ratio),
     .type = MR_KEY_FLOAT, .fallback = "4", .low = 1, .high = INFINITY,
     .help = "LoRA+: learning rate of B over that of A (lambda)."},
};

static const mr_schema schema = MR_SCHEMA(lora_plus_config, keys);

static mr_status setup(mr_adapter *a, const mr_adapter_config *config, const char *const *names)
{
    const lora_plus_config *own = (const void *)config;
    MR_TRY(mr_lora_setup(a, config, names));
    for (int i = 0; i < a->linears; i++)
        a->param[i][MR_LORA_B].lr_scale = own->loraplus_lr_ratio;
    return MR_OK;
}

const mr_adapter_method mr_method_lora_plus = {
    .name = "lora_plus",
    .summary = "LoRA with a higher learning rate for B (Hayou et al. 2024)",
    .schema = &schema,
    .setup = setup,
    .forward = mr_lora_forward,
    .backward = mr_lora_backward,
    .update = mr_lora_update,
    .merge_rows = mr_lora_merge_rows,
    .describe = mr_lora_describe,
};
