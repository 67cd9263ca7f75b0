/* An adapter folder (store/peft.h): LoRA, dW = s B A; DoRA, whose rows have lengths of their own;
 * or the published MoRA fork's square matrix. */

#include "adapter/mora.h"
#include "base/log.h"
#include "spectra/updates_impl.h"
#include "store/peft.h"

#include <stdio.h>

/* Adds the linear of a tensor lora_A, by the shapes of its factors or of the base. */
static mr_status add(mr_updates *updates, const char *module, const mr_safetensors_entry *a)
{
    const mr_peft *peft = updates->state;
    const mr_safetensors_entry *b = mr_peft_find(peft, module, MR_PEFT_B);
    bool added;
    mr_stored weight = {0};
    int64_t rows = 0, cols = 0;
    if (peft->kind != MR_PEFT_MORA) {
        rows = b && b->dims == 2 ? b->shape[0] : 0;
        cols = a->dims == 2 ? a->shape[1] : 0;
    }
    /* What has no shape of its own, or is broken, has the base's; that there is none is told when
     * it is asked for. */
    if ((rows == 0 || cols == 0) && updates->base &&
        mr_updates_weight(updates->base, module, &weight) == MR_OK) {
        rows = weight.rows;
        cols = weight.cols;
    }
    MR_TRY(mr_updates_add(updates, module, rows, cols, &added));
    if (!added)
        mr_warn("%s: %s is no linear of a layer and left out", mr_safetensors_path(peft->file),
                module);
    return MR_OK;
}

static mr_status add_all(mr_updates *updates)
{
    const mr_peft *peft = updates->state;
    for (int64_t i = 0; i < mr_safetensors_count(peft->file); i++) {
        const mr_safetensors_entry *entry = mr_safetensors_at(peft->file, i);
        char module[MR_PEFT_NAME];
        mr_peft_part part = MR_PEFT_WEIGHT;
        const bool known = mr_peft_part_of(entry->name, module, &part);
        if (known && part == MR_PEFT_A)
            MR_TRY(add(updates, module, entry));
        else if (!known || part == MR_PEFT_WEIGHT)
            mr_warn("%s: %s is no part of a linear's update and left out",
                    mr_safetensors_path(peft->file), entry->name);
    }
    return MR_OK;
}

mr_status mr_updates_open_adapter(mr_updates *updates, const char *folder, const char *base)
{
    mr_peft *peft;
    MR_TRY(mr_peft_open(folder, &peft));
    updates->state = peft;
    const char *method = mr_peft_kind_name(peft->kind);
    if (peft->changed)
        mr_warn("%s: init_lora_weights: %s may have changed the base weights before training; what "
                "is told is the adapter's update of the weights it was trained on",
                peft->path, peft->changed);
    MR_CHECK(base || peft->kind == MR_PEFT_LORA, MR_ERR_USAGE,
             "%s: the update of %s is told by its base too: name that by --base", folder, method);
    snprintf(updates->method, sizeof updates->method, "%s", method);
    snprintf(updates->kind, sizeof updates->kind, "an adapter of %s, %s",
             peft->kind == MR_PEFT_MORA ? "the MoRA fork" : "PEFT", method);
    updates->r = peft->r;
    if (base && !mr_peft_is_of(peft, base))
        mr_warn("%s: made for the base '%s', looked at beside '%s'", peft->path, peft->base, base);
    return add_all(updates);
}

static void close_adapter(mr_updates *updates)
{
    mr_peft *peft = updates->state;
    mr_peft_close(&peft);
}

static mr_status stored(const mr_peft *peft, const mr_updates_item *item, mr_peft_part part,
                        mr_stored *out)
{
    const mr_safetensors_entry *entry;
    MR_TRY(mr_peft_need(peft, item->name, part, &entry));
    return mr_stored_of(peft->file, entry, out);
}

static mr_status product(const mr_peft *peft, const mr_updates_item *item, mr_updates_parts *out)
{
    double scale;
    MR_TRY(stored(peft, item, MR_PEFT_A, &out->a));
    MR_TRY(stored(peft, item, MR_PEFT_B, &out->b));
    MR_TRY(mr_peft_scale(peft, item->name, out->a.rows, &scale));
    out->structure = (mr_structure){.kind = MR_UPDATE_PRODUCT,
                                    .rows = item->rows,
                                    .cols = item->cols,
                                    .r = out->a.rows,
                                    .scale = scale};
    return peft->kind == MR_PEFT_DORA ? stored(peft, item, MR_PEFT_LENGTHS, &out->lengths) : MR_OK;
}

/* The structure of a square matrix is that of our adapter of the same shape and r. */
static mr_status square(const mr_updates *updates, const mr_updates_item *item,
                        mr_updates_parts *out)
{
    const mr_peft *peft = updates->state;
    const char *name = item->name;
    mr_adapter *adapter = NULL;
    mr_adapter_call call = {.be = updates->be};
    mr_update update;
    int64_t r;
    const mr_dtype read = MR_F32;
    MR_TRY(stored(peft, item, MR_PEFT_A, &out->m));
    MR_TRY(mr_peft_r(peft, name, &r));
    const mr_mora_config config = {.adapter.r = r, .operator= mr_mora_of_type(peft->mora_type)};
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
    const mr_peft *peft = updates->state;
    if (updates->base) {
        mr_status status = mr_updates_weight(updates->base, item->name, &out->base);
        if (status == MR_ERR_FORMAT) return mr_fail_in(status, "an adapter of another base");
        MR_TRY(status);
    }
    return peft->kind == MR_PEFT_MORA ? square(updates, item, out) : product(peft, item, out);
}

const mr_updates_ops mr_updates_adapter = {.close = close_adapter, .parts = parts};
