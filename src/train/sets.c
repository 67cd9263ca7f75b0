#include "train/sets.h"

#include <stdio.h>
#include <string.h>

/* Returns how many there are. */
static int list_wishes(const mr_config *c, mr_eval_wish wishes[MR_CONFIG_ITEMS])
{
    const mr_item_list *sets = &c->eval.sets;
    wishes[0] = (mr_eval_wish){.items = c->eval.items, .batch = c->eval.batch};
    snprintf(wishes[0].name, sizeof wishes[0].name, "%s", c->task.name);
    for (int i = 0; i < sets->count; i++) {
        const mr_eval_keys *keys = (const void *)&sets->item[i].keys;
        mr_eval_wish *wish = &wishes[i];
        *wish = (mr_eval_wish){.part = (mr_part)keys->part,
                               .items = keys->items,
                               .batch = keys->batch > 0 ? keys->batch : c->eval.batch,
                               .when = (mr_eval_when)keys->when,
                               .keys = keys};
        snprintf(wish->name, sizeof wish->name, "%s", keys->name);
        snprintf(wish->kind, sizeof wish->kind, "%s", sets->item[i].kind);
    }
    return sets->count > 0 ? sets->count : 1;
}

mr_status mr_sets_open(mr_trainer *t, const mr_hf_config *arch)
{
    mr_eval_wish wishes[MR_CONFIG_ITEMS];
    const int count = list_wishes(t->config, wishes);
    return mr_evaluator_open(t->dataset, t->seq_len, arch->max_position_embeddings, wishes, count,
                             &t->evaluator);
}

mr_status mr_sets_hashes(const mr_config *config, char out[MR_SETS_HASHES])
{
    mr_eval_wish wishes[MR_CONFIG_ITEMS];
    const int count = list_wishes(config, wishes);
    size_t length = 0;
    out[0] = '\0';
    for (int i = 0; i < count; i++) {
        char hash[MR_HASH_TEXT];
        mr_status status = mr_eval_hash(&wishes[i], hash);
        if (status != MR_OK) return mr_fail_in(status, "eval.sets: item %d", i + 1);
        length += (size_t)snprintf(out + length, MR_SETS_HASHES - length, "%s%s", i > 0 ? " " : "",
                                   hash[0] ? hash : "-");
    }
    return MR_OK;
}

bool mr_sets_differ(const char *then, const char *now, mr_text *out)
{
    enum { SHOWN = 12 }; /* digits */
    const size_t before = out->length;
    for (int item = 1; *then && *now; item++) {
        const size_t a = strcspn(then, " "), b = strcspn(now, " ");
        if (a != b || memcmp(then, now, a) != 0)
            mr_text_add(out, "%seval.sets item %d %.*s instead of %.*s",
                        out->length > 0 ? ", " : "", item, b < SHOWN ? (int)b : SHOWN, now,
                        a < SHOWN ? (int)a : SHOWN, then);
        then += a + (then[a] == ' ');
        now += b + (now[b] == ' ');
    }
    return out->length > before;
}
