/* LoRA+: LoRA with a learning rate of B that is lambda times that of A.
 *
 * Source: Hayou et al. 2024 (arXiv 2402.12354). Deviation: none; their code's separate
 * rate for embeddings has no counterpart here, as embeddings are not adapted. */

#include "adapter/lora.h"

static mr_status setup(mr_adapter *a, const mr_config *config, const char *const *names)
{
    MR_TRY(mr_lora_setup(a, config, names));
    for (int i = 0; i < a->linears; i++)
        a->param[i][MR_LORA_B].lr_scale = config->method.loraplus_lr_ratio;
    return MR_OK;
}

const mr_adapter_method mr_method_lora_plus = {
    .name = "lora_plus",
    .summary = "LoRA with a higher learning rate for B (Hayou et al. 2024)",
    .setup = setup,
    .forward = mr_lora_forward,
    .backward = mr_lora_backward,
    .update = mr_lora_update,
    .merge_rows = mr_lora_merge_rows,
    .describe = mr_lora_describe,
};
