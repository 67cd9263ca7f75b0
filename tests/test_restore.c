/** @file
 * What a trainer saves comes back bit for bit in another layout, and each rank reads what it
 * answers for and no more. */

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "calls.h"
#include "config/load.h"
#include "ranks.h"
#include "store/checkpoint.h"
#include "train/registry.h"
#include "train/run.h"
#include "train/state.h"

#include <stdlib.h>
#include <unistd.h>

static mr_comm groups[8 + 1]; /* [n]: the first n ranks */
static const mr_comm alone = {.handle = MPI_COMM_NULL, .rank = 0, .size = 1};

/* Large enough for eight ranks to own something each. */
static const char shape[] =
    "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 64,\n"
    " \"intermediate_size\": 112, \"num_hidden_layers\": 2, \"num_attention_heads\": 4,\n"
    " \"num_key_value_heads\": 2, \"vocab_size\": 2000, \"max_position_embeddings\": 80,\n"
    " \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"bos_token_id\": 256, \"eos_token_id\": "
    "257}";

/* Merges change frozen weights, which are saved then; head and norms are trained beside them. */
static const char yaml[] =
    "run: {name: from, seed: 3, output: out}\n"
    "model: {config: shape.json, init: random}\n"
    "task: {name: uuid, pairs: 8}\n"
    "method: {name: relora, r: 4, lora_dropout: 0.1, merge_every: 2,\n"
    "         modules_to_save: [embed_tokens, lm_head, norm]}\n"
    "train: {steps: 8, global_batch: 8, micro_batch: 1, lr: 0.003, schedule: jagged_cosine,\n"
    "        warmup_steps: 1, restart_warmup_steps: 1}\n"
    "parallel: {threads: 1, memory_gib: 1}\n"
    "checkpoint: {every_minutes: 0}\n";

/* A trainer with what it borrows. */
typedef struct owner {
    mr_config config;
    mr_backend *be;
    mr_trainer *trainer;
} owner;

/* Loads the configuration with three keys set. Collective on comm. */
static void load(const mr_comm *comm, const char *first, const char *second, const char *third,
                 mr_config *out)
{
    const char *const sets[] = {first, second, third};
    mr_run_list runs;
    must(mr_config_load(comm, "base.yaml", sets, 3, mr_registry_of_program(), &runs));
    must(mr_run_list_get(&runs, 0, out));
    mr_run_list_free(&runs);
}

/* Lays a run out and allocates it. Collective on comm. */
static void start(owner *o, const mr_comm *comm, const char *name, const char *method,
                  const char *shard)
{
    char sets[3][64];
    mr_hf_config arch;
    snprintf(sets[0], sizeof sets[0], "run.name=%s", name);
    snprintf(sets[1], sizeof sets[1], "method.name=%s", method);
    snprintf(sets[2], sizeof sets[2], "parallel.shard=%s", shard);
    load(comm, sets[0], sets[1], sets[2], &o->config);
    must(mr_backend_create(test_backend(), 0, 1, &o->be));
    must(mr_trainer_arch(comm, &o->config, &arch));
    must(mr_trainer_create(comm, &o->config, o->be, &arch, &o->trainer));
    must(mr_trainer_allocate(o->trainer));
}

static void end(owner *o)
{
    mr_trainer_destroy(&o->trainer);
    mr_backend_destroy(&o->be);
}

static void save(owner *o)
{
    json_t *about = json_object();
    must(mr_state_save(o->trainer, about));
    must(mr_checkpointer_finish(o->trainer->checkpointer));
    json_decref(about);
}

/* Trains three steps, which takes in a merge, and saves them as out/from.checkpoints. */
static void train_and_save(const mr_comm *comm, const char *method, const char *shard)
{
    static owner o;
    start(&o, comm, "from", method, shard);
    for (int i = 0; i < 3; i++) {
        mr_step_result result;
        must(mr_trainer_step(o.trainer, &result));
    }
    save(&o);
    end(&o);
}

/* Restores what was saved, saves it again as out/to.checkpoints, and returns how often shards were
 * opened for it on all ranks. */
static int64_t restore_and_save(const mr_comm *comm, const char *method, const char *shard)
{
    static owner o;
    mr_checkpoint *checkpoint;
    start(&o, comm, "to", method, shard);
    calls_watch("/shard-");
    must(mr_checkpoint_find(comm, "out/from.checkpoints", &checkpoint, NULL));
    must(mr_state_restore(o.trainer, checkpoint));
    mr_checkpoint_close(&checkpoint);
    int64_t opened = calls_opened();
    mr_comm_sum_i64(comm, &opened, 1);
    must(mr_trainer_check_ranks(o.trainer));
    save(&o);
    end(&o);
    return opened;
}

static void add_values(void *context, int slab, int64_t first, int64_t count, const float *values)
{
    (void)slab;
    (void)first;
    mr_hash_add(context, values, (size_t)count * sizeof *values);
}

/* Hashes names, shapes and values of all tensors of a run's newest checkpoint. Local. */
static void hash_checkpoint(const char *folder, char out[MR_HASH_TEXT])
{
    mr_hash *hash;
    mr_checkpoint *checkpoint;
    must(mr_hash_create(&hash));
    must(mr_checkpoint_find(&alone, folder, &checkpoint, NULL));
    for (int64_t i = 0; i < mr_checkpoint_tensors(checkpoint); i++) {
        mr_checkpoint_slab slab = {.count = 1};
        const int64_t *extents;
        slab.name = mr_checkpoint_tensor(checkpoint, i, &slab.dims, &extents);
        for (int d = 0; d < slab.dims; d++)
            slab.count *= slab.shape[d] = extents[d];
        mr_hash_add(hash, slab.name, strlen(slab.name) + 1);
        mr_hash_add(hash, slab.shape, sizeof slab.shape);
        must(mr_checkpoint_read(checkpoint, &slab, 1, add_values, hash));
    }
    mr_checkpoint_close(&checkpoint);
    mr_hash_finish(&hash, out);
}

/* Checks on rank 0 that both checkpoints hold the same. Collective on the world. */
static void assert_same_tensors(void)
{
    char from[MR_HASH_TEXT] = "", to[MR_HASH_TEXT] = "";
    mr_comm_barrier(&world);
    if (world.rank == 0) {
        hash_checkpoint("out/from.checkpoints", from);
        hash_checkpoint("out/to.checkpoints", to);
    }
    mr_comm_barrier(&world);
    assert_on_all_ranks(strcmp(from, to) == 0);
}

static const char *const modes[] = {"full", "optimizer", "none"};

static void every_shard_is_opened_once_by_as_many_ranks(void **state)
{
    (void)state;
    static const char *const methods[] = {"relora", "fft"};
    for (size_t m = 0; m < sizeof methods / sizeof *methods; m++)
        for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
            train_and_save(&world, methods[m], modes[i]);
            int64_t opened = restore_and_save(&world, methods[m], modes[i]);
            assert_on_all_ranks(opened == world.size);
            assert_same_tensors();
        }
}

/* From the first n ranks to the first m. */
static void change_ranks(int n, int m, const char *method, const char *from, const char *to)
{
    int64_t opened = 0;
    if (world.rank < n) train_and_save(&groups[n], method, from);
    mr_comm_barrier(&world);
    if (world.rank < m) opened = restore_and_save(&groups[m], method, to);
    /* Tested once each; read by the ranks whose parts lie in them, over a border at either end. */
    assert_on_all_ranks(strcmp(method, "fft") != 0 || opened <= 2 * n + 2 * m);
    assert_same_tensors();
}

static void another_number_of_ranks_and_mode_read_the_same_bits(void **state)
{
    (void)state;
    if (world.size == 1) skip_because("for several ranks");
    for (int i = 0; i < 3; i++) {
        change_ranks(world.size, world.size / 2, "relora", modes[i], modes[(i + 1) % 3]);
        change_ranks(world.size / 2, world.size, "relora", modes[i], modes[(i + 2) % 3]);
    }
    change_ranks(1, world.size, "fft", "full", "none");
    change_ranks(world.size, 1, "fft", "none", "full");
    change_ranks(world.size, world.size / 2, "fft", "optimizer", "full");
    /* Frozen weights, which no checkpoint holds, have one digest on all of them. */
    change_ranks(1, world.size, "lora", "none", "full");
    change_ranks(world.size, world.size / 2, "lora", "full", "optimizer");
}

static void a_read_that_fails_on_one_rank_is_told_on_all(void **state)
{
    (void)state;
    static owner o;
    mr_checkpoint *checkpoint;
    train_and_save(&world, "fft", "none");
    start(&o, &world, "to", "fft", "none");
    must(mr_checkpoint_find(&world, "out/from.checkpoints", &checkpoint, NULL));
    char path[128];
    snprintf(path, sizeof path, "out/from.checkpoints/step-00000003/shard-%05d-of-%05d.safetensors",
             world.size / 2, world.size);
    mr_comm_barrier(&world);
    if (world.rank == 0 && truncate(path, 100) != 0) mr_abort("truncate");
    mr_comm_barrier(&world);
    mr_status status = mr_state_restore(o.trainer, checkpoint);
    mr_checkpoint_close(&checkpoint);
    end(&o);
    assert_on_all_ranks(status == MR_ERR_IO && strstr(mr_message(), "became shorter"));
}

/* Restores what was saved into a trainer, and expects that to fail. */
static void refuses(owner *o, const char *key, json_t *value, const char *message)
{
    mr_checkpoint *checkpoint;
    must(mr_checkpoint_find(&world, "out/from.checkpoints", &checkpoint, NULL));
    json_t *state = (json_t *)(uintptr_t)mr_checkpoint_state(checkpoint);
    json_object_set_new(state, key, value);
    mr_status status = mr_state_restore(o->trainer, checkpoint);
    mr_checkpoint_close(&checkpoint);
    assert_on_all_ranks(status == MR_ERR_FORMAT && strstr(mr_message(), message));
}

static void what_is_trained_and_what_is_not_must_be_what_it_was(void **state)
{
    (void)state;
    static owner o;
    train_and_save(&world, "lora", "none");
    start(&o, &world, "to", "lora", "none");
    refuses(&o, "trainable_parameters", json_integer(7),
            "it was saved with 7 trainable parameters, and the run has ");
    refuses(&o, "frozen_digest", json_string("0123456789abcdef"),
            "the weights that it leaves out, as they are not trained, are others now: digest ");
    end(&o);
}

/* The reading of a checkpoint's configuration, by the linker's --wrap: it fails on one rank. */
static int without_memory = -1;
mr_status __real_mr_config_parse_resolved(const mr_registry *registry, const char *text,
                                          mr_config *out);
mr_status __wrap_mr_config_parse_resolved(const mr_registry *registry, const char *text,
                                          mr_config *out);

mr_status __wrap_mr_config_parse_resolved(const mr_registry *registry, const char *text,
                                          mr_config *out)
{
    if (world.rank == without_memory) return mr_fail(MR_ERR_MEMORY, "no memory on this rank");
    return __real_mr_config_parse_resolved(registry, text, out);
}

static void a_configuration_that_one_rank_cannot_read_ends_all(void **state)
{
    (void)state;
    static mr_config config;
    static mr_run_outcome outcome;
    if (world.size == 1) skip_because("for several ranks");
    load(&world, "run.name=broken", "method.name=lora", "train.stop_after=2", &config);
    must(mr_run(&world, &config, MR_RESUME_AUTO, &outcome));
    without_memory = world.size - 1;
    mr_status status = mr_run(&world, &config, MR_RESUME_AUTO, &outcome);
    without_memory = -1;
    assert_on_all_ranks(status == MR_ERR_MEMORY);
    assert_on_all_ranks(strstr(mr_message(), "no memory on this rank"));
}

static int enter(void **state)
{
    if (ranks_enter_folder(state) != 0) return -1;
    if (world.rank == 0) {
        must(mr_file_write("shape.json", shape, strlen(shape)));
        must(mr_file_write("base.yaml", yaml, strlen(yaml)));
    }
    for (int n = 1; n <= world.size; n++) {
        MPI_Comm part;
        MPI_Comm_split(world.handle, world.rank < n ? 0 : MPI_UNDEFINED, world.rank, &part);
        if (part == MPI_COMM_NULL) continue;
        must(mr_comm_create(part, &groups[n]));
        MPI_Comm_free(&part);
    }
    return 0;
}

static int clear(void **state)
{
    (void)state;
    mr_comm_barrier(&world);
    int code = world.rank == 0 ? system("rm -rf out") : 0;
    mr_comm_barrier(&world);
    return code;
}

static int leave(void **state)
{
    for (int n = 1; n <= world.size; n++)
        if (world.rank < n) mr_comm_destroy(&groups[n]);
    return ranks_leave_folder(state);
}

#define TEST(function) cmocka_unit_test_teardown(function, clear)

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    mr_log_set_quiet(true);
    const struct CMUnitTest tests[] = {
        TEST(every_shard_is_opened_once_by_as_many_ranks),
        TEST(another_number_of_ranks_and_mode_read_the_same_bits),
        TEST(what_is_trained_and_what_is_not_must_be_what_it_was),
        TEST(a_read_that_fails_on_one_rank_is_told_on_all),
        TEST(a_configuration_that_one_rank_cannot_read_ends_all),
    };
    return ranks_end(cmocka_run_group_tests(tests, enter, leave));
}
