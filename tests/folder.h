#ifndef MR_TESTS_FOLDER_H
#define MR_TESTS_FOLDER_H

/** @file
 * A folder of its own for a test file, in which its tests run; a setup and teardowns of groups,
 * that return 0, or -1 where they cannot. Local. */

/** Makes a new folder and goes there. */
int folder_enter(void **state);

/** Goes back and removes the folder with all in it. Fails where memory is still held. */
int folder_leave(void **state);

/** As folder_leave, and fails where a file was left behind. */
int folder_leave_empty(void **state);

#endif
