#ifndef MR_TRAIN_INPUTS_H
#define MR_TRAIN_INPUTS_H

/** @file
 * What a run starts from besides its configuration, as its log, its checkpoints and what it leaves
 * behind record it: other inputs make another run. */

#include "base/text.h"
#include "data/task.h"
#include "store/hf.h"

enum { MR_INPUTS_ENDS = MR_TOKENIZER_ENDS * 21 + 1 }; /**< bytes of their text */

/** Texts; "" is what was not recorded, as by older programs, and differs from nothing. Plain data.
 */
typedef struct mr_inputs {
    char data_hash[MR_DATASET_HASH];
    char tokenizer_hash[MR_HASH_TEXT]; /**< SHA-256 of its file; "" of bytes */
    char weights_hash[MR_HF_HASH];     /**< of the base weights, where they are read */
    char adapter_hash[MR_HASH_TEXT];   /**< of method.adapter and its scales; "" of none */
    char model[MR_HF_CONFIG_TEXT];     /**< mr_hf_config_text */
    char ends[MR_INPUTS_ENDS];         /**< ids that end a text: "2 7", or "none" */
} mr_inputs;

/** A field under the name it is recorded by. */
typedef struct mr_inputs_field {
    const char *name;
    char *text; /**< of the inputs, with room bytes */
    size_t room;
} mr_inputs_field;

enum { MR_INPUTS_FIELDS = 6 };

/** Writes the ids that end a text. Local. */
void mr_inputs_take_ends(mr_inputs *inputs, const mr_tokenizer *tokenizer);

/** Lists the fields of inputs, for what writes and reads records. Local. */
void mr_inputs_fields(mr_inputs *inputs, mr_inputs_field out[MR_INPUTS_FIELDS]);

/** Appends what differs, "data 0123 instead of 4567, ...": the later inputs first. Hashes of
 * weights that older programs made of a sample cannot be compared and are passed over. Local.
 * @param drawn  base weights are drawn: the range they are drawn from counts
 * @return whether anything does */
bool mr_inputs_differ(const mr_inputs *then, const mr_inputs *now, bool drawn, mr_text *out);

#endif
