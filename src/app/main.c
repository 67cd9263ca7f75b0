/* mora: subcommands, MPI start and end, exit code. */

#include "app/command.h"
#include "backend/backend.h"
#include "base/log.h"
#include "base/signals.h"
#include "comm/watch.h"
#include "mr_build_info.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const mr_command *const commands[] = {
    &mr_command_run,      &mr_command_data,   &mr_command_table, &mr_command_compare,
    &mr_command_spectrum, &mr_command_info,   &mr_command_bench, &mr_command_approximate,
    &mr_command_generate, &mr_command_export, &mr_command_eval,
};

enum { COMMANDS = sizeof commands / sizeof commands[0], EXIT_USAGE = 2, EXIT_AGAIN = 75 };

static void print_help(void)
{
    printf("mora %s: what rank an update of a language model has, and what it buys\n\n"
           "usage: mora COMMAND ...\n\ncommands:\n",
           MR_BUILD_VERSION);
    for (int i = 0; i < COMMANDS; i++)
        printf("  mora %-6s %s\n              %s\n", commands[i]->name, commands[i]->usage,
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

/* A descriptor that is closed would go to the next file or socket opened, and results into that.
 * Standard output becomes one that cannot be written, so that who prints is told. */
static void open_closed_streams(void)
{
    static const int mode[] = {
        [STDIN_FILENO] = O_RDONLY, [STDOUT_FILENO] = O_RDONLY, [STDERR_FILENO] = O_WRONLY};
    for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
        if (fcntl(i, F_GETFD) < 0 && errno == EBADF && open("/dev/null", mode[i]) != i)
            _exit(EXIT_FAILURE);
}

/* Closes standard output: the results of a command that cannot be written are its failure. A run
 * that is to be gone on with stays one. */
static mr_status close_output(mr_status status)
{
    bool failed = ferror(stdout) != 0;
    /* stdio forgets why an earlier write failed, but one more byte fails alike. */
    int reason = failed && write(STDOUT_FILENO, "\n", 1) < 0 ? errno : 0;
    if (fclose(stdout) != 0) {
        failed = true;
        reason = errno;
    }
    if (!failed) return status;
    const char *why = reason != 0 ? strerror(reason) : "an earlier write failed";
    if (status == MR_OK)
        return mr_fail(MR_ERR_IO, "cannot write the results to standard output: %s", why);
    mr_warn("cannot write the results to standard output: %s", why);
    return status;
}

static mr_status run(const mr_comm *comm, int provided, int argc, char **argv)
{
    mr_log_set_quiet(comm->rank != 0);
    MR_CHECK(provided >= MPI_THREAD_FUNNELED, MR_ERR_ARG,
             "this MPI allows no threads beside its own: expected a thread level of %d "
             "(MPI_THREAD_FUNNELED) or more, found %d",
             MPI_THREAD_FUNNELED, provided);
    /* What ranks do together is agreed already; the rest is rank 0's, and said as by one alone. */
    mr_status status = mr_comm_agree_first(comm, dispatch(comm, argc, argv), 0);
    mr_options_free();
    return mr_comm_agree_root(comm, comm->rank == 0 ? close_output(status) : status);
}

int main(int argc, char **argv)
{
    open_closed_streams();
    mr_signals_ignore_failed_writes();
    mr_backend_prepare(argv);
    /* A request to stop that comes before the configuration is read is not lost, nor fatal,
     * whichever signal that will name. */
    if (argc > 1 && strcmp(argv[1], mr_command_run.name) == 0) {
        mr_signals_catch(SIGUSR1);
        mr_signals_catch(SIGUSR2);
    }
    int provided = MPI_THREAD_SINGLE;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    mr_comm comm;
    mr_status status = mr_comm_create(MPI_COMM_WORLD, &comm);
    if (status == MR_OK) {
        mr_watch_begin(&comm);
        status = run(&comm, provided, argc, argv);
        mr_log_progress_end();
        if (status == MR_STOPPED)
            mr_log("%s", mr_message());
        else if (status != MR_OK)
            mr_log_error(status);
        mr_watch_end();
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
