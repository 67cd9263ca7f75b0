/* mora: subcommands, MPI start and end, exit code. */

#include "app/command.h"
#include "backend/backend.h"
#include "base/log.h"
#include "base/signals.h"
#include "mr_build_info.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const mr_command *const commands[] = {
    &mr_command_run, &mr_command_data, &mr_command_table, &mr_command_info, &mr_command_bench,
};

enum { COMMANDS = sizeof commands / sizeof commands[0], EXIT_USAGE = 2, EXIT_AGAIN = 75 };

static void print_help(void)
{
    printf("mora %s: what rank an update of a language model has, and what it buys\n\n"
           "usage: mora COMMAND ...\n\ncommands:\n",
           MR_BUILD_VERSION);
    for (int i = 0; i < COMMANDS; i++)
        printf("  mora %-6s %-56s\n              %s\n", commands[i]->name, commands[i]->usage,
               commands[i]->summary);
    printf("\n`mora COMMAND --help` tells the options of a command; under mpirun or srun every\n"
           "rank runs the same command line.\n");
}

static mr_status dispatch(const mr_comm *comm, int argc, char **argv)
{
    MR_CHECK(argc > 1, MR_ERR_USAGE, "expected a command; `mora --help` lists them");
    if (strcmp(argv[1], "--help") == 0) {
        if (comm->rank == 0) print_help();
        return MR_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        if (comm->rank == 0)
            printf("mora %s (%s, %s)\n", MR_BUILD_VERSION, MR_BUILD_COMMIT, MR_BUILD_OPTIONS);
        return MR_OK;
    }
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i]->name, argv[1]) == 0)
            return commands[i]->run(comm, argc - 2, argv + 2);
    return mr_fail(MR_ERR_USAGE, "unknown command \"%s\"; `mora --help` lists them", argv[1]);
}

int main(int argc, char **argv)
{
    mr_backend_prepare(argv);
    /* A request to stop that comes before the configuration is read is not lost, nor fatal,
     * whichever signal that will name. */
    if (argc > 1 && strcmp(argv[1], mr_command_run.name) == 0) {
        mr_signals_catch(SIGUSR1);
        mr_signals_catch(SIGUSR2);
    }
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    mr_comm comm;
    mr_status status = mr_comm_create(MPI_COMM_WORLD, &comm);
    if (status == MR_OK) {
        mr_log_set_quiet(comm.rank != 0);
        status = mr_comm_agree(&comm, dispatch(&comm, argc, argv));
        mr_log_progress_end();
        if (status == MR_STOPPED)
            mr_log("%s", mr_message());
        else if (status != MR_OK && comm.rank == 0)
            fprintf(stderr, "mora: error: %s: %s\n", mr_status_name(status), mr_message());
#ifdef MR_DEBUG
        if (mr_memory_live_total() > 0)
            mr_abort("%zu bytes are still held at exit", mr_memory_live_total());
#endif
        mr_comm_destroy(&comm);
    }
    MPI_Finalize();
    if (status == MR_OK) return EXIT_SUCCESS;
    if (status == MR_STOPPED) return EXIT_AGAIN;
    return status == MR_ERR_USAGE ? EXIT_USAGE : EXIT_FAILURE;
}
