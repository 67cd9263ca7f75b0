#ifndef MR_DATA_PAIR_H
#define MR_DATA_PAIR_H

/** @file
 * What the tasks on key-value pairs share: random UUIDs, the prompt that asks for a key, and the
 * score of a value. */

#include "base/random.h"
#include "config/registry.h"
#include "data/tokenizer.h"

enum {
    MR_UUID_DIGITS = 32,                             /**< hex digits of a UUID */
    MR_UUID_TEXT = MR_UUID_DIGITS + 4,               /**< most bytes of its text: with hyphens */
    MR_PROMPT_MAX = MR_CONFIG_STRING + MR_UUID_TEXT, /**< bytes of a prompt */
};

/** A version-4 UUID in the order of its digits: the high half of byte 0 is the first one. */
typedef struct mr_uuid {
    uint8_t bytes[MR_UUID_DIGITS / 2];
} mr_uuid;

/** What UUIDs are drawn for; two kinds of a seed never share numbers. Values are part of the data's
 * identity. */
typedef enum mr_uuid_kind {
    MR_UUID_KEY = 0,        /**< number: 0; index: of the pair */
    MR_UUID_VALUE = 1,      /**< as MR_UUID_KEY */
    MR_UUID_COPY_KEY = 2,   /**< number: of the item; index: of the pair in it */
    MR_UUID_COPY_VALUE = 3, /**< as MR_UUID_COPY_KEY */
    MR_UUID_COPY_ORDER = 4, /**< no UUIDs: the order of an item's repetitions */
} mr_uuid_kind;

/** Returns the stream of synthetic data of a kind; number below 2^48. Local. */
mr_random mr_uuid_stream(uint64_t seed, mr_uuid_kind kind, int64_t number);

/** Draws the UUID at an index of a stream: 122 random bits, version 4 and variant set. Local. */
mr_uuid mr_uuid_draw(const mr_random *stream, int64_t index);

/** Returns the bytes of a UUID's text. Local. */
size_t mr_uuid_bytes(bool hyphens);

/** Writes 32 lower-case hex digits, in groups of 8, 4, 4, 4 and 12 where they are to have hyphens;
 * no terminating zero. Local. */
void mr_uuid_print(mr_uuid uuid, bool hyphens, char out[MR_UUID_TEXT]);

/** What a configuration tells a task of pairs; its own keys follow in a struct of its own. */
typedef struct mr_pair_config {
    int64_t pairs, data_seed;
    char prompt[MR_CONFIG_STRING];
} mr_pair_config;

/** Rows of such a task's table of keys. */
#define MR_PAIR_KEYS                                                                               \
    {MR_KEY_FIELD(mr_pair_config, "task.pairs", pairs),                                            \
     .type = MR_KEY_INT,                                                                           \
     .fallback = "256",                                                                            \
     .min = 1,                                                                                     \
     .max = MR_KEY_BILLION,                                                                        \
     .unit = "pairs",                                                                              \
     .help = "Key-value pairs to memorise; for the copy task, samples."},                          \
        {MR_KEY_FIELD(mr_pair_config, "task.data_seed", data_seed), .type = MR_KEY_INT,            \
         .fallback = "0", .max = INT64_MAX,                                                        \
         .help = "Seed of synthetic data; apart from run.seed, so that runs share their data."},   \
    {                                                                                              \
        MR_KEY_FIELD(mr_pair_config, "task.prompt", prompt),                                       \
            .type = MR_KEY_STRING, .fallback = "{key}:",                                           \
            .help = "Text before the answer; {key} stands for the key of the pair."                \
    }

/** A prompt with one place for a key. Plain data. */
typedef struct mr_prompt {
    char text[MR_CONFIG_STRING]; /**< the template */
    size_t key_at;               /**< bytes before {key} */
    size_t bytes;                /**< of the prompt with its key */
    bool hyphens;                /**< of the key */
} mr_prompt;

/** Reads task.prompt, for keys with hyphens or without. Local. @return MR_OK, MR_ERR_CONFIG (not
 * exactly one {key}) */
MR_NODISCARD mr_status mr_prompt_parse(const char *text, bool hyphens, mr_prompt *out);

/** Writes the prompt for a key, prompt->bytes bytes; no terminating zero. Local. */
void mr_prompt_print(const mr_prompt *prompt, mr_uuid key, char out[MR_PROMPT_MAX]);

/** Appends a value's text; tokens gets the most that a text of that length has. Local.
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_uuid_answer(mr_uuid value, bool hyphens, const mr_tokenizer *tokenizer,
                                      mr_text *text, int64_t *tokens);

/** Returns the share of a value's 32 digits that text has at the same place; what is missing is
 * wrong, what follows is not looked at, nor, where values have them, are hyphens. Local.
 * Source: MoRA (arXiv 2405.12130), "character-level accuracy" of table 2. Deviation: the paper does
 * not say how characters are counted; its floor of 10 % fits digits without hyphens. */
double mr_uuid_score(mr_uuid value, bool hyphens, const char *text, size_t bytes);

#endif
