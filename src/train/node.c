#define _GNU_SOURCE /* sched_getaffinity */ /* NOLINT(bugprone-reserved-identifier) */

#include "train/node.h"

#include <sched.h>

/* The ranks on this node; to be freed. */
static MPI_Comm node_of(const mr_comm *comm)
{
    MPI_Comm node;
    MR_MPI(MPI_Comm_split_type(comm->handle, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    return node;
}

int mr_node_ranks(const mr_comm *comm)
{
    MPI_Comm node = node_of(comm);
    int size;
    MR_MPI(MPI_Comm_size(node, &size));
    MR_MPI(MPI_Comm_free(&node));
    return size;
}

int mr_node_threads(const mr_comm *comm, int64_t wanted)
{
    /* Processors this rank may run on, shared with every rank of the node that may run on one of
     * them: right where a launcher binds ranks, and where it leaves them all to one set. */
    MPI_Comm node = node_of(comm);
    int size, sharing = 0;
    MR_MPI(MPI_Comm_size(node, &size));
    cpu_set_t mine, both;
    CPU_ZERO(&mine);
    bool known = sched_getaffinity(0, sizeof mine, &mine) == 0;
    cpu_set_t *all = mr_alloc_array(MR_MEM_OTHER, (size_t)size, sizeof *all);
    if (!all) mr_abort("%s", mr_message());
    MR_MPI(MPI_Allgather(&mine, (int)sizeof mine, MPI_BYTE, all, (int)sizeof mine, MPI_BYTE, node));
    MR_MPI(MPI_Comm_free(&node));
    for (int i = 0; i < size; i++) {
        CPU_AND(&both, &mine, &all[i]);
        sharing += CPU_COUNT(&both) > 0;
    }
    mr_free(all);
    if (wanted > 0) return (int)wanted;
    int threads = known && sharing > 0 ? CPU_COUNT(&mine) / sharing : 1;
    return threads < 1 ? 1 : threads;
}
