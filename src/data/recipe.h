#ifndef MR_DATA_RECIPE_H
#define MR_DATA_RECIPE_H

/** @file
 * How text and records become tokens, as far as it decides them, and what can be wrong with the
 * text: what preparing is told to do, and what a manifest says was done. */

#include <stdarg.h>
#include <stdint.h>

/** What can be wrong with a document. */
typedef enum mr_fault {
    MR_FAULT_UTF8,      /**< its bytes are not UTF-8 */
    MR_FAULT_JSON,      /**< it is not a JSON object */
    MR_FAULT_FIELD,     /**< the object has not a field that is needed */
    MR_FAULT_LONG,      /**< it has more bytes than there is memory for */
    MR_FAULT_TYPE,      /**< a field holds something else than it must */
    MR_FAULT_SURROGATE, /**< half a surrogate pair stands for a character in its JSON */
    MR_FAULT_EMPTY,     /**< a conversation of no messages, or nothing to learn from at all */
    MR_FAULT_ROLE,      /**< a message has a role that is not known */
    MR_FAULT_ORDER,     /**< a message stands where its role may not, as an assistant's first */
    MR_FAULTS
} mr_fault;

enum { MR_FAULT_TEXT = 160 }; /**< bytes of what is said about a fault, with terminating zero */

/** What becomes of a document with a fault. */
typedef enum mr_fault_policy { MR_FAULT_STOP, MR_FAULT_SKIP } mr_fault_policy;

/** How a file is read. AUTO, which no file is: as JSON where its name says so, or where it says
 * nothing and the content does; an array where it begins with a bracket. */
typedef enum mr_input_format {
    MR_INPUT_AUTO,
    MR_INPUT_TEXT,
    MR_INPUT_JSONL, /**< a JSON object a line */
    MR_INPUT_JSON,  /**< a JSON array of objects, and nothing else */
    MR_INPUTS
} mr_input_format;

/** What of a text file is a document. */
typedef enum mr_documents_are { MR_DOCUMENTS_LINES, MR_DOCUMENTS_FILES } mr_documents_are;

enum { MR_RECIPE_FIELD = 512 }; /**< bytes of the fields of a recipe with terminating zero */

/** How text is made into tokens. Plain data. */
typedef struct mr_recipe {
    char field[MR_RECIPE_FIELD]; /**< of JSON that holds the text; of a template, what files call
                                      its fields, "NAME=OTHER,..." */
    mr_documents_are documents;
    mr_fault_policy on_error;
    double heldout;     /**< share of documents kept from training, 0 to below 1 */
    int64_t unit_bytes; /**< of text that became one shard a split */
} mr_recipe;

/** Names of the formats, by their values. */
extern const char *const mr_input_format_names[MR_INPUTS];

/** Returns the name of a fault ("utf8", "json", ...). Local. */
const char *mr_fault_name(mr_fault fault);

/** Writes what is said about a fault, cut where it is too long. Local. */
void mr_fault_tell(char what[MR_FAULT_TEXT], const char *fmt, va_list args);

#endif
