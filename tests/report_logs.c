#include "report_logs.h"

#include "base/file.h"
#include "config/config.h"
#include "store/runlog.h"
#include "test.h"

#include <math.h>

static void make_config(bool pretrain, const report_log *log, mr_config *config)
{
    static const char *const shared[] = {"model.config=tiny.json", "model.init=random",
                                         "task.pairs=128", "train.steps=400",
                                         "train.global_batch=64"};
    static const char *const of_pretrain[] = {"task.name=pretrain", "task.data=data/c4",
                                              "method.modules_to_save=[norm]"};
    mr_text own = {0};
    mr_config_defaults(config);
    mr_text_add(&own, "study.%s-r%lld-lr%s-seed%lld", log->method, (long long)log->r, log->lr,
                (long long)log->seed);
    snprintf(config->run.name, sizeof config->run.name, "%s", mr_text_get(&own));
    mr_text_free(&own);
    for (int i = 0; i < 5; i++)
        must(mr_config_set(config, shared[i]));
    for (int i = 0; i < 3 && pretrain; i++)
        must(mr_config_set(config, of_pretrain[i]));
    snprintf(config->method.name, sizeof config->method.name, "%s", log->method);
    mr_text_add(&own, "train.lr=%s", log->lr);
    must(mr_config_set(config, mr_text_get(&own)));
    mr_text_free(&own);
    config->run.seed = log->seed;
    if (log->r > 0) config->method.r = log->r;
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
