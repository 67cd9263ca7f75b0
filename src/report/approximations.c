#include "report/approximations.h"

#include "adapter/adapter.h"
#include "base/memory.h"
#include "config/value.h"
#include "eval/statistics.h"
#include "report/layout.h"
#include "store/json.h"
#include "train/target.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RATES = 64 }; /* most rates of a method, and most seeds of a rate */

/* The runs of one target, method, r and rate. */
typedef struct rate_runs {
    const mr_approximated *run; /* [runs] by seed */
    int64_t runs;
    mr_estimate error; /* over the seeds; of none where one is not finite */
} rate_runs;

/* Appends the keys of a section that not every choice with keys has, "exponent=1"; switches where
 * they are on. */
static void add_own_keys(const mr_config *config, const char *section, mr_text *out)
{
    const mr_registry *registry = config->registry;
    uint64_t all = 0;
    for (int i = 0; i < registry->count; i++)
        if (registry->at[i].table >= 0 &&
            strncmp(registry->at[i].key->key, section, strlen(section)) == 0)
            all |= registry->at[i].rows;
    for (int i = 0; i < registry->count; i++) {
        size_t base;
        const mr_registry_key *about = &registry->at[i];
        const mr_key *key = mr_registry_bind(config, i, &base);
        if (!key || about->table < 0 || about->rows == all) continue;
        if (strncmp(key->key, section, strlen(section)) != 0) continue;
        const char *field = (const char *)config + base;
        if (key->type == MR_KEY_BOOL && !*(const bool *)(field + key->offset)) continue;
        mr_text_add(out, " %s=", key->key + strlen(section));
        mr_value_text(key, field, MR_VALUE_PLAIN, out);
    }
}

static char *target_text(const mr_config *config)
{
    const mr_target_config *target = mr_target_config_of(config);
    mr_text text = {0};
    mr_text_add(&text, "%s", config->task.name);
    add_own_keys(config, "task.", &text);
    mr_text_add(&text, ", %lld x %lld, norm %g", (long long)target->rows, (long long)target->cols,
                target->norm);
    char *copy = text.failed ? NULL : mr_strdup(mr_text_get(&text));
    mr_text_free(&text);
    return copy;
}

static char *method_text(const mr_config *config)
{
    mr_text text = {0};
    mr_text_add(&text, "%s", config->method.name);
    add_own_keys(config, "method.", &text);
    char *copy = text.failed ? NULL : mr_strdup(mr_text_get(&text));
    mr_text_free(&text);
    return copy;
}

static bool same_method(const mr_approximated *a, const mr_approximated *b)
{
    return a->r == b->r && strcmp(a->method, b->method) == 0;
}

mr_status mr_approximations_add(mr_approximations *all, const mr_config *config,
                                const mr_approximation *result)
{
    MR_TRY(mr_grow(MR_MEM_OTHER, &all->run, &all->room, all->count + 1, sizeof *all->run));
    mr_approximated *run = &all->run[all->count];
    *run = (mr_approximated){.run = mr_strdup(config->run.name),
                             .target = target_text(config),
                             .method = method_text(config),
                             .r = mr_adapter_config_of(config)->r,
                             .lr = config->train.lr,
                             .seed = config->run.seed,
                             .target_index = all->count,
                             .method_index = all->count,
                             .result = *result};
    all->count++;
    all->sorted = false;
    if (!run->run || !run->target || !run->method) return MR_ERR_MEMORY;
    for (int64_t i = all->count - 2; i >= 0; i--) {
        if (strcmp(all->run[i].target, run->target) == 0)
            run->target_index = all->run[i].target_index;
        if (same_method(&all->run[i], run)) run->method_index = all->run[i].method_index;
    }
    return MR_OK;
}

static int compare(const void *left, const void *right)
{
    const mr_approximated *a = left, *b = right;
    if (a->target_index != b->target_index) return a->target_index < b->target_index ? -1 : 1;
    if (a->method_index != b->method_index) return a->method_index < b->method_index ? -1 : 1;
    if (a->lr < b->lr || a->lr > b->lr) return a->lr < b->lr ? -1 : 1;
    return (a->seed > b->seed) - (a->seed < b->seed);
}

static bool same_rate(const mr_approximated *a, const mr_approximated *b)
{
    return a->target_index == b->target_index && a->method_index == b->method_index &&
           !(a->lr < b->lr || a->lr > b->lr);
}

static void sort(mr_approximations *all)
{
    if (!all->sorted && all->count > 0)
        qsort(all->run, (size_t)all->count, sizeof *all->run, compare);
    all->sorted = true;
}

static mr_estimate error_of(const mr_approximated *run, int64_t runs)
{
    double value[RATES];
    MR_INVARIANT(runs <= RATES);
    for (int64_t i = 0; i < runs; i++) {
        value[i] = run[i].result.error;
        if (!isfinite(value[i])) return (mr_estimate){0};
    }
    return mr_estimate_of(value, runs);
}

/* Finds the rates of the method that run number `begin` is the first of, and the best of them: the
 * least mean error; on ties the lower rate; -1: every rate has an error that is not finite. Returns
 * the first run of the next method, or target. */
static int64_t rates_from(const mr_approximations *all, int64_t begin, rate_runs rate[RATES],
                          int *rates, int *best)
{
    const mr_approximated *run = all->run;
    int64_t at = begin;
    *rates = 0;
    *best = -1;
    while (at < all->count && run[at].target_index == run[begin].target_index &&
           run[at].method_index == run[begin].method_index) {
        int64_t next = at + 1;
        while (next < all->count && same_rate(&run[at], &run[next]))
            next++;
        MR_INVARIANT(*rates < RATES);
        rate_runs *one = &rate[*rates];
        *one = (rate_runs){&run[at], next - at, error_of(&run[at], next - at)};
        if (one->error.n > 0 &&
            (*best < 0 || mr_statistics_lead(one->error.mean, rate[*best].error.mean, true) > 0))
            *best = *rates;
        ++*rates;
        at = next;
    }
    return at;
}

/* Means over the seeds of a rate. */
static double mean_of(const rate_runs *rate, size_t offset)
{
    double sum = 0;
    for (int64_t i = 0; i < rate->runs; i++)
        sum += *(const double *)(const void *)((const char *)&rate->run[i].result + offset);
    return sum / (double)rate->runs;
}

/* Whether the best rate is at an end of those tried, where a better one may lie outside: not where
 * there is none better. */
static bool is_edge(const rate_runs *rate, int rates, int best)
{
    const double digit = 5e-5; /* of what is printed */
    if (best < 0 || rates == 1 || (best > 0 && best < rates - 1)) return false;
    return !(rate[best].error.mean - mean_of(&rate[best], offsetof(mr_approximation, optimum)) <
             digit);
}

static void add_row(const rate_runs *rate, int rates, int best, mr_grid *grid)
{
    const mr_approximated *first = rate[0].run;
    const rate_runs *one = &rate[best < 0 ? 0 : best];
    const double optimum = mean_of(one, offsetof(mr_approximation, optimum));
    char number[MR_LAYOUT_NUMBER];
    mr_grid_cell(grid, "%s", first->method);
    mr_grid_cell(grid, first->r > 0 ? "%lld" : "-", (long long)first->r);
    mr_grid_cell(grid, "%s", mr_layout_integer(first->result.parameters, number));
    mr_grid_cell(grid, isfinite(optimum) ? "%.4f" : "-", optimum);
    if (best < 0)
        mr_grid_cell(grid, "not finite");
    else if (one->error.n > 1)
        mr_grid_cell(grid, "%.4f ±%.4f", one->error.mean, one->error.spread);
    else
        mr_grid_cell(grid, "%.4f", one->error.mean);
    mr_grid_cell(grid, best < 0 ? "-" : "%.1f", mean_of(one, offsetof(mr_approximation, rank)));
    mr_grid_cell(grid, best < 0 ? "-" : "%g", one->run->lr);
    mr_grid_cell(grid, "%d%s", rates, is_edge(rate, rates, best) ? " *" : "");
}

static int64_t print_target(mr_approximations *all, int64_t at, bool *edge, mr_text *out)
{
    static const struct {
        const char *heading;
        bool right;
    } heads[] = {{"method", false}, {"r", true},    {"trained", true}, {"optimum", true},
                 {"error", false},  {"rank", true}, {"lr", false},     {"rates", false}};
    mr_grid grid = {0};
    const mr_approximated *first = &all->run[at];
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        mr_grid_column(&grid, i > 0 ? "  " : "", heads[i].heading, heads[i].right);
    mr_text_add(out, "%s: effective rank %.1f\n", first->target, first->result.target_rank);
    const int64_t target = first->target_index;
    while (at < all->count && all->run[at].target_index == target) {
        rate_runs rate[RATES];
        int rates, best;
        at = rates_from(all, at, rate, &rates, &best);
        add_row(rate, rates, best, &grid);
        *edge = *edge || is_edge(rate, rates, best);
    }
    mr_grid_print(&grid, 2, out);
    mr_grid_free(&grid);
    mr_text_add(out, "\n");
    return at;
}

mr_status mr_approximations_print(mr_approximations *all, mr_text *out)
{
    bool edge = false;
    sort(all);
    for (int64_t at = 0; at < all->count;)
        at = print_target(all, at, &edge, out);
    mr_text_add(out, "optimum, error: ||dW - T|| / ||T||, Frobenius; the least that any weights of "
                     "the method have, where\n  that is known, and what training reached at its "
                     "best rate, mean ± sample deviation over seeds\n"
                     "rank: effective rank of dW at that rate, exp of the entropy of its singular "
                     "values\n");
    if (edge) mr_text_add(out, "*: the best rate is the first or last one tried\n");
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

static json_t *run_json(const mr_approximated *run)
{
    const mr_approximation *r = &run->result;
    return json_pack("{s:s, s:I, s:I, s:o, s:o, s:o, s:o}", "run", run->run, "seed",
                     (json_int_t)run->seed, "steps", (json_int_t)r->steps, "error",
                     mr_json_number(r->error), "optimum", mr_json_number(r->optimum), "rank",
                     mr_json_number(r->rank), "target_rank", mr_json_number(r->target_rank));
}

static json_t *rates_json(const rate_runs *rate, int rates)
{
    json_t *list = json_array();
    for (int i = 0; i < rates; i++) {
        json_t *runs = json_array();
        for (int64_t k = 0; k < rate[i].runs; k++)
            json_array_append_new(runs, run_json(&rate[i].run[k]));
        double mean = rate[i].error.n > 0 ? rate[i].error.mean : NAN;
        double spread = rate[i].error.n > 1 ? rate[i].error.spread : NAN;
        json_array_append_new(list, json_pack("{s:f, s:o, s:o, s:o}", "lr", rate[i].run->lr,
                                              "error", mr_json_number(mean), "spread",
                                              mr_json_number(spread), "runs", runs));
    }
    return list;
}

json_t *mr_approximations_json(mr_approximations *all)
{
    json_t *methods = json_array();
    sort(all);
    for (int64_t at = 0; at < all->count;) {
        rate_runs rate[RATES];
        const mr_approximated *first = &all->run[at];
        int rates, best;
        at = rates_from(all, at, rate, &rates, &best);
        json_t *list = rates_json(rate, rates);
        json_array_append_new(
            methods,
            json_pack("{s:s, s:s, s:I, s:s, s:I, s:o, s:o}", "target", first->target, "method",
                      first->method, "r", (json_int_t)first->r, "choice", first->result.choice,
                      "trained", (json_int_t)first->result.parameters, "best",
                      best < 0 ? json_null() : json_integer(best), "rates", list));
    }
    return json_pack("{s:o}", "approximations", methods);
}

void mr_approximations_free(mr_approximations *all)
{
    for (int64_t i = 0; i < all->count; i++) {
        mr_free(all->run[i].run);
        mr_free(all->run[i].target);
        mr_free(all->run[i].method);
    }
    mr_free(all->run);
    *all = (mr_approximations){0};
}
