#include "base/file.h"
#include "logs.h"
#include "model_files.h"
#include "program.h"
#include "store/json.h"
#include "store/safetensors.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

/* What a run takes from folders, and what it leaves in them. */

static const program_setting alone = {0}, two = {.ranks = 2};

/* A base of 16 columns, and runs that see all of their data in every step. */
static int enter(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    model_files *files = model_files_make(259, 2, false, 1);
    snprintf(files->extra, sizeof files->extra,
             ", \"pad_token_id\": 0, \"note\": \"of the base\", \"torch_dtype\": \"bfloat16\"");
    model_files_write(files, "base");
    model_files_free(&files);
    program_write("base/generation_config.json", "{\"temperature\": 0.5}\n");
    program_write("base/chat_template.jinja", "{{ messages }}\n");
    program_write("run.yaml", "run: {name: one, seed: 3, output: out}\n"
                              "model: {path: base}\n"
                              "task: {name: uuid, pairs: 8}\n"
                              "method: {name: lora, r: 4}\n"
                              "train: {steps: 6, global_batch: 8, micro_batch: 4, lr: 0.01, "
                              "schedule: constant}\n"
                              "eval: {items: 1}\n"
                              "checkpoint: {every_minutes: 0}\n"
                              "parallel: {threads: 1}\n");
    return 0;
}

static program_result fails(program_setting setting, const char *arguments, const char *message)
{
    program_result result = program_run(setting, "%s", arguments);
    assert_int_equal(result.exit_code, 1);
    assert_contains(result.err, message);
    assert_int_equal(program_lines_with(result.err, "mora: error"), 1);
    return result;
}

static void refused(const char *arguments, const char *message)
{
    program_result result = fails(alone, arguments, message);
    program_free(&result);
}

static void done(const char *arguments, const char *said)
{
    program_result result = program_succeed(alone, "%s", arguments);
    assert_contains(result.err, said);
    program_free(&result);
}

static double last_loss(const char *log)
{
    int64_t count;
    double *loss = log_series(log, "/train/loss", &count);
    double last = loss[count - 1];
    mr_free(loss);
    return last;
}

static const char *const methods[] = {"fft",  "lora",   "lora_plus", "asylora",
                                      "dora", "relora", "mora",      "remora"};
enum { METHODS = sizeof methods / sizeof *methods };

/* The loss of a seventh step is that of the weights after six. */
static void a_saved_model_is_the_trained_one_whatever_the_method(void **state)
{
    (void)state;
    program_write("methods.yaml",
                  "run: {seed: 3, output: out}\nmodel: {path: base}\n"
                  "task: {name: uuid, pairs: 8}\nmethod: {r: 4, merge_every: 2}\n"
                  "train: {steps: 7, global_batch: 8, micro_batch: 4, lr: 0.01, schedule: "
                  "constant}\n"
                  "eval: {items: 1}\nparallel: {threads: 1}\n"
                  "matrix: {method.name: [fft, lora, lora_plus, asylora, dora, relora, mora, "
                  "remora]}\n");
    program_result saved = program_succeed(
        two, "run methods.yaml --set run.save_model=models --set train.stop_after=6");
    program_result longer = program_succeed(two, "run methods.yaml --set run.output=longer");
    program_free(&saved);
    program_free(&longer);
    for (int m = 0; m < METHODS; m++) {
        char log[64], again[64];
        program_result read = program_succeed(
            alone,
            "run run.yaml --set run.name=read-%s --set model.path=models/methods.%s --set "
            "method.name=fft --set train.steps=1",
            methods[m], methods[m]);
        program_free(&read);
        snprintf(log, sizeof log, "longer/methods.%s.h5", methods[m]);
        snprintf(again, sizeof again, "out/read-%s.h5", methods[m]);
        double trained = last_loss(log), first = last_loss(again);
        if (!(fabs(trained - first) < 2e-6 * trained))
            fail_msg("%s: loss %.9g, of the saved model %.9g", methods[m], trained, first);
    }
}

static void what_stands_beside_the_weights_travels_with_them(void **state)
{
    (void)state;
    json_t *config;
    program_result saved =
        program_succeed(alone, "run run.yaml --set run.name=beside --set run.save_model=beside");
    program_free(&saved);
    must(mr_json_read("beside/config.json", &config));
    assert_string_equal(json_string_value(json_object_get(config, "note")), "of the base");
    assert_int_equal(json_integer_value(json_object_get(config, "pad_token_id")), 0);
    assert_string_equal(json_string_value(json_object_get(config, "torch_dtype")), "float32");
    assert_int_equal(json_integer_value(json_object_get(config, "hidden_size")), 16);
    json_decref(config);
    file_assert_same("beside/generation_config.json", "base/generation_config.json");
    file_assert_same("beside/chat_template.jinja", "base/chat_template.jinja");
    assert_false(file_exists("beside/adapter.safetensors"));
    must(mr_json_read("beside/mora.json", &config));
    assert_true(json_is_true(json_object_get(config, "whole")));
    assert_string_equal(json_string_value(json_object_get(config, "run")), "beside");
    json_decref(config);
    program_result told = program_succeed(alone, "info beside/mora.json");
    assert_contains(told.out, "mark of a saved model");
    program_free(&told);
    told = program_succeed(alone, "info beside");
    assert_contains(told.out, "whole  ");
    program_free(&told);
}

static void a_tokenizer_travels_with_the_model(void **state)
{
    (void)state;
    char sample[TEST_PATH];
    test_shared("data/weights/stories260K-hf", sample);
    program_result saved = program_succeed(
        alone, "run run.yaml --set run.name=story --set run.save_model=story --set model.path=%s",
        sample);
    program_free(&saved);
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/tokenizer.model", sample);
    file_assert_same("story/tokenizer.model", path);
    saved = program_succeed(alone,
                            "run run.yaml --set run.name=own --set run.save_model=own --set "
                            "model.path=%s --set model.tokenizer=bytes",
                            sample);
    program_free(&saved);
    assert_false(file_exists("own/tokenizer.model"));
}

static void a_folder_that_cannot_be_made_ends_a_run_before_its_first_step(void **state)
{
    (void)state;
    program_write("plain", "a regular file\n");
    program_result result = fails(two,
                                  "run run.yaml --set run.name=bad --set "
                                  "run.save_model=plain/model",
                                  "cannot make folder 'plain/model': Not a directory");
    assert_null(strstr(result.err, "1/6"));
    assert_string_equal(result.out, "");
    assert_false(file_exists("out/bad.h5"));
    program_free(&result);
}

static void a_model_is_not_saved_over_the_one_it_came_from(void **state)
{
    (void)state;
    refused("run run.yaml --set run.name=over --set run.save_model=./base/",
            "config: run.yaml: over: run.save_model: './base' is model.path, and the model it "
            "starts from "
            "would be lost");
    assert_false(file_exists("base/mora.json"));
}

static void a_model_is_not_saved_over_one_that_no_run_saved(void **state)
{
    (void)state;
    model_files *files = model_files_make(259, 1, false, 2);
    model_files_write(files, "other");
    model_files_free(&files);
    refused("run run.yaml --set run.name=over --set run.save_model=other",
            "run.save_model: 'other' holds a model already (config.json), which no run saved "
            "there; name another folder, or move that away");
}

static void a_model_is_not_saved_over_that_of_another_run(void **state)
{
    (void)state;
    refused("run run.yaml --set run.name=over --set run.save_model=beside",
            "run.save_model: 'beside' is where run 'beside' saves, whose log is '");
    refused("run run.yaml --set run.name=beside --set run.output=apart --set "
            "run.save_model=beside",
            "run.save_model: 'beside' is where run 'beside' saves");
    /* The same run may, with other keys. */
    program_result again = program_succeed(
        alone, "run run.yaml --set run.name=beside --set run.save_model=beside --set train.lr=0.1");
    program_free(&again);
}

/* Puts something in the way of a file that is written at the end, runs, and takes it away. */
static void run_against(program_setting setting, const char *obstacle, const char *arguments,
                        const char *message)
{
    program_make_folder(obstacle);
    program_result result = fails(setting, arguments, message);
    program_free(&result);
    assert_int_equal(rmdir(obstacle), 0);
}

static void a_save_that_fails_is_done_again_without_training(void **state)
{
    (void)state;
    static const char *const tried[] = {"fft", "lora", "remora"};
    static const char *const keeps[] = {"trained", "all", "none"};
    for (int i = 0; i < 3; i++) {
        char arguments[256], reference[256], obstacle[64], log[64], kept[64], path[64], other[64];
        snprintf(reference, sizeof reference,
                 "run run.yaml --set method.name=%s --set run.name=sound%d --set "
                 "run.save_model=sound%d",
                 tried[i], i, i);
        snprintf(arguments, sizeof arguments,
                 "run run.yaml --set method.name=%s --set run.name=late%d --set "
                 "run.save_model=late%d --set run.keep=%s",
                 tried[i], i, i, keeps[i]);
        snprintf(obstacle, sizeof obstacle, "late%d/model.safetensors.tmp", i);
        run_against(i == 1 ? two : alone, obstacle, arguments,
                    "the same command saves the model from the trained tensors, without training");
        snprintf(log, sizeof log, "out/late%d.h5", i);
        snprintf(kept, sizeof kept, "out/late%d.trained.safetensors", i);
        log_assert_text(log, "stop_reason", "completed");
        assert_true(file_exists(kept));
        program_result again = program_succeed(two, "%s", arguments);
        assert_contains(again.err, "from its trained tensors");
        assert_null(strstr(again.err, "/6 "));
        assert_contains(again.out, "(done before)");
        assert_true(file_exists(kept) == (i < 2));
        program_free(&again);
        again = program_succeed(alone, "%s", reference);
        program_free(&again);
        snprintf(path, sizeof path, "late%d/model.safetensors", i);
        snprintf(other, sizeof other, "sound%d/model.safetensors", i);
        file_assert_same(path, other);
        done(arguments, "done already, see out/late");
    }
}

static void a_model_may_be_asked_for_after_the_run(void **state)
{
    (void)state;
    program_result run = program_succeed(alone, "run run.yaml --set run.name=later");
    program_free(&run);
    done("run run.yaml --set run.name=later --set run.save_model=later",
         "later: done already, see out/later.h5; its model is saved to later from its trained "
         "tensors");
    file_assert_same("later/model.safetensors", "sound1/model.safetensors");
}

static void tensors_that_cannot_be_kept_leave_a_checkpoint(void **state)
{
    (void)state;
    const char *const arguments = "run run.yaml --set run.name=full";
    run_against(alone, "out/full.trained.safetensors.tmp", arguments,
                "the same command goes on from a checkpoint of the last step");
    program_result again = program_succeed(alone, "%s", arguments);
    assert_contains(again.err, "full: goes on at step 6 from out/full.checkpoints/step-00000006");
    program_free(&again);
    file_assert_same_tensors("out/full.trained.safetensors", "out/later.trained.safetensors");
    done(arguments, "full: done already");
}

/* Counts the tensors of a file whose names hold a part. */
static int tensors_with(const char *path, const char *part)
{
    mr_safetensors *file;
    int found = 0;
    must(mr_safetensors_open(path, &file));
    for (int64_t i = 0; i < mr_safetensors_count(file); i++)
        found += strstr(mr_safetensors_at(file, i)->name, part) != NULL;
    mr_safetensors_close(&file);
    return found;
}

/* Runs with keys that differ from run.yaml and returns the path of what it kept. */
static const char *kept_of(const char *name, const char *sets)
{
    static char path[128];
    program_result run = program_succeed(alone, "run run.yaml --set run.name=%s %s", name, sets);
    program_free(&run);
    snprintf(path, sizeof path, "out/%s.trained.safetensors", name);
    return path;
}

static void a_run_keeps_what_it_trained(void **state)
{
    (void)state;
    const char *lora = kept_of("keeps", "--set method.modules_to_save=[lm_head]");
    assert_int_equal(tensors_with(lora, ""), 2 * 7 * 2 + 1);
    assert_int_equal(tensors_with(lora, "lora_"), 2 * 7 * 2);
    assert_int_equal(tensors_with(lora, "lm_head.weight"), 1);
    const char *fft = kept_of("whole", "--set method.name=fft");
    assert_int_equal(tensors_with(fft, ".weight"), 2 * 9 + 3);
    const char *frozen = kept_of("frozen", "--set method.name=asylora");
    assert_int_equal(tensors_with(frozen, "lora_A"), 2 * 7);
    const char *merged = kept_of("merged", "--set method.name=relora --set method.merge_every=2 "
                                           "--set method.target_modules=[q_proj]");
    assert_int_equal(tensors_with(merged, "q_proj.weight"), 2);
    assert_int_equal(tensors_with(merged, ""), 2 + 2 * 2);
    const char *unmerged = kept_of("unmerged", "--set method.name=relora --set "
                                               "method.merge_every=100");
    assert_int_equal(tensors_with(unmerged, "_proj.weight"), 0);
    const char *all = kept_of("all", "--set run.keep=all");
    assert_int_equal(tensors_with(all, ""), 2 * 9 + 3 + 2 * 7 * 2);
    log_assert_text("out/all.h5", "kept", "all");
    assert_false(file_exists(kept_of("none", "--set run.keep=none")));
    done("run run.yaml --set run.name=none --set run.keep=none", "none: done already");
    done("run run.yaml --set run.name=none",
         "none: its trained tensors were not kept (run.keep: none)");
}

static void kept_tensors_that_are_gone_are_missed(void **state)
{
    (void)state;
    assert_int_equal(unlink("out/whole.trained.safetensors"), 0);
    done("run run.yaml --set run.name=whole --set method.name=fft",
         "mora: warning: whole: the trained tensors that it kept in "
         "'out/whole.trained.safetensors' are gone; --resume never trains them again");
    done("run run.yaml --set run.name=whole --set method.name=fft --set run.save_model=whole",
         "mora: warning: whole: done, but its model is not in 'whole' and neither are its trained "
         "tensors in 'out/whole.trained.safetensors': it is trained again");
    assert_true(file_exists("whole/model.safetensors"));
}

/* Runs, changes what it read by a command of the shell, and expects it to be done anew. */
static void done_anew(const char *name, const char *sets, const char *change, const char *said)
{
    char arguments[512], path[128];
    snprintf(arguments, sizeof arguments, "run run.yaml --set run.name=%s %s", name, sets);
    program_result run = program_succeed(alone, "%s", arguments);
    program_free(&run);
    done(arguments, "done already");
    assert_int_equal(system(change), 0);
    run = program_succeed(two, "%s", arguments);
    assert_contains(run.err, said);
    assert_contains(run.err, "): it is kept, and the run begun anew");
    assert_contains(run.err, "/6 ");
    program_free(&run);
    snprintf(path, sizeof path, "out/%s.h5.previous.1", name);
    assert_true(file_exists(path));
    snprintf(path, sizeof path, "out/%s.trained.safetensors.previous.1", name);
    assert_true(file_exists(path));
    done(arguments, "done already");
}

static void base_weights_that_changed_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(system("cp -r base weights"), 0);
    done_anew("weights", "--set model.path=weights --set checkpoint.every_steps=4",
              "printf x | dd of=weights/model.safetensors bs=1 seek=9001 conv=notrunc 2>/dev/null",
              "weights: out/weights.h5 is of other inputs (base weights ");
}

static void a_config_that_changed_is_told_apart(void **state)
{
    (void)state;
    assert_int_equal(system("cp -r base theta"), 0);
    done_anew("theta", "--set model.path=theta",
              "sed -i 's/\"rms_norm_eps\": 1e-05/\"rms_norm_eps\": 0.001/' theta/config.json",
              "(rms_norm_eps 0.001 instead of 1.0000000000000001e-05)");
    assert_int_equal(system("cp -r base ended"), 0);
    done_anew("ended", "--set model.path=ended",
              "echo '{\"eos_token_id\": [7, 9]}' > ended/generation_config.json",
              "(end ids 257 7 9 instead of 257");
    program_write_shape("drawn.json", 32, 259, false);
    done_anew("drawn", "--set model.path= --set model.config=drawn.json --set model.init=random",
              "sed -i 's/\"initializer_range\": 0.02/\"initializer_range\": 0.05/' drawn.json",
              "(initializer_range 0.05");
}

static void data_that_changed_are_told_apart(void **state)
{
    (void)state;
    program_write("a.txt", "one two three four five six seven\n"
                           "eight nine ten eleven twelve thirteen fourteen\n");
    program_write("b.txt", "fourteen thirteen twelve eleven ten nine eight\n"
                           "seven six five four three two one, zero\n");
    program_result made = program_succeed(alone, "data prepare a.txt --to a");
    program_free(&made);
    made = program_succeed(alone, "data prepare b.txt --to b");
    program_free(&made);
    assert_int_equal(system("cp -r a tokens"), 0);
    done_anew("text",
              "--set task.name=pretrain --set task.data=tokens --set train.seq_len=8 --set "
              "eval.items=0",
              "rm -r tokens && cp -r b tokens", "text: out/text.h5 is of other inputs (data ");
    assert_int_equal(system("rm -r tokens"), 0);
    done("run run.yaml --set run.name=text --set task.name=pretrain --set task.data=tokens --set "
         "train.seq_len=8 --set eval.items=0",
         "text: done already, see out/text.h5; its inputs cannot be compared: ");
}

static void weights_that_change_before_a_run_goes_on_are_noticed(void **state)
{
    (void)state;
    assert_int_equal(system("cp -r base moving"), 0);
    const char *const arguments = "run run.yaml --set run.name=moving --set model.path=moving";
    program_result run = program_succeed(alone, "%s --set train.stop_after=2", arguments);
    program_free(&run);
    assert_int_equal(system("printf x | dd of=moving/model.safetensors bs=1 seek=9001 "
                            "conv=notrunc 2>/dev/null"),
                     0);
    refused(arguments,
            "out/moving.checkpoints/step-00000002: the inputs of its run are others now: base "
            "weights ");
}

static void a_config_that_changes_before_a_run_goes_on_is_noticed(void **state)
{
    (void)state;
    program_write_shape("range.json", 32, 259, false);
    const char *const arguments = "run run.yaml --set run.name=range --set model.path= --set "
                                  "model.config=range.json --set model.init=random";
    program_result run = program_succeed(alone, "%s --set train.stop_after=2", arguments);
    program_free(&run);
    assert_int_equal(system("sed -i 's/\"initializer_range\": 0.02/\"initializer_range\": "
                            "0.05/' range.json"),
                     0);
    refused(arguments, "out/range.checkpoints/step-00000002: the inputs of its run are others now: "
                       "initializer_range 0.05");
}

/* A log of a program that kept nothing, and hashed a sample of the weights. */
static void a_log_of_an_older_program_counts_as_done(void **state)
{
    (void)state;
    const char *source = getenv("MR_SOURCE_DIR");
    char copy[2 * PATH_MAX];
    assert_non_null(source);
    snprintf(copy, sizeof copy,
             "mkdir -p results/uuid/grid && cp '%s'/experiments/uuid/grid.yaml grid.yaml && cp "
             "'%s'/results/uuid/grid/uuid.lora-r8-lr0.01-seed1.h5 results/uuid/grid",
             source, source);
    assert_int_equal(system(copy), 0);
    program_result list = program_succeed(alone, "run grid.yaml --list --set run.name=uuid");
    const char *line = strstr(list.out, " uuid.lora-r8-lr0.01-seed1\n");
    assert_non_null(line);
    while (line > list.out && line[-1] != '\n')
        line--;
    program_result old =
        program_succeed(alone, "run grid.yaml --set run.name=uuid --index %d", atoi(line));
    assert_contains(old.err, "uuid.lora-r8-lr0.01-seed1: done already, see results/uuid/grid/"
                             "uuid.lora-r8-lr0.01-seed1.h5");
    assert_int_equal(program_lines_with(old.err, "mora: warning"), 0);
    program_free(&list);
    program_free(&old);
}

static void what_nothing_uses_is_warned_of_once_and_biases_are_refused(void **state)
{
    (void)state;
    model_files *files = model_files_make(259, 2, false, 1);
    model_files_add(files, "score.weight", "F32", 2, 16, 1);
    model_files_add(files, "model.layers.1.self_attn.rotary_emb.inv_freq", "F32", 2, 0, 1);
    model_files_write(files, "scored");
    done("run run.yaml --set run.name=scored --set model.path=scored",
         "mora: warning: model folder 'scored': nothing uses 1 of its tensors: score.weight\n");
    file_assert_same_tensors("out/scored.trained.safetensors", "out/later.trained.safetensors");
    model_files_add(files, "model.layers.1.mlp.down_proj.bias", "F32", 16, 0, 1);
    model_files_write(files, "scored");
    refused("run run.yaml --set run.name=biased --set model.path=scored",
            "format: biased: scored/model.safetensors: tensor "
            "'model.layers.1.mlp.down_proj.bias' is no part of the model that scored/config.json "
            "describes, where mlp_bias is not set");
    model_files_free(&files);
}

/* As of a file whose room was made and whose fetching was broken off. */
static void tensors_of_zeros_are_warned_of(void **state)
{
    (void)state;
    model_files *files = model_files_make(259, 2, false, 1);
    model_tensor *tensor = model_files_find(files, "model.layers.1.mlp.down_proj.weight");
    memset(tensor->bytes, 0, tensor->size);
    model_files_write(files, "zeros");
    model_files_free(&files);
    done("run run.yaml --set run.name=zeros --set model.path=zeros",
         "mora: warning: model folder 'zeros': all values of 1 of its tensors are zero, the first "
         "model.layers.1.mlp.down_proj.weight: was it fetched whole?\n");
}

static void a_config_beside_the_folder_must_be_that_of_the_folder(void **state)
{
    (void)state;
    assert_int_equal(system("sed 's/1e-05/1e-06/' base/config.json > apart.json"), 0);
    refused("run run.yaml --set run.name=apart --set model.config=apart.json",
            "config: run.yaml: apart: model.config: apart.json differs from base/config.json: "
            "rms_norm_eps");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_saved_model_is_the_trained_one_whatever_the_method),
        cmocka_unit_test(what_stands_beside_the_weights_travels_with_them),
        cmocka_unit_test(a_tokenizer_travels_with_the_model),
        cmocka_unit_test(a_folder_that_cannot_be_made_ends_a_run_before_its_first_step),
        cmocka_unit_test(a_model_is_not_saved_over_the_one_it_came_from),
        cmocka_unit_test(a_model_is_not_saved_over_one_that_no_run_saved),
        cmocka_unit_test(a_model_is_not_saved_over_that_of_another_run),
        cmocka_unit_test(a_save_that_fails_is_done_again_without_training),
        cmocka_unit_test(a_model_may_be_asked_for_after_the_run),
        cmocka_unit_test(tensors_that_cannot_be_kept_leave_a_checkpoint),
        cmocka_unit_test(a_run_keeps_what_it_trained),
        cmocka_unit_test(kept_tensors_that_are_gone_are_missed),
        cmocka_unit_test(base_weights_that_changed_are_told_apart),
        cmocka_unit_test(a_config_that_changed_is_told_apart),
        cmocka_unit_test(data_that_changed_are_told_apart),
        cmocka_unit_test(weights_that_change_before_a_run_goes_on_are_noticed),
        cmocka_unit_test(a_config_that_changes_before_a_run_goes_on_is_noticed),
        cmocka_unit_test(a_log_of_an_older_program_counts_as_done),
        cmocka_unit_test(what_nothing_uses_is_warned_of_once_and_biases_are_refused),
        cmocka_unit_test(tensors_of_zeros_are_warned_of),
        cmocka_unit_test(a_config_beside_the_folder_must_be_that_of_the_folder),
    };
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
