/** @file
 * Task finance: continued pretraining on financial text, plain or turned into reading
 * comprehension.
 *
 * Source: MoRA (arXiv 2405.12130) section 5.2: financial news, by the recipe of AdaptLLM.
 * Deviation: none.
 */

#include "data/prepared.h"

static const mr_key keys[] = {MR_PREPARED_DATA_KEY, MR_PREPARED_SAMPLES_KEY,
                              MR_PREPARED_TRUNCATION_KEY};

static const mr_schema schema = MR_SCHEMA(mr_prepared_config, keys);

static mr_status create(const mr_config *config, mr_dataset *dataset)
{
    const mr_prepared_config *own = mr_task_config(config);
    return mr_prepared_create(config, (mr_samples_are)own->samples, dataset);
}

const mr_task mr_task_finance = {
    .name = "finance",
    .summary = "go on with the financial text of task.data, a folder of token shards",
    .schema = &schema,
    .create = create,
    MR_PREPARED_ENTRIES,
};
