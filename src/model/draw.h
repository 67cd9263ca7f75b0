#ifndef MR_MODEL_DRAW_H
#define MR_MODEL_DRAW_H

/** @file
 * Initial values of parameters: a function of the seed, the parameter's name and, of an adapter's,
 * of how often it has started anew; the same on any number of ranks and in any order. */

#include "model/params.h"

/** What values are drawn from. Start from {seed, restart, threads}; mr_free(whole) in the end. */
typedef struct mr_draw {
    uint64_t seed;
    int64_t restart;
    int threads;  /**< that draw, 0 for one; they change nothing */
    float *whole; /**< the matrix of the one parameter that is drawn, where its elements depend on
                       one another; owned */
} mr_draw;

/** Writes elements first..first+count-1 of a parameter's initial value: an mr_params_source.
 * @param[in,out] draw  an mr_draw, for one parameter
 * Local. @return MR_OK, MR_ERR_MEMORY, MR_ERR_NUMERIC */
MR_NODISCARD mr_status mr_draw_values(void *draw, const mr_param *param, int64_t first,
                                      int64_t count, float *out);

/** Draws what this rank keeps of the parameters of the base, of adapters, or both. Local.
 * @return MR_OK, MR_ERR_MEMORY, MR_ERR_NUMERIC */
MR_NODISCARD mr_status mr_draw_params(mr_params *params, uint64_t seed, int64_t restart, bool base,
                                      bool adapters);

#endif
