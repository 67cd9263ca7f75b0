/* Two models of one shape, one made of the other: dW = W now - W0, dense. */

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "spectra/updates_impl.h"

#include <stdio.h>
#include <string.h>

/* Warns where the configurations differ; returns the layers that a model of either has. */
static int64_t compare_configs(const char *folder, const char *base)
{
    char path[PATH_MAX], text[2][MR_HF_CONFIG_TEXT], difference[MR_HF_CONFIG_TEXT];
    mr_hf_config config;
    int64_t layers = 0;
    int read = 0;
    for (int i = 0; i < 2; i++) {
        if (mr_file_path(path, "%s/config.json", i == 0 ? folder : base) != MR_OK ||
            mr_hf_config_read(path, &config) != MR_OK) {
            mr_warn("%s", mr_message());
            continue;
        }
        mr_hf_config_text(&config, text[i]);
        if (config.num_hidden_layers > layers) layers = config.num_hidden_layers;
        read++;
    }
    if (read == 2 && mr_hf_config_differs(text[0], text[1], false, difference))
        mr_warn("%s: not of the shape of its base %s: %s; the linears of layers are compared, "
                "embeddings and heads are not",
                folder, base, difference);
    return layers;
}

/* Adds the matrices of a folder that `known` does not have. */
static mr_status add_all(mr_updates *updates, const mr_hf *weights, const mr_hf *known)
{
    static const char WEIGHT[] = ".weight";
    for (int64_t i = 0; i < mr_hf_count(weights); i++) {
        char name[MR_UPDATES_NAME];
        const mr_safetensors *file;
        const mr_safetensors_entry *entry;
        bool added;
        const char *tensor = mr_hf_name(weights, i);
        const size_t length = strlen(tensor), tail = sizeof WEIGHT - 1;
        if (length <= tail || length - tail >= sizeof name) continue;
        if (strcmp(tensor + length - tail, WEIGHT) != 0) continue;
        if (known && mr_hf_has(known, tensor)) continue;
        snprintf(name, sizeof name, "%.*s", (int)(length - tail), tensor);
        MR_TRY(mr_hf_find(weights, tensor, &file, &entry));
        if (entry->dims != 2 || entry->count == 0) continue;
        MR_TRY(mr_updates_add(updates, name, entry->shape[0], entry->shape[1], &added));
    }
    return MR_OK;
}

/* What follows the layer's number in a name. */
static const char *behind_layer(const char *name)
{
    return strchr(name + strlen("model.layers."), '.');
}

static const mr_updates_item *find(const mr_updates *updates, const char *name)
{
    for (int64_t i = 0; i < updates->count; i++)
        if (strcmp(updates->item[i].name, name) == 0) return &updates->item[i];
    return NULL;
}

/* Adds what neither folder holds of a projection that other layers have: that it is missing is told
 * when it is asked for. */
static mr_status add_missing(mr_updates *updates, int64_t layers)
{
    const int64_t count = updates->count;
    for (int64_t i = 0; i < count; i++)
        if (updates->item[i].layer >= layers) layers = updates->item[i].layer + 1;
    for (int64_t i = 0; i < count; i++) {
        const mr_updates_item like = updates->item[i];
        bool first = true, added;
        for (int64_t j = 0; first && j < i; j++)
            first = strcmp(behind_layer(updates->item[j].name), behind_layer(like.name)) != 0;
        for (int64_t layer = 0; first && layer < layers; layer++) {
            char name[2 * MR_UPDATES_NAME];
            snprintf(name, sizeof name, "model.layers.%lld%s", (long long)layer,
                     behind_layer(like.name));
            if (!find(updates, name))
                MR_TRY(mr_updates_add(updates, name, like.rows, like.cols, &added));
        }
    }
    return MR_OK;
}

/* Names projections that no layer has. */
static void warn_of_absent(const mr_updates *updates, const char *folder, const char *base)
{
    mr_text text = {0};
    for (int p = 0; p < MR_UPDATES_PLACES; p++) {
        bool any = false;
        for (int64_t i = 0; i < updates->count && !any; i++)
            any = strcmp(updates->item[i].projection, mr_updates_places[p]) == 0;
        if (!any) mr_text_add(&text, "%s%s", text.length > 0 ? ", " : "", mr_updates_places[p]);
    }
    if (text.length > 0)
        mr_warn("neither %s nor its base %s has %s in any layer", folder, base, mr_text_get(&text));
    mr_text_free(&text);
}

mr_status mr_updates_open_models(mr_updates *updates, const char *folder, const char *base)
{
    mr_hf *now;
    MR_TRY(mr_hf_open_partly(folder, &now));
    updates->state = now;
    snprintf(updates->kind, sizeof updates->kind, "a model beside its base");
    snprintf(updates->method, sizeof updates->method, "fft");
    const int64_t layers = compare_configs(folder, base);
    MR_TRY(add_all(updates, updates->base, NULL));
    MR_TRY(add_all(updates, now, updates->base));
    if (updates->count > 0) warn_of_absent(updates, folder, base);
    return add_missing(updates, layers);
}

static void close_models(mr_updates *updates)
{
    mr_hf *now = updates->state;
    mr_hf_close(&now);
}

static mr_status parts(const mr_updates *updates, const mr_updates_item *item,
                       mr_updates_parts *out)
{
    MR_TRY(mr_updates_weight(updates->base, item->name, &out->base));
    return mr_updates_weight(updates->state, item->name, &out->now);
}

const mr_updates_ops mr_updates_models = {.close = close_models, .parts = parts};
