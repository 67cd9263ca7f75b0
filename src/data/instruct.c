/** @file
 * Task instruct: answers to instructions and turns of conversations, each a sample of its own; what
 * of it is learned is the template's to say (`mora data prepare --template tulu`, ...).
 *
 * Source: MoRA (arXiv 2405.12130) section 5.2, Tulu v2. Deviation: samples without a learned token
 * are left out (data/prepared.h).
 */

#include "data/prepared.h"

const mr_task mr_task_instruct = {
    .name = "instruct",
    .summary = "answer as the conversations of task.data do, a folder of token shards",
    .schema = &mr_prepared_documents_schema,
    .create = mr_prepared_create_documents,
    MR_PREPARED_ENTRIES,
};
