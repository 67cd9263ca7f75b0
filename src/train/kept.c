#include "train/kept.h"

#include "train/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char FORMAT[] = "mora trained tensors 1";

void mr_kept_path(const mr_config *config, char path[MR_KEPT_PATH])
{
    snprintf(path, MR_KEPT_PATH, "%s/%s.trained.safetensors", config->run.output, config->run.name);
}

const char *mr_kept_word(mr_keep keep)
{
    static const char *const words[] = {
        [MR_KEEP_TRAINED] = "trained", [MR_KEEP_ALL] = "all", [MR_KEEP_NONE] = "none"};
    return words[keep];
}

static int64_t restart_of(const mr_trainer *t)
{
    int64_t every = mr_adapter_config_of(t->config)->merge_every;
    return every > 0 ? t->step / every : 0;
}

mr_status mr_kept_write(const mr_trainer *t)
{
    const mr_config *c = t->config;
    bool all = c->run.keep == MR_KEEP_ALL;
    char path[MR_KEPT_PATH], steps[32], restart[32];
    mr_text config = {0};
    mr_kept_path(c, path);
    snprintf(steps, sizeof steps, "%" PRId64, t->step);
    snprintf(restart, sizeof restart, "%" PRId64, restart_of(t));
    mr_status status = mr_comm_agree(t->comm, mr_config_resolved(c, &config));
    const mr_safetensors_pair pairs[] = {
        {"format", "pt"}, /* as loaders of PyTorch want it */
        {"kind", FORMAT},
        {"run", c->run.name},
        {"holds", mr_kept_word(all ? MR_KEEP_ALL : MR_KEEP_TRAINED)},
        {"steps", steps},
        {"restart", restart},
        {"data_hash", t->data_hash},
        {"weights_hash", t->weights_hash},
        {"config", mr_text_get(&config)},
    };
    if (status == MR_OK)
        status = mr_model_write(t->model, all ? MR_PART_ALL : MR_PART_TRAINED, path, pairs,
                                (int64_t)(sizeof pairs / sizeof *pairs));
    mr_text_free(&config);
    return status;
}

/* Expects one line of the metadata. */
static mr_status expect_pair(const mr_safetensors *file, const char *key, const char *expected)
{
    const char *found = mr_safetensors_metadata(file, key);
    MR_CHECK(found && strcmp(found, expected) == 0, MR_ERR_FORMAT,
             "%s: %s: expected '%s', found '%.100s'", mr_safetensors_path(file), key, expected,
             found ? found : "nothing");
    return MR_OK;
}

static mr_status check_source(const mr_trainer *t, const mr_safetensors *file)
{
    const char *config = mr_safetensors_metadata(file, "config");
    mr_config theirs;
    MR_TRY(expect_pair(file, "kind", FORMAT));
    MR_TRY(expect_pair(file, "data_hash", t->data_hash));
    MR_TRY(expect_pair(file, "weights_hash", t->weights_hash));
    MR_TRY(mr_config_parse_resolved(t->config->registry, config ? config : "", &theirs));
    const char *key = mr_state_differing_key(t->config, &theirs);
    MR_CHECK(!key, MR_ERR_FORMAT, "%s: of another run: %s differs", mr_safetensors_path(file), key);
    return MR_OK;
}

static mr_status read_file(mr_trainer *t, const mr_safetensors *file)
{
    const char *steps = mr_safetensors_metadata(file, "steps");
    const char *holds = mr_safetensors_metadata(file, "holds");
    bool all = holds && strcmp(holds, mr_kept_word(MR_KEEP_ALL)) == 0;
    MR_TRY(check_source(t, file));
    t->step = steps ? strtoll(steps, NULL, 10) : 0;
    MR_CHECK(t->step == t->total_steps, MR_ERR_FORMAT,
             "%s: steps: expected %" PRId64 ", the length of the run, found %" PRId64,
             mr_safetensors_path(file), t->total_steps, t->step);
    mr_model_set_restart(t->model, restart_of(t));
    return mr_model_read(t->model, all ? MR_PART_ALL : MR_PART_TRAINED, file);
}

mr_status mr_kept_read(mr_trainer *t)
{
    char path[MR_KEPT_PATH];
    mr_safetensors *file;
    mr_kept_path(t->config, path);
    mr_status status = mr_safetensors_open(path, &file);
    if (status == MR_OK) status = read_file(t, file);
    mr_safetensors_close(&file);
    return mr_comm_agree(t->comm, status);
}
