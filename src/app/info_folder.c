/* Folders under a manifest: checkpoints and token shards. */

#include "app/info.h"
#include "base/file.h"
#include "data/task.h"
#include "data/token_shards.h"
#include "report/description.h"
#include "store/checkpoint_folder.h"
#include "store/json.h"
#include "train/state.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static mr_status recognise_manifest(const char *path, mr_info_kind *kind)
{
    json_t *root = NULL;
    mr_status status = MR_OK;
    MR_TRY(mr_json_read(path, &root));
    const json_t *value = json_object_get(root, "format");
    const char *format = json_string_value(value);
    *kind = MR_INFO_CHECKPOINT;
    if (!format)
        status = mr_fail(MR_ERR_FORMAT, "%s: format: expected '%s' or '%s', found %s", path,
                         MR_CHECKPOINT_FORMAT, MR_TOKEN_MANIFEST_FORMAT, mr_json_kind(value));
    else if (strcmp(format, MR_TOKEN_MANIFEST_FORMAT) == 0)
        *kind = MR_INFO_SHARDS;
    else if (strcmp(format, MR_CHECKPOINT_FORMAT) != 0)
        status = mr_fail(MR_ERR_FORMAT, "%s: format: expected '%s' or '%s', found '%.64s'", path,
                         MR_CHECKPOINT_FORMAT, MR_TOKEN_MANIFEST_FORMAT, format);
    json_decref(root);
    return status;
}

mr_status mr_info_recognise_folder(const char *path, mr_info_kind *kind, bool *known)
{
    char manifest[PATH_MAX];
    mr_checkpoint_entry *entries;
    int64_t count;
    *known = true;
    MR_TRY(mr_file_path(manifest, "%s/%s", path, MR_CHECKPOINT_MANIFEST));
    if (access(manifest, F_OK) == 0) return recognise_manifest(manifest, kind);
    MR_TRY(mr_checkpoint_folder_list(path, &entries, &count));
    mr_free(entries);
    *kind = MR_INFO_CHECKPOINTS;
    *known = count > 0;
    return MR_OK;
}

static void put_kind(json_t *object, const char *kind, const char *path)
{
    mr_description_put(object, "kind", json_string(kind));
    mr_description_put(object, "file", mr_json_text(path));
}

/* Hands a description over, or frees it after a failure. */
static mr_status finish(mr_status status, json_t *object, json_t **out)
{
    if (status != MR_OK) {
        json_decref(object);
        object = NULL;
    }
    *out = object;
    return status;
}

static mr_status put_count(const char *path, const char *key, const json_t *value, json_t *object)
{
    MR_CHECK(json_is_integer(value), MR_ERR_FORMAT,
             "%s: %s: state: %s: expected a whole number, found %s", path, MR_CHECKPOINT_MANIFEST,
             key, mr_json_kind(value));
    mr_description_put(object, key, json_integer(json_integer_value(value)));
    return MR_OK;
}

static mr_status add_state(const mr_checkpoint *checkpoint, bool config, json_t *object)
{
    const char *path = mr_checkpoint_path(checkpoint);
    const json_t *state = mr_checkpoint_state(checkpoint), *run = json_object_get(state, "run");
    mr_config saved;
    MR_TRY(mr_state_config(checkpoint, &saved));
    mr_description_put(object, "run", json_string(saved.run.name));
    mr_description_put(object, "task", json_string(saved.task.name));
    mr_description_put(object, "method", json_string(saved.method.name));
    MR_TRY(put_count(path, "skipped", json_object_get(json_object_get(state, "guard"), "skipped"),
                     object));
    MR_TRY(put_count(path, "tokens", json_object_get(run, "tokens"), object));
    if (config) mr_description_put(object, "config", json_incref(json_object_get(state, "config")));
    return MR_OK;
}

static void add_tensors(const mr_checkpoint *checkpoint, json_t *object)
{
    json_t *rows = json_array();
    const int64_t count = mr_checkpoint_tensors(checkpoint);
    for (int64_t i = 0; i < count; i++) {
        int dims;
        const int64_t *extent;
        const char *name = mr_checkpoint_tensor(checkpoint, i, &dims, &extent);
        json_t *shape = json_array();
        for (int d = 0; d < dims; d++)
            json_array_append_new(shape, json_integer((json_int_t)extent[d]));
        json_array_append_new(rows, json_pack("{s:s, s:o}", "name", name, "shape", shape));
    }
    mr_description_put(object, "tensors", json_integer(count));
    mr_description_put(object, "tensor", rows);
}

mr_status mr_info_checkpoint(const mr_comm *comm, const char *path, bool config, json_t **out)
{
    mr_checkpoint *checkpoint = NULL;
    *out = NULL;
    MR_TRY(mr_checkpoint_open(comm, path, &checkpoint));
    json_t *object = json_object();
    put_kind(object, "checkpoint", path);
    mr_description_put(object, "condition", json_string("sound"));
    mr_description_put(object, "step", json_integer(mr_checkpoint_step(checkpoint)));
    mr_description_put(object, "ranks", json_integer(mr_checkpoint_ranks(checkpoint)));
    mr_description_put(object, "bytes", json_integer(mr_checkpoint_bytes(checkpoint)));
    mr_status status = add_state(checkpoint, config, object);
    add_tensors(checkpoint, object);
    mr_checkpoint_close(&checkpoint);
    return finish(status, object, out);
}

/* Rank 0 looks, so that all see the same even where the folder changes at this moment.
 * Collective. */
static mr_status list_steps(const mr_comm *comm, const char *folder, mr_checkpoint_entry **entries,
                            int64_t *count)
{
    *entries = NULL;
    *count = 0;
    MR_TRY(mr_comm_agree_root(
        comm, comm->rank == 0 ? mr_checkpoint_folder_list(folder, entries, count) : MR_OK));
    mr_comm_broadcast(comm, count, sizeof *count, 0);
    if (comm->rank > 0) *entries = mr_alloc_array(MR_MEM_OTHER, (size_t)*count, sizeof **entries);
    mr_status status = mr_comm_agree(comm, *entries || *count == 0 ? MR_OK : MR_ERR_MEMORY);
    if (status == MR_OK) {
        mr_comm_broadcast(comm, *entries, (size_t)*count * sizeof **entries, 0);
    } else {
        mr_free(*entries);
        *entries = NULL;
    }
    return status;
}

/* The message without the path of the checkpoint, which stands beside it. */
static const char *without_path(const char *message, const char *path)
{
    size_t length = strlen(path);
    if (strncmp(message, path, length) != 0) return message;
    return message + length + strspn(message + length, "/: ");
}

/* Tells the ranks and bytes of a checkpoint and whether it is sound. Collective. */
static mr_status test_step(const mr_comm *comm, const char *path, int64_t step, json_t *row,
                           bool *sound)
{
    mr_checkpoint *checkpoint = NULL;
    *sound = false;
    mr_status status = mr_checkpoint_open(comm, path, &checkpoint);
    if (status == MR_OK && mr_checkpoint_step(checkpoint) != step)
        status = mr_fail(MR_ERR_FORMAT, "%s: step: expected %" PRId64 ", found %" PRId64,
                         MR_CHECKPOINT_MANIFEST, step, mr_checkpoint_step(checkpoint));
    *sound = status == MR_OK;
    if (*sound) {
        mr_description_put(row, "ranks", json_integer(mr_checkpoint_ranks(checkpoint)));
        mr_description_put(row, "bytes", json_integer(mr_checkpoint_bytes(checkpoint)));
    }
    mr_description_put(row, "condition",
                       mr_json_text(*sound ? "sound" : without_path(mr_message(), path)));
    mr_checkpoint_close(&checkpoint);
    /* What is short of memory says nothing about the checkpoint. */
    return status == MR_ERR_MEMORY ? status : MR_OK;
}

/* Adds a row for the folder of a step. Collective. */
static mr_status add_step(const mr_comm *comm, const char *folder, const mr_checkpoint_entry *entry,
                          json_t *rows, bool *sound)
{
    char path[PATH_MAX];
    *sound = false;
    MR_TRY(mr_checkpoint_folder_path(folder, entry->step, entry->kind, path));
    json_t *row = json_pack("{s:I, s:s, s:n, s:n}", "step", (json_int_t)entry->step, "folder",
                            strrchr(path, '/') + 1, "ranks", "bytes");
    json_array_append_new(rows, row);
    if (entry->kind != MR_CHECKPOINT_PARTIAL) return test_step(comm, path, entry->step, row, sound);
    mr_description_put(row, "condition",
                       json_string("not whole: being written, or left by a kill"));
    return MR_OK;
}

mr_status mr_info_checkpoints(const mr_comm *comm, const char *path, json_t **out)
{
    mr_checkpoint_entry *entries;
    int64_t count, sound_count = 0, newest = 0;
    *out = NULL;
    MR_TRY(list_steps(comm, path, &entries, &count));
    json_t *object = json_object(), *rows = json_array();
    mr_status status = MR_OK;
    for (int64_t i = 0; entries && i < count && status == MR_OK; i++) {
        bool sound;
        status = add_step(comm, path, &entries[i], rows, &sound);
        if (sound && sound_count++ == 0) newest = entries[i].step;
    }
    mr_free(entries);
    put_kind(object, "checkpoints of a run", path);
    mr_description_put(object, "checkpoints", json_integer(count));
    mr_description_put(object, "sound", json_integer(sound_count));
    mr_description_put(object, "newest_sound_step",
                       sound_count > 0 ? json_integer(newest) : json_null());
    mr_description_put(object, "checkpoint", rows);
    return finish(status, object, out);
}

static json_t *splits_json(const mr_token_manifest *m)
{
    json_t *rows = json_array();
    for (int s = 0; s < MR_SPLITS; s++) {
        const mr_token_totals *split = &m->split[s];
        json_int_t shards = 0;
        for (int64_t i = 0; i < m->shards; i++)
            shards += m->shard[i].split == (mr_split)s;
        json_array_append_new(
            rows, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "split", mr_split_name((mr_split)s),
                            "documents", (json_int_t)split->documents, "tokens",
                            (json_int_t)split->tokens, "learned", (json_int_t)split->learned,
                            "bytes_of_text", (json_int_t)split->bytes, "shards", shards));
    }
    return rows;
}

static json_t *inputs_json(const mr_token_manifest *m)
{
    json_t *rows = json_array();
    for (int i = 0; i < m->inputs; i++) {
        const mr_token_manifest_input *in = &m->input[i];
        json_array_append_new(
            rows, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "path", in->path, "format",
                            mr_input_format_names[in->format], "bytes", (json_int_t)in->bytes,
                            "documents", (json_int_t)in->documents, "tokens",
                            (json_int_t)in->tokens, "errors", (json_int_t)in->errors));
    }
    return rows;
}

static void add_prepared(const mr_token_manifest *m, json_t *object)
{
    const mr_recipe *set = &m->recipe;
    json_t *errors = json_object();
    for (int f = 0; f < MR_FAULTS; f++)
        mr_description_put(errors, mr_fault_name((mr_fault)f), json_integer(m->errors[f]));
    mr_description_put(object, "shards", json_integer(m->shards));
    mr_description_put(object, "token_bytes", json_integer(m->token_bytes));
    mr_description_put(object, "tokenizer",
                       json_pack("{s:s, s:s?, s:i, s:i}", "name", m->tokenizer, "sha256",
                                 m->tokenizer_hash[0] != '\0' ? m->tokenizer_hash : NULL,
                                 "vocabulary", (int)m->vocabulary, "eos", (int)m->eos));
    mr_description_put(object, "template",
                       json_pack("{s:s, s:s?, s:i, s:b}", "name", m->template_name, "sha256",
                                 m->template_hash[0] != '\0' ? m->template_hash : NULL, "end",
                                 (int)m->end, "end_learned", m->end_learned));
    mr_description_put(object, "version", json_integer(m->version));
    mr_description_put(object, "settings",
                       json_pack("{s:s, s:s, s:s, s:f, s:I}", "field", set->field, "documents",
                                 set->documents == MR_DOCUMENTS_FILES ? "file" : "lines",
                                 "on_error", set->on_error == MR_FAULT_SKIP ? "skip" : "error",
                                 "heldout", set->heldout, "unit_bytes",
                                 (json_int_t)set->unit_bytes));
    mr_description_put(object, "splits", splits_json(m));
    mr_description_put(object, "errors", errors);
    mr_description_put(object, "inputs", json_integer(m->inputs));
    mr_description_put(object, "input", inputs_json(m));
}

mr_status mr_info_shards(const char *path, json_t **out)
{
    mr_token_shards *shards = NULL;
    *out = NULL;
    MR_TRY(mr_token_shards_open(path, 1, &shards));
    const mr_status status = mr_token_shards_check(shards);
    json_t *object = json_object();
    put_kind(object, "token shards", path);
    /* As long as the logs of runs on these shards have it. */
    mr_description_put(object, "data_hash",
                       json_stringn(mr_token_shards_hash(shards), (size_t)MR_DATASET_HASH - 1));
    add_prepared(mr_token_shards_manifest(shards), object);
    mr_token_shards_close(&shards);
    return finish(status, object, out);
}
