#ifndef MR_COMM_NODE_H
#define MR_COMM_NODE_H

/** @file
 * What the ranks of one node share: its processors and its memory. */

#include "comm/comm.h"

/** Returns the number of ranks on this rank's node. Collective. */
int mr_node_ranks(const mr_comm *comm);

/** Returns this rank's number among those of its node, from 0. Collective. */
int mr_node_rank(const mr_comm *comm);

/** Returns the threads a rank should compute on: `wanted`, or with 0 the processors this process
 * may use shared among the ranks of its node. Collective. */
int mr_node_threads(const mr_comm *comm, int64_t wanted);

#endif
