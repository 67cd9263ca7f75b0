#define _GNU_SOURCE /* sched_getaffinity */ /* NOLINT(bugprone-reserved-identifier) */

#include "comm/node.h"

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

int mr_node_rank(const mr_comm *comm)
{
    MPI_Comm node = node_of(comm);
    int rank;
    MR_MPI(MPI_Comm_rank(node, &rank));
    MR_MPI(MPI_Comm_free(&node));
    return rank;
}

/* Room for 16,384 processors; the plain cpu_set_t ends at 1,024. */
typedef struct processors {
    cpu_set_t part[16];
} processors;

int mr_node_threads(const mr_comm *comm, int64_t wanted)
{
    if (wanted > 0) return (int)wanted;
    /* Processors this rank may run on, shared with every rank of the node that may run on one of
     * them: right where a launcher binds ranks, and where it leaves them all to one set. */
    MPI_Comm node = node_of(comm);
    int size, sharing = 0;
    MR_MPI(MPI_Comm_size(node, &size));
    processors mine = {0}, both;
    bool known = sched_getaffinity(0, sizeof mine, mine.part) == 0;
    processors *all = mr_alloc_array(MR_MEM_OTHER, (size_t)size, sizeof *all);
    if (!all) mr_abort("%s", mr_message());
    MR_MPI(MPI_Allgather(&mine, (int)sizeof mine, MPI_BYTE, all, (int)sizeof mine, MPI_BYTE, node));
    MR_MPI(MPI_Comm_free(&node));
    for (int i = 0; i < size; i++) {
        CPU_AND_S(sizeof both, both.part, mine.part, all[i].part);
        sharing += CPU_COUNT_S(sizeof both, both.part) > 0;
    }
    mr_free(all);
    int threads = known && sharing > 0 ? CPU_COUNT_S(sizeof mine, mine.part) / sharing : 1;
    return threads < 1 ? 1 : threads;
}
