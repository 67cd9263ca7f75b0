#ifndef MR_CONFIG_VALUE_H
#define MR_CONFIG_VALUE_H

/** @file
 * One value of a key: read from YAML into its field, and written back as text. */

#include "config/schema.h"
#include "config/yaml.h"

/** Where a value is wrong: at a node, the value or something in it, or at the key of that node. */
typedef struct mr_value_fault {
    int node;
    bool at_key;
} mr_value_fault;

/** Reads node of yaml into the field of key in base (the struct of its schema). Bytes of the field
 * behind the value become zero, so that equal values have equal bytes. Local.
 * @param[out] fault  on failure what the message is about
 * @return MR_OK, MR_ERR_CONFIG ("method.r: expected an integer in 1..65536, found \"eight\"") */
MR_NODISCARD mr_status mr_value_set(const mr_key *key, const mr_yaml *yaml, int node, void *base,
                                    mr_value_fault *fault);

/** Reads a value as it would be given to --set; name stands before every message. Local.
 * @return as mr_value_set, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_value_set_text(const mr_key *key, const char *name, const char *text,
                                         void *base);

/** Checks that a name is one of a table's. Local.
 * @return MR_OK, MR_ERR_CONFIG (with the nearest name) */
MR_NODISCARD mr_status mr_value_check_name(const mr_key *key, const mr_choice *rows,
                                           const char *name);

/** Appends "one of a, b, c" of a table. Local. */
void mr_value_one_of_choices(const mr_choice *rows, mr_text *out);

/** How a value is written. */
typedef enum mr_value_form {
    MR_VALUE_PLAIN, /**< for people: text as it stands, items joined by commas */
    MR_VALUE_YAML,  /**< text in double quotes, lists in brackets */
    MR_VALUE_NAME,  /**< for names: as PLAIN, but of a mapping its first text, or its kind, alone */
} mr_value_form;

/** Appends the value of key in base. Local. */
void mr_value_text(const mr_key *key, const void *base, mr_value_form form, mr_text *out);

/** Appends what a value of key must be: "an integer in 1..65536", "one of f32, bf16". Local. */
void mr_value_expected(const mr_key *key, mr_text *out);

#endif
