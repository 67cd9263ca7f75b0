/* Named entities as "Name (TYPE), Name (TYPE)". */

#include "eval/answer_impl.h"

#include <math.h>

static bool has(const mr_answer *answer, mr_view name, mr_view type)
{
    for (int64_t i = 0; i < answer->count; i += 2)
        if (mr_answer_same(mr_answer_view(answer, i), name) &&
            mr_answer_same(mr_answer_view(answer, i + 1), type))
            return true;
    return false;
}

/* Adds a match: a word and white space, of which the last character is no part of the name; a type
 * in parentheses. */
static mr_status add_entity(mr_view text, const mr_span *spans, mr_answer *out)
{
    mr_view name = {text.at + spans[1].from, spans[1].to - spans[1].from};
    const mr_view type = {text.at + spans[2].from + 1, spans[2].to - spans[2].from - 2};
    name.bytes = mr_answer_step_back(name, name.bytes);
    if (has(out, name, type)) return MR_OK;
    MR_TRY(mr_answer_add(out, name, NAN));
    return mr_answer_add(out, type, NAN);
}

static mr_status read_entities(const char *text, size_t bytes, mr_answer *out)
{
    static const char entity[] =
        "([^" MR_ANSWER_SPACE "]+[" MR_ANSWER_SPACE "]+)(\\([^" MR_ANSWER_SPACE "]+\\))";
    const mr_view all = {text, bytes};
    mr_pattern *pattern;
    mr_span spans[3];
    size_t from = 0;
    MR_TRY(mr_answer_compile(entity, &pattern));
    mr_status status = MR_OK;
    for (bool found = true; status == MR_OK && found; from = spans[0].to) {
        status = mr_answer_search(pattern, all, from, spans, &found);
        if (status != MR_OK || !found) break;
        status = add_entity(all, spans, out);
    }
    mr_pattern_destroy(&pattern);
    return status;
}

/* Points of a gold entity: of the first one found that shares its name or its type, one each. */
static int points(const mr_answer *found, mr_view name, mr_view type)
{
    for (int64_t i = 0; i < found->count; i += 2) {
        const int shared = mr_answer_same(mr_answer_view(found, i), name) +
                           mr_answer_same(mr_answer_view(found, i + 1), type);
        if (shared > 0) return shared;
    }
    return 0;
}

/* F1 of points, two an entity. An entity has no place here, so that all overlap. */
static mr_status f1(const mr_answer *found, const mr_answer *gold, double *out)
{
    int64_t correct = 0;
    for (int64_t i = 0; i < gold->count; i += 2)
        correct += points(found, mr_answer_view(gold, i), mr_answer_view(gold, i + 1));
    const double precision = (double)correct / (double)found->count;
    const double recall = (double)correct / (double)gold->count;
    *out = correct == 0 ? 0 : 2 * (precision * recall) / (precision + recall);
    return MR_OK;
}

const mr_answer_rule mr_answer_ner = {
    .name = "adaptllm_ner",
    .version = 1,
    .summary = "entities as \"Name (TYPE)\"; F1 of an item, half for the name or the type alone",
    .gold = read_entities,
    .found = read_entities,
    .score = f1,
};
