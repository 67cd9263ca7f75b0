/* ReLoRA: LoRA that is added to the base weights now and then and starts anew, so that the sum of
 * the updates outgrows the rank of each.
 *
 * Source: Lialin et al. 2023 (arXiv 2307.05695). Deviation: the moments of A and B are
 * cleared at a restart, as by Jiang et al. 2024; the published code prunes them. */

#include "adapter/lora.h"

static const mr_key keys[] = {MR_LORA_KEYS, MR_ADAPTER_MERGE_KEY};

static const mr_schema schema = MR_SCHEMA(mr_adapter_config, keys);

const mr_adapter_method mr_method_relora = {
    .name = "relora",
    .summary = "LoRA merged into the weights now and then (Lialin et al. 2023)",
    .schema = &schema,
    .merges = true,
    .setup = mr_lora_setup,
    .forward = mr_lora_forward,
    .backward = mr_lora_backward,
    .update = mr_lora_update,
    .merge_rows = mr_lora_merge_rows,
    .describe = mr_lora_describe,
};
