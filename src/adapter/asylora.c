/* AsyLoRA: LoRA with random orthonormal rows of A, which stay as they are.
 *
 * Source: Zhu et al. 2024 (arXiv 2402.16842). With method.freeze_a false A is trained too,
 * as in the experiments of Jiang et al. 2024. Deviation: the rows are those of an orthonormalised
 * Gaussian matrix; the published code takes singular vectors of a uniform one. */

#include "adapter/lora.h"

typedef struct asylora_config {
    mr_adapter_config adapter;
    bool freeze_a;
} asylora_config;

static const mr_key keys[] = {
    MR_LORA_KEYS,
    {MR_KEY_FIELD(asylora_config, "method.freeze_a", freeze_a), .type = MR_KEY_BOOL,
     .fallback = "true",
     .help = "AsyLoRA: keep the orthonormal A as it was drawn; the MoRA paper trains it too."},
};

static const mr_schema schema = MR_SCHEMA(asylora_config, keys);

static mr_status setup(mr_adapter *a, const mr_adapter_config *config, const char *const *names)
{
    const asylora_config *own = (const void *)config;
    MR_CHECK(
        a->r <= a->in, MR_ERR_ARG,
        "method.r: asylora needs at most as many orthonormal rows as %s has inputs, %lld, found "
        "%lld",
        names[0], (long long)a->in, (long long)a->r);
    MR_TRY(mr_lora_setup(a, config, names));
    for (int i = 0; i < a->linears; i++) {
        a->param[i][MR_LORA_A].init = MR_INIT_ORTHONORMAL;
        a->param[i][MR_LORA_A].frozen = own->freeze_a;
    }
    return MR_OK;
}

const mr_adapter_method mr_method_asylora = {
    .name = "asylora",
    .summary = "LoRA with an orthonormal A, frozen or not (Zhu et al. 2024)",
    .schema = &schema,
    .setup = setup,
    .forward = mr_lora_forward,
    .backward = mr_lora_backward,
    .update = mr_lora_update,
    .merge_rows = mr_lora_merge_rows,
    .describe = mr_lora_describe,
};
