#ifndef MR_DATA_TEMPLATE_H
#define MR_DATA_TEMPLATE_H

/** @file
 * Templates: how a record of a JSON file becomes a sample, its tokens and which of them are
 * learned. A template is data, a YAML file; those of the program are built into it, from
 * data/templates, and a user's reads the same:
 *
 *     about: one line for a reader
 *     reads: fields | messages     # the record itself, or each item of a list in it
 *     begin: [SPAN, ...]           # before all else
 *     forms: [FORM, ...]           # of the record, or of a message, the first that applies
 *     optional: [NAME, ...]        # fields that may be missing or null: empty texts then
 *     strip_end: true              # no white space at the end of the sample
 *     zeros: true                  # texts may hold \u0000, which is a fault otherwise
 *
 *     FORM: spans: [SPAN, ...]
 *           when: {field: NAME, lines: ..., strip: ...}   # applies where this is not empty
 *           role: NAME             # of messages: needed
 *           after: [start, NAME, ...]   # roles of the message before it, start where it is the
 *                                       # first; without it any
 *     SPAN: one of
 *           text: TEXT
 *           field: NAME, of the record or message; "a.0.b" where it has no such field goes down
 *               through objects and lists. With lines: first|rest, its first line or what is
 *               behind that (all), and strip: start|end|both (none)
 *           token: eos, bos, the text of a token that the tokenizer has, or before, the ids that
 *               the tokenizer puts before a text, which may be none
 *           and learned: true where the loss counts it
 *
 * White space is what Python's strip() takes off. Names of fields and roles, and of the list and
 * what is in its items (messages, role, content), are those of the template: mr_template_rename
 * tells what a file calls them.
 *
 * The text between two tokens is encoded by one call, behind the text of the token before it where
 * the tokenizer reads that as the token: so whether a blank is put there is the tokenizer's to say.
 * Where learned text begins or ends within it, the number of tokens of the text up to there,
 * encoded alone, tells the place, as published code has it. */

#include "config/yaml_fields.h"
#include "data/recipe.h"
#include "data/tokenizer.h"

#include <jansson.h>

/** A template. */
typedef struct mr_template mr_template;

/** A sample. Start from {0}; free with mr_rendered_free. Its arrays grow with the longest. */
typedef struct mr_rendered {
    int32_t *ids;     /**< [count], owned */
    uint8_t *learned; /**< [count], 1 where a token is a target of the loss, else 0; owned */
    int64_t count, room, learned_room;
    mr_text text; /**< of the sample, with that of its tokens where the tokenizer reads it so */
    struct mr_rendered_piece *piece; /**< [pieces] of the text, in its order; owned */
    int64_t pieces, piece_room;
} mr_rendered;

/** Loads a template. Local.
 * @param[in]  source  name of one of the program's, or the path of a file
 * @param[out] out     set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_CONFIG (message "path:line:column: ..."), MR_ERR_IO (neither a template nor
 * a file: the message lists the program's), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_template_load(const char *source, mr_template **out);

/** Makes a template of the spans of a list that stands in data of another kind: text of a record
 * alone, so without tokens and without what is learned. Local.
 * @param[in]  taker  of that data; its YAML is borrowed until destroy
 * @param[out] out    set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_CONFIG (message "name:line:column: ..."), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_template_of_spans(const mr_yaml_taker *taker, int list,
                                            mr_template **out);

/** Frees *t and sets it to NULL; NULL is allowed. Local. */
void mr_template_destroy(mr_template **t);

/** Returns the name of the program's template of a number from 0; NULL: there are no more. Local.
 */
const char *mr_template_own(int number);

/** Takes what a file calls a field or a role: "content=value". Local.
 * @return MR_OK, MR_ERR_USAGE (not of that form, told before, or the template has no such name: the
 * message lists those it has), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_template_rename(mr_template *t, const char *name_is);

/** Finds the tokens that a template names in a tokenizer; needed before samples are made, and once
 * is enough. Local.
 * @param tokenizer  borrowed until destroy
 * @return MR_OK, MR_ERR_CONFIG (it has no such token), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_template_bind(mr_template *t, const mr_tokenizer *tokenizer);

/** Returns its name: as given, of a file without folder and ending. Local. */
const char *mr_template_name(const mr_template *t);

/** Appends the names of its fields and roles, joined by commas. Local. */
void mr_template_add_names(const mr_template *t, mr_text *out);

/** Returns its line about itself, "" without one. Local. */
const char *mr_template_about(const mr_template *t);

/** Returns what samples depend on: the SHA-256 of its YAML and, where some are renamed, of a line
 * "NAME=AS THE FILE CALLS IT" for each of these behind it. Local. */
const char *mr_template_hash(const mr_template *t);

/** Returns the token that stands behind learned text, which tells a model to stop; -1 where there
 * is none. Of a template that is bound. Local.
 * @param[out] learned  whether it is learned wherever it stands so; may be NULL */
int32_t mr_template_end(const mr_template *t, bool *learned);

/** Makes the sample of a record. Local; any number of threads may use one template, each with a
 * sample of its own.
 * @param[out] fault  MR_FAULTS where there is none; else the record does not fit the template, and
 *                    there is no sample
 * @param[out] what   tells of the fault, for a message that names file and line
 * @return MR_OK (also with a fault), as mr_tokenizer_encode, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_template_render(const mr_template *t, const json_t *record,
                                          mr_rendered *out, mr_fault *fault,
                                          char what[MR_FAULT_TEXT]);

/** Appends the text of a record, its tokens left out: what is asked of a model, where a template
 * makes no samples. The template need not be bound. Local.
 * @return MR_OK, MR_ERR_MEMORY; fault and what as mr_template_render */
MR_NODISCARD mr_status mr_template_text(const mr_template *t, const json_t *record, mr_text *out,
                                        mr_fault *fault, char what[MR_FAULT_TEXT]);

/** Returns a value of a record by the name of its field, or by a path as spans have it; NULL where
 * there is none. Local. */
const json_t *mr_template_find(const json_t *record, const char *name);

/** Frees a sample's arrays and empties it. Local. */
void mr_rendered_free(mr_rendered *rendered);

#endif
