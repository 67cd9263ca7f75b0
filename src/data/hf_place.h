#ifndef MR_DATA_HF_PLACE_H
#define MR_DATA_HF_PLACE_H

/** @file
 * Values of a tokenizer.json, read strictly: a message names the file, the place in it
 * ("pre_tokenizer.pretokenizers[1].pattern"), what was expected and what was found. All functions
 * are Local; those that return a status give MR_OK or MR_ERR_FORMAT with such a message.
 *
 * The parser takes no key with U+0000, which a vocabulary may have: another character, which the
 * file does not have, stands for it in keys. */

#include "base/status.h"

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MR_HF_PLACE = 192 }; /**< bytes of a place with its terminating zero */

/** A place in a file. */
typedef struct mr_hf_place {
    const char *file; /**< borrowed */
    const char
        *zero; /**< what stands for U+0000 in keys, of three bytes; NULL: nothing; borrowed */
    char at[MR_HF_PLACE];
} mr_hf_place;

/** Some bytes, which may hold zeros; borrowed. */
typedef struct mr_hf_string {
    const char *text;
    size_t bytes;
} mr_hf_string;

/** Reads the whole of a file's text. Local.
 * @param[in,out] at   of the file; zero is set
 * @param[out]    out  a reference that the caller gives back; NULL on failure
 * @return MR_OK, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_parse(mr_hf_place *at, const char *text, size_t bytes, json_t **out);

/** Returns the value of a key that may hold zeros, or NULL; borrowed. */
const json_t *mr_hf_look_up(const mr_hf_place *at, const json_t *object, mr_hf_string key);

/** Writes the text of a key and returns its bytes. @param[out] to  [strlen(key)] */
size_t mr_hf_key_text(const mr_hf_place *at, const char *key, char *to);

/** Returns the place of a key of an object, and of an item of a list. */
mr_hf_place mr_hf_key(const mr_hf_place *of, const char *key);
mr_hf_place mr_hf_item(const mr_hf_place *of, size_t index);

/** Returns MR_ERR_FORMAT: "<place>: expected ..., found ...". */
mr_status mr_hf_expected(const mr_hf_place *at, const json_t *found, const char *fmt, ...)
    MR_PRINTF(3, 4);

/** Checks that a value is an object that has no key but those of a list, which ends with NULL: what
 * a file says by another is not known here. */
MR_NODISCARD mr_status mr_hf_check_keys(const mr_hf_place *at, const json_t *object,
                                        const char *const *known);

/** Reads which of some names, which end with NULL, a key has. */
MR_NODISCARD mr_status mr_hf_read_choice(const mr_hf_place *at, const json_t *object,
                                         const char *key, const char *const *names, int *which);

/** Reads a string. */
MR_NODISCARD mr_status mr_hf_read_string(const mr_hf_place *at, const json_t *object,
                                         const char *key, mr_hf_string *out);

/** Reads one character of a string. */
MR_NODISCARD mr_status mr_hf_read_character(const mr_hf_place *at, const json_t *object,
                                            const char *key, mr_hf_string *out);

/** Reads true or false; fallback (0 or 1) where the key is missing, -1: it must be there. */
MR_NODISCARD mr_status mr_hf_read_bool(const mr_hf_place *at, const json_t *object, const char *key,
                                       int fallback, bool *out);

/** Reads a whole number of least..most. */
MR_NODISCARD mr_status mr_hf_read_number(const mr_hf_place *at, const json_t *object,
                                         const char *key, int64_t least, int64_t most,
                                         int64_t *out);

/** Reads a list. */
MR_NODISCARD mr_status mr_hf_read_list(const mr_hf_place *at, const json_t *object, const char *key,
                                       const json_t **out);

/** Tells whether a key is missing or null. */
bool mr_hf_is_null(const json_t *object, const char *key);

#endif
