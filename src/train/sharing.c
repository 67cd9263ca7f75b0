#include "train/sharing.h"

#include "base/log.h"

mr_nodes mr_sharing_find(const mr_comm *comm, const mr_config *config, const mr_backend *be,
                         int64_t node_ranks, const char *who)
{
    mr_window *trial;
    if (config->parallel.shared_memory == MR_SHARED_MEMORY_OFF || !be->ops->buffer_share)
        return mr_nodes_apart(comm);
    if (node_ranks > 0) return mr_nodes_planned(comm, node_ranks);
    mr_nodes nodes = mr_nodes_create(comm);
    if (nodes.ranks == 1) return nodes;
    const mr_status status = mr_window_create(&nodes, 1, 1, &trial);
    mr_window_destroy(&trial);
    if (status == MR_OK) return nodes;
    if (comm->rank == 0)
        mr_warn("%s: ranks of a node share no memory (parallel.shared_memory): %s", who,
                mr_message());
    mr_nodes_destroy(&nodes);
    return mr_nodes_apart(comm);
}
