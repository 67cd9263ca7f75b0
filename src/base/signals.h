#ifndef MR_BASE_SIGNALS_H
#define MR_BASE_SIGNALS_H

/** @file
 * Signals that would end the program: each ignored, or a request to stop, as its meaning asks. A
 * request only sets a flag; who trains looks at it between steps. SIGTSTP, SIGCONT and SIGQUIT keep
 * what the system does on them. */

/** Lets a write to a closed pipe and one past the limit on file sizes fail with a reason (EPIPE,
 * EFBIG), as on a full disk, instead of ending the program by SIGPIPE or SIGXFSZ. Local. */
void mr_signals_ignore_failed_writes(void);

/** Takes these as requests to stop, from now to the end of the program: SIGTERM, one further
 * signal, SIGXCPU (the soft limit on processor time), SIGHUP (the terminal is gone) and SIGINT, the
 * last two unless they were ignored before, as under nohup. A second SIGINT ends the program,
 * unless it is the further signal. Calls of the operating system that they interrupt go on. Local.
 */
void mr_signals_catch(int also);

/** Returns the first signal that came since mr_signals_catch, 0 where none did. Local. */
int mr_signals_caught(void);

#endif
