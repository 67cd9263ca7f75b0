#ifndef MR_EVAL_SET_H
#define MR_EVAL_SET_H

/** @file
 * Sets: what a published evaluation asks a model and how it is scored, as data. A set is a YAML
 * mapping in a list `sets`; those of the program are built into it, from eval/sets, and a user's
 * file reads the same. What the keys mean stands in eval/set_keys.txt, which `mora eval --help`
 * prints.
 *
 * Source: lm-evaluation-harness 0.4.13, open-instruct@9e6376d, MetaMath@fe667b1,
 * LMOps/adaptllm@4f2a9de. All functions are Local. */

#include "base/hash.h"
#include "data/template.h"
#include "eval/answer.h"
#include "eval/border.h"
#include "eval/metric.h"

enum { MR_SET_RULES = 4, MR_SET_BY = 4 };

/** Texts of the YAML. */
typedef struct mr_set_texts {
    const char **item; /**< [count], owned; texts borrowed */
    int count;
} mr_set_texts;

/** Files of which all are read. */
typedef struct mr_set_place {
    mr_set_texts *choice; /**< [choices] patterns of which the first that are there count; owned */
    int choices;
} mr_set_place;

/** How records are read. */
typedef enum mr_set_reading {
    MR_READ_JSON,          /**< an object a line, or an array of objects, or one object */
    MR_READ_KEYED,         /**< an object of objects */
    MR_READ_CSV,           /**< rows of cells, RFC 4180 */
    MR_READ_TSV,           /**< the same with tabs */
    MR_READ_LINES,         /**< a field "line" of each */
    MR_READ_ABSTRACTS,     /**< PubMed RCT: "###ID", lines of label, tab and "text" */
    MR_READ_CONLL,         /**< sentences of tokens: "text", "entities": Name (TYPE), ... */
    MR_READ_CONVERSATIONS, /**< ConvFinQA: a record a turn, "document", "earlier", "question",
                              "answer" */
} mr_set_reading;

typedef enum mr_set_take { MR_TAKE_FIRST, MR_TAKE_ROUND_ROBIN, MR_TAKE_DRAWN } mr_set_take;

/** A name for some texts. */
typedef struct mr_set_name {
    const char *name;
    mr_set_texts texts;
} mr_set_name;

/** A field made of another; one of the members behind `of` is set. */
typedef struct mr_set_field {
    const char *name, *of, *join;
    const char *pattern;
    struct mr_pattern *compiled; /**< that, owned */
    const mr_answer_rule *rule;
    mr_set_name *among; /**< [names], owned */
    int names;
    bool words;
} mr_set_field;

/** One of the records that a record becomes. */
typedef struct mr_set_variant {
    const char *class, *label;
} mr_set_variant;

/** Where shots come from. */
typedef struct mr_set_shots {
    mr_set_place from;
    int64_t count, seed;
    int take; /**< mr_set_take */
} mr_set_shots;

/** A record of a file. */
typedef struct mr_set_record {
    json_t *json;     /**< owned */
    const char *file; /**< borrowed from the set */
    int64_t line;     /**< of the file, from 1; 0: unknown */
    int32_t class;    /**< in classes; 0 where there are none */
    int32_t gold;     /**< the right option; -1 of sets without */
} mr_set_record;

/** A set. Texts are borrowed from mr_sets; arrays are owned. */
typedef struct mr_set {
    const char *name, *about, *source;
    int64_t version;
    mr_set_place items_from;
    int reading; /**< mr_set_reading */
    mr_set_texts columns, classes, by, options, option_fields, labels, stops, rule_names;
    bool latin1;
    mr_set_field *field; /**< [fields] */
    int fields;
    mr_set_variant *variant; /**< [variants] */
    int variants;
    const char *needs, *id, *class_field, *gold, *metric_name;
    mr_set_shots shots;
    mr_template *begin, *shot, *item; /**< begin, shot: NULL where there is none */
    int form, border;                 /**< mr_option_form, mr_border */
    const mr_metric *metric;          /**< of options; NULL: what is generated is scored */
    const mr_answer_rule *rule[MR_SET_RULES];
    int64_t most_tokens, new_tokens, prompt_tokens; /**< 0: no bound of the set's */
    /* What its files hold, after mr_set_read: */
    mr_set_record *record; /**< [records] */
    int64_t records, record_room;
    int64_t *at; /**< [items] record of each */
    int64_t items;
    int64_t *shot_at;  /**< [items, shots.count] records */
    char **class_name; /**< [class_count]; owned */
    int64_t class_room;
    int32_t class_count;
    mr_texts files; /**< paths */
} mr_set;

/** Sets that were asked for, with the YAML they are borrowed from. Start from {0}. */
typedef struct mr_sets {
    mr_set *set; /**< [count], owned */
    int count;
    int64_t room;
    struct mr_set_document *document; /**< [documents], owned */
    int documents;
    int64_t document_room;
} mr_sets;

/** Loads sets: those of a name or a file, or all of the program's.
 * @param names  separated by commas; what ends on .yaml or .yml, or holds a slash, is a file, of
 *               which all are taken; NULL: all of the program
 * @return MR_OK, MR_ERR_CONFIG (message "path:line:column: ..."), MR_ERR_USAGE (no such set; the
 * message lists the program's, or names the nearest), MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_sets_load(const char *names, mr_sets *out);

/** Frees everything and empties it. */
void mr_sets_free(mr_sets *sets);

/** Appends what may stand in a file of sets: its keys, metrics and rules of answers. */
void mr_sets_explain(mr_text *out);

/** Reads the files of a set and chooses its shots.
 * @param data  the folder they are in
 * @return MR_OK, MR_ERR_IO (no such files: the message lists what was looked for), MR_ERR_FORMAT (a
 * record that does not fit: "file:line: ..."), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_set_read(mr_set *set, const char *data);

/** Hashes what sets ask and by which rules, without asking: their names and versions, files of
 * sets, and what their data files hold, compressed or not.
 * @param sets  as loaded
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_sets_hash(const mr_sets *sets, const char *data, char out[MR_HASH_TEXT]);

/** Appends the name of an item: its field of `id`, or file and row; with its class where a record
 * became several. @return MR_OK, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_set_id(const mr_set *set, int64_t item, mr_text *out);

/** Appends the text that an item is asked by.
 * @param shots  at most shots.count: the last ones are left out
 * @return MR_OK, MR_ERR_FORMAT (a field that is missing), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_set_prompt(const mr_set *set, int64_t item, int64_t shots, mr_text *out);

/** Returns how many options an item has. */
int64_t mr_set_options(const mr_set *set, int64_t item);

/** Appends an option of an item, with the blank before it. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_set_option(const mr_set *set, int64_t item, int64_t option, mr_text *out);

/** Returns the right answer of an item as its record has it, of sets without options. Borrowed.
 * @param room  [32], for one that is a number */
const char *mr_set_answer(const mr_set *set, int64_t item, char room[32], size_t *bytes);

/** Returns the name of a group that an item is in, in the by-th way to group: 0 is its class, those
 * behind it are set->by. NULL: there is no such way. Borrowed. @param room  as of mr_set_answer */
const char *mr_set_group(const mr_set *set, int64_t item, int by, char room[32]);

/** An item as a model is given it. */
typedef struct mr_set_encoded {
    int64_t shots;         /**< that were not dropped */
    int64_t cut;           /**< tokens that a prompt to generate behind lost */
    mr_item_tokens tokens; /**< of a prompt to generate behind one option, without tokens */
} mr_set_encoded;

/** Encodes an item.
 * @param bos        what the tokenizer puts before a text stands before the prompt
 * @param window     tokens that a model takes; bounds prompts to generate behind
 * @param[out] out   its tokens are for mr_item_tokens_free
 * @return MR_OK, MR_ERR_FORMAT, MR_ERR_ARG (the tokenizer refuses the text, or there is no token
 * before an option; the message names file and item), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_set_encode(const mr_set *set, int64_t item, const mr_tokenizer *tokenizer,
                                     bool bos, int64_t window, mr_set_encoded *out);

#endif
