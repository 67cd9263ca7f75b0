#include "eval/set_ask.h"

#include "base/hash.h"
#include "base/log.h"
#include "store/json.h"

#include <string.h>

json_t *mr_set_head(const mr_set_run *run, const mr_asked_model *of)
{
    const mr_set *set = run->set;
    json_t *rules = json_array();
    for (int r = 0; r < set->rule_names.count; r++)
        mr_json_append(&rules, json_pack("{s:s, s:i}", "name", set->rule[r]->name, "version",
                                         set->rule[r]->version));
    json_t *head = json_pack("{s:s, s:I, s:s, s:I, s:o, s:s*}", "set", set->name, "version",
                             (json_int_t)set->version, "source", set->source, "items",
                             (json_int_t)run->items, "rules", rules, "metric", set->metric_name);
    if (mr_asking_put_model(head, of, run->options->tokenizer) &&
        json_object_set_new(head, "window", json_integer(run->options->window)) == 0 &&
        json_object_set_new(head, "bos", json_boolean(run->options->bos)) == 0)
        return head;
    json_decref(head);
    return NULL;
}

static mr_status begin(void *of)
{
    mr_set_asking *a = of;
    mr_set_asking_free(a);
    a->items_hash = MR_HASH_FNV;
    a->outcomes = mr_alloc_array(MR_MEM_OTHER, (size_t)a->run->items, sizeof *a->outcomes);
    return a->outcomes ? MR_OK : MR_ERR_MEMORY;
}

/* Takes in the outcome, and what the item is. */
static mr_status read_row(void *of, int64_t index, const json_t *row)
{
    mr_set_asking *a = of;
    MR_TRY(mr_set_run_read(a->run, index, row, &a->outcomes[index]));
    static const char *const keys[] = {"item", "prompt"};
    for (int i = 0; i < 2; i++) {
        const char *text = json_string_value(json_object_get(row, keys[i]));
        a->items_hash = mr_hash_fnv(a->items_hash, text, strlen(text) + 1);
    }
    return MR_OK;
}

static mr_status ask(void *of, int64_t first, mr_item_row *row, void *context)
{
    const mr_set_asking *a = of;
    const bool roomless = !mr_set_run_has_room(a->run);
    mr_status status = MR_OK;
    if (roomless) {
        status = mr_set_run_lay_out(a->run, a->model);
        if (status == MR_OK) status = mr_set_run_allocate(a->run);
        status = mr_comm_agree(mr_model_comm(a->model), status);
    }
    if (status == MR_OK) status = mr_set_run_items(a->run, a->model, first, row, context);
    mr_log_progress_end();
    if (roomless) mr_set_run_put_away(a->run);
    return status;
}

static mr_status score(void *of, json_t **json)
{
    mr_set_asking *a = of;
    MR_TRY(mr_set_scores_of(a->run, a->outcomes, &a->scores));
    *json = mr_set_scores_json(&a->scores);
    return MR_OK;
}

mr_asked mr_set_asked(mr_set_asking *asking)
{
    static const mr_asked_ops ops = {begin, read_row, ask, score};
    return (mr_asked){asking->run->set->name, asking->run->items, asking, &ops};
}

void mr_set_asking_free(mr_set_asking *a)
{
    mr_free(a->outcomes);
    mr_set_scores_free(&a->scores);
    *a = (mr_set_asking){.run = a->run, .model = a->model};
}
