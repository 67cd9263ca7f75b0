#ifndef MR_TESTS_READING_H
#define MR_TESTS_READING_H

/** @file
 * A model folder, read by all ranks of a test as a run reads it. */

#include "config/config.h"
#include "model/model.h"

/** A model that has been read. Owns all. */
typedef struct reading {
    mr_hf_config arch;
    mr_config *config;
    mr_backend *be;
    mr_hf *weights;
    mr_model *model;
} reading;

/** Reads a folder for sequences of so many tokens, to be trained in full or only run. Collective.
 * @return MR_OK; what reading its config.json returns, and then there is nothing to free */
MR_NODISCARD mr_status reading_open(const mr_comm *comm, const char *folder, int64_t tokens,
                                    bool frozen, reading *r);

/** Frees all. */
void reading_free(reading *r);

#endif
