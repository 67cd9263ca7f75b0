#ifndef MR_SPECTRA_STRUCTURE_IMPL_H
#define MR_SPECTRA_STRUCTURE_IMPL_H

/** @file
 * What the parts of structure.c share: MoRA's values are in structure_mora.c, products and dW
 * itself in structure_apply.c. */

#include "spectra/structure.h"

/** Returns a copy of count numbers in double, or NULL with a message. */
double *mr_structure_doubles(const float *part, int64_t count);

/** Returns the group of a position of a map. */
int64_t mr_structure_group(mr_group_map map, int64_t position);

/** Turns the pairs of count vectors [r], `stride` apart, by the angles of a position of MoRA, or
 * back. */
void mr_structure_turn(double *x, int64_t count, int64_t stride, int64_t r, int64_t position,
                       bool back);

/** As mr_structure_values, but leave values alone that are 0 by structure; blocks in any order. @{
 */
mr_status mr_groups_values(const mr_structure *s, double *values);
mr_status mr_blocks_values(const mr_structure *s, double *values);
/** @} */

/** Tell what those take. @{ */
void mr_groups_cost(const mr_structure *s, double *flops, size_t *bytes);
void mr_blocks_cost(const mr_structure *s, double *flops, size_t *bytes);
/** @} */

#endif
