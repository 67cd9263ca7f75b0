/* Kind benchmark: what a published evaluation asks, as `mora eval` asks it. */

#include "base/log.h"
#include "eval/evaluator.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MOST_BATCH = 8 }; /* texts at a time, unless the set says otherwise: each needs a cache */

/* Keys of the kind. */
typedef struct benchmark_keys {
    mr_eval_keys common;
    char set[MR_CONFIG_STRING], data[MR_CONFIG_STRING];
} benchmark_keys;

typedef struct benchmark {
    mr_sets sets; /* of one */
    mr_set_run_options options;
    mr_set_run run;
    mr_eval_score score[MR_EVAL_SCORES];
    mr_set_asking asking;
    mr_text rules;
} benchmark;

_Static_assert((int)MR_SET_RULES <= (int)MR_EVAL_SCORES, "each rule gives a score");

/* Which one is asked. */
static mr_status load(const benchmark_keys *own, mr_sets *sets)
{
    MR_CHECK(own && own->set[0], MR_ERR_CONFIG,
             "set: missing: the name of a set, or a YAML file of one; `mora eval --help` lists "
             "them");
    MR_CHECK(own->data[0], MR_ERR_CONFIG, "data: missing: the folder of the set's files");
    mr_status status = mr_sets_load(own->set, sets);
    /* Here it is a configuration that names it, no command line. */
    if (status == MR_ERR_USAGE) return mr_fail_in(MR_ERR_CONFIG, "set");
    MR_TRY(status);
    if (sets->count == 1) return MR_OK;
    mr_text names = {0};
    for (int i = 0; i < sets->count; i++)
        mr_text_add(&names, "%s%s", i > 0 ? ", " : "", sets->set[i].name);
    status = mr_fail(MR_ERR_CONFIG, "set: expected one, found %d in \"%s\": %s", sets->count,
                     own->set, mr_text_get(&names));
    mr_text_free(&names);
    return status;
}

/* What the set is called, scored by, and said to be. */
static mr_status describe(mr_eval_set *set, const benchmark_keys *own, benchmark *b)
{
    const mr_set *of = &b->sets.set[0];
    set->scores = of->metric ? 1 : of->rule_names.count;
    for (int i = 0; i < set->scores; i++) {
        b->score[i] = (mr_eval_score){.name = of->metric ? of->metric->name : of->rule[i]->name,
                                      .unit = "fraction"};
        mr_text_add(&b->rules, "%s%s", i > 0 ? ", " : "", b->score[i].name);
        if (!of->metric) mr_text_add(&b->rules, " %d", of->rule[i]->version);
    }
    set->score = b->score;
    set->about = (mr_eval_about){.set = of->name,
                                 .version = of->version,
                                 .source = of->source,
                                 .rules = mr_text_get(&b->rules),
                                 .data = own->data};
    return b->rules.failed ? MR_ERR_MEMORY : MR_OK;
}

static void show_progress(void *context, int64_t done, int64_t items)
{
    const mr_eval_set *set = context;
    mr_log_progress(set->name, done, items, "");
}

static mr_status open_set(mr_eval_set *set)
{
    const benchmark_keys *own = set->keys;
    const bool given = own && own->common.batch > 0;
    benchmark *b = mr_alloc(MR_MEM_DATA, sizeof *b);
    if (!b) return MR_ERR_MEMORY;
    set->state = b;
    MR_TRY(load(own, &b->sets));
    MR_TRY(mr_set_read(&b->sets.set[0], own->data));
    if (set->name[0] == '\0') snprintf(set->name, sizeof set->name, "%s", b->sets.set[0].name);
    MR_TRY(describe(set, own, b));
    b->options =
        (mr_set_run_options){.tokenizer = set->tokenizer,
                             .bos = true,
                             .window = set->window,
                             .batch = given || set->batch < MOST_BATCH ? set->batch : MOST_BATCH,
                             .limit = set->wanted,
                             .progress = show_progress,
                             .context = set};
    MR_TRY(mr_set_run_begin(&b->sets.set[0], &b->options, &b->run));
    set->items = b->run.items;
    set->dataset = NULL;
    return MR_OK;
}

static mr_status lay_out(mr_eval_set *set)
{
    benchmark *b = set->state;
    return mr_set_run_lay_out(&b->run, set->model);
}

static void bytes(const mr_eval_set *set, size_t out[MR_MEM_PURPOSES])
{
    const benchmark *b = set->state;
    mr_set_run_bytes(&b->run, out);
}

static mr_status allocate(mr_eval_set *set)
{
    benchmark *b = set->state;
    return mr_set_run_allocate(&b->run);
}

static void put_away(mr_eval_set *set)
{
    benchmark *b = set->state;
    mr_set_run_put_away(&b->run);
}

static mr_status hash(const void *of, char out[MR_HASH_TEXT])
{
    const benchmark_keys *own = of;
    mr_sets sets = {0};
    mr_status status = load(own, &sets);
    if (status == MR_OK) status = mr_sets_hash(&sets, own->data, out);
    mr_sets_free(&sets);
    return status;
}

static void close_set(mr_eval_set *set)
{
    benchmark *b = set->state;
    if (!b) return;
    mr_set_asking_free(&b->asking);
    if (b->run.set) mr_set_run_end(&b->run);
    mr_text_free(&b->rules);
    mr_sets_free(&b->sets);
    mr_free(b);
    set->state = NULL;
}

static json_t *head(const mr_eval_set *set, const mr_eval_occasion *occasion)
{
    const benchmark *b = set->state;
    return mr_set_head(&b->run, &occasion->model);
}

/* What `mora eval` would ask. */
static mr_asked asked(const mr_eval_set *set)
{
    benchmark *b = set->state;
    b->asking.run = &b->run;
    b->asking.model = set->model;
    return mr_set_asked(&b->asking);
}

static mr_status begin(void *of)
{
    const mr_asked a = asked(of);
    return a.ops->begin(a.of);
}

static mr_status read_row(void *of, int64_t index, const json_t *row)
{
    const mr_asked a = asked(of);
    return a.ops->read(a.of, index, row);
}

static mr_status ask(void *of, int64_t first, mr_item_row *row, void *context)
{
    const mr_asked a = asked(of);
    return a.ops->ask(a.of, first, row, context);
}

static mr_status score(void *of, json_t **json)
{
    mr_eval_set *set = of;
    mr_set_asking *asking = &((benchmark *)set->state)->asking;
    const mr_asked a = asked(set);
    MR_TRY(a.ops->score(a.of, json));
    for (int i = 0; i < set->scores; i++) {
        set->found->value[i] = asking->scores.score[i].value;
        set->found->error[i] = asking->scores.score[i].error;
    }
    for (int64_t i = 0; i < set->items; i++)
        set->found->items[i] = (float)asking->outcomes[i].score[0];
    if (asking->scores.cut > 0)
        mr_warn("%s: %lld of %lld items were longer than the model takes and lost their beginning",
                set->name, (long long)asking->scores.cut, (long long)set->items);
    snprintf(set->items_hash, sizeof set->items_hash, "%016" PRIx64, asking->items_hash);
    set->about.items = set->items_hash;
    mr_set_asking_free(asking);
    return MR_OK;
}

static const mr_key keys[] = {
    MR_EVAL_KEYS("last"),
    {MR_KEY_FIELD(benchmark_keys, "set", set), .type = MR_KEY_STRING, .fallback = "",
     .help = "What is asked: a name that `mora eval --help` lists, or a YAML file of one set."},
    {MR_KEY_FIELD(benchmark_keys, "data", data), .type = MR_KEY_STRING, .is_path = true,
     .fallback = "", .help = "Folder of the files of the set."},
};
static const mr_schema schema = MR_SCHEMA(benchmark_keys, keys);

const mr_eval_kind mr_eval_benchmark = {
    .name = "benchmark",
    .summary = "what a published evaluation asks, as `mora eval` asks it, with a row an item",
    .item = "score of an answer, 0 to 1, by the first rule",
    .schema = &schema,
    .errors = true,
    .lasts = true,
    .takes_turns = true,
    .open = open_set,
    .close = close_set,
    .hash = hash,
    .lay_out = lay_out,
    .bytes = bytes,
    .allocate = allocate,
    .put_away = put_away,
    .head = head,
    .asked = {begin, read_row, ask, score},
};
