#include "report_logs.h"

#include "base/file.h"
#include "store/runlog.h"
#include "test.h"
#include "train/registry.h"

#include <math.h>

/* Sets a key to a value, where the configuration has it. */
static void put(mr_config *config, const char *key, const char *value)
{
    mr_text set = {0};
    mr_text_add(&set, "%s=%s", key, value);
    if (mr_config_has(config, key)) must(mr_config_set(config, mr_text_get(&set)));
    mr_text_free(&set);
}

static void make_config(bool pretrain, const report_log *log, mr_config *config)
{
    char r[32];
    mr_config_defaults(mr_registry_of_program(), config);
    snprintf(r, sizeof r, "%lld", (long long)log->r);
    snprintf(config->run.name, sizeof config->run.name, "study.%s-r%s-lr%s-seed%lld", log->method,
             r, log->lr, (long long)log->seed);
    put(config, "model.config", "tiny.json");
    put(config, "model.init", "random");
    put(config, "train.steps", "400");
    put(config, "train.global_batch", "64");
    put(config, "task.name", log->task ? log->task : pretrain ? "pretrain" : "uuid");
    put(config, "method.name", log->method);
    put(config, "task.pairs", "128");
    put(config, "task.data", "data/c4");
    if (pretrain) put(config, "method.modules_to_save", "[norm]");
    put(config, "method.r", r);
    put(config, "train.lr", log->lr);
    config->run.seed = log->seed;
    if (log->set) must(mr_config_set(config, log->set));
}

static void set_attributes(mr_runlog *to, bool pretrain, const report_log *log,
                           const mr_config *config)
{
    mr_text text = {0};
    must(mr_config_resolved(config, &text));
    const struct {
        const char *name, *value;
    } texts[] = {
        {"config", mr_text_get(&text)},
        {"run", config->run.name},
        {"task", config->task.name},
        {"method", log->method},
        {"data_hash", "0123456789abcdef"},
        {"git_commit", "c0ffee"},
        {"stop_reason", log->stop_reason ? log->stop_reason : "completed"},
    };
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"r", log->r},
        {"seed", log->seed},
        {"parameters", log->r > 0 ? 1012345 : 1000000},
        {"trainable_parameters", log->r > 0 ? 12345 : 1000000},
        {"steps", 400},
        {"seq_len", 66},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        must(mr_runlog_set_text(to, texts[i].name, texts[i].value));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        must(mr_runlog_set_int(to, numbers[i].name, numbers[i].value));
    if (pretrain) must(mr_runlog_set_int(to, "base_parameters", 1000000));
    mr_text_free(&text);
}

static void add_held_out(mr_runlog *to, const report_log *log)
{
    static const char *const names[] = {"perplexity", "loss", "tokens"};
    static const mr_runlog_score scores[] = {
        {"perplexity", "ppl", true}, {"loss", "nats a token", true}, {"tokens", "tokens", false}};
    static const mr_runlog_set about = {
        .kind = "predict", .part = "heldout", .item = "mean loss", .scores = 3, .score = scores};
    for (int64_t step = 200; step <= 400; step += 200) {
        const double loss = log->held_out + 0.01 * (double)(400 - step);
        must(mr_runlog_eval(to, log->task, step, names, (double[]){exp(loss), loss, 512}, 3, NULL,
                            0));
    }
    must(mr_runlog_describe(to, log->task, &about));
}

static void add_forgotten(mr_runlog *to, const report_log *log)
{
    static const char *const names[] = {"loss"};
    static const mr_runlog_score scores[] = {{"loss", "nats a token", true}};
    static const mr_runlog_set about = {.kind = "predict",
                                        .part = "train",
                                        .item = "mean loss",
                                        .scores = 1,
                                        .score = scores,
                                        .data = "data/general"};
    for (int64_t step = 0; step <= 400; step += 400)
        must(mr_runlog_eval(to, "general", step, names,
                            (double[]){step > 0 ? 2 + log->forgotten : 2}, 1, NULL, 0));
    must(mr_runlog_describe(to, "general", &about));
}

/* As a run asks a benchmark. */
static void add_set(mr_runlog *to, const report_set *set)
{
    float record[1000];
    char error_name[64], hash[32];
    const double share = (double)set->right / set->items;
    assert_in_range(set->items, 2, 1000);
    for (int i = 0; i < set->items; i++)
        record[i] = i < set->right;
    snprintf(error_name, sizeof error_name, "%s_standard_error", set->name);
    snprintf(hash, sizeof hash, "%d", set->items);
    const mr_runlog_score scores[] = {{set->name, "fraction", false},
                                      {error_name, "fraction", true}};
    const mr_runlog_set about = {.kind = "benchmark",
                                 .item = "1: right",
                                 .set = set->set,
                                 .version = 3,
                                 .source = "whose",
                                 .items_hash = hash,
                                 .scores = 2,
                                 .score = scores};
    const char *group = set->group ? set->group : set->set;
    must(mr_runlog_eval(to, group, 400, (const char *const[]){set->name, error_name},
                        (double[]){share, sqrt(share * (1 - share) / (set->items - 1))}, 2, record,
                        set->items));
    must(mr_runlog_describe(to, group, &about));
}

static void add_sets(mr_runlog *to, const report_log *log)
{
    for (const report_set *s = log->sets; s < log->sets + REPORT_SETS && s->set; s++)
        add_set(to, s);
    for (int64_t step = 100; step <= 400; step += 100)
        must(mr_runlog_train(to, &(mr_runlog_step){.step = step,
                                                   .loss = 1,
                                                   .lr = 0.1,
                                                   .grad_norm = 1,
                                                   .tokens = 1000,
                                                   .seconds = 1.5}));
}

static void add_evaluation(mr_runlog *to, bool pretrain, const report_log *log, const char *task,
                           int i)
{
    static const char *const of_uuid[] = {"accuracy", "exact"};
    static const char *const of_pretrain[] = {"loss", "perplexity", "tokens"};
    double score = log->score[i];
    int64_t step = (i + 1) * (log->apart ? log->apart : 100);
    if (pretrain)
        must(mr_runlog_eval(to, task, step, of_pretrain, (double[]){log10(score), score, 65432}, 3,
                            NULL, 0));
    else
        must(mr_runlog_eval(to, task, step, of_uuid, (double[]){score, log->exact}, 2, NULL, 0));
}

void report_make_log(const char *folder, bool pretrain, report_log log)
{
    mr_config config;
    mr_runlog *to;
    char path[256], inner[128];
    if (!log.method) log.method = "mora";
    if (log.r == 0 && strcmp(log.method, "fft") != 0) log.r = 8;
    if (log.seed == 0) log.seed = 1;
    if (log.evaluations == 0) log.evaluations = 2;
    make_config(pretrain, &log, &config);
    snprintf(inner, sizeof inner, "%s%s%s", folder, log.folder ? "/" : "",
             log.folder ? log.folder : "");
    must(mr_file_make_folders(inner));
    int length = snprintf(path, sizeof path, "%s/%s.h5", inner, config.run.name);
    assert_in_range(length, 1, sizeof path - 1);
    must(mr_runlog_create(path, &to));
    set_attributes(to, pretrain, &log, &config);
    if (log.became) must(mr_runlog_event(to, 0, "adapter", log.became));
    if (log.held_out > 0) add_held_out(to, &log);
    if (log.forgotten != 0) add_forgotten(to, &log);
    if (log.task) add_sets(to, &log);
    for (int i = 0; i < log.evaluations && !log.task; i++)
        add_evaluation(to, pretrain, &log, config.task.name, i);
    /* As a run that merged, was stopped, and merged again from a checkpoint before that. */
    static const int64_t merges[] = {50, 100, 50, 100, 150};
    for (int i = 0; i < 5 && config.train.schedule == MR_SCHEDULE_JAGGED_COSINE; i++)
        must(mr_runlog_event(to, merges[i], "merge", "the update went into the weights"));
    must(mr_runlog_close(&to));
}

void report_make_logs(const char *folder, bool pretrain, const report_log *log)
{
    for (; log->lr; log++)
        report_make_log(folder, pretrain, *log);
}
