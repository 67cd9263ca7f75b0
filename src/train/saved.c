#define _XOPEN_SOURCE 700 /* realpath */ /* NOLINT(bugprone-reserved-identifier) */

#include "train/saved.h"

#include "base/file.h"
#include "store/hf_beside.h"
#include "store/json.h"
#include "train/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct mr_saved {
    const mr_config *config; /* borrowed */
    char log[PATH_MAX];      /* of the run, from the root: with its name, who it is */
    mr_hf_beside *beside;    /* owned */
};

static mr_status path_in(const mr_config *config, const char *name, char path[PATH_MAX])
{
    return mr_file_path(path, "%s/%s", config->run.save_model, name);
}

/* Reads the mark of a folder; NULL where there is none. */
static mr_status read_mark(const mr_config *config, json_t **out)
{
    char path[PATH_MAX];
    *out = NULL;
    MR_TRY(path_in(config, MR_HF_MARK, path));
    if (access(path, F_OK) != 0) return MR_OK;
    MR_TRY(mr_json_read(path, out));
    const char *format = json_string_value(json_object_get(*out, "format"));
    if (format && strcmp(format, MR_HF_MARK_FORMAT) == 0) return MR_OK;
    json_decref(*out);
    *out = NULL;
    return mr_fail(MR_ERR_FORMAT, "%s: format: expected '%s'", path, MR_HF_MARK_FORMAT);
}

static const char *text_of(const json_t *mark, const char *key)
{
    const char *text = json_string_value(json_object_get(mark, key));
    return text ? text : "";
}

/* Writes the mark; of a trainer: the model is whole. */
static mr_status write_mark(const mr_saved *saved, const mr_trainer *t)
{
    char path[PATH_MAX];
    mr_inputs inputs = {.data_hash = ""};
    mr_inputs_field field[MR_INPUTS_FIELDS];
    mr_text config = {0};
    if (t) inputs = t->inputs;
    mr_inputs_fields(&inputs, field);
    json_t *mark = json_pack("{s:s, s:o, s:o, s:b}", "format", MR_HF_MARK_FORMAT, "run",
                             mr_json_text(saved->config->run.name), "log", mr_json_text(saved->log),
                             "whole", t != NULL);
    mr_status status = mark ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK && t) {
        status = mr_config_resolved(saved->config, &config);
        json_t *about =
            json_pack("{s:I, s:s}", "steps", (json_int_t)t->step, "config", mr_text_get(&config));
        for (int i = 0; i < MR_INPUTS_FIELDS; i++)
            json_object_set_new(about, field[i].name, json_string(field[i].text));
        if (!about || json_object_update(mark, about) != 0) status = MR_ERR_MEMORY;
        json_decref(about);
    }
    if (status == MR_OK) status = path_in(saved->config, MR_HF_MARK, path);
    if (status == MR_OK) status = mr_json_write(path, mark);
    json_decref(mark);
    mr_text_free(&config);
    return status;
}

static mr_status refuse_source(const mr_config *config)
{
    struct stat there, source;
    bool same = config->model.path[0] && stat(config->run.save_model, &there) == 0 &&
                stat(config->model.path, &source) == 0 && there.st_dev == source.st_dev &&
                there.st_ino == source.st_ino;
    MR_CHECK(!same, MR_ERR_CONFIG,
             "run.save_model: '%s' is model.path, and the model it starts from would be lost",
             config->run.save_model);
    return MR_OK;
}

/* What stands in the folder must be of an earlier run of this name and log. */
static mr_status check_owner(const mr_saved *saved, bool *marked)
{
    const char *folder = saved->config->run.save_model, *found = mr_hf_beside_found(folder);
    json_t *mark;
    MR_TRY(read_mark(saved->config, &mark));
    *marked = mark != NULL;
    MR_CHECK(mark || !found, MR_ERR_CONFIG,
             "run.save_model: '%s' holds a model already (%s), which no run saved there; name "
             "another folder, or move that away",
             folder, found);
    mr_status status = MR_OK;
    if (mark && (strcmp(text_of(mark, "run"), saved->config->run.name) != 0 ||
                 strcmp(text_of(mark, "log"), saved->log) != 0))
        status = mr_fail(MR_ERR_CONFIG,
                         "run.save_model: '%s' is where run '%.200s' saves, whose log is '%.300s'; "
                         "name another folder, or remove that one",
                         folder, text_of(mark, "run"), text_of(mark, "log"));
    json_decref(mark);
    return status;
}

/* Writes and removes a file: a folder may be there and yet not be writable. */
static mr_status probe(const mr_config *config)
{
    char path[PATH_MAX];
    MR_TRY(path_in(config, MR_HF_MARK ".probe", path));
    MR_TRY(mr_file_write(path, "", 0));
    unlink(path);
    return MR_OK;
}

static mr_status read_beside(mr_saved *saved)
{
    const mr_config *c = saved->config;
    char config[PATH_MAX];
    MR_TRY(mr_trainer_config_path(c, config));
    return mr_hf_beside_read(config, c->model.path, c->model.tokenizer, &saved->beside);
}

static mr_status take(mr_saved *saved)
{
    const mr_config *c = saved->config;
    char output[PATH_MAX];
    bool marked;
    MR_TRY(refuse_source(c));
    MR_TRY(mr_file_make_folders(c->run.save_model));
    MR_CHECK(realpath(c->run.output, output), MR_ERR_IO, "cannot find '%s': %s", c->run.output,
             strerror(errno));
    MR_TRY(mr_file_path(saved->log, "%s/%s.h5", output, c->run.name));
    MR_TRY(check_owner(saved, &marked));
    MR_TRY(probe(c));
    MR_TRY(read_beside(saved));
    return marked ? MR_OK : write_mark(saved, NULL);
}

mr_status mr_saved_take(const mr_comm *comm, const mr_config *config, mr_saved **out)
{
    mr_saved *saved = mr_alloc(MR_MEM_OTHER, sizeof *saved);
    mr_status status = mr_comm_agree(comm, saved ? MR_OK : MR_ERR_MEMORY);
    if (saved) *saved = (mr_saved){.config = config};
    if (status == MR_OK) status = mr_comm_agree_root(comm, comm->rank == 0 ? take(saved) : MR_OK);
    if (status != MR_OK) mr_saved_free(&saved);
    *out = saved;
    return status;
}

/* The mark goes last: where it says so, all is there. */
static mr_status write_rest(const mr_saved *saved, const mr_trainer *t)
{
    char index[PATH_MAX];
    MR_TRY(mr_hf_beside_write(saved->beside, saved->config->run.save_model, mr_model_arch(t->model),
                              "float32"));
    MR_TRY(path_in(saved->config, MR_HF_INDEX, index));
    unlink(index);
    return write_mark(saved, t);
}

mr_status mr_saved_write(const mr_saved *saved, mr_trainer *t)
{
    const mr_safetensors_pair format = {"format", "pt"};
    char path[PATH_MAX];
    bool first = t->comm->rank == 0;
    mr_status begun = first ? mr_file_make_folders(saved->config->run.save_model) : MR_OK;
    if (first && begun == MR_OK) begun = write_mark(saved, NULL);
    MR_TRY(mr_comm_agree_root(t->comm, begun));
    if (!mr_model_method(t->model)->trains_base) MR_TRY(mr_model_merge(t->model));
    MR_AGREE(t->comm, path_in(saved->config, MR_HF_WEIGHTS, path));
    MR_TRY(mr_model_write(t->model, MR_PART_PUBLIC, path, &format, 1));
    return mr_comm_agree_root(t->comm, first ? write_rest(saved, t) : MR_OK);
}

void mr_saved_free(mr_saved **saved)
{
    if (!*saved) return;
    mr_hf_beside_free(&(*saved)->beside);
    mr_free(*saved);
    *saved = NULL;
}

/* Whether a mark is of this very run, with these inputs, after so many steps. */
static mr_status is_of_run(const json_t *mark, const mr_config *config, int64_t steps,
                           const mr_inputs *inputs, bool *same)
{
    mr_config theirs;
    mr_inputs then = {.data_hash = ""};
    mr_inputs_field field[MR_INPUTS_FIELDS];
    mr_text differing = {0};
    *same = false;
    if (!json_is_true(json_object_get(mark, "whole"))) return MR_OK;
    MR_TRY(mr_config_parse_resolved(config->registry, text_of(mark, "config"), &theirs));
    mr_inputs_fields(&then, field);
    for (int i = 0; i < MR_INPUTS_FIELDS; i++)
        snprintf(field[i].text, field[i].room, "%s", text_of(mark, field[i].name));
    *same = strcmp(text_of(mark, "run"), config->run.name) == 0 &&
            json_integer_value(json_object_get(mark, "steps")) == steps &&
            !mr_state_differing_key(config, &theirs) &&
            !mr_inputs_differ(&then, inputs, config->model.init == MR_INIT_RANDOM, &differing);
    mr_text_free(&differing);
    return MR_OK;
}

mr_status mr_saved_find(const mr_config *config, int64_t steps, const mr_inputs *inputs,
                        bool unmarked, bool *whole)
{
    char path[PATH_MAX];
    json_t *mark = NULL;
    *whole = false;
    MR_TRY(path_in(config, MR_HF_WEIGHTS, path));
    if (access(path, F_OK) != 0) return MR_OK;
    MR_TRY(read_mark(config, &mark));
    *whole = unmarked;
    mr_status status = mark ? is_of_run(mark, config, steps, inputs, whole) : MR_OK;
    json_decref(mark);
    return status;
}
