/* Opening updates, their items, and what an update is made of; reading is in updates_read.c. */

#include "spectra/updates_impl.h"
#include "store/peft.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

mr_status mr_updates_begin(mr_backend *be, const mr_updates_ops *ops, mr_updates **out)
{
    *out = mr_alloc(MR_MEM_OTHER, sizeof **out);
    if (!*out) return MR_ERR_MEMORY;
    **out = (mr_updates){.ops = ops, .be = be};
    return MR_OK;
}

mr_status mr_updates_add(mr_updates *updates, const char *name, int64_t rows, int64_t cols,
                         bool *added)
{
    static const char LAYERS[] = "model.layers.";
    const size_t head = sizeof LAYERS - 1;
    char *end;
    const char *projection = strrchr(name, '.');
    *added = false;
    if (strncmp(name, LAYERS, head) != 0 || strlen(name) >= MR_UPDATES_NAME) return MR_OK;
    const long layer = strtol(name + head, &end, 10);
    if (end == name + head || *end != '.' || layer < 0) return MR_OK;
    if (projection <= end || strlen(projection + 1) >= MR_UPDATES_PROJECTION) return MR_OK;
    MR_TRY(mr_grow(MR_MEM_OTHER, &updates->item, &updates->room, updates->count + 1,
                   sizeof *updates->item));
    mr_updates_item *item = &updates->item[updates->count++];
    *item = (mr_updates_item){.layer = layer, .rows = rows, .cols = cols};
    snprintf(item->name, sizeof item->name, "%s", name);
    snprintf(item->projection, sizeof item->projection, "%s", projection + 1);
    *added = true;
    return MR_OK;
}

const char *const mr_updates_places[MR_UPDATES_PLACES] = {
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};

static int place_of(const char *projection)
{
    int place = 0;
    while (place < MR_UPDATES_PLACES && strcmp(mr_updates_places[place], projection) != 0)
        place++;
    return place;
}

static int compare_items(const void *a, const void *b)
{
    const mr_updates_item *x = a, *y = b;
    const int places = place_of(x->projection) - place_of(y->projection);
    if (places != 0) return places;
    const int words = strcmp(x->projection, y->projection);
    if (words != 0) return words;
    return x->layer < y->layer ? -1 : x->layer > y->layer;
}

mr_status mr_updates_sort(mr_updates *updates, const char *path)
{
    MR_CHECK(updates->count > 0, MR_ERR_FORMAT, "%s: no linear of a layer is updated in it", path);
    qsort(updates->item, (size_t)updates->count, sizeof *updates->item, compare_items);
    return MR_OK;
}

mr_status mr_updates_open(mr_backend *be, const char *folder, const char *base, mr_updates **out)
{
    const bool adapter = mr_peft_is(folder);
    mr_updates *updates;
    *out = NULL;
    MR_CHECK(adapter || base, MR_ERR_USAGE,
             "%s: a model alone tells no update: name the one it was made of by --base", folder);
    MR_TRY(mr_updates_begin(be, adapter ? &mr_updates_adapter : &mr_updates_models, &updates));
    mr_status status = base ? mr_hf_open_partly(base, &updates->base) : MR_OK;
    if (status == MR_OK)
        status =
            (adapter ? mr_updates_open_adapter : mr_updates_open_models)(updates, folder, base);
    if (status == MR_OK) status = mr_updates_sort(updates, folder);
    if (status != MR_OK)
        mr_updates_close(&updates);
    else
        *out = updates;
    return status;
}

static bool is_meant(const mr_updates_item *item, const char *word, size_t length)
{
    return (strlen(item->projection) == length && strncmp(item->projection, word, length) == 0) ||
           (strlen(item->name) == length && strncmp(item->name, word, length) == 0);
}

mr_status mr_updates_choose(mr_updates *updates, const char *modules)
{
    bool *kept = mr_alloc_array(MR_MEM_OTHER, (size_t)updates->count, sizeof *kept);
    if (!kept) return MR_ERR_MEMORY;
    mr_status status = MR_OK;
    for (const char *word = modules; status == MR_OK;) {
        const size_t length = strcspn(word, ",");
        bool any = false;
        for (int64_t i = 0; i < updates->count; i++)
            if (is_meant(&updates->item[i], word, length)) any = kept[i] = true;
        if (!any)
            status = mr_fail(MR_ERR_USAGE,
                             "--modules: \"%.*s\" is neither the projection nor the name of a "
                             "linear there; the first is %s",
                             (int)length, word, updates->item[0].name);
        if (word[length] == '\0') break;
        word += length + 1;
    }
    int64_t count = 0;
    for (int64_t i = 0; status == MR_OK && i < updates->count; i++)
        if (kept[i]) updates->item[count++] = updates->item[i];
    if (status == MR_OK) updates->count = count;
    mr_free(kept);
    return status;
}

void mr_updates_close(mr_updates **updates)
{
    if (!*updates) return;
    (*updates)->ops->close(*updates);
    mr_hf_close(&(*updates)->base);
    mr_free((*updates)->item);
    mr_free(*updates);
    *updates = NULL;
}

mr_status mr_updates_weight(const mr_hf *weights, const char *module, mr_stored *out)
{
    const mr_safetensors *file;
    const mr_safetensors_entry *entry;
    char weight[MR_UPDATES_NAME + 8];
    snprintf(weight, sizeof weight, "%s.weight", module);
    MR_TRY(mr_hf_find(weights, weight, &file, &entry));
    return mr_stored_of(file, entry, out);
}

static mr_status check_shape(const char *what, const mr_stored *part, int64_t rows, int64_t cols)
{
    MR_CHECK(!mr_stored_exists(part) || (part->rows == rows && part->cols == cols), MR_ERR_FORMAT,
             "%s is [%lld, %lld], expected [%lld, %lld]", what, (long long)part->rows,
             (long long)part->cols, (long long)rows, (long long)cols);
    return MR_OK;
}

/* The first item of the projection. */
static const mr_updates_item *first_like(const mr_updates *updates, const mr_updates_item *item)
{
    const mr_updates_item *first = updates->item;
    while (strcmp(first->projection, item->projection) != 0)
        first++;
    return first;
}

mr_status mr_updates_parts_of(const mr_updates *updates, const mr_updates_item *item,
                              mr_updates_parts *out)
{
    const mr_updates_item *first = first_like(updates, item);
    const int64_t rows = item->rows, cols = item->cols;
    *out = (mr_updates_parts){.structure.rows = rows, .structure.cols = cols};
    MR_TRY(updates->ops->parts(updates, item, out));
    const int64_t r = out->structure.r;
    MR_TRY(check_shape("the weight of the base", &out->base, rows, cols));
    MR_TRY(check_shape("its weight", &out->now, rows, cols));
    MR_TRY(check_shape("A of the update", &out->a, r, cols));
    MR_TRY(check_shape("B of the update", &out->b, rows, r));
    MR_TRY(check_shape("M of the update", &out->m, r, r));
    MR_TRY(check_shape("the vector of the rows' lengths", &out->lengths, 1, rows));
    MR_CHECK(rows == first->rows && cols == first->cols, MR_ERR_FORMAT,
             "[%lld, %lld] is another shape than that of %s, [%lld, %lld]", (long long)rows,
             (long long)cols, first->name, (long long)first->rows, (long long)first->cols);
    MR_INVARIANT(mr_stored_exists(&out->base) ||
                 !(mr_stored_exists(&out->now) || mr_stored_exists(&out->lengths)));
    return MR_OK;
}
