#ifndef MR_SPECTRA_MEASURES_H
#define MR_SPECTRA_MEASURES_H

/** @file
 * What is said of an update dW by numbers, from its singular values. One table names all measures,
 * with units and definitions: files, tables and plots walk it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The measures of an update; NaN where one is undefined. */
typedef struct mr_measures {
    double count;                                 /**< whole; 0 where the update is 0 */
    double effective_rank, per;                   /**< undefined where the update is 0 */
    double stable_rank, k90, participation_ratio; /**< likewise; k90 is whole */
    double sigma1, frobenius;
    double sigma1_ratio, frobenius_ratio; /**< undefined where those of W0 are 0 or not known */
    double intruder_threshold;            /**< undefined where the update is 0 or theta not known */
} mr_measures;

/** What is known of a base weight W0 [rows, cols]; NaN for what is not. */
typedef struct mr_base_facts {
    double sigma1, frobenius;
    double theta; /**< mr_intruder_theta */
} mr_base_facts;

/** A measure: a row of the table. */
typedef struct mr_measure {
    const char *name; /**< of a column or data set */
    const char *unit; /**< "1" for ratios, "singular values" for counts, "weight" for what scales
                           with the weights */
    const char *definition; /**< with its source */
    bool whole;             /**< a count */
    size_t offset;          /**< of its double in mr_measures */
} mr_measure;

extern const mr_measure mr_measure_rows[];
extern const int mr_measure_count;

/** Returns the value of row `row` of the table. Local. */
double mr_measure_value(const mr_measures *measures, int row);

/** Computes all measures of values but those that compare with W0, which become NaN. Scales before
 * it squares: values of 1e-300 or 1e300 are none too small or large. Local.
 * @param values     [n], descending, not negative, finite: all of them, n = min(rows, cols)
 * @param threshold  values above it are counted (Jiang et al. 2024: 0.1) */
void mr_measures_of(const double *values, int64_t n, double threshold, mr_measures *out);

/** Sets the measures that compare with W0. Local. */
void mr_measures_relate(mr_measures *measures, mr_base_facts base);

/** Returns the share of the k largest of values [n] in the sum of their squares, NaN where all are
 * 0. Local. */
double mr_energy_top(const double *values, int64_t n, int64_t k);

/** Returns theta: the singular value that an update of rank one in directions unrelated to W0 needs
 * to become a leading direction of W0 + dW. NaN where a side of W0 is 1, 0 where sigma_1 is not
 * simple. Local.
 *
 * theta = D(sigma_1)^(-1/2), D(z) = phi(z, rows) phi(z, cols), phi(z, n) the mean over the n
 * singular values of W0 (with zeros, without the first) of z / (z^2 - sigma^2): Benaych-Georges and
 * Nadakuditi 2012 (arXiv 1103.2221) Theorem 2.8, the sums estimated as by Nadakuditi 2014 (arXiv
 * 1306.6042). Deviation: how far above sigma_1 arXiv 2607.23711 takes D is not known here; leaving
 * sigma_1 out of its own sums keeps D finite without a free number.
 * @param values  [min(rows, cols)] of W0, descending */
double mr_intruder_theta(const double *values, int64_t rows, int64_t cols);

#endif
