#ifndef MR_STORE_HF_BESIDE_H
#define MR_STORE_HF_BESIDE_H

/** @file
 * What stands beside the weights of a model folder and travels with them: config.json, the
 * configuration of generation, and the files of the tokenizer. Local. */

#include "store/hf.h"

typedef struct mr_hf_beside mr_hf_beside; /**< files as they were read */

/** Reads what there is into memory: it may have changed by the time it is written.
 * @param config     the config.json the model was made from
 * @param folder     the model folder it came from, or ""
 * @param tokenizer  a tokenizer's file that takes the place of the folder's, `bytes` for one that
 *                   has none, or "" for the folder's
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_beside_read(const char *config, const char *folder,
                                         const char *tokenizer, mr_hf_beside **out);

/** Writes it to a folder, in place of all that was of the kind there. config.json says of the
 * computation what `arch` says, and of the rest what it said.
 * @param dtype  of the weights, as config.json has it ("float32"); NULL: what it said
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_beside_write(const mr_hf_beside *beside, const char *folder,
                                          const mr_hf_config *arch, const char *dtype);

/** Tells whether a file of a name may be one of a model or an adapter folder, whole or being
 * written. Local. */
bool mr_hf_beside_is_file(const char *name);

/** Frees *beside and sets it to NULL; NULL is allowed. */
void mr_hf_beside_free(mr_hf_beside **beside);

/** Returns a file of a model that stands in a folder, text of the program, or NULL. */
const char *mr_hf_beside_found(const char *folder);

#endif
