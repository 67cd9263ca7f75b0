#ifndef MR_MODEL_SESSION_H
#define MR_MODEL_SESSION_H

/** @file
 * Running a model forward over sequences whose keys and values are kept: what evaluation needs
 * besides mr_model_evaluate.
 *
 * Keys and values stand in pages of MR_CACHE_PAGE positions, which the user of a session deals out:
 * sequences that begin alike may have pages in common, so that what they begin with runs once.
 *
 * The bits of what is computed for a token follow from the tokens up to it, from how many rows the
 * pass that it runs in is given, and how many a prediction takes (`outputs`), which are the shapes
 * of products; not from the sequences that come with it, the place of its row, or the pages. One
 * thing apart: a token that is the only one of its sequence in a pass may get others
 * (mr_cached_attention_args), and products get others on another number of threads.
 */

#include "model/model.h"

/** Room for sequences on their way. Owns its memory; borrows the model. */
typedef struct mr_session mr_session;

/** What fits in a session. */
typedef struct mr_session_shape {
    int64_t rows;      /**< most tokens of a pass */
    int64_t sequences; /**< most of a pass */
    int64_t tokens;    /**< most a sequence may reach */
    int64_t pages;     /**< of keys and values */
    int64_t copies;    /**< most of a pass */
    int64_t outputs;   /**< rows that are predicted behind at a time */
} mr_session_shape;

/** The new tokens of a sequence. */
typedef struct mr_session_run {
    const int32_t *ids; /**< [count] */
    int64_t count;      /**< at least 1 */
    int64_t before; /**< tokens of the sequence that have run, or stand in its pages by copies */
    const int32_t *pages; /**< [mr_session_pages(before + count)] where its tokens stand */
} mr_session_run;

/** What runs at once. Borrowed for the call. */
typedef struct mr_session_pass {
    const mr_session_run *runs; /**< [count] */
    int64_t count;              /**< may be 0 */
    int64_t rows; /**< of the products, at least the new tokens: fillers stand behind these */
    /** Positions that two sequences have in common in pages of their own, page * MR_CACHE_PAGE + i
     * each: from may be one of this pass, but none that is copied to. */
    const int32_t *from, *to;
    int64_t copies;
} mr_session_pass;

/** Returns how many pages hold so many tokens. Local. */
static inline int64_t mr_session_pages(int64_t tokens)
{
    return (tokens + MR_CACHE_PAGE - 1) / MR_CACHE_PAGE;
}

/** Returns the least rows, at least `tokens`, that products take in whole tiles. On the CPU passes
 * of such numbers of rows give a token the same bits, but where a product has so few columns, as
 * those of adapters of a low rank, that OpenBLAS takes one of 96 rows for a small one. Local. */
static inline int64_t mr_session_even(int64_t tokens)
{
    enum { EVEN = 96 };
    return (tokens + EVEN - 1) / EVEN * EVEN;
}

/** Returns the rows of a pass that keep what the model computes on busy. Local. */
int64_t mr_session_rows(const mr_model *model);

/** Returns the most rows that are predicted behind at a time, `wanted` at most and 1 at least,
 * whose logits stay within what the model computes at once. Local. */
int64_t mr_session_outputs(const mr_model *model, int64_t wanted);

/** Lays out a session without allocating its tensors: enough for plans. Local.
 * @return MR_OK, MR_ERR_ARG (more rows than can be counted), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_session_create(mr_model *model, const mr_session_shape *shape,
                                         mr_session **out);

/** Adds to bytes[purpose] what mr_session_allocate will take. Local. */
void mr_session_bytes(const mr_session *session, size_t bytes[MR_MEM_PURPOSES]);

/** Allocates. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_session_allocate(mr_session *session);

/** Frees everything and sets *out to NULL; NULL is allowed. Local. */
void mr_session_destroy(mr_session **out);

/** Runs new tokens through the model; those of runs[0] are rows 0.., of runs[1] the next.
 * Collective where weights are sharded. No allocation. */
void mr_session_run_pass(mr_session *session, const mr_session_pass *pass);

/** Predicts what follows rows of the last pass; a row may be named more than once. Local. No
 * allocation.
 * @param rows  [count], count <= outputs */
void mr_session_predict(mr_session *session, const int32_t *rows, int64_t count);

/** Copies the logits of what was predicted to out [count, V]. Local. */
void mr_session_logits(mr_session *session, float *out);

/** Copies the most probable token behind each row to ids [count]. Local. */
void mr_session_best(mr_session *session, int32_t *ids);

/** Writes the loss of a token behind each row, nats, to losses [count]. Local.
 * @param targets  [count] */
void mr_session_losses(mr_session *session, const int32_t *targets, double *losses);

#endif
