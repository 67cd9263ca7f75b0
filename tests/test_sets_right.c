/* Every set of the program over its files: right answers score 1, but for those that are known, and
 * nothing, or a wrong option, scores 0. */

#include "data_files.h"
#include "eval/set_scores.h"
#include "folder.h"

#include <math.h>
#include <unistd.h>

/* A completion that says the right answer as a rule reads it. */
static void say(const mr_answer_rule *rule, const char *gold, size_t bytes, mr_text *out)
{
    mr_answer right = {.state = MR_ANSWER_NONE};
    must(rule->gold(gold, bytes, &right));
    const char *part = mr_text_get(&right.text);
    const int length = right.count > 0 ? (int)right.part[0].bytes : 0;
    if (strncmp(rule->name, "metamath", 8) == 0)
        mr_text_add(out, "The answer is: %.*s", length, part);
    else if (strcmp(rule->name, "lm_eval_gsm8k_cot_strict") == 0)
        mr_text_add(out, "The answer is %s.", strstr(gold, "#### ") + strlen("#### "));
    else if (strcmp(rule->name, "lm_eval_hendrycks_math") == 0)
        mr_text_add(out, "$%.*s$", length, part);
    else
        mr_text_add(out, "%.*s", (int)bytes, gold);
    mr_answer_free(&right);
}

static double score_of(const mr_answer_rule *rule, const char *gold, size_t gold_bytes,
                       const char *text)
{
    mr_answer right = {.state = MR_ANSWER_NONE}, found = {.state = MR_ANSWER_NONE};
    double score;
    must(rule->gold(gold, gold_bytes, &right));
    must(rule->found(text, strlen(text), &found));
    must(mr_answer_score(rule, &found, &right, &score));
    mr_answer_free(&right);
    mr_answer_free(&found);
    return score;
}

/* Items whose right answer scores less than 1 by the rules of a set, and why. */
static int64_t less_than_all(const char *set)
{
    static const struct {
        const char *set;
        int64_t less;
    } known[] = {
        {"gsm8k_metamath", 1}, /* 1,450,000 is read as 1450 */
        {"math_metamath", 1},  /* ends with a full stop, which is taken off one side */
        {"ner", 46},           /* each name takes the first that shares its type */
        {"convfinqa", 1},      /* "yes" is no number */
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].set, set) == 0) return known[i].less;
    return 0;
}

/* Fails unless right answers score 1, but for those that are known, and nothing scores 0. */
static void right_is_right(const mr_set *set)
{
    for (int r = 0; r < set->rule_names.count; r++) {
        int64_t less = 0;
        for (int64_t i = 0; i < set->items; i++) {
            char room[32];
            size_t bytes;
            const char *gold = mr_set_answer(set, i, room, &bytes);
            mr_text said = {0};
            say(set->rule[r], gold, bytes, &said);
            less += score_of(set->rule[r], gold, bytes, mr_text_get(&said)) < 1;
            if (score_of(set->rule[r], gold, bytes, "") != 0)
                fail_msg("%s: nothing scores at item %lld", set->name, (long long)i);
            mr_text_free(&said);
        }
        if (less != less_than_all(set->name))
            fail_msg("%s, %s: %lld of %lld right answers are not", set->name, set->rule[r]->name,
                     (long long)less, (long long)set->items);
    }
}

/* The score of a set where the right option is taken of every item, or the one behind it. */
static double score_of_options(const mr_set *set, bool right)
{
    const mr_set_run_options all = {.limit = 0};
    mr_set_run run;
    mr_set_scores scores;
    must(mr_set_run_begin(set, &all, &run));
    assert_int_equal(run.items, set->items);
    mr_set_outcome *outcomes = mr_alloc_array(MR_MEM_OTHER, (size_t)run.items, sizeof *outcomes);
    assert_non_null(outcomes);
    for (int64_t i = 0; i < run.items; i++) {
        const int32_t gold = set->record[set->at[run.order[i]]].gold;
        const int64_t options = mr_set_options(set, run.order[i]);
        assert_true(options > 1);
        outcomes[i].found = right ? gold : (int32_t)((gold + 1) % options);
        outcomes[i].score[0] = right;
    }
    must(mr_set_scores_of(&run, outcomes, &scores));
    const double value = scores.score[0].value;
    assert_int_equal(scores.score[0].items, set->items);
    mr_set_scores_free(&scores);
    mr_free(outcomes);
    mr_set_run_end(&run);
    return value;
}

/* Reads a set over the public files, or over those made up in AdaptLLM's layout. */
static void read_set(mr_set *set)
{
    char path[TEST_PATH];
    const bool mmlu = strstr(set->name, "mmlu"), made_up = strncmp(set->name, "adaptllm_", 9) == 0;
    if (mmlu && access("mmlu", R_OK) != 0)
        data_shell("tar -xJf '%s'", test_shared("data/mmlu/mmlu_csv.tar.xz", path));
    must(mr_set_read(set,
                     mmlu ? "." : test_shared(made_up ? "golden/eval/adaptllm" : "data", path)));
}

static void right_answers_are_right_and_none_is_wrong(void **state)
{
    (void)state;
    mr_sets all, one; /* one at a time holds its files */
    char data[TEST_PATH];
    test_shared("data", data);
    must(mr_sets_load(NULL, &all));
    for (int i = 0; i < all.count; i++) {
        must(mr_sets_load(all.set[i].name, &one));
        const mr_set *set = one.set;
        read_set(one.set);
        if (!set->metric)
            right_is_right(set);
        else if (fabs(score_of_options(set, true) - 1) > 1e-12 || score_of_options(set, false) != 0)
            fail_msg("%s: all right is not 1, or all wrong not 0", set->name);
        mr_sets_free(&one);
    }
    print_message("%d sets\n", all.count);
    mr_sets_free(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_answers_are_right_and_none_is_wrong),
    };
    return cmocka_run_group_tests(tests, folder_enter, folder_leave);
}
