/** @file
 * Spectra against reference values: matrices, pairs of a base weight and an update, and the updates
 * of trained adapters, in the folder spectra of every root that MORA_GOLDEN names (colon-separated;
 * without it ../shared/golden beside the sources, where that is). */

#include "base/memory.h"
#include "golden_find.h"
#include "linalg/product.h"
#include "linalg/svd.h"
#include "settings.h"
#include "spectra/measures.h"
#include "spectra/overlap.h"
#include "spectra/structure.h"
#include "store/safetensors.h"

#include <jansson.h>

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

/* The numbers of the reference are doubles, and so are ours; rounding is all that may differ. */
static const double value_bound = 1e-12;   /* of sigma_1, as the reference states */
static const double own_bound = 1e-13;     /* of sigma_1, as linalg/svd.h states */
static const double measure_bound = 1e-10; /* relative, as the reference states */
static const double float_bound = 1e-6;    /* of sigma_1: adapters' tensors are float32 */
static const double angle_bound = 2e-14;   /* over the gap that separates the spaces */

enum { ROOTS = 16 };

static char roots[ROOTS][PATH_MAX];
static int root_count;

/* A JSON file of references with the tensors beside it. */
typedef struct reference {
    char root[PATH_MAX], name[64];
    json_t *json;
    mr_safetensors *file;
} reference;

/* A matrix that was read. */
typedef struct matrix {
    int64_t rows, cols;
    double *values;
} matrix;

static double *doubles(int64_t count)
{
    double *out = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *out);
    assert_non_null(out);
    return out;
}

static int64_t side(matrix a)
{
    return a.rows < a.cols ? a.rows : a.cols;
}

static bool open_reference(const char *root, const char *name, reference *out)
{
    char path[PATH_MAX + 128];
    json_error_t error;
    snprintf(out->root, sizeof out->root, "%s", root);
    snprintf(out->name, sizeof out->name, "%s", name);
    snprintf(path, sizeof path, "%s/spectra/%s.json", root, name);
    if (access(path, R_OK) != 0) return false;
    out->json = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!out->json) fail_msg("%s: line %d: %s", path, error.line, error.text);
    snprintf(path, sizeof path, "%s/spectra/%s.safetensors", root, name);
    must(mr_safetensors_open(path, &out->file));
    return true;
}

static void close_reference(reference *r)
{
    json_decref(r->json);
    mr_safetensors_close(&r->file);
}

/* Checks every member of the references of a name, below all roots. */
static void check_all(const char *kind,
                      void (*check)(const reference *r, const char *name, const json_t *about))
{
    int checked = 0;
    for (int i = 0; i < root_count; i++) {
        reference r;
        const char *name;
        json_t *about;
        if (!open_reference(roots[i], kind, &r)) continue;
        json_object_foreach(json_object_get(r.json, kind), name, about)
        {
            check(&r, name, about);
            checked++;
        }
        close_reference(&r);
    }
    if (checked == 0) skip_without_golden("%s.json", kind);
    print_message("%d %s\n", checked, kind);
}

/* Reads a tensor in double; a vector is a row. */
static matrix read_matrix(const mr_safetensors *file, const char *format, ...)
{
    char name[256];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    const mr_safetensors_entry *entry = mr_safetensors_find(file, name);
    if (!entry || entry->dims < 1 || entry->dims > 2)
        fail_msg("%s: expected a matrix %s", mr_safetensors_path(file), name);
    matrix out = {entry->dims == 2 ? entry->shape[0] : 1, entry->shape[entry->dims - 1],
                  doubles(entry->count)};
    float *read = mr_alloc_array(MR_MEM_OTHER, (size_t)entry->count, sizeof *read);
    assert_non_null(read);
    must(mr_safetensors_read_f32(file, entry, 0, entry->count, read));
    for (int64_t i = 0; i < entry->count; i++)
        out.values[i] = (double)read[i];
    mr_free(read);
    return out;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) fail_msg("expected a number '%s'", key);
    return json_number_value(value);
}

static double element(const json_t *array, int64_t i)
{
    return json_number_value(json_array_get(array, (size_t)i));
}

static void assert_values(const char *label, const double *found, const json_t *sigma, int64_t n,
                          double bound)
{
    assert_int_equal(json_array_size(sigma), n);
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(found[i] - element(sigma, i)) <= bound * element(sigma, 0)))
            fail_msg("%s: value %d: expected %.17g, found %.17g", label, (int)i, element(sigma, i),
                     found[i]);
}

/* A measure beside its reference, null being undefined. */
static void assert_measure(const char *label, const json_t *about, const char *key, double found,
                           double bound)
{
    const json_t *wanted = json_object_get(about, key);
    if (!wanted) fail_msg("%s: the reference has no %s", label, key);
    const double value = json_is_null(wanted) ? NAN : json_number_value(wanted);
    if (isnan(value) ? !isnan(found) : !(fabs(found - value) <= bound * fabs(value)))
        fail_msg("%s: %s: expected %.17g, found %.17g", label, key, value, found);
}

/* All measures of values; those that count only where the reference's margin lets them. */
static void assert_measures(const char *label, const double *values, int64_t n, const json_t *about,
                            double bound)
{
    mr_measures m;
    const json_t *margin = json_object_get(about, "margin"), *top;
    const bool exact = !margin || json_number_value(margin) > 10 * bound;
    const char *k;
    mr_measures_of(values, n, 0.1, &m);
    if (exact) assert_measure(label, about, "count_above_0_1", m.count, 0);
    if (exact) assert_measure(label, about, "k90", m.k90, 0);
    assert_measure(label, about, "erank_sigma", m.effective_rank, bound);
    assert_measure(label, about, "per", m.per, bound);
    assert_measure(label, about, "stable_rank", m.stable_rank, bound);
    assert_measure(label, about, "participation_ratio", m.participation_ratio, bound);
    assert_measure(label, about, "frobenius", m.frobenius, bound);
    assert_measure(label, about, "sigma1", m.sigma1, bound);
    json_t *shares = json_object_get(about, "energy_top"), *share;
    top = shares;
    if (json_is_null(top)) assert_true(isnan(mr_energy_top(values, n, 1)));
    json_object_foreach(shares, k, share)
        assert_measure(label, shares, k, mr_energy_top(values, n, atoi(k)), bound);
}

static void check_matrix(const reference *r, const char *name, const json_t *about)
{
    const json_t *sigma = json_object_get(about, "sigma");
    matrix a = read_matrix(r->file, "%s", name);
    const int64_t n = side(a);
    double *values = doubles(n), *u = doubles(n * a.rows), *v = doubles(n * a.cols);
    const mr_structure s = {.rows = a.rows, .cols = a.cols, .dense = a.values};
    must(mr_structure_values(&s, values));
    assert_values(name, values, sigma, n, value_bound);
    /* Those by LAPACK have errors of their own. */
    if (strstr(json_string_value(json_object_get(about, "reference")), "mpmath"))
        assert_values(name, values, sigma, n, own_bound);
    assert_measures(name, values, n, about, measure_bound);
    must(mr_svd(a.values, a.rows, a.cols, values, u, v));
    assert_values(name, values, sigma, n, value_bound);
    mr_free(a.values);
    mr_free(values);
    mr_free(u);
    mr_free(v);
}

static void matrices_have_their_values_and_measures(void **state)
{
    (void)state;
    check_all("matrices", check_matrix);
}

/* Values with all vectors. */
typedef struct decomposition {
    int64_t n;
    double *values, *u, *v;
} decomposition;

static decomposition decompose(matrix a)
{
    decomposition d = {.n = side(a)};
    d.values = doubles(d.n);
    d.u = doubles(d.n * a.rows);
    d.v = doubles(d.n * a.cols);
    must(mr_svd(a.values, a.rows, a.cols, d.values, d.u, d.v));
    return d;
}

static void free_decomposition(decomposition *d)
{
    mr_free(d->values);
    mr_free(d->u);
    mr_free(d->v);
}

static void assert_cosines(const char *label, const double *found, const json_t *wanted, int64_t k,
                           double gap)
{
    for (int64_t i = 0; i < k; i++)
        if (!(fabs(found[i] - element(wanted, i)) <= angle_bound / gap))
            fail_msg("%s: cosine %d of %d: expected %.17g, found %.17g, gap %.3g", label, (int)i,
                     (int)k, element(wanted, i), found[i], gap);
}

/* Cosines between leading spaces of a matrix and of the base, for every k of the reference; those
 * of the matrix by LAPACK and by Lanczos. */
static void check_spaces(const char *label, const json_t *wanted, matrix a,
                         const decomposition *own, matrix base, const decomposition *of_base)
{
    const mr_dense_matrix dense = {a.rows, a.cols, a.values};
    const mr_operator op = mr_dense_operator(&dense);
    const char *key;
    json_t *about;
    json_object_foreach((json_t *)wanted, key, about)
    {
        const int64_t k = atoi(key);
        const json_t *gaps = json_object_get(about, "gap");
        const double gap = fmin(element(gaps, 0), element(gaps, 1));
        double *values = doubles(k), *u = doubles(k * a.rows), *v = doubles(k * a.cols);
        double *cosines = doubles(k);
        must(mr_leading(&op, k, values, u, v));
        for (int lanczos = 0; lanczos < 2; lanczos++) {
            must(mr_principal_cosines(lanczos ? u : own->u, of_base->u, k, base.rows, cosines));
            assert_cosines(label, cosines, json_object_get(about, "left"), k, gap);
            must(mr_principal_cosines(lanczos ? v : own->v, of_base->v, k, base.cols, cosines));
            assert_cosines(label, cosines, json_object_get(about, "right"), k, gap);
        }
        mr_free(values);
        mr_free(u);
        mr_free(v);
        mr_free(cosines);
    }
}

/* The least distance of neighbouring values, of the largest. */
static double least_gap(const decomposition *d)
{
    double least = INFINITY;
    for (int64_t i = 1; i < d->n; i++)
        least = fmin(least, (d->values[i - 1] - d->values[i]) / d->values[0]);
    return least;
}

static void check_intruders(const char *label, const json_t *about, matrix a,
                            const decomposition *sum, const decomposition *base)
{
    const int64_t k = (int64_t)number(about, "top_k");
    const double epsilon = number(about, "epsilon");
    double *cosines = doubles(k);
    mr_intruders found;
    must(mr_intruders_find(sum->values, sum->u, k, base->u, base->n, a.rows, epsilon, cosines,
                           &found));
    assert_cosines(label, cosines, json_object_get(about, "max_cos"), k,
                   fmin(number(about, "smallest_gap_sum"), least_gap(base)));
    assert_measure(label, about, "intruders", (double)found.count, 0);
    assert_measure(label, about, "intruder_energy_share", found.energy_share, measure_bound);
    mr_free(cosines);
}

static void check_pair(const reference *r, const char *name, const json_t *about)
{
    matrix base = read_matrix(r->file, "base.%s", name);
    matrix update = read_matrix(r->file, "update.%s", name);
    const int64_t n = side(base);
    assert_true(base.rows == update.rows && base.cols == update.cols);
    matrix sum = {base.rows, base.cols, doubles(base.rows * base.cols)};
    for (int64_t i = 0; i < base.rows * base.cols; i++)
        sum.values[i] = base.values[i] + update.values[i];

    decomposition of_base = decompose(base), of_sum = decompose(sum);
    decomposition of_update = decompose(update);
    assert_values(name, of_base.values, json_object_get(about, "sigma_base"), n, value_bound);
    assert_values(name, of_sum.values, json_object_get(about, "sigma_sum"), n, value_bound);

    double *values = doubles(n);
    mr_measures in_base, m;
    must(mr_svd_values(update.values, update.rows, update.cols, values));
    mr_measures_of(of_base.values, n, 0.1, &in_base);
    mr_measures_of(values, n, 0.1, &m);
    mr_measures_relate(&m,
                       (mr_base_facts){in_base.sigma1, in_base.frobenius,
                                       mr_intruder_theta(of_base.values, base.rows, base.cols)});
    assert_measures(name, values, n, json_object_get(about, "update"), measure_bound);
    assert_measure(name, about, "sigma1_ratio", m.sigma1_ratio, measure_bound);
    assert_measure(name, about, "frobenius_ratio", m.frobenius_ratio, measure_bound);
    check_intruders(name, about, base, &of_sum, &of_base);
    check_spaces(name, json_object_get(about, "cos_update_base"), update, &of_update, base,
                 &of_base);
    check_spaces(name, json_object_get(about, "cos_sum_base"), sum, &of_sum, base, &of_base);
    free_decomposition(&of_base);
    free_decomposition(&of_sum);
    free_decomposition(&of_update);
    mr_free(values);
    mr_free(base.values);
    mr_free(update.values);
    mr_free(sum.values);
}

static void pairs_have_their_ratios_angles_and_intruders(void **state)
{
    (void)state;
    check_all("pairs", check_pair);
}

/* A run of a reference model: its trained tensors and the model it began with. */
typedef struct trained {
    mr_golden_kind kind;
    mr_backend *be;
    mr_config config;
    mr_safetensors *after, *base;
} trained;

static void open_trained(const char *root, const char *model, const char *run, trained *t)
{
    char path[PATH_MAX + 256];
    json_error_t error;
    double r = 1, alpha = 1;
    if (!mr_golden_kind_of(run, &t->kind)) fail_msg("run '%s' is of no known method", run);
    snprintf(path, sizeof path, "%s/%s/%s.safetensors", root, model, run);
    must(mr_safetensors_open(path, &t->after));
    snprintf(path, sizeof path, "%s/%s/model/model.safetensors", root, model);
    must(mr_safetensors_open(path, &t->base));
    json_t *note = json_loads(mr_safetensors_metadata(t->after, "note"), 0, &error);
    assert_non_null(note);
    assert_int_equal(json_unpack(note, "{s?F, s?F}", "r", &r, "lora_alpha", &alpha), 0);
    json_decref(note);
    settings_of_method(&t->config, t->kind.method);
    settings_offer(&t->config, "method.r", "%d", (int)r);
    settings_offer(&t->config, "method.lora_alpha", "%.17g", alpha);
    settings_offer(&t->config, "method.operator", "%s", mr_mora_operators[t->kind.operator]);
    must(mr_backend_create("cpu", 0, 1, &t->be));
}

static void close_trained(trained *t)
{
    mr_safetensors_close(&t->after);
    mr_safetensors_close(&t->base);
    mr_backend_destroy(&t->be);
}

/* A trained tensor of a linear's adapter, as our names or PEFT's have it. */
static matrix read_param(const trained *t, const char *linear, const char *suffix)
{
    char name[256];
    snprintf(name, sizeof name, "after.%s.%s", linear, suffix);
    if (mr_safetensors_find(t->after, name)) return read_matrix(t->after, "%s", name);
    return read_matrix(t->after, "after.base_model.model.%s.%s.default.weight", linear, suffix);
}

static mr_tensor upload(const trained *t, matrix a)
{
    mr_tensor tensor;
    float *values = mr_alloc_array(MR_MEM_OTHER, (size_t)(a.rows * a.cols), sizeof *values);
    assert_non_null(values);
    for (int64_t i = 0; i < a.rows * a.cols; i++)
        values[i] = (float)a.values[i];
    must(mr_backend_tensor(t->be, MR_MEM_OTHER, MR_F32, a.rows, a.cols, &tensor));
    t->be->ops->upload(t->be, tensor, values);
    mr_free(values);
    return tensor;
}

/* The update of a linear as the program's adapter tells it; false where it is to be made dense. */
static bool take_update(const trained *t, const char *linear, int64_t rows, int64_t cols,
                        mr_structure *out)
{
    mr_adapter *a = NULL;
    mr_adapter_call call = {.be = t->be};
    mr_update update;
    must(mr_adapter_create(t->be, MR_F32, mr_adapter_find(t->kind.method),
                           mr_adapter_config_of(&t->config), 1, cols, &rows, &linear, &a));
    must(mr_adapter_allocate(a));
    for (int k = 0; k < a->params; k++) {
        matrix param = read_param(t, linear, a->param[0][k].suffix);
        call.weight[0][k] = upload(t, param);
        mr_free(param.values);
    }
    assert_true(mr_adapter_update(a, &call, 0, &update));
    const bool structured = !mr_tensor_exists(update.ratio);
    if (structured) must(mr_structure_take(t->be, &update, rows, cols, out));
    for (int k = 0; k < a->params; k++)
        mr_backend_free(t->be, &call.weight[0][k]);
    mr_adapter_destroy(&a);
    return structured;
}

/* DoRA's diag(m / |V|) V - W0 with V = W0 + s B A; full fine-tuning's W - W0. */
static double *dense_update(const trained *t, const char *linear, int64_t rows, int64_t cols)
{
    matrix base = read_matrix(t->base, "%s.weight", linear);
    assert_true(base.rows == rows && base.cols == cols);
    if (mr_adapter_find(t->kind.method)->trains_base) {
        matrix after = read_matrix(t->after, "after.%s.weight", linear);
        for (int64_t i = 0; i < rows * cols; i++)
            after.values[i] -= base.values[i];
        mr_free(base.values);
        return after.values;
    }
    matrix a = read_param(t, linear, "lora_A"), b = read_param(t, linear, "lora_B");
    matrix magnitude = read_param(t, linear, "lora_magnitude_vector");
    const mr_adapter_config *config = mr_adapter_config_of(&t->config);
    double *dense = doubles(rows * cols);
    memcpy(dense, base.values, (size_t)(rows * cols) * sizeof *dense);
    mr_product(false, false, rows, cols, a.rows, config->lora_alpha / (double)a.rows, b.values,
               a.values, 1, dense);
    for (int64_t i = 0; i < rows; i++) {
        double squares = 0;
        for (int64_t j = 0; j < cols; j++)
            squares += dense[i * cols + j] * dense[i * cols + j];
        for (int64_t j = 0; j < cols; j++)
            dense[i * cols + j] = magnitude.values[i] / sqrt(squares) * dense[i * cols + j] -
                                  base.values[i * cols + j];
    }
    mr_free(a.values);
    mr_free(b.values);
    mr_free(magnitude.values);
    mr_free(base.values);
    return dense;
}

/* dW of layer 0 stands in the reference for some runs. */
static void assert_dense(const reference *r, const char *run, const char *linear,
                         const double *dense, int64_t count, double sigma1)
{
    char name[256];
    snprintf(name, sizeof name, "%s.%s", run, linear);
    if (!mr_safetensors_find(r->file, name)) return;
    matrix wanted = read_matrix(r->file, "%s", name);
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(dense[i] - wanted.values[i]) <= float_bound * sigma1))
            fail_msg("%s: element %d: expected %.9g, found %.9g", name, (int)i, wanted.values[i],
                     dense[i]);
    mr_free(wanted.values);
}

static void check_linear(const reference *r, const trained *t, const char *run, const char *linear,
                         const json_t *about)
{
    char label[256];
    const json_t *shape = json_object_get(about, "shape"), *sigma = json_object_get(about, "sigma");
    const int64_t rows = (int64_t)element(shape, 0), cols = (int64_t)element(shape, 1);
    const int64_t n = rows < cols ? rows : cols;
    double *dense = doubles(rows * cols), *by_dense = doubles(n), *values = doubles(n);
    const double sigma1 = element(sigma, 0);
    mr_structure s;
    snprintf(label, sizeof label, "%s/%s %s", r->name, run, linear);
    if (mr_adapter_find(t->kind.method)->trains_base || !take_update(t, linear, rows, cols, &s))
        s = (mr_structure){
            .rows = rows, .cols = cols, .dense = dense_update(t, linear, rows, cols)};
    must(mr_structure_dense(&s, dense));
    must(mr_svd_values(dense, rows, cols, by_dense));
    must(mr_structure_values(&s, values));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(values[i] - by_dense[i]) <= value_bound * sigma1))
            fail_msg("%s: value %d: dense %.17g, by structure %.17g", label, (int)i, by_dense[i],
                     values[i]);
    assert_dense(r, run, linear, dense, rows * cols, sigma1);
    assert_values(label, values, sigma, n, float_bound);
    assert_measures(label, values, n, about, float_bound);
    matrix base = read_matrix(t->base, "%s.weight", linear);
    must(mr_svd_values(base.values, rows, cols, by_dense));
    assert_measure(label, about, "sigma1_base", by_dense[0], measure_bound);
    assert_measure(label, about, "sigma1_ratio", values[0] / by_dense[0], float_bound);
    mr_free(base.values);
    mr_structure_free(&s);
    mr_free(dense);
    mr_free(by_dense);
    mr_free(values);
}

static int check_adapters(const char *root, const char *model)
{
    char name[64];
    reference r;
    const char *run, *linear;
    json_t *linears, *about;
    int checked = 0;
    snprintf(name, sizeof name, "adapters_%s", model);
    if (!open_reference(root, name, &r)) return 0;
    json_object_foreach(r.json, run, linears)
    {
        trained t;
        open_trained(root, model, run, &t);
        json_object_foreach(linears, linear, about)
        {
            check_linear(&r, &t, run, linear, about);
            checked++;
        }
        close_trained(&t);
    }
    close_reference(&r);
    return checked;
}

static void trained_adapters_have_their_values_by_structure(void **state)
{
    (void)state;
    int checked = 0;
    for (int i = 0; i < root_count; i++) {
        char folder[PATH_MAX + 16];
        mr_names stems = {0};
        snprintf(folder, sizeof folder, "%s/spectra", roots[i]);
        must(mr_golden_stems(folder, &stems));
        for (int64_t j = 0; j < stems.count; j++)
            if (strncmp(stems.item[j], "adapters_", 9) == 0)
                checked += check_adapters(roots[i], stems.item[j] + 9);
        mr_names_free(&stems);
    }
    if (checked == 0) skip_without_golden("adapters");
    print_message("%d linears\n", checked);
    assert_int_equal(mr_memory_live_total(), 0);
}

/* Roots that have a folder spectra; relative ones stand beside the sources. */
static void find_roots(void)
{
    const char *source = getenv("MR_SOURCE_DIR"), *named = getenv("MORA_GOLDEN");
    if (!named || !*named) named = "../shared/golden";
    for (const char *at = named; *at && root_count < ROOTS; at += *at == ':') {
        const int length = (int)strcspn(at, ":");
        char folder[PATH_MAX + 16];
        snprintf(roots[root_count], PATH_MAX, "%s%s%.*s", *at == '/' ? "" : source,
                 *at == '/' ? "" : "/", length, at);
        snprintf(folder, sizeof folder, "%s/spectra", roots[root_count]);
        if (length > 0 && access(folder, R_OK) == 0) root_count++;
        at += length;
    }
}

int main(void)
{
    if (!getenv("MR_SOURCE_DIR")) {
        print_error("MR_SOURCE_DIR is not set: run this test through ctest\n");
        return EXIT_FAILURE;
    }
    find_roots();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrices_have_their_values_and_measures),
        cmocka_unit_test(pairs_have_their_ratios_angles_and_intruders),
        cmocka_unit_test(trained_adapters_have_their_values_by_structure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
