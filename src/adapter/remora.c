/* ReMoRA: MoRA that is added to the base weights now and then and starts anew with another grouping
 * of inputs and outputs, without which the sum of the updates would have the rank of one.
 *
 * Source: Jiang et al. 2024 (arXiv 2405.12130) appendix B; cycles as in the published code.
 * Deviation: none. Every grouping leaves the square matrix its side, so the layout stays. */

#include "adapter/mora.h"

typedef struct remora_cycle {
    int length;
    mr_mora_operator grouping[4];
} remora_cycle;

static const remora_cycle cycles[] = {
    [MR_REMORA_PAPER] = {2, {MR_MORA_SHARING, MR_MORA_SHARING_2}},
    [MR_REMORA_CODE] = {4,
                        {MR_MORA_SHARING, MR_MORA_SHARING_2, MR_MORA_SHARING_3, MR_MORA_SHARING_4}},
};

static mr_status setup(mr_adapter *a, const mr_config *config, const char *const *names)
{
    mr_mora_operator asked = a->mora_operator;
    MR_CHECK(asked == MR_MORA_AUTO || asked == MR_MORA_SHARING, MR_ERR_CONFIG,
             "method.operator: remora goes through the groupings of sharing itself "
             "(method.remora_cycle); expected auto or sharing, found \"%s\"",
             mr_mora_operator_name(asked));
    a->remora_cycle = (mr_remora_cycle)config->method.remora_cycle;
    a->mora_operator = cycles[a->remora_cycle].grouping[0];
    return mr_mora_setup(a, config, names);
}

static void set_restart(mr_adapter *a, int64_t restart)
{
    const remora_cycle *cycle = &cycles[a->remora_cycle];
    a->mora_operator = cycle->grouping[restart % cycle->length];
}

const mr_adapter_method mr_method_remora = {
    .name = "remora",
    .summary = "MoRA merged into the weights now and then (Jiang et al. 2024)",
    .merges = true,
    .setup = setup,
    .teardown = mr_mora_teardown,
    .set_restart = set_restart,
    .forward = mr_mora_forward,
    .backward = mr_mora_backward,
    .update = mr_mora_update,
    .merge_rows = mr_mora_merge_rows,
    .describe = mr_mora_describe,
};
