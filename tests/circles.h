#ifndef MR_TESTS_CIRCLES_H
#define MR_TESTS_CIRCLES_H

/** @file
 * Parts of a program that ask for one another, and the circles among them.
 *
 * Headers ask for the headers they include. Of a file and its header, which are one room, it is
 * calls that count: a header is also included for a type, and a table names functions of the files
 * it lists, while those take their types from the table's header.
 */

#include <stdbool.h>
#include <stddef.h>

enum {
    CIRCLES_PARTS = 512,  /**< most parts */
    CIRCLES_NAMES = 4096, /**< most functions */
    CIRCLES_NAME = 128,   /**< bytes of a name with its terminating zero */
};

/** A function and the part that defines it. */
typedef struct circles_function {
    char name[CIRCLES_NAME];
    int part;
} circles_function;

/** Parts, and which asks for which. Start from zero bytes; too large for the stack. */
typedef struct circles {
    int parts, functions;
    char part[CIRCLES_PARTS][CIRCLES_NAME];
    circles_function function[CIRCLES_NAMES];
    bool asks[CIRCLES_PARTS][CIRCLES_PARTS];    /**< asks[a][b]: a for b */
    bool reaches[CIRCLES_PARTS][CIRCLES_PARTS]; /**< the same over any number of steps */
} circles;

/** What an #include line names, behind its quote or bracket; NULL where it is none. The line is not
 * zero-terminated. */
const char *circles_included(const char *line, size_t length, char opening);

/** Adds what a header includes in quotes; other files are passed over. */
void circles_add_includes(circles *c, const char *file, const char *text);

/** Adds the public functions that a source defines. */
void circles_add_functions(circles *c, const char *file, const char *text);

/** Adds the rooms whose functions a file calls; all functions are to be there. */
void circles_add_calls(circles *c, const char *file, const char *text);

/** Finds out who reaches whom. Returns the number of parts that reach themselves. */
int circles_close(circles *c);

#endif
