#ifndef MR_CORPUS_OBJECTS_H
#define MR_CORPUS_OBJECTS_H

/** @file
 * The items of a JSON array that is all of a file, plain or compressed, one after another, in
 * memory bounded by the longest that is taken.
 *
 * Only borders are looked for; what an item holds is for a reader of JSON to say. What stands
 * between items and is none is told and passed over, and a broken item ends before the next one
 * (corpus/value.h), so that it costs no other.
 */

#include "corpus/lines.h"

/** A file being read. */
typedef struct mr_objects mr_objects;

/** An item, or what stands in the place of one. */
typedef struct mr_object {
    const char *text; /**< of the item; borrowed until the next call; NULL at the end of the file */
    size_t bytes;
    int64_t line;        /**< where it starts, from 1 */
    const char *problem; /**< what is wrong here, in place of an item; NULL: nothing */
    bool too_long;       /**< it has more bytes than are taken: given as no text */
} mr_object;

/** Opens a file. Local. @param[in]  place  read from its start to its end: path, compressed and
 * longest count @param[out] out  set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_objects_open(const mr_lines_place *place, mr_objects **out);

/** Closes *objects and sets it to NULL; NULL is allowed. Local. */
void mr_objects_close(mr_objects **objects);

/** Gives the next item, or what is wrong before it. Local. @return as mr_lines_next */
MR_NODISCARD mr_status mr_objects_next(mr_objects *objects, mr_object *out);

/** Returns how many bytes of the text, after decompression, stand before what comes next. Local. */
int64_t mr_objects_offset(const mr_objects *objects);

/** Returns how many bytes of the file itself have been gone through. Local. */
int64_t mr_objects_consumed(const mr_objects *objects);

/** Tells whether a text is an array by its first bytes: a bracket, and behind it a brace where that
 * is asked for, blanks and ends of lines aside. Local. @return as mr_objects_open */
MR_NODISCARD mr_status mr_objects_are_there(const char *path, bool compressed, bool brace,
                                            bool *there);

#endif
