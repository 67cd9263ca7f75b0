/* What a run would take. */

#include "base/log.h"
#include "comm/node.h"
#include "train/due.h"
#include "train/run.h"
#include "train/trainer.h"

#include <stdio.h>
#include <unistd.h>

/* How the ranks of a plan share a node like this one. */
typedef struct sharing {
    int64_t node_ranks;  /* 0: as those that are here do */
    const char *assumed; /* what the limit says of that */
    int threads;         /* of a rank */
} sharing;

/* Of other ranks than those that are here: without a word on how many share a node, as many as it
 * has cores for. Collective. */
static sharing share_node(const mr_comm *comm, const mr_config *config, int64_t ranks,
                          int64_t node_ranks)
{
    const int64_t wanted = config->parallel.threads;
    if (ranks == 0) return (sharing){.threads = mr_node_threads(comm, wanted)};
    const int64_t cores = mr_node_threads(comm, 0) * (int64_t)mr_node_ranks(comm);
    sharing share = {.node_ranks = node_ranks};
    if (node_ranks == 0) {
        share.node_ranks = cores / (wanted > 0 ? wanted : 1);
        share.assumed = ", assumed by the cores of this one (--ranks-per-node)";
    }
    if (share.node_ranks < 1) share.node_ranks = 1;
    if (share.node_ranks > ranks) share.node_ranks = ranks;
    const int64_t threads = wanted > 0 ? wanted : cores / share.node_ranks;
    share.threads = threads > 1 ? (int)threads : 1;
    return share;
}

/* Takes for a plan what model.config alone tells where there is no folder of weights yet: they
 * count as they would if they were read. Collective. */
static void spare_weights(const mr_comm *comm, mr_config *config)
{
    int32_t spared = 0;
    if (comm->rank == 0 && config->model.init == MR_INIT_PRETRAINED && config->model.config[0])
        spared = access(config->model.path, F_OK) != 0;
    mr_comm_broadcast(comm, &spared, sizeof spared, 0);
    if (!spared) return;
    mr_warn("there is no model.path '%s'; planned by model.config alone", config->model.path);
    config->model.init = MR_INIT_RANDOM;
}

static void list_sets(const mr_trainer *t, mr_run_plan *out)
{
    for (int i = 0; t->evaluator && i < t->evaluator->sets; i++) {
        const mr_eval_set *set = &t->evaluator->set[i];
        mr_planned_set *planned = &out->set[out->sets++];
        *planned = (mr_planned_set){
            .kind = set->kind->name, .items = set->items, .times = mr_set_times(t, set)};
        snprintf(planned->name, sizeof planned->name, "%s", set->name);
    }
}

mr_status mr_run_dry(const mr_comm *comm, const mr_config *config, int64_t ranks,
                     int64_t node_ranks, mr_run_plan *out)
{
    mr_backend *be = NULL;
    mr_trainer *trainer = NULL;
    mr_hf_config arch;
    mr_config run = *config;
    spare_weights(comm, &run);
    /* Laying out asks nothing of the other ranks but their number. */
    mr_comm planned = *comm;
    if (ranks > 0) {
        planned.size = (int)ranks;
        planned.rank = 0;
    }
    const sharing share = share_node(comm, &run, ranks, node_ranks);
    mr_status status =
        mr_comm_agree(comm, mr_backend_create_planned(run.parallel.backend, mr_node_rank(comm),
                                                      share.threads, &be));
    if (status == MR_OK) status = mr_trainer_arch(comm, &run, &arch);
    mr_memory_limit limit = {0};
    if (status == MR_OK) {
        limit = mr_memory_limit_of(comm, &run, be, share.node_ranks, share.assumed);
        status = mr_trainer_plan(&planned, &run, be, &arch, limit, share.node_ranks, &trainer);
    }
    if (status == MR_OK) {
        *out = (mr_run_plan){
            .plan = trainer->plan,
            .geometry = *mr_model_geometry(trainer->model),
            .ranks = planned.size,
            .limit = limit,
            .parameters = mr_params_count(mr_model_params(trainer->model), false),
            .trained = mr_params_count(mr_model_params(trainer->model), true),
            .fits = mr_trainer_check_memory(trainer) == MR_OK,
        };
        list_sets(trainer, out);
        snprintf(out->verdict, sizeof out->verdict, "%s", out->fits ? "" : mr_message());
    }
    mr_trainer_destroy(&trainer);
    mr_backend_destroy(&be);
    return status;
}
