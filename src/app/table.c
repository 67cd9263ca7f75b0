#include "app/command.h"

static mr_status run(const mr_comm *comm, int argc, char **argv)
{
    (void)comm;
    (void)argc;
    (void)argv;
    return mr_fail(MR_ERR_USAGE, "not yet");
}

const mr_command mr_command_table = {.name = "table", .usage = "", .summary = "", .run = run};
