#ifndef MR_EVAL_OPTIONS_H
#define MR_EVAL_OPTIONS_H

/** @file
 * How likely options are behind prompts: what multiple choice is scored by.
 *
 * Tokens that texts begin with in common run once for all of them, be it the prompt of an item's
 * options or the examples before many items' questions. Texts come in the order of their tokens,
 * so that each shares most with the one before it, and are cut into passes of a number of rows,
 * wherever one is full: a pass is as long as another, whatever the lengths of texts.
 *
 * On the CPU the bits of a score follow from its option and prompt alone, given the rows of a pass
 * and the threads (model/session.h): not from what else is scored, the number of ranks, or whether
 * texts share what they begin with.
 */

#include "eval/continuation.h"

/** What an option is scored by. */
typedef enum mr_option_form {
    MR_OPTION_SUM,  /**< log-likelihood of its tokens */
    MR_OPTION_MEAN, /**< the same, a token */
    MR_OPTION_NEXT  /**< log-probability of its last token straight behind the prompt */
} mr_option_form;

/** An option behind a prompt. Both have a token or more; borrowed. */
typedef struct mr_scored_option {
    mr_prompt prompt, text;
} mr_scored_option;

/** What is to be scored. Borrowed for the call. */
typedef struct mr_scoring {
    const mr_scored_option *options; /**< [count] */
    int64_t count;
    mr_option_form form;
    bool apart; /**< nothing is shared: every text runs from its first token */
    /** Called now and then with what this rank has run of its share, tokens; NULL: nobody is. */
    void (*progress)(void *context, int64_t done, int64_t all);
    void *context;
} mr_scoring;

/** Scores of options, the same on every rank. */
typedef struct mr_option_scores {
    double *nll;    /**< loss of each scored token, nats: those of an option one after another */
    int64_t *first; /**< [count + 1]: of option i they are nll[first[i]]..nll[first[i + 1] - 1] */
    double *score;  /**< [count], by the form: the larger the likelier */
    int64_t cut;    /**< options whose text lost its beginning: it was longer than the window */
    int64_t tokens; /**< that ran, over all ranks */
    int64_t whole;  /**< that the texts have: so many would run if they shared nothing */
} mr_option_scores;

/** Room for scoring. Owns its session; borrows the model. */
typedef struct mr_scorer mr_scorer;

/** Lays out a scorer without allocating its tensors: enough for plans. Local.
 * @param rows    tokens of a pass, at least 2: the fewer, the less memory (mr_session_rows)
 * @param window  most tokens the model is given of prompt and option: of a longer text the last
 *                ones count, as in lm-evaluation-harness
 * @return as mr_session_create */
MR_NODISCARD mr_status mr_scorer_create(mr_model *model, int64_t rows, int64_t window,
                                        mr_scorer **out);

/** Adds to bytes[purpose] what mr_scorer_allocate will take. Local. */
void mr_scorer_bytes(const mr_scorer *scorer, size_t bytes[MR_MEM_PURPOSES]);

/** Allocates. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_scorer_allocate(mr_scorer *scorer);

/** Frees everything and sets *out to NULL; NULL is allowed. Local. */
void mr_scorer_destroy(mr_scorer **out);

/** Scores options, dealt over the ranks by the tokens that run. Allocates scratch. Collective.
 * @param[out] out  for mr_option_scores_free
 * @return MR_OK, MR_ERR_ARG (an option without tokens, or longer than the window), MR_ERR_MEMORY,
 *         MR_ERR_NUMERIC (a loss that is not finite), MR_STOPPED; the same on every rank */
MR_NODISCARD mr_status mr_score_options(mr_scorer *scorer, const mr_scoring *scoring,
                                        mr_option_scores *out);

/** Returns the likeliest of options first..first+count-1, counted from first; the first of equals.
 * Local. */
int64_t mr_option_best(const mr_option_scores *scores, int64_t first, int64_t count);

/** Frees what scores own. Local. */
void mr_option_scores_free(mr_option_scores *scores);

#endif
