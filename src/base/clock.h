#ifndef MR_BASE_CLOCK_H
#define MR_BASE_CLOCK_H

/** Returns seconds of a monotonic clock with an arbitrary origin. Local. */
double mr_clock(void);

#endif
