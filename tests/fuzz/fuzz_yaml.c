/* A run file with its matrix, and every run of it. */

#include "config/load.h"
#include "fuzz.h"
#include "train/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { RUNS = 4 };
    static mr_config config;
    mr_run_list list = {0};
    const mr_comm *comm = mr_comm_self();
    if (mr_config_load(comm, fuzz_file("run.yaml", data, size), NULL, 0, mr_registry_of_program(),
                       &list) == MR_OK)
        for (int run = 0; run < list.count && run < RUNS; run++)
            if (mr_run_list_get(&list, run, &config) != MR_OK) break;
    mr_run_list_free(&list);
    return 0;
}
