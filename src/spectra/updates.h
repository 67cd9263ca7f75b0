#ifndef MR_SPECTRA_UPDATES_H
#define MR_SPECTRA_UPDATES_H

/** @file
 * The updates of a model's linears as they lie on disk. A kind of them says, linear by linear, of
 * which matrices an update is made and where these stand; what is done with them is one for all.
 *
 * What is wrong with one linear is told when it is asked for, and leaves the others as they are. */

#include "spectra/stored.h"
#include "spectra/structure.h"
#include "store/hf.h"

enum {
    MR_UPDATES_NAME = 192,      /**< bytes of a linear's name with its terminating zero */
    MR_UPDATES_PROJECTION = 64, /**< of a projection's */
    MR_UPDATES_KIND = 128,      /**< of what updates are, in words */
};

/** A linear of which there may be an update. */
typedef struct mr_updates_item {
    char name[MR_UPDATES_NAME];             /**< of its module, "model.layers.0.self_attn.q_proj" */
    char projection[MR_UPDATES_PROJECTION]; /**< "q_proj" */
    int64_t layer, rows, cols;
} mr_updates_item;

/** What an update is made of: dW = diag(ratio) (W + X) - W0, where X has a structure, and ratio
 * scales the rows to lengths. Where W is W0 and no rows are scaled it is X. */
typedef struct mr_updates_parts {
    mr_structure structure; /**< of X, without its arrays; of kind NONE: X is 0 */
    mr_stored a, b, m;      /**< its arrays, those that it has */
    mr_stored now;          /**< W; absent: W0 */
    mr_stored lengths;      /**< [1, rows]; absent: no rows are scaled */
    mr_stored base;         /**< W0; absent: not known, and W is W0 */
} mr_updates_parts;

typedef struct mr_updates mr_updates;

/** What a kind of updates is. */
typedef struct mr_updates_ops {
    /** Frees state. Local. */
    void (*close)(mr_updates *updates);
    /** Tells the parts of an item, in out of zeros. Local; threads may call it.
     * @return MR_OK; MR_ERR_FORMAT (something is missing, or of another shape), MR_ERR_MEMORY */
    mr_status (*parts)(const mr_updates *updates, const mr_updates_item *item,
                       mr_updates_parts *out);
} mr_updates_ops;

/** Open updates. Own all they point to but be. */
struct mr_updates {
    const mr_updates_ops *ops;
    mr_backend *be;             /**< borrowed until close */
    char kind[MR_UPDATES_KIND]; /**< "an adapter, lora", for results */
    char method[64];            /**< "lora"; "fft" of two models */
    int64_t r;                  /**< 0: there is none */
    int64_t step;               /**< of the run; 0: not known */
    int64_t count, room;
    mr_updates_item *item; /**< [count], by projection, then layer */
    mr_hf *base;           /**< NULL: not known, or drawn */
    void *state;           /**< the kind's */
};

/** Opens what lies in a folder: an adapter, or a model beside its base. Warns of what is there and
 * not looked at. Local.
 * @param be    CPU; borrowed until close
 * @param base  folder of the base; NULL: not given
 * @param[out] out  set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_USAGE (a base is needed), MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_updates_open(mr_backend *be, const char *folder, const char *base,
                                       mr_updates **out);

/** Begins the updates of a kind; to be closed also after a failure to fill them. Local.
 * @param[out] out  NULL on failure  @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_updates_begin(mr_backend *be, const mr_updates_ops *ops,
                                        mr_updates **out);

/** Appends a linear; one whose name is not that of a layer's projection is passed over. Local.
 * @param[out] added  set where it was appended  @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_updates_add(mr_updates *updates, const char *name, int64_t rows,
                                      int64_t cols, bool *added);

/** Sorts the items once all are in. Local. @return MR_OK, MR_ERR_FORMAT (there are none) */
MR_NODISCARD mr_status mr_updates_sort(mr_updates *updates, const char *path);

/** Keeps the items whose projection or whole name is in a list. Local.
 * @param modules  words with commas between them
 * @return MR_OK, MR_ERR_USAGE (a word that means no item), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_updates_choose(mr_updates *updates, const char *modules);

/** Closes *updates, frees them and sets it to NULL; NULL is allowed. Local. */
void mr_updates_close(mr_updates **updates);

/** Tells the parts of an item, and checks that they fit it and the other layers. Local; threads may
 * call it. @return as mr_updates_ops.parts */
MR_NODISCARD mr_status mr_updates_parts_of(const mr_updates *updates, const mr_updates_item *item,
                                           mr_updates_parts *out);

/** Describes an update without its numbers; of kind MR_UPDATE_NONE where it is dense. Local. */
mr_structure mr_updates_describe(const mr_updates_item *item, const mr_updates_parts *parts);

/** Reads an update. Local; threads may each take one.
 * @param[out] out  freed by the caller after MR_OK
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_updates_take(const mr_updates_item *item, const mr_updates_parts *parts,
                                       mr_structure *out);

/** An update that is read row by row. Start from mr_updates_reader_open; owns its arrays. */
typedef struct mr_updates_reader {
    mr_updates_parts parts; /**< with the arrays of the structure */
    float *length;          /**< [rows], where rows are scaled */
    double *unit, *scratch;
} mr_updates_reader;

/** Reads what an update's rows have in common. Local; to be closed after MR_OK.
 * @return as mr_updates_take */
MR_NODISCARD mr_status mr_updates_reader_open(const mr_updates_item *item,
                                              const mr_updates_parts *parts,
                                              mr_updates_reader *out);

/** Writes rows first..first+count-1 of dW to out [count, cols]. Local; one thread a reader.
 * @return as mr_updates_take */
MR_NODISCARD mr_status mr_updates_reader_rows(mr_updates_reader *reader, int64_t first,
                                              int64_t count, double *out);

/** Frees the arrays of a reader. Local. */
void mr_updates_reader_close(mr_updates_reader *reader);

#endif
