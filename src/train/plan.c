#include "train/plan.h"

#include "comm/node.h"

#include <stdio.h>

static const double SHARE = 0.8; /* of memory that plans may fill */

static size_t whole_bytes(double bytes)
{
    return bytes < 0x1p62 ? (size_t)bytes : (size_t)1 << 62;
}

/* Of the node with the least for a rank. */
static void take_smallest(const mr_comm *comm, mr_memory_limit *limit)
{
    int64_t found[2] = {-(int64_t)limit->bytes, 0};
    mr_comm_max_i64(comm, found, 1);
    found[1] = -(int64_t)limit->bytes == found[0] ? -comm->rank : -comm->size;
    mr_comm_max_i64(comm, &found[1], 1);
    mr_comm_broadcast(comm, limit, sizeof *limit, (int)-found[1]);
}

mr_memory_limit mr_memory_limit_of(const mr_comm *comm, const mr_config *config, mr_backend *be,
                                   int64_t node_ranks, const char *assumed)
{
    mr_memory_limit limit = {.node_ranks = node_ranks > 0 ? node_ranks : mr_node_ranks(comm)};
    mr_comm_max_i64(comm, &limit.node_ranks, 1);
    if (config->parallel.memory_gib > 0) {
        limit.bytes = whole_bytes(config->parallel.memory_gib * 0x1p30);
        snprintf(limit.why, sizeof limit.why, "parallel.memory_gib");
        return limit;
    }
    mr_backend_memory memory = be->ops->memory(be);
    int64_t sharing = (limit.node_ranks + memory.devices - 1) / memory.devices;
    limit.bytes = whole_bytes(SHARE * (double)memory.each.bytes / (double)sharing);
    int length = snprintf(limit.why, sizeof limit.why, "%g of %.3g GiB, %s", SHARE,
                          (double)memory.each.bytes / 0x1p30, memory.each.what);
    if (memory.devices > 1)
        length += snprintf(limit.why + length, sizeof limit.why - (size_t)length,
                           " of each of %d devices", memory.devices);
    if (limit.node_ranks > 1)
        snprintf(limit.why + length, sizeof limit.why - (size_t)length, ", for %lld ranks a node%s",
                 (long long)limit.node_ranks, assumed ? assumed : "");
    take_smallest(comm, &limit);
    return limit;
}

mr_plan mr_plan_of(const mr_model *model, const mr_evaluator *evaluator, int64_t node_ranks,
                   size_t data, size_t other)
{
    mr_plan plan = {.cost = mr_model_step_cost(model, node_ranks)};
    mr_model_bytes(model, plan.bytes);
    if (evaluator) mr_evaluator_bytes(evaluator, plan.bytes);
    for (int i = 0; i < MR_MEM_PURPOSES; i++)
        plan.total = mr_bytes_add(plan.total, 1, plan.bytes[i]);
    mr_plan_add(&plan, MR_MEM_DATA, data);
    mr_plan_add(&plan, MR_MEM_OTHER, other);
    return plan;
}

void mr_plan_add(mr_plan *plan, mr_purpose purpose, size_t bytes)
{
    plan->bytes[purpose] = mr_bytes_add(plan->bytes[purpose], 1, bytes);
    plan->total = mr_bytes_add(plan->total, 1, bytes);
}

void mr_plan_check(const mr_plan *plan)
{
    for (int i = 0; i < MR_MEM_OTHER; i++)
        if (mr_memory_live((mr_purpose)i) != plan->bytes[i])
            mr_abort("%s: planned %zu bytes, allocated %zu", mr_purpose_name((mr_purpose)i),
                     plan->bytes[i], mr_memory_live((mr_purpose)i));
}
