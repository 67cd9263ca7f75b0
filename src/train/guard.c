#include "train/guard.h"

#include "base/hash.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW = 64, WARM = 32 };

static void remember(mr_guard_state *state, double loss)
{
    state->seen++;
    /* A plain mean until the window is full. */
    double weight = 1.0 / (double)(state->seen < WINDOW ? state->seen : WINDOW);
    double off = loss - state->mean;
    state->mean += weight * off;
    state->variance = (1 - weight) * (state->variance + weight * off * off);
}

mr_verdict mr_guard_judge(mr_guard_state *state, const mr_config *config, double loss,
                          double grad_norm, mr_guard *act)
{
    *act = MR_GUARD_LOG;
    mr_verdict verdict = MR_VERDICT_SOUND;
    double limit = INFINITY;
    if (config->train.spike_zscore > 0 && state->seen >= WARM)
        limit = state->mean + config->train.spike_zscore * sqrt(state->variance);
    if (!isfinite(loss) || !isfinite(grad_norm)) {
        verdict = MR_VERDICT_NOT_FINITE;
        *act = (mr_guard)config->train.on_nonfinite;
        state->nonfinite++;
    } else if (loss > limit) {
        verdict = MR_VERDICT_SPIKE;
        *act = (mr_guard)config->train.on_spike;
        state->spikes++;
    }
    if (verdict != MR_VERDICT_NOT_FINITE) remember(state, loss < limit ? loss : limit);
    if (*act == MR_GUARD_SKIP) state->skipped++;
    return verdict;
}

static void add_tensor(mr_backend *be, mr_hash *hash, mr_tensor t, float *piece, int64_t room)
{
    for (int64_t first = 0; first < t.cols; first += room) {
        int64_t part = t.cols - first < room ? t.cols - first : room;
        be->ops->download(be, piece, mr_tensor_cols(t, first, part));
        mr_hash_add(hash, piece, (size_t)part * sizeof *piece);
    }
}

/* Hashes what this rank holds in common with the others. */
static void add_common(const mr_optimizer *optimizer, mr_hash *hash, float *piece, int64_t room)
{
    const mr_params *params = optimizer->params;
    mr_backend *be = mr_params_backend(params);
    for (mr_params_walk at = {0}; mr_params_next(params, &at);)
        for (int what = MR_SLAB_WEIGHTS; what <= MR_SLAB_V; what++)
            if (mr_params_replicated(params, at.id, (mr_slab_kind)what))
                add_tensor(be, hash, mr_params_kept(params, at.id, (mr_slab_kind)what).values,
                           piece, room);
    mr_hash_add(hash, optimizer->param_steps,
                (size_t)mr_params_length(params) * sizeof *optimizer->param_steps);
}

/* The digest that most ranks have; the first of equals. */
static int64_t most_common(const int64_t *digest, int ranks, int *votes)
{
    int64_t best = digest[0];
    *votes = 0;
    for (int i = 0; i < ranks; i++) {
        int count = 0;
        for (int j = 0; j < ranks; j++)
            count += digest[j] == digest[i];
        if (count <= *votes) continue;
        *votes = count;
        best = digest[i];
    }
    return best;
}

static mr_status compare(const int64_t *digest, int ranks)
{
    int votes;
    int64_t common = most_common(digest, ranks, &votes);
    if (votes == ranks) return MR_OK;
    /* Two against two tell that something is wrong, not where. */
    bool majority = 2 * votes > ranks;
    mr_text names = {0};
    for (int i = 0; i < ranks; i++)
        if (!majority || digest[i] != common)
            mr_text_add(&names, "%s%d", names.length > 0 ? ", " : "", i);
    mr_status status =
        majority
            ? mr_fail(MR_ERR_RANKS,
                      "rank %s of %d: the copy of the replicated state differs from that of %d "
                      "other ranks: look at its node",
                      mr_text_get(&names), ranks, votes)
            : mr_fail(MR_ERR_RANKS,
                      "ranks %s of %d: their copies of the replicated state differ, and no "
                      "majority tells which is right",
                      mr_text_get(&names), ranks);
    mr_text_free(&names);
    return status;
}

mr_status mr_guard_check_ranks(const mr_optimizer *optimizer)
{
    enum { ROOM = 1 << 16 };
    const mr_comm *comm = mr_params_comm(optimizer->params);
    mr_hash *hash = NULL;
    float *piece = mr_alloc_array(MR_MEM_OTHER, ROOM, sizeof *piece);
    int64_t *digest = mr_alloc_array(MR_MEM_OTHER, (size_t)comm->size, sizeof *digest);
    mr_status status = piece && digest ? mr_hash_create(&hash) : MR_ERR_MEMORY;
    status = mr_comm_agree(comm, status);
    if (status == MR_OK) {
        char text[MR_HASH_TEXT];
        add_common(optimizer, hash, piece, ROOM);
        mr_hash_finish(&hash, text);
        text[15] = '\0'; /* as many digits as fit a positive number */
        digest[comm->rank] = (int64_t)strtoll(text, NULL, 16);
        mr_comm_sum_i64(comm, digest, comm->size);
        status = compare(digest, comm->size);
    }
    mr_hash_destroy(&hash);
    mr_free(piece);
    mr_free(digest);
    return status;
}
