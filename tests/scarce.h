#ifndef MR_TESTS_SCARCE_H
#define MR_TESTS_SCARCE_H

/** @file
 * Memory that runs out: in a test whose list says mr_scarce_memory(NAME), every allocation of an
 * array can be made to fail in its turn. */

#include "base/status.h"

/** Calls a function again and again, each time letting one allocation more succeed, until it has
 * all it asks for. Fails the test unless every call before returns MR_ERR_MEMORY and leaves no more
 * memory held than there was, and there was at least one. */
void scarce_try(mr_status (*function)(void *context), void *context);

#endif
