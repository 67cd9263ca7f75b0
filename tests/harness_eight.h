#ifndef MR_TESTS_HARNESS_EIGHT_H
#define MR_TESTS_HARNESS_EIGHT_H

/** @file
 * Rows of the backends' harness for entries that work on 8 bits: each runs draw i of them, which is
 * to be 0..9. */

#include "reference.h"

void eight_quantize(mr_lab *lab, int i);
void eight_gemm_scaled(mr_lab *lab, int i);

#endif
