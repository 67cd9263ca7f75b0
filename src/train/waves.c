/* How a step is cut into micro-batches and waves; the contract stands in train/layout.h. */

#include "model/tree.h"
#include "train/layout.h"

#include <limits.h>
#include <math.h>

mr_status mr_trainer_cut_batch(mr_trainer *t, mr_geometry *geometry)
{
    const mr_config *c = t->config;
    int64_t ranks = t->comm->size;
    int64_t batch = c->train.global_batch, micro = c->train.micro_batch;
    MR_CHECK(batch % ranks == 0, MR_ERR_ARG,
             "train.global_batch: %lld samples do not divide among %lld ranks", (long long)batch,
             (long long)ranks);
    if (micro == 0) micro = batch / ranks;
    MR_CHECK(micro <= INT_MAX / t->seq_len, MR_ERR_ARG,
             "train.micro_batch: %lld samples of %lld tokens are more rows than %d",
             (long long)micro, (long long)t->seq_len, INT_MAX);
    MR_CHECK(batch % micro == 0, MR_ERR_ARG,
             "train.global_batch: %lld samples are not a whole number of micro-batches of %lld",
             (long long)batch, (long long)micro);
    t->micro_batches = batch / micro;
    MR_CHECK(t->micro_batches % ranks == 0, MR_ERR_ARG,
             "train.global_batch: %lld micro-batches of %lld samples do not divide among %lld "
             "ranks; set train.micro_batch to a divisor of %lld",
             (long long)t->micro_batches, (long long)micro, (long long)ranks,
             (long long)(batch / ranks));
    const int64_t micros = t->micro_batches / ranks, most = c->parallel.same_bits_up_to;
    const int64_t here = most == 0 || most > ranks ? most / ranks : 1;
    t->stretches = mr_tree_stretches(t->micro_batches, most);
    t->rank_free = c->train.micro_batch > 0 && t->stretches % ranks == 0;
    *geometry = (mr_geometry){.batch = micro,
                              .tokens = t->seq_len,
                              .micros = micros,
                              .in_wave = 1,
                              .stretches = t->rank_free ? t->stretches / ranks
                                                        : mr_tree_stretches(micros, here),
                              .packed = c->train.packing == MR_PACK_SAMPLES};
    return MR_OK;
}

/* Of the ways to cut a step the one that receives least, of equals the one in which ranks wait for
 * each other less often, then the smaller one, among those that fit; where none does, the smallest.
 */
typedef struct choice {
    mr_geometry geometry;
    double traffic, waits;
    size_t bytes;
    bool fits;
} choice;

static bool is_better(const choice *one, const choice *best)
{
    if (one->fits != best->fits) return one->fits;
    if (one->fits && (one->traffic < best->traffic || one->traffic > best->traffic))
        return one->traffic < best->traffic;
    if (one->fits && (one->waits < best->waits || one->waits > best->waits))
        return one->waits < best->waits;
    return one->bytes < best->bytes;
}

/* Bytes that the residual stream of a wave takes alone: more than there may be need not be laid
 * out, which takes memory itself. */
static size_t stream_bytes(const mr_hf_config *arch, const mr_geometry *g)
{
    size_t micro = mr_bytes_add(0, g->batch * g->tokens, (size_t)arch->hidden_size * 2);
    return mr_bytes_add(0, g->in_wave, mr_bytes_add(0, arch->num_hidden_layers, micro));
}

/* Lays a geometry out, which may be the best one so far; tells whether it fits. */
static mr_status consider(mr_trainer *t, const mr_hf_config *arch, mr_geometry geometry,
                          choice *best, bool *fits)
{
    MR_TRY(mr_trainer_lay_out(t, arch, geometry));
    const choice one = {.geometry = geometry,
                        .traffic = t->plan.cost.traffic,
                        .waits = t->plan.cost.waits,
                        .bytes = t->plan.total,
                        .fits = t->plan.total <= t->limit.bytes};
    if (is_better(&one, best)) *best = one;
    *fits = one.fits;
    return MR_OK;
}

mr_status mr_trainer_choose_waves(mr_trainer *t, const mr_hf_config *arch, mr_geometry geometry)
{
    const bool tied = arch->tie_word_embeddings, alone = t->comm->size == 1;
    const bool gathers = t->nodes.count > 1 && t->config->parallel.shard == MR_SHARD_FULL && !tied;
    const int64_t length = geometry.micros / geometry.stretches;
    choice best = {.traffic = INFINITY, .bytes = SIZE_MAX};
    mr_geometry last = geometry;
    for (int meet_in_waves = 0; meet_in_waves <= !alone; meet_in_waves++) {
        bool fits = true;
        geometry.meet_in_waves = meet_in_waves;
        geometry.in_wave = meet_in_waves ? length : 1;
        if (tied && geometry.in_wave > 1) continue;
        while (fits && geometry.in_wave <= geometry.micros) {
            if (geometry.in_wave > 1 && stream_bytes(arch, &geometry) > t->limit.bytes) break;
            MR_TRY(consider(t, arch, geometry, &best, &fits));
            last = geometry;
            if (!gathers || geometry.in_wave == geometry.micros) break;
            geometry.in_wave *= 2;
            if (!meet_in_waves && geometry.in_wave > geometry.micros)
                geometry.in_wave = geometry.micros;
        }
    }
    const bool stands =
        last.in_wave == best.geometry.in_wave && last.meet_in_waves == best.geometry.meet_in_waves;
    return stands ? MR_OK : mr_trainer_lay_out(t, arch, best.geometry);
}
