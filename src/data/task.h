#ifndef MR_DATA_TASK_H
#define MR_DATA_TASK_H

/** @file
 * The table of tasks, and the data of one: items that are trained on as samples of tokens, and, in
 * tasks scored by generation, asked as prompts whose continuations are scored.
 *
 * Everything is a function of the configuration and the item's index, the same on every rank. A new
 * task is one file that fills an mr_task, and one row in task.c.
 */

#include "comm/comm.h"
#include "config/registry.h"
#include "data/packing.h"
#include "data/sample.h"

typedef struct mr_dataset mr_dataset;

/** What of a dataset is looked at. Validation and test are the even and the odd ones of the samples
 * kept from training: what is chosen by the one is reported on the other. */
typedef enum mr_part {
    MR_PART_TRAIN,
    MR_PART_HELDOUT, /**< all that is kept from training */
    MR_PART_VALIDATION,
    MR_PART_TEST,
    MR_PARTS
} mr_part;

enum {
    MR_DATASET_HASH = 17,          /**< bytes of a hash text with its terminating zero */
    MR_DATASET_HASH_ITEMS = 10000, /**< most samples that go into it */
};

/** What became of the documents of a part that samples are made of. */
typedef struct mr_tally {
    int64_t documents;    /**< there are; 0 where samples are no documents */
    int64_t dropped;      /**< left out, as too long */
    int64_t none_learned; /**< left out, as none of their tokens is learned, or none that is left */
    int64_t truncated;    /**< samples that are part of a document */
    int64_t all_learned;  /**< samples of documents whose tokens are all learned */
} mr_tally;

/** One task. prompt, answer and score are all given or all NULL, for tasks scored by generation. */
typedef struct mr_task {
    const char *name;
    const char *summary;     /**< one line for --help */
    const mr_schema *schema; /**< its keys, "task.data" */

    /** Fills items, longest and state of a zeroed dataset whose task and tokenizer are set. */
    mr_status (*create)(const mr_config *config, mr_dataset *dataset);
    /** Frees state; called after a failed create too. */
    void (*destroy)(mr_dataset *dataset);
    mr_status (*sample)(const mr_dataset *dataset, int64_t index, mr_sample *out);
    mr_status (*prompt)(const mr_dataset *dataset, int64_t index, mr_sample *out);
    mr_status (*answer)(const mr_dataset *dataset, int64_t index, mr_text *text, int64_t *tokens);
    double (*score)(const mr_dataset *dataset, int64_t index, const char *text, size_t bytes);

    /** Returns the tokens of a sample without reading it; NULL where that is not known. */
    int64_t (*length)(const mr_dataset *dataset, int64_t index);
    /** As sample, of the data kept from training; NULL where the task keeps none. */
    mr_status (*heldout_sample)(const mr_dataset *dataset, int64_t index, mr_sample *out);
    /** Writes a hash known without reading the samples; NULL where they are to be read. */
    void (*hash)(const mr_dataset *dataset, char out[MR_DATASET_HASH]);
    /** As mr_dataset_check and mr_dataset_verify; NULL where the data are not read from files. */
    mr_status (*check)(const mr_dataset *dataset);
    mr_status (*verify)(const mr_dataset *dataset, const mr_comm *comm);
} mr_task;

/** The data of a task. */
struct mr_dataset {
    const mr_task *task;           /**< borrowed, a constant of the program */
    const mr_tokenizer *tokenizer; /**< borrowed */
    int64_t items;                 /**< indices are 0..items - 1 */
    int64_t heldout;               /**< samples kept from training, 0..heldout - 1; 0: none */
    int64_t longest;               /**< no sample has more tokens; reached with `bytes` */
    mr_tally tally[2];             /**< of MR_PART_TRAIN and MR_PART_HELDOUT */
    void *state;                   /**< the task's, owned */
    mr_packing *packing;           /**< of the items into rows; NULL: one a row. Owned */
};

/** Returns the tasks as choices of task.name, in the order of the table, a NULL name behind. */
const mr_choice *mr_task_choices(void);

/** Returns a configuration's keys of its task: the struct of the task's schema. Borrowed. */
const void *mr_task_config(const mr_config *config);

/** Makes the data of config.task, packed where train.packing says so. Local; the same on every
 * rank.
 * @param[in]  tokenizer  borrowed until destroy
 * @param[out] out        set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_CONFIG (task.name, task.prompt, task.data, train.seq_len, train.packing of
 * a task whose lengths are not known; eval.every or
 * eval.at_steps of a task that could keep data from training, but has none), MR_ERR_IO
 * (task.data is not there), MR_ERR_FORMAT (it is damaged), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_dataset_create(const mr_config *config, const mr_tokenizer *tokenizer,
                                         mr_dataset **out);

/** Frees *dataset and sets it to NULL; NULL is allowed. Local. */
void mr_dataset_destroy(mr_dataset **dataset);

/** Returns the rows of an epoch: those of the packing, else as many as items. Local. */
int64_t mr_dataset_rows(const mr_dataset *dataset);

/** Returns the share of an epoch's tokens, in rows of seq_len, that is padding; negative where it
 * is not known without reading all samples. Local. */
double mr_dataset_padding(const mr_dataset *dataset, int64_t seq_len);

/** Names of the parts, by their values, NULL at the end. */
extern const char *const mr_part_texts[MR_PARTS + 1];

/** Returns how many samples a part has; 0: the data has none of it. Local. */
int64_t mr_dataset_part_items(const mr_dataset *dataset, mr_part part);

/** Writes a sample of a part: targets[t] is the id to predict at position t, which is the token at
 * t + 1, or MR_NOT_SCORED. Local. No allocation.
 * @param[in]  index    0..mr_dataset_part_items - 1
 * @param[out] tokens   [capacity]
 * @param[out] targets  [capacity], or NULL
 * @param[out] length   tokens of the whole sample; above capacity, the outputs hold its beginning
 * @return as mr_tokenizer_encode */
MR_NODISCARD mr_status mr_dataset_part_sample(const mr_dataset *dataset, mr_part part,
                                              int64_t index, int32_t *tokens, int32_t *targets,
                                              int64_t capacity, int64_t *length);

/** Tells whether items are scored by generation: whether prompt, answer and score may be called. */
bool mr_dataset_generates(const mr_dataset *dataset);

/** Writes what the model is to continue for an item; as mr_dataset_part_sample without targets. */
MR_NODISCARD mr_status mr_dataset_prompt(const mr_dataset *dataset, int64_t index, int32_t *tokens,
                                         int64_t capacity, int64_t *length);

/** Appends the expected continuation of an item's prompt. Local.
 * @param[out] tokens  how many to generate: as many as the answer can have
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_dataset_answer(const mr_dataset *dataset, int64_t index, mr_text *text,
                                         int64_t *tokens);

/** Returns the score, 0 to 1, of a generated text of `bytes` bytes, the prompt left out. Local. */
double mr_dataset_score(const mr_dataset *dataset, int64_t index, const char *text, size_t bytes);

/** Writes the hash of the data, 16 hex digits, for the run log: the task's own, else FNV-1a with 64
 * bits over length, tokens and targets of the first min(items, MR_DATASET_HASH_ITEMS) samples in
 * order of index, each number as four little-endian bytes. Where the dataset is packed, FNV-1a over
 * that text and the plan of its rows. Local.
 * @return MR_OK, MR_ERR_MEMORY, as mr_tokenizer_encode */
MR_NODISCARD mr_status mr_dataset_hash(const mr_dataset *dataset, char out[MR_DATASET_HASH]);

/** Checks that the files that samples are read from are there and have their sizes: enough for one
 * rank to do, before anything is planned on them. Local. @return MR_OK, MR_ERR_FORMAT */
MR_NODISCARD mr_status mr_dataset_check(const mr_dataset *dataset);

/** Compares the files that samples are read from with what was recorded when they were made, each
 * file on one rank: reads them in full, at the rate of SHA-256. Collective.
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (the message names the file that differs), MR_ERR_MEMORY
 */
MR_NODISCARD mr_status mr_dataset_verify(const mr_dataset *dataset, const mr_comm *comm);

#endif
