/* `mora table`: which runs are averaged, chosen and left out, and how that reads. */

#include "program.h"
#include "report_logs.h"

#include <jansson.h>

#include <math.h>

#define JAGGED "train.schedule=jagged_cosine"

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

/* A line of a table, or a text anywhere in it; blanks are squeezed. */
typedef struct expectation {
    enum { NOTHING, LINE, HAS, LACKS, ONE_LINE } kind; /* ONE_LINE: exactly one line holds it */
    const char *text;
    const char *rest; /* LINE: what follows the start of the first such line */
} expectation;

/* Logs, and what the table of them says. */
typedef struct table_case {
    const char *name, *folder;
    bool pretrain;
    report_log log[8];
    expectation expect[4];
} table_case;

#define EDGE "* best rate at the edge of the grid: a better one may lie outside it\n"

static const table_case table_cases[] = {
    {"a tie at the last step goes to the higher average",
     "tie",
     false,
     {{.lr = "0.001", {0.3, 0.5}}, {.lr = "0.003", {0.4, 0.5}}, {.lr = "0.01", {0.2, 0.5}}},
     {{LINE, "\nmora 8 ", "0.003 1 "}}},
    {"a full tie goes to the lower rate",
     "full_tie",
     false,
     {{.lr = "0.001", {0.4, 0.4}}, {.lr = "0.003", {0.4, 0.5}}, {.lr = "0.01", {0.4, 0.5}}},
     {{LINE, "\nmora 8 ", "0.003 1 "}}},
    {"the best rate is marked at the upper edge",
     "upper",
     false,
     {{.lr = "0.001", {0.4, 0.4}}, {.lr = "0.003", {0.4, 0.5}}},
     {{LINE, "\nmora 8 ", "0.003* 1 "}, {HAS, EDGE, NULL}}},
    {"the best rate is marked at the lower edge",
     "lower",
     false,
     {{.lr = "0.001", {0.4, 0.5}}, {.lr = "0.003", {0.4, 0.4}}},
     {{LINE, "\nmora 8 ", "0.001* 1 "}}},
    {"a single rate is no grid",
     "single",
     false,
     {{.lr = "0.001", {0.4, 0.5}}},
     {{LINE, "\nmora 8 ", "0.001 1 "}, {LACKS, EDGE, NULL}}},
    {"a rate that diverged bounds the grid",
     "bound",
     false,
     {{.lr = "0.001", {0.4, 0.4}},
      {.lr = "0.003", {0.4, 0.5}},
      {.lr = "0.01", .evaluations = -1, .stop_reason = "loss or gradient not finite"}},
     {{LINE, "\nmora 8 ", "0.003 1 "}, {HAS, "mora 8 12,345 2 of 3 0.001 ", NULL}}},
    {"a run that is not completed is listed and left out",
     "left",
     false,
     {{.lr = "0.001", {0.4, 0.5}},
      {.lr = "0.001", {0.8, 0.9}, 2, .stop_reason = "running, or killed"}},
     {{LINE, "\nmora 8 ", "0.001+ 1 | 40.0 50.0 "},
      {HAS,
       "+ runs at this rate are left out, see below\n\nleft out: study.mora-r8-lr0.001-seed2 "
       "(mora, r 8, lr 0.001, seed 2): running, or killed; "
       "left/study.mora-r8-lr0.001-seed2.h5\n",
       NULL}}},
    {"a run that was never evaluated is left out",
     "never",
     false,
     {{.lr = "0.001", .method = "fft", .evaluations = -1}},
     {{HAS, "completed, but without any evaluation; never/", NULL}, {LINE, "\nfft - ", "- - |"}}},
    {"a run evaluated at other steps is left out",
     "steps",
     false,
     {{.lr = "0.001", {0.4, 0.5}}, {.lr = "0.001", {0}, 2, .apart = 50}},
     {{HAS, "evaluated at other steps than steps/study.mora-r8-lr0.001-seed1.h5", NULL}}},
    {"the same run twice is one seed",
     "twice",
     false,
     {{.lr = "0.001", {0.4, 0.5}, .folder = "a"}, {.lr = "0.001", {0.4, 0.5}, .folder = "b"}},
     {{LINE, "\nmora 8 ", "0.001+ 1 "},
      {HAS, "the same method, rate and seed as twice/a/study.mora-r8-lr0.001-seed1.h5", NULL}}},
    {"other settings have tables of their own",
     "settings",
     false,
     {{.lr = "0.001", {0.4, 0.5}, .folder = "a"},
      {.lr = "0.001", {0.8, 0.9}, 2, .folder = "b", .set = "task.pairs=256"}},
     {{HAS, "Table 2; setting 1 of 2: task.pairs=128\n", NULL},
      {HAS, "Table 2; setting 2 of 2: task.pairs=256\n", NULL},
      {ONE_LINE, "0.001 1 | 40.0 50.0 ", NULL},
      {ONE_LINE, "0.001 1 | 80.0 90.0 ", NULL}}},
    {"how a run is computed makes no setting",
     "computed",
     false,
     {{.lr = "0.001", {0.4, 0.5}}, {.lr = "0.001", {0.4, 0.5}, 2, .set = "parallel.threads=2"}},
     {{LINE, "\nmora 8 ", "0.001 2 | 40.0 ±0.0 50.0 ±0.0 "}}},
    {"variants of a method are not averaged",
     "variants",
     false,
     {{.lr = "0.001", {0.25}, .evaluations = 1, .folder = "a", .set = "method.operator=sharing"},
      {.lr = "0.001", {0.5}, .evaluations = 1, .folder = "b", .set = "method.operator=rotation"}},
     {{LINE, "\nmora operator=sharing 8 ", "0.001 1 | 25.0 "},
      {LINE, "\nmora operator=rotation 8 ", "0.001 1 | 50.0 "}}},
    {"runs of other tasks are passed over",
     "tasks",
     false,
     {{.lr = "0.001", {0.4, 0.5}},
      {.lr = "0.001", {0.77}, .method = "fft", .evaluations = 1, .set = "task.name=copy"}},
     {{LACKS, "77.0", NULL}}},
    {"a tie of perplexities goes to the lower average",
     "low_tie",
     true,
     {{.lr = "0.001", {50, 30}}, {.lr = "0.003", {40, 30}}, {.lr = "0.01", {60, 30}}},
     {{LINE, "\nmora 8 ", "0.003 1 | 30.00 | 28.54 25.25\n"},
      {HAS, "on ties the lower mean over all steps, then the lower rate", NULL}}},
    {"a schedule is its method's own",
     "schedules",
     true,
     {{.lr = "0.001", {50, 30}}, {.lr = "0.001", {50, 28}, .folder = "jagged", .set = JAGGED}},
     {{LINE, "\nmora schedule=linear 8 ", "0.001 1 | 30.00 | 28.54 25.25\n"},
      {LINE, "\nmora schedule=jagged_cosine 8 ", "0.001 1 | 28.00 | "}}},
    {"how a run is kept safe makes no setting",
     "safe",
     true,
     {{.lr = "0.001", {50, 30}},
      {.lr = "0.001", {50, 30}, 2, .set = "checkpoint.every_steps=7"},
      {.lr = "0.001", {50, 30}, 3, .set = "checkpoint.keep=3"},
      {.lr = "0.001", {50, 30}, 4, .set = "checkpoint.signal=INT"},
      {.lr = "0.001", {50, 30}, 5, .set = "train.check_every=5"},
      {.lr = "0.001", {50, 30}, 6, .set = "train.recompute=layer"}},
     {{LINE, "\nmora 8 ", "0.001 6 | 30.00 ±0.00 | "}}},
    {"what a guard does makes a setting",
     "guards",
     true,
     {{.lr = "0.001", {50, 30}}, {.lr = "0.001", {50, 30}, 2, .set = "train.on_nonfinite=skip"}},
     {{HAS, "setting 2 of 2: train.on_nonfinite=skip\n", NULL}}},
    {"a perplexity that is not finite bounds the grid",
     "infinite",
     true,
     {{.lr = "0.001", {50, 40}}, {.lr = "0.003", {50, 30}}, {.lr = "0.01", {50, INFINITY}}},
     {{LINE, "\nmora 8 ", "0.003 1 | 30.00 | "},
      {HAS, "completed, but its last score is not finite; infinite/", NULL}}},
};

static void table_says(void **state)
{
    const table_case *c = *state;
    char arguments[128];
    report_make_logs(c->folder, c->pretrain, c->log);
    snprintf(arguments, sizeof arguments, "%s%s", c->folder, c->pretrain ? " --paper table3" : "");
    program_result result = squeezed_table(arguments);
    for (const expectation *e = c->expect; e < c->expect + 4 && e->kind != NOTHING; e++) {
        if (e->kind == LINE) assert_first_line(result.out, e->text, e->rest);
        if (e->kind == HAS) assert_contains(result.out, e->text);
        if (e->kind == LACKS) assert_null(strstr(result.out, e->text));
        if (e->kind == ONE_LINE) assert_int_equal(program_lines_with(result.out, e->text), 1);
    }
    program_free(&result);
}

/* What cannot be printed, and the message. */
typedef struct error_case {
    const char *name, *arguments;
    int exit_code;
    const char *message;
} error_case;

static const error_case error_cases[] = {
    {"runs of other tasks alone are an error", "copies", 1,
     "format: copies: expected run logs of a task that a table is of (instruct, math, biomed, "
     "finance, uuid, pretrain), found 1 of others"},
    {"a folder without logs is an error", "empty", 1,
     "format: empty: expected run logs (*.h5), found no sound one"},
    {"a missing folder is named", "nowhere", 1,
     "i/o: cannot read the folder 'nowhere': No such file or directory"},
    {"an unknown table lists the known ones", "study --paper table9", 2,
     "mora table: --paper: unknown table \"table9\"; known are: table1, table2, table3, "},
    {"an unknown form lists the known ones", "study --format pdf", 2,
     "mora table: --format: expected text, markdown, latex, csv or json, found \"pdf\""},
    {"two forms are one too many", "study --json --format csv", 2,
     "mora table: --json and --format csv contradict each other"},
    {"no folder is bad usage", "--json", 2,
     "mora table: expected a folder; usage: mora table RESULTS_DIR"},
};

static void table_is_an_error(void **state)
{
    const error_case *c = *state;
    static const report_log copy = {"0.001", .method = "fft", .evaluations = 1,
                                    .set = "task.name=copy"};
    if (strcmp(c->arguments, "copies") == 0) report_make_log(c->arguments, false, copy);
    if (strcmp(c->arguments, "empty") == 0) program_make_folder(c->arguments);
    assert_error(c->arguments, c->exit_code, c->message);
}

/* Two methods: one at three rates and two seeds, one that the paper has at another r. */
static const report_log study[] = {
    {.lr = "0.001", {0.10, 0.20}},
    {.lr = "0.001", {0.12, 0.30}, 2},
    {.lr = "0.003", {0.20, 0.80}},
    {.lr = "0.003", {0.30, 1.00}, 2},
    {.lr = "0.01", {0.50, 0.60}},
    {.lr = "0.01", {0.60, 0.62}, 2},
    {.lr = "0.001", {0.1, 0.5}, 1, "dora", 32},
    {0},
};

static const report_log pretrain_study[] = {
    {.lr = "0.001", {90, 20.5}, 1, "fft"},  {.lr = "0.001", {80, 33}, 1, "lora"},
    {.lr = "0.003", {70, 30}, 1, "lora"},   {.lr = "0.003", {70, 31}, 2, "lora"},
    {.lr = "0.01", {60, 40}, 1, "lora"},    {.lr = "0.003", {60, 25}, 1, "remora", .set = JAGGED},
    {.lr = "0.003", {1e9, 2e9}, 1, "dora"}, {0},
};

static const report_log one_left_out[] = {
    {.lr = "0.001", {0.4, 0.5}},
    {.lr = "0.001",
     .method = "fft",
     .seed = 7,
     .evaluations = -1,
     .stop_reason = "loss or gradient not finite"},
    {0},
};

static int longest_line(const char *text)
{
    int longest = 0, width = 0;
    for (; *text; text++) {
        width = *text == '\n' ? 0 : width + (((unsigned char)*text & 0xC0) != 0x80);
        if (width > longest) longest = width;
    }
    return longest;
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
        "   these runs have no validation part: rates are chosen on what is reported\n"
        "±  sample standard deviation over seeds\n";
    report_make_logs("study", false, study);
    program_result result = table("study");
    assert_string_equal(result.out, expected);
    assert_int_equal(program_lines_with(result.err, "mora"), 0); /* libraries may have their say */
    program_free(&result);
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
        "   these runs have no validation part: rates are chosen on what is reported\n"
        "±  sample standard deviation over seeds\n";
    report_make_logs("pretrain", true, pretrain_study);
    program_result result = table("pretrain --paper table3");
    assert_string_equal(result.out, expected);
    assert_in_range(longest_line(result.out), 60, 120);
    program_free(&result);
}

static void many_steps_continue_in_further_tables(void **state)
{
    (void)state;
    static const report_log many[] = {
        {.lr = "0.001", {[REPORT_EVALUATIONS - 1] = 1}, 1, NULL, 256, REPORT_EVALUATIONS},
        {.lr = "0.001", {[REPORT_EVALUATIONS - 1] = 0.5}, 2, NULL, 256, REPORT_EVALUATIONS},
        {0},
    };
    report_make_logs("many", false, many);
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
    report_make_log("unsound", false, (report_log){.lr = "0.001", {0.4, 0.5}});
    program_write("unsound/broken.h5", "no log");
    program_result result = squeezed_table("unsound");
    assert_contains(result.err, "mora: warning: unsound/broken.h5: not a sound run log: ");
    assert_contains(result.err, "; passed over\n");
    assert_first_line(result.out, "\nmora 8 ", "0.001 1 ");
    program_free(&result);
}

static void what_a_terminal_would_obey_is_made_visible(void **state)
{
    (void)state;
    static const report_log log = {
        .lr = "0.001", .evaluations = -1, .stop_reason = "\x1b[31m\xc2\x9b\n"};
    report_make_log("obey", false, log);
    program_result result = table("obey");
    assert_contains(result.out, "seed 1): \\x1b[31m\\xc2\\x9b\\x0a; ");
    program_free(&result);
}

static void two_ranks_print_one_table(void **state)
{
    (void)state;
    report_make_log("ranks", false, (report_log){.lr = "0.001", {0.4, 0.5}});
    program_result result = program_succeed((program_setting){.ranks = 2}, "table ranks");
    assert_int_equal(program_lines_with(result.out, "our runs beside"), 1);
    program_free(&result);
}

static void two_ranks_say_what_one_says(void **state)
{
    (void)state;
    program_result result = program_run((program_setting){.ranks = 2}, "table nowhere");
    assert_contains(result.err, "mora: error: i/o: cannot read the folder 'nowhere': No such");
    assert_int_equal(program_lines_with(result.err, "nowhere"), 1);
    assert_int_equal(result.exit_code, 1);
    program_free(&result);
}

/* The row of a method and r of the first section. */
static const json_t *row_of(const json_t *root, const char *method, int64_t r)
{
    const json_t *section = json_array_get(json_object_get(root, "sections"), 0);
    const json_t *rows = json_object_get(section, "rows");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        if (strcmp(json_string_value(json_object_get(row, "method")), method) == 0 &&
            json_integer_value(json_object_get(row, "r")) == r)
            return row;
    }
    fail_msg("no row %s %lld", method, (long long)r);
    return NULL;
}

/* What stands at a path of keys and indices joined by slashes; "mora-8" among rows is that one's.
 */
static const json_t *json_at(const json_t *root, const char *path)
{
    const json_t *at = root;
    char part[64], method[32];
    while (at && *path) {
        size_t length = strcspn(path, "/");
        int r;
        snprintf(part, sizeof part, "%.*s", (int)length, path);
        if (sscanf(part, "%31[a-z]-%d", method, &r) == 2)
            at = row_of(root, method, r);
        else if (json_is_array(at))
            at = json_array_get(at, (size_t)(part[0] - '0'));
        else
            at = json_object_get(at, part);
        path += length + (path[length] == '/');
    }
    return at;
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

/* A value of the JSON form. */
typedef struct json_case {
    const char *name, *folder;
    const report_log *log;
    struct {
        const char *path, *value; /* as JSON; NULL: there is none */
    } expect[10];
} json_case;

static const json_case json_cases[] = {
    {"JSON holds the chosen rate and the paper's row",
     "json",
     study,
     {{"sections/0/rows/mora-8/chosen/0/lr", "0.003"},
      {"sections/0/rows/mora-8/cells/1/mean", "90.0"},
      {"sections/0/rows/mora-8/cells/1/spread", "14.142135623730951"},
      {"sections/0/rows/mora-8/paper/700", "87.4"},
      {"sections/0/rates/0/2/lr", "0.01"},
      {"sections/0/rates/0/0/cells/2/step", "null"},
      {"sections/0/rows/mora-8/chosen/0/at_edge", "false"},
      {"sections/0/rows/mora-8/chosen/0/logs/1", "\"json/study.mora-r8-lr0.003-seed2.h5\""}}},
    {"JSON tells a single seed's spread as unknown",
     "unknown",
     study,
     {{"sections/0/rows/dora-32/cells/0/spread", "null"},
      {"sections/0/rows/dora-32/cells/0/interval", "null"},
      {"sections/0/rows/dora-32/paper", "null"}}},
    {"JSON names what was left out",
     "json_left",
     one_left_out,
     {{"sections/0/blocks/0/left_out/0/reason", "\"loss or gradient not finite\""},
      {"sections/0/blocks/0/left_out/0/seed", "7"}}},
    {"JSON holds names that are no UTF-8",
     "bytes\xff",
     study,
     {{"sections/0/rows/dora-32/chosen/0/logs/0",
       "\"bytes\\\\xff/study.dora-r32-lr0.001-seed1.h5\""}}},
    {"JSON tells which perplexity is better and over what",
     "json_pretrain",
     pretrain_study,
     {{"sections/0/blocks/0/scores/0/better", "\"lower\""},
      {"sections/0/blocks/0/scores/0/chance", "null"},
      {"sections/0/blocks/0/scored", "65432"},
      {"sections/0/blocks/0/base_parameters", "1000000"},
      {"sections/0/rows/lora-8/cells/0/mean", "30.5"},
      {"sections/0/rows/lora-8/paper/1.3B", "28.56"}}},
    {"JSON tells the keys in which methods differ",
     "json_keys",
     pretrain_study,
     {{"sections/0/rows/remora-8/chosen/0/config/train.schedule", "\"jagged_cosine\""},
      {"sections/0/blocks/0/config/train.schedule", NULL},
      {"sections/0/blocks/0/config/method.lora_alpha", "\"16\""}}},
};

static void json_says(void **state)
{
    const json_case *c = *state;
    char arguments[128];
    bool pretrain = c->log == pretrain_study;
    report_make_logs(c->folder, pretrain, c->log);
    snprintf(arguments, sizeof arguments, "%s --json", c->folder);
    json_t *root = parse(arguments);
    for (int i = 0; i < 10 && c->expect[i].path; i++) {
        const json_t *found = json_at(root, c->expect[i].path);
        const char *value = c->expect[i].value;
        json_t *expected = value ? json_loads(value, JSON_DECODE_ANY, NULL) : NULL;
        assert_true(!value || expected);
        bool same = json_is_real(expected)
                        ? json_is_number(found) &&
                              fabs(json_number_value(found) - json_number_value(expected)) <= 1e-9
                        : (!expected && !found) || json_equal(expected, found);
        if (!same) fail_msg("%s is not %s", c->expect[i].path, value ? value : "absent");
        json_decref(expected);
    }
    json_decref(root);
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

int main(void)
{
    struct CMUnitTest tests[7 + COUNT(table_cases) + COUNT(error_cases) + COUNT(json_cases)] = {
        cmocka_unit_test(the_whole_table_reads_as_it_should),
        cmocka_unit_test(the_pretraining_table_reads_as_it_should),
        cmocka_unit_test(many_steps_continue_in_further_tables),
        cmocka_unit_test(an_unsound_file_is_warned_of_and_passed_over),
        cmocka_unit_test(what_a_terminal_would_obey_is_made_visible),
        cmocka_unit_test(two_ranks_print_one_table),
        cmocka_unit_test(two_ranks_say_what_one_says),
    };
    struct CMUnitTest *next = tests + 7;
    for (size_t i = 0; i < COUNT(table_cases); i++)
        *next++ = (struct CMUnitTest){table_cases[i].name, table_says, NULL, NULL,
                                      (void *)&table_cases[i]};
    for (size_t i = 0; i < COUNT(error_cases); i++)
        *next++ = (struct CMUnitTest){error_cases[i].name, table_is_an_error, NULL, NULL,
                                      (void *)&error_cases[i]};
    for (size_t i = 0; i < COUNT(json_cases); i++)
        *next++ =
            (struct CMUnitTest){json_cases[i].name, json_says, NULL, NULL, (void *)&json_cases[i]};
    return cmocka_run_group_tests_name("report", tests, program_enter_folder, folder_leave);
}
