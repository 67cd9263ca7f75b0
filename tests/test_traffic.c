/* What a step sends between ranks, counted where it is handed to MPI, and how often those of a node
 * wait for each other, beside what its plan says. */
#include "ranks.h"
#include "shape.h"
#include "train/layout.h"
#include "train/registry.h"
#include "train/trainer.h"

#include <stdio.h>
#include <stdlib.h>

static double messages, bytes, waits;

/* The linker puts the one in the other's place. */
void __real_mr_window_await(mr_window *window, int counter, uint64_t value);
void __wrap_mr_window_await(mr_window *window, int counter, uint64_t value);
void __wrap_mr_window_await(mr_window *window, int counter, uint64_t value)
{
    waits++;
    __real_mr_window_await(window, counter, value);
}

/* Of a collective in which each of so many ranks receives a piece of each other one. */
static void count(int pieces, MPI_Datatype type, MPI_Comm comm)
{
    int ranks, size;
    PMPI_Comm_size(comm, &ranks);
    PMPI_Type_size(type, &size);
    messages += ranks - 1;
    bytes += (double)(ranks - 1) * (double)pieces * (double)size;
}

int MPI_Iallgather(const void *send, int sends, MPI_Datatype sent, void *receive, int receives,
                   MPI_Datatype received, MPI_Comm comm, MPI_Request *request)
{
    count(receives, received, comm);
    return PMPI_Iallgather(send, sends, sent, receive, receives, received, comm, request);
}

int MPI_Ialltoall(const void *send, int sends, MPI_Datatype sent, void *receive, int receives,
                  MPI_Datatype received, MPI_Comm comm, MPI_Request *request)
{
    count(receives, received, comm);
    return PMPI_Ialltoall(send, sends, sent, receive, receives, received, comm, request);
}

/* A run of a method on 16 micro-batches a step. */
static mr_trainer *create(mr_backend *be, mr_config *config, const char *method, mr_shard shard,
                          bool shared)
{
    char set[64];
    mr_trainer *trainer = NULL;
    mr_config_defaults(mr_registry_of_program(), config);
    snprintf(set, sizeof set, "method.name=%s", method);
    must(mr_config_set(config, set));
    must(mr_config_set(config, "task.pairs=32"));
    config->model.init = MR_INIT_RANDOM;
    config->train.steps = 3;
    config->train.global_batch = 16;
    config->train.micro_batch = 1;
    config->parallel.shard = (int32_t)shard;
    config->parallel.shared_memory = shared ? MR_SHARED_MEMORY_AUTO : MR_SHARED_MEMORY_OFF;
    must(mr_trainer_create(&world, config, be, &shape, &trainer));
    return trainer;
}

/* Whether a step sends what is planned: messages and bytes of MPI, which what ranks of a node read
 * of each other is none of. */
static bool sends_what_is_planned(const char *method, mr_shard shard, bool shared)
{
    mr_config config;
    mr_backend *be = NULL;
    must(mr_backend_create(test_backend(), 0, 1, &be));
    mr_trainer *trainer = create(be, &config, method, shard, shared);
    must(mr_trainer_allocate(trainer));
    mr_step_result result;
    must(mr_trainer_step(trainer, &result)); /* the first is told what the lanes hold */
    messages = bytes = waits = 0;
    must(mr_trainer_step(trainer, &result));
    double planned = 0, volume = 0;
    for (int i = 0; i < MR_FLOWS; i++) {
        const mr_flow *flow = &trainer->plan.cost.flow[i];
        const bool read = trainer->nodes.ranks > 1;
        planned += flow->messages;
        volume += flow->bytes - (read ? flow->bytes_in_node : 0);
    }
    const bool right = messages >= planned && messages <= planned && bytes >= volume - 0.5 &&
                       bytes <= volume + 0.5 && waits >= trainer->plan.cost.waits &&
                       waits <= trainer->plan.cost.waits;
    if (!right)
        print_error("%s, shard %d, shared %d: %g messages of %g bytes, planned %g of %g; %g waits, "
                    "planned %g\n",
                    method, (int)shard, shared, messages, bytes, planned, volume, waits,
                    trainer->plan.cost.waits);
    mr_trainer_destroy(&trainer);
    mr_backend_destroy(&be);
    return right;
}

static void a_step_sends_what_its_plan_says(void **state)
{
    (void)state;
    static const char *const methods[] = {"fft", "lora"};
    static const char *const nodes[] = {"0", "1", "2"}; /* one, ranks apart, nodes of two */
    for (int n = 0; n < 3; n++)
        for (int m = 0; m < 2; m++)
            for (int shard = MR_SHARD_FULL; shard <= MR_SHARD_NONE; shard++) {
                setenv("MORA_NODE_RANKS", nodes[n], 1);
                bool right = sends_what_is_planned(methods[m], (mr_shard)shard, n != 1);
                unsetenv("MORA_NODE_RANKS");
                assert_on_all_ranks(right);
            }
}

/* Sums of whole gradients, once a step, where they have room; else a few units' at a time. */
static void gradients_meet_more_often_where_less_memory_is_allowed(void **state)
{
    (void)state;
    mr_config config;
    mr_geometry geometry;
    mr_backend *be = NULL;
    must(mr_backend_create(test_backend(), 0, 1, &be));
    mr_trainer *trainer = create(be, &config, "fft", MR_SHARD_FULL, true);
    const double waited = trainer->plan.cost.waits;
    const bool once = !mr_model_geometry(trainer->model)->meet_in_waves;
    for (int i = 0; i < 2; i++) { /* the first takes memory to read files through */
        trainer->limit.bytes = trainer->plan.total - 1;
        must(mr_trainer_cut_batch(trainer, &geometry));
        must(mr_trainer_choose_waves(trainer, &shape, geometry));
    }
    const bool right = once && mr_model_geometry(trainer->model)->meet_in_waves &&
                       trainer->plan.cost.waits > waited;
    mr_trainer_destroy(&trainer);
    mr_backend_destroy(&be);
    assert_on_all_ranks(right);
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_meet_more_often_where_less_memory_is_allowed),
        cmocka_unit_test(a_step_sends_what_its_plan_says),
    };
    return ranks_end(cmocka_run_group_tests(tests, NULL, NULL));
}
