#ifndef MR_COMM_NODES_H
#define MR_COMM_NODES_H

/** @file
 * Ranks by node, and memory that the ranks of a node share.
 *
 * Where every node has equally many ranks, and neighbours, P ranks are N nodes of G ranks. What is
 * dealt out over all ranks is dealt by *part*: those of a place among the ranks of every node have
 * N parts that follow one another, so that a node's ranks first deal out what they share in G
 * pieces, and ranks of one place then each piece in N. Without memory in common G is 1, and a part
 * is a rank.
 *
 * Ranks of a node tell each other how far they are by counters in what they share: written after
 * what they announce, read before it is used.
 */

#include "comm/comm.h"

/** Ranks by node. Owns its communicators, which only mr_nodes_create makes. */
typedef struct mr_nodes {
    int ranks;      /**< G, of a node, that share memory; 1: none does */
    int count;      /**< N */
    int place;      /**< this one's among the ranks of its node */
    int part;       /**< place * count + node */
    mr_comm node;   /**< the ranks of this node, by place */
    mr_comm across; /**< the ranks of this place on every node */
    mr_comm parts;  /**< all ranks, by part */
} mr_nodes;

/** Returns the ranks of a communicator that share no memory; borrows it. Local. */
mr_nodes mr_nodes_apart(const mr_comm *comm);

/** As mr_nodes_apart, where so many ranks a node would share memory if they divide the ranks: for
 * plans, not for communication. Local. */
mr_nodes mr_nodes_planned(const mr_comm *comm, int64_t ranks);

/** Finds the nodes of a communicator; apart where they have not equally many ranks, or not
 * neighbours. MORA_NODE_RANKS=N in the environment takes N neighbours for a node: for tests.
 * Collective. */
mr_nodes mr_nodes_create(const mr_comm *comm);

/** Frees the communicators of mr_nodes_create. Collective. */
void mr_nodes_destroy(mr_nodes *nodes);

/** Memory that the ranks of a node share, with counters. It lies in no file system, and is there
 * until the last of them destroys it or is gone, whatever ends them. */
typedef struct mr_window mr_window;

/** Creates a window of so many zeroed bytes a node, and counters of each rank. Collective.
 * @return MR_OK, MR_ERR_MEMORY (the system gives none, or lets ranks not reach each other but by
 * messages, as between hosts of one name: says so and how much it is of); the same on every rank */
MR_NODISCARD mr_status mr_window_create(const mr_nodes *nodes, size_t bytes, int counters,
                                        mr_window **out);

/** Frees a window, which others of the node may go on with, and sets *out to NULL; NULL is allowed.
 * Local. */
void mr_window_destroy(mr_window **out);

/** Returns the memory of a window, aligned to pages. */
void *mr_window_data(const mr_window *window);

/** Takes the pages of this rank's part of a window's memory, so that they lie near its processor,
 * and nobody else can have taken them once they are written. Before anybody writes there. Local.
 * @return MR_OK, MR_ERR_MEMORY (others have taken what was free) */
MR_NODISCARD mr_status mr_window_reserve(const mr_window *window, size_t first, size_t bytes);

/** Sets this rank's counter: what it has written by now is there for whoever sees it. Local. */
void mr_window_post(mr_window *window, int counter, uint64_t value);

/** Tells whether the counters of all ranks of the node have come to a value. Local. */
bool mr_window_reached(const mr_window *window, int counter, uint64_t value);

/** Waits until the counters of all ranks of the node have come to a value; without end where one is
 * gone (comm/watch.h). Of the ranks of a node. */
void mr_window_await(mr_window *window, int counter, uint64_t value);

#endif
