#ifndef MR_COMM_WATCH_H
#define MR_COMM_WATCH_H

/** @file
 * Ranks of a node that look after one another: for a process that is gone, killed or crashed,
 * others would wait without end, in MPI or in memory that they share. And after their launcher,
 * without which nobody reads what they say or ends them. */

#include "comm/comm.h"

/** Looks from here on, in a thread of its own, after the process of the next rank of the node,
 * and the one that launched this. Where one is gone one rank says which, and all of the node end
 * with exit code 1, wherever they are. Does nothing where ranks share no memory, or do not see each
 * other's processes. Collective.
 */
void mr_watch_begin(const mr_comm *comm);

/** Ends that. Collective. */
void mr_watch_end(void);

#endif
