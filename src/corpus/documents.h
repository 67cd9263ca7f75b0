#ifndef MR_CORPUS_DOCUMENTS_H
#define MR_CORPUS_DOCUMENTS_H

/** @file
 * Documents of an input: lines of plain text (an empty one too), all of a file, or JSON objects,
 * each a line (blank lines between them are none) or an item of an array. */

#include "corpus/lines.h"
#include "data/recipe.h"

#include <jansson.h>

/** An input being read. */
typedef struct mr_documents mr_documents;

/** One document. */
typedef struct mr_document {
    const char *text; /**< UTF-8, may hold zeros; borrowed until the next call; NULL at the end */
    size_t bytes;
    const json_t *record; /**< of JSON: its object, text is what that stands in; borrowed as text */
    int64_t line;         /**< of the file, from 1; of the fault, where there is one */
    bool blank;           /**< a blank line between JSON lines: no document */
    bool faulty;          /**< fault and what tell why; text is not to be used */
    mr_fault fault;
    char what[MR_FAULT_TEXT];
} mr_document;

/** Opens an input. Local.
 * @param[in]  place   path is borrowed until close
 * @param[in]  format  of the input, as the survey tells
 * @param[out] out     set on MR_OK, else NULL
 * @return as mr_lines_open */
MR_NODISCARD mr_status mr_documents_open(const mr_lines_place *place, mr_input_format format,
                                         mr_documents **out);

/** Closes *documents and sets it to NULL; NULL is allowed. Local. */
void mr_documents_close(mr_documents **documents);

/** Gives the next document, faulty or not. Local. @return as mr_lines_next */
MR_NODISCARD mr_status mr_documents_next(mr_documents *documents, mr_document *out);

/** Tells how a file is to be read: as an array where it begins with a bracket, as JSON lines where
 * its first line that is not blank is a whole object, of 64 MiB or less, else as text. Local.
 * @param json  its name says that it is JSON: then it is not text; else an array has an object
 * first
 * @return as mr_documents_open and mr_documents_next */
MR_NODISCARD mr_status mr_documents_probe(const char *path, bool compressed, bool json,
                                          mr_input_format *out);

/** Takes the text of a field of a document's record in place of the record, or tells why there is
 * none. Local. */
void mr_document_take_field(mr_document *document, const char *field);

/** Returns where the next document starts in the text, or before that. Local. */
int64_t mr_documents_offset(const mr_documents *documents);

/** Returns how many bytes of the file itself have been gone through since open. Local. */
int64_t mr_documents_consumed(const mr_documents *documents);

/** Tells whether a document is kept from training: by a hash of its bytes, so that equal documents
 * are on the same side in every file and at every run. Local. No allocation.
 * @param fraction  0 (none) to below 1 */
bool mr_document_held_out(const char *text, size_t bytes, double fraction);

/** As mr_document_held_out, of a sample by its tokens: so that records that make the same sample
 * are on the same side. Local. */
bool mr_tokens_held_out(const int32_t *ids, int64_t count, double fraction);

#endif
