#ifndef MR_APP_DATA_RECORDS_H
#define MR_APP_DATA_RECORDS_H

/** @file
 * What a template makes of records, for a reader. */

#include "app/command.h"

/** What to show. */
typedef struct mr_data_records {
    const char *path;      /**< JSON lines or an array, compressed or not */
    const char *template;  /**< as mr_template_load */
    const char *tokenizer; /**< as mr_tokenizer_create; NULL: the text alone, without tokens */
    const mr_option_list *fields; /**< as mr_template_rename */
    int64_t items;                /**< records, from the first on */
    bool json;                    /**< as one object */
} mr_data_records;

/** Prints the first records as samples: their text decoded, with what is learned in colour on a
 * terminal and in double brackets elsewhere, how much that is, and whether the token that ends an
 * answer is among it; and what is wrong with those that do not fit. Local.
 * @return MR_OK (also where records do not fit), MR_ERR_USAGE, as mr_template_load,
 * mr_template_bind, mr_tokenizer_create and mr_documents_next */
MR_NODISCARD mr_status mr_data_show_records(const mr_data_records *what);

#endif
