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

/* Bases of the two spaces: A V_j = sum over i <= j of B_ij U_i. A^T leads out of V from the last
 * block of U alone, by the border: A^T U_(length - block + j) = ... + sum of border_ij
 * V_(length+i). */
typedef struct basis {
    const mr_operator *op;
    bool swapped;         /* V in the space of A's rows, of fewer dimensions than its columns */
    int64_t left, right;  /* elements of a vector of U and of V; right <= left */
    int64_t k;            /* vectors of a block, at most */
    int64_t length;       /* vectors of U, and of V without the next block */
    int64_t block, next;  /* vectors of the last block, and of V's next one */
    int64_t room;         /* vectors there is memory for */
    double *u, *v;        /* [room, left], [room, right] */
    double *b;            /* [room, room] */
    double *border;       /* [k, k] */
    double *parts, *dots; /* [room] */
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

static mr_status resize(double **array, int64_t rows, int64_t cols, int64_t old_rows,
                        int64_t old_cols)
{
    double *fresh = mr_alloc_array(MR_MEM_OTHER, (size_t)rows * (size_t)cols, sizeof *fresh);
    if (!fresh) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < old_rows; i++)
        memcpy(fresh + i * cols, *array + i * old_cols, (size_t)old_cols * sizeof *fresh);
    mr_free(*array);
    *array = fresh;
    return MR_OK;
}

/* Makes room for the next block of U and the one of V behind it. */
static mr_status reserve(basis *s)
{
    const int64_t need = s->length + 2 * s->k, old = s->room, half = old + old / 2;
    if (need <= old) return MR_OK;
    const int64_t more = half > need ? half : need;
    MR_TRY(resize(&s->u, more, s->left, old, s->left));
    MR_TRY(resize(&s->v, more, s->right, old, s->right));
    MR_TRY(resize(&s->b, more, more, old, old));
    MR_TRY(resize(&s->parts, 1, more, 0, 0));
    MR_TRY(resize(&s->dots, 1, more, 0, 0));
    s->room = more;
    return MR_OK;
}

static double norm_of(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sqrt(sum);
}

/* Takes out of x [n] what lies along the rows of q [count, n], which goes to parts [count], until
 * no pass takes half of it any more. Returns the length of what is left, 0 where that is rounding.
 */
static double clear(const basis *s, const double *q, int64_t count, int64_t n, double *x)
{
    const double whole = norm_of(x, n);
    double before, after = whole;
    memset(s->parts, 0, (size_t)count * sizeof *s->parts);
    do {
        before = after;
        if (count == 0) break;
        mr_product(false, true, 1, count, n, 1, x, q, 0, s->dots);
        mr_product(false, false, 1, n, count, -1, s->dots, q, 1, x);
        for (int64_t i = 0; i < count; i++)
            s->parts[i] += s->dots[i];
        after = norm_of(x, n);
    } while (after < before / 2 && after > nothing_left * whole);
    return after > nothing_left * whole ? after : 0;
}

static void scale(double *x, int64_t n, double factor)
{
    for (int64_t i = 0; i < n; i++)
        x[i] *= factor;
}

/* Makes x a unit vector at right angles to the rows of q, any one. */
static void draw(basis *s, const double *q, int64_t count, int64_t n, double *x)
{
    double length;
    do {
        for (int64_t i = 0; i < n; i++)
            x[i] = mr_random_normal(&s->random, s->drawn++);
        length = clear(s, q, count, n, x);
    } while (length == 0);
    scale(x, n, 1 / length);
}

static mr_status apply(const basis *s, bool to_right, int64_t count, const double *x, double *y)
{
    const int64_t n = count * (to_right ? s->right : s->left);
    MR_TRY(s->op->apply(s->op->context, to_right != s->swapped, count, x, y));
    for (int64_t i = 0; i < n; i++)
        MR_CHECK(isfinite(y[i]), MR_ERR_NUMERIC,
                 "leading singular values: a product of a %lld x %lld operator is %g, expected a "
                 "finite number",
                 (long long)s->op->rows, (long long)s->op->cols, y[i]);
    return MR_OK;
}

/* U gets a vector for each of V's next block; those without one of their own get any. */
static mr_status extend_left(basis *s)
{
    MR_TRY(apply(s, false, s->next, s->v + s->length * s->right, s->u + s->length * s->left));
    for (int64_t j = 0; j < s->next; j++, s->length++) {
        double *x = s->u + s->length * s->left;
        const double length = clear(s, s->u, s->length, s->left, x);
        for (int64_t i = 0; i < s->length; i++)
            s->b[i * s->room + s->length] = s->parts[i];
        s->b[s->length * s->room + s->length] = length;
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
        const int64_t count = s->length + s->next;
        const double length = clear(s, s->v, count, s->right, x);
        for (int64_t i = 0; i < s->next; i++)
            s->border[i * s->k + j] = s->parts[s->length + i];
        if (length == 0 || count == s->right) continue;
        s->border[s->next * s->k + j] = length;
        if (place != x) memcpy(place, x, (size_t)s->right * sizeof *x);
        scale(place, s->right, 1 / length);
        s->next++;
    }
    return MR_OK;
}

/* The largest residual of the k leading pairs, with y [length, length] the left vectors of B. */
static double residual_of(const basis *s, const double *y)
{
    double most = 0;
    for (int64_t l = 0; l < s->k; l++) {
        const double *last = y + l * s->length + s->length - s->block;
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

/* Solves the problem in the bases; tells whether the k leading pairs are those of A, and gives them
 * then. */
static mr_status project(const basis *s, double *values, double *u, double *v, bool *done)
{
    const int64_t n = s->length;
    double *square = mr_alloc_array(MR_MEM_OTHER, (size_t)(3 * n * n + n), sizeof *square);
    if (!square) return MR_ERR_MEMORY;
    double *y = square + n * n, *z = y + n * n, *all = z + n * n;
    for (int64_t i = 0; i < n; i++)
        memcpy(square + i * n, s->b + i * s->room, (size_t)n * sizeof *square);
    mr_status status = mr_svd(square, n, n, all, y, z);
    *done = status == MR_OK && residual_of(s, y) <= residual_wanted * all[0];
    if (*done) {
        memcpy(values, all, (size_t)s->k * sizeof *values);
        mr_product(false, false, s->k, s->left, n, 1, y, s->u, 0, s->swapped ? v : u);
        mr_product(false, false, s->k, s->right, n, 1, z, s->v, 0, s->swapped ? u : v);
    }
    mr_free(square);
    return status;
}

static mr_status iterate(basis *s, double *values, double *u, double *v)
{
    int64_t tried = 0;
    bool done = false;
    MR_TRY(resize(&s->border, s->k, s->k, 0, 0));
    MR_TRY(reserve(s));
    for (int64_t j = 0; j < s->k; j++)
        draw(s, s->v, j, s->right, s->v + j * s->right);
    s->next = s->k;
    while (!done) {
        MR_TRY(reserve(s));
        MR_TRY(extend_left(s));
        MR_TRY(extend_right(s));
        if (s->next > 0 && s->length < tried + tried / 4) continue;
        tried = s->length;
        MR_TRY(project(s, values, u, v, &done));
    }
    return MR_OK;
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
    mr_status status = iterate(&s, values, u, v);
    mr_free(s.u);
    mr_free(s.v);
    mr_free(s.b);
    mr_free(s.border);
    mr_free(s.parts);
    mr_free(s.dots);
    return status;
}

size_t mr_leading_bytes(int64_t rows, int64_t cols, int64_t k)
{
    const int64_t small = rows < cols ? rows : cols;
    /* reserve makes at most half as much room again as is needed, and holds the last one while it
     * copies; project takes three squares, and LAPACK with vectors five and a strip of blocks. */
    const int64_t room = (small + 2 * k) * 3 / 2 + 1;
    const int64_t bases = room * (rows + cols + room + 2) + k * k;
    const int64_t square = 8 * small * small + 128 * small;
    return mr_bytes_add(0, 5 * bases / 3 + square, sizeof(double));
}
