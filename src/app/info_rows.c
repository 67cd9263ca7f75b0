/* Rows of evaluated items, as `mora eval --out` and runs write them. */

#include "app/info.h"
#include "eval/row_file.h"
#include "report/description.h"
#include "store/json.h"

static json_t *member(const json_t *of, const char *key)
{
    json_t *value = json_object_get(of, key);
    return value ? json_incref(value) : json_null();
}

/* What was asked, and how much of it has been. */
static json_t *set_json(const json_t *set)
{
    const json_t *head = json_object_get(set, "head"), *rules = json_object_get(head, "rules");
    const json_t *metric = json_object_get(head, "metric");
    mr_text by = {0};
    if (metric) mr_text_add(&by, "%s", json_string_value(metric));
    for (size_t r = 0; r < json_array_size(rules); r++) {
        const json_t *rule = json_array_get(rules, r);
        const char *name = json_string_value(json_object_get(rule, "name"));
        mr_text_add(&by, "%s%s %lld", by.length > 0 ? ", " : "", name ? name : "",
                    (long long)json_integer_value(json_object_get(rule, "version")));
    }
    json_t *object =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:I, s:b}", "set", member(head, "set"), "version",
                  member(head, "version"), "source", member(head, "source"), "rules",
                  mr_json_text(mr_text_get(&by)), "items", member(head, "items"), "rows",
                  (json_int_t)json_array_size(json_object_get(set, "rows")), "complete",
                  json_object_get(set, "scores") != NULL);
    mr_text_free(&by);
    return object;
}

/* Appends scores, or groups of items, of the sets that are complete, each behind the name of its
 * set. */
static void append_found(const json_t *sets, const char *what, json_t **list)
{
    json_t *found;
    size_t s, i;
    json_t *set;
    json_array_foreach((json_t *)(uintptr_t)sets, s, set)
    {
        const json_t *scores = json_object_get(set, "scores");
        json_array_foreach(json_object_get(scores, what), i, found)
        {
            json_t *row = json_pack("{s:o}", "set", member(scores, "set"));
            if (!row || json_object_update(row, found) != 0) {
                json_decref(row);
                row = NULL;
            }
            mr_json_append(list, row);
        }
    }
}

static json_t *found_json(const json_t *sets, const char *what)
{
    json_t *list = json_array();
    append_found(sets, what, &list);
    return list;
}

mr_status mr_info_groups(const char *path, json_t **list)
{
    json_t *sets;
    MR_TRY(mr_row_file_read(path, &sets));
    append_found(sets, "groups", list);
    json_decref(sets);
    return MR_OK;
}

mr_status mr_info_rows(const char *path, json_t *object)
{
    static const char *const asked[] = {"model",          "weights", "adapter",
                                        "trained",        "steps",   "tokenizer",
                                        "tokenizer_hash", "window",  "bos"};
    json_t *sets, *list = json_array();
    MR_TRY(mr_row_file_read(path, &sets));
    const json_t *head = json_object_get(json_array_get(sets, 0), "head");
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++)
        mr_description_put(object, asked[i], member(head, asked[i]));
    for (size_t i = 0; i < json_array_size(sets); i++)
        mr_json_append(&list, set_json(json_array_get(sets, i)));
    mr_description_put(object, "sets", list);
    mr_description_put(object, "scores", found_json(sets, "scores"));
    mr_description_put(object, "groups", found_json(sets, "groups"));
    json_decref(sets);
    return MR_OK;
}
