#include "linalg/leading.h"

#include "base/memory.h"
#include "base/random.h"
#include "linalg/product.h"
#include "linalg/svd.h"

#include <limits.h>
#include <math.h>
#include <string.h>

static const double residual_wanted = 1e-14; /* of the largest value: a few roundings */
static const double nothing_left = 1e-15; /* of a vector: what rounding leaves of a dependent one */

enum { PATIENCE = 40 }; /* restarts until more memory is taken */

/* Bases of the two spaces, in one block of memory: A V_j = sum over i of B_ij U_i. A^T leads out of
 * V from the last block of U alone, by the border: A^T U_(length - block + j) = ... + sum of
 * border_ij V_(length + i). After a restart it does from all of U, into the next block of V, which
 * is in V as soon as U has grown. */
typedef struct basis {
    const mr_operator *op;
    bool swapped;           /* V in the space of A's rows, of fewer dimensions than its columns */
    int64_t left, right;    /* elements of a vector of U and of V; right <= left */
    int64_t k;              /* vectors of a block, at most */
    int64_t length;         /* vectors of U, and of V without the next block */
    int64_t block, next;    /* vectors of the last block, and of V's next one */
    int64_t room;           /* vectors there is memory for */
    double *u, *v;          /* [room, left], [room, right] */
    double *b;              /* [room, room] */
    double *square, *y, *z; /* [length, length]: B, its left and right vectors */
    double *values;         /* [length]: of B */
    double *border;         /* [k, k] */
    double *parts, *dots;   /* [k, room]: of the block, what it has along the vectors before */
    double *lengths;        /* [k]: of the block, before that is taken out */
    double *moved;          /* [kept, left]: what a restart keeps */
    mr_random random;
    uint64_t drawn;
} basis;

static mr_status dense_apply(const void *context, bool transpose, int64_t count, const double *x,
                             double *y)
{
    const mr_dense_matrix *a = context;
    if (transpose)
        mr_product(false, false, count, a->cols, a->rows, 1, x, a->values, 0, y);
    else
        mr_product(false, true, count, a->rows, a->cols, 1, x, a->values, 0, y);
    return MR_OK;
}

mr_operator mr_dense_operator(const mr_dense_matrix *matrix)
{
    return (mr_operator){
        .rows = matrix->rows, .cols = matrix->cols, .apply = dense_apply, .context = matrix};
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Vectors that are kept at once: enough that a restart costs little, or the whole space. */
static int64_t room_of(int64_t right, int64_t k)
{
    return least(10 * k + 50, right + k);
}

/* Pairs that a restart keeps. */
static int64_t kept_of(int64_t room, int64_t k)
{
    return k + (room - 3 * k) / 3;
}

static size_t doubles_of(int64_t left, int64_t right, int64_t k, int64_t room)
{
    size_t count = mr_bytes_add(0, room, (size_t)(left + right));
    count = mr_bytes_add(count, kept_of(room, k), (size_t)left);
    count = mr_bytes_add(count, room, (size_t)(4 * room + 2 * k + 1));
    return mr_bytes_add(count, k, (size_t)(k + 1));
}

static double *take(double **memory, int64_t rows, int64_t cols)
{
    double *part = *memory;
    *memory += rows * cols;
    return part;
}

/* Moves all there is to memory for `room` vectors, which replaces *memory. */
static mr_status enlarge(basis *s, int64_t room, double **memory)
{
    const int64_t vectors = s->length + s->next, old_room = s->room;
    const double *u = s->u, *v = s->v, *b = s->b, *border = s->border;
    double *fresh =
        mr_alloc_array(MR_MEM_OTHER, doubles_of(s->left, s->right, s->k, room), sizeof *fresh);
    if (!fresh) return MR_ERR_MEMORY;
    double *at = fresh;
    s->room = room;
    s->u = take(&at, room, s->left);
    s->v = take(&at, room, s->right);
    s->b = take(&at, room, room);
    s->square = take(&at, room, room);
    s->y = take(&at, room, room);
    s->z = take(&at, room, room);
    s->values = take(&at, 1, room);
    s->border = take(&at, s->k, s->k);
    s->parts = take(&at, s->k, room);
    s->dots = take(&at, s->k, room);
    s->lengths = take(&at, 1, s->k);
    s->moved = take(&at, kept_of(room, s->k), s->left);
    if (*memory) {
        memcpy(s->u, u, (size_t)(s->length * s->left) * sizeof *u);
        memcpy(s->v, v, (size_t)(vectors * s->right) * sizeof *v);
        memcpy(s->border, border, (size_t)(s->k * s->k) * sizeof *border);
        for (int64_t i = 0; i < s->length; i++)
            memcpy(s->b + i * room, b + i * old_room, (size_t)s->length * sizeof *b);
    }
    mr_free(*memory);
    *memory = fresh;
    return MR_OK;
}

static double norm_of(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sqrt(sum);
}

static void scale(double *x, int64_t n, double factor)
{
    for (int64_t i = 0; i < n; i++)
        x[i] *= factor;
}

/* Takes out of the rows of x [count, n] what lies along rows first..end-1 of q; that is added to
 * the same columns of parts [count, room], where there are parts. */
static void project_out(const basis *s, const double *q, int64_t first, int64_t end, int64_t n,
                        int64_t count, double *x, double *parts)
{
    const int64_t along = end - first;
    if (along == 0) return;
    mr_product(false, true, count, along, n, 1, x, q + first * n, 0, s->dots);
    mr_product(false, false, count, n, along, -1, s->dots, q + first * n, 1, x);
    for (int64_t i = 0; parts && i < count; i++)
        for (int64_t j = 0; j < along; j++)
            parts[i * s->room + first + j] += s->dots[i * along + j];
}

/* Makes a row that was cleared of q's rows before `own` right-angled to those from there to `end`,
 * and once more to all while a pass takes half of it. Returns the length of what is left of a row
 * that was `whole` long, 0 where that is rounding. */
static double clear_row(const basis *s, const double *q, int64_t own, int64_t end, int64_t n,
                        double whole, double *x, double *parts)
{
    int64_t first = own;
    double before, after = norm_of(x, n);
    do {
        before = after;
        project_out(s, q, first, end, n, 1, x, parts);
        after = norm_of(x, n);
        first = 0;
    } while (after < before / 2 && after > nothing_left * whole);
    return after > nothing_left * whole ? after : 0;
}

/* Makes x a unit vector at right angles to the rows of q, any one. */
static void draw(basis *s, const double *q, int64_t count, int64_t n, double *x)
{
    double length;
    do {
        for (int64_t i = 0; i < n; i++)
            x[i] = mr_random_normal(&s->random, s->drawn++);
        length = clear_row(s, q, 0, count, n, norm_of(x, n), x, NULL);
    } while (length == 0);
    scale(x, n, 1 / length);
}

/* y [count] = A x or A^T x, its lengths noted, and what lies along the vectors of its space taken
 * out into parts. */
static mr_status apply(const basis *s, bool to_right, int64_t count, const double *x, double *y)
{
    const int64_t n = to_right ? s->right : s->left;
    MR_TRY(s->op->apply(s->op->context, to_right != s->swapped, count, x, y));
    for (int64_t i = 0; i < count * n; i++)
        MR_CHECK(isfinite(y[i]), MR_ERR_NUMERIC,
                 "leading singular values: a product of a %lld x %lld operator is %g, expected a "
                 "finite number",
                 (long long)s->op->rows, (long long)s->op->cols, y[i]);
    for (int64_t i = 0; i < count; i++)
        s->lengths[i] = norm_of(y + i * n, n);
    memset(s->parts, 0, (size_t)(count * s->room) * sizeof *s->parts);
    for (int pass = 0; pass < 2; pass++)
        project_out(s, to_right ? s->v : s->u, 0, s->length, n, count, y, s->parts);
    return MR_OK;
}

/* U gets a vector for each of V's next block; those without one of their own get any. */
static mr_status extend_left(basis *s)
{
    const int64_t old = s->length;
    double *block = s->u + old * s->left;
    MR_TRY(apply(s, false, s->next, s->v + old * s->right, block));
    for (int64_t j = 0; j < s->next; j++, s->length++) {
        double *x = block + j * s->left, *parts = s->parts + j * s->room;
        const double length = clear_row(s, s->u, old, s->length, s->left, s->lengths[j], x, parts);
        parts[s->length] = length;
        for (int64_t i = 0; i <= s->length; i++)
            s->b[i * s->room + s->length] = parts[i];
        if (length > 0)
            scale(x, s->left, 1 / length);
        else
            draw(s, s->u, s->length, s->left, x);
    }
    s->block = s->next;
    return MR_OK;
}

/* V's next block: where A^T leads from the last block of U, without what V has already. */
static mr_status extend_right(basis *s)
{
    double *block = s->v + s->length * s->right;
    MR_TRY(apply(s, true, s->block, s->u + (s->length - s->block) * s->left, block));
    memset(s->border, 0, (size_t)(s->k * s->k) * sizeof *s->border);
    s->next = 0;
    for (int64_t j = 0; j < s->block; j++) {
        double *x = block + j * s->right, *place = block + s->next * s->right;
        double *parts = s->parts + j * s->room;
        const int64_t end = s->length + s->next;
        const double length = clear_row(s, s->v, s->length, end, s->right, s->lengths[j], x, parts);
        for (int64_t i = 0; i < s->next; i++)
            s->border[i * s->k + j] = parts[s->length + i];
        if (length == 0 || end == s->right) continue;
        s->border[s->next * s->k + j] = length;
        if (place != x) memcpy(place, x, (size_t)s->right * sizeof *x);
        scale(place, s->right, 1 / length);
        s->next++;
    }
    return MR_OK;
}

/* The largest residual ||A^T u - sigma v|| of the k leading pairs. */
static double residual_of(const basis *s)
{
    double most = 0;
    for (int64_t l = 0; l < s->k; l++) {
        const double *last = s->y + l * s->length + s->length - s->block;
        double squares = 0;
        for (int64_t i = 0; i < s->next; i++) {
            double sum = 0;
            for (int64_t j = 0; j < s->block; j++)
                sum += s->border[i * s->k + j] * last[j];
            squares += sum * sum;
        }
        most = fmax(most, sqrt(squares));
    }
    return most;
}

/* Solves the problem in the bases: values, y and z. */
static mr_status solve(const basis *s)
{
    const int64_t n = s->length;
    for (int64_t i = 0; i < n; i++)
        memcpy(s->square + i * n, s->b + i * s->room, (size_t)n * sizeof *s->square);
    return mr_svd(s->square, n, n, s->values, s->y, s->z);
}

/* Goes on from the leading pairs alone. */
static void restart(basis *s)
{
    const int64_t n = s->length, kept = kept_of(s->room, s->k);
    const size_t next = (size_t)(s->next * s->right) * sizeof *s->v;
    mr_product(false, false, kept, s->left, n, 1, s->y, s->u, 0, s->moved);
    memcpy(s->u, s->moved, (size_t)(kept * s->left) * sizeof *s->u);
    mr_product(false, false, kept, s->right, n, 1, s->z, s->v, 0, s->moved);
    memcpy(s->v, s->moved, (size_t)(kept * s->right) * sizeof *s->v);
    memmove(s->v + kept * s->right, s->v + n * s->right, next);
    memset(s->b, 0, (size_t)(s->room * s->room) * sizeof *s->b);
    for (int64_t i = 0; i < kept; i++)
        s->b[i * s->room + i] = s->values[i];
    s->length = kept;
}

static mr_status iterate(basis *s, double **memory)
{
    int64_t tried = 0, restarts = 0;
    MR_TRY(enlarge(s, room_of(s->right, s->k), memory));
    for (int64_t j = 0; j < s->k; j++)
        draw(s, s->v, j, s->right, s->v + j * s->right);
    s->next = s->k;
    for (;;) {
        MR_TRY(extend_left(s));
        MR_TRY(extend_right(s));
        const bool full = s->length + 2 * s->next > s->room;
        if (s->next > 0 && !full && s->length < tried + tried / 4) continue;
        MR_TRY(solve(s));
        if (residual_of(s) <= residual_wanted * s->values[0]) return MR_OK;
        tried = s->length;
        if (!full) continue;
        if (++restarts % PATIENCE == 0)
            MR_TRY(enlarge(s, least(2 * s->room, s->right + s->k), memory));
        else
            restart(s);
        tried = s->length;
    }
}

size_t mr_leading_bytes(int64_t rows, int64_t cols, int64_t k)
{
    const int64_t left = rows > cols ? rows : cols, right = rows > cols ? cols : rows;
    const int64_t room = room_of(right, k), n = least(room, right);
    /* mr_svd of B takes a copy, one side of vectors, and LAPACK's 4 n^2 and strips of 64. */
    const size_t count = mr_bytes_add(doubles_of(left, right, k, room), n, (size_t)(6 * n + 150));
    return mr_bytes_add(0, (int64_t)count, sizeof(double));
}

mr_status mr_leading(const mr_operator *op, int64_t k, double *values, double *u, double *v)
{
    const int64_t small = op->rows < op->cols ? op->rows : op->cols;
    MR_CHECK(op->rows <= INT_MAX && op->cols <= INT_MAX && k >= 1 && k <= small, MR_ERR_ARG,
             "leading singular values: expected 1..%lld of a %lld x %lld operator, found %lld",
             (long long)small, (long long)op->rows, (long long)op->cols, (long long)k);
    basis s = {.op = op,
               .swapped = op->rows < op->cols,
               .left = op->rows < op->cols ? op->cols : op->rows,
               .right = small,
               .k = k,
               .random = mr_random_stream(0, MR_RANDOM_SPECTRA, 0)};
    double *memory = NULL;
    mr_status status = iterate(&s, &memory);
    if (status == MR_OK) {
        memcpy(values, s.values, (size_t)k * sizeof *values);
        mr_product(false, false, k, s.left, s.length, 1, s.y, s.u, 0, s.swapped ? v : u);
        mr_product(false, false, k, s.right, s.length, 1, s.z, s.v, 0, s.swapped ? u : v);
    }
    mr_free(memory);
    return status;
}
