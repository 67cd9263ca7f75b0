#include "linalg/scatter.h"

#include "linalg/svd_impl.h"

#include <math.h>
#include <string.h>

/* Elements on their way in a round, of all ranks together: 1 MiB of doubles. */
enum { IN_FLIGHT = 1 << 17 };

/* One filling under way. */
typedef struct scatter {
    const mr_matrix_parts *parts;
    mr_block_matrix *out;
    const mr_comm *comm;
    int64_t chunk;  /* elements a rank gives in a round */
    int64_t *first; /* [size + 1]: elements rank, in row-major order, from which a rank gives */
    double *given, *sent;  /* [chunk]: as the source gives them; in the order of their ranks */
    double *taken;         /* [size * chunk] */
    int *counts, *offsets; /* [4 * size] in pairs: sent and taken, elements a rank */
} scatter;

/* Elements of one row that lie together on one rank: at most a block's side of them. */
typedef struct run {
    int64_t row, col, count;
    int rank;
} run;

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

mr_matrix_parts mr_matrix_by_rows(const mr_comm *comm, int64_t rows, int64_t cols,
                                  mr_matrix_source source, void *context)
{
    const int64_t each = rows / comm->size, extra = rows % comm->size;
    return (mr_matrix_parts){
        .rows = rows,
        .cols = cols,
        .count = (each + (comm->rank < extra)) * cols,
        .source = source,
        .context = context,
    };
}

static int64_t chunk_of(int size)
{
    return size < IN_FLIGHT ? IN_FLIGHT / size : 1;
}

size_t mr_scatter_bytes(int size)
{
    size_t bytes = mr_bytes_add(0, (2 + size) * chunk_of(size), sizeof(double));
    bytes = mr_bytes_add(bytes, size + 1, sizeof(int64_t));
    return mr_bytes_add(bytes, 4 * (int64_t)size, sizeof(int));
}

/* Where the matrix is wide, out holds its transpose. */
static bool is_turned(const mr_matrix_parts *parts)
{
    return parts->rows < parts->cols;
}

static int owner_of(const scatter *s, int64_t row, int64_t col)
{
    const mr_process_grid *grid = s->out->grid;
    const bool turned = is_turned(s->parts);
    int64_t i = (turned ? col : row) / MR_GRID_BLOCK, j = (turned ? row : col) / MR_GRID_BLOCK;
    return (int)(i % grid->nprow * grid->npcol + j % grid->npcol);
}

/* The run that starts with element `at`, cut at `end`. */
static run run_at(const scatter *s, int64_t at, int64_t end)
{
    const int64_t cols = s->parts->cols, row = at / cols, col = at % cols;
    int64_t count = smaller(MR_GRID_BLOCK - col % MR_GRID_BLOCK, cols - col);
    return (run){
        .row = row, .col = col, .count = smaller(count, end - at), .rank = owner_of(s, row, col)};
}

/* What a rank gives in a round: elements *begin..*end-1 in row-major order. */
static void round_of(const scatter *s, int rank, int64_t round, int64_t *begin, int64_t *end)
{
    *begin = smaller(s->first[rank] + round * s->chunk, s->first[rank + 1]);
    *end = smaller(*begin + s->chunk, s->first[rank + 1]);
}

static int64_t local_index(int64_t global, int procs)
{
    return global / (MR_GRID_BLOCK * (int64_t)procs) * MR_GRID_BLOCK + global % MR_GRID_BLOCK;
}

static void place(const scatter *s, const run *piece, const double *from)
{
    const mr_block_matrix *out = s->out;
    const bool turned = is_turned(s->parts);
    int64_t i = local_index(turned ? piece->col : piece->row, out->grid->nprow);
    int64_t j = local_index(turned ? piece->row : piece->col, out->grid->npcol);
    const int64_t stride = turned ? 1 : out->local_rows;
    double *to = out->local + j * out->local_rows + i;
    for (int64_t k = 0; k < piece->count; k++)
        to[k * stride] = from[k];
}

static mr_status check_finite(const scatter *s, int64_t begin, int64_t end, int64_t *failed_row)
{
    const int64_t rows = s->parts->rows, cols = s->parts->cols;
    for (int64_t at = begin; at < end; at++) {
        const double value = s->given[at - begin];
        if (isfinite(value)) continue;
        *failed_row = at / cols;
        return mr_svd_refuse(rows, cols, *failed_row, at % cols, value);
    }
    return MR_OK;
}

/* Asks the source for elements begin..end-1: a row's rest, whole rows, a row's beginning. */
static mr_status read_range(const scatter *s, int64_t begin, int64_t end, int64_t *failed_row)
{
    const mr_matrix_parts *parts = s->parts;
    for (int64_t at = begin; at < end;) {
        const int64_t row = at / parts->cols, col = at % parts->cols, left = end - at;
        const bool whole = col == 0 && left >= parts->cols;
        const int64_t rows = whole ? left / parts->cols : 1;
        const int64_t cols = whole ? parts->cols : smaller(parts->cols - col, left);
        *failed_row = row;
        MR_TRY(parts->source(parts->context, row, col, rows, cols, s->given + (at - begin)));
        at += rows * cols;
    }
    return check_finite(s, begin, end, failed_row);
}

static void set_offsets(const int *counts, int *offsets, int size)
{
    for (int rank = 0, at = 0; rank < size; rank++) {
        offsets[rank] = at;
        at += counts[rank];
    }
}

/* Sorts what this rank gives by the rank it goes to. */
static void pack(const scatter *s, int64_t begin, int64_t end)
{
    const int size = s->comm->size;
    int *counts = s->counts, *offsets = s->offsets;
    memset(counts, 0, (size_t)size * sizeof *counts);
    for (int64_t at = begin; at < end;) {
        const run piece = run_at(s, at, end);
        counts[piece.rank] += (int)piece.count;
        at += piece.count;
    }
    set_offsets(counts, offsets, size);
    for (int64_t at = begin; at < end;) {
        const run piece = run_at(s, at, end);
        memcpy(s->sent + offsets[piece.rank], s->given + (at - begin),
               (size_t)piece.count * sizeof *s->sent);
        offsets[piece.rank] += (int)piece.count;
        at += piece.count;
    }
    set_offsets(counts, offsets, size);
}

/* Walks through what all ranks give in a round for this rank's part of it: counts it, or puts it
 * into its place. */
static void walk_taken(const scatter *s, int64_t round, bool to_place)
{
    const int size = s->comm->size;
    int *counts = s->counts + size;
    const int *offsets = s->offsets + size;
    for (int rank = 0; rank < size; rank++) {
        int64_t at, end, taken = 0;
        round_of(s, rank, round, &at, &end);
        while (at < end) {
            const run piece = run_at(s, at, end);
            at += piece.count;
            if (piece.rank != s->comm->rank) continue;
            if (to_place) place(s, &piece, s->taken + offsets[rank] + taken);
            taken += piece.count;
        }
        counts[rank] = (int)taken;
    }
}

static void exchange(const scatter *s, int64_t round, int64_t begin, int64_t end)
{
    const int size = s->comm->size;
    pack(s, begin, end);
    walk_taken(s, round, false);
    set_offsets(s->counts + size, s->offsets + size, size);
    MR_MPI(MPI_Alltoallv(s->sent, s->counts, s->offsets, MPI_DOUBLE, s->taken, s->counts + size,
                         s->offsets + size, MPI_DOUBLE, s->comm->handle));
    walk_taken(s, round, true);
}

/* All rounds. A rank whose source failed goes on with zeros, so that which failure is told of does
 * not depend on how many ranks there are. */
static mr_status move_all(const scatter *s)
{
    const int rank = s->comm->rank;
    int64_t rounds = (s->first[rank + 1] - s->first[rank] + s->chunk - 1) / s->chunk;
    int64_t failed_row = 0;
    mr_status status = MR_OK;
    mr_comm_max_i64(s->comm, &rounds, 1);
    for (int64_t round = 0; round < rounds; round++) {
        int64_t begin, end;
        round_of(s, rank, round, &begin, &end);
        if (status == MR_OK) status = read_range(s, begin, end, &failed_row);
        exchange(s, round, begin, end);
    }
    return mr_comm_agree_first(s->comm, status, failed_row);
}

static mr_status allocate(scatter *s)
{
    const size_t size = (size_t)s->comm->size, chunk = (size_t)s->chunk;
    s->first = mr_alloc_array(MR_MEM_OTHER, size + 1, sizeof *s->first);
    s->given = mr_alloc_array(MR_MEM_OTHER, chunk, sizeof *s->given);
    s->sent = mr_alloc_array(MR_MEM_OTHER, chunk, sizeof *s->sent);
    s->taken = mr_alloc_array(MR_MEM_OTHER, size * chunk, sizeof *s->taken);
    s->counts = mr_alloc_array(MR_MEM_OTHER, 2 * size, sizeof *s->counts);
    s->offsets = mr_alloc_array(MR_MEM_OTHER, 2 * size, sizeof *s->offsets);
    bool all = s->first && s->given && s->sent && s->taken && s->counts && s->offsets;
    return all ? MR_OK : MR_ERR_MEMORY;
}

/* Which elements each rank gives, from how many. Collective. */
static mr_status share_counts(const scatter *s)
{
    const mr_matrix_parts *parts = s->parts;
    const int size = s->comm->size;
    s->first[s->comm->rank + 1] = parts->count;
    mr_comm_sum_i64(s->comm, s->first, size + 1);
    for (int rank = 0; rank < size; rank++)
        s->first[rank + 1] += s->first[rank];
    MR_CHECK(s->first[size] == parts->rows * parts->cols, MR_ERR_ARG,
             "singular values: the ranks give %lld elements of a %lld x %lld matrix, expected %lld",
             (long long)s->first[size], (long long)parts->rows, (long long)parts->cols,
             (long long)(parts->rows * parts->cols));
    return MR_OK;
}

mr_status mr_scatter(const mr_matrix_parts *parts, mr_block_matrix *out)
{
    const mr_comm *comm = out->grid->comm;
    scatter s = {.parts = parts, .out = out, .comm = comm, .chunk = chunk_of(comm->size)};
    mr_status status = mr_comm_agree(comm, allocate(&s));
    if (status == MR_OK) status = share_counts(&s);
    if (status == MR_OK) status = move_all(&s);
    mr_free(s.first);
    mr_free(s.given);
    mr_free(s.sent);
    mr_free(s.taken);
    mr_free(s.counts);
    mr_free(s.offsets);
    return status;
}
