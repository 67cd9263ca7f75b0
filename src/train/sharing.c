#include "train/sharing.h"

#include "base/log.h"

/* Counters, and what tensors are apart. */
static const size_t BESIDE = (size_t)1 << 20;

mr_sharing mr_sharing_find(const mr_comm *comm, const mr_config *config, const mr_backend *be,
                           int64_t node_ranks)
{
    mr_sharing sharing = {.nodes = mr_nodes_apart(comm), .room = SIZE_MAX};
    if (config->parallel.shared_memory == MR_SHARED_MEMORY_OFF || !be->ops->buffer_share)
        return sharing;
    if (node_ranks > 0) {
        sharing.nodes = mr_nodes_planned(comm, node_ranks);
        return sharing;
    }
    sharing.nodes = mr_nodes_create(comm);
    if (sharing.nodes.ranks == 1) return sharing;
    const size_t room = (size_t)mr_window_room(comm, sharing.where);
    sharing.room = room > BESIDE ? room - BESIDE : 0;
    return sharing;
}

bool mr_sharing_has_room(mr_sharing *sharing, const mr_model *model, const char *who)
{
    const mr_comm *comm = mr_model_comm(model);
    const size_t bytes = mr_model_shared_bytes(model);
    if (bytes <= sharing->room) return true;
    if (comm->rank == 0)
        mr_warn("%s: ranks of a node share no memory (parallel.shared_memory): %s has %.4g MiB "
                "free, and %.4g MiB are needed",
                who, sharing->where, (double)sharing->room / 0x1p20, (double)bytes / 0x1p20);
    mr_sharing_end(sharing);
    *sharing = (mr_sharing){.nodes = mr_nodes_apart(comm), .room = SIZE_MAX};
    return false;
}

void mr_sharing_end(mr_sharing *sharing)
{
    mr_nodes_destroy(&sharing->nodes);
}
