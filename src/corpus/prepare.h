#ifndef MR_CORPUS_PREPARE_H
#define MR_CORPUS_PREPARE_H

/** @file
 * From text and records to a folder of token shards, over ranks, streaming.
 *
 * A unit of work is the documents that start in one range of recipe.unit_bytes of an input's
 * text, the ranges counted from its start. Each unit becomes one shard a split: its documents in
 * order, every one followed by the tokenizer's EOS, or, of records, what the template makes of
 * each, with marks of what is learned. So the folder is the same byte for byte on any number of
 * ranks, and, but for what the manifest says of the inputs, however they are compressed. A plain
 * file is shared out by units; one that is compressed or a JSON array is read by one rank from its
 * start.
 *
 * Memory: a few MiB and what the tokenizer takes, whatever the size of the inputs. A document
 * stands in memory as a whole, as text and as tokens, in about ten times its bytes, a record as
 * JSON beside that; the SentencePiece library takes up to a hundred times
 * (MR_TOKENIZER_MOST_PIECES).
 */

#include "corpus/survey.h"
#include "data/token_manifest.h"

enum {
    MR_PREPARE_UNIT = 16 << 20,   /**< bytes of text, at most, that become a shard */
    MR_PREPARE_LONGEST = 1 << 30, /**< bytes that a document, or a JSON line, may have */
    MR_PREPARE_REPORTS = 10,      /**< faulty documents of a kind that are told one by one */
};

/** What is to be prepared. */
typedef struct mr_prepare_options {
    const char *const *inputs; /**< [count] paths */
    int count;
    const char *folder;        /**< to be made */
    const char *tokenizer;     /**< as mr_tokenizer_create */
    const char *template;      /**< as mr_template_load; NULL or "plain": text with EOS behind */
    const char *const *fields; /**< [field_count] as mr_template_rename; of plain text at most one,
                                    recipe.field itself */
    int field_count;
    size_t longest; /**< bytes that a document may have, unless the tokenizer takes fewer */
    mr_input_format format;
    mr_recipe recipe; /**< field follows from fields, where there are some */
} mr_prepare_options;

/** What came of it; equal on all ranks but for the manifest. */
typedef struct mr_prepare_outcome {
    bool already;   /**< the folder was there, made of the same inputs in the same way */
    double seconds; /**< of the whole call */
    mr_token_manifest manifest; /**< on rank 0; freed by the caller, also on failure */
} mr_prepare_outcome;

/** Returns the defaults: lines, field text, one in a hundred documents held out, errors stop, the
 * constants above. Local. */
mr_recipe mr_prepare_defaults(void);

/** Prepares a folder that all ranks see. Documents with faults end it or are left out and told of
 * as warnings (the first MR_PREPARE_REPORTS of each kind, in the order of the text, and the
 * totals), as are, of records, those of which nothing or all is learned. Shows progress. A failed
 * call leaves nothing, and nothing that existed is changed. Collective.
 * @return MR_OK, MR_ERR_USAGE (recipe), MR_ERR_IO (also: the folder exists and holds something
 * else), MR_ERR_FORMAT (a faulty document: "file:line: ..."; no document at all), MR_ERR_CONFIG (a
 * tokenizer without EOS or without a token that the template names; a template that does not read),
 * MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_prepare(const mr_comm *comm, const mr_prepare_options *options,
                                  mr_prepare_outcome *out);

#endif
