#ifndef MR_TRAIN_SHARING_H
#define MR_TRAIN_SHARING_H

/** @file
 * Whose memory a model lies in: that of a node's ranks together, where they can and may share it
 * (parallel.shared_memory) and there is room, or each rank's own. */

#include "model/model.h"

/** Nodes whose ranks share memory, one rank each where none do. Start from {0}. Owns the
 * communicators of the nodes. */
typedef struct mr_sharing {
    mr_nodes nodes;
    size_t room; /**< bytes of a node that are free for it; SIZE_MAX: any */
    char where[64];
} mr_sharing;

/** Finds the nodes whose ranks share memory. Collective.
 * @param node_ranks  for a plan: ranks of a node, with room for all; 0: of those that are here */
mr_sharing mr_sharing_find(const mr_comm *comm, const mr_config *config, const mr_backend *be,
                           int64_t node_ranks);

/** Tells whether there is room for what nodes would share of a model that is laid out on them.
 * Where there is none, says so after `who` and takes the nodes apart: the model must be laid out
 * anew, before it is allocated. Collective. */
bool mr_sharing_has_room(mr_sharing *sharing, const mr_model *model, const char *who);

/** Frees the communicators, once no model is laid out on them. Collective. */
void mr_sharing_end(mr_sharing *sharing);

#endif
