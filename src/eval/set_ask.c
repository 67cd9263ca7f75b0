#include "eval/set_ask.h"

#include "base/hash.h"
#include "base/log.h"
#include "store/json.h"

#include <string.h>

json_t *mr_asking_head(const mr_set_run *run, const mr_asked_model *of)
{
    const mr_set *set = run->set;
    const mr_tokenizer *tokenizer = run->options->tokenizer;
    json_t *rules = json_array();
    for (int r = 0; r < set->rule_names.count; r++)
        mr_json_append(&rules, json_pack("{s:s, s:i}", "name", set->rule[r]->name, "version",
                                         set->rule[r]->version));
    return json_pack("{s:s, s:I, s:s, s:I, s:o, s:s*, s:o, s:s, s:s, s:s, s:I, s:s, s:s, s:I, s:b}",
                     "set", set->name, "version", (json_int_t)set->version, "source", set->source,
                     "items", (json_int_t)run->items, "rules", rules, "metric", set->metric_name,
                     "model", mr_json_text(of->path), "weights", of->weights, "adapter",
                     of->adapter, "trained", of->trained, "steps", (json_int_t)of->steps,
                     "tokenizer", tokenizer->name, "tokenizer_hash", tokenizer->hash, "window",
                     (json_int_t)run->options->window, "bos", run->options->bos);
}

/* Takes what a row says in: the outcome, and what the item is. */
static mr_status take(mr_asking *a, int64_t index, const json_t *row)
{
    MR_TRY(mr_set_run_read(a->run, index, row, &a->outcomes[index]));
    static const char *const keys[] = {"item", "prompt"};
    for (int i = 0; i < 2; i++) {
        const char *text = json_string_value(json_object_get(row, keys[i]));
        a->items_hash = mr_hash_fnv(a->items_hash, text, strlen(text) + 1);
    }
    return MR_OK;
}

static mr_status take_new(void *context, int64_t index, const json_t *row)
{
    mr_asking *a = context;
    MR_TRY(take(a, index, row));
    return a->file ? mr_row_file_add(a->file, row) : MR_OK;
}

/* Goes through the rows that are there. */
static mr_status take_rows(mr_asking *a, const json_t *head)
{
    json_t *row = NULL;
    mr_status status = head ? mr_row_file_begin(a->file, head) : MR_ERR_MEMORY;
    while (status == MR_OK) {
        status = mr_row_file_next(a->file, &row);
        if (status != MR_OK || !row) break;
        status = a->done < a->run->items
                     ? take(a, a->done, row)
                     : mr_fail(MR_ERR_FORMAT, "a row behind the last item of the set");
        json_decref(row);
        if (status == MR_ERR_FORMAT) status = mr_row_file_fail(a->file, status);
        if (status == MR_OK) a->done++;
    }
    return status;
}

mr_status mr_asking_begin(mr_asking *a, mr_set_run *run, mr_row_file *file, const json_t *head)
{
    *a = (mr_asking){.run = run, .file = file, .items_hash = MR_HASH_FNV};
    a->outcomes = mr_alloc_array(MR_MEM_OTHER, (size_t)run->items, sizeof *a->outcomes);
    if (!a->outcomes) return MR_ERR_MEMORY;
    if (file) MR_TRY(take_rows(a, head));
    if (a->done > 0)
        mr_log("%s: %lld of %lld items are there already", run->set->name, (long long)a->done,
               (long long)run->items);
    return MR_OK;
}

/* Scores all items. On rank 0. */
static mr_status score(mr_asking *a)
{
    MR_TRY(mr_set_scores_of(a->run, a->outcomes, &a->scores));
    if (!a->file) return MR_OK;
    json_t *json = mr_set_scores_json(&a->scores);
    mr_status status = json ? mr_row_file_end(a->file, json) : MR_ERR_MEMORY;
    json_decref(json);
    return status;
}

/* Asks what is missing. Collective. */
static mr_status ask(mr_asking *a, mr_model *model)
{
    mr_set_run *run = a->run;
    const bool roomless = !mr_set_run_has_room(run);
    mr_status status = MR_OK;
    if (roomless) {
        status = mr_set_run_lay_out(run, model);
        if (status == MR_OK) status = mr_set_run_allocate(run);
        status = mr_comm_agree(mr_model_comm(model), status);
    }
    if (status == MR_OK) status = mr_set_run_items(run, model, a->done, take_new, a);
    mr_log_progress_end();
    if (roomless) mr_set_run_put_away(run);
    return status;
}

mr_status mr_asking_finish(mr_asking *a, mr_model *model)
{
    const mr_comm *comm = mr_model_comm(model);
    mr_comm_broadcast(comm, &a->done, sizeof a->done, 0);
    if (a->done < a->run->items) MR_TRY(ask(a, model));
    return mr_comm_agree_root(comm, comm->rank == 0 ? score(a) : MR_OK);
}

void mr_asking_free(mr_asking *a)
{
    mr_free(a->outcomes);
    mr_set_scores_free(&a->scores);
    *a = (mr_asking){.run = NULL};
}
