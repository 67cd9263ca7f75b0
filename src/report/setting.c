#include "report/setting.h"

#include "config/registry.h"
#include "report/layout.h"

#include <math.h>
#include <string.h>

const mr_result *mr_setting_with(const mr_setting *setting, const char *key)
{
    for (int64_t g = 0; g < setting->groups; g++)
        if (mr_config_has(&setting->group[g].first->config, key)) return setting->group[g].first;
    return NULL;
}

mr_status mr_setting_key_varies(const mr_setting *setting, const mr_group *alike, const char *key,
                                bool *varies)
{
    const mr_result *first = alike ? alike->first : mr_setting_with(setting, key);
    mr_text mine = {0}, other = {0};
    *varies = false;
    if (!first) return MR_OK;
    mr_status status = mr_config_value_text(&first->config, key, &mine);
    for (int64_t g = 0; status == MR_OK && !*varies && g < setting->groups; g++) {
        const mr_result *run = setting->group[g].first;
        if (alike && (run->r != first->r || strcmp(run->method, first->method) != 0)) continue;
        if (!mr_config_has(&run->config, key)) continue;
        mr_text_free(&other);
        status = mr_config_value_text(&run->config, key, &other);
        *varies = strcmp(mr_text_get(&mine), mr_text_get(&other)) != 0;
    }
    mr_text_free(&mine);
    mr_text_free(&other);
    return status;
}

void mr_setting_name(const mr_results *results, const mr_setting *setting, mr_text *out)
{
    enum { NAMES = 3 };
    int named = 0;
    for (int64_t i = setting->begin; i < setting->end; i++) {
        const char *name = results->run[i]->config.run.name;
        size_t length = strcspn(name, ".");
        bool seen = false;
        for (int64_t k = setting->begin; k < i && !seen; k++) {
            const char *earlier = results->run[k]->config.run.name;
            seen = strcspn(earlier, ".") == length && strncmp(earlier, name, length) == 0;
        }
        if (seen) continue;
        if (named < NAMES)
            mr_text_add(out, "%s%.*s", named > 0 ? ", " : "", (int)length, name);
        else if (named == NAMES)
            mr_text_add(out, ", ...");
        named++;
    }
}

void mr_setting_difference(const mr_results *results, const mr_setting *setting, mr_text *out)
{
    bool begun = false;
    const mr_config *own = &setting->first->config;
    for (int i = 0; i < own->registry->count; i++) {
        const char *key = own->registry->at[i].key->key;
        if (!mr_results_in_setting(key) || !mr_config_has(own, key)) continue;
        mr_text mine = {0}, other = {0};
        bool differs = false;
        mr_status status = mr_config_value_text(own, key, &mine);
        for (int64_t s = 0; s < results->settings && !differs && status == MR_OK; s++) {
            mr_text_free(&other);
            status = mr_config_value_text(&results->setting[s].first->config, key, &other);
            differs = strcmp(mr_text_get(&mine), mr_text_get(&other)) != 0;
        }
        if (status != MR_OK) out->failed = true;
        if (differs)
            mr_text_add(out, "%s%s=%s", begun ? ", " : "", key,
                        mine.length > 0 ? mr_text_get(&mine) : "\"\"");
        if (mine.failed || other.failed) out->failed = true;
        mr_text_free(&mine);
        mr_text_free(&other);
        begun = begun || differs;
    }
    if (!begun) mr_text_add(out, "data %.12s", setting->first->data_hash);
}

/* The data and how much of them is learned: synthetic data end, a folder's are told in tokens. */
static void add_amount(const mr_result *run, const char *sample, mr_text *out)
{
    const mr_config *c = &run->config;
    char number[MR_LAYOUT_NUMBER];
    double samples = (double)run->steps * (double)c->train.global_batch;
    const char *folder = mr_config_field(c, "task.data");
    const int64_t *pairs = mr_config_field(c, "task.pairs");
    if (folder)
        mr_text_add(out, "data %s", folder);
    else if (pairs)
        mr_text_add(out, "%s %s", mr_layout_integer(*pairs, number), sample);
    else
        mr_text_add(out, "task %s", c->task.name);
    mr_text_add(out, ", batch %lld %s", (long long)c->train.global_batch, sample);
    if (run->steps == 0) return;
    mr_text_add(out, ", %s steps ", mr_layout_integer(run->steps, number));
    if (folder)
        mr_text_add(out, "(%s tokens)",
                    mr_layout_integer(llround(samples * (double)run->seq_len), number));
    else if (pairs)
        mr_text_add(out, "(%.4g passes over the data)", samples / (double)*pairs);
}

/* What methods may differ in, told with their names. */
typedef int64_t (*property)(const mr_result *run);

static int64_t schedule_of(const mr_result *run)
{
    return run->config.train.schedule;
}

static int64_t merges_of(const mr_result *run)
{
    return run->merges;
}

/* Tells whether no group before g has its property and, where a method is given, is of that. */
static bool is_first(const mr_setting *setting, int64_t g, property of, const char *method)
{
    int64_t mine = of(setting->group[g].first);
    for (int64_t k = 0; k < g; k++) {
        const mr_result *run = setting->group[k].first;
        if (of(run) == mine && (!method || strcmp(run->method, method) == 0)) return false;
    }
    return true;
}

/* Appends " (lora, mora)": the methods with the property of group g, each once. */
static void add_methods(const mr_setting *setting, int64_t g, property of, mr_text *out)
{
    const char *before = " (";
    for (int64_t k = g; k < setting->groups; k++) {
        const mr_result *run = setting->group[k].first;
        if (of(run) != of(setting->group[g].first) || !is_first(setting, k, of, run->method))
            continue;
        mr_text_add(out, "%s%s", before, run->method);
        before = ", ";
    }
    mr_text_add(out, ")");
}

/* The schedule; of several each, and which methods have it. Then the merges of those that merge. */
static mr_status add_courses(const mr_setting *setting, mr_text *out)
{
    bool varies;
    MR_TRY(mr_setting_key_varies(setting, NULL, "train.schedule", &varies));
    for (int64_t g = 0; g < setting->groups; g++) {
        if (!is_first(setting, g, schedule_of, NULL)) continue;
        mr_text_add(out, ", ");
        MR_TRY(mr_config_value_text(&setting->group[g].first->config, "train.schedule", out));
        mr_text_add(out, " schedule");
        if (varies) add_methods(setting, g, schedule_of, out);
    }
    for (int64_t g = 0; g < setting->groups; g++) {
        long long merges = merges_of(setting->group[g].first);
        if (merges == 0 || !is_first(setting, g, merges_of, NULL)) continue;
        mr_text_add(out, ", %lld merge%s", merges, merges == 1 ? "" : "s");
        add_methods(setting, g, merges_of, out);
    }
    return MR_OK;
}

mr_status mr_setting_words(const mr_paper_table *paper, const mr_report_block *block, mr_text *out)
{
    const mr_setting *setting = block->setting;
    const mr_result *run = setting->first;
    const mr_config *c = &run->config;
    const mr_measure *measure = &block->results->measure;
    char number[MR_LAYOUT_NUMBER];
    mr_text init = {0}, dtype = {0};
    mr_status status = mr_config_value_text(c, "model.init", &init);
    if (status == MR_OK) status = mr_config_value_text(c, "model.dtype", &dtype);
    mr_text_add(out, "model %s (%s, %s parameters, %s%s), ",
                c->model.path[0] ? c->model.path : c->model.config, mr_text_get(&init),
                mr_layout_integer(run->base_parameters, number), mr_text_get(&dtype),
                c->model.matmul == MR_MATMUL_FP8 ? ", products in fp8" : "");
    mr_text_free(&init);
    mr_text_free(&dtype);
    MR_TRY(status);
    add_amount(run, paper->sample, out);
    mr_text_add(out, ", %lld tokens a sample", (long long)run->seq_len);
    MR_TRY(add_courses(setting, out));
    mr_text_add(out, ", %lld warm-up steps", (long long)c->train.warmup_steps);
    int64_t scored = run->series[measure->choice].scored;
    if (scored > 0)
        mr_text_add(out, ", %s held-out %s scored", mr_layout_integer(scored, number),
                    measure->score[measure->choice].count);
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

int mr_setting_commits(const mr_results *results, const mr_setting *setting, mr_text *out)
{
    int commits = 0;
    for (int64_t i = setting->begin; i < setting->end; i++) {
        const mr_result *run = results->run[i];
        bool seen = run->left_out != NULL;
        for (int64_t k = setting->begin; k < i && !seen; k++)
            seen = !results->run[k]->left_out && strcmp(results->run[k]->commit, run->commit) == 0;
        if (seen) continue;
        mr_text_add(out, "%s%s", commits > 0 ? ", " : "", run->commit);
        commits++;
    }
    return commits;
}
