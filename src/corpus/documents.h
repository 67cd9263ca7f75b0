#ifndef MR_CORPUS_DOCUMENTS_H
#define MR_CORPUS_DOCUMENTS_H

/** @file
 * Documents of an input: lines of plain text (an empty one too), all of a file, or a field of each
 * JSON line (blank lines between them are none). */

#include "corpus/lines.h"
#include "data/recipe.h"

/** An input being read. */
typedef struct mr_documents mr_documents;

/** One document. */
typedef struct mr_document {
    const char *text; /**< UTF-8, may hold zeros; borrowed until the next call; NULL at the end */
    size_t bytes;
    int64_t line; /**< of the file, from 1; of the fault, where there is one */
    bool blank;   /**< a blank line between JSON lines: no document */
    bool faulty;  /**< fault and what tell why; text is not to be used */
    mr_fault fault;
    char what[MR_FAULT_TEXT];
} mr_document;

/** Opens an input. Local.
 * @param[in]  place  path and field are borrowed until close
 * @param[in]  field  of JSON lines that holds the text; NULL for plain text
 * @param[out] out    set on MR_OK, else NULL
 * @return as mr_lines_open */
MR_NODISCARD mr_status mr_documents_open(const mr_lines_place *place, const char *field,
                                         mr_documents **out);

/** Closes *documents and sets it to NULL; NULL is allowed. Local. */
void mr_documents_close(mr_documents **documents);

/** Gives the next document, faulty or not. Local. @return as mr_lines_next */
MR_NODISCARD mr_status mr_documents_next(mr_documents *documents, mr_document *out);

/** Tells whether a text of plain name holds JSON lines: whether its first line that is not blank is
 * a whole JSON object, of 64 MiB or less. Local. @return as mr_lines_open and mr_lines_next */
MR_NODISCARD mr_status mr_documents_are_json(const char *path, bool compressed, bool *json);

/** Returns the lines that are read; borrowed. Local. */
const mr_lines *mr_documents_lines(const mr_documents *documents);

/** Tells whether a document is kept from training: by a hash of its bytes, so that equal documents
 * are on the same side in every file and at every run. Local. No allocation.
 * @param fraction  0 (none) to below 1 */
bool mr_document_held_out(const char *text, size_t bytes, double fraction);

#endif
