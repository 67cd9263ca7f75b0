#ifndef MR_TESTS_RANKS_H
#define MR_TESTS_RANKS_H

/** @file
 * What test files share that run on several ranks: start and end of MPI, and an assertion that
 * fails on all ranks or on none, so that no rank waits for one that has left the test. */

#include "comm/comm.h"
#include "test.h"

/** All ranks of the test. */
extern mr_comm world;

/** Starts MPI; ranks above 0 say nothing on stdout. */
void ranks_begin(int *argc, char ***argv);

/** Ends MPI; to be returned from main. Also fails where memory is still held, and on every rank
 * where one failed. */
int ranks_end(int failed_tests);

/** folder_enter and folder_leave of rank 0, with all ranks in the folder. Collective. */
int ranks_enter_folder(void **state);
int ranks_leave_folder(void **state);

/** Fails the test on every rank unless the condition holds on every rank; names the first where it
 * does not. Collective. */
#define assert_on_all_ranks(condition) ranks_assert((condition), #condition, __FILE__, __LINE__)
void ranks_assert(bool holds, const char *condition, const char *file, int line);

#endif
