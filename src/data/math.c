/** @file
 * Task math: solutions of problems in words, each a sample of its own; the solution is learned
 * (`mora data prepare --template metamath`, ...).
 *
 * Source: MoRA (arXiv 2405.12130) section 5.2, MetaMathQA. Deviation: samples without a learned
 * token are left out (data/prepared.h).
 */

#include "data/prepared.h"

static const mr_key keys[] = {MR_PREPARED_DATA_KEY, MR_PREPARED_TRUNCATION_KEY};

static const mr_schema schema = MR_SCHEMA(mr_prepared_config, keys);

static mr_status create(const mr_config *config, mr_dataset *dataset)
{
    return mr_prepared_create(config, MR_SAMPLES_DOCUMENTS, dataset);
}

const mr_task mr_task_math = {
    .name = "math",
    .summary = "solve as the solutions of task.data do, a folder of token shards",
    .schema = &schema,
    .create = create,
    MR_PREPARED_ENTRIES,
};
