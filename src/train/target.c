#include "train/target.h"

#include "base/memory.h"
#include "linalg/orthonormal.h"

#include <math.h>
#include <string.h>

/* Streams of a target's random numbers. */
enum { LEFT, RIGHT, ENTRIES };

typedef struct power_law_config {
    mr_target_config target;
    double exponent;
} power_law_config;

typedef struct low_rank_config {
    mr_target_config target;
    int64_t rank;
    double noise;
} low_rank_config;

typedef struct waves_config {
    mr_target_config target;
    double lowest, highest;
} waves_config;

typedef struct tiled_config {
    mr_target_config target;
    int64_t side;
} tiled_config;

#define TARGET_KEYS                                                                                \
    {MR_KEY_FIELD(mr_target_config, "task.rows", rows),                                            \
     .type = MR_KEY_INT,                                                                           \
     .fallback = "256",                                                                            \
     .min = 1,                                                                                     \
     .max = 16384,                                                                                 \
     .help = "Rows of the matrix: outputs of the linear."},                                        \
        {MR_KEY_FIELD(mr_target_config, "task.cols", cols),                                        \
         .type = MR_KEY_INT,                                                                       \
         .fallback = "256",                                                                        \
         .min = 1,                                                                                 \
         .max = 16384,                                                                             \
         .help = "Columns of the matrix: inputs of the linear."},                                  \
    {                                                                                              \
        MR_KEY_FIELD(mr_target_config, "task.norm", norm),                                         \
            .type = MR_KEY_FLOAT, .fallback = "1", .low_open = true, .high = INFINITY,             \
            .help = "Frobenius norm of the matrix over that of the weights that it is to be "      \
                    "added to."                                                                    \
    }

static const mr_key plain_keys[] = {TARGET_KEYS};
static const mr_key power_law_keys[] = {
    TARGET_KEYS,
    {MR_KEY_FIELD(power_law_config, "task.exponent", exponent), .type = MR_KEY_FLOAT,
     .fallback = "1", .high = INFINITY,
     .help = "The i-th singular value is i to the power of minus this, from 1."},
};
static const mr_key low_rank_keys[] = {
    TARGET_KEYS,
    {MR_KEY_FIELD(low_rank_config, "task.rank", rank), .type = MR_KEY_INT, .fallback = "8",
     .min = 1, .max = 16384, .help = "Equal singular values that are not 0, before the noise."},
    {MR_KEY_FIELD(low_rank_config, "task.noise", noise), .type = MR_KEY_FLOAT, .fallback = "0.1",
     .high = INFINITY,
     .help = "Frobenius norm of Gaussian noise that is added, over that of the rest."},
};
static const mr_key waves_keys[] = {
    TARGET_KEYS,
    {MR_KEY_FIELD(waves_config, "task.lowest", lowest), .type = MR_KEY_FLOAT, .fallback = "1",
     .high = INFINITY, .unit = "cycles a row", .help = "Frequency of the first row's sinusoid."},
    {MR_KEY_FIELD(waves_config, "task.highest", highest), .type = MR_KEY_FLOAT, .fallback = "128",
     .high = INFINITY, .unit = "cycles a row",
     .help = "Frequency of the last row's sinusoid, at most half the columns."},
};
static const mr_key tiled_keys[] = {
    TARGET_KEYS,
    {MR_KEY_FIELD(tiled_config, "task.side", side), .type = MR_KEY_INT, .fallback = "64", .min = 1,
     .max = 16384, .help = "Side of the Gaussian square that is repeated over rows and columns."},
};

/* One kind of matrix; fill writes it in any scale. */
typedef struct target {
    const char *name, *summary;
    mr_schema schema;
    mr_status (*fill)(const mr_target_config *config, uint64_t seed, double *out);
} target;

static double norm_of(const double *values, int64_t count)
{
    double squares = 0;
    for (int64_t i = 0; i < count; i++)
        squares += values[i] * values[i];
    return sqrt(squares);
}

/* Adds factor times normal numbers. */
static void add_normals(uint64_t seed, int use, double factor, double *values, int64_t count)
{
    mr_random random = mr_random_stream(seed, MR_RANDOM_DATA, (uint64_t)use);
    for (int64_t i = 0; i < count; i++)
        values[i] += factor * mr_random_normal(&random, (uint64_t)i);
}

/* out += sum of value[i] u_i v_i^T, i < n, over random orthonormal u and v. */
static mr_status add_spectrum(const mr_target_config *c, uint64_t seed, const double *value,
                              int64_t n, double *out)
{
    double *u = mr_alloc_array(MR_MEM_OTHER, (size_t)(n * c->rows), sizeof *u);
    double *v = mr_alloc_array(MR_MEM_OTHER, (size_t)(n * c->cols), sizeof *v);
    mr_status status = u && v ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK) {
        add_normals(seed, LEFT, 1, u, n * c->rows);
        add_normals(seed, RIGHT, 1, v, n * c->cols);
        status = mr_orthonormal_rows(u, n, c->rows);
    }
    if (status == MR_OK) status = mr_orthonormal_rows(v, n, c->cols);
    for (int64_t i = 0; status == MR_OK && i < n; i++)
        for (int64_t row = 0; row < c->rows; row++) {
            double factor = value[i] * u[i * c->rows + row];
            for (int64_t col = 0; col < c->cols; col++)
                out[row * c->cols + col] += factor * v[i * c->cols + col];
        }
    mr_free(u);
    mr_free(v);
    return status;
}

/* Random singular vectors; the i-th of n values is (i + 1)^-exponent. */
static mr_status fill_powers(const mr_target_config *c, uint64_t seed, int64_t n, double exponent,
                             double *out)
{
    double *value = mr_alloc_array(MR_MEM_OTHER, (size_t)n, sizeof *value);
    if (!value) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < n; i++)
        value[i] = pow((double)(i + 1), -exponent);
    mr_status status = add_spectrum(c, seed, value, n, out);
    mr_free(value);
    return status;
}

static int64_t smaller_side(const mr_target_config *c)
{
    return c->rows < c->cols ? c->rows : c->cols;
}

static mr_status fill_flat(const mr_target_config *c, uint64_t seed, double *out)
{
    return fill_powers(c, seed, smaller_side(c), 0, out);
}

static mr_status fill_gaussian(const mr_target_config *c, uint64_t seed, double *out)
{
    add_normals(seed, ENTRIES, 1, out, c->rows * c->cols);
    return MR_OK;
}

static mr_status fill_power_law(const mr_target_config *c, uint64_t seed, double *out)
{
    return fill_powers(c, seed, smaller_side(c), ((const power_law_config *)c)->exponent, out);
}

static mr_status fill_low_rank(const mr_target_config *c, uint64_t seed, double *out)
{
    const low_rank_config *own = (const void *)c;
    const int64_t count = c->rows * c->cols;
    MR_CHECK(own->rank <= smaller_side(c), MR_ERR_ARG,
             "task.rank: expected at most %lld, the smaller side of the matrix, found %lld",
             (long long)smaller_side(c), (long long)own->rank);
    MR_TRY(fill_powers(c, seed, own->rank, 0, out));
    double *noise = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *noise);
    if (!noise) return MR_ERR_MEMORY;
    add_normals(seed, ENTRIES, 1, noise, count);
    const double factor = own->noise * norm_of(out, count) / norm_of(noise, count);
    for (int64_t i = 0; i < count; i++)
        out[i] += factor * noise[i];
    mr_free(noise);
    return MR_OK;
}

static mr_status fill_waves(const mr_target_config *c, uint64_t seed, double *out)
{
    const waves_config *own = (const void *)c;
    const double turn = 2 * acos(-1);
    MR_CHECK(own->lowest <= own->highest && 2 * own->highest <= (double)c->cols, MR_ERR_ARG,
             "task.highest: expected task.lowest, %g, to half of task.cols, %g, found %g",
             own->lowest, 0.5 * (double)c->cols, own->highest);
    mr_random random = mr_random_stream(seed, MR_RANDOM_DATA, ENTRIES);
    for (int64_t row = 0; row < c->rows; row++) {
        double part = c->rows > 1 ? (double)row / (double)(c->rows - 1) : 0;
        double cycles = own->lowest + part * (own->highest - own->lowest);
        double phase = turn * mr_random_uniform(&random, (uint64_t)row);
        for (int64_t col = 0; col < c->cols; col++)
            out[row * c->cols + col] = sin(turn * cycles * (double)col / (double)c->cols + phase);
    }
    return MR_OK;
}

static mr_status fill_tiled(const mr_target_config *c, uint64_t seed, double *out)
{
    const int64_t side = ((const tiled_config *)c)->side;
    mr_random random = mr_random_stream(seed, MR_RANDOM_DATA, ENTRIES);
    for (int64_t row = 0; row < c->rows; row++)
        for (int64_t col = 0; col < c->cols; col++)
            out[row * c->cols + col] =
                mr_random_normal(&random, (uint64_t)(row % side * side + col % side));
    return MR_OK;
}

static const target targets[] = {
    {"flat", "equal singular values, random vectors", MR_SCHEMA(mr_target_config, plain_keys),
     fill_flat},
    {"gaussian", "independent normal entries", MR_SCHEMA(mr_target_config, plain_keys),
     fill_gaussian},
    {"power_law", "singular values that fall as a power, random vectors",
     MR_SCHEMA(power_law_config, power_law_keys), fill_power_law},
    {"low_rank", "a few equal singular values, random vectors, and noise",
     MR_SCHEMA(low_rank_config, low_rank_keys), fill_low_rank},
    {"waves", "a sinusoid a row, of rising frequency", MR_SCHEMA(waves_config, waves_keys),
     fill_waves},
    {"tiled", "one Gaussian square, repeated over rows and columns",
     MR_SCHEMA(tiled_config, tiled_keys), fill_tiled},
};

enum { TARGETS = sizeof targets / sizeof targets[0] };

const mr_choice *mr_target_choices(void)
{
    static mr_choice rows[TARGETS + 1];
    for (int i = 0; i < TARGETS; i++)
        rows[i] = (mr_choice){targets[i].name, targets[i].summary, &targets[i].schema};
    return rows;
}

const mr_target_config *mr_target_config_of(const mr_config *config)
{
    return (const void *)&config->task.keys;
}

mr_status mr_target_fill(const mr_config *config, double *out)
{
    const mr_target_config *c = mr_target_config_of(config);
    const int64_t count = c->rows * c->cols;
    int kind = 0;
    while (kind < TARGETS && strcmp(targets[kind].name, config->task.name) != 0)
        kind++;
    MR_CHECK(kind < TARGETS, MR_ERR_CONFIG, "task.name: no matrix is called \"%s\"",
             config->task.name);
    memset(out, 0, (size_t)count * sizeof *out);
    MR_TRY(targets[kind].fill(c, (uint64_t)config->run.seed, out));
    const double norm = norm_of(out, count);
    MR_CHECK(norm > 0, MR_ERR_ARG, "task.name: this %s matrix is zero", config->task.name);
    for (int64_t i = 0; i < count; i++)
        out[i] /= norm;
    return MR_OK;
}
