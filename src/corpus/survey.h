#ifndef MR_CORPUS_SURVEY_H
#define MR_CORPUS_SURVEY_H

/** @file
 * A first look at the inputs: what they are, their hashes, and how many lines stand before each
 * unit of work, which lets units be read in any order, on any rank, with lines numbered right. */

#include "base/hash.h"
#include "comm/comm.h"
#include "data/recipe.h"

#include <time.h>

/** One input. */
typedef struct mr_survey_input {
    const char *path;       /**< borrowed */
    mr_input_format format; /**< not AUTO; whole files that are a document each are text */
    bool by_content;        /**< it is JSON, which its name does not say */
    bool compressed;        /**< by its content */
    bool in_one_go; /**< it is read from its start to its end: it is compressed or an array */
    int64_t bytes;  /**< of the file */
    char sha256[MR_HASH_TEXT];
    struct timespec modified;
    int64_t units;         /**< byte ranges of a plain file; 1 for what is read in one go */
    int64_t *lines_before; /**< [units] ends of lines before each; owned */
} mr_survey_input;

/** All inputs. Start from {0}; free with mr_survey_free. */
typedef struct mr_survey {
    mr_survey_input *input; /**< [inputs], owned */
    int inputs;
} mr_survey;

/** Looks at every input, each read once by one rank, shows how far rank 0 is with its own, and
 * tells which are taken for JSON though their names do not say so. Collective; the same
 * result on all ranks.
 * @param[in]  paths  [count], borrowed while the survey is used
 * @param[out] out    freed by the caller, also on failure
 * @return MR_OK, MR_ERR_USAGE (an input that does not go with the recipe), MR_ERR_IO (also: one
 * that changes meanwhile), MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_survey_create(const mr_comm *comm, const char *const *paths, int count,
                                        const mr_recipe *recipe, mr_input_format format,
                                        mr_survey *out);

/** Checks that an input still is what was looked at. Local.
 * @return MR_OK, MR_ERR_IO (it has changed since, or is gone; message names it) */
MR_NODISCARD mr_status mr_survey_check_input(const mr_survey_input *input);

/** As mr_survey_check_input, of all inputs, each by one rank. Collective.
 * @return MR_OK, MR_ERR_IO (one has changed since, or is gone; message names it) */
MR_NODISCARD mr_status mr_survey_check(const mr_comm *comm, const mr_survey *survey);

/** Frees what a survey owns and empties it. Local. */
void mr_survey_free(mr_survey *survey);

#endif
