#ifndef MR_TRAIN_RECORD_IMPL_H
#define MR_TRAIN_RECORD_IMPL_H

/** @file
 * Records of runs inside: for train/record*.c alone. */

#include "train/record.h"

/* Tells of every set that is scored at both ends of a run what changed, by the log, which is
 * closed. Local; rank 0's. @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_record_changes(const mr_record *record);

/* Refuses sets that the log has scores of other items of, as far as these are known before they
 * are asked. Local; rank 0's. @return MR_OK, MR_ERR_FORMAT, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_record_check_sets(const mr_record *record);

#endif
