#include "store/checkpoint_shard.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { NUMBERS = 3, NUMBER_TEXT = 24 };

bool mr_checkpoint_extent(int dims, const int64_t *shape, int64_t *extent)
{
    const int64_t most = INT64_MAX / (2 * (int64_t)sizeof(double));
    if (dims < 0 || dims > MR_SAFETENSORS_DIMS) return false;
    *extent = 1;
    for (int i = 0; i < dims; i++) {
        if (shape[i] < 0 || (shape[i] > 0 && *extent > most / shape[i])) return false;
        *extent *= shape[i];
    }
    return true;
}

void mr_checkpoint_entry_name(const char *name, int64_t begin, int64_t end, int64_t extent,
                              char out[MR_CHECKPOINT_ENTRY])
{
    if (end - begin == extent)
        snprintf(out, MR_CHECKPOINT_ENTRY, "%s", name);
    else
        snprintf(out, MR_CHECKPOINT_ENTRY, "%s[%" PRId64 ":%" PRId64 "]", name, begin, end);
}

/* The texts of one part. */
typedef struct part_texts {
    char entry[MR_CHECKPOINT_ENTRY];
    char key[MR_CHECKPOINT_ENTRY];
    char shape[MR_SAFETENSORS_SHAPE];
} part_texts;

/* What goes into a shard, being listed. */
typedef struct listing {
    int64_t specs, pairs;
    mr_safetensors_spec *spec;
    mr_safetensors_pair *pair;
    part_texts *text; /* of spec */
    char number[NUMBERS][NUMBER_TEXT];
} listing;

static void add_pair(listing *list, const char *key, const char *value)
{
    list->pair[list->pairs++] = (mr_safetensors_pair){key, value};
}

/* Lists a part. The shape of the whole tensor goes into the metadata where the part's own does not
 * tell it. */
static void add_part(listing *list, const mr_checkpoint_slab *slab)
{
    int64_t extent;
    MR_INVARIANT(mr_checkpoint_extent(slab->dims, slab->shape, &extent));
    part_texts *text = &list->text[list->specs];
    mr_safetensors_spec *spec = &list->spec[list->specs++];
    mr_checkpoint_entry_name(slab->name, slab->first, slab->first + slab->count, extent,
                             text->entry);
    *spec = (mr_safetensors_spec){
        .name = text->entry, .dims = 1, .shape = {slab->count}, .dtype = slab->dtype};
    if (slab->count == extent) {
        spec->dims = slab->dims;
        memcpy(spec->shape, slab->shape, sizeof spec->shape);
        return;
    }
    mr_safetensors_shape(text->shape, slab->dims, slab->shape);
    snprintf(text->key, MR_CHECKPOINT_ENTRY, "shape of %s", slab->name);
    add_pair(list, text->key, text->shape);
}

mr_status mr_checkpoint_shard_create(const char *path, const mr_checkpoint_shard *about,
                                     const mr_checkpoint_slab *slabs, int count,
                                     mr_safetensors_writer **out)
{
    const int64_t numbers[NUMBERS] = {about->rank, about->ranks, about->step};
    static const char *const keys[NUMBERS] = {"rank", "ranks", "step"};
    size_t room = (size_t)count;
    listing list = {.spec = mr_alloc_array(MR_MEM_OTHER, room, sizeof *list.spec),
                    .pair = mr_alloc_array(MR_MEM_OTHER, room + 1 + NUMBERS, sizeof *list.pair),
                    .text = mr_alloc_array(MR_MEM_OTHER, room, sizeof *list.text)};
    mr_status status = MR_ERR_MEMORY;
    *out = NULL;
    if (list.spec && list.pair && list.text) {
        add_pair(&list, "format", "pt"); /* what tools of PyTorch's world look for */
        for (int i = 0; i < NUMBERS; i++) {
            snprintf(list.number[i], NUMBER_TEXT, "%" PRId64, numbers[i]);
            add_pair(&list, keys[i], list.number[i]);
        }
        for (int i = 0; i < count; i++)
            if (slabs[i].count > 0) add_part(&list, &slabs[i]);
        status = mr_safetensors_create(path, list.spec, list.specs, list.pair, list.pairs, out);
    }
    mr_free(list.spec);
    mr_free(list.pair);
    mr_free(list.text);
    return status;
}
