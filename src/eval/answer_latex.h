#ifndef MR_EVAL_ANSWER_LATEX_H
#define MR_EVAL_ANSWER_LATEX_H

/** @file
 * Answers of MATH: formulas of LaTeX, compared after what is written differently has been made
 * alike.
 *
 * Source: hendrycks/math, math_equivalence.py, as MetaMath@fe667b1 (util.py) and
 * lm-evaluation-harness 0.4.13 (hendrycks_math) have it. All functions are Local. */

#include "base/text.h"

/** Makes a formula plain: without line ends, units, degrees, sizes of brackets, ...; the order of
 * its steps matters.
 * @param[out] out     {0}
 * @param[out] failed  the published code raises an exception; out is then incomplete
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_latex_normalise(const char *text, size_t bytes, mr_text *out,
                                          bool *failed);

/** Tells whether two formulas are the same once made plain, or as they stand where one of them
 * cannot be. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_latex_equal(const char *a, size_t a_bytes, const char *b, size_t b_bytes,
                                      bool *equal);

/** Finds the last \\boxed, or where there is none the last \\fbox, with what stands in braces
 * behind it. @param[out] from, length  of it, braces included @return whether there is one that
 * closes */
bool mr_latex_last_boxed(const char *text, size_t bytes, size_t *from, size_t *length);

/** Finds what stands in the braces of "\\boxed{...}" that is all of a text. @return whether it is
 * one */
bool mr_latex_unbox(const char *text, size_t bytes, size_t *from, size_t *length);

#endif
