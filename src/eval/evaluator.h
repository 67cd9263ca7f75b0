#ifndef MR_EVAL_EVALUATOR_H
#define MR_EVAL_EVALUATOR_H

/** @file
 * The evaluator: a list of sets, each scored in one way: a part of the run's data, data of its own,
 * or what a published evaluation asks. A way of scoring is a kind: one file that fills an
 * mr_eval_kind, and one row in evaluator.c. What a score is called, its unit and which way is
 * better are the set's to say, by default as its kind does; whoever records or shows scores reads
 * that.
 *
 * An evaluator needs a model and data, and no training.
 */

#include "base/file.h"
#include "config/schema.h"
#include "data/batch.h"
#include "eval/set_ask.h"
#include "model/model.h"

enum {
    MR_EVAL_SCORES = 4, /**< most scores of a kind */
    MR_EVAL_SETS = 16,  /**< most sets of an evaluator */
};

/** What a score is. Constants of the program. */
typedef struct mr_eval_score {
    const char *name; /**< as in the run log; the first of a kind is what runs are compared by */
    const char *unit; /**< "fraction", "ppl", "nats a token", ... */
    bool lower_is_better;
} mr_eval_score;

/** When a set is scored. */
typedef enum mr_eval_when {
    MR_WHEN_SCHEDULED, /**< as the evaluations of the run are */
    MR_WHEN_ENDS,      /**< before the first step, and after the last */
    MR_WHEN_LAST       /**< after the last step */
} mr_eval_when;

/** Their names, NULL at the end. */
extern const char *const mr_eval_when_texts[MR_WHEN_LAST + 2];

/** Keys that every kind has: what the struct of a kind's keys starts with. */
typedef struct mr_eval_keys {
    char name[MR_CONFIG_NAME]; /**< group of the run log; "": the name of the kind */
    int32_t part;              /**< mr_part */
    int64_t items;             /**< 0: all of the part */
    int64_t batch;             /**< 0: eval.batch */
    int32_t when;              /**< mr_eval_when */
} mr_eval_keys;

/** Their rows in the table of a kind, but for `part`.
 * @param default_when  when such a set is scored, as text */
#define MR_EVAL_KEYS(default_when)                                                                 \
    {MR_KEY_FIELD(mr_eval_keys, "name", name), .type = MR_KEY_STRING, .fallback = "",              \
     .help = "Name of the set in log and tables; empty: that of the kind, or of the benchmark."},  \
        {MR_KEY_FIELD(mr_eval_keys, "items", items),                                               \
         .type = MR_KEY_INT,                                                                       \
         .fallback = "0",                                                                          \
         .max = MR_KEY_BILLION,                                                                    \
         .unit = "items",                                                                          \
         .help = "How many are scored, of a benchmark with classes of each; 0: all."},             \
        {MR_KEY_FIELD(mr_eval_keys, "batch", batch),                                               \
         .type = MR_KEY_INT,                                                                       \
         .fallback = "0",                                                                          \
         .max = MR_KEY_BILLION,                                                                    \
         .unit = "items",                                                                          \
         .help = "As eval.batch; 0: what that is, of a benchmark at most 8."},                     \
    {                                                                                              \
        MR_KEY_FIELD(mr_eval_keys, "when", when),                                                  \
            .type = MR_KEY_ENUM, .fallback = (default_when), .choices = mr_eval_when_texts,        \
            .help = "Scheduled: as eval.every and its like say; "                                  \
                    "ends: before the first step and after the "                                   \
                    "last; last: after the last."                                                  \
    }

/** The row of `part`. @param default_part  the part that is scored by default, as text */
#define MR_EVAL_PART_KEY(default_part)                                                             \
    {                                                                                              \
        MR_KEY_FIELD(mr_eval_keys, "part", part), .type = MR_KEY_ENUM, .fallback = (default_part), \
                                                  .choices = mr_part_texts,                        \
                                                  .help = "Part of the data that is scored."       \
    }

typedef struct mr_eval_set mr_eval_set;
typedef struct mr_evaluation mr_evaluation;

/** What is evaluated, on what data it was trained, and where rows of items go. Borrows all. */
typedef struct mr_eval_occasion {
    mr_asked_model model;
    const char *data; /**< hash of the data of the run */
    const char *rows; /**< what the paths of rows begin with; NULL: none are kept */
} mr_eval_occasion;

/** One way of scoring. */
typedef struct mr_eval_kind {
    const char *name;
    const char *summary;     /**< one line for --help */
    const char *item;        /**< what the record of an item is */
    unsigned unasked;        /**< parts of the data, bits 1 << mr_part, that are scored so where a
                                  set names no kind: 0 for a kind that is to be named */
    const mr_schema *schema; /**< its keys, over a struct that starts with mr_eval_keys */
    int scores;              /**< 0: each set has its own */
    mr_eval_score score[MR_EVAL_SCORES];
    bool errors; /**< it tells their standard errors */
    int told;    /**< number of the score that is told of before and after a run */
    bool lasts;  /**< it may last far longer than a step: a checkpoint before it is worth its while,
                     and without rows it fails rather than be asked in vain */
    bool takes_turns; /**< its sets share the room of the largest, and lay themselves out again when
                           they run */

    /** Reads what the set alone has, by set->keys: set->own, or what stands in set->state. It is
     * all that a set has which no model changes. Optional. @return MR_OK, MR_ERR_CONFIG,
     * MR_ERR_MEMORY, errors of what it reads */
    mr_status (*open)(mr_eval_set *set);
    /** Gives back what open took; called after a failed open too. Optional. */
    void (*close)(mr_eval_set *set);
    /** Hashes what open reads by keys, and keeps nothing of it; "" stays where that is nothing.
     * NULL: it never is. Local. @return as open */
    mr_status (*hash)(const void *keys, char out[MR_HASH_TEXT]);
    /** Returns why a part of the data cannot be scored so, NULL where it can. NULL: sets of this
     * kind are no part of the data. */
    const char *(*refuses)(const mr_dataset *dataset, mr_part part);
    /** Lays out for set->model, once a model. Optional. @return MR_OK, MR_ERR_CONFIG, MR_ERR_MEMORY
     */
    mr_status (*lay_out)(mr_eval_set *set);
    /** Adds to bytes[purpose] what allocate will take. Optional. */
    void (*bytes)(const mr_eval_set *set, size_t bytes[MR_MEM_PURPOSES]);
    /** @return MR_OK, MR_ERR_MEMORY. Optional. */
    mr_status (*allocate)(mr_eval_set *set);
    /** Gives back what allocate and lay_out took, where they did. */
    void (*put_away)(mr_eval_set *set);
    /** Returns the head of rows: what is asked, of which model. NULL: no memory. Local. */
    json_t *(*head)(const mr_eval_set *set, const mr_eval_occasion *occasion);
    /** Of an mr_eval_set: records, values and errors go to set->found, on rank 0. Allocate scratch.
     */
    mr_asked_ops asked;
} mr_eval_kind;

/** What is told of a set that is not the run's own data. Borrowed texts; NULL and 0: nothing. */
typedef struct mr_eval_about {
    const char *set;    /**< name of the published evaluation */
    int64_t version;    /**< of it */
    const char *source; /**< whose rules it is scored by */
    const char *rules;  /**< these, with their versions */
    const char *data;   /**< folder it is read from */
    const char *items;  /**< the set's items_hash */
    const char *rows;   /**< file of a row an item, of the last time */
} mr_eval_about;

/** One set. Borrows model, tokenizer, dataset, keys and score; owns own and state. */
struct mr_eval_set {
    char name[MR_CONFIG_NAME]; /**< group of the run log */
    int number;                /**< among the wishes, from 1; 0: not asked for by a kind */
    const mr_eval_kind *kind;
    const void *keys; /**< of the kind, starting with mr_eval_keys; NULL where none were said */
    mr_part part;
    mr_eval_when when;
    int64_t wanted;  /**< items that were asked for; 0: all */
    int64_t items;   /**< that are scored, at least 1 */
    int64_t batch;   /**< most items a rank scores at once */
    int64_t width;   /**< tokens of a sequence of the run's data */
    int64_t window;  /**< most tokens that its models take */
    mr_model *model; /**< that it is laid out for; NULL: none */
    const mr_tokenizer *tokenizer;
    const mr_dataset *dataset; /**< the run's, or own */
    mr_dataset *own;           /**< NULL: it has no data of its own */
    int scores;
    const mr_eval_score *score;    /**< [scores] */
    char items_hash[MR_HASH_TEXT]; /**< of what was asked last, or of own; "" of the run's data */
    mr_eval_about about;
    char rows[PATH_MAX];  /**< of the last time */
    mr_evaluation *found; /**< while it is scored; borrowed */
    void *state;
};

/** What a set is to be. */
typedef struct mr_eval_wish {
    char name[MR_CONFIG_NAME]; /**< "": the name of the kind */
    char kind[MR_CONFIG_NAME]; /**< "": the first that the data can be scored by */
    mr_part part;              /**< where kind is "", what that kind scores by default */
    int64_t items;             /**< 0: all of the part */
    int64_t batch;
    mr_eval_when when;
    const void *keys; /**< as of mr_eval_set; borrowed until the evaluator is destroyed */
} mr_eval_wish;

/** Sets in their order. Owns them. */
typedef struct mr_evaluator {
    int sets;
    mr_eval_set set[MR_EVAL_SETS];
    float *records; /**< [most items of a set], of the last run */
} mr_evaluator;

/** What a run of a set found. */
struct mr_evaluation {
    const mr_eval_set *set;       /**< borrowed */
    double value[MR_EVAL_SCORES]; /**< in the order of set->score */
    double error[MR_EVAL_SCORES]; /**< standard, of each; NAN: not told */
    float *items;                 /**< [set->items] records, until the next run; borrowed */
};

/** Returns the kinds as choices of eval.sets. Local. */
const mr_choice *mr_eval_choices(void);

/** Returns kind number index, NULL behind the last one. */
const mr_eval_kind *mr_eval_kind_at(int index);

/** Hashes what the set of a wish is read from: other files, or another version of what is asked,
 * are other scores. Local.
 * @param[out] out  "" where the set has nothing of its own
 * @return MR_OK, as mr_evaluator_open */
MR_NODISCARD mr_status mr_eval_hash(const mr_eval_wish *wish, char out[MR_HASH_TEXT]);

/** Opens the sets of an evaluator, and reads what they alone have. A wish without a kind that
 * nothing of the data answers makes no set. Local; the same on every rank.
 * @param width   tokens of a sequence of the data as it is trained on
 * @param window  most tokens that the models take which are evaluated
 * @param wishes  [count], count <= MR_EVAL_SETS; names must differ
 * @return MR_OK, MR_ERR_CONFIG (unknown kind, equal names, a part that the data has not or that
 *         cannot be scored so), errors of what sets are read from, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_evaluator_open(const mr_dataset *dataset, int64_t width, int64_t window,
                                         const mr_eval_wish *wishes, int count, mr_evaluator **out);

/** Lays an evaluator out for a model without allocating: enough for plans. What it was laid out for
 * another model comes away, which still stands; NULL: nothing but that. Local.
 * @return MR_OK, MR_ERR_CONFIG, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_evaluator_lay_out(mr_evaluator *evaluator, mr_model *model);

/** Adds to bytes[purpose] what mr_evaluator_allocate will take. Local. */
void mr_evaluator_bytes(const mr_evaluator *evaluator, size_t bytes[MR_MEM_PURPOSES]);

/** Compares the files of sets that have data of their own with what was recorded when they were
 * made, as mr_dataset_verify. Collective. */
MR_NODISCARD mr_status mr_evaluator_verify(const mr_evaluator *evaluator, const mr_comm *comm);

/** Allocates. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_evaluator_allocate(mr_evaluator *evaluator);

/** Frees everything and sets *out to NULL; NULL is allowed. Local. */
void mr_evaluator_destroy(mr_evaluator **out);

/** Runs set number index, 0..sets - 1. The numbers do not depend on the number of ranks. Allocates
 * scratch. Collective.
 * @return MR_OK, errors of the data, MR_ERR_MEMORY, MR_STOPPED (a signal asked for it); the same on
 *         every rank */
MR_NODISCARD mr_status mr_evaluator_run(mr_evaluator *evaluator, int index,
                                        const mr_eval_occasion *occasion, mr_evaluation *out);

/** Writes the path of the rows of a set, `<prefix>.<name>.rows.jsonl`. Local.
 * @return MR_OK, MR_ERR_IO (too long) */
MR_NODISCARD mr_status mr_eval_rows_path(const mr_eval_set *set, const char *prefix,
                                         char out[PATH_MAX]);

/** For kinds. Returns the head of rows of a part of data, or what rows end with by the values that
 * were found. NULL: no memory. Local. @{ */
json_t *mr_eval_part_head(const mr_eval_set *set, const mr_eval_occasion *occasion);
json_t *mr_eval_values_json(const mr_eval_set *set);
/** @} */

/** For kinds. Tells whether a row is of an item of a part of data, by its number. Local.
 * @return MR_OK, MR_ERR_FORMAT */
MR_NODISCARD mr_status mr_eval_check_row(const json_t *row, int64_t index);

/** For kinds, between batches: an evaluation may last far longer than the time there is between a
 * request to stop and the end. Collective. @return MR_OK, MR_STOPPED */
MR_NODISCARD mr_status mr_eval_go_on(const mr_comm *comm);

#endif
