/* Which records are items and which their shots, and the text that asks. */

#include "eval/set_impl.h"

#include <string.h>

/* Records being chosen from. Borrows all. */
typedef struct chooser {
    mr_set *set;
    int64_t first, end; /* records that shots are of */
    int64_t *pool;      /* [pooled] those of a class */
    int64_t pooled;
    int64_t *room;  /* [records] scratch */
    bool *taken;    /* [records] */
    int64_t *shots; /* [classes, count] */
    mr_set_random random;
} chooser;

static void fill_pool(chooser *c, int32_t class)
{
    c->pooled = 0;
    for (int64_t i = c->first; i < c->end; i++)
        if (c->set->record[i].class == class) c->pool[c->pooled++] = i;
}

static mr_status check_pool(const chooser *c, int32_t class, int64_t found)
{
    const mr_set *s = c->set;
    MR_CHECK(found == s->shots.count, MR_ERR_FORMAT,
             "set %s: expected %lld records to take shots from%s%s, found %lld", s->name,
             (long long)s->shots.count, s->class_count > 0 ? ", of class " : "",
             s->class_count > 0 ? s->class_name[class] : "", (long long)found);
    return MR_OK;
}

/* Of one option after another the first that is not taken, over and over. */
static int64_t take_round_robin(chooser *c, int64_t *out)
{
    int32_t options = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < c->pooled; i++)
        if (c->set->record[c->pool[i]].gold >= options)
            options = c->set->record[c->pool[i]].gold + 1;
    for (bool any = true; any && count < c->set->shots.count;) {
        any = false;
        for (int32_t o = 0; o < options && count < c->set->shots.count; o++)
            for (int64_t i = 0; i < c->pooled; i++) {
                const int64_t at = c->pool[i];
                if (c->taken[at] || c->set->record[at].gold != o) continue;
                c->taken[at] = any = true;
                out[count++] = at;
                break;
            }
    }
    return count;
}

static int64_t take_first(chooser *c, int64_t *out)
{
    int64_t count = 0;
    for (; count < c->pooled && count < c->set->shots.count; count++) {
        out[count] = c->pool[count];
        c->taken[c->pool[count]] = true;
    }
    return count;
}

static bool has_items(const chooser *c, int64_t items, int32_t class)
{
    for (int64_t i = 0; i < items; i++)
        if (c->set->record[i].class == class) return true;
    return false;
}

/* Takes the shots of every class that has items, the same for all of these. */
static mr_status take_shots(chooser *c, int64_t items)
{
    mr_set *s = c->set;
    for (int32_t class = 0; class < s->class_count || class == 0; class ++) {
        int64_t *out = c->shots + class * s->shots.count;
        if (!has_items(c, items, class)) continue;
        fill_pool(c, class);
        MR_TRY(check_pool(c, class,
                          s->shots.take == MR_TAKE_FIRST ? take_first(c, out)
                                                         : take_round_robin(c, out)));
    }
    return MR_OK;
}

/* Draws the shots of every item: class by class, in the order of items. */
static mr_status draw_shots(chooser *c)
{
    mr_set *s = c->set;
    for (int32_t class = 0; class < s->class_count || class == 0; class ++) {
        fill_pool(c, class);
        mr_set_random_start(&c->random, (uint32_t)s->shots.seed);
        for (int64_t i = 0; i < s->items; i++) {
            int64_t *out = s->shot_at + i * s->shots.count;
            if (s->record[s->at[i]].class != class) continue;
            if (c->pooled < s->shots.count) MR_TRY(check_pool(c, class, c->pooled));
            mr_set_random_sample(&c->random, c->pooled, s->shots.count, c->room, out);
            for (int64_t k = 0; k < s->shots.count; k++)
                out[k] = c->pool[out[k]];
        }
    }
    return MR_OK;
}

/* Texts. */

static mr_status add_text(const mr_template *t, const mr_set_record *r, mr_text *out)
{
    mr_fault fault;
    char what[MR_FAULT_TEXT];
    if (!t) return MR_OK;
    MR_TRY(mr_template_text(t, r->json, out, &fault, what));
    return fault == MR_FAULTS ? MR_OK : mr_set_fail(r, "%s", what);
}

/* Makes all texts once, so that a field that is missing is told of before a model is asked. */
static mr_status check_texts(const mr_set *s)
{
    mr_text text = {0};
    mr_status status = MR_OK;
    for (int64_t i = 0; i < s->items && status == MR_OK; i++) {
        mr_text_clear(&text);
        status = add_text(s->begin, &s->record[s->at[i]], &text);
        if (status == MR_OK) status = add_text(s->item, &s->record[s->at[i]], &text);
    }
    for (int64_t k = 0; k < s->items * s->shots.count && status == MR_OK; k++) {
        mr_text_clear(&text);
        status = add_text(s->shot, &s->record[s->shot_at[k]], &text);
    }
    mr_text_free(&text);
    return status;
}

static mr_status choose(chooser *c, int64_t items)
{
    mr_set *s = c->set;
    const bool drawn = s->shots.take == MR_TAKE_DRAWN;
    const size_t count = (size_t)s->shots.count;
    if (count > 0 && !drawn) MR_TRY(take_shots(c, items));
    s->at = mr_alloc_array(MR_MEM_DATA, (size_t)items, sizeof *s->at);
    if (!s->at) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < items; i++)
        if (!c->taken[i]) s->at[s->items++] = i;
    MR_CHECK(s->items > 0, MR_ERR_FORMAT, "set %s: all of its records are shots, none an item",
             s->name);
    if (count == 0) return MR_OK;
    s->shot_at = mr_alloc_array(MR_MEM_DATA, (size_t)s->items * count, sizeof *s->shot_at);
    if (!s->shot_at) return MR_ERR_MEMORY;
    if (drawn) return draw_shots(c);
    for (int64_t i = 0; i < s->items; i++)
        memcpy(s->shot_at + i * s->shots.count,
               c->shots + s->record[s->at[i]].class * s->shots.count, count * sizeof *s->shot_at);
    return MR_OK;
}

mr_status mr_set_choose(mr_set *set, int64_t items)
{
    const size_t records = (size_t)set->records;
    const size_t classes = set->class_count > 0 ? (size_t)set->class_count : 1;
    chooser c = {.set = set, .first = items < set->records ? items : 0, .end = set->records};
    c.pool = mr_alloc_array(MR_MEM_DATA, records, sizeof *c.pool);
    c.room = mr_alloc_array(MR_MEM_DATA, records, sizeof *c.room);
    c.taken = mr_alloc_array(MR_MEM_DATA, records, sizeof *c.taken);
    c.shots = mr_alloc_array(MR_MEM_DATA, classes * (size_t)set->shots.count + 1, sizeof *c.shots);
    mr_status status = c.pool && c.room && c.taken && c.shots ? choose(&c, items) : MR_ERR_MEMORY;
    if (status == MR_OK) status = check_texts(set);
    mr_free(c.pool);
    mr_free(c.room);
    mr_free(c.taken);
    mr_free(c.shots);
    return status;
}

mr_status mr_set_prompt(const mr_set *set, int64_t item, int64_t shots, mr_text *out)
{
    const mr_set_record *r = &set->record[set->at[item]];
    MR_TRY(add_text(set->begin, r, out));
    for (int64_t k = 0; k < shots; k++)
        MR_TRY(add_text(set->shot, &set->record[set->shot_at[item * set->shots.count + k]], out));
    return add_text(set->item, r, out);
}

mr_status mr_set_id(const mr_set *set, int64_t item, mr_text *out)
{
    const mr_set_record *r = &set->record[set->at[item]];
    const char *file = json_string_value(json_object_get(r->json, "@file"));
    char room[32];
    size_t bytes;
    if (!set->id && file && file[0] != '\0') mr_text_add(out, "%s/", file);
    const char *field = set->id ? set->id : "@row";
    const char *id = mr_set_text_of(mr_template_find(r->json, field), room, &bytes);
    if (!id) return mr_set_fail(r, "expected a name in field \"%s\"", field);
    mr_text_add(out, "%s", id);
    if (set->variants > 0) mr_text_add(out, "/%s", set->class_name[r->class]);
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

const char *mr_set_answer(const mr_set *set, int64_t item, char room[32], size_t *bytes)
{
    const mr_set_record *r = &set->record[set->at[item]];
    return mr_set_text_of(mr_template_find(r->json, set->gold), room, bytes);
}

const char *mr_set_group(const mr_set *set, int64_t item, int by, char room[32])
{
    const mr_set_record *r = &set->record[set->at[item]];
    size_t bytes;
    if (by == 0) return set->class_field ? set->class_name[r->class] : NULL;
    if (by > set->by.count) return NULL;
    const char *name =
        mr_set_text_of(mr_template_find(r->json, set->by.item[by - 1]), room, &bytes);
    return name ? name : "";
}
