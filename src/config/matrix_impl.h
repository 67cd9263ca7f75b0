#ifndef MR_CONFIG_MATRIX_IMPL_H
#define MR_CONFIG_MATRIX_IMPL_H

/** @file
 * What a matrix is made of, for the files of config/matrix. */

#include "config/matrix.h"

/** A value of a key. */
typedef struct mr_matrix_value {
    int key;
    int node;          /**< 0: that of --set, which stands in the source */
    int row;           /**< of a key that names a choice: in its table; else -1 */
    const char *text;  /**< as YAML: equal for equal values, and for no others */
    const char *piece; /**< of the names of its runs, without the key */
} mr_matrix_value;

/** One key of a block with its values. */
typedef struct mr_matrix_dimension {
    int key;
    int listed, first; /**< its first value in matrix.values: of the file, and of the runs */
    int listed_count, count;
    int64_t stride; /**< combinations of the block from one of its values to the next */
} mr_matrix_dimension;

typedef struct mr_matrix_block {
    int first; /**< of its dimensions in matrix.dimensions */
    int count;
    int64_t first_run, runs;
} mr_matrix_block;

/** What is known of a key over all blocks. */
typedef struct mr_matrix_spread {
    int blocks;          /**< that hold the key */
    const char *first;   /**< text of the first value that a run may have; NULL: none has it */
    bool varies;         /**< the runs that have the key differ in it */
    const char *base;    /**< text outside the matrix, with --set; of keys in some block */
    const char *written; /**< likewise without --set */
} mr_matrix_spread;

struct mr_matrix {
    const mr_source *source;
    const mr_yaml *yaml;
    int node;
    mr_matrix_dimension *dimensions;
    int dimension_count;
    mr_matrix_value *values;
    int value_count;
    mr_texts texts; /**< of values and spreads */
    mr_matrix_block *blocks;
    int block_count;
    mr_matrix_spread *spreads; /**< by key of the registry */
    int64_t combinations;
    int runs;        /**< combinations that are runs: all but equal ones */
    int32_t *run_at; /**< [runs] their numbers; NULL: all are runs */
    mr_config *base; /**< a run without the matrix's values, of the choices last asked for */
};

/** One combination of the values of a block, and the rows it chooses, by table. */
typedef struct mr_combination {
    const mr_matrix_block *of;
    int64_t number; /**< in its block */
    uint64_t chosen[MR_REGISTRY_TABLES];
} mr_combination;

/** Returns combination number `number` of all. */
mr_combination mr_matrix_combination(const mr_matrix *matrix, int64_t number);

/** Returns the combination that is run number `run`. */
mr_combination mr_matrix_combination_of(const mr_matrix *matrix, int run);

/** Returns its value of a dimension. */
const mr_matrix_value *mr_matrix_value_in(const mr_matrix *matrix, const mr_combination *one,
                                          int dimension);

/** Tells whether any of the choices in bits by table has a key. */
bool mr_matrix_any_has(const mr_matrix *matrix, const uint64_t *chosen, int key);

/** Tells whether it has a key. */
bool mr_matrix_has(const mr_matrix *matrix, const mr_combination *one, int key);

/** Writes its name. @return MR_OK, MR_ERR_CONFIG */
mr_status mr_matrix_name_of(const mr_matrix *matrix, const mr_combination *one,
                            char out[MR_CONFIG_STRING]);

/** Makes its configuration. @return MR_OK, MR_ERR_CONFIG */
mr_status mr_matrix_make(const mr_matrix *matrix, const mr_combination *one, mr_config *out);

/** Puts before the recorded message the run, and the place where the value at fault was given. */
mr_status mr_matrix_fail_run(const mr_matrix *matrix, const mr_combination *one, const char *name,
                             const char *at_fault, mr_status status);

/** Leaves out combinations that are equal to an earlier one, and refuses two runs of one name and
 * of one folder that the matrix gives. @return MR_OK, MR_ERR_CONFIG, MR_ERR_MEMORY */
mr_status mr_matrix_part(mr_matrix *matrix);

/** Records a failure about a key, at a node. */
mr_status mr_matrix_fail(const mr_matrix *matrix, int node, const char *key, const char *what);

/** Returns the name that generated ones start with. */
const char *mr_matrix_base_name(const mr_matrix *matrix, const mr_combination *one);

/** Returns the number of a key of the core. */
int mr_matrix_key(const mr_matrix *matrix, const char *key);

#endif
