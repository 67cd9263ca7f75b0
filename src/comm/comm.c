#include "comm/comm.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static MPI_Comm abort_comm = MPI_COMM_NULL;

static void (*before_abort)(void);

void mr_comm_before_abort(void (*call)(void))
{
    before_abort = call;
}

static void abort_all_ranks(const char *message)
{
    if (before_abort) before_abort();
    int rank = 0, up = 0, down = 0;
    MPI_Initialized(&up);
    MPI_Finalized(&down);
    bool live = up && !down && abort_comm != MPI_COMM_NULL;
    if (live) MPI_Comm_rank(abort_comm, &rank);
    /* A fault seen by every rank should be printed once: rank 0 speaks and ends the others. */
    if (rank > 0) sleep(1);
    fprintf(stderr, "mora: fatal on rank %d: %s\n", rank, message);
    fflush(stderr);
    if (live) MPI_Abort(abort_comm, 1);
}

void mr_comm_check(int code, const char *what)
{
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(code, text, &length);
    mr_abort("%s: %s", what, text);
}

mr_status mr_comm_create(MPI_Comm parent, mr_comm *out)
{
    *out = (mr_comm){.handle = MPI_COMM_NULL};
    MR_MPI(MPI_Comm_dup(parent, &out->handle));
    MR_MPI(MPI_Comm_set_errhandler(out->handle, MPI_ERRORS_RETURN));
    MR_MPI(MPI_Comm_rank(out->handle, &out->rank));
    MR_MPI(MPI_Comm_size(out->handle, &out->size));
    out->number = out->rank;
    if (abort_comm == MPI_COMM_NULL) {
        abort_comm = out->handle;
        mr_abort_set_handler(abort_all_ranks);
    }
    return MR_OK;
}

const mr_comm *mr_comm_self(void)
{
    static const mr_comm self = {.handle = MPI_COMM_SELF, .rank = 0, .size = 1};
    return &self;
}

void mr_comm_destroy(mr_comm *comm)
{
    if (comm->handle == MPI_COMM_NULL) return;
    if (abort_comm == comm->handle) {
        abort_comm = MPI_COMM_NULL;
        mr_abort_set_handler(NULL);
    }
    MR_MPI(MPI_Comm_free(&comm->handle));
    comm->handle = MPI_COMM_NULL;
}

/* Records the failure of rank root on every rank; number, where it is asked for, gets that one's.
 */
static mr_status share_failure(const mr_comm *comm, mr_status status, int root, int *number)
{
    struct {
        int32_t code, number;
        char message[MR_MESSAGE_MAX];
    } record = {.code = (int32_t)status, .number = comm->number};
    snprintf(record.message, sizeof record.message, "%s", mr_message());
    mr_comm_broadcast(comm, &record, sizeof record, root);
    if (number) *number = record.number;
    return mr_fail((mr_status)record.code, "%s", record.message);
}

/* The rank whose failure has the lowest order, the lowest rank of equals; -1 where all are well. */
static int first_to_fail(const mr_comm *comm, mr_status local, int64_t order)
{
    int64_t lowest = local == MR_OK ? INT64_MIN : -(order * comm->size + comm->rank);
    mr_comm_max_i64(comm, &lowest, 1);
    return lowest == INT64_MIN ? -1 : (int)(-lowest % comm->size);
}

mr_status mr_comm_agree(const mr_comm *comm, mr_status local)
{
    if (comm->size == 1) return local;
    int root = first_to_fail(comm, local, 0), number;
    if (root < 0) return MR_OK;

    int64_t counts[2] = {local != MR_OK, 1}; /* failed, taking part */
    mr_comm_sum_i64(comm, counts, 2);
    mr_status code = share_failure(comm, local, root, &number);
    /* All ranks failing alike is one fact, not one rank's: said without the rank. */
    if (counts[0] == counts[1]) return code;
    return mr_fail_in(code, "rank %d of %d (%lld failed)", number, comm->size,
                      (long long)counts[0]);
}

mr_status mr_comm_agree_first(const mr_comm *comm, mr_status local, int64_t order)
{
    if (comm->size == 1) return local;
    int root = first_to_fail(comm, local, order);
    return root < 0 ? MR_OK : share_failure(comm, local, root, NULL);
}

mr_status mr_comm_agree_root(const mr_comm *comm, mr_status status)
{
    if (comm->size == 1) return status;
    int32_t code = (int32_t)status;
    mr_comm_broadcast(comm, &code, sizeof code, 0);
    return code == MR_OK ? MR_OK : share_failure(comm, status, 0, NULL);
}

void mr_comm_broadcast(const mr_comm *comm, void *data, size_t bytes, int root)
{
    const size_t largest = (size_t)1 << 30;
    if (comm->size == 1) return;
    for (size_t at = 0; at < bytes; at += largest) {
        size_t part = bytes - at < largest ? bytes - at : largest;
        MR_MPI(MPI_Bcast((char *)data + at, (int)part, MPI_BYTE, root, comm->handle));
    }
}

/* Sends bytes to rank 0, or takes them there from a rank, in parts that a count of MPI can tell. */
static void pass_to_root(const mr_comm *comm, void *data, int64_t bytes, int from)
{
    const int64_t largest = (int64_t)1 << 30;
    for (int64_t at = 0; at < bytes; at += largest) {
        char *part = (char *)data + at;
        const int count = (int)(bytes - at < largest ? bytes - at : largest);
        if (comm->rank == 0)
            MR_MPI(MPI_Recv(part, count, MPI_BYTE, from, 0, comm->handle, MPI_STATUS_IGNORE));
        else
            MR_MPI(MPI_Send(part, count, MPI_BYTE, 0, 0, comm->handle));
    }
}

/* On rank 0: makes room for what all ranks have, and puts its own first. */
static mr_status begin_gather(const mr_comm *comm, mr_purpose purpose, const void *own,
                              int64_t *counts, void **all, size_t *bytes)
{
    if (!counts) return MR_ERR_MEMORY;
    size_t total = 0;
    for (int rank = 0; rank < comm->size; rank++)
        total += (size_t)counts[rank];
    *all = mr_alloc(purpose, total);
    if (!*all) return MR_ERR_MEMORY;
    if (counts[0] > 0) memcpy(*all, own, (size_t)counts[0]);
    *bytes = total;
    return MR_OK;
}

mr_status mr_comm_gather_to_root(const mr_comm *comm, mr_purpose purpose, const void *own,
                                 size_t own_bytes, void **all, size_t *bytes)
{
    int64_t here = (int64_t)own_bytes;
    int64_t *counts = NULL;
    mr_status status = MR_OK;
    *all = NULL;
    *bytes = 0;
    if (comm->rank == 0) {
        counts = mr_alloc_array(purpose, (size_t)comm->size, sizeof *counts);
        if (!counts) status = MR_ERR_MEMORY;
    }
    status = mr_comm_agree_root(comm, status);
    if (status != MR_OK) goto cleanup;
    if (comm->size > 1)
        MR_MPI(MPI_Gather(&here, 1, MPI_INT64_T, counts, 1, MPI_INT64_T, 0, comm->handle));
    else if (counts)
        counts[0] = here;
    if (comm->rank == 0) status = begin_gather(comm, purpose, own, counts, all, bytes);
    status = mr_comm_agree_root(comm, status);
    if (status != MR_OK) goto cleanup;
    if (comm->rank > 0) pass_to_root(comm, (void *)(uintptr_t)own, here, 0);
    char *to = *all;
    for (int rank = 0; counts && rank < comm->size; to += counts[rank++])
        if (rank > 0) pass_to_root(comm, to, counts[rank], rank);
cleanup:
    mr_free(counts);
    return status;
}

static void reduce_i64(const mr_comm *comm, int64_t *values, int64_t count, MPI_Op op)
{
    const int64_t largest = (int64_t)1 << 28;
    if (comm->size == 1) return;
    for (int64_t at = 0; at < count; at += largest) {
        int64_t part = count - at < largest ? count - at : largest;
        MR_MPI(MPI_Allreduce(MPI_IN_PLACE, values + at, (int)part, MPI_INT64_T, op, comm->handle));
    }
}

void mr_comm_sum_i64(const mr_comm *comm, int64_t *values, int64_t count)
{
    reduce_i64(comm, values, count, MPI_SUM);
}

void mr_comm_max_i64(const mr_comm *comm, int64_t *values, int64_t count)
{
    reduce_i64(comm, values, count, MPI_MAX);
}

bool mr_comm_any(const mr_comm *comm, bool here)
{
    int64_t any = here;
    mr_comm_max_i64(comm, &any, 1);
    return any != 0;
}

void mr_comm_barrier(const mr_comm *comm)
{
    if (comm->size == 1) return;
    MR_MPI(MPI_Barrier(comm->handle));
}

/* A datatype of one block; MPI keeps it alive for operations under way after the free. */
static MPI_Datatype block_type(size_t element_bytes)
{
    MPI_Datatype type;
    MR_MPI(MPI_Type_contiguous((int)(MR_SHARD_BLOCK * element_bytes), MPI_BYTE, &type));
    MR_MPI(MPI_Type_commit(&type));
    return type;
}

static int block_count(int64_t blocks)
{
    MR_INVARIANT(blocks >= 0 && blocks <= INT_MAX);
    return (int)blocks;
}

void mr_comm_gather_start(const mr_comm *comm, const void *shard, void *whole, int64_t blocks,
                          size_t element_bytes, mr_request *request)
{
    MR_INVARIANT(!request->active);
    MPI_Datatype type = block_type(element_bytes);
    int count = block_count(blocks);
    MR_MPI(MPI_Iallgather(shard ? shard : MPI_IN_PLACE, count, type, whole, count, type,
                          comm->handle, &request->handle));
    MR_MPI(MPI_Type_free(&type));
    request->active = true;
}

void mr_comm_exchange_start(const mr_comm *comm, const void *whole, void *pieces, int64_t blocks,
                            size_t element_bytes, mr_request *request)
{
    MR_INVARIANT(!request->active);
    MPI_Datatype type = block_type(element_bytes);
    int count = block_count(blocks);
    MR_MPI(MPI_Ialltoall(whole, count, type, pieces, count, type, comm->handle, &request->handle));
    MR_MPI(MPI_Type_free(&type));
    request->active = true;
}

void mr_comm_wait(mr_request *request)
{
    if (!request->active) return;
    MR_MPI(MPI_Wait(&request->handle, MPI_STATUS_IGNORE));
    request->active = false;
}

void mr_comm_send(const mr_comm *comm, const void *data, size_t bytes, int to)
{
    MR_INVARIANT(bytes <= INT_MAX);
    MR_MPI(MPI_Send(data, (int)bytes, MPI_BYTE, to, 0, comm->handle));
}

void mr_comm_receive(const mr_comm *comm, void *data, size_t bytes, int from)
{
    MR_INVARIANT(bytes <= INT_MAX);
    MR_MPI(MPI_Recv(data, (int)bytes, MPI_BYTE, from, 0, comm->handle, MPI_STATUS_IGNORE));
}
