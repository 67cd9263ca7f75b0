#ifndef MR_STORE_PEFT_H
#define MR_STORE_PEFT_H

/** @file
 * Adapter folders as PEFT lays them out, adapter_config.json beside adapter_model.safetensors: LoRA
 * and DoRA; and those of the published MoRA fork, whose square matrix is kept as lora_A, and once
 * more as lora_B.
 *
 * Source: peft/tuners/lora (names of tensors, keys of the configuration, patterns that match the
 * end of a module's name); kongds/MoRA (use_mora, mora_type). */

#include "store/names.h"
#include "store/safetensors.h"

#include <jansson.h>

enum { MR_PEFT_NAME = 256 }; /**< bytes of a tensor's name with its terminating zero */

#define MR_PEFT_EMBEDDING "model.embed_tokens" /**< module whose weight a model may tie to */
#define MR_PEFT_HEAD "lm_head"                 /**< this one's */

#define MR_PEFT_CONFIG "adapter_config.json"
#define MR_PEFT_WEIGHTS "adapter_model.safetensors"

/** What a folder holds. */
typedef enum mr_peft_kind { MR_PEFT_LORA, MR_PEFT_DORA, MR_PEFT_MORA } mr_peft_kind;

/** What a tensor is of its module. */
typedef enum mr_peft_part {
    MR_PEFT_A,
    MR_PEFT_B,
    MR_PEFT_LENGTHS, /**< DoRA's magnitudes, a vector */
    MR_PEFT_WEIGHT   /**< the module's own weight, of modules_to_save */
} mr_peft_part;

/** An open adapter folder. Owns what it points to. */
typedef struct mr_peft {
    mr_peft_kind kind;
    int64_t r;           /**< of the configuration; patterns may give a module another */
    int64_t mora_type;   /**< of the fork: 1, 2, 3, 4 or 6; 0 where it is not MoRA */
    const char *base;    /**< name or path of the model it was made for; "" where none is told */
    const char *changed; /**< init_lora_weights, where that may have changed the base; else NULL */
    bool rslora;
    char *path; /**< of the configuration */
    json_t *config;
    mr_safetensors *file;
} mr_peft;

/** Tells whether a folder holds an adapter of PEFT, or of a fork of it. Local. */
bool mr_peft_is(const char *folder);

/** Opens a folder. What its configuration asks for and is not supported here is refused by name;
 * weights that were cut are opened for what they have (mr_safetensors_open_partly). Local.
 * @param[out] out  set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_peft_open(const char *folder, mr_peft **out);

/** Closes *peft, frees it and sets it to NULL; NULL is allowed. Local. */
void mr_peft_close(mr_peft **peft);

/** Returns "lora", "dora" or "mora". */
const char *mr_peft_kind_name(mr_peft_kind kind);

/** Takes the name of a tensor apart. Local.
 * @param[out] module  "model.layers.0.self_attn.q_proj"
 * @return false where it is no part of a module's adapter, nor a weight of a module */
bool mr_peft_part_of(const char *tensor, char module[MR_PEFT_NAME], mr_peft_part *part);

/** Returns a tensor of a module, NULL where there is none. Borrowed until close. Local. */
const mr_safetensors_entry *mr_peft_find(const mr_peft *peft, const char *module,
                                         mr_peft_part part);

/** As mr_peft_find, where it must be there. Local. @return MR_OK, MR_ERR_FORMAT */
MR_NODISCARD mr_status mr_peft_need(const mr_peft *peft, const char *module, mr_peft_part part,
                                    const mr_safetensors_entry **out);

/** Reads r of a module, by rank_pattern or r. Local.
 * @return MR_OK, MR_ERR_FORMAT (no whole number in 1..65536), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_peft_r(const mr_peft *peft, const char *module, int64_t *out);

/** Reads what the product of a module's factors of `r` rows is scaled by, lora_alpha / r, with
 * use_rslora / sqrt(r). Local. @return MR_OK, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_peft_scale(const mr_peft *peft, const char *module, int64_t r,
                                     double *out);

/** Tells whether a model is, by the last step of its path, the one that an adapter names as its
 * base; an adapter that names none is of any. Local. */
bool mr_peft_is_of(const mr_peft *peft, const char *model);

/** Writes the name of a tensor of a module as PEFT 0.21 has it. Local. */
void mr_peft_name(char out[MR_PEFT_NAME], const char *module, mr_peft_part part);

/** What a configuration that is written says. Borrows. */
typedef struct mr_peft_about {
    mr_peft_kind kind;
    int64_t r, mora_type;
    double lora_alpha, lora_dropout;
    bool rslora;
    const char *base;        /**< "" where there is none to tell */
    const mr_names *targets; /**< modules with an adapter */
    const mr_names *saved;   /**< modules of which the whole weight is there */
} mr_peft_about;

/** Writes the configuration of a folder, with keys that PEFT 0.9, of which the fork is one, and
 * later versions know. Local. @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_peft_write_config(const char *folder, const mr_peft_about *about);

#endif
