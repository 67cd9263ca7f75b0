/* How often a training step makes the backend wait for the host, which is for one vector and its
 * errors, and the ranks for one another. */
#include "ranks.h"
#include "shape.h"
#include "test.h"
#include "train/registry.h"
#include "train/trainer.h"

#include <stdio.h>

enum { STEPS = 6, MERGE_EVERY = 3 };

/* The cpu's table with its waits counted. */
static const mr_backend_ops *cpu;
static int reads, uploads;

static void counted_download(mr_backend *be, void *dst, mr_tensor src)
{
    reads++;
    cpu->download(be, dst, src);
}

static mr_status counted_synchronize(mr_backend *be)
{
    reads++;
    return cpu->synchronize(be);
}

static void counted_phase_seconds(mr_backend *be, double seconds[MR_PHASES])
{
    reads++;
    cpu->phase_seconds(be, seconds);
}

/* Calls of MPI's reductions. */
static int reductions;

int MPI_Allreduce(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op operation,
                  MPI_Comm comm)
{
    reductions++;
    return PMPI_Allreduce(send, receive, count, type, operation, comm);
}

static void counted_upload(mr_backend *be, mr_tensor dst, const void *src)
{
    uploads++;
    cpu->upload(be, dst, src);
}

/* Trains a few steps of several waves, and looks at each one's reads. */
static void steps_of(const char *method, mr_shard shard)
{
    mr_config config;
    char set[64];
    mr_config_defaults(mr_registry_of_program(), &config);
    snprintf(set, sizeof set, "method.name=%s", method);
    must(mr_config_set(&config, set));
    must(mr_config_set(&config, "task.pairs=16"));
    config.model.init = MR_INIT_RANDOM;
    config.train.steps = STEPS;
    config.train.global_batch = 8;
    config.train.micro_batch = 1;
    snprintf(set, sizeof set, "method.merge_every=%d", (int)MERGE_EVERY);
    if (mr_config_has(&config, "method.merge_every")) must(mr_config_set(&config, set));
    config.parallel.shard = (int32_t)shard;
    mr_backend *be = NULL;
    mr_trainer *trainer = NULL;
    must(mr_backend_create(test_backend(), 0, 1, &be));
    cpu = be->ops;
    mr_backend_ops counting = *cpu;
    counting.download = counted_download;
    counting.synchronize = counted_synchronize;
    counting.phase_seconds = counted_phase_seconds;
    counting.upload = counted_upload;
    must(mr_trainer_create(&world, &config, be, &shape, &trainer));
    must(mr_trainer_allocate(trainer));
    be->ops = &counting;
    for (int step = 1; step <= STEPS; step++) {
        mr_step_result result = {0};
        int64_t signs[MR_RIDERS] = {world.rank, 1, step, 0};
        reads = uploads = reductions = 0;
        must(mr_trainer_step(trainer, &result));
        assert_true(result.updated);
        /* A merge starts adapters anew: what is drawn for them is sent, what was cleared is read.
         */
        bool merged = result.restart > 0;
        if (reads > 2 + merged)
            fail_msg("%s, step %d: %d reads of the host, at most %d are allowed", method, step,
                     reads, 2 + merged);
        if (!merged && uploads > 2)
            fail_msg("%s, step %d: %d uploads, tokens and targets are 2", method, step, uploads);
        mr_trainer_read_ahead(trainer, signs, MR_RIDERS);
        assert_int_equal(signs[0], world.size * (world.size - 1) / 2);
        assert_int_equal(signs[1], world.size);
        assert_int_equal(signs[2], step * world.size);
        assert_int_equal(signs[3], 0);
        /* The loss with the gradient's square; the signs with what is told of the data. The first
         * step has its data read for it. */
        if (!merged && reductions > (world.size > 1 ? 2 + (step == 1) : 0))
            fail_msg("%s, step %d: %d reductions, at most 2 are allowed", method, step, reductions);
    }
    be->ops = cpu;
    mr_trainer_destroy(&trainer);
    mr_backend_destroy(&be);
}

static void a_step_reads_the_host_and_meets_other_ranks_twice_at_most(void **state)
{
    (void)state;
    static const char *const methods[] = {"fft",  "lora", "lora_plus", "asylora",
                                          "dora", "mora", "relora",    "remora"};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        for (int shard = MR_SHARD_FULL; shard <= MR_SHARD_NONE; shard++)
            steps_of(methods[i], (mr_shard)shard);
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_reads_the_host_and_meets_other_ranks_twice_at_most),
    };
    return ranks_end(cmocka_run_group_tests_name("host reads", tests, NULL, NULL));
}
