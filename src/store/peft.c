#include "store/peft.h"

#include "base/file.h"
#include "base/pattern.h"
#include "base/text.h"
#include "store/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char PREFIX[] = "base_model.model.";

/* Behind the module's name. The last are as older versions wrote the lengths. */
static const struct {
    const char *text;
    mr_peft_part part;
} suffixes[] = {{".lora_A.weight", MR_PEFT_A},
                {".lora_B.weight", MR_PEFT_B},
                {".lora_magnitude_vector", MR_PEFT_LENGTHS},
                {".lora_magnitude_vector.weight", MR_PEFT_LENGTHS},
                {".weight", MR_PEFT_WEIGHT}};
enum { SUFFIXES = sizeof suffixes / sizeof *suffixes };

bool mr_peft_is(const char *folder)
{
    char path[PATH_MAX];
    return mr_file_path(path, "%s/" MR_PEFT_CONFIG, folder) == MR_OK && access(path, F_OK) == 0;
}

const char *mr_peft_kind_name(mr_peft_kind kind)
{
    static const char *const names[] = {
        [MR_PEFT_LORA] = "lora", [MR_PEFT_DORA] = "dora", [MR_PEFT_MORA] = "mora"};
    return names[kind];
}

/* Whether a pattern of PEFT, a regular expression, means a module. */
static mr_status match(const mr_peft *peft, const char *key, const char *pattern,
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
    return mr_fail(status, "%s: %s: '%s' is no regular expression: %s", peft->path, key, pattern,
                   problem);
}

/* The number that a pattern of the configuration gives a module, or else its plain key. */
static mr_status number_of(const mr_peft *peft, const char *key, const char *patterns,
                           const char *module, double *out)
{
    const char *pattern;
    const json_t *found = json_object_get(peft->config, key);
    json_t *value;
    json_object_foreach(json_object_get(peft->config, patterns), pattern, value)
    {
        bool matches;
        MR_TRY(match(peft, patterns, pattern, module, &matches));
        if (!matches) continue;
        found = value;
        break;
    }
    MR_CHECK(json_is_number(found), MR_ERR_FORMAT, "%s: %s of %s: expected a number, found %s",
             peft->path, key, module, mr_json_kind(found));
    *out = json_number_value(found);
    return MR_OK;
}

mr_status mr_peft_r(const mr_peft *peft, const char *module, int64_t *out)
{
    double r;
    MR_TRY(number_of(peft, "r", "rank_pattern", module, &r));
    MR_CHECK(r >= 1 && r <= 65536, MR_ERR_FORMAT, "%s: r of %s: expected 1..65536, found %g",
             peft->path, module, r);
    *out = (int64_t)r;
    return MR_OK;
}

mr_status mr_peft_scale(const mr_peft *peft, const char *module, int64_t r, double *out)
{
    double alpha;
    MR_TRY(number_of(peft, "lora_alpha", "alpha_pattern", module, &alpha));
    *out = alpha / (peft->rslora ? sqrt((double)r) : (double)r);
    return MR_OK;
}

static bool flag(const mr_peft *peft, const char *key)
{
    return json_is_true(json_object_get(peft->config, key));
}

static mr_status read_mora_type(mr_peft *peft)
{
    const json_t *type = json_object_get(peft->config, "mora_type");
    peft->mora_type = json_integer_value(type);
    MR_CHECK(json_is_integer(type) && peft->mora_type >= 1 && peft->mora_type <= 6 &&
                 peft->mora_type != 5,
             MR_ERR_FORMAT, "%s: mora_type: expected 1, 2, 3, 4 or 6, found %s %lld", peft->path,
             mr_json_kind(type), (long long)peft->mora_type);
    return MR_OK;
}

static mr_status read_config(mr_peft *peft)
{
    static const char *const refused[] = {"fan_in_fan_out", "use_qalora", "use_bdlora",
                                          "lora_bias"};
    static const char *const absent[] = {"alora_invocation_tokens", "arrow_config", "kasa_config",
                                         "layer_replication"};
    MR_TRY(mr_json_read(peft->path, &peft->config));
    const json_t *type = json_object_get(peft->config, "peft_type");
    const json_t *start = json_object_get(peft->config, "init_lora_weights");
    const char *base = json_string_value(json_object_get(peft->config, "base_model_name_or_path"));
    MR_CHECK(json_is_string(type) && strcmp(json_string_value(type), "LORA") == 0, MR_ERR_FORMAT,
             "%s: peft_type: expected LORA, found %s", peft->path,
             json_is_string(type) ? json_string_value(type) : mr_json_kind(type));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        MR_CHECK(!flag(peft, refused[i]), MR_ERR_FORMAT, "%s: %s: true is not supported",
                 peft->path, refused[i]);
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        const json_t *value = json_object_get(peft->config, absent[i]);
        MR_CHECK(!value || json_is_null(value), MR_ERR_FORMAT,
                 "%s: %s: expected null, found %s: adapters that compute otherwise than LoRA are "
                 "not supported",
                 peft->path, absent[i], mr_json_kind(value));
    }
    const bool dora = flag(peft, "use_dora"), mora = flag(peft, "use_mora");
    MR_CHECK(!(dora && mora), MR_ERR_FORMAT,
             "%s: use_dora and use_mora: expected one of them at most", peft->path);
    peft->kind = mora ? MR_PEFT_MORA : dora ? MR_PEFT_DORA : MR_PEFT_LORA;
    peft->rslora = flag(peft, "use_rslora");
    peft->r = json_integer_value(json_object_get(peft->config, "r"));
    peft->base = base ? base : "";
    if (json_is_string(start) && strcmp(json_string_value(start), "gaussian") != 0)
        peft->changed = json_string_value(start);
    return mora ? read_mora_type(peft) : MR_OK;
}

static mr_status open_files(mr_peft *peft, const char *folder)
{
    char path[PATH_MAX];
    MR_TRY(mr_file_path(path, "%s/" MR_PEFT_CONFIG, folder));
    peft->path = mr_strdup(path);
    if (!peft->path) return MR_ERR_MEMORY;
    MR_TRY(read_config(peft));
    MR_TRY(mr_file_path(path, "%s/" MR_PEFT_WEIGHTS, folder));
    return mr_safetensors_open_partly(path, &peft->file);
}

mr_status mr_peft_open(const char *folder, mr_peft **out)
{
    *out = mr_alloc(MR_MEM_OTHER, sizeof **out);
    if (!*out) return MR_ERR_MEMORY;
    mr_status status = open_files(*out, folder);
    if (status != MR_OK) mr_peft_close(out);
    return status;
}

void mr_peft_close(mr_peft **peft)
{
    if (!*peft) return;
    mr_safetensors_close(&(*peft)->file);
    json_decref((*peft)->config);
    mr_free((*peft)->path);
    mr_free(*peft);
    *peft = NULL;
}

bool mr_peft_part_of(const char *tensor, char module[MR_PEFT_NAME], mr_peft_part *part)
{
    const size_t length = strlen(tensor), head = sizeof PREFIX - 1;
    if (strncmp(tensor, PREFIX, head) != 0) return false;
    for (int i = 0; i < SUFFIXES; i++) {
        const size_t tail = strlen(suffixes[i].text);
        if (length <= head + tail || length - head - tail >= MR_PEFT_NAME ||
            strcmp(tensor + length - tail, suffixes[i].text) != 0)
            continue;
        snprintf(module, MR_PEFT_NAME, "%.*s", (int)(length - head - tail), tensor + head);
        *part = suffixes[i].part;
        return true;
    }
    return false;
}

const mr_safetensors_entry *mr_peft_find(const mr_peft *peft, const char *module, mr_peft_part part)
{
    for (int i = 0; i < SUFFIXES; i++) {
        char name[2 * MR_PEFT_NAME];
        if (suffixes[i].part != part) continue;
        snprintf(name, sizeof name, "%s%s%s", PREFIX, module, suffixes[i].text);
        const mr_safetensors_entry *entry = mr_safetensors_find(peft->file, name);
        if (entry) return entry;
    }
    return NULL;
}

mr_status mr_peft_need(const mr_peft *peft, const char *module, mr_peft_part part,
                       const mr_safetensors_entry **out)
{
    char name[MR_PEFT_NAME];
    *out = mr_peft_find(peft, module, part);
    mr_peft_name(name, module, part);
    MR_CHECK(*out, MR_ERR_FORMAT, "%s: no tensor '%s'", mr_safetensors_path(peft->file), name);
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

bool mr_peft_is_of(const mr_peft *peft, const char *model)
{
    char ours[PATH_MAX], theirs[PATH_MAX];
    if (!peft->base[0]) return true;
    last_step(model, ours);
    last_step(peft->base, theirs);
    return strcmp(ours, theirs) == 0;
}

void mr_peft_name(char out[MR_PEFT_NAME], const char *module, mr_peft_part part)
{
    int i = 0;
    while (suffixes[i].part != part)
        i++;
    const int length = snprintf(out, MR_PEFT_NAME, "%s%s%s", PREFIX, module, suffixes[i].text);
    MR_INVARIANT(length < MR_PEFT_NAME);
}

/* A number, whole where it is whole. */
static json_t *number(double value)
{
    const bool whole = value == floor(value) && fabs(value) < 0x1p53;
    return whole ? json_integer((json_int_t)value) : json_real(value);
}

/* A list of names, null where it is empty. */
static json_t *names_json(const mr_names *names)
{
    if (names->count == 0) return json_null();
    json_t *list = json_array();
    for (int64_t i = 0; i < names->count; i++)
        mr_json_append(&list, json_string(names->item[i]));
    return list;
}

mr_status mr_peft_write_config(const char *folder, const mr_peft_about *about)
{
    char path[PATH_MAX];
    MR_TRY(mr_file_path(path, "%s/" MR_PEFT_CONFIG, folder));
    json_t *root = json_pack(
        "{s:{}, s:o, s:s, s:b, s:b, s:b, s:o, s:o, s:o, s:s, s:I, s:{}, s:o, s:s, "
        "s:b, s:b}",
        "alpha_pattern", "base_model_name_or_path",
        about->base[0] ? mr_json_text(about->base) : json_null(), "bias", "none", "fan_in_fan_out",
        0, "inference_mode", 1, "init_lora_weights", 1, "lora_alpha", number(about->lora_alpha),
        "lora_dropout", json_real(about->lora_dropout), "modules_to_save", names_json(about->saved),
        "peft_type", "LORA", "r", (json_int_t)about->r, "rank_pattern", "target_modules",
        names_json(about->targets), "task_type", "CAUSAL_LM", "use_dora",
        about->kind == MR_PEFT_DORA, "use_rslora", about->rslora);
    if (root && about->kind == MR_PEFT_MORA &&
        (json_object_set_new(root, "use_mora", json_true()) != 0 ||
         json_object_set_new(root, "mora_type", json_integer((json_int_t)about->mora_type)) != 0)) {
        json_decref(root);
        root = NULL;
    }
    mr_status status = mr_json_write(path, root);
    json_decref(root);
    return status;
}
