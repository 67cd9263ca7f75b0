#ifndef MR_CONFIG_CONFIG_H
#define MR_CONFIG_CONFIG_H

/** @file
 * What one run is told to do. The keys that every run has are fields of mr_config and rows of the
 * table in config/schema.c; a method's and a task's own keys are a block each, which their schema
 * describes (config/registry.h). Plain data, so that it travels by one broadcast.
 */

#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MR_CONFIG_STRING = 512, /**< bytes of a string value with its terminating zero */
    MR_CONFIG_NAME = 64,    /**< bytes of a list item */
    MR_CONFIG_LIST = 64,    /**< most items of a list */
    MR_CONFIG_BLOCK = 9216, /**< most bytes of the keys of a method or task */
    MR_CONFIG_ITEMS = 16,   /**< most items of a list of mappings */
    MR_CONFIG_ITEM = 1536,  /**< most bytes of the keys of such an item */
};

typedef struct mr_string_list {
    int32_t count;
    char item[MR_CONFIG_LIST][MR_CONFIG_NAME];
} mr_string_list;

typedef struct mr_int_list {
    int32_t count;
    int64_t item[MR_CONFIG_LIST];
} mr_int_list;

typedef enum mr_model_init { MR_INIT_PRETRAINED, MR_INIT_RANDOM } mr_model_init;
typedef enum mr_matmul { MR_MATMUL_DTYPE, MR_MATMUL_FP8 } mr_matmul;
typedef enum mr_schedule_kind {
    MR_SCHEDULE_LINEAR,
    MR_SCHEDULE_COSINE,
    MR_SCHEDULE_CONSTANT,
    MR_SCHEDULE_JAGGED_COSINE, /**< cosine with a floor and a warm-up after every merge */
    MR_SCHEDULE_REBASED_COSINE /**< a cosine of what is left of the run after every merge */
} mr_schedule_kind;
typedef enum mr_pack { MR_PACK_NONE, MR_PACK_SAMPLES } mr_pack;

/** What the backward pass computes again instead of keeping it. */
typedef enum mr_recompute {
    MR_RECOMPUTE_NONE,
    MR_RECOMPUTE_ATTENTION, /**< what norms and the gate of the MLP give */
    MR_RECOMPUTE_LAYER      /**< all of a layer but its input */
} mr_recompute;
typedef enum mr_shard { MR_SHARD_FULL, MR_SHARD_OPTIMIZER, MR_SHARD_NONE } mr_shard;

typedef enum mr_shared_memory { MR_SHARED_MEMORY_AUTO, MR_SHARED_MEMORY_OFF } mr_shared_memory;

/** What is done about a step whose loss or gradient is out of order. */
typedef enum mr_guard {
    MR_GUARD_STOP, /**< the run ends */
    MR_GUARD_SKIP, /**< its update is left out */
    MR_GUARD_LOG   /**< it is recorded only */
} mr_guard;

/** Signals that may ask a run to stop, besides SIGTERM. */
typedef enum mr_signal { MR_SIGNAL_USR2, MR_SIGNAL_USR1, MR_SIGNAL_INT } mr_signal;

/** A list of mappings: each of a kind, with the keys of that kind in a struct of its own. */
typedef struct mr_item_list {
    int32_t count;
    struct mr_item {
        char kind[MR_CONFIG_NAME];
        union {
            max_align_t align;
            unsigned char bytes[MR_CONFIG_ITEM]; /**< zero behind the struct */
        } keys;
    } item[MR_CONFIG_ITEMS];
} mr_item_list;

/** A choice and the keys that it alone has: a struct of the choice's own, zero behind it. */
typedef struct mr_block {
    char name[MR_CONFIG_NAME];
    union {
        max_align_t align;
        unsigned char bytes[MR_CONFIG_BLOCK];
    } keys;
} mr_block;

/** What of the model a finished run keeps beside its log. */
typedef enum mr_keep { MR_KEEP_TRAINED, MR_KEEP_ALL, MR_KEEP_NONE } mr_keep;

typedef struct mr_config {
    struct {
        char name[MR_CONFIG_STRING];
        int64_t seed;
        char output[MR_CONFIG_STRING];
        char save_model[MR_CONFIG_STRING];
        int32_t keep; /**< mr_keep */
    } run;
    struct {
        char path[MR_CONFIG_STRING];
        char config[MR_CONFIG_STRING];
        int32_t init;   /**< mr_model_init */
        int32_t dtype;  /**< 0 f32, 1 bf16 */
        int32_t matmul; /**< mr_matmul */
        char tokenizer[MR_CONFIG_STRING];
    } model;
    mr_block task;   /**< a struct of its file in data/ */
    mr_block method; /**< starts with mr_adapter_config */
    struct {
        int64_t steps;
        double epochs;
        int64_t stop_after;
        int64_t global_batch;
        int64_t micro_batch;
        int64_t seq_len;
        int32_t packing; /**< mr_pack */
        double lr;
        mr_string_list lr_scale;
        int32_t schedule; /**< mr_schedule_kind */
        int64_t warmup_steps;
        int64_t restart_warmup_steps;
        double min_lr_ratio;
        double weight_decay;
        double beta1, beta2, eps;
        double clip_norm;
        int32_t optimizer_dtype; /**< 0 f32, 1 bf16 */
        int32_t recompute;       /**< mr_recompute */
        int32_t on_nonfinite;    /**< MR_GUARD_STOP or MR_GUARD_SKIP */
        double spike_zscore;
        int32_t on_spike; /**< mr_guard */
        int64_t check_every;
    } train;
    struct {
        bool at_start;
        mr_int_list at_steps;
        int64_t every;
        int64_t batch;
        int64_t items;
        mr_item_list sets; /**< keys of an item start with mr_eval_keys */
    } eval;
    struct {
        int32_t shard; /**< mr_shard */
        int64_t threads;
        char backend[MR_CONFIG_NAME];
        double memory_gib;
        int64_t same_bits_up_to;
        int32_t shared_memory; /**< mr_shared_memory */
    } parallel;
    struct {
        int64_t every;
        int64_t spectrum_every;
        mr_string_list spectrum_modules;
        int64_t spectrum_top;
        double spectrum_threshold;
        int64_t spectrum_cosines;
        bool spectrum_base;
    } log;
    struct {
        int64_t every_steps;
        double every_minutes;
        int64_t keep;
        int32_t signal; /**< mr_signal */
    } checkpoint;
    const struct mr_registry *registry; /**< what keys there are, each process its own; borrowed */
} mr_config;

/** Fills out with the defaults of every key.
 * @param registry  borrowed by out; NULL: no method and no task is known
 * Local. */
void mr_config_defaults(const struct mr_registry *registry, mr_config *out);

/** Takes one "key=value" of a command line into a configuration, checked as in a file. Another
 * method or task starts from the defaults of its keys. Local.
 * @return MR_OK, MR_ERR_CONFIG (also: the method or task has no such key), MR_ERR_USAGE (no '=') */
MR_NODISCARD mr_status mr_config_set(mr_config *config, const char *assignment);

/** Tells whether a key exists in a configuration; a method's key does where that is chosen. */
bool mr_config_has(const mr_config *config, const char *key);

/** Returns the field of a key, NULL where the configuration does not have it. Borrowed. Local. */
const void *mr_config_field(const mr_config *config, const char *key);

/** Takes an item of train.lr_scale apart: "name=factor", a factor on train.lr, or "name@rate", a
 * rate in its place; each number in (0, 1e9]. Local.
 * @return MR_OK, MR_ERR_CONFIG (without the key) */
MR_NODISCARD mr_status mr_config_lr_scale(const char *item, char name[MR_CONFIG_NAME],
                                          double *number, bool *is_rate);

/** Cuts the slashes off the ends of the paths of a configuration: with and without they are one.
 * Local. */
void mr_config_trim_paths(mr_config *config);

/** Trims the paths of a configuration, and expands those that start with "~" (base/file.h). Local.
 * @param[out] key  as of mr_config_check
 * @return MR_OK, MR_ERR_CONFIG (the message starts with the key) */
MR_NODISCARD mr_status mr_config_expand_paths(mr_config *config, const char **key);

/** Checks what several keys say together: batches that divide, one length of the run, a model to
 * start from, ... Local.
 * @param[out] key  NULL, or gets the key at fault on failure, as text of the program
 * @return MR_OK, MR_ERR_CONFIG (the message starts with the key) */
MR_NODISCARD mr_status mr_config_check(const mr_config *config, const char **key);

/** Appends the value of one key as text: numbers in the shortest form that reads back as the same
 * value, items of lists joined by commas, text as it stands; nothing for a key of another choice.
 * Local.
 * @return MR_OK, MR_ERR_ARG (no such key), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_config_value_text(const mr_config *config, const char *key, mr_text *out);

enum { MR_CONFIG_VERSION = 2 }; /**< of resolved texts */

/** Appends the whole configuration as YAML: its version and every key it has, in the order of the
 * registry. mr_config_parse_resolved makes the identical struct of it, byte for byte. Local.
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_config_resolved(const mr_config *config, mr_text *out);

/** Reads a text of mr_config_resolved, of this version or of an older one: a text without a version
 * is of the first, which had every key for every method and task; those that do not apply are left
 * out. Keys it lacks have their defaults; values are checked one by one, not together
 * (mr_config_check). Local.
 * @param registry  borrowed by out
 * @return MR_OK, MR_ERR_CONFIG, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_config_parse_resolved(const struct mr_registry *registry,
                                                const char *text, mr_config *out);

/** Appends the help of keys: type, range, default, unit, by sections, and which choices have them.
 * @param topic  NULL: of all; "train", "method": of a section; "method.mora": of one choice;
 *               "train.lr": of one key
 * @return MR_OK, MR_ERR_USAGE (no such topic), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_config_help(const struct mr_registry *registry, const char *topic,
                                      mr_text *out);

#endif
