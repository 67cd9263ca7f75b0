#include "golden_check.h"

#include "test.h"

#include <math.h>
#include <signal.h>

static const double allowed[MR_GOLDEN_BOUNDS] = {
    [MR_GOLDEN_LOGITS] = 1e-5, [MR_GOLDEN_LOSS] = 1e-5,  [MR_GOLDEN_GRADIENT] = 1e-4,
    [MR_GOLDEN_LOSSES] = 1e-4, [MR_GOLDEN_AFTER] = 1e-4, [MR_GOLDEN_DENSE] = 1e-5,
    [MR_GOLDEN_MERGED] = 1e-6,
};

/* A tensor below the first part of the whole gradient is rounding in the reference too and has no
 * relative error; ours must then be below the second. So it is with queries and keys where a
 * position sees itself alone. */
static const double no_gradient = 1e-9, rounding = 1e-7;

/* Weights after ten steps are compared by the change of a tensor, all its elements together. Where
 * that misses its bound, elements are left out whose reference gradient of the first step is not
 * zero but faint: at most 2e-4 of its root mean square over the tensor. Rounding, ours is 5e-7 to
 * 3e-6 of that, moves such a gradient visibly or turns its sign (seen: 1e-8 beside 1e-2), and Adam
 * lets it step as far as any other; in a tensor of a hundred elements one such step is an error of
 * 1e-3. As few as will do are left out, those of the faintest gradients, halving by halving of the
 * limit, and never more than a hundredth of the tensor's elements, or one where that is less. The
 * rest is held to the same bound, and what is left out must be finite. Elements whose gradient is
 * exactly zero are compared as all others. */
static const double faint = 2e-4, most_left_out = 0.01;

enum { LEVELS = 10 }; /* limits: faint, faint / 2, ... of the root mean square */

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
    item->left_out = 0;
    item->memory = mr_memory_live_total();
}

void mr_golden_disagree(mr_golden_item *item, const char *fmt, ...)
{
    char line[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (item->disagreements++ < LINES_MAX && item->comm->rank == 0 && !item->quiet)
        print_error("%s: %s: %s\n", item->folder->path, item->stem, line);
}

static double relative_error(mr_golden_squares sums)
{
    return sums.difference == 0 ? 0 : sqrt(sums.difference / sums.reference);
}

static bool is_within(mr_golden_squares sums, mr_golden_bound bound)
{
    return relative_error(sums) <= allowed[bound];
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
    expect_error(item, relative_error(sums), bound, what);
}

void mr_golden_expect_number(mr_golden_item *item, double ours, double theirs,
                             mr_golden_bound bound, const char *what)
{
    expect_error(item, ours == theirs ? 0 : fabs(ours - theirs) / fabs(theirs), bound, what);
}

void mr_golden_conclude(mr_golden_item *item, mr_status status)
{
    if (status != MR_OK) mr_golden_disagree(item, "%s", mr_message());
    if (item->left_out > 0)
        print_message("%s: %lld elements of faint gradient left out\n", item->name,
                      (long long)item->left_out);
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

/* What a comparison of one parameter found; only doubles, to be summed over ranks. */
typedef struct findings {
    mr_golden_squares all;          /* of all elements */
    mr_golden_squares kept[LEVELS]; /* without those that are faint at a level */
    double left_out[LEVELS];        /* how many those are */
} findings;

/* Adds the change of count elements that a first gradient led to. */
static void add_change(findings *found, const float *ours, const float *theirs, const float *origin,
                       const float *grad, double grad_rms, int64_t count)
{
    mr_golden_add(&found->all, ours, theirs, origin, count);
    for (int64_t i = 0; i < count; i++) {
        const double size = fabs((double)grad[i]);
        double limit = faint * grad_rms;
        for (int level = 0; level < LEVELS; level++, limit /= 2) {
            const bool leave_out = size != 0 && size <= limit && isfinite(ours[i]);
            if (!leave_out) mr_golden_add(&found->kept[level], &ours[i], &theirs[i], &origin[i], 1);
            found->left_out[level] += leave_out;
        }
    }
}

/* Adds what this rank owns of one parameter: its gradient, or its change with the first gradient
 * that led there. */
static mr_status add_param(const mr_golden_rig *rig, int id, const mr_safetensors_entry *grad,
                           const mr_safetensors_entry *after, findings *found)
{
    mr_own own = mr_params_own(mr_model_params(rig->model), id);
    if (own.count == 0) return MR_OK;
    float *their_grad = NULL, *theirs = NULL;
    float *ours = mr_alloc_array(MR_MEM_OTHER, (size_t)own.count, sizeof *ours);
    if (!ours) return MR_ERR_MEMORY;
    mr_status status = mr_golden_read(rig->file, grad->name, grad->dims, grad->shape, own.first,
                                      own.count, &their_grad);
    if (status == MR_OK && after)
        status = mr_golden_read(rig->file, after->name, after->dims, after->shape, own.first,
                                own.count, &theirs);
    if (status == MR_OK) {
        rig->be->ops->download(rig->be, ours, after ? own.weight : own.grad);
        if (after)
            add_change(found, ours, theirs, rig->before[id], their_grad, rig->grad_rms[id],
                       own.count);
        else
            mr_golden_add(&found->all, ours, their_grad, NULL, own.count);
    }
    mr_free(ours);
    mr_free(their_grad);
    mr_free(theirs);
    return status;
}

static double count_of(const mr_golden_rig *rig, int id)
{
    const mr_param *param = mr_params_at(mr_model_params(rig->model), id);
    return (double)(param->rows * param->cols);
}

/* Judges a gradient; all is the square of the whole reference gradient. */
static void judge_gradient(mr_golden_item *item, mr_golden_rig *rig, int id, mr_golden_squares sums,
                           double all)
{
    char what[256];
    snprintf(what, sizeof what, "gradient of %s",
             mr_params_at(mr_model_params(rig->model), id)->name);
    const bool negligible = sums.reference <= no_gradient * no_gradient * all;
    rig->grad_rms[id] = negligible ? 0 : sqrt(sums.reference / count_of(rig, id));
    if (!negligible)
        mr_golden_expect(item, sums, MR_GOLDEN_GRADIENT, what);
    else if (!(sqrt(sums.difference / all) <= rounding))
        mr_golden_disagree(item, "%s: %.3g of the whole gradient, expected none but rounding", what,
                           sqrt(sums.difference / all));
}

static void judge_change(mr_golden_item *item, const mr_golden_rig *rig, int id,
                         const findings *found)
{
    const double most = fmax(1, floor(most_left_out * count_of(rig, id)));
    if (rig->grad_rms[id] == 0 || is_within(found->all, MR_GOLDEN_AFTER)) return;
    for (int level = LEVELS - 1; level >= 0 && found->left_out[level] <= most; level--)
        if (is_within(found->kept[level], MR_GOLDEN_AFTER)) {
            item->left_out += (int64_t)found->left_out[level];
            return;
        }
    char what[256];
    snprintf(what, sizeof what, "change of %s",
             mr_params_at(mr_model_params(rig->model), id)->name);
    mr_golden_expect(item, found->all, MR_GOLDEN_AFTER, what);
}

/* Compares the gradients ("grad."), or the change of the weights ("after.") of every trained
 * parameter with the reference. Collective. */
static mr_status compare_params(mr_golden_item *item, mr_golden_rig *rig, bool change)
{
    const mr_params *params = mr_model_params(rig->model);
    int count = mr_params_length(params);
    int64_t *grad = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *grad);
    int64_t *after = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *after);
    findings *found = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *found);
    mr_status status = grad && after && found ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK) status = mr_golden_match(rig->model, rig->file, "grad.", grad);
    if (status == MR_OK && change) status = mr_golden_match(rig->model, rig->file, "after.", after);
    for (int i = 0; i < count && status == MR_OK; i++)
        if (mr_params_at(params, i)->trained)
            status = add_param(rig, i, mr_safetensors_at(rig->file, grad[i]),
                               change ? mr_safetensors_at(rig->file, after[i]) : NULL, &found[i]);
    status = mr_comm_agree(item->comm, status);
    if (status == MR_OK) {
        MR_INVARIANT(found);
        const int doubles = (int)(sizeof *found / sizeof(double));
        double all = 0;
        MR_MPI(MPI_Allreduce(MPI_IN_PLACE, found, doubles * count, MPI_DOUBLE, MPI_SUM,
                             item->comm->handle));
        for (int i = 0; i < count; i++)
            all += found[i].all.reference;
        for (int i = 0; i < count; i++) {
            if (!mr_params_at(params, i)->trained) continue;
            if (change)
                judge_change(item, rig, i, &found[i]);
            else
                judge_gradient(item, rig, i, found[i].all, all);
        }
    }
    mr_free(grad);
    mr_free(after);
    mr_free(found);
    return status;
}

mr_status mr_golden_compare_gradients(mr_golden_item *item, mr_golden_rig *rig, double *loss,
                                      double *grad_norm)
{
    const int64_t one[1] = {1};
    float *mean = NULL, *length = NULL;
    mr_status status = mr_golden_read(rig->file, "loss", 1, one, 0, 1, &mean);
    if (status == MR_OK) status = mr_golden_read(rig->file, "grad_norm", 1, one, 0, 1, &length);
    status = mr_comm_agree(item->comm, status);
    if (status == MR_OK) {
        MR_INVARIANT(mean && length);
        mr_golden_gradients(rig, loss, grad_norm);
        mr_golden_expect_number(item, *loss, *mean, MR_GOLDEN_LOSS, "loss");
        mr_golden_expect_number(item, *grad_norm, *length, MR_GOLDEN_GRADIENT, "gradient norm");
        status = compare_params(item, rig, false);
    }
    mr_free(mean);
    mr_free(length);
    return status;
}

mr_status mr_golden_compare_training(mr_golden_item *item, mr_golden_rig *rig)
{
    const int64_t ten[1] = {MR_GOLDEN_STEPS};
    float *losses = NULL;
    mr_status status = mr_golden_read(rig->file, "losses", 1, ten, 0, MR_GOLDEN_STEPS, &losses);
    status = mr_comm_agree(item->comm, status);
    for (int s = 0; s < MR_GOLDEN_STEPS && status == MR_OK; s++) {
        MR_INVARIANT(losses);
        char what[32];
        double loss = 0, grad_norm = 0;
        if (s == 0)
            status = mr_golden_compare_gradients(item, rig, &loss, &grad_norm);
        else
            mr_golden_gradients(rig, &loss, &grad_norm);
        snprintf(what, sizeof what, "loss of step %d", s + 1);
        if (status == MR_OK) mr_golden_expect_number(item, loss, losses[s], MR_GOLDEN_LOSSES, what);
        mr_golden_update(rig, grad_norm);
    }
    if (status == MR_OK) status = compare_params(item, rig, true);
    mr_free(losses);
    return status;
}

mr_status mr_golden_compare_token_losses(mr_golden_item *item, mr_golden_rig *rig)
{
    const int64_t shape[2] = {rig->sequences, rig->tokens};
    int64_t first, rows = mr_golden_own_rows(rig, &first);
    mr_golden_squares sums = {0};
    float *theirs = NULL;
    double *ours = mr_alloc_array(MR_MEM_OTHER, (size_t)(rig->share * rig->tokens), sizeof *ours);
    mr_status status = ours ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK)
        status = mr_golden_read(rig->file, "token_loss", 2, shape, first, rows, &theirs);
    status = mr_comm_agree(item->comm, status);
    if (status == MR_OK) {
        mr_golden_evaluate(rig, NULL, ours);
        for (int64_t i = 0; i < rows; i++) {
            /* Theirs stand at the target, ours at the token that predicts it. */
            float mine = i % rig->tokens > 0 ? (float)ours[i - 1] : 0;
            mr_golden_add(&sums, &mine, &theirs[i], NULL, 1);
        }
        mr_golden_reduce(item->comm, &sums, 1);
        mr_golden_expect(item, sums, MR_GOLDEN_LOSSES, "token losses");
    }
    mr_free(ours);
    mr_free(theirs);
    return status;
}
