#include "comm/nodes.h"

#include <stdlib.h>

mr_nodes mr_nodes_apart(const mr_comm *comm)
{
    return (mr_nodes){.ranks = 1,
                      .count = comm->size,
                      .part = comm->rank,
                      .node = {.handle = MPI_COMM_NULL, .size = 1},
                      .across = *comm,
                      .parts = *comm};
}

mr_nodes mr_nodes_planned(const mr_comm *comm, int64_t ranks)
{
    mr_nodes nodes = mr_nodes_apart(comm);
    const int64_t near = ranks < comm->size ? ranks : comm->size;
    if (near <= 1 || comm->size % near != 0) return nodes;
    nodes.ranks = (int)near;
    nodes.count = comm->size / nodes.ranks;
    nodes.place = comm->rank % nodes.ranks;
    nodes.part = nodes.place * nodes.count + comm->rank / nodes.ranks;
    return nodes;
}

/* The ranks of this one's memory; MORA_NODE_RANKS cuts them. */
static MPI_Comm node_of(const mr_comm *comm)
{
    MPI_Comm node, part;
    const char *text = getenv("MORA_NODE_RANKS");
    const long most = text ? strtol(text, NULL, 10) : 0;
    MR_MPI(MPI_Comm_split_type(comm->handle, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    if (most <= 0) return node;
    MR_MPI(MPI_Comm_split(node, (int)(comm->rank / most), comm->rank, &part));
    MR_MPI(MPI_Comm_free(&node));
    return part;
}

/* Wraps a communicator of MPI's, which becomes its. */
static mr_comm wrap(MPI_Comm handle, int number)
{
    mr_comm comm = {.handle = handle, .number = number};
    MR_MPI(MPI_Comm_set_errhandler(handle, MPI_ERRORS_RETURN));
    MR_MPI(MPI_Comm_rank(handle, &comm.rank));
    MR_MPI(MPI_Comm_size(handle, &comm.size));
    return comm;
}

static mr_comm split(const mr_comm *comm, int colour, int key)
{
    MPI_Comm handle;
    MR_MPI(MPI_Comm_split(comm->handle, colour, key, &handle));
    return wrap(handle, comm->number);
}

mr_nodes mr_nodes_create(const mr_comm *comm)
{
    mr_nodes nodes = mr_nodes_apart(comm);
    if (comm->size == 1) return nodes;
    mr_comm node = wrap(node_of(comm), comm->number);
    /* Ranks that are neighbours, from a multiple of their number on, as everywhere. */
    const bool regular = comm->size % node.size == 0 && comm->rank % node.size == node.rank;
    int64_t most[3] = {node.size, -node.size, !regular};
    int64_t first = comm->rank - node.rank;
    mr_comm_max_i64(&node, &first, 1);
    if (first != comm->rank - node.rank) most[2] = 1;
    mr_comm_max_i64(comm, most, 3);
    if (most[0] != -most[1] || most[0] == 1 || most[2] > 0) {
        MR_MPI(MPI_Comm_free(&node.handle));
        return nodes;
    }
    nodes = mr_nodes_planned(comm, node.size);
    nodes.node = node;
    nodes.across = split(comm, nodes.place, comm->rank);
    nodes.parts = split(comm, 0, nodes.part);
    return nodes;
}

void mr_nodes_destroy(mr_nodes *nodes)
{
    if (nodes->ranks == 0 || nodes->node.handle == MPI_COMM_NULL) return;
    MR_MPI(MPI_Comm_free(&nodes->node.handle));
    MR_MPI(MPI_Comm_free(&nodes->across.handle));
    MR_MPI(MPI_Comm_free(&nodes->parts.handle));
    *nodes = (mr_nodes){0};
}
