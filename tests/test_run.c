#include "base/text.h"
#include "logs.h"
#include "program.h"
#include "store/runlog_read.h"

#include <math.h>
#include <stdlib.h>

/* What is trained, as keys of a matrix block; each on every number of ranks, in every way to
 * shard. */
enum {
    FFT,
    FFT_RECOMPUTED,
    FFT_HALVES,
    FFT_TIED,
    LORA,
    LORA_DROPPED,
    MORA_ROTATION,
    MORA_SHARING,
    MORA_TIED,
    VARIANTS,
    SHARDS = 3
};

static const char *const variants[VARIANTS] = {
    [FFT] = "method.name: fft, train.recompute: none",
    [FFT_RECOMPUTED] = "method.name: fft, train.recompute: layer",
    [FFT_HALVES] = "method.name: fft, train.optimizer_dtype: bf16",
    [FFT_TIED] = "method.name: fft, model.config: ../tied.json",
    [LORA] = "method.name: lora",
    [LORA_DROPPED] = "method.name: lora, method.lora_dropout: 0.1, train.recompute: layer",
    [MORA_ROTATION] = "method.name: mora, method.operator: rotation, train.recompute: attention",
    [MORA_SHARING] = "method.name: mora, method.operator: sharing, method.r: 8, "
                     "method.lora_dropout: 0.1",
    [MORA_TIED] = "method.name: mora, method.operator: rotation, model.config: ../tied.json",
};

static const char *const shards[SHARDS] = {"full", "optimizer", "none"};
static const int rank_counts[] = {1, 2, 4};

enum { RANK_COUNTS = sizeof rank_counts / sizeof rank_counts[0], RUNS = VARIANTS * SHARDS };

static char log_names[RUNS][256]; /* of matrix.yaml, in its order */

static const char base_yaml[] = "run: {name: base, seed: 3, output: out}\n"
                                "model: {config: %stiny.json, init: random}\n"
                                "task: {name: uuid, pairs: 16}\n"
                                "method: {name: fft}\n"
                                "train: {steps: 6, global_batch: 16, micro_batch: 2, lr: 0.003}\n"
                                "eval: {at_steps: [3, 6], items: 6}\n"
                                "parallel: {threads: 1}\n";

static void write_matrix(void)
{
    mr_text text = {0};
    mr_text_add(&text, base_yaml, "../");
    mr_text_add(&text, "matrix:\n");
    for (int v = 0; v < VARIANTS; v++)
        for (int s = 0; s < SHARDS; s++)
            mr_text_add(&text, "- {%s, parallel.shard: %s, run.save_model: m%d}\n", variants[v],
                        shards[s], v * SHARDS + s);
    program_write("matrix.yaml", "%s", mr_text_get(&text));
    mr_text_free(&text);
}

static int enter(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    program_write("base.yaml", base_yaml, "");
    write_matrix();
    return 0;
}

static void log_of(int run, int ranks, char path[512])
{
    snprintf(path, 512, "ranks%d/out/%.255s.h5", ranks, log_names[run]);
}

/* Takes the names of a list "0 name", "1 name" ... */
static void take_names(const char *list)
{
    for (int i = 0; i < RUNS; i++) {
        int number = -1;
        if (sscanf(list, "%d %255s", &number, log_names[i]) != 2 || number != i)
            fail_msg("expected the name of run %d, found \"%s\"", i, list);
        list = strchr(list, '\n');
        assert_non_null(list);
        list++;
    }
    assert_string_equal(list, "");
}

static void a_list_numbers_and_names_the_runs(void **state)
{
    (void)state;
    program_result listed = program_succeed((program_setting){0}, "run matrix.yaml --list");
    take_names(listed.out);
    assert_int_equal(program_lines_with(listed.err, "mora"), 0);
    assert_false(file_exists("out"));
    program_free(&listed);
}

/* Neither is trained twice, nor tabled as two methods. */
static void a_list_has_equal_runs_once_and_tells(void **state)
{
    (void)state;
    program_write("equal.yaml",
                  "run: {name: equal, output: out}\nmodel: {config: tiny.json, init: random}\n"
                  "train: {steps: 1}\nmatrix: {method.name: [lora, mora, fft], method.operator: "
                  "[sharing, rotation]}\n");
    program_result listed = program_succeed((program_setting){.ranks = 2}, "run equal.yaml --list");
    assert_string_equal(listed.out, "0 equal.lora\n1 equal.mora-operatorsharing\n"
                                    "2 equal.mora-operatorrotation\n3 equal.fft\n");
    assert_contains(listed.err,
                    "4 runs; 2 more combinations of the matrix are equal to one of them\n");
    program_free(&listed);
}

static void a_matrix_runs_on_1_2_and_4_ranks(void **state)
{
    (void)state;
    for (int n = 0; n < RANK_COUNTS; n++) {
        char where[32];
        snprintf(where, sizeof where, "ranks%d", rank_counts[n]);
        program_make_folder(where);
        program_result result = program_succeed(
            (program_setting){.ranks = rank_counts[n], .folder = where, .seconds = 280},
            "run ../matrix.yaml");
        assert_int_equal(program_lines_with(result.out, ".h5"), RUNS);
        program_free(&result);
        for (int run = 0; run < RUNS; run++) {
            char log[512];
            log_of(run, rank_counts[n], log);
            log_assert_text(log, "stop_reason", "completed");
            assert_int_equal(log_int(log, "ranks"), rank_counts[n]);
        }
    }
}

/* Every way to shard on every number of ranks against one rank that shards nothing. */
static void assert_all_same_bits(const char *dataset)
{
    for (int v = 0; v < VARIANTS; v++) {
        char reference[512], log[512];
        log_of(v * SHARDS + SHARDS - 1, 1, reference);
        for (int n = 0; n < RANK_COUNTS; n++)
            for (int s = 0; s < SHARDS; s++) {
                log_of(v * SHARDS + s, rank_counts[n], log);
                log_assert_same_bits(log, reference, dataset, 0);
            }
    }
}

static void losses_have_the_same_bits_however_sharded(void **state)
{
    (void)state;
    assert_all_same_bits("/train/loss");
}

static void gradient_norms_have_the_same_bits_however_sharded(void **state)
{
    (void)state;
    assert_all_same_bits("/train/grad_norm");
}

static void accuracies_are_the_same_however_sharded(void **state)
{
    (void)state;
    assert_all_same_bits("/eval/uuid/accuracy");
    assert_all_same_bits("/eval/uuid/exact");
}

static void assert_all_same_files(int first, int last, const char *name)
{
    for (int v = first; v <= last; v++)
        for (int n = 0; n < RANK_COUNTS; n++)
            for (int s = 0; s < SHARDS; s++) {
                char path[128], reference[128];
                snprintf(path, sizeof path, "ranks%d/m%d/%s", rank_counts[n], v * SHARDS + s, name);
                snprintf(reference, sizeof reference, "ranks1/m%d/%s", v * SHARDS + SHARDS - 1,
                         name);
                file_assert_same(path, reference);
            }
}

static void saved_models_are_the_same_bytes_however_sharded(void **state)
{
    (void)state;
    assert_all_same_files(0, VARIANTS - 1, "model.safetensors");
    assert_all_same_files(0, VARIANTS - 1, "config.json");
}

static void kept_tensors_are_the_same_bits_however_sharded(void **state)
{
    (void)state;
    for (int v = 0; v < VARIANTS; v++)
        for (int n = 0; n < RANK_COUNTS; n++)
            for (int s = 0; s < SHARDS; s++) {
                char path[512], reference[512];
                snprintf(path, sizeof path, "ranks%d/out/%.255s.trained.safetensors",
                         rank_counts[n], log_names[v * SHARDS + s]);
                snprintf(reference, sizeof reference, "ranks1/out/%.255s.trained.safetensors",
                         log_names[v * SHARDS + SHARDS - 1]);
                file_assert_same_tensors(path, reference);
            }
}

static void recomputation_changes_no_bit(void **state)
{
    (void)state;
    char kept[512], recomputed[512];
    log_of(FFT * SHARDS, 2, kept);
    log_of(FFT_RECOMPUTED * SHARDS, 2, recomputed);
    log_assert_same_bits(kept, recomputed, "/train/loss", 0);
    log_assert_same_bits(kept, recomputed, "/train/grad_norm", 0);
    file_assert_same("ranks2/m0/model.safetensors", "ranks2/m3/model.safetensors");
}

static void states_in_bf16_are_close_to_f32(void **state)
{
    (void)state;
    char halves[512], whole[512];
    int64_t count;
    log_of(FFT_HALVES * SHARDS, 1, halves);
    log_of(FFT * SHARDS, 1, whole);
    log_assert_text(halves, "optimizer_dtype", "bf16");
    log_assert_close(halves, whole, "/train/loss", 2e-3);
    double *a = log_series(halves, "/train/loss", &count);
    double *b = log_series(whole, "/train/loss", &count);
    assert_true(a[count - 1] != b[count - 1]);
    mr_free(a);
    mr_free(b);
    program_fail((program_setting){0}, 1,
                 "train.optimizer_dtype: bf16 is for trained weights of the base, and method lora "
                 "trains none of them",
                 "run base.yaml --set method.name=lora --set train.optimizer_dtype=bf16");
}

static void dropout_changes_the_losses(void **state)
{
    (void)state;
    char with[512], without[512];
    log_of(LORA_DROPPED * SHARDS, 1, with);
    log_of(LORA * SHARDS, 1, without);
    int64_t count;
    double *a = log_series(with, "/train/loss", &count);
    double *b = log_series(without, "/train/loss", &count);
    assert_true(a[count - 1] != b[count - 1]);
    mr_free(a);
    mr_free(b);
}

static void every_method_lowers_the_loss(void **state)
{
    (void)state;
    for (int v = 0; v < VARIANTS; v++) {
        char log[512];
        int64_t count;
        log_of(v * SHARDS, 1, log);
        double *loss = log_series(log, "/train/loss", &count);
        if (!(loss[count - 1] < loss[0] - 0.02))
            fail_msg("%s: loss %g, then %g", log, loss[0], loss[count - 1]);
        mr_free(loss);
    }
}

static void a_log_says_which_ranks_give_the_same_bits(void **state)
{
    (void)state;
    char log[512];
    log_of(0, 4, log);
    log_assert_text(log, "same_bits_on",
                    "1, 2, 4 ... same_bits_up_to ranks, at the same number of threads");
    assert_int_equal(log_int(log, "micro_batches"), 8);
}

/* A base of six micro-batches. */
static const char six[] = "run base.yaml --set train.global_batch=12";

static void an_odd_number_of_ranks_is_deterministic(void **state)
{
    (void)state;
    const program_setting three = {.ranks = 3};
    const char *const names[] = {"three", "again"};
    for (int i = 0; i < 2; i++) {
        program_result result = program_succeed(three, "%s --set run.name=%s", six, names[i]);
        program_free(&result);
    }
    log_assert_same_bits("out/three.h5", "out/again.h5", "/train/loss", 0);
    log_assert_same_bits("out/three.h5", "out/again.h5", "/train/grad_norm", 0);
    log_assert_text("out/three.h5", "same_bits_on", "this number of ranks");
}

static void an_odd_number_of_ranks_is_close_to_one(void **state)
{
    (void)state;
    program_result one = program_succeed((program_setting){0}, "%s --set run.name=one", six);
    log_assert_close("out/three.h5", "out/one.h5", "/train/loss", 1e-5);
    program_free(&one);
}

static void two_ranks_with_an_odd_number_of_waves_give_the_bits_of_one(void **state)
{
    (void)state;
    program_result two =
        program_succeed((program_setting){.ranks = 2}, "%s --set run.name=two", six);
    log_assert_same_bits("out/two.h5", "out/one.h5", "/train/loss", 0);
    log_assert_same_bits("out/two.h5", "out/one.h5", "/train/grad_norm", 0);
    program_free(&two);
}

/* Twelve micro-batches in four stretches of three, or in two of six: sums that are kept whole, and
 * such as are dealt out after each wave. */
static void stretches_give_the_same_bits_on_as_many_ranks(void **state)
{
    (void)state;
    static const char *const cuts[] = {"0", "2"};
    for (size_t c = 0; c < sizeof cuts / sizeof cuts[0]; c++)
        for (int ranks = 1; ranks <= (c == 0 ? 4 : 2); ranks *= 2)
            for (int s = 0; s < (ranks == 1 ? 1 : SHARDS); s++) {
                program_result run = program_succeed(
                    (program_setting){.ranks = ranks},
                    "run base.yaml --set train.global_batch=12 --set train.micro_batch=1 --set "
                    "train.steps=3 --set eval.at_steps=[] --set parallel.same_bits_up_to=%s --set "
                    "parallel.shard=%s --set run.name=cut%s-%d-%d",
                    cuts[c], shards[s], cuts[c], ranks, s);
                program_free(&run);
                char log[64], first[64];
                snprintf(log, sizeof log, "out/cut%s-%d-%d.h5", cuts[c], ranks, s);
                snprintf(first, sizeof first, "out/cut%s-1-0.h5", cuts[c]);
                log_assert_same_bits(log, first, "/train/loss", 0);
                log_assert_same_bits(log, first, "/train/grad_norm", 0);
                assert_int_equal(log_int(log, "same_bits_up_to"), c == 0 ? 4 : 2);
            }
    log_assert_close("out/cut2-1-0.h5", "out/cut0-1-0.h5", "/train/loss", 1e-5);
}

/* Ranks of one node, of two nodes (or what passes for them), and such that share no memory. */
static void nodes_give_the_same_bits(void **state)
{
    (void)state;
    static const char *const nodes[] = {"4", "2", "off"};
    for (int n = 0; n < 3; n++)
        for (int s = 0; s < SHARDS; s++) {
            setenv("MORA_NODE_RANKS", n < 2 ? nodes[n] : "0", 1);
            program_result run = program_succeed(
                (program_setting){.ranks = 4},
                "run base.yaml --set parallel.shared_memory=%s --set parallel.shard=%s --set "
                "run.name=nodes%s-%d --set method.name=relora --set method.merge_every=3 --set "
                "checkpoint.every_steps=3",
                n < 2 ? "auto" : "off", shards[s], nodes[n], s);
            unsetenv("MORA_NODE_RANKS");
            program_free(&run);
            char log[64];
            snprintf(log, sizeof log, "out/nodes%s-%d.h5", nodes[n], s);
            log_assert_same_bits(log, "out/nodes4-0.h5", "/train/loss", 0);
            log_assert_same_bits(log, "out/nodes4-0.h5", "/train/grad_norm", 0);
        }
}

static void one_micro_batch_is_close_to_eight(void **state)
{
    (void)state;
    program_result eight =
        program_succeed((program_setting){0}, "run base.yaml --set run.name=eight");
    program_result whole = program_succeed(
        (program_setting){0}, "run base.yaml --set run.name=whole --set train.micro_batch=16");
    assert_int_equal(log_int("out/whole.h5", "micro_batches"), 1);
    log_assert_close("out/whole.h5", "out/eight.h5", "/train/loss", 1e-5);
    program_free(&eight);
    program_free(&whole);
}

static long long total_of(const char *plan)
{
    const char *line = strstr(plan, "  total ");
    const char *bytes = line ? strchr(line, '(') : NULL;
    if (!bytes) fail_msg("no total in \"%s\"", plan);
    return strtoll(bytes + 1, NULL, 10);
}

static void a_dry_run_prints_the_bytes_that_a_run_takes(void **state)
{
    (void)state;
    for (int ranks = 1; ranks <= 4; ranks += 3) {
        const program_setting setting = {.ranks = ranks};
        program_result plan =
            program_succeed(setting, "run base.yaml --dry-run --set run.name=plan%d", ranks);
        char log[32];
        snprintf(log, sizeof log, "out/plan%d.h5", ranks);
        assert_false(file_exists(log));
        program_result trained =
            program_succeed(setting, "run base.yaml --set run.name=plan%d", ranks);
        assert_int_equal(total_of(plan.out), log_int(log, "planned_bytes"));
        assert_true(log_int(log, "peak_bytes") >= log_int(log, "planned_bytes"));
        program_free(&plan);
        program_free(&trained);
    }
}

static void less_memory_makes_waves_narrower_and_changes_no_bit(void **state)
{
    (void)state;
    /* The copy of a checkpoint is what goes first when memory is short. */
    static const char unstaged[] =
        "--set checkpoint.every_minutes=0 --set parallel.shared_memory=off";
    const program_setting two = {.ranks = 2};
    program_result wide = program_succeed(two, "run base.yaml --dry-run %s", unstaged);
    assert_contains(wide.out, "2 ranks x 1 waves x 4 micro-batches");
    double room = (double)(total_of(wide.out) - 1) / (1024.0 * 1024.0 * 1024.0);
    program_result narrow = program_succeed(
        two, "run base.yaml --dry-run --set parallel.memory_gib=%.17g %s", room, unstaged);
    assert_contains(narrow.out, "2 ranks x 2 waves x 2 micro-batches");
    program_result trained = program_succeed(
        two, "run base.yaml --set run.name=narrow --set parallel.memory_gib=%.17g %s", room,
        unstaged);
    log_assert_same_bits("out/narrow.h5", "out/eight.h5", "/train/loss", 0);
    log_assert_same_bits("out/narrow.h5", "out/eight.h5", "/train/grad_norm", 0);
    program_free(&wide);
    program_free(&narrow);
    program_free(&trained);
}

static void a_completed_run_is_not_run_again(void **state)
{
    (void)state;
    size_t size, size_after;
    char *before = program_read("out/eight.h5", &size);
    program_result again =
        program_succeed((program_setting){.ranks = 2}, "run base.yaml --set run.name=eight");
    char *after = program_read("out/eight.h5", &size_after);
    assert_contains(again.err, "mora: eight: done already, see out/eight.h5");
    assert_contains(again.out, "(done before)");
    assert_contains(again.out, "uuid: accuracy ");
    assert_int_equal(size, size_after);
    assert_memory_equal(before, after, size);
    program_free(&again);
    mr_free(before);
    mr_free(after);
}

static void a_completed_run_of_another_configuration_is_run_again(void **state)
{
    (void)state;
    program_result other = program_succeed(
        (program_setting){0}, "run base.yaml --set run.name=whole --set train.lr=0.001");
    assert_null(strstr(other.err, "done already"));
    int64_t count;
    double *lr = log_series("out/whole.h5", "/train/lr", &count);
    assert_true(lr[0] == 0.001);
    mr_free(lr);
    program_free(&other);
}

/* The path of the one log that a run of four.yaml leaves for a method and a seed. */
static const char *four_log(const char *method, int seed)
{
    static char path[128];
    snprintf(path, sizeof path, "four/four.%s-seed%d.h5", method, seed);
    return path;
}

static void an_index_runs_that_run_alone(void **state)
{
    (void)state;
    program_write("four.yaml",
                  "run: {output: four}\nmodel: {config: tiny.json, init: random}\n"
                  "task: {pairs: 4}\nmethod: {r: 4}\nparallel: {threads: 1}\n"
                  "train: {steps: 2, global_batch: 4}\neval: {at_steps: [2], items: 2}\n"
                  "matrix: {method.name: [fft, mora], run.seed: [0, 1]}\n");
    program_result third = program_succeed((program_setting){0}, "run four.yaml --index 2");
    assert_true(file_exists(four_log("mora", 0)));
    assert_false(file_exists(four_log("mora", 1)));
    assert_false(file_exists(four_log("fft", 0)));
    program_free(&third);
}

static void a_matrix_of_four_makes_four_logs(void **state)
{
    (void)state;
    program_result all = program_succeed((program_setting){0}, "run four.yaml --json");
    static const char *const methods[] = {"fft", "mora"};
    for (int i = 0; i < 4; i++) {
        log_assert_text(four_log(methods[i / 2], i % 2), "method", methods[i / 2]);
        assert_int_equal(log_int(four_log(methods[i / 2], i % 2), "seed"), i % 2);
    }
    assert_int_equal(program_lines_with(all.out, "\"log\": \"four/four."), 4);
    assert_int_equal(program_lines_with(all.out, "\"skipped\": true"), 1);
    assert_int_equal(program_lines_with(all.out, "\"score_name\": \"accuracy\","), 4);
    assert_int_equal(program_lines_with(all.out, "\"score\": 0"), 4);
    assert_int_equal(program_lines_with(all.out, "\"accuracy\": 0"), 4);
    program_free(&all);
}

/* The keys are the same with a score and without. */
static void json_of_a_run_without_an_evaluation_has_no_score(void **state)
{
    (void)state;
    program_result result =
        program_succeed((program_setting){0}, "run base.yaml --json --set run.name=unscored "
                                              "--set train.stop_after=1");
    assert_contains(result.out, "\"score_name\": null,");
    assert_contains(result.out, "\"score\": null,");
    assert_contains(result.out, "\"scores\": {},");
    program_free(&result);
}

static void a_run_stopped_early_keeps_the_schedule_of_its_whole_length(void **state)
{
    (void)state;
    program_result stopped = program_succeed(
        (program_setting){0}, "run base.yaml --set run.name=stopped --set train.stop_after=4");
    log_assert_text("out/stopped.h5", "stop_reason", "stopped by train.stop_after");
    assert_int_equal(log_int("out/stopped.h5", "steps"), 4);
    int64_t count;
    mr_free(log_series("out/stopped.h5", "/train/lr", &count));
    assert_int_equal(count, 4);
    log_assert_same_bits("out/stopped.h5", "out/eight.h5", "/train/lr", 4);
    log_assert_same_bits("out/stopped.h5", "out/eight.h5", "/train/loss", 4);
    program_free(&stopped);
}

static void assert_steps(const char *path, const double *expected, int64_t expected_count)
{
    int64_t count;
    double *steps = log_series(path, "/eval/uuid/step", &count);
    assert_int_equal(count, expected_count);
    for (int64_t i = 0; i < count; i++)
        assert_true(steps[i] == expected[i]);
    mr_free(steps);
}

static void a_task_is_scored_at_the_listed_steps(void **state)
{
    (void)state;
    program_result listed = program_succeed(
        (program_setting){0}, "run base.yaml --set run.name=listed --set eval.at_steps=[1,2,5]");
    assert_steps("out/listed.h5", (const double[]){1, 2, 5}, 3);
    program_free(&listed);
}

static void a_task_is_scored_every_so_many_steps(void **state)
{
    (void)state;
    program_result every = program_succeed(
        (program_setting){0},
        "run base.yaml --set run.name=every --set eval.at_steps=[] --set eval.every=2");
    assert_steps("out/every.h5", (const double[]){2, 4, 6}, 3);
    program_free(&every);
}

static void a_task_is_scored_at_the_end_where_nothing_is_said(void **state)
{
    (void)state;
    program_result last = program_succeed(
        (program_setting){0}, "run base.yaml --set run.name=last --set eval.at_steps=[]");
    assert_steps("out/last.h5", (const double[]){6}, 1);
    program_free(&last);
}

static void a_saved_model_starts_where_its_training_ended(void **state)
{
    (void)state;
    const program_setting alone = {0};
    program_result longer =
        program_succeed(alone, "run base.yaml --set run.name=longer --set train.schedule=constant");
    program_result part = program_succeed(alone, "run base.yaml --set run.name=part "
                                                 "--set train.schedule=constant "
                                                 "--set train.steps=5 --set eval.at_steps=[5] "
                                                 "--set run.save_model=part");
    program_result rest = program_succeed(alone, "run base.yaml --set run.name=rest "
                                                 "--set train.steps=1 --set eval.at_steps=[1] "
                                                 "--set model.config= --set model.path=part "
                                                 "--set model.init=pretrained");
    int64_t count, one;
    double *whole = log_series("out/longer.h5", "/train/loss", &count);
    double *begun = log_series("out/rest.h5", "/train/loss", &one);
    assert_int_equal(count, 6);
    /* Every batch is all of the data, in another order: the last bits may differ. */
    if (!(fabs(whole[5] - begun[0]) < 1e-6 * whole[5]))
        fail_msg("loss %.9g, started from the saved model %.9g", whole[5], begun[0]);
    mr_free(whole);
    mr_free(begun);
    program_free(&longer);
    program_free(&part);
    program_free(&rest);
}

static void full_fine_tuning_memorises_four_pairs(void **state)
{
    (void)state;
    program_result learned = program_succeed(
        (program_setting){0},
        "run base.yaml --set run.name=learned --set task.pairs=4 --set train.global_batch=4 "
        "--set train.steps=150 --set train.lr=0.01 --set train.warmup_steps=5 "
        "--set eval.at_steps=[150] --set eval.items=0 --set log.every=150");
    int64_t count;
    double *accuracy = log_series("out/learned.h5", "/eval/uuid/accuracy", &count);
    assert_int_equal(count, 1);
    if (!(accuracy[0] > 0.9)) fail_msg("accuracy %g", accuracy[0]);
    mr_free(accuracy);
    program_free(&learned);
}

static void the_papers_largest_pretraining_is_planned_without_its_data(void **state)
{
    (void)state;
    static const int ranks[] = {8, 64, 512};
    const char *source = getenv("MR_SOURCE_DIR");
    assert_non_null(source);
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++) {
        program_result plan = program_succeed((program_setting){.folder = source},
                                              "run experiments/pretrain/1b3.yaml --dry-run "
                                              "--ranks %d",
                                              ranks[i]);
        /* Five methods, four rates, two seeds. */
        assert_int_equal(program_lines_with(plan.out, "total"), 40);
        assert_int_equal(program_lines_with(plan.out, "checkpoint"), 40);
        assert_contains(plan.out, "parameters     1339492352, trained 1339492352 (100.000 %)");
        assert_contains(plan.err, "planned without it");
        program_free(&plan);
    }
}

/* The gradient norms of steps on one sample, given `copies` times, that change nothing. */
static double *norms_of_one_sample(const char *name, int copies)
{
    char path[64];
    int64_t count;
    program_result result = program_succeed(
        (program_setting){0},
        "run base.yaml --set run.name=%s --set task.pairs=1 --set train.global_batch=%d --set "
        "train.micro_batch=1 --set method.name=lora --set method.lora_dropout=0.5 --set "
        "train.lr=1e-30 --set train.steps=3 --set eval.at_steps=[3] --set eval.items=1",
        name, copies);
    program_free(&result);
    snprintf(path, sizeof path, "out/%s.h5", name);
    double *norms = log_series(path, "/train/grad_norm", &count);
    assert_int_equal(count, 3);
    return norms;
}

static void dropout_differs_by_step_and_by_sample(void **state)
{
    (void)state;
    double *one = norms_of_one_sample("one_sample", 1),
           *two = norms_of_one_sample("two_samples", 2);
    bool by_step =
        memcmp(&one[0], &one[1], sizeof *one) != 0 && memcmp(&one[1], &one[2], sizeof *one) != 0;
    /* With one mask for both, the mean of two gradients is the one gradient. */
    bool by_sample = memcmp(&one[0], &two[0], sizeof *one) != 0;
    mr_free(one);
    mr_free(two);
    assert_true(by_step);
    assert_true(by_sample);
}

static void every_method_starts_from_the_loss_of_its_base(void **state)
{
    (void)state;
    static const char *const methods[] = {"fft",  "lora",   "lora_plus", "asylora",
                                          "dora", "relora", "mora",      "remora"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        char path[64];
        program_result result = program_succeed(
            (program_setting){0},
            "run base.yaml --set run.name=start_%s --set method.name=%s --set train.steps=1 --set "
            "eval.at_steps=[1] --set eval.items=1",
            methods[i], methods[i]);
        program_free(&result);
        snprintf(path, sizeof path, "out/start_%s.h5", methods[i]);
        log_assert_close(path, "out/start_fft.h5", "/train/loss", 1e-6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_numbers_and_names_the_runs),
        cmocka_unit_test(a_list_has_equal_runs_once_and_tells),
        cmocka_unit_test(a_matrix_runs_on_1_2_and_4_ranks),
        cmocka_unit_test(losses_have_the_same_bits_however_sharded),
        cmocka_unit_test(gradient_norms_have_the_same_bits_however_sharded),
        cmocka_unit_test(accuracies_are_the_same_however_sharded),
        cmocka_unit_test(saved_models_are_the_same_bytes_however_sharded),
        cmocka_unit_test(kept_tensors_are_the_same_bits_however_sharded),
        cmocka_unit_test(recomputation_changes_no_bit),
        cmocka_unit_test(states_in_bf16_are_close_to_f32),
        cmocka_unit_test(dropout_changes_the_losses),
        cmocka_unit_test(every_method_lowers_the_loss),
        cmocka_unit_test(a_log_says_which_ranks_give_the_same_bits),
        cmocka_unit_test(an_odd_number_of_ranks_is_deterministic),
        cmocka_unit_test(an_odd_number_of_ranks_is_close_to_one),
        cmocka_unit_test(two_ranks_with_an_odd_number_of_waves_give_the_bits_of_one),
        cmocka_unit_test(stretches_give_the_same_bits_on_as_many_ranks),
        cmocka_unit_test(nodes_give_the_same_bits),
        cmocka_unit_test(one_micro_batch_is_close_to_eight),
        cmocka_unit_test(a_dry_run_prints_the_bytes_that_a_run_takes),
        cmocka_unit_test(the_papers_largest_pretraining_is_planned_without_its_data),
        cmocka_unit_test(less_memory_makes_waves_narrower_and_changes_no_bit),
        cmocka_unit_test(a_completed_run_is_not_run_again),
        cmocka_unit_test(a_completed_run_of_another_configuration_is_run_again),
        cmocka_unit_test(an_index_runs_that_run_alone),
        cmocka_unit_test(a_matrix_of_four_makes_four_logs),
        cmocka_unit_test(json_of_a_run_without_an_evaluation_has_no_score),
        cmocka_unit_test(a_run_stopped_early_keeps_the_schedule_of_its_whole_length),
        cmocka_unit_test(a_task_is_scored_at_the_listed_steps),
        cmocka_unit_test(a_task_is_scored_every_so_many_steps),
        cmocka_unit_test(a_task_is_scored_at_the_end_where_nothing_is_said),
        cmocka_unit_test(a_saved_model_starts_where_its_training_ended),
        cmocka_unit_test(full_fine_tuning_memorises_four_pairs),
        cmocka_unit_test(dropout_differs_by_step_and_by_sample),
        cmocka_unit_test(every_method_starts_from_the_loss_of_its_base),
    };
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
