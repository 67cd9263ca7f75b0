#ifndef MR_CORPUS_WORKER_H
#define MR_CORPUS_WORKER_H

/** @file
 * One rank's share of preparing a folder: units, one after another. For corpus/prepare.c. */

#include "base/staging.h"
#include "corpus/documents.h"
#include "corpus/prepare.h"
#include "corpus/survey.h"

/** What became of a unit. Plain data without padding to speak of: it travels between ranks. */
typedef struct mr_unit_record {
    int64_t input, unit;
    mr_token_totals split[MR_SPLITS];
    int64_t faults[MR_FAULTS];
    int64_t none_line,
        all_line; /**< of its first document of which nothing, all is learned; or 0 */
    mr_token_manifest_shard shard[MR_SPLITS]; /**< where the split has documents */
} mr_unit_record;

/** A faulty document that was left out. Plain data. */
typedef struct mr_fault_report {
    int64_t input, line, fault;
    char what[MR_FAULT_TEXT];
} mr_fault_report;

/** A rank's work. */
typedef struct mr_worker mr_worker;

/** Deals the units of all inputs to the ranks and opens the work of this one. Local; no rank has
 * to know what another does.
 * @param options, survey, tokenizer, template, staging  borrowed until destroy
 * @param template  bound to the tokenizer; NULL: plain text
 * @param[out] out  set on MR_OK, else NULL @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_worker_create(const mr_comm *comm, const mr_prepare_options *options,
                                        const mr_survey *survey, const mr_tokenizer *tokenizer,
                                        const mr_template *template, const mr_staging *staging,
                                        mr_worker **out);

/** Frees *work and sets it to NULL; NULL is allowed. Local. */
void mr_worker_destroy(mr_worker **work);

/** Does one unit, if there is one. Local.
 * @param[in]  show  called now and then with what mr_worker_done tells; NULL for none
 * @param[out] more  whether there is work left
 * @return as mr_prepare */
MR_NODISCARD mr_status mr_worker_step(mr_worker *work, void (*show)(void *context, int64_t done),
                                      void *context, bool *more);

/** Returns the bytes of input files gone through. Local. */
int64_t mr_worker_done(const mr_worker *work);

/** Returns what became of the units done, in the order of the text; borrowed. Local. */
const mr_unit_record *mr_worker_records(const mr_worker *work, int64_t *count);

/** Returns the first faulty documents of each kind left out, at most MR_PREPARE_REPORTS of a kind,
 * in the order of the text; borrowed. */
const mr_fault_report *mr_worker_reports(const mr_worker *work, int64_t *count);

#endif
