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
    put(config, "task.name", pretrain ? "pretrain" : "uuid");
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
    for (int i = 0; i < log.evaluations; i++)
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
