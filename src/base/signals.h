#ifndef MR_BASE_SIGNALS_H
#define MR_BASE_SIGNALS_H

/** @file
 * Signals that ask the program to stop. A handler only sets a flag; who trains looks at it between
 * steps. */

/** Lets SIGTERM and one further signal set the flag, from now to the end of the program; calls of
 * the operating system that they interrupt go on. Local. */
void mr_signals_catch(int also);

/** Returns the first signal that came since mr_signals_catch, 0 where none did. Local. */
int mr_signals_caught(void);

#endif
