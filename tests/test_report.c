#include "base/file.h"
#include "config/config.h"
#include "program.h"
#include "store/runlog.h"

#include <jansson.h>

#include <math.h>

enum { STEPS = 12 };

/* A log to be made. What is not given stands in log_defaults. */
typedef struct log_spec {
    const char *folder, *method, *lr;
    int64_t r, seed;
    int steps; /* evaluations, at 100, 200, ... */
    double accuracy[STEPS];
    const char *stop_reason; /* NULL: completed */
    const char *set;         /* NULL, or one more key of the configuration */
    const char *name;        /* of the file; NULL: it follows from the rest */
    int64_t apart;           /* steps between evaluations; 0: 100 */
    bool pretrain;           /* of that task, with perplexities in place of accuracies */
} log_spec;

static void set_config(mr_config *config, const char *key, const char *value)
{
    char text[256];
    snprintf(text, sizeof text, "%s=%s", key, value);
    must(mr_config_set(config, text));
}

static void set_attributes(mr_runlog *log, const log_spec *spec, const mr_config *config)
{
    mr_text text = {0};
    must(mr_config_resolved(config, &text));
    must(mr_runlog_set_text(log, "config", mr_text_get(&text)));
    mr_text_free(&text);
    must(mr_runlog_set_text(log, "run", config->run.name));
    must(mr_runlog_set_text(log, "task", config->task.name));
    must(mr_runlog_set_text(log, "method", spec->method));
    must(mr_runlog_set_text(log, "data_hash", "0123456789abcdef"));
    must(mr_runlog_set_text(log, "git_commit", "c0ffee"));
    must(mr_runlog_set_text(log, "stop_reason",
                            spec->stop_reason ? spec->stop_reason : "completed"));
    must(mr_runlog_set_int(log, "r", spec->r));
    must(mr_runlog_set_int(log, "seed", spec->seed));
    must(mr_runlog_set_int(log, "parameters", spec->r > 0 ? 1012345 : 1000000));
    must(mr_runlog_set_int(log, "trainable_parameters", spec->r > 0 ? 12345 : 1000000));
    must(mr_runlog_set_int(log, "steps", 400));
    must(mr_runlog_set_int(log, "seq_len", 66));
    if (spec->pretrain) must(mr_runlog_set_int(log, "base_parameters", 1000000));
}

static void add_evaluation(mr_runlog *log, const log_spec *spec, const char *task, int i)
{
    static const char *const uuid[] = {"accuracy", "exact"};
    static const char *const pretrain[] = {"loss", "perplexity", "tokens"};
    double score = spec->accuracy[i];
    int64_t step = (i + 1) * (spec->apart ? spec->apart : 100);
    if (spec->pretrain)
        must(mr_runlog_eval(log, task, step, pretrain, (double[]){log10(score), score, 65432}, 3,
                            NULL, 0));
    else
        must(mr_runlog_eval(log, task, step, uuid, (double[]){score, 0}, 2, NULL, 0));
}

static void make_log(log_spec spec)
{
    mr_config config;
    mr_runlog *log;
    char path[256], number[32];
    mr_config_defaults(&config);
    snprintf(config.run.name, sizeof config.run.name, "study.%s-r%lld-lr%s-seed%lld", spec.method,
             (long long)spec.r, spec.lr, (long long)spec.seed);
    set_config(&config, "model.config", "tiny.json");
    set_config(&config, "model.init", "random");
    set_config(&config, "task.pairs", "128");
    set_config(&config, "train.steps", "400");
    set_config(&config, "train.global_batch", "64");
    set_config(&config, "method.name", spec.method);
    set_config(&config, "train.lr", spec.lr);
    snprintf(number, sizeof number, "%lld", (long long)spec.seed);
    set_config(&config, "run.seed", number);
    if (spec.r > 0) {
        snprintf(number, sizeof number, "%lld", (long long)spec.r);
        set_config(&config, "method.r", number);
    }
    if (spec.pretrain) set_config(&config, "task.name", "pretrain");
    if (spec.pretrain) set_config(&config, "task.data", "data/c4");
    if (spec.pretrain) set_config(&config, "method.modules_to_save", "[norm]");
    if (spec.set) must(mr_config_set(&config, spec.set));
    must(mr_file_make_folders(spec.folder));
    int length = snprintf(path, sizeof path, "%s/%s.h5", spec.folder,
                          spec.name ? spec.name : config.run.name);
    assert_in_range(length, 1, sizeof path - 1);
    must(mr_runlog_create(path, &log));
    set_attributes(log, &spec, &config);
    for (int i = 0; i < spec.steps; i++)
        add_evaluation(log, &spec, config.task.name, i);
    /* As a run that merged, was stopped, and merged again from a checkpoint before that. */
    static const int64_t merges[] = {50, 100, 50, 100, 150};
    for (int i = 0; i < 5 && config.train.schedule == MR_SCHEDULE_JAGGED_COSINE; i++)
        must(mr_runlog_event(log, merges[i], "merge", "the update went into the weights"));
    must(mr_runlog_close(&log));
}

/* Joins wrapped lines, which start with three blanks, and makes one blank of several. */
static void squeeze(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        bool wrap = strncmp(from, "\n   ", 4) == 0;
        bool blank = wrap || *from == ' ';
        if (blank && to > text && to[-1] == ' ') continue;
        *to = *from;
        if (blank) *to = ' ';
        to++;
    }
    *to = '\0';
}

static program_result table(const char *arguments)
{
    return program_succeed((program_setting){0}, "table %s", arguments);
}

static program_result squeezed_table(const char *arguments)
{
    program_result result = table(arguments);
    squeeze(result.out);
    return result;
}

static void assert_error(const char *arguments, int exit_code, const char *message)
{
    program_result result = program_run((program_setting){0}, "table %s", arguments);
    assert_contains(result.err, message);
    assert_int_equal(result.exit_code, exit_code);
    assert_string_equal(result.out, "");
    program_free(&result);
}

/* Two methods: one at three rates and two seeds, one that the paper has at another r. */
static void make_study(const char *folder)
{
    static const char *const rates[] = {"0.001", "0.003", "0.01"};
    static const double accuracy[3][2][2] = {
        {{0.10, 0.20}, {0.12, 0.30}},
        {{0.20, 0.80}, {0.30, 1.00}},
        {{0.50, 0.60}, {0.60, 0.62}},
    };
    for (int k = 0; k < 3; k++)
        for (int seed = 1; seed <= 2; seed++)
            make_log((log_spec){
                .folder = folder,
                .method = "mora",
                .lr = rates[k],
                .r = 8,
                .seed = seed,
                .steps = 2,
                .accuracy = {accuracy[k][seed - 1][0], accuracy[k][seed - 1][1]},
            });
    make_log((log_spec){.folder = folder,
                        .method = "dora",
                        .lr = "0.001",
                        .r = 32,
                        .seed = 1,
                        .steps = 2,
                        .accuracy = {0.1, 0.5}});
}

static void the_whole_table_reads_as_it_should(void **state)
{
    (void)state;
    static const char expected[] =
        "study: our runs beside MoRA (arXiv:2405.12130), Table 2\n"
        "\n"
        "ours:  model tiny.json (random, 1,000,000 parameters, f32), 128 pairs, batch 64 pairs, "
        "400 steps (200 passes over the\n"
        "       data), 66 tokens a sample, linear schedule, 0 warm-up steps\n"
        "paper: LLaMA-2 7B, 10,000 pairs, batch 1,000 pairs, 1,000 steps (100 passes over the "
        "data); FFT at 3e-5, LoRA best of\n"
        "       1e-4, 2e-4 and 3e-4, MoRA best of 5e-5, 1e-4 and 2e-4; chosen rates, seeds and "
        "spread are not reported\n"
        "note:  Model, data and steps differ: compare the order of methods, not the numbers. "
        "Guessing scores 9.8.\n"
        "\n"
        "                          | ours: accuracy (%) at step | paper: at step\n"
        "method    r  lr     seeds |   100            200       |  300   500   700   900\n"
        "fft       -  -      -     |     -              -       | 42.5 100.0 100.0 100.0\n"
        "lora      8  -      -     |     -              -       |  9.9  10.0  10.7  54.2\n"
        "mora      8  0.003  2     |  25.0 ±7.1      90.0 ±14.1 | 10.1  15.7  87.4 100.0\n"
        "dora     32  0.001  1     |  10.0           50.0       |    -     -     -     -\n"
        "lora    256  -      -     |     -              -       |  9.9  70.6 100.0 100.0\n"
        "mora    256  -      -     |     -              -       | 41.6 100.0 100.0 100.0\n"
        "\n"
        "ours: rates tried, accuracy (%) at the last step and averaged over all above\n"
        "method   r  trained  rates  lr     seeds  step 200        all steps\n"
        "mora     8   12,345  3      0.001  2          25.0 ±7.1        18.0\n"
        "                            0.003  2          90.0 ±14.1       57.5  best\n"
        "                            0.01   2          61.0 ±1.4        58.0\n"
        "dora    32   12,345  1      0.001  1          50.0             30.0  best\n"
        "\n"
        "   lr: the rate with the best mean at our last step; on ties the higher mean over all "
        "steps, then the lower rate\n"
        "±  sample standard deviation over seeds\n";
    make_study("study");
    program_result result = table("study");
    assert_string_equal(result.out, expected);
    assert_int_equal(program_lines_with(result.err, "mora"), 0); /* libraries may have their say */
    program_free(&result);
}

/* Makes one run of the method mora at r 8 and seed 1. */
static void make_mora(const char *folder, const char *lr, double first, double last)
{
    make_log((log_spec){.folder = folder,
                        .method = "mora",
                        .lr = lr,
                        .r = 8,
                        .seed = 1,
                        .steps = 2,
                        .accuracy = {first, last}});
}

/* The line of the first table that starts so; blanks are squeezed. */
static void assert_first_line(const char *text, const char *start, const char *rest)
{
    const char *line = strstr(text, start);
    if (!line) {
        fail_msg("no line \"%s\" in\n%s", start, text);
        return;
    }
    if (strncmp(line + strlen(start), rest, strlen(rest)) != 0)
        fail_msg("expected \"%s\" behind \"%s\" in\n%s", rest, start, text);
}

static void a_tie_at_the_last_step_goes_to_the_higher_average(void **state)
{
    (void)state;
    make_mora("tie", "0.001", 0.3, 0.5);
    make_mora("tie", "0.003", 0.4, 0.5);
    make_mora("tie", "0.01", 0.2, 0.5);
    program_result result = squeezed_table("tie");
    assert_first_line(result.out, "\nmora 8 ", "0.003 1 ");
    program_free(&result);
}

static void a_full_tie_goes_to_the_lower_rate(void **state)
{
    (void)state;
    make_mora("full_tie", "0.001", 0.4, 0.4);
    make_mora("full_tie", "0.003", 0.4, 0.5);
    make_mora("full_tie", "0.01", 0.4, 0.5);
    program_result result = squeezed_table("full_tie");
    assert_first_line(result.out, "\nmora 8 ", "0.003 1 ");
    program_free(&result);
}

static const char edge_note[] =
    "* best rate at the edge of the grid: a better one may lie outside it\n";

static void the_best_rate_is_marked_at_the_upper_edge(void **state)
{
    (void)state;
    make_mora("upper", "0.001", 0.4, 0.4);
    make_mora("upper", "0.003", 0.4, 0.5);
    program_result result = squeezed_table("upper");
    assert_first_line(result.out, "\nmora 8 ", "0.003* 1 ");
    assert_contains(result.out, edge_note);
    program_free(&result);
}

static void the_best_rate_is_marked_at_the_lower_edge(void **state)
{
    (void)state;
    make_mora("lower", "0.001", 0.4, 0.5);
    make_mora("lower", "0.003", 0.4, 0.4);
    program_result result = squeezed_table("lower");
    assert_first_line(result.out, "\nmora 8 ", "0.001* 1 ");
    program_free(&result);
}

static void a_single_rate_is_no_grid(void **state)
{
    (void)state;
    make_mora("single", "0.001", 0.4, 0.5);
    program_result result = squeezed_table("single");
    assert_first_line(result.out, "\nmora 8 ", "0.001 1 ");
    assert_null(strstr(result.out, edge_note));
    program_free(&result);
}

static void a_rate_that_diverged_bounds_the_grid(void **state)
{
    (void)state;
    make_mora("bound", "0.001", 0.4, 0.4);
    make_mora("bound", "0.003", 0.4, 0.5);
    make_log((log_spec){.folder = "bound",
                        .method = "mora",
                        .lr = "0.01",
                        .r = 8,
                        .seed = 1,
                        .stop_reason = "loss or gradient not finite"});
    program_result result = squeezed_table("bound");
    assert_first_line(result.out, "\nmora 8 ", "0.003 1 ");
    assert_contains(result.out, "mora 8 12,345 2 of 3 0.001 ");
    program_free(&result);
}

static void a_run_that_is_not_completed_is_listed_and_left_out(void **state)
{
    (void)state;
    make_mora("left", "0.001", 0.4, 0.5);
    make_log((log_spec){.folder = "left",
                        .method = "mora",
                        .lr = "0.001",
                        .r = 8,
                        .seed = 2,
                        .steps = 2,
                        .accuracy = {0.8, 0.9},
                        .stop_reason = "running, or killed"});
    program_result result = squeezed_table("left");
    assert_first_line(result.out, "\nmora 8 ", "0.001+ 1 | 40.0 50.0 ");
    assert_contains(result.out, "+ runs at this rate are left out, see below\n\nleft out: "
                                "study.mora-r8-lr0.001-seed2 (mora, r 8, lr 0.001, seed 2): "
                                "running, or killed; left/study.mora-r8-lr0.001-seed2.h5\n");
    program_free(&result);
}

static void a_run_that_was_never_evaluated_is_left_out(void **state)
{
    (void)state;
    make_log((log_spec){.folder = "never", .method = "fft", .lr = "0.001", .seed = 1});
    program_result result = squeezed_table("never");
    assert_contains(result.out, "completed, but never evaluated");
    assert_first_line(result.out, "\nfft - ", "- - |");
    program_free(&result);
}

static void a_run_evaluated_at_other_steps_is_left_out(void **state)
{
    (void)state;
    make_mora("steps", "0.001", 0.4, 0.5);
    make_log((log_spec){.folder = "steps",
                        .method = "mora",
                        .lr = "0.001",
                        .r = 8,
                        .seed = 2,
                        .steps = 2,
                        .apart = 50});
    program_result result = squeezed_table("steps");
    assert_contains(result.out,
                    "evaluated at other steps than steps/study.mora-r8-lr0.001-seed1.h5");
    program_free(&result);
}

static void the_same_run_twice_is_one_seed(void **state)
{
    (void)state;
    make_mora("twice/a", "0.001", 0.4, 0.5);
    make_mora("twice/b", "0.001", 0.4, 0.5);
    program_result result = squeezed_table("twice");
    assert_first_line(result.out, "\nmora 8 ", "0.001+ 1 ");
    assert_contains(result.out, "the same method, rate and seed as "
                                "twice/a/study.mora-r8-lr0.001-seed1.h5");
    program_free(&result);
}

static void other_settings_have_tables_of_their_own(void **state)
{
    (void)state;
    make_mora("settings/a", "0.001", 0.4, 0.5);
    make_log((log_spec){.folder = "settings/b",
                        .method = "mora",
                        .lr = "0.001",
                        .r = 8,
                        .seed = 2,
                        .steps = 2,
                        .accuracy = {0.8, 0.9},
                        .set = "task.pairs=256"});
    program_result result = squeezed_table("settings");
    assert_contains(result.out, "Table 2; setting 1 of 2: task.pairs=128\n");
    assert_contains(result.out, "Table 2; setting 2 of 2: task.pairs=256\n");
    assert_int_equal(program_lines_with(result.out, "0.001 1 | 40.0 50.0 "), 1);
    assert_int_equal(program_lines_with(result.out, "0.001 1 | 80.0 90.0 "), 1);
    program_free(&result);
}

static void how_a_run_is_computed_makes_no_setting(void **state)
{
    (void)state;
    make_mora("computed/a", "0.001", 0.4, 0.5);
    make_log((log_spec){.folder = "computed/b",
                        .method = "mora",
                        .lr = "0.001",
                        .r = 8,
                        .seed = 2,
                        .steps = 2,
                        .accuracy = {0.4, 0.5},
                        .set = "parallel.threads=2"});
    program_result result = squeezed_table("computed");
    assert_first_line(result.out, "\nmora 8 ", "0.001 2 | 40.0 ±0.0 50.0 ±0.0 ");
    program_free(&result);
}

static void variants_of_a_method_are_not_averaged(void **state)
{
    (void)state;
    static const char *const operators[] = {"sharing", "rotation"};
    for (int i = 0; i < 2; i++) {
        char set[64];
        snprintf(set, sizeof set, "method.operator=%s", operators[i]);
        make_log((log_spec){.folder = i == 0 ? "variants/a" : "variants/b",
                            .method = "mora",
                            .lr = "0.001",
                            .r = 8,
                            .seed = 1,
                            .steps = 1,
                            .accuracy = {0.25 * (i + 1)},
                            .set = set});
    }
    program_result result = squeezed_table("variants");
    assert_first_line(result.out, "\nmora operator=sharing 8 ", "0.001 1 | 25.0 ");
    assert_first_line(result.out, "\nmora operator=rotation 8 ", "0.001 1 | 50.0 ");
    program_free(&result);
}

static int longest_line(const char *text)
{
    int longest = 0, width = 0;
    for (; *text; text++) {
        width = *text == '\n' ? 0 : width + (((unsigned char)*text & 0xC0) != 0x80);
        if (width > longest) longest = width;
    }
    return longest;
}

static void many_steps_continue_in_further_tables(void **state)
{
    (void)state;
    for (int seed = 1; seed <= 2; seed++)
        make_log((log_spec){.folder = "many",
                            .method = "mora",
                            .lr = "0.001",
                            .r = 256,
                            .seed = seed,
                            .steps = STEPS,
                            .accuracy = {[STEPS - 1] = seed == 1 ? 1 : 0.5}});
    program_result result = table("many");
    assert_int_equal(program_lines_with(result.out, "method "), 3);
    assert_int_equal(program_lines_with(result.out, "paper: at step"), 1);
    assert_contains(result.out, " 75.0 ±35.4\n");
    assert_in_range(longest_line(result.out), 100, 120);
    program_free(&result);
}

static void an_unsound_file_is_warned_of_and_passed_over(void **state)
{
    (void)state;
    make_mora("unsound", "0.001", 0.4, 0.5);
    program_write("unsound/broken.h5", "no log");
    program_result result = squeezed_table("unsound");
    assert_contains(result.err, "mora: warning: unsound/broken.h5: not a sound run log: ");
    assert_contains(result.err, "; passed over\n");
    assert_first_line(result.out, "\nmora 8 ", "0.001 1 ");
    program_free(&result);
}

static void runs_of_other_tasks_are_passed_over(void **state)
{
    (void)state;
    make_mora("tasks", "0.001", 0.4, 0.5);
    make_log((log_spec){.folder = "tasks",
                        .method = "fft",
                        .lr = "0.001",
                        .seed = 1,
                        .steps = 1,
                        .accuracy = {0.77},
                        .set = "task.name=copy"});
    program_result result = squeezed_table("tasks");
    assert_null(strstr(result.out, "77.0"));
    program_free(&result);
}

static void runs_of_other_tasks_alone_are_an_error(void **state)
{
    (void)state;
    make_log((log_spec){.folder = "copies",
                        .method = "fft",
                        .lr = "0.001",
                        .seed = 1,
                        .steps = 1,
                        .set = "task.name=copy"});
    assert_error("copies", 1,
                 "format: copies: expected run logs of the task uuid, found 1 of others");
}

static void a_folder_without_logs_is_an_error(void **state)
{
    (void)state;
    program_make_folder("empty");
    assert_error("empty", 1, "format: empty: expected run logs (*.h5), found no sound one");
}

static void a_missing_folder_is_named(void **state)
{
    (void)state;
    assert_error("nowhere", 1, "i/o: cannot read the folder 'nowhere': No such file or directory");
}

static void an_unknown_table_lists_the_known_ones(void **state)
{
    (void)state;
    assert_error("study --paper table9", 2,
                 "mora table: --paper: unknown table \"table9\"; known are: table2, table3");
}

static void no_folder_is_bad_usage(void **state)
{
    (void)state;
    assert_error("--json", 2, "mora table: expected a folder; usage: mora table RESULTS_DIR");
}

/* The row of a method and r of the first setting. */
static const json_t *row_of(const json_t *root, const char *method, int64_t r)
{
    const json_t *setting = json_array_get(json_object_get(root, "settings"), 0);
    const json_t *rows = json_object_get(setting, "rows");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        if (strcmp(json_string_value(json_object_get(row, "method")), method) == 0 &&
            json_integer_value(json_object_get(row, "r")) == r)
            return row;
    }
    fail_msg("no row %s %lld", method, (long long)r);
    return NULL;
}

static double number_at(const json_t *object, const char *key, size_t index)
{
    return json_number_value(json_array_get(json_object_get(object, key), index));
}

static json_t *parse(const char *arguments)
{
    program_result result = table(arguments);
    json_error_t error;
    json_t *root = json_loads(result.out, JSON_REJECT_DUPLICATES, &error);
    if (!root) fail_msg("line %d: %s: %s", error.line, error.text, result.out);
    program_free(&result);
    return root;
}

static void json_holds_the_chosen_rate_and_the_papers_row(void **state)
{
    (void)state;
    make_study("json");
    json_t *root = parse("json --json");
    const json_t *row = row_of(root, "mora", 8), *ours = json_object_get(row, "ours");
    const json_t *best = json_object_get(ours, "best");
    assert_float_equal(json_number_value(json_object_get(best, "lr")), 0.003, 0);
    assert_float_equal(number_at(best, "mean", 1), 90, 1e-9);
    assert_float_equal(number_at(best, "spread", 1), 14.142135623730951, 1e-9);
    assert_float_equal(number_at(row, "paper", 2), 87.4, 1e-9);
    assert_int_equal(json_array_size(json_object_get(ours, "rates")), 3);
    assert_true(json_is_false(json_object_get(ours, "best_at_edge")));
    assert_string_equal(json_string_value(json_array_get(json_object_get(best, "logs"), 1)),
                        "json/study.mora-r8-lr0.003-seed2.h5");
    json_decref(root);
}

static void json_tells_a_single_seeds_spread_as_unknown(void **state)
{
    (void)state;
    make_study("unknown");
    json_t *root = parse("unknown --json");
    const json_t *row = row_of(root, "dora", 32);
    const json_t *best = json_object_get(json_object_get(row, "ours"), "best");
    assert_true(json_is_null(json_object_get(best, "spread")));
    assert_true(json_is_null(json_object_get(row, "paper")));
    json_decref(root);
}

static void json_names_what_was_left_out(void **state)
{
    (void)state;
    make_mora("json_left", "0.001", 0.4, 0.5);
    make_log((log_spec){.folder = "json_left",
                        .method = "fft",
                        .lr = "0.001",
                        .seed = 7,
                        .stop_reason = "loss or gradient not finite"});
    json_t *root = parse("json_left --json");
    const json_t *setting = json_array_get(json_object_get(root, "settings"), 0);
    const json_t *run = json_array_get(json_object_get(setting, "left_out"), 0);
    assert_string_equal(json_string_value(json_object_get(run, "reason")),
                        "loss or gradient not finite");
    assert_int_equal(json_integer_value(json_object_get(run, "seed")), 7);
    json_decref(root);
}

/* Makes a run of the task pretrain at r 8 (0 for fft) with perplexities at two steps. */
static void make_pretrain(const char *folder, const char *method, const char *lr, int64_t seed,
                          double first, double last, const char *set)
{
    make_log((log_spec){.folder = folder,
                        .method = method,
                        .lr = lr,
                        .r = strcmp(method, "fft") == 0 ? 0 : 8,
                        .seed = seed,
                        .steps = 2,
                        .accuracy = {first, last},
                        .set = set,
                        .pretrain = true});
}

static const char jagged[] = "train.schedule=jagged_cosine";

static void make_pretrain_study(const char *folder)
{
    make_pretrain(folder, "fft", "0.001", 1, 90, 20.5, NULL);
    make_pretrain(folder, "lora", "0.001", 1, 80, 33, NULL);
    make_pretrain(folder, "lora", "0.003", 1, 70, 30, NULL);
    make_pretrain(folder, "lora", "0.003", 2, 70, 31, NULL);
    make_pretrain(folder, "lora", "0.01", 1, 60, 40, NULL);
    make_pretrain(folder, "remora", "0.003", 1, 60, 25, jagged);
    make_pretrain(folder, "dora", "0.003", 1, 1e9, 2e9, NULL);
}

static void the_pretraining_table_reads_as_it_should(void **state)
{
    (void)state;
    static const char expected[] =
        "study: our runs beside MoRA (arXiv:2405.12130), Table 3\n"
        "\n"
        "ours:  model tiny.json (random, 1,000,000 parameters, f32), data data/c4, batch 64 "
        "sequences, 400 steps (1,689,600\n"
        "       tokens), 66 tokens a sample, linear schedule (fft, dora, lora), jagged_cosine "
        "schedule (remora), 3 merges\n"
        "       (remora), 0 warm-up steps, 65,432 held-out tokens scored\n"
        "paper: LLaMA of 250M and 1.3B parameters from random weights, C4 in tokens of t5-base, "
        "batch 1,024 sequences of 512\n"
        "       tokens, 10,000 steps (5.24 billion tokens), r 128, merges every 2,000 steps; block "
        "linears stay as drawn under\n"
        "       the update, embeddings, head and norms are trained; no full-rank baseline; rates, "
        "seeds, spread and the number of\n"
        "       held-out tokens are not reported\n"
        "note:  Lower is better. Perplexity is per token of a tokenizer: beside another model, "
        "data, tokenizer, r or number of\n"
        "       steps compare the order of methods, not the numbers.\n"
        "\n"
        "                        | ours: perplexity | paper: r 128\n"
        "method  r  lr     seeds |  step 200        |  250M   1.3B\n"
        "fft     -  0.001  1     |     20.50        |     -      -\n"
        "lora    8  0.003  2     |     30.50 ±0.71  | 33.40  28.56\n"
        "mora    -  -      -     |         -        | 28.54  25.25\n"
        "relora  -  -      -     |         -        | 32.19  27.80\n"
        "remora  8  0.003  1     |     25.00        | 26.74  23.34\n"
        "dora    8  0.003  1     |     2e+09        |     -      -\n"
        "\n"
        "ours: rates tried, perplexity at the last step and averaged over all evaluations\n"
        "method  r    trained  rates  lr     seeds  step 200         all steps\n"
        "fft     -  1,000,000  1      0.001  1         20.50             55.25  best\n"
        "lora    8     12,345  3      0.001  1         33.00             56.50\n"
        "                             0.003  2         30.50 ±0.71       50.25  best\n"
        "                             0.01   1         40.00             50.00\n"
        "remora  8     12,345  1      0.003  1         25.00             42.50  best\n"
        "dora    8     12,345  1      0.003  1         2e+09           1.5e+09  best\n"
        "\n"
        "   lr: the rate with the best mean at our last step; on ties the lower mean over all "
        "steps, then the lower rate\n"
        "±  sample standard deviation over seeds\n";
    make_pretrain_study("pretrain");
    program_result result = table("pretrain --paper table3");
    assert_string_equal(result.out, expected);
    assert_in_range(longest_line(result.out), 60, 120);
    program_free(&result);
}

static program_result squeezed_table3(const char *folder)
{
    char arguments[128];
    snprintf(arguments, sizeof arguments, "%s --paper table3", folder);
    return squeezed_table(arguments);
}

static void a_tie_of_perplexities_goes_to_the_lower_average(void **state)
{
    (void)state;
    make_pretrain("low_tie", "mora", "0.001", 1, 50, 30, NULL);
    make_pretrain("low_tie", "mora", "0.003", 1, 40, 30, NULL);
    make_pretrain("low_tie", "mora", "0.01", 1, 60, 30, NULL);
    program_result result = squeezed_table3("low_tie");
    assert_first_line(result.out, "\nmora 8 ", "0.003 1 | 30.00 | 28.54 25.25\n");
    assert_contains(result.out, "on ties the lower mean over all steps, then the lower rate\n");
    program_free(&result);
}

static void a_schedule_is_its_methods_own(void **state)
{
    (void)state;
    make_pretrain("schedules", "mora", "0.001", 1, 50, 30, NULL);
    make_pretrain("schedules/jagged", "mora", "0.001", 1, 50, 28, jagged);
    program_result result = squeezed_table3("schedules");
    assert_first_line(result.out, "\nmora schedule=linear 8 ", "0.001 1 | 30.00 | 28.54 25.25\n");
    assert_first_line(result.out, "\nmora schedule=jagged_cosine 8 ", "0.001 1 | 28.00 | ");
    program_free(&result);
}

static void how_a_run_is_kept_safe_makes_no_setting(void **state)
{
    (void)state;
    static const char *const keys[] = {"checkpoint.every_steps=7", "checkpoint.keep=3",
                                       "checkpoint.signal=INT", "train.check_every=5",
                                       "train.recompute=layer"};
    make_pretrain("safe", "mora", "0.001", 1, 50, 30, NULL);
    for (int i = 0; i < 5; i++)
        make_pretrain("safe", "mora", "0.001", 2 + i, 50, 30, keys[i]);
    program_result result = squeezed_table3("safe");
    assert_first_line(result.out, "\nmora 8 ", "0.001 6 | 30.00 ±0.00 | ");
    program_free(&result);
}

static void what_a_guard_does_makes_a_setting(void **state)
{
    (void)state;
    make_pretrain("guards", "mora", "0.001", 1, 50, 30, NULL);
    make_pretrain("guards", "mora", "0.001", 2, 50, 30, "train.on_nonfinite=skip");
    program_result result = squeezed_table3("guards");
    assert_contains(result.out, "setting 2 of 2: train.on_nonfinite=skip\n");
    program_free(&result);
}

static void a_perplexity_that_is_not_finite_bounds_the_grid(void **state)
{
    (void)state;
    make_pretrain("infinite", "mora", "0.001", 1, 50, 40, NULL);
    make_pretrain("infinite", "mora", "0.003", 1, 50, 30, NULL);
    make_pretrain("infinite", "mora", "0.01", 1, 50, INFINITY, NULL);
    program_result result = squeezed_table3("infinite");
    assert_first_line(result.out, "\nmora 8 ", "0.003 1 | 30.00 | ");
    assert_contains(result.out, "completed, but its last score is not finite; infinite/");
    program_free(&result);
}

static void json_tells_which_perplexity_is_better_and_over_what(void **state)
{
    (void)state;
    make_pretrain_study("json_pretrain");
    json_t *root = parse("json_pretrain --paper table3 --json");
    const json_t *setting = json_array_get(json_object_get(root, "settings"), 0);
    const json_t *row = row_of(root, "lora", 8), *ours = json_object_get(row, "ours");
    assert_string_equal(json_string_value(json_object_get(root, "better")), "lower");
    assert_true(json_is_null(json_object_get(root, "chance")));
    assert_int_equal(json_integer_value(json_object_get(setting, "scored")), 65432);
    assert_int_equal(json_integer_value(json_object_get(setting, "base_parameters")), 1000000);
    assert_float_equal(number_at(json_object_get(ours, "best"), "mean", 1), 30.5, 1e-9);
    assert_float_equal(number_at(row, "paper", 1), 28.56, 1e-9);
    json_decref(root);
}

static void json_tells_the_keys_in_which_methods_differ(void **state)
{
    (void)state;
    make_pretrain_study("json_keys");
    json_t *root = parse("json_keys --paper table3 --json");
    const json_t *setting = json_array_get(json_object_get(root, "settings"), 0);
    const json_t *shared = json_object_get(setting, "config");
    const json_t *own =
        json_object_get(json_object_get(row_of(root, "remora", 8), "ours"), "config");
    assert_string_equal(json_string_value(json_object_get(own, "train.schedule")), "jagged_cosine");
    assert_null(json_object_get(shared, "train.schedule"));
    assert_string_equal(json_string_value(json_object_get(shared, "method.lora_alpha")), "16");
    json_decref(root);
}

static void two_ranks_print_one_table(void **state)
{
    (void)state;
    make_mora("ranks", "0.001", 0.4, 0.5);
    program_result result = program_succeed((program_setting){.ranks = 2}, "table ranks");
    assert_int_equal(program_lines_with(result.out, "our runs beside"), 1);
    program_free(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_table_reads_as_it_should),
        cmocka_unit_test(a_tie_at_the_last_step_goes_to_the_higher_average),
        cmocka_unit_test(a_full_tie_goes_to_the_lower_rate),
        cmocka_unit_test(the_best_rate_is_marked_at_the_upper_edge),
        cmocka_unit_test(the_best_rate_is_marked_at_the_lower_edge),
        cmocka_unit_test(a_single_rate_is_no_grid),
        cmocka_unit_test(a_rate_that_diverged_bounds_the_grid),
        cmocka_unit_test(a_run_that_is_not_completed_is_listed_and_left_out),
        cmocka_unit_test(a_run_that_was_never_evaluated_is_left_out),
        cmocka_unit_test(a_run_evaluated_at_other_steps_is_left_out),
        cmocka_unit_test(the_same_run_twice_is_one_seed),
        cmocka_unit_test(other_settings_have_tables_of_their_own),
        cmocka_unit_test(how_a_run_is_computed_makes_no_setting),
        cmocka_unit_test(variants_of_a_method_are_not_averaged),
        cmocka_unit_test(many_steps_continue_in_further_tables),
        cmocka_unit_test(an_unsound_file_is_warned_of_and_passed_over),
        cmocka_unit_test(runs_of_other_tasks_are_passed_over),
        cmocka_unit_test(runs_of_other_tasks_alone_are_an_error),
        cmocka_unit_test(a_folder_without_logs_is_an_error),
        cmocka_unit_test(a_missing_folder_is_named),
        cmocka_unit_test(an_unknown_table_lists_the_known_ones),
        cmocka_unit_test(no_folder_is_bad_usage),
        cmocka_unit_test(json_holds_the_chosen_rate_and_the_papers_row),
        cmocka_unit_test(json_tells_a_single_seeds_spread_as_unknown),
        cmocka_unit_test(json_names_what_was_left_out),
        cmocka_unit_test(the_pretraining_table_reads_as_it_should),
        cmocka_unit_test(a_tie_of_perplexities_goes_to_the_lower_average),
        cmocka_unit_test(a_schedule_is_its_methods_own),
        cmocka_unit_test(how_a_run_is_kept_safe_makes_no_setting),
        cmocka_unit_test(what_a_guard_does_makes_a_setting),
        cmocka_unit_test(a_perplexity_that_is_not_finite_bounds_the_grid),
        cmocka_unit_test(json_tells_which_perplexity_is_better_and_over_what),
        cmocka_unit_test(json_tells_the_keys_in_which_methods_differ),
        cmocka_unit_test(two_ranks_print_one_table),
    };
    return cmocka_run_group_tests_name("report", tests, program_enter_folder, folder_leave);
}
