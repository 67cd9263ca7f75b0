#include "eval/asking.h"

#include "base/log.h"
#include "store/json.h"

bool mr_asking_put_model(json_t *head, const mr_asked_model *of, const mr_tokenizer *tokenizer)
{
    json_t *model = json_pack("{s:o, s:s, s:s, s:s, s:I, s:s, s:s}", "model",
                              mr_json_text(of->path), "weights", of->weights, "adapter",
                              of->adapter, "trained", of->trained, "steps", (json_int_t)of->steps,
                              "tokenizer", tokenizer->name, "tokenizer_hash", tokenizer->hash);
    const bool good = head && model && json_object_update(head, model) == 0;
    json_decref(model);
    return good;
}

/* Goes through the rows that are there. */
static mr_status take_rows(const mr_asked *asked, mr_row_file *file, const json_t *head,
                           int64_t *done)
{
    json_t *row = NULL;
    mr_status status = head ? mr_row_file_begin(file, head) : MR_ERR_MEMORY;
    while (status == MR_OK) {
        status = mr_row_file_next(file, &row);
        if (status != MR_OK || !row) break;
        status = *done < asked->items
                     ? asked->ops->read(asked->of, *done, row)
                     : mr_fail(MR_ERR_FORMAT, "a row behind the last item of the set");
        json_decref(row);
        if (status == MR_ERR_FORMAT) status = mr_row_file_fail(file, status);
        if (status == MR_OK) ++*done;
    }
    return status;
}

mr_status mr_asking_begin(const mr_asked *asked, mr_row_file *file, const json_t *head,
                          int64_t *done)
{
    *done = 0;
    MR_TRY(asked->ops->begin(asked->of));
    if (file) MR_TRY(take_rows(asked, file, head, done));
    if (*done > 0)
        mr_log("%s: %lld of %lld items are there already", asked->name, (long long)*done,
               (long long)asked->items);
    return MR_OK;
}

/* Where new rows go. */
typedef struct keeping {
    const mr_asked *asked;
    mr_row_file *file;
} keeping;

static mr_status keep(void *context, int64_t index, const json_t *row)
{
    const keeping *k = context;
    MR_TRY(k->asked->ops->read(k->asked->of, index, row));
    return k->file ? mr_row_file_add(k->file, row) : MR_OK;
}

static mr_status score(const mr_asked *asked, mr_row_file *file)
{
    json_t *json = NULL;
    mr_status status = asked->ops->score(asked->of, &json);
    if (status == MR_OK && file) status = json ? mr_row_file_end(file, json) : MR_ERR_MEMORY;
    json_decref(json);
    return status;
}

mr_status mr_asking_finish(const mr_comm *comm, const mr_asked *asked, mr_row_file *file,
                           int64_t done)
{
    keeping to = {asked, file};
    mr_comm_broadcast(comm, &done, sizeof done, 0);
    if (done < asked->items) MR_TRY(asked->ops->ask(asked->of, done, keep, &to));
    return mr_comm_agree_root(comm, comm->rank == 0 ? score(asked, file) : MR_OK);
}
