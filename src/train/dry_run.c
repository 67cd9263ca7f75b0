/* What a run would take. */

#include "comm/node.h"
#include "train/run.h"
#include "train/trainer.h"

#include <stdio.h>

/* The limit for a plan of other ranks than those that are here. Without a word on how many share a
 * node it is as many as this node has cores for. Collective. */
static mr_memory_limit limit_for(const mr_comm *comm, const mr_config *config, mr_backend *be,
                                 int64_t ranks, int64_t node_ranks)
{
    const char *assumed = NULL;
    if (ranks > 0 && node_ranks == 0) {
        int64_t threads = config->parallel.threads > 0 ? config->parallel.threads : 1;
        node_ranks = mr_node_threads(comm, 0) * mr_node_ranks(comm) / threads;
        if (node_ranks < 1) node_ranks = 1;
        assumed = ", assumed by the cores of this one (--ranks-per-node)";
    }
    if (ranks > 0 && node_ranks > ranks) node_ranks = ranks;
    return mr_memory_limit_of(comm, config, be, node_ranks, assumed);
}

mr_status mr_run_dry(const mr_comm *comm, const mr_config *config, int64_t ranks,
                     int64_t node_ranks, mr_run_plan *out)
{
    mr_backend *be = NULL;
    mr_trainer *trainer = NULL;
    mr_hf_config arch;
    /* Laying out asks nothing of the other ranks but their number. */
    mr_comm planned = *comm;
    if (ranks > 0) {
        planned.size = (int)ranks;
        planned.rank = 0;
    }
    int threads = mr_node_threads(comm, config->parallel.threads);
    mr_status status = mr_comm_agree(
        comm, mr_backend_create(config->parallel.backend, mr_node_rank(comm), threads, &be));
    if (status == MR_OK) status = mr_trainer_arch(comm, config, &arch);
    mr_memory_limit limit = {0};
    if (status == MR_OK) {
        limit = limit_for(comm, config, be, ranks, node_ranks);
        status = mr_trainer_plan(&planned, config, be, &arch, limit, &trainer);
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
        snprintf(out->verdict, sizeof out->verdict, "%s", out->fits ? "" : mr_message());
    }
    mr_trainer_destroy(&trainer);
    mr_backend_destroy(&be);
    return status;
}
