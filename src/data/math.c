/** @file
 * Task math: solutions of problems in words, each a sample of its own; the solution is learned
 * (`mora data prepare --template metamath`, ...).
 *
 * Source: MoRA (arXiv 2405.12130) section 5.2, MetaMathQA. Deviation: samples without a learned
 * token are left out (data/prepared.h).
 */

#include "data/prepared.h"

const mr_task mr_task_math = {
    .name = "math",
    .summary = "solve as the solutions of task.data do, a folder of token shards",
    .schema = &mr_prepared_documents_schema,
    .create = mr_prepared_create_documents,
    MR_PREPARED_ENTRIES,
};
