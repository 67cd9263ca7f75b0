#ifndef MR_TRAIN_ADAPTER_START_H
#define MR_TRAIN_ADAPTER_START_H

/** @file
 * Starting from an adapter that was trained before (method.adapter): a folder of PEFT, or for
 * MoRA's square matrices one of the published fork. The update is what it was there; what a run
 * learns is told, here as ever, against the base without it. */

#include "model/linears.h"
#include "store/peft.h"
#include "train/inputs.h"

/** Sets the adapter of a model, and modules that are trained themselves, to what the folder of
 * method.adapter holds; nothing where none is named. The folder must be of this method, r, scale
 * and these modules, all of them; one that was made for a base of another name is warned of.
 * Collective, after the base is there and mr_model_prepare_adapters.
 * @return MR_OK, MR_ERR_CONFIG (it does not fit: names the key), MR_ERR_IO, MR_ERR_FORMAT,
 *         MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_adapter_start_read(const mr_comm *comm, const mr_config *config,
                                             mr_model *model);

/** Sets method.* to what a folder holds, to be run and not trained: method.name, r, scale, modules,
 * and the folder as method.adapter. Local.
 * @return MR_OK, errors of mr_peft_open and of keys, MR_ERR_CONFIG (its mora_type is none of ours)
 */
MR_NODISCARD mr_status mr_adapter_start_configure(mr_config *config, const char *folder);

/** Opens the folder of method.adapter. Local.
 * @param[out] out  for mr_peft_close; NULL where none is named
 * @return as mr_peft_open */
MR_NODISCARD mr_status mr_adapter_start_open(const mr_config *config, mr_peft **out);

/** Hashes the tensors of the folder of method.adapter and what its configuration makes of them; ""
 * where none is named. Local.
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_adapter_start_hash(const mr_config *config, char out[MR_HASH_TEXT]);

#endif
