#include "golden_check.h"

#include "test.h"

#include <math.h>
#include <signal.h>

static const double allowed[MR_GOLDEN_BOUNDS] = {
    [MR_GOLDEN_LOGITS] = 1e-5, [MR_GOLDEN_LOSS] = 1e-5,  [MR_GOLDEN_GRADIENT] = 1e-4,
    [MR_GOLDEN_LOSSES] = 1e-4, [MR_GOLDEN_AFTER] = 1e-3, [MR_GOLDEN_DENSE] = 1e-5,
    [MR_GOLDEN_MERGED] = 1e-6,
};

/* A tensor below the first part of the whole gradient is rounding in the reference too and has no
 * relative error; ours must then be below the second. So it is with queries and keys where a
 * position sees itself alone. */
static const double no_gradient = 1e-9, rounding = 1e-7;

enum { LINES_MAX = 12 };

void mr_golden_add(mr_golden_squares *sums, const float *ours, const float *theirs,
                   const float *origin, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double off = (double)ours[i] - (double)theirs[i];
        double size = (double)theirs[i] - (origin ? (double)origin[i] : 0);
        sums->difference += off * off;
        sums->reference += size * size;
    }
}

void mr_golden_reduce(const mr_comm *comm, mr_golden_squares *sums, int count)
{
    MR_MPI(MPI_Allreduce(MPI_IN_PLACE, sums, 2 * count, MPI_DOUBLE, MPI_SUM, comm->handle));
}

void mr_golden_begin(mr_golden_item *item)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    /* cmocka would go on after a crash, and the other ranks wait for ever. */
    for (size_t i = 0; item->comm->size > 1 && i < sizeof crashes / sizeof *crashes; i++)
        signal(crashes[i], SIG_DFL);
    item->disagreements = 0;
    item->memory = mr_memory_live_total();
}

void mr_golden_disagree(mr_golden_item *item, const char *fmt, ...)
{
    char line[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (item->disagreements++ < LINES_MAX && item->comm->rank == 0)
        print_error("%s: %s: %s\n", item->folder->path, item->stem, line);
}

/* Written so that a NaN disagrees. */
static void expect_error(mr_golden_item *item, double error, mr_golden_bound bound,
                         const char *what)
{
    if (error <= allowed[bound]) return;
    mr_golden_disagree(item, "%s: relative error %.3g, allowed %.1g", what, error, allowed[bound]);
}

void mr_golden_expect(mr_golden_item *item, mr_golden_squares sums, mr_golden_bound bound,
                      const char *what)
{
    double error = sums.difference == 0 ? 0 : sqrt(sums.difference / sums.reference);
    expect_error(item, error, bound, what);
}

void mr_golden_expect_number(mr_golden_item *item, double ours, double theirs,
                             mr_golden_bound bound, const char *what)
{
    expect_error(item, ours == theirs ? 0 : fabs(ours - theirs) / fabs(theirs), bound, what);
}

void mr_golden_conclude(mr_golden_item *item, mr_status status)
{
    if (status != MR_OK) mr_golden_disagree(item, "%s", mr_message());
    int64_t left = (int64_t)mr_memory_live_total() - (int64_t)item->memory;
    mr_comm_max_i64(item->comm, &left, 1);
    if (left != 0) mr_golden_disagree(item, "%lld bytes were not freed", (long long)left);
    if (item->disagreements > 0) fail_msg("%s: %d disagreements", item->name, item->disagreements);
}

int64_t mr_golden_own_rows(const mr_golden_rig *rig, int64_t *first)
{
    int64_t all = rig->sequences * rig->tokens, begin_at = rig->comm->rank * rig->share;
    *first = begin_at * rig->tokens < all ? begin_at * rig->tokens : all;
    int64_t rest = all - *first, share = rig->share * rig->tokens;
    return rest < share ? rest : share;
}

mr_status mr_golden_compare_logits(mr_golden_item *item, mr_golden_rig *rig,
                                   const mr_safetensors *file, const char *name)
{
    const int64_t shape[3] = {rig->sequences, rig->tokens, rig->arch.vocab_size};
    int64_t first, rows = mr_golden_own_rows(rig, &first), cols = rig->arch.vocab_size;
    mr_golden_squares sums = {0};
    float *theirs = NULL;
    float *ours =
        mr_alloc_array(MR_MEM_OTHER, (size_t)(rig->share * rig->tokens * cols), sizeof *ours);
    mr_status status = ours ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK)
        status = mr_golden_read(file, name, 3, shape, first * cols, rows * cols, &theirs);
    status = mr_comm_agree(item->comm, status);
    if (status == MR_OK) {
        mr_golden_evaluate(rig, ours, NULL);
        mr_golden_add(&sums, ours, theirs, NULL, rows * cols);
        mr_golden_reduce(item->comm, &sums, 1);
        mr_golden_expect(item, sums, MR_GOLDEN_LOGITS, name);
    }
    mr_free(ours);
    mr_free(theirs);
    return status;
}

/* Adds what this rank owns of one parameter to sums. */
static mr_status add_param(const mr_golden_rig *rig, int id, const mr_safetensors_entry *entry,
                           bool gradient, mr_golden_squares *sums)
{
    mr_own own = mr_params_own(rig->model->params, id);
    if (own.count == 0) return MR_OK;
    float *theirs = NULL;
    float *ours = mr_alloc_array(MR_MEM_OTHER, (size_t)own.count, sizeof *ours);
    if (!ours) return MR_ERR_MEMORY;
    mr_status status = mr_golden_read(rig->file, entry->name, entry->dims, entry->shape, own.first,
                                      own.count, &theirs);
    if (status == MR_OK) {
        rig->be->ops->download(rig->be, ours, gradient ? own.grad : own.weight);
        mr_golden_add(sums, ours, theirs, gradient ? NULL : rig->before[id], own.count);
    }
    mr_free(ours);
    mr_free(theirs);
    return status;
}

static void judge_param(mr_golden_item *item, mr_golden_rig *rig, int id, mr_golden_squares sums,
                        double all, bool gradient)
{
    const char *name = rig->model->params->param[id].name;
    char what[256];
    snprintf(what, sizeof what, "%s of %s", gradient ? "gradient" : "change", name);
    if (gradient) rig->negligible[id] = sums.reference <= no_gradient * no_gradient * all;
    if (!rig->negligible[id])
        mr_golden_expect(item, sums, gradient ? MR_GOLDEN_GRADIENT : MR_GOLDEN_AFTER, what);
    else if (gradient && !(sqrt(sums.difference / all) <= rounding))
        mr_golden_disagree(item, "%s: %.3g of the whole gradient, expected none but rounding", what,
                           sqrt(sums.difference / all));
}

/* Compares gradients ("grad.") or the change of the weights ("after.") of every trained parameter
 * with the reference. Collective. */
static mr_status compare_params(mr_golden_item *item, mr_golden_rig *rig, bool gradient)
{
    int count = rig->model->params->param_count;
    int64_t *entry_of = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *entry_of);
    mr_golden_squares *sums = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *sums);
    mr_status status = entry_of && sums ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK)
        status = mr_golden_match(rig->model, rig->file, gradient ? "grad." : "after.", entry_of);
    for (int i = 0; i < count && status == MR_OK; i++)
        if (entry_of[i] >= 0 && mr_params_trained(rig->model->params, i))
            status =
                add_param(rig, i, mr_safetensors_at(rig->file, entry_of[i]), gradient, &sums[i]);
    status = mr_comm_agree(item->comm, status);
    if (status == MR_OK) {
        MR_INVARIANT(entry_of && sums);
        double all = 0;
        mr_golden_reduce(item->comm, sums, count);
        for (int i = 0; i < count; i++)
            all += sums[i].reference;
        for (int i = 0; i < count; i++)
            if (entry_of[i] >= 0 && mr_params_trained(rig->model->params, i))
                judge_param(item, rig, i, sums[i], all, gradient);
    }
    mr_free(entry_of);
    mr_free(sums);
    return status;
}

mr_status mr_golden_compare_training(mr_golden_item *item, mr_golden_rig *rig)
{
    const int64_t one[1] = {1}, ten[1] = {MR_GOLDEN_STEPS};
    float *first = NULL, *length = NULL, *losses = NULL;
    mr_status status = mr_golden_read(rig->file, "loss", 1, one, 0, 1, &first);
    if (status == MR_OK) status = mr_golden_read(rig->file, "grad_norm", 1, one, 0, 1, &length);
    if (status == MR_OK)
        status = mr_golden_read(rig->file, "losses", 1, ten, 0, MR_GOLDEN_STEPS, &losses);
    status = mr_comm_agree(item->comm, status);
    for (int s = 0; s < MR_GOLDEN_STEPS && status == MR_OK; s++) {
        MR_INVARIANT(first && length && losses);
        char what[32];
        double loss, grad_norm;
        mr_golden_gradients(rig, &loss, &grad_norm);
        snprintf(what, sizeof what, "loss of step %d", s + 1);
        mr_golden_expect_number(item, loss, losses[s], MR_GOLDEN_LOSSES, what);
        if (s == 0) {
            mr_golden_expect_number(item, loss, *first, MR_GOLDEN_LOSS, "loss");
            mr_golden_expect_number(item, grad_norm, *length, MR_GOLDEN_GRADIENT, "gradient norm");
            status = compare_params(item, rig, true);
        }
        mr_golden_update(rig, grad_norm);
    }
    if (status == MR_OK) status = compare_params(item, rig, false);
    mr_free(first);
    mr_free(length);
    mr_free(losses);
    return status;
}
