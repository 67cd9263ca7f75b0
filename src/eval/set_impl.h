#ifndef MR_EVAL_SET_IMPL_H
#define MR_EVAL_SET_IMPL_H

/** @file
 * Sets inside: for eval/set*.c alone. */

#include "base/hash.h"
#include "eval/set.h"

/* A YAML that sets were read from. */
typedef struct mr_set_document {
    char *name, *text; /* owned */
    size_t bytes;
    mr_yaml yaml;
} mr_set_document;

/* Takes a set out of the item of a list; what it says nothing of stays as it is. Texts are borrowed
 * from the YAML. Local. @return MR_OK, MR_ERR_CONFIG, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_set_take_keys(const mr_yaml_taker *taker, int at, mr_set *set);

/* Looks whether a set says all that it must, and nothing that contradicts. Local.
 * @return as mr_set_take_keys */
MR_NODISCARD mr_status mr_set_check(const mr_yaml_taker *taker, int at, mr_set *set);

/* Frees what a set owns. Local. */
void mr_set_free(mr_set *set);

/* A file being read. */
typedef struct mr_set_reader {
    mr_set *set;
    const char *path; /* kept by the set */
    const char *stem; /* what * stands for; "" */
    int64_t row;      /* of the next record, from 0 */
} mr_set_reader;

/* Adds a record, or those it becomes. Local. @param json  taken over; NULL: MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_set_add_record(mr_set_reader *reader, json_t *json, int64_t line);

/* Reads all records of a file of a form. Local. @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT,
 * MR_ERR_MEMORY @{ */
MR_NODISCARD mr_status mr_set_read_table(mr_set_reader *reader, char separator);
MR_NODISCARD mr_status mr_set_read_lines(mr_set_reader *reader);
MR_NODISCARD mr_status mr_set_read_abstracts(mr_set_reader *reader);
MR_NODISCARD mr_status mr_set_read_conll(mr_set_reader *reader);
MR_NODISCARD mr_status mr_set_add_conversation(mr_set_reader *reader, const json_t *record,
                                               int64_t line);
/* @} */

/* Reads a whole file, compressed or not, without a byte-order mark. Local. */
MR_NODISCARD mr_status mr_set_read_all(const char *path, mr_text *out);

/* Takes what the files of a set hold into a hash. Local. @return as mr_set_read */
MR_NODISCARD mr_status mr_set_hash_files(const mr_set *set, const char *data, mr_hash *hash);

/* Returns a value as text: a number in the fewest digits, the first item of a list; NULL where it
 * is none. Local. @param room  [32], for numbers */
const char *mr_set_text_of(const json_t *value, char room[32], size_t *bytes);

/* Records a message with the place of a record. @return MR_ERR_FORMAT */
mr_status mr_set_fail(const mr_set_record *record, const char *fmt, ...) MR_PRINTF(2, 3);

/* Chooses items and shots among records, those from `first_shot` on being of files of their own;
 * first_shot = records where shots are of the items' files. Local.
 * @return MR_OK, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_set_choose(mr_set *set, int64_t first_shot);

/* Python's random.Random(seed), as far as sample() goes. */
typedef struct mr_set_random {
    uint32_t state[624];
    int next;
} mr_set_random;

void mr_set_random_start(mr_set_random *random, uint32_t seed);

/* Draws k of n numbers without repetition. Local. @param room  [n], scratch */
void mr_set_random_sample(mr_set_random *random, int64_t n, int64_t k, int64_t *room, int64_t *out);

#endif
