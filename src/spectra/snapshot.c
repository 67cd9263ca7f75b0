/* Layout, dealing and memory of snapshots, and their way to rank 0; the contract stands in
 * spectra/snapshot.h. */

#include "spectra/snapshot.h"

#include "comm/deal.h"
#include "linalg/leading.h"
#include "linalg/svd.h"
#include "linalg/thread.h"
#include "spectra/snapshot_impl.h"

#include <stdio.h>
#include <string.h>

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Finds or adds the group of a projection. */
static int group_of(mr_snapshots *s, const mr_source_linear *at)
{
    const int64_t side = least(at->rows, at->cols), top = s->options.top;
    int g = 0;
    while (g < s->groups && strcmp(s->group[g].projection, at->linear.projection) != 0)
        g++;
    if (g == s->groups)
        s->group[s->groups++] = (mr_spectra_group){.projection = at->linear.projection,
                                                   .rows = at->rows,
                                                   .cols = at->cols,
                                                   .values = top > 0 ? least(top, side) : side,
                                                   .cosines = least(s->options.cosines, side)};
    return g;
}

/* Sorts the linears into groups, one a projection. */
static mr_status make_groups(mr_snapshots *s)
{
    const size_t count = (size_t)s->source.count;
    s->linear = mr_alloc_array(MR_MEM_OTHER, count, sizeof *s->linear);
    s->group = mr_alloc_array(MR_MEM_OTHER, count, sizeof *s->group);
    s->column = mr_alloc_array(MR_MEM_OTHER, (size_t)mr_measure_count, sizeof *s->column);
    s->slot = mr_alloc_array(MR_MEM_OTHER, (size_t)s->options.slots, sizeof *s->slot);
    s->in_slot = mr_alloc_array(MR_MEM_OTHER, (size_t)s->options.slots, sizeof *s->in_slot);
    int64_t *layers = mr_alloc_array(MR_MEM_OTHER, count, sizeof *layers);
    if (!s->linear || !s->group || !s->column || !s->slot || !s->in_slot || !layers) {
        mr_free(layers);
        return MR_ERR_MEMORY;
    }
    s->layers = layers;
    for (int i = 0; i < s->source.count; i++) {
        mr_snapshot_linear *l = &s->linear[i];
        l->group = group_of(s, &s->source.at[i]);
        l->place = (int)s->group[l->group].layers++;
        l->values = s->group[l->group].values;
        l->cosines = s->group[l->group].cosines;
        l->spread = s->source.at[i].rows * s->source.at[i].cols > s->options.most;
    }
    for (int g = 0; g < s->groups; g++) {
        s->group[g].layer = layers;
        for (int i = 0; i < s->source.count; i++)
            if (s->linear[i].group == g) *layers++ = s->source.at[i].linear.layer;
    }
    for (int m = 0; m < mr_measure_count; m++)
        s->column[m] = (mr_spectra_column){.name = mr_measure_rows[m].name,
                                           .unit = mr_measure_rows[m].unit,
                                           .definition = mr_measure_rows[m].definition,
                                           .integer = mr_measure_rows[m].whole};
    return MR_OK;
}

/* An update as it may be at its most costly: dense where a merge may come. */
static mr_structure costliest(const mr_snapshots *s, int i)
{
    mr_structure update;
    mr_model_source_describe(&s->source, i, &update);
    if (s->options.merges)
        update = (mr_structure){
            .kind = MR_UPDATE_NONE, .rows = s->source.at[i].rows, .cols = s->source.at[i].cols};
    return update;
}

/* Deals the linears over the ranks. */
static mr_status deal(mr_snapshots *s)
{
    const int count = s->source.count;
    double *cost = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *cost);
    int *owner = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *owner);
    mr_status status = cost && owner ? MR_OK : MR_ERR_MEMORY;
    for (int i = 0; status == MR_OK && i < count; i++) {
        const mr_structure update = costliest(s, i);
        const bool alone = update.kind != MR_UPDATE_NONE || !s->linear[i].spread;
        cost[i] = 1 + (alone ? mr_structure_flops(&update) : 0);
    }
    if (status == MR_OK) status = mr_deal(s->comm->size, count, cost, owner);
    for (int i = 0; status == MR_OK && i < count; i++)
        s->linear[i].owner = owner[i];
    mr_free(cost);
    mr_free(owner);
    return status;
}

/* Places records and directions in the memory of their owners. */
static void place(mr_snapshots *s)
{
    for (int rank = 0; rank < s->comm->size; rank++) {
        int64_t records = 0, vectors = 0;
        for (int i = 0; i < s->source.count; i++) {
            mr_snapshot_linear *l = &s->linear[i];
            if (l->owner != rank) continue;
            l->record = records;
            l->vectors = vectors;
            records += mr_snapshot_record(l);
            if (!l->spread) vectors += l->cosines * (s->source.at[i].rows + s->source.at[i].cols);
        }
        if (records > s->records) s->records = records;
        if (vectors > s->vectors) s->vectors = vectors;
    }
    for (int i = 0; i < s->source.count; i++) {
        const int64_t elements = s->source.at[i].rows * s->source.at[i].cols;
        if (!s->linear[i].spread && elements > s->matrix) s->matrix = elements;
    }
}

mr_status mr_snapshots_create(mr_model *model, const mr_snapshot_options *options,
                              mr_snapshots **out)
{
    *out = NULL;
    mr_snapshots *s = mr_alloc(MR_MEM_OTHER, sizeof *s);
    if (!s) return MR_ERR_MEMORY;
    s->comm = mr_model_comm(model);
    s->options = *options;
    s->options.modules = NULL;
    pthread_mutex_init(&s->lock, NULL);
    mr_status status = mr_model_source_create(model, options->modules, &s->source);
    if (status == MR_OK) status = make_groups(s);
    if (status == MR_OK) status = deal(s);
    if (status == MR_OK)
        place(s);
    else
        mr_snapshots_destroy(&s);
    *out = s;
    return status;
}

static void free_copies(mr_snapshots *s)
{
    for (int i = 0; s->linear && i < s->source.count; i++)
        mr_structure_free(&s->linear[i].copy);
}

void mr_snapshots_destroy(mr_snapshots **out)
{
    mr_snapshots *s = *out;
    if (!s) return;
    mr_thread_wait(&s->thread);
    free_copies(s);
    for (int i = 0; s->slot && i < s->options.slots; i++)
        mr_free(s->slot[i]);
    mr_free(s->slot);
    mr_free(s->in_slot);
    mr_free(s->record);
    mr_free(s->vector);
    mr_free(s->layers);
    mr_free(s->group);
    mr_free(s->column);
    mr_free(s->linear);
    mr_model_source_free(&s->source);
    pthread_mutex_destroy(&s->lock);
    mr_free(s);
    *out = NULL;
}

int64_t mr_snapshots_largest(const mr_snapshots *s)
{
    return s->matrix;
}

/* Bytes of a copy. */
static size_t copied_bytes(const mr_structure *update)
{
    const int64_t r = update->r;
    switch (update->kind) {
    case MR_UPDATE_PRODUCT:
        return (size_t)(r * (update->rows + update->cols)) * sizeof(float);
    case MR_UPDATE_NONE:
        return 0;
    default:
        return (size_t)(r * r) * sizeof(float);
    }
}

/* Bytes that working off one update takes, beside itself. */
static size_t scratch_of(const mr_snapshots *s, int i, const mr_structure *update)
{
    const mr_source_linear *at = &s->source.at[i];
    const int64_t k = s->linear[i].cosines, side = least(at->rows, at->cols);
    const size_t values = mr_structure_bytes(update);
    const size_t leading = k > 0 ? mr_leading_bytes(at->rows, at->cols, k) : 0;
    return (size_t)(side + k * (1 + at->rows + at->cols)) * sizeof(double) +
           (values > leading ? values : leading);
}

/* Bytes that measuring the base of one linear takes, beside its slot. */
static size_t base_scratch_of(const mr_snapshots *s, int i)
{
    const mr_source_linear *at = &s->source.at[i];
    const int64_t k = s->linear[i].cosines > 0 ? s->linear[i].cosines : 1;
    const size_t all = s->options.base ? mr_svd_bytes(at->rows, at->cols) : 0;
    const size_t leading = mr_leading_bytes(at->rows, at->cols, k);
    return (size_t)(at->rows + at->cols) * sizeof(double) + (all > leading ? all : leading);
}

static size_t more(size_t a, size_t b)
{
    return a > b ? a : b;
}

void mr_snapshots_bytes(const mr_snapshots *s, size_t bytes[MR_MEM_PURPOSES])
{
    const int64_t slots = s->options.slots;
    size_t copies = 0, copied = 0, dense = 0, spread = 0;
    for (int rank = 0; rank < s->comm->size; rank++) {
        size_t own = 0;
        for (int i = 0; i < s->source.count; i++) {
            mr_structure now;
            mr_model_source_describe(&s->source, i, &now);
            if (s->linear[i].owner == rank) own += copied_bytes(&now);
        }
        copies = more(copies, own);
    }
    int64_t all = 0;
    for (int i = 0; i < s->source.count; i++) {
        mr_structure now;
        const mr_structure later = costliest(s, i);
        mr_model_source_describe(&s->source, i, &now);
        if (now.kind != MR_UPDATE_NONE) copied = more(copied, scratch_of(s, i, &now));
        if (s->linear[i].spread) {
            spread = more(spread, mr_snapshots_spread_bytes(s, i));
        } else {
            if (later.kind == MR_UPDATE_NONE) dense = more(dense, scratch_of(s, i, &later));
            dense = more(dense, base_scratch_of(s, i));
        }
        all += mr_snapshot_record(&s->linear[i]);
    }
    size_t *spectra = &bytes[MR_MEM_SPECTRA], *other = &bytes[MR_MEM_OTHER];
    *spectra = mr_bytes_add(*spectra, s->records + s->vectors, sizeof(double));
    *spectra = mr_bytes_add(*spectra, slots, mr_bytes_add(0, s->matrix, sizeof(double)));
    *other = mr_bytes_add(*other, 1, copies + mr_merge_scratch_bytes(s->source.model));
    *other = mr_bytes_add(*other, s->options.threads, copied);
    *other = mr_bytes_add(*other, 1, more(mr_bytes_add(0, slots, dense), spread));
    *other = mr_bytes_add(*other, all, 2 * sizeof(double)); /* gathered, and as rows of the file */
}

mr_status mr_snapshots_allocate(mr_snapshots *s)
{
    MR_TRY(mr_model_source_allocate(&s->source));
    s->record = mr_alloc_array(MR_MEM_SPECTRA, (size_t)s->records, sizeof *s->record);
    s->vector = mr_alloc_array(MR_MEM_SPECTRA, (size_t)s->vectors, sizeof *s->vector);
    if (!s->record || !s->vector) return MR_ERR_MEMORY;
    for (int i = 0; i < s->options.slots; i++) {
        s->slot[i] = mr_alloc_array(MR_MEM_SPECTRA, (size_t)s->matrix, sizeof **s->slot);
        if (!s->slot[i]) return MR_ERR_MEMORY;
    }
    return MR_OK;
}

void mr_snapshots_set_start(mr_snapshots *s, uint64_t seed, const mr_hf *weights)
{
    s->source.seed = seed;
    s->source.weights = weights;
}

void mr_snapshots_layout(const mr_snapshots *s, mr_spectra_layout *out)
{
    out->threshold = s->options.threshold;
    out->columns = mr_measure_count;
    out->column = s->column;
    out->groups = s->groups;
    out->group = s->group;
}

/* Tells each linear whether it is copied, or in which round it is made dense. */
static void set_rounds(mr_snapshots *s)
{
    for (int rank = 0; rank < s->comm->size; rank++)
        for (int i = 0, dense = 0; i < s->source.count; i++) {
            mr_structure update;
            if (s->linear[i].owner != rank) continue;
            mr_model_source_describe(&s->source, i, &update);
            s->linear[i].round = update.kind != MR_UPDATE_NONE ? MR_SNAPSHOT_COPIED
                                 : s->linear[i].spread         ? MR_SNAPSHOT_SPREAD
                                                               : dense++ / s->options.slots;
        }
}

static void work_beside(void *context)
{
    mr_snapshots *s = context;
    mr_linalg_use_one_thread();
    mr_snapshots_work_off(s, s->beside);
}

/* Agrees on what went wrong, if anything did. Collective. */
static mr_status agree(const mr_snapshots *s)
{
    const mr_snapshot_failure *failure = &s->failure;
    mr_status status = failure->status;
    if (status != MR_OK) status = mr_fail(status, "%s", failure->message);
    return mr_comm_agree_first(s->comm, status, failure->linear);
}

static mr_status start(mr_snapshots *s, int beside, bool stoppable)
{
    if (!s->measured) {
        MR_TRY(mr_snapshots_measure_base(s, stoppable));
        MR_TRY(mr_snapshots_measure_spread(s, stoppable));
        MR_TRY(agree(s));
        s->measured = true;
    }
    set_rounds(s);
    MR_TRY(mr_snapshots_copy(s));
    s->beside = beside < s->options.threads ? beside : s->options.threads;
    if (beside > 0)
        mr_thread_start(&s->thread, work_beside, s);
    else
        mr_snapshots_work_off(s, s->options.threads);
    MR_TRY(mr_snapshots_work_off_dense(s, stoppable));
    return mr_snapshots_work_off_spread(s, stoppable);
}

mr_status mr_snapshots_start(mr_snapshots *s, int beside, bool stoppable)
{
    MR_INVARIANT(!s->under_way);
    s->failure = (mr_snapshot_failure){.status = MR_OK};
    mr_status status = start(s, beside, stoppable);
    s->under_way = status == MR_OK;
    if (!s->under_way) {
        mr_thread_wait(&s->thread);
        free_copies(s);
    }
    return status;
}

bool mr_snapshots_under_way(const mr_snapshots *s)
{
    return s->under_way;
}

bool mr_snapshots_busy(const mr_snapshots *s)
{
    return mr_thread_busy(&s->thread);
}

/* Puts a record into its place among the rows. */
static void unpack(const mr_snapshots *s, const mr_snapshot_linear *l, const double *from,
                   mr_spectra_row *row)
{
    const int64_t layers = s->group[l->group].layers, k = l->cosines;
    memcpy(row->sigma + l->place * l->values, from, (size_t)l->values * sizeof *from);
    from += l->values;
    for (int m = 0; m < mr_measure_count; m++)
        row->column[m * layers + l->place] = *from++;
    if (k > 0) {
        memcpy(row->cosines_left + l->place * k, from, (size_t)k * sizeof *from);
        memcpy(row->cosines_right + l->place * k, from + k, (size_t)k * sizeof *from);
    }
    memset(row->route[l->place], 0, sizeof *row->route);
    snprintf(row->route[l->place], sizeof *row->route, "%s", mr_route_text((int)from[2 * k]));
}

mr_status mr_snapshots_finish(mr_snapshots *s, mr_spectra_row *rows)
{
    MR_INVARIANT(s->under_way);
    mr_thread_wait(&s->thread);
    s->under_way = false;
    free_copies(s);
    MR_TRY(agree(s));
    int64_t own = 0;
    for (int i = 0; i < s->source.count; i++)
        if (mr_snapshot_is_own(s, i)) own += mr_snapshot_record(&s->linear[i]);
    void *all = NULL;
    size_t bytes;
    MR_TRY(mr_comm_gather_to_root(s->comm, MR_MEM_OTHER, s->record, (size_t)own * sizeof(double),
                                  &all, &bytes));
    const double *at = all;
    for (int rank = 0; at && rank < s->comm->size; rank++)
        for (int i = 0; i < s->source.count; i++) {
            const mr_snapshot_linear *l = &s->linear[i];
            if (l->owner != rank) continue;
            unpack(s, l, at, &rows[l->group]);
            at += mr_snapshot_record(l);
        }
    mr_free(all);
    return MR_OK;
}
