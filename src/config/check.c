#include "base/file.h"
#include "base/text.h"
#include "config/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Records which key is at fault, and a message that starts with it. */
static mr_status fail_key(const char **out, const char *key, const char *fmt, ...) MR_PRINTF(3, 4);

static mr_status fail_key(const char **out, const char *key, const char *fmt, ...)
{
    char text[MR_MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (out) *out = key;
    return mr_fail(MR_ERR_CONFIG, "%s: %s", key, text);
}

/* What is done with a path of a configuration; name: of the key at the top. */
typedef mr_status act(const mr_key *key, const char *name, char *path, const char **fault);

static mr_status act_on_items(const mr_key *key, mr_item_list *list, act *do_it, const char **fault)
{
    for (int32_t i = 0; i < list->count; i++)
        for (const mr_choice *kind = key->kinds; kind && kind->name; kind++) {
            if (strcmp(kind->name, list->item[i].kind) != 0 || !kind->schema) continue;
            for (int k = 0; k < kind->schema->count; k++) {
                const mr_key *own = &kind->schema->key[k];
                char *path = (char *)list->item[i].keys.bytes + own->offset;
                if (own->is_path) MR_TRY(do_it(own, key->key, path, fault));
            }
        }
    return MR_OK;
}

static mr_status act_on_paths(mr_config *config, act *do_it, const char **fault)
{
    for (int i = 0; i < config->registry->count; i++) {
        size_t base;
        const mr_key *key = mr_registry_bind(config, i, &base);
        if (!key) continue;
        void *field = (char *)config + base + key->offset;
        if (key->type == MR_KEY_ITEMS) MR_TRY(act_on_items(key, field, do_it, fault));
        if (key->is_path) MR_TRY(do_it(key, key->key, field, fault));
    }
    return MR_OK;
}

static mr_status trim(const mr_key *key, const char *name, char *path, const char **fault)
{
    (void)key;
    (void)name;
    (void)fault;
    for (size_t length = strlen(path); length > 1 && path[length - 1] == '/'; length--)
        path[length - 1] = '\0';
    return MR_OK;
}

void mr_config_trim_paths(mr_config *config)
{
    const mr_status status = act_on_paths(config, trim, NULL);
    MR_INVARIANT(status == MR_OK);
}

static mr_status expand(const mr_key *key, const char *name, char *path, const char **fault)
{
    char expanded[PATH_MAX];
    if (path[0] == '\0') return MR_OK;
    if (mr_file_expand(path, expanded) != MR_OK) return fail_key(fault, name, "%s", mr_message());
    size_t length = strlen(expanded);
    if (length >= key->bytes)
        return fail_key(fault, name, "'%.200s' is %zu bytes long in full, at most %zu are", path,
                        length, key->bytes - 1);
    memset(path, 0, key->bytes);
    memcpy(path, expanded, length);
    return MR_OK;
}

mr_status mr_config_expand_paths(mr_config *config, const char **key)
{
    mr_config_trim_paths(config);
    return act_on_paths(config, expand, key);
}

static mr_status check_name(const mr_config *config, const char **key)
{
    enum { LONGEST = 200 }; /* a file name has 255 bytes, and endings follow */
    const char *name = config->run.name;
    if (name[0] == '\0') return fail_key(key, "run.name", "the run has no name");
    if (strlen(name) > LONGEST)
        return fail_key(key, "run.name",
                        "\"%.60s...\" has %zu bytes; it names files, so at most %d", name,
                        strlen(name), (int)LONGEST);
    if (name[0] == '.')
        return fail_key(key, "run.name", "\"%s\" starts with a dot; it names files", name);
    mr_text clean = {0};
    mr_text_add_line(&clean, name, strlen(name));
    bool same = strcmp(mr_text_get(&clean), name) == 0;
    mr_text_free(&clean);
    if (!same || strchr(name, '/'))
        return fail_key(key, "run.name",
                        "the name must not hold '/' or control characters; it names files");
    return MR_OK;
}

static mr_status check_output(const mr_config *config, const char **key)
{
    if (config->run.output[0] != '\0' || !mr_config_has(config, "run.output")) return MR_OK;
    return fail_key(key, "run.output",
                    "expected a folder, found an empty text; \".\" is the one mora runs in");
}

static mr_status check_model(const mr_config *config, const char **key)
{
    bool path = config->model.path[0] != '\0', file = config->model.config[0] != '\0';
    if (!mr_config_has(config, "model.path")) return MR_OK;
    if (config->model.init == MR_INIT_PRETRAINED && !path)
        return fail_key(key, "model.path",
                        "missing; model.init pretrained reads the weights of this folder");
    if (config->model.init == MR_INIT_RANDOM && !path && !file)
        return fail_key(key, "model.config",
                        "missing; model.init random needs model.config or model.path");
    return MR_OK;
}

static mr_status check_lengths(const mr_config *config, const char **key)
{
    long long steps = config->train.steps, warmup = config->train.warmup_steps;
    long long whole = config->train.global_batch, part = config->train.micro_batch;
    if (part > 0 && whole % part != 0)
        return fail_key(key, "train.micro_batch", "%lld does not divide train.global_batch %lld",
                        part, whole);
    if (steps == 0 && config->train.epochs <= 0)
        return fail_key(key, "train.steps",
                        "the run has no length: give train.steps or train.epochs");
    if (steps > 0 && config->train.epochs > 0)
        return fail_key(key, "train.epochs",
                        "give train.steps or train.epochs, not both (found %lld and %g)", steps,
                        config->train.epochs);
    if (steps > 0 && warmup > steps)
        return fail_key(key, "train.warmup_steps", "%lld is more than train.steps %lld", warmup,
                        steps);
    return MR_OK;
}

static mr_status check_parallel(const mr_config *config, const char **key)
{
    const long long most = config->parallel.same_bits_up_to;
    if ((most & (most - 1)) != 0)
        return fail_key(key, "parallel.same_bits_up_to", "expected a power of two or 0, found %lld",
                        most);
    return MR_OK;
}

/* Schedules that restart do so with the merges of the method. */
static mr_status check_restarts(const mr_config *config, const char **key)
{
    bool jagged = config->train.schedule == MR_SCHEDULE_JAGGED_COSINE;
    const int64_t *every = mr_config_field(config, "method.merge_every");
    if (!every || (!jagged && config->train.schedule != MR_SCHEDULE_REBASED_COSINE)) return MR_OK;
    long long warmup = config->train.warmup_steps, merge = *every;
    if (jagged && warmup > merge)
        return fail_key(key, "train.warmup_steps",
                        "%lld is more than method.merge_every %lld; with jagged_cosine the warm-up "
                        "ends before the first merge",
                        warmup, merge);
    warmup = config->train.restart_warmup_steps;
    if (warmup >= merge)
        return fail_key(key, "train.restart_warmup_steps",
                        "%lld steps of warm-up after a merge do not end before the next, "
                        "method.merge_every %lld steps later",
                        warmup, merge);
    return MR_OK;
}

static mr_status check_evaluation(const mr_config *config, const char **key)
{
    const mr_int_list *at = &config->eval.at_steps;
    for (int32_t i = 0; i < at->count; i++) {
        long long before = i > 0 ? (long long)at->item[i - 1] : 0, step = at->item[i];
        if (step <= before)
            return fail_key(key, "eval.at_steps",
                            "expected ascending steps above 0, found %lld after %lld", step,
                            before);
    }
    return MR_OK;
}

mr_status mr_config_lr_scale(const char *item, char name[MR_CONFIG_NAME], double *number,
                             bool *is_rate)
{
    const char *sign = item + strcspn(item, "=@");
    bool named = *sign && sign > item && sign - item < MR_CONFIG_NAME;
    bool digits =
        named && sign[1] != '\0' && strspn(sign + 1, "0123456789.eE+-") == strlen(sign + 1);
    char *rest = NULL;
    *number = digits ? strtod(sign + 1, &rest) : 0.0;
    *is_rate = *sign == '@';
    MR_CHECK(digits && *rest == '\0' && *number > 0.0 && *number <= 1e9, MR_ERR_CONFIG,
             "expected name=factor or name@rate with a number in (0, 1e9], found \"%s\"", item);
    snprintf(name, MR_CONFIG_NAME, "%.*s", (int)(sign - item), item);
    return MR_OK;
}

static mr_status check_lr_scale(const mr_config *config, const char **key)
{
    const mr_string_list *scales = &config->train.lr_scale;
    for (int32_t i = 0; i < scales->count; i++) {
        char name[MR_CONFIG_NAME];
        double number;
        bool is_rate;
        if (mr_config_lr_scale(scales->item[i], name, &number, &is_rate) != MR_OK)
            return fail_key(key, "train.lr_scale", "%s", mr_message());
    }
    return MR_OK;
}

mr_status mr_config_check(const mr_config *config, const char **key)
{
    MR_TRY(check_name(config, key));
    MR_TRY(check_output(config, key));
    MR_TRY(check_model(config, key));
    MR_TRY(check_lengths(config, key));
    MR_TRY(check_parallel(config, key));
    MR_TRY(check_restarts(config, key));
    MR_TRY(check_evaluation(config, key));
    MR_TRY(check_lr_scale(config, key));
    return MR_OK;
}
