#ifndef MR_TESTS_GOLDEN_FIND_H
#define MR_TESTS_GOLDEN_FIND_H

/** @file
 * Where folders of reference tensors are, and what the names of their files say. */

#include "adapter/mora.h"
#include "store/names.h"

/** A folder that was found, or that should have been one. Owns its strings. */
typedef struct mr_golden_folder {
    char *label;   /**< its path below the root, for names of tests */
    char *path;    /**< as it is opened */
    char *problem; /**< NULL, or why it cannot be read */
} mr_golden_folder;

/** The folders found so far. Start from {0}; free with mr_golden_set_free. */
typedef struct mr_golden_set {
    int count;
    int64_t room;
    mr_golden_folder *folder; /**< [count], owned */
} mr_golden_set;

/** Appends the roots of references beyond the tree's own: those that MORA_GOLDEN names, colon-
 * separated, relative ones taken from the top of the sources; without it ../shared/golden, whether
 * it is there or not. Local.
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_golden_roots(mr_names *roots);

/** Adds up what a check returns for each of these roots; aborts where there is no memory.
 * Local. */
int mr_golden_count(int (*check)(const char *root));

/** Appends every folder at or below root that holds model/config.json and batch.safetensors, in the
 * order of their names; one that holds only one of them, or cannot be opened, and a root without
 * any, are appended with their problem. Local.
 * @param root  an absolute path
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_golden_find(const char *root, mr_golden_set *set);

/** Frees the folders and empties the set. */
void mr_golden_set_free(mr_golden_set *set);

/** Appends the names of a folder's *.safetensors without their ending, ascending. Local.
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_golden_stems(const char *folder, mr_names *stems);

/** What the name of a reference file says. */
typedef struct mr_golden_kind {
    const char *method;        /**< method.name; borrowed from the program */
    mr_mora_operator operator; /**< MR_MORA_AUTO where it is not mora */
    int64_t mora_type, mora_r; /**< of the published code; 0 where it is not mora */
} mr_golden_kind;

/** Reads the name of a reference file: fft..., lora, lora_plus, lora_asym, dora, mora_t<type>_r<r>.
 * Local.
 * @return false where it names no method this test sets up */
bool mr_golden_kind_of(const char *stem, mr_golden_kind *out);

#endif
