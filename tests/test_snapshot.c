/** @file
 * Snapshots of a model's spectra on any number of ranks and under every way of sharding: what they
 * hold is what a dense SVD of the merged model now minus the model at the start has. */

#include "base/signals.h"
#include "linalg/svd.h"
#include "ranks.h"
#include "spectra/measures.h"
#include "spectra/snapshot.h"
#include "tiny.h"

#include <math.h>
#include <signal.h>

static mr_comm alone; /* this rank by itself */

static const mr_shard shards[] = {MR_SHARD_FULL, MR_SHARD_OPTIMIZER, MR_SHARD_NONE};
static const mr_string_list everything = {.count = 1, .item = {"all"}};

enum { SHARDS = 3, GROUPS = 7 };

static const char *const methods[] = {"fft",  "lora",   "lora_plus", "asylora",
                                      "dora", "relora", "mora",      "remora"};

enum { METHODS = sizeof methods / sizeof *methods };

static double *must_allocate(int64_t count)
{
    double *values = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *values);
    if (!values) mr_abort("%s", mr_message());
    return values;
}

static mr_snapshot_options ask(void)
{
    return (mr_snapshot_options){.modules = &everything,
                                 .threshold = 0.1,
                                 .cosines = 4,
                                 .base = true,
                                 .merges = true,
                                 .slots = 2,
                                 .most = INT64_MAX,
                                 .threads = 2};
}

/* The snapshots of a model, and what they told last. */
typedef struct watch {
    mr_snapshots *snapshots;
    mr_spectra_layout layout;
    mr_spectra_row row[GROUPS];
} watch;

static watch begin(tiny *t, const mr_snapshot_options *options)
{
    watch w = {0};
    must(mr_snapshots_create(t->model, options, &w.snapshots));
    must(mr_snapshots_allocate(w.snapshots));
    mr_snapshots_set_start(w.snapshots, (uint64_t)t->config->run.seed, NULL);
    mr_snapshots_layout(w.snapshots, &w.layout);
    for (int64_t g = 0; g < w.layout.groups; g++)
        must(mr_spectra_row_make(&w.layout, g, &w.row[g]));
    return w;
}

static void end(watch *w)
{
    for (int64_t g = 0; g < w->layout.groups; g++)
        mr_spectra_row_free(&w->row[g]);
    mr_snapshots_destroy(&w->snapshots);
}

static void look(watch *w, int beside)
{
    must(mr_snapshots_start(w->snapshots, beside, true));
    must(mr_snapshots_finish(w->snapshots, w->row));
}

/* A model that has learnt something, all that is trained stirred. */
static mr_status shift(void *context, const mr_param *param, int64_t first, int64_t count,
                       float *out)
{
    const tiny *t = context;
    mr_random random = mr_random_stream(3, MR_RANDOM_DATA, (uint64_t)param->offset);
    const uint64_t seed = (uint64_t)t->config->run.seed;
    const int id = (int)(param - mr_params_at(mr_model_params(t->model), 0));
    MR_TRY(mr_model_start_values(t->model, seed, NULL, id, first, count, out));
    for (int64_t i = 0; i < count; i++)
        out[i] += (float)(0.05 * mr_random_normal(&random, (uint64_t)(first + i)));
    return MR_OK;
}

static void learn(tiny *t, uint64_t stream)
{
    mr_params *params = mr_model_params(t->model);
    tiny_stir(t, stream);
    for (int i = 0; i < mr_params_length(params); i++)
        if (mr_params_at(params, i)->trained && !mr_params_at(params, i)->adapter)
            must(mr_params_fill(params, i, shift, t));
    mr_params_invalidate(params);
}

/* What is wrong with the place of a linear in a row, against the dense update. NULL: nothing. */
static const char *judge(const watch *w, int64_t g, int64_t place, const double *dense,
                         double *worst)
{
    const mr_spectra_group *group = &w->layout.group[g];
    const int64_t side = group->rows < group->cols ? group->rows : group->cols;
    double *values = must_allocate(side);
    const double *found = w->row[g].sigma + place * group->values;
    const char *wrong = NULL;
    mr_measures measures;
    must(mr_svd_values(dense, group->rows, group->cols, values));
    for (int64_t j = 0; j < group->values; j++) {
        double off = fabs(found[j] - values[j]) / values[0];
        if (!(off <= *worst)) *worst = off;
        if (j > 0 && !(found[j] <= found[j - 1])) wrong = "not descending";
    }
    mr_measures_of(values, side, w->layout.threshold, &measures);
    for (int64_t c = 0; c < w->layout.columns; c++) {
        double value = w->row[g].column[c * group->layers + place];
        if (strcmp(w->layout.column[c].name, "sigma1_ratio") == 0 ||
            strcmp(w->layout.column[c].name, "frobenius_ratio") == 0 ||
            strcmp(w->layout.column[c].name, "intruder_threshold") == 0) {
            if (!(value > 0 && value < 1000)) wrong = w->layout.column[c].name;
        } else if (!(fabs(value - mr_measure_value(&measures, (int)c)) <= 1e-3 * (1 + value))) {
            wrong = w->layout.column[c].name;
        }
    }
    for (int64_t j = 0; j < group->cosines; j++) {
        double left = w->row[g].cosines_left[place * group->cosines + j];
        double right = w->row[g].cosines_right[place * group->cosines + j];
        if (isnan(left) != isnan(right) || left > 1 || right > 1 || left < 0 || right < 0)
            wrong = "cosines";
    }
    mr_free(values);
    return wrong;
}

/* Holds what was told against the merged model, which the model becomes; the largest difference of
 * values over the largest of its matrix. */
static double hold_against_merged(const char *method, tiny *t, const watch *w)
{
    int64_t seen[GROUPS] = {0};
    double worst = 0;
    must(mr_model_merge(t->model));
    for (mr_model_linear at = {0}; mr_model_next_linear(t->model, &at);) {
        const int64_t count = tiny_count(t, at.weight);
        float *now = tiny_weights(t, at.weight);
        float *start = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *start);
        double *dense = must_allocate(count);
        if (!start) mr_abort("%s", mr_message());
        must(mr_model_start_values(t->model, (uint64_t)t->config->run.seed, NULL, at.weight, 0,
                                   count, start));
        for (int64_t i = 0; i < count; i++)
            dense[i] = (double)now[i] - (double)start[i];
        int64_t g = 0;
        while (strcmp(w->layout.group[g].projection, at.projection) != 0)
            g++;
        const char *wrong = t->comm->rank == 0 ? judge(w, g, seen[g], dense, &worst) : NULL;
        if (wrong) {
            print_error("%s: %s, layer %lld: %s\n", method, at.projection, (long long)at.layer,
                        wrong);
            worst = INFINITY;
        }
        seen[g]++;
        mr_free(now);
        mr_free(start);
        mr_free(dense);
    }
    return worst;
}

static void a_snapshot_is_the_dense_svd_of_what_was_learnt(void **state)
{
    (void)state;
    for (int m = 0; m < METHODS; m++)
        for (int s = 0; s < SHARDS; s++) {
            const int beside = (m + s) % 2;
            tiny_options options = tiny_defaults(&world, methods[m]);
            options.shard = shards[s];
            tiny t = tiny_create(&options);
            const mr_snapshot_options wanted = ask();
            watch w = begin(&t, &wanted);
            learn(&t, 1);
            look(&w, beside);
            /* The weights of a merged model are rounded to float32; a structure is not. */
            double first = hold_against_merged(methods[m], &t, &w);
            must(mr_model_restart(t.model, 1));
            learn(&t, 2);
            look(&w, beside);
            double second = hold_against_merged(methods[m], &t, &w);
            end(&w);
            tiny_destroy(&t);
            if (!(first < 1e-6 && second < 1e-12))
                print_error("%s, shard %d: %g, %g\n", methods[m], s, first, second);
            assert_on_all_ranks(first < 1e-6 && second < 1e-12);
        }
}

/* What a run of snapshots tells, in one hash of bits. */
static uint64_t bits_of(const mr_comm *comm, const char *method, mr_shard shard, int beside,
                        int threads)
{
    tiny_options options = tiny_defaults(comm, method);
    options.shard = shard;
    tiny t = tiny_create(&options);
    mr_snapshot_options wanted = ask();
    wanted.slots = wanted.threads = threads;
    watch w = begin(&t, &wanted);
    uint64_t hash = MR_HASH_FNV;
    for (int64_t k = 1; k <= 2; k++) {
        learn(&t, (uint64_t)k);
        look(&w, beside);
        for (int64_t g = 0; g < w.layout.groups && comm->rank == 0; g++) {
            const mr_spectra_group *group = &w.layout.group[g];
            const size_t layers = (size_t)group->layers * sizeof(double);
            const mr_spectra_row *row = &w.row[g];
            hash = mr_hash_fnv(hash, row->sigma, layers * (size_t)group->values);
            hash = mr_hash_fnv(hash, row->column, layers * (size_t)w.layout.columns);
            hash = mr_hash_fnv(hash, row->cosines_left, layers * (size_t)group->cosines);
            hash = mr_hash_fnv(hash, row->cosines_right, layers * (size_t)group->cosines);
            hash = mr_hash_fnv(hash, row->route, (size_t)group->layers * sizeof *row->route);
        }
        must(mr_model_merge(t.model));
        must(mr_model_restart(t.model, k));
    }
    end(&w);
    tiny_destroy(&t);
    return hash;
}

static void bits_depend_on_neither_ranks_nor_shards_nor_threads(void **state)
{
    (void)state;
    for (int m = 0; m < METHODS; m++) {
        const uint64_t expected = bits_of(&alone, methods[m], MR_SHARD_NONE, 0, 1);
        bool same = true;
        for (int s = 0; s < SHARDS; s++) {
            const uint64_t found = bits_of(&world, methods[m], shards[s], s, 1 + s);
            same = same && (found == expected || world.rank > 0);
        }
        if (!same) print_error("%s: bits differ\n", methods[m]);
        assert_on_all_ranks(same);
    }
}

static void what_is_too_large_for_a_rank_is_spread_over_all(void **state)
{
    (void)state;
    static const int64_t most[] = {2000, 0};
    for (int m = 0; m < METHODS; m++)
        for (int i = 0; i < 2; i++) {
            tiny_options options = tiny_defaults(&world, methods[m]);
            options.shard = shards[m % SHARDS];
            tiny t = tiny_create(&options);
            mr_snapshot_options wanted = ask();
            wanted.most = most[i];
            watch w = begin(&t, &wanted);
            bool largest = mr_snapshots_largest(w.snapshots) == (i == 0 ? 36 * 36 : 0);
            learn(&t, 1);
            must(mr_model_merge(t.model));
            must(mr_model_restart(t.model, 1));
            learn(&t, 2);
            look(&w, 1);
            double worst = hold_against_merged(methods[m], &t, &w);
            bool routes = world.rank > 0 || strstr(*w.row[GROUPS - 1].route, "pdgebrd");
            end(&w);
            tiny_destroy(&t);
            if (!(worst < 1e-12)) print_error("%s: %g\n", methods[m], worst);
            assert_on_all_ranks(largest && worst < 1e-12 && routes);
        }
}

static void memory_is_what_was_planned(void **state)
{
    (void)state;
    for (int m = 0; m < 2 * METHODS; m++) {
        tiny_options options = tiny_defaults(&world, methods[m / 2]);
        tiny t = tiny_create(&options);
        mr_snapshot_options wanted = ask();
        if (m % 2 > 0) wanted.most = 2000;
        size_t bytes[MR_MEM_PURPOSES] = {0};
        watch w = begin(&t, &wanted);
        mr_snapshots_bytes(w.snapshots, bytes);
        bool exact = mr_memory_live(MR_MEM_SPECTRA) == bytes[MR_MEM_SPECTRA];
        learn(&t, 1);
        /* Whatever the peak was before, from here on it shows what a snapshot takes. */
        void *filler = mr_alloc(MR_MEM_EVAL, mr_memory_peak_total() - mr_memory_live_total());
        const size_t before = mr_memory_live_total();
        look(&w, 1);
        const size_t taken = mr_memory_peak_total() - before;
        mr_free(filler);
        end(&w);
        tiny_destroy(&t);
        bool within = taken <= bytes[MR_MEM_OTHER] && taken > bytes[MR_MEM_OTHER] / 50;
        if (!within) print_error("%s: %zu bytes of %zu\n", methods[m], taken, bytes[MR_MEM_OTHER]);
        assert_on_all_ranks(exact && within);
    }
}

static void an_update_that_is_zero_has_rank_zero(void **state)
{
    (void)state;
    for (int m = 0; m < METHODS; m++) {
        tiny_options options = tiny_defaults(&world, methods[m]);
        tiny t = tiny_create(&options);
        const mr_snapshot_options wanted = ask();
        watch w = begin(&t, &wanted);
        look(&w, 1);
        bool zero = true;
        for (int64_t g = 0; g < w.layout.groups && world.rank == 0; g++) {
            const mr_spectra_group *group = &w.layout.group[g];
            /* DoRA's m / n is 1 to float32's rounding only. */
            const double most = strcmp(methods[m], "dora") == 0 ? 1e-6 : 0;
            for (int64_t i = 0; i < group->layers * group->values; i++)
                zero = zero && fabs(w.row[g].sigma[i]) <= most;
            for (int64_t i = 0; i < group->layers; i++)
                zero = zero && fabs(w.row[g].column[i]) <= 0; /* the count */
        }
        end(&w);
        tiny_destroy(&t);
        if (!zero) print_error("%s\n", methods[m]);
        assert_on_all_ranks(zero);
    }
}

static mr_status poison(void *context, const mr_param *param, int64_t first, int64_t count,
                        float *out)
{
    (void)context;
    (void)param;
    for (int64_t i = 0; i < count; i++)
        out[i] = first + i == 5 ? NAN : 1;
    return MR_OK;
}

static void an_update_that_is_not_finite_is_one_message(void **state)
{
    (void)state;
    static const char *const names[] = {"model.layers.1.self_attn.k_proj.lora_B",
                                        "model.layers.1.mlp.up_proj.lora_A"};
    for (int beside = 0; beside < 2; beside++) {
        tiny_options options = tiny_defaults(&world, "lora");
        tiny t = tiny_create(&options);
        const mr_snapshot_options wanted = ask();
        watch w = begin(&t, &wanted);
        mr_params *params = mr_model_params(t.model);
        for (int i = 0; i < 2; i++)
            for (int id = 0; id < mr_params_length(params); id++)
                if (strcmp(mr_params_at(params, id)->name, names[i]) == 0)
                    must(mr_params_fill(params, id, poison, NULL));
        mr_params_invalidate(params);
        must(mr_snapshots_start(w.snapshots, beside, true));
        mr_status status = mr_snapshots_finish(w.snapshots, w.row);
        bool said = status == MR_ERR_NUMERIC && strstr(mr_message(), "k_proj.weight: ") &&
                    strstr(mr_message(), "is nan");
        if (!said) print_error("%s\n", mr_message());
        end(&w);
        tiny_destroy(&t);
        assert_on_all_ranks(said);
    }
}

static void modules_and_values_are_chosen(void **state)
{
    (void)state;
    tiny_options options = tiny_defaults(&world, "mora");
    options.targets = (mr_string_list){.count = 2, .item = {"k_proj", "down_proj"}};
    options.saved = (mr_string_list){.count = 1, .item = {"o_proj"}};
    static const mr_string_list wrong = {.count = 2, .item = {"down_proj", "q_proj"}};
    static const mr_string_list two = {.count = 2, .item = {"down_proj", "o_proj"}};
    tiny t = tiny_create(&options);
    mr_snapshot_options wanted = ask();
    wanted.top = 5;
    wanted.cosines = 0;
    watch w = begin(&t, &wanted);
    bool three = w.layout.groups == 3 && w.layout.group[0].values == 5;
    end(&w);
    wanted.modules = &two;
    w = begin(&t, &wanted);
    learn(&t, 1);
    look(&w, 0);
    bool chosen = w.layout.groups == 2 && strcmp(w.layout.group[0].projection, "o_proj") == 0 &&
                  w.layout.group[1].layers == 2;
    end(&w);
    wanted.modules = &wrong;
    mr_status status = mr_snapshots_create(t.model, &wanted, &w.snapshots);
    bool refused = status == MR_ERR_CONFIG &&
                   strstr(mr_message(), "log.spectrum_modules: \"q_proj\" matches no linear that "
                                        "is trained; there are k_proj, o_proj, down_proj, all");
    if (!refused) print_error("%s\n", mr_message());
    tiny_destroy(&t);
    assert_on_all_ranks(three && chosen && refused);
}

/* Comes last: a request to stop is never forgotten. */
static void a_request_to_stop_breaks_off_what_is_dense(void **state)
{
    (void)state;
    tiny_options options = tiny_defaults(&world, "relora");
    tiny t = tiny_create(&options);
    const mr_snapshot_options wanted = ask();
    watch w = begin(&t, &wanted);
    learn(&t, 1);
    look(&w, 1);
    mr_signals_catch(SIGUSR2);
    if (world.rank == world.size - 1) raise(SIGUSR2);
    mr_status copied = mr_snapshots_start(w.snapshots, 1, true);
    bool whole = copied == MR_OK && mr_snapshots_under_way(w.snapshots);
    if (whole) whole = mr_snapshots_finish(w.snapshots, w.row) == MR_OK;
    must(mr_model_merge(t.model));
    must(mr_model_restart(t.model, 1));
    mr_status dense = mr_snapshots_start(w.snapshots, 1, true);
    bool stopped = dense == MR_STOPPED && !mr_snapshots_under_way(w.snapshots);
    must(mr_snapshots_start(w.snapshots, true, false));
    must(mr_snapshots_finish(w.snapshots, w.row));
    end(&w);
    tiny_destroy(&t);
    assert_on_all_ranks(whole && stopped);
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    must(mr_comm_create(MPI_COMM_SELF, &alone));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_is_the_dense_svd_of_what_was_learnt),
        cmocka_unit_test(bits_depend_on_neither_ranks_nor_shards_nor_threads),
        cmocka_unit_test(what_is_too_large_for_a_rank_is_spread_over_all),
        cmocka_unit_test(memory_is_what_was_planned),
        cmocka_unit_test(an_update_that_is_zero_has_rank_zero),
        cmocka_unit_test(an_update_that_is_not_finite_is_one_message),
        cmocka_unit_test(modules_and_values_are_chosen),
        cmocka_unit_test(a_request_to_stop_breaks_off_what_is_dense),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mr_comm_destroy(&alone);
    return ranks_end(failed);
}
