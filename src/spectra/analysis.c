/* Dealing linears over ranks and threads, and bringing what is known of them to rank 0. */

#include "spectra/analysis.h"

#include "base/log.h"
#include "base/text.h"
#include "comm/deal.h"
#include "linalg/svd.h"
#include "spectra/analysis_impl.h"

#include <string.h>

static int64_t side(int64_t rows, int64_t cols)
{
    return rows < cols ? rows : cols;
}

/* What an item costs on one rank. With directions an SVD takes about 4 m n^2 + 9 n^3, and finding
 * the leading ones of four matrices some products more. */
static void cost_of_one(const mr_structure *shape, bool has_base, int64_t directions,
                        mr_analysis_plan *plan)
{
    const int64_t rows = shape->rows, cols = shape->cols, n = side(rows, cols);
    const size_t matrix = mr_bytes_add(0, rows * cols, sizeof(double));
    plan->flops = mr_structure_flops(shape);
    plan->bytes = mr_bytes_add(mr_structure_bytes(shape), 1,
                               shape->kind == MR_UPDATE_NONE ? 2 * matrix : matrix);
    if (!has_base) return;
    plan->flops += mr_svd_flops(rows, cols);
    plan->bytes = mr_bytes_add(plan->bytes, 1, matrix + mr_svd_bytes(rows, cols));
    if (directions == 0) return;
    const double m = (double)(rows + cols - n), d = (double)n;
    const double products = 64 * 4 * 2 * (double)side(directions, n) * (double)rows * (double)cols;
    plan->flops += 4 * m * d * d + 9 * d * d * d + products;
    plan->bytes = mr_bytes_add(plan->bytes, 2 * n * (rows + cols), sizeof(double));
    plan->bytes = mr_bytes_add(plan->bytes, 1, matrix);
    plan->bytes = mr_bytes_add(plan->bytes, 1, mr_leading_bytes(rows, cols, side(directions, n)));
}

static void cost_together(const mr_structure *shape, bool has_base, int ranks,
                          const mr_analysis_options *options, mr_analysis_plan *plan)
{
    const int64_t rows = shape->rows, cols = shape->cols;
    plan->flops = mr_distributed_flops(rows, cols, options->route) * (has_base ? 2 : 1);
    plan->bytes = mr_distributed_bytes(rows, cols, ranks, options->route);
}

/* Describes an item; one that cannot be, for which the work will say why, as dense. */
static void describe(const mr_updates *updates, int64_t index, mr_analysis_plan *plan)
{
    const mr_updates_item *item = &updates->item[index];
    mr_updates_parts parts;
    const bool sound = mr_updates_parts_of(updates, item, &parts) == MR_OK;
    plan->shape = (mr_structure){.kind = MR_UPDATE_NONE, .rows = item->rows, .cols = item->cols};
    if (sound) plan->shape = mr_updates_describe(item, &parts);
    plan->has_base = sound && mr_stored_exists(&parts.base);
}

mr_status mr_analysis_make_plan(const mr_updates *updates, int ranks,
                                const mr_analysis_options *options, mr_analysis_plan *plan,
                                int *threads)
{
    double *cost = mr_alloc_array(MR_MEM_OTHER, (size_t)updates->count, sizeof *cost);
    int *owner = mr_alloc_array(MR_MEM_OTHER, (size_t)updates->count, sizeof *owner);
    mr_status status = cost && owner ? MR_OK : MR_ERR_MEMORY;
    size_t most = 1;
    for (int64_t i = 0; status == MR_OK && i < updates->count; i++) {
        mr_analysis_plan *p = &plan[i];
        describe(updates, i, p);
        cost_of_one(&p->shape, p->has_base, options->directions, p);
        p->together = options->where == MR_ANALYSIS_TOGETHER ||
                      (options->where == MR_ANALYSIS_AUTO && p->bytes > options->bytes);
        cost[i] = p->together ? -1 : p->flops;
        if (p->together)
            cost_together(&p->shape, p->has_base, ranks, options, p);
        else if (p->bytes > most)
            most = p->bytes;
    }
    if (status == MR_OK) status = mr_deal(ranks, updates->count, cost, owner);
    for (int64_t i = 0; status == MR_OK && i < updates->count; i++)
        plan[i].owner = owner[i];
    const size_t fit = options->bytes / most;
    *threads = fit < 1 ? 1 : fit < (size_t)options->threads ? (int)fit : options->threads;
    mr_free(cost);
    mr_free(owner);
    return status;
}

/* Keeps what came of an item. */
static void finish(mr_analysis *at, mr_status status)
{
    at->done = status == MR_OK;
    if (!at->done) at->message = mr_strdup(mr_message());
}

typedef struct work {
    const mr_comm *comm;
    const mr_updates *updates;
    const mr_analysis_options *options;
    const mr_analysis_plan *plan; /* [updates->count] */
    int threads;
    mr_analysis *all; /* [updates->count] */
} work;

static bool is_own(const work *w, int64_t i)
{
    return !w->plan[i].together && w->plan[i].owner == w->comm->rank;
}

/* The own items. */
static void work_off(const work *w)
{
    const int64_t count = w->updates->count;
    int64_t own = 0, done = 0;
    for (int64_t i = 0; i < count; i++)
        own += is_own(w, i);
#pragma omp parallel for schedule(dynamic, 1) num_threads(w->threads)
    for (int64_t i = 0; i < count; i++) {
        if (!is_own(w, i)) continue;
        finish(&w->all[i], mr_analyse_one(w->updates, i, w->options, &w->all[i]));
#pragma omp critical(mr_analysis_progress)
        mr_log_progress("matrices", ++done, own, w->updates->item[i].name);
    }
    if (own > 0) mr_log_progress_end();
}

/* The items of all ranks, one after another. Collective. */
static void work_together(const work *w)
{
    const int64_t count = w->updates->count;
    int64_t all = 0, done = 0;
    for (int64_t i = 0; i < count; i++)
        all += w->plan[i].together;
    for (int64_t i = 0; i < count; i++) {
        if (!w->plan[i].together) continue;
        finish(&w->all[i], mr_analyse_together(w->comm, w->updates, i, w->options, &w->all[i]));
        mr_log_progress("matrices on all ranks", ++done, all, w->updates->item[i].name);
    }
    if (all > 0) mr_log_progress_end();
}

/* What travels of an item beside its values, cosines and message. */
typedef struct record {
    int64_t index, n, k, message; /* bytes of the message with its zero; 0: none */
    bool done, compared;
    int route;
    mr_measures measures;
    mr_comparison own, noise;
} record;

static record record_of(const work *w, int64_t i)
{
    const mr_analysis *a = &w->all[i];
    const mr_updates_item *item = &w->updates->item[i];
    return (record){.index = i,
                    .n = a->done ? side(item->rows, item->cols) : 0,
                    .k = a->done ? a->k : 0,
                    .message = a->message ? (int64_t)strlen(a->message) + 1 : 0,
                    .done = a->done,
                    .compared = a->compared,
                    .route = a->route,
                    .measures = a->measures,
                    .own = a->own,
                    .noise = a->noise};
}

static size_t bytes_of(const record *r)
{
    return sizeof *r + (size_t)(r->n + 2 * r->k) * sizeof(double) + (size_t)r->message;
}

static void put(char **to, const void *from, size_t bytes)
{
    if (bytes > 0) memcpy(*to, from, bytes);
    *to += bytes;
}

/* Own records, one behind another. */
static mr_status pack(const work *w, char **out, size_t *bytes)
{
    *bytes = 0;
    for (int64_t i = 0; i < w->updates->count; i++) {
        const record r = record_of(w, i);
        if (is_own(w, i)) *bytes += bytes_of(&r);
    }
    char *to = *out = mr_alloc(MR_MEM_OTHER, *bytes > 0 ? *bytes : 1);
    if (!to) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < w->updates->count; i++) {
        const mr_analysis *a = &w->all[i];
        const record r = record_of(w, i);
        if (!is_own(w, i)) continue;
        put(&to, &r, sizeof r);
        put(&to, a->values, (size_t)r.n * sizeof *a->values);
        put(&to, a->left, (size_t)(2 * r.k) * sizeof *a->left);
        put(&to, a->message, (size_t)r.message);
    }
    return MR_OK;
}

/* Copies what follows into memory of its own; nothing where it is empty. */
static mr_status take(const char **from, size_t bytes, void **out)
{
    *out = NULL;
    if (bytes == 0) return MR_OK;
    *out = mr_alloc(MR_MEM_OTHER, bytes);
    if (!*out) return MR_ERR_MEMORY;
    memcpy(*out, *from, bytes);
    *from += bytes;
    return MR_OK;
}

static mr_status unpack(const work *w, const char **from)
{
    record r;
    void *part;
    memcpy(&r, *from, sizeof r);
    *from += sizeof r;
    mr_analysis *a = &w->all[r.index];
    *a = (mr_analysis){.done = r.done,
                       .route = r.route,
                       .measures = r.measures,
                       .compared = r.compared,
                       .own = r.own,
                       .noise = r.noise,
                       .k = r.k};
    MR_TRY(take(from, (size_t)r.n * sizeof *a->values, &part));
    a->values = part;
    MR_TRY(take(from, (size_t)(2 * r.k) * sizeof *a->left, &part));
    a->left = part;
    a->right = part ? a->left + r.k : NULL;
    MR_TRY(take(from, (size_t)r.message, &part));
    a->message = part;
    return MR_OK;
}

static void clear(mr_analysis *a)
{
    mr_free(a->message);
    mr_free(a->values);
    mr_free(a->left);
    *a = (mr_analysis){0};
}

/* Brings what ranks have done for themselves to rank 0. Collective. */
static mr_status bring(const work *w)
{
    char *own;
    size_t own_bytes, bytes;
    void *all = NULL;
    mr_status status = mr_comm_agree(w->comm, pack(w, &own, &own_bytes));
    if (status == MR_OK)
        status = mr_comm_gather_to_root(w->comm, MR_MEM_OTHER, own, own_bytes, &all, &bytes);
    mr_free(own);
    MR_TRY(status);
    if (all) { /* rank 0's own are among them */
        for (int64_t i = 0; i < w->updates->count; i++)
            if (!w->plan[i].together) clear(&w->all[i]);
        const char *at = all, *end = at + bytes;
        while (at < end && status == MR_OK)
            status = unpack(w, &at);
    }
    mr_free(all);
    return mr_comm_agree_root(w->comm, status);
}

mr_status mr_analyse(const mr_comm *comm, const mr_updates *updates,
                     const mr_analysis_options *options, mr_analysis **out)
{
    const size_t count = (size_t)updates->count;
    mr_analysis *all = mr_alloc_array(MR_MEM_OTHER, count, sizeof *all);
    mr_analysis_plan *plan = mr_alloc_array(MR_MEM_OTHER, count, sizeof *plan);
    work w = {.comm = comm, .updates = updates, .options = options, .plan = plan, .all = all};
    *out = NULL;
    mr_status status = all && plan ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK)
        status = mr_analysis_make_plan(updates, comm->size, options, plan, &w.threads);
    status = mr_comm_agree(comm, status);
    if (status == MR_OK) {
        work_together(&w);
        work_off(&w);
        status = bring(&w);
    }
    mr_free(plan);
    if (status == MR_OK && comm->rank == 0)
        *out = all;
    else
        mr_analyses_free(&all, updates->count);
    return status;
}

void mr_analyses_free(mr_analysis **analyses, int64_t count)
{
    for (int64_t i = 0; *analyses && i < count; i++)
        clear(&(*analyses)[i]);
    mr_free(*analyses);
    *analyses = NULL;
}
