#include "data/hf_post.h"

#include "base/memory.h"

#include <string.h>

static const char *const kinds[] = {"Sequence", "TemplateProcessing", "ByteLevel", NULL};
enum { SEQUENCE, TEMPLATE, BYTE_LEVEL };

/* Ids of one template, in its order: those before the text come first. */
typedef struct template
{
    int32_t *ids; /* [count], owned */
    int64_t count, room;
    int64_t before; /* of them; -1 until the text has come */
}
template;

static mr_status add_ids(const mr_hf_place *at, const json_t *list, int32_t limit, template *t)
{
    const int64_t more = (int64_t)json_array_size(list);
    MR_TRY(mr_grow(MR_MEM_OTHER, &t->ids, &t->room, t->count + more, sizeof *t->ids));
    for (int64_t i = 0; i < more; i++) {
        const json_t *id = json_array_get(list, (size_t)i);
        const mr_hf_place item = mr_hf_item(at, (size_t)i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= limit)
            return mr_hf_expected(&item, id, "an id below %d", limit);
        t->ids[t->count++] = (int32_t)json_integer_value(id);
    }
    return MR_OK;
}

/* Takes a special token: its ids stand in special_tokens under its name. */
static mr_status add_special(const mr_hf_place *at, const json_t *value, const json_t *special,
                             int32_t limit, template *t)
{
    static const char *const known[] = {"id", "type_id", NULL};
    const mr_hf_place here = mr_hf_key(at, "id"), place = mr_hf_key(at, "ids");
    const json_t *ids;
    mr_hf_string name;
    MR_TRY(mr_hf_check_keys(at, value, known));
    MR_TRY(mr_hf_read_string(at, value, "id", &name));
    const json_t *entry = mr_hf_look_up(at, special, name);
    if (!entry) return mr_hf_expected(&here, json_object_get(value, "id"), "one of special_tokens");
    MR_TRY(mr_hf_read_list(at, entry, "ids", &ids));
    return add_ids(&place, ids, limit, t);
}

static mr_status add_part(const mr_hf_place *at, const json_t *part, const json_t *special,
                          int32_t limit, template *t)
{
    static const char *const parts[] = {"SpecialToken", "Sequence", NULL};
    static const char *const texts[] = {"A", NULL};
    const json_t *token = json_object_get(part, parts[0]);
    const mr_hf_place inside = mr_hf_key(at, parts[token ? 0 : 1]);
    int which;
    MR_TRY(mr_hf_check_keys(at, part, parts));
    if (token) return add_special(&inside, token, special, limit, t);
    const json_t *text = json_object_get(part, parts[1]);
    MR_TRY(mr_hf_read_choice(&inside, text, "id", texts, &which));
    if (t->before >= 0) return mr_hf_expected(&inside, text, "the text once");
    t->before = t->count;
    return MR_OK;
}

/* Puts more ids before those of a list, or behind them. */
static mr_status join(int32_t **list, int64_t *count, const int32_t *more, int64_t more_count,
                      bool behind)
{
    if (more_count == 0) return MR_OK;
    int32_t *all = mr_alloc_array(MR_MEM_DATA, (size_t)(*count + more_count), sizeof *all);
    if (!all) return MR_ERR_MEMORY;
    memcpy(all + (behind ? *count : 0), more, (size_t)more_count * sizeof *all);
    if (*count > 0) memcpy(all + (behind ? 0 : more_count), *list, (size_t)*count * sizeof *all);
    mr_free(*list);
    *list = all;
    *count += more_count;
    return MR_OK;
}

static mr_status read_template(const mr_hf_place *at, const json_t *value, int32_t limit,
                               mr_hf_post *post)
{
    static const char *const known[] = {"type", "single", "pair", "special_tokens", NULL};
    const mr_hf_place here = mr_hf_key(at, "single");
    const json_t *list = NULL;
    template t = {.before = -1};
    mr_status status = mr_hf_check_keys(at, value, known);
    if (status == MR_OK) status = mr_hf_read_list(at, value, "single", &list);
    for (size_t i = 0; status == MR_OK && i < json_array_size(list); i++) {
        const mr_hf_place item = mr_hf_item(&here, i);
        status = add_part(&item, json_array_get(list, i), json_object_get(value, "special_tokens"),
                          limit, &t);
    }
    if (status == MR_OK && t.before < 0)
        status = mr_hf_expected(&here, NULL, "a Sequence of id A, the text");
    if (status == MR_OK) status = join(&post->before, &post->before_count, t.ids, t.before, false);
    if (status == MR_OK)
        status =
            join(&post->behind, &post->behind_count, t.ids + t.before, t.count - t.before, true);
    mr_free(t.ids);
    return status;
}

static mr_status read_processor(const mr_hf_place *at, const json_t *value, int32_t limit,
                                mr_hf_post *post)
{
    static const char *const bytes[] = {"type", "add_prefix_space", "trim_offsets", "use_regex",
                                        NULL};
    static const char *const sequence[] = {"type", "processors", NULL};
    const mr_hf_place here = mr_hf_key(at, "processors");
    const json_t *list;
    int kind;
    MR_TRY(mr_hf_read_choice(at, value, "type", kinds, &kind));
    if (kind == BYTE_LEVEL) return mr_hf_check_keys(at, value, bytes);
    if (kind == TEMPLATE) return read_template(at, value, limit, post);
    MR_TRY(mr_hf_check_keys(at, value, sequence));
    MR_TRY(mr_hf_read_list(at, value, "processors", &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const mr_hf_place item = mr_hf_item(&here, i);
        MR_TRY(read_processor(&item, json_array_get(list, i), limit, post));
    }
    return MR_OK;
}

mr_status mr_hf_post_read(const mr_hf_place *at, const json_t *value, int32_t ids, mr_hf_post *post)
{
    if (!value || json_is_null(value)) return MR_OK;
    return read_processor(at, value, ids, post);
}

void mr_hf_post_free(mr_hf_post *post)
{
    mr_free(post->before);
    mr_free(post->behind);
    *post = (mr_hf_post){.before = NULL};
}
