/* What the YAML of a set says. */

#include "base/pattern.h"
#include "eval/set_impl.h"

#include <stddef.h>
#include <string.h>

/* Keys that hold lists or mappings: their nodes, 0 where they are not there. */
typedef struct nodes {
    const char *like;
    int items, columns, fields, variants, classes, by, shots, begin, shot, item;
    int options, option_fields, labels, rules, stops;
} nodes;

/* All keys of a set: those that are taken as they are, and the rest. */
typedef struct keys {
    mr_set set;
    nodes at;
} keys;

typedef struct shot_keys {
    mr_set_shots shots;
    int from;
} shot_keys;

typedef struct field_keys {
    mr_set_field field;
    const char *rule;
    int among;
} field_keys;

typedef struct name_keys {
    const char *name;
    int texts;
} name_keys;

static const char *const readings[] = {"json",      "keyed", "csv",           "tsv", "lines",
                                       "abstracts", "conll", "conversations", NULL};
static const char *const forms[] = {"sum", "mean", "next", NULL};
static const char *const borders[] = {"lm_eval", "whole", NULL};
static const char *const takes[] = {"first", "round_robin", "drawn", NULL};

static const mr_yaml_field set_keys[] = {
    MR_YAML_FIELD(keys, set.name, "name", MR_FIELD_TEXT, true),
    MR_YAML_FIELD(keys, set.about, "about", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(keys, set.source, "source", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(keys, at.like, "like", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(keys, set.version, "version", MR_FIELD_WHOLE, false),
    MR_YAML_FIELD(keys, at.items, "items", MR_FIELD_LIST, false),
    MR_YAML_WORD(keys, set.reading, "read", readings, false),
    MR_YAML_FIELD(keys, at.columns, "columns", MR_FIELD_ANY_LIST, false),
    MR_YAML_FIELD(keys, set.latin1, "latin1", MR_FIELD_FLAG, false),
    MR_YAML_FIELD(keys, at.fields, "fields", MR_FIELD_LIST, false),
    MR_YAML_FIELD(keys, at.variants, "variants", MR_FIELD_LIST, false),
    MR_YAML_FIELD(keys, set.needs, "needs", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(keys, set.id, "id", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(keys, set.class_field, "class", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(keys, at.classes, "classes", MR_FIELD_ANY_LIST, false),
    MR_YAML_FIELD(keys, at.by, "by", MR_FIELD_ANY_LIST, false),
    MR_YAML_FIELD(keys, at.shots, "shots", MR_FIELD_KEYS, false),
    MR_YAML_FIELD(keys, at.begin, "begin", MR_FIELD_LIST, false),
    MR_YAML_FIELD(keys, at.shot, "shot", MR_FIELD_LIST, false),
    MR_YAML_FIELD(keys, at.item, "item", MR_FIELD_LIST, false),
    MR_YAML_FIELD(keys, at.options, "options", MR_FIELD_LIST, false),
    MR_YAML_FIELD(keys, at.option_fields, "options_from", MR_FIELD_LIST, false),
    MR_YAML_FIELD(keys, at.labels, "labels", MR_FIELD_ANY_LIST, false),
    MR_YAML_FIELD(keys, set.gold, "gold", MR_FIELD_TEXT, false),
    MR_YAML_WORD(keys, set.form, "form", forms, false),
    MR_YAML_WORD(keys, set.border, "border", borders, false),
    MR_YAML_FIELD(keys, set.metric_name, "metric", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(keys, set.most_tokens, "most_tokens", MR_FIELD_WHOLE, false),
    MR_YAML_FIELD(keys, at.rules, "rules", MR_FIELD_LIST, false),
    MR_YAML_FIELD(keys, at.stops, "stops", MR_FIELD_ANY_LIST, false),
    MR_YAML_FIELD(keys, set.new_tokens, "new_tokens", MR_FIELD_WHOLE, false),
    MR_YAML_FIELD(keys, set.prompt_tokens, "prompt_tokens", MR_FIELD_WHOLE, false),
    {0},
};

static const mr_yaml_field field_table[] = {
    MR_YAML_FIELD(field_keys, field.name, "name", MR_FIELD_TEXT, true),
    MR_YAML_FIELD(field_keys, field.of, "of", MR_FIELD_TEXT, true),
    MR_YAML_FIELD(field_keys, field.pattern, "pattern", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(field_keys, field.join, "join", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(field_keys, field.words, "words", MR_FIELD_FLAG, false),
    MR_YAML_FIELD(field_keys, rule, "rule", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(field_keys, among, "among", MR_FIELD_LIST, false),
    {0},
};

static const mr_yaml_field name_table[] = {
    MR_YAML_FIELD(name_keys, name, "name", MR_FIELD_TEXT, true),
    MR_YAML_FIELD(name_keys, texts, "texts", MR_FIELD_LIST, true),
    {0},
};

static const mr_yaml_field variant_table[] = {
    MR_YAML_FIELD(mr_set_variant, class, "class", MR_FIELD_TEXT, true),
    MR_YAML_FIELD(mr_set_variant, label, "label", MR_FIELD_TEXT, true),
    {0},
};

static const mr_yaml_field shot_table[] = {
    MR_YAML_FIELD(shot_keys, from, "from", MR_FIELD_LIST, false),
    MR_YAML_FIELD(shot_keys, shots.count, "count", MR_FIELD_WHOLE, false),
    MR_YAML_WORD(shot_keys, shots.take, "take", takes, false),
    MR_YAML_FIELD(shot_keys, shots.seed, "seed", MR_FIELD_WHOLE, false),
    {0},
};

static const mr_yaml_field text_field = {.kind = MR_FIELD_TEXT};

static mr_status take_texts(const mr_yaml_taker *taker, int list, mr_set_texts *out)
{
    if (list == 0) return MR_OK;
    const int count = mr_yaml_items(taker, list);
    mr_free(out->item);
    out->count = 0;
    out->item = mr_alloc_array(MR_MEM_DATA, (size_t)count, sizeof *out->item);
    if (!out->item) return MR_ERR_MEMORY;
    for (int at = list + 1; out->count < count; at = taker->yaml->nodes[at].end)
        MR_TRY(mr_yaml_take_value(taker, &text_field, at, &out->item[out->count++]));
    return MR_OK;
}

static void free_place(mr_set_place *place)
{
    for (int i = 0; i < place->choices; i++)
        mr_free(place->choice[i].item);
    mr_free(place->choice);
    *place = (mr_set_place){0};
}

/* A list of patterns, or of lists of them. */
static mr_status take_place(const mr_yaml_taker *taker, int list, mr_set_place *out)
{
    if (list == 0) return MR_OK;
    free_place(out);
    const int count = mr_yaml_items(taker, list);
    out->choice = mr_alloc_array(MR_MEM_DATA, (size_t)count, sizeof *out->choice);
    if (!out->choice) return MR_ERR_MEMORY;
    for (int at = list + 1; out->choices < count; at = taker->yaml->nodes[at].end) {
        mr_set_texts *choice = &out->choice[out->choices++];
        if (taker->yaml->nodes[at].kind == MR_YAML_SEQUENCE) {
            MR_TRY(take_texts(taker, at, choice));
            continue;
        }
        choice->item = mr_alloc(MR_MEM_DATA, sizeof *choice->item);
        if (!choice->item) return MR_ERR_MEMORY;
        choice->count = 1;
        MR_TRY(mr_yaml_take_value(taker, &text_field, at, choice->item));
    }
    return MR_OK;
}

static mr_status take_spans(const mr_yaml_taker *taker, int list, mr_template **out)
{
    if (list == 0) return MR_OK;
    mr_template_destroy(out);
    return mr_template_of_spans(taker, list, out);
}

static mr_status find_rule(const mr_yaml_taker *taker, int at, const char *name,
                           const mr_answer_rule **out)
{
    *out = mr_answer_rule_find(name);
    if (*out) return MR_OK;
    mr_text known = {0};
    for (int i = 0; mr_answer_rule_at(i); i++)
        mr_text_add(&known, "%s%s", i > 0 ? ", " : "", mr_answer_rule_at(i)->name);
    mr_status status =
        mr_yaml_fail(taker, at, "expected a rule of answers, one of %s; found \"%s\"",
                     mr_text_get(&known), name);
    mr_text_free(&known);
    return status;
}

static void free_fields(mr_set *set)
{
    for (int f = 0; f < set->fields; f++) {
        for (int n = 0; n < set->field[f].names; n++)
            mr_free(set->field[f].among[n].texts.item);
        mr_free(set->field[f].among);
        mr_pattern_destroy(&set->field[f].compiled);
    }
    mr_free(set->field);
    set->field = NULL;
    set->fields = 0;
}

static mr_status take_names(const mr_yaml_taker *taker, int list, mr_set_field *field)
{
    if (list == 0) return MR_OK;
    const int count = mr_yaml_items(taker, list);
    field->among = mr_alloc_array(MR_MEM_DATA, (size_t)count, sizeof *field->among);
    if (!field->among) return MR_ERR_MEMORY;
    for (int at = list + 1; field->names < count; at = taker->yaml->nodes[at].end) {
        name_keys k = {.name = NULL};
        MR_TRY(mr_yaml_take(taker, at, name_table, &k));
        mr_set_name *name = &field->among[field->names++];
        name->name = k.name;
        MR_TRY(take_texts(taker, k.texts, &name->texts));
    }
    return MR_OK;
}

static mr_status compile(const mr_yaml_taker *taker, int at, mr_set_field *field)
{
    char problem[MR_PATTERN_PROBLEM];
    if (!field->pattern) return MR_OK;
    mr_status status = mr_pattern_create(field->pattern, &field->compiled, problem);
    if (status == MR_ERR_FORMAT)
        return mr_yaml_fail(taker, at, "'%s' is no regular expression: %s", field->pattern,
                            problem);
    MR_TRY(status);
    if (mr_pattern_groups(field->compiled) > 0) return MR_OK;
    return mr_yaml_fail(taker, at, "expected a group in the pattern '%s'", field->pattern);
}

static mr_status take_field(const mr_yaml_taker *taker, int at, mr_set_field *out)
{
    field_keys k = {.rule = NULL};
    MR_TRY(mr_yaml_take(taker, at, field_table, &k));
    if (!!k.field.pattern + !!k.field.join + k.field.words + !!k.rule + !!k.among != 1)
        return mr_yaml_fail(taker, at,
                            "expected one of the keys pattern, join, words, rule and among");
    *out = k.field;
    if (k.rule) MR_TRY(find_rule(taker, at, k.rule, &out->rule));
    MR_TRY(compile(taker, at, out));
    return take_names(taker, k.among, out);
}

static mr_status take_fields(const mr_yaml_taker *taker, int list, mr_set *set)
{
    if (list == 0) return MR_OK;
    const int count = mr_yaml_items(taker, list);
    free_fields(set);
    set->field = mr_alloc_array(MR_MEM_DATA, (size_t)count, sizeof *set->field);
    if (!set->field) return MR_ERR_MEMORY;
    for (int at = list + 1; set->fields < count; at = taker->yaml->nodes[at].end)
        MR_TRY(take_field(taker, at, &set->field[set->fields++]));
    return MR_OK;
}

static mr_status take_variants(const mr_yaml_taker *taker, int list, mr_set *set)
{
    if (list == 0) return MR_OK;
    const int count = mr_yaml_items(taker, list);
    mr_free(set->variant);
    set->variants = 0;
    set->variant = mr_alloc_array(MR_MEM_DATA, (size_t)count, sizeof *set->variant);
    if (!set->variant) return MR_ERR_MEMORY;
    for (int at = list + 1; set->variants < count; at = taker->yaml->nodes[at].end)
        MR_TRY(mr_yaml_take(taker, at, variant_table, &set->variant[set->variants++]));
    return MR_OK;
}

static mr_status take_shots(const mr_yaml_taker *taker, int at, mr_set *set)
{
    if (at == 0) return MR_OK;
    shot_keys k = {.shots = set->shots};
    MR_TRY(mr_yaml_take(taker, at, shot_table, &k));
    const mr_set_place from = set->shots.from;
    set->shots = k.shots;
    set->shots.from = from;
    return take_place(taker, k.from, &set->shots.from);
}

static mr_status take_rules(const mr_yaml_taker *taker, int list, mr_set *set)
{
    if (list == 0) return MR_OK;
    MR_TRY(take_texts(taker, list, &set->rule_names));
    if (set->rule_names.count > MR_SET_RULES)
        return mr_yaml_fail(taker, list, "expected at most %d rules", MR_SET_RULES);
    for (int i = 0, at = list + 1; i < set->rule_names.count; i++, at = taker->yaml->nodes[at].end)
        MR_TRY(find_rule(taker, at, set->rule_names.item[i], &set->rule[i]));
    return MR_OK;
}

mr_status mr_set_take_keys(const mr_yaml_taker *taker, int mapping, mr_set *set)
{
    keys k = {.set = *set};
    mr_status status = mr_yaml_take(taker, mapping, set_keys, &k);
    *set = k.set;
    MR_TRY(status);
    MR_TRY(take_place(taker, k.at.items, &set->items_from));
    MR_TRY(take_texts(taker, k.at.columns, &set->columns));
    MR_TRY(take_fields(taker, k.at.fields, set));
    MR_TRY(take_variants(taker, k.at.variants, set));
    MR_TRY(take_texts(taker, k.at.classes, &set->classes));
    MR_TRY(take_texts(taker, k.at.by, &set->by));
    MR_TRY(take_shots(taker, k.at.shots, set));
    MR_TRY(take_spans(taker, k.at.begin, &set->begin));
    MR_TRY(take_spans(taker, k.at.shot, &set->shot));
    MR_TRY(take_spans(taker, k.at.item, &set->item));
    MR_TRY(take_texts(taker, k.at.options, &set->options));
    MR_TRY(take_texts(taker, k.at.option_fields, &set->option_fields));
    MR_TRY(take_texts(taker, k.at.labels, &set->labels));
    MR_TRY(take_texts(taker, k.at.stops, &set->stops));
    return take_rules(taker, k.at.rules, set);
}

static bool has_twice(const mr_set_texts *texts)
{
    for (int i = 0; i < texts->count; i++)
        for (int k = 0; k < i; k++)
            if (strcmp(texts->item[i], texts->item[k]) == 0) return true;
    return false;
}

/* The right of what stands beside options, or beside rules. */
static const char *contradiction(const mr_set *s)
{
    const bool options = s->options.count + s->option_fields.count > 0;
    const bool rules = s->rule_names.count > 0;
    if (options == rules) return "expected one of the keys options, options_from and rules";
    if (s->options.count > 0 && s->option_fields.count > 0)
        return "expected one of the keys options and options_from, found both";
    if (options && (s->new_tokens > 0 || s->prompt_tokens > 0 || s->stops.count > 0))
        return "stops, new_tokens and prompt_tokens are for what is generated";
    if (options && !s->metric_name) return "the key \"metric\" is missing";
    if (s->version == 0) return "the key \"version\" is missing";
    if (rules && (s->metric_name || s->labels.count > 0 || s->most_tokens > 0))
        return "metric, labels and most_tokens are for options";
    if (rules && s->new_tokens == 0) return "the key \"new_tokens\" is missing";
    if (s->shots.count > 0 && !s->shot) return "the key \"shot\" is missing";
    if (s->shots.take == MR_TAKE_DRAWN && s->shots.from.choices == 0)
        return "shots that are drawn need files of their own: the key \"from\"";
    if (s->shots.take == MR_TAKE_ROUND_ROBIN && !options)
        return "shots of one option after another need options";
    if (s->options.count > 0 && s->labels.count > 0 && s->options.count != s->labels.count)
        return "expected as many labels as options";
    if (s->columns.count > 0 && s->reading != MR_READ_CSV && s->reading != MR_READ_TSV)
        return "columns are those of csv and tsv";
    if (has_twice(&s->columns)) return "two columns of one name";
    if (has_twice(&s->options)) return "two options of one text";
    if (s->latin1 && s->reading != MR_READ_LINES) return "latin1 is for lines";
    if (s->classes.count > 0 && !s->class_field) return "classes need the key \"class\"";
    if (s->by.count > MR_SET_BY) return "more than 4 groups in \"by\"";
    return NULL;
}

static mr_status fail_metric(const mr_yaml_taker *taker, int at, const mr_set *set)
{
    mr_text known = {0};
    for (int i = 0; mr_metric_at(i); i++)
        mr_text_add(&known, "%s%s", i > 0 ? ", " : "", mr_metric_at(i)->name);
    mr_status status = mr_yaml_fail(taker, at,
                                    "set \"%s\": expected a metric, one of %s; found "
                                    "\"%s\"",
                                    set->name, mr_text_get(&known), set->metric_name);
    mr_text_free(&known);
    return status;
}

mr_status mr_set_check(const mr_yaml_taker *taker, int at, mr_set *set)
{
    const char *problem = set->items_from.choices == 0 ? "the key \"items\" is missing"
                          : !set->item                 ? "the key \"item\" is missing"
                          : !set->gold                 ? "the key \"gold\" is missing"
                                                       : contradiction(set);
    if (problem) return mr_yaml_fail(taker, at, "set \"%s\": %s", set->name, problem);
    for (int i = 0; i < set->stops.count; i++)
        if (set->stops.item[i][0] == '\0')
            return mr_yaml_fail(taker, at, "set \"%s\": an empty stop", set->name);
    if (!set->about) set->about = "";
    if (!set->source) set->source = "";
    if (!set->metric_name) return MR_OK;
    set->metric = mr_metric_find(set->metric_name);
    if (!set->metric) return fail_metric(taker, at, set);
    if (set->metric->grouped && !set->class_field)
        return mr_yaml_fail(taker, at, "set \"%s\": %s needs the key \"class\"", set->name,
                            set->metric_name);
    return MR_OK;
}

void mr_set_free(mr_set *s)
{
    mr_set_texts *const texts[] = {&s->columns,       &s->classes, &s->by,    &s->options,
                                   &s->option_fields, &s->labels,  &s->stops, &s->rule_names};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        mr_free(texts[i]->item);
    free_place(&s->items_from);
    free_place(&s->shots.from);
    free_fields(s);
    mr_free(s->variant);
    mr_template_destroy(&s->begin);
    mr_template_destroy(&s->shot);
    mr_template_destroy(&s->item);
    for (int64_t i = 0; i < s->records; i++)
        json_decref(s->record[i].json);
    for (int32_t c = 0; c < s->class_count; c++)
        mr_free(s->class_name[c]);
    mr_free(s->record);
    mr_free(s->at);
    mr_free(s->shot_at);
    mr_free(s->class_name);
    mr_texts_free(&s->files);
    *s = (mr_set){0};
}
