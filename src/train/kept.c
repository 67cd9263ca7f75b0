#include "train/kept.h"

#include "base/file.h"
#include "train/registry.h"
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
    mr_status status = mr_config_resolved(c, &config);
    /* A folder that was taken away meanwhile is no reason to lose what was trained. */
    if (status == MR_OK && t->comm->rank == 0) status = mr_file_make_folders(c->run.output);
    status = mr_comm_agree(t->comm, status);
    mr_inputs inputs = t->inputs;
    mr_inputs_field field[MR_INPUTS_FIELDS];
    mr_inputs_fields(&inputs, field);
    enum { OWN = 7 };
    mr_safetensors_pair pairs[OWN + MR_INPUTS_FIELDS] = {
        {"format", "pt"}, /* as loaders of PyTorch want it */
        {"kind", FORMAT},
        {"run", c->run.name},
        {"holds", mr_kept_word(all ? MR_KEEP_ALL : MR_KEEP_TRAINED)},
        {"steps", steps},
        {"restart", restart},
        {"config", mr_text_get(&config)},
    };
    for (int i = 0; i < MR_INPUTS_FIELDS; i++)
        pairs[OWN + i] = (mr_safetensors_pair){field[i].name, field[i].text};
    if (status == MR_OK)
        status = mr_model_write(t->model, all ? MR_PART_ALL : MR_PART_TRAINED, path, pairs,
                                (int64_t)(sizeof pairs / sizeof *pairs));
    mr_text_free(&config);
    return status;
}

/* A line of the metadata, "" where there is none. */
static const char *pair_of(const mr_safetensors *file, const char *key)
{
    const char *text = mr_safetensors_metadata(file, key);
    return text ? text : "";
}

mr_status mr_kept_tell(const mr_safetensors *file, mr_kept_about *out)
{
    mr_inputs_field field[MR_INPUTS_FIELDS];
    MR_CHECK(strcmp(pair_of(file, "kind"), FORMAT) == 0, MR_ERR_FORMAT,
             "%s: kind: expected '%s', found '%.100s'", mr_safetensors_path(file), FORMAT,
             pair_of(file, "kind"));
    out->inputs = (mr_inputs){.data_hash = ""};
    mr_inputs_fields(&out->inputs, field);
    for (int i = 0; i < MR_INPUTS_FIELDS; i++)
        snprintf(field[i].text, field[i].room, "%s", pair_of(file, field[i].name));
    out->steps = strtoll(pair_of(file, "steps"), NULL, 10);
    out->restart = strtoll(pair_of(file, "restart"), NULL, 10);
    return mr_config_parse_resolved(mr_registry_of_program(), pair_of(file, "config"),
                                    &out->config);
}

static mr_status check_source(const mr_trainer *t, const mr_safetensors *file,
                              const mr_kept_about *about)
{
    const char *path = mr_safetensors_path(file);
    const bool drawn = t->config->model.init == MR_INIT_RANDOM;
    mr_text differing = {0};
    const char *key = mr_state_differing_key(t->config, &about->config);
    MR_CHECK(!key, MR_ERR_FORMAT, "%s: of another run: %s differs", path, key);
    mr_status status = MR_OK;
    if (mr_inputs_differ(&about->inputs, &t->inputs, drawn, &differing))
        status =
            mr_fail(MR_ERR_FORMAT, "%s: of other inputs: now %s", path, mr_text_get(&differing));
    mr_text_free(&differing);
    return status;
}

static mr_status read_file(mr_trainer *t, const mr_safetensors *file)
{
    bool all = strcmp(pair_of(file, "holds"), mr_kept_word(MR_KEEP_ALL)) == 0;
    mr_kept_about about;
    MR_TRY(mr_kept_tell(file, &about));
    MR_TRY(check_source(t, file, &about));
    t->step = about.steps;
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
