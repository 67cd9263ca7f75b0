#ifndef MR_BASE_EMBEDDED_H
#define MR_BASE_EMBEDDED_H

/** @file
 * Files that travel in the program: the build writes them as rows of an array (mr_add_embedded of
 * cmake/layers.cmake), which the source that reads them includes. */

#include <stddef.h>

/** One of them. */
typedef struct mr_embedded {
    const char *name; /**< of the file, without folder and ending */
    const char *text; /**< [bytes], no zero behind */
    size_t bytes;
} mr_embedded;

#endif
