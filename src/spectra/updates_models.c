/* Two models of one shape, one made of the other: dW = W now - W0, dense. */

#include "base/file.h"
#include "base/log.h"
#include "spectra/updates_impl.h"

#include <stdio.h>
#include <string.h>

static void warn_of_difference(const char *folder, const char *base)
{
    char path[PATH_MAX], text[2][MR_HF_CONFIG_TEXT], difference[MR_HF_CONFIG_TEXT];
    mr_hf_config config;
    for (int i = 0; i < 2; i++) {
        if (mr_file_path(path, "%s/config.json", i == 0 ? folder : base) != MR_OK ||
            mr_hf_config_read(path, &config) != MR_OK) {
            mr_warn("%s", mr_message());
            return;
        }
        mr_hf_config_text(&config, text[i]);
    }
    if (mr_hf_config_differs(text[0], text[1], false, difference))
        mr_warn("%s: not of the shape of its base %s: %s", folder, base, difference);
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

mr_status mr_updates_open_models(mr_updates *updates, const char *folder, const char *base)
{
    mr_hf *now;
    MR_TRY(mr_hf_open_partly(folder, &now));
    updates->state = now;
    snprintf(updates->kind, sizeof updates->kind, "a model beside its base");
    snprintf(updates->method, sizeof updates->method, "fft");
    warn_of_difference(folder, base);
    MR_TRY(add_all(updates, updates->base, NULL));
    return add_all(updates, now, updates->base);
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
