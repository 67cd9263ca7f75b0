/** @file
 * Task biomed: continued pretraining on biomedical text, plain or turned into reading
 * comprehension.
 *
 * Source: MoRA (arXiv 2405.12130) section 5.2: abstracts of PubMed, by the recipe of AdaptLLM.
 * Deviation: none.
 */

#include "data/prepared.h"

const mr_task mr_task_biomed = {
    .name = "biomed",
    .summary = "go on with the biomedical text of task.data, a folder of token shards",
    .schema = &mr_prepared_either_schema,
    .create = mr_prepared_create_either,
    MR_PREPARED_ENTRIES,
};
