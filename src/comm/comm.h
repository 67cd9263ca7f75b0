#ifndef MR_COMM_COMM_H
#define MR_COMM_COMM_H

/** @file
 * Communicators, error agreement, and the collectives the program needs.
 *
 * Parameters travel in blocks of MR_SHARD_BLOCK elements, one MPI datatype, so that no count
 * reaches the 2^31 - 1 of MPI 3.1 for any model that fits a machine. A communicator of one rank
 * calls MPI for parameters only.
 */

#include "base/memory.h"

#include <mpi.h>

#include <stdbool.h>
#include <stdint.h>

/** Elements of the smallest piece of a sharded buffer: shards are whole numbers of blocks. */
enum { MR_SHARD_BLOCK = 1024 };

/** A duplicate of a communicator, with errors returned to us. Owns handle. */
typedef struct mr_comm {
    MPI_Comm handle;
    int rank;
    int size;
    int number; /**< of this rank in messages: its rank before ranks were put in another order */
} mr_comm;

/** A collective under way. Start from {0}; an idle request may be waited for. */
typedef struct mr_request {
    MPI_Request handle;
    bool active;
} mr_request;

/** Fails fatally unless an MPI call succeeded: our communicators return errors. */
#define MR_MPI(call) mr_comm_check((call), #call)
void mr_comm_check(int code, const char *what);

/** Duplicates parent into out and installs MPI_Abort behind mr_abort. Collective on parent. */
MR_NODISCARD mr_status mr_comm_create(MPI_Comm parent, mr_comm *out);

/** Has a function called before mr_abort ends all ranks; NULL: none. Local. */
void mr_comm_before_abort(void (*call)(void));

/** Returns a communicator of this process alone, which needs no other to be there, nor MPI to be
 * up, for all but parameters. Local. */
const mr_comm *mr_comm_self(void);

/** Frees the duplicate. Collective. */
void mr_comm_destroy(mr_comm *comm);

/** Returns the same status on every rank: that of the lowest failing rank, with its message
 * ("rank 2 of 4 (2 failed): ...") recorded everywhere; MR_OK where all are MR_OK. Collective. */
MR_NODISCARD mr_status mr_comm_agree(const mr_comm *comm, mr_status local);

/** Returns the failure of the lowest order on every rank, with its message as it was said there:
 * for work that is dealt over the ranks, where which of them met it tells nothing. Collective.
 * @param order  of what failed here, not negative and below 2^63 over the size; ignored on MR_OK */
MR_NODISCARD mr_status mr_comm_agree_first(const mr_comm *comm, mr_status local, int64_t order);

/** Returns rank 0's status and message on every rank: for what rank 0 alone did. Collective. */
MR_NODISCARD mr_status mr_comm_agree_root(const mr_comm *comm, mr_status status);

/** Agrees on the status of a local call, and returns from the enclosing function on failure. */
#define MR_AGREE(comm, call) MR_TRY(mr_comm_agree((comm), (call)))

/** Broadcasts bytes from root; any size. Collective. */
void mr_comm_broadcast(const mr_comm *comm, void *data, size_t bytes, int root);

/** Gathers what each rank has, of any size, at rank 0, in the order of the ranks. Collective.
 * @param[out] all    on rank 0 what all have, for mr_free, zeroed where it is nothing; else NULL
 * @param[out] bytes  of all, on rank 0; else 0
 * @return MR_OK, MR_ERR_MEMORY (rank 0's, on every rank) */
MR_NODISCARD mr_status mr_comm_gather_to_root(const mr_comm *comm, mr_purpose purpose,
                                              const void *own, size_t own_bytes, void **all,
                                              size_t *bytes);

/** Sums int64 arrays in place over all ranks; exact; any count. Collective. */
void mr_comm_sum_i64(const mr_comm *comm, int64_t *values, int64_t count);

/** Takes the maximum of int64 arrays in place over all ranks; any count. Collective. */
void mr_comm_max_i64(const mr_comm *comm, int64_t *values, int64_t count);

/** Tells on every rank whether something holds on any. Collective. */
bool mr_comm_any(const mr_comm *comm, bool here);

/** Waits until every rank has come here. Collective. */
void mr_comm_barrier(const mr_comm *comm);

/** Starts gathering equal shards into whole, ordered by rank; collective, non-blocking.
 * @param shard        [blocks * MR_SHARD_BLOCK] of element_bytes each, or NULL where this rank's
 *                     shard already stands in its place in whole
 * @param whole        [size * blocks * MR_SHARD_BLOCK], not touched until the wait */
void mr_comm_gather_start(const mr_comm *comm, const void *shard, void *whole, int64_t blocks,
                          size_t element_bytes, mr_request *request);

/** Starts sending piece p of whole to rank p for every p; pieces[q] will be what rank q sent here.
 * whole and pieces are [size * blocks * MR_SHARD_BLOCK] of element_bytes, distinct. Collective,
 * non-blocking. The caller sums the pieces in a fixed order (a reduction with reproducible bits).
 */
void mr_comm_exchange_start(const mr_comm *comm, const void *whole, void *pieces, int64_t blocks,
                            size_t element_bytes, mr_request *request);

/** Waits for a request; idle requests return at once. */
void mr_comm_wait(mr_request *request);

/** Sends bytes to a rank, which receives as many from this one, below 2^31; both may wait for the
 * other. Of the two ranks. @{ */
void mr_comm_send(const mr_comm *comm, const void *data, size_t bytes, int to);
void mr_comm_receive(const mr_comm *comm, void *data, size_t bytes, int from);
/** @} */

#endif
