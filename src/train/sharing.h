#ifndef MR_TRAIN_SHARING_H
#define MR_TRAIN_SHARING_H

/** @file
 * Whose memory a model lies in: that of a node's ranks together, where they can and may share it
 * (parallel.shared_memory), or each rank's own. */

#include "backend/backend.h"
#include "comm/nodes.h"
#include "config/config.h"

/** Returns the nodes whose ranks share memory, for mr_nodes_destroy; one rank each where none may,
 * and where the system does not let them, which is said after `who`. Collective.
 * @param node_ranks  for a plan: ranks of a node; 0: of those that are here */
mr_nodes mr_sharing_find(const mr_comm *comm, const mr_config *config, const mr_backend *be,
                         int64_t node_ranks, const char *who);

#endif
