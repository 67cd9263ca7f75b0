#include "ranks.h"

#include <stdlib.h>

mr_comm world;

void ranks_begin(int *argc, char ***argv)
{
    MPI_Init(argc, argv);
    if (mr_comm_create(MPI_COMM_WORLD, &world) != MR_OK) mr_abort("%s", mr_message());
    if (world.rank > 0 && !freopen("/dev/null", "w", stdout)) mr_abort("cannot silence stdout");
}

int ranks_end(int failed_tests)
{
    int failed = failed_tests != 0, any = 0;
    if (mr_memory_live_total() != 0) {
        fprintf(stderr, "rank %d: %zu bytes are still held\n", world.rank, mr_memory_live_total());
        failed = 1;
    }
    MPI_Allreduce(&failed, &any, 1, MPI_INT, MPI_MAX, world.handle);
    mr_comm_destroy(&world);
    MPI_Finalize();
    return any ? EXIT_FAILURE : EXIT_SUCCESS;
}

void ranks_assert(bool holds, const char *condition, const char *file, int line)
{
    int mine = holds ? world.size : world.rank, first;
    MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, world.handle);
    if (first == world.size) return;
    if (world.rank == first)
        print_error("%s:%d: does not hold on rank %d of %d: %s\n", file, line, first, world.size,
                    condition);
    _fail(file, line);
}
