/* ReMoRA: MoRA that is added to the base weights now and then and starts anew with another grouping
 * of inputs and outputs, without which the sum of the updates would have the rank of one.
 *
 * Source: Jiang et al. 2024 (arXiv 2405.12130) appendix B; cycles as in the published code.
 * Deviation: none. Every grouping leaves the square matrix its side, so the layout stays. */

#include "adapter/mora.h"

/* How ReMoRA goes through sharing, sharing_2, ... from merge to merge. */
typedef enum remora_cycle {
    PAPER, /* 1, 2, 1, 2, ... */
    CODE   /* 1, 2, 3, 4, 1, ... */
} remora_cycle;

typedef struct remora_config {
    mr_mora_config mora;
    int32_t remora_cycle;
} remora_config;

static const char *const cycle_texts[] = {[PAPER] = "paper", [CODE] = "code", NULL};

static const mr_key keys[] = {
    MR_ADAPTER_KEYS,
    MR_ADAPTER_MERGE_KEY,
    MR_MORA_OPERATOR_KEY,
    {MR_KEY_FIELD(remora_config, "method.remora_cycle", remora_cycle), .type = MR_KEY_ENUM,
     .fallback = "paper", .choices = cycle_texts,
     .help = "ReMoRA: groupings from merge to merge, sharing 1 2 1 2 ... or 1 2 3 4 1 ..."},
};

static const mr_schema schema = MR_SCHEMA(remora_config, keys);

static const mr_mora_cycle cycles[] = {
    [PAPER] = {2, {MR_MORA_SHARING, MR_MORA_SHARING_2}},
    [CODE] = {4, {MR_MORA_SHARING, MR_MORA_SHARING_2, MR_MORA_SHARING_3, MR_MORA_SHARING_4}},
};

static mr_status setup(mr_adapter *a, const mr_adapter_config *config, const char *const *names)
{
    const remora_config *own = (const void *)config;
    int32_t asked = own->mora.operator;
    MR_CHECK(asked == MR_MORA_AUTO || asked == MR_MORA_SHARING, MR_ERR_CONFIG,
             "method.operator: remora goes through the groupings of sharing itself "
             "(method.remora_cycle); expected auto or sharing, found \"%s\"",
             mr_mora_operators[asked]);
    return mr_mora_setup(a, cycles[own->remora_cycle], names);
}

const mr_adapter_method mr_method_remora = {
    .name = "remora",
    .summary = "MoRA merged into the weights now and then (Jiang et al. 2024)",
    .schema = &schema,
    .merges = true,
    .setup = setup,
    .allocate = mr_mora_allocate,
    .teardown = mr_mora_teardown,
    .set_restart = mr_mora_set_restart,
    .forward = mr_mora_forward,
    .backward = mr_mora_backward,
    .update = mr_mora_update,
    .merge_rows = mr_mora_merge_rows,
    .describe = mr_mora_describe,
    .published_type = mr_mora_published_type,
};
