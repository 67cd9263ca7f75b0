#ifndef MR_EVAL_SET_RUN_H
#define MR_EVAL_SET_RUN_H

/** @file
 * A model asked all items of a set. Items come class by class and in pieces, so that what was found
 * can be kept as it comes; what is found of an item depends on none beside it (eval/options.h,
 * eval/continuation.h). */

#include "eval/asking.h"
#include "eval/set.h"

/** How a set is run. Borrowed until the end. */
typedef struct mr_set_run_options {
    const mr_tokenizer *tokenizer; /**< whose ends end what is generated */
    bool bos;       /**< what the tokenizer puts before a text stands before prompts */
    bool apart;     /**< options share nothing: every text runs from its first token */
    int64_t window; /**< most tokens that the model is given */
    int64_t batch;  /**< texts that a rank generates at a time */
    int64_t limit;  /**< items of a class, 0: all */
    /** Called now and then, on every rank. */
    void (*progress)(void *context, int64_t done, int64_t items);
    void *context;
} mr_set_run_options;

/** A set being run. Owns all but set, options and row_context. */
typedef struct mr_set_run {
    const mr_set *set;
    const mr_set_run_options *options;
    int64_t *order; /**< [items] of the set, class by class */
    int64_t items;
    mr_set_encoded *prompt; /**< [items] to generate behind; NULL where options are scored */
    int64_t longest;        /**< of these, tokens */
    mr_scorer *scorer;      /**< one of the two, from lay_out to put_away */
    mr_generator *generator;
    /** Tokens since mr_set_run_begin, of all ranks: of texts with options those that ran and those
     * that the texts have, of generated ones those that were generated. */
    int64_t ran, whole, generated;
    mr_item_row *row; /**< is told of every item, on rank 0 */
    void *row_context;
} mr_set_run;

/** What became of an item, as a row tells it. */
typedef struct mr_set_outcome {
    int32_t found;              /**< option that was taken; of sets with options */
    double score[MR_SET_RULES]; /**< by rule; of sets with options one, 1 where it is right */
    int64_t cut;                /**< tokens that were cut off the beginning */
} mr_set_outcome;

/** Puts the items of a set that was read in order, and encodes prompts to generate behind. Local.
 * @return MR_OK, as mr_set_encode */
MR_NODISCARD mr_status mr_set_run_begin(const mr_set *set, const mr_set_run_options *options,
                                        mr_set_run *out);

/** Lays out what a model needs for it, in the place of an earlier layout, allocates it, and frees
 * it again. Local. @return as mr_scorer_create and mr_generator_create @{ */
MR_NODISCARD mr_status mr_set_run_lay_out(mr_set_run *run, mr_model *model);
void mr_set_run_bytes(const mr_set_run *run, size_t bytes[MR_MEM_PURPOSES]);
MR_NODISCARD mr_status mr_set_run_allocate(mr_set_run *run);
void mr_set_run_put_away(mr_set_run *run);
/** @} */

/** Tells whether it is laid out. Local. */
bool mr_set_run_has_room(const mr_set_run *run);

/** Asks items first..items - 1 and tells their rows, on rank 0 and in their order. Collective.
 * @return MR_OK, MR_STOPPED (a signal asked for it), errors of encoding, scoring and of row; the
 *         same on every rank */
MR_NODISCARD mr_status mr_set_run_items(mr_set_run *run, mr_model *model, int64_t first,
                                        mr_item_row *row, void *context);

/** Frees everything and empties it. Local. */
void mr_set_run_end(mr_set_run *run);

/** Reads what a row says of an item. Local.
 * @return MR_OK, MR_ERR_FORMAT (it is of another item, of one that was asked otherwise, or no such
 * row; the message tells, without a place), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_set_run_read(const mr_set_run *run, int64_t index, const json_t *row,
                                       mr_set_outcome *out);

#endif
