/* An adapter folder of PEFT: LoRA, dW = s B A, and DoRA, whose rows have lengths of their own; or
 * one of the published MoRA fork, whose square matrix is kept as lora_A.
 *
 * Source: peft/tuners/lora (names of tensors, keys of adapter_config.json, patterns that match the
 * end of a module's name); kongds/MoRA (use_mora, mora_type). */

#include "adapter/mora.h"
#include "base/file.h"
#include "base/log.h"
#include "base/pattern.h"
#include "base/text.h"
#include "spectra/updates_impl.h"
#include "store/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char PREFIX[] = "base_model.model.";
static const char FACTOR_A[] = ".lora_A.weight", FACTOR_B[] = ".lora_B.weight";
/* The second as older versions wrote it. */
static const char *const LENGTHS[] = {".lora_magnitude_vector", ".lora_magnitude_vector.weight"};

typedef struct adapter_state {
    char path[PATH_MAX];  /* of the configuration */
    mr_safetensors *file; /* owned */
    json_t *config;       /* owned */
    bool dora, mora, rslora;
    mr_mora_operator operator;
} adapter_state;

static const mr_safetensors_entry *find(const adapter_state *state, const char *module,
                                        const char *suffix)
{
    char name[MR_UPDATES_NAME + 64];
    snprintf(name, sizeof name, "%s%s%s", PREFIX, module, suffix);
    return mr_safetensors_find(state->file, name);
}

/* Whether a pattern of PEFT, a regular expression, means a module. */
static mr_status match(const adapter_state *state, const char *key, const char *pattern,
                       const char *module, bool *matches)
{
    mr_text text = {0};
    char problem[MR_PATTERN_PROBLEM];
    mr_text_add(&text, pattern[0] == '^' ? "%s" : "(.*\\.)?(%s)", pattern);
    mr_status status = text.failed
                           ? MR_ERR_MEMORY
                           : mr_pattern_matches(mr_text_get(&text), module, matches, problem);
    mr_text_free(&text);
    if (status != MR_ERR_FORMAT) return status;
    return mr_fail(status, "%s: %s: '%s' is no regular expression: %s", state->path, key, pattern,
                   problem);
}

/* The number that a pattern of the configuration gives a module, or else its plain key. */
static mr_status number_of(const adapter_state *state, const char *key, const char *patterns,
                           const char *module, double *out)
{
    const char *pattern;
    const json_t *found = json_object_get(state->config, key);
    json_t *value;
    json_object_foreach(json_object_get(state->config, patterns), pattern, value)
    {
        bool matches;
        MR_TRY(match(state, patterns, pattern, module, &matches));
        if (!matches) continue;
        found = value;
        break;
    }
    MR_CHECK(json_is_number(found), MR_ERR_FORMAT, "%s: %s of %s: expected a number, found %s",
             state->path, key, module, mr_json_kind(found));
    *out = json_number_value(found);
    return MR_OK;
}

static bool flag(const adapter_state *state, const char *key)
{
    return json_is_true(json_object_get(state->config, key));
}

/* The operator of the fork's mora_type. */
static mr_status read_operator(adapter_state *state)
{
    static const mr_mora_operator operators[] = {
        [1] = MR_MORA_SHARING,   [2] = MR_MORA_SHARING_2, [3] = MR_MORA_SHARING_3,
        [4] = MR_MORA_SHARING_4, [6] = MR_MORA_ROTATION,
    };
    const json_t *type = json_object_get(state->config, "mora_type");
    const json_int_t value = json_integer_value(type);
    MR_CHECK(json_is_integer(type) && value >= 1 && value <= 6 && value != 5, MR_ERR_FORMAT,
             "%s: mora_type: expected 1, 2, 3, 4 or 6, found %s %lld", state->path,
             mr_json_kind(type), (long long)value);
    state->operator= operators[value];
    return MR_OK;
}

static mr_status read_config(adapter_state *state)
{
    static const char *const refused[] = {"fan_in_fan_out", "use_qalora", "use_bdlora",
                                          "lora_bias"};
    MR_TRY(mr_json_read(state->path, &state->config));
    const json_t *type = json_object_get(state->config, "peft_type");
    const json_t *start = json_object_get(state->config, "init_lora_weights");
    MR_CHECK(json_is_string(type) && strcmp(json_string_value(type), "LORA") == 0, MR_ERR_FORMAT,
             "%s: peft_type: expected LORA, found %s", state->path,
             json_is_string(type) ? json_string_value(type) : mr_json_kind(type));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        MR_CHECK(!flag(state, refused[i]), MR_ERR_FORMAT, "%s: %s: true is not supported",
                 state->path, refused[i]);
    state->dora = flag(state, "use_dora");
    state->mora = flag(state, "use_mora");
    state->rslora = flag(state, "use_rslora");
    MR_CHECK(!(state->dora && state->mora), MR_ERR_FORMAT,
             "%s: use_dora and use_mora: expected one of them at most", state->path);
    if (json_is_string(start) && strcmp(json_string_value(start), "gaussian") != 0)
        mr_warn("%s: init_lora_weights: %s may have changed the base weights before training; what "
                "is told is the adapter's update of the weights it was trained on",
                state->path, json_string_value(start));
    return state->mora ? read_operator(state) : MR_OK;
}

/* Adds the linear of a tensor lora_A, by the shapes of its factors or of the base. */
static mr_status add(mr_updates *updates, const char *module, const mr_safetensors_entry *a)
{
    const adapter_state *state = updates->state;
    const mr_safetensors_entry *b = find(state, module, FACTOR_B);
    bool added;
    mr_stored weight = {0};
    int64_t rows = 0, cols = a->dims == 2 ? a->shape[1] : 0;
    if (!state->mora && b && b->dims == 2) rows = b->shape[0];
    /* What has no shape of its own, or is broken, has the base's; that there is none is told when
     * it is asked for. */
    if ((rows == 0 || cols == 0) && updates->base &&
        mr_updates_weight(updates->base, module, &weight) == MR_OK) {
        rows = weight.rows;
        cols = weight.cols;
    }
    MR_TRY(mr_updates_add(updates, module, rows, cols, &added));
    if (!added)
        mr_warn("%s: %s is no linear of a layer and left out", mr_safetensors_path(state->file),
                module);
    return MR_OK;
}

static bool ends_with(const char *text, const char *tail)
{
    const size_t length = strlen(text), end = strlen(tail);
    return length >= end && strcmp(text + length - end, tail) == 0;
}

static mr_status add_all(mr_updates *updates)
{
    const adapter_state *state = updates->state;
    const size_t head = sizeof PREFIX - 1, tail = sizeof FACTOR_A - 1;
    for (int64_t i = 0; i < mr_safetensors_count(state->file); i++) {
        const mr_safetensors_entry *entry = mr_safetensors_at(state->file, i);
        const char *name = entry->name;
        const size_t length = strlen(name);
        char module[MR_UPDATES_NAME];
        const bool ours = strncmp(name, PREFIX, head) == 0;
        if (ours && ends_with(name, FACTOR_A) && length - head - tail < sizeof module) {
            snprintf(module, sizeof module, "%.*s", (int)(length - head - tail), name + head);
            MR_TRY(add(updates, module, entry));
        } else if (!ours || !(ends_with(name, FACTOR_B) || ends_with(name, LENGTHS[0]) ||
                              ends_with(name, LENGTHS[1]))) {
            mr_warn("%s: %s is no part of a linear's update and left out",
                    mr_safetensors_path(state->file), name);
        }
    }
    return MR_OK;
}

/* The last step of a path, without slashes behind it. */
static void last_step(const char *path, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s", path);
    for (size_t end = strlen(out); end > 1 && out[end - 1] == '/'; end--)
        out[end - 1] = '\0';
    const char *slash = strrchr(out, '/');
    if (slash && slash[1]) memmove(out, slash + 1, strlen(slash + 1) + 1);
}

static void warn_of_base(const adapter_state *state, const char *base)
{
    const char *named =
        json_string_value(json_object_get(state->config, "base_model_name_or_path"));
    char ours[PATH_MAX], theirs[PATH_MAX];
    if (!base || !named || !named[0]) return;
    last_step(base, ours);
    last_step(named, theirs);
    if (strcmp(ours, theirs) != 0)
        mr_warn("%s: made for the base '%s', looked at beside '%s'", state->path, named, base);
}

mr_status mr_updates_open_adapter(mr_updates *updates, const char *folder, const char *base)
{
    char path[PATH_MAX];
    adapter_state *state = mr_alloc(MR_MEM_OTHER, sizeof *state);
    if (!state) return MR_ERR_MEMORY;
    updates->state = state;
    MR_TRY(mr_file_path(state->path, "%s/adapter_config.json", folder));
    MR_TRY(read_config(state));
    const char *method = state->mora ? "mora" : state->dora ? "dora" : "lora";
    MR_CHECK(base || !(state->dora || state->mora), MR_ERR_USAGE,
             "%s: the update of %s is told by its base too: name that by --base", folder, method);
    snprintf(updates->method, sizeof updates->method, "%s", method);
    snprintf(updates->kind, sizeof updates->kind, "an adapter of %s, %s",
             state->mora ? "the MoRA fork" : "PEFT", method);
    updates->r = json_integer_value(json_object_get(state->config, "r"));
    MR_TRY(mr_file_path(path, "%s/adapter_model.safetensors", folder));
    MR_TRY(mr_safetensors_open(path, &state->file));
    warn_of_base(state, base);
    return add_all(updates);
}

static void close_adapter(mr_updates *updates)
{
    adapter_state *state = updates->state;
    if (!state) return;
    mr_safetensors_close(&state->file);
    json_decref(state->config);
    mr_free(state);
}

static mr_status stored(const adapter_state *state, const mr_updates_item *item, const char *suffix,
                        mr_stored *out)
{
    const mr_safetensors_entry *entry = find(state, item->name, suffix);
    MR_CHECK(entry, MR_ERR_FORMAT, "%s: no tensor '%s%s%s'", mr_safetensors_path(state->file),
             PREFIX, item->name, suffix);
    return mr_stored_of(state->file, entry, out);
}

static mr_status product(const adapter_state *state, const mr_updates_item *item,
                         mr_updates_parts *out)
{
    double alpha;
    MR_TRY(stored(state, item, FACTOR_A, &out->a));
    MR_TRY(stored(state, item, FACTOR_B, &out->b));
    MR_TRY(number_of(state, "lora_alpha", "alpha_pattern", item->name, &alpha));
    const double r = (double)out->a.rows;
    out->structure = (mr_structure){.kind = MR_UPDATE_PRODUCT,
                                    .rows = item->rows,
                                    .cols = item->cols,
                                    .r = out->a.rows,
                                    .scale = alpha / (state->rslora ? sqrt(r) : r)};
    if (!state->dora) return MR_OK;
    return stored(state, item, LENGTHS[find(state, item->name, LENGTHS[0]) ? 0 : 1], &out->lengths);
}

/* The structure of a square matrix is that of our adapter of the same shape and r. */
static mr_status square(const mr_updates *updates, const mr_updates_item *item,
                        mr_updates_parts *out)
{
    const adapter_state *state = updates->state;
    const char *name = item->name;
    mr_adapter *adapter = NULL;
    mr_adapter_call call = {.be = updates->be};
    mr_update update;
    double r;
    const mr_dtype read = MR_F32;
    MR_TRY(stored(state, item, FACTOR_A, &out->m));
    MR_TRY(number_of(state, "r", "rank_pattern", name, &r));
    MR_CHECK(r >= 1 && r <= 65536, MR_ERR_FORMAT, "%s: r of %s: expected 1..65536, found %g",
             state->path, name, r);
    const mr_mora_config config = {.adapter.r = (int64_t)r, .operator= state->operator};
    MR_TRY(mr_adapter_create(updates->be, read, mr_adapter_find("mora"), &config.adapter, 1,
                             item->cols, &item->rows, &name, &adapter));
    const int64_t side = adapter->param[0][0].rows;
    call.weight[0][0] = mr_tensor_of(NULL, read, 0, side, side);
    MR_INVARIANT(mr_adapter_update(adapter, &call, 0, &update));
    mr_adapter_destroy(&adapter);
    return mr_structure_describe(&update, item->rows, item->cols, &out->structure);
}

static mr_status parts(const mr_updates *updates, const mr_updates_item *item,
                       mr_updates_parts *out)
{
    const adapter_state *state = updates->state;
    if (updates->base) {
        mr_status status = mr_updates_weight(updates->base, item->name, &out->base);
        if (status != MR_OK) return mr_fail_in(status, "an adapter of another base");
    }
    return state->mora ? square(updates, item, out) : product(state, item, out);
}

const mr_updates_ops mr_updates_adapter = {.close = close_adapter, .parts = parts};
