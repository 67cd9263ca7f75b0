#include "train/adapter_start.h"

#include "adapter/mora.h"
#include "base/file.h"
#include "base/log.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* An adapter folder and the model it goes into. */
typedef struct start {
    const mr_adapter_config *config;
    const char *folder, *method;
    mr_model *model;
    mr_peft *peft; /* owned */
} start;

/* A tensor of a file as a source of values. */
typedef struct source {
    const mr_safetensors *file;
    const mr_safetensors_entry *entry;
} source;

static const char *folder_of(const mr_config *config)
{
    const mr_adapter_method *method = mr_adapter_find(config->method.name);
    return method && !method->trains_base ? mr_adapter_config_of(config)->adapter : "";
}

/* Appends what the configuration says of how the tensors count. */
static void add_worth(const mr_peft *peft, mr_text *out)
{
    static const char *const keys[] = {"alpha_pattern", "lora_alpha", "mora_type", "r",
                                       "rank_pattern",  "use_dora",   "use_mora",  "use_rslora"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *value = json_object_get(peft->config, keys[i]);
        const bool empty = json_is_object(value) && json_object_size(value) == 0;
        if (!value || json_is_null(value) || json_is_false(value) || empty) continue;
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        mr_text_add(out, "%s %s\n", keys[i], text ? text : "");
        free(text);
    }
}

mr_status mr_adapter_start_hash(const mr_config *config, char out[MR_HASH_TEXT])
{
    char path[PATH_MAX];
    mr_peft *peft = NULL;
    mr_text text = {0};
    out[0] = '\0';
    if (folder_of(config)[0] == '\0') return MR_OK;
    MR_TRY(mr_file_path(path, "%s/" MR_PEFT_WEIGHTS, folder_of(config)));
    mr_status status = mr_hash_file(path, out, NULL);
    if (status == MR_OK) status = mr_peft_open(folder_of(config), &peft);
    if (status == MR_OK) {
        mr_text_add(&text, "%s\n", out);
        add_worth(peft, &text);
        status = text.failed ? MR_ERR_MEMORY : mr_hash_bytes(mr_text_get(&text), text.length, out);
    }
    mr_text_free(&text);
    mr_peft_close(&peft);
    return status == MR_OK ? MR_OK : mr_fail_in(status, "method.adapter");
}

/* Appends the last step of a module's name to a list, unless it is there. */
static mr_status add_last(mr_names *names, const char *module)
{
    const char *dot = strrchr(module, '.'), *last = dot ? dot + 1 : module;
    for (int64_t i = 0; i < names->count; i++)
        if (strcmp(names->item[i], last) == 0) return MR_OK;
    return mr_names_add(names, last);
}

/* The modules that a folder updates, and those whose weights it holds. */
static mr_status list_modules(const mr_peft *peft, mr_names *updated, mr_names *saved)
{
    for (int64_t i = 0; i < mr_safetensors_count(peft->file); i++) {
        char module[MR_PEFT_NAME];
        mr_peft_part part;
        if (mr_peft_part_of(mr_safetensors_at(peft->file, i)->name, module, &part))
            MR_TRY(add_last(part == MR_PEFT_WEIGHT ? saved : updated, module));
    }
    return MR_OK;
}

static mr_status set_list(mr_config *config, const char *key, const mr_names *names)
{
    mr_text text = {0};
    mr_text_add(&text, "%s=[", key);
    for (int64_t i = 0; i < names->count; i++)
        mr_text_add(&text, "%s%s", i > 0 ? ", " : "", names->item[i]);
    mr_text_add(&text, "]");
    mr_status status = text.failed ? MR_ERR_MEMORY : mr_config_set(config, mr_text_get(&text));
    mr_text_free(&text);
    return status;
}

static mr_status set_key(mr_config *config, const char *fmt, ...) MR_PRINTF(2, 3);
static mr_status set_key(mr_config *config, const char *fmt, ...)
{
    char text[PATH_MAX + 32];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return mr_config_set(config, text);
}

static mr_status configure(mr_config *config, const mr_peft *peft, const char *folder,
                           const mr_names *updated, const mr_names *saved)
{
    const mr_mora_operator operator= mr_mora_of_type(peft->mora_type);
    const json_t *alpha = json_object_get(peft->config, "lora_alpha");
    const bool square = peft->kind == MR_PEFT_MORA;
    MR_CHECK(!square || operator!= MR_MORA_AUTO, MR_ERR_CONFIG, "%s: mora_type %lld is not known",
             peft->path, (long long)peft->mora_type);
    MR_TRY(set_key(config, "method.name=%s", mr_peft_kind_name(peft->kind)));
    MR_TRY(set_key(config, "method.r=%lld", (long long)peft->r));
    if (square) MR_TRY(set_key(config, "method.operator=%s", mr_mora_operators[operator]));
    if (!square && json_is_number(alpha))
        MR_TRY(set_key(config, "method.lora_alpha=%.17g", json_number_value(alpha)));
    if (peft->rslora) MR_TRY(set_key(config, "method.use_rslora=true"));
    MR_TRY(set_list(config, "method.target_modules", updated));
    if (saved->count > 0) MR_TRY(set_list(config, "method.modules_to_save", saved));
    return set_key(config, "method.adapter=%s", folder);
}

mr_status mr_adapter_start_configure(mr_config *config, const char *folder)
{
    mr_peft *peft;
    mr_names updated = {0}, saved = {0};
    MR_TRY(mr_peft_open(folder, &peft));
    mr_status status = list_modules(peft, &updated, &saved);
    if (status == MR_OK) status = configure(config, peft, folder, &updated, &saved);
    mr_names_free(&updated);
    mr_names_free(&saved);
    mr_peft_close(&peft);
    return status;
}

mr_status mr_adapter_start_open(const mr_config *config, mr_peft **out)
{
    *out = NULL;
    return folder_of(config)[0] ? mr_peft_open(folder_of(config), out) : MR_OK;
}

static mr_status read_entry(void *context, const mr_param *param, int64_t first, int64_t count,
                            float *out)
{
    const source *from = context;
    (void)param;
    return mr_safetensors_read_f32(from->file, from->entry, first, count, out);
}

/* Reads a tensor of a module into a parameter. */
static mr_status fill(const start *s, const char *module, mr_peft_part part, int id)
{
    mr_params *params = mr_model_params(s->model);
    const mr_param *param = mr_params_at(params, id);
    const int64_t shape[2] = {param->rows, param->cols};
    const bool vector = part == MR_PEFT_LENGTHS || (part == MR_PEFT_WEIGHT && param->rows == 1);
    source from = {.file = s->peft->file};
    MR_TRY(mr_peft_need(s->peft, module, part, &from.entry));
    MR_TRY(
        mr_safetensors_expect(from.file, from.entry, vector ? 1 : 2, vector ? &shape[1] : shape));
    return mr_params_fill(params, id, read_entry, &from);
}

/* Two tensors that stand for one parameter hold the same values. */
static mr_status check_twins(const start *s, const mr_safetensors_entry *a,
                             const mr_safetensors_entry *b)
{
    enum { PIECE = 4096 };
    float values[2][PIECE];
    const mr_safetensors *file = s->peft->file;
    MR_TRY(mr_safetensors_expect(file, b, a->dims, a->shape));
    for (int64_t first = 0; first < a->count; first += PIECE) {
        const int64_t count = a->count - first < PIECE ? a->count - first : PIECE;
        MR_TRY(mr_safetensors_read_f32(file, a, first, count, values[0]));
        MR_TRY(mr_safetensors_read_f32(file, b, first, count, values[1]));
        MR_CHECK(memcmp(values[0], values[1], (size_t)count * sizeof(float)) == 0, MR_ERR_FORMAT,
                 "%s: tensors '%s' and '%s' differ, and are one here", mr_safetensors_path(file),
                 a->name, b->name);
    }
    return MR_OK;
}

static mr_status check_r(const start *s, const char *module, int64_t r)
{
    MR_CHECK(r == s->config->r, MR_ERR_CONFIG,
             "method.adapter: r of %s is %lld in '%s', method.r is %lld", module, (long long)r,
             s->folder, (long long)s->config->r);
    return MR_OK;
}

static mr_status read_square(const start *s, const char *module, int id)
{
    int64_t r;
    const mr_safetensors_entry *a, *b = mr_peft_find(s->peft, module, MR_PEFT_B);
    MR_TRY(mr_peft_r(s->peft, module, &r));
    MR_TRY(check_r(s, module, r));
    MR_TRY(mr_peft_need(s->peft, module, MR_PEFT_A, &a));
    /* The fork's second name of it, where it stands. */
    if (b) MR_TRY(check_twins(s, a, b));
    return fill(s, module, MR_PEFT_A, id);
}

static mr_status read_product(const start *s, const char *module, const mr_update *update,
                              int lengths)
{
    const mr_safetensors_entry *a;
    double scale;
    MR_TRY(mr_peft_need(s->peft, module, MR_PEFT_A, &a));
    if (a->dims == 2) MR_TRY(check_r(s, module, a->shape[0]));
    MR_TRY(mr_peft_scale(s->peft, module, s->config->r, &scale));
    MR_CHECK(fabs(scale - (double)update->scale) <= 1e-6 * fabs(scale), MR_ERR_CONFIG,
             "method.adapter: the update of %s is scaled by %g in '%s' (lora_alpha, r, "
             "use_rslora), here by %g (method.lora_alpha %g, method.r %lld)",
             module, scale, s->folder, (double)update->scale, s->config->lora_alpha,
             (long long)s->config->r);
    MR_TRY(fill(s, module, MR_PEFT_A, (int)update->a.offset));
    MR_TRY(fill(s, module, MR_PEFT_B, (int)update->b.offset));
    return lengths >= 0 ? fill(s, module, MR_PEFT_LENGTHS, lengths) : MR_OK;
}

static mr_status read_linear(const start *s, const mr_model_linear *linear)
{
    char module[MR_PARAM_NAME];
    mr_update update;
    int lengths;
    mr_model_linear_module(s->model, linear, module);
    MR_INVARIANT(mr_model_adapter_update(s->model, linear, &update, &lengths));
    MR_CHECK(mr_peft_find(s->peft, module, MR_PEFT_A), MR_ERR_CONFIG,
             "method.adapter: '%s' has no update of %s, which method.target_modules names",
             s->folder, module);
    return update.kind == MR_UPDATE_PRODUCT ? read_product(s, module, &update, lengths)
                                            : read_square(s, module, (int)update.m.offset);
}

/* The name of the module that a weight is of. */
static void module_of(const mr_param *param, char out[MR_PARAM_NAME])
{
    snprintf(out, MR_PARAM_NAME, "%.*s", (int)(strrchr(param->name, '.') - param->name),
             param->name);
}

static bool is_saved(const mr_param *param)
{
    return param->trained && !param->adapter;
}

/* A head that the model ties to its embedding must have been trained as one with it. */
static mr_status check_head(const start *s)
{
    const mr_safetensors_entry *embedding =
        mr_peft_find(s->peft, MR_PEFT_EMBEDDING, MR_PEFT_WEIGHT);
    const mr_safetensors_entry *head = mr_peft_find(s->peft, MR_PEFT_HEAD, MR_PEFT_WEIGHT);
    if (!embedding || !mr_model_arch(s->model)->tie_word_embeddings) return MR_OK;
    if (head) return check_twins(s, embedding, head);
    MR_CHECK(json_is_true(json_object_get(s->peft->config, "ensure_weight_tying")), MR_ERR_CONFIG,
             "method.adapter: '%s' trained " MR_PEFT_EMBEDDING
             " apart from the head, which this model ties to it",
             s->folder);
    return MR_OK;
}

static mr_status read_saved(const start *s)
{
    MR_TRY(check_head(s));
    for (mr_params_walk at = {0}; mr_params_next(mr_model_params(s->model), &at);) {
        char module[MR_PARAM_NAME];
        if (!is_saved(at.param)) continue;
        module_of(at.param, module);
        MR_CHECK(mr_peft_find(s->peft, module, MR_PEFT_WEIGHT), MR_ERR_CONFIG,
                 "method.adapter: '%s' holds no weight of %s, which method.modules_to_save names",
                 s->folder, module);
        MR_TRY(fill(s, module, MR_PEFT_WEIGHT, at.id));
    }
    return MR_OK;
}

static bool is_adapted(const mr_model *model, const char *module)
{
    for (mr_model_linear at = {0}; mr_model_next_linear(model, &at);) {
        char name[MR_PARAM_NAME];
        mr_model_linear_module(model, &at, name);
        if (at.place >= 0 && strcmp(name, module) == 0) return true;
    }
    return false;
}

static bool is_trained(const mr_model *model, const char *module)
{
    const bool head = strcmp(module, MR_PEFT_HEAD) == 0;
    if (head && mr_model_arch(model)->tie_word_embeddings) module = MR_PEFT_EMBEDDING;
    for (mr_params_walk at = {0}; mr_params_next(mr_model_params(model), &at);) {
        char name[MR_PARAM_NAME];
        module_of(at.param, name);
        if (is_saved(at.param) && strcmp(name, module) == 0) return true;
    }
    return false;
}

/* Every tensor of the file has a place in the model. */
static mr_status check_places(const start *s)
{
    const mr_safetensors *file = s->peft->file;
    for (int64_t i = 0; i < mr_safetensors_count(file); i++) {
        const char *name = mr_safetensors_at(file, i)->name;
        char module[MR_PEFT_NAME];
        mr_peft_part part;
        MR_CHECK(mr_peft_part_of(name, module, &part), MR_ERR_FORMAT,
                 "%s: tensor '%s' is no part of a linear's update, nor the weight of a module",
                 mr_safetensors_path(file), name);
        MR_CHECK(part == MR_PEFT_WEIGHT || is_adapted(s->model, module), MR_ERR_CONFIG,
                 "method.adapter: '%s' updates %s, which method.target_modules does not name",
                 s->folder, module);
        MR_CHECK(part != MR_PEFT_WEIGHT || is_trained(s->model, module), MR_ERR_CONFIG,
                 "method.adapter: '%s' holds the weight of %s, which method.modules_to_save does "
                 "not name",
                 s->folder, module);
    }
    return MR_OK;
}

/* The adapter is of the kind that the method trains. */
static mr_status check_kind(const start *s)
{
    mr_model_linear linear = {.place = -1};
    mr_update update;
    int lengths;
    while (linear.place < 0 || !mr_model_adapter_update(s->model, &linear, &update, &lengths))
        MR_INVARIANT(mr_model_next_linear(s->model, &linear));
    const mr_peft_kind kind = update.kind != MR_UPDATE_PRODUCT ? MR_PEFT_MORA
                              : lengths >= 0                   ? MR_PEFT_DORA
                                                               : MR_PEFT_LORA;
    MR_CHECK(kind == s->peft->kind, MR_ERR_CONFIG,
             "method.adapter: '%s' is an adapter of the kind of %s; method.name %s trains one of "
             "the kind of %s",
             s->folder, mr_peft_kind_name(s->peft->kind), s->method, mr_peft_kind_name(kind));
    const int64_t type = mr_model_published_type(s->model, &linear);
    MR_CHECK(kind != MR_PEFT_MORA || type == s->peft->mora_type, MR_ERR_CONFIG,
             "method.adapter: mora_type is %lld in '%s', that of method.operator is %lld (1: "
             "sharing, 2 to 4: sharing_2 to sharing_4, 6: rotation)",
             (long long)s->peft->mora_type, s->folder, (long long)type);
    return MR_OK;
}

static void warn_of_base(const start *s, const char *model)
{
    if (s->peft->changed)
        mr_warn("method.adapter: %s: init_lora_weights: %s may have changed the base weights "
                "before training; the adapter is taken for one of the base as it stands",
                s->peft->path, s->peft->changed);
    if (model[0] && !mr_peft_is_of(s->peft, model))
        mr_warn("method.adapter: '%s' was made for the base '%s', model.path is '%s'", s->folder,
                s->peft->base, model);
}

static mr_status read_all(start *s, const char *model)
{
    MR_TRY(mr_peft_open(s->folder, &s->peft));
    warn_of_base(s, model);
    MR_TRY(check_kind(s));
    MR_TRY(check_places(s));
    for (mr_model_linear at = {0}; mr_model_next_linear(s->model, &at);)
        if (at.place >= 0) MR_TRY(read_linear(s, &at));
    return read_saved(s);
}

mr_status mr_adapter_start_read(const mr_comm *comm, const mr_config *config, mr_model *model)
{
    start s = {.config = mr_adapter_config_of(config),
               .folder = folder_of(config),
               .method = config->method.name,
               .model = model};
    if (s.folder[0] == '\0') return MR_OK;
    mr_status status = read_all(&s, config->model.path);
    mr_peft_close(&s.peft);
    mr_params_invalidate(mr_model_params(model));
    return mr_comm_agree(comm, status);
}
