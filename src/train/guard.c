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

/* Digests of what this rank holds in common with the others, I32 [.., 2]; returns how many. */
static int64_t digest_common(const mr_params *params, mr_tensor digests)
{
    mr_backend *be = mr_params_backend(params);
    int64_t used = 0;
    for (mr_params_walk at = {0}; mr_params_next(params, &at);)
        for (int what = MR_SLAB_WEIGHTS; what <= MR_SLAB_V; what++) {
            const mr_slab kept = mr_params_kept(params, at.id, (mr_slab_kind)what);
            if (kept.count == 0 || !mr_params_replicated(params, at.id, (mr_slab_kind)what))
                continue;
            be->ops->digest(be, mr_tensor_rows(digests, used++, 1), kept.values, 0);
        }
    return used;
}

/* What a rank holds in common with those of its place on other nodes, and with all others. */
typedef struct in_common {
    int64_t weights, steps;
} in_common;

static in_common common_of(const mr_optimizer *optimizer, mr_tensor digests, int32_t *host)
{
    mr_backend *be = mr_params_backend(optimizer->params);
    int64_t used = 2 * digest_common(optimizer->params, digests);
    uint64_t weights = 0, steps = 0;
    be->ops->download(be, host, digests);
    for (int64_t i = 0; i < used; i++)
        weights = mr_hash_mix(weights + (uint32_t)host[i]);
    for (int i = 0; i < mr_params_length(optimizer->params); i++)
        steps = mr_hash_mix(steps + (uint64_t)optimizer->param_steps[i]);
    return (in_common){(int64_t)(weights >> 1), (int64_t)(steps >> 1)};
}

/* One number a rank for what its node has in common with the others, and it with all ranks: as many
 * bits as a positive number has. */
static void number_ranks(const mr_params *params, const in_common *of, int64_t *number)
{
    const int ranks = mr_params_comm(params)->size, near = mr_params_nodes(params)->ranks;
    for (int r = 0; r < ranks; r++) {
        uint64_t all = (uint64_t)of[r].steps;
        for (int i = r / near * near; i < (r / near + 1) * near; i++)
            all = mr_hash_mix(all + (uint64_t)of[i].weights);
        number[r] = (int64_t)(all >> 1);
    }
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
    const mr_params *params = optimizer->params;
    const mr_comm *comm = mr_params_comm(params);
    mr_backend *be = mr_params_backend(params);
    int64_t room = 3 * (int64_t)mr_params_length(params);
    mr_tensor digests = {0};
    int32_t *host = mr_alloc_array(MR_MEM_OTHER, 2 * (size_t)room, sizeof *host);
    int64_t *number = mr_alloc_array(MR_MEM_OTHER, (size_t)comm->size, sizeof *number);
    in_common *of = mr_alloc_array(MR_MEM_OTHER, (size_t)comm->size, sizeof *of);
    mr_status status = host && number && of
                           ? mr_backend_tensor(be, MR_MEM_OTHER, MR_I32, room, 2, &digests)
                           : MR_ERR_MEMORY;
    status = mr_comm_agree(comm, status);
    if (status == MR_OK) {
        of[comm->rank] = common_of(optimizer, digests, host);
        mr_comm_sum_i64(comm, &of->weights, 2 * (int64_t)comm->size);
        number_ranks(params, of, number);
        status = compare(number, comm->size);
    }
    mr_backend_free(be, &digests);
    mr_free(host);
    mr_free(number);
    mr_free(of);
    return status;
}
