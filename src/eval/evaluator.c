#include "eval/evaluator.h"

#include "base/log.h"
#include "base/signals.h"
#include "store/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* One row a kind: mr_eval_<name> of eval/<name>.c. A set without one is of the first that the data
 * can be scored by. */
#define KINDS_OF(ROW)                                                                              \
    ROW(generate)                                                                                  \
    ROW(predict)                                                                                   \
    ROW(benchmark)

#define DECLARED(name) extern const mr_eval_kind mr_eval_##name;
#define ADDRESS(name) &mr_eval_##name,

KINDS_OF(DECLARED)
static const mr_eval_kind *const kinds[] = {KINDS_OF(ADDRESS)};

enum { KINDS = sizeof kinds / sizeof *kinds };

const char *const mr_eval_when_texts[MR_WHEN_LAST + 2] = {
    [MR_WHEN_SCHEDULED] = "scheduled", [MR_WHEN_ENDS] = "ends", [MR_WHEN_LAST] = "last"};

const mr_eval_kind *mr_eval_kind_at(int index)
{
    return index < KINDS ? kinds[index] : NULL;
}

const mr_choice *mr_eval_choices(void)
{
    static mr_choice rows[KINDS + 1];
    for (int i = 0; i < KINDS; i++)
        rows[i] = (mr_choice){kinds[i]->name, kinds[i]->summary, kinds[i]->schema};
    return rows;
}

static const mr_eval_kind *find_kind(const char *name)
{
    for (int i = 0; i < KINDS; i++)
        if (strcmp(kinds[i]->name, name) == 0) return kinds[i];
    return NULL;
}

static mr_status unknown_kind(const char *name)
{
    mr_text known = {0};
    for (int i = 0; i < KINDS; i++)
        mr_text_add(&known, "%s%s", i > 0 ? ", " : "", kinds[i]->name);
    mr_status status = mr_fail(MR_ERR_CONFIG, "eval: kind: expected one of %s, found \"%s\"",
                               mr_text_get(&known), name);
    mr_text_free(&known);
    return status;
}

/* Chooses kind and part of a wish without a kind: what the data offers to be scored by. */
static const mr_eval_kind *default_kind(const mr_dataset *dataset, mr_part *part)
{
    for (int i = 0; i < KINDS; i++)
        for (int p = 0; p < MR_PARTS; p++) {
            if (!(kinds[i]->unasked & 1u << p) || kinds[i]->refuses(dataset, (mr_part)p)) continue;
            *part = (mr_part)p;
            return kinds[i];
        }
    return NULL;
}

/* Fills what set is scored of a part of data, the run's or its own. */
static mr_status take_part(mr_eval_set *set)
{
    const mr_eval_kind *kind = set->kind;
    if (!kind->refuses) return MR_OK;
    const char *refused = kind->refuses(set->dataset, set->part);
    MR_CHECK(!refused, MR_ERR_CONFIG, "kind %s of part %s: %s", kind->name,
             mr_part_texts[set->part], refused);
    const int64_t there = mr_dataset_part_items(set->dataset, set->part);
    set->items = set->wanted > 0 && set->wanted < there ? set->wanted : there;
    return MR_OK;
}

static mr_status open_set(mr_eval_set *set)
{
    if (set->kind->open) MR_TRY(set->kind->open(set));
    if (set->own) set->dataset = set->own;
    return take_part(set);
}

/* Puts before the recorded message which set it is of: several may have no name but their kind's.
 */
static mr_status fail_set(const mr_eval_set *set, mr_status status)
{
    if (set->number == 0) return mr_fail_in(status, "eval: set %s", set->name);
    return mr_fail_in(status, "eval.sets: item %d (%s)", set->number, set->name);
}

/* It names a group of the log, and a file. */
static mr_status check_name(const mr_evaluator *e, const mr_eval_set *set)
{
    mr_text clean = {0};
    mr_text_add_line(&clean, set->name, strlen(set->name));
    const bool same = strcmp(mr_text_get(&clean), set->name) == 0;
    mr_text_free(&clean);
    MR_CHECK(same && set->name[0] != '.' && !strchr(set->name, '/'), MR_ERR_CONFIG,
             "eval.sets: item %d: a set cannot have the name \"%s\", which begins with a dot, or "
             "holds '/' or control characters",
             set->number, set->name);
    for (int i = 0; i < e->sets && &e->set[i] != set; i++)
        MR_CHECK(strcmp(e->set[i].name, set->name) != 0, MR_ERR_CONFIG,
                 "eval.sets: items %d and %d both have the name \"%s\"", e->set[i].number,
                 set->number, set->name);
    return MR_OK;
}

static mr_status add_set(mr_evaluator *e, const mr_dataset *dataset, int64_t width, int64_t window,
                         const mr_eval_wish *wish, int number)
{
    mr_part part = wish->part;
    const mr_eval_kind *kind = wish->kind[0] ? find_kind(wish->kind) : default_kind(dataset, &part);
    if (!kind) return wish->kind[0] ? unknown_kind(wish->kind) : MR_OK;
    mr_eval_set *set = &e->set[e->sets++];
    *set = (mr_eval_set){.number = wish->kind[0] ? number : 0,
                         .kind = kind,
                         .keys = wish->keys,
                         .part = part,
                         .when = wish->when,
                         .wanted = wish->items,
                         .batch = wish->batch,
                         .width = width,
                         .window = window,
                         .tokenizer = dataset->tokenizer,
                         .dataset = dataset,
                         .scores = kind->scores,
                         .score = kind->score};
    snprintf(set->name, sizeof set->name, "%s", wish->name);
    mr_status status = open_set(set);
    if (set->name[0] == '\0') snprintf(set->name, sizeof set->name, "%s", kind->name);
    if (status != MR_OK) return fail_set(set, status);
    return check_name(e, set);
}

mr_status mr_eval_hash(const mr_eval_wish *wish, char out[MR_HASH_TEXT])
{
    const mr_eval_kind *kind = find_kind(wish->kind);
    out[0] = '\0';
    return kind && kind->hash ? kind->hash(wish->keys, out) : MR_OK;
}

mr_status mr_evaluator_open(const mr_dataset *dataset, int64_t width, int64_t window,
                            const mr_eval_wish *wishes, int count, mr_evaluator **out)
{
    *out = NULL;
    MR_INVARIANT(count <= MR_EVAL_SETS);
    mr_evaluator *e = mr_alloc(MR_MEM_OTHER, sizeof *e);
    if (!e) return MR_ERR_MEMORY;
    mr_status status = MR_OK;
    for (int i = 0; i < count && status == MR_OK; i++)
        status = add_set(e, dataset, width, window, &wishes[i], i + 1);
    if (status == MR_OK)
        *out = e;
    else
        mr_evaluator_destroy(&e);
    return status;
}

mr_status mr_evaluator_lay_out(mr_evaluator *e, mr_model *model)
{
    for (int i = 0; i < e->sets; i++) {
        mr_eval_set *set = &e->set[i];
        if (set->model) set->kind->put_away(set);
        set->model = model;
        mr_status status = model && set->kind->lay_out ? set->kind->lay_out(set) : MR_OK;
        if (status != MR_OK) return fail_set(set, status);
    }
    return MR_OK;
}

static int64_t most_items(const mr_evaluator *e)
{
    int64_t most = 0;
    for (int i = 0; i < e->sets; i++)
        if (e->set[i].items > most) most = e->set[i].items;
    return most;
}

static size_t total(const size_t bytes[MR_MEM_PURPOSES])
{
    size_t sum = 0;
    for (int m = 0; m < MR_MEM_PURPOSES; m++)
        sum = mr_bytes_add(sum, 1, bytes[m]);
    return sum;
}

/* Which of the sets that take turns needs most room, and adds that; NULL: none does. */
static const mr_eval_set *largest_of_turns(const mr_evaluator *e, size_t bytes[MR_MEM_PURPOSES])
{
    const mr_eval_set *largest = NULL;
    size_t most[MR_MEM_PURPOSES] = {0};
    for (int i = 0; i < e->sets; i++) {
        size_t one[MR_MEM_PURPOSES] = {0};
        if (!e->set[i].kind->takes_turns) continue;
        e->set[i].kind->bytes(&e->set[i], one);
        if (largest && total(one) <= total(most)) continue;
        largest = &e->set[i];
        memcpy(most, one, sizeof most);
    }
    for (int m = 0; m < MR_MEM_PURPOSES; m++)
        bytes[m] = mr_bytes_add(bytes[m], 1, most[m]);
    return largest;
}

void mr_evaluator_bytes(const mr_evaluator *e, size_t bytes[MR_MEM_PURPOSES])
{
    bytes[MR_MEM_EVAL] = mr_bytes_add(bytes[MR_MEM_EVAL], most_items(e), sizeof *e->records);
    for (int i = 0; i < e->sets; i++)
        if (e->set[i].kind->bytes && !e->set[i].kind->takes_turns)
            e->set[i].kind->bytes(&e->set[i], bytes);
    (void)largest_of_turns(e, bytes);
}

mr_status mr_evaluator_verify(const mr_evaluator *e, const mr_comm *comm)
{
    for (int i = 0; i < e->sets; i++) {
        if (!e->set[i].own) continue;
        mr_status status = mr_dataset_verify(e->set[i].own, comm);
        if (status != MR_OK) return fail_set(&e->set[i], status);
    }
    return MR_OK;
}

mr_status mr_evaluator_allocate(mr_evaluator *e)
{
    size_t bytes[MR_MEM_PURPOSES] = {0};
    if (e->sets == 0) return MR_OK;
    e->records = mr_alloc_array(MR_MEM_EVAL, (size_t)most_items(e), sizeof *e->records);
    if (!e->records) return MR_ERR_MEMORY;
    const mr_eval_set *largest = largest_of_turns(e, bytes);
    for (int i = 0; i < e->sets; i++) {
        mr_eval_set *set = &e->set[i];
        if (set->kind->takes_turns && set != largest)
            set->kind->put_away(set);
        else if (set->kind->allocate)
            MR_TRY(set->kind->allocate(set));
    }
    return MR_OK;
}

void mr_evaluator_destroy(mr_evaluator **out)
{
    mr_evaluator *e = *out;
    if (!e) return;
    for (int i = 0; i < e->sets; i++) {
        if (e->set[i].model) e->set[i].kind->put_away(&e->set[i]);
        if (e->set[i].kind->close) e->set[i].kind->close(&e->set[i]);
        mr_dataset_destroy(&e->set[i].own);
    }
    mr_free(e->records);
    mr_free(e);
    *out = NULL;
}

/* Rows. */

mr_status mr_eval_rows_path(const mr_eval_set *set, const char *prefix, char out[PATH_MAX])
{
    return mr_file_path(out, "%s.%s.rows.jsonl", prefix, set->name);
}

json_t *mr_eval_part_head(const mr_eval_set *set, const mr_eval_occasion *occasion)
{
    const mr_eval_score *score = &set->score[set->kind->told];
    json_t *head = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:s}", "set", set->name,
                             "kind", set->kind->name, "part", mr_part_texts[set->part], "data",
                             set->own ? set->items_hash : occasion->data, "width",
                             (json_int_t)set->width, "items", (json_int_t)set->items, "metric",
                             score->name, "unit", score->unit, "record", set->kind->item);
    if (mr_asking_put_model(head, &occasion->model, set->tokenizer)) return head;
    json_decref(head);
    return NULL;
}

mr_status mr_eval_check_row(const json_t *row, int64_t index)
{
    const json_t *item = json_object_get(row, "item");
    MR_CHECK(json_is_integer(item) && json_integer_value(item) == index, MR_ERR_FORMAT,
             "expected item %lld", (long long)index);
    return MR_OK;
}

json_t *mr_eval_values_json(const mr_eval_set *set)
{
    json_t *scores = json_array();
    for (int i = 0; i < set->scores; i++)
        mr_json_append(&scores, json_pack("{s:s, s:o, s:o, s:I}", "name", set->score[i].name,
                                          "value", mr_json_number(set->found->value[i]),
                                          "standard_error", mr_json_number(set->found->error[i]),
                                          "items", (json_int_t)set->items));
    return json_pack("{s:s, s:o}", "set", set->name, "scores", scores);
}

/* Whether rows are of this very evaluation at another step. */
static bool is_of_another_step(const json_t *then, const json_t *now)
{
    json_t *moved = json_copy((json_t *)(uintptr_t)then);
    static const char *const keys[] = {"steps", "trained"};
    for (int i = 0; i < 2; i++)
        json_object_set(moved, keys[i], json_object_get(now, keys[i]));
    const bool same = moved && json_equal(moved, now) && !json_equal(then, now);
    json_decref(moved);
    return same;
}

/* Begins the file of rows behind those that are of this step and these weights: those of an earlier
 * evaluation of the run have had their time, and others are put aside. */
static mr_status begin_rows(const char *path, const json_t *head, const mr_asked *asked,
                            mr_row_file **file, int64_t *done)
{
    char aside[PATH_MAX];
    MR_TRY(mr_row_file_open(path, file));
    json_t *then = mr_row_file_head(*file);
    const bool passed = then && is_of_another_step(then, head);
    json_decref(then);
    if (passed) {
        MR_TRY(mr_row_file_close(file));
        unlink(path);
    } else {
        mr_status status = mr_asking_begin(asked, *file, head, done);
        if (status != MR_ERR_FORMAT) return status;
        mr_warn("%s", mr_message());
        MR_TRY(mr_row_file_close(file));
        MR_TRY(mr_file_put_aside(path, "previous", aside));
        mr_log("%s kept as %s", path, aside);
    }
    MR_TRY(mr_row_file_open(path, file));
    return mr_asking_begin(asked, *file, head, done);
}

/* On rank 0. */
static mr_status begin(mr_eval_set *set, const mr_eval_occasion *occasion, const mr_asked *asked,
                       mr_row_file **file, int64_t *done)
{
    set->about.rows = NULL;
    if (!occasion->rows) return mr_asking_begin(asked, NULL, NULL, done);
    MR_TRY(mr_eval_rows_path(set, occasion->rows, set->rows));
    const char *slash = strrchr(set->rows, '/');
    set->about.rows = slash ? slash + 1 : set->rows;
    json_t *head = set->kind->head(set, occasion);
    mr_status status = head ? begin_rows(set->rows, head, asked, file, done) : MR_ERR_MEMORY;
    json_decref(head);
    return status;
}

static mr_status run_set(mr_eval_set *set, const mr_eval_occasion *occasion)
{
    const mr_comm *comm = mr_model_comm(set->model);
    const mr_asked asked = {set->name, set->items, set, &set->kind->asked};
    mr_row_file *file = NULL;
    int64_t done = 0;
    mr_status status = mr_comm_agree_root(
        comm, comm->rank == 0 ? begin(set, occasion, &asked, &file, &done) : MR_OK);
    if (status == MR_OK) status = mr_asking_finish(comm, &asked, file, done);
    mr_status closed = mr_row_file_close(&file);
    return mr_comm_agree_root(comm, status == MR_OK ? closed : status);
}

/* Runs a set, without rows where a disk refuses them and asking anew costs less than a failure. */
static mr_status run_or_repeat(mr_eval_set *set, const mr_eval_occasion *occasion)
{
    mr_eval_occasion rowless = *occasion;
    mr_status status = run_set(set, occasion);
    if (status != MR_ERR_IO || set->kind->lasts || !occasion->rows) return status;
    mr_warn("%s: asked again, without rows: %s", set->name, mr_message());
    rowless.rows = NULL;
    return run_set(set, &rowless);
}

mr_status mr_evaluator_run(mr_evaluator *e, int index, const mr_eval_occasion *occasion,
                           mr_evaluation *out)
{
    mr_eval_set *set = &e->set[index];
    MR_INVARIANT(index >= 0 && index < e->sets && e->records);
    *out = (mr_evaluation){.set = set, .items = e->records};
    for (int i = 0; i < MR_EVAL_SCORES; i++)
        out->error[i] = NAN;
    for (int i = 0; i < e->sets && set->kind->takes_turns; i++)
        if (i != index && e->set[i].kind->takes_turns) e->set[i].kind->put_away(&e->set[i]);
    set->found = out;
    mr_status status = run_or_repeat(set, occasion);
    set->found = NULL;
    MR_TRY(status);
    const mr_comm *comm = mr_model_comm(set->model);
    mr_comm_broadcast(comm, out->value, sizeof out->value, 0);
    mr_comm_broadcast(comm, out->error, sizeof out->error, 0);
    mr_comm_broadcast(comm, out->items, (size_t)set->items * sizeof *out->items, 0);
    return MR_OK;
}

mr_status mr_eval_go_on(const mr_comm *comm)
{
    MR_CHECK(!mr_comm_any(comm, mr_signals_caught() != 0), MR_STOPPED,
             "an evaluation was broken off by a signal");
    return MR_OK;
}
